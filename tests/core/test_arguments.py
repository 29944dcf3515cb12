"""Public functions work with any argument, or raise what their docstring says and change nothing.

`outcome` makes a call and checks it: with arguments that must work, that must be refused, and that hypothesis draws.
"""

from __future__ import annotations

import array
import builtins
import contextlib
import functools
import inspect
import itertools
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, is_dataclass
from decimal import Decimal
from fractions import Fraction
from operator import attrgetter, or_
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from examples import examples
from hostile import (
    GUISES,
    LIES,
    SCALARS,
    WITH_ZERO_STRIDE,
    HostileError,
    Wrapped,
    raising,
    wear,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lstm97
from lstm97 import (
    RLS,
    SGD,
    Adam,
    Checkpoint,
    Decay,
    History,
    Network,
    RMSprop,
    Scaling,
    Sequences,
    State,
    Stop,
    Streams,
    Topology,
    load,
    train,
)
from lstm97._format import STREAMS
from lstm97.network import network_to_bytes

# ---- the objects of a call ----

NETS = (
    Topology(3, 2, blocks=(1, 2), n_hidden=1, forget_gates=True, input_to_output=True),
    Topology(3, 2, output="softmax", recurrent=False),
    Topology(3, 2, output="identity", input_squash="identity", output_squash="identity"),  # overflows easily
    Topology(3, 2, blocks=(1, 2), n_hidden=1, forget_gates=True, input_to_output=True, output="identity", loss="huber"),
)
SETTINGS = ({}, {"optimizer": SGD(momentum=0.5)}, {"optimizer": RMSprop(bound=1)}, {
    "optimizer": Adam(bound=0.5), "readout": RLS(forgetting=0.9), "scaling": Scaling(decay=0.9),
})  # fmt: skip
FILE = network_to_bytes(Network(NETS[0]), True)
STREAMS_FILE = network_to_bytes(
    Network(NETS[0]),
    False,
    {STREAMS + name: array for name, array in Streams(Network(NETS[0]), 2)._parts()[1].items()},
    streams='{"n": 2, "has_partials": false}',
)
pytestmark = pytest.mark.filterwarnings("ignore:no target was found", "ignore:targets from .* out of reach")

X, Y = np.linspace(-1, 1, 12).reshape(4, 3), np.linspace(0, 1, 8).reshape(4, 2)


class World:
    """A network with two streams, both in use, and files: the objects that calls may read and change."""

    def __init__(self, net, dtype):
        self.net = Network(NETS[net], dtype, seed=net, **SETTINGS[net])
        self.stream = self.net.new_state()
        self.history = train(self.net, [X], [Y], stop=Stop(1, 9, 9))  # has stopped
        self.net.learn_run(X, None)
        self.net.learn_run(-X, None, state=self.stream)
        self.streams = Streams(self.net, 4)
        self.streams.learn(X, None)
        self.shared = np.zeros(64, dtype)
        self.rooms = []
        for left_over in filter(Path.is_file, Path().iterdir()):
            left_over.unlink()
        Path("net").write_bytes(FILE)
        Path("streams").write_bytes(STREAMS_FILE)
        Path("junk").write_bytes(b"junk")

    def room(self, *shape):
        """An array for results, with eight numbers before and after it that must not change."""
        self.rooms.append(np.full(16 + np.prod(shape), 7, self.net.dtype))
        return self.rooms[-1][8:-8].reshape(shape)

    def bits(self):
        files = {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}
        memory = self.net._memory()
        kept = [self.net.parameters, *(view for name, view in memory.items() if not name.startswith("scaling."))]
        statistics = [view for name, view in memory.items() if name.startswith("scaling.")]
        states = [self.net.state, self.stream, self.streams]
        return {"weights": bits(kept), "statistics": bits(statistics), "states": bits(states), "files": files}


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory):
    with contextlib.chdir(tmp_path_factory.mktemp("arguments")):
        Path("folder").mkdir()
        yield


@dataclass(frozen=True)
class Made:
    """An argument that is made for every call, from its world."""

    make: Any
    of: Any = None


def made(value, world):
    if isinstance(value, list):
        return [made(each, world) for each in value]
    return value.make(world) if isinstance(value, Made) else value


def bits(thing):
    """Everything in a value, as something that can be compared with ==."""
    match thing:
        case np.ndarray():
            native = np.asarray(thing).astype(thing.dtype.newbyteorder("="))
            elements = str(native.tolist()) if native.dtype.char in "gG" else native.tobytes()  # "g" has padding bytes
            return [native.dtype, native.shape, thing.flags.writeable, elements]
        case memoryview() | array.array():
            return bytes(thing)
        case Network():
            return bits([thing.parameters, *thing._memory().values(), thing.state])
        case State() | Streams():
            return bits(thing._parts())
        case Sequences():
            return bits([thing.values, thing.offsets])
        case np.random.Generator():
            return str(thing.bit_generator.state)
        case History():
            window = thing._window and vars(thing._window)
            return bits([thing.sequences, thing.steps, thing.epochs, thing.stopped, thing.errors, window])
        case Exception():  # among the results of train_many
            return [type(thing), str(thing)]
        case list() | tuple():
            return [bits(each) for each in thing]
        case dict():
            return {key: bits(each) for key, each in thing.items()}
    return thing


