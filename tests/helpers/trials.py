"""Trials and records of trials to test with."""

from __future__ import annotations

import dataclasses

from lstm97.paper import (
    Trial,
    experiment,
    read_records,
)
from lstm97.paper.trials.records import key_of


def trial(**changes) -> Trial:
    values = {
        "row": "3a-100-3",
        "task": "two-sequences",
        "lag": 100,
        "reading": "literal",
        "seed": 1,
        "max_sequences": 5000,
        "solved": True,
        "diverged": None,
        "sequences": 3000,
        "steps": 314_159,
        "stages": {"ST1": 2000, "ST2": 3000},
        "grown": (100, 250),
        "train_error": 0.1 + 0.2,
        "curve": (0.5, 1e-17, 1 / 3),
        "curve_every": 75,
        "test_sequences": 2560,
        "test_wrong": 2,
        "test_error": 2.0**-40,
        "seconds": 1.25,
        "train_seconds": 1.0,
        "draw_seconds": 0.125,
        "steps_per_second": 314_159.0,
    }
    return Trial(**values | changes)


RUN = {"command": "a test"}


def small(lag=12, **changes):
    return dataclasses.replace(experiment("adding", lag, "literal"), test_sequences=20, **changes)


def records_of(path):
    return {key_of(one): one for one in read_records(path)[0]}
