"""The methods that the paper compares LSTM with: their rows of tables 1 and 2, and `with_method` for all other tasks.

Nets and settings are the paper's where it states them: tables 1 and 2, the nets of tasks 2a and 2b. Constants of this
module have what the paper leaves open, the same for all other tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal

from lstm97.methods import CascadeTopology, ChunkerTopology, RecurrentTopology, Squash
from lstm97.paper.tables.experiments import (
    LITERAL,
    LSTM,
    Experiment,
    Figures,
    Method,
    Stage,
    StopByTests,
    lstm_topology,
)
from lstm97.paper.tables.rows import ROWS

METHODS: tuple[Method, ...] = ("rtrl", "bptt", "elman", "rcc", "chunker")
"""The methods beside LSTM, in the order of the tables."""

HIDDEN_UNITS = 10
"""Hidden units of a net where the paper names none; it then has about as many weights as the LSTM, or more."""

LEARNING_RATE = 0.1
"""The learning rate on tasks for which the paper names none."""

SET_SIZE = 1000
"""Sequences of the fixed set that recurrent cascade correlation learns from, where the task has no set of its own."""

REBER_SET = 256
"""Strings of the fixed set that task 1 has."""

PASSES_BETWEEN_TESTS = 10
"""Passes of recurrent cascade correlation through its set from one test to the next."""

MOST_UNITS = 15
"""Units that recurrent cascade correlation may install."""

LONG_CAP = 200_000
"""A trial of task 2a with 100 symbols is given up after this many sequences.

That is six times what the paper's chunker needs, and 40 times what its LSTM needs. The paper gives up after 5 million
sequences, which would take about a day of a core.
"""

SHORT_CAP = 100_000
"""A trial of a row in `FAILING_ROWS` is given up after this many sequences, more than the paper's LSTM needs."""

FAILING_TRIALS = 5
"""Trials of each row in `FAILING_ROWS`."""

BIASED = "biased"
WHOLE_STATE, FOUR_UNITS = "whole-state", "four-units"

COMPARISON_READINGS: Mapping[str, str] = MappingProxyType(
    {
        LITERAL: "As the paper states the net, its weights and its learning rate.",
        BIASED: "All units have biases.",
        WHOLE_STATE: "The automatizer predicts all units of the net above it, as the chunker's own papers have it.",
        FOUR_UNITS: "As whole-state; both nets have four hidden units, initial weights are in [-1, 1].",
    }
)
"""What the readings of these rows mean."""

_GRAMMAR = "embedded-reber"
_ONE_UNIT = ("long-lag", "long-lag-random")  # one self-recurrent hidden unit, no biases
_LINEAR = ("adding", "multiplication")  # LSTM needs linear outputs on these tasks too


_UPDATES: Mapping[Method, Literal["sequence", "set"]] = MappingProxyType({"bptt": "sequence", "rcc": "set"})


def with_method(row: Experiment, method: str) -> Experiment:
    """Return a row of the paper's LSTM, learned by another method.

    Parameters
    ----------
    row : Experiment
        In the literal reading.
    method : str
        One of `METHODS`, or "lstm", which gives the row back.

    Returns
    -------
    Experiment
        With the net and settings that this module has for the task; the cap is the row's. `paper` is None.

    Raises
    ------
    ValueError
        If there is no such method.

    Notes
    -----
    BPTT goes back through the whole sequence and changes weights at its end; recurrent cascade correlation after each
    pass over its training set; the others at every step.
    """
    if method == LSTM:
        return row
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(map(repr, (LSTM, *METHODS)))}")
    chosen: Method = method
    experiment = replace(
        row,
        row=f"{row.row}-{method}",
        method=chosen,
        topology=_net(row, chosen),
        input_gate_bias=None,
        output_gate_bias=None,
        growth=None,
        update=_UPDATES.get(chosen, "step"),
        learning_rate=row.learning_rate if row.task in _ONE_UNIT else LEARNING_RATE,
        paper=None,
    )
    return _on_a_set(experiment) if method == "rcc" else experiment


