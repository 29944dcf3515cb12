"""Batches: sequences that step together and change the weights once, by the sum of their changes."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from compare import TOLERANCE, assert_close
from examples import examples
from hypothesis import assume, given
from hypothesis import strategies as st
from reference import ReferenceNetwork, mean_errors, train
from topologies import Case, cases, may_lack_targets, packed, random_inputs, random_targets

import lstm97
from lstm97 import Network, Stop, Topology
from lstm97._kernel import layout

pytestmark = may_lack_targets

DTYPES = ("float64", "float32")
TOPOLOGY = Topology(2, 1, blocks=(2, 1), output="identity")


def networks(case, dtype):
    """The compiled network and the reference with the same weights, rounded to the dtype."""
    net = Network(case.topology, dtype=dtype)
    for kind, w in case.weights.items():
        net.weights[kind][...] = w
    return net, ReferenceNetwork(case.topology, {kind: np.array(w, np.float64) for kind, w in net.weights.items()})


def sequences(case, dtype, lengths):
    """Inputs and targets for sequences of these lengths, of the case's kind."""
    rng = np.random.default_rng([case.seed, 3])
    X = [random_inputs(case.topology, rng, n, case.symbols) for n in lengths]
    D = [random_targets(case.topology, rng, n, case.when, case.classes) for n in lengths]
    X, D = [x if case.symbols else x.astype(dtype) for x in X], [d if case.classes else d.astype(dtype) for d in D]
    return packed(X, case.symbols), packed(D, case.classes)


def assert_trains_as_the_reference(case, dtype, lengths, batch_size, learning_rate):
    net, reference = networks(case, dtype)
    X, D = sequences(case, dtype, lengths)
    options = {"update": "sequence", "batch_size": batch_size}
    outputs = train(reference, X, D, learning_rate, **options)
    assume(all(np.abs(w).max(initial=0) < 100 for w in reference.weights.values()))
    history = lstm97.train(net, X, D, learning_rate, **options)
    assert_close(net.weights, reference.weights, TOLERANCE[dtype], "weights")
    expected = mean_errors(case.topology, outputs, D)
    assert np.array_equal(np.isnan(history.errors), np.isnan(expected))
    assert_close(np.nan_to_num(history.errors), np.nan_to_num(expected), TOLERANCE[dtype], "errors")
    assert (history.sequences, history.steps) == (len(lengths), sum(lengths))


def some_data(n=12, most=9, seed=0):
    rng = np.random.default_rng(seed)
    inputs = [rng.uniform(-1, 1, (rng.integers(1, most), 2)) for _ in range(n)]
    return inputs, np.array([[x[0, 0]] for x in inputs])


def trained(inputs, targets, **options):
    """A network after training by sequences, and the history."""
    net = Network(TOPOLOGY, seed=3)
    history = lstm97.train(net, inputs, targets, **{"learning_rate": 0.1, "update": "sequence", **options})
    return net, history


# ---- against the reference ----


ragged = st.lists(st.integers(0, 12), min_size=1, max_size=12)

# With a lane for each sequence, which otherwise only small networks have, and with a lane for each unit.
both_ways = pytest.mark.parametrize("most_units", [10**6, -1], ids=["abreast", "by unit"])


@both_ways
@pytest.mark.parametrize("dtype", DTYPES)
@given(case=cases(), lengths=ragged, size=st.integers(1, 9), block=st.integers(1, 6), together=st.integers(1, 9))
def test_batches_train_as_the_reference(dtype, most_units, case, lengths, size, block, together):
    # Short blocks, so that each sequence has many of them, and several have error signals.
    with mock.patch.multiple(layout, BATCH_BLOCK=block, TOGETHER=together, MOST_UNITS_ABREAST=most_units):
        assert_trains_as_the_reference(case, dtype, lengths, size, case.learning_rate)


