"""The rows of the table: what is timed, on which network and data, against which peers, with which target.

The PyTorch peers all compute in float32, PyTorch's default: in float64 it is many times slower. So do ONNX Runtime,
whose LSTM has no other type, and deep-river.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import lstm97

from . import deepriver, jax_batches, jax_steps, jax_streams, onnx_runtime, ours, pytorch
from .compiling import level_flags
from .counting import Work, count
from .numpy_loop import NumpyLoop
from .ours import BATCH_LEARNING_RATE, LEARNING_RATE, N_SEQUENCES, problem
from .processes import side_by_side
from .textbook import Textbook
from .timing import Workload

DTYPES = ("float64", "float32")
THREADS = 2
N_NETWORKS = 4
AS_GOOD_AS_PROCESSES = 0.95
AS_FAST_AS_ARRAYS = 1.1


class PeerMissingError(Exception):
    """A peer that cannot run here; the message says why."""


class DisagreementError(Exception):
    """A peer that should run the same algorithm has other results."""


@dataclass(frozen=True)
class Peer:
    """A workload that ours is compared with, built only when the row is run.

    Attributes
    ----------
    name : str
        Shown if it is missing.
    build : callable
        Makes its workload.
    target : float, optional
        The least ratio of its time to ours.
    is_ours : bool, default False
        Whether it is another workload of lstm97: then the ratio is that of the row's time to its time, and the target a
        maximum.
    """

    name: str
    build: Callable[[], Workload]
    target: float | None = None
    is_ours: bool = False


@dataclass(frozen=True)
class Row:
    """One row: our workload, its peers, and the work of a step, unless single calls are timed."""

    name: str
    dtype: str
    ours: Callable[[], Workload]
    peers: tuple[Peer, ...]
    work: Work | None = None


def build(peer: Peer) -> Workload:
    """Build a peer's workload; PeerMissingError where what it needs is not installed."""
    try:
        return peer.build()
    except ModuleNotFoundError as error:
        raise PeerMissingError(f"{error.name} is not installed") from error


def _textbook(topology: lstm97.Topology, n_steps: int, *flags: str, every_step: bool) -> Workload:
    inputs, targets = problem(topology, n_steps, "float64", every_step=every_step)
    net = lstm97.Network(topology, seed=0)
    try:
        peer = Textbook(topology, net.parameters, *flags)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PeerMissingError(f"no working C compiler: {error}") from error
    # Before anything is timed, both must learn the same weights from the same sequences.
    few = slice(0, 3)
    peer.train(inputs[few], targets[few], learning_rate=LEARNING_RATE)
    lstm97.train(net, inputs[few], targets[few], learning_rate=LEARNING_RATE)
    difference = float(np.max(np.abs(peer.parameters - net.parameters)))
    if not difference < 1e-10:
        raise DisagreementError(f"textbook.c and lstm97 differ by {difference:g} on {topology}")

    def run(n_items: int) -> None:
        peer.train(inputs, targets, learning_rate=LEARNING_RATE, n_items=n_items)

    return Workload(" ".join(["textbook C loop", *flags]), run, n_steps)


def _textbooks(
    topology: lstm97.Topology, n_steps: int, *, every_step: bool, target: float | None = None
) -> Iterator[Peer]:
    """Compiled with ordinary flags; and also for the instruction set of our build, unless that is the baseline."""
    name = "textbook C loop"
    yield Peer(name, lambda: _textbook(topology, n_steps, every_step=every_step), target)
    if flags := level_flags():
        yield Peer(" ".join([name, *flags]), lambda: _textbook(topology, n_steps, *flags, every_step=every_step))


def _numpy(topology: lstm97.Topology, n_steps: int) -> Workload:
    inputs, targets = problem(topology, n_steps, "float64", every_step=False)
    peer = NumpyLoop(topology, lstm97.Network(topology, seed=0).parameters)

    def run(n_items: int) -> None:
        peer.train(inputs, targets, learning_rate=LEARNING_RATE, n_items=n_items)

    return Workload("NumPy loop", run, n_steps)


