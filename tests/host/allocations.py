"""Count the allocations of calls and print them as JSON: ``python allocations.py LIBRARY``, LIBRARY preloaded.

LIBRARY is `allocations.c`, compiled. Each count is a pair: how often memory was allocated, how often it was freed.
"""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import sys
from functools import partial
from itertools import repeat
from statistics import mode

import numpy as np
from bound import Bound

import lstm97
from lstm97 import RLS, SGD, Adam, Network, RMSprop, Scaling, Sequences, Topology

FEW, MANY = 200, 600
counter = ctypes.CDLL(sys.argv[1])
taken, given = (ctypes.c_long.in_dll(counter, name) for name in ("taken", "given"))


def during(call, n):
    """The counts of n calls and of the counting itself: the most frequent ones of the last ten of twenty measurements.

    The first calls allocate memory that is kept for reuse, and Python may allocate at any time for its own purposes.
    """
    counts = [(0, 0)] * 20
    for i in range(20):
        taken_before, given_before = taken.value, given.value
        for _ in repeat(None, n):
            call()
        counts[i] = taken.value - taken_before, given.value - given_before
    return mode(counts[10:])


def per_call(call):
    """The counts of one call; those of the counting itself cancel, as they do not depend on the number of calls.

    A fraction is what the calls really do only if it comes out five times: once, Python's own allocations can be its
    cause.
    """
    for _ in range(5):
        few, many = during(call, FEW), during(call, MANY)
        counts = [(b - a) / (MANY - FEW) for a, b in zip(few, many, strict=True)]
        if all(count.is_integer() for count in counts):
            break
    return counts


RULES = {
    "momentum": ((2, 2), {"optimizer": SGD(momentum=0.9)}),
    "RMSprop": ((1,) * 8, {"optimizer": RMSprop()}),
    "Adam with a bound": ((1,) * 8, {"optimizer": Adam(bound=1)}),
    "everything": ((2, 2), {"optimizer": Adam(bound=1), "readout": RLS(forgetting=0.99), "scaling": Scaling()}),
}


def single_steps(blocks, dtype, **how):
    """Counts per call, with arrays that the loops take without conversion."""
    net = Network(Topology(2, 1, blocks=blocks, output="identity"), dtype=dtype, **how)
    x, target, out = np.array([0.1, 0.2], dtype), np.array([0.3], dtype), np.empty(1, dtype)
    return {
        "learn": per_call(lambda: net.learn(x, target, 0.1, out=out)),
        "learn without target": per_call(lambda: net.learn(x, None, 0.1, out=out)),
        "step": per_call(lambda: net.step(x, out=out)),
    }


def bound_steps(blocks, dtype):
    """Counts per call of lstm97.cython_api, made from Python, which itself allocates objects only."""
    net = Network(Topology(2, 1, blocks=blocks, output="identity"), dtype=dtype)
    x, target = np.array([0.1, 0.2], dtype), np.array([0.3], dtype)
    with Bound(net.state) as bound:
        return {
            "learn": per_call(lambda: bound.learn(x, target, 0.1)),
            "learn without target": per_call(lambda: bound.learn(x, None, 0.1)),
            "step": per_call(lambda: bound.step(x)),
        }


def runs(n_steps):
    """Counts of one call over n_steps."""
    net = Network(Topology(2, 1, output="identity"))
    rng = np.random.default_rng(0)
    X, targets, out = rng.uniform(-1, 1, (n_steps, 2)), rng.uniform(0, 1, (n_steps, 1)), np.empty((n_steps, 1))
    return {
        "learn_run": during(lambda: net.learn_run(X, targets, 1e-6, out=out), 1),
        "learn_run without targets": during(lambda: net.learn_run(X, None, 1e-6, out=out), 1),
        "run": during(lambda: net.run(X, out=out), 1),
    }


def training(n_sequences):
    """Counts of one call over n_sequences of 3 steps each."""
    net = Network(Topology(2, 1, output="identity"))
    rng = np.random.default_rng(0)
    inputs = Sequences.pack(rng.uniform(-1, 1, (n_sequences, 3, 2)))
    targets = rng.uniform(0, 1, (n_sequences, 1))
    options = {"step": {}, "sequence": {"update": "sequence"}, "batch": {"update": "sequence", "batch_size": 50}}
    calls = {name: partial(lstm97.train, net, inputs, targets, 1e-6, **option) for name, option in options.items()}
    return {name: during(call, 1) for name, call in calls.items()}


gc.disable()
found = {
    "nothing": per_call(lambda: None),
    "an array": per_call(lambda: np.empty(10_000)),
    "a mapping": per_call(lambda: mmap.mmap(-1, 4096)),
    "small net": {dtype: single_steps((2, 2), dtype) for dtype in ("float64", "float32")},
    "large net": {dtype: single_steps((1,) * 40, dtype) for dtype in ("float64", "float32")},
    **{
        name: {dtype: single_steps(blocks, dtype, **how) for dtype in ("float64", "float32")}
        for name, (blocks, how) in RULES.items()
    },
    "bound small net": {dtype: bound_steps((2, 2), dtype) for dtype in ("float64", "float32")},
    "bound large net": {dtype: bound_steps((1,) * 40, dtype) for dtype in ("float64", "float32")},
    "runs": [runs(n_steps) for n_steps in (10, 1_100, 20_000)],
    "training": [training(n_sequences) for n_sequences in (7_000, 20_000)],
}
json.dump(found, sys.stdout)
