"""Two sines with noise, forecast a step ahead: the error after many steps, and whether it grows later."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from .records import Record
from .rules import RULES, UNSCALED, network

CELLS = 16
NOISE = 0.1
WINDOW = 1_000
MEASURE = f"mean absolute error over {WINDOW:,} steps"


def two_sines(rng: np.random.Generator, n_steps: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Draw a sum of two sines, of periods 25 and 61, with normal noise; return it, and itself without noise."""
    t = np.arange(n_steps)
    clean = np.sin(2 * np.pi * t / 25) + 0.5 * np.sin(2 * np.pi * t / 61)
    return clean + NOISE * rng.standard_normal(n_steps), clean


def measure(ends: tuple[int, ...], seeds: range) -> Iterator[Record]:
    """Yield the errors of the thousand steps before each of `ends`, of all rules and of three peers."""
    for seed in seeds:
        noisy, clean = two_sines(np.random.default_rng(seed), max(ends) + 1)
        inputs, targets = noisy[:-1, np.newaxis], noisy[1:, np.newaxis]
        forecasts = {"naive: the last value": noisy[:-1], "the sines without noise": clean[1:]}
        for name, forecast in forecasts.items():
            yield from _records(name, {}, seed, ends, np.abs(noisy[1:] - forecast), "")
        for rule in UNSCALED:
            rate = RULES[rule].learning_rate
            net = network(RULES[rule], 1, 1, cells=CELLS, seed=seed)
            errors, note = np.full(len(inputs), np.nan), ""
            try:
                for begin in range(0, len(inputs), WINDOW):
                    part = slice(begin, begin + WINDOW)
                    errors[part] = np.abs(net.learn_run(inputs[part], targets[part], rate) - targets[part])[:, 0]
            except FloatingPointError as error:
                note = str(error)
            yield from _records(rule, {"cells": CELLS, "rate": rate}, seed, ends, errors, note)


def _records(
    model: str, setting: dict[str, object], seed: int, ends: tuple[int, ...], errors: npt.NDArray[np.float64], note: str
) -> Iterator[Record]:
    for end in ends:
        value = float(errors[end - WINDOW : end].mean())
        known = value if np.isfinite(value) else None
        yield Record("sines", f"before step {end:,}", model, setting, seed, MEASURE, known, "" if known else note)
