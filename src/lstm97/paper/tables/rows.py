"""Every row of the paper's result tables 1 to 9 that reports an LSTM, in the literal reading of its text.

Where the paper names no cap for a trial that does not succeed, ours is three times the row's mean; more for task 1 and
the shorter lags of task 2c, whose literal reading is slower than that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from lstm97.history import Stop
from lstm97.paper.tables.experiments import Experiment, Figures, Growth, Stage, StopByTests
from lstm97.topology import Topology


def _ten_thousand_right(tolerance: float) -> Stop:
    """A stop rule: 10,000 right sequences in a row, whatever their mean error."""
    return Stop(window=10_000, tolerance=tolerance, mean_error=math.inf, max_wrong=0)


def _thrice(paper: Figures) -> int:
    """A cap of three times the paper's mean."""
    assert paper.sequences is not None
    return 3 * paper.sequences


def _reber_row(number: int, size: int, rate: float, solved: float, sequences: int) -> Experiment:
    blocks = (1,) * 4 if size == 1 else (size,) * 3
    return Experiment(
        row=f"1-{number}",
        task="embedded-reber",
        paper_task="1",
        table=1,
        lag=8,
        topology=Topology(7, 7, blocks=blocks, bias="gates"),
        input_gate_bias=None,
        output_gate_bias=tuple(-float(j + 1) for j in range(len(blocks))),
        learning_rate=rate,
        init_range=0.2,
        update="step",
        stop=StopByTests(every=100, n_sequences=256, tolerance=math.inf, stages=(Stage(name="solved", max_wrong=0),)),
        max_sequences=200_000,
        test_sequences=0,
        test_tolerance=math.inf,
        trials=30,
        paper=Figures(solved=solved, sequences=sequences),
    )


TABLE_1 = (
    _reber_row(1, 1, 0.1, 1.0, 39_740),
    _reber_row(2, 2, 0.1, 1.0, 21_730),
    _reber_row(3, 2, 0.2, 0.97, 14_060),
    _reber_row(4, 1, 0.5, 0.97, 9_500),
    _reber_row(5, 2, 0.5, 1.0, 8_440),
)
"""The embedded Reber grammar: 4 blocks of 1 cell (264 weights) or 3 of 2 (276)."""


def _long_lag_row(task: str, paper_task: str, stop: Stop | StopByTests, sequences: int) -> Experiment:
    return Experiment(
        row=paper_task,
        task=task,
        paper_task=paper_task,
        table=2 if paper_task == "2a" else 0,
        lag=100,
        topology=Topology(
            101,
            101,
            blocks=(1,),
            output_gates=False,
            recurrent=False,
            input_to_output=True,
            bias="none",
            input_squash="logistic",
            output_squash="identity",
        ),
        input_gate_bias=None,
        output_gate_bias=None,
        learning_rate=1.0,
        init_range=0.2,
        update="step",
        growth=Growth(window=100, fall=0.05),
        stop=stop,
        count_window=False,
        max_sequences=5_000_000,
        test_sequences=0,
        test_tolerance=0.25,
        trials=18,
        paper=Figures(solved=1.0, sequences=sequences),
    )


TABLE_2 = (
    _long_lag_row("long-lag", "2a", _ten_thousand_right(0.25), 5_040),
    _long_lag_row(
        "long-lag-random",
        "2b",
        StopByTests(
            every=100,
            n_sequences=10_000,
            tolerance=0.25,
            stages=(Stage(name="solved", max_wrong=0),),
            last_step=True,
        ),
        5_680,
    ),
)
"""Noise-free sequences with long time lags, and with a random middle: one cell and its input gate, 10504 weights."""


