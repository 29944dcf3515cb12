"""What a model sees of a series, and the units of its forecasts; nothing depends on later values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Prepared:
    """Row t is for the forecast of value t + 1, which is ``shift[t] + scale[t] * output``.

    Attributes
    ----------
    inputs : ndarray of shape (n - 1, lags)
        The last values, the latest first; zero before the first.
    targets : ndarray of shape (n - 1, 1)
    shift, scale : ndarray of shape (n - 1,)
    """

    inputs: Array
    targets: Array
    shift: Array
    scale: Array

    def forecasts(self, outputs: Array) -> Array:
        """Outputs in the series' own units, shape (n - 1,)."""
        return self.shift + self.scale * outputs[:, 0]


def _nonzero(scale: Array) -> Array:
    return np.where(scale > 0, scale, 1.0)


def _prepared(values: Array, seen: Array, shift: Array, scale: Array, inner: Array, lags: int) -> Prepared:
    """`inner` is subtracted from what is `seen` before it is scaled."""
    n = len(values) - 1
    padded = np.concatenate([np.zeros(lags - 1), seen[:n]])
    windows = np.lib.stride_tricks.sliding_window_view(padded, lags)[:, ::-1]
    known = np.arange(n)[:, np.newaxis] >= np.arange(lags)
    inputs = np.where(known, (windows - inner[:, np.newaxis]) / scale[:, np.newaxis], 0.0)
    targets = (values[1:] - shift) / scale
    return Prepared(inputs, targets[:, np.newaxis], shift, scale)


def raw(values: Array, lags: int) -> Prepared:
    """Return the values as they are."""
    zero = np.zeros(len(values) - 1)
    return _prepared(values, values, zero, zero + 1.0, zero, lags)


def z_scores(values: Array, lags: int) -> Prepared:
    """Return values less their mean so far, in units of their standard deviation so far."""
    counts = np.arange(1, len(values))
    moved = values[:-1] - values[0]  # squares of these cancel less
    mean = np.cumsum(moved) / counts
    scale = _nonzero(np.sqrt(np.maximum(np.cumsum(moved**2) / counts - mean**2, 0.0)))
    shift = values[0] + mean
    return _prepared(values, values, shift, scale, shift, lags)


def _differences(values: Array, lags: int, power: int) -> Prepared:
    n = len(values) - 1
    seen = np.diff(values, prepend=values[0])
    mean = np.cumsum(np.abs(seen[:n]) ** power) / np.maximum(np.arange(n), 1)
    return _prepared(values, seen, values[:n], _nonzero(mean ** (1.0 / power)), np.zeros(n), lags)


def scaled_differences(values: Array, lags: int) -> Prepared:
    """Return differences from value to value, in units of their mean absolute value so far."""
    return _differences(values, lags, 1)


def differences_by_deviation(values: Array, lags: int) -> Prepared:
    """Return differences from value to value, in units of the root of their mean square so far."""
    return _differences(values, lags, 2)


PREPARATIONS: dict[str, Callable[[Array, int], Prepared]] = {
    "raw": raw,
    "z-scores": z_scores,
    "differences": scaled_differences,
    "differences by deviation": differences_by_deviation,
}
