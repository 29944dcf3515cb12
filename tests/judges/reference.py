"""The learning network in slow, plain NumPy: the judge of every faster version.

Equation numbers are those of S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8),
1997; the forget gate is that of F. Gers, J. Schmidhuber and F. Cummins, "Learning to Forget", 2000. Letters:

    k  outputs    i  conventional hidden units    j  blocks    c, v  cells    m  sources
    net_u   net input of unit u        y_u    its activation          z_m   what source m sends
    s_c     state of cell c            e_u    error signal of unit u, at its net input (e_s_v: at the state of cell v)
    ds_dw_in, ds_dw_f, ds_dw_c         the partials: derivatives of a cell's state by the weights of its block's
                                       input gate, of its block's forget gate, and by its own weights

Only NumPy is used, and of a topology only the attributes that ``lstm97.Topology`` takes as arguments.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

GATES = ("input_gate", "output_gate", "forget_gate")
KINDS = ("cell", *GATES, "hidden", "output")


# ---- activation functions, of one number ---------------------------------------------------------------------------


def f(a):
    """Eq. 3; the second form is the first one multiplied by exp(a) / exp(a), where exp(-a) could overflow."""
    return 1 / (1 + math.exp(-a)) if a >= 0 else math.exp(a) / (1 + math.exp(a))


def df(a):
    """f'(a)."""
    return f(a) * (1 - f(a))


# name: (function, derivative). "centered" is eq. 4, "centered2" eq. 5.
SQUASH = {
    "logistic": (f, df),
    "centered": (lambda a: 2 * f(a) - 1, lambda a: 2 * df(a)),
    "centered2": (lambda a: 4 * f(a) - 2, lambda a: 4 * df(a)),
    "tanh": (math.tanh, lambda a: 1 - math.tanh(a) ** 2),
    "identity": (lambda a: a, lambda a: 1.0),
}


def each(function, values):
    """The function of every value."""
    return np.array([function(float(value)) for value in values], dtype=np.float64)


# ---- units and sources ---------------------------------------------------------------------------------------------


def count_units(topology):
    """The number of units of each kind that the topology has."""
    n_blocks = len(topology.blocks)
    counts = {
        "cell": sum(topology.blocks),
        "input_gate": n_blocks,
        "output_gate": n_blocks if topology.output_gates else 0,
        "forget_gate": n_blocks if topology.forget_gates else 0,
        "hidden": topology.n_hidden,
        "output": topology.n_outputs,
    }
    return {kind: n for kind, n in counts.items() if n > 0}


def recurrent_kinds(topology):
    """The kinds whose activations of the step before are sources of the hidden layer, in order."""
    kinds = []
    if topology.recurrent is True:
        kinds += ["hidden", "cell"]
        if topology.gate_sources:
            kinds += GATES
    return [kind for kind in kinds if kind in count_units(topology)]


def has_bias(topology, kind):
    """Whether the constant 1 is among the sources of this kind."""
    biased = {
        "all": KINDS,
        "hidden": (*GATES, "cell", "hidden"),
        "gates": GATES,
        "gates_and_output": (*GATES, "output"),
        "none": (),
    }
    return kind in biased[topology.bias]


def count_sources(topology, kind):
    """How many weights a unit of this kind has."""
    units = count_units(topology)
    if kind == "output":
        n = units.get("hidden", 0) + units.get("cell", 0)
        if topology.input_to_output:
            n += topology.n_inputs
    else:
        n = topology.n_inputs + sum(units[source] for source in recurrent_kinds(topology))
        n += topology.recurrent == "self"
    return n + 1 if has_bias(topology, kind) else n


def weight_shapes(topology):
    """(units, sources) of each kind, in the order of ``Network.weights``."""
    return {kind: (n, count_sources(topology, kind)) for kind, n in count_units(topology).items()}


def input_vector(topology, x):
    """``x`` as a vector; a symbol's number as its one-hot vector."""
    if np.ndim(x) == 0:
        return np.eye(topology.n_inputs)[int(x)]
    x = np.array(x, dtype=np.float64)
    assert x.shape == (topology.n_inputs,)
    return x


