"""The commands of `lstm97`: results on stdout, progress and complaints on stderr.

Exit status: 0 done (`run`: the stop rule held), 1 not solved or failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import math
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

import click
from tqdm import tqdm

from lstm97 import paper
from lstm97._extras import missing
from lstm97.cluster import executors
from lstm97.export import c, onnx
from lstm97.extend import thread_count, usable_cpus, write_whole
from lstm97.network import Network, load
from lstm97.paper.report.costs import Cost
from lstm97.paper.report.costs import measure as measure_costs
from lstm97.paper.report.costs import read as read_costs
from lstm97.paper.report.costs import write as write_costs
from lstm97.paper.report.result_lines import group as group_by_row
from lstm97.paper.tasks import SHORTEST_LAG
from lstm97.paper.trials.estimates import MACHINE, estimate

_TEXT = paper.TextSettings()
_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Commands(click.Group):
    """A group whose commands end with one line instead of a traceback when interrupted or out of luck."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                click.echo("\r\033[K", nl=False, err=True)  # the terminal's own ^C
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


def _estimated(about: Callable[[], str]) -> type[click.Command]:
    """A command whose help ends with how long it takes, which is worked out only when that is asked for."""

    class Estimated(click.Command):
        def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            formatter.write_paragraph()
            formatter.write_text(about())

    return Estimated


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="lstm97", prog_name="lstm97")
def lstm97() -> None:
    """Watch the Long Short-Term Memory of 1997 learn, online and on the CPU."""


@lstm97.command("list")
def list_() -> None:
    """List the experiments and their readings."""
    rows = [
        (
            row.row,
            row.task,
            str(row.table) if row.table else "text",
            f"{row.lag:,}",
            str(paper.counted_weights(row) or "grows"),
            f"{row.learning_rate:g}",
            str(row.trials),
            f"{row.paper.sequences:,}" if row.paper and row.paper.sequences else "",
        )
        for row in paper.select_rows([], (paper.LSTM, *paper.METHODS))
        if row.reading == paper.LITERAL
    ]
    click.echo("Experiments of the 1997 paper, with the mean training sequences it reports (`lstm97 reproduce ROW`):\n")
    header = ("row", "task", "table", "lag", "weights", "alpha", "trials", "sequences")
    n_lstm = len(paper.select_rows([]))
    click.echo(_table([header, *rows[:n_lstm]], left_aligned=2))
    click.echo("\nThose of the methods it compares with (`lstm97 reproduce --methods all ROW`):\n")
    click.echo(_table([header, *rows[n_lstm:]], left_aligned=2))
    click.echo("\nReadings of these rows, as far as a row has them:\n")
    click.echo(_table(list(paper.COMPARISON_READINGS.items()), left_aligned=2))
    for readings, group in itertools.groupby(paper.READINGS.items(), key=lambda item: item[1]):
        tasks = [task for task, _ in group]
        click.echo(f"\nReadings of {', '.join(tasks)}, where the paper's text leaves room:\n")
        click.echo(_table([(reading.name, reading.meaning) for reading in readings], left_aligned=2))
        closest = {task: paper.reading_of(task, paper.CLOSEST).name for task in tasks}
        names = set(closest.values())
        words = names.pop() if len(names) == 1 else ", ".join(f"{name} ({task})" for task, name in closest.items())
        click.echo(f"\n  The closest to the paper's results: {words}.")
    click.echo("\nTo watch one trial (`lstm97 run NAME`):\n")
    singles = [
        ("adding", "The adding problem, task 4 of the paper, at any lag."),
        ("text", "One of ours: predict the next byte of a text online, in one pass."),
    ]
    singles[1:1] = [(task, f"{about[0].upper()}{about[1:]}.") for task, about in _ABOUT.items() if task != "adding"]
    click.echo(_table(singles, left_aligned=2))


@lstm97.group()
def run() -> None:
    """Run an experiment."""


