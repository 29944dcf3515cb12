"""The base class of all methods: calls like those of `lstm97.Network` and `lstm97.train`, on other nets."""

from __future__ import annotations

import io
import json
import math
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from time import perf_counter
from typing import Any, BinaryIO, ClassVar, Protocol, Self

import numpy as np
from numpy.random import BitGenerator, Generator, SeedSequence
from numpy.typing import ArrayLike, NDArray

from lstm97.extend import (
    CODES,
    Advice,
    Header,
    add_counts,
    begun,
    decode,
    is_asked_to_end,
    not_negative,
    open_regular,
    positive,
    read_arrays,
    read_header,
    to_bytes,
    write_whole,
)
from lstm97.history import History, Stop
from lstm97.network import Network
from lstm97.network import load as load_network
from lstm97.options import Data, Options
from lstm97.sequences import (
    Sequences,
    as_input,
    as_numbers,
    as_sequences,
    as_stream,
    as_stream_targets,
    as_target,
)

Array = NDArray[Any]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Seed = int | SeedSequence | BitGenerator | Generator | None

FORMAT = "1"


class Units(Protocol):
    """What every learner's topology has."""

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""

    @property
    def n_weights(self) -> int:
        """Number of weights, biases included."""


class Loops(Protocol):
    """A net, its states and how it learns, compiled; arguments are packed and checked."""

    @property
    def n_bytes(self) -> int:
        """Bytes of memory."""

    def reset(self) -> None:
        """Set the stream's state to zero."""

    def run(self, inputs: Array, Y: Floats) -> None:
        """Continue the stream."""

    def predict(self, inputs: Array, offsets: Integers, Y: Floats) -> None:
        """Run over sequences, each from a zero state."""

    def learn(self, inputs: Array, targets: Array | None, rate: float, Y: Floats) -> bool:
        """Continue the stream and learn; returns whether the weights are finite afterwards."""

    def train(
        self,
        inputs: Array,
        offsets: Integers,
        targets: Array,
        target_per_sequence: bool,
        order: Integers,
        rate: float,
        at_once: bool,
        history: History,
    ) -> None:
        """Train on sequences; the History is up to date however this ends."""


