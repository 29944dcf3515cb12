"""Recurrent cascade correlation: a net that grows self-recurrent hidden units, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm97.extend import add_counts, integer, not_negative, positive
from lstm97.history import History, Stop
from lstm97.methods._cascade import TrainingSet, enter, quickprop, run
from lstm97.methods.learner import Learner, check_size
from lstm97.network import Weights
from lstm97.sequences import Sequences

Array = NDArray[Any]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Activation = Literal["symmetric", "logistic"]
Output = Literal["logistic", "identity"]
Phase = Literal["outputs", "candidates", "full"]


@dataclass(frozen=True, kw_only=True)
class CascadeTopology:
    """A cascade: every hidden unit sees the inputs, all hidden units before it, and itself a step ago.

    Outputs see the inputs and all hidden units. All units have a bias.

    Parameters
    ----------
    n_inputs, n_outputs : int
        1 or more.
    n_hidden : int, default 0
        Hidden units installed so far.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> CascadeTopology(n_inputs=7, n_outputs=7, n_hidden=2).n_weights
    89
    """

    n_inputs: int
    n_outputs: int
    n_hidden: int = 0

    def __post_init__(self) -> None:
        for name, at_least in (("n_inputs", 1), ("n_outputs", 1), ("n_hidden", 0)):
            object.__setattr__(self, name, integer(name, getattr(self, name), at_least))

    @property
    def n_weights(self) -> int:
        """Number of weights: n_inputs + i + 2 of hidden unit i = 0, 1, ..., n_inputs + n_hidden + 1 of an output."""
        return self.first_weight(self.n_hidden) + self.n_outputs * (self.n_inputs + self.n_hidden + 1)

    def first_weight(self, unit: int) -> int:
        """How many weights the hidden units before this one have."""
        return unit * (self.n_inputs + 2) + unit * (unit - 1) // 2


class RCC(Learner):
    r"""Recurrent cascade correlation (Fahlman 1991).

    The net begins without hidden units. Two phases alternate. In the first the output weights are trained, until the
    error does not change any more. In the second a pool of candidates for a new hidden unit is trained; they have the
    sources of hidden units, but no unit sees them. When their score does not change any more the best is installed: its
    incoming weights never change again, and the outputs get weights from it. Both phases use quickprop, and change
    weights once per pass through the training set: see `train`.

    Parameters
    ----------
    n_inputs, n_outputs : int
        1 or more.
    seed : int, default 0
        For the initial weights of outputs and candidates.
    init_range : float, default 1.0
        Initial weights are uniform in [-init_range, init_range].
    candidates : int, default 8
        Size of the pool.
    max_units : int, default 25
        With this many hidden units the net is full: from then on only the output weights are trained.
    output_epochs, candidate_epochs : int, default 200
        The longest duration of a phase.
    patience : int, default 8
        A phase ends after this many epochs in a row without a change. 0: each phase has its longest duration.
    output_threshold, candidate_threshold : float, default 0.01, 0.03
        What counts as a change: of the squared error, and of the best candidate's score, relative to itself.
    candidate_rate : float, default 1.0
        Quickprop's epsilon for candidates; the `learning_rate` of `train` is that for outputs.
    mu : float, default 2.0
        Quickprop's greatest growth from one step to the next.
    output_decay, candidate_decay : float, default 0.0001, 0.0
        Weight decay: this times a weight is added to the weight's slope.
    prime_offset : float, default 0.1
        Added to a logistic output's derivative, so that errors of outputs near 0 and 1 do not vanish.
    activation : {"symmetric", "logistic"}, default "symmetric"
        Range of the hidden units: [-1/2, 1/2] or [0, 1].
    output : {"logistic", "identity"}, default "logistic"

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    Hidden unit :math:`i` and output :math:`o` are, with the logistic function :math:`f` (less 1/2 if symmetric),

    .. math::

        V_i(t) &= f\bigl(\textstyle\sum_m w_{im} x_m(t) + \sum_{j<i} w_{ij} V_j(t) + w_{ii} V_i(t-1) + b_i\bigr) \\
        y_o(t) &= f\bigl(\textstyle\sum_m w_{om} x_m(t) + \sum_j w_{oj} V_j(t) + b_o\bigr).

    With the residual errors :math:`E_o = (t_o - y_o)(f'_o + \text{prime\_offset})` of the steps that have a target, an
    output's slopes are :math:`-\sum_t E_o(t) z_m(t)`, :math:`z` its sources, and a candidate :math:`V` maximizes

    .. math::

        S = \sum_o |C_o|, \qquad
        C_o = \frac{\sum_t (V(t) - \bar V)(E_o(t) - \bar E_o)}{\sum_{t, o} E_o(t)^2}, \qquad
        \frac{dV(t)}{dw_m} = f'(t) \Bigl(z_m(t) + w_{VV} \frac{dV(t-1)}{dw_m}\Bigr).

    The gradient is exact: nothing is truncated, and the signs of the :math:`C_o` are those of the same pass, while
    Fahlman's programs take those of the pass before. An output's first weight from a new unit is its :math:`C_o`,
    clipped to the range of initial weights. The outputs' epsilon is divided by the number of steps with a target, the
    candidates' by the number of their sources only: :math:`S` does not grow with the number of steps. (Fahlman divides
    by both, and so needs a larger epsilon for a larger set.) In each phase quickprop begins without earlier slopes and
    steps.

    A file has the weights and settings, but not the phase and quickprop's slopes and steps (training continues with a
    new phase of outputs), nor the random generator's state (candidates are drawn as after `seed`).

    References
    ----------
    S. E. Fahlman, "The recurrent cascade-correlation architecture", Advances in Neural Information Processing Systems
    3, 1991; Technical Report CMU-CS-91-100.
    S. E. Fahlman and C. Lebiere, "The cascade-correlation learning architecture", Advances in Neural Information
    Processing Systems 2, 1990.
    S. E. Fahlman, "An empirical study of learning speed in back-propagation networks", Technical Report CMU-CS-88-162,
    1988: quickprop.

    Examples
    --------
    Was the first of two inputs the same as the second?

    >>> inputs = np.array([[[a], [b]] for a in (0.0, 1.0) for b in (0.0, 1.0)])
    >>> net = RCC(1, 1, seed=1)
    >>> history = net.train(inputs, [[1.0], [0.0], [0.0], [1.0]], epochs=2000, stop=Stop(4, 0.4, np.inf))
    >>> history.stopped, [int(Y[-1, 0] > 0.5) for Y in net.predict(inputs)]
    (True, [1, 0, 0, 1])
    """

    method = "rcc"

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        *,
        seed: int = 0,
        init_range: float = 1.0,
        candidates: int = 8,
        max_units: int = 25,
        output_epochs: int = 200,
        candidate_epochs: int = 200,
        patience: int = 8,
        output_threshold: float = 0.01,
        candidate_threshold: float = 0.03,
        candidate_rate: float = 1.0,
        mu: float = 2.0,
        output_decay: float = 0.0001,
        candidate_decay: float = 0.0,
        prime_offset: float = 0.1,
        activation: Activation = "symmetric",
        output: Output = "logistic",
    ) -> None:
        super().__init__(output)
        self._topology = CascadeTopology(n_inputs=n_inputs, n_outputs=n_outputs)
        self._seed = integer("seed", seed, at_least=0)
        self._init_range = positive("init_range", init_range)
        self._candidates = integer("candidates", candidates, at_least=1)
        self._max_units = integer("max_units", max_units, at_least=0)
        self._output_epochs = integer("output_epochs", output_epochs, at_least=1)
        self._candidate_epochs = integer("candidate_epochs", candidate_epochs, at_least=1)
        self._patience = integer("patience", patience, at_least=0)
        self._output_threshold = not_negative("output_threshold", output_threshold)
        self._candidate_threshold = not_negative("candidate_threshold", candidate_threshold)
        self._candidate_rate = positive("candidate_rate", candidate_rate)
        self._mu = positive("mu", mu)
        self._output_decay = _finite("output_decay", output_decay)
        self._candidate_decay = _finite("candidate_decay", candidate_decay)
        self._prime_offset = _finite("prime_offset", prime_offset)
        self._activation = _one_of("activation", activation, get_args(Activation))
        self._output = _one_of("output", output, get_args(Output))
        self._rng = np.random.default_rng(self._seed)
        self._state = np.zeros(0)
        self._block = self._drawn(1, self._topology.n_weights)[0]
        self._training: _Training | None = None

    # ---- properties ----

    @property
    def topology(self) -> CascadeTopology:
        """The net's units; a new object after each unit installed."""
        return self._topology

    @property
    def units(self) -> int:
        """Hidden units installed so far."""
        return self._topology.n_hidden

    @property
    def phase(self) -> Phase:
        """What the next epoch trains: "outputs", "candidates", or "full": outputs, and candidates never again."""
        if self.units >= self._max_units:
            return "full"
        return "outputs" if self._training is None or self._training.pool is None else "candidates"

    @property
    def score(self) -> float:
        """S of the best candidate in the latest epoch that trained candidates; NaN outside that phase."""
        pool = None if self._training is None else self._training.pool
        return np.nan if pool is None else pool.score

    @property
    def weights(self) -> dict[str, Floats]:
        """The weights by layer: "hidden_1", "hidden_2", ..., shape (1, sources), and "output", (n_outputs, sources).

        Sources are inputs, hidden units, a hidden unit's own activation a step ago, bias. Writable views, used from
        the next step on, until a unit is installed: after that the net no longer uses them. After a change by hand
        training begins a new phase of outputs.
        """
        n_inputs, n_hidden = self._topology.n_inputs, self.units
        first = [self._topology.first_weight(unit) for unit in range(n_hidden + 1)]
        layers = {f"hidden_{i + 1}": self._block[None, first[i] : first[i + 1]] for i in range(n_hidden)}
        return Weights(layers | {"output": self._block[first[-1] :].reshape(-1, n_inputs + n_hidden + 1)})

    @property
    def n_bytes(self) -> int:
        """Bytes of memory of weights, state and, after training, the training set with its errors and activations."""
        own = int(self._block.nbytes + self._state.nbytes)
        return own if self._training is None else own + self._training.n_bytes

    # ---- training ----

    def train(
        self,
        inputs: object,
        targets: object,
        learning_rate: float = 0.35,
        *,
        update: str | None = None,
        epochs: int = 1,
        order: ArrayLike | np.random.Generator | None = None,
        stop: Stop | None = None,
        callback: Callable[[History], object] | None = None,
        history: History | None = None,
    ) -> History:
        """Continue the training for a number of epochs, of either phase.

        An epoch is one pass through the training set, after which weights change once: those of the outputs or those of
        the candidates. A call continues where the last one stopped, also within a phase, if set and weights are
        unchanged; otherwise it begins a new phase of outputs. How many epochs a phase takes depends on the training:
        make `epochs` large and end by `stop` or `callback`.

        Parameters
        ----------
        inputs, targets, callback, history
            As for `lstm97.train`.
        learning_rate : float, default 0.35
            Quickprop's epsilon for output weights: the size of the steps down the slope, divided by the number of steps
            with a target. Candidates have `candidate_rate` instead.
        update : {"set"}, optional
            When weights change: once per pass through the set, which is all this method can do.
        epochs : int, default 1
        order
            As for `lstm97.train`: the sequences that make up the set, or a generator; their order only affects at which
            sequence the stop rule holds.
        stop : Stop, optional
            End when this rule holds, by the errors of the sequences in their order, epoch after epoch. In an epoch that
            trains candidates the outputs' errors do not change. When the rule holds, the weights are those that gave
            the errors.

        Returns
        -------
        History

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above.
        FloatingPointError
            If an error or a weight is not finite. The weights are those before the change that failed.
        """
        return super().train(
            inputs,
            targets,
            learning_rate,
            update=update,
            epochs=epochs,
            order=order,
            stop=stop,
            callback=callback,
            history=history,
        )

    def _train(
        self,
        inputs: Sequences,
        targets: Array,
        target_per_sequence: bool,
        order: Integers,
        learning_rate: float,
        update: str,
        history: History,
    ) -> None:
        training = self._training
        if training is None or not training.goes_on(inputs, targets, target_per_sequence, self._block):
            training = self._begin(inputs, targets, target_per_sequence)
        self._training = None  # set again at the end of this epoch, unless it fails
        if training.pool is None:
            slope = np.zeros_like(training.outputs.weights)
            error, n = training.passes.output_pass(order, training.outputs.weights, self._prime_offset, slope)
            if not np.isfinite(error):
                raise FloatingPointError("error is not finite; try a smaller learning_rate")
        done: int = enter(history, training.passes.errors[order], training.passes.worst[order])
        add_counts(history, steps=int(inputs.lengths[order[:done]].sum()))
        if not history.stopped:
            if training.pool is not None:
                self._train_candidates(training, training.pool, order)
            elif n:
                self._train_outputs(training, slope, error, learning_rate / n)
            training.parameters = self._block.copy()
        self._training = training

    def _begin(self, inputs: Sequences, targets: Array, target_per_sequence: bool) -> _Training:
        """Training on a copy of this set, which begins with outputs."""
        weights = self.weights
        linear, symmetric = self._output == "identity", self._activation == "symmetric"
        topology, outputs = self._topology, self._begun_outputs()
        training = _Training(inputs, targets, target_per_sequence, topology, outputs, symmetric, linear)
        for unit in range(self.units):
            training.passes.add_unit(weights[f"hidden_{unit + 1}"][0])
        training.parameters = self._block.copy()
        return training

    def _begun_outputs(self) -> _Layer:
        return _Layer(self.weights["output"], self._patience, self._output_threshold, self._output_epochs)

    def _train_outputs(self, training: _Training, slope: Floats, error: float, epsilon: float) -> None:
        """Change the output weights; if that was the phase's last epoch, make a pool of candidates."""
        training.outputs.change(slope, epsilon, self._mu, self._output_decay)
        if training.outputs.watch.ended(error) and self.units < self._max_units:
            everything = np.arange(len(training.passes.errors))
            training.passes.output_pass(everything, training.outputs.weights, self._prime_offset, np.zeros_like(slope))
            weights = self._drawn(self._candidates, self._topology.n_inputs + self.units + 2)
            training.pool = _Layer(weights, self._patience, self._candidate_threshold, self._candidate_epochs)

    def _train_candidates(self, training: _Training, pool: _Layer, order: Integers) -> None:
        """Change the candidates' weights; if that was the phase's last epoch, install the best of them."""
        slope = np.zeros_like(pool.weights)
        correlation = np.zeros((len(slope), self._topology.n_outputs))
        n = training.passes.candidate_pass(order, pool.weights, correlation, slope)
        if not n:
            return
        pool.change(slope, self._candidate_rate / slope.shape[1], self._mu, self._candidate_decay)
        pool.score = float(np.abs(correlation).sum(axis=1).max())
        if pool.watch.ended(pool.score):
            training.passes.candidate_pass(order, pool.weights, correlation)
            best = int(np.abs(correlation).sum(axis=1).argmax())
            training.passes.add_unit(pool.weights[best])
            # The correlations are divided by the sum of squared errors: they grow without bound as the errors vanish.
            outgoing = np.clip(correlation[best], -self._init_range, self._init_range)
            self._install(pool.weights[best], outgoing)
            training.outputs = self._begun_outputs()
            training.pool = None

    def _install(self, incoming: Floats, outgoing: Floats) -> None:
        """Add a hidden unit, with weights to it and from it."""
        output = self.weights["output"]
        seen = np.column_stack([output[:, :-1], outgoing, output[:, -1]])
        hidden = self._block[: self._topology.first_weight(self.units)]
        block = np.concatenate([hidden, incoming, seen.ravel()])
        state = np.append(self._state, 0.0)
        n_inputs, n_outputs = self._topology.n_inputs, self._topology.n_outputs
        topology = CascadeTopology(n_inputs=n_inputs, n_outputs=n_outputs, n_hidden=self.units + 1)
        self._topology, self._block, self._state = topology, block, state

    def _drawn(self, *shape: int) -> Floats:
        return self._rng.uniform(-self._init_range, self._init_range, shape)

    # ---- what each method implements ----

    def _settings(self) -> dict[str, Any]:
        return {
            "n_inputs": self._topology.n_inputs,
            "n_outputs": self._topology.n_outputs,
            "units": self.units,
            "seed": self._seed,
            "init_range": self._init_range,
            "candidates": self._candidates,
            "max_units": self._max_units,
            "output_epochs": self._output_epochs,
            "candidate_epochs": self._candidate_epochs,
            "patience": self._patience,
            "output_threshold": self._output_threshold,
            "candidate_threshold": self._candidate_threshold,
            "candidate_rate": self._candidate_rate,
            "mu": self._mu,
            "output_decay": self._output_decay,
            "candidate_decay": self._candidate_decay,
            "prime_offset": self._prime_offset,
            "activation": self._activation,
            "output": self._output,
        }

    @classmethod
    def _from_settings(cls, settings: dict[str, Any], n_numbers: int) -> Self:
        options = dict(settings)
        units = integer("units", options.pop("units"), at_least=0)
        sizes = {name: options[name] for name in ("n_inputs", "n_outputs")}
        check_size(CascadeTopology(**sizes, n_hidden=units).n_weights, n_numbers)
        learner = cls(**options)
        if units > learner._max_units:
            raise ValueError(f"units is {units}, but max_units is {learner._max_units}")
        for unit in range(units):
            learner._install(np.zeros(learner._topology.n_inputs + unit + 2), np.zeros(learner._topology.n_outputs))
        return learner

    def _reset(self) -> None:
        self._state[:] = 0

    def _run(self, inputs: Array, Y: Floats) -> None:
        self._forward(inputs, np.array([0, len(inputs)]), self._state, False, Y)

    def _predict(self, inputs: Sequences, Y: Floats) -> None:
        self._forward(inputs.values, inputs.offsets, np.zeros(self.units), True, Y)

    def _forward(self, inputs: Array, offsets: Integers, state: Floats, fresh: bool, Y: Floats) -> None:
        linear, symmetric = self._output == "identity", self._activation == "symmetric"
        run(inputs, offsets, self._block, self._topology.n_inputs, symmetric, linear, state, fresh, Y)

    def _learn(self, inputs: Array, targets: Array | None, learning_rate: float, Y: Floats) -> None:
        raise NotImplementedError("recurrent cascade correlation learns from whole training sets: use train")

    def _checked_update(self, update: str | None) -> str:
        if update not in (None, "set"):
            raise ValueError(f"update is {update!r}, but this method changes weights once per pass over the set: 'set'")
        return "set"


