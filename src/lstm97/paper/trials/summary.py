"""What the trials of one row in one reading come to, beside the paper's figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lstm97.paper.tables.experiments import Experiment, Figures
from lstm97.paper.trials.runner import Trial


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Trials of one row in one reading. Counts of sequences are over the solved trials; NaN where there are none."""

    row: str
    reading: str
    trials: int
    solved: int
    diverged: int
    interval: tuple[float, float]
    """The share of solved trials lies between these at 95 % confidence (Wilson)."""
    mean: float
    median: float
    least: float
    most: float
    ratio: float
    """The mean, divided by the paper's."""
    first_stage: float
    """Mean training sequences to the first of two stop rules; NaN where there is one only."""
    wrong: float
    """Mean number of wrong test sequences of the solved trials; NaN where no test was made."""
    test_sequences: int
    test_error: float
    """Mean absolute test error of the solved trials."""
    max_sequences: int
    steps: int
    """Training steps of all trials."""
    train_seconds: float
    draw_seconds: float
    seconds: float
    """Time of all trials together, each on its own thread."""


def summarise(trials: Sequence[Trial], paper: Figures | None) -> Summary:
    """Sum up one or more trials of the same row and reading."""
    first = trials[0]
    solved = [trial for trial in trials if trial.solved]
    counts = [trial.sequences for trial in solved]
    stages = [next(iter(trial.stages.values())) for trial in solved if len(trial.stages) > 1]
    mean = statistics.fmean(counts) if counts else math.nan
    return Summary(
        row=first.row,
        reading=first.reading,
        trials=len(trials),
        solved=len(solved),
        diverged=sum(trial.diverged is not None for trial in trials),
        interval=wilson(len(solved), len(trials)),
        mean=mean,
        median=statistics.median(counts) if counts else math.nan,
        least=min(counts, default=math.nan),
        most=max(counts, default=math.nan),
        ratio=mean / paper.sequences if paper and paper.sequences else math.nan,
        first_stage=statistics.fmean(stages) if stages else math.nan,
        wrong=_mean_of(trial.test_wrong for trial in solved),
        test_sequences=max(trial.test_sequences for trial in trials),
        test_error=_mean_of(trial.test_error for trial in solved),
        max_sequences=first.max_sequences,
        steps=sum(trial.steps for trial in trials),
        train_seconds=sum(trial.train_seconds for trial in trials),
        draw_seconds=sum(trial.draw_seconds for trial in trials),
        seconds=sum(trial.seconds for trial in trials),
    )


def summaries(trials: Iterable[Trial], experiments: Iterable[Experiment]) -> list[tuple[Summary, Experiment]]:
    """Sum up trials by experiment, in the order of the experiments; those without a trial are left out."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.row, trial.reading), []).append(trial)
    return [
        (summarise(groups[experiment.row, experiment.reading], experiment.paper), experiment)
        for experiment in experiments
        if (experiment.row, experiment.reading) in groups
    ]


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the interval that holds a share at 95 % confidence, given successes among n trials.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
       Statistical Association 22(158), 1927.
    """
    z = statistics.NormalDist().inv_cdf(0.975)
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - reach if successes else 0.0, middle + reach if successes < n else 1.0


def _mean_of(values: Iterable[float | None]) -> float:
    given = [value for value in values if value is not None]
    return statistics.fmean(given) if given else math.nan
