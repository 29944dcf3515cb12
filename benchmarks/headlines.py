"""The figures of a README, as Markdown, from what ``--json`` wrote: every ratio that has a target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .report import number, times


def markdown(figures: dict[str, Any]) -> str:
    """Return where and when the figures were taken, then the table."""
    machine, build, versions = figures["machine"], figures["build"], figures["versions"]
    where = (
        f"{machine['processor']}, {machine['cores']} cores; lstm97 {build['version']}, build {build['build']}, "
        f"commit {versions['commit']}"
    )
    head = "| what | lstm97 | beside it | takes | ratio | target | met |\n|---|---|---|---|---|---|---|"
    return "\n".join([where + f"; {figures['unit']}.", "", head, *_rows(figures["rows"])])


def _rows(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
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
