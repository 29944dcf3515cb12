"""Call the API at random: ``python tests/fuzz/fuzz_api.py --programs N --seed S``, or ``--round-trips N``.

A program is a random network and some dozens of calls. Their arguments are valid, valid but in another form, or hostile
(hostile.py). A call may raise the exceptions in its documentation. A call that refuses its arguments changes no bit.
Calls only change what they are documented to change; weights stay finite; networks and states can be saved, loaded and
copied, and the copies continue with the same bits. With ``--round-trips`` programs mostly test the copies.

How programs are numbered and findings repeated: see fuzzing.py. (Results of Hogwild depend on the threads' timing and
are not repeated.)
"""

from __future__ import annotations

import copy
import pickle
import warnings
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from unittest import mock

import fuzzing
import numpy as np
from fuzzing import one
from hostile import (
    ENDLESS,
    LIES,
    NUMBERS,
    PLACES,
    SCALARS,
    STRANGE,
    WITH_ZERO_STRIDE,
    HostileError,
    Meddling,
    Subclass,
    cast,
    misaligned,
    raising,
    read_only,
    wear,
)
from learners import LEARNERS

import lstm97
from lstm97 import (
    RLS,
    SGD,
    Adam,
    Checkpoint,
    History,
    Network,
    RMSprop,
    Scaling,
    Sequences,
    State,
    Stop,
    Streams,
    Topology,
    _run,
    methods,
    options,
)

BIASES = ("all", "hidden", "gates", "gates_and_output", "none")
SQUASHES = ("logistic", "centered", "centered2", "tanh", "identity")
SCALES = (1.0, 1.0, 1.0, 10.0, 1e4, 1e18, 1e38, 1e150, 1e300, 1e-30, 1e-40, 1e-310)
NO_OUTS = (
    *(np.ndarray.tolist, memoryview, read_only, misaligned, np.asfortranarray, np.ma.masked_array),
    *(lambda a: a[..., None], lambda a: a[:0], lambda a: a[::-1], lambda a: np.repeat(a, 2, axis=-1)[..., ::2]),
    *(lambda a: a.astype("f2"), lambda a: a.astype(object), lambda a: a.astype(a.dtype.newbyteorder())),
    *(lambda a: np.broadcast_to(a[:1], a.shape) if a.size else a, lambda a: a.view(Subclass)),
)
NO_RECORDS = ("cell", ["output"], [1], [None], 5, [[]], {"cell": 1})
OPTIMIZERS = (
    *(SGD(), SGD(bound=0.5), SGD(momentum=0.9), SGD(0.5, 1), RMSprop(), RMSprop(0.5, 1e-30, 2), RMSprop(0, 1)),
    *(Adam(), Adam(bound=1), Adam(0, 0, 1e-3), Adam(0.9, 0.5, 1e-35, 10)),
)
READOUTS = (RLS(), RLS(0.9), RLS(0.5, 1e-30), RLS(0.99, 1e30))
SCALINGS = (Scaling(), Scaling(decay=0.9), Scaling(targets=False), Scaling(False, True, 1e-3))
LOSSES = {"logistic": ("squared", "cross_entropy"), "identity": ("squared", "huber"), "softmax": ("cross_entropy",)}
WEIGHTS = (1.0, 1.0, 1.0, 0.0, 0.5, 3, 1e30, 1e-40, 1e300)
RATES = (0.1, 0.1, 0.5, 5.0, 1e3, 1e30, 1e300, 1e-8, 1e-40, 1e-310)


def random_topology(rng, large=True):
    """A random topology; with `large`, one or the other of its sizes is above 64 now and then."""

    def size(most, least=0):
        return int(one(rng, (65, 70)) if large and rng.random() < 0.02 else rng.integers(least, most + 1))

    flags = {
        name: bool(rng.random() < 0.5)
        for name in ("output_gates", "forget_gates", "recurrent", "gate_sources", "input_to_output")
    }
    blocks = one(
        rng, ((), (1,), (2, 2), (1,) * 20, (3, 1), tuple(rng.integers(1, 5, size=rng.integers(1, 4)).tolist()))
    )
    n_outputs = size(4, 1)
    output = one(rng, ("logistic", "identity") if n_outputs == 1 else ("logistic", "identity", "softmax"))
    return Topology(
        size(5, 1),
        n_outputs,
        blocks=(1,) * 65 if large and rng.random() < 0.02 else blocks,
        n_hidden=size(3),
        bias=one(rng, BIASES),
        input_squash=one(rng, SQUASHES),
        output_squash=one(rng, SQUASHES),
        output=output,
        loss=one(rng, (None, *LOSSES[output])),
        **flags,
    )


def random_learning(rng, topology):
    """A random way to learn; the paper's for every second network."""
    if rng.random() < 0.5:
        return {}
    found = {"optimizer": one(rng, OPTIMIZERS)}
    if topology.output == "identity" and rng.random() < 0.4:
        found["readout"] = one(rng, READOUTS)
    if rng.random() < 0.4:
        found["scaling"] = one(rng, SCALINGS)
    return found


def memory_of(net):
    """What learning keeps from update to update: of optimizer and readout, and the statistics of scaling; copies."""
    found = {"memory": {}, "statistics": {}}
    for name, view in net._memory().items():
        found["statistics" if name.startswith("scaling") else "memory"][name] = view.copy()
    return found


def bytes_of(arrays):
    return b"|".join(array.tobytes() for array in arrays.values())


def standing(net):
    """Weights and memory of a network, for `restore`."""
    return net.parameters, {name: view.copy() for name, view in net._memory().items()}


def restore(net, before):
    net.parameters, memory = before
    for name, view in net._memory().items():
        view[...] = memory[name]
    net._layout.complete(net._arrays)


def print_of(state):
    """Everything in a state, as bytes."""
    numbers, arrays = state._parts()
    return b"|".join([repr(numbers).encode(), *(array.tobytes() for array in arrays.values())])


def str_of_generator(generator):
    return str(generator.bit_generator.state)


def is_numpys(error):
    """Whether NumPy raised this because of its error settings, which should make no difference."""
    return isinstance(error, FloatingPointError) and "encountered" in str(error)


