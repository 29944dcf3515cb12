"""Groups of commands that know the names of their commands, and load the module of the one that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click


class Entry(NamedTuple):
    """A command of a group: what the group knows of it without loading it."""

    module: str
    """The module of `lstm97.cli` whose `COMMANDS` has it."""
    help: str
    """Its line in the group's help: the first sentence of its own."""


class LazyGroup(click.Group):
    """A group that loads a command when it is run or its help is wanted, and lists all of them without loading any."""

    def __init__(self, *arguments: Any, entries: Mapping[str, Entry], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, sorted."""
        return sorted(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; None if there is none of that name."""
        if cmd_name not in self.entries:
            return None
        command: click.Command = import_module(f"lstm97.cli.{self.entries[cmd_name].module}").COMMANDS[cmd_name]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the lines of the commands in the group's help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.entries[name].help) for name in self.list_commands(ctx)])
