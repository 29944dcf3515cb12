"""Nets of memory cells in slow, plain Python, and their whole gradient: the judge of what truncates nothing.

A step is written once, for numbers of any kind. With complex ones the objective of a whole sequence has its derivatives
by complex steps; with `Dual` ones every number carries its derivatives by all weights, so that they reach back to the
beginning of the sequence whatever the connections are.
"""

from __future__ import annotations

import cmath

import numpy as np
from learning_rules import Optimizer
from reference import GATES, count_units, has_bias, input_vector, loss_of, target_vector


class Dual:
    """A number and its derivatives by all weights."""

    def __init__(self, value, d):
        self.value, self.d = value, d

    def __add__(self, other):
        return Dual(self.value + other.value, self.d + other.d) if isinstance(other, Dual) else self + Dual(other, 0)

    def __mul__(self, other):
        other = other if isinstance(other, Dual) else Dual(other, 0)
        return Dual(self.value * other.value, self.d * other.value + self.value * other.d)

    __radd__, __rmul__ = __add__, __mul__


def exp(a):
    if isinstance(a, Dual):
        return Dual(exp(a.value), exp(a.value) * a.d)
    return cmath.exp(a) if isinstance(a, complex) else np.exp(a)


def inverse(a):
    return Dual(1 / a.value, -a.d / a.value**2) if isinstance(a, Dual) else 1 / a


def logistic(a):
    return inverse(1 + exp(-1 * a))


SQUASH = {
    "logistic": logistic,
    "centered": lambda a: 2 * logistic(a) + -1,
    "centered2": lambda a: 4 * logistic(a) + -2,
    "tanh": lambda a: 2 * logistic(2 * a) + -1,
    "identity": lambda a: a,
}


def net_input(weights, sources):
    assert len(weights) == len(sources)
    return sum((w * z for w, z in zip(weights, sources, strict=True)), 0.0 * weights[0])


def zero_state(topology):
    """Cell states and activations by kind, before the first step."""
    return [0.0] * sum(topology.blocks), {kind: [0.0] * n for kind, n in count_units(topology).items()}


def step(topology, weights, state, x):
    """One step; ``weights`` by kind as lists of rows. Returns the new state and the net inputs of the outputs."""
    s, before = state
    blocks = [j for j, size in enumerate(topology.blocks) for _ in range(size)]
    order = ["hidden", "cell", *(GATES if topology.gate_sources else ())]
    everyone = [y for kind in order for y in before.get(kind, ())] if topology.recurrent is True else []
    net = {}
    for kind, rows in weights.items():
        one = [1.0] if has_bias(topology, kind) else []
        if kind != "output":
            for i, row in enumerate(rows):
                seen = [before[kind][i]] if topology.recurrent == "self" else everyone
                net.setdefault(kind, []).append(net_input(row, [*x, *seen, *one]))
    y = {kind: [logistic(a) for a in values] for kind, values in net.items() if kind != "cell"}
    s_new = []
    for c, j in enumerate(blocks):
        kept = y["forget_gate"][j] * s[c] if "forget_gate" in y else s[c]
        s_new.append(y["input_gate"][j] * SQUASH[topology.input_squash](net["cell"][c]) + kept)
    if blocks:
        h = [SQUASH[topology.output_squash](value) for value in s_new]
        y["cell"] = [y["output_gate"][j] * h[c] if "output_gate" in y else h[c] for c, j in enumerate(blocks)]
    one = [1.0] if has_bias(topology, "output") else []
    sources = [*(x if topology.input_to_output else ()), *y.get("hidden", ()), *y.get("cell", ()), *one]
    return (s_new, y), [net_input(row, sources) for row in weights["output"]] if sources else []


def outputs_of(topology, net):
    if topology.output == "softmax":
        powers = [exp(a) for a in net]
        return [power * inverse(sum(powers)) for power in powers]
    return [SQUASH[topology.output](a) for a in net]


def error_of(topology, y, target):
    """E of one step, for complex y."""
    loss = loss_of(topology)
    if loss == "squared":
        return sum((t - o) ** 2 for o, t in zip(y, target, strict=True)) / 2
    if loss == "huber":
        found = 0
        for o, t in zip(y, target, strict=True):
            far = abs((t - o).real) > 1
            found += (t - o) * np.sign((t - o).real) - 0.5 if far else (t - o) ** 2 / 2
        return found
    if topology.output == "softmax":
        return -sum(t * cmath.log(o) for o, t in zip(y, target, strict=True))
    return -sum(t * cmath.log(o) + (1 - t) * cmath.log(1 - o) for o, t in zip(y, target, strict=True))


