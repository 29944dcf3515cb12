"""Momentum, RMSprop, Adam and the bound of updates, against tests/judges/learning_rules.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from compare import assert_close
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from learning_rules import Optimizer, train
from reference import mean_errors
from rule_cases import BATCH_RULES, OPTIMIZERS, TOLERANCE, cut, data_of, pair, rate_of, rule_cases, some_data
from topologies import may_lack_targets, packed

import lstm97
from lstm97 import SGD, Adam, Network, RMSprop, Topology, _run, options
from lstm97._kernel import builds, team

pytestmark = [may_lack_targets, pytest.mark.filterwarnings("ignore:targets from .* out of reach")]

DTYPES = ("float64", "float32")


# ---- against the reference ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
@given(case=rule_cases())
def test_learning_a_stream_is_the_reference(name, dtype, case):
    rule = {"optimizer": OPTIMIZERS[name]}
    net, reference = pair(case, dtype, rule)
    rate = rate_of(case, rule)
    for i, (x, target, weight) in enumerate(zip(*data_of(case, dtype), strict=True)):
        if i == case.n_steps // 2:  # symbols seen before do not take part now
            net.reset()
            reference.reset()
        y = net.learn(x, target, rate, weight=weight)
        assert_close(y, reference.learn(x, target, rate, weight), TOLERANCE[dtype], "outputs")
    assert_close(net.weights, reference.weights, TOLERANCE[dtype], "weights")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BATCH_RULES)
@pytest.mark.parametrize("update", ["step", "sequence"])
@examples(0.5)
@given(
    case=rule_cases(max_steps=30), lengths=st.lists(st.integers(0, 8), min_size=1, max_size=9), size=st.integers(1, 4)
)
def test_training_sequences_is_the_reference(update, name, dtype, case, lengths, size):
    rule = BATCH_RULES[name]
    net, reference = pair(case, dtype, rule)
    X, D, weights = cut(case, data_of(case, dtype), lengths)
    how = {"update": update, "batch_size": size if update == "sequence" else 1}
    rate = rate_of(case, rule)
    outputs = train(reference, X, D, rate, weights=weights, **how)
    history = lstm97.train(net, packed(X, case.symbols), packed(D, case.classes), rate, sample_weight=weights, **how)
    assert_close(net.weights, reference.weights, TOLERANCE[dtype], "weights")
    signals = [[None if w == 0 else d for d, w in zip(*rows, strict=True)] for rows in zip(D, weights, strict=True)]
    expected = mean_errors(case.topology, outputs, signals)  # a weight of 0 is no error signal, others do not count
    assert np.array_equal(np.isnan(history.errors), np.isnan(expected))
    assert_close(np.nan_to_num(history.errors), np.nan_to_num(expected), TOLERANCE[dtype], "errors")


@pytest.mark.parametrize("optimizer", [RMSprop(), Adam(), Adam(bound=1.0)])
def test_the_usual_small_epsilon(optimizer):
    case = Topology(3, 2, blocks=(2, 1), n_hidden=1, forget_gates=True)
    net = Network(case, seed=1, optimizer=optimizer)
    state = Optimizer(optimizer, net.weights)
    before = {kind: w.copy() for kind, w in net.weights.items()}
    plain = Network(case, seed=1)
    for network in (net, plain):
        network.learn([1, -1, 0.5], [1, 0], 0.01)
    g = {kind: (w - before[kind]) / 0.01 for kind, w in plain.weights.items()}
    e_k = g["output"][:, -1]  # the bias' source is 1
    everything = {kind: np.ones(w.shape, bool) for kind, w in before.items()}
    state.change(before, g, 0.01, everything, (e_k**2).sum())
    assert_close(net.weights, before, 1e-9)  # g has lost some digits


# ---- the same bits ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("update", [{}, {"update": "sequence", "batch_size": 3}])
def test_plain_gradient_descent_is_the_default(dtype, update):
    topology = Topology(2, 1, blocks=(2, 1), n_hidden=1)
    data = some_data()
    found = []
    for arguments in ({}, {"optimizer": SGD()}, {"optimizer": SGD(momentum=0.0, bound=None), "readout": None}):
        net = Network(topology, dtype, seed=2, **arguments)
        assert net.optimizer == SGD()
        lstm97.train(net, *data, 0.5, **update)
        net.learn_run(data[0][0], None)
        found.append(net.parameters)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BATCH_RULES)
@pytest.mark.parametrize("symbols", [False, True])
def test_any_number_of_threads_gives_the_same_bits(symbols, name, dtype):
    X, T = some_data(n=50, n_inputs=5, symbols=symbols)
    found = []
    for threads in (1, 2):
        net = Network(Topology(5, 1, output="identity"), dtype, seed=1, **BATCH_RULES[name])
        with (
            mock.patch.multiple(team, WORTH_SHARING=0),
            mock.patch.multiple(_run, WORTH_THREADS=-1),
            mock.patch.multiple(options, available_cpus=lambda: 2),
        ):
            lstm97.train(net, X, T, 0.02, update="sequence", batch_size=16, epochs=2, threads=threads)
        found.append((net.parameters, net.learn_run(X[0], np.zeros((len(X[0]), 1)))))
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1])


PROGRAM = """
import json, sys
import numpy as np
import lstm97

