"""Optimizers, the readout by recursive least squares and running scaling, on top of ``reference``: slow, plain NumPy.

Letters, besides those of ``reference``:

    g    -dE/dw of one update: of an error signal, or the sum over those of a batch
    m, v    an optimizer's running means of g and of g^2         a_w    step size of weight w
    M    what divides an update that is too large                P      the readout's inverse covariance of its sources

Settings are ``lstm97.SGD``, ``RMSprop``, ``Adam``, ``RLS`` and ``Scaling``, or anything with their fields.
"""

from __future__ import annotations

import numpy as np
from reference import ReferenceNetwork, target_vector


class Optimizer:
    """One optimizer with its memory for all weights, dict of kind to array; ``t`` counts the updates."""

    def __init__(self, settings, weights):
        self.settings = settings
        self.t = 0
        self.m = {kind: np.zeros_like(w) for kind, w in weights.items()}
        self.v = {kind: np.zeros_like(w) for kind, w in weights.items()}

    def change(self, weights, g, learning_rate, takes_part, sum_e2):
        """One update of the weights.

        Parameters
        ----------
        weights, g : dict of kind to array
        takes_part : dict of kind to array of bool
            The weights that change; those of a kind without key do not.
        sum_e2 : float
            Sum of the squares of the errors at the outputs' net inputs.
        """
        self.t += 1
        step_sizes, directions = {}, {}
        for kind, used in takes_part.items():
            a_w, direction = self._remember(kind, np.where(used, g[kind], 0.0), learning_rate, used)
            step_sizes[kind], directions[kind] = a_w, direction

        divisor = 1.0
        if self.settings.bound is not None and sum_e2 > 0:
            moved = sum((step_sizes[kind] * g[kind] ** 2)[used].sum() for kind, used in takes_part.items())
            divisor = max(1.0, moved / (self.settings.bound * sum_e2))
        for kind, used in takes_part.items():
            weights[kind][used] += (step_sizes[kind] * directions[kind] / divisor)[used]

    def _remember(self, kind, g, learning_rate, used):
        """Take g into the memory of the weights in use. Returns their step sizes a_w, and what these multiply."""
        settings, m, v, t = self.settings, self.m[kind], self.v[kind], self.t
        if hasattr(settings, "momentum"):
            m[used] = (settings.momentum * m + g)[used]
            return np.full_like(g, learning_rate), m
        if hasattr(settings, "decay"):
            v[used] = (settings.decay * v + (1 - settings.decay) * g**2)[used]
            return learning_rate / (np.sqrt(v / (1 - settings.decay**t)) + settings.epsilon), g
        m[used] = (settings.beta1 * m + (1 - settings.beta1) * g)[used]
        v[used] = (settings.beta2 * v + (1 - settings.beta2) * g**2)[used]
        a_w = learning_rate / (np.sqrt(v / (1 - settings.beta2**t)) + settings.epsilon)
        return a_w, m / (1 - settings.beta1**t)


class Readout:
    """Recursive least squares for the output weights."""

    def __init__(self, settings, n_sources):
        self.settings = settings
        self.P = settings.prior * np.eye(n_sources)

    def change(self, output_weights, u, e_k, weight):
        """Change the output weights by the errors e_k, (n_outputs,), of the sources u, (n_sources,).

        An error signal of some weight, by which e_k are multiplied already, is as so many of weight 1 at once.
        """
        forgetting, prior = self.settings.forgetting, self.settings.prior
        Pu = self.P @ u
        k = Pu / (forgetting / weight + u @ Pu)
        output_weights += np.outer(e_k / weight, k)
        P = self.P - np.outer(k, Pu)
        P = (P + P.T) / 2  # forgetting would make the rounding errors between the halves grow at every step
        # No number on the diagonal exceeds that of the beginning: rows and columns grow by the root each.
        factor = np.sqrt([min(1 / forgetting, prior / p) if p > 0 else 1 for p in np.diag(P)])
        self.P = np.outer(factor, factor) * P


class Column:
    """Running mean and variance of one input or target."""

    def __init__(self, decay):
        self.decay = 1.0 if decay is None else decay
        self.count = self.mean = self.squares = 0.0

    def take_in(self, x):
        self.count = self.decay * self.count + 1
        delta = x - self.mean
        self.mean += delta / self.count
        self.squares = self.decay * self.squares + delta * (x - self.mean)

    @property
    def deviation(self):
        return np.sqrt(self.squares / self.count) if self.count else 0.0

    def scaled(self, x):
        return (x - self.mean) / self.deviation if self.deviation > 0 else 0.0

    def unscaled(self, y):
        return y * self.deviation + self.mean


