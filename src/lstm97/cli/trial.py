"""`lstm97 run TASK`: one trial of one of the paper's tasks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lstm97 import paper
from lstm97.cli.output import existing_folder, table
from lstm97.cli.progress import Lines, live_line
from lstm97.cli.run import TASKS
from lstm97.cli.times import BASIS, duration, estimated
from lstm97.paper.tasks import SHORTEST_LAG
from lstm97.paper.trials.estimates import estimate

WORTH_TELLING = 10.0
"""Seconds that a trial must be expected to take before its estimate is printed."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _run_options(task: str) -> Callable[[_Command], _Command]:
    """Return what adds the options of the command that runs a trial of a task."""
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
            help="How the paper's text is read; `lstm97 list` explains each reading. "
            f"Default: {paper.reading_of(task, paper.CLOSEST).name} for LSTM, literal for other methods.",
        ),
        click.option(
            "--max-sequences",
            type=click.IntRange(min=1),
            help="Give up after this many training sequences (recurrent cascade correlation: whole passes through its "
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
            callback=existing_folder,
            help="Save the trained network to this file.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table."),
    )

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def _task_command(task: str) -> click.Command:
    """The command that runs a trial of a task."""

    @click.command(
        task,
        cls=estimated(lambda: _about_a_trial(task)),
        help=f"Run one trial of {TASKS[task]}.\n\n"
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

    return command


def _about_a_trial(task: str) -> str:
    """How long a trial of each row of a task takes."""
    times = []
    for row in paper.ROWS[task]:
        closest = paper.reading_of(task, paper.CLOSEST).apply(row)
        seconds = estimate(paper.plan([closest], trials=1)).seconds
        times.append(f"{row.row} {duration(seconds).removeprefix('about ')}")
    return f"Time of a trial of LSTM in its default reading, {BASIS}, about: {', '.join(times)}."


def _read(row: paper.Experiment, method: str, reading: str | None) -> paper.Experiment:
    """A row in a reading of the text; a row of LSTM as another method learns it, if `method` names one."""
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
    lines = Lines()
    planned = [paper.PlannedTrial(experiment=experiment, seed=seed, max_sequences=cap)]
    if (seconds := estimate(planned).seconds) >= WORTH_TELLING:
        click.echo(f"{experiment.task}: {duration(seconds)} on average, {BASIS}", err=True)
    with live_line(f"{experiment.task} |{{bar:8}}| {{n:,}} of {{total:,}} sequences{{postfix}}", cap) as bar:

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


def _print_trial(experiment: paper.Experiment, trial: paper.Trial) -> None:
    """Print what came of a trial, beside what the paper reports."""
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
        f"\n{table(rows, left_aligned=1)}\n\n"
        f"{source}\n"
        + ("" if trial.test_error is None else f"Mean test error {trial.test_error:.4f}; ")
        + f"{trial.steps:,} training steps in "
        f"{trial.train_seconds:.1f} s, {trial.steps_per_second / 1e6:.1f} M steps/s.\n"
        f"{outcome}"
    )


def _whole(value: int | None) -> str:
    """A whole number; a dash where there is none."""
    return "-" if value is None else f"{value:,}"


def _figures(experiment: paper.Experiment) -> dict[str, float] | None:
    """The figures that the paper reports for a row, by name; None if it has no such row."""
    if experiment.paper is None:
        return None
    return {name: value for name, value in dataclasses.asdict(experiment.paper).items() if value is not None}


COMMANDS = {task: _task_command(task) for task in TASKS}