def memory(value):
    """The memory that an array, or each of a list, is a view of, with the bytes between and around its elements."""
    if isinstance(value, list):
        return [memory(each) for each in value]
    while isinstance(value, np.ndarray) and isinstance(value.base, np.ndarray):
        value = value.base
    return value


def clean(value):
    """The same elements in new arrays: contiguous, aligned, native and of no subclass."""
    if isinstance(value, list):
        return [clean(each) for each in value]
    if not isinstance(value, (np.ndarray, memoryview, array.array, Wrapped)):
        return value
    elements = np.asarray(value)
    return np.array(elements, elements.dtype.newbyteorder("="), order="C")


# ---- arguments in guises, and anything ----


def guised(guise, value):
    """An argument, or each array of a list, in a guise; unchanged if it cannot have it."""

    def make(world):
        elements = made(value, world)
        return [wear(guise, each) for each in elements] if isinstance(elements, list) else wear(guise, elements)

    return Made(make, (guise, value))


HOSTILE = (
    *(Made(lambda _, name=name: type("Raising", (), {name: raising})(), name) for name in (*LIES, "__repr__")),
    *(Made(lambda _, name=name: type("Lying", (), {name: LIES[name]})(), name) for name in LIES),
    Made(lambda _: type("Sequence", (), {name: LIES[name] for name in ("__len__", "__getitem__")})()),
    Made(lambda _: type("Growing", (), {"__index__": itertools.count(1).__next__})()),  # a new number at each call
    Made(lambda _: (i for i in (1, 2))),
    Made(lambda _: type("Unhashable", (), {"__hash__": None})()),
)
dtypes = hnp.scalar_dtypes() | hnp.unicode_string_dtypes() | hnp.byte_string_dtypes() | hnp.array_dtypes()
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4) | st.sampled_from([(3,), (2,), (4, 3)])
arrays = hnp.arrays(dtypes, shapes) | hnp.arrays(object, shapes, elements=st.sampled_from(SCALARS), fill=st.none())
guises = st.sampled_from(list(WITH_ZERO_STRIDE))
single = st.sampled_from(SCALARS + HOSTILE)
nested = st.recursive(single, lambda inner: st.lists(inner, max_size=4), max_leaves=8)
anything = single | nested | st.builds(guised, guises, arrays)

# ---- arguments of each kind ----


class Kind(NamedTuple):
    """One argument that works, a strategy whose draws mostly work, and arguments that must be refused."""

    base: Any
    fits: st.SearchStrategy[Any]
    wrong: tuple[Any, ...]
    is_array: bool = False


def one_of(*values, wrong=()):
    return Kind(values[0], st.sampled_from(values), wrong)


def array_like(base, fits, *wrong):
    return Kind(base, fits, wrong, is_array=True)


@st.composite
def near(draw, *shape, below=None):
    """Reals, or integers from 0 to below it, mostly of this shape and in range, of all dtypes and guises."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shape = draw(st.sampled_from([shape] * 20 + [shape[:-1], (*shape, 1), shape[::-1], (0, *shape[1:])]))
    if below is None:
        elements, codes = np.array(rng.uniform(-1, 1, shape)), ("f8", "f4", "f2", "g", "?", ">f8", "<f4")
        np.atleast_1d(elements)[:1] *= draw(st.sampled_from([1.0] * 20 + [np.nan, np.inf, 1e30, 1e300]))
    else:
        low = draw(st.sampled_from([0] * 9 + [-1]))
        elements, codes = np.array(rng.integers(low, below, shape)), ("i8", "i4", "u1", ">i2", "u8")
    with np.errstate(over="ignore"):
        return guised(draw(guises), elements.astype(draw(st.sampled_from(codes))))


def count(least):
    values = (least + 1, least, least + 3, np.int8(least), np.array(least + 2))
    return one_of(*values, wrong=(least - 1, 1.0, "1", True, [1], 1j, np.array([1]), object(), -(10**400)))


def out(*shape):
    """Values for `out`: only an array of the right shape, dtype and layout works."""
    bad = ("strided", "swapped", "misaligned", "read-only", "list")
    rooms = [Made(lambda world: world.room(*shape)), Made(lambda world: world.room(*shape[:-1], 1))]
    rooms += [Made(lambda world: world.room(*shape).astype("f2")), *(guised(guise, rooms[0]) for guise in bad)]
    return Kind(rooms[0], st.sampled_from([*rooms, guised("subclass", rooms[0])]), tuple(rooms[1:]))


def weights(shape_of):
    """Values for some of a network's weights."""
    base = Made(lambda world: np.linspace(-1, 1, np.prod(shape_of(world.net))).reshape(shape_of(world.net)))
    fits = guises.map(lambda guise: guised(guise, base))
    return array_like(base, fits, *NO_REALS, None, [1, "a"], np.nan, np.inf, 10**400)


