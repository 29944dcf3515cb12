"""Processes that do the same work side by side, one thread each: the machine's speed when several cores are busy."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from .timing import Workload


def side_by_side(n: int, make: Callable[..., Workload], *arguments: Any, **options: Any) -> Workload:
    """Return a workload of n processes, each with its own that `make` builds there; an item is one item of each."""
    context = get_context("spawn")
    ours, steps = [], 0
    for _ in range(n):
        here, there = context.Pipe()
        # The processes end when the pipes close, which happens when the workload is deleted.
        context.Process(target=_work, args=(there, make, arguments, options), daemon=True).start()
        there.close()
        steps += here.recv()
        ours.append(here)

    def run(n_items: int) -> None:
        for pipe in ours:
            pipe.send(n_items)
        for pipe in ours:
            pipe.recv()

    return Workload(f"{n} processes of one thread", run, steps)


def _work(pipe: Connection, make: Callable[..., Workload], arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    workload = make(*arguments, **options)
    pipe.send(workload.steps)
    try:
        while True:
            workload.run(pipe.recv())
            pipe.send(None)
    except (EOFError, BrokenPipeError):
        pass
