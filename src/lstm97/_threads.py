"""How many threads a call computes with: what it is told, else LSTM97_NUM_THREADS, else what its docstring says."""

from __future__ import annotations

import os

from lstm97._checks import integer

VARIABLE = "LSTM97_NUM_THREADS"


def thread_count(threads: int | None, otherwise: int) -> int:
    """The number of threads asked for by an argument, or by the environment, or ``otherwise``."""
    if threads is not None:
        return integer("threads", threads, at_least=1)
    return _from_environment(VARIABLE) or otherwise


def available_cpus() -> int:
    """How many CPUs the operating system lets this process use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_cpus() -> int:
    """How many CPUs this process should keep busy if nobody says how many.

    The available ones; fewer if OMP_NUM_THREADS says so, as it does inside process pools that share a machine among
    their workers (joblib's, for one).
    """
    cpus = available_cpus()
    try:
        return min(cpus, _from_environment("OMP_NUM_THREADS") or cpus)
    except ValueError:  # OpenMP takes lists, one number for each level
        return cpus


def _from_environment(variable: str) -> int | None:
    """An environment variable's positive number; None if it is not set."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"the environment variable {variable} is {text!r}, expected a number of threads, 1 or more")
    return int(text)
