"""Many trials side by side, on any executor of `concurrent.futures`, each recorded as soon as it is done.

A trial is sent to an executor that the caller brings as JSON, and comes back as its line of the records.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

from lstm97.cluster.executors import check_build, give_up, this_build
from lstm97.extend import thread_count, usable_cpus
from lstm97.history import Stop
from lstm97.methods import CascadeTopology, ChunkerTopology, RecurrentTopology
from lstm97.paper.tables.experiments import Experiment, Figures, Growth, Stage, StopByTests
from lstm97.paper.trials.records import Key, Records, from_line, to_line
from lstm97.paper.trials.runner import Progress, Trial, run_trial
from lstm97.topology import Topology

_Result = TypeVar("_Result")

QUICK_TRIALS = 2
"""Trials of each row in the quick tier."""

QUICK_STEPS = 20_000_000
"""The quick tier has the rows whose trials take the paper no more training steps than this."""


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """A trial to run."""

    experiment: Experiment
    seed: int
    max_sequences: int

    @property
    def key(self) -> Key:
        """What `lstm97.paper.trials.records.key_of` gives for its record."""
        return self.experiment.row, self.experiment.reading, self.seed, self.max_sequences


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
        Where to run: threads of this process by default. Stays open. See `lstm97.executors.open_executor`.
    jobs : int, optional
        How many threads, without an executor: by default as many as the environment variable ``LSTM97_NUM_THREADS``
        says, else one for each CPU this process may use.
    progress : callable, optional
        Called from the trial's own thread with the task and its `Progress`; only without `executor`.
    finished : callable, optional
        Called with each new record.

    Raises
    ------
    OSError
        If a record cannot be written.
    TypeError
        If an experiment that is to go to an executor has a value that cannot be written as JSON.
    ValueError
        If `jobs` or the environment variable is below 1, or `jobs` given with an executor, as `progress` must not be
        either.
    concurrent.futures.BrokenExecutor
        If the executor's workers are lost, or have another version of lstm97 or another build of its loops than this
        process: their trials would be others.

    Notes
    -----
    When interrupted, trials that have ended are recorded. Those under way are given up, on threads of this process at
    once; `executor` may go on with them, and their results are lost.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs is {jobs}, expected 1 or more")
    if executor is not None and (jobs is not None or progress is not None):
        raise ValueError("jobs and progress are for threads of this process, not for an executor of one's own")
    left = [task for key, task in {task.key: task for task in planned}.items() if key not in records.trials]
    if executor is not None:
        tasks = [to_bytes(task) for task in left]
        begun = (executor.submit(_run_elsewhere, task) for task in tasks)
        _collect(executor, begun, from_line, records, finished, lambda: None)
        return
    cancelled = threading.Event()

    def watch(task: PlannedTrial, so_far: Progress) -> None:
        if cancelled.is_set():
            raise CancelledError
        if progress is not None:
            progress(task, so_far)

    threads = ThreadPoolExecutor(thread_count(jobs, usable_cpus()))

    def end() -> None:
        cancelled.set()
        threads.shutdown()

    try:
        begun_here = (threads.submit(_run, task, watch) for task in left)
        _collect(threads, begun_here, lambda trial: trial, records, finished, end)
    finally:
        end()


def _collect(
    executor: Executor,
    begun: Iterable[Future[_Result]],
    trial_of: Callable[[_Result], Trial],
    records: Records,
    finished: Callable[[Trial], object] | None,
    end: Callable[[], None],
) -> None:
    """Record trials as they come; whatever goes wrong, start none, end the others and record those that are done."""
    futures: list[Future[_Result]] = []
    recorded, can_record = set(), True
    try:
        futures.extend(begun)
        for future in as_completed(futures):
            trial = trial_of(future.result())
            try:
                records.add(trial)
            except Exception:
                can_record = False
                raise
            recorded.add(future)
            if finished is not None:
                finished(trial)
    except BaseException as error:
        give_up(executor, futures, error)
        end()
        if can_record:
            for future in futures:
                if future not in recorded and future.done() and not future.cancelled() and not future.exception():
                    records.add(trial_of(future.result()))
        raise


def _run(task: PlannedTrial, watch: Callable[[PlannedTrial, Progress], object] | None = None) -> Trial:
    callback = None if watch is None else lambda so_far: watch(task, so_far)
    return run_trial(task.experiment, task.seed, max_sequences=task.max_sequences, callback=callback)[1]


# ---- on executors ----

_CLASSES: Mapping[str, type] = {
    one.__name__: one
    for one in (
        *(PlannedTrial, Experiment, Figures, Growth, Stage, StopByTests, Stop),
        *(Topology, RecurrentTopology, CascadeTopology, ChunkerTopology),
    )
}


def to_bytes(task: PlannedTrial) -> bytes:
    """Return a task as JSON, with the version and the build of the loops that have to compute it."""
    data = json.dumps({"build": this_build(), "task": _plain(task)})
    try:
        same = _rebuilt(json.loads(data)["task"]) == task
    except (KeyError, TypeError, ValueError):  # a mapping of the experiment looks like a record
        same = False
    if not same:
        raise TypeError(
            f"the experiment {task.experiment.row} ({task.experiment.reading}) would reach an executor as another one; "
            "it may have tuples but no lists, mappings with names for keys but without 'class', and no NaN"
        )
    return data.encode()


def from_bytes(data: bytes) -> PlannedTrial:
    """Return the task of `to_bytes`, in a process that computes the same; BrokenExecutor in another."""
    values = json.loads(data)
    check_build(values["build"])
    task: PlannedTrial = _rebuilt(values["task"])
    return task


def _run_elsewhere(task: bytes) -> bytes:
    """Run a trial in a process of an executor: given by `to_bytes`, returned as its line of the records."""
    return to_line(_run(from_bytes(task)))


def _plain(value: Any) -> Any:
    """Records, mappings and tuples as JSON has them; a record is an object with the name of its class."""
    if is_dataclass(value):
        name = type(value).__name__
        if _CLASSES.get(name) is not type(value):
            raise TypeError(f"an experiment with a {name} cannot go to an executor")
        return {"class": name} | {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _rebuilt(value: Any) -> Any:
    """The value that `_plain` was given, from what it returned."""
    if isinstance(value, dict):
        values = {name: _rebuilt(each) for name, each in value.items()}
        return _CLASSES[values.pop("class")](**values) if "class" in values else values
    return tuple(map(_rebuilt, value)) if isinstance(value, list) else value
