"""`predict`: outputs at every step or the last, the sequences shared by threads; judged by `run` on each sequence."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from compare import TOLERANCE, assert_close
from hypothesis import given
from hypothesis import strategies as st
from topologies import cases, packed, random_inputs

import lstm97
from lstm97 import Network, Sequences, Topology, predict

SQUASHES = {"input_squash": "identity", "output_squash": "identity", "output": "identity"}


@pytest.fixture
def shared(monkeypatch):
    """Threads for any work, and pieces so small that they end within sequences."""
    monkeypatch.setattr(lstm97._inference, "WORTH_THREADS", 0)
    monkeypatch.setattr(lstm97._inference, "available_cpus", lambda: 4)
    monkeypatch.setattr(lstm97._inference, "PIECE", 2000)


def by_hand(net, inputs):
    """The outputs of each sequence, from a state of its own."""
    return [net.run(x, state=net.new_state()) for x in inputs]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(case=cases(large=False), lengths=st.lists(st.integers(0, 25), min_size=1, max_size=40))
def test_outputs_are_those_of_each_sequence_alone(dtype, case, lengths):
    net = Network(case.topology, dtype=dtype)
    for kind, w in case.weights.items():
        net.weights[kind] = w
    rng = np.random.default_rng(case.seed)
    inputs = [random_inputs(case.topology, rng, n, case.symbols) for n in lengths]
    if case.symbols:
        inputs[0] = random_inputs(case.topology, rng, 3, True)  # integers, which an empty list has not
    expected = by_hand(net, inputs)
    found = predict(net, packed(inputs, case.symbols))
    assert [y.shape for y in found] == [y.shape for y in expected]
    assert_close(np.concatenate(found), np.concatenate(expected), TOLERANCE[dtype])
    whole = [i for i, n in enumerate(map(len, inputs)) if n]
    if whole:
        last = predict(net, packed([inputs[i] for i in whole], case.symbols), last=True)
        assert last.dtype == dtype
        assert np.array_equal(last, [found[i][-1] for i in whole])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_of_threads_gives_the_same_bits(shared, dtype, threads):
    net = Network(Topology(2, 3, blocks=(2, 1)), dtype, seed=2, init_range=1.0)
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(n, 2)) for n in (0, 700, 1, 3, 0, 5, *rng.integers(1, 60, 200), 1500, 0)]
    expected = predict(net, inputs)
    assert_close(np.concatenate(expected), np.concatenate(by_hand(net, inputs)), TOLERANCE[dtype])
    found = predict(net, inputs, threads=threads)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    whole = [i for i, x in enumerate(inputs) if len(x)]
    last = predict(net, [inputs[i] for i in whole], last=True, threads=threads)
    assert np.array_equal(last, [expected[i][-1] for i in whole])
    one = predict(net, [inputs[1]], threads=threads)
    assert np.array_equal(one[0], net.run(inputs[1], state=net.new_state()))


def shared_out(lengths):
    """The groups of sequences of these lengths that step side by side, and those that go one after the other."""
    inputs = [np.full((n, 1), 0.1) for n in lengths]
    parts = lstm97._inference.Inference(Network(Topology(1, 1), seed=2), Sequences.pack(inputs), 1)._parts
    begins = np.concatenate([[0], np.cumsum(lengths)])
    groups = [sorted(part.tolist()) for part in parts if not isinstance(part, slice)]
    alone = [
        i
        for part in parts
        if isinstance(part, slice)
        for i, n in enumerate(lengths)
        if n and part.start <= begins[i] < part.stop
    ]
    return groups, alone


def test_long_sequences_among_short_ones_go_one_after_the_other(shared):
    groups, alone = shared_out([3, 3000, 4, 3, *[3] * 68, 1000, 4])
    assert alone == [1, 72]
    assert sorted(i for group in groups for i in group) == sorted({*range(74)} - {1, 72})


def test_sequences_side_by_side_fill_most_lanes(shared):
    groups, alone = shared_out([1000, 1] * 15)  # lanes for 16, of which 15 are in use after the first step
    assert groups == [sorted([*range(0, 30, 2), 1]), [*range(3, 30, 2)]]
    assert alone == []
    groups, alone = shared_out([1000] * 10)
    assert (len(groups), len(groups[0]), len(alone)) == (1, 8, 2)


def test_little_work_goes_one_after_the_other(shared):
    assert shared_out([1, 0, 2] * 30) == ([], [i for i in range(90) if i % 3 != 1])
    assert shared_out([1000] * 3) == ([], [0, 1, 2])
    assert shared_out([0, 0]) == ([], [])


def test_threads_are_used_and_end(shared, monkeypatch):
    seen = set()
    original = lstm97._inference.Inference._compute

    def noted(*arguments):
        seen.add(threading.get_ident())
        original(*arguments)

    monkeypatch.setattr(lstm97._inference.Inference, "_compute", noted)
    net, X = Network(Topology(2, 1, blocks=(2,) * 20)), np.ones((400, 50, 2))
    before = threading.active_count()
    for threads, expected in ((1, {1}), (2, {1, 2})):
        seen.clear()
        for _ in range(20):  # the calling thread may have done all parts before a helper has begun
            predict(net, X, threads=threads)
        assert len(seen) in expected or len(seen) > 2
        assert threading.get_ident() in seen
        assert threading.active_count() == before
    assert len(seen) > 1
    monkeypatch.setenv("LSTM97_NUM_THREADS", "x")
    with pytest.raises(ValueError, match="LSTM97_NUM_THREADS is 'x'"):
        predict(net, X)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("last", [False, True])
def test_errors_name_the_first_failing_sequence_and_its_step(shared, threads, last):
    net = Network(Topology(1, 1, (2,), recurrent=False, **SQUASHES))
    net.weights["cell"] = 1e300
    inputs = [np.zeros((60, 1)) for _ in range(100)]
    for i, t in ((93, 0), (41, 7), (62, 30)):
        inputs[i][t] = 1e9
    with pytest.raises(FloatingPointError, match=r"in sequence 41: cell state overflowed at step 7; reset the state"):
        predict(net, inputs, last=last, threads=threads)
    inputs[41][7] = 0
    with pytest.raises(FloatingPointError, match=r"in sequence 62: cell state overflowed at step 30"):
        predict(net, inputs, last=last, threads=threads)


def test_an_interrupt_in_one_thread_ends_all(shared, monkeypatch):
    net, X = Network(Topology(2, 1)), np.ones((3000, 20, 2))
    main = threading.get_ident()
    come = threading.Event()

    def interrupted(*arguments):
        if threading.get_ident() == main:
            come.set()
            raise KeyboardInterrupt
        come.wait(60)  # so that the helpers leave a part to the calling thread

    monkeypatch.setattr(lstm97._inference.Inference, "_compute", interrupted)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        predict(net, X, threads=4)
    assert threading.active_count() == before


def test_out_takes_the_last_outputs(shared):
    net = Network(Topology(2, 3), seed=2)
    X = np.random.default_rng(1).normal(size=(30, 9, 2))
    expected = predict(net, X)[:, -1]
    out = np.empty((30, 3))
    assert predict(net, X, last=True, out=out) is out
    assert np.array_equal(out, expected)
    assert np.array_equal(predict(net, list(X), True), expected)
    with pytest.raises(ValueError, match=r"out has shape \(30, 9, 3\) and dtype float64, expected \(30, 3\)"):
        predict(net, X, last=True, out=np.empty((30, 9, 3)))
    over = X[:, -1].ravel()  # a copy
    memory = np.concatenate([over, np.zeros(30)])
    inputs = Sequences(memory[:60].reshape(30, 2), np.arange(31))
    first = predict(net, Sequences(memory[:60].reshape(30, 2).copy(), np.arange(31)), last=True)
    assert np.array_equal(predict(net, inputs, last=True, out=memory.reshape(30, 3)), first)


def test_no_sequences_and_no_steps():
    net = Network(Topology(2, 3), "float32")
    assert predict(net, [], last=True).shape == (0, 3)
    assert predict(net, np.empty((0, 5, 2)), last=True).dtype == np.float32
    assert [y.shape for y in predict(net, [np.empty((0, 2))] * 2)] == [(0, 3)] * 2
    inputs = [np.ones((2, 2)), np.empty((0, 2)), np.empty((0, 2))]
    with pytest.raises(ValueError, match=r"inputs\[1\] is empty: it has no last step, which last=True asks for"):
        predict(net, inputs, last=True)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"last": 1}, TypeError, "last must be True or False, got 1"),
        ({"last": None}, TypeError, "last must be True or False"),
        ({"threads": 0}, ValueError, "threads must be at least 1"),
        ({"threads": 1.5}, TypeError, "threads must be an integer"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        predict(Network(Topology(2, 3)), np.ones((1, 2, 2)), **arguments)