# fmt: off
NO_REALS = (
    "1", b"1", 1j, object(), {}, [[1], [1, 2]], *(np.zeros((4, 3), code) for code in ("c8", "U1", "M8[s]", "O", "V4")),
)
NO_NUMBER = ("0.1", b"0.1", np.array("0.1"), 1j, np.complex64(1), [0.1], np.array([0.1]), object(), np.nan, -1)
NO_PATH = (0, None, 1.5, ["net"], object())
UNUSABLE = (*NO_PATH, "folder", "", "no/folder", "a\0", "\ud800", "x" * 300)
SIGNALLING = np.full((4, 3), 0x7FA00000, "u4").view("f4")  # NaNs that make a conversion warn

NET = one_of(Made(attrgetter("net")), wrong=("net", None, NETS[0]))
FOREIGN = Made(lambda _: Network(NETS[0]).state)
STATE = one_of(Made(attrgetter("stream")), None, Made(attrgetter("net.state")), wrong=("state", 0, NET.base, FOREIGN))
RATE = one_of(0.1, 0.5, 1, np.float32(0.2), Fraction(1, 3), 1e30, wrong=(*NO_NUMBER, 0, np.inf, 10**400))
OWN_RATE = RATE._replace(fits=RATE.fits | st.none())
RANGE = one_of(0.1, 0, np.float32(1), Fraction(1, 3), np.uint8(1), wrong=(*NO_NUMBER, np.inf, 1e308, 10**400))
BOUND = one_of(0.1, 0, np.inf, np.float16(0.5), Fraction(1, 3), Decimal("0.5"), 10**400, wrong=NO_NUMBER)
BIAS = array_like(np.array([-1.0, 2.0]), near(2), *NO_REALS, np.nan, np.inf, [1, 2, 3], 10**400)
NEW_BIAS = one_of(-1.0, 0, np.float16(2), None, wrong=(*NO_REALS, np.nan, np.inf, [1, 2], [1, 2, 3], 10**400))
WEIGHT = one_of(1.0, 0, 2.5, np.float32(0.5), Fraction(1, 3), 1e30, wrong=(*NO_NUMBER, np.inf, 10**400))
SHARE = one_of(0.5, 0, np.float32(0.25), Fraction(1, 3), np.array(0.9), wrong=(*NO_NUMBER, None, 1, np.inf, 10**400))
LIMIT = one_of(0.5, 1, None, np.float16(2), 1e300, 1e-300, wrong=(*NO_NUMBER, 0, np.inf, 10**400))
EPSILON = one_of(1e-8, 1, np.float32(1e-3), 1e-300, wrong=(*NO_NUMBER, None, 0, np.inf, 10**400))
OPTIMIZER = one_of(
    Adam(bound=0.5), SGD(), SGD(0.9, 1), RMSprop(), Adam(epsilon=1e-60), wrong=(SGD, "adam", None, 0.9, RLS(), {}),
)
SEED = one_of(0, 10**30, [1, 2], Made(lambda _: np.random.default_rng(1)), wrong=("a", -1, 0.5, object()))
FLAG = one_of(True, False, np.bool_(True), wrong=(1, None, "True", np.ones(1, bool)))
SQUASH = one_of("tanh", "logistic", "centered2", np.str_("identity"), wrong=("no", None, b"tanh", ["tanh"]))
UNIT = one_of("cell", "output", "hidden", wrong=("cells", None, 0, ["cell"]))
ROW = array_like(
    X[0], near(3) | st.integers(-1, 3), *NO_REALS, None, [np.nan, 0, 0], [np.inf, 0, 0], SIGNALLING[0], 3, -1, 0.5, X,
)
GAPS = st.sampled_from([np.where([[1, 0], [0, 0], [0, 1], [1, 1]], np.nan, Y)])  # targets for some outputs only
TARGET = array_like(
    Y[0], near(2) | st.integers(-1, 2) | GAPS.map(lambda rows: rows[0]), *NO_REALS, [np.inf, 0], [np.nan, np.inf],
    2, -2, 0.5, Y,
)
ROWS = array_like(X, near(4, 3) | near(4, below=3), *NO_REALS, None, SIGNALLING, X[0], X.T, [0, 3], [0, -1], 0)
TARGETS = array_like(Y, near(4, 2) | near(4, below=2) | GAPS | st.none(), *NO_REALS, Y[0], Y.T, [0, 2, 0, 0], 0)
MANY = array_like(
    [X, X[:2], -X],
    st.tuples(near(4, 3), near(2, 3), near(4, 3)).map(list) | st.lists(near(4, below=3), min_size=3, max_size=3)
    | near(3, 4, 3) | near(3, 4, below=3) | st.just(Sequences(np.r_[X, X, X[:2]], [0, 4, 6, 10])),
    None, "1", 1, object(), {}, [], X, [X[0]] * 2, [X, X.T], [[[1j, 1, 1]]], [[["1"] * 3]], [[[1], [1, 2]]], [None],
)
MANY_TARGETS = array_like(
    [Y, Y[:2], Y],
    st.tuples(near(4, 2), near(2, 2), near(4, 2) | GAPS).map(list) | near(3, 2) | near(3, below=2),
    None, "1", 1, object(), {}, [], Y, [Y, Y, Y], [1j] * 3, [["1"] * 2] * 3, [Y + np.inf, Y[:2], Y], [0, 0, 2],
)
WEIGHTS = array_like(
    np.array([1, 0.5, 0, 2]),
    st.none() | st.builds(guised, guises, st.sampled_from([np.arange(4.0), np.ones(4, "u1"), np.zeros(4, "f4")])),
    *NO_REALS, [1, 2], [[1, 2, 3, 4]], [-1, 0, 0, 1], [np.nan, 1, 1, 1], [np.inf, 1, 1, 1], 1, [10**400, 1, 1, 1],
)
SAMPLE_WEIGHT = array_like(
    [np.array([1, 0.5, 0, 2]), np.array([3, 1]), np.ones(4)], st.none() | near(3) | st.just([0, 1.5, 2]),
    "1", 1, object(), {}, [], [1, 2], [-1, 0, 1], [1j] * 3, ["1"] * 3, [[1] * 4] * 3,
    [[1, 1, 1, np.nan], [1, 1], [1] * 4],
)
FALLING = Made(lambda _: lambda history: 0.5 / (1 + history.sequences))
ORDER = array_like(
    np.array([2, 0, 1, 1]), st.none() | near(3, below=3) | st.just(Made(lambda _: np.random.default_rng(2))),
    [3], [-1], "random", [0.0], [[0]], [True], 0, {}, [10**400], [None], object(),
)
ORDERS = (Made(lambda _: np.random.default_rng(2)), Made(lambda _: [np.random.default_rng(2)]))  # of one network
OFFSETS = array_like(
    np.array([0, 1, 4]), st.builds(guised, guises, st.sampled_from([np.array([0, 1, 4], code) for code in "bQi"])),
    *NO_REALS, None, [0, 5], [1, 4], [0, 3, 2, 4], [], [0.0, 4.0], 4,
)
RESETS = array_like(
    np.array([True, False, False, True]), st.none() | st.lists(st.booleans(), min_size=4, max_size=4), *NO_REALS,
    [0, 1, 0, 1], [1.0] * 4, [True], [[True]] * 4, True,
)
MASK = RESETS._replace(base=np.array([True] * 4))
RECORD = one_of(
    ("cell_state", "cell", "forget_gate"), ["cell"], (), None, {"output_gate": 0}, Made(lambda _: iter(["hidden"])),
    wrong=("cell", ["cells"], ["output"], [1], 5, b"cell", [["cell"]]),
)

