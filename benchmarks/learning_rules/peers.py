"""Forecasters that networks are compared with; each returns forecasts of ``values[1:]``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .packages import MissingPackageError, Series, package
from .preparations import Prepared, scaled_differences, z_scores

Array = npt.NDArray[np.float64]
Forecast = Callable[[Series], Array]

LAGS = 24


def naive(series: Series) -> Array:
    """Forecast the last value."""
    return series.values[:-1]


def seasonal_naive(series: Series) -> Array:
    """Forecast the value of one season ago; the last value before there is one."""
    values, n = series.values, len(series.values) - 1
    unknown = min(series.season - 1, n)
    return np.concatenate([values[:unknown], values[: n - unknown]])


def recursive_least_squares(prepared: Prepared, ridge: float = 1.0) -> Array:
    """Forecast by least squares over all steps so far, with a bias and the penalty `ridge` on squared weights."""
    inputs = np.column_stack([prepared.inputs, np.ones(len(prepared.inputs))])
    P, w = np.eye(inputs.shape[1]) / ridge, np.zeros(inputs.shape[1])
    outputs = np.empty_like(prepared.targets)
    for t, (u, target) in enumerate(zip(inputs, prepared.targets[:, 0], strict=True)):
        outputs[t] = w @ u
        Pu = P @ u
        k = Pu / (1.0 + u @ Pu)
        w += k * (target - outputs[t, 0])
        P -= np.outer(k, Pu)
    return prepared.forecasts(outputs)


def _of_river(model: Any, series: Series, first: int) -> Array:
    """Forecast by a river model that learns a value at a time, from value `first` on; the last value before."""
    forecasts = series.values[:-1].copy()
    for t, value in enumerate(series.values[:-1].tolist()):
        model.learn_one(value)
        if t >= first:
            forecasts[t] = model.forecast(horizon=1)[0]
    return forecasts


def holt_winters(series: Series) -> Array:
    """Forecast by river's HoltWinters, additive, with the smoothing of its documentation."""
    model = package("river.time_series").HoltWinters(alpha=0.3, beta=0.1, gamma=0.6, seasonality=series.season)
    return _of_river(model, series, 2 * series.season)


def snarimax(series: Series) -> Array:
    """Forecast by river's SNARIMAX of the last 24 differences, without seasons."""
    return _of_river(package("river.time_series").SNARIMAX(p=LAGS, d=1, q=0), series, LAGS + 2)


_FORECASTERS: dict[str, tuple[str, Forecast]] = {
    "naive: the last value": ("", naive),
    "seasonal naive": ("", seasonal_naive),
    f"least squares, {LAGS} z-scores": ("", lambda series: recursive_least_squares(z_scores(series.values, LAGS))),
    f"least squares, {LAGS} differences": (
        "",
        lambda series: recursive_least_squares(scaled_differences(series.values, LAGS)),
    ),
    "river HoltWinters": ("river", holt_winters),
    f"river SNARIMAX, p={LAGS}, d=1": ("river", snarimax),
}


def forecasters() -> Iterator[tuple[str, Forecast]]:
    """Yield the forecasters whose packages are installed, by name."""
    for name, (needed, forecast) in _FORECASTERS.items():
        try:
            if needed:
                package(needed)
        except MissingPackageError:
            continue
        yield name, forecast
