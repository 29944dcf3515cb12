"""`lstm97 costs`: what a step of learning costs by each method."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lstm97 import paper
from lstm97.cli.output import existing_folder, table
from lstm97.cli.progress import Lines, live_line

if TYPE_CHECKING:
    from lstm97.paper.report.costs import Cost


@click.command()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=existing_folder,
    default="costs.json",
    show_default=True,
    help="Where to write them, for `report --costs`.",
)
def costs(out: Path) -> None:
    """Measure time and memory of learning, by method, as the net and the sequence grow.

    Takes half a minute. Other programs on the machine make the times longer.
    """
    from lstm97.paper.report.costs import measure, write  # noqa: PLC0415 (loads all methods; the help needs none)

    rows = [("method", "units", "weights", "steps", "ns/step", "ns/step/weight", "KiB")]
    lines = Lines()
    lines.write("costs: about half a minute on an idle machine")
    with live_line("{n} measured {postfix}", None) as bar:

        def show(cost: Cost) -> None:
            what = f"{cost.method}, {cost.n_units} units, {cost.n_steps:,} steps"
            bar.set_postfix_str(what, refresh=False)
            bar.update()
            lines.write(f"measured: {what}: {cost.nanoseconds:,.0f} ns/step")

        measured = measure(show)
    for cost in measured:
        rows.append(
            (
                cost.method,
                str(cost.n_units),
                f"{cost.n_weights:,}",
                f"{cost.n_steps:,}",
                f"{cost.nanoseconds:,.0f}",
                f"{cost.nanoseconds / cost.n_weights:.2f}",
                f"{cost.n_bytes / 1024:,.0f}",
            )
        )
    write(out, measured, paper.describe_run(shlex.join(["lstm97", *sys.argv[1:]])))
    click.echo(table(rows, left_aligned=1))


COMMANDS = {"costs": costs}
