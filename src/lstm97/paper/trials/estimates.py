"""How long trials will take, judged by recorded ones."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lstm97.paper.tables.experiments import Experiment
from lstm97.paper.trials._times import MACHINE, TIMES
from lstm97.paper.trials.reproduction import PlannedTrial

__all__ = ["MACHINE", "Estimate", "estimate", "trial_seconds"]


@dataclass(frozen=True)
class Estimate:
    """How long a number of trials take on one thread of the machine that made the records."""

    seconds: float
    """Time of all trials, one after the other."""
    longest: float
    """Time of the longest trial."""
    unknown: int
    """Trials of rows without a record, which are left out."""

    def side_by_side(self, n: int) -> float:
        """Seconds that n threads with a core each take: at least as long as the longest trial."""
        return max(self.longest, self.seconds / n)


def trial_seconds(experiment: Experiment, max_sequences: int) -> float | None:
    """Seconds that a trial takes on average, by records of its row and reading; None if its row has none.

    A trial like one that was given up counts as using up its whole cap. A reading without records of its own takes
    the mean of the row's others.
    """
    times = TIMES.get((experiment.row, experiment.reading))
    if times is None:
        others = [_seconds(found, max_sequences) for (row, _), found in TIMES.items() if row == experiment.row]
        return statistics.fmean(others) if others else None
    return _seconds(times, max_sequences)


def _seconds(times: tuple[float, float, float], cap: int) -> float:
    ended, mean, seconds = times
    return (ended * min(mean, cap) + (1 - ended) * cap) * seconds / 1000


def estimate(planned: Sequence[PlannedTrial]) -> Estimate:
    """Estimate what planned trials take together."""
    known = {
        key: trial_seconds(experiment, key[2])
        for key, experiment in {
            (task.experiment.row, task.experiment.reading, task.max_sequences): task.experiment for task in planned
        }.items()
    }
    each = [known[task.experiment.row, task.experiment.reading, task.max_sequences] for task in planned]
    found = [seconds for seconds in each if seconds is not None]
    return Estimate(sum(found), max(found, default=0.0), len(each) - len(found))
