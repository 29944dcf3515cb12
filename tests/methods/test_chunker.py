"""The chunker against a NumPy reference; the chunker sees unexpected inputs, and the automatizer learns from it."""

from __future__ import annotations

import numpy as np
import pytest
import recurrent_reference as ref
from compare import assert_close
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from lstm97.methods import Chunker, ChunkerTopology
from lstm97.paper.tasks import long_lag

pytestmark = pytest.mark.filterwarnings("ignore:no target was found")

TOLERANCE = 1e-10


@st.composite
def topologies(draw):
    n_inputs = draw(st.integers(1, 4))
    next_inputs = draw(st.booleans())
    return ChunkerTopology(
        n_inputs=n_inputs,
        n_outputs=n_inputs if next_inputs else draw(st.integers(1, 3)),
        n_hidden=draw(st.integers(1, 3)),
        next_inputs=next_inputs,
        time=draw(st.booleans()),
        imitated=draw(st.sampled_from(["state", "hidden"])),
        bias=draw(st.booleans()),
        output=draw(st.sampled_from(["logistic", "tanh", "identity"])),
    )


# A stream's inputs: random, repeated so that some are predictable, or symbols. Its targets: none, some, or all; the
# next inputs, if the topology says so.
STREAMS = {
    "topology": topologies(),
    "seed": st.integers(0, 2**32 - 1),
    "n_steps": st.integers(1, 30),
    "kind": st.sampled_from(["random", "repeated", "symbols"]),
    "share": st.sampled_from([0.0, 0.5, 1.0]),
    "threshold": st.sampled_from([0.0, 0.3, 0.5, 0.7, 10.0]),
}


def drawn_stream(topology, rng, n_steps, kind, share):
    """Random inputs and targets for a chunker."""
    n = topology.n_inputs
    if kind == "symbols" and n > 1:
        X = rng.integers(n, size=n_steps + 1)
    else:
        period = 3 if kind == "repeated" else n_steps + 1
        X = rng.random((period, n))[np.arange(n_steps + 1) % period]
    T = ref.rows(X, n)[1:].copy() if topology.next_inputs else rng.random((n_steps, topology.n_outputs))
    T[rng.random(n_steps) >= share] = np.nan
    return X[:-1], T


def made(topology, rng, threshold):
    net = Chunker(topology, rng, init_range=1.0, threshold=threshold)
    return net, ref.Chunker(topology, net.weights, threshold)


@examples(1.5)
@given(**STREAMS)
def test_outputs_weights_and_what_is_passed_on_are_those_of_the_reference(
    topology, seed, n_steps, kind, share, threshold
):
    rng = np.random.default_rng(seed)
    X, T = drawn_stream(topology, rng, n_steps, kind, share)
    net, reference = made(topology, rng, threshold)
    rate = 0.1 if topology.output == "identity" else 0.5
    Y = net.learn_run(X, T, rate)
    expected = [reference.learn(x, target, rate) for x, target in zip(ref.rows(X, topology.n_inputs), T, strict=True)]
    assert_close(Y, expected, TOLERANCE, "outputs")
    assert_close(net.weights, reference.weights, TOLERANCE, "weights")
    assert net.passed_on.tolist() == reference.passed_on


@examples(0.4)
@given(**STREAMS, n_more=st.integers(0, 5))
def test_training_is_that_of_the_reference_from_reset_to_reset(topology, seed, n_steps, kind, share, threshold, n_more):
    rng = np.random.default_rng(seed)
    pairs = [drawn_stream(topology, rng, n, kind, share) for n in (n_steps, n_more, 1)]
    net, reference = made(topology, rng, threshold)
    history = net.train([X for X, _ in pairs], [T for _, T in pairs], 0.1)
    errors = []
    for X, T in pairs:
        reference.reset()
        Y = [reference.learn(x, target, 0.1) for x, target in zip(ref.rows(X, topology.n_inputs), T, strict=True)]
        distances = np.abs(np.reshape(Y, T.shape) - T)[~np.isnan(T)]
        errors.append(distances.mean() if distances.size else np.nan)
    assert_close(net.weights, reference.weights, TOLERANCE, "weights")
    np.testing.assert_allclose(history.errors, errors, rtol=TOLERANCE, atol=TOLERANCE)


@examples(0.4)
@given(**STREAMS)
def test_the_chunker_does_not_step_during_inference(topology, seed, n_steps, kind, share, threshold):
    rng = np.random.default_rng(seed)
    X, T = drawn_stream(topology, rng, n_steps, kind, share)
    net, reference = made(topology, rng, threshold)
    for x, target in zip(ref.rows(X, topology.n_inputs), T, strict=True):
        if rng.random() < 0.6:
            before = len(reference.passed_on)
            assert_close(net.learn(x, target, 0.1), reference.learn(x, target, 0.1), TOLERANCE)
            assert net.passed_on.tolist() == reference.passed_on[before:]
        else:
            assert_close(net.step(x), reference.step(x), TOLERANCE)
    assert_close(net.weights, reference.weights, TOLERANCE)


def test_an_input_known_from_its_target_is_not_passed_on_again_after_inference():
    """The target of the last step was the next input, which was passed on at once; an empty run comes in between."""
    topology = ChunkerTopology(n_inputs=2, n_outputs=2, next_inputs=True)
    X = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    net, other = Chunker(topology, 1), Chunker(topology, 1)
    for chunker in (net, other):
        chunker.learn(X[0], X[1])
    assert net.passed_on.tolist() == [1, 2]
    net.run(X[:0])
    np.testing.assert_array_equal(net.learn(X[1], X[2]), other.learn(X[1], X[2]))
    np.testing.assert_array_equal(net.parameters, other.parameters)
    assert net.passed_on.tolist() == [3]


