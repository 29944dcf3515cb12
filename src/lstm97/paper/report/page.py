"""The report on a rerun of the paper, made from the records of its trials: one HTML page, or Markdown.

Everything that is a figure comes from the records; the pictures of networks are drawn from trials run again.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lstm97.network import Network
from lstm97.paper.report import costs as costs_of_learning
from lstm97.paper.report import pictures, vanishing
from lstm97.paper.report.costs import Cost
from lstm97.paper.report.findings import COMPARISON_FINDINGS, FINDINGS
from lstm97.paper.report.inside import Gate, look_inside
from lstm97.paper.report.result_lines import HEADER, Groups, Line, describe_row, group, reading_lines, row_lines
from lstm97.paper.tables.comparisons import COMPARISON_READINGS, FAILING_ROWS, GRAMMAR_ROWS, LONG_LAG_ROWS
from lstm97.paper.tables.experiments import LITERAL, LSTM, Experiment
from lstm97.paper.tables.readings import CLOSEST, READINGS, reading_of
from lstm97.paper.tables.rows import ROWS, TABLES
from lstm97.paper.tasks import TEMPORAL_ORDER
from lstm97.paper.tasks.problems import problem_of
from lstm97.paper.trials.runner import Trial, initial_network, run_trial

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
    """Of which there are trials, each in one reading."""


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


def markdown(trials: Sequence[Trial], runs: Sequence[Mapping[str, Any]], costs: Sequence[Cost] = ()) -> str:
    """Return the report as Markdown, without pictures.

    Parameters
    ----------
    trials, runs
        What `read_records` returns; at least one trial.
    costs : sequence of Cost
        What `lstm97.paper.report.costs.measure` found, if the report is to have that too.
    """
    groups = group(trials)
    parts = ["# The rerun of the paper", *map(_m, _overview(groups, runs))]
    for section in sections(groups):
        parts += [f"## {section.title}", *_notes(section.rows)]
        parts.append(_markdown_table(("row", "reading", *HEADER), _labelled(section.rows, groups)))
        for row in section.swept:
            meanings = {reading.name: reading.meaning for reading in READINGS[row.task]}
            parts.append(f"Readings of row {row.row} ({describe_row(row)}):")
            lines = [(line.label, meanings[line.label], *line.cells) for line in reading_lines(row, groups)]
            parts.append(_markdown_table(("reading", "meaning", *HEADER), lines))
    for comparison in comparisons(groups):
        parts += [f"## {comparison.title}", *_comparison_notes(comparison)]
        parts.append(_markdown_table(("row", "reading", *HEADER), _labelled(comparison.rows, groups)))
    if costs:
        parts += ["## The cost of learning, by method", _COSTS, *_cost_tables(costs)]
    if comparisons(groups):
        parts += ["## How errors vanish", _VANISHING, _flow_table()]
    return "\n\n".join(parts) + "\n"


def page(
    trials: Sequence[Trial],
    runs: Sequence[Mapping[str, Any]],
    costs: Sequence[Cost] = (),
    *,
    networks: bool = True,
) -> str:
    """Return the report as one HTML page that needs nothing else.

    Parameters
    ----------
    trials, runs, costs
        As for `markdown`.
    networks : bool, default True
        Train a network for each of three tasks again, and draw what goes on inside it.
    """
    groups = group(trials)
    contents, parts = [], []
    for section in sections(groups):
        number = section.number
        contents.append(f'<li><a href="#table-{number}">{_e(section.title)}</a></li>')
        parts.append(f'<section id="table-{number}"><h2>{_e(section.title)}</h2>')
        parts += [f"<p>{_e(text)}</p>" for text in _notes(section.rows)]
        parts.append(_html_table(section.title, ("row", "reading", *HEADER), _html_rows(section.rows, groups)))
        parts.append(
            _picture(
                pictures.curves(_drawn(section.rows, groups)),
                f"curves-{number}",
                "Learning curves of up to ten trials of each reading.",
            )
        )
        for row in section.swept:
            meanings = {reading.name: reading.meaning for reading in READINGS[row.task]}
            title = f"Readings of row {row.row} ({describe_row(row)})"
            lines = [
                f"<tr><th scope=row>{_e(line.label)}</th>"
                f"<td class=words>{_e(meanings[line.label])}</td>{_cells(line)}</tr>"
                for line in reading_lines(row, groups)
            ]
            table = _html_table(title, ("reading", "meaning", *HEADER), lines)
            parts.append(f"<details><summary>{_e(title)}</summary>{table}</details>")
        parts.append("</section>")
    for comparison in comparisons(groups):
        contents.append(f'<li><a href="#{comparison.name}">{_e(comparison.title)}</a></li>')
        parts.append(f'<section id="{comparison.name}"><h2>{_e(comparison.title)}</h2>')
        parts += [f"<p>{_e(text)}</p>" for text in _comparison_notes(comparison)]
        parts.append(
            _html_table(comparison.title, ("row", "reading", *HEADER), _html_rows(comparison.rows, groups))
            + "</section>"
        )
    if costs:
        contents.append('<li><a href="#costs">The cost of learning</a></li>')
        parts.append(f'<section id="costs"><h2>The cost of learning, by method</h2><p>{_e(_COSTS)}</p>')
        parts.append(_picture(pictures.costs(costs), "costs-picture", "Time and memory of learning, by method."))
        parts.append("</section>")
    if comparisons(groups):
        contents.append('<li><a href="#flow">How errors vanish</a></li>')
        parts.append(f'<section id="flow"><h2>How errors vanish</h2><p>{_e(_VANISHING)}</p>')
        parts.append(
            _picture(
                pictures.error_flow(vanishing.measure()),
                "flow-picture",
                f"The error that reaches a step, as a share of that at the last step: median of {vanishing.SEEDS} nets "
                "with random weights, and the range from the least to the most.",
            )
            + "</section>"
        )
    if networks:
        contents.append('<li><a href="#inside">Inside the networks</a></li>')
        parts.append(_network_sections())
    every = [row for section in sections(groups) for row in section.rows]
    return _PAGE.format(
        overview="".join(f"<p>{_e(text)}</p>" for text in _overview(groups, runs)),
        contents="".join(contents),
        spread=_picture(
            pictures.spread(_drawn(every, groups)), "spread", "Every solved trial, as a multiple of the paper's mean."
        ),
        sections="\n".join(parts),
    )


def _overview(groups: Groups, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was run, how long it took, and where."""
    trials = [trial for found in groups.values() for trial in found]
    steps = sum(trial.steps for trial in trials)
    seconds = sum(trial.seconds for trial in trials) or math.inf
    training = sum(trial.train_seconds for trial in trials) / seconds
    drawing = sum(trial.draw_seconds for trial in trials) / seconds
    where: dict[str, dict[str, None]] = {}

    def told(run: Mapping[str, Any], name: str) -> str:
        return " ".join(str(run.get(name)).split())[:100]

    for run in runs:
        machine = (
            f"{told(run, 'processor')}, {told(run, 'cores')} cores, lstm97 {told(run, 'version')}, "
            f"build {told(run, 'build')}, Python {told(run, 'python')}, NumPy {told(run, 'numpy')}"
        )
        where.setdefault(machine, {})[told(run, "commit")] = None
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


