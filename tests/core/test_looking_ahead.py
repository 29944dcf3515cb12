"""Changes of the weights that compute the next step's net inputs on the way: the same bits as without."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from compare import TOLERANCE, assert_close
from hypothesis import given
from hypothesis import strategies as st
from reference import ReferenceNetwork, train
from topologies import may_lack_targets

import lstm97
from lstm97 import Network, Topology

pytestmark = may_lack_targets

DTYPES = ("float64", "float32")
N_STEPS = 9

topologies = st.builds(
    lambda n_cells, n_inputs, n_outputs, **options: Topology(n_inputs, n_outputs, blocks=(1,) * n_cells, **options),
    n_cells=st.sampled_from([15, 16, 22, 32, 48]),  # with layers that fill whole groups of vectors, and others
    n_inputs=st.integers(1, 9),
    n_outputs=st.integers(1, 3),
    forget_gates=st.booleans(),
    gate_sources=st.booleans(),
    recurrent=st.booleans(),
    input_to_output=st.booleans(),
    bias=st.sampled_from(["all", "hidden", "gates", "none"]),
    output=st.sampled_from(["identity", "logistic"]),
)
# Of each step: whether it has a target, and whether a call ends after it.
marks = st.lists(st.booleans(), min_size=N_STEPS, max_size=N_STEPS)


def streams(topology, dtype, seed=0):
    """A network, inputs and targets."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (N_STEPS, topology.n_inputs)).astype(dtype)
    targets = rng.uniform(0, 1, (N_STEPS, topology.n_outputs)).astype(dtype)
    return Network(topology, dtype, seed=1), X, targets


def learned_in_pieces(net, X, targets, ends):
    """The outputs of learn_run in pieces that end where `ends` says."""
    bounds = [0, *(np.flatnonzero(ends[:-1]) + 1), len(X)]
    pieces = [slice(begin, end) for begin, end in pairwise(bounds)]
    return np.concatenate([net.learn_run(X[piece], targets[piece], 0.1) for piece in pieces])


@pytest.mark.parametrize("dtype", DTYPES)
@given(topology=topologies, has_target=marks, ends=marks)
def test_no_way_to_cut_a_stream_changes_a_bit(dtype, topology, has_target, ends):
    found = []
    for how in ("one by one", "at once", "in pieces", "train"):
        net, X, targets = streams(topology, dtype)
        targets[~np.array(has_target)] = np.nan
        if how == "one by one":
            Y = np.array([net.learn(x, None if np.isnan(t).any() else t, 0.1) for x, t in zip(X, targets, strict=True)])
        elif how == "train":
            lstm97.train(net, [X], [targets], 0.1)
            Y = found[0][0]
        else:
            Y = learned_in_pieces(net, X, targets, ends if how == "in pieces" else [False] * N_STEPS)
        found.append((Y, net.parameters))
    for Y, parameters in found[1:]:
        assert np.array_equal(Y, found[0][0])
        assert np.array_equal(parameters, found[0][1])


@pytest.mark.parametrize("dtype", DTYPES)
@given(topology=topologies, lengths=st.lists(st.integers(0, 7), min_size=1, max_size=4))
def test_sequences_train_as_the_reference(dtype, topology, lengths):
    net = Network(topology, dtype, seed=1)
    reference = ReferenceNetwork(topology, {kind: np.array(w, np.float64) for kind, w in net.weights.items()})
    rng = np.random.default_rng(2)
    X = [rng.uniform(-1, 1, (n, topology.n_inputs)).astype(dtype) for n in lengths]
    D = [rng.uniform(0, 1, (n, topology.n_outputs)).astype(dtype) for n in lengths]
    lstm97.train(net, X, D, 0.1)
    train(reference, X, D, 0.1)
    assert_close(net.weights, reference.weights, TOLERANCE[dtype], "weights")


def test_a_reset_between_two_steps_is_not_missed():
    topology = Topology(3, 1, blocks=(1,) * 32, forget_gates=True, output="identity")
    net, X, targets = streams(topology, "float32")
    resets = np.arange(N_STEPS) % 4 == 0
    Y = net.learn_run(X, targets, 0.1, resets=resets)
    other = Network(topology, "float32", seed=1)
    expected = []
    for x, t, is_first in zip(X, targets, resets, strict=True):
        if is_first:
            other.reset()
        expected.append(other.learn(x, t, 0.1))
    assert np.array_equal(Y, expected)
    assert np.array_equal(net.parameters, other.parameters)


def test_a_change_that_overflows_leaves_nothing_behind():
    topology = Topology(3, 1, blocks=(1,) * 32, forget_gates=True, output="identity")
    net, X, targets = streams(topology, "float32")
    net.learn_run(X, targets, 0.1)
    before = net.parameters
    targets[:] = 3e38
    with pytest.raises(FloatingPointError):
        net.learn_run(X, targets, 1e3)
    assert np.isfinite(net.parameters).all()
    net.parameters = before
    net.reset()
    other = Network(topology, "float32", seed=1)
    other.parameters = before
    assert np.array_equal(net.run(X), other.run(X))
