"""The command `lstm97`. Its entry point is here and needs nothing; the commands need the extra `cli`."""

from __future__ import annotations

import sys

from lstm97._extras import PACKAGES, missing


def main() -> None:
    """Run the `lstm97` command; without the extra `cli`, say how to install it and exit with status 1."""
    try:
        from lstm97.cli.commands import lstm97  # noqa: PLC0415 (needs an extra)

        lstm97(prog_name="lstm97")
    except ModuleNotFoundError as error:
        if error.name not in PACKAGES["cli"]:
            raise
        print(f"lstm97: {missing('the command', error.name, 'cli')}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:  # while the commands are being loaded
        sys.exit(130)
