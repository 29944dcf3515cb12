"""The benchmarks: the textbook peer runs the same algorithm, and the figures are what they claim to be."""

from __future__ import annotations

import itertools
import json
import sys

import numpy as np
import pytest
from benchmarks.__main__ import main
from benchmarks.textbook import Textbook
from benchmarks.timing import Summary, Workload, take_turns
from compare import assert_close
from reference import ReferenceNetwork, targets_at_end, train

import lstm97


@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("output", ["identity", "logistic"])
@pytest.mark.parametrize("blocks", [(1,), (2, 2), (3, 3, 3)])
def test_textbook_loop_learns_as_the_reference_does(blocks, output, every_step):
    topology = lstm97.Topology(3, 2, blocks=blocks, output=output)
    rng = np.random.default_rng(len(blocks))
    weights = lstm97.Network(topology, seed=7, init_range=0.5).weights
    reference = ReferenceNetwork(topology, weights)
    textbook = Textbook(topology, np.concatenate([kind.ravel() for kind in weights.values()]))
    inputs = rng.uniform(-1, 1, (4, 20, 3))
    targets = rng.uniform(0, 1, (4, 20, 2) if every_step else (4, 2))

    textbook.train(inputs, targets, learning_rate=0.3)
    train(reference, inputs, targets if every_step else targets_at_end(inputs, targets), 0.3)

    expected = np.concatenate([kind.ravel() for kind in reference.weights.values()])
    assert_close(textbook.parameters, expected, 1e-12)


def test_textbook_loop_takes_sequences_in_turn():
    topology = lstm97.Topology(2, 1, output="identity")
    start = lstm97.Network(topology, seed=1).parameters
    rng = np.random.default_rng(2)
    inputs, targets = rng.uniform(-1, 1, (3, 10, 2)), rng.uniform(0, 1, (3, 1))
    around, at_length = Textbook(topology, start), Textbook(topology, start)
    around.train(inputs, targets, learning_rate=0.3, n_items=5)
    order = [0, 1, 2, 0, 1]
    at_length.train(inputs[order], targets[order], learning_rate=0.3)
    np.testing.assert_array_equal(around.parameters, at_length.parameters)
    assert not np.array_equal(around.parameters, start)


@pytest.mark.parametrize(
    "different",
    [{"blocks": (1, 2)}, {"output": "softmax"}, {"bias": "gates"}, {"forget_gates": True}, {"n_hidden": 1}],
)
def test_textbook_loop_refuses_other_networks(different):
    topology = lstm97.Topology(2, 2, **different)
    with pytest.raises(ValueError, match="no such network"):
        Textbook(topology, np.zeros(topology.n_weights))


def test_summary_holds_the_quartiles():
    assert Summary.of(np.array([4.0, 1.0, 3.0, 2.0, 100.0])) == Summary(3.0, 2.0, 4.0, 1.0, 100.0, 5)


def test_workloads_take_turns_and_are_timed_per_step(monkeypatch):
    calls = []
    clock = itertools.count()  # every look at the clock is a second after the one before
    monkeypatch.setattr("benchmarks.timing.time.perf_counter", lambda: next(clock))
    first = Workload("first", lambda n: calls.append(("first", n)), 10)
    second = Workload("second", lambda n: calls.append(("second", n)), 1000)
    taken = take_turns([first, second], repeats=2, seconds=3.0)
    turns = calls[-4:]
    assert [name for name, _ in turns] == ["first", "second"] * 2
    (_, n_first), (_, n_second) = turns[:2]
    expected = [1e9 / (n_first * 10), 1e9 / (n_second * 1000)]
    np.testing.assert_allclose(taken, [expected, expected])


def test_command_measures_a_row_and_says_what_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    file = tmp_path / "figures.json"
    row_name = "adding net, 93 weights, T=100, error at the end, float64"
    main(["--quick", "--only", row_name, "--json", str(file)])
    printed = capsys.readouterr().out
    assert "PyTorch nn.LSTM: not installed" in printed

    figures = json.loads(file.read_text())
    assert figures["unit"] == "ns per step"
    (row,) = figures["rows"]
    textbook, torch = row["peers"]
    assert row["time"]["repeats"] == figures["how"]["repeats"]
    assert 0 < row["time"]["minimum"] <= row["time"]["median"] <= row["time"]["maximum"]
    lowest = textbook["time"]["minimum"] / row["time"]["maximum"]
    highest = textbook["time"]["maximum"] / row["time"]["minimum"]
    assert lowest <= textbook["ratio"]["median"] <= highest
    assert torch["time"] is None
    assert torch["missing"] == "not installed"
    assert f"{textbook['ratio']['median']:.1f}x" in printed


def test_command_refuses_a_row_it_does_not_have(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "no such row"])
    assert "no row has 'no such row' in its name" in capsys.readouterr().err