def print_of_history(history):
    window = history._window
    found = [history.sequences, history.steps, history.epochs, history.stopped, history.errors.tobytes()]
    if window is not None:
        numbers = (window.stop, window.n_seen, window.n_wrong, window.error_sum, window.error_rest)
        found += [numbers, window.errors.tobytes(), window.wrong.tobytes()]
    return found


# ---- a program ----


WAYS = ("file", "pickle", "deepcopy", "copy", "state copy", "assigned")


class Program:
    """A network, its states, and calls drawn from a generator."""

    def __init__(self, rng, folder, tally, hostility, *, large=True):
        self.rng, self.folder, self.tally, self.hostility = rng, folder, tally, hostility
        self.topology, self.dtype = random_topology(rng, large), one(rng, ("float64", "float32"))
        self.scale, self.target_scale = one(rng, SCALES), one(rng, (1.0, 1.0, 1.0, 1.0, *SCALES))
        self.rate = one(rng, RATES)
        init_range = one(rng, (0.1, 0.5, 3.0, 1e4, 1e18, 1e37))
        learning = random_learning(rng, self.topology)
        self.net = Network(self.topology, self.dtype, int(rng.integers(2**32)), init_range, **learning)
        self.others = [self.net.new_state() for _ in range(rng.integers(3))]
        self.many = Streams(self.net, int(one(rng, (1, 3, 20))))
        self.history = History()
        self.errstate = one(rng, ({"all": "warn"}, {"all": "raise"}, {}))  # NumPy's error settings of the user
        self.said = []
        self.forget()

    def forget(self):
        """Clear what is noted of a call's arguments, before the next call."""
        self.is_huge = self.is_meddled = self.is_over_weights = self.are_weights_read = False
        self.watched, self.outs = [], []

    # ---- random arguments ----

    def chance(self, share):
        return bool(self.rng.random() < share)

    def given(self, array):
        """An array as an argument: as it is, in another form, or a hostile value instead."""
        array = np.asarray(array)
        if self.chance(self.hostility):
            return self.strange(array)
        if self.chance(0.2):
            return self.disguised(array)
        self.watched.append((array, array.copy()))
        return array

    def disguised(self, array):
        """The same numbers in another form: masked, cast, or wrapped as in hostile.py."""
        way = self.rng.random()
        if way < 0.1 and array.ndim:
            return np.ma.masked_array(array, self.rng.random(array.shape) < one(self.rng, (0.2, 1)))
        if way < 0.3:
            dtypes = ("f2", "f4", "f8", "g") if array.dtype.kind == "f" else ("i1", "i4", "u8")
            array = cast(array, one(self.rng, dtypes))
        return wear(one(self.rng, list(WITH_ZERO_STRIDE)), array)

    def anything(self):
        """A value that is no array."""
        if self.chance(0.2):
            return type("Raising", (), {one(self.rng, list(LIES)): raising})()
        if self.chance(0.1):
            return type("Lying", (), dict([one(self.rng, list(LIES.items()))]))()
        return one(self.rng, SCALARS + NUMBERS)

    def strange(self, array):
        way = self.rng.random()
        if way < 0.3:
            return self.anything()
        if way < 0.36:
            self.is_huge = True
            return one(self.rng, ENDLESS)(array)
        if way < 0.4:
            self.is_meddled = True
            return Meddling(array, one(self.rng, (self.net.reset, self.step_quietly)))
        if way < 0.6 and array.size and array.dtype.kind == "f":
            array = array.copy()
            array.reshape(-1)[self.rng.integers(array.size)] = one(self.rng, PLACES)
            return array
        if way < 0.65 and array.dtype == self.net.dtype:  # a view of the weights, which the call may change
            self.are_weights_read = True
            view = one(self.rng, list(self.net.weights.values())).reshape(-1)
            return np.resize(view, array.shape) if view.size < array.size else view[: array.size].reshape(array.shape)
        return one(self.rng, STRANGE)(np.atleast_1d(array))

    def step_quietly(self):
        """A step whose result and overflow are ignored."""
        with suppress(FloatingPointError):
            self.net.step(np.zeros(self.net.topology.n_inputs))

    def number(self, value):
        """A number as an argument, or a hostile value instead."""
        return self.anything() if self.chance(self.hostility) else value

    def inputs(self, n_steps, symbols=False):
        t = self.topology
        if symbols and t.n_inputs > 1:
            return self.rng.integers(t.n_inputs, size=n_steps)
        rows = self.rng.uniform(-1, 1, (n_steps, t.n_inputs))
        with np.errstate(all="ignore"):
            rows *= self.scale
        return cast(rows, self.net.dtype) if self.chance(0.7) else rows

    def targets(self, n_steps, classes=False, share=0.5, partly=True):
        t = self.topology
        given = self.rng.random(n_steps) < share
        if classes and t.n_outputs > 1:
            return np.where(given, self.rng.integers(t.n_outputs, size=n_steps), -1)
        rows = self.rng.uniform(0, 1 / t.n_outputs, (n_steps, t.n_outputs)) * self.target_scale
        rows[~given] = np.nan
        if (
            partly
            and self.chance(0.2)
            and (getattr(t, "output", "softmax") != "softmax" or self.chance(self.hostility))
        ):
            rows[self.rng.random(rows.shape) < 0.3] = np.nan
        return cast(rows, self.net.dtype) if self.chance(0.7) else rows

    def weight(self):
        """The weight of an error signal."""
        return self.number(one(self.rng, WEIGHTS))

    def weights(self, n):
        """Weights of n error signals, or none."""
        return self.given(self.rng.choice(WEIGHTS, n)) if self.chance(0.3) else None

    def x(self):
        """One step's input."""
        return self.given(self.inputs(1, self.chance(0.3))[0])

    def target(self, share=0.5):
        """One step's target."""
        if self.chance(0.2):
            return None
        return self.given(self.targets(1, self.chance(0.3), share)[0])

    def state(self):
        """A state as an argument, and the state that the call will use."""
        if self.chance(self.hostility / 4):
            return one(self.rng, (Network(self.topology).state, self.net, 1, "own", b"")), None
        states = [None, self.net.state, *self.others]
        state = one(self.rng, states)
        return state, self.net.state if state is None else state

    def out(self, shape, over=None):
        """An array for the argument `out`; possibly one that overlaps the inputs or the weights."""
        if not self.chance(0.3):
            return None
        dtype, n = self.net.dtype, int(np.prod(shape))
        found = np.full(shape, 7, dtype)
        way = self.rng.random()
        if way < 0.4 and isinstance(over, np.ndarray) and over.dtype == dtype and over.size:
            block = over.base if isinstance(over.base, np.ndarray) and over.base.dtype == dtype else over
            flat = block.reshape(-1)
            if flat.size >= n and over.flags.writeable and np.may_share_memory(flat, block):
                begin = int(self.rng.integers(flat.size - n + 1))
                found = flat[begin : begin + n].reshape(shape)
                self.watched = [pair for pair in self.watched if not np.may_share_memory(pair[0], found)]
        elif way < 0.4 + self.hostility:
            found = one(self.rng, (*(partial(way, found) for way in NO_OUTS), self.anything))()
            if self.chance(0.1):
                found = self.out_over_weights(n, shape)
        if isinstance(found, np.ndarray) and found.dtype != object:
            self.outs.append((np.asarray(found), np.asarray(found).tobytes()))
            self.is_over_weights |= self.shares_weights(found)
        return found

    def shares_weights(self, array):
        """Whether an array may overlap the weights."""
        return any(np.may_share_memory(array, view) for view in self.net.weights.values())

    def out_over_weights(self, n, shape):
        """A part of the weights as `out`, which users may pass, as they may write any weights."""
        view = one(self.rng, list(self.net.weights.values()))
        if view.size < n:
            return np.zeros(0)
        return view.reshape(-1)[:n].reshape(shape) if view.flags.c_contiguous else view

    # ---- calls and what must hold of them ----

    def prints(self):
        """The bits of everything that a call might change."""
        found = {"weights": self.net.parameters.tobytes(), "history": print_of_history(self.history)}
        found |= {name: bytes_of(arrays) for name, arrays in memory_of(self.net).items()}
        found["streams"] = print_of(self.many)
        return found | {f"state {i}": print_of(state) for i, state in enumerate([self.net.state, *self.others])}

    def attempt(self, name, call, *changes, may=(FloatingPointError,), refused=(TypeError, ValueError), more=None):
        """Make a call that may change `changes`: some of `LEARNS`, "history", states or, with True, everything.

        Returns the call's result, or None if it raised. The exception must be one of `may` or `refused`; after one of
        `refused`, nothing may have changed, including the value of ``more()``.
        """
        self.tally.add(name)
        self.said.append(name)
        before, result = self.prints(), None
        before["more"] = more and more()
        error = None
        try:
            with np.errstate(**self.errstate):
                result = call()
        except Exception as raised:
            error = raised
            kind = next(kind for kind in EXCEPTIONS if isinstance(raised, EXCEPTIONS[kind]))
            self.tally.add(kind)
        states = [self.net.state, *self.others]
        changed = {f"state {i}" for i, state in enumerate(states) if any(state is each for each in changes)}
        changed |= {each for each in changes if isinstance(each, str)}
        is_refused = isinstance(error, (*refused, HostileError)) or (self.is_huge and isinstance(error, MemoryError))
        if is_refused:
            changed = set()
            for array, data in self.outs:
                self.check(array.tobytes() == data, "refused, but has written to out", error)
        elif error is not None:
            self.check(isinstance(error, may) and not is_numpys(error), "raised what it must not", error)
            is_whole = name == "many_streams" and self.net.readout is None
            if name in ("learn", "correct") or is_whole:  # single steps that fail change no weight
                changed -= {"weights", "memory"}
        if self.is_over_weights and not is_refused:  # `out` is written even if the change of weights fails later
            changed.add("weights")
        if not self.is_meddled and True not in changes:
            after = self.prints()
            after["more"] = more and more()
            if not is_refused:
                changed.add("more")
            for each, was in before.items():
                self.check(each in changed or after[each] == was, f"changed {each}", error)
        for array, was in self.watched:
            self.check(array.tobytes() == was.tobytes(), "changed an argument", error)
        if self.is_over_weights:
            self.mend()
        self.check(np.isfinite(self.net.parameters).all(), "weights are not finite")
        for name, array in self.net._memory().items():
            self.check(np.isfinite(array).all(), f"{name} is not finite")
        for view in self.net.weights.values():
            self.check(view.flags.writeable and view.dtype == self.net.dtype, "weights are not views to write into")
        self.forget()
        return result

    def check(self, holds, words, error=None):
        if not holds:
            raise AssertionError(f"{self.said[-1]}: {words}; {error!r}") from error

    def mend(self):
        """Make weights finite again after other numbers were written into them."""
        if not np.isfinite(parameters := self.net.parameters).all():
            self.net.parameters = np.nan_to_num(parameters, nan=0, posinf=1, neginf=-1)
        for view in self.net._memory().values():
            view[...] = np.nan_to_num(view, nan=0, posinf=1, neginf=-1)

    # ---- streams ----

    def learn(self):
        state, own = self.state()
        x = self.x()
        target, rate = self.target(), self.number(self.rate)
        out = self.out((self.topology.n_outputs,), x)
        weight = self.weight()
        y = self.attempt(
            "learn", lambda: self.net.learn(x, target, rate, weight=weight, state=state, out=out), *LEARNS, own
        )
        self.check(y is None or out is None or y is out, "returned something else than out")

    def correct(self):
        state, own = self.state()
        target, rate = self.target(1), self.number(self.rate)
        refused = (TypeError, ValueError, RuntimeError)
        weight = self.weight()
        call = partial(self.net.correct, target, rate, weight=weight, state=state)
        self.attempt("correct", call, *LEARNS, own, refused=refused)

    def learn_run(self):
        n = int(one(self.rng, (0, 1, 2, 7, 16, 17, 40)))
        state, own = self.state()
        X = self.given(self.inputs(n, self.chance(0.3)))
        targets = None if self.chance(0.2) else self.given(self.targets(n, self.chance(0.3), one(self.rng, (0.1, 0.9))))
        rate, out = self.number(self.rate), self.out((n, self.topology.n_outputs), X)
        weights = self.weights(n)
        Y = self.attempt(
            "learn_run",
            lambda: self.net.learn_run(X, targets, rate, weight=weights, state=state, out=out),
            *LEARNS,
            own,
        )
        self.check(Y is None or out is None or Y is out, "returned something else than out")

    def step(self):
        state, own = self.state()
        x = self.x()
        out = self.out((self.topology.n_outputs,), x)
        y = self.attempt("step", lambda: self.net.step(x, state=state, out=out), own)
        self.check(y is None or np.isfinite(y).all(), "returned outputs that are not finite")

    def peek(self):
        state, own = self.state()
        x = self.x()
        if out := self.chance(0.3):
            out = self.out((self.topology.n_outputs,), x)
            self.attempt("peek", lambda: self.net.peek(x, state=state, out=out))
            return
        is_plain = isinstance(x, (np.ndarray, list, int)) and not self.is_meddled
        y = self.attempt("peek", lambda: self.net.peek(x, state=state))
        if y is not None and is_plain and own is not None:
            same = self.attempt("step", lambda: self.net.step(x, state=own), own)
            self.check(same is not None and same.tobytes() == y.tobytes(), "peek gave other outputs")

    def run(self):
        n = int(one(self.rng, (0, 1, 5, 30)))
        state, own = self.state()
        X = self.given(self.inputs(n, self.chance(0.3)))
        kinds = [kind for kind in self.topology.units if kind != "output"]
        kinds += ["cell_state"] * (self.topology.n_cells > 0)
        record = one(self.rng, (None, kinds, kinds[:1] * 2, tuple(kinds[1:])))
        if self.chance(self.hostility):
            record = one(self.rng, (*NO_RECORDS, iter(kinds), self.anything()))
        out = self.out((n, self.topology.n_outputs), X)
        self.attempt("run", lambda: self.net.run(X, record, state=state, out=out), own)

    def reset(self):
        state, own = self.state()
        self.attempt("reset", lambda: self.net.reset(state), own, may=())
        if own is not None:
            self.check(print_of(own) == print_of(self.net.new_state()), "a state is not as new")

    def change_states(self):
        """Add or drop a state, or assign one state to another."""
        way = self.rng.integers(5)
        if way == 0 and self.others:
            self.others.pop(int(self.rng.integers(len(self.others))))
        elif way == 1 and len(self.others) < 3:
            self.others.append(self.net.new_state())
        elif way == 2 and len(self.others) < 3:
            state = copy.copy(one(self.rng, [self.net.state, *self.others]))
            self.others.append(state)
        else:
            (_, to), (of, _) = self.state(), self.state()
            to, of = to or self.net.state, of or self.net.state
            self.attempt("assign", lambda: to.assign(of), to, may=())
            if isinstance(of, State) and of._network_arrays is to._network_arrays:
                self.check(print_of(to) == print_of(of), "an assigned state differs from its source")

    def many_streams(self):
        """A call on many streams side by side."""
        if self.many.network is not self.net:
            self.many = Streams(self.net, int(one(self.rng, (1, 3, 20))))
        many, n = self.many, len(self.many)
        X = self.given(self.inputs(n, self.chance(0.3)))
        mask = self.given(self.rng.random(n) < 0.7) if self.chance(0.5) else None
        out = self.out((n, self.topology.n_outputs), X)
        targets = None if self.chance(0.2) else self.given(self.targets(n, self.chance(0.3), 0.8))
        rate, weights = self.number(self.rate), self.weights(n)
        state, own = self.state()
        i = self.number(int(self.rng.integers(n)))
        ways = {
            "learn": lambda: many.learn(X, targets, rate, weight=weights, mask=mask, out=out),
            "step": lambda: many.step(X, mask=mask, out=out),
            "peek": lambda: many.peek(X, mask=mask, out=out),
            "reset": lambda: many.reset(mask),
            "assign": lambda: many.assign(i, own if own is not None else state),
            "take out": lambda: many[i],
        }
        way = one(self.rng, ["learn", "learn", *ways])
        changes = ["streams"] if way not in ("peek", "take out") else []
        changes += LEARNS if way == "learn" else ()
        refused = (TypeError, ValueError, IndexError) if way in ("assign", "take out") else (TypeError, ValueError)
        found = self.attempt("many_streams", ways[way], *changes, refused=refused)
        if way == "take out" and found is not None:
            many.assign(i, found)
            self.check(print_of(many[i]) == print_of(found), "a stream taken out and assigned again has changed")

    def look(self):
        """Read a property or a repr, which must change nothing."""
        net, state = self.net, one(self.rng, [self.net.state, *self.others])
        ways = (
            *(lambda: state.cell_state, lambda: state.activations, lambda: state.partials, lambda: repr(state)),
            *(lambda: repr(net), lambda: net.weights, lambda: net.parameters, lambda: repr(self.history)),
            *(lambda: self.history.errors, lambda: pickle.loads(pickle.dumps(self.history)), lambda: dict(net.weights)),
        )
        self.attempt("look", one(self.rng, ways), may=(), refused=())

    # ---- weights ----

    def set_weights(self):
        net, t, rng = self.net, self.topology, self.rng
        size = one(rng, (0.1, 0.1, 1.0, 1e3, 1e30))
        kind = one(rng, list(t.units))
        values = self.given(cast(rng.uniform(-size, size, net.weights[kind].shape), net.dtype))
        everything = self.given(cast(rng.uniform(-size, size, t.n_weights), net.dtype))
        wrong = one(rng, ("forget", 1, None, "cell\0", ("cell",), "hidden_gate"))
        kind = wrong if self.chance(self.hostility) else kind
        ways = (
            lambda: setattr(net, "parameters", everything),
            lambda: setattr(net, "weights", {kind: values}),
            lambda: net.weights.__setitem__(kind, values),
            lambda: net.weights.update({kind: values}),
            lambda: net.weights.__ior__({kind: values}),
            lambda: net.weights.update({next(iter(t.units)): 0.1, kind: values}),
            lambda: setattr(net, "weights", self.anything()),
            lambda: one(rng, ("pop", "clear", "popitem")) and net.weights.clear(),
            lambda: setattr(net, "weights", self.net.weights),
        )
        refused = (TypeError, ValueError, KeyError)
        self.attempt("set_weights", one(rng, ways), "weights", may=(), refused=refused)

    def spoil(self):
        """Write NaN, infinity or a huge number into a view of weights: calls may only raise documented exceptions."""
        net, rng, before = self.net, self.rng, self.net.parameters
        if not len(before):
            return
        view = one(rng, [view for view in net.weights.values() if view.size])
        view.reshape(-1)[rng.integers(view.size)] = one(rng, (np.nan, np.inf, -np.inf, np.finfo(net.dtype).max))
        finite = np.isfinite(view).all()
        n, n_outputs = 3, self.topology.n_outputs
        X, targets, rate = np.clip(self.inputs(n), *limits(net.dtype)), np.full((n, n_outputs), 0.5), 0.1
        update = "step" if net.readout else one(rng, ("step", "sequence"))
        ways = (
            *(lambda: net.learn(X[0], targets[0], rate), lambda: net.step(X[0]), lambda: net.peek(X[0])),
            *(lambda: net.learn_run(X, targets, rate), lambda: net.run(X), lambda: lstm97.predict(net, [X])),
            *(lambda: pickle.dumps(net), lambda: copy.copy(net), lambda: net.save(self.folder / "spoiled")),
            *(lambda: lstm97.train(net, [X], [targets], rate, update=update),),
            *(lambda: net.with_block(), lambda: lstm97.export_c(net, self.folder / "spoiled.c")),
            *(lambda: net.correct(np.full(n_outputs, 0.5), rate),),
        )
        self.tally.add("spoil")
        self.said.append("spoil")
        for i in rng.integers(len(ways), size=3):
            try:
                with np.errstate(**self.errstate):
                    ways[i]()
            except (FloatingPointError, RuntimeError) as error:
                self.check(not is_numpys(error), f"way {i} depends on NumPy's settings", error)
            except ValueError as error:
                self.check(not finite, f"way {i} refuses finite weights", error)
        net.parameters = before
        net.reset()

    # ---- sequences ----

    def data(self):
        """Inputs and targets of a few sequences, in one of the many ways there are."""
        rng, t = self.rng, self.topology
        n = int(one(rng, (0, 1, 2, 3, 5, 9)))
        is_even = self.chance(0.4)
        lengths = np.full(n, rng.integers(1, 7)) if is_even else rng.integers(0 if self.chance(0.3) else 1, 9, size=n)
        symbols, classes = self.chance(0.3) and t.n_inputs > 1, self.chance(0.3) and t.n_outputs > 1
        inputs = [self.inputs(length, symbols) for length in lengths]
        if self.chance(0.5):  # one target for each sequence
            targets = self.targets(n, classes, 0.8)
            targets[lengths == 0] = -1 if classes else np.nan
        else:
            targets = [self.targets(length, classes, 0.4) for length in lengths]
            targets = self.packed(targets, is_even, classes)
        inputs = self.packed(inputs, is_even, symbols)
        if isinstance(inputs, np.ndarray) or self.chance(self.hostility):
            inputs = self.given(inputs if isinstance(inputs, np.ndarray) else self.inputs(3))
        if isinstance(targets, np.ndarray) or self.chance(self.hostility):
            targets = self.given(targets if isinstance(targets, np.ndarray) else self.targets(3))
        return inputs, targets

    def packed(self, sequences, is_even, integers):
        """Sequences as a list, a tuple, an array, packed."""
        if len(sequences) and (integers or self.chance(0.4)):
            return Sequences.pack(sequences)
        if is_even and len(sequences) and self.chance(0.5):
            return np.array(sequences)
        if sequences and self.chance(self.hostility):
            sequences[int(self.rng.integers(len(sequences)))] = self.given(sequences[0])
        return tuple(sequences) if self.chance(0.2) else sequences

    def options(self):
        """Options of `train`, most of them as they should be."""
        rng = self.rng
        options = {"epochs": int(one(rng, (0, 1, 1, 2, 3))), "learning_rate": self.rate}
        if self.chance(0.5):
            options |= {"update": "sequence", "batch_size": int(one(rng, (1, 2, 5, 16, 2**40)))}
        elif self.chance(0.2):
            options["parallel"] = "hogwild"
        if self.chance(0.5):
            options["threads"] = int(one(rng, (1, 2, 3, 50)))
        if self.chance(0.4):
            order = one(rng, (np.random.default_rng(5), np.random.Generator(np.random.MT19937(3)), [], [0, 0], None))
            options["order"] = order
        if self.chance(0.4):
            options["stop"] = Stop(int(one(rng, (1, 3, 10))), one(rng, (0, 0.1, 9.0)), one(rng, (0.1, 9.0)))
        if self.chance(0.3):
            options["history"] = self.history
        if self.chance(0.2):
            options["sample_weight"] = self.rng.uniform(0, 2, int(self.rng.integers(1, 4)))
        if self.chance(self.hostility):
            name = one(rng, [*options, "threads", "order", "stop", "history", "callback", "checkpoint", "update"])
            if name == "epochs":  # only small numbers, or the training may never end
                options["epochs"] = one(rng, ("1", None, 1.0, -1, True, 2**0, np.int8(1), [1]))
            else:
                options[name] = self.anything()
                if name == "callback" and callable(options[name]):
                    del options[name]
        return options

    def callback(self, also):
        """A callback for `train`, and whether it may change anything."""
        net, rng = self.net, self.rng
        x = np.zeros(self.topology.n_inputs)

        def fail(history):
            raise EndedError

        def again(history):
            lstm97.train(net, [x[None]], [np.zeros((1, self.topology.n_outputs))], history=history)

        ways = (
            (lambda history: False, False),
            (lambda history: history.epochs > 1, False),
            (lambda history: history.stop(), False),
            (fail, False),
            (lambda history: net.learn(x, None), True),
            (lambda history: net.step(x, state=net.new_state()), True),
            (lambda history: pickle.loads(pickle.dumps((net, history))) and None, False),
            (lambda history: lstm97.predict(net, [x[None]]) and None, False),
            (lambda history: net.reset(), True),
            (again, True),
        )
        return one(rng, ways if also else ways[:3])

    def train(self):
        inputs, targets = self.data()
        options = self.options()
        generator = options.get("order")
        meddles = False
        if self.chance(0.3) and "callback" not in options:
            options["callback"], meddles = self.callback(True)
        many = self.chance(0.5)
        is_shared = options.get("parallel") == "hogwild"
        # Any number of threads gives the same bits, unless a callback changes things or data overlap the weights.
        twin = None
        if many and not is_shared and "callback" not in options and self.chance(0.5) and not self.are_weights_read:
            twin = copy.deepcopy((self.net, options))
        changes = (*LEARNS, "history", *([True] if meddles or is_shared else []))
        more = partial(str_of_generator, generator) if isinstance(generator, np.random.Generator) else None
        with threads_are_worth_it() if many else nullcontext():
            found = self.attempt_train(inputs, targets, options, changes, more, is_shared)
        if twin is not None and found is not None:
            other, options = twin
            options["threads"] = 1
            alone = lstm97.train(other, inputs, targets, **options)
            self.check(alone.errors.tobytes() == found.errors.tobytes(), "threads made other errors")
            self.check(other.parameters.tobytes() == self.net.parameters.tobytes(), "threads made other weights")
            self.check(bytes_of(other._memory()) == bytes_of(self.net._memory()), "threads made another memory")

    def attempt_train(self, inputs, targets, options, changes, more, is_shared):
        may = (FloatingPointError, EndedError, *([RuntimeError] if True in changes else []))

        def call():
            try:
                return lstm97.train(self.net, inputs, targets, **options)
            finally:
                if is_shared:  # after an overflow Hogwild's threads may leave weights that are not finite
                    self.mend()

        return self.attempt("train", call, *changes, may=may, more=more)

    def train_on(self):
        """A training that a callback interrupts and its checkpoint continues has the bits of an uninterrupted one."""
        n, length = int(self.rng.integers(1, 6)), int(self.rng.integers(1, 5))
        data = np.array([self.inputs(length) for _ in range(n)]), self.targets(n, share=0.8)
        options = {"epochs": 3, "learning_rate": self.rate, "stop": Stop(2, 9, 9) if self.chance(0.1) else None}
        options |= {"update": "sequence", "batch_size": 2} if self.chance(0.4) else {}
        kind = one(self.rng, (None, np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64))
        every, end = int(self.rng.integers(1, 5)), int(self.rng.integers(1, 4))
        unbroken = copy.deepcopy(self.net)
        path = self.folder / "checkpoint"
        path.unlink(missing_ok=True)

        def order():
            return kind and np.random.Generator(kind(4))

        def give_up(history):
            if history.epochs == end:
                raise EndedError

        def call():
            checkpoint = Checkpoint(path, sequences=every)
            the_order, begin = order(), standing(self.net)
            try:
                lstm97.train(self.net, *data, **options, order=the_order, checkpoint=checkpoint, callback=give_up)
            except EndedError:
                if self.chance(0.5):  # as if in a new process
                    the_order = order()
                    restore(self.net, begin)
            return lstm97.train(self.net, *data, **options, order=the_order, checkpoint=checkpoint)

        found = self.attempt("train_on", call, *LEARNS)
        if found is not None:
            expected = lstm97.train(unbroken, *data, **options, order=order())
            self.check(found.errors.tobytes() == expected.errors.tobytes(), "a checkpoint led to other errors")
            same = self.net.parameters.tobytes() == unbroken.parameters.tobytes()
            self.check(same, "a checkpoint led to other weights")
            self.check(bytes_of(self.net._memory()) == bytes_of(unbroken._memory()), "... to another memory")

    def train_many(self):
        inputs, targets = self.data()
        nets = [self.net, *(copy.deepcopy(self.net) for _ in range(2))]
        if self.chance(self.hostility):
            nets = one(self.rng, ([self.net, self.net], [], [self.net, None], 5, (each for each in nets)))
        options = self.options()
        for name in ("history", "callback", "checkpoint", "parallel", "sample_weight"):
            options.pop(name, None)
        if isinstance(options.get("order"), np.random.Generator):
            del options["order"]
        options["return_exceptions"] = self.chance(0.5)
        self.attempt("train_many", lambda: lstm97.train_many(nets, (inputs, targets), **options), *LEARNS)

    def predict(self):
        inputs, _ = self.data()
        out = None
        if isinstance(inputs, np.ndarray) and inputs.ndim > 1 and not self.is_huge:
            out = self.out((*inputs.shape[:2], self.topology.n_outputs), inputs)
        elif isinstance(inputs, Sequences):
            out = self.out((inputs.n_steps, self.topology.n_outputs), inputs.values)
        self.attempt("predict", lambda: lstm97.predict(self.net, inputs, out=out))

    def sequences(self):
        """Sequences made by hand."""
        values = self.given(self.inputs(6, self.chance(0.3)))
        offsets = self.given(
            np.array(one(self.rng, ([0, 6], [0, 2, 6], [0, 0, 6, 6], [0], [0, 7], [0, 5, 3, 6], [1, 6])))
        )
        made = self.attempt("sequences", lambda: Sequences(values, offsets), may=())
        if made is not None:
            call = one(self.rng, (lambda: made[-1], lambda: made[2**70], lambda: made.place(3), lambda: list(made)))
            self.attempt("sequences", call, may=(IndexError,), refused=())
            self.attempt("predict", lambda: lstm97.predict(self.net, made))

    # ---- making things ----

    def make(self):
        """Call constructors with valid and with arbitrary arguments."""
        rng, t = self.rng, self.topology

        def mixed(**right):
            for name in right:
                if self.chance(0.3):
                    right[name] = self.anything()
            return right

        large = (2**31 - 1, 2**31, 2**40, 2**62)
        self.is_huge = True
        ways = (
            lambda: Topology(**mixed(n_inputs=2, n_outputs=1, blocks=(1, 2), n_hidden=0, bias="all", recurrent=True)),
            lambda: Topology(
                one(rng, large), one(rng, (1, *large)), blocks=one(rng, ((), (1,), (2**40,), (2**62,) * 2))
            ),
            lambda: Network(Topology(one(rng, large), 1)),
            lambda: Network(Topology(2, 1, recurrent="self")),
            lambda: methods.ElementwiseLSTM(Topology(2, 1, recurrent=one(rng, (True, "self", "all")))),
            lambda: Network(
                t, **mixed(dtype="float32", seed=1, init_range=0.1, input_gate_bias=-1.0, output_gate_bias=0)
            ),
            lambda: Network(t, self.dtype, forget_gate_bias=self.given(np.ones(t.n_blocks))),
            lambda: Network(t, **mixed(**random_learning(rng, t))),
            lambda: SGD(**mixed(momentum=0.5, bound=1)),
            lambda: RMSprop(**mixed(decay=0.5, epsilon=1e-3, bound=1)),
            lambda: Adam(**mixed(beta1=0.5, beta2=0.9, epsilon=1e-3, bound=1)),
            lambda: RLS(**mixed(forgetting=0.9, prior=2)),
            lambda: Scaling(**mixed(inputs=True, targets=False, decay=0.5)),
            lambda: Stop(**mixed(window=3, tolerance=0.1, mean_error=0.1, max_wrong=0)),
            lambda: Checkpoint(**mixed(path="x", sequences=1, seconds=1.0)),
            lambda: self.net.with_block(
                **mixed(size=1, seed=1, init_range=0.1, outgoing_range=0.1, input_gate_bias=0.1)
            ),
            lambda: t.has_bias(self.anything()),
        )
        self.attempt("make", one(rng, ways), may=())

    def grow(self):
        """Continue with a network of one block more, unless it has more than six."""
        if self.topology.n_blocks > 6:
            return
        grown = self.attempt("grow", lambda: self.net.with_block(int(self.rng.integers(1, 3)), seed=3), may=())
        if grown is not None:
            self.net, self.topology, self.others = grown, grown.topology, [grown.new_state()]

    def with_optimizer(self):
        """Continue with a network that learns by another optimizer."""
        optimizer = self.anything() if self.chance(self.hostility) else one(self.rng, OPTIMIZERS)
        found = self.attempt("with_optimizer", lambda: self.net.with_optimizer(optimizer), may=())
        if found is not None:
            same = memory_of(found)["statistics"], found.parameters
            self.check(repr(same) == repr((memory_of(self.net)["statistics"], self.net.parameters)), "lost something")
            self.net, self.others = found, [found.new_state()]

    # ---- files ----

    def save(self):
        state, path = self.state()[0], self.folder / "saved"
        state = one(self.rng, (True, False, state))
        if self.chance(self.hostility):
            path = one(
                self.rng, ("", "\0", b"\xff" * 300, "/", "/dev/null", 5, None, self.folder, self.folder / "a" / "b")
            )
        net, learn = self.net, self.chance(0.5)
        name = one(self.rng, ("lstm97", "a_1", "", "1", "ä", "int", 5, None, "x" * 1000))
        ways = (
            lambda: net.save(path, state),
            lambda: lstm97.load(path),
            lambda: lstm97.export_c(
                net, path, learn=learn, dtype=one(self.rng, (None, "float32", "int", 5)), name=name
            ),
        )
        self.attempt("save", one(self.rng, ways), may=(), refused=(TypeError, ValueError, OSError))

    def twins(self, state, n_ways):
        """The network and one of its states, by way of a file and copied in others of the `WAYS`."""
        net = self.net
        net.save(self.folder / "net", state)
        loaded = lstm97.load(self.folder / "net")
        yield "file", loaded, loaded.state
        for way in self.rng.permutation(WAYS[1:])[: n_ways - 1]:
            match way:
                case "pickle":
                    twin, other = pickle.loads(pickle.dumps((net, state), int(self.rng.integers(2, 6))))
                case "deepcopy":
                    twin, other = copy.deepcopy((net, state))
                case "copy":
                    twin = copy.copy(net if state is net.state else loaded)
                    other = twin.state
                case "state copy":
                    twin, other = net, copy.copy(state)
                case "assigned":
                    twin, other = net, net.new_state()
                    if self.chance(0.5):  # with a history of its own before the assignment
                        before = standing(net)  # scaling takes inputs in without a target, too
                        with suppress(FloatingPointError):
                            net.learn_run(np.clip(self.inputs(3), *limits(net.dtype)), None, state=other)
                        restore(net, before)
                    other.assign(state)
            yield str(way), twin, other

    def round_trips(self, n_ways=6):
        """Copy the network in `n_ways` ways, and check that the copies continue with the same bits."""
        self.said.append("round_trips")
        state = one(self.rng, [self.net.state, self.net.state, *self.others])
        before, print_before = standing(self.net), print_of(state)
        memory = bytes_of(self.net._memory())
        actions = [self.action() for _ in range(self.rng.integers(1, 4))]
        with np.errstate(**self.errstate):
            twins = list(self.twins(state, n_ways))
            for way, net, other in twins:
                self.check(net.parameters.tobytes() == before[0].tobytes(), f"{way} made other weights")
                self.check(bytes_of(net._memory()) == memory, f"{way} made another memory")
                self.check(print_of(other) == print_before, f"{way} made another state")
            expected = go_on(self.net, state, actions)
            after = standing(self.net)
            for way, net, other in twins:
                restore(net, before)  # some twins share this network, whose weights have changed
                self.check(go_on(net, other, actions) == expected, f"{way} continues with other bits")
                self.tally.add(way)
        restore(self.net, after)
        self.check(np.isfinite(after[0]).all(), "weights are not finite")

    def action(self):
        """A call that learns or steps, with valid arguments."""
        x, symbol = self.inputs(1)[0], int(self.rng.integers(self.topology.n_inputs))
        x = symbol if self.topology.n_inputs > 1 and self.chance(0.3) else np.clip(x, *limits(self.net.dtype))
        target = self.targets(1, share=1, partly=False)[0]
        rate = self.rate if np.isfinite(self.net.dtype.type(self.rate)) and self.net.dtype.type(self.rate) > 0 else 0.1
        target = np.clip(target, *limits(self.net.dtype))
        return one(self.rng, ("learn", "learn", "wait", "wait", "correct", "step")), x, target, rate

    # ---- other learners ----

    def learner(self):
        """Make a few calls on a learner of another method; a twin gets only those that are not refused."""
        name = one(self.rng, [*LEARNERS, "rcc"])
        make = LEARNERS.get(name, lambda: methods.RCC(3, 3, max_units=2, output_epochs=2, candidate_epochs=2))
        net, twin = make(), make()
        topology, self.topology = self.topology, net.topology  # data are drawn for this topology
        try:
            for _ in range(6):
                call, outcome = self.call_of_learner(len(net.parameters)), {}

                def keep(call=call, outcome=outcome):
                    try:
                        outcome["result"] = call(net)
                    except FloatingPointError:
                        outcome["overflow"] = True
                        raise

                may = (FloatingPointError, *([NotImplementedError] if name == "rcc" else []))
                self.attempt("learner", keep, may=may, more=lambda: net.parameters.tobytes())
                if "overflow" in outcome:
                    break
                if "result" in outcome:
                    found, expected = outcome["result"], call(twin)
                    same = found is None or found.tobytes() == expected.tobytes()
                    self.check(same, "a refused call has changed later results")
                    self.same_learner(net, twin)
        finally:
            self.topology = topology
            self.forget()

    def call_of_learner(self, n_weights):
        """A random call, as a function of the learner; equal learners give equal results."""
        rng, n = self.rng, int(self.rng.integers(0, 6))
        X, T = self.given(self.inputs(n, self.chance(0.3))), self.given(self.targets(n, self.chance(0.3)))
        x, target, rate, data = self.x(), self.target(), self.number(self.rate), self.data()
        values, seed = self.given(rng.uniform(-1, 1, n_weights)), one(rng, (None, 3))
        callback = one(rng, (None, lambda history: True))
        path, copied = self.folder / "learner", one(rng, (copy.copy, copy.deepcopy, by_pickle))
        ways = (
            lambda net: net.learn(x, target, rate),
            lambda net: net.learn_run(X, T, rate),
            lambda net: net.step(x),
            lambda net: net.run(X),
            lambda net: net.reset(),
            lambda net: net.train(*data, rate, order=seed and np.random.default_rng(seed), callback=callback).errors,
            lambda net: np.concatenate(net.predict(data[0]) or [np.zeros((0, net.topology.n_outputs))]),
            lambda net: setattr(net, "parameters", values),
            lambda net: (net.save(path), self.same_learner(net, methods.load(path)))[0],
            lambda net: self.same_learner(net, copied(net)),
        )
        return one(rng, ways)

    def same_learner(self, net, other):
        self.check(net.parameters.tobytes() == other.parameters.tobytes(), "a learner's copy has other weights")