# ---- functions ----


class Call(NamedTuple):
    """A public function: its arguments, the object of a method, what it may change."""

    arguments: dict[str, Kind]
    on: Any = None
    changes: tuple[str, ...] = ()
    function: Any = None
    raises: tuple[type[Exception], ...] = ()


net_of = attrgetter("net")
of_unit = Call({"kind": UNIT}, attrgetter("net.topology"), raises=(TypeError, ValueError))
BIASES = ("input_gate_bias", "output_gate_bias", "forget_gate_bias")
FLAGS = ("output_gates", "forget_gates", "recurrent", "gate_sources", "input_to_output")
LEARNING = {"learning_rate": OWN_RATE, "state": STATE}
LEARNS = ("weights", "statistics", "states")
CALLS = {
    "Topology": Call({
        "n_inputs": count(1), "n_outputs": count(1), "n_hidden": count(0), **dict.fromkeys(FLAGS, FLAG),
        "blocks": one_of((1, 2), [3], (), np.array([1, 2]), range(1, 3), wrong=(1, None, "12", [0], [1.0], [[1]], 1j)),
        "input_squash": SQUASH, "output_squash": SQUASH, "bias": one_of("all", "gates_and_output", wrong=("x", None)),
        "output": one_of("softmax", "identity", wrong=("tanh", 1)),
        "loss": one_of("cross_entropy", None, "squared", "huber", wrong=("squared", "huber", "no", 1, b"huber", [])),
    }),
    "Topology.sources": of_unit,
    "Topology.n_sources": of_unit,
    "Topology.has_bias": of_unit,
    "Network": Call({
        "topology": one_of(*NETS, wrong=("adding", None, Topology)), "seed": SEED, "init_range": RANGE,
        "dtype": one_of("float64", "f4", np.float32, wrong=("float16", "no", ">f8", int, 5, "i4,(2,")),
        **dict.fromkeys(BIASES, BIAS), "optimizer": OPTIMIZER,
        "readout": one_of(None, RLS(), RLS(0.9, 1e-60), RLS(0.9, 1e60), wrong=(RLS, RLS(), True, SGD())),
        "scaling": one_of(Scaling(), None, Scaling(inputs=False), Scaling(decay=0.5), wrong=(Scaling, True, RLS())),
        "learning_rate": RATE,
    }),
    "Network.for_stream": Call({
        "n_inputs": count(1), "n_outputs": count(1), "cells": count(1), "seed": SEED,
        "task": one_of("regression", "classification", wrong=("values", None, 1, [])),
        "dtype": one_of("float64", np.float32, wrong=("float16", int, 5)),
    }),
    "Network.learn": Call({"x": ROW, "target": TARGET, **LEARNING, "weight": WEIGHT, "out": out(2)}, net_of, LEARNS),
    "Network.correct": Call({"target": TARGET, **LEARNING, "weight": WEIGHT}, net_of, LEARNS),
    "Network.learn_run": Call(
        {"X": ROWS, "targets": TARGETS, **LEARNING, "weight": WEIGHTS, "resets": RESETS, "out": out(4, 2)}, net_of,
        LEARNS,
    ),
    "Network.step": Call({"x": ROW, "state": STATE, "out": out(2)}, net_of, ("states",)),
    "Network.peek": Call({"x": ROW, "state": STATE, "out": out(2)}, net_of),
    "State.assign": Call(
        {"other": one_of(Made(attrgetter("stream")), Made(attrgetter("net.state")), wrong=(None, 1, "x", FOREIGN))},
        attrgetter("net.state"), ("states",),
    ),
    "Network.run": Call(
        {"X": ROWS, "record": RECORD, "resets": RESETS, "state": STATE, "out": out(4, 2)}, net_of, ("states",),
    ),
    "Network.new_state": Call({
        "cell_state": array_like(np.ones(3), near(3) | st.none(), *NO_REALS, np.inf, [1, 2], 3),
        "activations": one_of({"cell": [1, 0.5, 2]}, {}, None, wrong=([1], "cell", {"cell": 1}, {"no": [1]}, {1: [1]})),
    }, net_of),
    "Network.reset": Call({"state": STATE}, net_of, ("states",)),
    "Network.save": Call({
        "path": one_of("net", Path("net"), "new", wrong=UNUSABLE),
        "state": one_of(True, False, STATE.base, wrong=(1, None, "yes", np.bool_(True), FOREIGN)),
    }, net_of, ("files",)),
    "Network.with_block": Call({
        "size": count(1), "seed": SEED, "init_range": RANGE, "outgoing_range": RANGE, **dict.fromkeys(BIASES, NEW_BIAS),
    }, net_of),
    "Network.with_optimizer": Call({"optimizer": OPTIMIZER}, net_of),
    "Network.parameters": Call(
        {"values": weights(lambda net: (net.topology.n_weights,))}, net_of, ("weights",),
        Network.parameters.fset, (TypeError, ValueError),
    ),
    "Network.weights": Call(
        {"kind": UNIT, "values": weights(lambda net: net.weights["cell"].shape)}, net_of, ("weights",),
        lambda self, kind, values: self.weights.__setitem__(kind, values), (KeyError, TypeError, ValueError),
    ),
    "Streams": Call({"network": NET, "n": count(1)}),
    "Streams.step": Call({"X": ROWS, "mask": MASK, "out": out(4, 2)}, attrgetter("streams"), ("states",)),
    "Streams.peek": Call({"X": ROWS, "mask": MASK, "out": out(4, 2)}, attrgetter("streams")),
    "Streams.learn": Call(
        {"X": ROWS, "targets": TARGETS, "learning_rate": OWN_RATE,
         "weight": WEIGHTS._replace(wrong=WEIGHTS.wrong[:-2]), "mask": MASK, "out": out(4, 2)},
        attrgetter("streams"), LEARNS,
    ),
    "Streams.reset": Call({"mask": MASK}, attrgetter("streams"), ("states",)),
    "Streams.assign": Call(
        {"i": one_of(1, 0, -4, np.int8(1), wrong=(4, -5, 1.0, None, slice(1), "0", [0], 10**400)),
         "state": one_of(STATE.base, Made(attrgetter("net.state")), wrong=(None, 1, "x", FOREIGN))},
        attrgetter("streams"), ("states",),
    ),
    "Streams.save": Call(
        {"path": one_of("net", Path("net"), "new", wrong=UNUSABLE)}, attrgetter("streams"), ("files",),
    ),
    "Streams.load": Call({"path": one_of("streams", Path("streams"), wrong=("net", "junk", *UNUSABLE))}),
    "load": Call({"path": one_of("net", Path("net"), wrong=("junk", *UNUSABLE))}),
    "export_c": Call({
        "net": NET, "path": one_of("new", Path("net"), wrong=UNUSABLE),
        "learn": one_of(True, False, wrong=(1, None, "yes", np.bool_(True))),
        "dtype": one_of("float64", None, "f4", np.float32, wrong=("float16", "no", ">f8", int, 5, "i4,(2,")),
        "name": one_of("a", "Net_2", wrong=("", "2", "a b", "a-b", "_a", None, 1, b"a", "\u00e4")),
    }, None, ("files",)),
    "train": Call({
        "net": NET, "inputs": MANY, "targets": MANY_TARGETS, "epochs": count(0), "order": ORDER,
        "learning_rate": OWN_RATE._replace(fits=OWN_RATE.fits | st.sampled_from([Decay(0.5, 0.1, 4), FALLING])),
        "every": count(1), "patience": count(1), "keep_best": FLAG,
        "validation": one_of(
            (MANY.base, MANY_TARGETS.base), [MANY.base, np.array([0, 1, -1])],
            wrong=(5, "ab", (), (MANY.base,), (MANY.base, None), (MANY.base, [-1] * 3), ([X.T], [Y]), MANY.base),
        ),
        "update": one_of("sequence", "step", wrong=("epoch", None, 1, ["step"])), "batch_size": count(1),
        "threads": one_of(None, 1, 2, wrong=(0, -1, 1.5, "2", True)),
        "parallel": one_of("batch", "hogwild", wrong=("both", None, 1, ["batch"])),
        "stop": one_of(Stop(window=3), None, Stop(1, 9, 9), wrong=(3, "no", Stop)),
        "callback": one_of(Made(lambda _: lambda history: history.epochs >= 2), wrong=(1, "no", {})),
        "history": one_of(Made(attrgetter("history")), None, Made(lambda _: History()), wrong=([], 1, History)),
        "checkpoint": one_of(
            Checkpoint("run", sequences=1), Checkpoint("run"), None,
            wrong=("run", 1, *map(Checkpoint, ("net", "junk", "folder", "", "no/folder", "a\0", "\ud800"))),
        ),
        "sample_weight": SAMPLE_WEIGHT,
    }, None, ("weights", "statistics", "files")),
    "train_many": Call({
        "nets": one_of(
            Made(lambda world: [world.net, Network(NETS[1], "float32")]), Made(lambda world: (world.net,)), [],
            wrong=(NET.base, None, 5, "net", [NET.base, NETS[0]], [NET.base, NET.base]),
        ),
        "data": one_of(
            (MANY.base, MANY_TARGETS.base), [(MANY.base, MANY_TARGETS.base), (MANY.base, np.array([0, 1, -1]))],
            wrong=(None, "ab", 5, {}, (), (MANY.base,), [MANY.base, MANY_TARGETS.base], (MANY.base, "x"),
                   [(MANY.base, MANY_TARGETS.base)] * 3, [(MANY.base, MANY_TARGETS.base), ([X.T], [Y])]),
        ),
        "learning_rate": OWN_RATE, "epochs": count(0), "batch_size": count(1),
        "order": one_of(
            np.array([2, 0, 1, 1]), None, [0, 2], Made(lambda _: np.random.default_rng(2).spawn(2)),
            wrong=([3], [-1], "random", [0.0], 0, [None], object(), *ORDERS),
        ),
        "update": one_of("sequence", "step", wrong=("epoch", None, 1, ["step"])),
        "stop": one_of(Stop(window=3), None, Stop(1, 9, 9), wrong=(3, "no", Stop)),
        "threads": one_of(2, 1, None, np.int8(3), wrong=(0, -1, 1.5, "2", True, [1])),
        "executor": one_of(None, wrong=(1, "threads", ThreadPoolExecutor)),
        "return_exceptions": one_of(False, True, wrong=(1, None, "yes", np.bool_(True))),
    }, None, ("weights", "statistics")),
    "predict": Call({
        "net": NET, "inputs": MANY, "out": out(10, 2), "threads": one_of(None, 1, 2, wrong=(0, -1, 1.5, "2", True)),
        "last": one_of(False, True, np.bool_(False), wrong=(1, None, "True", np.ones(1, bool))),
    }),
    "Sequences": Call({
        "values": ROWS._replace(wrong=(*NO_REALS, None, X[0], X[None], 0, [2**40] * 4)), "offsets": OFFSETS,
    }),
    "Sequences.pack": Call({
        "inputs": MANY, "name": one_of("targets"),
        "dtype": one_of("float32", None, "f2", np.longdouble, ">f8", wrong=("int64", "no", 5, "i4,(2,")),
    }, raises=(TypeError, ValueError)),
    "Sequences.__getitem__": Call(
        {"i": one_of(1, 0, -1, np.int8(1), np.array(0), wrong=(2, -3, 1.0, None, slice(1), "0", [0], 10**400))},
        lambda _: Sequences.pack([X, X[:1]]), raises=(IndexError, TypeError),
    ),
    "Decay": Call({
        "start": one_of(0.5, 1, np.float32(0.5), Fraction(1, 2), wrong=RATE.wrong),
        "end": one_of(0.1, np.float32(0.2), Fraction(1, 3), wrong=(*RATE.wrong, 5)), "sequences": count(1),
    }),
    "Decay.at": Call({"n": one_of(0, 1, 3, 10**6, wrong=("1", None, [1], 1j, -1, 0.5))}, lambda _: Decay(0.5, 0.1, 4)),
    "SGD": Call({"momentum": SHARE, "bound": LIMIT}),
    "RMSprop": Call({"decay": SHARE, "epsilon": EPSILON, "bound": LIMIT}),
    "Adam": Call({"beta1": SHARE, "beta2": SHARE, "epsilon": EPSILON, "bound": LIMIT}),
    "RLS": Call({
        "forgetting": one_of(0.9, 1, np.float32(0.5), 1e-300, wrong=(*NO_NUMBER, None, 0, 1.5, np.inf)),
        "prior": one_of(1.0, 100, 1e-300, 1e300, wrong=(*NO_NUMBER, None, 0, np.inf, 10**400)),
    }),
    "Scaling": Call({
        "inputs": FLAG, "targets": FLAG,
        "decay": one_of(0.9, None, np.float32(0.5), 1e-300, wrong=(*NO_NUMBER, 0, 1, np.inf, 10**400)),
    }),
    "Stop": Call({"window": count(1), "tolerance": BOUND, "mean_error": BOUND, "max_wrong": count(0)}),
    "Checkpoint": Call({"path": one_of("run", Path("run"), wrong=NO_PATH), "sequences": count(1), "seconds": RATE}),
}
FOR_OTHERS_TO_CALL = {"Config", "State", "Sequences.place", "export_onnx"}
# fmt: on


