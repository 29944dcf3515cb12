"""The deep-river peer: its LSTM regressor learns from a stream by retraining on a rolling window of observations."""

from __future__ import annotations

from importlib import import_module
from itertools import cycle, islice
from typing import Any

import numpy.typing as npt

from . import pytorch
from .timing import Workload


def stream_learning(inputs: npt.NDArray[Any], targets: npt.NDArray[Any]) -> Workload:
    """One ``learn_one`` call per observation, a dict of features as in river; all options are the defaults."""
    pytorch.load()
    regression = import_module("deep_river.regression")  # has no types
    _, n_steps, n_inputs = inputs.shape
    model = regression.LSTMRegressor(n_features=n_inputs)
    sequences = [
        [
            ({f"x{m}": value for m, value in enumerate(x)}, target)
            for x, target in zip(sequence.tolist(), wanted[:, 0].tolist(), strict=True)
        ]
        for sequence, wanted in zip(inputs, targets, strict=True)
    ]

    def run(n_items: int) -> None:
        for sequence in islice(cycle(sequences), n_items):
            for x, target in sequence:
                model.learn_one(x, target)

    name = f"deep-river LSTMRegressor, hidden {model.hidden_size}, window {model.window_size}"
    return Workload(name, run, n_steps)
