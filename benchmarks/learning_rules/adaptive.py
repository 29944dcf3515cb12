"""Rules whose step sizes adapt themselves, as plain NumPy: each costs some numbers and operations for a weight.

Letters: g is the gradient -dE/dw of an update, e the error signal at the net input of the only output, J = g / e the
derivative of that net input by the weights, a the step sizes. A rule that was published for linear models, whose J are
the inputs, is used with J. Curvatures of E are taken as J**2, which is what they are to first order for the squared
error, and more than they are for the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import lstm97

from .rules import BOUND

Array = npt.NDArray[np.float64]
Change = Callable[[Array, float, Array], Array]
"""What an update adds to the weights, from g, e, and how far the weights are from the first ones."""
Begin = Callable[[int, int], Change]
"""Makes the change of a fresh network, from the numbers of its weights and of the updates that will come."""

EPSILON = 1e-8
FIRST = 0.03
"""Step size of all weights at first, where a rule learns theirs: the rate of SGD in the other tables."""


def _derivatives(g: Array, e: float) -> Array:
    return g / e if e != 0 else np.zeros_like(g)


def bounded(a: Array, g: Array, e: float, bound: float | None) -> Array:
    """Return the step sizes a, smaller if the update would move the output's net input by more than bound e."""
    if bound is None or e == 0:
        return a
    return a / max(1.0, float((a * g) @ g) / (bound * e * e))


def sgd(rate: Callable[[int, int], float], bound: float | None = None) -> Begin:
    """The rate is a function of the number t of the update, from 1, and of the number of all updates."""

    def begin(n: int, n_updates: int) -> Change:
        t = 0

        def change(g: Array, e: float, moved: Array) -> Array:
            nonlocal t
            t += 1
            return bounded(np.full(n, rate(t, n_updates)), g, e, bound) * g

        return change

    return begin


def clipped(rate: float, norm: float) -> Begin:
    """SGD whose gradient is made as long as `norm` where it is longer."""

    def begin(n: int, n_updates: int) -> Change:
        return lambda g, e, moved: rate * g / max(1.0, float(np.linalg.norm(g)) / norm)

    return begin


def rms_prop(rate: Callable[[int, int], float], bound: float | None = None, decay: float = 0.999) -> Begin:
    """As `lstm97.RMSprop`."""

    def begin(n: int, n_updates: int) -> Change:
        v, t = np.zeros(n), 0

        def change(g: Array, e: float, moved: Array) -> Array:
            nonlocal v, t
            t += 1
            v = decay * v + (1 - decay) * g * g
            a = rate(t, n_updates) / (np.sqrt(v / (1 - decay**t)) + EPSILON)
            return bounded(a, g, e, bound) * g

        return change

    return begin


def adam(rate: float, bound: float | None = None, beta1: float = 0.9, beta2: float = 0.999) -> Begin:
    """As `lstm97.Adam`."""

    def begin(n: int, n_updates: int) -> Change:
        m, v, t = np.zeros(n), np.zeros(n), 0

        def change(g: Array, e: float, moved: Array) -> Array:
            nonlocal m, v, t
            t += 1
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g * g
            a = rate / (np.sqrt(v / (1 - beta2**t)) + EPSILON)
            return bounded(a, g, e, bound) * m / (1 - beta1**t)

        return change

    return begin


def adagrad(rate: float, bound: float | None = None) -> Begin:
    """Divide by the root of the sum of all squared gradients (Duchi, Hazan and Singer, 2011)."""

    def begin(n: int, n_updates: int) -> Change:
        total = np.zeros(n)

        def change(g: Array, e: float, moved: Array) -> Array:
            nonlocal total
            total = total + g * g
            return bounded(rate / (np.sqrt(total) + EPSILON), g, e, bound) * g

        return change

    return begin


def obgd(kappa: float) -> Begin:
    """Overshooting-bounded gradient descent with a rate of 1, without traces (Elsayed, Vasan and Mahmood, 2024).

    The step is divided by ``kappa max(|e|, 1) sum(|J|)`` where that is above 1.
    """

    def begin(n: int, n_updates: int) -> Change:
        def change(g: Array, e: float, moved: Array) -> Array:
            return g / max(1.0, kappa * max(abs(e), 1.0) * float(np.abs(_derivatives(g, e)).sum()))

        return change

    return begin