def function(name):
    return CALLS[name].function or attrgetter(name)(lstm97)


def parameters(function):
    """A function's arguments by name, and whether they have a default."""
    found = inspect.signature(function).parameters.items()
    return {name: each.default is not each.empty for name, each in found if name != "self"}


def documented(name):
    """The exceptions that a function's docstring names."""
    section = inspect.getdoc(attrgetter(name)(lstm97)).partition("\nRaises\n------\n")[2].partition("\n\n")[0]
    names = re.findall(r"\w+", " ".join(line for line in section.splitlines() if not line.startswith(" ")))
    return CALLS[name].raises or tuple(getattr(builtins, each) for each in names)


# ---- the judge ----

CHANGING = (np.random.Generator, History, Network, State)
"""Arguments of these types may be changed by calls, besides the arrays they write to."""


def outcome(name, where, arguments):
    """Make a call in a world of its own and check everything afterwards; returns what it raised, or None."""
    call, error = CALLS[name], None
    world = World(*where)
    given = {key: made(value, world) for key, value in arguments.items()}
    before, seen = world.bits(), {key: bits([value, memory(value)]) for key, value in given.items()}
    try:
        result = function(name)(*([call.on(world)] if call.on else []), **given)
    except (HostileError, *documented(name)) as raised:
        error = raised

    changing = set(call.changes) if error is None else set()
    if isinstance(error, FloatingPointError):  # changes before the one that failed were made
        changing = {"states", "statistics"} if name in ("Network.learn", "Network.correct") else set(call.changes)
    elif isinstance(error, OSError) and name == "train":  # the last write of its checkpoint failed
        changing = {"weights", "statistics"}
    after = world.bits()
    assert [part for part in before if before[part] != after[part] and part not in changing] == []
    assert np.isfinite(world.net.parameters).all()
    for key, value in given.items():
        each = value if isinstance(value, (list, tuple)) else [value]
        may_change = key == "out" or any(isinstance(one, CHANGING) for one in each)
        if isinstance(value, np.ndarray) and isinstance(given.get("out"), np.ndarray):
            may_change |= np.may_share_memory(memory(value), memory(given["out"]))
        assert (may_change and (error is None or changing)) or bits([value, memory(value)]) == seen[key], key
    assert all((room[:8] == 7).all() and (room[-8:] == 7).all() for room in world.rooms)
    if error is not None:
        return error

    judge(name, result, given, world.net)
    if given.get("seed", 0) is not None:  # else the result is random
        twin = World(*where)
        given = {key: clean(made(value, twin)) for key, value in arguments.items() if key != "out"}
        assert bits(function(name)(*([call.on(twin)] if call.on else []), **given)) == bits(result)
        assert bits([twin.net, twin.stream]) == bits([world.net, world.stream])
    return None