class Learner(ABC):
    """A net with a learning rule of its own: one stream, sequences, files."""

    method: ClassVar[str]
    """The name of the learning rule."""

    @property
    @abstractmethod
    def topology(self) -> Units:
        """The net's units and their connections."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64."""
        return np.dtype(np.float64)

    @property
    def takes_partial_targets(self) -> bool:
        """False: a step has targets for all outputs or for none."""
        return False

    def __init__(self, outputs: str) -> None:
        self._busy = threading.RLock()
        self._advice = Advice(outputs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.topology.n_weights} weights, {self.topology}>"

    # ---- weights ----

    @property
    @abstractmethod
    def weights(self) -> dict[str, Floats]:
        """The weights by layer, shape (units, sources) each: writable views, used from the next step on.

        Assigning to a layer writes into its view, as do ``update`` and ``|=``.
        """

    @property
    def parameters(self) -> Floats:
        """All weights as one array, a copy in the order of `weights`; assigning sets them."""
        return np.concatenate([weights.ravel() for weights in self.weights.values()])

    @parameters.setter
    def parameters(self, values: ArrayLike) -> None:
        array = as_numbers("parameters", values)
        with np.errstate(all="ignore"):
            array = array.astype(np.float64)
        n = sum(weights.size for weights in self.weights.values())
        if array.shape != (n,):
            raise ValueError(f"parameters has shape {array.shape}, expected ({n},)")
        if not np.isfinite(array).all():
            raise ValueError("parameters must be finite")
        begin = 0
        with self._in_use():
            for weights in self.weights.values():
                weights[...] = array[begin : begin + weights.size].reshape(weights.shape)
                begin += weights.size

    @property
    @abstractmethod
    def n_bytes(self) -> int:
        """Bytes of memory of weights, states, and everything else that learning needs."""

    # ---- streams ----

    def reset(self) -> None:
        """Set the stream's state to zero: activations, and what the learning rule carries forward.

        Raises
        ------
        RuntimeError
            If another thread uses this learner, as in all calls.
        """
        with self._in_use():
            self._reset()

    def step(self, x: ArrayLike) -> Floats:
        """One step of inference.

        Parameters
        ----------
        x : array_like, shape (n_inputs,), or int
            The inputs, or a symbol's number instead of its one-hot row.

        Returns
        -------
        ndarray, shape (n_outputs,)

        Raises
        ------
        TypeError, ValueError
            If `x` is not as above.
        FloatingPointError
            If an output is not finite.
        """
        y: Floats = self._outputs_of(_one(as_input(x, self)))[0]
        return y

    def run(self, X: ArrayLike) -> Floats:
        """Inference over many steps of a stream.

        Parameters
        ----------
        X : array_like, shape (n_steps, n_inputs), or integers of shape (n_steps,)
            The inputs, or symbols.

        Returns
        -------
        ndarray, shape (n_steps, n_outputs)

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As for `step`.
        """
        return self._outputs_of(as_stream("X", X, self))

    def learn(self, x: ArrayLike, target: ArrayLike | None, learning_rate: float = 0.1) -> Floats:
        """One step of a stream; then, if there is a target, the weights change.

        Parameters
        ----------
        x
            As for `step`.
        target : array_like, shape (n_outputs,), or int, or None
            What the outputs should be, or a class number; None, a row of NaN or class -1: no error signal.
        learning_rate : float, default 0.1

        Returns
        -------
        ndarray, shape (n_outputs,)
            The outputs by the weights before the change.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above.
        FloatingPointError
            If an output or a weight is not finite; the learner cannot be used any more.
        NotImplementedError
            If this method learns from whole training sets only.
        """
        checked = None if target is None else as_target(target, self)
        row = None if checked is None else _one(checked)
        if row is not None:
            self._advice.look_at_targets(row)
        y: Floats = self._learned(_one(as_input(x, self)), row, learning_rate)[0]
        return y

    def learn_run(self, X: ArrayLike, targets: ArrayLike | None, learning_rate: float = 0.1) -> Floats:
        """A chunk of a stream: as many `learn` calls in one.

        Parameters
        ----------
        X
            As for `run`.
        targets : array_like, shape (n_steps, n_outputs), or integers of shape (n_steps,), or None
            Targets or classes; rows of NaN and class -1 mean no error signal.
        learning_rate : float, default 0.1

        Returns
        -------
        ndarray, shape (n_steps, n_outputs)

        Raises
        ------
        TypeError, ValueError, FloatingPointError, NotImplementedError
            As for `learn`.
        """
        inputs = as_stream("X", X, self)
        packed = as_stream_targets(targets, len(inputs), self)
        if packed is not None:
            self._advice.look_at_targets(packed)
        return self._learned(inputs, packed, learning_rate)

    # ---- sequences ----

    def train(
        self,
        inputs: object,
        targets: object,
        learning_rate: float = 0.1,
        *,
        update: str | None = None,
        epochs: int = 1,
        order: ArrayLike | np.random.Generator | None = None,
        stop: Stop | None = None,
        callback: Callable[[History], object] | None = None,
        history: History | None = None,
    ) -> History:
        """Train on many sequences, each from a zero state of its own.

        Parameters
        ----------
        inputs, targets, epochs, order, stop, callback, history
            As for `lstm97.train`.
        learning_rate : float, default 0.1
        update : {"step", "sequence"}, optional
            When weights change: at each error signal (the default, unless a method cannot), or once per sequence, by
            the sum of its changes.

        Returns
        -------
        History

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above, or this method cannot do such updates.
        FloatingPointError
            If an output or a weight is not finite; the learner cannot be used any more.
        """
        update = self._checked_update(update)
        options = Options(learning_rate, epochs=epochs, stop=stop, threads=1, callback=callback, history=history)
        rate = options.constant_rate
        data = Data.checked(inputs, targets, order, self, self._advice)
        done = History() if history is None else history
        with self._in_use(), begun(done, stop):
            for _ in range(options.epochs):
                if is_asked_to_end(done):
                    break
                presentation = data.next_presentation()
                before, begin = done.sequences, perf_counter()
                try:
                    self._train(*data[:3], presentation, rate, update, done)
                finally:
                    add_counts(done, seconds=perf_counter() - begin)
                add_counts(done, epochs=done.sequences - before == len(presentation))
                if (callback is not None and callback(done)) or done.stopped:
                    break
        return done

    def predict(self, inputs: object) -> list[Floats]:
        """The outputs for many sequences, each from a zero state; the stream's state is left alone.

        Parameters
        ----------
        inputs
            As for `lstm97.train`.

        Returns
        -------
        list of ndarray, shape (n_steps_i, n_outputs)
            Views of one block of memory.

        Raises
        ------
        TypeError, ValueError
            If `inputs` is not as above.
        FloatingPointError
            If an output is not finite.
        """
        packed = as_sequences(inputs, self, may_be_none=True)
        Y = np.empty((packed.n_steps, self.topology.n_outputs))
        with self._in_use():
            self._predict(packed, Y)
        _finite(Y)
        return [Y[begin:end] for begin, end in zip(packed.offsets[:-1], packed.offsets[1:], strict=True)]

    # ---- files ----

    def save(self, path: str | PathLike[str]) -> None:
        """Write settings and weights to a safetensors file, which `lstm97.methods.load` reads. The state is not kept.

        What an optimizer remembers is, as it belongs to the weights.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        write_whole(path, self._to_bytes())

    def _to_bytes(self) -> bytes:
        """What `save` writes."""
        with self._in_use():
            arrays = {name: np.array(values, order="C") for name, values in self._tensors().items()}
        for name, values in arrays.items():
            if not np.isfinite(values).all():
                raise ValueError(f"{name} are not all finite, and no file with such weights could be loaded")
        metadata = {
            "format": f"lstm97.methods {FORMAT}",
            "method": self.method,
            "settings": json.dumps(self._settings(), sort_keys=True),
        }
        return to_bytes(arrays, metadata)

    def _tensors(self) -> dict[str, Floats]:
        """Everything that a file holds by its names there: views, to write from and to read into."""
        return {f"weights.{name}": values for name, values in self.weights.items()} | self._memory()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles go through the bytes that `save` writes, without the state."""
        return _from_bytes, (type(self), self._to_bytes())

    # ---- what each method implements ----

    def _memory(self) -> dict[str, Floats]:
        """What learning keeps beside the weights from update to update, by its names in files: views."""
        return {}

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """Plain values, from which `_from_settings` makes a learner with the same settings."""

    @classmethod
    @abstractmethod
    def _from_settings(cls, settings: dict[str, Any], n_numbers: int) -> Self:
        """A learner with these settings and `n_numbers` weights, whatever their values.

        Raises ValueError or TypeError if there is no such learner, before memory is allocated for its weights.
        """

    @abstractmethod
    def _reset(self) -> None:
        """Set the stream's state to zero."""

    @abstractmethod
    def _run(self, inputs: Array, Y: Floats) -> None:
        """Continue the stream over packed inputs, (n_steps, n_inputs) or int32 symbols, and write the outputs."""

    @abstractmethod
    def _learn(self, inputs: Array, targets: Array | None, learning_rate: float, Y: Floats) -> None:
        """As `_run`, learning from packed targets, (n_steps, n_outputs) or int32 classes."""

    @abstractmethod
    def _train(
        self,
        inputs: Sequences,
        targets: Array,
        target_per_sequence: bool,
        order: Integers,
        learning_rate: float,
        update: str,
        history: History,
    ) -> None:
        """Train on these sequences in this order, until the history's stop rule holds; update the history."""

    @abstractmethod
    def _predict(self, inputs: Sequences, Y: Floats) -> None:
        """Write the outputs for sequences, each from a zero state that is not the stream's."""

    def _checked_update(self, update: str | None) -> str:
        if update not in (None, "step", "sequence"):
            raise ValueError(f"update must be 'step' or 'sequence', got {update!r}")
        return update or "step"

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """A claim on this learner, for one thread at a time; that thread may call it again, as from a callback."""
        if not self._busy.acquire(blocking=False):
            raise RuntimeError("this learner is in use by another thread")
        try:
            yield
        finally:
            self._busy.release()

    def _outputs_of(self, inputs: Array) -> Floats:
        Y = np.empty((len(inputs), self.topology.n_outputs))
        with self._in_use():
            self._run(inputs, Y)
        return _finite(Y)

    def _learned(self, inputs: Array, targets: Array | None, learning_rate: float) -> Floats:
        learning_rate = positive("learning_rate", learning_rate)
        Y = np.empty((len(inputs), self.topology.n_outputs))
        with self._in_use():
            self._learn(inputs, targets, learning_rate, Y)
        return _finite(Y)