class LearningNetwork(ReferenceNetwork):
    """A reference network with an optimizer and, if they are given, a readout and scaling.

    Attributes
    ----------
    optimizer : Optimizer
    readout : Readout or None
    input_columns, target_columns : list of Column
        Empty where nothing is scaled.
    seen : set of int
        The inputs that came since the state was reset, or since inference dropped the partials.
    """

    def __init__(self, topology, weights, optimizer, readout=None, scaling=None):
        super().__init__(topology, weights)
        self.optimizer = Optimizer(optimizer, self.weights)
        assert readout is None or topology.output == "identity"
        self.readout = None if readout is None else Readout(readout, self.weights["output"].shape[1])
        self.input_columns, self.target_columns = [], []
        if scaling is not None and scaling.inputs:
            self.input_columns = [Column(scaling.decay) for _ in range(topology.n_inputs)]
        if scaling is not None and scaling.targets and topology.output == "identity":
            self.target_columns = [Column(scaling.decay) for _ in range(topology.n_outputs)]

    # ---- one step ----

    def learn(self, x, target=None, learning_rate=0.1, weight=1.0):
        self.take_in_inputs(x)
        y = self.advance(x)
        if self.is_signal(target, weight):
            self.correct(target, learning_rate, weight)
        return y

    def correct(self, target, learning_rate=0.1, weight=1.0):
        if not self._may_correct:
            raise RuntimeError("no step of learn without a target to correct")
        self._may_correct = False
        self.take_in_targets(target)
        e_k = self.output_errors(target, weight)
        self.update(self.changes_by(e_k), learning_rate, self.seen, (e_k**2).sum(), e_k, weight)

    def step(self, x):
        self._forward(self.scaled_inputs(x))
        self._drop_partials()
        return self.in_units_of_targets(self._now.y_k)

    def advance(self, x):
        """A step of ``learn`` without an error signal, statistics untouched. Returns the outputs."""
        self.seen |= set(range(self.topology.n_inputs)) if np.ndim(x) else {int(x)}
        self._forward(self.scaled_inputs(x))
        self._update_partials()
        self._may_correct = True
        return self.in_units_of_targets(self._now.y_k)

    def is_signal(self, target, weight):
        return weight > 0 and target_vector(self.topology, target) is not None

    def output_errors(self, target, weight=1.0):
        return super().output_errors(self.scaled_targets(target), weight)

    def _drop_partials(self):
        super()._drop_partials()
        self.seen = set()

    # ---- an update ----

    def update(self, g, learning_rate, inputs, sum_e2, e_k=None, weight=1.0):
        """Change the weights by g; ``inputs`` are those whose weights take part. e_k and weight: for the readout."""
        takes_part = {kind: self._weights_from(inputs, kind) for kind in self.weights}
        if self.readout is not None:
            del takes_part["output"]
        self.optimizer.change(self.weights, g, learning_rate, takes_part, sum_e2)
        if self.readout is not None:
            self.readout.change(self.weights["output"], self._now.z["output"], e_k, weight)

    def _weights_from(self, inputs, kind):
        """Which weights of a kind take part, given the inputs that do: all that come from elsewhere do."""
        used = np.ones(self.weights[kind].shape, dtype=bool)
        if kind != "output" or self.topology.input_to_output:
            used[:, [i for i in range(self.topology.n_inputs) if i not in inputs]] = False
        return used

    # ---- scaling ----

    def take_in_inputs(self, x):
        if self.input_columns and np.ndim(x):  # a symbol is no number
            for column, value in zip(self.input_columns, x, strict=True):
                column.take_in(float(value))

    def take_in_targets(self, target):
        if self.target_columns:
            for column, value in zip(self.target_columns, target_vector(self.topology, target), strict=True):
                if not np.isnan(value):
                    column.take_in(value)

    def scaled_inputs(self, x):
        if not self.input_columns or np.ndim(x) == 0:
            return x
        return [column.scaled(float(value)) for column, value in zip(self.input_columns, x, strict=True)]

    def scaled_targets(self, target):
        """NaN stays NaN: a missing target has no error whatever the column."""
        if not self.target_columns:
            return target
        target = target_vector(self.topology, target)
        pairs = zip(self.target_columns, target, strict=True)
        return [np.nan if np.isnan(value) else column.scaled(value) for column, value in pairs]

    def in_units_of_targets(self, y_k):
        if not self.target_columns:
            return y_k
        return np.array([column.unscaled(y) for column, y in zip(self.target_columns, y_k, strict=True)])


def train(net, inputs, targets, learning_rate, update="step", batch_size=1, weights=None):
    """``reference.train`` by all learning rules.

    Parameters
    ----------
    net : LearningNetwork
    weights : list of sequences, optional
        A weight for each error signal, in the form of ``targets``.

    Returns
    -------
    list of array (n_steps, n_outputs)
        As of ``reference.train``, in the targets' units.
    """
    if weights is None:
        weights = [[1.0] * len(sequence) for sequence in inputs]
    sequences = [list(zip(*parts, strict=True)) for parts in zip(inputs, targets, weights, strict=True)]
    if update == "step":
        learn = net.learn
        return [_outputs(net, [learn(x, t, learning_rate, w) for x, t, w in steps]) for steps in _reset(net, sequences)]
    assert update == "sequence"
    batches = [sequences[i : i + batch_size] for i in range(0, len(sequences), batch_size)]
    return [outputs for batch in batches for outputs in _train_batch(net, batch, learning_rate)]


def _train_batch(net, batch, learning_rate):
    """One update by the sum over a batch, with statistics of the batch's end. Returns the outputs per sequence."""
    for steps in batch:
        for x, target, weight in steps:
            net.take_in_inputs(x)
            if net.is_signal(target, weight):
                net.take_in_targets(target)
    total = {kind: np.zeros_like(w) for kind, w in net.weights.items()}
    seen, sum_e2, n_signals, all_outputs = set(), 0.0, 0, []
    for steps in _reset(net, batch):
        outputs = []
        for x, target, weight in steps:
            outputs.append(net.advance(x))
            if net.is_signal(target, weight):
                e_k = net.output_errors(target, weight)
                for kind, change in net.changes_by(e_k).items():
                    total[kind] += change
                sum_e2 += (e_k**2).sum()
                n_signals += 1
        seen |= net.seen
        all_outputs.append(_outputs(net, outputs))
    if n_signals:
        net.update(total, learning_rate, seen, sum_e2)
    return all_outputs


def _reset(net, sequences):
    """The sequences, the net reset before each."""
    for steps in sequences:
        net.reset()
        yield steps


def _outputs(net, rows):
    return np.array(rows).reshape(-1, net.topology.n_outputs)