def _notes(rows: Sequence[Experiment]) -> list[str]:
    """What was found out about these rows' tasks, and what their readings mean."""
    notes = []
    for task, paper_task in {row.task: row.paper_task for row in rows}.items():
        closest, literal = reading_of(task, CLOSEST), reading_of(task, LITERAL)
        notes.append(f"Task {paper_task}, literal: {literal.meaning}")
        if closest.name != LITERAL:
            notes.append(f"Task {paper_task}, closest ({closest.name}): {closest.meaning}")
        if task in FINDINGS:
            notes.append(FINDINGS[task])
    return notes


def _labelled(rows: Sequence[Experiment], groups: Groups) -> list[tuple[str, ...]]:
    """Lines of a Markdown table."""
    return [
        (f"**{row.row}** {describe_row(row)}" if i == 0 else "", line.label, *line.cells)
        for row in rows
        for i, line in enumerate(row_lines(row, groups))
    ]


def _comparison_notes(comparison: Comparison) -> list[str]:
    """What the table's readings mean, and what was found out."""
    notes = [COMPARISON_FINDINGS[comparison.name]]
    if comparison.name == "long-lag":
        notes += [f"Reading {name}: {meaning}" for name, meaning in COMPARISON_READINGS.items() if name != LITERAL]
    return notes


