"""`lstm97 export`: a network, or a forecaster, as a file for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from lstm97.cli.output import existing_folder
from lstm97.export import c, onnx
from lstm97.forecaster import Forecaster, is_forecaster
from lstm97.network import load


@click.group()
def export() -> None:
    """Write a network, or a forecaster, as a file for other programs."""


@export.command("c")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--learn", is_flag=True, help="With the learning rule, not only the step.")
@click.option("--dtype", type=click.Choice(["float64", "float32"]), help="What it computes in. Default: the network's.")
@click.option("--name", default="lstm97", show_default=True, help="What all identifiers of the file begin with.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=existing_folder,
    help="The C file, replaced if it is there. Default: FILE with the suffix .c.",
)
def export_c(file: Path, learn: bool, dtype: str | None, name: str, out: Path | None) -> None:
    """Write the network or forecaster in FILE as one C99 file that needs nothing but the C library.

    FILE is what Network.save, --out of `lstm97 run` or Forecaster.save wrote. A forecaster always learns.
    """
    out = out or file.with_suffix(".c")
    if out.resolve() == file.resolve():
        raise click.UsageError(f"'{out}' holds the network; name another file by --out.")
    try:
        net = Forecaster.load(file) if is_forecaster(file) else load(file)
        c.export_c(net, out, learn=learn, dtype=dtype, name=name)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if isinstance(net, Forecaster):
        sizes = f"{c.forecaster_bytes(net, dtype):,} bytes for each forecaster"
    else:
        weights, state = c.struct_bytes(net, learn, dtype)
        sizes = f"{weights:,} bytes of weights, {state:,} bytes of state for each stream"
    click.echo(f"{out} written: {sizes}.")


@export.command("onnx")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--sequence", is_flag=True, help="A model of whole sequences instead of one of a single step.")
@click.option("--dtype", type=click.Choice(["float64", "float32"]), help="Of the model. Default: the network's.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=existing_folder,
    help="The model, replaced if it is there. Default: FILE with the suffix .onnx.",
)
def export_onnx(file: Path, sequence: bool, dtype: str | None, out: Path | None) -> None:
    """Write the network in FILE as an ONNX model: its inference, for ONNX Runtime and others.

    The state goes in and comes out at every call. FILE is what Network.save or --out of `lstm97 run` wrote.
    """
    out = out or file.with_suffix(".onnx")
    if out.resolve() == file.resolve():
        raise click.UsageError(f"'{out}' holds the network; name another file by --out.")
    try:
        net = load(file)
        onnx.export_onnx(net, out, sequence=sequence, dtype=dtype)
    except (ModuleNotFoundError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    what = "whole sequences" if sequence else "one step"
    click.echo(f"{out} written: {what}, {net.topology.n_weights:,} weights.")


COMMANDS = {"export": export}
