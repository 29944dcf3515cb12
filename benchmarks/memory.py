"""How memory grows with the length of a sequence: the peak of a process that does nothing else.

Each figure comes from a process of its own (``python -m benchmarks.memory SUBJECT DTYPE STEPS``). It makes the data of
a short and of the long sequence, processes the short one, then the long one, and prints by how many bytes the long one
raised the peak: neither the data nor memory that any sequence needs is included.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .streams import LEARN_RUN, PYTORCH, TRAIN, WAYS, peer_missing

ROOT = Path(__file__).parents[1]
SHORT = 100
LENGTHS = tuple(10**power for power in range(3, 8))
QUICK_LENGTHS = (10_000, 100_000)
SERIES = ((LEARN_RUN, "float64"), (TRAIN, "float64"), (PYTORCH, "float32"))
LONGEST_UNROLLED = 1_000_000
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Point:
    """By how many bytes the peak of memory rose over a sequence of n_steps."""

    subject: str
    dtype: str
    n_steps: int
    rise: int


@dataclass(frozen=True)
class Memory:
    """The curves; if the peer could not be measured, `missing` says why."""

    points: tuple[Point, ...]
    missing: str = ""


def peak() -> int:
    """Return the peak memory of this process so far, in bytes.

    Read from /proc, because ``ru_maxrss`` starts with the peak of the parent process.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            kilobytes, _ = value.split()
            return int(kilobytes) * 1024
    raise OSError("/proc/self/status has no VmHWM")


def rise(subject: str, dtype: str, n_steps: int) -> int:
    """Return by how much a long sequence raises the peak of this process over that of a short one."""
    build = WAYS[subject]
    short, long = build(SHORT, dtype), build(n_steps, dtype)
    short.run(1)
    before = peak()
    long.run(1)
    return peak() - before


def point(subject: str, dtype: str, n_steps: int) -> Point:
    """Measure in a new process."""
    command = [sys.executable, "-m", "benchmarks.memory", subject, dtype, str(n_steps)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return Point(subject, dtype, n_steps, int(done.stdout))


def measure(lengths: Sequence[int], *, show: Callable[[str], object]) -> Memory:
    """Measure all subjects over all lengths; ``show`` is called with each line of text as soon as it is measured."""
    points = []
    missing = peer_missing()
    show(column_names())
    for subject, dtype in SERIES:
        if subject == PYTORCH and missing:
            show(f"{PYTORCH}: {missing}")
            continue
        for n_steps in lengths:
            if subject != PYTORCH or n_steps <= LONGEST_UNROLLED:
                points.append(point(subject, dtype, n_steps))
                show(line(points[-1]))
    return Memory(tuple(points), missing)


def _columns(name: str, steps: str, megabytes: str) -> str:
    return f"{name:<52}{steps:>14}{megabytes:>14}"


def column_names() -> str:
    """Return the head of the table."""
    names = _columns("peak memory beyond data, one sequence", "steps", "MB")
    return names + "\n" + "-" * len(names)


def line(point: Point) -> str:
    """Return a point as a line of text."""
    return _columns(f"{point.subject}, {point.dtype}", f"{point.n_steps:,}", f"{point.rise / MEGABYTE:.2f}")


if __name__ == "__main__":
    subject, dtype, n_steps = sys.argv[1:]
    print(rise(subject, dtype, int(n_steps)))
