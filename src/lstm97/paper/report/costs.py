"""What a step of learning costs by each method as the net grows, and how much memory as the sequence grows."""

from __future__ import annotations

import copy
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm97.extend import read_whole, write_whole
from lstm97.methods import BPTT, RCC, RTRL, Chunker, ChunkerTopology, Elman, Learner, RecurrentTopology, train
from lstm97.network import Network
from lstm97.paper.trials.records import is_count, is_measure, strict_json
from lstm97.topology import Topology

UNITS = (2, 4, 8, 16, 32, 64, 128)
LARGEST: Mapping[str, int] = {"rtrl": 64, "chunker": 64}
"""The most units of a method that are measured, where its cost grows too fast for all of `UNITS`."""

STEPS = 100
"""Steps of the sequence while the number of units grows."""

LENGTHS = (100, 1000, 10_000, 100_000)
LENGTHS_UNITS = 8
"""Units while the sequence grows."""

ROUNDS = 7
SHORTEST = 0.02
"""The least time of a timing, in seconds: what is timed is repeated until it takes that long."""

AT_MOST = 10_000
"""The most steps of a call that is timed: several sequences, so that the cost of the call itself does not count."""

N_INPUTS = 4

Make = Callable[[int], Learner | Network]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What learning costs by one method: the time of a step, and the memory of the learner."""

    method: str
    n_units: int
    """Hidden units; cells of LSTM."""
    n_weights: int
    n_steps: int
    """Steps of the sequence; each of them has a target."""
    nanoseconds: float
    """Time of a step: the median of `ROUNDS` timings."""
    n_bytes: int
    """Memory that the learner holds after training on the sequence."""


def _lstm(n: int) -> Network:
    return Network(Topology(N_INPUTS, 1, blocks=(1,) * n))


def _full(n: int) -> RecurrentTopology:
    return RecurrentTopology(n_inputs=N_INPUTS, n_outputs=1, n_hidden=n - 1, fully_recurrent=True)


def _layered(n: int) -> RecurrentTopology:
    return RecurrentTopology(n_inputs=N_INPUTS, n_outputs=1, n_hidden=n)


def _cascade(n: int) -> RCC:
    """A cascade of n units, each trained for one pass: what they have learned is of no matter here."""
    net = RCC(N_INPUTS, 1, max_units=n + 1, output_epochs=1, candidate_epochs=1)
    inputs, targets = _data(STEPS)
    while net.units < n:
        net.train(inputs, targets, learning_rate=1e-6)
    return net


_HOW: Mapping[str, tuple[Make, dict[str, Any]]] = {
    "lstm": (_lstm, {"update": "step"}),
    "rtrl": (lambda n: RTRL(_full(n)), {"update": "step"}),
    "bptt": (lambda n: BPTT(_full(n)), {"update": "sequence"}),
    "bptt, at every step": (lambda n: BPTT(_full(n)), {"update": "step"}),
    "elman": (lambda n: Elman(_layered(n)), {"update": "step"}),
    "rcc": (_cascade, {"epochs": 2}),  # one pass trains the outputs, one the candidates
    "chunker": (lambda n: Chunker(ChunkerTopology(n_inputs=N_INPUTS, n_outputs=1, n_hidden=n)), {"update": "step"}),
}
MEASURED = tuple(_HOW)
"""What is measured. "bptt" goes back once per sequence, "bptt, at every step" from every error signal on its own."""

_AT_EVERY_STEP = "bptt, at every step"
_LONGEST: Mapping[str, int] = {_AT_EVERY_STEP: 1000}  # the time of this method grows with the square of the length


def measure(progress: Callable[[Cost], object] | None = None) -> list[Cost]:
    """Measure every method over `UNITS`, and over `LENGTHS`: half a minute.

    Parameters
    ----------
    progress : callable, optional
        Called with each cost as soon as it is known.
    """
    cases = [(name, n, STEPS) for name in MEASURED for n in UNITS if n <= LARGEST.get(name, n)]
    cases += [
        (name, LENGTHS_UNITS, length)
        for name in MEASURED
        for length in LENGTHS
        if length != STEPS and length <= _LONGEST.get(name, length)
    ]
    costs = []
    for name, n_units, n_steps in cases:
        costs.append(_cost(name, n_units, n_steps))
        if progress is not None:
            progress(costs[-1])
    return costs


def _data(n_steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(1, n_steps, N_INPUTS)), rng.uniform(size=(1, n_steps, 1))


def _cost(name: str, n_units: int, n_steps: int) -> Cost:
    make, how = _HOW[name]
    inputs, targets = _data(n_steps)
    how = {"learning_rate": 1e-6, **how}
    tracemalloc.start()
    try:
        learner = make(n_units)
        train(learner, inputs, targets, **how)
        n_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    n_weights = learner.topology.n_weights

    def once(repetitions: int) -> float:
        # A cascade grows as it learns, so each repetition begins with a copy of the same one.
        learners = [copy.copy(learner) if isinstance(learner, RCC) else learner for _ in range(repetitions)]
        began = time.perf_counter()
        for trained in learners:
            train(trained, inputs, targets, **how)
        return time.perf_counter() - began

    copies = max(1, min(int(SHORTEST / once(1)), AT_MOST // n_steps))
    inputs, targets = np.repeat(inputs, copies, axis=0), np.repeat(targets, copies, axis=0)
    repetitions = max(1, int(SHORTEST / once(1)))
    seconds = statistics.median(once(repetitions) for _ in range(ROUNDS))
    n_trained = n_steps * len(inputs) * repetitions
    return Cost(
        method=name,
        n_units=n_units,
        n_weights=n_weights,
        n_steps=n_steps,
        nanoseconds=round(seconds / n_trained * 1e9, 1),
        n_bytes=n_bytes,
    )


def write(path: str | PathLike[str], costs: Sequence[Cost], run: Mapping[str, Any]) -> None:
    """Write costs to a file, with the description of their run that `describe_run` returned."""
    lines = ",\n".join(json.dumps(asdict(cost)) for cost in costs)
    write_whole(path, f'{{"run": {json.dumps(dict(run))},\n"costs": [\n{lines}\n]}}\n'.encode())


def read(path: str | PathLike[str]) -> tuple[list[Cost], dict[str, Any]]:
    """Read what `write` wrote.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no such file.
    """
    try:
        values = strict_json(read_whole(path))
        return [_checked(Cost(**cost)) for cost in values["costs"]], dict(values["run"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not a file of costs: {str(error)[:200]}") from error


def _checked(cost: Cost) -> Cost:
    """The same cost; ValueError if its method is unknown or a number is not above 0."""
    if cost.method not in MEASURED:
        raise ValueError("a method is none of those that are measured")
    counts = (cost.n_units, cost.n_weights, cost.n_steps, cost.n_bytes)
    if not all(map(is_count, counts)) or not is_measure(cost.nanoseconds) or not min(counts) or not cost.nanoseconds:
        raise ValueError("a cost is no number above 0")
    return cost
