"""Trajectories that must not change by accident; ``make_golden.py`` wrote them from the reference alone."""

from __future__ import annotations

import make_golden
import numpy as np
import pytest
from compare import TOLERANCE, assert_close

import lstm97

GOLDEN = make_golden.load()


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return request.param


@pytest.fixture(params=GOLDEN)
def case(request):
    return GOLDEN[request.param]


def network(case, dtype):
    topology = lstm97.Topology(**{**case["topology"], "blocks": tuple(case["topology"]["blocks"])})
    learning = {name: getattr(lstm97, kind)(**fields) for name, (kind, fields) in case.get("learning", {}).items()}
    net = lstm97.Network(topology, dtype=dtype, **learning)
    assert list(net.weights) == list(case["initial_weights"])
    for kind, w in case["initial_weights"].items():
        net.weights[kind][...] = w
    return net


def arrays(case, dtype):
    """Inputs and targets of each sequence as arrays: symbols and classes as integers, no target as NaN or -1."""
    inputs, targets = [], []
    for sequence in case["sequences"]:
        symbols = isinstance(sequence["inputs"][0], int)
        inputs.append(np.array(sequence["inputs"], dtype=np.int32 if symbols else dtype))
        some = next(target for target in sequence["targets"] if target is not None)
        none = -1 if isinstance(some, int) else np.full(len(some), np.nan)
        rows = [none if target is None else target for target in sequence["targets"]]
        targets.append(np.array(rows, dtype=np.int32 if isinstance(some, int) else dtype))
    return inputs, targets


def test_learn_follows_the_trajectory(case, dtype):
    net = network(case, dtype)
    state = net.new_state()
    expected = zip(case["sequences"], case["outputs"], case["cell_states"], strict=True)
    for n, (sequence, outputs, cell_states) in enumerate(expected):
        net.reset(state)
        for t, (x, target) in enumerate(zip(sequence["inputs"], sequence["targets"], strict=True)):
            y = net.learn(x, target, case["learning_rate"], state=state)
            assert_close(y, outputs[t], TOLERANCE[dtype], f"outputs of step {t} of sequence {n}")
            assert_close(state.cell_state, cell_states[t], TOLERANCE[dtype], f"states of step {t} of sequence {n}")
    assert_close(net.weights, case["final_weights"], TOLERANCE[dtype], "weights")


def test_learn_run_follows_the_trajectory(case, dtype):
    net = network(case, dtype)
    state = net.new_state()
    for X, targets, outputs, cell_states in zip(
        *arrays(case, dtype), case["outputs"], case["cell_states"], strict=True
    ):
        net.reset(state)
        Y = net.learn_run(X, targets, case["learning_rate"], state=state)
        assert_close(Y, outputs, TOLERANCE[dtype], "outputs")
        assert_close(state.cell_state, cell_states[-1], TOLERANCE[dtype], "cell states")
    assert_close(net.weights, case["final_weights"], TOLERANCE[dtype], "weights")


@pytest.mark.parametrize(
    ("update", "expected"), [("step", "final_weights"), ("sequence", "final_weights_update_sequence")]
)
def test_train_ends_at_the_same_weights(case, dtype, update, expected):
    if expected not in case:
        pytest.skip("a readout learns by the step")
    net = network(case, dtype)
    lstm97.train(net, *arrays(case, dtype), learning_rate=case["learning_rate"], update=update)
    assert_close(net.weights, case[expected], TOLERANCE[dtype], "weights")


def test_the_script_writes_the_golden_file():
    assert_same(make_golden.trajectories(), GOLDEN, "file")


def assert_same(actual, expected, what):
    """Everything must be equal, except real numbers: rounding may differ between machines."""
    if isinstance(expected, dict):
        assert list(actual) == list(expected), what
        for key in expected:
            assert_same(actual[key], expected[key], f"{what}[{key!r}]")
    elif isinstance(expected, list):
        assert len(actual) == len(expected), what
        for n, item in enumerate(expected):
            assert_same(actual[n], item, f"{what}[{n}]")
    elif isinstance(expected, float):
        assert_close(actual, expected, TOLERANCE["float64"], what)
    else:
        assert type(actual) is type(expected), what
        assert actual == expected, what


def test_the_trajectories_change_all_kinds_of_weights(case):
    """Every kind of weights moves by far more than a tolerance, and by an amount that depends on ``update``."""
    signals = [sum(target is not None for target in sequence["targets"]) for sequence in case["sequences"]]
    for kind, initial in case["initial_weights"].items():
        by_step = np.array(case["final_weights"][kind])
        by_sequence = np.array(case.get("final_weights_update_sequence", case["initial_weights"])[kind])
        assert np.abs(by_step - initial).max() > 1e-3, kind
        assert (np.abs(by_step - by_sequence).max() > 1e-4) == (max(signals) > 1), kind
