"""The report on a rerun of the paper, made from the records of its trials: one HTML page, or Markdown.

Everything that is a figure comes from the records; the pictures of networks are drawn from trials run again.
"""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lstm97.paper import pictures
from lstm97.paper.experiments import LITERAL, Experiment
from lstm97.paper.findings import FINDINGS
from lstm97.paper.problems import problem_of
from lstm97.paper.readings import CLOSEST, reading_of, readings_of
from lstm97.paper.rows import TABLES
from lstm97.paper.runner import Trial, initial_network, run_trial
from lstm97.paper.summary import Summary, summarise

TITLES = (
    "Embedded Reber grammar (task 1)",
    "Noise-free sequences with long time lags (tasks 2a, 2b)",
    "Long time lags without local regularities (task 2c)",
    "The two-sequence problem (task 3a)",
    "The two-sequence problem, noise on the informative elements (task 3b)",
    "The two-sequence problem, noise on the targets (task 3c)",
    "The adding problem (task 4)",
    "The multiplication problem (task 5)",
    "Temporal order (tasks 6a, 6b)",
)
"""What the paper's tables 1 to 9 are about."""

Groups = Mapping[tuple[str, str], Sequence[Trial]]


@dataclass(frozen=True)
class Line:
    """A line of a table: a row of the paper in one reading, or the paper's own figures."""

    source: str
    cells: tuple[str, ...]


HEADER = ("solved", "95 % interval", "mean", "median", "range", "/ paper", "first stage", "wrong", "test error")


def group(trials: Iterable[Trial]) -> Groups:
    """Sort trials by row and reading; of those with different caps, only those with the highest count."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: (-trial.max_sequences, trial.seed)):
        found = groups.setdefault((trial.row, trial.reading), [])
        if not found or found[0].max_sequences == trial.max_sequences:
            found.append(trial)
    return groups


def row_lines(row: Experiment, groups: Groups) -> list[Line]:
    """Return the paper's line and that of the literal and the closest reading, as far as there are trials."""
    lines = [_paper_line(row)]
    for name in dict.fromkeys((LITERAL, reading_of(row.task, CLOSEST).name)):
        if trials := groups.get((row.row, name)):
            lines.append(_reading_line(name, summarise(trials, row.paper), reading_of(row.task, CLOSEST).name))
    return lines


def reading_lines(row: Experiment, groups: Groups) -> list[Line]:
    """Return a line for every reading of a row that has trials."""
    return [
        _reading_line(reading.name, summarise(trials, row.paper), "")
        for reading in readings_of(row.task)
        if (trials := groups.get((row.row, reading.name)))
    ]


def describe_row(row: Experiment) -> str:
    """Return what tells a row from others in words: settings of its network and task."""
    blocks = row.topology.blocks
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


