"""`lstm97 report`: a page made from records of trials."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from lstm97 import paper
from lstm97._extras import missing
from lstm97.cli.output import existing_folder
from lstm97.extend import write_whole
from lstm97.paper.report.costs import read as read_costs
from lstm97.paper.report.markdown import markdown
from lstm97.paper.report.result_lines import group as group_by_row


@click.command()
@click.argument(
    "files", metavar="RECORDS...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=existing_folder,
    default="report.html",
    show_default=True,
    help="The page, or Markdown if the name ends in .md.",
)
@click.option(
    "--costs",
    "costs_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What `costs` wrote: adds time and memory of learning by method, and how errors vanish.",
)
def report(files: tuple[Path, ...], out: Path, costs_file: Path | None) -> None:
    """Make a page about a rerun of the paper from the RECORDS that `reproduce` and `readings` wrote.

    The page needs nothing but itself. For its pictures of networks it trains three of them again.
    """
    make = _maker(out)
    if out.resolve() in [file.resolve() for file in files]:
        raise click.UsageError(f"'{out}' holds records; name another file by --out.")
    try:
        trials, runs = paper.read_records(*files)
        found = read_costs(costs_file)[0] if costs_file else []
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    n_reported = sum(map(len, group_by_row(trials).values()))
    if not n_reported:
        raise click.UsageError("there is no trial of a row of the paper in these files.")
    write_whole(out, make(trials, runs, found).encode())
    left_out = len(trials) - n_reported
    click.echo(
        f"{n_reported:,} trials reported in {out}"
        + (
            f"; {left_out:,} more left out: given up earlier than others of their row and reading, or of no row of the "
            "paper."
            if left_out
            else "."
        )
    )


def _maker(out: Path) -> Callable[..., str]:
    """The function that makes the report: Markdown or, with what comes with the extra `report`, the page."""
    if out.suffix == ".md":
        return markdown
    try:
        from lstm97.paper.report.page import page  # noqa: PLC0415 (needs an extra)
    except ModuleNotFoundError as error:
        raise click.ClickException(missing("a report", error.name, "report")) from error
    return page


COMMANDS = {"report": report}