def target_vector(topology, target):
    """``target`` as a vector, NaN at outputs without one; or None for None, class number -1 and a row of NaN."""
    if target is None:
        return None
    if np.ndim(target) == 0:
        return None if target == -1 else np.eye(topology.n_outputs)[int(target)]
    target = np.array(target, dtype=np.float64)
    assert target.shape == (topology.n_outputs,)
    missing = np.isnan(target)
    if missing.all():
        return None
    assert np.isfinite(target[~missing]).all()
    if topology.output == "softmax" and missing.any():
        raise ValueError("a target of softmax outputs is partly NaN")
    return target


def loss_of(topology):
    """The topology's loss, or the one that its outputs have by default."""
    default = "cross_entropy" if topology.output == "softmax" else "squared"
    return getattr(topology, "loss", None) or default


# ---- the network ---------------------------------------------------------------------------------------------------


class ReferenceNetwork:
    """A learning network in float64.

    Parameters
    ----------
    topology : lstm97.Topology, or anything with its constructor's arguments as attributes
    weights : dict of kind to array (units, sources)
        Copied.

    Attributes
    ----------
    weights : dict of kind to array (units, sources)
        Changed in place.
    activations : dict of kind to array (units,)
        Of the hidden layer at the last step; only the kinds there are.
    cell_state : array (n_cells,)
    partials : dict of "cell", "input_gate", "forget_gate" to array (n_cells, sources of that kind)
        Row c holds the derivatives of s_c; for the gates, by the weights of the gate of its block. Only the kinds
        there are.
    """

    def __init__(self, topology, weights):
        self.topology = topology
        self.weights = {kind: np.array(weights[kind], dtype=np.float64) for kind in weights}
        shapes = weight_shapes(topology)
        assert {kind: w.shape for kind, w in self.weights.items()} == shapes, f"expected {shapes}"
        assert list(self.weights) == list(shapes), f"expected the order {list(shapes)}"
        self.block_of = [j for j, size in enumerate(topology.blocks) for _ in range(size)]
        self.cells = range(len(self.block_of))
        self.reset()

    def reset(self):
        """Everything but the weights to zero."""
        units = count_units(self.topology)
        self.activations = {kind: np.zeros(n) for kind, n in units.items() if kind != "output"}
        self.cell_state = np.zeros(len(self.cells))
        self._drop_partials()

    def learn(self, x, target=None, learning_rate=0.1, weight=1.0):
        """One step; then, where there is a target, change the weights. Returns the outputs, of the old weights."""
        self._forward(x)
        self._update_partials()
        self._may_correct = True
        if target_vector(self.topology, target) is not None and weight > 0:
            self.correct(target, learning_rate, weight)
        return self._now.y_k

    def correct(self, target, learning_rate=0.1, weight=1.0):
        """Learn from a late target of the last step of ``learn``, which had none."""
        if not self._may_correct:
            raise RuntimeError("no step of learn without a target to correct")
        self._may_correct = False
        self.change_weights(self.weight_changes(target, weight), learning_rate)

    def step(self, x):
        """One step of inference: the partials are dropped. Returns the outputs."""
        self._forward(x)
        self._drop_partials()
        return self._now.y_k

    def run(self, inputs):
        """``step`` for each input. Returns the outputs, (n_steps, n_outputs)."""
        outputs = [self.step(x) for x in inputs]
        return np.array(outputs).reshape(-1, self.topology.n_outputs)

    def change_weights(self, changes, learning_rate):
        """Add the changes, times the alpha of eqs. 22, 26 and 28, to the weights."""
        for kind, w in self.weights.items():
            w += learning_rate * changes[kind]

    def output_errors(self, target, weight=1.0):
        """(19) The errors e_k at the outputs' net inputs at the last step of ``learn``; 0 without a target.

        The derivative of cross-entropy, by the net input of a softmax or of a logistic unit, is y_k - t_k. Huber's loss
        is 1/2 (t - y)^2 where |t - y| < 1, and |t - y| - 1/2 elsewhere.
        """
        topology, now = self.topology, self._now
        e_k = target_vector(topology, target) - now.y_k
        if loss_of(topology) == "huber":
            assert topology.output == "identity"
            e_k = np.clip(e_k, -1, 1)
        elif loss_of(topology) == "cross_entropy":
            assert topology.output in ("logistic", "softmax")
        elif topology.output == "logistic":
            e_k = each(df, now.net["output"]) * e_k
        return weight * np.where(np.isnan(e_k), 0.0, e_k)

    def weight_changes(self, target, weight=1.0):
        """The changes of all weights by the error at the last step of ``learn``, without learning rate: -dE/dw."""
        return self.changes_by(self.output_errors(target, weight))

    def changes_by(self, e_k):
        """The same, given the errors at the outputs' net inputs."""
        topology, weights, now = self.topology, self.weights, self._now
        units = count_units(topology)
        changes = {}

        # sum_k w_ki e_k, the error that reaches the activation of source i of the outputs, by the old weights
        error_at = weights["output"].T @ e_k
        first_hidden = topology.n_inputs if topology.input_to_output else 0
        first_cell = first_hidden + topology.n_hidden
        error_at_hidden = error_at[first_hidden:first_cell]
        error_at_cell = error_at[first_cell : first_cell + len(self.cells)]

        # (22) for l = output
        changes["output"] = np.outer(e_k, now.z["output"])

        # (20), (22) Conventional hidden units
        if "hidden" in units:
            e_i = each(df, now.net["hidden"]) * error_at_hidden
            changes["hidden"] = np.outer(e_i, now.z["hidden"])

        # (21), (22) Output gates
        h, dh = SQUASH[topology.output_squash]
        if "output_gate" in units:
            e_out = np.zeros(units["output_gate"])
            for v in self.cells:
                j = self.block_of[v]
                e_out[j] += df(now.net["output_gate"][j]) * h(now.s[v]) * error_at_cell[v]
            changes["output_gate"] = np.outer(e_out, now.z["output_gate"])

        # (23) The states
        e_s = np.zeros(len(self.cells))
        for v in self.cells:
            e_s[v] = now.y_out[self.block_of[v]] * dh(now.s[v]) * error_at_cell[v]

        # (28) Cells
        if "cell" in units:
            changes["cell"] = np.zeros_like(weights["cell"])
            for c in self.cells:
                changes["cell"][c] = e_s[c] * self.partials["cell"][c]

        # (26) Input gates; forget gates in the same way: a gate collects from all cells of its block
        for gate in ("input_gate", "forget_gate"):
            if gate in units:
                changes[gate] = np.zeros_like(weights[gate])
                for v in self.cells:
                    changes[gate][self.block_of[v]] += e_s[v] * self.partials[gate][v]

        return changes

    def _forward(self, x):
        """Hidden layer, then outputs; ``_now`` keeps the values of this step that the learning rule needs."""
        topology, weights, before = self.topology, self.weights, self.activations
        units = count_units(topology)
        now = SimpleNamespace(s_before=self.cell_state, z={}, net={})
        x = input_vector(topology, x)

        # The sources of the hidden layer: inputs now, hidden layer one step ago, 1
        sources = [x] + [before[kind] for kind in recurrent_kinds(topology)]
        for kind in before:
            now.z[kind] = np.concatenate([*sources, [1.0]] if has_bias(topology, kind) else sources)
            now.net[kind] = weights[kind] @ now.z[kind]  # (7)(8)(9)

        # Gates and conventional hidden units
        y = {kind: each(f, now.net[kind]) for kind in before if kind != "cell"}
        open_gates = np.ones(len(topology.blocks))
        now.y_in = y.get("input_gate", open_gates)
        now.y_out = y.get("output_gate", open_gates)  # without output gates y_c = h(s_c)
        now.y_f = y.get("forget_gate", open_gates)  # without forget gates the carousel's weight is 1

        # The carousel, and y_c(t) = y_out_j h(s_c(t))
        g, _ = SQUASH[topology.input_squash]
        h, _ = SQUASH[topology.output_squash]
        now.s = np.zeros(len(self.cells))
        y_c = np.zeros(len(self.cells))
        for c in self.cells:
            j = self.block_of[c]
            now.s[c] = now.y_f[j] * now.s_before[c] + now.y_in[j] * g(now.net["cell"][c])
            y_c[c] = now.y_out[j] * h(now.s[c])
        if "cell" in units:
            y["cell"] = y_c

        # The outputs see the NEW hidden layer
        sources = [x] if topology.input_to_output else []
        sources += [y[kind] for kind in ("hidden", "cell") if kind in units]
        sources += [[1.0]] if has_bias(topology, "output") else []
        now.z["output"] = np.concatenate(sources) if sources else np.zeros(0)
        now.net["output"] = weights["output"] @ now.z["output"]
        if topology.output == "logistic":
            now.y_k = each(f, now.net["output"])
        elif topology.output == "identity":
            now.y_k = now.net["output"].copy()
        else:
            above = np.exp(now.net["output"] - now.net["output"].max())
            now.y_k = above / above.sum()

        self.activations = {kind: y[kind] for kind in before}
        self.cell_state = now.s
        self._now = now

    def _update_partials(self):
        """Eqs. 25 and 27; with forget gates every partial decays as the state does."""
        now = self._now
        g, dg = SQUASH[self.topology.input_squash]
        ds_dw = {kind: partial.copy() for kind, partial in self.partials.items()}
        for c in self.cells:
            j = self.block_of[c]
            for kind in ds_dw:
                ds_dw[kind][c] *= now.y_f[j]
            # (25)
            slope = df(now.net["input_gate"][j])
            ds_dw["input_gate"][c] += g(now.net["cell"][c]) * slope * now.z["input_gate"]
            # (27)
            ds_dw["cell"][c] += now.y_in[j] * dg(now.net["cell"][c]) * now.z["cell"]
            # The forget gate multiplies the state of one step before
            if "forget_gate" in ds_dw:
                slope = df(now.net["forget_gate"][j])
                ds_dw["forget_gate"][c] += now.s_before[c] * slope * now.z["forget_gate"]
        self.partials = ds_dw

    def _drop_partials(self):
        kinds = [kind for kind in ("cell", "input_gate", "forget_gate") if kind in count_units(self.topology)]
        n_cells = len(self.cells)
        self.partials = {kind: np.zeros((n_cells, count_sources(self.topology, kind))) for kind in kinds}
        self._may_correct = False


