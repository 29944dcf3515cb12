"""Many trials side by side, on any executor of `concurrent.futures`, each recorded as soon as it is done."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

from lstm97.paper.experiments import Experiment
from lstm97.paper.records import Key, Records
from lstm97.paper.runner import Progress, Trial, run_trial

QUICK_TRIALS = 2
QUICK_STEPS = 20_000_000
"""The quick tier has the rows whose trials take the paper no more training steps than this, and so many of each."""


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """A trial to run."""

    experiment: Experiment
    seed: int
    max_sequences: int

    @property
    def key(self) -> Key:
        """What `lstm97.paper.records.key_of` gives for its record."""
        return self.experiment.row, self.experiment.reading, self.seed, self.max_sequences


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def plan(
    experiments: Iterable[Experiment], *, trials: int | None = None, max_sequences: int | None = None
) -> list[PlannedTrial]:
    """List the trials of experiments: seeds 1, 2, ..., as many as the paper made unless `trials` says otherwise.

    Parameters
    ----------
    experiments : iterable of Experiment
    trials : int, optional
        Trials of each, 1 or more.
    max_sequences : int, optional
        A cap for all, 1 or more, where the experiment's own is not lower.

    Raises
    ------
    ValueError
        If a number is below 1.
    """
    for name, number in (("trials", trials), ("max_sequences", max_sequences)):
        if number is not None and number < 1:
            raise ValueError(f"{name} is {number}, expected 1 or more")
    return [
        PlannedTrial(
            experiment=experiment,
            seed=seed,
            max_sequences=min(experiment.max_sequences, max_sequences or experiment.max_sequences),
        )
        for experiment in experiments
        for seed in range(1, (trials or experiment.trials) + 1)
    ]


def is_quick(row: Experiment) -> bool:
    """Whether a row belongs to the quick tier."""
    return row.paper is not None and (row.paper.sequences or math.inf) * row.lag <= QUICK_STEPS


def quick(experiment: Experiment) -> Experiment:
    """Return an experiment that is given up after twice the steps of the quick tier."""
    return replace(experiment, max_sequences=min(experiment.max_sequences, 2 * QUICK_STEPS // experiment.lag))


def reproduce(
    planned: Sequence[PlannedTrial],
    records: Records,
    *,
    executor: Executor | None = None,
    jobs: int | None = None,
    progress: Callable[[PlannedTrial, Progress], object] | None = None,
    finished: Callable[[Trial], object] | None = None,
) -> None:
    """Run the planned trials that have no record yet, and record each as soon as it is done.

    Which trials run side by side changes no record but its times.

    Parameters
    ----------
    planned : sequence of PlannedTrial
        What to run; begun in this order.
    records : Records
        Where finished trials are found and appended to.
    executor : concurrent.futures.Executor, optional
        Where to run: threads of this process by default. Stays open.
    jobs : int, optional
        How many threads, without an executor; one for each core by default.
    progress : callable, optional
        Called from the trial's own thread with the task and its `Progress`; only without an executor of one's own.
    finished : callable, optional
        Called with each new record.

    Raises
    ------
    OSError
        If a record cannot be written.
    ValueError
        If `jobs` is below 1, or given with an executor, as `progress` must not be either.

    Notes
    -----
    When interrupted, trials that have ended are recorded. Those under way are given up, on threads of this process at
    once; an executor of one's own may go on with them for nothing.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs is {jobs}, expected 1 or more")
    if executor is not None and (jobs is not None or progress is not None):
        raise ValueError("jobs and progress are for threads of this process, not for an executor of one's own")
    left = [task for key, task in {task.key: task for task in planned}.items() if key not in records.trials]
    if executor is not None:
        _collect([executor.submit(_run, task) for task in left], records, finished, lambda: None)
        return
    cancelled = threading.Event()

    def watch(task: PlannedTrial, so_far: Progress) -> None:
        if cancelled.is_set():
            raise CancelledError
        if progress is not None:
            progress(task, so_far)

    threads = ThreadPoolExecutor(jobs or available_cores())

    def end() -> None:
        cancelled.set()
        threads.shutdown()

    try:
        _collect([threads.submit(_run, task, watch) for task in left], records, finished, end)
    finally:
        end()


def _collect(
    futures: Sequence[Future[Trial]],
    records: Records,
    finished: Callable[[Trial], object] | None,
    end: Callable[[], None],
) -> None:
    """Record trials as they come; whatever goes wrong, start none, end the others and record those that are done."""
    recorded = set()
    try:
        for future in as_completed(futures):
            records.add(future.result())
            recorded.add(future)
            if finished is not None:
                finished(future.result())
    except BaseException as error:
        for future in futures:
            future.cancel()
        end()
        if not isinstance(error, OSError):
            for future in futures:
                if future not in recorded and future.done() and not future.cancelled() and not future.exception():
                    records.add(future.result())
        raise


def _run(task: PlannedTrial, watch: Callable[[PlannedTrial, Progress], object] | None = None) -> Trial:
    callback = None if watch is None else lambda so_far: watch(task, so_far)
    return run_trial(task.experiment, task.seed, max_sequences=task.max_sequences, callback=callback)[1]