def _at_the_end(
    title: str,
    topology: lstm97.Topology,
    n_steps: int,
    dtype: str,
    *,
    torch: float | None,
    textbook: float | None = None,
    with_numpy: bool = False,
) -> Row:
    """Training with an error signal at the end of each sequence."""
    peers: list[Peer] = []
    if dtype == "float64" and topology.gate_sources:
        peers += _textbooks(topology, n_steps, every_step=False, target=textbook)
    if dtype == "float64" and with_numpy:
        peers.append(Peer("NumPy loop", lambda: _numpy(topology, n_steps)))
    lstm = Peer(
        "PyTorch nn.LSTM",
        lambda: pytorch.lstm_training(
            *problem(topology, n_steps, "float32", every_step=False),
            n_cells=topology.n_cells,
            learning_rate=LEARNING_RATE,
        ),
        torch,
    )
    return Row(
        f"{title}, {topology.n_weights} weights, T={n_steps}, error at the end",
        dtype,
        lambda: ours.train(topology, n_steps, dtype),
        (*peers, lstm),
        count(topology, dtype, signals=1 / n_steps, outputs=1 / n_steps),
    )


def _batch(
    title: str, topology: lstm97.Topology, n_steps: int, dtype: str, *, torch: float | None, jax: float | None = None
) -> Row:
    """Training with one weight change for many sequences; JAX, if it is a peer, must come to the same weights."""
    peers = [_torch_batches(topology, n_steps, torch)]
    if jax:
        peers.append(Peer("JAX", lambda: _jax_batches(topology, n_steps, dtype), jax))
    return Row(
        f"{title}, T={n_steps}, batches of {N_SEQUENCES}, error at the end",
        dtype,
        lambda: ours.train_batches(topology, n_steps, dtype),
        tuple(peers),
        count(topology, dtype, signals=1 / n_steps, outputs=1 / n_steps, batch_size=N_SEQUENCES),
    )


def _one_batch(title: str, topology: lstm97.Topology, n_steps: int, dtype: str, *, torch: float) -> Row:
    """The same, one batch per call."""
    return Row(
        f"{title}, T={n_steps}, one train call per batch of {N_SEQUENCES}",
        dtype,
        lambda: ours.train_calls(
            topology, n_steps, dtype, n_sequences=N_SEQUENCES, update="sequence", batch_size=N_SEQUENCES
        ),
        (_torch_batches(topology, n_steps, torch),),
    )


def _torch_batches(topology: lstm97.Topology, n_steps: int, target: float | None) -> Peer:
    return Peer(
        "PyTorch nn.LSTM",
        lambda: pytorch.lstm_training(
            *problem(topology, n_steps, "float32", every_step=False),
            n_cells=topology.n_cells,
            learning_rate=BATCH_LEARNING_RATE,
            batch_size=N_SEQUENCES,
        ),
        target,
    )


def _jax_batches(topology: lstm97.Topology, n_steps: int, dtype: str) -> Workload:
    inputs, targets = problem(topology, n_steps, dtype, every_step=False)
    net = lstm97.Network(topology, dtype=dtype, seed=0)
    workload, call = jax_batches.batches(topology, inputs, targets, dict(net.weights), BATCH_LEARNING_RATE)
    for _ in range(3):
        found = call()
        lstm97.train(net, inputs, targets, BATCH_LEARNING_RATE, update="sequence", batch_size=N_SEQUENCES)
        difference = max(float(np.max(np.abs(found[kind] - w))) for kind, w in net.weights.items())
        if not difference < 1e-5:
            raise DisagreementError(f"JAX and lstm97 differ by {difference:g} on {topology}")
    return workload


def _on_threads(topology: lstm97.Topology, n_steps: int, *, batch_size: int, target: float) -> Peer:
    """PyTorch on as many threads."""
    return Peer(
        f"PyTorch nn.LSTM, {THREADS} threads",
        lambda: pytorch.lstm_training(
            *problem(topology, n_steps, "float32", every_step=False),
            n_cells=topology.n_cells,
            learning_rate=BATCH_LEARNING_RATE,
            batch_size=batch_size,
            threads=THREADS,
        ),
        target,
    )


def _many_networks(
    title: str, topology: lstm97.Topology, n_steps: int, dtype: str, *, one_thread: float, torch: float
) -> Row:
    """Networks trained in threads; the peers train them in one thread, and in processes, which share nothing."""

    def workload(threads: int) -> Workload:
        return ours.train_many(topology, n_steps, dtype, n_networks=N_NETWORKS, threads=threads)

    def processes() -> Workload:
        n_networks = N_NETWORKS // THREADS
        return side_by_side(THREADS, ours.train_many, topology, n_steps, dtype, n_networks=n_networks, threads=1)

    return Row(
        f"{N_NETWORKS} networks, {title}, T={n_steps}, {THREADS} threads",
        dtype,
        lambda: workload(THREADS),
        (
            Peer("one thread", lambda: workload(1), one_thread),
            Peer(f"{THREADS} processes", processes, AS_GOOD_AS_PROCESSES),
            _on_threads(topology, n_steps, batch_size=1, target=torch),
        ),
    )


