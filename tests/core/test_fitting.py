"""Arrays that the loops can use as they are take a shorter way in: it gives what the way of all others gives."""

from __future__ import annotations

import warnings
from functools import partial
from itertools import product
from unittest import mock

import numpy as np
import pytest

import lstm97
from lstm97 import Sequences, network, sequences, training

RNG = np.random.default_rng(7)
LENGTHS = (3, 1, 4, 4)


def strided(array):
    """The same values, not contiguous."""
    return np.repeat(array, 2, axis=0)[::2]


def unaligned(array):
    """The same values at an address that is no multiple of their size."""
    room = np.empty(array.nbytes + 1, np.uint8)[1:]
    found = room.view(array.dtype).reshape(array.shape)
    found[...] = array
    return found


def read_only(array):
    """A copy that cannot be written to."""
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def having(value, array):
    """A copy with one other number."""
    copy = array.copy()
    copy.flat[copy.size // 2] = value
    return copy


class Sub(np.ndarray):
    """An array of another class."""


GUISES = {
    "as it is": lambda array: array,
    "float32": lambda array: array.astype(np.float32),
    "longdouble": lambda array: array.astype(np.longdouble),
    "complex": lambda array: array.astype(complex),
    "objects": lambda array: array.astype(object),
    "integers": lambda array: (10 * array).astype(np.int64),
    "bools": lambda array: array > 0,
    "strided": strided,
    "Fortran's order": np.asfortranarray,
    "unaligned": unaligned,
    "other bytes": lambda array: array.astype(array.dtype.newbyteorder()),
    "read-only": read_only,
    "a subclass": lambda array: array.view(Sub),
    "masked": lambda array: np.ma.array(array, mask=array > 0.9),
    "masked nowhere": np.ma.array,
    "lists": lambda array: array.tolist(),
    "a list": list,
    "a tuple": tuple,
    "NaN": partial(having, np.nan),
    "infinity": partial(having, np.inf),
    "large": partial(having, 1e30),
    "too wide": lambda array: np.concatenate([array, array], axis=-1),
    "one axis less": lambda array: array[..., 0],
    "one axis more": lambda array: array[np.newaxis],
    "one less": lambda array: array[:-1],
    "nothing": lambda array: array[:0],
    "no columns": lambda array: array[..., :0],
    "None": lambda array: None,
}


def outcome(call):
    """What a call gives as bytes, or its exception's type and text; and its warnings."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        try:
            arrays = call()
        except Exception as error:
            given = type(error), str(error)
        else:
            given = [(np.shape(array), np.asarray(array).tobytes()) for array in arrays]
    return given, [str(each.message) for each in found]


def checked_targets(net, targets, n_steps):
    """A stream's targets, converted and looked at."""
    packed = sequences.as_stream_targets(targets, n_steps, net._layout)
    if packed is not None and packed.ndim == 2:
        net._advice.look_at_targets(packed)
    return packed


def check(call, dtype, output="identity"):
    """A call with a network gives the same, and leaves the same network, where no array fits."""

    def tried():
        net = lstm97.Network(lstm97.Topology(2, 2, blocks=(2,), output=output), dtype, seed=3)
        return outcome(lambda: call(net)), net.parameters.tobytes(), net.state.cell_state.tobytes()

    found = tried()
    streams = {
        "_stream": lambda net, X: sequences.as_stream("X", X, net._layout),
        "_stream_targets": checked_targets,
    }
    with (
        mock.patch.multiple(network.Network, **streams),
        mock.patch.object(training, "_fitting", return_value=None),
    ):
        assert found == tried()


def runs(inputs, targets, net):
    """A chunk of a stream, learnt and then run."""
    return net.learn_run(inputs, targets, 0.1), net.run(inputs)


def trains(inputs, targets, net, **options):
    """Training, and the outputs after it."""
    history = lstm97.train(net, inputs, targets, 0.1, **options)
    return history.errors, np.array([history.steps]), *lstm97.predict(net, inputs)


def predicts(inputs, net):
    """The outputs at all steps, at the last ones, and written to memory that is given, over the inputs if these fit."""
    out = np.empty((sum(map(len, inputs)), 2), net.dtype)
    lstm97.predict(net, inputs, out=out.reshape(*np.shape(inputs)[:2], 2) if training.is_array(inputs) else out)
    return *lstm97.predict(net, inputs), lstm97.predict(net, inputs, last=True), out


DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])


