"""Runs trials of the paper's experiments: train until the stop rule holds, then test on fresh sequences."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm97.extend import advice_of
from lstm97.history import History, Stop
from lstm97.methods import METHODS, RCC, CascadeTopology, Learner, train
from lstm97.network import Network
from lstm97.paper.tables.experiments import LSTM, Experiment, Growth, Stage, StopByTests, lstm_topology
from lstm97.paper.tasks.problems import Problem, Targets, problem_of
from lstm97.sequences import Sequences

DRAWN_AT_ONCE = 1000
"""Training sequences are drawn in portions of this many. A change would change what every seed draws."""

TESTED_AT_ONCE = 64
"""Tests between training sequences go in portions of this many, since most fail early. Results depend on it."""

CURVE_POINTS = 40
"""The most points of a record's learning curve."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the training of a trial has come."""

    sequences: int
    steps: int
    max_sequences: int
    error: float
    """Mean absolute error over the most recent sequences (the stop rule's window, where it has one)."""
    steps_per_second: float


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The outcome of one trial. Two trials are equal when all but their times are.

    The experiment and the seed determine everything except the times, for one build of the kernel: builds round
    differently, and learning is chaotic.
    """

    row: str
    task: str
    lag: int
    reading: str
    seed: int
    max_sequences: int
    solved: bool
    """The stop rule held within `max_sequences`, and nothing overflowed in the test after training."""
    diverged: str | None
    """What overflowed, if the trial ended by that."""
    sequences: int
    """Training sequences used; when solved, up to and including the one at which the stop rule held, or (if the
    experiment does not count the rule's window) the one before its window."""
    steps: int
    """Steps of all sequences trained on."""
    stages: dict[str, int]
    """Training sequences at which each stage of a stop rule judged by tests was reached."""
    grown: tuple[int, ...]
    """Training sequences at which a block was added."""
    train_error: float | None
    """Mean absolute error over the most recent sequences at the end of training; None if there are none."""
    curve: tuple[float, ...]
    """Mean absolute error of training, over `curve_every` sequences a point (the last point may have fewer)."""
    curve_every: int
    test_sequences: int
    """Sequences of the test after training; 0 if the paper makes none, or the trial diverged."""
    test_wrong: int | None
    """Wrong answers among them; None without a test."""
    test_error: float | None
    """Mean absolute error of the test."""
    seconds: float = field(compare=False)
    """Time of the whole trial: drawing sequences, training, testing."""
    train_seconds: float = field(compare=False)
    """Time of training alone."""
    draw_seconds: float = field(compare=False)
    """Time of drawing training sequences."""
    steps_per_second: float = field(compare=False)
    """Steps of training per second of training."""


def run_trial(
    experiment: Experiment,
    seed: int,
    *,
    max_sequences: int | None = None,
    callback: Callable[[Progress], object] | None = None,
) -> tuple[Network | Learner, Trial]:
    """Train one network until the stop rule holds, then test it.

    Parameters
    ----------
    experiment : Experiment
        What to run.
    seed : int
        0 or more. Determines the initial weights, the training sequences and the test sequences, by independent child
        seeds.
    max_sequences : int, optional
        Give up after exactly this many training sequences; by default the experiment's own cap.
    callback : callable, optional
        Called with a `Progress` after every 1000 training sequences and at the end. An exception from it ends the
        trial.

    Returns
    -------
    network : lstm97.Network, or lstm97.methods.Learner if the experiment's method is another than LSTM
        As it is at the end of training.
    trial : Trial
        The record. A training that diverges is not solved, and its record says so.

    Raises
    ------
    ValueError
        If `max_sequences` is below 1 or `seed` negative.
    """
    cap = experiment.max_sequences if max_sequences is None else max_sequences
    if cap < 1:
        raise ValueError(f"max_sequences is {cap}, expected 1 or more")
    began = time.perf_counter()
    training = _Training(experiment, seed, cap)
    training.run(callback)
    history = training.history
    wrong = error = None
    if experiment.test_sequences and training.diverged is None:
        problem = problem_of(experiment, seed, tolerance=experiment.test_tolerance)
        try:
            wrong, error = _test(problem, training.network, training.test_rng, experiment.test_sequences)
        except FloatingPointError as overflow:
            training.solved, training.diverged = False, f"in the test: {overflow}"
    curve, curve_every = _curve(history.errors)
    count = history.sequences
    if training.solved and isinstance(experiment.stop, Stop) and not experiment.count_window:
        count -= experiment.stop.window
    return training.network, Trial(
        row=experiment.row,
        task=experiment.task,
        lag=experiment.lag,
        reading=experiment.reading,
        seed=seed,
        max_sequences=cap,
        solved=training.solved,
        diverged=training.diverged,
        sequences=count,
        steps=history.steps,
        stages=training.stages,
        grown=tuple(training.grown),
        train_error=training.recent_error() if history.sequences else None,
        curve=curve,
        curve_every=curve_every,
        test_sequences=0 if wrong is None else experiment.test_sequences,
        test_wrong=wrong,
        test_error=error,
        seconds=time.perf_counter() - began,
        train_seconds=history.seconds,
        draw_seconds=training.draw_seconds,
        steps_per_second=_rate(history),
    )


def initial_network(experiment: Experiment, seed: int) -> Network:
    """Return the LSTM that the trial with this seed begins with."""
    return _initial_lstm(experiment, np.random.SeedSequence(seed).spawn(1)[0])


def _initial_network(experiment: Experiment, seed: np.random.SeedSequence) -> Network | Learner:
    if experiment.method == LSTM:
        return _initial_lstm(experiment, seed)
    topology, how = experiment.topology, {"init_range": experiment.init_range, **experiment.settings}
    if isinstance(topology, CascadeTopology):
        return RCC(topology.n_inputs, topology.n_outputs, seed=int(seed.generate_state(1)[0]), **how)
    make: Callable[..., Learner] = METHODS[experiment.method]
    return make(topology, seed=seed, **how)


def _initial_lstm(experiment: Experiment, seed: np.random.SeedSequence) -> Network:
    topology = lstm_topology(experiment)
    blocks = topology.blocks
    n = len(blocks) - (experiment.growth.n_blocks if experiment.growth else 0)
    biases = (experiment.input_gate_bias, experiment.output_gate_bias)
    return Network(
        replace(topology, blocks=blocks[:n]),
        seed=seed,
        init_range=experiment.init_range,
        input_gate_bias=None if biases[0] is None else biases[0][:n],
        output_gate_bias=None if biases[1] is None else biases[1][:n],
    )


class _Training:
    """One training under way: its network, what it has done so far, and what its stop rule has seen."""

    def __init__(self, experiment: Experiment, seed: int, cap: int) -> None:
        # Records depend on which child seed is for what: a further use of randomness gets a further child at the end.
        initial, training, testing, between, growing = np.random.SeedSequence(seed).spawn(5)
        self.experiment = experiment
        self.cap = cap
        self.history = History()
        self.solved = False
        self.diverged: str | None = None
        self.stages: dict[str, int] = {}
        self.grown: list[int] = []
        self.draw_seconds = 0.0
        self.test_rng = np.random.default_rng(testing)
        self._draw_rng = np.random.default_rng(training)
        self._between_rng = np.random.default_rng(between)
        self._growing_rng = np.random.default_rng(growing)
        self._stop = experiment.stop if isinstance(experiment.stop, Stop) else None
        self._test = experiment.stop if isinstance(experiment.stop, StopByTests) else None
        self.problem = (
            problem_of(experiment, seed, tolerance=math.inf)
            if self._test is None
            else problem_of(experiment, seed, **_how(self._test))
        )
        self.network = _initial_network(experiment, initial)
        advice_of(self.network).accept_targets()  # no warning of targets out of range: those of task 3c have noise
        self._to_add: tuple[int, ...] = ()
        if isinstance(self.network, Network):
            self._to_add = lstm_topology(experiment).blocks[self.network.topology.n_blocks :]
        self._set = self.problem.draw_set(self._draw_rng, experiment.training_set) if experiment.training_set else None

    def run(self, callback: Callable[[Progress], object] | None) -> None:
        """Train until the stop rule holds, the cap is reached or something overflows."""
        while not self.solved and self.diverged is None and self.history.sequences < self.cap:
            # A full portion is drawn even when the cap leaves room for fewer, so that the cap changes no sequence.
            began = time.perf_counter()
            inputs, targets, order = self._set or self.problem.draw(self._draw_rng, DRAWN_AT_ONCE)
            self.draw_seconds += time.perf_counter() - began
            try:
                # A training set is never cut by the cap: it is presented as a whole.
                self._train_and_judge(
                    inputs, targets, order[: None if self._set else self.cap - self.history.sequences]
                )
            except FloatingPointError as overflow:
                self.diverged = str(overflow)
            if callback is not None:
                callback(self._progress())

    def _train_and_judge(self, inputs: Sequences, targets: Targets, order: NDArray[np.int64]) -> None:
        """Train on sequences in this order, up to the one at which the stop rule holds."""
        while len(order) and not self.solved:
            n = len(order) if self._set else min(len(order), self._until_judged())
            train(
                self.network,
                inputs,
                targets,
                learning_rate=self.experiment.learning_rate,
                update=self.experiment.update,
                order=order[:n],
                stop=self._stop,
                history=self.history,
            )
            order = order[n:]
            self.solved = bool(self.history.stopped) or self._tests_passed()
            self._grow_if_stopped_falling()

    def recent_error(self) -> float:
        """Mean error over the most recent training sequences; NaN if there are none."""
        recent = self.history.errors[-(self._stop.window if self._stop else DRAWN_AT_ONCE) :]
        return float(np.mean(recent)) if len(recent) else math.nan

    def _until_judged(self) -> int:
        """How many sequences may be trained before something has to be judged."""
        n, until = self.history.sequences, DRAWN_AT_ONCE
        if self._test is not None:
            until = min(until, self._test.every - n % self._test.every)
        if self._to_add:
            window = _growth(self.experiment).window
            until = min(until, window - (n - self._last_grown()) % window)
        return until

    def _tests_passed(self) -> bool:
        """Make a test if it is time to, and note which stages are reached; True if all are."""
        if self._test is None or self.history.sequences % self._test.every:
            return False
        left = [stage for stage in self._test.stages if stage.name not in self.stages]
        wrong, error = _test(
            self.problem, self.network, self._between_rng, self._test.n_sequences, max_wrong=left[0].max_wrong
        )
        while left and _reached(left[0], wrong, error):
            self.stages[left.pop(0).name] = self.history.sequences
        return not left

    def _grow_if_stopped_falling(self) -> None:
        if not self._to_add or self.solved:
            return
        growth = _growth(self.experiment)
        since = self.history.sequences - self._last_grown()
        if since < 2 * growth.window or since % growth.window:
            return
        before, latest = self.history.errors[-2 * growth.window :].reshape(2, -1).mean(axis=1)
        if latest < (1 - growth.fall) * before:
            return
        assert isinstance(self.network, Network)
        number = len(self.network.topology.blocks)
        biases = (self.experiment.input_gate_bias, self.experiment.output_gate_bias)
        self.network = self.network.with_block(
            self._to_add[0],
            seed=self._growing_rng,
            init_range=self.experiment.init_range,
            outgoing_range=growth.outgoing_range,
            input_gate_bias=None if biases[0] is None else biases[0][number],
            output_gate_bias=None if biases[1] is None else biases[1][number],
        )
        self._to_add = self._to_add[1:]
        self.grown.append(self.history.sequences)

    def _last_grown(self) -> int:
        return self.grown[-1] if self.grown else 0

    def _progress(self) -> Progress:
        return Progress(
            sequences=self.history.sequences,
            steps=self.history.steps,
            max_sequences=self.cap,
            error=self.recent_error(),
            steps_per_second=_rate(self.history),
        )


def _test(
    problem: Problem, network: Network | Learner, rng: np.random.Generator, n: int, *, max_wrong: int | None = None
) -> tuple[int, float]:
    """Number of wrong sequences among n, and the mean error; cut short once more than `max_wrong` are wrong."""
    wrong, errors = 0, []
    for verdicts, means in problem.test(network, rng, n, n if max_wrong is None else TESTED_AT_ONCE):
        wrong += int(np.count_nonzero(verdicts))
        errors.append(means)
        if max_wrong is not None and wrong > max_wrong:
            break
    return wrong, float(np.concatenate(errors).mean())


def _how(test: StopByTests) -> dict[str, Any]:
    """How a test judges, as arguments of `problem_of`."""
    return {"tolerance": test.tolerance, "last_step": test.last_step, "squared": test.squared}


def _reached(stage: Stage, wrong: int, error: float) -> bool:
    return wrong <= stage.max_wrong and error < stage.mean_error


def _growth(experiment: Experiment) -> Growth:
    assert experiment.growth is not None
    return experiment.growth


def _curve(errors: NDArray[np.float64]) -> tuple[tuple[float, ...], int]:
    """The learning curve, to four digits, and how many sequences a point stands for."""
    every = max(1, -(-len(errors) // CURVE_POINTS))
    points = [float(f"{errors[begin : begin + every].mean():.4g}") for begin in range(0, len(errors), every)]
    return tuple(points), every


def _rate(history: History) -> float:
    return history.steps / history.seconds if history.seconds > 0 else 0.0