def _distractors_row(q: int, p: int, sequences: int) -> Experiment:
    return Experiment(
        row=f"2c-{q}-{p}",
        task="distractors",
        paper_task="2c",
        table=3,
        lag=q,
        parameters={"n_distractors": p},
        topology=Topology(p + 4, 2, blocks=(1, 1), bias="none"),
        input_gate_bias=None,
        output_gate_bias=None,
        learning_rate=0.01,
        init_range=0.2,
        update="step",
        stop=_ten_thousand_right(0.2),
        count_window=False,
        max_sequences=(10 if q < 1000 else 3) * sequences,
        test_sequences=0,
        test_tolerance=0.2,
        trials=20,
        paper=Figures(sequences=sequences),
    )


TABLE_3 = (
    _distractors_row(50, 50, 30_000),
    _distractors_row(100, 100, 31_000),
    _distractors_row(200, 200, 33_000),
    _distractors_row(500, 500, 38_000),
    _distractors_row(1000, 1000, 49_000),
    _distractors_row(1000, 500, 49_000),
    _distractors_row(1000, 200, 75_000),
    _distractors_row(1000, 100, 135_000),
    _distractors_row(1000, 50, 203_000),
)
"""Very long time lags without local regularities: 2 blocks of 1 cell, 364 to 6064 weights."""


# For each variant of task 3: task, alpha, the error at which a test sequence is wrong, and what a test must reach.
_TWO_SEQUENCES = {
    "a": (
        "two-sequences",
        1.0,
        0.2,
        (Stage(name="ST1", max_wrong=0), Stage(name="ST2", max_wrong=0, mean_error=0.01)),
    ),
    "b": (
        "two-sequences-noisy",
        1.0,
        0.2,
        (Stage(name="ST1", max_wrong=5), Stage(name="ST2", max_wrong=5, mean_error=0.04)),
    ),
    "c": ("two-sequences-noisy-targets", 0.1, 0.1, (Stage(name="solved", max_wrong=0, mean_error=0.015),)),
}


def _two_sequences_row(variant: str, table: int, lag: int, n_informative: int, paper: Figures) -> Experiment:
    task, rate, tolerance, stages = _TWO_SEQUENCES[variant]
    return Experiment(
        row=f"3{variant}-{lag}-{n_informative}",
        task=task,
        paper_task=f"3{variant}",
        table=table,
        lag=lag,
        parameters={"n_informative": n_informative, "variant": variant},
        topology=Topology(1, 1, blocks=(1, 1, 1), bias="hidden"),
        input_gate_bias=(-1.0, -3.0, -5.0),
        output_gate_bias=(-2.0, -4.0, -6.0),
        learning_rate=rate,
        init_range=0.1,
        update="step",
        stop=StopByTests(every=1000, n_sequences=256, tolerance=tolerance, stages=stages),
        max_sequences=_thrice(paper),
        test_sequences=2560,
        test_tolerance=tolerance,
        trials=10,
        paper=paper,
    )


TABLE_4 = (
    _two_sequences_row("a", 4, 100, 3, Figures(first_stage=27_380, sequences=39_850, wrong_share=0.000195)),
    _two_sequences_row("a", 4, 100, 1, Figures(first_stage=58_370, sequences=64_330, wrong_share=0.000117)),
    _two_sequences_row("a", 4, 1000, 3, Figures(first_stage=446_850, sequences=452_460, wrong_share=0.000078)),
)
"""The two-sequence problem, noise and signal on one line: 3 blocks of 1 cell, 102 weights."""

TABLE_5 = (
    _two_sequences_row("b", 5, 100, 3, Figures(first_stage=41_740, sequences=43_250, wrong_share=0.00828)),
    _two_sequences_row("b", 5, 100, 1, Figures(first_stage=74_950, sequences=78_430, wrong_share=0.01500)),
    _two_sequences_row("b", 5, 1000, 1, Figures(first_stage=481_060, sequences=485_080, wrong_share=0.01207)),
)
"""The two-sequence problem with noise on the informative elements."""

TABLE_6 = (
    _two_sequences_row("c", 6, 100, 3, Figures(sequences=269_650, wrong_share=0.00558, test_error=0.014)),
    _two_sequences_row("c", 6, 100, 1, Figures(sequences=565_640, wrong_share=0.00441, test_error=0.012)),
)
"""The two-sequence problem with noise on the targets; judged by the targets without their noise."""


