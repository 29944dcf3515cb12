"""User arrays in all forms: masked, ambiguous, of several libraries; packed sequences that cannot be changed."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from lstm97 import Network, Sequences, Topology, predict, train
from lstm97.methods import RTRL, RecurrentTopology

NAN = np.nan


class Tensor:
    """An array of another library, with the attributes that NumPy uses."""

    def __init__(self, array):
        self._array = np.asanyarray(array)

    @property
    def shape(self):
        return self._array.shape

    def __len__(self):
        return len(self._array)

    def __array__(self, dtype=None, copy=None):
        return self._array if dtype is None else self._array.astype(dtype)


def learners(n_inputs, n_outputs):
    """A network and a learner of another kind: they take the same data, by the same calls."""
    recurrent = {"n_inputs": n_inputs, "n_outputs": n_outputs, "n_hidden": 3}
    return Network(Topology(n_inputs, n_outputs, output="identity")), RTRL(RecurrentTopology(**recurrent))


def trained(net, *data, **options):
    return net.train(*data, **options) if hasattr(net, "train") else train(net, *data, **options)


# ---- masked values ----


def test_masked_targets_mean_no_target():
    X = np.arange(6.0).reshape(3, 2) / 6
    masked = np.ma.masked_equal([[1.0], [-9999.0], [1.0]], -9999.0)
    plain = np.array([[1.0], [NAN], [1.0]])
    for net, other in zip(learners(2, 1), learners(2, 1), strict=True):
        net.learn_run(X, masked)
        other.learn_run(X, plain)
        for x, target, row in zip(X, masked, plain, strict=True):
            net.learn(x, target)
            other.learn(x, row)
        trained(net, [X, X, X], masked)
        trained(other, [X, X, X], plain)
        trained(net, [X, X], [masked, masked])
        trained(other, [X, X], [plain, plain])
        trained(net, np.array([X, X]), np.ma.stack([masked, masked]))
        trained(other, np.array([X, X]), np.array([plain, plain]))
        trained(net, [X, X, X], list(masked))
        trained(other, [X, X, X], list(plain))
        assert np.array_equal(net.parameters, other.parameters)


def test_masked_integer_values_mean_no_target():
    """Integers of three dimensions, or of two in a list, are values and not class numbers, so -1 is a value."""
    values, mask = np.array([[[7], [0], [0], [0]]]), np.array([[[0], [1], [1], [1]]], bool)
    masked, plain = np.ma.masked_array(values, mask), np.where(mask, NAN, values)
    X = np.zeros((1, 4, 2))
    for targets in (masked, list(masked), Tensor(masked)):
        net, other = (Network(Topology(2, 1, output="identity")) for _ in range(2))
        assert np.array_equal(train(net, X, targets, 1e-3).errors, train(other, X, plain, 1e-3).errors)
        assert np.array_equal(net.parameters, other.parameters)
    net.learn([0, 0], np.ma.masked)  # a scalar, as a masked series gives it


def test_masks_are_seen_wherever_arrays_are_taken():
    net, X = Network(Topology(2, 1)), np.zeros((3, 4, 2))
    masked = np.ma.masked_array(np.ones((4, 2)), np.eye(4, 2, dtype=bool))
    for call in (
        lambda: net.run(Tensor(masked)),
        lambda: train(net, X, np.zeros((3, 1)), order=np.ma.masked_array([0, 1, 2], [0, 1, 0])),
        lambda: Network(Topology(2, 1), input_gate_bias=np.ma.masked_array([1, -9999], [0, 1])),
    ):
        with pytest.raises(ValueError, match="has masked values"):
            call()


def test_masked_classes_mean_no_target():
    X = np.arange(8.0).reshape(4, 2) / 8
    masked, plain = np.ma.masked_equal([0, 9, 1, 2], 9), np.array([0, -1, 1, 2])
    for net, other in zip(learners(2, 3), learners(2, 3), strict=True):
        net.learn_run(X, masked)
        other.learn_run(X, plain)
        trained(net, [X] * 4, masked)
        trained(other, [X] * 4, plain)
        trained(net, [X] * 2, [masked, masked])
        trained(other, [X] * 2, [plain, plain])
        trained(net, np.array([X] * 2), np.ma.stack([masked, masked]))
        trained(other, np.array([X] * 2), np.array([plain, plain]))
        assert np.array_equal(net.parameters, other.parameters)
    rows = np.ma.masked_array(np.eye(3, dtype=int)[[0, 1, 2, 0]], [[False] * 3, [True] * 3, [False] * 3, [False] * 3])
    net, other = (Network(Topology(2, 3, output="identity")) for _ in range(2))
    net.learn_run(X, rows)
    other.learn_run(X, np.where(rows.mask, NAN, rows.data))
    assert np.array_equal(net.parameters, other.parameters)


@pytest.mark.parametrize("dtype", [float, np.float32, int])
def test_masked_inputs_are_refused(dtype):
    x = np.ma.masked_array(np.array([1, 2], dtype), [False, True])
    X = np.ma.masked_array(np.ones((3, 2), dtype), np.eye(3, 2, dtype=bool))
    symbols = np.ma.masked_array([0, 1, 0], [True, False, False])
    for net in learners(2, 1):
        before = net.parameters
        for call in (
            lambda net=net: net.step(x),
            lambda net=net: net.learn(x, [0.5]),
            lambda net=net: net.run(X),
            lambda net=net: net.run(list(X)),
            lambda net=net: net.run(symbols),
            lambda net=net: net.learn_run(X, None),
            lambda net=net: trained(net, [X], [[0.5]]),
            lambda net=net: trained(net, X[np.newaxis], [[0.5]]),
            lambda net=net: setattr(net, "parameters", np.ma.masked_array(net.parameters, net.parameters > 0)),
        ):
            with pytest.raises(ValueError, match="has masked values"):
                call()
        assert np.array_equal(net.parameters, before)
    net = Network(Topology(2, 1), dtype=np.dtype(dtype) if dtype is not int else "float64")
    unmasked = np.ma.masked_array(np.array([1, 2], dtype))
    assert np.array_equal(net.peek(unmasked), net.peek(np.array([1.0, 2.0])))


# ---- ambiguous integers ----


def test_zeros_and_ones_that_could_be_symbols_or_values_are_refused_with_both_remedies():
    rows = np.array([[1, 0, 0], [0, 0, 1]])
    for net in learners(3, 2):
        targets = np.array([[0.5, 0.1]] * 2)
        for inputs in (rows, rows.tolist(), list(rows), [*rows, []], np.array([[0, 2, 1], [1, 1, 2]])):
            with pytest.raises(ValueError, match=r"inputs is integer, with 3 numbers for each .*Sequences"):
                trained(net, inputs, targets[: len(inputs)] if len(inputs) == 2 else [[0.5, 0.1]] * 2 + [[NAN] * 2])
        trained(net, Sequences.pack(rows), targets)
        trained(net, [rows.astype(float)], targets[:1])
        trained(net, np.array([[1, 0], [0, 1]]), targets)  # two symbols per sequence, of three: not ambiguous


def test_one_hot_integers_that_could_be_classes_per_step_are_refused_with_both_remedies():
    X = np.linspace(-1, 1, 18).reshape(3, 3, 2)
    one_hot = np.eye(3, dtype=int)
    for net, other in zip(learners(2, 3), learners(2, 3), strict=True):
        signs = 2 * one_hot - 1  # as classes, -1 would mean none
        for targets in (one_hot, one_hot.tolist(), list(one_hot), signs):
            with pytest.raises(ValueError, match=r"targets is integer, with 3 numbers for each .*class"):
                trained(net, X, targets)
        trained(net, X, one_hot.astype(float))
        trained(other, X, np.arange(3))
        assert np.allclose(net.parameters, other.parameters)
        trained(net, X, Sequences.pack(one_hot))


@pytest.mark.parametrize("targets", [[0, 1], np.array([0, 1]), [[0], [1]], [-1, -1], Sequences([0, 1], [0, 1, 2])])
def test_integers_of_one_output_are_refused(targets):
    X = np.zeros((2, 1, 3))
    for net in learners(3, 1):
        with pytest.raises(ValueError, match="targets is integer, which means class numbers, and"):
            trained(net, X, targets)
        with pytest.raises(ValueError, match="which means class numbers, and there is only one output"):
            net.learn(X[0, 0], 0)
        if isinstance(targets, np.ndarray):
            with pytest.raises(ValueError, match="there is only one output"):
                net.learn_run(X[:, 0], targets)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("integer", [int, np.int8, np.int64, np.uint16, np.array], ids=lambda kind: kind.__name__)
def test_labels_of_two_classes_are_the_values_of_one_output(integer, dtype):
    net, other = (Network.for_stream(3, 1, "classification", 2, dtype=dtype) for _ in range(2))
    X, labels = np.random.default_rng(0).normal(size=(12, 3)), [0, 1, 1, 0, 0, 1, -1, 1, 0, 0, 1, 1]
    for x, label in zip(X, labels, strict=True):
        y = net.learn(x, integer(label) if label >= 0 else -1)
        np.testing.assert_array_equal(y, other.learn(x, [float(label)] if label >= 0 else None))
    net.learn(X[0], None)
    other.learn(X[0], None)
    net.correct(integer(0))
    other.correct([0.0])
    np.testing.assert_array_equal(net.parameters, other.parameters)


def test_rows_of_labels_of_two_classes():
    def nets():
        return (Network.for_stream(3, 1, "classification", 2) for _ in range(2))

    X = np.random.default_rng(0).normal(size=(4, 3, 3))
    per_step, per_sequence = np.array([[0, 1, 1], [1, -1, 0], [0, 0, 0], [1, 0, -1]]), np.array([0, 1, -1, 1])
    values = np.where(per_step < 0, NAN, per_step)[:, :, np.newaxis]
    for labels in (per_step.ravel(), per_step.ravel().tolist(), np.ma.masked_less(per_step.ravel(), 0)):
        net, other = nets()
        Y = net.learn_run(X.reshape(-1, 3), labels)
        np.testing.assert_array_equal(Y, other.learn_run(X.reshape(-1, 3), values.reshape(-1, 1)))
        np.testing.assert_array_equal(net.parameters, other.parameters)
    forms = [per_step, list(per_step), Sequences.pack(per_step.astype("i1"))]
    for labels, floats in [(each, values) for each in forms] + [(per_sequence, [[0.0], [1.0], [NAN], [1.0]])]:
        net, other = nets()
        history, expected = trained(net, X, labels), trained(other, X, floats)
        np.testing.assert_array_equal(net.parameters, other.parameters)
        np.testing.assert_array_equal(history.errors, expected.errors)
    net, other = nets()
    trained(net, X[:, :1], per_step[:, :1])  # as a class for each step or as the one value of each: the same
    trained(other, X[:, :1], values[:, :1])
    np.testing.assert_array_equal(net.parameters, other.parameters)


def test_other_labels_of_one_output_are_refused():
    net = Network.for_stream(3, 1, "classification")
    X = np.zeros((2, 3))
    before = net.parameters
    for label in (2, -2, np.int8(5)):
        with pytest.raises(ValueError, match=f"target is class {label}, expected 0 or 1, or -1 for none"):
            net.learn(X[0], label)
        with pytest.raises(ValueError, match=f"targets contains {label} at step 1, expected -1 to 1"):
            net.learn_run(X, [0, int(label)])
        with pytest.raises(ValueError, match=f"targets contains {label}"):
            trained(net, [X, X], [[0, 1], [1, int(label)]])
    with pytest.raises(ValueError, match="targets contains integers that do not fit 32 bits"):
        net.learn_run(X, [0, 2**40])
    np.testing.assert_array_equal(net.parameters, before)


# ---- arrays of several libraries ----


def test_targets_of_one_output_may_be_one_row_of_values():
    X, y = np.linspace(-1, 1, 24).reshape(4, 3, 2), np.array([0.1, 0.9, NAN, 0.4])
    for net, other in zip(learners(2, 1), learners(2, 1), strict=True):
        trained(net, X, y)
        trained(net, X, y.tolist())
        net.learn_run(X[:, 0], y)
        for _ in range(2):
            trained(other, X, y[:, np.newaxis])
        other.learn_run(X[:, 0], y[:, np.newaxis])
        assert np.array_equal(net.parameters, other.parameters)
    with pytest.raises(ValueError, match=r"targets has shape \(4,\), expected \(n_sequences, 3\)"):
        train(Network(Topology(2, 3)), X, y)


def test_other_libraries_arrays_are_taken_everywhere():
    X, D = np.linspace(-1, 1, 24).reshape(4, 3, 2), np.linspace(0, 1, 4)[:, np.newaxis]
    for net, other in zip(learners(2, 1), learners(2, 1), strict=True):
        trained(net, Tensor(X), Tensor(D))
        trained(net, memoryview(X), memoryview(D))
        trained(net, [Tensor(x) for x in X], D)
        for _ in range(3):
            trained(other, X, D)
        assert np.array_equal(net.parameters, other.parameters)
    net = Network(Topology(2, 1))
    found = predict(net, Tensor(X))
    assert found.shape == (4, 3, 1)
    assert np.array_equal(found, predict(net, X))
    assert np.array_equal(net.run(Tensor(X[0])), found[0])


def test_predicting_nothing_gives_nothing():
    net = Network(Topology(2, 3))
    assert predict(net, []) == []
    assert predict(net, ()) == []
    assert predict(net, np.empty((0, 7, 2))).shape == (0, 7, 3)
    assert predict(net, np.empty((0, 7), int)).shape == (0, 7, 3)
    assert learners(2, 3)[1].predict([]) == []


# ---- packed sequences cannot be changed ----


def test_packed_sequences_cannot_change_nor_can_their_copies():
    given = np.array([0, 1, 2, 0, 1])
    offsets = np.array([0, 2, 5])
    packed = Sequences(given, offsets)
    given[:], offsets[:] = 9, 9
    for each in (packed, copy.copy(packed), copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert each.values.tolist() == [0, 1, 2, 0, 1]
        assert each.offsets.tolist() == [0, 2, 5]
        for array in (each.values, each.offsets, each[1]):
            while isinstance(array, np.ndarray):  # down to the immutable bytes
                assert not array.flags.writeable
                with pytest.raises(ValueError, match="WRITEABLE"):
                    array.flags.writeable = True
                array = array.base
        with pytest.raises(TypeError, match="Sequences cannot be changed by calling __init__ again"):
            each.__init__([0], [0, 1])
        for name in ("values", "offsets"):
            with pytest.raises(AttributeError):
                setattr(each, name, each.values)


def test_numbers_are_copied_before_they_are_checked():
    """A change of an array during or after the checks cannot make the loops read outside of their memory."""
    order, symbols, classes = np.array([0, 1]), [np.array([0, 1, 2, 1])] * 2, np.array([0, 2])
    seen = []

    def meddle(history):
        order[:], classes[:] = 10**9, 10**9
        symbols[0][:] = 10**9
        seen.append(history.sequences)

    net, alone = Network(Topology(3, 3)), Network(Topology(3, 3))
    train(net, symbols, classes, order=order, epochs=3, callback=meddle)
    train(alone, [np.array([0, 1, 2, 1])] * 2, [0, 2], order=[0, 1], epochs=3)
    assert seen == [2, 4, 6]
    assert np.array_equal(net.parameters, alone.parameters)


def test_subclasses_are_not_trusted_and_packed_again():
    class Liar(Sequences):
        offsets = property(lambda self: np.array([0, 10**12]))

    net = Network(Topology(2, 1))
    with pytest.raises(ValueError, match="offsets must rise from 0 to the number of steps, 3"):
        train(net, Liar(np.zeros((3, 2)), [0, 3]), [[0.5]])
    with pytest.raises(ValueError, match="offsets must rise"):
        train(net, [np.zeros((3, 2))], Liar(np.zeros((3, 1)), [0, 3]))
