"""How long ``import lstm97`` takes beyond ``import numpy``, in interpreters started anew.

Of an installed package, whose bytecode pip has compiled: where Python must compile the source first, it takes twice as
long.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .timing import Summary

MOST = 35.0
"""Milliseconds that the import of lstm97 may take beyond NumPy's."""

PROGRAM = """
from time import perf_counter
begin = perf_counter()
import numpy
between = perf_counter()
import lstm97
print(between - begin, perf_counter() - between)
"""


@dataclass(frozen=True)
class Startup:
    """Milliseconds that imports take; `met` is whether the median of ours is at most `MOST`."""

    numpy: Summary
    lstm97: Summary
    met: bool


def measure(*, repeats: int, show: Callable[[str], None]) -> Startup:
    """Import both in `repeats` new interpreters, one after the other, and show the medians."""
    command = [sys.executable, "-c", PROGRAM]
    outputs = [subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split() for _ in range(repeats + 1)]
    samples = 1000.0 * np.array(outputs[1:], np.float64)  # the first fills the system's cache of files
    ours = Summary.of(samples[:, 1])
    found = Startup(Summary.of(samples[:, 0]), ours, ours.median <= MOST)
    show(f"Import, median of {repeats} new interpreters: NumPy {found.numpy.median:.1f} ms, lstm97 beyond it")
    spread = f"{ours.lower_quartile:.1f} to {ours.upper_quartile:.1f}"
    show(f"{ours.median:.1f} ms ({spread}); target at most {MOST:.0f} ms: {'met' if found.met else 'missed'}")
    return found