topology = lstm97.Topology(5, 3, blocks=(2, 3, 1), n_hidden=2, forget_gates=True, output="identity")
rng = np.random.default_rng(0)
inputs, targets = rng.uniform(-1, 1, (20, 10, 5)), rng.uniform(-1, 1, (20, 10, 3))
results = []
for optimizer in (
    lstm97.SGD(0.9), lstm97.SGD(bound=0.1), lstm97.RMSprop(epsilon=1e-2), lstm97.Adam(epsilon=1e-2, bound=0.1)
):
    for options in ({}, {"update": "sequence", "batch_size": 9}):
        readout = None if options else lstm97.RLS(0.99)
        net = lstm97.Network(
            topology, sys.argv[1], seed=2, optimizer=optimizer, readout=readout, scaling=lstm97.Scaling()
        )
        lstm97.train(net, inputs, targets, 0.002, **options)
        results.append(net.parameters.tolist())
json.dump([lstm97.show_config().build, *results], sys.stdout)
"""


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_builds_this_cpu_runs_agree(dtype):
    results = {}
    for build in builds.runnable():
        command = [sys.executable, "-c", PROGRAM, dtype]
        environment = {**os.environ, "LSTM97_KERNEL": build}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        results[build] = json.loads(done.stdout)
    for build, (used, *arrays) in results.items():
        assert used == build
        for found, expected in zip(arrays, results["baseline"][1:], strict=True):
            assert_close(found, expected, TOLERANCE[dtype], build)


# ---- settings ----


def test_settings_are_frozen_and_kept():
    optimizer = Adam(0.5, 0.75, 1e-3, 2.0)
    assert (optimizer.beta1, optimizer.beta2, optimizer.epsilon, optimizer.bound) == (0.5, 0.75, 1e-3, 2.0)
    assert SGD() == SGD(momentum=0.0, bound=None) != SGD(0.5)
    assert RMSprop() == RMSprop(decay=0.999, epsilon=1e-8, bound=None)
    assert Adam() == Adam(beta1=0.9, beta2=0.999, epsilon=1e-8, bound=None)
    assert len({SGD(), RMSprop(), Adam(), SGD()}) == 3
    net = Network(Topology(2, 1), optimizer=optimizer)
    assert net.optimizer == optimizer
    assert net.readout is None
    assert net.scaling is None
    with pytest.raises(AttributeError):
        net.optimizer = SGD()
    with pytest.raises(AttributeError):
        optimizer.beta1 = 0.9


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("make", "name", "wrong"),
    [
        *((SGD, "momentum", value) for value in (-0.1, 1, 1.5, NAN, INF)),
        *((RMSprop, "decay", value) for value in (-0.1, 1, 2, NAN)),
        *((Adam, name, value) for name in ("beta1", "beta2") for value in (-0.1, 1, 2, NAN)),
        *((make, "epsilon", value) for make in (RMSprop, Adam) for value in (0, -1e-8, NAN, INF)),
        *((make, "bound", value) for make in (SGD, RMSprop, Adam) for value in (0, -1, NAN)),
    ],
)
def test_numbers_out_of_range_are_refused(make, name, wrong):
    with pytest.raises(ValueError, match=name):
        make(**{name: wrong})
    with pytest.raises(TypeError, match=name):
        make(**{name: "0.5"})


@pytest.mark.parametrize("make", [RMSprop, Adam])
def test_an_epsilon_that_is_0_in_the_networks_dtype_is_refused(make):
    Network(Topology(2, 1), "float64", optimizer=make(epsilon=1e-60))
    with pytest.raises(ValueError, match="epsilon"):
        Network(Topology(2, 1), "float32", optimizer=make(epsilon=1e-60))


@pytest.mark.parametrize("wrong", ["adam", Adam, 0.9, {"momentum": 0.5}])
def test_an_optimizer_of_another_type_is_refused(wrong):
    with pytest.raises(TypeError, match="optimizer"):
        Network(Topology(2, 1), optimizer=wrong)
    with pytest.raises(TypeError, match="optimizer"):
        Network(Topology(2, 1)).with_optimizer(wrong)
