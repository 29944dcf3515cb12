"""What an experiment of the paper is: the record that states one row of a result table, and what it is made of.

Words: a *row* is a line of one of the paper's tables; a *reading* is one interpretation of the paper's text where it
leaves room. `lstm97.paper.tables.rows` has the rows, in the literal reading; `lstm97.paper.tables.readings` has the
other readings, which are explicit changes to rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lstm97.history import Stop
from lstm97.methods import CascadeTopology, ChunkerTopology, RecurrentTopology
from lstm97.topology import Topology

Method = Literal["lstm", "rtrl", "bptt", "elman", "rcc", "chunker"]
LSTM: Method = "lstm"

LITERAL = "literal"
"""The name of the reading that follows the paper's text to the letter."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the paper reports for a row: means over its trials. None: not reported."""

    sequences: int | None = None
    """Training sequences until the (last) stop rule held."""
    solved: float | None = None
    """Share of the trials that were solved."""
    first_stage: int | None = None
    """Training sequences until the first of two stop rules held (ST1)."""
    wrong: int | None = None
    """Wrong answers among the test sequences."""
    wrong_share: float | None = None
    """Share of wrong answers among the test sequences."""
    test_error: float | None = None
    """Mean absolute error of the test."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stop rule that is judged by a test: how good it must be."""

    name: str
    max_wrong: int
    """Number of wrong sequences allowed."""
    mean_error: float = math.inf
    """The test's mean absolute error must be below this."""


@dataclass(frozen=True, kw_only=True)
class StopByTests:
    """Training stops by tests made between training sequences, without learning from them."""

    every: int
    """Training sequences from one test to the next."""
    n_sequences: int
    """Fresh sequences of a test; for the embedded Reber grammar the strings of each of its two sets."""
    tolerance: float
    """A sequence is wrong when an output is off its target by more than this; of no meaning for the grammar."""
    stages: tuple[Stage, ...]
    """What must be reached, in this order; training ends with the last."""
    squared: bool = False
    """The mean error is that of squared errors."""
    last_step: bool = False
    """Judge the last step only, where there are targets at every step."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Sequential construction: the network begins without its last blocks and gets one when the error stops falling.

    The error has stopped falling when its mean over the latest `window` training sequences is not below ``1 - fall``
    times its mean over the `window` before. It is judged every `window` sequences, beginning anew with each block.
    """

    window: int
    fall: float
    n_blocks: int = 1
    """How many of the topology's blocks are added one by one."""
    outgoing_range: float | None = None
    """Initial range of the weights that lead from a new block to the units there were; None: that of all weights."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One row of the paper's result tables, in one reading: everything a trial needs except its seed."""

    row: str
    """Its name here: the paper's number of the task, then what differs between the rows of that task."""
    task: str
    """Name of the task in `lstm97.paper.tables.rows.ROWS`."""
    paper_task: str
    """The paper's number of the task."""
    table: int
    """The paper's number of the result table; 0 where the result is in the text only."""
    lag: int
    """The paper's T (p of tasks 2a and 2b, q of 2c): the shortest length of a sequence or its shortest time lag."""
    parameters: Mapping[str, int | str] = field(default_factory=dict)
    """What else the task's generator in `lstm97.paper.tasks` is given."""
    method: Method = LSTM
    """What learns."""
    topology: Topology | RecurrentTopology | CascadeTopology | ChunkerTopology
    """A `Topology` where that is LSTM; of recurrent cascade correlation what it begins with."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What else the learner of another method is made with."""
    training_set: int | None = None
    """Number of sequences drawn once and presented as a whole, over and over; None: each portion is drawn anew."""
    input_gate_bias: tuple[float, ...] | None
    """Initial bias of each block's input gate; None: drawn like any weight (the paper's r), or no bias at all."""
    output_gate_bias: tuple[float, ...] | None
    """Initial bias of each block's output gate; None: drawn like any weight (the paper's r), or no bias at all."""
    learning_rate: float
    """The paper's alpha."""
    init_range: float
    """Initial weights are uniform in [-init_range, init_range]."""
    update: Literal["step", "sequence", "set"]
    """When weights change: at each error signal, once per sequence, or once per pass through the training set."""
    growth: Growth | None = None
    """Sequential construction, where the paper uses it."""
    stop: Stop | StopByTests
    """When a trial is solved: judged by the training sequences, or by tests between them."""
    count_window: bool = True
    """Whether the sequences of the stop rule's window, all of them right, count as training sequences."""
    max_sequences: int
    """A trial is given up after this many training sequences."""
    test_sequences: int
    """Fresh sequences of the test after training; 0: the paper makes none."""
    test_tolerance: float
    """A test sequence is wrong when an output is off its target by more than this."""
    trials: int
    """How many trials the paper's means are taken over."""
    paper: Figures | None
    """The paper's figures; None where the paper has no such row."""
    reading: str = LITERAL


def lstm_topology(experiment: Experiment) -> Topology:
    """Return the topology of an experiment whose method is LSTM."""
    assert isinstance(experiment.topology, Topology)
    return experiment.topology


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One interpretation of the paper's text: the settings of a literal record that it changes."""

    name: str
    meaning: str
    topology: Mapping[str, Any] = field(default_factory=dict)
    """Changed fields of the record's topology."""
    parameters: Mapping[str, int | str] = field(default_factory=dict)
    """Changed parameters of the task."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Other changed fields of the record."""
    rate_factor: float = 1.0
    """What the learning rate is multiplied with."""
    tests_every: int | None = None
    """How many training sequences lie between tests, where the stop rule is judged by tests."""
    squared_errors: bool = False
    """The mean error of these tests is one of squared errors."""

    def apply(self, experiment: Experiment) -> Experiment:
        """Return a literal `experiment` as it is in this reading.

        Raises
        ------
        ValueError
            If the experiment is in another reading already, or makes no tests whose distance could be changed.
        """
        if experiment.reading != LITERAL:
            raise ValueError(f"experiment is in the reading {experiment.reading!r}, expected {LITERAL!r}")
        stop = experiment.stop
        if self.tests_every is not None:
            if not isinstance(stop, StopByTests):
                raise ValueError(
                    f"reading {self.name!r} changes how often tests are made, but row {experiment.row} has none"
                )
            stop = dataclasses.replace(stop, every=self.tests_every)
        if self.squared_errors:
            if not isinstance(stop, StopByTests):
                raise ValueError(
                    f"reading {self.name!r} squares the errors of tests, but row {experiment.row} has none"
                )
            stop = dataclasses.replace(stop, squared=True)
        return dataclasses.replace(
            experiment,
            reading=self.name,
            topology=dataclasses.replace(lstm_topology(experiment), **{"loss": None, **self.topology}),
            parameters={**experiment.parameters, **self.parameters},
            **{"learning_rate": experiment.learning_rate * self.rate_factor, "stop": stop, **self.settings},
        )
