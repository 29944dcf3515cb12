"""Runs trials of the paper's experiments: train until the stop rule holds, then test on fresh sequences."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lstm97 import History, Network, Sequences, predict, train
from lstm97.paper import tasks
from lstm97.paper.experiments import Experiment

DRAWN_AT_ONCE = 1000
"""Training sequences are drawn in portions of this many: part of what a seed means, so it never varies."""

_GENERATORS: Mapping[str, Callable[[np.random.Generator, int, int], tuple[Sequences, NDArray[np.float64]]]] = (
    MappingProxyType({"adding": tasks.adding})
)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the training of a trial has come."""

    sequences: int
    steps: int
    max_sequences: int
    error: float
    """Mean absolute error over the stop rule's window of most recent sequences."""
    steps_per_second: float


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The outcome of one trial. Two trials are equal when all but their times are.

    The experiment and the seed determine everything except the times.
    """

    task: str
    lag: int
    reading: str
    seed: int
    max_sequences: int
    solved: bool
    """The stop rule held within `max_sequences`."""
    sequences: int
    """Training sequences used; when solved, up to and including the one at which the stop rule held."""
    steps: int
    """Steps of all these sequences."""
    train_error: float
    """Mean absolute error over the stop rule's window at the end of training."""
    test_sequences: int
    test_wrong: int
    test_error: float
    """Mean absolute error of the test."""
    seconds: float = field(compare=False)
    """The whole trial: drawing sequences, training, testing."""
    train_seconds: float = field(compare=False)
    """In training alone, without the drawing of sequences."""
    steps_per_second: float = field(compare=False)
    """Steps of training per second of training."""


def run_trial(
    experiment: Experiment,
    seed: int,
    *,
    max_sequences: int | None = None,
    callback: Callable[[Progress], object] | None = None,
) -> tuple[Network, Trial]:
    """Train one network on fresh sequences until the stop rule holds, then test it.

    Parameters
    ----------
    experiment : Experiment
        What to run.
    seed : int
        Determines the initial weights, the training sequences and the test sequences, by independent child
        seeds.
    max_sequences : int, optional
        Give up after exactly this many training sequences; by default the experiment's own cap.
    callback : callable, optional
        Called with a `Progress` after every 1000 training sequences and at the end.

    Returns
    -------
    network : lstm97.Network
        As it is at the end of training.
    trial : Trial
        The record.

    Raises
    ------
    ValueError
        If `max_sequences` is below 1.
    FloatingPointError
        If training diverges.
    """
    cap = experiment.max_sequences if max_sequences is None else max_sequences
    if cap < 1:
        raise ValueError(f"max_sequences is {cap}, expected 1 or more")
    began = time.perf_counter()
    draw = _GENERATORS[experiment.task]
    initial, training, testing = np.random.SeedSequence(seed).spawn(3)
    network = Network(
        experiment.topology,
        seed=initial,
        init_range=experiment.init_range,
        input_gate_bias=experiment.input_gate_bias,
        output_gate_bias=experiment.output_gate_bias,
    )

    rng = np.random.default_rng(training)
    history: History | None = None
    while history is None or (not history.stopped and history.sequences < cap):
        # A full portion is drawn even when the cap leaves room for fewer, so that the cap changes no
        # sequence.
        inputs, targets = draw(rng, DRAWN_AT_ONCE, experiment.lag)
        left = cap if history is None else cap - history.sequences
        history = train(
            network,
            inputs,
            targets,
            learning_rate=experiment.learning_rate,
            update=experiment.update,
            order=np.arange(min(left, DRAWN_AT_ONCE)),
            stop=experiment.stop,
            history=history,
        )
        if callback is not None:
            callback(
                Progress(
                    sequences=history.sequences,
                    steps=history.steps,
                    max_sequences=cap,
                    error=_recent_error(history, experiment),
                    steps_per_second=_rate(history),
                )
            )

    inputs, targets = draw(np.random.default_rng(testing), experiment.test_sequences, experiment.lag)
    errors = np.abs(np.stack([outputs[-1] for outputs in predict(network, inputs)]) - targets)
    return network, Trial(
        task=experiment.task,
        lag=experiment.lag,
        reading=experiment.reading,
        seed=seed,
        max_sequences=cap,
        solved=bool(history.stopped),
        sequences=history.sequences,
        steps=history.steps,
        train_error=_recent_error(history, experiment),
        test_sequences=experiment.test_sequences,
        test_wrong=int(np.count_nonzero((errors > experiment.test_tolerance).any(axis=1))),
        test_error=float(errors.mean()),
        seconds=time.perf_counter() - began,
        train_seconds=history.seconds,
        steps_per_second=_rate(history),
    )


def _recent_error(history: History, experiment: Experiment) -> float:
    return float(np.mean(history.errors[-experiment.stop.window :]))


def _rate(history: History) -> float:
    return history.steps / history.seconds if history.seconds > 0 else 0.0
