"""The text task: predict the next byte of a text online, in one pass, and count what that costs in bits.

A predictor gives the next byte a probability p before it sees it; the byte then costs -log2(p) bits, as an
arithmetic coder would charge. Bits per byte so far is the mean of these costs from the first byte on,
learning included. The network is never reset and sees every byte once. Beside it stand adaptive order-0 and
order-2 models (`ByteModel`), which learn in the same single pass, and zlib.
"""

from __future__ import annotations

import importlib.util
import math
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from lstm97.network import Network
from lstm97.topology import Topology

CHUNK = 4096
"""Bytes that are read and learned at once; any other number gives the same bits."""

UNIFORM_SHARE = 2.0**-16
"""Share of the uniform distribution mixed into the network's, so that no byte costs more than 24 bits."""


def default_text() -> Path:
    """Find a text that ships with CPython: the source of `pydoc_data.topics`, the help texts of the language.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileNotFoundError
        If this Python has no such source file.
    """
    spec = importlib.util.find_spec("pydoc_data")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / "topics.py"
        if path.is_file():
            return path
    raise FileNotFoundError("this Python has no source file pydoc_data/topics.py; give a file of your own")


class ByteModel:
    """An adaptive model of bytes given the `order` bytes before each.

    Parameters
    ----------
    order : {0, 1, 2}
        Length of the longest context.

    Notes
    -----
    With c(b) the number of times byte b has followed the current context of length k so far, n the sum of
    these counts, and d the number of different bytes among them,

        p_k(b) = (c(b) + d * p_{k-1}(b)) / (n + d),        p_k = p_{k-1} in a context never seen,

    down to p_{-1} = 1/256. The share d / (n + d) left to the shorter context is the escape probability of
    PPM's method C; the orders are blended instead of excluded, so that every p_k sums to one. Bytes before
    the first count as zeros.

    References
    ----------
    I. H. Witten and T. C. Bell (1991), The zero-frequency problem, IEEE Transactions on Information Theory
    37(4).

    Examples
    --------
    A byte's first appearance costs 8 bits; at the second, p = (1 + 1 / 256) / 2.

    >>> import numpy as np
    >>> ByteModel(0).cost(np.frombuffer(b"aa", np.uint8)).round(3)
    array([8.   , 0.994])
    """

    def __init__(self, order: Literal[0, 1, 2]) -> None:
        if order not in (0, 1, 2):
            raise ValueError(f"order is {order!r}, expected 0, 1 or 2")
        self.order = order
        self._last = 0  # the last bytes, as a number in base 256
        # By context length: how often each (context, byte) came, how often each context, and the number of
        # different bytes that followed it.
        self._pairs = [np.zeros(256 ** (k + 1), dtype=np.int64) for k in range(order + 1)]
        self._contexts = [np.zeros(256**k, dtype=np.int64) for k in range(order + 1)]
        self._distinct = [np.zeros(256**k, dtype=np.int64) for k in range(order + 1)]

    def cost(self, data: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Charge for the bytes that come next in the stream, and learn them.

        Parameters
        ----------
        data : ndarray of uint8, shape (n,)
            The next bytes. How a stream is cut into calls does not matter.

        Returns
        -------
        ndarray of float64, shape (n,)
            Bits that each byte costs, given all bytes before it.
        """
        recent = np.array([self._last >> 8 & 255, self._last & 255], dtype=np.int64)
        stream = np.concatenate([recent, data.astype(np.int64)])
        p = np.full(len(data), 1.0 / 256.0)
        context = np.zeros(len(data), dtype=np.int64)
        for k in range(self.order + 1):
            if k > 0:
                context += stream[2 - k : len(stream) - k] * 256 ** (k - 1)
            pair = context * 256 + stream[2:]
            c = self._pairs[k][pair] + _earlier(pair)
            n = self._contexts[k][context] + _earlier(context)
            new = c == 0
            d = self._distinct[k][context] + _earlier(context, new)
            p = np.where(n > 0, (c + d * p) / np.maximum(n + d, 1), p)
            np.add.at(self._pairs[k], pair, 1)
            np.add.at(self._contexts[k], context, 1)
            np.add.at(self._distinct[k], context[new], 1)
        if len(stream) > 2:
            self._last = int(stream[-2] << 8 | stream[-1])
        bits: NDArray[np.float64] = -np.log2(p)
        return bits


def _earlier(keys: NDArray[np.int64], counted: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """For each position, the number of (counted) earlier positions with the same key."""
    if len(keys) == 0:
        return np.zeros(0, dtype=np.int64)
    order = np.argsort(keys, kind="stable")
    ones = np.ones(len(keys), dtype=np.int64) if counted is None else counted[order].astype(np.int64)
    before = np.cumsum(ones) - ones
    groups = np.flatnonzero(np.diff(keys[order], prepend=keys[order[0]] - 1))
    result = np.empty_like(before)
    result[order] = before - np.repeat(before[groups], np.diff(groups, append=len(keys)))
    return result


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """The network of the text task: single cells with three gates, 256 symbols in, softmax over 256 out."""

    cells: int = 64
    learning_rate: float = 0.15
    seed: int = 1

    def network(self) -> Network:
        """Return a fresh network of float32 numbers."""
        topology = Topology(
            256,
            256,
            blocks=(1,) * self.cells,
            forget_gates=True,
            gate_sources=False,
            input_squash="tanh",
            output_squash="tanh",
            output="softmax",
        )
        return Network(topology, dtype="float32", seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class TextRecord:
    """What a text, or as much of it as has been read, costs. Records are equal when all but their times are.

    Costs are in bits per byte, from the first byte on. The first byte, which nothing predicts, costs the
    network 8 bits.
    """

    n_bytes: int
    cells: int
    learning_rate: float
    seed: int
    network_bits: float
    recent_bits: float
    """The network's, over the most recent chunk of up to 4096 bytes only."""
    order0_bits: float
    order2_bits: float
    zlib_bits: float | None
    """zlib at level 9, over all the bytes; None before the end, when it is not known yet."""
    seconds: float = field(compare=False)
    """Time in which the network learned."""
    bytes_per_second: float = field(compare=False)


def learn_text(
    stream: BinaryIO,
    settings: TextSettings | None = None,
    *,
    max_bytes: int | None = None,
    callback: Callable[[TextRecord], object] | None = None,
) -> tuple[Network, TextRecord]:
    """Learn to predict the next byte of a stream, online and in one pass.

    Parameters
    ----------
    stream : binary file
        Read in chunks to its end; memory does not grow with it.
    settings : TextSettings, optional
        The network and its learning rate.
    max_bytes : int, optional
        Stop after this many bytes.
    callback : callable, optional
        Called after each chunk with the record so far.

    Returns
    -------
    network : lstm97.Network
        As it is at the end, its state included.
    record : TextRecord

    Raises
    ------
    ValueError
        If there is nothing to read.
    FloatingPointError
        If learning diverges.
    """
    settings = TextSettings() if settings is None else settings
    network = settings.network()
    order0, order2, compressor = ByteModel(0), ByteModel(2), zlib.compressobj(9)
    bits = {"network": 0.0, "order0": 0.0, "order2": 0.0}
    n_bytes = compressed = 0
    last: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)
    recent, seconds = 8.0, 0.0
    remaining = math.inf if max_bytes is None else max_bytes

    def record(zlib_bits: float | None) -> TextRecord:
        return TextRecord(
            n_bytes=n_bytes,
            cells=settings.cells,
            learning_rate=settings.learning_rate,
            seed=settings.seed,
            network_bits=bits["network"] / n_bytes,
            recent_bits=recent,
            order0_bits=bits["order0"] / n_bytes,
            order2_bits=bits["order2"] / n_bytes,
            zlib_bits=zlib_bits,
            seconds=seconds,
            bytes_per_second=n_bytes / seconds if seconds > 0 else 0.0,
        )

    while block := stream.read(int(min(CHUNK, remaining))):
        data = np.frombuffer(block, dtype=np.uint8)
        pairs = np.concatenate([last, data]).astype(np.int32)
        began = time.perf_counter()
        Y = network.learn_run(pairs[:-1], pairs[1:], learning_rate=settings.learning_rate)
        seconds += time.perf_counter() - began
        p = Y[np.arange(len(Y)), pairs[1:]].astype(np.float64)
        cost = -np.log2((1.0 - UNIFORM_SHARE) * p + UNIFORM_SHARE / 256.0)
        charged = float(cost.sum()) + (8.0 if n_bytes == 0 else 0.0)
        recent = charged / len(data)
        bits["network"] += charged
        bits["order0"] += float(order0.cost(data).sum())
        bits["order2"] += float(order2.cost(data).sum())
        compressed += len(compressor.compress(block))
        n_bytes += len(data)
        remaining -= len(data)
        last = data[-1:]
        if callback is not None:
            callback(record(None))
    if n_bytes == 0:
        raise ValueError("there is nothing to read in the stream")
    compressed += len(compressor.flush())
    return network, record(8.0 * compressed / n_bytes)
