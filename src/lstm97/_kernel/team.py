"""The team of threads that train one network: how a batch is cut into shares for them, their start and their end.

The words of sharing (team, leader, helper, share ...) are those of `team.h`.
"""

from __future__ import annotations

import os
from _thread import LockType, allocate_lock, start_new_thread

import numpy as np
from numpy.typing import NDArray

from lstm97._kernel.layout import Layout
from lstm97._kernel.trainer import Trainer

SUMS_BYTES = 4_000_000
"""Memory for sums of changes is free up to this; beyond it, there is one sum per thread."""

WORTH_THREADS = 10_000_000
"""A job of less work is not worth threads. Work is in weights times steps, up to about a nanosecond each."""

WORTH_SHARING = 60_000
"""A batch of less work is not worth sharing."""

PATIENCE = 0.001
"""Seconds that the leader waits for a helper to move to its CPU, before it starts the next one."""

LATE = 1.0
"""Seconds after which a helper that has not begun never will: it has found no memory to begin with."""


def n_shares(batch_size: int, width: int) -> int:
    """Into how many shares a batch is cut: of four sequences, of more where there are many; or of up to `width`."""
    if width:
        return -(-batch_size // width)
    return min(-(-batch_size // 4), max(8, batch_size // 16))


def schedule(lengths: NDArray[np.int64], batch_size: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order in which a presentation's sequences are trained in batches, and where the shares begin in it.

    Batch after batch, share after share, the longest of each share first. By falling length, a batch's sequences are
    dealt to its shares, so that these are equally long; but where up to `width` of them step abreast, those of a share
    are neighbours, so that they end at about the same time.

    Parameters
    ----------
    lengths : ndarray, shape (n,), int64
        Of the presentation's sequences, in steps.
    batch_size : int
    width : int
        ``layout.width_abreast(batch_size)``.

    Returns
    -------
    positions : ndarray, shape (n,), int64
        In the presentation.
    bounds : ndarray, shape (shares of all batches + 1,), int64
        The indices in `positions` at which shares begin, then n.
    """
    n = len(lengths)
    positions = np.arange(n)
    if batch_size == 1:
        return positions, np.arange(n + 1)
    if np.any(lengths[1:] != lengths[:-1]):
        positions = np.lexsort((-lengths, positions // batch_size))
    whole = n - n % batch_size
    bounds = []
    for begin, end, size in ((0, whole, batch_size), (whole, n, n - whole)):
        if begin < end:
            shares = n_shares(size, width)
            if width:
                firsts = -(-np.arange(shares) * size // shares)
            else:
                share = np.arange(size) % shares
                dealt = np.argsort(share, kind="stable")
                positions[begin:end] = positions[begin:end].reshape(-1, size)[:, dealt].ravel()
                firsts = np.flatnonzero(np.diff(share[dealt], prepend=-1))
            bounds.append((np.arange(begin, end, size)[:, np.newaxis] + firsts).ravel())
    return positions, np.concatenate([*bounds, [n]])


def prepare_batches(
    trainer: Trainer, layout: Layout, n_threads: int, size: int, longest: int, *, symbols: bool
) -> None:
    """Give a trainer the arrays for batches of `size` sequences of up to `longest` steps, shared by `n_threads`."""
    width = layout.width_abreast(size)
    shares = n_shares(size, width)
    share = -(-size // shares)
    total = layout.sums_memory(1)
    trainer.begin_batches(
        batch=layout.batch_arrays(size),
        total=total,
        sums=layout.sums_memory(min(shares, max(n_threads, SUMS_BYTES // total.places.stride))),
        workers=[layout.worker_memory(share, longest, width, symbols=symbols) for _ in range(n_threads)],
        worth_abreast=layout.worth_abreast,
        worth_sharing=WORTH_SHARING,
    )


class Helpers:
    """The helpers of a trainer's team. The leader, which is the thread that makes this, in the end calls `join`.

    As a signal's handler may end a `with` statement's own code, that is for a `try` statement.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._process = os.getpid()
        self._ended: list[LockType] = []  # one lock for each helper that may have been started: held until it ends
        self._has_begun: list[bool] = []

    def start(self, n: int) -> None:
        """Start n helpers, or as many as the system gives threads for: fewer come to the same result."""
        self._has_begun = [False] * n
        for number in range(1, n + 1):
            try:
                moved, ended = allocate_lock(), allocate_lock()
            except RuntimeError:  # as CPython before 3.13 says that there is no memory
                break
            moved.acquire()
            ended.acquire()
            # Noted before it starts, so that `join` ends it even if a signal's handler or a lack of memory comes next.
            self._ended.append(ended)
            try:
                start_new_thread(self._help, (number, moved, ended))
            except RuntimeError:
                ended.release()
                break
            # The helper may need this thread's processor to move to its own. If all are busy, waiting longer is no use.
            moved.acquire(timeout=PATIENCE)

    def join(self) -> None:
        """End the helpers and wait for that. In the child of a fork there are none."""
        if self._ended and self._process == os.getpid():
            self._trainer.end_team()
            for i, ended in enumerate(self._ended):
                # A helper that begins later than LATE ends at once: it need not be waited for.
                if not ended.acquire(timeout=LATE) and self._has_begun[i]:
                    ended.acquire()

    def _help(self, number: int, moved: LockType, ended: LockType) -> None:
        try:
            self._has_begun[number - 1] = True
            self._trainer.move_helper(number)
            moved.release()
            self._trainer.help(number)
        finally:
            ended.release()
