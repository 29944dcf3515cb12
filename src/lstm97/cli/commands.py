"""The command `lstm97`, the group of all others: results on stdout, progress and complaints on stderr.

Exit status: 0 done (`run`: the stop rule held), 1 not solved or failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import errno
import sys
from typing import Any

import click

from lstm97.cli.groups import Entry, LazyGroup

ENTRIES = {
    "list": Entry("listing", "List the experiments and their readings."),
    "run": Entry("run", "Run an experiment."),
    "reproduce": Entry("reproduce", "Rerun the paper: rows of its tables, with its numbers of trials."),
    "readings": Entry("reproduce", "Run a task in every reading of the paper's text, to see what each comes to."),
    "report": Entry(
        "report", "Make a page about a rerun of the paper from the RECORDS that `reproduce` and `readings` wrote."
    ),
    "costs": Entry("costs", "Measure time and memory of learning, by method, as the net and the sequence grow."),
    "export": Entry("export", "Write a network, or a forecaster, as a file for other programs."),
}


class _Commands(LazyGroup):
    """A group whose commands end with one line instead of a traceback when they are interrupted or cannot go on."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                click.echo("\r\033[K", nl=False, err=True)  # wipes the ^C that the terminal shows
            click.echo("lstm97: interrupted", err=True)
            ctx.exit(130)
        except FloatingPointError as error:
            raise click.ClickException(str(error)) from error
        except MemoryError as error:
            raise click.ClickException("not enough memory") from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of stdout has gone: click ends quietly
                raise
            raise click.ClickException(str(error)) from error


@click.group(
    cls=_Commands,
    entries=ENTRIES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="lstm97", prog_name="lstm97")
def lstm97() -> None:
    """Watch the Long Short-Term Memory of 1997 learn, online and on the CPU."""