def judge(name, result, given, net):
    """Check that a result is as documented."""
    if "out" in CALLS[name].arguments:
        outputs, seen = result if isinstance(result, tuple) else (result, {})
        if name == "predict" and given.get("last"):
            outputs, expected = [outputs], [(len(given["inputs"]), 2)]
        elif name == "predict":
            lengths = Sequences.pack(given["inputs"]).lengths if len(given["inputs"]) else ()
            expected = [(n_steps, 2) for n_steps in lengths]
        else:
            outputs, expected = [outputs], [(len(np.asarray(given["X"])), 2) if "X" in given else (2,)]
        units = {**net.topology.units, "cell_state": net.topology.n_cells}
        expected += [(expected[0][0], units[kind]) for kind in seen]
        found = [*outputs, *seen.values()]
        assert [each.shape for each in found] == expected
        assert all(each.dtype == net.dtype for each in found)
        if given.get("mask") is None:
            assert all(np.isfinite(each).all() for each in found)
        else:
            assert np.array_equal(np.isfinite(found[0]).all(axis=1), np.asarray(given["mask"]).astype(bool))
        assert given.get("out") is None or all(np.shares_memory(each, given["out"]) for each in outputs if each.size)
    if isinstance(result, Network):
        assert np.isfinite(result.parameters).all()
    if is_dataclass(result):
        json.dumps(asdict(result), default=os.fsdecode)  # fails unless fields are Python's own numbers
    if name == "Network.save":
        saved = load(given["path"])
        assert bits(saved.parameters) == bits(net.parameters)
        assert given.get("state", False) is not True or bits(saved.state) == bits(net.state)