@DTYPES
@pytest.mark.parametrize("guise", GUISES)
def test_a_stream(guise, dtype):
    X, targets = RNG.uniform(-1, 1, (2, 9, 2)).astype(dtype)
    check(partial(runs, GUISES[guise](X), targets), dtype)
    check(partial(runs, X, GUISES[guise](targets)), dtype)
    check(partial(runs, X, GUISES[guise](targets)), dtype, "logistic")


@DTYPES
@pytest.mark.parametrize("guise", GUISES)
def test_sequences_of_one_length(guise, dtype):
    inputs, per_step = RNG.uniform(-1, 1, (2, 5, 3, 2)).astype(dtype)
    per_sequence = np.ascontiguousarray(per_step[:, 0])
    changed = GUISES[guise]
    for targets, output in product((per_step, per_sequence), ("identity", "logistic", "softmax")):
        check(partial(trains, changed(inputs), targets), dtype, output)
        check(partial(trains, inputs, changed(targets)), dtype, output)
        check(partial(trains, list(inputs), changed(targets), update="sequence"), dtype, output)
    check(partial(predicts, changed(inputs)), dtype)


@DTYPES
@pytest.mark.parametrize("guise", GUISES)
@pytest.mark.parametrize("at", [0, 2])
def test_sequences_of_several_lengths(guise, at, dtype):
    inputs, per_step = ([RNG.uniform(-1, 1, (n, 2)).astype(dtype) for n in LENGTHS] for _ in range(2))
    per_sequence = RNG.uniform(-1, 1, (len(LENGTHS), 2)).astype(dtype)
    changed = GUISES[guise]

    def with_one(arrays):
        return [changed(array) if i == at else array for i, array in enumerate(arrays)]

    for targets in (per_step, per_sequence, list(per_sequence)):
        check(partial(trains, with_one(inputs), targets), dtype)
        check(partial(trains, inputs, with_one(targets)), dtype)
        check(partial(trains, Sequences.pack(inputs), with_one(targets)), dtype)
    check(partial(predicts, with_one(inputs)), dtype)


@DTYPES
def test_packed_sequences(dtype):
    inputs = [RNG.uniform(-1, 1, (n, 2)).astype(dtype) for n in LENGTHS]
    targets = RNG.uniform(-1, 1, (len(LENGTHS), 2)).astype(dtype)
    per_step = Sequences.pack([array[::-1] for array in inputs])
    for packed in (
        Sequences.pack(inputs),
        Sequences.pack([array.astype("f4") for array in inputs]),
        Sequences.pack([having(np.nan, array) for array in inputs]),
        Sequences.pack([array[:, :1] for array in inputs]),
        Sequences.pack([inputs[0][:0], *inputs[1:]]),
        Sequences.pack([np.array([0, 1, 1]), np.array([1]), np.array([0] * 4), np.array([1] * 4)]),
        Sequences(np.empty((0, 2), dtype), [0]),
    ):
        for each in (targets, list(targets), per_step, targets[:3], targets[:0], np.broadcast_to(targets, (4, 4, 2))):
            check(partial(trains, packed, each), dtype)
        check(partial(predicts, packed), dtype)


@pytest.mark.parametrize("order", [[], [2, 0, 2], [5], [-1], [0.5], "no", [[1]]])
def test_orders(order):
    inputs, targets = RNG.uniform(-1, 1, (5, 3, 2)), RNG.uniform(-1, 1, (5, 2))
    check(partial(trains, inputs, targets, order=order), "float64")
    check(lambda net: trains(inputs, targets, net, order=np.random.default_rng(1), epochs=2), "float64")


def test_outputs_over_the_inputs():
    inputs = RNG.uniform(-1, 1, (5, 3, 2))

    def call(net):
        both = inputs.copy()
        lstm97.predict(net, both, out=both)
        return [both]

    check(call, "float64")


def test_what_fits_is_neither_converted_nor_changed(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("an array was converted")

    for module, name in ((training, "as_sequences"), (network, "as_stream"), (network, "as_stream_targets")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(training.Data, "checked", refuse)
    net = lstm97.Network(lstm97.Topology(2, 2, blocks=(2,), output="identity"), seed=3)
    inputs, targets = RNG.uniform(-1, 1, (5, 3, 2)), RNG.uniform(-1, 1, (5, 2))
    for X, T in product((inputs, list(inputs), Sequences.pack(inputs)), (targets, tuple(targets))):
        trains(X, T, net)
    trains(inputs, inputs[::-1].copy(), net)
    trains(list(inputs), list(inputs), net)
    runs(inputs[0], targets[:3], net)
    assert inputs.flags.writeable
    with pytest.raises(AssertionError, match="an array was converted"):
        net.run(inputs[0].tolist())
