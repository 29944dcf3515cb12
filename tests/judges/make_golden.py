"""Write ``golden/trajectories.json``: results of the reference on a few networks, which must not change by accident.

Run ``python tests/judges/make_golden.py`` when results change on purpose. Only ``reference.py`` and NumPy are used.
Weights, inputs and targets are sines rounded to four decimals, so that they depend on no random generator and on no
machine.

For each case the file holds the arguments of ``lstm97.Topology``, the learning rate, the initial weights and the
sequences (each from a zero state; a target is a row, a class number or null), and the results: outputs and cell states
at each step and the final weights for update="step", the final weights for update="sequence". A case with other rules
than the paper's has the names and fields of their settings too, and is all by ``learning_rules.py``; one with a readout
has no results for update="sequence".
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import learning_rules
import numpy as np
from reference import ReferenceNetwork, train, weight_shapes

PATH = Path(__file__).parents[1] / "golden" / "trajectories.json"


def numbers(shape, phase, most=1.0):
    """Numbers that look random in [-most, most]."""
    i = np.arange(np.prod(shape, dtype=int))
    return np.round(most * np.sin(phase + 0.7 * i**2), 4).reshape(shape)


def symbols(n_steps, n_symbols, phase):
    """Symbols that look random."""
    return np.floor((numbers(n_steps, phase) + 1) / 2.0001 * n_symbols).astype(int)


def topology(n_inputs, n_outputs, **others):
    """All arguments of ``lstm97.Topology``."""
    return {
        "n_inputs": n_inputs,
        "n_outputs": n_outputs,
        "blocks": (2, 2),
        "n_hidden": 0,
        "output_gates": True,
        "forget_gates": False,
        "recurrent": True,
        "gate_sources": True,
        "input_to_output": False,
        "bias": "all",
        "input_squash": "centered2",
        "output_squash": "centered",
        "output": "logistic",
        **others,
    }


def adding():
    """Task 4: ragged sequences of numbers, a target at the end."""
    sequences = []
    for n, n_steps in enumerate((25, 31, 28)):
        values, markers = numbers(n_steps, n), np.zeros(n_steps)
        markers[[0, -1]] = -1
        markers[[3 + n, 11 + n]] = 1
        targets = [None] * (n_steps - 1) + [[0.5 + (values[3 + n] + values[11 + n]) / 4]]
        sequences.append({"inputs": np.stack([values, markers], axis=1), "targets": targets})
    return topology(2, 1), 0.5, sequences


def reber():
    """The network of task 1 with blocks of two: one-hot rows, the next symbol as the class at every step."""
    sequences = []
    for n, n_steps in enumerate((9, 1, 14)):
        symbol = symbols(n_steps + 1, 7, 2.0 + n)
        sequences.append({"inputs": np.eye(7)[symbol[:-1]], "targets": symbol[1:]})
    return topology(7, 7, blocks=(2, 2, 2), bias="gates"), 0.2, sequences


def text():
    """A stream of symbols, forget gates, softmax; two of three steps have a class."""
    symbol = symbols(46, 5, 0.4)
    targets = [None if t % 3 == 1 else symbol[t + 1] for t in range(45)]
    arguments = topology(5, 5, blocks=(3,), forget_gates=True, output="softmax", output_squash="tanh")
    return arguments, 0.3, [{"inputs": symbol[:-1], "targets": targets}]


def mixed():
    """Blocks of several sizes, conventional hidden units, linear outputs that see the inputs, no gates as sources."""
    n_steps = 20
    rows = numbers((n_steps, 2), 5.0)
    targets = [rows[t] if t % 4 == 2 else None for t in range(n_steps)]
    arguments = topology(
        3,
        2,
        blocks=(1, 3, 2),
        n_hidden=2,
        forget_gates=True,
        gate_sources=False,
        input_to_output=True,
        bias="hidden",
        input_squash="tanh",
        output="identity",
    )
    return arguments, 0.1, [{"inputs": numbers((n_steps, 3), 4.0), "targets": targets}]


def no_recurrence():
    """A small task 2a: connectivity B, one cell without output gate, h the identity, the next symbol as class."""
    cycle = [[4, 0, 1, 2, 3, 4], [5, 0, 1, 2, 3, 5]]
    sequences = [{"inputs": cycle[n][:-1], "targets": cycle[n][1:]} for n in (0, 1, 1, 0)]
    arguments = topology(
        6,
        6,
        blocks=(1,),
        output_gates=False,
        recurrent=False,
        input_to_output=True,
        bias="none",
        input_squash="logistic",
        output_squash="identity",
    )
    return arguments, 1.0, sequences


def streaming(**learning):
    """Inputs and targets of very different sizes, some of the targets missing, with these rules of learning."""
    sequences = []
    for n, n_steps in enumerate((24, 16)):
        rows = numbers((n_steps, 2), 1.0 + n) * [40, 0.3] + [100, -1]
        targets = [None if t % 5 == 1 else rows[t] for t in range(n_steps)]
        sequences.append({"inputs": numbers((n_steps, 3), 3.0 + n) * [1, 20, 0.01], "targets": targets})
    arguments = topology(3, 2, n_hidden=1, forget_gates=True, input_to_output=True, output="identity", loss="huber")
    return arguments, 0.05, sequences, learning


def adam_and_scaling():
    """Adam with a bound; inputs and targets are scaled and forgotten."""
    return streaming(
        optimizer=("Adam", {"beta1": 0.8, "beta2": 0.95, "epsilon": 0.01, "bound": 0.3}),
        scaling=("Scaling", {"inputs": True, "targets": True, "decay": 0.9}),
    )


def rmsprop_and_least_squares():
    """RMSprop for the hidden layer, least squares for the outputs, and scaling."""
    return streaming(
        optimizer=("RMSprop", {"decay": 0.9, "epsilon": 0.01, "bound": None}),
        readout=("RLS", {"forgetting": 0.95, "prior": 0.5}),
        scaling=("Scaling", {"inputs": True, "targets": True, "decay": None}),
    )


def momentum():
    """Momentum with a bound, symbols, some of which do not come in the first sequence."""
    symbol = symbols(40, 6, 0.9)
    targets = [None if t % 3 == 1 else symbol[t + 1] for t in range(39)]
    sequences = [
        {"inputs": symbol[a:b] if a else symbol[a:b] % 3, "targets": targets[a:b]} for a, b in ((0, 12), (12, 39))
    ]
    arguments = topology(6, 6, blocks=(1, 2), input_to_output=True, loss="cross_entropy")
    return arguments, 0.1, sequences, {"optimizer": ("SGD", {"momentum": 0.7, "bound": 0.5})}


CASES = (adding, reber, text, mixed, no_recurrence, adam_and_scaling, rmsprop_and_least_squares, momentum)


def trajectory(case):
    """One case of the file."""
    arguments, learning_rate, sequences, *rules = case()
    learning = rules[0] if rules else {}
    space = SimpleNamespace(**arguments)
    weights = {kind: numbers(shape, 5 + n, 0.4) for n, (kind, shape) in enumerate(weight_shapes(space).items())}

    def reference():
        if not learning:
            return ReferenceNetwork(space, weights)
        settings = {name: SimpleNamespace(**fields) for name, (_, fields) in learning.items()}
        return learning_rules.LearningNetwork(space, weights, **settings)

    net, outputs, cell_states = reference(), [], []
    for sequence in sequences:
        net.reset()
        steps = list(zip(sequence["inputs"], sequence["targets"], strict=True))
        pairs = [(net.learn(x, target, learning_rate), net.cell_state) for x, target in steps]
        outputs.append([y for y, _ in pairs])
        cell_states.append([s for _, s in pairs])
    summed = reference()
    if "readout" not in learning:
        data = ([s[name] for s in sequences] for name in ("inputs", "targets"))
        (learning_rules.train if learning else train)(summed, *data, learning_rate, "sequence")
    return {
        "topology": arguments,
        **({"learning": learning} if learning else {}),
        "learning_rate": learning_rate,
        "initial_weights": weights,
        "sequences": sequences,
        "outputs": outputs,
        "cell_states": cell_states,
        "final_weights": net.weights,
        **({} if "readout" in learning else {"final_weights_update_sequence": summed.weights}),
    }


def trajectories():
    """The contents of the file as values that JSON has."""
    return {case.__name__: _plain(trajectory(case)) for case in CASES}


def load():
    """Read the file."""
    return json.loads(PATH.read_text(encoding="utf-8"))


def _plain(value):
    """Arrays as lists, NumPy's numbers as Python's."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _text(value, indent=""):
    """JSON with one line per row of numbers, so that a difference between two versions can be read."""
    deeper = indent + " "
    if isinstance(value, dict):
        lines = [f"{deeper}{json.dumps(key)}: {_text(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
        return "[\n" + ",\n".join(deeper + _text(item, deeper) for item in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(_text(trajectories()) + "\n", encoding="utf-8")