def _net(row: Experiment, method: Method) -> RecurrentTopology | ChunkerTopology | CascadeTopology:
    n_inputs, n_outputs = row.topology.n_inputs, row.topology.n_outputs
    one_unit, grammar = row.task in _ONE_UNIT, row.task == _GRAMMAR
    output: Squash = "identity" if row.task in _LINEAR else "logistic"
    if method == "rcc":
        return CascadeTopology(n_inputs=n_inputs, n_outputs=n_outputs)
    if method == "chunker":
        return ChunkerTopology(
            n_inputs=n_inputs,
            n_outputs=n_outputs,
            n_hidden=1 if one_unit else HIDDEN_UNITS,
            next_inputs=one_unit or grammar,
            time=not one_unit,
            imitated="hidden" if one_unit else "state",
            bias=not one_unit,
            output=output,
        )
    if grammar and method != "elman":
        return RecurrentTopology(n_inputs=n_inputs, n_outputs=n_outputs, n_hidden=12, fully_recurrent=True)
    return RecurrentTopology(
        n_inputs=n_inputs,
        n_outputs=n_outputs,
        n_hidden=1 if one_unit else 15 if grammar else HIDDEN_UNITS,
        input_to_output=one_unit,
        bias=not (one_unit or grammar),
        output=output,
    )


def _on_a_set(experiment: Experiment) -> Experiment:
    """An experiment with a fixed training set, presented as a whole.

    A stop rule on the errors of the latest training sequences becomes a test on the same number of fresh sequences,
    because a set can be learned by heart.
    """
    size = REBER_SET if experiment.task == _GRAMMAR else SET_SIZE
    stop, every = experiment.stop, PASSES_BETWEEN_TESTS * size
    if isinstance(stop, StopByTests):
        stop = replace(stop, every=every)
    else:
        stage = Stage(name="solved", max_wrong=stop.max_wrong, mean_error=stop.mean_error)
        stop = StopByTests(every=every, n_sequences=stop.window, tolerance=stop.tolerance, stages=(stage,))
    settings = {"max_units": MOST_UNITS, "output": "identity" if experiment.task in _LINEAR else "logistic"}
    return replace(experiment, stop=stop, training_set=size, settings=settings, learning_rate=0.35, init_range=1.0)


def _with_net(row: Experiment, reading: str | None = None, **changed: Any) -> Experiment:
    """A row whose net has other settings; if `reading` names one, it is another reading of the row."""
    topology = replace(row.topology, **changed)
    return replace(row, topology=topology, reading=reading or row.reading)


def _stated(
    row: Experiment,
    name: str,
    paper: Figures,
    *,
    trials: int,
    max_sequences: int,
    n_hidden: int | None = None,
    learning_rate: float | None = None,
) -> Experiment:
    """A row as the paper states it, where that is not what `with_method` gives."""
    if n_hidden is not None:
        row = _with_net(row, n_hidden=n_hidden)
    rate = row.learning_rate if learning_rate is None else learning_rate
    return replace(row, row=name, learning_rate=rate, paper=paper, trials=trials, max_sequences=max_sequences)


def _grammar_row(
    method: Method, name: str, n_hidden: int | None, rate: float | None, paper: Figures, cap: int
) -> Experiment:
    row = with_method(ROWS[_GRAMMAR][0], method)
    return _stated(row, name, paper, trials=30, max_sequences=cap, n_hidden=n_hidden, learning_rate=rate)


def _long_lag_row(p: int, method: Method, rate: float, paper: Figures, cap: int) -> Experiment:
    (row,) = ROWS["long-lag"]
    topology = replace(lstm_topology(row), n_inputs=p + 1, n_outputs=p + 1)
    row = with_method(replace(row, lag=p, topology=topology), method)
    return _stated(row, f"2a-{p}-{method}-{rate:g}", paper, trials=18, max_sequences=cap, learning_rate=rate)


