"""`lstm97 reproduce` and `lstm97 readings`: which trials to run, and in which readings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from lstm97 import paper
from lstm97.cli.output import existing_folder
from lstm97.cli.times import BASIS, duration, estimated
from lstm97.cli.trials import run_trials
from lstm97.cluster import executors
from lstm97.paper.trials.estimates import estimate

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _trial_options(default_out: str) -> Callable[[_Command], _Command]:
    """Return what adds the options of a command that runs many trials."""
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
            help="Give up after this many training sequences, where a row's own cap is not lower.",
        ),
        click.option("--resume", is_flag=True, help="Go on with the file: only trials without a record in it are run."),
        click.option(
            "--out",
            type=click.Path(dir_okay=False, writable=True, path_type=Path),
            callback=existing_folder,
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


def _about_reproduce() -> str:
    """How long `lstm97 reproduce` takes."""
    everything = estimate(_default_plan((paper.LSTM,))).seconds
    others = estimate(_default_plan(tuple(paper.METHODS))).seconds
    quickly = estimate(_default_plan((paper.LSTM,), quick=True)).seconds
    return (
        f"Time: {duration(everything)} of one core for all rows of LSTM, {duration(others)} more for --methods all, "
        f"{duration(quickly)} for --quick, {BASIS}; divided by --jobs where there are as many cores. "
        "The first line of a run has the estimate for its own rows."
    )


def _about_readings() -> str:
    """How long `lstm97 readings` takes, by task."""
    times = []
    for task, among in paper.READINGS.items():
        planned = paper.plan([reading.apply(paper.ROWS[task][0]) for reading in among])
        times.append(f"{task} {duration(estimate(planned).seconds).removeprefix('about ')}")
    return f"Time of one core for the first row of a task, {BASIS}, about: {', '.join(times)}."


@click.command(cls=estimated(_about_reproduce))
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
    run_trials(_in_readings(chosen, names, quick), trials=trials, **options)


@click.command(cls=estimated(_about_readings))
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
    run_trials(experiments, **options)


def _select(names: Sequence[str], methods: Sequence[str] = (paper.LSTM,)) -> list[paper.Experiment]:
    """Rows by their names; a name that selects none is wrong usage."""
    try:
        return paper.select_rows(names, methods)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _in_readings(rows: Sequence[paper.Experiment], names: Sequence[str], quick: bool) -> list[paper.Experiment]:
    """Rows of LSTM in these readings; rows of other methods as they are, since each has a reading already."""
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


def _default_plan(methods: Sequence[str], *, quick: bool = False) -> list[paper.PlannedTrial]:
    """The trials that `lstm97 reproduce` runs with these methods, in its default readings."""
    rows = [row for row in paper.select_rows([], methods) if not quick or paper.is_quick(row)]
    return paper.plan(
        _in_readings(rows, (paper.LITERAL, paper.CLOSEST), quick), trials=paper.QUICK_TRIALS if quick else None
    )


COMMANDS = {"reproduce": reproduce, "readings": readings}
