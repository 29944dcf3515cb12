"""The experiments of the 1997 paper, and one of ours: tasks, settings as data, and what runs them."""

from __future__ import annotations

from lstm97.paper.experiments import READINGS, ROWS, Experiment, Figures, Reading, experiment
from lstm97.paper.runner import Progress, Trial, run_trial
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
from lstm97.paper.text import ByteModel, TextRecord, TextSettings, default_text, learn_text

__all__ = [
    "READINGS",
    "ROWS",
    "ByteModel",
    "Experiment",
    "Figures",
    "Grammar",
    "Progress",
    "Reading",
    "TextRecord",
    "TextSettings",
    "Trial",
    "adding",
    "default_text",
    "distractors",
    "embedded_reber",
    "embedded_reber_sets",
    "experiment",
    "learn_text",
    "long_lag",
    "multiplication",
    "run_trial",
    "temporal_order",
    "two_sequences",
]
