"""Lines of the report's tables: rows of the paper, LSTM's and the other methods', beside what came of them here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lstm97.methods import ChunkerTopology, RecurrentTopology
from lstm97.paper.tables.comparisons import COMPARISONS, counted_weights
from lstm97.paper.tables.experiments import LITERAL, LSTM, Experiment, lstm_topology
from lstm97.paper.tables.readings import CLOSEST, READINGS, reading_of
from lstm97.paper.tables.rows import TABLES
from lstm97.paper.trials.runner import Trial
from lstm97.paper.trials.summary import Summary, summarise

Groups = Mapping[tuple[str, str], Sequence[Trial]]


Source = Literal["paper", "literal", "closest", "other"]

HEADER = (
    "solved",
    "95 % interval",
    "mean",
    "median",
    "range",
    "/ paper",
    "first stage",
    "wrong",
    "test error",
    "cap",
)


@dataclass(frozen=True)
class Line:
    """A line of a table: a row of the paper in one reading, or the paper's own figures."""

    source: Source
    label: str
    cells: tuple[str, ...]


def group(trials: Iterable[Trial]) -> Groups:
    """Sort trials of the paper's rows by row and reading.

    Those with another cap than the row's count only where there are none with that; of several such caps, the highest.
    """
    caps = {row.row: row.max_sequences for table in (*TABLES, COMPARISONS) for row in table}
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: (-trial.max_sequences, trial.seed)):
        if trial.row in caps:
            groups.setdefault((trial.row, trial.reading), []).append(trial)
    for (row, reading), found in groups.items():
        cap = caps[row] if any(trial.max_sequences == caps[row] for trial in found) else found[0].max_sequences
        groups[row, reading] = [trial for trial in found if trial.max_sequences == cap]
    return groups


def row_lines(row: Experiment, groups: Groups) -> list[Line]:
    """Return the paper's line and those of the literal and the closest reading, as far as there are trials.

    Rows of other methods than LSTM have all their readings.
    """
    lines = [_paper_line(row)]
    if row.method != LSTM:
        for reading in (one for one in COMPARISONS if one.row == row.row):
            if trials := groups.get((reading.row, reading.reading)):
                source: Source = "literal" if reading.reading == LITERAL else "other"
                lines.append(Line(source, reading.reading, _cells_of(summarise(trials, reading.paper))))
        return lines
    closest = reading_of(row.task, CLOSEST).name
    for name in dict.fromkeys((LITERAL, closest)):
        if trials := groups.get((row.row, name)):
            source = "literal" if name == LITERAL else "closest"
            label = name if name == LITERAL else f"closest: {name}"
            lines.append(Line(source, label, _cells_of(summarise(trials, row.paper))))
    return lines


def reading_lines(row: Experiment, groups: Groups) -> list[Line]:
    """Return a line for every reading of a row that has trials."""
    return [
        Line("other", reading.name, _cells_of(summarise(trials, row.paper)))
        for reading in READINGS[row.task]
        if (trials := groups.get((row.row, reading.name)))
    ]


def describe_row(row: Experiment) -> str:
    """Return in words in what a row differs from others: the settings of its network and task."""
    if row.method != LSTM:
        return _describe_other(row)
    blocks = lstm_topology(row).blocks
    parts = [f"{len(blocks)} x {blocks[0]} cells", f"{row.topology.n_weights} weights", f"alpha {row.learning_rate:g}"]
    match row.paper_task[0]:
        case "2":
            parts[:0] = [f"q={row.lag}, p={row.parameters['n_distractors']}"] if row.parameters else [f"p={row.lag}"]
        case "3":
            parts[:0] = [f"T={row.lag}, N={row.parameters['n_informative']}"]
        case "4":
            parts[:0] = [f"T={row.lag}"]
        case "5":
            parts[:0] = [f"n_seq={row.row.partition('-')[2]}"]
    return ", ".join(parts)


def _describe_other(row: Experiment) -> str:
    """The settings of a row of another method than LSTM, in words: its net, number of weights and alpha."""
    match row.topology:
        case RecurrentTopology() as net:
            n_hidden, wiring = net.n_hidden, ", fully recurrent" if net.fully_recurrent else ""
        case ChunkerTopology() as nets:
            n_hidden, wiring = nets.n_hidden, " in each net"
        case _:
            return "grows"
    task = f"p={row.lag}, " if row.task == "long-lag" else ""
    units = f"{n_hidden} hidden unit{'s' if n_hidden > 1 else ''}{wiring}"
    return f"{task}{units}, {counted_weights(row)} weights, alpha {row.learning_rate:g}"


def _paper_line(row: Experiment) -> Line:
    paper = row.paper
    assert paper is not None
    wrong = "" if paper.wrong is None else f"{paper.wrong}"
    if paper.wrong_share is not None:
        wrong = f"{paper.wrong_share * row.test_sequences:.1f}"
    return Line(
        "paper",
        "paper",
        (
            "" if paper.solved is None else f"{paper.solved:.0%}" + _of_trials(row),
            "",
            "" if paper.sequences is None else f"{paper.sequences:,}",
            "",
            "",
            "",
            "" if paper.first_stage is None else f"{paper.first_stage:,}",
            wrong,
            "" if paper.test_error is None else f"{paper.test_error:.4f}",
            "",
        ),
    )


def _cells_of(summary: Summary) -> tuple[str, ...]:
    low, high = summary.interval
    share = f"{summary.solved / summary.trials:.0%} ({summary.solved} of {summary.trials})"
    return (
        share + (f", {summary.diverged} diverged" if summary.diverged else ""),
        f"{low:.0%} - {high:.0%}",
        _whole(summary.mean),
        _whole(summary.median),
        "" if math.isnan(summary.least) else f"{_whole(summary.least)} - {_whole(summary.most)}",
        "" if math.isnan(summary.ratio) or 2 * summary.solved < summary.trials else f"{summary.ratio:.2f}",
        _whole(summary.first_stage),
        "" if math.isnan(summary.wrong) else f"{summary.wrong:.1f}",
        "" if math.isnan(summary.test_error) else f"{summary.test_error:.4f}",
        f"{summary.max_sequences:,}",
    )


def _whole(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.0f}"


def _of_trials(row: Experiment) -> str:
    """How many trials a share of the paper is of; where it says that a method fails, it does not say in how many."""
    return f" of {row.trials}" if row.method == LSTM or row.table else ""