# ---- many sequences ------------------------------------------------------------------------------------------------


def train(reference, inputs, targets, learning_rate, update="step", batch_size=1):
    """Train on sequences, each from a zero state; by plain gradient descent, for other rules see ``learning_rules``.

    Parameters
    ----------
    reference : ReferenceNetwork
    inputs : list of sequences, each a list (or array) of the inputs of its steps
    targets : list of sequences, each a list (or array) of one target per step; see ``targets_at_end``
    learning_rate : float
    update : {"step", "sequence"}
        Weights change at each error signal, or once per batch of sequences by the sum of the changes.
    batch_size : int
        Sequences in a batch; the last one may have fewer.

    Returns
    -------
    list of array (n_steps, n_outputs)
        The outputs of each sequence, at each step of the weights before that step's change.
    """
    all_outputs = []
    for i, (sequence, wanted) in enumerate(zip(inputs, targets, strict=True)):
        reference.reset()
        outputs = []
        if i % batch_size == 0:
            total = {kind: np.zeros_like(w) for kind, w in reference.weights.items()}
        for x, target in zip(sequence, wanted, strict=True):
            if update == "step":
                outputs.append(reference.learn(x, target, learning_rate))
            else:
                assert update == "sequence"
                outputs.append(reference.learn(x, None))
                if target_vector(reference.topology, target) is not None:
                    for kind, change in reference.weight_changes(target).items():
                        total[kind] += change
        if update == "sequence" and (i + 1 == len(inputs) or (i + 1) % batch_size == 0):
            reference.change_weights(total, learning_rate)
        all_outputs.append(np.array(outputs).reshape(-1, reference.topology.n_outputs))
    return all_outputs


def targets_at_end(inputs, targets):
    """One target per sequence in the form that ``train`` takes: a target per step, None before the last one."""
    return [[None] * (len(x) - 1) + [target] for x, target in zip(inputs, targets, strict=True)]


def mean_errors(topology, outputs, targets):
    """The values of ``History.errors``: per sequence the mean |t - y| over all given targets, else NaN."""
    means = []
    for sequence, wanted in zip(outputs, targets, strict=True):
        rows = [(y, target_vector(topology, target)) for y, target in zip(sequence, wanted, strict=True)]
        errors = [abs(t - y)[~np.isnan(t)] for y, t in rows if t is not None]
        means.append(np.mean(np.concatenate(errors)) if errors else np.nan)
    return np.array(means)
