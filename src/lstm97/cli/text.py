"""`lstm97 run text`: a text learned byte by byte."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import BinaryIO

import click

from lstm97.cli.output import existing_folder, table
from lstm97.cli.progress import Lines, live_line
from lstm97.demos.text import TextRecord, TextSettings, default_text, learn_text
from lstm97.network import Network

_TEXT = TextSettings()


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--cells",
    type=click.IntRange(min=1),
    default=_TEXT.cells,
    show_default=True,
    help="Memory cells, each with an input, an output and a forget gate.",
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0.0, min_open=True),
    default=_TEXT.learning_rate,
    show_default=True,
    help="Smaller if learning diverges.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=_TEXT.seed,
    show_default=True,
    help="Of the initial weights.",
)
@click.option("--max-bytes", type=click.IntRange(min=1), help="Stop after this many bytes.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=existing_folder,
    help="Save the trained network to this file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def text(
    file: Path | None,
    cells: int,
    learning_rate: float,
    seed: int,
    max_bytes: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Learn to predict the next byte of FILE online, in one pass.

    Prints bits per byte from the first byte on, learning included, beside adaptive order-0 and order-2
    models, which see the bytes once as well, and zlib. The network is never reset. The default FILE is a text
    that ships with CPython, pydoc_data/topics.py.
    """
    if file is None:
        try:
            file = default_text()
        except FileNotFoundError as error:
            raise click.UsageError(str(error)) from error
    if not math.isfinite(learning_rate):
        raise click.BadParameter(f"{learning_rate} is not a finite number.", param_hint="'--learning-rate'")
    if out is not None and out.resolve() == file.resolve():
        raise click.UsageError(f"'{out}' is the text; name another file by --out.")
    settings = TextSettings(cells=cells, learning_rate=learning_rate, seed=seed)
    with file.open("rb") as stream:
        if not stream.peek(1):
            raise click.BadParameter(f"'{file}' is empty.", param_hint="'[FILE]'")
        network, record = _learn_text(stream, file, settings, max_bytes)

    if as_json:
        click.echo(json.dumps({"file": str(file)} | dataclasses.asdict(record)))
    else:
        _print_text(record, file)
    if out is not None:
        network.save(out)
        click.echo(f"Network saved to {out}.", err=True)


def _learn_text(
    stream: BinaryIO, file: Path, settings: TextSettings, max_bytes: int | None
) -> tuple[Network, TextRecord]:
    """Learn a text, and show how far that is."""
    size = file.stat().st_size  # 0 for a pipe, whose length is not known before its end
    total = min(filter(None, (size, max_bytes)), default=None)
    lines = Lines()
    position = "{percentage:3.0f}% |{bar:8}|" if total else "{n:,} bytes,"
    with live_line(f"text {position} bits/byte so far: {{desc}}", total) as bar:

        def show(record: TextRecord) -> None:
            so_far = (
                f"LSTM {record.network_bits:.2f}, order-0 {record.order0_bits:.2f}, order-2 {record.order2_bits:.2f}"
            )
            bar.set_description_str(so_far, refresh=False)
            bar.update(record.n_bytes - bar.n)
            if lines.are_due():
                of = f" of {total:,}" if total else ""
                lines.write(f"text: {record.n_bytes:,}{of} bytes, bits/byte so far: {so_far}")

        return learn_text(stream, settings, max_bytes=max_bytes, callback=show)


def _print_text(record: TextRecord, file: Path) -> None:
    """Print what a text costs, by each predictor."""
    rows = [
        (f"LSTM, {record.cells} cells", f"{record.network_bits:.3f}"),
        ("order-0 model, adaptive", f"{record.order0_bits:.3f}"),
        ("order-2 model, adaptive", f"{record.order2_bits:.3f}"),
        ("zlib, level 9", f"{record.zlib_bits:.3f}"),
    ]
    click.echo(
        f"Bits per byte over {record.n_bytes:,} bytes of {file.name}, from the first byte on:\n"
        f"\n{table(rows, left_aligned=1)}\n\n"
        f"The LSTM took {record.seconds:.1f} s, {record.bytes_per_second:,.0f} bytes/s."
    )


COMMANDS = {"text": text}
