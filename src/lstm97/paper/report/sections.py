"""What the report is made of, in words and tables that HTML and Markdown share.

Every figure comes from the records of trials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lstm97.paper.report import costs as costs_of_learning
from lstm97.paper.report import vanishing
from lstm97.paper.report.findings import COMPARISON_FINDINGS, FINDINGS
from lstm97.paper.report.result_lines import Groups, reading_lines, row_lines
from lstm97.paper.tables.comparisons import COMPARISON_READINGS, FAILING_ROWS, GRAMMAR_ROWS, LONG_LAG_ROWS
from lstm97.paper.tables.experiments import LITERAL, LSTM, Experiment
from lstm97.paper.tables.readings import CLOSEST, reading_of
from lstm97.paper.tables.rows import ROWS, TABLES

TITLES = (
    "Embedded Reber grammar (task 1)",
    "Noise-free sequences with long time lags (task 2a; 2b, which the paper reports in its text)",
    "Long time lags without local regularities (task 2c)",
    "The two-sequence problem (task 3a)",
    "The two-sequence problem, noise on the informative elements (task 3b)",
    "The two-sequence problem, noise on the targets (task 3c)",
    "The adding problem (task 4)",
    "The multiplication problem (task 5)",
    "Temporal order (tasks 6a, 6b)",
)
"""What the paper's tables 1 to 9 are about."""


@dataclass(frozen=True)
class Section:
    """What the report has on one of the paper's tables."""

    number: int
    rows: tuple[Experiment, ...]
    swept: tuple[Experiment, ...]
    """Rows with trials in more readings than the literal and the closest one."""

    @property
    def title(self) -> str:
        """Its heading."""
        return f"Table {self.number}: {TITLES[self.number - 1]}"


def sections(groups: Groups) -> list[Section]:
    """Return the sections that there are trials for, in the paper's order."""
    found = []
    for number, table in enumerate(TABLES, 1):
        rows = tuple(row for row in table if len(row_lines(row, groups)) > 1 or reading_lines(row, groups))
        swept = tuple(row for row in rows if len(reading_lines(row, groups)) > len(row_lines(row, groups)) - 1)
        if rows:
            found.append(Section(number, rows, swept))
    return found


@dataclass(frozen=True)
class Comparison:
    """A table of rows of several methods, LSTM's among them."""

    name: str
    title: str
    rows: tuple[Experiment, ...]
    """The rows that there are trials for, each row once."""


def comparisons(groups: Groups) -> list[Comparison]:
    """Return the tables of methods that there are trials of other methods than LSTM for."""
    found = []
    for name, title, rows in (
        ("grammar", "The embedded Reber grammar, by method (table 1)", (*GRAMMAR_ROWS, *ROWS["embedded-reber"])),
        ("long-lag", "Noise-free sequences with long time lags, by method (table 2)", _long_lag_rows()),
        (
            "failing",
            "Where the paper says that all other methods fail (2b, and the first rows of 3a and 4)",
            _failing_rows(),
        ),
    ):
        once = {row.row: row for row in rows if row.reading == LITERAL}
        shown = tuple(row for row in once.values() if len(row_lines(row, groups)) > 1)
        if any(row.method != LSTM for row in shown):
            found.append(Comparison(name, title, shown))
    return found


def _long_lag_rows() -> tuple[Experiment, ...]:
    return (*LONG_LAG_ROWS, *ROWS["long-lag"])


def _failing_rows() -> tuple[Experiment, ...]:
    """Task by task, LSTM's row last."""
    tasks = dict.fromkeys(row.task for row in FAILING_ROWS)
    return tuple(row for task in tasks for row in (*FAILING_ROWS, ROWS[task][0]) if row.task == task)


def overview(groups: Groups, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what was run, how long it took, on what machines, and how the tables are to be read."""
    trials = [trial for found in groups.values() for trial in found]
    steps = sum(trial.steps for trial in trials)
    seconds = sum(trial.seconds for trial in trials) or math.inf
    training = sum(trial.train_seconds for trial in trials) / seconds
    drawing = sum(trial.draw_seconds for trial in trials) / seconds
    where: dict[str, dict[str, None]] = {}

    def value_of(run: Mapping[str, Any], name: str) -> str:
        return " ".join(str(run.get(name)).split())[:100]

    for run in runs:
        machine = (
            f"{value_of(run, 'processor')}, {value_of(run, 'cores')} cores, lstm97 {value_of(run, 'version')}, "
            f"build {value_of(run, 'build')}, Python {value_of(run, 'python')}, NumPy {value_of(run, 'numpy')}"
        )
        where.setdefault(machine, {})[value_of(run, "commit")] = None
    return [
        f"{len(trials):,} trials, {sum(trial.solved for trial in trials):,} of them solved; "
        f"{steps:,} training steps in {seconds / 60:,.0f} minutes of threads, waiting for a core included: "
        f"{steps / seconds / 1e6:.1f} million steps per second of a thread. "
        f"Training took {training:.0%} of that time, drawing sequences {drawing:.0%}, tests and stop rules the rest.",
        "Run on: " + "; ".join(f"{machine}, commits {', '.join(commits)}" for machine, commits in where.items()) + ".",
        "Mean, median, range, first stage, wrong and test error are those of the solved trials: training sequences to "
        "the stop rule, and to the first of two; wrong test sequences of 2560; mean absolute error of the test. "
        "/ paper: the mean divided by the paper's, where at least half of the trials are solved. "
        "Cap: training sequences after which a trial is given up.",
    ]


def notes(rows: Sequence[Experiment]) -> list[str]:
    """Return what the readings of these rows mean, and what was found out about their tasks."""
    lines = []
    for task, paper_task in {row.task: row.paper_task for row in rows}.items():
        closest, literal = reading_of(task, CLOSEST), reading_of(task, LITERAL)
        lines.append(f"Task {paper_task}, literal: {literal.meaning}")
        if closest.name != LITERAL:
            lines.append(f"Task {paper_task}, closest ({closest.name}): {closest.meaning}")
        if task in FINDINGS:
            lines.append(FINDINGS[task])
    return lines


def comparison_notes(comparison: Comparison) -> list[str]:
    """Return what was found out about a table of methods, and what its readings mean."""
    lines = [COMPARISON_FINDINGS[comparison.name]]
    if comparison.name == "long-lag":
        lines += [f"Reading {name}: {meaning}" for name, meaning in COMPARISON_READINGS.items() if name != LITERAL]
    return lines


COSTS = (
    f"A step with {costs_of_learning.N_INPUTS} inputs and a target, over sequences of {costs_of_learning.STEPS} steps "
    "while units grow, and the memory a learner holds while the sequence grows. RTRL carries n^3 sensitivities forward "
    "and takes n^4 multiplications a step, n^2 a weight; backpropagation through time keeps the sequence, and if "
    "weights change at every step goes back over it at every step. LSTM's time per weight depends neither on the "
    "number of units nor on the length of the sequence, and its memory not on the length. (LSTM's loops were built for "
    "this processor's vector instructions, the others' for any; this moves a curve, not its slope. Recurrent cascade "
    "correlation: a pass for the outputs and one for eight candidates.)"
)


VANISHING = (
    f"What is left of an error after a number of steps back, in layers of {vanishing.UNITS} logistic units that see "
    "each other, with initial weights in a range (RTRL and backpropagation through time follow the same gradient), and "
    "at the cells of an LSTM: read off the weight changes themselves."
)
