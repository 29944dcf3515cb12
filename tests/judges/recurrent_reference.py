"""A slow and obvious NumPy version of simple recurrent nets and of the chunker, the judge of lstm97.methods.

It uses no code of the package, only the settings of its topologies. Weights are given as matrices of shape (units,
sources): sources of the recurrent layer are the inputs, its own units at the step before, the bias; those of outputs
that are a layer of their own are the inputs (or not), the recurrent units, the bias.

`gradient` is automatic differentiation by complex steps and uses neither RTRL nor BPTT.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

SQUASHES = {"logistic": lambda a: 1 / (1 + np.exp(-a)), "tanh": np.tanh, "identity": lambda a: a}
SLOPES = {"logistic": lambda y: y * (1 - y), "tanh": lambda y: 1 - y**2, "identity": np.ones_like}


def rows(numbers, n):
    """Symbols or classes as one-hot rows, -1 as a row of NaN; rows as they are."""
    numbers = np.asarray(numbers)
    if numbers.ndim == 2:
        return numbers
    return np.array([np.full(n, np.nan) if number < 0 else np.eye(n)[number] for number in numbers]).reshape(-1, n)


def weight_shapes(topology):
    """The shapes of weight matrices by layer."""
    n_units = topology.n_hidden + (topology.n_outputs if topology.fully_recurrent else 0)
    shapes = {"recurrent": (n_units, topology.n_inputs + n_units + topology.bias)}
    if not topology.fully_recurrent:
        seen = topology.n_inputs if topology.input_to_output else 0
        shapes["output"] = (topology.n_outputs, seen + n_units + topology.bias)
    return shapes


def existing(topology):
    """Which weights exist, by layer."""
    exists = {layer: np.ones(shape, bool) for layer, shape in weight_shapes(topology).items()}
    n_units = len(exists["recurrent"])
    for unit in range(n_units):
        for other in range(n_units):
            if isinstance(topology.recurrence, str):
                sees = topology.recurrence == "all" or unit == other
            else:
                sees = topology.recurrence[unit][other]
            exists["recurrent"][unit, topology.n_inputs + other] = sees
    return exists


def forward(topology, weights, x, fed):
    """Activations of the recurrent layer and outputs."""
    one = [1.0] if topology.bias else []
    y = SQUASHES[topology.squash](weights["recurrent"] @ np.concatenate([x, fed, one]))
    if topology.fully_recurrent:
        return y, y[topology.n_hidden :]
    return y, SQUASHES[topology.output](weights["output"] @ output_sources(topology, x, y))


def output_sources(topology, x, y):
    """The sources of outputs that are a layer of their own."""
    return np.concatenate([x if topology.input_to_output else [], y, [1.0] if topology.bias else []])


def forced(topology, y, target):
    """What the next step sees of the recurrent layer if targets, where there are any, replace outputs."""
    return y if np.isnan(target).any() else np.concatenate([y[: topology.n_hidden], target])


# ---- the gradient by differences -------------------------------------------------------------------------------------


def loss(topology, weights, X, T, forcing=False):
    """Half the sum of squared errors over a sequence."""
    fed = np.zeros(len(weights["recurrent"]))
    total = 0.0
    for x, target in zip(X, T, strict=True):
        fed, o = forward(topology, weights, x, fed)
        if not np.isnan(target).any():
            total += np.sum((target - o) ** 2) / 2
        if forcing:
            fed = forced(topology, fed, target)
    return total


def truncated_loss(topology, weights, past_weights, X, T, depth):
    """As `loss`, but only the latest ``depth`` steps of each error use ``weights``; earlier ones ``past_weights``."""
    start = [np.zeros(len(weights["recurrent"]))]
    for x in X:
        start.append(forward(topology, past_weights, x, start[-1])[0])
    total = 0.0
    for t, target in enumerate(T):
        if np.isnan(target).any():
            continue
        first = max(0, t - depth + 1)
        y = start[first]
        for x in X[first : t + 1]:
            y, o = forward(topology, weights, x, y)
        total += np.sum((target - o) ** 2) / 2
    return total


def gradient(topology, weights, X, T, depth=None, forcing=False):
    """The derivative of the loss (truncated or not) by each weight, exact to rounding: Im loss(w + ih) / h."""
    tiny = 1e-30
    result = {layer: np.zeros(w.shape) for layer, w in weights.items()}
    for layer, exists in existing(topology).items():
        for place in zip(*np.nonzero(exists), strict=True):
            moved = {other: w.astype(complex) for other, w in weights.items()}
            moved[layer][place] += 1j * tiny
            if depth is None:
                value = loss(topology, moved, X, T, forcing)
            else:
                value = truncated_loss(topology, moved, weights, X, T, depth)
            result[layer][place] = np.imag(value) / tiny
    return result


# ---- the learning rules ----------------------------------------------------------------------------------------------


class Rule:
    """A net that steps, and may learn after each step; weights change at once, or at ``settle``."""

    def __init__(self, topology, weights, at_once=True):
        self.topology = topology
        self.weights = {layer: w.copy() for layer, w in weights.items()}
        self.exists = existing(topology)
        self.at_once = at_once
        self.changes = {layer: np.zeros(w.shape) for layer, w in weights.items()}
        self.reset()

    def reset(self):
        self.fed = np.zeros(len(self.weights["recurrent"]))
        self.y = self.fed
        self.o = np.zeros(self.topology.n_outputs)

    def step(self, x):
        self.x = np.asarray(x, float)
        self.sources = np.concatenate([self.x, self.fed, [1.0] if self.topology.bias else []])
        self.y, self.o = forward(self.topology, self.weights, self.x, self.fed)
        self.note_step()
        self.fed = self.y
        return self.o

    def learn(self, target, rate):
        """Learn from a target; where it is NaN there is no error."""
        target = np.asarray(target, float)
        if np.isnan(target).all():
            return
        error = rate * np.where(np.isnan(target), 0.0, target - self.o)
        changes = {}
        if self.topology.fully_recurrent:
            error_of_units = np.concatenate([np.zeros(self.topology.n_hidden), error])
        else:
            error = error * SLOPES[self.topology.output](self.o)
            changes["output"] = np.outer(error, output_sources(self.topology, self.x, self.y))
            first = self.topology.n_inputs if self.topology.input_to_output else 0
            # RTRL and BPTT use the output weights from before this change.
            error_of_units = self.weights["output"][:, first : first + len(self.y)].T @ error
        changes["recurrent"] = self.through_time(error_of_units) * self.exists["recurrent"]
        for layer, change in changes.items():
            self.changes[layer] += change
        if self.at_once:
            self.settle()

    def settle(self):
        for layer, change in self.changes.items():
            self.weights[layer] = self.weights[layer] + change
            self.changes[layer] = np.zeros(change.shape)

    def recurrent_weights(self):
        n_inputs = self.topology.n_inputs
        return self.weights["recurrent"][:, n_inputs : n_inputs + len(self.y)]


class RTRL(Rule):
    """Sensitivities dy_k / dw_im as an array of three indices, which weight changes do not affect."""

    def reset(self):
        super().reset()
        self.dy_dw = np.zeros((len(self.y), *self.weights["recurrent"].shape))

    def note_step(self):
        slopes = SLOPES[self.topology.squash](self.y)
        before, self.dy_dw = self.dy_dw, np.zeros(self.dy_dw.shape)
        for k in range(len(self.y)):
            for j in range(len(self.y)):
                self.dy_dw[k] += self.recurrent_weights()[k, j] * before[j]
            self.dy_dw[k, k] += self.sources
            self.dy_dw[k] *= slopes[k] * self.exists["recurrent"]

    def through_time(self, error_of_units):
        return sum(error * dy_dw for error, dy_dw in zip(error_of_units, self.dy_dw, strict=True))

    def force(self, target):
        """Let the next step see targets instead of outputs; their derivatives by the weights are 0."""
        if not np.isnan(target).any():
            self.fed = forced(self.topology, self.y, target)
            self.dy_dw[self.topology.n_hidden :] = 0


class BPTT(Rule):
    """Each error goes back by itself over stored activations, with the present weights, ``depth`` steps or all."""

    def __init__(self, topology, weights, at_once=True, depth=None):
        self.depth = depth
        super().__init__(topology, weights, at_once)

    def reset(self):
        super().reset()
        self.past = []

    def note_step(self):
        self.past.append((self.sources, self.y))

    def through_time(self, error_of_units):
        change = np.zeros(self.weights["recurrent"].shape)
        latest = self.past if self.depth is None else self.past[-self.depth :]
        for sources, y in reversed(latest):
            error_of_nets = error_of_units * SLOPES[self.topology.squash](y)
            change += np.outer(error_of_nets, sources)
            error_of_units = self.recurrent_weights().T @ error_of_nets
        return change


def train(rule, sequences, rate, forcing=False):
    """Train on pairs of input and target rows, each from a zero state; the mean |t - o| of each sequence, or NaN."""
    errors = []
    for X, T in sequences:
        rule.reset()
        found = []
        for x, target in zip(X, T, strict=True):
            o = rule.step(x)
            if not np.isnan(target).any():
                found.extend(np.abs(target - o))
            rule.learn(target, rate)
            if forcing:
                rule.force(target)
        rule.settle()
        errors.append(np.mean(found) if found else np.nan)
    return errors


# ---- the chunker -----------------------------------------------------------------------------------------------------


class Chunker:
    """Two nets of RTRL; the upper one has only the inputs (and targets) that the lower one failed to predict.

    Outputs of the lower net (automatizer): the task's, the next input (unless the task's targets are that), the upper
    net's hidden units, its outputs (if they are imitated too). Outputs of the upper net (chunker): the task's, its next
    input; or that alone.
    """

    def __init__(self, topology, weights, threshold):
        self.next_inputs, self.time_input, self.threshold = topology.next_inputs, topology.time, threshold
        self.n_inputs, self.n_task = topology.n_inputs, topology.n_outputs
        n_predictions = self.n_task if self.next_inputs else self.n_task + self.n_inputs
        self.imitates_outputs = topology.imitated == "state"
        n_imitated = topology.n_hidden + (n_predictions if self.imitates_outputs else 0)
        self.automatizer, self.chunker = (
            RTRL(
                SimpleNamespace(
                    n_inputs=n_inputs,
                    n_outputs=n_outputs,
                    n_hidden=topology.n_hidden,
                    fully_recurrent=False,
                    recurrence="all",
                    input_to_output=True,
                    bias=topology.bias,
                    squash="logistic",
                    output=topology.output,
                ),
                {layer: weights[f"{name}.{layer}"] for layer in ("recurrent", "output")},
            )
            for name, n_inputs, n_outputs in (
                ("automatizer", self.n_inputs, n_predictions + n_imitated),
                ("chunker", self.n_inputs + topology.time, n_predictions),
            )
        )
        # The places of the prediction of the next input among the outputs, in both nets.
        self.next_input = slice(n_predictions - self.n_inputs, n_predictions)
        self.reset()

    @property
    def weights(self):
        nets = {"automatizer": self.automatizer, "chunker": self.chunker}
        return {f"{name}.{layer}": w for name, net in nets.items() for layer, w in net.weights.items()}

    def reset(self):
        self.automatizer.reset()
        self.chunker.reset()
        self.time = 0
        self.passed_on = []
        self.judged = False  # whether a target was the next input, so that its prediction has been judged

    def step(self, x):
        """Inference: the chunker does not step."""
        self.time += 1
        self.judged = False
        return self.automatizer.step(x)[: self.n_task]

    def learn(self, x, target, rate):
        self.time += 1
        given = not np.isnan(target).any()
        if self.time == 1:
            self.pass_on(x, self.time, rate)
        elif not self.judged:
            surprise = self.differ(self.automatizer.o[self.next_input], x)
            self.learn_part(self.automatizer, self.next_input, x, rate)
            if surprise:
                self.pass_on(x, self.time, rate)

        o = self.automatizer.step(x)[: self.n_task]
        unknown = np.full(self.next_input.stop - self.n_task, np.nan)
        imitated = [self.chunker.y, self.chunker.o] if self.imitates_outputs else [self.chunker.y]
        wanted = np.concatenate([target, unknown, *imitated])
        self.automatizer.learn(wanted, rate)

        missed = given and self.differ(o, target)
        if self.next_inputs and missed:
            self.pass_on(target, self.time + 1, rate)
        elif missed:
            if not self.passed_on or self.passed_on[-1] != self.time:
                self.pass_on(x, self.time, rate)
            self.learn_part(self.chunker, slice(self.n_task), target, rate)
        self.judged = self.next_inputs and given
        return o

    def pass_on(self, x, time, rate):
        if self.passed_on:
            self.learn_part(self.chunker, self.next_input, x, rate)
        gap = time - (self.passed_on[-1] if self.passed_on else 0)
        self.chunker.step(np.concatenate([x, [1 - 1 / gap] if self.time_input else []]))
        self.passed_on.append(time)

    def learn_part(self, net, part, values, rate):
        target = np.full(len(net.o), np.nan)
        target[part] = values
        net.learn(target, rate)

    def differ(self, prediction, values):
        return bool((np.abs(prediction - values) > self.threshold).any())
