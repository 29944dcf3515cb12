"""The rows of the table: what is timed, on which network and data, against which peers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
import numpy.typing as npt

import lstm97

from . import pytorch
from .textbook import Textbook
from .timing import Workload

# Small enough to keep weights and states away from saturation for as long as a measurement lasts: saturated
# units would bring subnormal numbers, which cost more than others.
LEARNING_RATE = 0.01

# As many as fit into a level-2 cache at the smaller sizes: the algorithm is timed, not the memory.
N_SEQUENCES = 64


class PeerMissingError(Exception):
    """A peer that cannot run here; the message says why."""


class DisagreementError(Exception):
    """A peer that claims to run the same algorithm computes something else."""


@dataclass(frozen=True)
class Row:
    """One row: our workload and those of its peers, built only when the row is run."""

    name: str
    dtype: str
    ours: Callable[[], Workload]
    peers: dict[str, Callable[[], Workload]]


def _problem(
    topology: lstm97.Topology, n_steps: int, dtype: str, *, every_step: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Random inputs, and random targets at every step or at the end; the content does not change the cost."""
    rng = np.random.default_rng(0)
    inputs = rng.uniform(-1.0, 1.0, (N_SEQUENCES, n_steps, topology.n_inputs))
    shape = (N_SEQUENCES, n_steps) if every_step else (N_SEQUENCES,)
    targets = rng.uniform(0.0, 1.0, (*shape, topology.n_outputs))
    return inputs.astype(dtype), targets.astype(dtype)


def _train(topology: lstm97.Topology, n_steps: int, dtype: str) -> Workload:
    inputs, targets = _problem(topology, n_steps, dtype, every_step=False)
    net = lstm97.Network(topology, dtype=dtype, seed=0)
    packed = lstm97.Sequences.pack(inputs)

    def run(n_items: int) -> None:
        order = np.arange(n_items) % N_SEQUENCES
        lstm97.train(net, packed, targets, learning_rate=LEARNING_RATE, order=order)

    return Workload("lstm97.train", run, n_steps)


def _learn_run(topology: lstm97.Topology, n_steps: int, dtype: str) -> Workload:
    inputs, targets = _problem(topology, n_steps, dtype, every_step=True)
    net = lstm97.Network(topology, dtype=dtype, seed=0)
    out = np.empty((n_steps, topology.n_outputs), dtype)
    pairs = list(zip(inputs, targets, strict=True))

    def run(n_items: int) -> None:
        for x, target in islice(cycle(pairs), n_items):
            net.reset()
            net.learn_run(x, target, LEARNING_RATE, out=out)

    return Workload("net.learn_run", run, n_steps)


def _learn_calls(topology: lstm97.Topology, n_steps: int, dtype: str) -> Workload:
    inputs, targets = _problem(topology, n_steps, dtype, every_step=True)
    net = lstm97.Network(topology, dtype=dtype, seed=0)
    sequences = [list(zip(x, target, strict=True)) for x, target in zip(inputs, targets, strict=True)]

    def run(n_items: int) -> None:
        learn = net.learn
        for sequence in islice(cycle(sequences), n_items):
            net.reset()
            for x, target in sequence:
                learn(x, target, LEARNING_RATE)

    return Workload("net.learn, a call per step", run, n_steps)


def _step_calls(topology: lstm97.Topology, n_steps: int, dtype: str) -> Workload:
    inputs, _ = _problem(topology, n_steps, dtype, every_step=True)
    net = lstm97.Network(topology, dtype=dtype, seed=0)
    sequences = [list(x) for x in inputs]

    def run(n_items: int) -> None:
        step = net.step
        for sequence in islice(cycle(sequences), n_items):
            net.reset()
            for x in sequence:
                step(x)

    return Workload("net.step, a call per step", run, n_steps)


def _textbook(topology: lstm97.Topology, n_steps: int, *, every_step: bool) -> Workload:
    inputs, targets = _problem(topology, n_steps, "float64", every_step=every_step)
    net = lstm97.Network(topology, seed=0)
    try:
        peer = Textbook(topology, net.parameters)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PeerMissingError(f"no working C compiler: {error}") from error
    # Before anything is timed, both have to learn the same from the same sequences.
    few = slice(0, 3)
    peer.train(inputs[few], targets[few], learning_rate=LEARNING_RATE)
    lstm97.train(net, inputs[few], targets[few], learning_rate=LEARNING_RATE)
    difference = float(np.max(np.abs(peer.parameters - net.parameters)))
    if not difference < 1e-10:
        raise DisagreementError(f"textbook.c and lstm97 differ by {difference:g} on {topology}")

    def run(n_items: int) -> None:
        peer.train(inputs, targets, learning_rate=LEARNING_RATE, n_items=n_items)

    return Workload("textbook C loop", run, n_steps)


