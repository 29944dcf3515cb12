"""Let every allocation of calls fail in turn: ``python failing_allocations.py FOLDER KINDS STRIDE LASTING CASE...``.

FOLDER has the module `failing`, compiled from failing.c; files are written there too. Each case is called with its n-th
allocation of these KINDS (a sum of those in failing.c) failing, for n = 1, 2, 3, ... up to FIRST, then each STRIDE-th;
if LASTING is 1, every later allocation fails too. A case ends when a call has fewer than n allocations. Prints how many
calls failed, by case.

The checks after each call are the assertions of `judge`.
"""

from __future__ import annotations

import copy
import faulthandler
import gc
import json
import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from waiting import HANGS, until

import lstm97
from lstm97 import RLS, SGD, Adam, Checkpoint, History, Network, Scaling, Stop, Topology, _run, predict, train
from lstm97._kernel import team
from lstm97.methods import BPTT, RCC, RTRL, Chunker, ChunkerTopology, RecurrentTopology
from lstm97.methods import load as load_learner
from lstm97.network import move_memory

FIRST = 10
TOPOLOGY = Topology(2, 2, blocks=(2, 1), forget_gates=True, n_hidden=1, output="identity")
RECURRENT = RecurrentTopology(n_inputs=2, n_outputs=2, n_hidden=2)
RNG = np.random.default_rng(0)
X, T = RNG.uniform(-1, 1, (100, 2)), RNG.uniform(0, 1, (100, 2))
FEW = slice(20)
WEIGHTS = RNG.uniform(0, 2, 100)
RULES = {"optimizer": Adam(bound=1), "readout": RLS(), "scaling": Scaling()}
SEQUENCES, TARGETS = (
    RNG.uniform(-1, 1, (60, 5, 2)),
    RNG.uniform(0, 1, (60, 2)),
)  # 300 steps: CPython has preallocated ints for smaller numbers only
LONG = X[np.newaxis]
STOP = Stop(10, 0.5, 2.0, max_wrong=3)


@dataclass
class Case:
    """A call, the object that it is made on, and what to do before it is repeated after a failure."""

    make: Callable[[], Any]
    call: Callable[[Any, Path], Any]
    prepare: Callable[[Any, Path], object] = lambda made, path: None
    renew: Callable[[Any, Any], object] = lambda made, weights: None
    """Restores the object after a failed call, given the weights it had before."""
    keeps: bool = True
    """Whether a failed call leaves the object as it was before, or as it is after a call that succeeds."""
    repeats: bool = True
    """Whether the same call gives the same bits."""


def network(**how):
    """A network in the middle of a stream."""
    net = Network(TOPOLOGY, seed=1, **how)
    net.learn_run(X[:5], T[:5])
    return net


def with_memory():
    """A network in the middle of a stream that keeps more for learning than its weights."""
    return network(**RULES)


def set_weights_and_memory(net, weights):
    net.parameters = weights
    move_memory(with_memory(), net)


def new_network():
    """A network that has not been trained, so that its first training will check its cells for saturation."""
    return Network(TOPOLOGY, seed=1)


def awaiting():
    """A network that awaits a late target."""
    net = network()
    net.learn(X[5], None)
    return net


def saved(net, path):
    net.save(path, state=True)
    return path.read_bytes()


def trained(net, path, options=dict):
    return train(net, SEQUENCES, TARGETS, **options(path))


def set_weights(net, weights):
    net.parameters = weights


def learners():
    """Functions that make a learner, by name: one for each kind of loops."""
    chunks = ChunkerTopology(n_inputs=2, n_outputs=2, n_hidden=2)
    yield "bptt", partial(BPTT, RECURRENT, seed=1)
    yield "rtrl", partial(RTRL, RECURRENT, seed=1)
    yield "chunker", partial(Chunker, chunks, seed=1, threshold=0.45)


def set_stream(net, weights):
    net.parameters = weights
    net.reset()


