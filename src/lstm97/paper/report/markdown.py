"""The report as Markdown, without pictures."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstm97.paper.report import costs as costs_of_learning
from lstm97.paper.report import vanishing
from lstm97.paper.report.costs import Cost
from lstm97.paper.report.result_lines import HEADER, Groups, describe_row, group, reading_lines, row_lines
from lstm97.paper.report.sections import COSTS, VANISHING, comparison_notes, comparisons, notes, overview, sections
from lstm97.paper.tables.experiments import Experiment
from lstm97.paper.tables.readings import READINGS
from lstm97.paper.trials.runner import Trial


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
    parts = ["# The rerun of the paper", *map(_plain, overview(groups, runs))]
    for section in sections(groups):
        parts += [f"## {section.title}", *notes(section.rows)]
        parts.append(_table(("row", "reading", *HEADER), _labelled(section.rows, groups)))
        for row in section.swept:
            meanings = {reading.name: reading.meaning for reading in READINGS[row.task]}
            parts.append(f"Readings of row {row.row} ({describe_row(row)}):")
            lines = [(line.label, meanings[line.label], *line.cells) for line in reading_lines(row, groups)]
            parts.append(_table(("reading", "meaning", *HEADER), lines))
    for comparison in comparisons(groups):
        parts += [f"## {comparison.title}", *comparison_notes(comparison)]
        parts.append(_table(("row", "reading", *HEADER), _labelled(comparison.rows, groups)))
    if costs:
        parts += ["## The cost of learning, by method", COSTS, *_cost_tables(costs)]
    if comparisons(groups):
        parts += ["## How errors vanish", VANISHING, _flow_table()]
    return "\n\n".join(parts) + "\n"


def _labelled(rows: Sequence[Experiment], groups: Groups) -> list[tuple[str, ...]]:
    """The lines of a table of rows, each row with its name and description before its first reading."""
    return [
        (f"**{row.row}** {describe_row(row)}" if i == 0 else "", line.label, *line.cells)
        for row in rows
        for i, line in enumerate(row_lines(row, groups))
    ]


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
        _table(
            ("method", "", *(str(n) for n in sizes)),
            [(name, "", *(times.get((name, n), "") for n in sizes)) for name in names],
        ),
        f"KiB held, {costs_of_learning.LENGTHS_UNITS} units, by steps of the sequence:",
        _table(
            ("method", "", *(f"{n:,}" for n in lengths)),
            [(name, "", *(memory.get((name, n), "") for n in lengths)) for name in names],
        ),
    ]


def _two_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _flow_table() -> str:
    lags = (1, 2, 5, 10, 20, 50, vanishing.STEPS - 1)
    return _table(
        ("method", "initial weights", *(f"{lag} back" for lag in lags)),
        [
            (flow.method, f"±{flow.init_range:g}", *(f"{np.median(flow.sizes[:, lag]):.1e}" for lag in lags))
            for flow in vanishing.measure()
        ],
    )


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table whose first two columns are words, the others figures."""
    rows = [header, ["---", "---", *["---:"] * (len(header) - 2)], *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _plain(text: str) -> str:
    """A text in Markdown that shows as it is: characters that Markdown would take for marks are escaped."""
    return re.sub(r"([\\`*_\[\]#|~])", r"\\\1", html.escape(text, quote=False))
