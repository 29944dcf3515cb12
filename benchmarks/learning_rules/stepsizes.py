"""Rules whose step sizes adapt themselves, on the real streams: is one of them as good without a rate to choose.

A network hands over the gradient of each update, and a rule of `adaptive` sets the weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import lstm97

from ..latency import markdown_table
from . import classification, forecasting
from .adaptive import ADAPTIVE, REFERENCE, Begin
from .packages import Labelled, Series
from .preparations import PREPARATIONS
from .records import Record
from .rules import RULES, network

Array = npt.NDArray[np.float64]

LOSSES = {"step sizes": None, "step sizes, Huber": "huber"}
"""Losses of the tasks with series; None is the squared error."""
ROW = "step sizes, one after another"
"""One network learns all series, one after another, with Huber's loss."""
CLASSES = "step sizes, classes"
TASKS = (*LOSSES, ROW, CLASSES)
SETTING = forecasting.Setting()

RATE = 2.0**40
"""Learning rate of the network: a power of two, so large that its own weights round nothing off a gradient."""


def error_signal(topology: lstm97.Topology, y: Array, target: Array) -> float:
    """Return the error at the net input of the only output; logistic ones have the cross entropy as loss."""
    e = float((target - y)[0])
    return float(np.clip(e, -1.0, 1.0)) if topology.loss == "huber" else e


def learned(net: lstm97.Network, inputs: Array, targets: Array, begin: Begin) -> Array:
    """Let a network with `lstm97.SGD` learn a stream by another rule; return its outputs, each before its target.

    At its huge rate the network moves by RATE g in an update, by the weights there were before; then it is given the
    weights of the rule. Its state and partials, which no update changes, go on.
    """
    first = w = net.parameters
    change = begin(len(w), len(inputs))
    outputs = np.empty_like(targets)
    for x, target, y in zip(inputs, targets, outputs, strict=True):
        net.learn(x, target, RATE, out=y)
        g = (net.parameters - w) / RATE
        w = w + change(g, error_signal(net.topology, y, target), w - first)
        if not np.isfinite(w).all():
            raise FloatingPointError("weights are not finite")
        net.parameters = w
    return outputs


def _quietly(net: lstm97.Network, inputs: Array, targets: Array, begin: Begin) -> tuple[Array | None, str]:
    """Return outputs, or None and the message if the network or the rule overflows."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", UserWarning)  # of saturated cells: rules that diverge are measured too
        try:
            return learned(net, inputs, targets, begin), ""
        except FloatingPointError as error:
            return None, str(error)


def _settings() -> Iterator[tuple[str, dict[str, Any], Begin]]:
    for name, rule in ADAPTIVE.items():
        for value in rule.values:
            yield name, {rule.symbol: value}, rule.begin(value)


def _network(loss: str | None, seed: int) -> lstm97.Network:
    """Make the network of the task "series" whose weights are set by a rule."""
    return network(
        RULES["SGD"],
        SETTING.lags,
        1,
        cells=SETTING.cells,
        seed=seed,
        forget_gate_bias=SETTING.forget_gate_bias,
        loss=loss,
    )


def of_series(all_series: Iterable[Series], seeds: range) -> Iterator[Record]:
    """Yield the errors of all rules with both losses, in the setting of the task "series"."""
    prepared = [(each, PREPARATIONS[SETTING.preparation](each.values, SETTING.lags)) for each in all_series]
    for task, loss in LOSSES.items():
        for series, data in prepared:
            for name, setting, begin in _settings():
                for seed in seeds:
                    outputs, note = _quietly(_network(loss, seed), data.inputs, data.targets, begin)
                    value = None if outputs is None else forecasting.score(series.values, data.forecasts(outputs))
                    yield Record(task, series.name, name, setting, seed, forecasting.MEASURE, value, note)


def of_a_row(all_series: Iterable[Series], seeds: range) -> Iterator[Record]:
    """Yield the errors of all rules on each series, if one network learns them one after another."""
    prepared = [(each, PREPARATIONS[SETTING.preparation](each.values, SETTING.lags)) for each in all_series]
    inputs, targets = (np.concatenate([getattr(data, part) for _, data in prepared]) for part in ("inputs", "targets"))
    ends = np.cumsum([len(data.targets) for _, data in prepared])
    for name, setting, begin in _settings():
        for seed in seeds:
            outputs, note = _quietly(_network(LOSSES["step sizes, Huber"], seed), inputs, targets, begin)
            for (series, data), end in zip(prepared, ends.tolist(), strict=True):
                value = None
                if outputs is not None:
                    forecasts = data.forecasts(outputs[end - len(data.targets) : end])
                    value = forecasting.score(series.values, forecasts)
                yield Record(ROW, series.name, name, setting, seed, forecasting.MEASURE, value, note)


def of_classes(streams: Iterable[Labelled], seeds: range) -> Iterator[Record]:
    """Yield the accuracies of all rules on streams with two classes, by networks with one logistic output."""
    for stream in streams:
        inputs, targets = classification.standardised(stream.inputs), stream.classes[:, np.newaxis].astype(np.float64)
        for name, setting, begin in _settings():
            for seed in seeds:
                net = network(
                    RULES["SGD"],
                    inputs.shape[1],
                    1,
                    cells=classification.CELLS,
                    seed=seed,
                    output="logistic",
                    loss="cross_entropy",
                )
                outputs, note = _quietly(net, inputs, targets, begin)
                value = None if outputs is None else float(((outputs > 0.5) == (targets > 0.5)).mean())
                yield Record(CLASSES, stream.name, name, setting, seed, classification.MEASURE, value, note)


# ---- tables ----------------------------------------------------------------------------------------------------------


class Scores:
    """Means over seeds by task, rule, value of the rule's free number, and data set."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        found: dict[tuple[str, str, float], dict[str, list[float]]] = {}
        for row in rows:
            if row["task"] in TASKS:
                (number,) = row["setting"].values()
                cells = found.setdefault((row["task"], row["model"], number), {})
                cells.setdefault(row["data"], []).append(np.nan if row["value"] is None else row["value"])
        self._means = {
            key: {data: self._mean(key[0], values) for data, values in cells.items()} for key, cells in found.items()
        }

    @staticmethod
    def _mean(task: str, values: Sequence[float]) -> float:
        return float(np.mean(values) if task == CLASSES else np.exp(np.mean(np.log(values))))

    def by_data(self, task: str, rule: str, number: float) -> dict[str, float]:
        """Return the scores of a rule; empty if the task was not measured."""
        return self._means.get((task, rule, number), {})

    def mean(self, task: str, rule: str, number: float) -> float:
        """Return the mean over data sets; not a number if a run overflowed."""
        return self._mean(task, list(self.by_data(task, rule, number).values()))

    def best(self, task: str, rule: str) -> float:
        """Return the mean over data sets of the best of all values for each."""
        cells = [self.by_data(task, rule, number) for number in ADAPTIVE[rule].values]
        choose = np.nanmax if task == CLASSES else np.nanmin
        return self._mean(task, [float(choose([each[data] for each in cells])) for data in cells[0]])