def adaptive_obgd(kappa: float, beta2: float = 0.999) -> Begin:
    """ObGD of gradients that are divided by the root of the mean of their squares, by the same authors."""

    def begin(n: int, n_updates: int) -> Change:
        v, t = np.zeros(n), 0

        def change(g: Array, e: float, moved: Array) -> Array:
            nonlocal v, t
            t += 1
            v = beta2 * v + (1 - beta2) * g * g
            root = np.sqrt(v / (1 - beta2**t) + EPSILON)
            size = float((np.abs(_derivatives(g, e)) / root).sum())
            return g / root / max(1.0, kappa * max(abs(e), 1.0) * size)

        return change

    return begin


def idbd(theta: float, bound: float | None = None, first: float = FIRST) -> Begin:
    """Incremental delta-bar-delta (Sutton, 1992): the logarithm of each step size follows its own gradient.

    h is the derivative of a weight by the logarithm of its step size, to what its own weight adds to it. As Sutton
    advises, that logarithm changes by at most 2 in an update and stays above -10.
    """

    def begin(n: int, n_updates: int) -> Change:
        beta, h = np.full(n, np.log(first)), np.zeros(n)

        def change(g: Array, e: float, moved: Array) -> Array:
            nonlocal beta, h
            beta = np.maximum(beta + np.clip(theta * g * h, -2.0, 2.0), -10.0)
            a = bounded(np.exp(beta), g, e, bound)
            h = h * np.maximum(0.0, 1.0 - a * _derivatives(g, e) ** 2) + a * g
            return a * g

        return change

    return begin


def autostep(mu: float, tau: float = 1e4, first: float = FIRST) -> Begin:
    """Autostep (Mahmood, Sutton, Degris and Pilarski, 2012): IDBD whose meta gradients have no unit, and a bound.

    Meta gradients are divided by v, a running maximum of their sizes; step sizes are divided by ``sum(a J**2)`` where
    that is above 1, and stay so.
    """

    def begin(n: int, n_updates: int) -> Change:
        a, h, v = np.full(n, first), np.zeros(n), np.zeros(n)

        def change(g: Array, e: float, moved: Array) -> Array:
            nonlocal a, h, v
            squares, meta = _derivatives(g, e) ** 2, g * h
            size = np.abs(meta)
            v = np.maximum(size, v + a * squares / tau * (size - v))
            a = a * np.exp(mu * np.divide(meta, v, out=np.zeros(n), where=v > 0))
            a = a / max(1.0, float(a @ squares))
            h = h * (1.0 - a * squares) + a * g
            return a * g

        return change

    return begin


def dog(first: float) -> Begin:
    """Distance over gradients (Ivgi, Hinder and Carmon, 2023): one rate for all weights, without an average of them.

    The rate is the largest distance from the first weights so far, at least `first`, over the root of the sum of all
    squared gradients.
    """

    def begin(n: int, n_updates: int) -> Change:
        distance, total = first, 0.0

        def change(g: Array, e: float, moved: Array) -> Array:
            nonlocal distance, total
            distance = max(distance, float(np.linalg.norm(moved)))
            total += float(g @ g)
            return g * (distance / float(np.sqrt(total + EPSILON)))

        return change

    return begin


def cocob(alpha: float) -> Begin:
    """Coin betting, COCOB-Backprop (Orabona and Tommasi, 2017): each weight is a bet on its next gradient."""

    def begin(n: int, n_updates: int) -> Change:
        largest, total, reward, theta = np.full(n, EPSILON), np.zeros(n), np.zeros(n), np.zeros(n)

        def change(g: Array, e: float, moved: Array) -> Array:
            nonlocal largest, total, reward, theta
            largest = np.maximum(largest, np.abs(g))
            total = total + np.abs(g)
            reward = np.maximum(0.0, reward + moved * g)
            theta = theta + g
            scale = largest * np.maximum(total + largest, alpha * largest)
            w: Array = theta / scale * (largest + reward)  # less the first weights
            return w - moved

        return change

    return begin


