"""One sequence of any length with an error signal at its end, learned by lstm97 in two ways and by the peer."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import lstm97

from . import pytorch
from .ours import LEARNING_RATE
from .timing import Workload

ADDING = lstm97.Topology(2, 1, blocks=(2, 2), output="identity")

TRAIN = "lstm97.train"
LEARN_RUN = "net.learn_run in chunks"
PYTORCH = "PyTorch nn.LSTM"

# Steps per call: so many that the call itself takes a hundredth of the time, few enough to stay in the caches.
CHUNK = 10_000


def _data(n_steps: int, dtype: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Inputs (n_steps, 2) and a target (1, 1), filled in place: temporary arrays would raise the peak of memory."""
    inputs = np.empty((n_steps, ADDING.n_inputs), dtype)
    np.random.default_rng(0).random(dtype=inputs.dtype.type, out=inputs)
    inputs -= 0.5
    return inputs, np.full((1, ADDING.n_outputs), 0.5, dtype)


def _rate(n_steps: int) -> float:
    """A learning rate that prevents saturation: the partials may grow with every step."""
    return LEARNING_RATE / n_steps


def whole(n_steps: int, dtype: str) -> Workload:
    """The sequence in one piece, by lstm97.train with update="step", the default."""
    inputs, target = _data(n_steps, dtype)
    net = lstm97.Network(ADDING, dtype=dtype, seed=0)
    packed = lstm97.Sequences(inputs, [0, n_steps])

    def run(n_items: int) -> None:
        lstm97.train(net, packed, target, _rate(n_steps), order=np.zeros(n_items, np.int64))

    return Workload(TRAIN, run, n_steps)


def chunked(n_steps: int, dtype: str) -> Workload:
    """The sequence in chunks, by net.learn_run; the same chunk each time, as its values do not affect the time."""
    size = min(n_steps, CHUNK)
    if n_steps % size:
        raise ValueError(f"{n_steps} steps are not a number of chunks of {size}")
    inputs, target = _data(size, dtype)
    none_until_the_end = np.full((size, ADDING.n_outputs), np.nan, dtype)
    none_until_the_end[-1] = target
    out = np.empty((size, ADDING.n_outputs), dtype)
    net = lstm97.Network(ADDING, dtype=dtype, seed=0)

    def run(n_items: int) -> None:
        for _ in range(n_items):
            net.reset()
            for _ in range(n_steps // size - 1):
                net.learn_run(inputs, None, out=out)
            net.learn_run(inputs, none_until_the_end, _rate(n_steps), out=out)

    return Workload(LEARN_RUN, run, n_steps)


def unrolled(n_steps: int, dtype: str) -> Workload:
    """The sequence in one piece, by nn.LSTM with as many cells."""
    inputs, target = _data(n_steps, dtype)
    return pytorch.lstm_training(inputs[np.newaxis], target, n_cells=ADDING.n_cells, learning_rate=_rate(n_steps))


WAYS: dict[str, Callable[[int, str], Workload]] = {TRAIN: whole, LEARN_RUN: chunked, PYTORCH: unrolled}


def peer_missing() -> str:
    """Return why the peer cannot run here; an empty string if it can."""
    return "" if importlib.util.find_spec("torch") else "torch is not installed"
