"""The experiments of the 1997 paper, and one of ours: tasks, settings as data, and what runs them."""

from __future__ import annotations

from lstm97.paper.experiments import READINGS, ROWS, Experiment, Figures, Reading, experiment
from lstm97.paper.runner import Progress, Trial, run_trial
from lstm97.paper.tasks import adding
from lstm97.paper.text import ByteModel, TextRecord, TextSettings, default_text, learn_text

__all__ = [
    "READINGS",
    "ROWS",
    "ByteModel",
    "Experiment",
    "Figures",
    "Progress",
    "Reading",
    "TextRecord",
    "TextSettings",
    "Trial",
    "adding",
    "default_text",
    "experiment",
    "learn_text",
    "run_trial",
]