def _adding_row(lag: int, paper: Figures) -> Experiment:
    return Experiment(
        row=f"4-{lag}",
        task="adding",
        paper_task="4",
        table=7,
        lag=lag,
        topology=Topology(2, 1, blocks=(2, 2), bias="all"),
        input_gate_bias=(-3.0, -6.0),
        output_gate_bias=None,
        learning_rate=0.5,
        init_range=0.1,
        update="step",
        stop=Stop(window=2000, tolerance=0.04, mean_error=0.01, max_wrong=0),
        max_sequences=_thrice(paper),
        test_sequences=2560,
        test_tolerance=0.04,
        trials=10,
        paper=paper,
    )


TABLE_7 = (
    _adding_row(100, Figures(sequences=74_000, wrong=1)),
    _adding_row(500, Figures(sequences=209_000, wrong=0)),
    _adding_row(1000, Figures(sequences=853_000, wrong=1)),
)
"""The adding problem: 2 blocks of 2 cells, 93 weights."""


def _multiplication_row(n_seq: int, paper: Figures) -> Experiment:
    return Experiment(
        row=f"5-{n_seq}",
        task="multiplication",
        paper_task="5",
        table=8,
        lag=100,
        topology=Topology(2, 1, blocks=(2, 2), bias="all"),
        input_gate_bias=None,
        output_gate_bias=None,
        learning_rate=0.1,
        init_range=0.1,
        update="step",
        stop=Stop(window=2000, tolerance=0.04, mean_error=math.inf, max_wrong=n_seq - 1),
        max_sequences=_thrice(paper),
        test_sequences=2560,
        test_tolerance=0.04,
        trials=10,
        paper=paper,
    )


TABLE_8 = (
    _multiplication_row(140, Figures(sequences=482_000, wrong=139, test_error=0.0223)),
    _multiplication_row(13, Figures(sequences=1_273_000, wrong=14, test_error=0.0139)),
)
"""The multiplication problem, with two stop rules. The paper calls its errors squared; they fit absolute ones only."""


def _temporal_order_row(n_relevant: int, input_gate_bias: tuple[float, ...], rate: float, paper: Figures) -> Experiment:
    paper_task = {2: "6a", 3: "6b"}[n_relevant]
    return Experiment(
        row=paper_task,
        task=f"temporal-order-{n_relevant}",
        paper_task=paper_task,
        table=9,
        lag=100,
        parameters={"n_relevant": n_relevant},
        topology=Topology(8, 2**n_relevant, blocks=(2,) * n_relevant, bias="all"),
        input_gate_bias=input_gate_bias,
        output_gate_bias=None,
        learning_rate=rate,
        init_range=0.1,
        update="step",
        stop=Stop(window=2000, tolerance=0.3, mean_error=0.1, max_wrong=0),
        max_sequences=_thrice(paper),
        test_sequences=2560,
        test_tolerance=0.3,
        trials={2: 20, 3: 10}[n_relevant],
        paper=paper,
    )


TABLE_9 = (
    _temporal_order_row(2, (-2.0, -4.0), 0.5, Figures(sequences=31_390, wrong=1)),
    _temporal_order_row(3, (-2.0, -4.0, -6.0), 0.1, Figures(sequences=571_100, wrong=2)),
)
"""Temporal order: 2 relevant symbols with 156 weights, 3 with 308."""

TABLES = (TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6, TABLE_7, TABLE_8, TABLE_9)
"""All rows, in the paper's order. Task 2b is reported in the text beside table 2."""


def _by_task() -> Mapping[str, tuple[Experiment, ...]]:
    found: dict[str, tuple[Experiment, ...]] = {}
    for row in (row for table in TABLES for row in table):
        found[row.task] = (*found.get(row.task, ()), row)
    return MappingProxyType(found)


ROWS: Mapping[str, tuple[Experiment, ...]] = _by_task()
"""The rows of each task, by the task's name."""
