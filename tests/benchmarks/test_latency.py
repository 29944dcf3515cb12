"""The benchmark of latency, memory and threads runs, prints all its tables, and prints the same from a file."""

from __future__ import annotations

import json
from itertools import count, product

import numpy as np
import pytest
from benchmarks import latency
from benchmarks.latency import Delays, main, markdown

pytestmark = pytest.mark.xdist_group("latency")

CASES = list(product(["adding net", "32 cells, 10 inputs"], ["float64", "float32"]))
N_CALLS = 300


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The command's output for very few calls, and the file that it writes."""
    file = tmp_path_factory.mktemp("latency") / "figures.json"
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr("builtins.print", lambda *parts, sep=" ", **_: printed.append(sep.join(parts) + "\n"))
        main(["--quick", "--calls", str(N_CALLS), "--json", str(file)])
    return "".join(printed), file


def test_delays_are_quantiles_of_the_measured_times():
    nanoseconds = np.random.default_rng(0).permutation(np.arange(1, 2001) * 1000)
    assert Delays.of(nanoseconds) == Delays(median=1000.0, p99=1980.0, p999=1998.0, worst=2000.0)
    assert Delays.of(np.array([5000])) == Delays(5.0, 5.0, 5.0, 5.0)


def test_every_call_is_timed_by_itself_after_those_that_warm_it_up(monkeypatch):
    calls, resets, clock = [], [], count()

    def call(x, target):
        calls.append((x, target))
        for _ in range(len(calls)):  # the n-th call takes n nanoseconds more
            next(clock)

    monkeypatch.setattr("benchmarks.latency.time.perf_counter_ns", lambda: next(clock))
    pairs = [("x", "a target"), ("another x", "another target")]
    found = latency.delays(call, pairs, lambda: resets.append(len(calls)), 5)
    assert calls == pairs * 5  # two sequences to warm up, then five calls, rounded up to whole sequences
    assert resets == [0, 2, 4, 6, 8]
    assert found == Delays(0.008, 0.010, 0.010, 0.010)  # of 6 to 10 nanoseconds, as each call of the clock takes one


@pytest.mark.slow
def test_command_measures_every_network_and_call(measured):
    _, file = measured
    figures = json.loads(file.read_text(encoding="utf-8"))
    calls = [
        "`step(x, out=y)`",
        "`step(x)`",
        "`learn(x, None, out=y)`",
        "`learn(x, target, rate, out=y)`",
        "`learn(x, target, rate)`",
        "`step(x)`, lists",
        "`learn(x, target, rate)`, lists",
    ]
    nothing, *rows = figures["latency"]
    assert nothing["call"].startswith("nothing")
    assert [(row["network"], row["dtype"], row["call"]) for row in rows] == [
        (*c, call) for c in CASES for call in calls
    ]
    for row in figures["latency"]:
        assert row["n_calls"] == N_CALLS
        assert sorted(row["delays"].values()) == list(row["delays"].values())
    for part in ("memory", "streams"):
        assert [(row["network"], row["dtype"]) for row in figures[part]] == CASES
    assert [(row["network"], row["dtype"], row["call"]) for row in figures["threads"]] == [
        (*case, call) for case in CASES for call in ("`run` over 1000 steps", "`step`")
    ]
    for row in figures["streams"]:
        assert row["traced_bytes"] > 1000
        assert min(row[way] for way in ("learn_one", "learn_all", "step_one", "step_all")) > 0
    for row in figures["threads"]:
        assert list(row["rates"]) == ["1", "2"]
        assert min(row["rates"].values()) > 0


@pytest.mark.slow
def test_learning_leaves_no_memory_in_use(measured):
    _, file = measured
    rows = json.loads(file.read_text(encoding="utf-8"))["memory"]
    assert [row["traced"] for row in rows] == [0] * 4


@pytest.mark.slow
def test_command_prints_the_same_from_a_file(measured, capsys):
    printed, file = measured
    main(["--from", str(file)])
    assert capsys.readouterr().out == printed
    assert printed == markdown(json.loads(file.read_text(encoding="utf-8"))) + "\n"
    assert printed.count("\n| --- |") == 4
    assert printed.count("\n| adding net, float64 |") == 7 + 1 + 1 + 2
    assert "/" not in printed.splitlines()[0]  # no path of this machine


ROWS = [
    {"network": "", "dtype": "", "call": "nothing", "n_calls": 1000, "delays": {"median": 0.0512, "worst": 12.0}},
    {
        "network": "a net",
        "dtype": "float32",
        "call": "`step`",
        "n_calls": 1000,
        "delays": {"median": 1, "worst": 1500.5},
    },
]


def test_tables_show_what_was_measured():
    assert latency.latency_table(ROWS).splitlines()[4:] == [
        "|  | nothing | 0.05 | 12.00 |",
        "| a net, float32 | `step` | 1.00 | 1500.50 |",
    ]
    row = {
        "network": "a net",
        "dtype": "float32",
        "n_calls": 1_000_000,
        "resident": 4096,
        "n_traced": 10_000,
        "traced": 0,
    }
    assert latency.memory_table([row]).splitlines()[2:] == [
        "| network | resident, 1,000,000 calls | Python's and NumPy's, 10,000 calls |",
        "| --- | --- | --- |",
        "| a net, float32 | 4,096 | 0 |",
    ]
    row = {
        "network": "a net",
        "dtype": "float32",
        "n_streams": 10_000,
        "resident_bytes": 8123.4,
        "traced_bytes": 8000.0,
    }
    row |= {"microseconds": 12.34, "learn_one": 1000.0, "learn_all": 1234.5, "step_one": 500.0, "step_all": 800.0}
    assert latency.streams_table([row]).endswith(
        "| a net, float32 | 8,123 | 8,000 | 12.3 | 1,000,000 | 810,000 | 2,000,000 | 1,250,000 |"
    )
    row = {
        "network": "a net",
        "dtype": "float32",
        "call": "`step`",
        "rates": {"1": 123456.0, "2": 234567.0},
        "ratio": 1.9,
    }
    assert latency.threads_table([row]).splitlines()[2:] == [
        "| network | call | 1 thread | 2 threads | ratio |",
        "| --- | --- | --- | --- | --- |",
        "| a net, float32 | `step` | 123,000 | 235,000 | 1.90x |",
    ]