@both_ways
@pytest.mark.parametrize("dtype", DTYPES)
@given(case=cases(), lengths=st.lists(st.integers(0, 12), min_size=1, max_size=5), block=st.sampled_from([3, 128]))
def test_the_change_by_one_batch_is_the_references(dtype, most_units, case, lengths, block):
    # The learning rate can be 1: nothing is computed with the weights after their only change.
    with mock.patch.multiple(layout, BATCH_BLOCK=block, MOST_UNITS_ABREAST=most_units):
        assert_trains_as_the_reference(case, dtype, lengths, len(lengths), 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@given(case=cases(large=False), lengths=st.lists(st.integers(0, 6), min_size=60, max_size=70), block=st.integers(2, 9))
@examples(0.2)
def test_batches_that_fill_several_rows_of_lanes(dtype, case, lengths, block):
    with mock.patch.object(layout, "BATCH_BLOCK", block):
        assert_trains_as_the_reference(case, dtype, lengths, 65, case.learning_rate)


def is_tame_for_long(topology):
    """Whether a topology can have symbols as inputs, and bounded cell outputs: over hundreds of steps unbounded ones
    grow, and rounding errors with them.
    """
    return topology.n_inputs > 1 and topology.output_squash != "identity"


@both_ways
@pytest.mark.parametrize("symbols", [False, True])
@given(
    case=cases(large=False, symbols=False).filter(lambda case: is_tame_for_long(case.topology)),
    lengths=st.permutations([layout.BATCH_BLOCK + n for n in (-1, 0, 1, 0)] + [2 * layout.BATCH_BLOCK + 1, 3]),
)
def test_sequences_as_long_as_blocks_and_longer(symbols, most_units, case, lengths):
    case = replace(case, symbols=symbols)
    with mock.patch.object(layout, "MOST_UNITS_ABREAST", most_units):
        assert_trains_as_the_reference(case, "float64", lengths, len(lengths), 0.1)


@examples(0.03)
@given(symbols=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_a_batch_that_is_worked_through_in_many_slices(symbols, seed):
    topology = Topology(40, 2, blocks=(1, 2) * 40, n_hidden=3, forget_gates=True, input_to_output=True)
    case = Case(topology, seed, 1, symbols, classes=False, when="some", learning_rate=0.01)
    with mock.patch.object(layout, "BATCH_BLOCK", 16):
        assert_trains_as_the_reference(case, "float64", [40, 3, 33, 40, 0, 16], 5, 0.01)


@both_ways
@given(case=cases(symbols=False, when="some").filter(lambda case: case.topology.n_inputs > 1), lengths=ragged)
def test_symbols_are_one_hot_rows(most_units, case, lengths):
    """To the bit with a lane for each unit; with one for each sequence, their changes are summed in another order."""
    rng = np.random.default_rng(case.seed)
    X = [rng.integers(case.topology.n_inputs, size=n) for n in lengths]
    _, D = sequences(case, "float64", lengths)
    found = []
    for inputs in (packed(X, True), [np.eye(case.topology.n_inputs)[x] for x in X]):
        net, _ = networks(case, "float64")
        with mock.patch.multiple(layout, BATCH_BLOCK=4, MOST_UNITS_ABREAST=most_units):
            lstm97.train(net, inputs, D, case.learning_rate, update="sequence", batch_size=5, epochs=2)
        found.append(net.parameters)
    if most_units < 0:
        assert np.array_equal(*found)
    elif max(np.abs(parameters).max() for parameters in found) < 100:
        assert_close(*({"parameters": parameters} for parameters in found), TOLERANCE["float64"], "weights")


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_alphabet_much_larger_than_the_network(dtype):
    rng = np.random.default_rng(9)
    net = Network(Topology(500, 3, blocks=(2, 1), n_hidden=1, forget_gates=True, output="softmax"), dtype=dtype)
    reference = ReferenceNetwork(net.topology, net.weights)
    X, D = ([rng.integers(most, size=n) for n in (9, 30, 0, 17, 25)] for most in (500, 3))
    with mock.patch.object(layout, "BATCH_BLOCK", 8):
        lstm97.train(net, X, D, 0.1, update="sequence", batch_size=3)
    train(reference, X, D, 0.1, update="sequence", batch_size=3)
    assert_close(net.weights, reference.weights, TOLERANCE[dtype], "weights")


# ---- what a batch is ----


def test_a_batch_changes_the_weights_by_the_sum_over_its_sequences():
    inputs, targets = some_data(n=7)
    before = Network(TOPOLOGY, seed=3).parameters
    alone = [trained([x], [t])[0].parameters - before for x, t in zip(inputs, targets, strict=True)]
    together, _ = trained(inputs, targets, batch_size=7)
    np.testing.assert_allclose(together.parameters - before, sum(alone), rtol=0, atol=1e-15)
    more, history = trained(inputs, targets, batch_size=10**30)
    assert np.array_equal(more.parameters, together.parameters)
    assert history.sequences == 7
    one_by_one, _ = trained(inputs, targets)
    assert np.abs(one_by_one.parameters - together.parameters).max() > 1e-4


def test_batches_are_consecutive_in_the_order_and_the_last_may_be_short():
    inputs, targets = some_data()
    order = np.array([3, 3, 0, 11, 5, 7, 2])
    found, history = trained(inputs, targets, order=order, batch_size=3, epochs=2)
    net = Network(TOPOLOGY, seed=3)
    errors = []
    for batch in (order[:3], order[3:6], order[6:]) * 2:
        picked = [inputs[i] for i in batch], targets[batch]
        errors.extend(lstm97.train(net, *picked, 0.1, update="sequence", batch_size=3).errors)
    assert np.array_equal(found.parameters, net.parameters)
    assert np.array_equal(history.errors, errors)
    assert (history.sequences, history.epochs) == (14, 2)
    expected, _ = trained(inputs, targets, order=np.random.default_rng(5).permutation(12), batch_size=5)
    drawn, _ = trained(inputs, targets, order=np.random.default_rng(5), batch_size=5)
    assert np.array_equal(drawn.parameters, expected.parameters)


def test_epochs_and_batches_in_one_call_give_the_bits_of_single_calls():
    inputs, targets = some_data(n=20, most=40)
    with mock.patch.multiple(layout, BATCH_BLOCK=4, TOGETHER=3):
        at_once, _ = trained(inputs, targets, epochs=3, batch_size=8)
        net = Network(TOPOLOGY, seed=3)
        for _ in range(3):
            for batch in (slice(0, 8), slice(8, 16), slice(16, 20)):
                lstm97.train(net, inputs[batch], targets[batch], 0.1, update="sequence", batch_size=8)
    assert np.array_equal(at_once.parameters, net.parameters)


def test_memory_grows_neither_with_the_sequences_nor_with_the_batch():
    arranged = layout.Layout(TOPOLOGY, np.dtype("float64"))
    bytes_of = [
        arranged.batch_arrays(size)["row_squares"].nbytes
        + sum(memory.block.nbytes for memory in arranged.worker_memory(size, longest, 16, symbols=False))
        for size, longest in ((100, 1000), (100, 10**6), (10**4, 1000))
    ]
    assert bytes_of[0] == bytes_of[1] == bytes_of[2]


def test_a_batch_without_targets_changes_nothing():
    inputs, targets = some_data(n=4)
    net, history = trained(inputs, targets * np.nan, batch_size=2)
    assert np.array_equal(net.parameters, Network(TOPOLOGY, seed=3).parameters)
    assert np.isnan(history.errors).all()
    net, history = trained([np.empty((0, 2))] * 3, [np.empty((0, 1))] * 3, batch_size=2)
    assert np.array_equal(net.parameters, Network(TOPOLOGY, seed=3).parameters)
    assert (history.sequences, history.steps) == (3, 0)
    _, history = trained(inputs, targets, batch_size=2, order=[])
    assert history.sequences == 0


def test_the_networks_own_state_is_left_alone():
    net = Network(TOPOLOGY)
    net.learn([1, 2], None)
    state, partials = net.state.cell_state, net.state.partials["cell"]
    lstm97.train(net, *some_data(), update="sequence", batch_size=4)
    assert np.array_equal(net.state.cell_state, state)
    assert np.array_equal(net.state.partials["cell"], partials)


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), (2.0, TypeError)])
def test_a_bad_batch_size_is_refused(size, error):
    with pytest.raises(error, match="batch_size must be"):
        trained(*some_data(), batch_size=size)


