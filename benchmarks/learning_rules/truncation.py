"""What truncating the gradient costs: who sees whom in the hidden layer, with equal optimizers on the same tasks.

With ``recurrent=True`` each unit sees all cells, and the online gradient is truncated. With ``recurrent=False``, and
with ``recurrent="self"`` where each unit sees itself only (`lstm97.methods.ElementwiseLSTM`), it is exact.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

import lstm97
from lstm97.demos.text import UNIFORM_SHARE, default_text
from lstm97.methods import ElementwiseLSTM

from ..latency import markdown_table
from ..timing import Workload, take_turns
from . import chorales, delays, forecasting, onepass, packages
from .preparations import PREPARATIONS
from .records import Record
from .rules import RULES, single_cells
from .text import CELLS as TEXT_CELLS

Array = npt.NDArray[np.float64]
Learns = lstm97.Network | ElementwiseLSTM

TASK, TIME = "truncation", "time per step"
CONNECTIONS: dict[str, bool | str] = {
    "all cells, truncated": True,
    "none, exact": False,
    "each unit itself, exact": "self",
}
"""Values of ``Topology(recurrent=...)`` by their names in tables."""
CHOSEN = ("Adam", "RMSprop", "RMSprop, bounded")
XOR_RATE = 0.003
MEASURE = (
    "JapaneseVowels: share of test sequences whose class is right, after a pass with targets at each step, and after a "
    "pass and 20 passes with a target at the last step; text: bits per byte; series: error relative to the naive "
    "forecast's, geometric mean of seven; chorales: nats per quarter note; XOR: sequences until solved"
)
TIMED = "nanoseconds per step of learn_run with Adam and a target at each step"
N_TIMED = 1_000
PASSES = 20


def make(
    connections: str,
    rule: str,
    n_inputs: int,
    n_outputs: int,
    *,
    cells: int,
    seed: int,
    forget_gate_bias: float = 1.0,
    init_range: float = 0.1,
    **options: Any,
) -> Learns:
    """Make a learner of single cells with three gates, whose weights are drawn in the same way for all connections."""
    recurrent = CONNECTIONS[connections]
    topology = single_cells(n_inputs, n_outputs, cells=cells, recurrent=recurrent, **options)
    how: dict[str, Any] = {"seed": seed, "init_range": init_range, "optimizer": RULES[rule].optimizer}
    net = ElementwiseLSTM(topology, **how) if recurrent == "self" else lstm97.Network(topology, **how)
    net.weights["forget_gate"][:, -1] = forget_gate_bias
    return net


@dataclass(frozen=True)
class Case:
    """Connections, rule and seed: what learners on the same task differ in."""

    connections: str
    rule: str
    seed: int

    @property
    def rate(self) -> float:
        """Learning rate of the rule."""
        return RULES[self.rule].learning_rate

    def make(self, n_inputs: int, n_outputs: int, **options: Any) -> Learns:
        """Make the learner of this case."""
        return make(self.connections, self.rule, n_inputs, n_outputs, seed=self.seed, **options)


Score = tuple[float | None, str]


def of_vowels(case: Case, way: str, passes: int) -> Score:
    """Return the accuracy on JapaneseVowels."""
    data = _vowels()
    net = case.make(data.train[0].shape[1], data.n_classes, cells=onepass.CELLS, output="softmax")
    return onepass.accuracy_of(net, data, way, case.rate, case.seed, passes)


@cache
def _vowels() -> packages.Sequences:
    return packages.labelled_sequences()[0]


def of_text(case: Case, n_bytes: int) -> Score:
    """Return bits per byte; the first byte, which nothing predicts, costs 8."""
    data = np.frombuffer(default_text().read_bytes()[:n_bytes], np.uint8).astype(np.int32)
    net = case.make(256, 256, cells=TEXT_CELLS, output="softmax")
    bits = 8.0
    for begin in range(0, len(data) - 1, N_TIMED):
        part = data[begin : begin + N_TIMED + 1]
        Y = net.learn_run(part[:-1], part[1:], case.rate)
        p = Y[np.arange(len(Y)), part[1:]]
        bits -= float(np.log2((1.0 - UNIFORM_SHARE) * p + UNIFORM_SHARE / 256.0).sum())
    return bits / len(data), ""


def of_series(case: Case, series: packages.Series, lags: int) -> Score:
    """Return the error of forecasts from the last differences, relative to that of the last value."""
    prepared = PREPARATIONS["differences"](series.values, lags)
    net = case.make(lags, 1, cells=forecasting.Setting.cells, forget_gate_bias=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of saturated cells: differences of "water" have outliers
        outputs = net.learn_run(prepared.inputs, prepared.targets, case.rate)
    return forecasting.score(series.values, prepared.forecasts(outputs)), ""


def of_chorales(case: Case, n_chorales: int) -> Score:
    """Return the cost of a quarter note."""
    net = case.make(chorales.KEYS, chorales.KEYS, cells=chorales.CELLS, output="logistic", loss=chorales.LOSS)
    return chorales.cost_of(net, _pieces(n_chorales), case.rate)


_pieces = cache(chorales.load)


def of_delays(case: Case, task: delays.Task) -> Score:
    """Return after how many sequences delayed XOR is solved."""
    net = case.make(
        2,
        2,
        cells=delays.CELLS,
        output="softmax",
        forget_gate_bias=delays.FORGET_GATE_BIAS,
        init_range=delays.INIT_RANGE,
    )
    return delays.until_solved(net, task, XOR_RATE, case.seed)


def measure(
    series: Sequence[packages.Series], n_bytes: int, n_chorales: int, tasks: Sequence[delays.Task], seeds: range
) -> Iterator[Record]:
    """Yield records of all tasks, connections and rules, then times."""
    each, last = onepass.WAYS
    columns = {
        "JapaneseVowels, each step": partial(of_vowels, way=each, passes=1),
        "JapaneseVowels, last step": partial(of_vowels, way=last, passes=1),
        f"JapaneseVowels, {PASSES} passes": partial(of_vowels, way=last, passes=PASSES),
        "text": partial(of_text, n_bytes=n_bytes),
        **{
            f"{s.name}, {lags} lag{'s' * (lags > 1)}": partial(of_series, series=s, lags=lags)
            for lags in (24, 1)
            for s in series
        },
        "chorales": partial(of_chorales, n_chorales=n_chorales),
        **{f"XOR, T={task.n_steps}": partial(of_delays, task=task) for task in tasks},
    }
    for data, score in columns.items():
        for connections in CONNECTIONS:
            for rule in CHOSEN:
                rate = XOR_RATE if data.startswith("XOR") else RULES[rule].learning_rate
                for seed in seeds:
                    try:
                        value, note = score(Case(connections, rule, seed))
                    except FloatingPointError as error:
                        value, note = None, str(error)
                    setting = {"rule": rule, "rate": rate}
                    yield Record(TASK, data, connections, setting, seed, MEASURE, value, note)
    yield from times(0.1, 9)


def times(seconds: float, repeats: int) -> Iterator[Record]:
    """Yield the times of a step, measured in turns, on noise in the sizes of the tasks."""
    rng = np.random.default_rng(0)
    symbols = np.append(rng.integers(0, 256, N_TIMED), 255).astype(np.int32)
    pairs: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any], int, dict[str, Any]]] = {
        "24 inputs, 16 cells, 1 output": (rng.normal(size=(N_TIMED, 24)), rng.normal(size=(N_TIMED, 1)), 16, {}),
        "12 inputs, 16 cells, 9 classes": (
            rng.normal(size=(N_TIMED, 12)),
            rng.integers(0, 9, N_TIMED),
            16,
            {"output": "softmax"},
        ),
        "256 symbols, 32 cells, 256 classes": (symbols[:-1], symbols[1:], 32, {"output": "softmax"}),
        "88 inputs, 32 cells, 88 outputs": (
            (rng.random((N_TIMED, 88)) < 0.05).astype(np.float64),
            (rng.random((N_TIMED, 88)) < 0.05).astype(np.float64),
            32,
            {"output": "logistic", "loss": "cross_entropy"},
        ),
    }
    for name, (inputs, targets, cells, options) in pairs.items():
        n_inputs = 256 if inputs.ndim == 1 else inputs.shape[1]
        n_outputs = int(targets.max()) + 1 if targets.ndim == 1 else targets.shape[1]
        nets = [make(each, "Adam", n_inputs, n_outputs, cells=cells, seed=1, **options) for each in CONNECTIONS]
        ways = [
            Workload(each, partial(_run, net, inputs, targets), N_TIMED)
            for each, net in zip(CONNECTIONS, nets, strict=True)
        ]
        medians = np.median(take_turns(ways, repeats=repeats, seconds=seconds), axis=0).tolist()
        for each, net, value in zip(CONNECTIONS, nets, medians, strict=True):
            yield Record(TIME, name, each, {"weights": net.topology.n_weights}, None, TIMED, value)


def _run(net: Learns, inputs: npt.NDArray[Any], targets: npt.NDArray[Any], n_items: int) -> None:
    for _ in range(n_items):
        net.learn_run(inputs, targets, 1e-6)


# ---- tables ----------------------------------------------------------------------------------------------------------


def _column(data: str) -> str:
    """Name the column of a data set: all series with as many lags have one."""
    rest = data.partition(", ")[2]
    return f"series, {rest}" if rest.endswith(("lag", "lags")) else data


def _cell(column: str, rows: Sequence[dict[str, Any]]) -> str:
    values = [row["value"] for row in rows if row["value"] is not None]
    lost = len(rows) - len(values)
    if column.startswith("XOR"):
        text = f"{np.mean(values):,.0f}" if values else ""
        word = "not solved"
    else:
        mean = np.exp(np.mean(np.log(values))) if column.startswith("series") else np.mean(values or [np.nan])
        text, word = f"{mean:.3f}", "overflowed"
    return "; ".join(filter(None, [text, f"{lost} of {len(rows)} {word}" if lost else ""]))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of the tasks and that of the times."""
    chosen = [row for row in rows if row["task"] == TASK]
    columns = list(dict.fromkeys(_column(row["data"]) for row in chosen))
    rules = list(dict.fromkeys((row["setting"]["rule"], row["model"]) for row in chosen))
    lines = []
    for rule, model in sorted(rules, key=lambda pair: CHOSEN.index(pair[0])):
        of_line = [row for row in chosen if row["model"] == model and row["setting"]["rule"] == rule]
        cells = [_cell(name, [row for row in of_line if _column(row["data"]) == name]) for name in columns]
        lines.append([rule, model, *cells])
    n_seeds = len({row["seed"] for row in chosen})
    parts = [
        markdown_table(
            f"**{TASK}**: {MEASURE}. Means over {n_seeds} seeds.", ["", "recurrent connections", *columns], lines
        )
    ]
    timed = [row for row in rows if row["task"] == TIME]
    names = list(dict.fromkeys(row["data"] for row in timed))
    first = {row["data"]: row["value"] for row in reversed(timed) if row["model"] == next(iter(CONNECTIONS))}
    lines = [
        [
            model,
            *(
                f"{row['value']:,.0f} ({row['value'] / first[row['data']]:.2f}), {row['setting']['weights']:,} weights"
                for row in timed
                if row["model"] == model
            ),
        ]
        for model in dict.fromkeys(row["model"] for row in timed)
    ]
    parts.append(
        markdown_table(f"**{TIME}**: {TIMED}, measured in turns; in brackets by the first row's.", ["", *names], lines)
    )
    return "\n\n".join(parts)
