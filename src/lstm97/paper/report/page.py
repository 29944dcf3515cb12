"""The report as one HTML page; its pictures of networks are drawn from trials run again."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lstm97.network import Network
from lstm97.paper.report import pictures, vanishing
from lstm97.paper.report.costs import Cost
from lstm97.paper.report.inside import Gate, look_inside
from lstm97.paper.report.result_lines import HEADER, Groups, Line, describe_row, group, reading_lines, row_lines
from lstm97.paper.report.sections import (
    COSTS,
    TITLES,
    VANISHING,
    comparison_notes,
    comparisons,
    notes,
    overview,
    sections,
)
from lstm97.paper.tables.experiments import LITERAL, Experiment
from lstm97.paper.tables.readings import CLOSEST, READINGS, reading_of
from lstm97.paper.tables.rows import TABLES
from lstm97.paper.tasks import TEMPORAL_ORDER
from lstm97.paper.tasks.problems import problem_of
from lstm97.paper.trials.runner import Trial, initial_network, run_trial


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
        parts += [f"<p>{_e(text)}</p>" for text in notes(section.rows)]
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
        parts += [f"<p>{_e(text)}</p>" for text in comparison_notes(comparison)]
        parts.append(
            _html_table(comparison.title, ("row", "reading", *HEADER), _html_rows(comparison.rows, groups))
            + "</section>"
        )
    if costs:
        contents.append('<li><a href="#costs">The cost of learning</a></li>')
        parts.append(f'<section id="costs"><h2>The cost of learning, by method</h2><p>{_e(COSTS)}</p>')
        parts.append(_picture(pictures.costs(costs), "costs-picture", "Time and memory of learning, by method."))
        parts.append("</section>")
    if comparisons(groups):
        contents.append('<li><a href="#flow">How errors vanish</a></li>')
        parts.append(f'<section id="flow"><h2>How errors vanish</h2><p>{_e(VANISHING)}</p>')
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
        overview="".join(f"<p>{_e(text)}</p>" for text in overview(groups, runs)),
        contents="".join(contents),
        spread=_picture(
            pictures.spread(_drawn(every, groups)), "spread", "Every solved trial, as a multiple of the paper's mean."
        ),
        sections="\n".join(parts),
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


def _e(text: str) -> str:
    """A text in HTML."""
    return html.escape(text)


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


# The networks that the report looks into: row, reading, and the gates whose net input is shown in parts.
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
    """A sequence of the task that was not trained on, its target, and the steps to be marked in pictures."""
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
