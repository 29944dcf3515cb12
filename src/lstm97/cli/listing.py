"""`lstm97 list`: the experiments, and what their readings mean."""

from __future__ import annotations

import itertools

import click

from lstm97 import paper
from lstm97.cli.output import table
from lstm97.cli.run import TASKS


@click.command("list")
def list_() -> None:
    """List the experiments and their readings."""
    rows = [
        (
            row.row,
            row.task,
            str(row.table) if row.table else "text",
            f"{row.lag:,}",
            str(paper.counted_weights(row) or "grows"),
            f"{row.learning_rate:g}",
            str(row.trials),
            f"{row.paper.sequences:,}" if row.paper and row.paper.sequences else "",
        )
        for row in paper.select_rows([], (paper.LSTM, *paper.METHODS))
        if row.reading == paper.LITERAL
    ]
    click.echo("Experiments of the 1997 paper, with the mean training sequences it reports (`lstm97 reproduce ROW`):\n")
    header = ("row", "task", "table", "lag", "weights", "alpha", "trials", "sequences")
    n_lstm = len(paper.select_rows([]))
    click.echo(table([header, *rows[:n_lstm]], left_aligned=2))
    click.echo("\nThose of the methods it compares with (`lstm97 reproduce --methods all ROW`):\n")
    click.echo(table([header, *rows[n_lstm:]], left_aligned=2))
    click.echo("\nReadings of these rows, as far as a row has them:\n")
    click.echo(table(list(paper.COMPARISON_READINGS.items()), left_aligned=2))
    for readings, group in itertools.groupby(paper.READINGS.items(), key=lambda item: item[1]):
        tasks = [task for task, _ in group]
        click.echo(f"\nReadings of {', '.join(tasks)}, where the paper's text leaves room:\n")
        click.echo(table([(reading.name, reading.meaning) for reading in readings], left_aligned=2))
        closest = {task: paper.reading_of(task, paper.CLOSEST).name for task in tasks}
        names = set(closest.values())
        words = names.pop() if len(names) == 1 else ", ".join(f"{name} ({task})" for task, name in closest.items())
        click.echo(f"\n  The closest to the paper's results: {words}.")
    click.echo("\nTo watch one trial (`lstm97 run NAME`):\n")
    singles = [
        ("adding", "The adding problem, task 4 of the paper, at any lag."),
        ("text", "One of ours: predict the next byte of a text online, in one pass."),
    ]
    singles[1:1] = [(task, f"{about[0].upper()}{about[1:]}.") for task, about in TASKS.items() if task != "adding"]
    click.echo(table(singles, left_aligned=2))


COMMANDS = {"list": list_}
