"""The threads that train one network: how a batch is cut into shares for them, and their coming and going."""

from __future__ import annotations

from _thread import LockType, allocate_lock, start_new_thread
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from lstm97._engine import Engine
from lstm97._layout import Layout

SUMS_BYTES = 4_000_000
"""So much memory for sums of changes is no matter; beyond it there are no more of them than threads."""

WORTH_THREADS = 3_000_000
"""Weights times steps, a nanosecond or so each: with less work in a whole call threads would not pay."""

WORTH_SHARING = 60_000
"""With less work in a batch it would not pay to share it."""


def n_shares(batch_size: int) -> int:
    """Into how many shares a batch is cut: of four sequences, of more where there are many. `_core` knows the same."""
    return min(-(-batch_size // 4), max(8, batch_size // 16))


def schedule(lengths: NDArray[np.int64], batch_size: int) -> NDArray[np.int64]:
    """The positions of sequences in a presentation in the order they are trained in.

    Batch after batch, share after share, the longest of each share first. A batch's sequences are dealt to its shares
    by falling length, so that these are equally long.

    Parameters
    ----------
    lengths : ndarray, shape (n,), int64
        Of the presentation's sequences, in steps.
    batch_size : int

    Returns
    -------
    ndarray, shape (n,), int64
    """
    n = len(lengths)
    batch, rank = np.divmod(np.arange(n), batch_size)
    by_length = np.lexsort((-lengths, batch))
    shares = np.full(n, n_shares(batch_size))
    if last := n % batch_size:
        shares[-last:] = n_shares(last)
    return by_length[np.lexsort((rank % shares, batch))]


def prepare_batches(engine: Engine, layout: Layout, n_threads: int, size: int, longest: int, *, symbols: bool) -> None:
    """Make the arrays for training in batches of `size` sequences of up to `longest` steps."""
    shares = n_shares(size)
    sum_bytes = layout.dtype.itemsize * layout.sizes["n_sources"] * layout.sizes["n_change_lanes"]
    engine.begin_batches(
        batch=layout.batch_arrays(size),
        sums=layout.sums_arrays(min(shares, max(n_threads, SUMS_BYTES // sum_bytes))),
        workers=[layout.worker_arrays(-(-size // shares), longest, symbols=symbols) for _ in range(n_threads)],
        worth_sharing=WORTH_SHARING,
    )


@contextmanager
def at_work(engine: Engine, n_threads: int) -> Iterator[None]:
    """A context in which an engine's crew has all its threads."""
    if n_threads == 1:
        yield
        return
    helpers = []
    try:
        for number in range(1, n_threads):
            gone = allocate_lock()
            gone.acquire()
            try:
                # threading.Thread would wait until it runs, and so for the GIL: the leader can work meanwhile.
                start_new_thread(_help, (engine, number, gone))
            except RuntimeError:  # no more threads to be had: fewer do the same
                break
            helpers.append(gone)
        yield
    finally:
        engine.dismiss()
        for gone in helpers:
            gone.acquire()


def _help(engine: Engine, number: int, gone: LockType) -> None:
    try:
        engine.help(number)
    finally:
        gone.release()