class CompiledLearner(Learner):
    """A learner that is one net of compiled loops."""

    def __init__(self, outputs: str, loops: Loops) -> None:
        super().__init__(outputs)
        self._compiled = loops

    @property
    def n_bytes(self) -> int:
        """Bytes of memory of weights and states."""
        return self._compiled.n_bytes

    def _reset(self) -> None:
        self._compiled.reset()

    def _run(self, inputs: Array, Y: Floats) -> None:
        self._compiled.run(inputs, Y)

    def _learn(self, inputs: Array, targets: Array | None, learning_rate: float, Y: Floats) -> None:
        if not self._compiled.learn(inputs, targets, learning_rate, Y):
            raise FloatingPointError("weights overflowed; try a smaller learning_rate")

    def _train(
        self,
        inputs: Sequences,
        targets: Array,
        target_per_sequence: bool,
        order: Integers,
        learning_rate: float,
        update: str,
        history: History,
    ) -> None:
        self._compiled.train(
            inputs.values,
            inputs.offsets,
            targets,
            target_per_sequence,
            order,
            learning_rate,
            update == "step",
            history,
        )

    def _predict(self, inputs: Sequences, Y: Floats) -> None:
        self._compiled.predict(inputs.values, inputs.offsets, Y)


def draw_weights(weights: dict[str, Floats], seed: Seed, init_range: float) -> None:
    """Draw initial weights, layer after layer in the order of the dict."""
    init_range = not_negative("init_range", init_range)
    if not init_range < 1e300:
        raise ValueError(f"init_range must be finite, got {init_range!r}")
    rng = np.random.default_rng(seed)
    for view in weights.values():
        view[...] = rng.uniform(-init_range, init_range, view.shape)


