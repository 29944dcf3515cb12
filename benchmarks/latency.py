"""Costs of a network inside a long-running program: ``python -m benchmarks.latency`` prints the tables as Markdown.

Single calls with their worst cases, growth of memory over many calls, thousands of streams over one network, threads.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
import tracemalloc
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, product, repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import lstm97

from .machine import describe
from .ours import LEARNING_RATE, problem
from .rows import DTYPES
from .streams import ADDING
from .timing import Workload, take_turns

NETWORKS = {
    "adding net": ADDING,
    "32 cells, 10 inputs": lstm97.Topology(
        10, 1, blocks=(1,) * 32, forget_gates=True, gate_sources=False, output="identity"
    ),
}

N_CALLS = 1_000_000
N_STREAMS = 10_000
QUICK_CALLS, QUICK_STREAMS = 1_000, 50

# Between resets. Without them the adding net's cell states would drift, as it has no forget gates.
SEQUENCE_STEPS = 100
CHUNK = 1_000
TRACED = 1_000  # calls or states; few, as tracing is slow
THREADS = (1, 2)

PAGE = resource.getpagesize()

Array = npt.NDArray[Any]
Step = Callable[[Any, Any], object]
"""A function that does one step, called with its inputs and its target."""
Pairs = Sequence[tuple[Array, Array]]


@dataclass(frozen=True)
class Delays:
    """Quantiles of the durations of single calls, in microseconds."""

    median: float
    p99: float
    p999: float
    worst: float

    @classmethod
    def of(cls, nanoseconds: npt.NDArray[np.int64]) -> Delays:
        """Summarise a 1-D array; every figure is one of the measured times."""
        shares = [0.5, 0.99, 0.999, 1.0]
        return cls(*(np.quantile(nanoseconds, shares, method="inverted_cdf") / 1e3).tolist())


@dataclass(frozen=True)
class Latency:
    """One kind of call on one network; for the empty call, which times the clock, the network's name is empty."""

    network: str
    dtype: str
    call: str
    n_calls: int
    delays: Delays


@dataclass(frozen=True)
class Memory:
    """The bytes by which the process grew over n_calls of `learn`, and Python's part of it over n_traced calls."""

    network: str
    dtype: str
    n_calls: int
    resident: int
    n_traced: int
    traced: int


@dataclass(frozen=True)
class Streams:
    """Many states over one network: bytes and microseconds to make one; nanoseconds per call on one or on all."""

    network: str
    dtype: str
    n_streams: int
    resident_bytes: float
    traced_bytes: float
    microseconds: float
    learn_one: float
    learn_all: float
    step_one: float
    step_all: float


@dataclass(frozen=True)
class Threads:
    """Inference in threads, each with a state of its own: steps per second by the number of threads."""

    network: str
    dtype: str
    call: str
    rates: dict[str, float]
    ratio: float


@dataclass(frozen=True)
class Size:
    """How much to measure."""

    n_calls: int
    n_streams: int
    repeats: int
    seconds: float


