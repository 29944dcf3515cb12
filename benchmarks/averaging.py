"""One network on two workers, and a model of up to a thousand: ``python -m benchmarks.averaging`` prints the tables.

The adding problem is learned by one machine, and by parts whose weights are averaged. Also measured: what a round costs
besides training. The tables are Markdown.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import lstm97
from lstm97.cluster.averaging import FAN_IN, Round, train_averaged
from lstm97.paper import experiment, initial_network, tasks
from lstm97.paper.tables.experiments import lstm_topology

from .latency import markdown_table, where
from .machine import describe
from .timing import Summary

distributed: Any = importlib.import_module("distributed")  # has no complete types

EXPERIMENT = experiment("adding", lag=100)
NETWORKS = {
    "adding net": lstm_topology(EXPERIMENT),
    "256 cells, 128 inputs": lstm97.Topology(128, 1, blocks=(1,) * 256, forget_gates=True, gate_sources=False),
}

N_WORKERS = 2
TESTED_EVERY = 2_000  # training sequences of all parts together, or a round if that has more
TEST_SEQUENCES = 500
GOOD = 0.05

WORKERS = (2, 10, 100, 1_000)
BANDWIDTH = 10e9 / 8
"""Assumed bytes per second into and out of a machine: 10 Gbit/s."""
SHARE = 0.1
"""A round is long enough if everything besides training takes at most this share of the training time."""


ALPHA = EXPERIMENT.learning_rate


@dataclass(frozen=True)
class Setting:
    """The number of parts, the sequences that each trains in a round, and the learning rate.

    Parts are alike if their sequences are drawn from the same distribution; otherwise the first part has the sequences
    with the smallest targets, and so on.
    """

    n_parts: int
    round_length: int
    learning_rate: float
    alike: bool = True


@dataclass(frozen=True)
class Size:
    """How much to measure."""

    seeds: int
    sequences: int
    settings: tuple[Setting, ...]
    n_parts: dict[str, tuple[int, ...]]
    n_rounds: int


WHOLE = Size(
    seeds=5,
    sequences=48_000,
    settings=(
        Setting(2, 500, ALPHA),
        *(Setting(2, length, 2 * ALPHA) for length in (500, 2_000, 6_000, 24_000)),
        *(Setting(2, length, 2 * ALPHA, alike=False) for length in (500, 24_000)),
        *(Setting(8, 250, factor * ALPHA) for factor in (4, 8)),
    ),
    n_parts={"adding net": (2, 16, 64, 128), "256 cells, 128 inputs": (2, 8, 16)},
    n_rounds=15,
)
QUICK = Size(1, 4_000, (Setting(2, 500, ALPHA),), {"adding net": (2, 8), "256 cells, 128 inputs": (2, 4)}, 3)


@dataclass(frozen=True)
class Learned:
    """Test errors of trainings with different seeds; on one machine if `setting` is None."""

    setting: Setting | None
    sequences: list[int]
    """Number of sequences that all parts together had trained at each test."""
    errors: list[list[float]]
    """Mean ``|t - y|`` on fresh sequences: by seed, then by test. Infinite after an overflow."""


@dataclass(frozen=True)
class Overhead:
    """Seconds of rounds in which each part trains a single step."""

    network: str
    weight_bytes: int
    n_parts: int
    seconds: Summary


# ---- learning --------------------------------------------------------------------------------------------------------


def load(seed: int, n_sequences: int) -> tuple[lstm97.Sequences, npt.NDArray[np.float64]]:
    """Draw all sequences; the same seed and number give the same ones."""
    return tasks.adding(np.random.default_rng(seed), n_sequences, EXPERIMENT.lag)


def load_part(seed: int, n_sequences: int, part: int, setting: Setting) -> tuple[lstm97.Sequences, Any]:
    """Draw all sequences on a part's own worker, and keep that part."""
    inputs, targets = load(seed, n_sequences)
    order = np.arange(n_sequences) if setting.alike else np.argsort(targets[:, 0], kind="stable")
    begin, end = (n_sequences * i // setting.n_parts for i in (part, part + 1))
    kept = np.sort(order[begin:end])
    return lstm97.Sequences.pack([inputs[i] for i in kept]), targets[kept]


def error_of(net: lstm97.Network, seed: int) -> float:
    """Return the mean error on test sequences, which are never trained."""
    inputs, targets = tasks.adding(np.random.default_rng([seed, 1]), TEST_SEQUENCES, EXPERIMENT.lag)
    outputs = np.stack([y[-1] for y in lstm97.predict(net, inputs)])
    return float(np.abs(outputs - targets).mean())


def by_one_machine(seed: int, n_sequences: int) -> tuple[list[float], float]:
    """Train on all sequences; the errors of the tests, and sequences per second."""
    net, history, errors = initial_network(EXPERIMENT, seed), lstm97.History(), []
    inputs, targets = load(seed, n_sequences)
    for order in np.arange(n_sequences).reshape(-1, TESTED_EVERY):
        lstm97.train(net, inputs, targets, ALPHA, order=order, history=history)
        errors.append(error_of(net, seed))
    return errors, history.sequences / history.seconds


def by_parts(client: distributed.Client, seed: int, n_sequences: int, setting: Setting) -> list[float]:
    """Train on the same sequences in parts; the errors of the tests, to the end or an overflow."""
    per_part = n_sequences // setting.n_parts
    net = initial_network(EXPERIMENT, seed)
    workers = cycle(client.ncores())
    parts = [
        client.submit(load_part, seed, n_sequences, i, setting, workers=[next(workers)]) for i in range(setting.n_parts)
    ]
    errors: list[float] = []

    def test(done: Round) -> None:
        if (done.number + 1) * done.sequences % TESTED_EVERY == 0:
            errors.append(error_of(net, seed))

    rounds, passes = per_part // setting.round_length, setting.round_length / per_part
    with suppress(FloatingPointError):
        train_averaged(client, net, parts, setting.learning_rate, rounds=rounds, passes=passes, callback=test)
    return errors


def learning(client: distributed.Client, size: Size, rates: list[float]) -> Iterator[Learned]:
    """Yield the results of one machine, then of all settings; append one machine's sequences per second to `rates`."""
    seeds, n = range(1, size.seeds + 1), size.sequences
    alone = [by_one_machine(seed, n) for seed in seeds]
    rates.extend(rate for _, rate in alone)
    yield Learned(None, list(range(TESTED_EVERY, n + 1, TESTED_EVERY)), [errors for errors, _ in alone])
    for setting in size.settings:
        of_a_round = setting.n_parts * setting.round_length
        tested = [trained for trained in range(of_a_round, n + 1, of_a_round) if trained % TESTED_EVERY == 0]
        runs = [by_parts(client, seed, n, setting) for seed in seeds]
        yield Learned(setting, tested, [errors + [math.inf] * (len(tested) - len(errors)) for errors in runs])


# ---- overhead --------------------------------------------------------------------------------------------------------


def one_step(n_inputs: int) -> tuple[Any, Any]:
    """Make a part of one sequence of one step."""
    return np.zeros((1, 1, n_inputs)), np.full((1, 1), 0.5)


def overheads(client: distributed.Client, size: Size) -> Iterator[Overhead]:
    """Time rounds in which every part has one step."""
    for name, topology in NETWORKS.items():
        net = lstm97.Network(topology)
        for n_parts in size.n_parts[name]:
            parts = client.map(one_step, [topology.n_inputs] * n_parts, pure=False)
            _, *rounds = train_averaged(client, net, parts, 1e-6, rounds=size.n_rounds + 1)
            seconds = Summary.of(np.array([done.seconds for done in rounds]))
            yield Overhead(name, net.parameters.nbytes, n_parts, seconds)


# ---- the model -------------------------------------------------------------------------------------------------------


def fit(rows: Sequence[dict[str, Any]], network: str) -> tuple[float, float]:
    """Return a and b of ``a + b * parts``, the seconds of a round, by least squares."""
    points = [(row["n_parts"], row["seconds"]["median"]) for row in rows if row["network"] == network]
    parts, seconds = np.array(points).T
    b, a = np.polyfit(parts, seconds, 1)
    return float(a), float(b)


def transfers(n_workers: int) -> int:
    """Return how many arrays of weights are sent between workers in a round, with one part per worker.

    A task of the averaging tree runs on a worker that already has one of its arguments.
    """
    return 2 * (n_workers - 1)


def transfer_seconds(n_workers: int, weight_bytes: int) -> float:
    """Return the seconds of transfers: one worker sends weights to all others, then each level of the tree receives.

    This is an upper bound: in Dask, workers that have received the weights can send them on.
    """
    levels = math.ceil(math.log(n_workers, FAN_IN) - 1e-9)
    received = min(FAN_IN, n_workers) - 1
    return (n_workers - 1 + levels * received) * weight_bytes / BANDWIDTH


# ---- tables ----------------------------------------------------------------------------------------------------------


def learned_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of errors, and of the sequences trained until they are small."""
    alone = rows[0]
    total, middle = alone["sequences"][-1], alone["sequences"][(len(alone["sequences"]) - 1) // 2]

    def cells(row: dict[str, Any]) -> list[str]:
        setting, tested, errors = row["setting"], row["sequences"], np.array(row["errors"])
        until, last = float(np.median(_until(row))), errors[:, -1]
        return [
            _named(setting) if setting else "one machine",
            f"{setting['learning_rate'] if setting else ALPHA:g}",
            f"{np.median(errors[:, tested.index(middle)]):.4f}" if middle in tested else "",
            f"{np.median(last):.4f} ({last.min():.4f} - {last.max():.4f})",
            f"{until:,.0f}" if math.isfinite(until) else "never",
            f"{until / np.median(_until(alone)):.2f}" if math.isfinite(until) else "",
        ]

    return markdown_table(
        f"Adding problem, T={EXPERIMENT.lag}, {EXPERIMENT.topology.n_weights} weights, {len(alone['errors'])} seeds: "
        f"mean |t - y| on {TEST_SEQUENCES} fresh sequences after training on the same {total:,}, and training "
        f"sequences until it is below {GOOD:g}, medians; tested every {TESTED_EVERY:,}, or round if that has more. Of "
        "different parts, the first has the sequences with the smallest targets:",
        ("sequences per round", "alpha", f"error after {middle:,}", f"after {total:,} (range)", "until", "ratio"),
        map(cells, rows),
    )


def _named(setting: dict[str, Any]) -> str:
    parts = f"{setting['n_parts']} {'' if setting['alike'] else 'different '}parts"
    return f"{parts}, {setting['round_length']:,} each"


def _until(row: dict[str, Any]) -> list[float]:
    """Return the sequences at the first good test, by seed; infinite if there is none."""
    return [
        next((n for n, error in zip(row["sequences"], errors, strict=True) if error < GOOD), math.inf)
        for errors in row["errors"]
    ]


def overhead_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of the times of rounds with one step per part."""
    return markdown_table(
        f"Milliseconds of a round with one step per part, scheduler and {N_WORKERS} workers on this machine, medians "
        f"of {rows[0]['seconds']['repeats']}:",
        ("network", "bytes of weights", "parts", "median", "quartiles"),
        (
            (
                row["network"],
                f"{row['weight_bytes']:,}",
                str(row["n_parts"]),
                f"{1e3 * row['seconds']['median']:.0f}",
                f"{1e3 * row['seconds']['lower_quartile']:.0f} - {1e3 * row['seconds']['upper_quartile']:.0f}",
            )
            for row in rows
        ),
    )


def model_table(rows: Sequence[dict[str, Any]], rate: float) -> str:
    """Return the table of the model's figures for more workers."""
    small = next(iter(NETWORKS))
    a, b = {name: fit(rows, name)[0] for name in NETWORKS}, fit(rows, small)[1]

    def cells(network: str, n_workers: int) -> list[str]:
        weight_bytes = next(row["weight_bytes"] for row in rows if row["network"] == network)
        tasks_take, transfers_take = a[network] + b * n_workers, transfer_seconds(n_workers, weight_bytes)
        needed = (tasks_take + transfers_take) / SHARE
        return [
            network,
            f"{n_workers:,}",
            f"{tasks_take:.2f}",
            f"{transfers_take:.2g}",
            f"{float(f'{transfers(n_workers) * weight_bytes / 1e6:.2g}'):,g}",
            f"{needed:.2g}",
            f"{float(f'{needed * rate:.2g}'):,.0f}" if network == small else "",
        ]

    return markdown_table(
        "A model of W workers with a part each: a round takes training + a + b W + transfers. Measured: "
        f"a = {' and '.join(f'{1e3 * value:.0f} ms ({name})' for name, value in a.items())}, b = {1e3 * b:.2f} ms "
        f"(the lines through the rounds above, b that of the {small}; it has in it what the workers do for a task, "
        f"which W of them would do side by side), and {float(f'{rate:.2g}'):,.0f} sequences per second on one machine. "
        f"Assumed: {8 * BANDWIDTH / 1e9:g} Gbit/s, one worker sending the weights to all others, means of {FAN_IN}. "
        "Traffic between workers is 2 (W - 1) times the weights. The last columns: how much training there has to be "
        f"in a round for the rest to take {SHARE:.0%} of its time.",
        ("network", "W", "a + b W, s", "transfers, s", "traffic, MB", "training, s", "sequences per part"),
        (cells(network, n_workers) for network in NETWORKS for n_workers in WORKERS),
    )


def markdown(figures: dict[str, Any]) -> str:
    """Return the tables, below the machine and the versions."""
    return "\n\n".join(
        [
            f"{where(figures)} distributed {figures['versions']['distributed']}.",
            learned_table(figures["learned"]),
            overhead_table(figures["overheads"]),
            model_table(figures["overheads"], figures["sequences_per_second"]),
        ]
    )


def measure(size: Size) -> dict[str, Any]:
    """Start a cluster on this machine and measure everything."""
    figures: dict[str, Any] = {**describe(), "how": asdict(size)}
    figures["versions"]["distributed"] = distributed.__version__
    rates: list[float] = []
    with (
        distributed.LocalCluster(
            n_workers=N_WORKERS, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        figures["learned"] = [asdict(row) for row in learning(client, size, rates)]
        figures["overheads"] = [asdict(row) for row in overheads(client, size)]
    figures["sequences_per_second"] = float(np.median(rates))
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print, or print the figures from a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.averaging", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="take little time: to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as well")
    parser.add_argument(
        "--from", dest="file", type=Path, metavar="FILE", help="run nothing: print what --json wrote to FILE"
    )
    options = parser.parse_args(arguments)
    if options.file:
        print(markdown(json.loads(options.file.read_text(encoding="utf-8"))))
        return
    figures = measure(QUICK if options.quick else WHOLE)
    print(markdown(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
