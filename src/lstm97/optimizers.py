"""How error signals change the weights, and how data are scaled: the settings of a network. Knows no arrays."""

from __future__ import annotations

from dataclasses import dataclass

from lstm97._checks import fraction, positive


@dataclass(frozen=True)
class SGD:
    """The paper's rule: a weight changes by the learning rate times its gradient. The default.

    Parameters
    ----------
    momentum : float, default 0.0
        From 0 to below 1: the change is by ``m = momentum m + gradient`` instead of the gradient.
    bound : float, optional
        An update that would, to first order, move a net input by more than `bound` times its error is made smaller as
        a whole, so that it does not. One rate then serves data of any scale.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    With g the gradient -dE/dw of one update, a the step size of each weight (here the learning rate) and e the error
    signals at the net inputs of the outputs, every change is divided by
    ``M = sum(a g**2) / (bound sum(e**2))`` where M is above 1.
    """

    momentum: float = 0.0
    bound: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "momentum", fraction("momentum", self.momentum))
        _set_bound(self)


@dataclass(frozen=True)
class RMSprop:
    """Each weight's gradient divided by the root of the mean of its squares so far.

    ``v = decay v + (1 - decay) g**2``, and w changes by ``rate g / (sqrt(v / (1 - decay**t)) + epsilon)`` at the t-th
    update.

    Parameters
    ----------
    decay : float, default 0.999
        From 0 to below 1.
    epsilon : float, default 1e-8
        Above 0, in the network's dtype too.
    bound : float, optional
        As for `SGD`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    References
    ----------
    .. [1] T. Tieleman and G. Hinton, "Lecture 6.5 - RMSProp", COURSERA: Neural Networks for Machine Learning, 2012.
    """

    decay: float = 0.999
    epsilon: float = 1e-8
    bound: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "decay", fraction("decay", self.decay))
        object.__setattr__(self, "epsilon", positive("epsilon", self.epsilon))
        _set_bound(self)


@dataclass(frozen=True)
class Adam:
    """Means of each weight's gradient and of its square, with both corrections for their beginning [1]_.

    Parameters
    ----------
    beta1, beta2 : float, default 0.9, 0.999
        From 0 to below 1: what is kept of the two means at an update.
    epsilon : float, default 1e-8
        Above 0, in the network's dtype too.
    bound : float, optional
        As for `SGD`; M is that of the gradient, and the change by the mean is divided by it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    References
    ----------
    .. [1] D. P. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    bound: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta1", fraction("beta1", self.beta1))
        object.__setattr__(self, "beta2", fraction("beta2", self.beta2))
        object.__setattr__(self, "epsilon", positive("epsilon", self.epsilon))
        _set_bound(self)


@dataclass(frozen=True)
class RLS:
    """Output weights by recursive least squares: at each error signal the best fit so far, not a step towards it.

    With u the sources of the outputs, ``k = P u / (forgetting + u P u)``, W changes by e k and
    ``P = (P - k (P u)) / forgetting`` [1]_; with an error signal of weight w, forgetting / w takes the place of
    forgetting in k, and e counts without w. No number on the diagonal of P grows above its first: row and column m of P
    are divided by the root of forgetting, or multiplied by that of prior / P_mm if that is less, as for a source that
    is always 0. The learning rate does not act on these weights. Each error signal costs the square of the number of
    sources. For ``output="identity"`` and ``update="step"``.

    Parameters
    ----------
    forgetting : float, default 1.0
        Above 0, at most 1: the weight that an error signal keeps at each later one.
    prior : float, default 1.0
        Above 0: P is at first this times the identity; the larger it is, the less the first output weights count.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    What is kept is a square root S of P = S S', which Potter's form of the update keeps valid in float32 too.

    References
    ----------
    .. [1] S. Haykin, "Adaptive Filter Theory", Prentice Hall, 2002.
    """

    forgetting: float = 1.0
    prior: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "forgetting", positive("forgetting", self.forgetting))
        if self.forgetting > 1:
            raise ValueError(f"forgetting must be at most 1, got {self.forgetting!r}")
        object.__setattr__(self, "prior", positive("prior", self.prior))


@dataclass(frozen=True)
class Scaling:
    """Standardisation inside the network, by the mean and the deviation of each input and target so far.

    Learning steps take their data into the statistics and then use them; inference uses them only. Outputs come back in
    the units of the targets. A column that has always been the same counts as 0; one that has hardly changed is divided
    by its tiny deviation. Outliers count like all values: cut them before, or let the statistics forget. Values are
    rounded to the network's dtype first. A call that fails or is broken off may have taken its data in.

    Parameters
    ----------
    inputs, targets : bool, default True
        What is scaled: inputs that come as values (symbols are not), and targets of ``output="identity"``.
    decay : float, optional
        Above 0 and below 1: the statistics forget, and data that lie n steps back count ``decay**n``. By default all
        count the same.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    References
    ----------
    .. [1] B. P. Welford, "Note on a method for calculating corrected sums of squares and products", Technometrics
       4(3), 1962.
    """

    inputs: bool = True
    targets: bool = True
    decay: float | None = None

    def __post_init__(self) -> None:
        for name in ("inputs", "targets"):
            if type(getattr(self, name)).__name__ not in ("bool", "bool_"):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
            object.__setattr__(self, name, bool(getattr(self, name)))
        if self.decay is not None:
            object.__setattr__(self, "decay", fraction("decay", self.decay))
            if self.decay == 0:
                raise ValueError("decay must be above 0, got 0")


Optimizer = SGD | RMSprop | Adam


def _set_bound(optimizer: Optimizer) -> None:
    """Check an optimizer's bound."""
    if optimizer.bound is not None:
        object.__setattr__(optimizer, "bound", positive("bound", optimizer.bound))


@dataclass(frozen=True)
class Learning:
    """All that a network's settings say about how it learns; checked against its topology and dtype by the network."""

    optimizer: Optimizer = SGD()
    readout: RLS | None = None
    scaling: Scaling | None = None
    learning_rate: float = 0.1
    """That of calls that are given none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "learning_rate", positive("learning_rate", self.learning_rate))
        kinds = {
            "optimizer": (Optimizer, "SGD(), RMSprop() or Adam()"),
            "readout": (RLS | None, "RLS() or None"),
            "scaling": (Scaling | None, "Scaling() or None"),
        }
        for name, (kind, examples) in kinds.items():
            if not isinstance(value := getattr(self, name), kind):
                raise TypeError(f"{name} must be {examples}, got {value!r}")

    @property
    def is_plain(self) -> bool:
        """Whether weights change by the learning rate times their gradients alone: by the paper's rule."""
        return self.optimizer == SGD() and self.readout is None


PLAIN = Learning()
"""The paper's rule on data as they come."""