def test_reset_clears_the_chunkers_outputs():
    """Even if inference follows, after which the automatizer imitates units of a chunker without any input so far."""
    topology = ChunkerTopology(n_inputs=3, n_outputs=3, next_inputs=True)
    X = np.random.default_rng(0).random((40, 3))
    net, fresh = Chunker(topology, 1, threshold=10.0), Chunker(topology, 2, threshold=10.0)
    net.learn_run(X[:-1], X[1:], 0.5)
    fresh.parameters = net.parameters
    net.reset()
    for chunker in (net, fresh):
        chunker.step(X[0])
        chunker.learn_run(X[1:-1], X[2:], 0.5)
    np.testing.assert_array_equal(net.parameters, fresh.parameters)


def test_numbers_of_weights_are_those_of_the_paper():
    paper = ChunkerTopology(n_inputs=101, n_outputs=101, next_inputs=True, time=False, imitated="hidden")
    assert (paper.automatizer.n_weights, paper.chunker.n_weights) == (10506, 10404)
    assert paper.n_weights == 10506 + 10404
    net = Chunker(paper)
    assert sum(w.size for layer, w in net.weights.items() if layer.startswith("automatizer")) == 10506
    assert sum(w.size for layer, w in net.weights.items() if layer.startswith("chunker")) == 10404


@pytest.mark.parametrize("time", [True, False])
@pytest.mark.parametrize("next_inputs", [True, False])
@pytest.mark.parametrize("imitated", ["state", "hidden"])
def test_the_nets_have_the_documented_inputs_and_outputs(next_inputs, time, imitated):
    nets = ChunkerTopology(n_inputs=5, n_outputs=5, n_hidden=3, next_inputs=next_inputs, time=time, imitated=imitated)
    predictions = 5 if next_inputs else 10
    imitations = 3 + (predictions if imitated == "state" else 0)
    assert (nets.automatizer.n_inputs, nets.automatizer.n_outputs) == (5, predictions + imitations)
    assert (nets.chunker.n_inputs, nets.chunker.n_outputs) == (5 + time, predictions)
    assert nets.automatizer.n_hidden == nets.chunker.n_hidden == 3


# ---- division of work between the nets -------------------------------------------------------------------------------

EPOCH = 250


def passed_on_and_error(net, lag):
    """For both sequences: the times passed on, and the automatizer's largest error at the end and before the end."""
    found = []
    before = net.parameters
    for first in (lag - 1, lag):
        inputs = np.array([first, *range(lag - 1)])
        targets = np.array([*range(lag - 1), first])
        errors = np.abs(net.predict([inputs])[0] - np.eye(lag + 1)[targets]).max(axis=1)
        net.reset()
        net.learn_run(inputs, targets, 1e-300)
        found.append((net.passed_on.tolist(), errors[-1], errors[:-1].max()))
        net.parameters = before
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("lag", "time"), [(10, False), (20, True)])
def test_the_chunker_sees_the_unpredictable_symbols_and_the_automatizer_takes_their_prediction_over(lag, time, seed):
    """Task 2a: two sequences that only differ in the first symbol and in the last one, which repeats the first."""
    topology = ChunkerTopology(n_inputs=lag + 1, n_outputs=lag + 1, n_hidden=4, next_inputs=True, time=time)
    net = Chunker(topology, seed=seed, init_range=1.0)
    rng = np.random.default_rng(seed)
    for _ in range(100):
        net.train(*long_lag(rng, EPOCH, lag), 1.0)
        found = passed_on_and_error(net, lag)
        if all(passed == [1, lag + 1] for passed, _, _ in found):
            break
    assert [passed for passed, _, _ in found] == [[1, lag + 1]] * 2
    assert all(last > 0.25 > others for _, last, others in found)
    for _ in range(100):
        net.train(*long_lag(rng, EPOCH, lag), 1.0)
        found = passed_on_and_error(net, lag)
        if all(passed == [1] for passed, _, _ in found):
            break
    assert [passed for passed, _, _ in found] == [[1], [1]]
    inputs, targets = long_lag(rng, 50, lag)
    for Y, classes in zip(net.predict(inputs), targets, strict=True):
        assert np.abs(Y - np.eye(lag + 1)[classes]).max() < 0.25


def rare_surprises(rng, n_steps):
    """A cycle of five symbols, broken by one of two others after 8 to 19 rounds."""
    parts = []
    while sum(map(len, parts)) < n_steps:
        parts += [np.arange(5)] * rng.integers(8, 20) + [rng.integers(5, 7, size=1)]
    return np.concatenate(parts)[:n_steps]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("with_targets", [True, False])
@pytest.mark.parametrize("next_inputs", [True, False])
def test_only_unpredictable_symbols_of_a_stream_without_resets_are_passed_on(next_inputs, with_targets, seed):
    symbols = rare_surprises(np.random.default_rng(seed), 40_001)
    topology = ChunkerTopology(n_inputs=7, n_outputs=7, n_hidden=2, next_inputs=next_inputs)
    net = Chunker(topology, seed, init_range=1.0, threshold=0.5)
    targets = None
    if with_targets:  # the next symbols, or classes that follow from the inputs
        targets = symbols[1:] if next_inputs else (symbols[:-1] + 1) % 7
    begin, end = 30_000, 40_000
    for part in (slice(begin), slice(begin, end)):
        net.learn_run(symbols[part], targets if targets is None else targets[part], 0.5)
    if next_inputs and with_targets:  # a target counts as the next input
        begin, end = begin + 1, end + 1
    times = np.arange(begin, end)[symbols[begin:end] >= 5] + 1
    assert len(times) > 100
    assert net.passed_on.tolist() == times.tolist()
