"""What a trial trains on and is judged by, one class for each way the paper's tasks do it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lstm97.methods import Learner, predict
from lstm97.network import Network
from lstm97.paper.tables.experiments import Experiment
from lstm97.paper.tasks.long_lags import distractors, long_lag
from lstm97.paper.tasks.marked_pairs import adding, multiplication
from lstm97.paper.tasks.reber import Grammar, embedded_reber_sets
from lstm97.paper.tasks.symbol_order import temporal_order
from lstm97.paper.tasks.two_class import two_sequences
from lstm97.sequences import Sequences

Targets = NDArray[np.float64] | NDArray[np.int32] | Sequences
Verdicts = tuple[NDArray[np.bool_], NDArray[np.float64]]

REBER_SETS = 3
"""How many pairs of a training and a test set the trials of task 1 take turns with."""

_STRINGS_AT_ONCE = 16  # small, because most tests fail in their first portion and end there


class Problem(Protocol):
    """A source of training sequences, with a test of networks."""

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Sequences, Targets, NDArray[np.int64]]:
        """Return inputs, targets and which n of these sequences to train on, in this order."""

    def draw_set(self, rng: np.random.Generator, n: int) -> tuple[Sequences, Targets, NDArray[np.int64]]:
        """Return a training set, of n sequences if it has to be drawn, and its order."""

    def test(self, network: Network | Learner, rng: np.random.Generator, n: int, at_once: int) -> Iterator[Verdicts]:
        """Test on n sequences, `at_once` in a portion: whether each is wrong, and its mean error."""


class FreshSequences:
    """A task that draws every sequence afresh."""

    def __init__(self, experiment: Experiment, *, tolerance: float, last_step: bool, squared: bool) -> None:
        self._experiment = experiment
        self._generate = _GENERATORS[experiment.task]
        self._generate_test = _TEST_GENERATORS.get(experiment.task, self._generate)
        self._tolerance = tolerance
        self._power = 2 if squared else 1
        self._judged = slice(-1, None) if last_step else slice(None)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Sequences, Targets, NDArray[np.int64]]:
        """Return n new sequences, their targets and the order 0 .. n - 1."""
        inputs, targets = self._generate(rng, n, self._experiment)
        return inputs, targets, np.arange(n)

    draw_set = draw

    def test(self, network: Network | Learner, rng: np.random.Generator, n: int, at_once: int) -> Iterator[Verdicts]:
        """Test on n new sequences: wrong where any output at a target is off by more than the tolerance."""
        for begin in range(0, n, at_once):
            inputs, targets = self._generate_test(rng, min(at_once, n - begin), self._experiment)
            outputs = predict(network, inputs)
            if isinstance(targets, Sequences):
                pairs = [(y[self._judged], t[self._judged]) for y, t in zip(outputs, targets, strict=True)]
                errors = [np.abs(y - _as_rows(t, network)) for y, t in pairs]
            else:
                errors = list(np.abs(np.stack([y[-1] for y in outputs]) - _as_rows(targets, network)))
            yield (
                np.array([(error > self._tolerance).any() for error in errors]),
                np.array([(error**self._power).mean() for error in errors]),
            )


class GrammarStrings:
    """The embedded Reber grammar: a fixed training set, presented in random order, and a fixed test set."""

    def __init__(self, pair: int) -> None:
        self._sets = embedded_reber_sets(np.random.default_rng(pair))
        self._portions = [
            _strings(strings, begin, _STRINGS_AT_ONCE)
            for begin in range(0, len(self._sets[0].inputs), _STRINGS_AT_ONCE)
            for strings in self._sets
        ]

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Sequences, Targets, NDArray[np.int64]]:
        """Return the training set and n of its strings, each drawn at random."""
        training = self._sets[0]
        return training.inputs, training.targets, rng.integers(len(training.inputs), size=n)

    def draw_set(self, rng: np.random.Generator, n: int) -> tuple[Sequences, Targets, NDArray[np.int64]]:
        """Return the training set as it is."""
        training = self._sets[0]
        return training.inputs, training.targets, np.arange(len(training.inputs))

    def test(self, network: Network | Learner, rng: np.random.Generator, n: int, at_once: int) -> Iterator[Verdicts]:
        """Test on all strings of both sets: wrong where an output of a possible symbol is not among the most active."""
        for i, strings in enumerate(self._portions):
            outputs = np.concatenate(predict(network, strings.inputs))
            lowest_possible = np.where(strings.possible, outputs, np.inf).min(axis=1)
            highest_impossible = np.where(strings.possible, -np.inf, outputs).max(axis=1)
            errors = np.abs(outputs - _as_rows(strings.targets.values, network)).mean(axis=1)
            begins = strings.inputs.offsets[:-1]
            wrong = np.logical_or.reduceat(lowest_possible <= highest_impossible, begins)
            if i and wrong.any():  # this portion is likely to fail the next test too: it goes first there
                self._portions = [strings, *self._portions[:i], *self._portions[i + 1 :]]
            yield wrong, np.add.reduceat(errors, begins) / strings.inputs.lengths


def problem_of(
    experiment: Experiment, seed: int, *, tolerance: float, last_step: bool = False, squared: bool = False
) -> Problem:
    """Return the problem a trial works on.

    `tolerance`, `last_step` and `squared` say how fresh test sequences are judged. The seeds take turns with the pairs
    of sets of the embedded Reber grammar.
    """
    if experiment.task == "embedded-reber":
        return GrammarStrings((seed - 1) % REBER_SETS)
    return FreshSequences(experiment, tolerance=tolerance, last_step=last_step, squared=squared)


def _strings(strings: Grammar, begin: int, n: int) -> Grammar:
    """Up to n strings of a set, from number `begin` on."""
    offsets = strings.inputs.offsets[begin : begin + n + 1]
    steps = slice(int(offsets[0]), int(offsets[-1]))
    return Grammar(
        Sequences(strings.inputs.values[steps], offsets - offsets[0]),
        Sequences(strings.targets.values[steps], offsets - offsets[0]),
        strings.possible[steps],
    )


def _as_rows(targets: NDArray[np.float64] | NDArray[np.int32], network: Network | Learner) -> NDArray[np.float64]:
    """Targets as one row per target: classes become one-hot."""
    if targets.ndim == 2:
        return targets.astype(np.float64, copy=False)
    return np.eye(network.topology.n_outputs)[targets]


_Generate = Callable[[np.random.Generator, int, Experiment], tuple[Sequences, Targets]]


def _adding(rng: np.random.Generator, n: int, experiment: Experiment) -> tuple[Sequences, Targets]:
    return adding(rng, n, experiment.lag)


def _multiplication(rng: np.random.Generator, n: int, experiment: Experiment) -> tuple[Sequences, Targets]:
    return multiplication(rng, n, experiment.lag)


def _long_lag(rng: np.random.Generator, n: int, experiment: Experiment) -> tuple[Sequences, Targets]:
    inputs, targets = long_lag(rng, n, experiment.lag, random_middle=experiment.task == "long-lag-random")
    if experiment.parameters.get("targets") == "last":
        return inputs, targets.values[targets.offsets[1:] - 1]
    return inputs, targets


def _distractors(rng: np.random.Generator, n: int, experiment: Experiment) -> tuple[Sequences, Targets]:
    return distractors(rng, n, experiment.lag, int(experiment.parameters["n_distractors"]))


def _two_sequences(rng: np.random.Generator, n: int, experiment: Experiment) -> tuple[Sequences, Targets]:
    n_informative, variant = int(experiment.parameters["n_informative"]), str(experiment.parameters["variant"])
    return two_sequences(rng, n, experiment.lag, n_informative, variant=variant)


def _noise_free_targets(rng: np.random.Generator, n: int, experiment: Experiment) -> tuple[Sequences, Targets]:
    inputs, classes = two_sequences(rng, n, experiment.lag, int(experiment.parameters["n_informative"]), variant="b")
    return inputs, 0.2 + 0.6 * classes


def _temporal_order(rng: np.random.Generator, n: int, experiment: Experiment) -> tuple[Sequences, Targets]:
    return temporal_order(rng, n, int(experiment.parameters["n_relevant"]))


_GENERATORS: Mapping[str, _Generate] = {
    "long-lag": _long_lag,
    "long-lag-random": _long_lag,
    "distractors": _distractors,
    "two-sequences": _two_sequences,
    "two-sequences-noisy": _two_sequences,
    "two-sequences-noisy-targets": _two_sequences,
    "adding": _adding,
    "multiplication": _multiplication,
    "temporal-order-2": _temporal_order,
    "temporal-order-3": _temporal_order,
}
# The generators of test sequences for tasks whose targets in tests differ from those in training.
_TEST_GENERATORS: Mapping[str, _Generate] = {"two-sequences-noisy-targets": _noise_free_targets}
