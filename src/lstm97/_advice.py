"""Warnings about data that a network cannot learn as they are; each is given once per network."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

REACH = {"logistic": (0, 1), "softmax": (0, 1), "tanh": (-1, 1)}
"""The range of the outputs, by kind; outputs of other kinds are unbounded."""

ROUNDING = 1e-6
"""Targets out of reach by no more than this are taken for rounding errors: no warning."""

LARGE = 5.0
"""Inputs and targets above this size are too large for initial weights and learning rates of 0.1."""

AT_ONCE = 10_000
"""Numbers examined at a time, so that temporary arrays stay small."""


def scaling(largest_input: float, largest_target: float) -> str:
    """The advice to scale data that are larger than `LARGE`; empty if none are."""
    found = {"inputs": largest_input, "targets": largest_target}
    large = [f"{name} that reach {size:.3g}" for name, size in found.items() if size > LARGE]
    return f"scale {' and '.join(large)} to about 1" if large else ""


def extent(rows: Array) -> tuple[float, float]:
    """The lowest and the highest number, NaN left out; 0 and 0 if there is none.

    NaN is never compared: in a host that traps floating-point exceptions, a comparison would end the process.
    """
    flat = rows.reshape(-1)  # a view, as packed arrays are contiguous
    found = []
    for begin in range(0, len(flat), AT_ONCE):
        part = flat[begin : begin + AT_ONCE]
        if (given := part[~np.isnan(part)]).size:
            found += [float(given.min()), float(given.max())]
    return min(found, default=0.0), max(found, default=0.0)


def has_target(rows: Array) -> bool:
    """Whether any class is not -1, or any number of a row not NaN."""
    for begin in range(0, len(rows), AT_ONCE):
        part = rows[begin : begin + AT_ONCE]
        if (part >= 0 if rows.ndim == 1 else ~np.isnan(part)).any():
            return True
    return False


def any_presented(rows: Array, per_sequence: bool, offsets: Array, presentation: Iterable[int]) -> bool:
    """Whether any presented sequence has a target: its own, or one at any of its steps."""
    if not has_target(rows):
        return False
    ends = range(len(rows) + 1) if per_sequence else offsets
    return any(has_target(rows[ends[i] : ends[i + 1]]) for i in presentation)


class Advice:
    """Warnings about the data of one network; each is given once.

    Parameters
    ----------
    outputs : str
        The kind of outputs.
    n_cells : int
    forget_gates, is_scaled : bool
        Whether the network has forget gates, and whether it scales its inputs itself.
    """

    def __init__(self, outputs: str, n_cells: int = 0, forget_gates: bool = False, is_scaled: bool = False) -> None:
        self._outputs, self._n_cells, self._forget_gates = outputs, n_cells, forget_gates
        self._is_scaled = is_scaled
        self._said: set[str] = set() if outputs in tuple(REACH) else {"targets"}
        self.has_seen_training = False
        self.is_quiet = False  # `train_many` sets it while it trains: it has looked at the data before

    @property
    def watches_targets(self) -> bool:
        """Whether targets still have to be examined."""
        return "targets" not in self._said

    @property
    def reach(self) -> tuple[int, int]:
        """The range of the outputs; (0, 0) if they are unbounded."""
        return REACH[self._outputs] if self._outputs in tuple(REACH) else (0, 0)

    def accept_targets(self) -> None:
        """Give no warning of targets out of reach, as when noise was added to them."""
        self._said.add("targets")

    def look_at_targets(self, rows: Array, given: set[str] | None = None) -> None:
        """Warn of targets that the output units cannot reach; NaN means no target.

        `given` has the warnings that the same call has given for other networks; none of them is repeated.
        """
        if self.watches_targets and rows.dtype.kind == "f":
            (low, high), (lowest, highest) = self.reach, extent(rows)
            if lowest < low - ROUNDING or highest > high + ROUNDING:
                self._warn(
                    "targets",
                    f"targets from {lowest:.7g} to {highest:.7g} are out of reach of {self._outputs} outputs, which "
                    f"lie between {low} and {high}; scale them, or use output='identity'",
                    given,
                )

    def are_most_cells(self, n: int) -> bool:
        """Whether n cells are more than half of them."""
        return 2 * n > self._n_cells and not self._is_scaled

    def judge_cells(self, saturated: list[int], largest_input: float, largest_target: float) -> None:
        """Warn if, at three quarters of some steps or more, most cells are saturated, and if data are large.

        `saturated` has the number of saturated cells at each of these steps.
        """
        n_saturated = sorted(saturated)[len(saturated) // 4]
        if self.are_most_cells(n_saturated) and (remedy := scaling(largest_input, largest_target)):
            self._warn(
                "cells",
                f"{n_saturated} of {self._n_cells} cells are saturated and learn next to nothing; {remedy}, or use a "
                "smaller init_range",
            )

    def after_overflow(self, largest_input: float, largest_target: float, of_a_stream: bool) -> str:
        """What to try when learning has overflowed."""
        ways = ["a smaller learning_rate"]
        if of_a_stream and not self._forget_gates:
            ways.append("forget_gates=True for streams without reset")
        tries = f"try {', or '.join(ways)}"
        remedy = "" if self._is_scaled else scaling(largest_input, largest_target)
        return f"{tries}; {remedy}" if remedy else tries

    def no_targets(self, given: set[str] | None = None) -> None:
        """Warn that no sequence has a target; `given` as for `look_at_targets`."""
        self._warn("none", "no target was found in targets, so nothing is learned", given)

    def _warn(self, what: str, message: str, given: set[str] | None = None) -> None:
        """Give each kind of warning once, for the line that called this package."""
        if what in self._said or self.is_quiet:
            return
        self._said.add(what)
        if given is not None:
            if message in given:
                return
            given.add(message)
        package = __name__.partition(".")[0]
        level, frame = 2, sys._getframe(1)
        while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
            level, frame = level + 1, frame.f_back  # type: ignore[assignment]
        warnings.warn(message, stacklevel=level)
