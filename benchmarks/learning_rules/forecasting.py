"""One-step-ahead forecasts of series, each made before its value is learned."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

import lstm97

from . import peers
from .packages import Series
from .preparations import PREPARATIONS, Prepared
from .records import Record
from .rules import FOR_STREAM, RULES, network

Array = npt.NDArray[np.float64]

WARM_UP = 48
"""Observations before the first error that counts, the same for all models; all of them are learned."""
FORECASTER = "Forecaster"
PROBABILITIES = (0.5, 0.9, 0.99)
COVERED = "share of the values that are within the interval given before, of all that were given one"
MEASURE = f"sum of absolute errors over the naive forecast's, from observation {WARM_UP + 2} on"


@dataclass(frozen=True)
class Setting:
    """What a network is given besides its rule."""

    preparation: str = "differences"
    lags: int = 24
    cells: int = 16
    rate: float | None = None
    """Learning rate; None for the rule's own."""
    forget_gate_bias: float = 0.0
    """With 0, a cell forgets half of its state in a step at first: what is older is among the lags."""

    def plain(self, rule: str) -> dict[str, object]:
        """Return what a record tells of it."""
        options = asdict(self) | {"rate": self.rate or RULES[rule].learning_rate}
        del options["forget_gate_bias"]  # the same for all
        return options


def score(values: Array, forecasts: Array) -> float:
    """Return the error of forecasts of ``values[1:]``, relative to that of the value before."""
    errors, naive = np.abs(values[1:] - forecasts), np.abs(np.diff(values))
    return float(errors[WARM_UP:].sum() / naive[WARM_UP:].sum())


def outputs_before_learning(net: lstm97.Network, prepared: Prepared, learning_rate: float) -> Array:
    """Return what the network forecasts before it learns the target, for every step.

    `peek` asks for it, because a network that scales its targets uses a target in the step that learns it.
    """
    outputs = np.empty_like(prepared.targets)
    for x, target, out in zip(prepared.inputs, prepared.targets, outputs, strict=True):
        net.peek(x, out=out)
        net.learn(x, target, learning_rate)
    return outputs


def run(series: Series, rule: str, setting: Setting, seed: int) -> tuple[float | None, str]:
    """Return the score of a network, or None and the message if it overflows."""
    plain = setting.plain(rule)
    prepared = PREPARATIONS[setting.preparation](series.values, setting.lags)
    net = network(
        RULES[rule], setting.lags, 1, cells=setting.cells, seed=seed, forget_gate_bias=setting.forget_gate_bias
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of saturated cells: raw values are measured on purpose
        try:
            outputs = outputs_before_learning(net, prepared, float(str(plain["rate"])))
        except FloatingPointError as error:
            return None, str(error)
    return score(series.values, prepared.forecasts(outputs)), ""


def networks(
    task: str, all_series: Iterable[Series], rules: tuple[str, ...], settings: Iterable[Setting], seeds: range
) -> Iterator[Record]:
    """Yield records of all rules in all settings."""
    chosen = list(settings)
    for series in all_series:
        for rule in rules:
            for setting in chosen:
                for seed in seeds:
                    value, note = run(series, rule, setting, seed)
                    yield Record(task, series.name, rule, setting.plain(rule), seed, MEASURE, value, note)


def of_forecaster(task: str, all_series: Iterable[Series], seeds: range) -> Iterator[Record]:
    """Yield records of `lstm97.Forecaster` as it comes, on the series in their own units."""
    for series in all_series:
        for seed in seeds:
            forecasts = lstm97.Forecaster(seed=seed).learn_many(series.values)
            yield Record(task, series.name, FORECASTER, {}, seed, MEASURE, score(series.values, forecasts[:-1]))


def of_stream_networks(task: str, all_series: Iterable[Series], lags: Iterable[int], seeds: range) -> Iterator[Record]:
    """Yield records of `lstm97.Network.for_stream` as it comes, with the last values in their own units as inputs."""
    chosen = list(lags)
    for series in all_series:
        for n in chosen:
            prepared = PREPARATIONS["raw"](series.values, n)
            for seed in seeds:
                net = lstm97.Network.for_stream(n, 1, seed=seed)
                outputs = outputs_before_learning(net, prepared, net.learning_rate)
                value = score(series.values, prepared.forecasts(outputs))
                yield Record(task, series.name, FOR_STREAM, {"preparation": "raw", "lags": n}, seed, MEASURE, value)


def of_intervals(all_series: Iterable[Series], seeds: range) -> Iterator[Record]:
    """Yield how often values are within the intervals that `lstm97.Forecaster` gives before it learns them."""
    for series in all_series:
        for probability in PROBABILITIES:
            for seed in seeds:
                share, note = covered(series.values, lstm97.Forecaster(seed=seed), probability)
                setting = {"probability": probability}
                yield Record("intervals", series.name, FORECASTER, setting, seed, COVERED, share, note)


def covered(values: Array, forecaster: lstm97.Forecaster, probability: float) -> tuple[float | None, str]:
    """Return the share of values within their intervals, or None and why if no value had one."""
    hits = []
    for value in values.tolist():
        low, high = forecaster.interval(probability)
        if not np.isnan(low):
            hits.append(low <= value <= high)
        forecaster.learn(value)
    return (float(np.mean(hits)), "") if hits else (None, "too few values")


def of_peers(task: str, all_series: Iterable[Series]) -> Iterator[Record]:
    """Yield records of the other models; those of packages that are not installed are left out."""
    for series in all_series:
        for name, forecast in peers.forecasters():
            value = score(series.values, forecast(series))
            yield Record(task, series.name, name, {}, None, MEASURE, value)