def _shared_batch(
    title: str, topology: lstm97.Topology, n_steps: int, dtype: str, *, batch_size: int, one_thread: float, torch: float
) -> Row:
    """Threads that share the sequences of a batch; the peers are one thread, and processes, each of which trains a
    network of its own: the most that the machine can do.
    """

    def workload(threads: int) -> Workload:
        return ours.train_batches(topology, n_steps, dtype, batch_size=batch_size, threads=threads)

    def processes() -> Workload:
        return side_by_side(THREADS, ours.train_batches, topology, n_steps, dtype, batch_size=batch_size)

    return Row(
        f"{title}, T={n_steps}, batches of {batch_size}, {THREADS} threads",
        dtype,
        lambda: workload(THREADS),
        (
            Peer("one thread", lambda: workload(1), one_thread),
            *([Peer(f"{THREADS} processes", processes, AS_GOOD_AS_PROCESSES)] if one_thread > 1 else []),
            _on_threads(topology, n_steps, batch_size=batch_size, target=torch),
        ),
    )


def _symbols(n_symbols: int, few: int, n_steps: int, dtype: str, *, growth: float | None) -> Row:
    """Training on symbols; the peer is lstm97 with fewer symbols."""

    def topology(n: int) -> lstm97.Topology:
        return lstm97.Topology(n, 2, blocks=(1, 1))

    inputs, _ = ours.symbol_problem(n_symbols, n_steps)
    seen = float(np.mean([len(np.unique(sequence)) for sequence in inputs]))
    return Row(
        f"{n_symbols} against {few} symbols, 2 cells, T={n_steps}, error at the end",
        dtype,
        lambda: ours.train_symbols(topology(n_symbols), n_steps, dtype),
        (Peer(f"{few} symbols", lambda: ours.train_symbols(topology(few), n_steps, dtype), growth, is_ours=True),),
        count(topology(n_symbols), dtype, signals=1 / n_steps, outputs=1 / n_steps, symbols_seen=seen),
    )


def _online_peer(topology: lstm97.Topology, n_steps: int, target: float) -> Peer:
    return Peer(
        "PyTorch LSTMCell",
        lambda: pytorch.online_learning(
            *problem(topology, n_steps, "float32", every_step=True),
            n_cells=topology.n_cells,
            logistic=topology.output == "logistic",
            learning_rate=LEARNING_RATE,
        ),
        target,
    )


def _every_step(title: str, topology: lstm97.Topology, n_steps: int, dtype: str, *, torch: float) -> Row:
    """Learning with an error signal at every step, a sequence per call."""
    peers = [_online_peer(topology, n_steps, torch)]
    if dtype == "float64":
        peers = [*_textbooks(topology, n_steps, every_step=True), *peers]
    return Row(
        f"{title}, {topology.n_weights} weights, T={n_steps}, error at every step",
        dtype,
        lambda: ours.learn_run(topology, n_steps, dtype),
        tuple(peers),
        count(topology, dtype, signals=1, outputs=1),
    )


def _every_step_forgetting(topology: lstm97.Topology, n_steps: int, dtype: str, *, jax: float) -> Row:
    """Learning with an error signal at every step in a network with forget gates; the outputs must be the same."""

    def peer() -> Workload:
        inputs, targets = problem(topology, n_steps, dtype, every_step=True)
        net = lstm97.Network(topology, dtype=dtype, seed=0)
        workload, call = jax_steps.sequences(inputs, targets, dict(net.weights), LEARNING_RATE)
        for X, t in zip(inputs[:3], targets[:3], strict=True):
            net.reset()
            difference = float(np.max(np.abs(net.learn_run(X, t, LEARNING_RATE) - call())))
            if not difference < 1e-5:
                raise DisagreementError(f"JAX and lstm97 differ by {difference:g} on {topology}")
        return workload

    return Row(
        f"{topology.n_cells} cells, {topology.n_inputs} inputs, forget gates, T={n_steps}, error at every step",
        dtype,
        lambda: ours.learn_run(topology, n_steps, dtype),
        (Peer("JAX", peer, jax),),
        count(topology, dtype, signals=1, outputs=1),
    )


