"""Timing of workloads that take turns, so that a disturbance of the machine affects all of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PAUSE = 0.02
"""Seconds before a turn, in which the threads of the workload before stop waiting for more work."""


@dataclass(frozen=True)
class Workload:
    """Something to time: ``run(n)`` does n items, and an item is ``steps`` time steps."""

    name: str
    run: Callable[[int], object]
    steps: int


@dataclass(frozen=True)
class Summary:
    """Median and spread of repeated measurements."""

    median: float
    lower_quartile: float
    upper_quartile: float
    minimum: float
    maximum: float
    repeats: int

    @classmethod
    def of(cls, samples: npt.NDArray[np.float64]) -> Summary:
        """Summarise a 1-D array of measurements."""
        minimum, lower, median, upper, maximum = np.quantile(samples, [0.0, 0.25, 0.5, 0.75, 1.0]).tolist()
        return cls(median, lower, upper, minimum, maximum, len(samples))


def _seconds(workload: Workload, n_items: int) -> float:
    start = time.perf_counter()
    workload.run(n_items)
    return time.perf_counter() - start


def _calibrate(workload: Workload, seconds: float) -> int:
    """Return how many items take about ``seconds``; warms the workload up on the way."""
    n_items = 1
    _seconds(workload, n_items)
    while (taken := _seconds(workload, n_items)) < seconds / 4:
        n_items *= 2
    return max(1, round(n_items * seconds / taken))


def take_turns(workloads: Sequence[Workload], *, repeats: int, seconds: float) -> npt.NDArray[np.float64]:
    """Time workloads in turns: the first, the second, ..., then the first again.

    Parameters
    ----------
    workloads : sequence of Workload
        What to time.
    repeats : int
        Number of rounds.
    seconds : float
        About how long one turn should take; a turn is never less than one item.

    Returns
    -------
    ndarray of shape (repeats, len(workloads))
        Nanoseconds per time step.
    """
    counts = [_calibrate(workload, seconds) for workload in workloads]
    taken = np.empty((repeats, len(workloads)))
    # A garbage collection in the middle of a turn would count for the workload of that turn.
    gc_was_enabled = gc.isenabled()
    gc.disable()
    try:
        for turn in range(repeats):
            for column, (workload, n_items) in enumerate(zip(workloads, counts, strict=True)):
                time.sleep(PAUSE)
                taken[turn, column] = 1e9 * _seconds(workload, n_items) / (n_items * workload.steps)
            gc.collect()
    finally:
        if gc_was_enabled:
            gc.enable()
    return taken
