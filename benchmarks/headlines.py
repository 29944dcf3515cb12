"""The figures of a README, as Markdown, from what ``--json`` wrote: every ratio that has a target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .report import number, times

SHORT = (
    "adding net, 93 weights, T=100, error at the end",
    "adding net, one net.learn call per observation",
    "256 cells, 128 inputs, T=100, batches of 64, error at the end",
    "1000 streams, 4 cells, 1 input, one streams.learn call per step",
    "64 cells, 32 inputs, T=100, predict for 64 sequences",
)
"""The rows of a short table, in float32: a kind of use each."""


def markdown(figures: dict[str, Any], *, short: bool = False) -> str:
    """Return where and when the figures were taken, then the table: of all rows, or those of `SHORT`."""
    machine, build, versions = figures["machine"], figures["build"], figures["versions"]
    where = (
        f"{machine['processor']}, {machine['cores']} cores; lstm97 {build['version']}, build {build['build']}, "
        f"commit {versions['commit']}"
    )
    head = "| what | lstm97 | beside it | takes | ratio | target | met |\n|---|---|---|---|---|---|---|"
    return "\n".join([where + f"; {figures['unit']}.", "", head, *_rows(figures["rows"], short)])


def _rows(rows: list[dict[str, Any]], short: bool) -> Iterator[str]:
    for row in rows:
        if short and (row["name"] not in SHORT or row["dtype"] != "float32"):
            continue
        for peer in row["peers"]:
            if peer["target"] is None:
                continue
            sign = "≤" if peer["at_most"] else "≥"
            taken = ["", "", peer["missing"]]
            if peer["time"] is not None:
                verdict = "yes" if peer["met"] else "no"
                taken = [number(peer["time"]["median"]), times(peer["ratio"]["median"]), verdict]
            cells = [
                f"{row['name']}, {row['dtype']}",
                number(row["time"]["median"]),
                peer["name"],
                taken[0],
                taken[1],
                f"{sign} {peer['target']:g}x",
                taken[2],
            ]
            yield "| " + " | ".join(cells) + " |"
