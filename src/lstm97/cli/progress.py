"""How far a command is, on stderr: a live line on a terminal, else lines now and then."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import NoReturn

import click
from tqdm import tqdm


class Lines:
    """Progress as lines on stderr where that is no terminal: after 2 seconds, then rarer, but every 30 seconds."""

    def __init__(self) -> None:
        self._silent = sys.stderr.isatty()
        self._wait = 2.0
        self._due = time.monotonic() + self._wait

    def are_due(self) -> bool:
        """Whether it is time for a line on what is under way."""
        return not self._silent and time.monotonic() >= self._due

    def write(self, text: str) -> None:
        """Write a line, and let the next one wait longer."""
        if self._silent:
            return
        with suppress(OSError):  # the reader of stderr has gone; the results are still wanted
            click.echo(text, err=True)
        self._wait = min(2 * self._wait, 30.0)
        self._due = time.monotonic() + self._wait


def live_line(layout: str, total: int | None) -> tqdm[NoReturn]:
    """Return a live line on stderr: nothing unless that is a terminal, and nothing left in the end."""
    return tqdm(total=total, bar_format=layout, leave=False, disable=None, dynamic_ncols=True, miniters=0)
