"""The readings of the paper's text, task by task, and the experiments looked up by row and reading."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from lstm97.paper.experiments import LITERAL, Experiment, Reading
from lstm97.paper.rows import ROWS

CLOSEST = "closest"
"""Selects the first of a task's readings, the one whose results come closest to the paper's."""

_BY_LAG = ("adding",)  # tasks whose rows differ in nothing but their lag


def _literal(meaning: str) -> Reading:
    return Reading(name=LITERAL, meaning=meaning)


READINGS: Mapping[str, tuple[Reading, ...]] = MappingProxyType(
    {
        "adding": (
            # The slope of a logistic output vanishes near 0 and 1, and with it the error signal of such targets.
            Reading(name="linear-output", meaning="The output unit is linear.", topology={"output": "identity"}),
            _literal("The output unit is logistic, the paper's equation 3."),
        ),
    }
)
"""The readings of each task, by the task's name; the first one is the closest to the paper's results."""


def readings_of(task: str) -> tuple[Reading, ...]:
    """Return the readings of a task; without any other, the literal one is all there is."""
    return READINGS.get(task, (_literal("As the text says."),))


def reading_of(task: str, name: str) -> Reading:
    """Return a task's reading by its name or as `CLOSEST`; ValueError if there is none."""
    known = {reading.name: reading for reading in readings_of(task)}
    if name == CLOSEST:
        return readings_of(task)[0]
    if name not in known:
        raise ValueError(f"reading is {name!r}, expected one of {', '.join(map(repr, known))}")
    return known[name]


def select_rows(names: Iterable[str]) -> list[Experiment]:
    """Return rows in the paper's order by their names.

    Parameters
    ----------
    names : iterable of str
        Names of rows ("4-100"), their beginnings up to a hyphen ("4", "2c-1000"), beginnings of the paper's task
        numbers ("2") or names of tasks ("adding"). None at all: every row.

    Returns
    -------
    list of Experiment
        In the literal reading, none twice.

    Raises
    ------
    ValueError
        If a name selects nothing.
    """
    every = [row for rows in ROWS.values() for row in rows]
    chosen: set[str] = set()
    names = list(names)
    for name in names:
        found = {
            row.row
            for row in every
            if name == row.task
            or row.row == name
            or row.row.startswith(f"{name}-")
            or row.paper_task.rstrip("abc") == name
        }
        if not found:
            raise ValueError(f"there is no row {name!r}, expected one of {', '.join(row.row for row in every)}")
        chosen |= found
    return [row for row in every if not names or row.row in chosen]


def experiment(task: str, lag: int, reading: str | None = None) -> Experiment:
    """Look up an experiment of the paper, or the like of it at another lag.

    Parameters
    ----------
    task : str
        "adding", the task whose rows differ in their lag only.
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
    if task not in _BY_LAG:
        raise ValueError(f"task is {task!r}, expected one of {', '.join(map(repr, _BY_LAG))}")
    chosen = reading_of(task, CLOSEST if reading is None else reading)
    row = min(ROWS[task], key=lambda row: (abs(row.lag - lag), -row.lag))
    if row.lag != lag:
        row = dataclasses.replace(row, row=f"{row.paper_task}-{lag}", lag=lag, paper=None)
    return chosen.apply(row)
