"""How long trials are expected to take, in words."""

from __future__ import annotations

from collections.abc import Callable

import click

from lstm97.paper.trials.estimates import MACHINE

BASIS = f"as recorded trials took ({MACHINE})"
"""What an estimate is based on, for the end of a sentence."""


def duration(seconds: float) -> str:
    """Return a time that is only known roughly."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"about {seconds / 3600:.1f} hours"


def estimated(about: Callable[[], str]) -> type[click.Command]:
    """Return a class of commands whose help ends with a text on how long they take, made only when it is asked for."""

    class Estimated(click.Command):
        def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            formatter.write_paragraph()
            formatter.write_text(about())

    return Estimated
