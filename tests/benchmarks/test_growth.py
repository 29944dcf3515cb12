"""How cost grows: the measurements are right, and long streams need no more memory than short ones."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from benchmarks import growth, memory, streams
from benchmarks.streams import LEARN_RUN, PYTORCH, TRAIN

import lstm97


def test_sizes_reach_from_a_hundred_weights_to_a_million():
    n_weights = [growth.topology(n_cells).n_weights for n_cells in growth.CELLS]
    assert n_weights[0] == 89
    assert n_weights[-1] == 1_004_417
    assert all(2 < large / small < 5 for small, large in itertools.pairwise(n_weights))


def test_weights_of_the_peer_by_hand():
    # 4 kinds of 4 units with 2 inputs, 4 recurrent sources and 2 biases; one output with 4 sources and a bias.
    assert growth.n_lstm_weights(growth.topology(4)) == 4 * 4 * (2 + 4 + 2) + (4 + 1)


@pytest.mark.peers
def test_weights_of_the_peer_as_it_counts_them():
    import torch

    network = growth.topology(8)
    lstm, head = torch.nn.LSTM(network.n_inputs, network.n_cells), torch.nn.Linear(network.n_cells, network.n_outputs)
    found = sum(weights.numel() for module in (lstm, head) for weights in module.parameters())
    assert growth.n_lstm_weights(network) == found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n_steps", [100, 30_000])
def test_both_of_our_ways_learn_the_same_from_a_sequence(monkeypatch, n_steps, dtype):
    # The same data for both: the steps of one chunk, repeated.
    size = min(n_steps, streams.CHUNK)
    chunk, target = streams._data(size, dtype)
    monkeypatch.setattr(
        streams, "_data", lambda n, _: (np.concatenate([chunk] * (n // size)), target) if n > size else (chunk, target)
    )
    made = []

    class Spied(lstm97.Network):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append((self, self.parameters))

    monkeypatch.setattr(lstm97, "Network", Spied)
    for way in (streams.whole, streams.chunked):
        workload = way(n_steps, dtype)
        assert workload.steps == n_steps
        workload.run(1)
    (one, before), (other, _) = made
    np.testing.assert_array_equal(one.parameters, other.parameters)
    assert not np.array_equal(one.parameters, before)


def test_chunks_must_fit():
    with pytest.raises(ValueError, match="10001 steps are not a number of chunks of 10000"):
        streams.chunked(10_001, "float64")


@pytest.mark.slow
def test_curves_have_their_points_and_say_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    shown = []
    found = growth.measure((4, 8), (100, 2_000_000), repeats=3, seconds=0.001, show=shown.append)
    assert [(point.subject, point.dtype, point.n_weights, point.n_steps) for point in found.by_weights] == [
        (TRAIN, dtype, n_weights, 100) for n_weights in (89, 321) for dtype in ("float64", "float32")
    ]
    assert {(point.subject, point.n_weights, point.n_steps) for point in found.by_steps} == {
        (TRAIN, 93, 100),
        (LEARN_RUN, 93, 100),
        (LEARN_RUN, 93, 2_000_000),  # too long for the others, which need all of the data at once
    }
    assert found.missing == "torch is not installed"
    assert f"{PYTORCH}: torch is not installed" in shown
    for point in found.by_weights + found.by_steps:
        assert 0 < point.time.minimum <= point.time.median <= point.time.maximum
        assert any(f"{point.time.median:,.1f}" in text for text in shown)
    plain = asdict(found)
    assert json.loads(json.dumps(plain))["by_steps"][0]["time"] == asdict(found.by_steps[0].time)


@pytest.mark.peers
def test_the_peer_is_in_both_curves():
    found = growth.measure((4,), (100, 1_000_000), repeats=1, seconds=0.001, show=lambda _: None)
    assert [(p.n_weights, p.n_steps) for p in found.by_weights + found.by_steps if p.subject == PYTORCH] == [
        (133, 100),
        (133, 100),
    ]


def test_peak_sees_memory_that_is_used():
    program = "from benchmarks.memory import peak; before = peak(); block = b'x' * 50_000_000; print(peak() - before)"
    done = subprocess.run([sys.executable, "-c", program], cwd=memory.ROOT, stdout=subprocess.PIPE, check=True)
    assert 49_000_000 < int(done.stdout) < 51_000_000


@pytest.mark.slow
@pytest.mark.parametrize("way", [LEARN_RUN, TRAIN])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ten_million_steps_need_less_than_a_megabyte_beside_the_data(way, dtype):
    assert 0 <= memory.point(way, dtype, 10_000_000).rise < memory.MEGABYTE


@pytest.mark.peers
def test_memory_of_the_peer_grows():
    short, long = (memory.point(PYTORCH, "float32", n_steps).rise for n_steps in (10_000, 100_000))
    assert 5 * short < long > 10 * memory.MEGABYTE