class EndedError(Exception):
    """Raised by a callback to end a training."""


LEARNS = ("weights", "memory", "statistics")
"""What calls change that learn."""

RAISED = (HostileError, EndedError, FloatingPointError, MemoryError, NotImplementedError, RuntimeError, KeyError)
EXCEPTIONS = {kind.__name__: kind for kind in (*RAISED, IndexError, OSError, TypeError, ValueError, Exception)}
CALLS = {
    Program.learn: 10,
    Program.learn_run: 5,
    Program.correct: 4,
    Program.step: 4,
    Program.peek: 3,
    Program.run: 3,
    Program.reset: 1,
    Program.change_states: 3,
    Program.many_streams: 6,
    Program.look: 2,
    Program.set_weights: 3,
    Program.spoil: 1,
    Program.train: 6,
    Program.train_on: 1,
    Program.train_many: 1,
    Program.predict: 3,
    Program.sequences: 2,
    Program.make: 2,
    Program.grow: 1,
    Program.with_optimizer: 1,
    Program.save: 2,
    Program.round_trips: 3,
    Program.learner: 1,
}
CHOICES = [call for call, share in CALLS.items() for _ in range(share)]
REACHING = [Program.learn, Program.learn, Program.learn_run, Program.correct, Program.step, Program.change_states]
NAMES = [call.__name__ for call in CALLS if call not in (Program.round_trips, Program.change_states)] + ["assign"]


