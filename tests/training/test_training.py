"""Many sequences: targets in every form, order, updates, the stop rule, histories, predictions."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lstm97
from lstm97 import Network, Sequences, Stop, Topology, predict, train

TOPOLOGY = Topology(2, 1, blocks=(2,), output="identity")


def some_data(seed=0, n=12, most=9):
    rng = np.random.default_rng(seed)
    inputs = [rng.uniform(-1, 1, (rng.integers(1, most), 2)) for _ in range(n)]
    return inputs, np.array([[x[0, 0]] for x in inputs])


def trained(inputs, targets, **options):
    """Weights after training a fresh network, and the history."""
    net = Network(TOPOLOGY, seed=3)
    history = train(net, inputs, targets, **{"learning_rate": 0.3, **options})
    return net.parameters, history


# ---- forms of data ----


def test_a_target_per_sequence_is_a_target_at_its_last_step():
    inputs, targets = some_data()
    per_step = [np.full((len(x), 1), np.nan) for x in inputs]
    for rows, target in zip(per_step, targets, strict=True):
        rows[-1] = target
    expected, history = trained(inputs, targets)
    for form in (per_step, Sequences.pack(per_step), targets.tolist(), list(targets)):
        found, other = trained(inputs, form)
        assert np.array_equal(found, expected)
        assert np.array_equal(history.errors, other.errors)


def test_equal_lengths_as_3d_arrays_are_lists():
    rng = np.random.default_rng(1)
    X, T = rng.normal(size=(5, 7, 2)), rng.normal(size=(5, 7, 1))
    expected, _ = trained(list(X), list(T))
    assert np.array_equal(trained(X, T)[0], expected)
    assert np.array_equal(trained(Sequences.pack(X), Sequences.pack(T))[0], expected)


def test_misaligned_arrays_are_taken():
    def misaligned(array):
        return np.frombuffer(b"x" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)

    rng = np.random.default_rng(1)
    X, T = rng.normal(size=(5, 7, 2)), rng.normal(size=(5, 7, 1))
    order, offsets = np.array([3, 1]), np.arange(6) * 7
    expected, _ = trained(X, T, order=order)
    assert np.array_equal(trained(misaligned(X), misaligned(T), order=misaligned(order))[0], expected)
    packed = Sequences(misaligned(X.reshape(35, 2)), misaligned(offsets))
    assert packed.values.flags.aligned
    assert np.array_equal(trained(packed, T, order=order)[0], expected)
    assert np.array_equal(predict(Network(TOPOLOGY), misaligned(X)), predict(Network(TOPOLOGY), X))


def test_symbols_and_classes_in_every_form():
    rng = np.random.default_rng(2)
    symbols, classes = rng.integers(4, size=(6, 5)), rng.integers(-1, 3, size=(6, 5))
    topology = Topology(4, 3, blocks=(2,), output="softmax")
    one_hot = np.eye(4)[symbols]
    rows = np.where(classes[..., None] < 0, np.nan, np.eye(3)[classes])
    found = []
    for inputs in (symbols, list(symbols), symbols.tolist(), Sequences.pack(symbols), one_hot):
        for targets in (classes, list(classes), classes.tolist(), Sequences.pack(classes), rows):
            net = Network(topology)
            train(net, inputs, targets)
            found.append(net.parameters)
    assert all(np.array_equal(found[0], other) for other in found[1:])
    at_end = []
    for targets in (classes[:, -1], classes[:, -1].tolist(), rows[:, -1]):
        net = Network(topology)
        train(net, symbols, targets)
        at_end.append(net.parameters)
    assert all(np.array_equal(at_end[0], other) for other in at_end[1:])
    assert not np.array_equal(at_end[0], found[0])


def test_empty_sequences_take_part_without_a_target():
    inputs, _ = some_data(n=3)
    inputs.insert(1, np.empty((0, 2)))
    targets = [np.zeros((len(x), 1)) for x in inputs]
    _, history = trained(inputs, targets)
    assert history.sequences == 4
    assert np.isnan(history.errors).tolist() == [False, True, False, False]
    assert predict(Network(TOPOLOGY), inputs)[1].shape == (0, 1)


# ---- what a call does ----


def test_the_networks_own_state_is_left_alone():
    net = Network(TOPOLOGY)
    net.learn([1, 2], None)
    state, partials = net.state.cell_state, net.state.partials["cell"]
    train(net, *some_data())
    predict(net, some_data()[0])
    assert np.array_equal(net.state.cell_state, state)
    assert np.array_equal(net.state.partials["cell"], partials)


def test_update_by_sequence_is_the_sum_of_its_changes():
    rng = np.random.default_rng(4)
    x, t = rng.normal(size=(6, 2)), rng.normal(size=(6, 1))
    net = Network(TOPOLOGY)
    before, changes = net.parameters, 0
    for i in range(6):  # the change by each error signal alone, from the old weights
        alone = Network(TOPOLOGY)
        only = np.where(np.arange(6)[:, None] == i, t, np.nan)
        train(alone, [x], [only], learning_rate=0.1)
        changes = changes + (alone.parameters - before)
    train(net, [x], [t], learning_rate=0.1, update="sequence")
    np.testing.assert_allclose(net.parameters - before, changes, rtol=0, atol=1e-15)
    by_step = Network(TOPOLOGY)
    train(by_step, [x], [t], learning_rate=0.1)
    assert not np.allclose(by_step.parameters, net.parameters, rtol=0, atol=1e-6)


def test_order_and_epochs():
    inputs, targets = some_data()
    order = np.array([3, 3, 0, 11])
    expected, _ = trained([inputs[i] for i in order] * 2, targets[np.tile(order, 2)])
    found, history = trained(inputs, targets, order=order, epochs=2)
    assert np.array_equal(found, expected)
    assert (history.sequences, history.epochs) == (8, 2)
    assert history.steps == 2 * sum(len(inputs[i]) for i in order)
    rng = np.random.default_rng(5)
    permutations = np.concatenate([rng.permutation(12) for _ in range(3)])
    expected, _ = trained(inputs, targets, order=permutations)
    assert np.array_equal(trained(inputs, targets, order=np.random.default_rng(5), epochs=3)[0], expected)
    untouched, history = trained(inputs, targets, epochs=0)
    assert np.array_equal(untouched, Network(TOPOLOGY, seed=3).parameters)
    assert (history.sequences, history.steps, len(history.errors)) == (0, 0, 0)


def test_callback_sees_every_epoch_and_may_end_training():
    inputs, targets = some_data()
    seen = []
    _, history = trained(inputs, targets, epochs=9, callback=lambda history: seen.append(history.epochs))
    assert seen == list(range(1, 10))
    _, history = trained(inputs, targets, epochs=9, callback=lambda history: history.epochs == 4)
    assert (history.epochs, history.sequences, history.stopped) == (4, 48, False)


def test_errors_are_the_mean_over_targets_and_outputs_before_the_change():
    net = Network(Topology(2, 2, blocks=(1,)))
    x, t = np.ones((4, 2)), np.array([[0.2, 0.9], [np.nan, np.nan], [0.5, 0.1], [0.3, 0.3]])
    same = Network(Topology(2, 2, blocks=(1,)))
    Y = same.learn_run(x, t)
    history = train(net, [x], [t], learning_rate=0.1)
    assert history.errors[0] == pytest.approx(np.nanmean(np.abs(t - Y)), rel=1e-14)


# ---- the stop rule ----


def judged_by_hand(errors, largest, stop):
    """Number of sequences after which the rule holds, or None."""
    for n in range(stop.window, len(errors) + 1):
        window = slice(n - stop.window, n)
        if errors[window].mean() < stop.mean_error and (largest[window] > stop.tolerance).sum() <= stop.max_wrong:
            return n
    return None


@given(
    window=st.integers(1, 40),
    tolerance=st.sampled_from([0.02, 0.1, 0.3, 1.0]),
    mean_error=st.sampled_from([0.02, 0.1, 0.2, np.inf]),
    max_wrong=st.integers(0, 5),
    cut=st.integers(1, 400),
)
def test_training_ends_at_the_exact_sequence_however_the_data_come(window, tolerance, mean_error, max_wrong, cut):
    rng = np.random.default_rng(6)
    X = rng.uniform(-1, 1, (400, 3, 2))
    T = X[:, 0, :1] * X[:, 1, 1:]
    stop = Stop(window=window, tolerance=tolerance, mean_error=mean_error, max_wrong=max_wrong)
    net = Network(TOPOLOGY, seed=1)
    errors = train(net, X, T, learning_rate=0.2).errors  # one target and output: the error is also the largest one
    expected = judged_by_hand(errors, errors, stop)
    stopping = Network(TOPOLOGY, seed=1)
    history = train(stopping, X, T, learning_rate=0.2, stop=stop)
    assert history.stopped == (expected is not None)
    assert history.sequences == len(history.errors) == (expected or 400)
    assert np.array_equal(history.errors, errors[: history.sequences])
    fresh = Network(TOPOLOGY, seed=1)
    train(fresh, X[: history.sequences], T[: history.sequences], learning_rate=0.2)
    assert np.array_equal(stopping.parameters, fresh.parameters)
    pieces, so_far = Network(TOPOLOGY, seed=1), None
    for piece in (slice(0, cut), slice(cut, 400)):
        if piece.start < piece.stop and not (so_far and so_far.stopped):
            so_far = train(pieces, X[piece], T[piece], learning_rate=0.2, stop=stop, history=so_far)
    assert (so_far.sequences, so_far.steps, so_far.stopped) == (history.sequences, history.steps, history.stopped)
    assert np.array_equal(so_far.errors, history.errors)
    assert np.array_equal(pieces.parameters, stopping.parameters)


def test_the_stop_rule_is_exact_beside_errors_of_any_size():
    inputs = np.zeros((200, 1, 2))
    targets = np.full((200, 1), 0.02)
    targets[10] = 1e16
    stop = Stop(window=100, tolerance=1, mean_error=0.01, max_wrong=1)
    net = Network(TOPOLOGY, init_range=0)
    errors = train(net, inputs, targets, learning_rate=1e-300).errors.copy()
    expected = judged_by_hand(errors, errors, stop)
    net = Network(TOPOLOGY, init_range=0)
    assert train(net, inputs, targets, learning_rate=1e-300, stop=stop).sequences == (expected or 200)
    targets[100:] = 0.005
    errors[100:] = 0.005
    expected = judged_by_hand(errors, errors, stop)
    assert expected
    assert train(net, inputs, targets, learning_rate=1e-300, stop=stop).sequences == expected


def test_a_history_is_right_after_training_failed():
    inputs, targets = np.ones((10, 3, 2)), np.full((10, 1), 0.5)
    targets[6] = 1e300
    stop = Stop(window=20, tolerance=9, mean_error=9)
    net = Network(TOPOLOGY)
    history = train(net, inputs[:2], targets[:2], stop=stop)
    with pytest.raises(FloatingPointError, match="step 2 of sequence 6"):
        train(net, inputs, targets, learning_rate=1e10, update="sequence", stop=stop, history=history)
    assert (history.sequences, len(history.errors), history.epochs) == (8, 8, 1)
    assert history.steps == 9 * 3
    assert history._window.n_seen == 8


def test_a_sequence_is_wrong_by_any_of_its_outputs_and_targets():
    rng = np.random.default_rng(7)
    X, T = rng.normal(size=(30, 4, 2)), rng.uniform(size=(30, 4, 2))
    topology = Topology(2, 2, blocks=(1,))
    largest = []
    net = Network(topology)
    for x, t in zip(X, T, strict=True):
        net.reset()
        largest.append(np.abs(net.learn_run(x, t) - t).max())
    tolerance = np.sort(largest)[-3]  # two sequences exceed it
    for max_wrong, stopped in ((2, True), (1, False)):
        stop = Stop(window=30, tolerance=tolerance, mean_error=np.inf, max_wrong=max_wrong)
        assert train(Network(topology), X, T, 0.1, stop=stop).stopped == stopped


def test_a_stop_rule_has_no_memory_of_other_calls():
    inputs, targets = some_data(n=20)
    stop = Stop(window=15, tolerance=9, mean_error=9)
    for _ in range(2):
        _, history = trained(inputs, targets, stop=stop)
        assert history.sequences == 15
    first = trained(inputs[:10], targets[:10], stop=stop)[1]
    errors = first.errors.copy()
    assert trained(inputs, targets, stop=stop, history=first)[1] is first
    assert (first.sequences, first.stopped) == (15, True)
    assert np.array_equal(first.errors[:10], errors)
    other = Stop(window=3, tolerance=9, mean_error=9)
    assert trained(inputs, targets, stop=other, history=first)[1].sequences == 18


def test_sequences_without_error_signal_do_not_count_for_the_stop_rule():
    inputs, targets = some_data(n=20)
    targets[::2] = np.nan
    _, history = trained(inputs, targets, stop=Stop(window=5, tolerance=9, mean_error=9))
    assert history.sequences == 10


# ---- predictions ----


def test_predict_gives_arrays_for_arrays_and_lists_for_lists():
    net = Network(TOPOLOGY)
    X = np.random.default_rng(8).normal(size=(3, 5, 2))
    Y = predict(net, X)
    assert isinstance(Y, np.ndarray)
    assert Y.shape == (3, 5, 1)
    for i, x in enumerate(X):
        net.reset()
        assert np.array_equal(Y[i], net.run(x))
    assert [y.shape for y in predict(net, [X[0], X[1][:2]])] == [(5, 1), (2, 1)]
    out, flat = np.empty((3, 5, 1)), np.empty((15, 1))
    assert predict(net, X, out=out) is out
    assert np.array_equal(out, Y)
    assert all(np.shares_memory(y, flat) for y in predict(net, list(X), out=flat))
    assert np.array_equal(flat.reshape(3, 5, 1), Y)
    symbols = Network(Topology(3, 2))
    assert predict(symbols, np.array([[0, 1], [2, 2]])).shape == (2, 2, 2)


def test_float32_networks_take_float64_data():
    inputs, targets = some_data()
    a, b = Network(TOPOLOGY, dtype="float32"), Network(TOPOLOGY, dtype="float32")
    train(a, inputs, targets)
    train(b, [x.astype("float32") for x in inputs], targets.astype("float32"))
    assert np.array_equal(a.parameters, b.parameters)
    assert lstm97.predict(a, inputs)[0].dtype == np.float32


def test_a_callback_that_writes_into_the_data_does_no_harm():
    inputs, classes, order = np.zeros((3, 4), np.int32), np.zeros(3, np.int32), np.arange(3)

    def spoil(history):
        inputs[...] = classes[...] = 10**8
        order[...] = 10**8

    net, alone = Network(Topology(3, 2)), Network(Topology(3, 2))
    train(net, inputs, classes, order=order, epochs=3, callback=spoil)
    train(alone, np.zeros((3, 4), np.int32), np.zeros(3, np.int32), epochs=3)
    assert np.array_equal(net.parameters, alone.parameters)


def test_packed_sequences_have_a_size():
    packed = Sequences.pack([np.zeros((1000, 2)), np.zeros((500, 2))])
    assert sys.getsizeof(packed) > packed.values.nbytes