def _rule(
    name: str, title: str, topology: lstm97.Topology, n_steps: int, dtype: str, *, most: float, **rule: Any
) -> Row:
    """Learning by another rule; the peer is the paper's, of the same network."""

    def peer() -> Workload:
        workload = ours.learn_run(topology, n_steps, dtype)
        return Workload(f"{workload.name}, SGD()", workload.run, workload.steps)

    return Row(
        f"{name}, {title}, T={n_steps}, error at every step",
        dtype,
        lambda: ours.learn_run(topology, n_steps, dtype, **rule),
        (Peer("SGD()", peer, most, is_ours=True),),
    )


def _one_learn(title: str, topology: lstm97.Topology, dtype: str, *, torch: float) -> Row:
    """Learning from one observation per call."""
    name = f"{title}, one net.learn call per observation"
    return Row(name, dtype, lambda: ours.learn_calls(topology, 100, dtype), (_online_peer(topology, 100, torch),))


def _one_step(title: str, topology: lstm97.Topology, dtype: str, *, torch: float, onnx: float) -> Row:
    """Inference, one step per call."""

    def peer(name: str, workload: Callable[..., Workload], target: float) -> Peer:
        def make() -> Workload:
            inputs, _ = problem(topology, 100, "float32", every_step=True)
            return workload(inputs, n_cells=topology.n_cells, n_outputs=topology.n_outputs)

        return Peer(name, make, target)

    peers = (
        peer("PyTorch LSTMCell", pytorch.inference, torch),
        peer("ONNX Runtime, session.run", onnx_runtime.run_calls, onnx),
        peer("ONNX Runtime, bound buffers", onnx_runtime.bound_calls, onnx),
    )
    name = f"{title}, one net.step call per observation"
    return Row(name, dtype, lambda: ours.step_calls(topology, 100, dtype), peers)


def _lists(title: str, topology: lstm97.Topology, dtype: str, *, learn: float, step: float) -> Iterator[Row]:
    """An observation per call as a list, as a program without arrays has it; beside the same calls with arrays."""

    def peer(workload: Callable[..., Workload]) -> Peer:
        return Peer("arrays", lambda: workload(topology, 100, dtype), AS_FAST_AS_ARRAYS, is_ours=True)

    def inference() -> Workload:
        inputs, _ = problem(topology, 100, "float32", every_step=True)
        return pytorch.inference(inputs, n_cells=topology.n_cells, n_outputs=topology.n_outputs)

    yield Row(
        f"{title}, lists, one net.learn call per observation",
        dtype,
        lambda: ours.learn_calls(topology, 100, dtype, as_lists=True),
        (peer(ours.learn_calls), _online_peer(topology, 100, learn)),
    )
    yield Row(
        f"{title}, lists, one net.step call per observation",
        dtype,
        lambda: ours.step_calls(topology, 100, dtype, as_lists=True),
        (peer(ours.step_calls), Peer("PyTorch LSTMCell", inference, step)),
    )


def _short(title: str, topology: lstm97.Topology, n_steps: int, dtype: str) -> Iterator[Row]:
    """Calls with little work, whose checks and preparations take their part of the time."""

    def torch_training() -> Workload:
        problem_of = problem(topology, n_steps, "float32", every_step=False)
        return pytorch.lstm_training(*problem_of, n_cells=topology.n_cells, learning_rate=LEARNING_RATE)

    def torch_inference() -> Workload:
        inputs, _ = problem(topology, n_steps, "float32", every_step=True)
        return pytorch.inference(inputs, n_cells=topology.n_cells, n_outputs=topology.n_outputs)

    yield Row(
        f"{title}, T={n_steps}, error at every step, one net.learn_run call per sequence",
        dtype,
        lambda: ours.learn_run(topology, n_steps, dtype),
        (Peer("net.learn calls", lambda: ours.learn_calls(topology, n_steps, dtype), 1.5),),
    )
    yield Row(
        f"{title}, T={n_steps}, one train call per 100 sequences",
        dtype,
        lambda: ours.train_calls(topology, n_steps, dtype, n_sequences=100),
        (
            Peer(
                "one call for 10,000",
                lambda: ours.train_calls(topology, n_steps, dtype, n_sequences=10_000),
                1.3,
                is_ours=True,
            ),
        ),
    )
    for update, least in (("step", 5), ("sequence", 2)):
        yield Row(
            f'{title}, T={n_steps}, one train call per sequence, update="{update}"',
            dtype,
            partial(ours.train_calls, topology, n_steps, dtype, n_sequences=1, update=update),
            (Peer("PyTorch nn.LSTM", torch_training, least),),
        )
    yield Row(
        f"{title}, T={n_steps}, one predict call per sequence",
        dtype,
        lambda: ours.predict_calls(topology, n_steps, dtype),
        (Peer("PyTorch LSTMCell", torch_inference, 10),),
    )


