"""The floating-point settings of a host before and after calls: ``python host_floats.py LIBRARY MODE`` prints JSON.

LIBRARY is `register.c`, compiled; MODE is one of its functions that change settings, or empty. With ``trap`` the first
operation that is invalid, divides by zero or overflows ends the process with SIGFPE.
"""

from __future__ import annotations

import copy
import ctypes
import json
import pickle
import sys

import numpy as np

library, mode = sys.argv[1:]
register = ctypes.CDLL(library)
register.control.restype = ctypes.c_ulong
register.divide.restype = ctypes.c_double
register.divide.argtypes = [ctypes.c_double, ctypes.c_double]


def every_call(net, rng):
    """The calls that a host makes on a network, by name, with ordinary data."""
    n = 40
    n_inputs, n_outputs = net.topology.n_inputs, net.topology.n_outputs
    X = rng.uniform(-1, 1, (n, n_inputs)).astype(net.dtype)
    targets = rng.uniform(0, 1, (n, n_outputs)).astype(net.dtype)
    symbols = rng.integers(n_inputs, size=n)
    classes = rng.integers(n_outputs, size=n) if n_outputs > 1 else targets
    sparse = targets.copy()
    sparse[::3] = np.nan
    sequences, answers = [X[:25], X[25:], X[:3]], [sparse[:25], sparse[25:], sparse[:3]]

    def late():
        for x, target in zip(X, targets, strict=True):
            net.learn(x, None)
            net.correct(target, 0.1)

    def resumed():
        """Learn with copies: unlike the original's, their partials come without the bounds that the loops know."""
        twin = pickle.loads(pickle.dumps(net))
        twin.learn(np.zeros(n_inputs, net.dtype), targets[0], 0.1)
        net.learn(X[0], targets[0], 0.1, state=copy.copy(net.state))

    return {
        "step": lambda: [net.step(x) for x in X],
        "learn": lambda: [net.learn(x, target, 0.1) for x, target in zip(X, targets, strict=True)],
        "learn, from lists": lambda: net.learn(X[0].tolist(), targets[0].tolist(), 0.1),
        "correct": late,
        "run": lambda: net.run(X),
        "run over symbols": lambda: net.run(symbols),
        "learn_run": lambda: net.learn_run(X, sparse, 0.1),
        "learn_run over symbols": lambda: net.learn_run(symbols, classes, 0.1),
        "nothing but zeros": lambda: net.learn_run(np.zeros_like(X), np.zeros_like(targets), 0.1),
        "train": lambda: lstm97.train(net, sequences, answers, 0.1),
        "train, one target each": lambda: lstm97.train(net, sequences, targets[:3], 0.1),
        "train, by sequences": lambda: lstm97.train(net, sequences, answers, 0.1, update="sequence"),
        "train, in batches": lambda: lstm97.train(net, sequences, answers, 0.1, update="sequence", batch_size=3),
        "predict": lambda: lstm97.predict(net, sequences),
        "copies": resumed,
        "with_block": net.with_block,
        "reset": net.reset,
    }


TOPOLOGIES = [
    {"n_inputs": 2, "n_outputs": 1, "output": "identity"},
    {"n_inputs": 10, "n_outputs": 3, "blocks": (1,) * 32, "forget_gates": True, "output": "softmax"},
    {"n_inputs": 5, "n_outputs": 2, "blocks": (3, 1, 2), "n_hidden": 3, "input_to_output": True},
]

found, outputs, learned = [], [], []
if mode:
    getattr(register, mode)()
found.append(register.control())
import lstm97  # noqa: E402 - the import is tested too

found.append(register.control())
for dtype in ("float64", "float32"):
    for topology in TOPOLOGIES:
        net = lstm97.Network(lstm97.Topology(**topology), dtype=dtype, init_range=0.5)
        outputs.append(net.run(np.ones((20, net.topology.n_inputs))))
        for name, call in every_call(net, np.random.default_rng(0)).items():
            call()
            if register.control() != found[0]:
                found.append(name)
        learned.append(net.parameters)
    found.append(register.control())
if mode == "trap":
    register.trap_no_more()
register.round_nearest()  # so that the numbers below are printed as usual
answer = {
    "build": lstm97.show_config().build,
    "control": found,
    "outputs": [array.tolist() for array in outputs],
    "learned": [array.tolist() for array in learned],
}
print(json.dumps(answer), flush=True)
if mode == "trap":
    register.trap()
    register.divide(1.0, 0.0)