def markdown(trials: Sequence[Trial], runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the report as Markdown, without pictures."""
    groups = group(trials)
    parts = ["# The rerun of the paper\n", *(f"{text}\n" for text in _overview(trials, runs))]
    for number, table in enumerate(TABLES, 1):
        rows = [row for row in table if len(row_lines(row, groups)) > 1]
        if not rows:
            continue
        parts.append(f"## Table {number}: {TITLES[number - 1]}\n")
        parts += [f"{text}\n" for text in _notes(rows)]
        head = ("row", "", *HEADER)
        parts.append(
            "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *_markdown_rows(rows, groups)])
        )
        parts.append("")
        for row in _swept(rows, groups):
            parts.append(f"Readings of row {row.row} ({describe_row(row)}):\n")
            head = ("reading", *HEADER, "meaning")
            meanings = {reading.name: reading.meaning for reading in readings_of(row.task)}
            lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
            lines += [
                "| " + " | ".join((line.source, *line.cells, meanings[line.source])) + " |"
                for line in reading_lines(row, groups)
            ]
            parts.append("\n".join(lines))
            parts.append("")
    return "\n".join(parts)


def page(trials: Sequence[Trial], runs: Sequence[Mapping[str, Any]], *, networks: bool = True) -> str:
    """Return the report as one HTML page that needs nothing else.

    Parameters
    ----------
    trials, runs
        What `read_records` returns.
    networks : bool, default True
        Train a network for each of three tasks again, and draw what goes on inside it.
    """
    groups = group(trials)
    sections, contents = [], []
    for number, table in enumerate(TABLES, 1):
        rows = [row for row in table if len(row_lines(row, groups)) > 1]
        if not rows:
            continue
        contents.append(f'<li><a href="#table-{number}">Table {number}: {_e(TITLES[number - 1])}</a></li>')
        body = [f'<section id="table-{number}"><h2>Table {number}: {_e(TITLES[number - 1])}</h2>']
        body += [f"<p>{_e(text)}</p>" for text in _notes(rows)]
        body.append(_html_table(("row", "", *HEADER), _html_rows(rows, groups)))
        body.append(
            _picture(
                pictures.curves(_drawn(rows, groups)),
                f"curves-{number}",
                "Learning curves of up to ten trials of each reading.",
            )
        )
        for row in _swept(rows, groups):
            meanings = {reading.name: reading.meaning for reading in readings_of(row.task)}
            lines = [
                f"<tr><th>{_e(line.source)}</th>{_cells(line)}<td class=words>{_e(meanings[line.source])}</td></tr>"
                for line in reading_lines(row, groups)
            ]
            body.append(
                f"<details><summary>Readings of row {_e(row.row)} ({_e(describe_row(row))})</summary>"
                + _html_table(("reading", *HEADER, "meaning"), lines)
                + "</details>"
            )
        sections.append("\n".join([*body, "</section>"]))
    every = [row for table in TABLES for row in table if len(row_lines(row, groups)) > 1]
    spread = _picture(
        pictures.spread(_drawn(every, groups)), "spread", "Every solved trial, as a multiple of the paper's mean."
    )
    inside = _network_sections() if networks else ""
    overview = "".join(f"<p>{_e(text)}</p>" for text in _overview(trials, runs))
    contents += ['<li><a href="#inside">Inside the networks</a></li>'] if networks else []
    return _PAGE.format(
        overview=overview, contents="".join(contents), spread=spread, sections="\n".join(sections), inside=inside
    )


def _overview(trials: Sequence[Trial], runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was run, how long it took, and where."""
    steps = sum(trial.steps for trial in trials)
    seconds = sum(trial.seconds for trial in trials)
    training, drawing = (
        sum(getattr(trial, name) for trial in trials) / seconds for name in ("train_seconds", "draw_seconds")
    )
    where: dict[str, dict[str, None]] = {}
    for run in runs:
        machine = (
            f"{run['processor']}, {run['cores']} cores, lstm97 {run['version']}, build {run['build']}, "
            f"Python {run['python']}, NumPy {run['numpy']}"
        )
        where.setdefault(machine, {})[str(run["commit"])] = None
    return [
        f"{len(trials):,} trials, {sum(trial.solved for trial in trials):,} of them solved; "
        f"{steps:,} training steps in "
        f"{seconds / 60:,.0f} minutes of threads, {steps / seconds / 1e6:.1f} million steps per second of a thread. "
        f"Training took {training:.0%} of that, drawing sequences {drawing:.0%}, tests and stop rules the rest.",
        "Run on: " + "; ".join(f"{machine}, commits {', '.join(commits)}" for machine, commits in where.items()) + ".",
        "Training sequences, first stage, wrong and test error are those of solved trials. /paper: the mean divided by "
        "the paper's. A trial that is not solved was given up at the row's cap.",
    ]


def _notes(rows: Sequence[Experiment]) -> list[str]:
    """What was found out about these rows' tasks, and what their readings mean."""
    notes = []
    for task in dict.fromkeys(row.task for row in rows):
        paper_task = next(row.paper_task for row in rows if row.task == task)
        closest, literal = reading_of(task, CLOSEST), reading_of(task, LITERAL)
        notes.append(f"Task {paper_task}, literal: {literal.meaning}")
        if closest.name != LITERAL:
            notes.append(f"Task {paper_task}, closest ({closest.name}): {closest.meaning}")
        if task in FINDINGS:
            notes.append(FINDINGS[task])
    caps = ", ".join(f"{row.row} {row.max_sequences:,}" for row in rows)
    return [*notes, f"Training sequences after which a trial is given up: {caps}."]


def _swept(rows: Sequence[Experiment], groups: Groups) -> list[Experiment]:
    """Rows with trials in more readings than the literal and the closest one."""
    return [
        row
        for row in rows
        if {line.source for line in reading_lines(row, groups)} - {LITERAL, reading_of(row.task, CLOSEST).name}
    ]


def _drawn(rows: Sequence[Experiment], groups: Groups) -> list[tuple[Experiment, dict[str, Sequence[Trial]]]]:
    """Rows with their trials in the literal and the closest reading; once only where these are the same."""
    drawn = []
    for row in rows:
        closest = reading_of(row.task, CLOSEST).name
        found = {"literal": groups.get((row.row, LITERAL), ())}
        if closest != LITERAL:
            found["closest"] = groups.get((row.row, closest), ())
        drawn.append((row, found))
    return drawn


def _paper_line(row: Experiment) -> Line:
    paper = row.paper
    assert paper is not None
    wrong = "" if paper.wrong is None else f"{paper.wrong}"
    if paper.wrong_share is not None:
        wrong = f"{paper.wrong_share * row.test_sequences:.1f}"
    return Line(
        "paper",
        (
            "" if paper.solved is None else f"{paper.solved:.0%}",
            "",
            f"{paper.sequences:,}",
            "",
            "",
            "",
            "" if paper.first_stage is None else f"{paper.first_stage:,}",
            wrong,
            "" if paper.test_error is None else f"{paper.test_error:.4f}",
        ),
    )


def _reading_line(name: str, summary: Summary, closest: str) -> Line:
    low, high = summary.interval
    source = name if name != closest or name == LITERAL else f"closest: {name}"
    return Line(
        source,
        (
            f"{summary.solved} of {summary.trials}",
            f"{low:.0%} - {high:.0%}",
            _whole(summary.mean),
            _whole(summary.median),
            "" if math.isnan(summary.least) else f"{_whole(summary.least)} - {_whole(summary.most)}",
            "" if math.isnan(summary.ratio) else f"{summary.ratio:.2f}",
            _whole(summary.first_stage),
            "" if math.isnan(summary.wrong) else f"{summary.wrong:.1f}",
            "" if math.isnan(summary.test_error) else f"{summary.test_error:.4f}",
        ),
    )


def _whole(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.0f}"


def _markdown_rows(rows: Sequence[Experiment], groups: Groups) -> list[str]:
    lines = []
    for row in rows:
        for i, line in enumerate(row_lines(row, groups)):
            head = f"**{row.row}** {describe_row(row)}" if i == 0 else ""
            lines.append("| " + " | ".join((head, line.source, *line.cells)) + " |")
    return lines


def _e(text: str) -> str:
    return html.escape(text)


def _cells(line: Line) -> str:
    return "".join(f"<td>{_e(cell)}</td>" for cell in line.cells)


def _html_table(header: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f"<th>{_e(name)}</th>" for name in header)
    return f"<div class=wide><table><thead><tr>{head}</tr></thead>{''.join(rows)}</table></div>"


def _html_rows(rows: Sequence[Experiment], groups: Groups) -> list[str]:
    bodies = []
    for row in rows:
        lines = row_lines(row, groups)
        first = f'<th rowspan="{len(lines)}" class=row>{_e(row.row)}<small>{_e(describe_row(row))}</small></th>'
        bodies.append(
            "<tbody>"
            + "".join(
                f'<tr class="{line.source.split(":")[0].split("-")[0]}">{first if i == 0 else ""}'
                f"<th>{_e(line.source)}</th>{_cells(line)}</tr>"
                for i, line in enumerate(lines)
            )
            + "</tbody>"
        )
    return bodies


def _picture(figure: Figure, name: str, caption: str) -> str:
    return f"<figure>{pictures.as_svg(figure, name)}<figcaption>{_e(caption)}</figcaption></figure>"


def _network_sections() -> str:
    """Networks of three tasks before and after training, over one sequence each."""
    parts = ['<section id="inside"><h2>Inside the networks</h2>']
    for row, text in (
        ("4-100", "The adding problem: a block opens its input gate at marked steps only, and its cells hold the sum."),
        ("6a", "Temporal order: what comes in between is kept out by the input gate of a block that opens at X and Y."),
        ("2c-50-50", "Task 2c: the second symbol is stored, and the input gates keep the distractors out."),
    ):
        experiment = next(found for table in TABLES for found in table if found.row == row)
        experiment = reading_of(experiment.task, CLOSEST).apply(experiment)
        network, trial = next(
            (trained for seed in range(1, experiment.trials + 1) if (trained := run_trial(experiment, seed))[1].solved),
            (None, None),
        )
        if network is None or trial is None:
            continue
        sequence, marks = _example(experiment, trial.seed)
        pair = [("before training", initial_network(experiment, trial.seed)), ("after training", network)]
        parts.append(f"<h3>Row {row}, reading {experiment.reading}, seed {trial.seed}</h3><p>{_e(text)}</p>")
        parts.append(
            _picture(
                pictures.inside(pair, sequence, marks),
                f"inside-{row}",
                "A colour for each block (cell states, gates) or output; dashed: the second cell of a block.",
            )
        )
        parts.append(
            _picture(
                pictures.gate_parts(pair, sequence, marks),
                f"gates-{row}",
                "What opens and closes the input gates: their net input, by where it comes from. "
                "Above 0 a gate is more than half open.",
            )
        )
    return "\n".join([*parts, "</section>"])


def _example(experiment: Experiment, seed: int) -> tuple[np.ndarray[Any, Any], dict[int, str]]:
    """A sequence of the task that nobody trained on, and its steps worth a mark."""
    rng = np.random.default_rng([seed, 1997])
    problem = problem_of(experiment, seed, tolerance=math.inf)
    for sequence in problem.draw(rng, 100)[0]:
        if experiment.task == "adding":
            marks = {int(step): "marked" for step in np.flatnonzero(sequence[:, 1] == 1)}
        elif experiment.task == "distractors":
            symbols = experiment.topology.n_inputs
            marks = {1: "x" if sequence[1] == symbols - 2 else "y", len(sequence) - 1: "e"}
        else:
            marks = {int(step): "XY"[sequence[step] - 6] for step in np.flatnonzero(sequence >= 6)}
        if len(marks) == 2 and statistics.fmean(np.diff(list(marks))) > 20:
            return sequence, marks
    raise AssertionError("none of 100 sequences has two marks well apart")


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Long Short-Term Memory, 1997: the rerun</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 72rem; margin: 0 auto;
  padding: 1rem; }}
