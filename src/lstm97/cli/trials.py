"""Many trials: run where they are to run, with what is under way on stderr, and summed up on stdout."""

from __future__ import annotations

import itertools
import math
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from lstm97 import paper
from lstm97.cli.output import table
from lstm97.cli.progress import Lines, live_line
from lstm97.cli.times import BASIS, duration
from lstm97.cluster import executors
from lstm97.extend import thread_count, usable_cpus
from lstm97.paper.trials.estimates import estimate


def run_trials(
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
    except ValueError as error:  # the environment variable LSTM97_NUM_THREADS is no number of threads
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
    _print_sums([records.trials[task.key] for task in planned], experiments, left, seconds)


def _print_sums(
    done: Sequence[paper.Trial], experiments: Sequence[paper.Experiment], n_run: int, seconds: float
) -> None:
    """Print a line for each row and reading, and what all trials took; `n_run` of them ran now, in these seconds."""
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
    click.echo(table(rows, left_aligned=2))
    total = sum(summary.seconds for summary, _ in summaries) or math.inf
    n_steps = sum(summary.steps for summary, _ in summaries)
    click.echo(
        f"\nTraining sequences are those of solved trials; wrong: of their test sequences, on average.\n"
        f"{n_steps:,} training steps; {n_run:,} of {len(done):,} trials run now, in {seconds:.0f} s.\n"
        f"All trials: {n_steps / total / 1e6:.1f} M steps per second of one thread, "
        f"of which training {sum(summary.train_seconds for summary, _ in summaries) / total:.0%}, "
        f"drawing sequences {sum(summary.draw_seconds for summary, _ in summaries) / total:.0%}, "
        f"the rest tests and stop rules."
    )


@contextmanager
def _executor(name: str, jobs: int | None, scheduler: str | None) -> Iterator[Executor | None]:
    """Open an executor; None instead of threads, which `lstm97.paper.reproduce` opens itself."""
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
    """Run trials and show how far they are; unfinished ones only if they run in threads of this process."""
    began = time.perf_counter()
    left = sum(task.key not in records.trials for task in planned)
    lines, done = Lines(), itertools.count(1)
    with live_line("{n:,} of {total:,} trials |{bar:8}| {elapsed}{postfix}", left) as bar:
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
    time_of = duration(found.side_by_side(min(n, usable_cpus())))
    text = f"{len(left):,} of {len(planned):,} trials to run: {time_of} on {workers}, {BASIS}{unknown}"
    click.echo(text if left else f"All {len(planned):,} trials have their records.", err=True)


def _outcome(trial: paper.Trial) -> str:
    """What came of a trial, in a line."""
    end = "diverged" if trial.diverged else "solved" if trial.solved else "not solved"
    return (
        f"{trial.row} {trial.reading}, seed {trial.seed}: {end} after {trial.sequences:,} sequences, "
        f"{trial.seconds:.1f} s"
    )


def _count(value: float) -> str:
    """A number of sequences; nothing for the NaN of a row without a solved trial."""
    return "" if math.isnan(value) else f"{value:,.0f}"