def resident() -> int:
    """Return the bytes of memory this process has now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def _pairs(topology: lstm97.Topology, dtype: str) -> Pairs:
    inputs, targets = problem(topology, SEQUENCE_STEPS, dtype, every_step=True)
    return list(zip(inputs[0], targets[0], strict=True))


def _cases() -> Iterator[tuple[str, str, lstm97.Network, Pairs]]:
    """Yield every network in every type, with a sequence of inputs and targets."""
    for (name, topology), dtype in product(NETWORKS.items(), DTYPES):
        yield name, dtype, lstm97.Network(topology, dtype=dtype, seed=0), _pairs(topology, dtype)


# ---- single calls ----------------------------------------------------------------------------------------------------


def _calls(net: lstm97.Network) -> dict[str, Step]:
    """Return the calls that are timed, by their text in the table."""
    step, learn = net.step, net.learn
    y = np.empty(net.topology.n_outputs, net.dtype)
    return {
        "`step(x, out=y)`": lambda x, target: step(x, out=y),
        "`step(x)`": lambda x, target: step(x),
        "`learn(x, None, out=y)`": lambda x, target: learn(x, None, out=y),
        "`learn(x, target, rate, out=y)`": lambda x, target: learn(x, target, LEARNING_RATE, out=y),
        "`learn(x, target, rate)`": lambda x, target: learn(x, target, LEARNING_RATE),
    }


def _calls_with_lists(net: lstm97.Network) -> dict[str, Step]:
    """Return the calls that are timed with lists in place of arrays too."""
    return {call: step for call, step in _calls(net).items() if call in ("`step(x)`", "`learn(x, target, rate)`")}


def delays(call: Step, pairs: Sequence[tuple[Any, Any]], reset: Callable[[], object], n_calls: int) -> Delays:
    """Time each of n_calls by itself; the first two sequences are not counted, and resets are not timed."""
    clock = time.perf_counter_ns
    taken = array("q", bytes(8 * n_calls))  # allocated once, so that storing a time allocates nothing
    i = -2 * len(pairs)
    while i < n_calls:
        reset()
        for x, target in pairs:
            begin = clock()
            call(x, target)
            end = clock()
            if 0 <= i < n_calls:
                taken[i] = end - begin
            i += 1
    return Delays.of(np.frombuffer(taken, np.int64))


def latencies(size: Size) -> Iterator[Latency]:
    """Measure an empty call, which shows the clock's own part, and all calls on all networks."""
    n_calls = size.n_calls
    of_nothing = delays(lambda x, target: None, _pairs(ADDING, "float64"), lambda: None, n_calls)
    yield Latency("", "", "nothing: the clock's own", n_calls, of_nothing)
    for name, dtype, net, pairs in _cases():
        for call, step in _calls(net).items():
            yield Latency(name, dtype, call, n_calls, delays(step, pairs, net.reset, n_calls))
        lists = [(x.tolist(), target.tolist()) for x, target in pairs]
        for call, step in _calls_with_lists(net).items():
            yield Latency(name, dtype, f"{call}, lists", n_calls, delays(step, lists, net.reset, n_calls))


# ---- memory ----------------------------------------------------------------------------------------------------------


