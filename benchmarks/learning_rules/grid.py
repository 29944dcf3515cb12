"""How far one fixed setting is behind the best of 20 settings that are tried on each series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from ..latency import markdown_table
from .forecasting import Setting, networks, of_forecaster
from .packages import Series
from .records import Record

RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
CELLS = (8, 32)
RULES = ("SGD", "RMSprop")
FIXED = Setting()
FIXED_RULES = (
    "SGD",
    "RMSprop",
    "RMSprop, bounded",
    "RMSprop, bounded, Huber",
    "RMSprop, bounded, RLS",
    "Adam, bounded",
)
TASK, FIXED_TASK = "grid", "fixed"


def measure(series: Iterable[Series], seeds: range) -> Iterator[Record]:
    """Yield records of the grid, of the Forecaster, and of the fixed setting with each rule that may be fixed."""
    loaded = list(series)
    settings = [Setting(cells=cells, rate=rate) for cells, rate in product(CELLS, RATES)]
    yield from networks(TASK, loaded, RULES, settings, seeds)
    yield from of_forecaster(FIXED_TASK, loaded, seeds)
    yield from networks(FIXED_TASK, loaded, FIXED_RULES, [FIXED], seeds)


def _geometric(values: Iterable[float | None]) -> float:
    """Return the geometric mean; infinite if a network overflowed."""
    return float(np.exp(np.mean([np.log(np.inf if value is None else value) for value in values])))


def _scores(rows: Iterable[dict[str, Any]], task: str) -> dict[str, dict[str, float]]:
    """Return means over seeds by label, then by series."""
    found: dict[str, dict[str, list[float | None]]] = {}
    for row in rows:
        if row["task"] == task:
            label = Record(**row).label if task == TASK else row["model"]
            found.setdefault(label, {}).setdefault(row["data"], []).append(row["value"])
    return {label: {name: _geometric(values) for name, values in cells.items()} for label, cells in found.items()}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of the best of the grid on each series, and of the fixed settings relative to it."""
    tried, fixed = _scores(rows, TASK), _scores(rows, FIXED_TASK)
    if not tried:
        return "No rule of the grid is there."
    names = list(next(iter(tried.values())))
    best = {name: min(scores[name] for scores in tried.values()) for name in names}
    head = ["", *names, "geometric mean", "worst"]
    lines = [
        [f"best of {len(tried)}", *(f"{best[name]:.3f}" for name in names), f"{_geometric(best.values()):.3f}", ""]
    ]
    for label, scores in [*fixed.items(), *((f"*grid:* {label}", scores) for label, scores in _nearest(tried, best))]:
        ratios = [scores[name] / best[name] for name in names]
        lines.append([label, *map("{:.2f}".format, ratios), f"{_geometric(ratios):.3f}", f"{max(ratios):.2f}"])
    choices = f"{' or '.join(RULES)}, rates {', '.join(map(str, RATES))}, {' or '.join(map(str, CELLS))} cells"
    return markdown_table(
        f"**grid**: error relative to the naive forecast's for the best of {len(tried)} settings of each series "
        f"({choices}), chosen with hindsight, then the errors of one setting for all series, divided by the best. Last "
        "the setting of the grid that is nearest to the best; geometric means over seeds.",
        head,
        lines,
    )


def _nearest(tried: dict[str, dict[str, float]], best: dict[str, float]) -> Iterator[tuple[str, dict[str, float]]]:
    label = min(tried, key=lambda label: _geometric(tried[label][name] / best[name] for name in best))
    yield label, tried[label]
