"""``python -m benchmarks.learning_rules``: measure the learning rules and print the tables as Markdown.

Data come from packages of the extra `rules`; tasks whose package is not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain, product
from pathlib import Path
from typing import Any

from ..machine import describe
from . import chorales, classification, delays, forecasting, grid, onepass, packages, sines, stepsizes, text, truncation
from .forecasting import Setting
from .preparations import PREPARATIONS
from .records import Record
from .rules import RULES, UNSCALED
from .tables import markdown, shortened


@dataclass(frozen=True)
class Size:
    """How much to measure."""

    seeds: int
    values: int | None
    """Of each series and stream with classes; None for all."""
    n_bytes: int
    sines_until: tuple[int, ...]
    delays: tuple[delays.Task, ...]
    chorales: int


WHOLE = Size(5, None, 100_000, (20_000, 200_000), (delays.Task(20, 100_000), delays.Task(50, 100_000)), 100)
QUICK = Size(1, 200, 2_000, (1_000, 2_000), (delays.Task(8, 5_000),), 3)


def _series(size: Size) -> list[packages.Series]:
    return [
        packages.Series(series.name, series.values[: size.values], series.season) for series in packages.real_series()
    ]


def _forecasts(size: Size, seeds: range) -> Iterator[Record]:
    series = _series(size)
    prepared = [name for name in PREPARATIONS if name != "raw"]
    settings = [Setting(preparation, lags) for preparation, lags in product(prepared, (24, 1))]
    yield from forecasting.of_peers("series", series)
    yield from forecasting.of_forecaster("series", series, seeds)
    yield from forecasting.networks("series", series, UNSCALED, settings, seeds)


def _raw(size: Size, seeds: range) -> Iterator[Record]:
    series = _series(size)
    settings = [Setting("raw", lags) for lags in (24, 1)]
    yield from forecasting.of_forecaster("raw", series, seeds)
    yield from forecasting.of_stream_networks("raw", series, (24, 1), seeds)
    yield from forecasting.networks("raw", series, tuple(RULES), settings, seeds)


def _streams(size: Size) -> list[packages.Labelled]:
    return [
        packages.Labelled(stream.name, stream.inputs[: size.values], stream.classes[: size.values], stream.n_classes)
        for stream in packages.labelled_streams()
    ]


def _step_sizes(size: Size, seeds: range) -> Iterator[Record]:
    yield from stepsizes.of_series(_series(size), seeds)
    yield from stepsizes.of_a_row(_series(size), seeds)
    yield from stepsizes.of_classes(_streams(size), seeds)


TASKS: dict[str, Callable[[Size, range], Iterator[Record]]] = {
    "series": _forecasts,
    "grid": lambda size, seeds: grid.measure(_series(size), seeds),
    "raw": _raw,
    "intervals": lambda size, seeds: forecasting.of_intervals(_series(size), seeds),
    "streams": lambda size, seeds: classification.measure(_streams(size), seeds),
    "one pass": lambda _, seeds: onepass.measure(packages.labelled_sequences(), seeds),
    "text": lambda size, seeds: text.measure(size.n_bytes, seeds),
    "sines": lambda size, seeds: sines.measure(size.sines_until, seeds),
    "delayed XOR": lambda size, seeds: delays.measure(size.delays, seeds),
    "chorales": lambda size, seeds: chorales.measure(size.chorales, seeds),
    "step sizes": _step_sizes,
    truncation.TASK: lambda size, seeds: truncation.measure(
        _series(size), size.n_bytes, size.chorales, size.delays, seeds
    ),
}


def measure(tasks: Sequence[str], size: Size, seeds: int, command: str) -> dict[str, Any]:
    """Measure tasks; each is named on stderr with its time."""
    figures: dict[str, Any] = {"command": command, **describe(), "how": asdict(size) | {"seeds": seeds}}
    for name in packages.PACKAGES:
        figures["versions"][name] = "not installed"
        with suppress(importlib.metadata.PackageNotFoundError):
            figures["versions"][name] = importlib.metadata.version(name)
    figures["tasks missing"] = {}
    rows: list[Record] = []
    for task in tasks:
        begin = time.perf_counter()
        try:
            rows += TASKS[task](size, range(1, seeds + 1))
        except packages.MissingPackageError as error:
            figures["tasks missing"][task] = str(error)
        print(f"{task}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    return figures | {"rows": [asdict(row) for row in rows]}


def as_json(figures: dict[str, Any]) -> str:
    """Return figures as JSON, a record on each line; what a task measures is said once."""
    measures = {row["task"]: row["measure"] for row in figures["rows"]}
    about = {name: value for name, value in figures.items() if name != "rows"} | {"measures": measures}
    head = json.dumps(about, indent=1)
    rows = ",\n".join(
        json.dumps({name: value for name, value in row.items() if name != "measure"}) for row in figures["rows"]
    )
    return f'{head.removesuffix("}").rstrip()},\n "rows": [\n{rows}\n]\n}}\n'


def read(file: Path) -> dict[str, Any]:
    """Return the figures in a file that `as_json` has written."""
    figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    measures = figures.pop("measures")
    return figures | {"rows": [row | {"measure": measures[row["task"]]} for row in figures["rows"]]}


def together(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of several runs as one, described by the first; what one has measured is not missing."""
    rows = list(chain.from_iterable(run["rows"] for run in runs))
    measured = {row["task"] for row in rows}
    missing = {task: reason for run in runs for task, reason in run["tasks missing"].items() if task not in measured}
    command = "; ".join(run["command"] for run in runs)
    return {**runs[0], "command": command, "rows": rows, "tasks missing": missing}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print, or print the figures from files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning_rules", description=__doc__)
    parser.add_argument("--task", choices=TASKS, action="append", help="only this task; can be given several times")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 1 to N of each network")
    parser.add_argument("--quick", action="store_true", help="take little time: to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as well")
    parser.add_argument(
        "--from",
        dest="files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="run nothing: print what --json wrote to FILEs",
    )
    parser.add_argument("--short", action="store_true", help="of the series, print only what learns from 24 lags")
    options = parser.parse_args(arguments)
    if options.files:
        found = together([read(file) for file in options.files])
        print(markdown(shortened(found) if options.short else found))
        return
    size = QUICK if options.quick else WHOLE
    command = f"{parser.prog} {shlex.join(sys.argv[1:] if arguments is None else arguments)}".rstrip()
    figures = measure(options.task or list(TASKS), size, options.seeds or size.seeds, command)
    print(markdown(shortened(figures) if options.short else figures))
    if options.json:
        options.json.write_text(as_json(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