def _torch(build: Callable[[], Workload]) -> Callable[[], Workload]:
    """Guard a PyTorch peer. They all compute in float32, PyTorch's default: in float64 it is many times slower."""

    def guarded() -> Workload:
        try:
            pytorch.load()
        except ImportError as error:
            raise PeerMissingError("not installed") from error
        return build()

    return guarded


def _at_the_end(title: str, topology: lstm97.Topology, n_steps: int, dtype: str) -> Row:
    """Training with an error signal at the end of each sequence."""
    peers: dict[str, Callable[[], Workload]] = {}
    if dtype == "float64":
        peers["textbook C loop"] = lambda: _textbook(topology, n_steps, every_step=False)
    peers["PyTorch nn.LSTM"] = _torch(
        lambda: pytorch.lstm_training(
            *_problem(topology, n_steps, "float32", every_step=False),
            n_cells=topology.n_cells,
            learning_rate=LEARNING_RATE,
        )
    )
    name = f"{title}, {topology.n_weights} weights, T={n_steps}, error at the end"
    return Row(name, dtype, lambda: _train(topology, n_steps, dtype), peers)


def _online_peer(topology: lstm97.Topology, n_steps: int) -> Callable[[], Workload]:
    return _torch(
        lambda: pytorch.online_learning(
            *_problem(topology, n_steps, "float32", every_step=True),
            n_cells=topology.n_cells,
            logistic=topology.output == "logistic",
            learning_rate=LEARNING_RATE,
        )
    )


def _every_step(title: str, topology: lstm97.Topology, n_steps: int, dtype: str) -> Row:
    """Learning with an error signal at every step, a sequence per call."""
    peers: dict[str, Callable[[], Workload]] = {}
    if dtype == "float64":
        peers["textbook C loop"] = lambda: _textbook(topology, n_steps, every_step=True)
    peers["PyTorch LSTMCell"] = _online_peer(topology, n_steps)
    name = f"{title}, {topology.n_weights} weights, T={n_steps}, error at every step"
    return Row(name, dtype, lambda: _learn_run(topology, n_steps, dtype), peers)


def _one_learn(title: str, topology: lstm97.Topology, dtype: str) -> Row:
    """Learning from one observation per call."""
    peers = {"PyTorch LSTMCell": _online_peer(topology, 100)}
    name = f"{title}, one net.learn call per observation"
    return Row(name, dtype, lambda: _learn_calls(topology, 100, dtype), peers)


def _one_step(title: str, topology: lstm97.Topology, dtype: str) -> Row:
    """Inference, one step per call."""
    peer = _torch(
        lambda: pytorch.inference(
            _problem(topology, 100, "float32", every_step=True)[0],
            n_cells=topology.n_cells,
            n_outputs=topology.n_outputs,
        )
    )
    name = f"{title}, one net.step call per observation"
    return Row(name, dtype, lambda: _step_calls(topology, 100, dtype), {"PyTorch LSTMCell": peer})


def table() -> list[Row]:
    """Return the rows, in the order of the table."""
    adding = lstm97.Topology(2, 1, blocks=(2, 2), output="identity")
    grammar = lstm97.Topology(7, 7, blocks=(2, 2, 2))
    cells_64 = lstm97.Topology(32, 1, blocks=(1,) * 64, gate_sources=False, output="identity")
    cells_256 = lstm97.Topology(128, 1, blocks=(1,) * 256, gate_sources=False, output="identity")
    return [
        _at_the_end("adding net", adding, 100, "float64"),
        _at_the_end("adding net", adding, 100, "float32"),
        _at_the_end("adding net", adding, 1000, "float64"),
        _at_the_end("adding net", adding, 1000, "float32"),
        _every_step("3x2 cells, 7 in, 7 out", grammar, 100, "float64"),
        _every_step("3x2 cells, 7 in, 7 out", grammar, 100, "float32"),
        _one_learn("adding net", adding, "float64"),
        _one_step("adding net", adding, "float64"),
        _at_the_end("64 cells, 32 inputs", cells_64, 100, "float32"),
        _at_the_end("256 cells, 128 inputs", cells_256, 100, "float32"),
    ]
