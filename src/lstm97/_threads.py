"""How many threads a call uses: its argument, else LSTM97_NUM_THREADS, else the default in its docstring."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lstm97._checks import integer

VARIABLE = "LSTM97_NUM_THREADS"


def thread_count(threads: int | None, otherwise: int) -> int:
    """The number of threads from the argument, else from the environment, else ``otherwise``."""
    if threads is not None:
        return integer("threads", threads, at_least=1)
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return otherwise
    if (number := _number(text)) is None:
        raise ValueError(f"the environment variable {VARIABLE} is {text!r}, expected a number of threads, 1 or more")
    return number


def available_cpus() -> int:
    """How many CPUs the operating system lets this process use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_cpus() -> int:
    """How many CPUs this process should keep busy by default.

    The available ones; fewer if a container has less CPU time, or if OMP_NUM_THREADS is less, as it is inside process
    pools that share a machine among their workers (joblib's, for one).
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # it may list a number per nesting level
    return min(filter(None, (available_cpus(), cgroup_cpus(), _number(first.strip()))))


def cgroup_cpus(folder: str | os.PathLike[str] = "/sys/fs/cgroup") -> int | None:
    """The CPU time that Linux grants to this container, in CPUs, rounded up; None if it sets no limit.

    The limit is a quota of microseconds per period. Version 2 of control groups has both in one file, version 1 in two.
    """
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            numbers = [_number(text) for name in names for text in Path(folder, name).read_text().split()]
        except OSError:
            continue
        if len(numbers) == 2 and numbers[0] and numbers[1]:  # the quota is "max" or -1 if there is no limit
            return -(-numbers[0] // numbers[1])
    return None


def _number(text: str) -> int | None:
    """A text of digits as an int of 1 or more; None for any other text."""
    return int(text) or None if re.fullmatch("[0-9]{1,18}", text) else None