class _Watch:
    """Ends a phase after a number of epochs without a change, or after its longest duration.

    Parameters
    ----------
    patience : int
        Number of epochs in a row without a change; 0: no such limit.
    threshold : float
        A change is larger than this, relative to the value at the last change.
    longest : int
        Number of epochs of the longest phase.
    """

    def __init__(self, patience: int, threshold: float, longest: int) -> None:
        self._patience, self._threshold, self._left = patience, threshold, longest
        self._value: float | None = None
        self._unchanged = 0

    def ended(self, value: float) -> bool:
        """Whether the epoch that led to this value was the last."""
        self._left -= 1
        self._unchanged += 1
        if self._value is None or abs(value - self._value) > self._threshold * abs(self._value):
            self._value, self._unchanged = value, 0
        return self._left <= 0 or 0 < self._patience <= self._unchanged


class _Layer:
    """Weights trained by quickprop, with the slopes and steps of the epoch before."""

    def __init__(self, weights: Floats, patience: int, threshold: float, longest: int) -> None:
        self.weights = weights
        self.watch = _Watch(patience, threshold, longest)
        self.score = np.nan
        self._before, self._last = np.zeros_like(weights), np.zeros_like(weights)

    def change(self, slope: Floats, epsilon: float, mu: float, decay: float) -> None:
        """Change the weights by one step, from these slopes."""
        changed = self.weights.copy()
        if not quickprop(changed, slope, self._before, self._last, epsilon, mu, decay):
            raise FloatingPointError("weight is not finite; try a smaller learning_rate or candidate_rate")
        self.weights[...] = changed