_NEVER = Figures(solved=0.0)

GRAMMAR_ROWS = (
    _grammar_row("rtrl", "1-rtrl-3", 3, 0.05, Figures(sequences=173_000), 519_000),
    _grammar_row("rtrl", "1-rtrl-12", 12, 0.1, Figures(sequences=25_000), 100_000),
    _grammar_row("elman", "1-elman-15", 15, None, _NEVER, 200_000),
    _grammar_row("rcc", "1-rcc", None, None, Figures(solved=0.5, sequences=182_000), 546_000),
)
"""Table 1: the embedded Reber grammar. Of RTRL the paper says that some fraction of the trials succeeded.

Caps are three times the paper's mean (four times with 12 units), and where it says that more would be needed, that.
"""

_CHUNKER = _long_lag_row(100, "chunker", 1.0, Figures(solved=0.33, sequences=32_400), LONG_CAP)


_SHORT_LAG_ROWS = (
    _long_lag_row(4, "rtrl", 1.0, Figures(solved=0.78, sequences=1_043_000), 5_000_000),
    _long_lag_row(4, "rtrl", 4.0, Figures(solved=0.56, sequences=892_000), 5_000_000),
    _long_lag_row(4, "rtrl", 10.0, Figures(solved=0.22, sequences=254_000), 5_000_000),
    *(_long_lag_row(10, "rtrl", rate, _NEVER, 5_000_000) for rate in (1.0, 4.0, 10.0)),
)

LONG_LAG_ROWS = (
    *(reading for row in _SHORT_LAG_ROWS for reading in (row, _with_net(row, BIASED, bias=True))),
    *(_long_lag_row(100, "rtrl", rate, _NEVER, LONG_CAP) for rate in (1.0, 4.0, 10.0)),
    *(_long_lag_row(100, "bptt", rate, _NEVER, LONG_CAP) for rate in (1.0, 4.0, 10.0)),
    _CHUNKER,
    _with_net(_CHUNKER, WHOLE_STATE, imitated="state"),
    replace(_with_net(_CHUNKER, FOUR_UNITS, imitated="state", n_hidden=4), init_range=1.0),
)
"""Table 2: noise-free sequences with long time lags, p = 4, 10 and 100, and alpha where the paper has 1 to 10."""

FAILING_ROWS = tuple(
    _stated(
        replace(with_method(row, method), table=0),
        f"{row.row}-{method}",
        _NEVER,
        trials=FAILING_TRIALS,
        max_sequences=SHORT_CAP,
    )
    for row in (ROWS["long-lag-random"][0], ROWS["two-sequences"][0], ROWS["adding"][0])
    for method in METHODS
)
"""Task 2b, where the paper says that all other methods fail, and the first rows of 3a and 4."""

COMPARISONS = (*GRAMMAR_ROWS, *LONG_LAG_ROWS, *FAILING_ROWS)
"""All rows of the other methods, in the paper's order."""


def learned_by(row: Experiment, method: str) -> Experiment:
    """Return the row of `COMPARISONS` for a row of LSTM and another method, if there is one, or else `with_method`.

    Raises
    ------
    ValueError
        If there is no such method.
    """
    made = with_method(row, method)
    for stated in COMPARISONS:
        same = {name: getattr(stated, name) for name in ("row", "table", "trials", "max_sequences", "paper")}
        if replace(made, **same) == stated:
            return stated
    return made


def counted_weights(row: Experiment) -> int | None:
    """Return the number of a row's weights as the paper counts them: of the chunker those of its lower net.

    None for a net that grows.
    """
    match row.topology:
        case CascadeTopology():
            return None
        case ChunkerTopology() as nets:
            return nets.automatizer.n_weights
        case net:
            return net.n_weights
