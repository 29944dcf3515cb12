"""Judging a network in training by data that it is not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm97._inference import Inference
from lstm97.network import Network
from lstm97.sequences import Learns, Sequences, as_sequences, as_targets

Array = NDArray[Any]

AT_ONCE = 10_000
"""Rows judged at a time, so that temporary arrays stay small."""


class Validation:
    """Packed sequences and targets to judge a network by.

    Parameters
    ----------
    validation : object
        The argument of `train`, a pair of inputs and targets.
    layout : Learns
        What the data are checked against.

    Raises
    ------
    TypeError, ValueError
        If this is no pair, its data are not as for `train`, or there is no target in them.
    """

    def __init__(self, validation: object, layout: Learns) -> None:
        if not isinstance(validation, (tuple, list)) or len(validation) != 2:
            raise TypeError("validation must be a pair (inputs, targets)")
        try:
            self.inputs: Sequences = as_sequences(validation[0], layout)
            self.targets, self.per_sequence = as_targets(validation[1], self.inputs, layout)
        except (TypeError, ValueError) as error:
            raise (TypeError if isinstance(error, TypeError) else ValueError)(f"in validation: {error}") from error
        rows = self.targets
        given = rows >= 0 if rows.ndim == 1 else ~np.isnan(rows).all(axis=1)
        self._signals = np.flatnonzero(given)  # the rows of targets that are error signals
        if not len(self._signals):
            raise ValueError("validation has no target: nothing could be judged by it")
        self._n_outputs = layout.topology.n_outputs

    @property
    def data(self) -> tuple[Array, ...]:
        """All that a judgement depends on, beside the network."""
        return self.inputs.values, self.inputs.offsets, self.targets

    def judge(self, net: Network, threads: int) -> float:
        """The mean over all error signals of the mean ``|t - y|`` over the outputs that have a target."""
        Y = np.zeros((len(self.inputs) if self.per_sequence else self.inputs.n_steps, self._n_outputs), net.dtype)
        try:
            Inference(net, self.inputs, threads).run(Y, last=self.per_sequence)
        except FloatingPointError as error:
            raise FloatingPointError(f"in validation: {error}; try a smaller learning_rate") from error
        errors = np.empty(len(self._signals))
        for begin in range(0, len(errors), AT_ONCE):
            part = self._signals[begin : begin + AT_ONCE]
            errors[begin : begin + AT_ONCE] = _mean_errors(self.targets[part], Y[part].astype(np.float64))
        return float(errors.mean())


def _mean_errors(targets: Array, Y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean ``|t - y|`` over the outputs with a target, of each row; class numbers stand for one-hot rows."""
    if targets.ndim == 1:
        rows = np.arange(len(Y))
        distances = np.abs(Y)
        distances[rows, targets] = np.abs(1 - Y[rows, targets])
        return np.asarray(distances.mean(axis=1))
    given = ~np.isnan(targets)
    distances = np.where(given, np.abs(targets.astype(np.float64) - Y), 0.0)
    return np.asarray(distances.sum(axis=1) / given.sum(axis=1))