class _Training:
    """A training set and the progress of training on it."""

    def __init__(
        self,
        inputs: Sequences,
        targets: Array,
        per_sequence: bool,
        topology: CascadeTopology,
        outputs: _Layer,
        symmetric: bool,
        linear: bool,
    ) -> None:
        # Copies: the caller may write into the arrays between two calls.
        self._inputs, self._offsets, self._targets = inputs.values.copy(), inputs.offsets.copy(), targets.copy()
        self._per_sequence = per_sequence
        rows = _rows(self._targets, per_sequence, self._offsets, topology.n_outputs)
        self.passes = TrainingSet(self._inputs, self._offsets, rows, topology.n_inputs, symmetric, linear)
        self.outputs = outputs
        self.pool: _Layer | None = None
        self.parameters = np.empty(0)

    @property
    def n_bytes(self) -> int:
        """Bytes of memory of the set and of its errors, activations and residuals."""
        passes = self.passes
        kept = (self._inputs, self._offsets, self._targets, self.parameters)
        known = (passes.errors, passes.worst, passes.hidden, passes.residuals)
        return sum(array.nbytes for array in (*kept, *known))

    def goes_on(self, inputs: Sequences, targets: Array, per_sequence: bool, parameters: Floats) -> bool:
        """Whether set and weights are unchanged, so that training can continue."""
        return (
            per_sequence == self._per_sequence
            and np.array_equal(parameters, self.parameters)
            and np.array_equal(inputs.offsets, self._offsets)
            and np.array_equal(inputs.values, self._inputs)
            and np.array_equal(targets, self._targets, equal_nan=targets.ndim == 2)
        )


def _rows(targets: Array, per_sequence: bool, offsets: Integers, n_outputs: int) -> Floats:
    """One row of targets per step, NaN where there is none."""
    if targets.ndim == 1:
        rows = np.eye(n_outputs)[targets]
        rows[targets < 0] = np.nan
    else:
        rows = targets
    if not per_sequence:
        return np.ascontiguousarray(rows, np.float64)
    steps = np.full((offsets[-1], n_outputs), np.nan)
    has_steps = offsets[1:] > offsets[:-1]
    steps[offsets[1:][has_steps] - 1] = rows[has_steps]
    return steps


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def _finite(name: str, value: Any) -> float:
    """``value`` as a finite float of at least 0."""
    number = not_negative(name, value)
    if number == np.inf:
        raise ValueError(f"{name} must be finite, got {value!r}")
    return number
