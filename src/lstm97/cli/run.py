"""The group `lstm97 run`: a trial of each of the paper's tasks, and the text."""

from __future__ import annotations

import click

from lstm97.cli.groups import Entry, LazyGroup

TASKS = {
    "embedded-reber": "task 1 of the paper, the embedded Reber grammar",
    "long-lag": "task 2a of the paper, noise-free sequences with long time lags",
    "long-lag-random": "task 2b of the paper, as 2a with a random middle",
    "distractors": "task 2c of the paper, long time lags among distractors",
    "two-sequences": "task 3a of the paper, the two-sequence problem",
    "two-sequences-noisy": "task 3b of the paper, the two-sequence problem with noise on its information",
    "two-sequences-noisy-targets": "task 3c of the paper, the two-sequence problem with noise on its targets",
    "adding": "task 4 of the paper, the adding problem",
    "multiplication": "task 5 of the paper, the multiplication problem",
    "temporal-order-2": "task 6a of the paper, the order of two symbols",
    "temporal-order-3": "task 6b of the paper, the order of three symbols",
}
"""The tasks of `lstm97.paper.ROWS`, in words."""

ENTRIES = {
    **{task: Entry("trial", f"Run one trial of {words}.") for task, words in TASKS.items()},
    "text": Entry("text", "Learn to predict the next byte of FILE online, in one pass."),
}


@click.group(cls=LazyGroup, entries=ENTRIES)
def run() -> None:
    """Run an experiment."""


COMMANDS = {"run": run}
