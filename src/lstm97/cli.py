"""The entry point of the `lstm97` command; `lstm97._commands` does the work and needs the extra `cli`."""

from __future__ import annotations

import sys

from lstm97._extras import missing


def main() -> None:
    """Run the `lstm97` command; without the extra `cli`, say how to install it and exit with status 1."""
    try:
        from lstm97._commands import lstm97  # noqa: PLC0415 (needs an extra)
    except ModuleNotFoundError as error:
        if error.name not in {"click", "tqdm"}:
            raise
        print(f"lstm97: {missing('the command', error.name, 'cli')}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    lstm97(prog_name="lstm97")


if __name__ == "__main__":
    main()
