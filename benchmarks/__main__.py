"""``python -m benchmarks``: run the rows and print the table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .machine import describe
from .report import as_plain, column_names, heading, lines, measure
from .rows import table


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmarks that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as well")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the rows whose name contains TEXT")
    parser.add_argument("--quick", action="store_true", help="few short repeats: to see that it works")
    options = parser.parse_args(arguments)
    repeats, seconds = (3, 0.02) if options.quick else (9, 0.2)
    chosen = [row for row in table() if options.only in f"{row.name}, {row.dtype}"]
    if not chosen:
        parser.error(f"no row has {options.only!r} in its name")

    about = describe()
    print(heading(about))
    print(f"\nOne thread; median of {repeats} rounds, ours and the peers taking turns of about {seconds} s;")
    print("ratio: how many times ours the peer takes, median over the rounds.\n")
    print(column_names())
    results = []
    for row in chosen:
        result = measure(row, repeats=repeats, seconds=seconds)
        results.append(result)
        print("\n".join(lines(result)), flush=True)
    if options.json:
        plain = as_plain(about, results, repeats=repeats, seconds=seconds)
        options.json.write_text(json.dumps(plain, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
