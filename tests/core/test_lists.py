"""One step's inputs and target as lists, as arrays of the other float dtype, as symbols: what is read in C is what an
array of the network's dtype would have.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lstm97
from lstm97 import sequences

DTYPES = ("float64", "float32")
NAN, INF = np.nan, np.inf


class Number(float):
    """A float whose value as a number is another than the one that NumPy reads."""

    def __float__(self) -> float:
        return 7.0


PLAIN = [
    0.25,
    -1.5,
    -0.0,
    5e-324,
    1e-46,
    0.1,
    1,
    0,
    -3,
    2**24 + 1,
    2**53 - 1,
    -(2**53) + 1,
    np.float64(0.3),
    np.float32(0.1),
    np.float16(0.1),
    *(kind(3) for kind in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)),
    np.int64(2**52 + 1),
]
ODD = [
    *(NAN, INF, -INF, np.float64(NAN), np.float32(INF), np.float16(NAN)),
    *(1e300, -3.5e38, 3.4028235677973366e38, np.float32(3e38)),
    *(2**53, 2**53 + 1, -(2**60) - 1, 2**63, 2**64, -(2**63) - 1, 10**400, np.int64(2**62 + 1), np.uint64(2**64 - 1)),
    *(True, False, np.True_, Number(0.5), np.longdouble("0.1"), np.complex64(1), 1j),
    *(None, "1", "no", b"1", object, np.datetime64("2026-11-30"), np.timedelta64(1, "s")),
    *([0.5], (), {}, {1.0}, range(2), np.array(0.5), np.array([0.5]), np.ma.masked, np.ma.array(0.5, mask=True)),
]
ROWS = [
    *([], (), [[]], [0.1], [0.1, 0.2, 0.3], [0.1] * 100, ([0.1, 0.2],), [[0.1], [0.2]], [[0.1, 0.2], [0.3]]),
    *(np.array([0.1, 0.2], object), range(2), "ab", {0.1: 0.2}, {0.1, 0.2}),
]


def outcome(call):
    """What a call returns, as bytes, or the type and text of its exception; and its warnings."""
    with warnings.catch_warnings(record=True) as given_warnings:
        warnings.simplefilter("always")
        try:
            found = np.asarray(call()).tobytes()
        except Exception as error:
            found = type(error), str(error)
    return found, [str(each.message) for each in given_warnings]


def pair(output, dtype):
    """Two equal networks of two inputs and two outputs."""
    return [lstm97.Network(lstm97.Topology(2, 2, blocks=(2,), output=output), dtype, seed=4) for _ in range(2)]


def check(x, target, output="identity", dtype="float64"):
    """Learning gives what it gives for the arrays, the numbers or the errors that `sequences` makes of them."""
    net, judge = pair(output, dtype)
    layout = judge._layout

    def by_arrays():
        return judge.learn(sequences.as_input(x, layout), sequences.as_target(target, layout), 0.1)

    assert outcome(lambda: net.learn(x, target, 0.1)) == outcome(by_arrays)
    assert np.array_equal(net.parameters, judge.parameters)
    assert np.array_equal(net.state.cell_state, judge.state.cell_state)
    assert outcome(lambda: net.step(x)) == outcome(lambda: judge.step(sequences.as_input(x, layout)))


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("each", [*PLAIN, *ODD], ids=lambda each: f"{type(each).__name__} {each!r:.40}")
def test_a_list_with_any_number_gives_what_its_array_gives(each, dtype, kind):
    for others in ([0.5], [1], [each], [np.float32(0.3)]):
        row = kind([each, *others])
        check(row, [0.2, 0.4], dtype=dtype)
        check([0.2, 0.4], row, dtype=dtype)
    check([0.2, 0.4], kind([0.5, each]), "softmax", dtype)
    check([0.2, 0.4], kind([each, 0.5]), "logistic", dtype)


ARRAYS = {
    "as it is": lambda row: row,
    "strided": lambda row: np.repeat(row, 2)[::2],
    "unaligned": lambda row: np.frombuffer(b"\0" + row.tobytes(), np.uint8)[1:].view(row.dtype),
    "other bytes": lambda row: row.astype(row.dtype.newbyteorder()),
    "read-only": lambda row: np.frombuffer(row.tobytes(), row.dtype),
    "masked": lambda row: np.ma.array(row, mask=[0, 1]),
    "too long": lambda row: np.append(row, row),
    "a column": lambda row: row[:, np.newaxis],
    "nothing": lambda row: row[:0],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("of", ["f2", "f4", "f8", "g", "i8", "?", "c16"])
@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_of_any_dtype_gives_what_its_conversion_gives(kind, of, dtype):
    for each in (0.1, -1.5, 1e-46, NAN, INF, 1e300):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            row = ARRAYS[kind](np.array([0.3, each], "f8").astype(of))
        check(row, [0.2, 0.4], dtype=dtype)
        check([0.2, 0.4], row, dtype=dtype)


@pytest.mark.parametrize(
    "number", [0, 1, 2, -1, -2, 2**31, 2**32, -(2**32), 2**70, True, False, 0.0, np.int64(1), np.uint8(2), np.array(1)]
)
@pytest.mark.parametrize("output", ["identity", "softmax"])
def test_a_symbol_or_class_gives_what_its_conversion_gives(number, output):
    check(number, [0.2, 0.4], output)
    check([0.2, 0.4], number, output)
    check(number, number, output)


@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_a_list_of_any_shape_gives_what_its_array_gives(row):
    check(row, [0.2, 0.4])
    check([0.2, 0.4], row)


@given(st.lists(st.sampled_from([*PLAIN, *ODD]), min_size=1, max_size=3), st.sampled_from(DTYPES))
def test_mixed_lists_give_what_their_arrays_give(row, dtype):
    check(row, [0.2, 0.4], dtype=dtype)
    check([0.2, 0.4], tuple(row), dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_plain_numbers_need_no_array(monkeypatch, dtype):
    def refuse(*_):
        raise AssertionError("an array was made")

    for name in ("as_input", "as_target"):
        monkeypatch.setattr(sequences, name, refuse)
    net, _ = pair("identity", dtype)
    for each in PLAIN:
        net.learn([each, 0.5], (each, 1), 1e-20)
        net.step((0.5, each))
        net.reset()
    net.learn(1, 0, 0.1)
    for of in DTYPES:
        net.learn(np.array([0.1, 0.2], of), np.array([0.3, 0.4], of), 0.1)
    with pytest.raises(AssertionError, match="an array was made"):
        net.step([True, 0.5])


def test_long_rows_are_read_whole():
    net = lstm97.Network(lstm97.Topology(1000, 700, blocks=(1,), output="identity"), seed=1)
    rng = np.random.default_rng(2)
    x, target = rng.normal(size=1000), rng.normal(size=700)
    y = net.learn(x, target, 0.01)
    learned = net.parameters
    again = lstm97.Network(net.topology, seed=1)
    assert np.array_equal(again.learn(x.tolist(), tuple(target.tolist()), 0.01), y)
    assert np.array_equal(again.parameters, learned)


def test_a_list_of_targets_out_of_reach_is_warned_of():
    net = lstm97.Network(lstm97.Topology(2, 2), seed=1)
    with pytest.warns(UserWarning, match="targets from 0 to 3 are out of reach of logistic outputs"):
        net.learn([0.1, 0.2], [0, 3], 0.1)
