"""The experiments of the 1997 paper: its tables as data, its tasks, trials of them, and a report on the trials.

The names of `lstm97.demos.text` are here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lstm97._lazy import lazily

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

if TYPE_CHECKING:
    from lstm97.demos.text import ByteModel, TextRecord, TextSettings, default_text, learn_text
    from lstm97.paper import report as report
    from lstm97.paper import tables as tables
    from lstm97.paper import tasks as tasks
    from lstm97.paper import trials as trials
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
else:
    # These are imported at first use, so that a command loads only the parts of the paper that it needs.
    _NAMES = {
        "demos.text": ("ByteModel", "TextRecord", "TextSettings", "default_text", "learn_text"),
        "paper.tables.comparisons": (
            "COMPARISONS",
            "COMPARISON_READINGS",
            "METHODS",
            "counted_weights",
            "learned_by",
            "with_method",
        ),
        "paper.tables.experiments": (
            "LITERAL",
            "LSTM",
            "Experiment",
            "Figures",
            "Growth",
            "Reading",
            "Stage",
            "StopByTests",
        ),
        "paper.tables.readings": ("CLOSEST", "READINGS", "experiment", "reading_of", "select_rows"),
        "paper.tables.rows": ("ROWS",),
        "paper.tasks": (
            "Grammar",
            "adding",
            "distractors",
            "embedded_reber",
            "embedded_reber_sets",
            "long_lag",
            "multiplication",
            "temporal_order",
            "two_sequences",
        ),
        "paper.trials.records": ("Key", "Records", "describe_run", "read_records"),
        "paper.trials.reproduction": ("QUICK_TRIALS", "PlannedTrial", "is_quick", "plan", "quick", "reproduce"),
        "paper.trials.runner": ("Progress", "Trial", "initial_network", "run_trial"),
        "paper.trials.summary": ("Summary", "summaries", "summarise"),
    }
    _MODULE_OF = {name: f"lstm97.{module}" for module, names in _NAMES.items() for name in names}
    _MODULES = {name: f"lstm97.paper.{name}" for name in ("report", "tables", "tasks", "trials")}
    __getattr__, __dir__ = lazily(globals(), _MODULES, _MODULE_OF)
