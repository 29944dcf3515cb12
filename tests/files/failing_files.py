"""Let every system call on a file fail in turn, once: ``python failing_files.py LIBRARY FOLDER``.

LIBRARY is failing_files.c, compiled and preloaded; files are written to and read from FOLDER. Prints for each case the
names of the system calls that made it fail. The checks are the assertions of `judge`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lstm97
from lstm97 import Checkpoint, History, Network, Topology, train
from lstm97.methods import BPTT, RecurrentTopology
from lstm97.methods import load as load_learner
from lstm97.paper import Records, Trial, read_records

PART_ONLY = 0
"""Instead of failing with an error, the call writes or reads only half of the data."""

ERRORS = (errno.ENOSPC, errno.EIO, errno.EINTR, PART_ONLY)
RNG = np.random.default_rng(0)
SEQUENCES, TARGETS = RNG.uniform(-1, 1, (12, 5, 2)), RNG.uniform(0, 1, (12, 1))
OUTCOME = {"solved": True, "diverged": None, "sequences": 3000, "steps": 9000, "stages": {}, "grown": ()}
ERRORS_OF_TRIAL = {"train_error": 0.1, "curve": (0.5,), "curve_every": 75, "test_sequences": 9, "test_wrong": 0}
TIMES = {"seconds": 1.0, "train_seconds": 1.0, "draw_seconds": 0.1, "steps_per_second": 9000.0, "test_error": 0.1}


@dataclass
class Case:
    """A call with the object from `make` and a path; `read` reads the file that it leaves there, if it is complete."""

    make: Callable[[], Any]
    call: Callable[[Any, str], object]
    read: Callable[[str], object]
    begin: Callable[[str], object] = lambda path: None
    """Writes the file that exists before the call."""


def network(seed=0):
    return Network(Topology(2, 1, blocks=(20,)), seed=seed)


def learner():
    return BPTT(RecurrentTopology(n_inputs=2, n_outputs=1, n_hidden=2), seed=1)


def save_another(path):
    network(7).save(path)


def weights_of_network(path):
    return lstm97.load(path).parameters.tolist()


def weights_of_learner(path):
    return load_learner(path).parameters.tolist()


class Run:
    """The objects with which a run of `train` continues from call to call."""

    def __init__(self):
        self.net, self.generator, self.history = network(), np.random.default_rng(3), History()

    def train(self, path):
        """Train, and return the weights, errors and counts."""
        options = {"order": self.generator, "history": self.history, "epochs": 2}
        train(self.net, SEQUENCES, TARGETS, checkpoint=Checkpoint(path, sequences=5), **options)
        counts = [self.history.sequences, self.history.steps, self.history.epochs]
        return [self.net.parameters.tolist(), self.history.errors.tolist(), *counts]


def trial(seed):
    named = {"row": "3a-100-3", "task": "two-sequences", "lag": 100, "reading": "literal", "max_sequences": 5000}
    return Trial(seed=seed, **named, **OUTCOME, **ERRORS_OF_TRIAL, **TIMES)


def add_records(_, path):
    """Add three trials in two openings of the file, except those that are already there."""
    for seeds in ((0,), (1, 2)):
        with Records(path, {"command": "lstm97 reproduce"}) as records:
            there = {each.seed for each in records.trials.values()}
            for seed in set(seeds) - there:
                records.add(trial(seed))


def recorded(path):
    return sorted(each.seed for each in read_records(path)[0])


CASES = {
    "save": Case(network, lambda net, path: net.save(path, state=True), weights_of_network),
    "save over another": Case(network, lambda net, path: net.save(path), weights_of_network, save_another),
    "load": Case(network, lambda net, path: weights_of_network(path), weights_of_network, save_another),
    "train": Case(Run, Run.train, weights_of_network),
    "learner": Case(learner, lambda net, path: net.save(path), weights_of_learner),
    "records": Case(lambda: None, add_records, recorded),
}


def descriptors():
    """The descriptors of this process's open files."""
    return set(os.listdir("/proc/self/fd"))


class Calls:
    """The preloaded library."""

    def __init__(self, library, folder):
        self._due, self._n_calls = (ctypes.c_long.in_dll(library, name) for name in ("due", "n_calls"))
        self._error, self._failed = (
            ctypes.c_int.in_dll(library, "error"),
            (ctypes.c_char * 16).in_dll(library, "failed"),
        )
        self._folder, self._path = (ctypes.c_char * 4096).in_dll(library, "folder"), os.fsencode(folder)

    @contextlib.contextmanager
    def failing(self, n, error):
        """Let the n-th call on a file in the folder fail."""
        self._due.value, self._n_calls.value, self._error.value, self._failed.value = n, 0, error, b""
        self._folder.value = self._path
        try:
            yield
        finally:
            self._folder.value = b""

    @property
    def failed(self):
        """The name of the call that has failed; empty if there were fewer than n."""
        return self._failed.value.decode()


def judge(case, calls, path, error):
    """Call a case with one system call after the other failing and check each; returns those that made it fail."""
    open_files = descriptors()

    def prepared():
        path.unlink(missing_ok=True)
        case.begin(str(path))
        return case.make(), path.read_bytes() if path.exists() else None

    expected = case.call(prepared()[0], str(path))
    new = case.read(str(path))
    found, n = [], 0
    while True:
        n += 1
        (made, old), raised, result = prepared(), None, None
        with calls.failing(n, error):
            try:
                result = case.call(made, str(path))
            except OSError as caught:
                raised = caught
        if not calls.failed:
            return found
        place = f"{calls.failed}, call {n}, error {error}"
        # No descriptor and no temporary file is left, and no exception is raised where it cannot be caught.
        assert descriptors() == open_files, place
        assert os.listdir(path.parent) in ([], [path.name]), (place, os.listdir(path.parent))
        assert not unraisable, (place, unraisable)
        if raised is None:
            assert (result, case.read(str(path))) == (expected, new), place
            continue
        assert raised.errno == error, place
        found.append(calls.failed)
        # There is the old file or a new one, complete, and the same call now gives the expected result.
        if path.exists():
            assert path.read_bytes() == old or case.read(str(path)) is not None, place
        else:
            assert old is None, place
        assert (case.call(made, str(path)), case.read(str(path))) == (expected, new), place


if __name__ == "__main__":
    path = Path(sys.argv[2], "file")
    calls = Calls(ctypes.CDLL(sys.argv[1]), path.parent)
    unraisable: list[object] = []
    sys.unraisablehook = lambda caught: unraisable.append(caught.exc_value)
    found = {}
    for name, case in CASES.items():
        print(name, file=sys.stderr)
        found[name] = sorted({call for error in ERRORS for call in judge(case, calls, path, error)})
    json.dump(found, sys.stdout)
