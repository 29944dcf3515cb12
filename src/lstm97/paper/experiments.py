"""The paper's experiments as data: one record per row of its result tables, and the readings of its text.

Words: *row* is a line of one of the paper's tables; *reading* is one interpretation of the paper's text where
it leaves room. A record states the literal reading; any other is an explicit change to it, listed in
`READINGS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from lstm97 import Stop, Topology


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the paper reports for a row: means over its trials."""

    sequences: int
    """Training sequences until the stop rule held."""
    wrong: int
    """Wrong answers among the test sequences."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One row of the paper's result tables, in one reading.

    Everything a trial needs except its seed. `max_sequences` is ours: the paper names no cap for this table,
    so a trial is given up after three times the paper's mean.
    """

    task: str
    """Name of the generator in `lstm97.paper.tasks`."""
    paper_task: str
    """The paper's number of the task."""
    table: int
    """The paper's number of the result table."""
    lag: int
    """The paper's T, the shortest length of a sequence."""
    topology: Topology
    input_gate_bias: tuple[float, ...] | None
    """Initial bias of each block's input gate; None: drawn like any weight (the paper's r)."""
    output_gate_bias: tuple[float, ...] | None
    """Initial bias of each block's output gate; None: drawn like any weight (the paper's r)."""
    learning_rate: float
    """The paper's alpha."""
    init_range: float
    """Initial weights are uniform in [-init_range, init_range]."""
    update: Literal["step", "sequence"]
    """When weights change: at each error signal, or once per sequence."""
    stop: Stop
    max_sequences: int
    test_sequences: int
    test_tolerance: float
    """A test sequence is wrong when an output is off its target by more than this."""
    trials: int
    """How many trials the paper's means are taken over."""
    paper: Figures | None
    """The paper's figures; None for a lag the paper has no row for."""
    reading: str = "literal"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One interpretation of the paper's text: the settings of a literal record that it changes."""

    name: str
    meaning: str
    topology: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Changed fields of the record's topology."""
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Other changed fields of the record."""

    def apply(self, experiment: Experiment) -> Experiment:
        """Return `experiment` as it is in this reading."""
        return dataclasses.replace(
            experiment,
            reading=self.name,
            topology=dataclasses.replace(experiment.topology, **self.topology),
            **self.settings,
        )


def _adding_row(lag: int, paper: Figures) -> Experiment:
    return Experiment(
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
        max_sequences=3 * paper.sequences,
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
"""The adding problem: 2 blocks of 2 cells, 93 weights, in the literal reading."""

ROWS: Mapping[str, tuple[Experiment, ...]] = MappingProxyType({"adding": TABLE_7})
"""The rows of each task, by the task's name."""

READINGS: Mapping[str, tuple[Reading, ...]] = MappingProxyType(
    {
        "adding": (
            # The slope of a logistic output vanishes near 0 and 1, and with it the error signal of such targets.
            Reading(
                name="linear-output",
                meaning="The output unit is linear.",
                topology=MappingProxyType({"output": "identity"}),
            ),
            Reading(name="literal", meaning="The output unit is logistic, the paper's equation 3."),
        ),
    }
)
"""The readings of each task, by the task's name; the first one is the default."""


def experiment(task: str, lag: int, reading: str | None = None) -> Experiment:
    """Look up an experiment of the paper, or the like of it at another lag.

    Parameters
    ----------
    task : str
        A key of `ROWS`.
    lag : int
        The paper's T. For a lag without a row, the settings are those of the nearest row (the longer lag of
        two equally near), its cap on training sequences included, and `paper` is None.
    reading : str, optional
        Name of one of the task's `READINGS`; by default the first of them.

    Returns
    -------
    Experiment

    Raises
    ------
    ValueError
        If there is no such task or reading.

    Examples
    --------
    >>> from lstm97.paper import experiment
    >>> row = experiment("adding", lag=100)
    >>> row.reading, row.topology.output, row.topology.n_weights, row.paper.sequences
    ('linear-output', 'identity', 93, 74000)
    """
    if task not in ROWS:
        raise ValueError(f"task is {task!r}, expected one of {', '.join(map(repr, ROWS))}")
    readings = {known.name: known for known in READINGS[task]}
    chosen = READINGS[task][0].name if reading is None else reading
    if chosen not in readings:
        raise ValueError(f"reading is {chosen!r}, expected one of {', '.join(map(repr, readings))}")
    row = min(ROWS[task], key=lambda row: (abs(row.lag - lag), -row.lag))
    if row.lag != lag:
        row = dataclasses.replace(row, lag=lag, paper=None)
    return readings[chosen].apply(row)