_COSTS = (
    f"A step with {costs_of_learning.N_INPUTS} inputs and a target, over sequences of {costs_of_learning.STEPS} steps "
    "while units grow, and the memory a learner holds while the sequence grows. RTRL carries n^3 sensitivities forward "
    "and takes n^4 multiplications a step, n^2 a weight; backpropagation through time keeps the sequence, and if "
    "weights change at every step goes back over it at every step. LSTM's time per weight depends neither on the "
    "number of units nor on the length of the sequence, and its memory not on the length. (LSTM's loops were built for "
    "this processor's vector instructions, the others' for any; this moves a curve, not its slope. Recurrent cascade "
    "correlation: a pass for the outputs and one for eight candidates.)"
)

_VANISHING = (
    f"What is left of an error after so many steps back, in layers of {vanishing.UNITS} logistic units that see each "
    "other, with initial weights in a range (RTRL and backpropagation through time follow the same gradient), and at "
    "the cells of an LSTM: read off the weight changes themselves."
)


def _cost_tables(costs: Sequence[Cost]) -> list[str]:
    """Time by units, and memory by steps."""
    by_units = [cost for cost in costs if cost.n_steps == costs_of_learning.STEPS]
    sizes = sorted({cost.n_units for cost in by_units})
    by_steps = [cost for cost in costs if cost.n_units == costs_of_learning.LENGTHS_UNITS]
    lengths = sorted({cost.n_steps for cost in by_steps})
    times = {(cost.method, cost.n_units): _two_digits(cost.nanoseconds / cost.n_weights) for cost in by_units}
    memory = {(cost.method, cost.n_steps): f"{cost.n_bytes / 1024:,.0f}" for cost in by_steps}
    names = dict.fromkeys(cost.method for cost in costs)
    return [
        "Nanoseconds per step and weight, by units:",
        _markdown_table(
            ("method", "", *(str(n) for n in sizes)),
            [(name, "", *(times.get((name, n), "") for n in sizes)) for name in names],
        ),
        f"KiB held, {costs_of_learning.LENGTHS_UNITS} units, by steps of the sequence:",
        _markdown_table(
            ("method", "", *(f"{n:,}" for n in lengths)),
            [(name, "", *(memory.get((name, n), "") for n in lengths)) for name in names],
        ),
    ]


def _two_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _flow_table() -> str:
    lags = (1, 2, 5, 10, 20, 50, vanishing.STEPS - 1)
    return _markdown_table(
        ("method", "initial weights", *(f"{lag} back" for lag in lags)),
        [
            (flow.method, f"±{flow.init_range:g}", *(f"{np.median(flow.sizes[:, lag]):.1e}" for lag in lags))
            for flow in vanishing.measure()
        ],
    )


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


