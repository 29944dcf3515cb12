"""What a person is told about data that a network cannot learn as they are, once for each network."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm97.topology import Topology

LARGE = 5.0
"""Inputs and targets beyond this are not what weights of 0.1 and learning rates of 0.1 are made for."""


AT_ONCE = 10_000
"""Numbers looked at together, so that looking takes no memory to speak of."""


def scaling(largest_input: float, largest_target: float) -> str:
    """What to do about data as large as this; nothing if they are not large."""
    found = {"inputs": largest_input, "targets": largest_target}
    large = [f"{name} that reach {size:.3g}" for name, size in found.items() if size > LARGE]
    return f"scale {' and '.join(large)} to about 1" if large else ""


def extent(rows: NDArray[Any]) -> tuple[float, float]:
    """The lowest and the highest number; NaN is none. No NaN is compared, which would trap where a host has it so."""
    flat = rows.reshape(-1)  # a view, as all that is packed is contiguous
    found = []
    for begin in range(0, len(flat), AT_ONCE):
        part = flat[begin : begin + AT_ONCE]
        if (given := part[~np.isnan(part)]).size:
            found += [float(given.min()), float(given.max())]
    return min(found, default=0.0), max(found, default=0.0)


def has_none(rows: NDArray[Any]) -> bool:
    """Whether there is no target at all: every class is -1, or every row NaN."""
    first = rows if rows.ndim == 1 else rows[:, 0]
    for begin in range(0, len(first), AT_ONCE):
        part = first[begin : begin + AT_ONCE]
        if (part >= 0 if rows.ndim == 1 else ~np.isnan(part)).any():
            return False
    return True


class Advice:
    """Warnings about the data of one network; each is given once.

    Parameters
    ----------
    topology : Topology
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._said: set[str] = set()
        self.has_seen_training = False

    @property
    def watches_targets(self) -> bool:
        """Whether targets are still to be looked at: those of linear outputs may be anything."""
        return self._topology.output != "identity" and "targets" not in self._said

    def accept_targets(self) -> None:
        """Say nothing of targets out of reach: there is noise on them."""
        self._said.add("targets")

    def look_at_targets(self, rows: NDArray[Any]) -> None:
        """Warn of targets that the output units cannot reach; NaN is none."""
        if self.watches_targets and rows.size:
            lowest, highest = extent(rows)
            if lowest < 0 or highest > 1:
                self._warn(
                    "targets",
                    f"targets from {lowest:.4g} to {highest:.4g} are out of reach of {self._topology.output} outputs, "
                    "which lie between 0 and 1; scale them, or use a topology with output='identity'",
                )

    def look_at_cells(self, n_saturated: int, largest_input: float, largest_target: float) -> bool:
        """Warn if most cells are saturated by data that are large; returns whether they were."""
        if 2 * n_saturated <= self._topology.n_cells or not (remedy := scaling(largest_input, largest_target)):
            return False
        self._warn(
            "cells",
            f"{n_saturated} of {self._topology.n_cells} cells are saturated from the first steps on, and learn next to "
            f"nothing there; {remedy}, or use a smaller init_range",
        )
        return True

    def after_overflow(self, largest_input: float, largest_target: float) -> str:
        """What to try when learning has overflowed."""
        ways = ["a smaller learning_rate"]
        if not self._topology.forget_gates:
            ways.append("forget_gates=True for streams without reset")
        tries = f"try {', or '.join(ways)}"
        return f"{tries}; {remedy}" if (remedy := scaling(largest_input, largest_target)) else tries

    def no_targets(self) -> None:
        """Warn that nothing was to be learned."""
        self._warn("none", "no target was found in targets, so nothing was learned")

    def _warn(self, what: str, message: str) -> None:
        if what in self._said:
            return
        self._said.add(what)
        level, frame = 2, sys._getframe(1)
        while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]:
            level, frame = level + 1, frame.f_back  # type: ignore[assignment]
        warnings.warn(message, stacklevel=level)