def test_steps_cannot_be_batched():
    with pytest.raises(ValueError, match=r"batch_size is 2, but with update='step' .* try update='sequence'"):
        trained(*some_data(), update="step", batch_size=2)
    by_step, _ = trained(*some_data(), update="step", batch_size=1)
    assert np.array_equal(by_step.parameters, trained(*some_data(), update="step")[0].parameters)


# ---- the stop rule, and what fails ----


def test_training_ends_after_the_batch_in_which_the_rule_held():
    inputs, targets = some_data(n=20)
    _, everything = trained(inputs, targets, batch_size=4)
    for window, expected in ((1, 4), (4, 4), (5, 8), (7, 8), (18, 20), (20, 20), (21, None)):
        stop = Stop(window=window, tolerance=9, mean_error=9)
        stopped, history = trained(inputs, targets, batch_size=4, stop=stop)
        assert history.stopped == (expected is not None)
        assert history.sequences == (expected or 20)
        assert np.array_equal(history.errors, everything.errors[: history.sequences])
        fresh, _ = trained(inputs[: history.sequences], targets[: history.sequences], batch_size=4)
        assert np.array_equal(stopped.parameters, fresh.parameters)


def test_the_stop_rule_sees_the_sequences_in_the_order_they_are_presented():
    lengths = [2, 9, 4, 7]  # in a batch, the longest sequences come first
    inputs = [np.zeros((n, 2)) for n in lengths]
    targets = np.array([[0.5], [0.0], [0.0], [0.5]])
    net = Network(TOPOLOGY, init_range=0)
    options = {"learning_rate": 1e-9, "update": "sequence", "batch_size": 4}
    held = lstm97.train(net, inputs, targets, stop=Stop(window=2, tolerance=0.1, mean_error=1), **options)
    assert held.stopped  # by the errors of the two in the middle
    targets[[1, 3]] = targets[[3, 1]]
    held = lstm97.train(net, inputs, targets, stop=Stop(window=3, tolerance=0.1, mean_error=1), **options)
    assert not held.stopped