CASES = {
    "Network": Case(lambda: None, lambda _, path: Network(TOPOLOGY, "float32", forget_gate_bias=[1, 2])),
    "new_state": Case(network, lambda net, path: net.learn(X[5], T[5], state=net.new_state())),
    "learn": Case(new_network, lambda net, path: net.learn(X[0], T[0])),
    "learn from lists": Case(network, lambda net, path: net.learn(X[5].tolist(), T[5].tolist(), 1)),
    "learn from symbols": Case(network, lambda net, path: net.learn(1, 0)),
    "correct": Case(awaiting, lambda net, path: net.correct(T[5].tolist())),
    "step": Case(network, lambda net, path: net.step(X[5])),
    "peek": Case(network, lambda net, path: net.peek(X[5])),
    "learn_run": Case(new_network, lambda net, path: net.learn_run(X, T)),
    "learn_run over its inputs": Case(network, lambda net, path: net.learn_run(Z := X.copy(), T, out=Z)),
    "run with record": Case(network, lambda net, path: net.run(X, ("cell_state", "input_gate"))),
    "reset": Case(network, lambda net, path: net.reset()),
    "assign": Case(network, lambda net, path: net.state.assign(net.new_state())),
    "parts": Case(network, lambda net, path: (net.state.partials, net.state.activations, net.state.cell_state)),
    "parameters": Case(network, lambda net, path: set_weights(net, np.ones(net.topology.n_weights))),
    "weights": Case(network, lambda net, path: net.weights.update(cell=np.ones((3, 1)), output=np.zeros(1))),
    "with_block": Case(network, lambda net, path: net.with_block(2, input_gate_bias=-1)),
    "copy": Case(network, lambda net, path: (copy.copy(net), copy.copy(net.state))),
    "pickle": Case(network, lambda net, path: pickle.loads(pickle.dumps(net))),
    "save": Case(network, saved),
    "load": Case(network, lambda net, path: lstm97.load(path), saved),
    "export_c": Case(network, lambda net, path: lstm97.export_c(net, path, learn=True)),
    "predict": Case(network, lambda net, path: predict(net, [*SEQUENCES])),
    "predict, an array": Case(network, lambda net, path: predict(net, SEQUENCES)),
}
CASES |= {
    "Network with memory": Case(lambda: None, lambda _, path: Network(TOPOLOGY, "float32", **RULES)),
    "learn with memory": Case(with_memory, lambda net, path: net.learn(X[5], T[5], weight=0.5)),
    "learn_run with memory": Case(with_memory, lambda net, path: net.learn_run(X, T, weight=WEIGHTS)),
    "with_optimizer": Case(with_memory, lambda net, path: net.with_optimizer(SGD(momentum=0.9))),
    "with_block with memory": Case(with_memory, lambda net, path: net.with_block(2)),
    "pickle with memory": Case(with_memory, lambda net, path: pickle.loads(pickle.dumps(net))),
    "save with memory": Case(with_memory, saved),
    "load with memory": Case(with_memory, lambda net, path: lstm97.load(path), saved),
    "train with memory": Case(
        with_memory,
        lambda net, path: train(net, SEQUENCES, TARGETS, sample_weight=WEIGHTS[:60]),
        renew=set_weights_and_memory,
        keeps=False,
    ),
}
TRAINING = {
    "by the step": lambda path: {"epochs": 2},
    "until a rule holds": lambda path: {"stop": STOP, "epochs": 3},
    "by the sequence": lambda path: {"update": "sequence", "callback": lambda history: np.ones(3).sum() < 0},
    "in batches": lambda path: {"update": "sequence", "batch_size": 8, "order": np.random.default_rng(3), "epochs": 2},
    "by two threads": lambda path: {"update": "sequence", "batch_size": 8, "threads": 2},
    "hogwild": lambda path: {"parallel": "hogwild", "threads": 2},
    "with a checkpoint": lambda path: {
        "checkpoint": Checkpoint(path, sequences=25), "order": np.random.default_rng(3), "epochs": 2, "stop": STOP
    },
}  # fmt: skip
for name, options in TRAINING.items():
    call = partial(trained, options=options)
    CASES[f"train {name}"] = Case(network, call, renew=set_weights, keeps=False, repeats=name != "hogwild")
for name, make in learners():
    CASES |= {
        f"{name}": Case(lambda: None, lambda _, path, make=make: make()),
        f"{name}: learn": Case(make, lambda net, path: net.learn(X[5], T[5]), renew=set_stream),
        f"{name}: learn_run": Case(make, lambda net, path: net.learn_run(X, T), renew=set_stream),
        f"{name}: run": Case(make, lambda net, path: net.run(X), renew=set_stream),
        f"{name}: train": Case(
            make, lambda net, path: net.train(LONG, T[:1], stop=STOP, epochs=2), renew=set_weights, keeps=False
        ),
        f"{name}: files": Case(make, lambda net, path: (net.save(path), load_learner(path))),
    }  # fmt: skip
