"""The experiments of the 1997 paper: tables as data, tasks, trials, a report; and the text of `lstm97.demos`."""

from __future__ import annotations

from lstm97.demos.text import ByteModel, TextRecord, TextSettings, default_text, learn_text
from lstm97.paper.tables.comparisons import (
    COMPARISON_READINGS,
    COMPARISONS,
    METHODS,
    counted_weights,
    learned_by,
    with_method,
)
from lstm97.paper.tables.experiments import LITERAL, LSTM, Experiment, Figures, Growth, Reading, Stage, StopByTests
from lstm97.paper.tables.readings import CLOSEST, READINGS, experiment, reading_of, select_rows
from lstm97.paper.tables.rows import ROWS
from lstm97.paper.tasks import (
    Grammar,
    adding,
    distractors,
    embedded_reber,
    embedded_reber_sets,
    long_lag,
    multiplication,
    temporal_order,
    two_sequences,
)
from lstm97.paper.trials.records import Key, Records, describe_run, read_records
from lstm97.paper.trials.reproduction import QUICK_TRIALS, PlannedTrial, is_quick, plan, quick, reproduce
from lstm97.paper.trials.runner import Progress, Trial, initial_network, run_trial
from lstm97.paper.trials.summary import Summary, summaries, summarise

__all__ = [
    "CLOSEST",
    "COMPARISONS",
    "COMPARISON_READINGS",
    "LITERAL",
    "LSTM",
    "METHODS",
    "QUICK_TRIALS",
    "READINGS",
    "ROWS",
    "ByteModel",
    "Experiment",
    "Figures",
    "Grammar",
    "Growth",
    "Key",
    "PlannedTrial",
    "Progress",
    "Reading",
    "Records",
    "Stage",
    "StopByTests",
    "Summary",
    "TextRecord",
    "TextSettings",
    "Trial",
    "adding",
    "counted_weights",
    "default_text",
    "describe_run",
    "distractors",
    "embedded_reber",
    "embedded_reber_sets",
    "experiment",
    "initial_network",
    "is_quick",
    "learn_text",
    "learned_by",
    "long_lag",
    "multiplication",
    "plan",
    "quick",
    "read_records",
    "reading_of",
    "reproduce",
    "run_trial",
    "select_rows",
    "summaries",
    "summarise",
    "temporal_order",
    "two_sequences",
    "with_method",
]