def _learn(net: lstm97.Network, pairs: Pairs, n_calls: int) -> None:
    """Call `learn` n_calls times, rounded up to whole sequences."""
    learn, y = net.learn, np.empty(net.topology.n_outputs, net.dtype)
    for _ in repeat(None, -(-n_calls // len(pairs))):
        net.reset()
        for x, target in pairs:
            learn(x, target, LEARNING_RATE, out=y)


def _traced(work: Callable[[], object]) -> int:
    """Return the bytes that Python and NumPy allocated for some work and still use while its result is alive."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = work()
        after, _ = tracemalloc.get_traced_memory()
        del kept
    finally:
        tracemalloc.stop()
    return after - before


def memory(size: Size) -> Iterator[Memory]:
    """Measure all networks, each after a warm-up of a tenth as many calls."""
    for name, dtype, net, pairs in _cases():
        _learn(net, pairs, size.n_calls // 10)
        before = resident()
        _learn(net, pairs, size.n_calls)
        grown = resident() - before
        n_traced = min(size.n_calls, 10 * TRACED)
        traced = _traced(partial(_learn, net, pairs, n_traced))
        yield Memory(name, dtype, size.n_calls, grown, n_traced, traced)


# ---- many streams ----------------------------------------------------------------------------------------------------


def _made(net: lstm97.Network, n_streams: int) -> list[lstm97.State]:
    return [net.new_state() for _ in range(n_streams)]


def footprint(name: str, dtype: str, n_streams: int) -> tuple[float, float, float]:
    """Return what a state costs: bytes of the process, bytes traced, microseconds to make it.

    Call it in a process of its own: otherwise memory that was freed earlier would be used first.
    """
    net = lstm97.Network(NETWORKS[name], dtype=dtype)
    net.new_state()
    before, begin = resident(), time.perf_counter()
    states = _made(net, n_streams)
    seconds, grown = time.perf_counter() - begin, resident() - before
    n_traced = min(len(states), TRACED)
    traced = _traced(partial(_made, net, n_traced))
    return grown / n_streams, traced / n_traced, 1e6 * seconds / n_streams


def _in_turn(
    net: lstm97.Network, states: Iterable[lstm97.State], n_steps: int, pair: tuple[Array, Array], *, learns: bool
) -> Workload:
    """A pass over the states, with one call for each."""
    x, target = pair
    y = np.empty(net.topology.n_outputs, net.dtype)
    step, learn = net.step, net.learn
    # Divided by n_steps, because partials get large in streams without a reset for thousands of steps.
    rate = LEARNING_RATE / n_steps

    def run(n_items: int) -> None:
        for _ in range(n_items):
            if learns:
                for state in states:
                    learn(x, target, rate, state=state, out=y)
            else:
                for state in states:
                    step(x, state=state, out=y)

    return Workload("net.learn" if learns else "net.step", run, n_steps)


def streams(size: Size) -> Iterator[Streams]:
    """Measure all networks; calls on one state and on all of them take turns."""
    n = size.n_streams
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as alone:
        for name, dtype, net, (pair, *_) in _cases():
            taken_to_make = alone.submit(footprint, name, dtype, n).result()
            states = _made(net, n)
            ways = [
                _in_turn(net, way, n, pair, learns=learns)
                for learns in (True, False)
                for way in (states[:1] * n, states)
            ]
            taken = np.median(take_turns(ways, repeats=size.repeats, seconds=size.seconds), axis=0)
            yield Streams(name, dtype, n, *taken_to_make, *taken.tolist())


# ---- threads ---------------------------------------------------------------------------------------------------------


def _chunks(net: lstm97.Network, x: Array) -> Callable[[int], object]:
    """Return the work of one thread: n chunks, each in one call."""
    state, chunk = net.new_state(), np.tile(x, (CHUNK, 1))
    y = np.empty((CHUNK, net.topology.n_outputs), net.dtype)

    def work(n_items: int) -> None:
        for _ in range(n_items):
            net.reset(state)
            net.run(chunk, state=state, out=y)

    return work


def _singles(net: lstm97.Network, x: Array) -> Callable[[int], object]:
    """Return the work of one thread: n chunks, with a call for each step."""
    state, y = net.new_state(), np.empty(net.topology.n_outputs, net.dtype)

    def work(n_items: int) -> None:
        step = net.step
        for _ in range(n_items):
            net.reset(state)
            for _ in range(CHUNK):
                step(x, state=state, out=y)

    return work


KINDS = {f"`run` over {CHUNK} steps": _chunks, "`step`": _singles}


def _at_once(pool: ThreadPoolExecutor, works: Sequence[Callable[[int], object]]) -> Workload:
    """All of the works at the same time, each in a thread."""

    def run(n_items: int) -> None:
        for running in [pool.submit(work, n_items) for work in works]:
            running.result()

    return Workload(f"{len(works)} threads", run, CHUNK * len(works))


def threads(size: Size) -> Iterator[Threads]:
    """Measure all networks; one thread and several take turns."""
    with ThreadPoolExecutor(max(THREADS)) as pool:
        for name, dtype, net, ((x, _), *_) in _cases():
            for call, make in KINDS.items():
                ways = [_at_once(pool, [make(net, x) for _ in range(n)]) for n in THREADS]
                taken = take_turns(ways, repeats=size.repeats, seconds=size.seconds)
                rates = (1e9 / np.median(taken, axis=0)).tolist()
                ratio = float(np.median(taken[:, 0] / taken[:, -1]))
                yield Threads(name, dtype, call, dict(zip(map(str, THREADS), rates, strict=True)), ratio)


# ---- tables ----------------------------------------------------------------------------------------------------------


def where(figures: dict[str, Any]) -> str:
    """Return a line with the machine and the versions."""
    machine, build, versions = figures["machine"], figures["build"], figures["versions"]
    return (
        f"{machine['processor']}, {machine['cores']} cores; Python {versions['python']}, NumPy {versions['numpy']}; "
        f"lstm97 {build['version']}, build {build['build']}, commit {versions['commit']}."
    )


def markdown_table(title: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown with its title over it."""
    lines = (f"| {' | '.join(cells)} |" for cells in chain([names, ["---"] * len(names)], rows))
    return "\n".join([title, "", *lines])


def latency_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of the times of single calls."""
    return markdown_table(
        f"Microseconds of a single call, {rows[0]['n_calls']:,} calls of each kind, every one timed by itself:",
        ("network", "call", *("median", "99 %", "99.9 %", "worst")),
        ((_network(row), row["call"], *(f"{value:.2f}" for value in row["delays"].values())) for row in rows),
    )


def memory_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of the growth of memory."""
    first = rows[0]
    return markdown_table(
        "Bytes of memory more after calls of `learn` than before them:",
        ("network", f"resident, {first['n_calls']:,} calls", f"Python's and NumPy's, {first['n_traced']:,} calls"),
        ((_network(row), f"{row['resident']:,}", f"{row['traced']:,}") for row in rows),
    )


def streams_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of many streams."""
    n = f"{rows[0]['n_streams']:,}"
    return markdown_table(
        f"{n} states over one network; calls per second, all on one state or on each state in turn:",
        (
            *("network", "bytes per state, resident", "traced", "µs to make one"),
            *("`learn`, one state", f"`learn`, {n} in turn", "`step`, one state", f"`step`, {n} in turn"),
        ),
        (
            (
                *(_network(row), f"{row['resident_bytes']:,.0f}", f"{row['traced_bytes']:,.0f}"),
                f"{row['microseconds']:.1f}",
                *(_rate(1e9 / row[way]) for way in ("learn_one", "learn_all", "step_one", "step_all")),
            )
            for row in rows
        ),
    )


def threads_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of inference in threads."""
    numbers = list(rows[0]["rates"])
    return markdown_table(
        "Steps of inference per second in Python threads, each with its own state over the same network:",
        ("network", "call", *(f"{n} thread{'s' * (n != '1')}" for n in numbers), "ratio"),
        ((_network(row), row["call"], *map(_rate, row["rates"].values()), f"{row['ratio']:.2f}x") for row in rows),
    )


def _network(row: dict[str, Any]) -> str:
    return ", ".join(filter(None, (row["network"], row["dtype"])))


def _rate(per_second: float) -> str:
    """Return a rate rounded to three significant digits."""
    return f"{float(f'{per_second:.3g}'):,.0f}"


MEASURED: dict[str, tuple[Callable[[Size], Iterator[Any]], Callable[[Sequence[dict[str, Any]]], str]]] = {
    "latency": (latencies, latency_table),
    "memory": (memory, memory_table),
    "streams": (streams, streams_table),
    "threads": (threads, threads_table),
}


def markdown(figures: dict[str, Any]) -> str:
    """Return the tables, below the machine and the versions."""
    return "\n\n".join([where(figures), *(table(figures[part]) for part, (_, table) in MEASURED.items())])


def main(arguments: list[str] | None = None) -> None:
    """Measure and print, or print the figures from a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--calls", type=int, metavar="N", help=f"calls of each kind; {N_CALLS:,} if not given")
    parser.add_argument("--quick", action="store_true", help="few calls and streams: to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as well")
    parser.add_argument(
        "--from", dest="file", type=Path, metavar="FILE", help="run nothing: print what --json wrote to FILE"
    )
    options = parser.parse_args(arguments)
    if options.file:
        print(markdown(json.loads(options.file.read_text(encoding="utf-8"))))
        return
    if options.quick:
        size = Size(options.calls or QUICK_CALLS, QUICK_STREAMS, repeats=3, seconds=0.01)
    else:
        size = Size(options.calls or N_CALLS, N_STREAMS, repeats=9, seconds=0.2)
    figures: dict[str, Any] = {**describe(), "how": asdict(size)}
    print(where(figures))
    for part, (measure, table) in MEASURED.items():
        figures[part] = [asdict(row) for row in measure(size)]
        print("", table(figures[part]), sep="\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