# ---- tests ----

FITTING = {name: {key: kind.base for key, kind in call.arguments.items()} for name, call in CALLS.items()}
SHAPES = {"x": (3,), "X": (4, 3), "inputs": (1, 4, 3)}
EACH = [(name, key) for name, call in CALLS.items() for key in call.arguments]


def test_every_public_function_and_argument_has_a_case():
    public = set(lstm97.__all__)
    for name, thing in inspect.getmembers(lstm97, inspect.isclass):
        public |= {f"{name}.{key}" for key in vars(thing) if not key.startswith("_")}
    takes_any = {name for name in public if callable(thing := attrgetter(name)(lstm97)) and parameters(thing)}
    of_others = {name for name in takes_any if name.partition(".")[0] == "Forecaster"}  # see test_forecaster
    assert takes_any - FOR_OTHERS_TO_CALL - of_others <= CALLS.keys()
    assert {name: parameters(function(name)).keys() for name in CALLS} == {
        name: call.arguments.keys() for name, call in CALLS.items()
    }


def fitting(name, net):
    """Arguments that work with a network: none with a readout learns in batches."""
    by_step = {"update": "step", "batch_size": 1}
    return FITTING[name] | (by_step if "batch_size" in FITTING[name] and "readout" in SETTINGS[net] else {})


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("net", [0, len(NETS) - 1])
@pytest.mark.parametrize("name", CALLS)
def test_right_arguments_work(name, net, dtype):
    assert outcome(name, (net, dtype), fitting(name, net)) is None


