"""What several commands share: tables on stdout, and the check of a file to be written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click


def existing_folder(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Refuse a file in a folder that is not there: before the training, not after it."""
    if value is not None and not value.absolute().parent.is_dir():
        raise click.BadParameter(f"directory '{value.parent}' does not exist.", ctx=ctx, param=param)
    return value


def table(rows: Sequence[Sequence[str]], *, left_aligned: int) -> str:
    """Lay out rows in columns; the first `left_aligned` of them start, the others end, at the same place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i < left_aligned else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)