def _stream(title: str, topology: lstm97.Topology, dtype: str, *, deep_river: float) -> Row:
    """Learning from one observation per call; the peer is a library for streams."""
    peer = Peer(
        "deep-river LSTMRegressor",
        # Sequences of 10 steps keep the turns short: the length does not affect this peer's time per step.
        lambda: deepriver.stream_learning(*problem(topology, 10, "float32", every_step=True)),
        deep_river,
    )
    name = f"{title}, one net.learn call per observation"
    return Row(name, dtype, lambda: ours.learn_calls(topology, 100, dtype), (peer,))


N_STREAMS = 1000


def _streams(
    title: str, topology: lstm97.Topology, dtype: str, *, learns: bool, jax: float, onnx: float | None = None
) -> Row:
    """A step of many streams per call; the peers must have the same outputs."""

    def onnx_peer() -> Workload:
        inputs, _ = ours.streams_problem(topology, N_STREAMS, dtype)
        net = lstm97.Network(topology, dtype=dtype, seed=0)
        many = lstm97.Streams(net, N_STREAMS)
        workload, call = onnx_runtime.streams(net, inputs)
        for _ in range(3):
            difference = float(np.max(np.abs(many.step(inputs) - call())))
            if not difference < 1e-5:
                raise DisagreementError(f"ONNX Runtime and lstm97 differ by {difference:g} on {topology}")
        return workload

    def peer() -> Workload:
        inputs, targets = ours.streams_problem(topology, N_STREAMS, dtype)
        rate = ours.streams_rate(N_STREAMS) if learns else None
        net = lstm97.Network(topology, dtype=dtype, seed=0)
        many = lstm97.Streams(net, N_STREAMS)
        workload, call = jax_streams.streams(topology, inputs, targets, dict(net.weights), rate)
        for _ in range(3):
            Y = many.step(inputs) if rate is None else many.learn(inputs, targets, rate)
            difference = float(np.max(np.abs(Y - call())))
            if not difference < 1e-5:
                raise DisagreementError(f"JAX and lstm97 differ by {difference:g} on {topology}")
        return workload

    what = "learn" if learns else "step"
    return Row(
        f"{N_STREAMS} streams, {title}, one streams.{what} call per step",
        dtype,
        lambda: ours.streams(topology, N_STREAMS, dtype, learns=learns),
        (Peer("JAX", peer, jax), *([Peer("ONNX Runtime", onnx_peer, onnx)] if onnx else [])),
    )


def _predict(title: str, topology: lstm97.Topology, n_steps: int, dtype: str, *, torch: float, onnx: float) -> Row:
    """Inference for many sequences in one call; the peers' LSTM has forget gates."""

    def peer(name: str, workload: Callable[..., Workload], target: float) -> Peer:
        def make() -> Workload:
            inputs, _ = problem(topology, n_steps, "float32", every_step=False)
            return workload(inputs, n_cells=topology.n_cells, n_outputs=topology.n_outputs)

        return Peer(name, make, target)

    peers = (
        peer("PyTorch nn.LSTM", pytorch.prediction, torch),
        peer("ONNX Runtime", onnx_runtime.prediction, onnx),
    )
    name = f"{title}, T={n_steps}, predict for {N_SEQUENCES} sequences"
    return Row(name, dtype, lambda: ours.predict(topology, n_steps, dtype), peers)