CASES["rcc: train"] = Case(
    partial(RCC, 2, 2, seed=1, output_epochs=3, candidate_epochs=3),
    lambda net, path: net.train(SEQUENCES, TARGETS, epochs=12),
    keeps=False,
    repeats=False,
)


def leave_bound(net, path):
    """A deliberate fault: if there is no memory for the array, the network stays bound."""
    net._engine.bind(learns=True)
    np.empty(100)
    net._engine.unbind(learns=True)


FAULTS = {"a fault": Case(network, leave_bound, renew=set_weights)}


def bits(value):
    """A result or an object as a value that can be compared with ==."""
    if isinstance(value, (list, tuple)):
        return [bits(each) for each in value]
    if isinstance(value, dict):
        return {str(name): bits(each) for name, each in value.items()}
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, History):
        counts = [value.sequences, value.steps, value.epochs, value.stopped]
        return [*counts, value.errors.tobytes(), value._window and value._window.n_seen]
    return value if value is None or isinstance(value, (bytes, str)) else pickle.dumps(value)


def threads():
    """The number of threads of this process."""
    return len(os.listdir("/proc/self/task"))


def descriptors():
    """The descriptors of this process's open files."""
    return set(os.listdir("/proc/self/fd"))


def attempt(failing, kinds, n, lasting, call):
    """Whether the n-th allocation failed, what the call raised or None, and what it returned."""
    error = result = None
    failing.arm(kinds, n, lasting)
    try:
        result = call()
    except BaseException as raised:
        error = raised
    finally:
        has_failed = failing.disarm()
    return has_failed, error, result


def judge(case, failing, path, kinds, stride, lasting):
    """Call a case with one allocation after the other failing and check each call; returns how many calls failed."""
    n_threads, open_files = threads(), descriptors()

    def prepared():
        path.unlink(missing_ok=True)
        made = case.make()
        case.prepare(made, path)
        return made

    made = prepared()
    weights = None if made is None else made.parameters
    before = bits(made)
    expected, after = bits(case.call(made, path)), bits(made)  # also allocates what later calls reuse
    n = n_failed = 0
    has_failed = True
    while has_failed:
        n += 1 if n < FIRST else stride
        made, unraisable[:] = prepared(), []
        has_failed, error, result = attempt(failing, kinds, n, lasting, lambda made=made: case.call(made, path))
        place = f"allocation {n}"
        # Only MemoryError is raised, also in threads and destructors; no thread, descriptor or file is left behind.
        assert all(kind is MemoryError for kind in unraisable), (place, unraisable)
        until(lambda: threads() == n_threads)
        assert descriptors() == open_files, place
        assert not list(path.parent.glob("*.tmp")) + list(path.parent.glob(".*.tmp")), place
        if error is None:  # the call did without the allocation that failed
            assert not case.repeats or (bits(result), bits(made)) == (expected, after), place
            continue
        n_failed += 1
        assert has_failed, (place, error)
        if not isinstance(error, MemoryError):
            raise error
        del error
        if made is None:
            continue
        # The weights are finite; the call is done completely or not at all, unless it is a long one.
        assert np.isfinite(made.parameters).all(), place
        assert not case.keeps or bits(made) in (before, after), place
        # Nothing is locked: the weights can be set, and the same call now gives the expected result.
        if case.keeps and bits(made) == after != before:
            continue
        case.renew(made, weights)
        again = bits(case.call(made, path))
        assert not case.repeats or (again, bits(made)) == (expected, after), place
        if not isinstance(made, RCC):
            made.learn(X[0], T[0])
    return n_failed


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    kinds, stride, lasting = map(int, sys.argv[2:5])
    sys.path.insert(0, str(folder))
    import failing

    faulthandler.enable()
    faulthandler.dump_traceback_later(HANGS / 2, exit=True)
    unraisable: list[type] = []
    sys.unraisablehook = lambda caught: unraisable.append(caught.exc_type)
    team.WORTH_SHARING = _run.WORTH_THREADS = -1  # use threads even for this little work
    gc.disable()
    os.fsync = lambda file: None  # it would take most of the time, and allocates nothing
    found = {}
    for name in sys.argv[5:] or CASES:
        print(name, file=sys.stderr)
        found[name] = judge((CASES | FAULTS)[name], failing, folder / "file", kinds, stride, lasting)
    json.dump(found, sys.stdout)
