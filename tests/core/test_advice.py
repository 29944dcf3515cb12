"""Warnings about data that cannot be learned as they are; each is given once per network."""

from __future__ import annotations

import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context

import numpy as np
import pytest

import lstm97
from lstm97 import Network, Topology, train
from lstm97.methods import BPTT, RCC, RTRL, RecurrentTopology

RNG = np.random.default_rng(0)
DEGREES = 20 + RNG.normal(size=(200, 1))


def warnings_of(call):
    """The warnings of a call, which must all point at this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert all(warning.filename == __file__ for warning in caught)
    return [str(warning.message) for warning in caught]


def learn_by_step(net):
    for x, target in zip(DEGREES, DEGREES, strict=True):
        net.learn(x, target, 1e-4)


WAYS = {
    "learn": learn_by_step,
    "learn_run": lambda net: net.learn_run(DEGREES, DEGREES, 1e-4),
    "another stream": lambda net: net.learn_run(DEGREES, DEGREES, 1e-4, state=net.new_state()),
    "train": lambda net: train(net, [DEGREES], [DEGREES], 1e-4),
    "train, batches": lambda net: train(net, [DEGREES] * 3, [DEGREES] * 3, 1e-4, update="sequence", batch_size=3),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("output", ["logistic", "softmax"])
def test_targets_out_of_reach_give_one_warning(way, output, dtype):
    n = 1 if output == "logistic" else 2
    net = Network(Topology(1, n, output=output), dtype=dtype)
    targets = {"logistic": DEGREES, "softmax": np.repeat(DEGREES, 2, axis=1)}[output]

    def call(net):
        if way in ("learn", "another stream"):
            for x, target in zip(DEGREES[:20] / 20, targets[:20].astype(dtype), strict=True):
                net.learn(x, target, 1e-4)
        elif way == "learn_run":
            net.learn_run(DEGREES / 20, targets, 1e-4)
        else:
            train(net, [DEGREES / 20], [targets], 1e-4, update="step" if way == "train" else "sequence")

    (message,) = warnings_of(lambda: call(net))
    assert f"out of reach of {output} outputs, which lie between 0 and 1" in message
    assert "output='identity'" in message
    assert warnings_of(lambda: call(net)) == []
    assert warnings_of(lambda: net.learn([0.1], targets[0], state=net.new_state())) == []


def test_targets_within_reach_give_no_warning():
    net = Network(Topology(1, 1))
    assert warnings_of(lambda: net.learn([0.1], [1 + 2e-16])) == []
    assert warnings_of(lambda: Network(Topology(1, 1), "float32").learn([0.1], np.float32([1.0000001]))) == []
    assert warnings_of(lambda: net.learn_run(DEGREES / 20, np.linspace(0, 1, 200), 0.1)) == []
    assert warnings_of(lambda: net.learn([0.5], [1.0])) == []
    rounded = Network(Topology(1, 1))
    assert warnings_of(lambda: rounded.learn([0.5], [1 + 2e-16])) == []
    assert len(warnings_of(lambda: rounded.learn([0.5], [7.0]))) == 1  # rounding did not end the check
    assert warnings_of(lambda: net.learn([0.5], [np.nan])) == []
    linear = Network(Topology(1, 1, output="identity"))
    assert warnings_of(lambda: linear.learn([0.5], [2.0])) == []


def test_a_warning_that_is_an_error_changes_nothing():
    net = Network(Topology(1, 1))
    before = net.parameters
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="out of reach"):
            net.learn([0.5], [7.0])
    assert np.array_equal(net.parameters, before)
    net.learn([0.5], [0.7])


@pytest.mark.parametrize("way", WAYS)
def test_cells_saturated_by_large_data_give_one_warning(way):
    net = Network(Topology(1, 1, blocks=(1,) * 8, output="identity", forget_gates=True), init_range=0.5, seed=3)
    (message,) = warnings_of(lambda: WAYS[way](net))
    assert "cells are saturated and learn next to nothing" in message
    assert "scale inputs that reach" in message
    assert warnings_of(lambda: WAYS[way](net)) == []


@pytest.mark.parametrize("way", WAYS)
def test_scaled_data_give_no_warning(way, monkeypatch):
    net = Network(Topology(1, 1, blocks=(1,) * 8, output="identity"), init_range=0.5, seed=3)
    monkeypatch.setattr(__name__ + ".DEGREES", DEGREES - 20)
    assert warnings_of(lambda: WAYS[way](net)) == []


def test_symbols_and_linear_cells_cannot_be_saturated_by_large_data():
    net = Network(Topology(50, 1, output="identity"), init_range=5)
    assert warnings_of(lambda: train(net, [RNG.integers(50, size=60)], [[30.0]], 1e-6)) == []
    assert warnings_of(lambda: net.learn_run(RNG.integers(50, size=200), None)) == []
    linear = Network(Topology(1, 1, output="identity", input_squash="identity"), init_range=0.5)
    assert warnings_of(lambda: train(linear, [DEGREES], [[1.0]], 1e-6)) == []


def test_a_training_without_any_target_gives_one_warning():
    X = np.zeros((2, 3, 2))
    for targets in (np.full((2, 3, 1), np.nan), np.full((2, 1), np.nan)):
        net = Network(Topology(2, 1))
        assert warnings_of(lambda net=net, targets=targets: train(net, X, targets)) == [
            "no target was found in targets, so nothing is learned"
        ]
        assert warnings_of(lambda net=net, targets=targets: train(net, X, targets)) == []
    net = Network(Topology(2, 2))
    assert len(warnings_of(lambda: train(net, X, [-1, -1]))) == 1
    assert warnings_of(lambda: train(Network(Topology(2, 2)), X, [-1, 1])) == []


def test_an_order_without_any_target_gives_a_warning():
    X, T = np.zeros((3, 4, 2)), np.array([[np.nan], [0.5], [0.5]])
    assert len(warnings_of(lambda: train(Network(Topology(2, 1)), X, T, order=[0, 0]))) == 1
    assert warnings_of(lambda: train(Network(Topology(2, 1)), X, T, order=[0, 1])) == []
    steps = np.full((3, 4, 1), np.nan)
    steps[2, 1] = 0.5
    assert len(warnings_of(lambda: train(Network(Topology(2, 1)), X, steps, order=[1]))) == 1
    assert warnings_of(lambda: train(Network(Topology(2, 1)), X, steps, order=[1, 2])) == []


@pytest.mark.filterwarnings("ignore:.*saturated")
def test_the_check_for_saturated_cells_never_fails_a_training():
    net = Network(Topology(1, 1, output="identity", input_to_output=True), dtype="float32", init_range=100.0)
    history = train(net, [np.zeros((3, 1)), np.full((10, 1), 3e37)], [[1.0], [0.0]], order=[0])
    assert history.sequences == 1


@pytest.mark.parametrize("executor", [None, "threads", "processes"])
def test_train_many_gives_one_warning_at_the_callers_line(executor):
    nets = [Network(Topology(1, 1), seed=i) for i in range(3)]
    X = np.repeat(DEGREES[np.newaxis], 30, axis=0)
    pools = {
        None: nullcontext,
        "threads": lambda: ThreadPoolExecutor(2),
        "processes": lambda: ProcessPoolExecutor(2, get_context("spawn")),
    }
    with pools[executor]() as pool:
        found = warnings_of(
            lambda: lstm97.train_many(nets, (X, X[:, 0]), 1e-6, executor=pool, threads=None if pool else 2)
        )
    assert len(found) == 1
    assert "out of reach" in found[0]


def test_other_learners_warn_too():
    recurrent = {"n_inputs": 1, "n_outputs": 1, "n_hidden": 2}
    for make in (
        lambda: RTRL(RecurrentTopology(**recurrent)),
        lambda: RTRL(RecurrentTopology(n_inputs=1, n_outputs=1, n_hidden=0, fully_recurrent=True)),
        lambda: BPTT(RecurrentTopology(**recurrent, output="tanh")),
        lambda: RCC(1, 1),
    ):
        for target, words in ((20.0, "out of reach"), (np.nan, "no target")):
            net = make()
            assert any(words in each for each in warnings_of(lambda net=net, t=target: net.train([DEGREES], [[t]])))
    linear = RTRL(RecurrentTopology(**recurrent, output="identity"))
    assert warnings_of(lambda: linear.train([DEGREES / 20], [[20.0]], 1e-6)) == []
    assert any(
        "out of reach" in each for each in warnings_of(lambda: RTRL(RecurrentTopology(**recurrent)).learn([1.0], [7.0]))
    )


@pytest.mark.filterwarnings("ignore:.*saturated")
@pytest.mark.parametrize("forget_gates", [False, True])
def test_the_advice_after_an_overflow_fits(forget_gates):
    topology = Topology(1, 1, output="identity", output_squash="identity", forget_gates=forget_gates)
    for scale, wanted in ((1.0, False), (1e3, True)):
        for call in (
            lambda net, X: net.learn_run(X, X, 1e200),
            lambda net, X: [net.learn(x, x, 1e200) for x in X],
            lambda net, X: train(net, [X], [X], 1e200),
            lambda net, X: train(net, [X] * 3, [X] * 3, 1e200, update="sequence"),
        ):
            X = scale * np.sin(np.arange(400.0))[:, np.newaxis]
            with pytest.raises(FloatingPointError) as caught:
                call(Network(topology), X)
            message = str(caught.value)
            assert "try a smaller learning_rate" in message
            of_a_stream = "of sequence" not in message
            assert ("or forget_gates=True for streams" in message) == (of_a_stream and not forget_gates)
            assert ("; scale inputs that reach" in message) == wanted


def test_a_loaded_network_warns_once_more(tmp_path):
    """A loaded network is another object, so it may give a warning that the saved one has given."""
    net = Network(Topology(1, 1))
    assert len(warnings_of(lambda: net.learn([0.1], [3.0]))) == 1
    net.save(tmp_path / "net")
    again = lstm97.load(tmp_path / "net")
    assert len(warnings_of(lambda: again.learn([0.1], [3.0]))) == 1
