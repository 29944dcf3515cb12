"""Inference over many sequences, each from a zero state, side by side and in one or several threads."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm97._kernel.engine import Engine
from lstm97._kernel.many_streams import StreamsEngine
from lstm97._kernel.team import WORTH_THREADS
from lstm97._threads import available_cpus
from lstm97.network import Network, State
from lstm97.sequences import Sequences

Array = NDArray[Any]

WORTH_LANES = 0.75
"""The least share of the lanes in use, over the steps of a group, with which it is faster than one after the other.

With all lanes in use a step takes 0.4 to 0.85 of the time: most where the units of one sequence fill whole vectors and
their weights fit the nearest cache, as with 16 cells in float32 and 8 to 16 in float64.
"""

WORTH_WORK = 50_000
"""The least work of the largest group for which sequences step side by side, in weights times steps."""

PIECE = 1_000_000
"""The work of a piece, which a thread does between two looks at the others, in weights times steps."""


class Inference:
    """A network's outputs for packed sequences, at every step or at the last steps only.

    Sequences of about the same length step side by side, a lane for each (`StreamsEngine`); where too few of them
    would, one goes after the other (`Engine`). Which do what follows from their lengths alone. The work is cut into
    parts, which threads take one after the other.

    Parameters
    ----------
    net : Network
    inputs : Sequences
        Checked by `as_sequences`.
    threads : int
        How many threads to use, the calling one included: fewer if there is little work. It changes no bit.
    """

    def __init__(self, net: Network, inputs: Sequences, threads: int) -> None:
        self._net, self._inputs = net, inputs
        step_work = net._layout.step_work(symbols=inputs.is_symbols)
        self._piece = 1 + PIECE // (1 + step_work)
        if step_work * inputs.n_steps <= WORTH_THREADS:
            threads = 1
        groups, alone = self._grouped(step_work)
        self._parts: list[Array | slice] = [*_shares(groups, threads)]
        self._parts += self._pieces_of(alone, threads)
        self._threads = min(threads, available_cpus(), len(self._parts)) if threads > 1 else 1
        resets = np.zeros(inputs.n_steps + 1, bool)
        resets[inputs.offsets[:-1]] = True
        self._resets = resets[:-1]  # without an empty sequence at the end, which has no step
        self._lock = threading.Lock()

    def _grouped(self, step_work: int) -> tuple[list[Array], Array]:
        """The sequences that step side by side, group after group, and those that do not, in their order."""
        lengths, layout = self._inputs.lengths, self._net._layout
        lanes, n_filled = layout.padded(1), int(np.count_nonzero(lengths))
        width = layout.streams_width(max(1, n_filled))
        if n_filled < WORTH_LANES * lanes or lengths.max() * width * step_work < WORTH_WORK:
            return [], np.flatnonzero(lengths)
        order = np.argsort(-lengths, kind="stable")[:n_filled]
        sums: list[int] = np.concatenate([[0], np.cumsum(lengths[order])]).tolist()
        groups, alone, i = [], [], 0
        while i < n_filled:
            longest = sums[i + 1] - sums[i]
            for n_lanes in range(width, 0, -lanes):
                n = min(n_lanes, n_filled - i)
                if sums[i + n] - sums[i] >= WORTH_LANES * layout.padded(n) * longest:
                    groups.append(order[i : i + n])
                    i += n
                    break
            else:
                alone.append(i)
                i += 1
        return groups, np.sort(order[np.array(alone, np.intp)])

    def _pieces_of(self, alone: Array, threads: int) -> list[slice]:
        """Steps of sequences that follow one another, as parts of about equal work."""
        parts: list[slice] = []
        if not len(alone):
            return parts
        offsets = self._inputs.offsets
        n_steps = int(self._inputs.lengths[alone].sum())
        ends = np.flatnonzero(offsets[alone[1:]] != offsets[alone[:-1] + 1])  # empty ones between make no difference
        for run in np.split(alone, ends + 1) if len(ends) else [alone]:
            bounds = offsets[run[0] : run[-1] + 2]
            if threads == 1:
                parts.append(slice(int(bounds[0]), int(bounds[-1])))
                continue
            share = int(bounds[-1] - bounds[0]) / n_steps
            n_parts = 1 + min(len(run), int(max(4 * threads, n_steps // self._piece) * share))
            cuts = np.searchsorted(bounds, np.linspace(bounds[0], bounds[-1], n_parts + 1).astype(np.int64))
            edges = np.unique(bounds[cuts]).tolist()
            parts += [slice(begin, end) for begin, end in pairwise(edges)]
        return parts

    def run(self, Y: Array, *, last: bool = False) -> None:
        """Write the outputs.

        Parameters
        ----------
        Y : ndarray, shape (n_steps, n_outputs), or (n_sequences, n_outputs) if `last`
            Of the network's dtype; shares no memory with the inputs.
        last : bool
            Whether only the outputs at the last step of each sequence are asked for; none is empty then.

        Raises
        ------
        FloatingPointError
            If a cell state or an output is not finite, naming the first sequence in which one is.
        """
        self._next, self._is_ending = 0, False
        self._errors: list[BaseException] = []
        helpers = [threading.Thread(target=self._help, args=(Y, last)) for _ in range(1, self._threads)]
        begun = []
        try:
            for helper in helpers:
                try:
                    helper.start()
                except RuntimeError:  # no thread is to be had; fewer come to the same result
                    break
                begun.append(helper)
            self._work(Y, last)
            for helper in begun:
                helper.join()
        except BaseException as error:
            self._is_ending = True
            for helper in begun:
                helper.join()
            if not isinstance(error, FloatingPointError):
                raise
            self._errors.append(error)
        for failure in self._errors:
            if not isinstance(failure, FloatingPointError):
                raise failure
        if self._errors:
            raise self._first_error() from self._errors[0]

    def _help(self, Y: Array, last: bool) -> None:
        """What a helper does: parts, until none is left or something fails."""
        try:
            self._work(Y, last)
        except BaseException as error:  # raised again by the calling thread
            self._is_ending = True
            self._errors.append(error)

    def _work(self, Y: Array, last: bool) -> None:
        """Take part after part and compute it, with states of this thread's own."""
        engines: dict[int, Any] = {}
        while not self._is_ending:
            with self._lock:
                part = self._next
                self._next += 1
            if part >= len(self._parts):
                return
            self._compute(self._parts[part], engines, Y, last)

    def _compute(self, part: Array | slice, engines: dict[int, Any], Y: Array, last: bool) -> None:
        """Compute a part and write what is asked for of it.

        `engines` has those of this thread by the number of sequences side by side; 0 is for one after the other.
        """
        if isinstance(part, slice):
            if 0 not in engines:
                engines[0] = State(self._net)._engine
            self._one_by_one(engines[0], part, Y, last)
            return
        n = len(part)
        if n not in engines:
            engines[n] = StreamsEngine(self._net._engine, n, self._net._layout.streams_memory(n))
        self._side_by_side(engines[n], part, Y, last)

    def _side_by_side(self, engine: StreamsEngine, group: Array, Y: Array, last: bool) -> None:
        """Compute the sequences of a group and write what is asked for."""
        offsets = self._inputs.offsets
        at, ends = offsets[group], offsets[group + 1]
        engine.reset(None)
        found = np.empty((len(group), Y.shape[1]), Y.dtype) if last else Y
        while not self._is_ending and engine.run(
            self._inputs.values, at, ends, last, 1 + self._piece // len(group), found
        ):
            pass
        if last:
            Y[group] = found

    def _one_by_one(self, engine: Engine, part: slice, Y: Array, last: bool) -> None:
        """Compute the sequences of some steps, in pieces, which may end in the middle of one: the state goes on."""
        for begin in range(part.start, part.stop, self._piece):
            if self._is_ending:
                return
            end = min(begin + self._piece, part.stop)
            values, resets = self._inputs.values[begin:end], self._resets[begin:end]
            if not last:
                engine.run(values, Y[begin:end], None, resets)
                continue
            scratch = np.empty((end - begin, Y.shape[1]), Y.dtype)
            engine.run(values, scratch, None, resets)
            first, stop = np.searchsorted(self._inputs.offsets[1:], (begin + 1, end + 1))
            Y[first:stop] = scratch[self._inputs.offsets[first + 1 : stop + 1] - 1 - begin]

    def _first_error(self) -> FloatingPointError:
        """The error of the first sequence that has one, found by going through them one by one."""
        engine = State(self._net)._engine
        for i, sequence in enumerate(self._inputs):
            engine.reset()
            try:
                engine.run(sequence, np.empty((len(sequence), self._net.topology.n_outputs), self._net.dtype), None)
            except FloatingPointError as error:
                return FloatingPointError(f"in sequence {i}: {error}")
        return FloatingPointError("the weights were changed meanwhile, by another thread")


def _shares(groups: list[Array], threads: int) -> list[Array]:
    """The groups, cut into more of them if there are fewer than threads can share well."""
    if threads == 1 or not groups or len(groups) >= 4 * threads:
        return groups
    pieces = -(-2 * threads // len(groups))
    return [part for group in groups for part in np.array_split(group, min(pieces, len(group)))]