def limits(dtype):
    return np.finfo(dtype).min, np.finfo(dtype).max


def by_pickle(thing):
    return pickle.loads(pickle.dumps(thing))


@contextmanager
def threads_are_worth_it():
    """Let three threads be used, even for little work."""
    with mock.patch.object(_run, "WORTH_THREADS", -1), mock.patch.object(options, "available_cpus", return_value=3):
        yield


def go_on(net, state, actions):
    """The results of some calls: outputs or errors, weights, the state."""
    found = []
    for what, x, target, rate in actions:
        try:
            if what == "step":
                found.append(net.step(x, state=state).tobytes())
            elif what == "correct":
                found.append(net.correct(target, rate, state=state))
            else:
                found.append(net.learn(x, target if what == "learn" else None, rate, state=state).tobytes())
        except (FloatingPointError, RuntimeError) as error:
            found.append(str(error))
    return found, net.parameters.tobytes(), bytes_of(net._memory()), print_of(state)


# ---- the run ----


def main():
    parser = fuzzing.command_line(__doc__, "programs", 1000)
    parser.add_argument("--round-trips", type=int, metavar="N", help="test copies, until there were N of them")
    parser.add_argument(
        "--ways",
        type=int,
        default=len(WAYS),
        metavar="N",
        help="with --round-trips, copy each state in N ways; a file is one",
    )
    options = parser.parse_args()
    if options.round_trips:
        options.n = options.round_trips  # an upper bound of programs: each makes many round trips
    tally = fuzzing.Tally([*NAMES, *EXCEPTIONS, *WAYS], options.jobs)

    def make_work(folder):
        warnings.filterwarnings("ignore", "targets from|no target|.* cells are saturated", UserWarning)

        def work(index):
            rng = np.random.default_rng([options.seed, index])
            with np.errstate(all="ignore"):
                if options.round_trips:
                    program = Program(rng, folder, tally, 0, large=False)
                    for _ in range(30):
                        one(rng, REACHING)(program)
                        program.round_trips(options.ways)
                else:
                    program = Program(rng, folder, tally, one(rng, (0, 0.05, 0.2, 0.5)))
                    try:
                        for _ in range(rng.integers(10, 60)):
                            one(rng, CHOICES)(program)
                    except Exception as error:
                        error.found = {"calls": program.said[-20:]}
                        raise

        return work

    def is_complete():
        return options.round_trips and sum(tally.counts(WAYS).values()) >= options.round_trips

    def describe():
        return {
            "calls": tally.counts(NAMES),
            "exceptions": tally.counts(EXCEPTIONS),
            "round trips": {"in all": sum(tally.counts(WAYS).values()), **tally.counts(WAYS)},
        }

    fuzzing.main(options, "programs", tally, make_work, describe, is_complete)


if __name__ == "__main__":
    main()
