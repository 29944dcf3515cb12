"""The workloads of lstm97 in the rows: its calls on random data."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any

import numpy as np
import numpy.typing as npt

import lstm97

from .timing import Workload

# Small enough to keep weights and states away from saturation for as long as a measurement lasts: saturated
# units lead to subnormal numbers, which are slower to compute with.
LEARNING_RATE = 0.01

# Sequences in the data and in a batch: few enough that the smaller data fit into a level-2 cache, so that the algorithm
# is timed and not the memory.
N_SEQUENCES = 64

# Divided by the batch size, because a batch changes weights by the sum over its sequences.
BATCH_LEARNING_RATE = LEARNING_RATE / N_SEQUENCES


def problem(
    topology: lstm97.Topology, n_steps: int, dtype: str, *, every_step: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Random inputs, and random targets at every step or at the end; their values do not affect the time."""
    rng = np.random.default_rng(0)
    inputs = rng.uniform(-1.0, 1.0, (N_SEQUENCES, n_steps, topology.n_inputs))
    shape = (N_SEQUENCES, n_steps) if every_step else (N_SEQUENCES,)
    targets = rng.uniform(0.0, 1.0, (*shape, topology.n_outputs))
    return inputs.astype(dtype), targets.astype(dtype)


def symbol_problem(n_symbols: int, n_steps: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Random symbols, and one of two classes at the end of each sequence."""
    rng = np.random.default_rng(0)
    inputs = rng.integers(n_symbols, size=(N_SEQUENCES, n_steps), dtype=np.int32)
    return inputs, rng.integers(2, size=N_SEQUENCES, dtype=np.int32)


def _in_turn(net: lstm97.Network, inputs: npt.NDArray[Any], targets: npt.NDArray[Any]) -> Workload:
    packed = lstm97.Sequences.pack(inputs)

    def run(n_items: int) -> None:
        order = np.arange(n_items) % len(packed)
        lstm97.train(net, packed, targets, learning_rate=LEARNING_RATE, order=order)

    return Workload("lstm97.train", run, inputs.shape[1])


def train(topology: lstm97.Topology, n_steps: int, dtype: str) -> Workload:
    """One sequence after the other, with an error signal at the end of each."""
    net = lstm97.Network(topology, dtype=dtype, seed=0)
    return _in_turn(net, *problem(topology, n_steps, dtype, every_step=False))


def train_symbols(topology: lstm97.Topology, n_steps: int, dtype: str) -> Workload:
    """As `train`, with symbols as inputs and classes as targets."""
    net = lstm97.Network(topology, dtype=dtype, seed=0)
    workload = _in_turn(net, *symbol_problem(topology.n_inputs, n_steps))
    return Workload(f"{workload.name}, {topology.n_inputs} symbols", workload.run, workload.steps)


def train_many(topology: lstm97.Topology, n_steps: int, dtype: str, *, n_networks: int, threads: int) -> Workload:
    """Networks side by side, all on the same sequences."""
    nets = [lstm97.Network(topology, dtype=dtype, seed=seed) for seed in range(n_networks)]
    inputs, targets = problem(topology, n_steps, dtype, every_step=False)
    packed = lstm97.Sequences.pack(inputs)

    def run(n_items: int) -> None:
        order = np.arange(n_items) % len(packed)
        lstm97.train_many(nets, (packed, targets), LEARNING_RATE, order=order, threads=threads)

    return Workload(f"lstm97.train_many, {_threads(threads)}", run, n_networks * n_steps)


def _threads(n: int) -> str:
    return "one thread" if n == 1 else f"{n} threads"


def train_batches(
    topology: lstm97.Topology, n_steps: int, dtype: str, *, batch_size: int = N_SEQUENCES, threads: int = 1
) -> Workload:
    """All sequences, batch after batch, again and again: one change of the weights for each batch."""
    inputs, targets = problem(topology, n_steps, dtype, every_step=False)
    net = lstm97.Network(topology, dtype=dtype, seed=0)
    packed = lstm97.Sequences.pack(inputs)

    def run(n_items: int) -> None:
        order = np.tile(np.arange(N_SEQUENCES), n_items)
        lstm97.train(
            net,
            packed,
            targets,
            learning_rate=BATCH_LEARNING_RATE,
            update="sequence",
            batch_size=batch_size,
            threads=threads,
            order=order,
        )

    return Workload(f"lstm97.train, batch_size={batch_size}, {_threads(threads)}", run, N_SEQUENCES * n_steps)


def learn_run(topology: lstm97.Topology, n_steps: int, dtype: str, **rule: Any) -> Workload:
    """A sequence per call, with an error signal at every step, by the paper's or another rule."""
    inputs, targets = problem(topology, n_steps, dtype, every_step=True)
    net = lstm97.Network(topology, dtype=dtype, seed=0, **rule)
    out = np.empty((n_steps, topology.n_outputs), dtype)
    pairs = list(zip(inputs, targets, strict=True))

    def run(n_items: int) -> None:
        for x, target in islice(cycle(pairs), n_items):
            net.reset()
            net.learn_run(x, target, LEARNING_RATE, out=out)

    return Workload("net.learn_run", run, n_steps)


def learn_calls(topology: lstm97.Topology, n_steps: int, dtype: str, *, as_lists: bool = False) -> Workload:
    """An observation per call, each with an error signal, as arrays or as lists."""
    inputs, targets = problem(topology, n_steps, dtype, every_step=True)
    net = lstm97.Network(topology, dtype=dtype, seed=0)
    rows_of = _lists_of if as_lists else list
    sequences = [list(zip(rows_of(x), rows_of(target), strict=True)) for x, target in zip(inputs, targets, strict=True)]

    def run(n_items: int) -> None:
        learn = net.learn
        for sequence in islice(cycle(sequences), n_items):
            net.reset()
            for x, target in sequence:
                learn(x, target, LEARNING_RATE)

    return Workload(f"net.learn, a call per step{', lists' * as_lists}", run, n_steps)


def step_calls(topology: lstm97.Topology, n_steps: int, dtype: str, *, as_lists: bool = False) -> Workload:
    """A step of inference per call, its inputs an array or a list."""
    inputs, _ = problem(topology, n_steps, dtype, every_step=True)
    net = lstm97.Network(topology, dtype=dtype, seed=0)
    sequences = [(_lists_of if as_lists else list)(x) for x in inputs]

    def run(n_items: int) -> None:
        step = net.step
        for sequence in islice(cycle(sequences), n_items):
            net.reset()
            for x in sequence:
                step(x)

    return Workload(f"net.step, a call per step{', lists' * as_lists}", run, n_steps)


def _lists_of(rows: npt.NDArray[Any]) -> list[Any]:
    """Each row as a list of floats."""
    return list(rows.tolist())


def train_calls(topology: lstm97.Topology, n_steps: int, dtype: str, *, n_sequences: int, **options: Any) -> Workload:
    """Short trainings: a call for every few sequences, or for many; in batches, where the options say so."""
    inputs, targets = problem(topology, n_steps, dtype, every_step=False)
    inputs = np.resize(inputs, (n_sequences, *inputs.shape[1:]))
    targets = np.resize(targets, (n_sequences, *targets.shape[1:]))
    net = lstm97.Network(topology, dtype=dtype, seed=0)
    rate = LEARNING_RATE / options.get("batch_size", 1)

    def run(n_items: int) -> None:
        for _ in range(n_items):
            lstm97.train(net, inputs, targets, rate, **options)

    return Workload(f"lstm97.train, {n_sequences} sequences a call", run, n_sequences * n_steps)


def predict_calls(topology: lstm97.Topology, n_steps: int, dtype: str) -> Workload:
    """The outputs for one sequence per call."""
    inputs, _ = problem(topology, n_steps, dtype, every_step=False)
    net = lstm97.Network(topology, dtype=dtype, seed=0)
    parts = [inputs[i : i + 1] for i in range(N_SEQUENCES)]

    def run(n_items: int) -> None:
        for part in islice(cycle(parts), n_items):
            lstm97.predict(net, part)

    return Workload("lstm97.predict, a call per sequence", run, n_steps)


def streams_problem(topology: lstm97.Topology, n: int, dtype: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """An input and a target for each of n streams."""
    rng = np.random.default_rng(0)
    inputs = rng.uniform(-1.0, 1.0, (n, topology.n_inputs))
    return inputs.astype(dtype), rng.uniform(0.0, 1.0, (n, topology.n_outputs)).astype(dtype)


def streams_rate(n: int) -> float:
    """A learning rate for the sum over n streams."""
    return LEARNING_RATE / (100 * n)


def streams(topology: lstm97.Topology, n: int, dtype: str, *, learns: bool) -> Workload:
    """One call per step of n streams."""
    inputs, targets = streams_problem(topology, n, dtype)
    many = lstm97.Streams(lstm97.Network(topology, dtype=dtype, seed=0), n)
    out = np.empty((n, topology.n_outputs), dtype)

    def run(n_items: int) -> None:
        many.reset()
        for _ in range(n_items):
            if learns:
                many.learn(inputs, targets, streams_rate(n), out=out)
            else:
                many.step(inputs, out=out)

    return Workload("streams.learn" if learns else "streams.step", run, n)


def predict(topology: lstm97.Topology, n_steps: int, dtype: str) -> Workload:
    """The last outputs for many sequences in one call."""
    inputs, _ = problem(topology, n_steps, dtype, every_step=False)
    net = lstm97.Network(topology, dtype=dtype, seed=0)
    out = np.empty((len(inputs), topology.n_outputs), dtype)

    def run(n_items: int) -> None:
        for _ in range(n_items):
            lstm97.predict(net, inputs, last=True, out=out)

    return Workload("lstm97.predict", run, len(inputs) * n_steps)
