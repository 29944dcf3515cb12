"""Exclusive or of two bits, marked long before the end of a sequence of noise bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import lstm97
from lstm97 import methods
from lstm97.methods import Learner

from .records import Record
from .rules import FOR_ALL_OUTPUTS, RULES, network

CELLS = 8
FORGET_GATE_BIAS, INIT_RANGE = 4.0, 0.5
TEST_SEQUENCES = 1_000
SOLVED = 0.01
"""Share of wrong answers on fresh sequences, at which the task is solved."""
TESTED_EVERY = 5_000
MEASURE = f"training sequences until at most {SOLVED:.0%} of {TEST_SEQUENCES:,} fresh ones are wrong"


@dataclass(frozen=True)
class Task:
    """The length of sequences, and after how many of them a network gives up."""

    n_steps: int
    most: int


RATES = {"SGD": (0.03, 0.1, 0.3), "Adam": (0.003,), "RMSprop": (0.003,), "RMSprop, bounded": (0.003,)}
"""Learning rates by rule; other rules have their own."""


def marked_bits(
    rng: np.random.Generator, n: int, n_steps: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Draw n sequences of bits and marks, and the exclusive or of each one's two marked bits.

    Inputs are -1 or 1 for a bit, and 1 beside a marked one, 0 beside the others. One mark is in the first quarter of
    the steps, the other in the second; the target is at the last step.
    """
    inputs = np.zeros((n, n_steps, 2))
    bits = rng.integers(0, 2, (n, n_steps))
    inputs[:, :, 0] = 2 * bits - 1
    quarter, rows = n_steps // 4, np.arange(n)
    first, second = rng.integers(0, quarter, n), rng.integers(quarter, 2 * quarter, n)
    inputs[rows, first, 1] = inputs[rows, second, 1] = 1.0
    return inputs, bits[rows, first] ^ bits[rows, second]


def sequences_until_solved(task: Task, rule: str, rate: float, seed: int) -> tuple[float | None, str]:
    """Return after how many sequences a network solves the task, or None and why it does not."""
    net = network(
        RULES[rule],
        2,
        2,
        cells=CELLS,
        seed=seed,
        output="softmax",
        forget_gate_bias=FORGET_GATE_BIAS,
        init_range=INIT_RANGE,
    )
    return until_solved(net, task, rate, seed)


def until_solved(net: lstm97.Network | Learner, task: Task, rate: float, seed: int) -> tuple[float | None, str]:
    """Return after how many sequences a learner solves the task, or None and why it does not."""
    rng = np.random.default_rng(seed)
    wrong = 1.0
    for trained in range(TESTED_EVERY, task.most + 1, TESTED_EVERY):
        try:
            methods.train(net, *marked_bits(rng, TESTED_EVERY, task.n_steps), learning_rate=rate)
        except FloatingPointError as error:
            return None, str(error)
        inputs, classes = marked_bits(rng, TEST_SEQUENCES, task.n_steps)
        found = np.array([y[-1].argmax() for y in methods.predict(net, inputs)])
        wrong = float((found != classes).mean())
        if wrong <= SOLVED:
            return float(trained), ""
    return None, f"{wrong:.1%} wrong after {task.most:,} sequences"


def measure(tasks: tuple[Task, ...], seeds: range) -> Iterator[Record]:
    """Yield records of all rules."""
    for task in tasks:
        for rule in FOR_ALL_OUTPUTS:
            for rate in RATES.get(rule, (RULES[rule].learning_rate,)):
                for seed in seeds:
                    value, note = sequences_until_solved(task, rule, rate, seed)
                    setting = {"cells": CELLS, "rate": rate}
                    yield Record("delayed XOR", f"T={task.n_steps}", rule, setting, seed, MEASURE, value, note)