def _markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table whose first two columns are words, the others figures."""
    rows = [header, ["---", "---", *["---:"] * (len(header) - 2)], *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _e(text: str) -> str:
    """A text in HTML."""
    return html.escape(text)


def _m(text: str) -> str:
    """A text in Markdown, where nothing in it means anything."""
    return re.sub(r"([\\`*_\[\]#|~])", r"\\\1", html.escape(text, quote=False))


def _cells(line: Line) -> str:
    return "".join(f"<td>{_e(cell)}</td>" for cell in line.cells)


def _html_table(caption: str, header: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f"<th scope=col>{_e(name)}</th>" for name in header)
    return (
        f'<div class=wide tabindex=0 role=region aria-label="{_e(caption)}">'
        f"<table><thead><tr>{head}</tr></thead>{''.join(rows)}</table></div>"
    )


def _html_rows(rows: Sequence[Experiment], groups: Groups) -> list[str]:
    bodies = []
    for row in rows:
        lines = row_lines(row, groups)
        words = f"{_e(row.row)}<small>{_e(describe_row(row))}</small>"
        first = f'<th scope=rowgroup rowspan="{len(lines)}" class=row>{words}</th>'
        body = "".join(
            f'<tr class="{line.source}">{first if i == 0 else ""}<th scope=row>{_e(line.label)}</th>{_cells(line)}</tr>'
            for i, line in enumerate(lines)
        )
        bodies.append(f"<tbody>{body}</tbody>")
    return bodies


def _picture(figure: Figure, name: str, caption: str) -> str:
    return f"<figure>{pictures.as_svg(figure, name, caption)}<figcaption>{_e(caption)}</figcaption></figure>"


# Networks to look into: row, reading, and the gates whose net input is taken apart.
_LOOKED_INTO: tuple[tuple[str, str, tuple[Gate, ...]], ...] = (
    ("4-100", CLOSEST, ("input_gate",)),
    ("6a", LITERAL, ("input_gate",)),
    ("2c-50-50", LITERAL, ("input_gate", "output_gate")),
)


def _network_sections() -> str:
    """Networks of three tasks before and after training, over one sequence each."""
    parts = ['<section id="inside"><h2>Inside the networks</h2>']
    for name, reading, gates in _LOOKED_INTO:
        row = next(row for table in TABLES for row in table if row.row == name)
        experiment = reading_of(row.task, reading).apply(row)
        for seed in range(1, experiment.trials + 1):
            network, trial = run_trial(experiment, seed)
            if trial.solved:
                break
        assert isinstance(network, Network)
        sequence, target, marks = _example(experiment, seed)
        pair = [("before training", initial_network(experiment, seed)), ("after training", network)]
        outcome = "solved" if trial.solved else "not solved"
        details = f"row {name}, reading {experiment.reading}, seed {seed}, {outcome}"
        parts.append(f"<h3>{_e(TITLES[row.table - 1])}: {_e(details)}</h3>")
        parts.append(
            _picture(
                pictures.inside(pair, sequence, target, marks),
                f"inside-{name}",
                "A colour for each block (cell states, gates) or output; dashed: the second cell of a block; circles: "
                "the targets.",
            )
        )
        for gate in gates:
            parts.append(
                _picture(
                    pictures.gate_parts(pair, sequence, marks, gate),
                    f"{gate.replace('_', '-')}-{name}",
                    f"What opens and closes the {gate.replace('_', ' ')}s: their net input, by where it comes from. "
                    f"Above 0 a gate is more than half open. {_openings(network, sequence, marks, gate)}",
                )
            )
    return "\n".join([*parts, "</section>"])


def _openings(network: Network, sequence: NDArray[Any], marks: Mapping[int, str], gate: Gate) -> str:
    """How far the gates of a trained network are open at the marked steps, and at the others."""
    activations = look_inside(network, sequence).gates[gate]
    elsewhere = np.delete(activations, list(marks), axis=0).mean(axis=0)
    blocks = [
        f"block {block + 1} "
        + ", ".join(f"{activations[step, block]:.2f} at {text} (step {step})" for step, text in marks.items())
        + f", {elsewhere[block]:.2f} elsewhere on average"
        for block in range(activations.shape[1])
    ]
    return "After training: " + "; ".join(blocks) + "."


def _example(experiment: Experiment, seed: int) -> tuple[NDArray[Any], NDArray[np.float64], dict[int, str]]:
    """A sequence of the task that nobody trained on, its target, and its steps worth a mark."""
    rng = np.random.default_rng([seed, 1997])
    inputs, targets, _ = problem_of(experiment, seed, tolerance=math.inf).draw(rng, 100)
    for sequence, target in zip(inputs, targets, strict=True):
        if experiment.task == "adding":
            marks = {int(step): "marked" for step in np.flatnonzero(sequence[:, 1] == 1)}
        elif experiment.task == "distractors":
            y = experiment.topology.n_inputs - 1
            marks = {1: "y" if sequence[1] == y else "x", len(sequence) - 1: "e"}
        else:
            x = TEMPORAL_ORDER.index("X")
            marks = {int(step): TEMPORAL_ORDER[sequence[step]] for step in np.flatnonzero(sequence >= x)}
        if len(marks) == 2 and max(marks) - min(marks) > 20:
            n_outputs = experiment.topology.n_outputs
            return sequence, target if experiment.task == "adding" else np.eye(n_outputs)[target], marks
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
thead th:first-child, thead th:nth-child(2) {{ text-align: left; }}
tbody {{ border-bottom: 1px solid #ccc; }}
tr.paper {{ background: #f2f2f2; }}
tr.literal th:not(.row) {{ color: #a84a00; }}
tr.closest th:not(.row) {{ color: #00568a; }}
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
<main>
<h1>Long Short-Term Memory, 1997: the rerun</h1>
{overview}
<nav><ul>{contents}</ul></nav>
{spread}
{sections}
</main>
</body>
</html>
"""