def _rows() -> Iterator[Row]:
    adding = lstm97.Topology(2, 1, blocks=(2, 2), output="identity")
    grammar = lstm97.Topology(7, 7, blocks=(2, 2, 2))
    cells_64 = lstm97.Topology(32, 1, blocks=(1,) * 64, gate_sources=False, output="identity")
    cells_16 = lstm97.Topology(32, 1, blocks=(1,) * 16, gate_sources=False, output="identity")
    cells_256 = lstm97.Topology(128, 1, blocks=(1,) * 256, gate_sources=False, output="identity")
    cells_512 = lstm97.Topology(256, 1, blocks=(1,) * 512, gate_sources=False, output="identity")
    # The same gates as the peer's LSTM, and as many inputs as it has by default.
    streaming = lstm97.Topology(10, 1, blocks=(1,) * 32, forget_gates=True, gate_sources=False, output="identity")
    for dtype in DTYPES:
        yield _at_the_end("adding net", adding, 100, dtype, torch=100, textbook=2, with_numpy=True)
    for dtype in DTYPES:
        yield _at_the_end("adding net", adding, 1000, dtype, torch=40)
    for dtype in DTYPES:
        yield _every_step("3x2 cells, 7 in, 7 out", grammar, 100, dtype, torch=100)
    for n_cells, jax in ((32, 2), (128, 1), (256, 1), (512, 1)):
        blocks = (1,) * n_cells
        forgetting = lstm97.Topology(10, 1, blocks=blocks, forget_gates=True, gate_sources=False, output="identity")
        yield _every_step_forgetting(forgetting, 100, "float32", jax=jax)
    for name, optimizer in (
        ("SGD(bound=1)", lstm97.SGD(bound=1)),
        ("SGD(momentum=0.9)", lstm97.SGD(momentum=0.9)),
        ("RMSprop()", lstm97.RMSprop()),
        ("RMSprop(bound=1)", lstm97.RMSprop(bound=1)),
        ("Adam()", lstm97.Adam()),
    ):
        yield _rule(name, "64 cells, 32 inputs", cells_64, 100, "float32", most=1.6, optimizer=optimizer)
    yield _rule("RLS()", "16 cells, 32 inputs", cells_16, 100, "float32", most=3, readout=lstm97.RLS())
    for dtype in DTYPES:
        yield _one_learn("adding net", adding, dtype, torch=200)
    for dtype in DTYPES:
        yield _one_step("adding net", adding, dtype, torch=50, onnx=15)
    for dtype in DTYPES:
        yield from _lists("adding net", adding, dtype, learn=200, step=50)
        yield from _short("adding net", adding, 10, dtype)
    # The larger networks have targets in float32 only, the peer's dtype.
    for title, topology, target in (("64 cells, 32 inputs", cells_64, 8), ("256 cells, 128 inputs", cells_256, 2.5)):
        yield _at_the_end(title, topology, 100, "float32", torch=target)
        yield _at_the_end(title, topology, 100, "float64", torch=None)
    yield _batch("adding net", adding, 100, "float64", torch=None)
    yield _batch("adding net", adding, 100, "float32", torch=25, jax=12)
    yield _one_batch("adding net", adding, 100, "float32", torch=8)
    for title, topology, target in (("64 cells, 32 inputs", cells_64, 2), ("256 cells, 128 inputs", cells_256, 1.5)):
        yield _batch(title, topology, 100, "float32", torch=target)
        yield _batch(title, topology, 100, "float64", torch=None)
    for n_cells, step, learn in ((4, 4, 3), (8, 4, 3), (32, 1, 1.2), (64, 1, 1), (256, 1, None)):
        narrow = lstm97.Topology(1, 1, blocks=(1,) * n_cells, output="identity")
        yield _streams(f"{n_cells} cells, 1 input", narrow, "float32", learns=False, jax=step, onnx=step)
        if learn:  # the partials of 1,000 streams of 256 cells take 1.6 GB
            yield _streams(f"{n_cells} cells, 1 input", narrow, "float32", learns=True, jax=learn)
    for dense in (cells_64, cells_256, cells_512):
        yield _predict(f"{dense.n_cells} cells, {dense.n_inputs} inputs", dense, 100, "float32", torch=1.2, onnx=1.1)
    for dtype in DTYPES:
        yield _symbols(1004, 54, 100, dtype, growth=1.2)
        yield _symbols(50004, 54, 100, dtype, growth=None)
    for dtype in DTYPES:
        # The targets against PyTorch are the same as with one thread.
        for title, topology, alone, batches in (
            ("adding net", adding, 100, 4),
            ("256 cells, 128 inputs", cells_256, 2.5, 1.5),
        ):
            yield _many_networks(title, topology, 100, dtype, one_thread=1.9, torch=alone)
            for size in (16, 64):
                yield _shared_batch(title, topology, 100, dtype, batch_size=size, one_thread=1.7, torch=batches)
        # Too little work for more threads: asking for them must cost nothing.
        yield _shared_batch("adding net", adding, 2, dtype, batch_size=16, one_thread=0.97, torch=4)
    for dtype in DTYPES:
        yield _stream("32 cells, 10 inputs", streaming, dtype, deep_river=1000)


def table() -> list[Row]:
    """Return the rows, in the order of the table."""
    return list(_rows())
