"""How time grows: with the number of weights, and with the length of a sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import lstm97

from . import ours, pytorch, streams
from .streams import LEARN_RUN, PYTORCH, TRAIN, WAYS, peer_missing
from .timing import Summary, Workload, take_turns

CELLS = (4, 8, 16, 32, 64, 128, 256, 472)  # 89 to 1,004,417 weights
LENGTHS = tuple(10**power for power in range(2, 8))
QUICK_CELLS = (4, 64)
QUICK_LENGTHS = (100, 10_000, 1_000_000)

SEQUENCE_STEPS = 100  # of the sequences where weights grow

# Subject, dtype, and the longest sequence measured. A sequence in one piece needs all of its data in memory, and the
# peer also stores what it computes at every step.
SERIES = (
    (TRAIN, "float64", 1_000_000),
    (TRAIN, "float32", 1_000_000),
    (LEARN_RUN, "float64", 10_000_000),
    (LEARN_RUN, "float32", 10_000_000),
    (PYTORCH, "float32", 100_000),
)


@dataclass(frozen=True)
class Point:
    """The time of a step on one network over sequences of one length, in nanoseconds per time step."""

    subject: str
    dtype: str
    n_cells: int
    n_weights: int  # the peer's network has another number than ours with as many cells
    n_steps: int
    time: Summary


@dataclass(frozen=True)
class Growth:
    """Both curves; if the peer could not be measured, `missing` says why."""

    by_weights: tuple[Point, ...]
    by_steps: tuple[Point, ...]
    missing: str = ""


@dataclass(frozen=True)
class _Case:
    """A point to be measured."""

    subject: str
    dtype: str
    network: lstm97.Topology
    workload: Workload

    def point(self, time: Summary) -> Point:
        """Return the point for a measured time."""
        network = self.network
        n_weights = n_lstm_weights(network) if self.subject == PYTORCH else network.n_weights
        return Point(self.subject, self.dtype, network.n_cells, n_weights, self.workload.steps, time)


def topology(n_cells: int) -> lstm97.Topology:
    """Return a network of one-cell blocks with half as many inputs as cells; gates are not among the sources."""
    return lstm97.Topology(n_cells // 2, 1, blocks=(1,) * n_cells, gate_sources=False, output="identity")


def n_lstm_weights(network: lstm97.Topology) -> int:
    """Return the weights of nn.LSTM and a linear output of these sizes: four kinds of units, each with two biases."""
    n_cells = network.n_cells
    return 4 * n_cells * (network.n_inputs + n_cells + 2) + network.n_outputs * (n_cells + 1)


def _unrolled(network: lstm97.Topology) -> Workload:
    inputs, targets = ours.problem(network, SEQUENCE_STEPS, "float32", every_step=False)
    return pytorch.lstm_training(inputs, targets, n_cells=network.n_cells, learning_rate=ours.LEARNING_RATE)


def _weights_cases(cells: Sequence[int]) -> Iterator[_Case]:
    """Learning with an error signal at the end of each sequence, on networks of these numbers of cells."""
    for network in map(topology, cells):
        for dtype in ("float64", "float32"):
            yield _Case(TRAIN, dtype, network, ours.train(network, SEQUENCE_STEPS, dtype))
        if not peer_missing():
            yield _Case(PYTORCH, "float32", network, _unrolled(network))


def _steps_cases(lengths: Sequence[int]) -> Iterator[_Case]:
    """Learning on the adding net over one sequence of each length, with an error signal at its end."""
    for subject, dtype, longest in SERIES:
        if subject == PYTORCH and peer_missing():
            continue
        for n_steps in lengths:
            if n_steps <= longest:
                yield _Case(subject, dtype, streams.ADDING, WAYS[subject](n_steps, dtype))


def _points(cases: Iterable[_Case], *, repeats: int, seconds: float) -> tuple[Point, ...]:
    """Time all points of a curve in turns, so that a disturbance of the machine affects all points alike."""
    cases = tuple(cases)
    taken = take_turns([case.workload for case in cases], repeats=repeats, seconds=seconds)
    return tuple(case.point(Summary.of(times)) for case, times in zip(cases, taken.T, strict=True))


def measure(
    cells: Sequence[int],
    lengths: Sequence[int],
    *,
    repeats: int,
    seconds: float,
    show: Callable[[str], object],
) -> Growth:
    """Time both curves; ``show`` is called with the text of each curve as soon as it is measured."""
    by_weights = _points(_weights_cases(cells), repeats=repeats, seconds=seconds)
    show("\n".join(lines(f"learning, T={SEQUENCE_STEPS}, error at the end", by_weights)))
    by_steps = _points(_steps_cases(lengths), repeats=repeats, seconds=seconds)
    show("\n".join(["", *lines("learning, adding net, one sequence, error at the end", by_steps)]))
    missing = peer_missing()
    if missing:
        show(f"{PYTORCH}: {missing}")
    return Growth(by_weights, by_steps, missing)


def _columns(name: str, *numbers: str) -> str:
    return f"{name:<52}" + "".join(f"{number:>14}" for number in numbers)


def lines(title: str, points: Iterable[Point]) -> Iterator[str]:
    """Yield points as lines of text."""
    names = _columns(title, "cells", "weights", "steps", "ns per step", "and weight")
    yield names
    yield "-" * len(names)
    for point in points:
        yield _columns(
            f"  {point.subject}, {point.dtype}",
            f"{point.n_cells:,}",
            f"{point.n_weights:,}",
            f"{point.n_steps:,}",
            f"{point.time.median:,.1f}",
            f"{point.time.median / point.n_weights:.3f}",
        )