def _text(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "overflowed"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the tables: each rule at one setting, and at three."""
    scores = Scores(rows)
    tasks = [task for task in TASKS if scores.by_data(task, REFERENCE, ADAPTIVE[REFERENCE].setting)]
    short = dict(zip(TASKS, ("series", "series, Huber", "one after another", "classes"), strict=True))
    rules = {name: rule for name, rule in ADAPTIVE.items() if scores.by_data(tasks[0], name, rule.setting)}
    n_seeds = len({row["seed"] for row in rows if row["task"] in TASKS})
    one = [
        [f"{name}, {rule.symbol} {rule.setting:g}", str(rule.kept)]
        + [_text(scores.mean(task, name, rule.setting)) for task in tasks]
        for name, rule in rules.items()
    ]
    three = [
        [name, f"{rule.symbol} {', '.join(f'{value:g}' for value in rule.values)}"]
        + [
            "; ".join([", ".join(map(_text, means)), _text(scores.best(task, name))])
            for task in tasks
            if (means := [scores.mean(task, name, value) for value in rule.values])
        ]
        for name, rule in rules.items()
    ]
    parts = [
        markdown_table(
            "**step sizes**: each rule at one setting. Series: error relative to the naive forecast's, geometric means "
            f"over seven series and {n_seeds} seeds; with the squared error, with Huber's loss, and with that if one "
            "network learns all series one after another. Classes: accuracy, means over two streams and the seeds.",
            ["", "numbers a weight", *(short[task] for task in tasks)],
            one,
        ),
        markdown_table(
            "**step sizes, three settings**: the means at three values of a rule's free number; then the mean if the "
            "best of the three is chosen for each data set, with hindsight.",
            ["", "", *(short[task] for task in tasks)],
            three,
        ),
    ]
    for task in tasks:
        names = list(scores.by_data(task, REFERENCE, ADAPTIVE[REFERENCE].setting))
        lines = [
            [name, *(_text(scores.by_data(task, name, rule.setting)[data]) for data in names)]
            for name, rule in rules.items()
        ]
        parts.append(markdown_table(f"**{task}**: by data set, at the one setting.", ["", *names], lines))
    return "\n\n".join(parts)