@dataclass(frozen=True)
class Adaptive:
    """A rule of the study with its one free number: the value that is its setting, and two more."""

    begin: Callable[[float], Begin]
    symbol: str
    setting: float
    others: tuple[float, float]
    kept: int
    """Numbers that it keeps for a weight."""

    @property
    def values(self) -> tuple[float, ...]:
        """All values of the free number, in order."""
        return tuple(sorted((self.setting, *self.others)))


def _constant(rate: float) -> Callable[[int, int], float]:
    return lambda t, n: rate


def _root(rate: float) -> Callable[[int, int], float]:
    return lambda t, n: rate / float(np.sqrt(t))


def _inverse(rate: float) -> Callable[[int, int], float]:
    return lambda t, n: rate / (1.0 + t / 100)


def _decay(rate: float) -> Callable[[int, int], float]:
    return lambda t, n: lstm97.Decay(rate, rate / 10, n).at(t - 1)


REFERENCE = "RMSprop, bounded"
ADAPTIVE = {
    REFERENCE: Adaptive(lambda rate: rms_prop(_constant(rate), BOUND), "rate", 0.01, (0.003, 0.03), 1),
    "RMSprop": Adaptive(lambda rate: rms_prop(_constant(rate)), "rate", 0.01, (0.003, 0.03), 1),
    "Adam, bounded": Adaptive(lambda rate: adam(rate, BOUND), "rate", 0.003, (0.001, 0.01), 2),
    "SGD": Adaptive(lambda rate: sgd(_constant(rate)), "rate", 0.03, (0.01, 0.1), 0),
    "SGD, bounded": Adaptive(lambda rate: sgd(_constant(rate), BOUND), "rate", 1.0, (0.1, 10.0), 0),
    "SGD, rate / root of t": Adaptive(lambda rate: sgd(_root(rate)), "rate", 0.3, (0.1, 1.0), 0),
    "SGD, rate / (1 + t / 100)": Adaptive(lambda rate: sgd(_inverse(rate)), "rate", 0.1, (0.03, 0.3), 0),
    "SGD, Decay to a tenth": Adaptive(lambda rate: sgd(_decay(rate)), "rate", 0.1, (0.03, 0.3), 0),
    "SGD, norm clipped, rate 0.03": Adaptive(lambda norm: clipped(0.03, norm), "norm", 1.0, (0.1, 10.0), 0),
    "ObGD": Adaptive(obgd, "kappa", 2.0, (0.5, 1.0), 0),
    "adaptive ObGD": Adaptive(adaptive_obgd, "kappa", 2.0, (0.5, 1.0), 1),
    "IDBD": Adaptive(idbd, "theta", 0.01, (0.001, 0.1), 2),
    "IDBD, bounded": Adaptive(lambda theta: idbd(theta, BOUND), "theta", 0.01, (0.001, 0.1), 2),
    "IDBD, bounded, from 1": Adaptive(lambda theta: idbd(theta, BOUND, first=1.0), "theta", 0.01, (0.001, 0.1), 2),
    "Autostep": Adaptive(autostep, "mu", 0.01, (0.1, 1.0), 3),
    "Autostep, from 1": Adaptive(lambda mu: autostep(mu, first=1.0), "mu", 0.01, (0.1, 1.0), 3),
    "AdaGrad": Adaptive(adagrad, "rate", 0.1, (0.03, 0.3), 1),
    "AdaGrad, bounded": Adaptive(lambda rate: adagrad(rate, BOUND), "rate", 0.1, (0.03, 0.3), 1),
    "DoG": Adaptive(dog, "first", 1e-4, (1e-2, 1.0), 1),
    "COCOB": Adaptive(cocob, "alpha", 100.0, (1.0, 10.0), 5),
    "RMSprop, bounded, rate / root of t": Adaptive(
        lambda rate: rms_prop(_root(rate), BOUND), "rate", 0.1, (0.03, 0.3), 1
    ),
}
