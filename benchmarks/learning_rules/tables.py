"""Tables in Markdown from records: a row per model and setting, a column per data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..latency import markdown_table, where
from . import grid, stepsizes, truncation
from .packages import PACKAGES
from .records import Record

MULTIPLIED = ("series", "raw")
"""Tasks whose values are ratios: their means are geometric."""
WITH_MEAN = (*MULTIPLIED, "intervals", "streams", "one pass")
"""Tasks whose columns have a mean."""


def _mean(values: Sequence[float], task: str) -> float:
    return float(np.exp(np.mean(np.log(values))) if task in MULTIPLIED else np.mean(values))


def _number(value: float, task: str) -> str:
    return f"{value:,.0f}" if task == "delayed XOR" else f"{value:.3f}"


def _cell(rows: Sequence[dict[str, Any]], task: str) -> tuple[str, float | None]:
    """Return the mean over seeds as text and, if all seeds have a value, as a number."""
    values = [row["value"] for row in rows if row["value"] is not None]
    lost = len(rows) - len(values)
    text = _number(_mean(values, task), task) if values else ""
    if lost:
        word = {"delayed XOR": "not solved", "intervals": "too short"}.get(task, "overflowed")
        text = f"{text}{'; ' if text else ''}{lost} of {len(rows)} {word}"
    return text, None if lost or not values else _mean(values, task)


def pivot(rows: Sequence[dict[str, Any]], task: str) -> str:
    """Return the table of one task."""
    chosen = [row for row in rows if row["task"] == task]
    names = list(dict.fromkeys(row["data"] for row in chosen))
    labels = list(dict.fromkeys(Record(**row).label for row in chosen))
    n_seeds = len({row["seed"] for row in chosen if row["seed"] is not None})
    lines = []
    for label in labels:
        of_label = [row for row in chosen if Record(**row).label == label]
        cells = [_cell([row for row in of_label if row["data"] == name], task) for name in names]
        known = [value for _, value in cells if value is not None]
        mean = [_number(_mean(known, task), task) if len(known) == len(names) else ""] if task in WITH_MEAN else []
        lines.append([label, *(text for text, _ in cells), *mean])
    how = "geometric means" if task in MULTIPLIED else "means"
    title = f"**{task}**: {chosen[0]['measure']}; {how} over {n_seeds} seeds."
    return markdown_table(title, ["", *names, *(["mean"] if task in WITH_MEAN else [])], lines)


def shortened(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures without most settings of the series: those of 24 lags stay, of differences or raw values."""
    rows = [
        row
        for row in figures["rows"]
        if row["task"] not in MULTIPLIED
        or (
            row["setting"].get("preparation") in (None, "differences", "raw")
            and row["setting"].get("lags") in (None, 24)
        )
    ]
    return figures | {"rows": rows}


def markdown(figures: dict[str, Any]) -> str:
    """Return all tables, below the machine, the versions, and what could not be measured."""
    rows = figures["rows"]
    versions = ", ".join(f"{name} {figures['versions'][name]}" for name in PACKAGES)
    parts = [f"`{figures['command']}`", f"{where(figures)} {versions}."]
    parts += [f"Task left out: {task}; {reason}." for task, reason in figures["tasks missing"].items()]
    for task in dict.fromkeys(row["task"] for row in rows):
        if task == grid.TASK:
            parts.append(grid.table(rows))
        elif task == stepsizes.TASKS[0]:
            parts.append(stepsizes.table(rows))
        elif task == truncation.TASK:
            parts.append(truncation.table(rows))
        elif task not in (grid.FIXED_TASK, truncation.TIME, *stepsizes.TASKS):
            parts.append(pivot(rows, task))
    return "\n\n".join(parts)