def test_a_sum_that_overflows_leaves_the_weights_of_the_batch_before():
    inputs = [np.ones((n, 2)) for n in (3, 5, 4, 6, 7, 2)]
    targets = np.full((6, 1), 0.5)
    targets[3], targets[5] = 1e308, np.nan
    expected, _ = trained(inputs[:3], targets[:3], batch_size=3, learning_rate=100)
    net, history = Network(TOPOLOGY, seed=3), lstm97.History()
    options = {"learning_rate": 100, "update": "sequence", "batch_size": 3}
    words = "weight change is not finite at step 6 of sequence 4; try a smaller"  # the last target in the sum
    with pytest.raises(FloatingPointError, match=words):
        lstm97.train(net, inputs, targets, history=history, **options)
    assert np.array_equal(net.parameters, expected.parameters)
    assert (history.sequences, history.steps) == (3, 27)
    targets_at_steps = [np.full((n, 1), np.nan) for n in (3, 7)]
    targets_at_steps[1][2] = 1e308
    with pytest.raises(FloatingPointError, match="weight change is not finite at step 2 of sequence 1; try a smaller"):
        lstm97.train(net, [inputs[0], inputs[4]], targets_at_steps, **options)
    assert np.array_equal(net.parameters, expected.parameters)
    for _ in range(2):  # the failed batch left nothing in the sums
        lstm97.train(net, inputs[:3], targets[:3], **options)
        lstm97.train(expected, inputs[:3], targets[:3], **options)
        assert np.array_equal(net.parameters, expected.parameters)


@pytest.mark.parametrize("output", [False, True])
def test_an_overflow_within_a_batch_is_named(output):
    topology = Topology(2, 1, (3,), input_squash="identity", output_squash="tanh", output="identity", recurrent=False)
    net = Network(topology)
    net.weights["cell"][...] = [1, 1, 1] if output else [5e307, 5e307, 0]
    net.weights["output"][...] = 1e308 if output else 1
    before = net.parameters
    inputs = [np.zeros((n, 2)) for n in (4, 9, 6, 8)]
    targets = [np.full((len(x), 1), np.nan) for x in inputs]
    inputs[3][2:] = 1
    if output:
        targets[3][5] = 0
    with pytest.raises(FloatingPointError) as caught:
        lstm97.train(net, inputs, targets, 0.1, update="sequence", batch_size=2)
    what, failed = str(caught.value).split(";")[0].split(" at step ")
    step, sequence = map(int, failed.split(" of sequence "))
    assert (what, sequence) == ("output is not finite" if output else "cell state overflowed", 3)
    assert step == 5 if output else 2 < step < 8
    assert np.array_equal(net.parameters, before)
