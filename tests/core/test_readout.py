"""Output weights by recursive least squares, against the plain form in tests/judges/learning_rules.py."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close
from hypothesis import given
from hypothesis import strategies as st
from rule_cases import OPTIMIZERS, TOLERANCE, data_of, pair, rate_of, rule_cases, some_data
from topologies import may_lack_targets

import lstm97
from lstm97 import RLS, SGD, Network, Topology

pytestmark = may_lack_targets

DTYPES = ("float64", "float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [SGD(), OPTIMIZERS["adam"], OPTIMIZERS["bound"]], ids=["sgd", "adam", "bound"])
@given(
    case=rule_cases(output="identity"),
    forgetting=st.sampled_from([1.0, 0.99, 0.9]),
    prior=st.sampled_from([0.1, 1.0, 10.0]),
)
def test_learning_a_stream_is_the_reference(optimizer, dtype, case, forgetting, prior):
    rule = {"optimizer": optimizer, "readout": RLS(forgetting, prior)}
    net, reference = pair(case, dtype, rule)
    rate = rate_of(case, rule)
    for x, target, weight in zip(*data_of(case, dtype), strict=True):
        y = net.learn(x, target, rate, weight=weight)
        assert_close(y, reference.learn(x, target, rate, weight), TOLERANCE[dtype], "outputs")
    assert_close(net.weights, reference.weights, TOLERANCE[dtype], "weights")


def test_a_linear_map_is_learned_in_as_many_steps_as_there_are_weights():
    topology = Topology(3, 2, blocks=(), input_to_output=True, output="identity")
    net = Network(topology, readout=RLS(prior=1e8))
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=net.weights["output"].shape)
    for x in rng.normal(size=(4, 3)):
        net.learn(x, wanted @ [*x, 1])
    np.testing.assert_allclose(net.weights["output"], wanted, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_steps", [10_000_000])
def test_millions_of_steps_of_inputs_that_rarely_vary_stay_finite(n_steps, dtype):
    """For most of the time inputs are constant, so that nothing but the limit of its trace keeps P from growing."""
    topology = Topology(2, 1, blocks=(2, 2), forget_gates=True, input_to_output=True, output="identity")
    net = Network(topology, dtype, seed=1, readout=RLS(forgetting=0.999))
    rng = np.random.default_rng(0)
    chunk, noise = 10_000, 0.1
    for i in range(n_steps // chunk):
        X = np.full((chunk, 2), 0.5)
        X[:200] = rng.uniform(-1, 1, (200, 2))  # 2% vary
        clean = X[:, :1] - 0.5 * X[:, 1:]
        Y = net.learn_run(X, clean + rng.normal(0, noise, clean.shape), 0.001)
        assert np.isfinite(Y).all()
        assert np.abs(net.weights["output"]).max() < 10
        distances = Y - clean  # the first chunk begins with nothing learned
        assert np.sqrt(np.mean(distances[:200] ** 2)) < noise or i == 0
        assert np.sqrt(np.mean(distances[200:] ** 2)) < noise / 2


# ---- refusals ----


def test_settings():
    assert RLS() == RLS(forgetting=1.0, prior=1.0)
    net = Network(Topology(2, 1, output="identity"), readout=RLS(0.9, 2.0))
    assert net.readout == RLS(0.9, 2.0)
    assert net.optimizer == SGD()
    with pytest.raises(AttributeError):
        net.readout = RLS()
    with pytest.raises(AttributeError):
        net.readout.prior = 2.0


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("forgetting", value) for value in (0, -0.5, 1.001, 2, np.nan)),
        *(("prior", value) for value in (0, -1, np.nan, np.inf)),
    ],
)
def test_numbers_out_of_range_are_refused(name, wrong):
    with pytest.raises(ValueError, match=name):
        RLS(**{name: wrong})
    with pytest.raises(TypeError, match=name):
        RLS(**{name: "1"})


@pytest.mark.parametrize("output", ["logistic", "softmax"])
def test_outputs_that_are_not_linear_are_refused(output):
    with pytest.raises(ValueError, match="identity"):
        Network(Topology(2, 2, output=output), readout=RLS())


@pytest.mark.parametrize("wrong", [{"update": "sequence"}, {"update": "sequence", "batch_size": 4}])
def test_training_by_sequences_is_refused(wrong):
    net = Network(Topology(2, 1, output="identity"), readout=RLS())
    before = net.parameters
    with pytest.raises(ValueError, match="readout"):
        lstm97.train(net, *some_data(), **wrong)
    assert np.array_equal(net.parameters, before)


def test_hogwild_is_refused():
    net = Network(Topology(2, 1, output="identity"), readout=RLS())
    with pytest.raises(ValueError, match="readout"):
        lstm97.train(net, *some_data(), parallel="hogwild")


def test_a_readout_of_another_type_is_refused():
    with pytest.raises(TypeError, match="readout"):
        Network(Topology(2, 1, output="identity"), readout=SGD())


def test_a_least_squares_step_has_no_learning_rate():
    nets = [Network(Topology(2, 1, blocks=(), input_to_output=True, output="identity"), readout=RLS()) for _ in "ab"]
    for net, rate in zip(nets, (1e-3, 10.0), strict=True):
        net.learn([1, 2], [3.0], rate)
    assert np.array_equal(nets[0].parameters, nets[1].parameters)
    assert_close(nets[0].step([1, 2]), nets[1].step([1, 2]), 1e-15)