def error_signals(topology, y, target):
    """-dE/dnet of one step's outputs."""
    e = np.asarray(target) - y
    if loss_of(topology) == "huber":
        return np.clip(e, -1, 1)
    return e * y * (1 - y) if loss_of(topology) == "squared" and topology.output == "logistic" else e


def objective(topology, weights, inputs, targets):
    """E summed over all steps that have a target."""
    state, total = zero_state(topology), 0.0
    for x, target in zip(inputs, targets, strict=True):
        state, net = step(topology, weights, state, input_vector(topology, x))
        if (row := target_vector(topology, target)) is not None:
            total += error_of(topology, [complex(o) for o in outputs_of(topology, net)], row)
    return total


def whole_gradient(topology, weights, inputs, targets):
    """-dE/dw of `objective`, by complex steps: by kind, of the weights' shapes."""
    found = {kind: np.zeros(w.shape) for kind, w in weights.items()}
    for kind, w in weights.items():
        for index in np.ndindex(*w.shape):
            moved = {name: values.astype(complex) for name, values in weights.items()}
            moved[kind][index] += 1e-30j
            rows = {name: [[complex(w) for w in row] for row in values] for name, values in moved.items()}
            found[kind][index] = -complex(objective(topology, rows, inputs, targets)).imag / 1e-30
    return found


class DualNetwork:
    """A stream that learns online by the derivatives that its numbers carry."""

    def __init__(self, topology, weights, optimizer):
        self.topology = topology
        self.weights = {kind: np.array(w, dtype=float) for kind, w in weights.items()}
        self.optimizer = Optimizer(optimizer, self.weights)
        self.unit = np.eye(sum(w.size for w in self.weights.values()))
        self.reset()

    def reset(self):
        self.state = zero_state(self.topology)
        self.seen = np.zeros(self.topology.n_inputs, bool)

    def forward(self, x):
        """One step. Returns the outputs, and the derivatives of their net inputs by all weights."""
        self.seen |= np.arange(self.topology.n_inputs) == x if np.ndim(x) == 0 else True
        numbers = iter(self.unit)
        rows = {kind: [[Dual(value, next(numbers)) for value in row] for row in w] for kind, w in self.weights.items()}
        self.state, net = step(self.topology, rows, self.state, input_vector(self.topology, x))
        values = [a.value for a in net] if net else [0.0] * self.topology.n_outputs
        return np.array(outputs_of(self.topology, values)), np.array([a.d + 0 * self.unit[0] for a in net])

    def gradient(self, y, derivatives, target):
        """-dE/dw by kind, and the sum of the squares of the errors behind it."""
        e = error_signals(self.topology, y, target)
        flat = e @ derivatives if len(derivatives) else np.zeros(0)
        found, begin = {}, 0
        for kind, w in self.weights.items():
            found[kind] = flat[begin : begin + w.size].reshape(w.shape)
            begin += w.size
        return found, (e**2).sum()

    def takes_part(self):
        """The weights that an update may change: none from inputs that were not seen."""
        found = {kind: np.ones(w.shape, bool) for kind, w in self.weights.items()}
        for kind, used in found.items():
            if kind != "output" or self.topology.input_to_output:
                used[:, : self.topology.n_inputs] = self.seen
        return found

    def learn(self, x, target, learning_rate):
        y, derivatives = self.forward(x)
        if (row := target_vector(self.topology, target)) is not None:
            g, e2 = self.gradient(y, derivatives, row)
            self.optimizer.change(self.weights, g, learning_rate, self.takes_part(), e2)
        return y

    def train(self, inputs, targets, learning_rate):
        """One sequence from a zero state, its weights changed at the end."""
        self.reset()
        total, sum_e2, n = {kind: np.zeros(w.shape) for kind, w in self.weights.items()}, 0.0, 0
        for x, target in zip(inputs, targets, strict=True):
            y, derivatives = self.forward(x)
            if (row := target_vector(self.topology, target)) is not None:
                g, e2 = self.gradient(y, derivatives, row)
                total, sum_e2, n = {kind: total[kind] + g[kind] for kind in g}, sum_e2 + e2, n + 1
        if n:
            self.optimizer.change(self.weights, total, learning_rate, self.takes_part(), sum_e2)
