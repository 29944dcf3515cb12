"""``python -m benchmarks``: run the rows and print the table."""

from __future__ import annotations

import argparse
import json
import subprocess
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from . import growth, memory, startup
from .headlines import markdown
from .limits import peaks
from .machine import caches, describe
from .report import as_plain, column_names, heading, lines, measure
from .rows import table


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmarks that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as well")
    parser.add_argument(
        "--only", default=[""], nargs="+", metavar="TEXT", help="only the rows whose name contains one of these"
    )
    parser.add_argument("--quick", action="store_true", help="few short repeats: to see that it works")
    parser.add_argument(
        "--from",
        dest="files",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="run nothing: print the figures that have a target as Markdown, or --plot, from files written by --json",
    )
    parser.add_argument("--short", action="store_true", help="with --from: only a row for each kind of use")
    parser.add_argument("--growth", action="store_true", help="also how time and memory grow with weights and steps")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw the figures, as PNG and SVG, into FOLDER")
    options = parser.parse_args(arguments)
    if options.files:
        runs = [json.loads(file.read_text(encoding="utf-8")) for file in options.files]
        print(markdown(together(runs), short=options.short))
        if options.plot:
            plot(together(runs), options.plot)
        return
    repeats, seconds = (3, 0.02) if options.quick else (9, 0.2)
    chosen = [row for row in table() if any(text in f"{row.name}, {row.dtype}" for text in options.only)]
    if not chosen:
        parser.error(f"no row has {' or '.join(map(repr, options.only))} in its name")

    sizes = caches()
    about = describe()
    try:
        about["limits"] = dict(peaks(sizes, repeats=repeats, seconds=seconds))
    except (OSError, subprocess.CalledProcessError) as error:
        about["limits"] = {"not measured, no working C compiler": error}
    print(heading(about), flush=True)
    begin = startup.measure(repeats=3 if options.quick else 15, show=print)
    print(f"\nMedian of {repeats} rounds, ours, the peers and the limits taking turns of about {seconds} s; one thread")
    print("where a row names no other number.")
    print("Ratio: the peer's time divided by ours (where the target is a maximum, ours by the peer's), median over the")
    print("rounds; for a limit: its share of our time.\n")
    print(column_names())
    results = []
    for row in chosen:
        result = measure(row, sizes, repeats=repeats, seconds=seconds)
        results.append(result)
        print("\n".join(lines(result)), flush=True)
    plain = as_plain(about, results, repeats=repeats, seconds=seconds)
    plain["startup"] = asdict(begin)
    if options.growth:
        cells, lengths = (growth.QUICK_CELLS, growth.QUICK_LENGTHS) if options.quick else (growth.CELLS, growth.LENGTHS)
        longer = memory.QUICK_LENGTHS if options.quick else memory.LENGTHS
        show = partial(print, flush=True)
        show()
        plain["growth"] = asdict(growth.measure(cells, lengths, repeats=repeats, seconds=seconds, show=show))
        show()
        plain["memory"] = asdict(memory.measure(longer, show=show))
    if options.json:
        options.json.write_text(json.dumps(plain, indent=2, default=str) + "\n", encoding="utf-8")
    if options.plot:
        plot(plain, options.plot)


def plot(figures: dict[str, Any], folder: Path) -> None:
    """Draw the pictures."""
    from .plots import draw  # here, because only pictures need matplotlib

    draw(figures, folder)


def together(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of several runs as one; if several have the same row, the last run's is taken."""
    rows = {(row["name"], row["dtype"]): row for run in runs for row in run["rows"]}
    return {key: value for run in runs for key, value in run.items()} | {"rows": list(rows.values())}


if __name__ == "__main__":
    main()
