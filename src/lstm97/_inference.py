"""Inference over many sequences, each from a zero state, in one or several threads."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm97._kernel.engine import Engine
from lstm97._kernel.team import WORTH_THREADS
from lstm97._threads import available_cpus
from lstm97.network import Network, State
from lstm97.sequences import Sequences

Array = NDArray[Any]

PIECE = 1_000_000
"""The work of a piece, which a thread does between two looks at the others, in weights times steps."""


class Inference:
    """A network's outputs for packed sequences, at every step or at some steps only.

    The sequences are cut into parts of several each, and threads take part after part. A part is computed in pieces,
    which may end in the middle of a sequence: the state goes on.

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
        offsets, n_steps = inputs.offsets, inputs.n_steps
        self._bounds = [0, n_steps]  # the steps at which parts begin, and the end of the last
        if threads > 1:
            n_parts = 1 + min(len(inputs), max(4 * threads, n_steps // self._piece))
            cuts = np.searchsorted(offsets, np.linspace(0, n_steps, n_parts + 1).astype(np.int64))
            self._bounds = np.unique(offsets[cuts]).tolist()
            threads = min(threads, available_cpus(), len(self._bounds) - 1)
        self._threads = threads
        resets = np.zeros(n_steps + 1, bool)
        resets[offsets[:-1]] = True
        self._resets = resets[:n_steps]  # without an empty sequence at the end, which has no step
        self._lock = threading.Lock()

    def run(self, Y: Array, steps: NDArray[np.int64] | None = None) -> None:
        """Write the outputs at the given steps, or at all.

        Parameters
        ----------
        Y : ndarray, shape (n_steps, n_outputs) or (len(steps), n_outputs)
            Of the network's dtype; shares no memory with the inputs.
        steps : ndarray of int64, optional
            Rising, counted through all sequences.

        Raises
        ------
        FloatingPointError
            If a cell state or an output is not finite, naming the first sequence in which one is.
        """
        self._next, self._is_ending = 0, False
        self._errors: list[BaseException] = []
        helpers = [threading.Thread(target=self._help, args=(Y, steps)) for _ in range(1, self._threads)]
        begun = []
        try:
            for helper in helpers:
                try:
                    helper.start()
                except RuntimeError:  # no thread is to be had; fewer come to the same result
                    break
                begun.append(helper)
            self._work(Y, steps)
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

    def _help(self, Y: Array, steps: NDArray[np.int64] | None) -> None:
        """What a helper does: parts, until none is left or something fails."""
        try:
            self._work(Y, steps)
        except BaseException as error:  # raised again by the calling thread
            self._is_ending = True
            self._errors.append(error)

    def _work(self, Y: Array, steps: NDArray[np.int64] | None) -> None:
        """Take part after part and compute it, with a state of this thread's own."""
        engine = State(self._net)._engine
        while not self._is_ending:
            with self._lock:
                part = self._next
                self._next += 1
            if part + 1 >= len(self._bounds):
                return
            for begin in range(self._bounds[part], self._bounds[part + 1], self._piece):
                if self._is_ending:
                    return
                self._compute(engine, begin, min(begin + self._piece, self._bounds[part + 1]), Y, steps)

    def _compute(self, engine: Engine, begin: int, end: int, Y: Array, steps: NDArray[np.int64] | None) -> None:
        """Compute a piece and write what is asked for of it."""
        values, resets = self._inputs.values[begin:end], self._resets[begin:end]
        if steps is None:
            engine.run(values, Y[begin:end], None, resets)
            return
        scratch = np.empty((end - begin, Y.shape[1]), Y.dtype)
        engine.run(values, scratch, None, resets)
        first, last = np.searchsorted(steps, (begin, end))
        Y[first:last] = scratch[steps[first:last] - begin]

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