def _existing_folder(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    # Found out now rather than after the training.
    if value is not None and not value.absolute().parent.is_dir():
        raise click.BadParameter(f"directory '{value.parent}' does not exist.", ctx=ctx, param=param)
    return value


def _run_options(task: str) -> Callable[[_Command], _Command]:
    """Options of the command that runs a trial of a task."""
    rows = [row.row for row in paper.select_rows([task], (paper.LSTM, *paper.METHODS)) if row.reading == paper.LITERAL]
    readings = [reading.name for reading in paper.READINGS[task]]
    lag = click.option(
        "--lag",
        type=click.IntRange(min=SHORTEST_LAG),
        help="The paper's T, instead of --row: sequences have T to T + T/10 steps. The paper's table has 100, 500 and "
        "1000.",
    )
    options = (
        *([lag] if task == "adding" else []),
        click.option(
            "--row",
            type=click.Choice(rows),
            metavar="ROW",
            help="Which row of the paper's table, as `lstm97 list` shows them; those of other methods imply --method. "
            f"Default: {rows[0]}.",
        ),
        click.option(
            "--method",
            type=click.Choice([paper.LSTM, *paper.METHODS]),
            default=paper.LSTM,
            show_default=True,
            help="What learns: LSTM, or one of the methods the paper compares it with.",
        ),
        click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Determines everything."),
        click.option(
            "--reading",
            type=click.Choice(list(dict.fromkeys([*readings, *paper.COMPARISON_READINGS]))),
            metavar="READING",
            help="How the paper's text is read; `lstm97 list` tells what each reading means. "
            f"Default: {paper.reading_of(task, paper.CLOSEST).name} for LSTM, literal for other methods.",
        ),
        click.option(
            "--max-sequences",
            type=click.IntRange(min=1),
            help="Give up after so many training sequences (recurrent cascade correlation: whole passes through its "
            "set). Default: the row's own cap"
            + (
                ", three times the paper's mean for this lag or for the nearest lag in the paper's table."
                if task == "adding"
                else "."
            ),
        ),
        click.option(
            "--out",
            type=click.Path(dir_okay=False, writable=True, path_type=Path),
            callback=_existing_folder,
            help="Save the trained network to this file.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table."),
    )

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_ABOUT = {
    "embedded-reber": "task 1 of the paper, the embedded Reber grammar",
    "long-lag": "task 2a of the paper, noise-free sequences with long time lags",
    "long-lag-random": "task 2b of the paper, as 2a with a random middle",
    "distractors": "task 2c of the paper, long time lags among distractors",
    "two-sequences": "task 3a of the paper, the two-sequence problem",
    "two-sequences-noisy": "task 3b of the paper, the two-sequence problem with noise on its information",
    "two-sequences-noisy-targets": "task 3c of the paper, the two-sequence problem with noise on its targets",
    "adding": "task 4 of the paper, the adding problem",
    "multiplication": "task 5 of the paper, the multiplication problem",
    "temporal-order-2": "task 6a of the paper, the order of two symbols",
    "temporal-order-3": "task 6b of the paper, the order of three symbols",
}


def _task_command(task: str) -> None:
    """Add the command that runs a trial of a task."""

    @run.command(
        task,
        cls=_estimated(lambda: _about_a_trial(task)),
        short_help=f"Run {_ABOUT[task]}.",
        help=f"Run one trial of {_ABOUT[task]}.\n\n"
        "Trains until the paper's stop rule holds, then tests on fresh sequences where the paper does. Exit status 0 "
        "means that the stop rule held, 1 that it did not within --max-sequences.",
    )
    @_run_options(task)
    @click.pass_context
    def command(
        ctx: click.Context,
        method: str,
        seed: int,
        reading: str | None,
        max_sequences: int | None,
        out: Path | None,
        as_json: bool,
        lag: int | None = None,
        row: str | None = None,
    ) -> None:
        if lag is not None and row is not None:
            raise click.UsageError("--lag and --row exclude each other: a row of the paper's table has its lag.")
        if lag is not None:
            base = paper.experiment(task, lag, paper.LITERAL)
        else:
            rows = paper.select_rows([task], (paper.LSTM, *paper.METHODS))
            base = next(one for one in rows if row in (None, one.row))
        try:
            experiment = _read(base, method, reading)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        _run_trial(ctx, experiment, seed, max_sequences, out, as_json)


for _task in paper.ROWS:
    _task_command(_task)


def _read(row: paper.Experiment, method: str, reading: str | None) -> paper.Experiment:
    """A row, or what another method makes of a row of LSTM, in a reading of the text."""
    if row.method == method == paper.LSTM:
        return paper.reading_of(row.task, reading or paper.CLOSEST).apply(row)
    if row.method == paper.LSTM:
        row = paper.learned_by(row, method)
    elif method not in (paper.LSTM, row.method):
        raise ValueError(f"row {row.row} is learned by {row.method}, not by {method}.")
    readings = {one.reading: one for one in paper.COMPARISONS if one.row == row.row} or {row.reading: row}
    if reading is not None and reading not in readings:
        raise ValueError(f"row {row.row} has no reading {reading}, but {', '.join(readings)}.")
    return readings[reading or paper.LITERAL]


def _run_trial(
    ctx: click.Context,
    experiment: paper.Experiment,
    seed: int,
    max_sequences: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run a trial, show how far it is, and print what came of it."""
    cap = experiment.max_sequences if max_sequences is None else max_sequences
    lines = _Lines()
    planned = [paper.PlannedTrial(experiment=experiment, seed=seed, max_sequences=cap)]
    if (seconds := estimate(planned).seconds) >= WORTH_TELLING:
        click.echo(f"{experiment.task}: {_duration(seconds)} on average, {_BASIS}", err=True)
    with _bar(f"{experiment.task} |{{bar:8}}| {{n:,}} of {{total:,}} sequences{{postfix}}", cap) as bar:

        def show(progress: paper.Progress) -> None:
            so_far = f"error {progress.error:.4f}, {progress.steps_per_second / 1e6:.1f} M steps/s"
            bar.set_postfix_str(so_far, refresh=False)
            bar.update(progress.sequences - bar.n)
            if lines.are_due():
                lines.write(f"{experiment.task}: {progress.sequences:,} of {cap:,} sequences, {so_far}")

        network, trial = paper.run_trial(experiment, seed, max_sequences=cap, callback=show)

    if as_json:
        record = {"method": experiment.method} | dataclasses.asdict(trial) | {"paper": _figures(experiment)}
        click.echo(json.dumps(record))
    else:
        _print_trial(experiment, trial)
    if out is not None:
        network.save(out)
        click.echo(f"Network saved to {out}.", err=True)
    if not trial.solved:
        ctx.exit(1)


@run.command()
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
@click.option("--max-bytes", type=click.IntRange(min=1), help="Stop after so many bytes.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_existing_folder,
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
            file = paper.default_text()
        except FileNotFoundError as error:
            raise click.UsageError(str(error)) from error
    if not math.isfinite(learning_rate):
        raise click.BadParameter(f"{learning_rate} is not a finite number.", param_hint="'--learning-rate'")
    if out is not None and out.resolve() == file.resolve():
        raise click.UsageError(f"'{out}' is the text; name another file by --out.")
    settings = paper.TextSettings(cells=cells, learning_rate=learning_rate, seed=seed)
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


def _print_text(record: paper.TextRecord, file: Path) -> None:
    rows = [
        (f"LSTM, {record.cells} cells", f"{record.network_bits:.3f}"),
        ("order-0 model, adaptive", f"{record.order0_bits:.3f}"),
        ("order-2 model, adaptive", f"{record.order2_bits:.3f}"),
        ("zlib, level 9", f"{record.zlib_bits:.3f}"),
    ]
    click.echo(
        f"Bits per byte over {record.n_bytes:,} bytes of {file.name}, from the first byte on:\n"
        f"\n{_table(rows, left_aligned=1)}\n\n"
        f"The LSTM took {record.seconds:.1f} s, {record.bytes_per_second:,.0f} bytes/s."
    )


def _trial_options(default_out: str) -> Callable[[_Command], _Command]:
    """Options of the commands that run many trials."""
    options = (
        click.option(
            "--trials", type=click.IntRange(min=1), help="Trials of each row. Default: as many as the paper made."
        ),
        click.option(
            "--jobs",
            type=click.IntRange(min=1),
            help="Trials side by side. Default: LSTM97_NUM_THREADS, else one for each CPU.",
        ),
        click.option(
            "--executor",
            "where",
            type=click.Choice(executors.NAMES),
            default="threads",
            show_default=True,
            help="Where trials run: in threads or processes of this machine, on the workers of a Dask cluster, or in "
            "the other processes of MPI (mpiexec -n 3 python -m mpi4py.futures -m lstm97.cli ...). The records are the "
            "same but for their times.",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Dask's scheduler, such as tcp://host:8786, for --executor dask.",
        ),
        click.option(
            "--max-sequences",
            type=click.IntRange(min=1),
            help="Give up after so many training sequences, where a row's own cap is not lower.",
        ),
        click.option("--resume", is_flag=True, help="Go on with the file: only trials without a record in it are run."),
        click.option(
            "--out",
            type=click.Path(dir_okay=False, writable=True, path_type=Path),
            callback=_existing_folder,
            default=default_out,
            show_default=True,
            help="Where each trial is recorded as soon as it is done.",
        ),
    )

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@lstm97.command(cls=_estimated(lambda: _about_reproduce()))
@click.argument("rows", metavar="[ROW]...", nargs=-1)
@click.option(
    "--reading",
    "names",
    multiple=True,
    default=(paper.LITERAL, paper.CLOSEST),
    help="literal, closest, or a reading's name; may be given several times. Default: literal and closest. Rows of "
    "other methods than LSTM come in all their readings.",
)
@click.option(
    "--methods",
    default=paper.LSTM,
    show_default=True,
    help=f"What learns: {', '.join((paper.LSTM, *paper.METHODS))}, several of them with commas between, or all.",
)
@click.option("--quick", is_flag=True, help="Two trials of the rows that take little time.")
@_trial_options("reproduction.jsonl")
def reproduce(
    rows: tuple[str, ...],
    names: tuple[str, ...],
    methods: str,
    quick: bool,
    trials: int | None,
    **options: Any,
) -> None:
    """Rerun the paper: rows of its tables, with its numbers of trials.

    ROW is a row's name as `lstm97 list` shows it, the beginning of one (2c-1000), a task's number in the paper (2c, 3)
    or its name (adding); without any, everything is run. What is killed or interrupted goes on with --resume.
    --methods all adds the rows of the methods the paper compares LSTM with.
    """
    learners = [name.strip() for name in methods.split(",")]
    chosen = _select(rows, (paper.LSTM, *paper.METHODS) if "all" in learners else learners)
    if quick:
        chosen = [row for row in chosen if paper.is_quick(row)]
        trials = trials or paper.QUICK_TRIALS
        if not chosen:
            raise click.UsageError("none of these rows is among the quick ones.")
    _run_trials(_in_readings(chosen, names, quick), trials=trials, **options)


def _in_readings(rows: Sequence[paper.Experiment], names: Sequence[str], quick: bool) -> list[paper.Experiment]:
    """Rows of LSTM in these readings, and those of other methods, which come in theirs."""
    experiments = []
    for row in rows:
        if row.method != paper.LSTM:
            experiments.append(row)
            continue
        try:
            readings = dict.fromkeys(paper.reading_of(row.task, name).name for name in names)
        except ValueError as error:
            raise click.BadParameter(f"of {row.task}: {error}", param_hint="'--reading'") from error
        experiments += [paper.reading_of(row.task, name).apply(row) for name in readings]
    return [paper.quick(experiment) for experiment in experiments] if quick else experiments


@lstm97.command(cls=_estimated(lambda: _about_readings()))
@click.argument("name", metavar="TASK")
@click.option("--all-rows", is_flag=True, help="Every row of the task instead of the first.")
@_trial_options("readings.jsonl")
def readings(name: str, all_rows: bool, **options: Any) -> None:
    """Run a task in every reading of the paper's text, to see what each comes to.

    TASK is a task's number in the paper, its name, or one row of it, as `lstm97 list` shows them.
    """
    chosen = _select([name])
    if not all_rows:
        firsts: dict[str, paper.Experiment] = {}
        for row in chosen:
            firsts.setdefault(row.task, row)
        chosen = list(firsts.values())
    experiments = [reading.apply(row) for row in chosen for reading in paper.READINGS[row.task]]
    _run_trials(experiments, **options)


@lstm97.command()
@click.argument(
    "files", metavar="RECORDS...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_existing_folder,
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
    try:
        from lstm97.paper.report.markdown import markdown  # noqa: PLC0415 (needs an extra)
        from lstm97.paper.report.page import page  # noqa: PLC0415 (needs an extra)
    except ModuleNotFoundError as error:
        raise click.ClickException(missing("a report", error.name, "report")) from error
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
    make = markdown if out.suffix == ".md" else page
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


@lstm97.command()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_existing_folder,
    default="costs.json",
    show_default=True,
    help="Where to write them, for `report --costs`.",
)
def costs(out: Path) -> None:
    """Measure time and memory of learning, by method, as the net and the sequence grow.

    Takes half a minute. Other programs on the machine make the times longer.
    """
    rows = [("method", "units", "weights", "steps", "ns/step", "ns/step/weight", "KiB")]
    lines = _Lines()
    lines.write("costs: about half a minute on an idle machine")
    with _bar("{n} measured {postfix}", None) as bar:

        def show(cost: Cost) -> None:
            what = f"{cost.method}, {cost.n_units} units, {cost.n_steps:,} steps"
            bar.set_postfix_str(what, refresh=False)
            bar.update()
            lines.write(f"measured: {what}: {cost.nanoseconds:,.0f} ns/step")

        measured = measure_costs(show)
    for cost in measured:
        rows.append(
            (
                cost.method,
                str(cost.n_units),
                f"{cost.n_weights:,}",
                f"{cost.n_steps:,}",
                f"{cost.nanoseconds:,.0f}",
                f"{cost.nanoseconds / cost.n_weights:.2f}",
                f"{cost.n_bytes / 1024:,.0f}",
            )
        )
    write_costs(out, measured, paper.describe_run(shlex.join(["lstm97", *sys.argv[1:]])))
    click.echo(_table(rows, left_aligned=1))


@lstm97.group()
def export() -> None:
    """Write a network as a file for other programs."""


@export.command("c")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--learn", is_flag=True, help="With the learning rule, not only the step.")
@click.option("--dtype", type=click.Choice(["float64", "float32"]), help="What it computes in. Default: the network's.")
@click.option("--name", default="lstm97", show_default=True, help="What all identifiers of the file begin with.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_existing_folder,
    help="The C file, replaced if it is there. Default: FILE with the suffix .c.",
)
def export_c(file: Path, learn: bool, dtype: str | None, name: str, out: Path | None) -> None:
    """Write the network in FILE as one C99 file that needs nothing but the C library.

    FILE is what Network.save or --out of `lstm97 run` wrote.
    """
    out = out or file.with_suffix(".c")
    if out.resolve() == file.resolve():
        raise click.UsageError(f"'{out}' holds the network; name another file by --out.")
    try:
        net = load(file)
        c.export_c(net, out, learn=learn, dtype=dtype, name=name)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    weights, state = c.struct_bytes(net.topology, learn, dtype or net.dtype)
    click.echo(f"{out} written: {weights:,} bytes of weights, {state:,} bytes of state for each stream.")


@export.command("onnx")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--sequence", is_flag=True, help="A model of whole sequences instead of one of a single step.")
@click.option("--dtype", type=click.Choice(["float64", "float32"]), help="Of the model. Default: the network's.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_existing_folder,
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


def _select(names: Sequence[str], methods: Sequence[str] = (paper.LSTM,)) -> list[paper.Experiment]:
    try:
        return paper.select_rows(names, methods)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _run_trials(
    experiments: Sequence[paper.Experiment],
    *,
    trials: int | None,
    jobs: int | None,
    where: str,
    scheduler: str | None,
    max_sequences: int | None,
    resume: bool,
    out: Path,
) -> None:
    """Run trials of experiments, show how far they are, and sum them up."""
    if out.exists() and not resume:
        raise click.UsageError(f"'{out}' exists; go on with it by --resume, or name another file by --out.")
    try:
        thread_count(jobs, usable_cpus())
    except ValueError as error:  # of LSTM97_NUM_THREADS
        raise click.ClickException(str(error)) from error
    planned = paper.plan(experiments, trials=trials, max_sequences=max_sequences)
    command = shlex.join(["lstm97", *sys.argv[1:]])
    began = time.perf_counter()
    try:
        with _executor(where, jobs, scheduler) as executor:
            try:
                records = paper.Records(out, paper.describe_run(command))
            except ValueError as error:
                raise click.ClickException(str(error)) from error
            with records:
                left = sum(task.key not in records.trials for task in planned)
                _announce(planned, records, jobs, where)
                _run_planned(planned, records, jobs, executor)
    except KeyboardInterrupt:
        if out.exists():
            click.echo(f"lstm97: what is done is in {out}; --resume goes on with it", err=True)
        raise
    except BrokenExecutor as error:
        raise click.ClickException(f"{error} (what is done is in {out}; --resume goes on with it)") from error
    seconds = time.perf_counter() - began
    done = [records.trials[task.key] for task in planned]
    rows = [("row", "reading", "solved", "mean", "median", "least", "most", "paper", "ratio", "wrong")]
    summaries = paper.summaries(done, experiments)
    for summary, experiment in summaries:
        rows.append(
            (
                summary.row,
                summary.reading,
                f"{summary.solved} of {summary.trials}"
                + (f", {summary.diverged} diverged" if summary.diverged else ""),
                _count(summary.mean),
                _count(summary.median),
                _count(summary.least),
                _count(summary.most),
                f"{experiment.paper.sequences:,}" if experiment.paper and experiment.paper.sequences else "",
                "" if math.isnan(summary.ratio) else f"{summary.ratio:.2f}",
                "" if math.isnan(summary.wrong) else f"{summary.wrong:.1f}",
            )
        )
    click.echo(_table(rows, left_aligned=2))
    total = sum(summary.seconds for summary, _ in summaries) or math.inf
    n_steps = sum(summary.steps for summary, _ in summaries)
    click.echo(
        f"\nTraining sequences are those of solved trials; wrong: of their test sequences, on average.\n"
        f"{n_steps:,} training steps; {left:,} of {len(done):,} trials run now, in {seconds:.0f} s.\n"
        f"All trials: {n_steps / total / 1e6:.1f} M steps per second of one thread, "
        f"of which training {sum(summary.train_seconds for summary, _ in summaries) / total:.0%}, "
        f"drawing sequences {sum(summary.draw_seconds for summary, _ in summaries) / total:.0%}, "
        f"the rest tests and stop rules."
    )


@contextmanager
def _executor(name: str, jobs: int | None, scheduler: str | None) -> Iterator[Executor | None]:
    """Open an executor; None instead of threads, of which `reproduce` has its own."""
    executor = None
    with ExitStack() as stack:
        try:
            executors.check_options(name, jobs=jobs, scheduler=scheduler)
            if name != "threads":
                executor = stack.enter_context(executors.open_executor(name, jobs=jobs, scheduler=scheduler))
        except ImportError as error:
            raise click.ClickException(str(error)) from error
        except ValueError as error:
            raise click.UsageError(f"{error}.") from error
        yield executor


def _run_planned(
    planned: Sequence[paper.PlannedTrial], records: paper.Records, jobs: int | None, executor: Executor | None
) -> None:
    """Run trials and show how far they are: of those in threads of this process more than of others."""
    began = time.perf_counter()
    left = sum(task.key not in records.trials for task in planned)
    lines, done = _Lines(), itertools.count(1)
    with _bar("{n:,} of {total:,} trials |{bar:8}| {elapsed}{postfix}", left) as bar:
        steps: dict[paper.Key, int] = {}
        one_at_a_time = threading.Lock()

        def show(task: paper.PlannedTrial, so_far: paper.Progress) -> None:
            with one_at_a_time:
                steps[task.key] = so_far.steps
                text = (
                    f"{task.experiment.row}: {so_far.sequences:,} sequences, error {so_far.error:.3f}; "
                    f"{sum(steps.values()) / (time.perf_counter() - began) / 1e6:.0f} M steps/s"
                )
                bar.set_postfix_str(text, refresh=False)
                bar.update(0)
                if lines.are_due():
                    lines.write(f"under way: {text}")

        def count(trial: paper.Trial) -> None:
            with one_at_a_time:
                bar.update()
                lines.write(f"{next(done):,} of {left:,} trials: {_outcome(trial)}")

        if executor is None:
            paper.reproduce(planned, records, jobs=jobs, progress=show, finished=count)
        else:
            paper.reproduce(planned, records, executor=executor, finished=count)


def _announce(planned: Sequence[paper.PlannedTrial], records: paper.Records, jobs: int | None, where: str) -> None:
    """Say on stderr how many trials there are to run, and about how long they take."""
    left = [task for task in planned if task.key not in records.trials]
    found = estimate(left)
    if where in ("dask", "mpi"):
        n, workers = 1, "one core"
    else:
        n = min(thread_count(jobs, usable_cpus()), len(left) or 1)
        workers = f"{n} {where}" if n > 1 else "one core"
    unknown = f"; {found.unknown:,} of them are of rows without records" if found.unknown else ""
    time_of = _duration(found.side_by_side(min(n, usable_cpus())))
    text = f"{len(left):,} of {len(planned):,} trials to run: {time_of} on {workers}, {_BASIS}{unknown}"
    click.echo(text if left else f"All {len(planned):,} trials have their records.", err=True)


_BASIS = f"as recorded trials took ({MACHINE})"
WORTH_TELLING = 10.0
"""Seconds that a trial must be expected to take before its estimate is printed."""


def _duration(seconds: float) -> str:
    """A time that is only known roughly."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"about {seconds / 3600:.1f} hours"


def _outcome(trial: paper.Trial) -> str:
    """A trial in a line."""
    end = "diverged" if trial.diverged else "solved" if trial.solved else "not solved"
    return (
        f"{trial.row} {trial.reading}, seed {trial.seed}: {end} after {trial.sequences:,} sequences, "
        f"{trial.seconds:.1f} s"
    )


def _default_plan(methods: Sequence[str], *, quick: bool = False) -> list[paper.PlannedTrial]:
    """What `lstm97 reproduce` runs of some methods, in its default readings."""
    rows = [row for row in paper.select_rows([], methods) if not quick or paper.is_quick(row)]
    return paper.plan(
        _in_readings(rows, (paper.LITERAL, paper.CLOSEST), quick), trials=paper.QUICK_TRIALS if quick else None
    )


def _about_reproduce() -> str:
    everything = estimate(_default_plan((paper.LSTM,))).seconds
    others = estimate(_default_plan(tuple(paper.METHODS))).seconds
    quickly = estimate(_default_plan((paper.LSTM,), quick=True)).seconds
    return (
        f"Time: {_duration(everything)} of one core for all rows of LSTM, {_duration(others)} more for --methods all, "
        f"{_duration(quickly)} for --quick, {_BASIS}; divided by --jobs where there are as many cores. "
        "The first line of a run has the estimate for its own rows."
    )


def _about_readings() -> str:
    times = []
    for task, among in paper.READINGS.items():
        planned = paper.plan([reading.apply(paper.ROWS[task][0]) for reading in among])
        times.append(f"{task} {_duration(estimate(planned).seconds).removeprefix('about ')}")
    return f"Time of one core for the first row of a task, {_BASIS}, about: {', '.join(times)}."


def _about_a_trial(task: str) -> str:
    times = []
    for row in paper.ROWS[task]:
        closest = paper.reading_of(task, paper.CLOSEST).apply(row)
        seconds = estimate(paper.plan([closest], trials=1)).seconds
        times.append(f"{row.row} {_duration(seconds).removeprefix('about ')}")
    return f"Time of a trial of LSTM in its default reading, {_BASIS}, about: {', '.join(times)}."


class _Lines:
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
        with suppress(OSError):  # whoever read this has gone; the results are still wanted
            click.echo(text, err=True)
        self._wait = min(2 * self._wait, 30.0)
        self._due = time.monotonic() + self._wait


def _count(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.0f}"


def _learn_text(
    stream: BinaryIO, file: Path, settings: paper.TextSettings, max_bytes: int | None
) -> tuple[Network, paper.TextRecord]:
    size = file.stat().st_size  # 0 for a pipe, whose length nobody knows
    total = min(filter(None, (size, max_bytes)), default=None)
    lines = _Lines()
    position = "{percentage:3.0f}% |{bar:8}|" if total else "{n:,} bytes,"
    with _bar(f"text {position} bits/byte so far: {{desc}}", total) as bar:

        def show(record: paper.TextRecord) -> None:
            so_far = (
                f"LSTM {record.network_bits:.2f}, order-0 {record.order0_bits:.2f}, order-2 {record.order2_bits:.2f}"
            )
            bar.set_description_str(so_far, refresh=False)
            bar.update(record.n_bytes - bar.n)
            if lines.are_due():
                of = f" of {total:,}" if total else ""
                lines.write(f"text: {record.n_bytes:,}{of} bytes, bits/byte so far: {so_far}")

        return paper.learn_text(stream, settings, max_bytes=max_bytes, callback=show)


def _bar(layout: str, total: int | None) -> tqdm[NoReturn]:
    """Return a live line on stderr: nothing unless that is a terminal, and nothing left in the end."""
    return tqdm(total=total, bar_format=layout, leave=False, disable=None, dynamic_ncols=True, miniters=0)


def _print_trial(experiment: paper.Experiment, trial: paper.Trial) -> None:
    figures = experiment.paper or paper.Figures()
    rows = [("", "paper", "here"), ("training sequences", _whole(figures.sequences), f"{trial.sequences:,}")]
    if experiment.test_sequences:
        wrong = f"wrong of {experiment.test_sequences:,} test sequences"
        rows.append((wrong, _whole(figures.wrong), _whole(trial.test_wrong)))
    where = f"table {experiment.table}" if experiment.table else "in its text"
    source = (
        f"The paper's figures ({where}) are means over {experiment.trials} trials."
        if experiment.paper
        else f"The paper has no figures for {experiment.method} here."
        if experiment.method != paper.LSTM
        else f"The paper has no figures for lag {trial.lag:,}."
    )
    outcome = (
        f"Diverged: {trial.diverged}."
        if trial.diverged
        else f"Solved: the stop rule held after {trial.sequences:,} sequences."
        if trial.solved
        else f"Not solved: the stop rule did not hold within {trial.sequences:,} sequences."
    )
    click.echo(
        f"Task {experiment.paper_task} ({trial.task}), lag {trial.lag:,}, "
        + ("" if experiment.method == paper.LSTM else f"method {experiment.method}, ")
        + f"reading {trial.reading}"
        + f", seed {trial.seed}\n"
        f"\n{_table(rows, left_aligned=1)}\n\n"
        f"{source}\n"
        + ("" if trial.test_error is None else f"Mean test error {trial.test_error:.4f}; ")
        + f"{trial.steps:,} training steps in "
        f"{trial.train_seconds:.1f} s, {trial.steps_per_second / 1e6:.1f} M steps/s.\n"
        f"{outcome}"
    )


def _whole(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _figures(experiment: paper.Experiment) -> dict[str, float] | None:
    """What the paper reports, without what it doesn't."""
    if experiment.paper is None:
        return None
    return {name: value for name, value in dataclasses.asdict(experiment.paper).items() if value is not None}


def _table(rows: Sequence[Sequence[str]], *, left_aligned: int) -> str:
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