h1, h2, h3 {{ line-height: 1.2; }}
h2 {{ margin-top: 3rem; border-top: 1px solid #ccc; padding-top: 1rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; white-space: nowrap; }}
th, td {{ padding: 0.2rem 0.6rem; text-align: right; vertical-align: top; }}
th {{ text-align: left; font-weight: normal; }}
thead th {{ font-weight: 600; text-align: right; border-bottom: 2px solid #222; }}
thead th:first-child {{ text-align: left; }}
tbody {{ border-bottom: 1px solid #ccc; }}
tr.paper {{ background: #f2f2f2; }}
tr.literal th:not(.row), .key-literal {{ color: #a84a00; }}
tr.closest th:not(.row), .key-closest {{ color: #00568a; }}
th.row {{ font-weight: 600; background: #fff; white-space: normal; min-width: 9rem; }}
th.row small {{ display: block; font-weight: normal; color: #555; }}
td.words {{ text-align: left; white-space: normal; min-width: 16rem; }}
figure {{ margin: 1.5rem 0; overflow-x: auto; }}
figure svg {{ width: 100%; height: auto; min-width: 34rem; }}
figcaption {{ font-size: 0.85rem; color: #555; }}
summary {{ cursor: pointer; margin-top: 1rem; color: #00568a; }}
</style>
</head>
<body>
<h1>Long Short-Term Memory, 1997: the rerun</h1>
{overview}
<nav><ul>{contents}</ul></nav>
{spread}
{sections}
{inside}
</body>
</html>
"""
