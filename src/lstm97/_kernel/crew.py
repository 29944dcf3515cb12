"""The threads that train one network: how a batch is cut into shares for them, and their coming and going."""

from __future__ import annotations

import os
from _thread import LockType, allocate_lock, start_new_thread

import numpy as np
from numpy.typing import NDArray

from lstm97._kernel.engine import Engine
from lstm97._kernel.layout import Layout

SUMS_BYTES = 4_000_000
"""So much memory for sums of changes is no matter; beyond it there are no more of them than threads."""

WORTH_THREADS = 10_000_000
"""Weights times steps, a fraction of a nanosecond each: with less work in a whole call threads would not pay."""

PATIENCE = 0.001
"""Seconds that the leader waits for a thread to begin."""

LATE = 1.0
"""Seconds after which a thread that has not begun never will: it has found no memory to begin with."""

WORTH_SHARING = 60_000
"""With less work in a batch it would not pay to share it."""


def n_shares(batch_size: int) -> int:
    """Into how many shares a batch is cut: of four sequences, of more where there are many."""
    return min(-(-batch_size // 4), max(8, batch_size // 16))


def schedule(lengths: NDArray[np.int64], batch_size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The positions of sequences in a presentation in the order they are trained in, and where shares begin there.

    Batch after batch, share after share, the longest of each share first. A batch's sequences are dealt to its shares
    by falling length, so that these are equally long.

    Parameters
    ----------
    lengths : ndarray, shape (n,), int64
        Of the presentation's sequences, in steps.
    batch_size : int

    Returns
    -------
    positions : ndarray, shape (n,), int64
    bounds : ndarray, shape (shares of all batches + 1,), int64
        The places in `positions` where shares begin, and its end.
    """
    n = len(lengths)
    positions = np.arange(n)
    if np.any(lengths[1:] != lengths[:-1]):
        positions = np.lexsort((-lengths, positions // batch_size))
    whole = n - n % batch_size
    bounds = []
    for begin, end, size in ((0, whole, batch_size), (whole, n, n - whole)):
        if begin < end:
            share = np.arange(size) % n_shares(size)
            dealt = np.argsort(share, kind="stable")
            positions[begin:end] = positions[begin:end].reshape(-1, size)[:, dealt].ravel()
            firsts = np.flatnonzero(np.diff(share[dealt], prepend=-1))
            bounds.append((np.arange(begin, end, size)[:, np.newaxis] + firsts).ravel())
    return positions, np.concatenate([*bounds, [n]])


def prepare_batches(engine: Engine, layout: Layout, n_threads: int, size: int, longest: int, *, symbols: bool) -> None:
    """Make the arrays for training in batches of `size` sequences of up to `longest` steps."""
    shares = n_shares(size)
    batch = layout.batch_arrays(size)
    sum_bytes = sum(array.nbytes for name, array in batch.items() if name != "tallies")
    engine.begin_batches(
        batch=batch,
        sums=layout.sums_arrays(min(shares, max(n_threads, SUMS_BYTES // sum_bytes))),
        workers=[layout.worker_arrays(-(-size // shares), longest, symbols=symbols) for _ in range(n_threads)],
        worth_sharing=WORTH_SHARING,
    )


class Helpers:
    """The threads of an engine's crew but its leader, which is the one that makes this and in the end calls `leave`.

    As a signal's handler may end a `with` statement's own code, that is for a `try` statement.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._process = os.getpid()
        self._gone: list[LockType] = []  # of each that may have been started: held until it is gone
        self._has_begun: list[bool] = []

    def come(self, n: int) -> None:
        """Start n threads, or as many as the system gives: fewer do the same."""
        self._has_begun = [False] * n
        for number in range(1, n + 1):
            try:
                settled, gone = allocate_lock(), allocate_lock()
            except RuntimeError:  # as CPython before 3.13 says that there is no memory
                break
            settled.acquire()
            gone.acquire()
            # Noted before it starts: whatever comes then, from a signal's handler or for want of memory, ends it too.
            self._gone.append(gone)
            try:
                start_new_thread(self._help, (number, settled, gone))
            except RuntimeError:
                gone.release()
                break
            # It may be waiting for this processor, to leave it; but where everything is busy there is no use in that.
            settled.acquire(timeout=PATIENCE)

    def leave(self) -> None:
        """End them, and wait for that; after a fork the child has none."""
        if self._gone and self._process == os.getpid():
            self._engine.dismiss()
            for i, gone in enumerate(self._gone):
                # One that begins later ends at once.
                if not gone.acquire(timeout=LATE) and self._has_begun[i]:
                    gone.acquire()

    def _help(self, number: int, settled: LockType, gone: LockType) -> None:
        try:
            self._has_begun[number - 1] = True
            self._engine.settle_helper(number)
            settled.release()
            self._engine.help(number)
        finally:
            gone.release()