def read(path: str | PathLike[str], methods: Mapping[str, type[Learner]]) -> Learner | Network:
    """Read a learner of one of these methods, or a network, from a file; see `lstm97.methods.load`."""
    what = os.fsdecode(path)
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        header = read_header(file, size, what, size)
        if "lstm97_format" not in header.metadata:
            method = header.metadata.get("method", "")
            if method not in methods:
                names = ", ".join(methods)
                raise ValueError(
                    f"{what} is not a file of lstm97.methods: its method is {method!r}, not one of {names}"
                )
            return _learner(methods[method], file, size, header, what)
    return load_network(path)


def _from_bytes(kind: type[Learner], data: bytes) -> Learner:
    """The learner that `Learner._to_bytes` wrote."""
    file = io.BytesIO(data)
    return _learner(kind, file, len(data), read_header(file, len(data), "the data", len(data)), "the data")


def _learner(kind: type[Learner], file: BinaryIO, size: int, header: Header, what: str) -> Learner:
    """The learner in a file whose header has been read."""
    try:
        if header.metadata.get("format") != f"lstm97.methods {FORMAT}":
            raise ValueError(f"its format is {header.metadata.get('format')!r}, expected 'lstm97.methods {FORMAT}'")
        for name, (code, shape) in header.entries.items():
            if code != CODES["float64"] or not all(type(n) is int and n >= 0 for n in shape):
                raise ValueError(f"{name} is not of dtype float64 and a shape")
        n_numbers = sum(math.prod(shape) for _, shape in header.entries.values())
        if size - header.size != 8 * n_numbers:
            raise ValueError(f"it has {size - header.size} bytes of data, but its header describes {8 * n_numbers}")
        learner = kind._from_settings(decode(header.metadata["settings"]), n_numbers)
        views = learner._tensors()
        if header.entries.keys() != views.keys():
            raise ValueError(f"it has the tensors {', '.join(sorted(header.entries))}")
        for name, view in views.items():
            if header.entries[name].shape != view.shape:
                raise ValueError(f"{name} has not the shape {view.shape}")
        for name, values in read_arrays(file, header, what).items():
            if not np.isfinite(values).all():
                raise ValueError(f"{name} is not finite")
            if name.startswith(("memory.v", "memory.updates")) and (values < 0).any():
                raise ValueError(f"{name} has negative numbers")
            views[name][...] = values
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{what} is not a file of lstm97.methods: {error}") from error
    return learner


def check_size(n: int, n_numbers: int) -> None:
    """Refuse settings that need n weights if the file has another number of them."""
    if n != n_numbers:
        raise ValueError(f"it has {n_numbers} numbers, but its settings ask for {n}")


def _one(value: int | Array) -> Array:
    """One step as packed steps: a symbol or class as int32 (1,), a row as (1, n)."""
    return np.array([value], np.int32) if isinstance(value, int) else value[None]


def _finite(Y: Floats) -> Floats:
    if not np.isfinite(Y).all():
        raise FloatingPointError("output is not finite; try a smaller learning_rate")
    return Y