@pytest.mark.parametrize("guise", GUISES)
def test_arrays_work_in_every_guise(guise):
    for name, key in EACH:
        if CALLS[name].arguments[key].is_array:
            arguments = FITTING[name] | {key: guised(guise, FITTING[name][key])}
            assert outcome(name, (0, "float64"), arguments) is None, f"{key} of {name}"


@pytest.mark.parametrize(("name", "key"), EACH)
def test_wrong_arguments_are_refused(name, key):
    for wrong in CALLS[name].arguments[key].wrong:
        for net in (0, len(NETS) - 1):
            arguments = fitting(name, net) | {key: wrong}
            assert outcome(name, (net, "float64"), arguments) is not None, f"{key}={wrong!r}"


@pytest.mark.parametrize("at", [0, 1, 3, 6])
@pytest.mark.parametrize("name", [name for name, key in EACH if key == "out"])
def test_results_may_be_written_over_the_inputs(name, at):
    key = next(iter(CALLS[name].arguments.keys() & SHAPES.keys()))
    shape = SHAPES[key]

    def inputs(world, code, values):
        view = world.shared.view(code)[24 // np.dtype(code).itemsize :][: values.size].reshape(values.shape)
        view[...] = values
        return view

    over = Made(lambda world: world.shared[at : at + np.prod(shape) // 3 * 2].reshape(*shape[:-1], 2))
    for code, values in (("f8", np.resize(X, shape)), ("i4", np.resize([0, 2, 1], shape[:-1]))):
        overlapping = {key: Made(functools.partial(inputs, code=code, values=values)), "out": over}
        assert outcome(name, (0, "float64"), FITTING[name] | overlapping) is None


def test_a_number_is_refused_as_a_path():
    with open("numbered", "wb", buffering=0) as file:
        with pytest.raises(TypeError):
            load(file.fileno())
        assert file.write(b"still open") == 10


def arguments(name):
    """Arguments that mostly work; in every second draw one of them is an arbitrary value."""
    fits = {key: st.just(kind.base) | kind.fits for key, kind in CALLS[name].arguments.items()}
    optional = {key: fits[key] for key, has_default in parameters(function(name)).items() if has_default}
    optional.pop("callback", None)  # always passed, as it ends training after two epochs
    odd = dict.fromkeys(fits, anything)
    odd |= {key: single for key in fits if key == "size"}  # never a block of thousands of cells
    odd |= {key: anything.filter(lambda value: not callable(value)) for key in fits if key == "callback"}
    most = st.fixed_dictionaries({key: fits[key] for key in fits if key not in optional}, optional=optional)
    return st.builds(
        or_, most, st.just({}) | st.sampled_from(list(odd)).flatmap(lambda key: st.fixed_dictionaries({key: odd[key]}))
    )


def test_no_sequences_have_no_outputs():
    where = (0, "float64")
    for none in (np.empty((0, 4, 3)), []):
        assert outcome("predict", where, {"net": NET.base, "inputs": none}) is None


WHERE = st.tuples(st.integers(0, len(NETS) - 1), st.sampled_from(["float64", "float32"]))
DRAWN = {name: arguments(name) for name in CALLS}


# NumPy's own, of a masked array of structures of float16: its fill value does not fit.
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("name", CALLS)
@examples(0.6)
@given(data=st.data())
def test_random_arguments_work_or_are_refused(name, data):
    outcome(name, data.draw(WHERE), data.draw(DRAWN[name]))
