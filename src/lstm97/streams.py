"""Many streams over one network, a step of all of them in one call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from operator import index
from os import PathLike
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm97._checks import integer
from lstm97._files import decode, write_whole
from lstm97._format import PHASES, STREAMS, as_text, check_streams, read
from lstm97._kernel.many_streams import StreamsEngine
from lstm97.network import Network, State, network_of, network_to_bytes, state_of
from lstm97.sequences import as_numbers, as_stream, as_stream_targets, as_weights, checked_out, copied_if_shared

Array = NDArray[Any]


class Streams:
    """Many streams over one network, which go on side by side: sensors, users, machines, games.

    A call makes one step of all of them, or of those that a mask names, in about the time that the processor needs for
    the arithmetic: small networks step a thousand streams in the time of ten calls for single ones. Each stream has
    what a `State` has, zero at first; the weights are the network's.

    Parameters
    ----------
    network : Network
    n : int
        How many streams, at least 1.

    Attributes
    ----------
    network : Network

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    `step` gives each stream what the network's `step` gives, within rounding. `learn` computes all outputs and error
    signals by the same weights and then changes them once, by the sum over the streams of what each would change, as
    `train` does with the sequences of a batch; with 1,000 streams the learning rate may have to be smaller than with
    one. (A readout by `RLS` then takes the error signals as if they came one after the other, each by the output
    weights that those before it have left.) Partials take memory in every stream, from the first `learn` on: as many
    numbers as the weights of cells, input gates and forget gates.

    One thread uses a Streams at a time, but several threads may each step Streams of their own over one network.

    Examples
    --------
    >>> from lstm97 import Topology
    >>> net = Network(Topology(n_inputs=2, n_outputs=1, blocks=(2,), forget_gates=True, output="identity"))
    >>> streams = Streams(net, 100)
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> before = streams.learn(X, X[:, :1], learning_rate=0.001)
    >>> streams.reset()
    >>> after = streams.step(X)
    >>> bool(((after - X[:, :1]) ** 2).mean() < ((before - X[:, :1]) ** 2).mean())
    True
    """

    def __init__(self, network: Network, n: int) -> None:
        if not isinstance(network, Network):
            raise TypeError(f"network must be a Network, got {type(network).__name__}")
        self.network = network
        self._n = integer("n", n, at_least=1)
        self._layout = network._layout
        memory = self._layout.streams_memory(self._n)
        self._arrays = {name: array[0] for name, array in memory.views.items()}
        self._engine = StreamsEngine(network._engine, self._n, memory)
        self._ds_dw: Array | None = None  # made when the streams begin to learn

    def __repr__(self) -> str:
        return f"<Streams: {self._n} over {self.network!r}>"

    def __len__(self) -> int:
        """How many streams there are."""
        return self._n

    # ---- steps ----

    def step(self, X: ArrayLike, *, mask: ArrayLike | None = None, out: Array | None = None) -> Array:
        """One step of inference of all streams.

        Parameters
        ----------
        X : array_like, shape (n, n_inputs), or integers of shape (n,)
            A row of inputs, or a symbol, for each stream.
        mask : array_like of bool, shape (n,), optional
            False for streams without an observation: they stay as they are, and their rows of X are not looked at.
        out : ndarray, shape (n, n_outputs), optional
            Where to write the outputs; may be over the inputs.

        Returns
        -------
        ndarray, shape (n, n_outputs)
            The outputs, NaN for streams that the mask leaves out.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above; nothing has changed then.
        FloatingPointError
            If a cell state or output overflows, naming the first such stream; the streams before it, and perhaps
            others, have made the step.
        RuntimeError
            If another thread uses these streams.
        """
        return self._infer(X, mask, out, keeps=True)

    def peek(self, X: ArrayLike, *, mask: ArrayLike | None = None, out: Array | None = None) -> Array:
        """The outputs that `step` would give, while all streams stay where they are.

        Parameters
        ----------
        X, mask, out
            As for `step`.

        Returns
        -------
        ndarray, shape (n, n_outputs)
            The outputs, NaN for streams that the mask leaves out.

        Raises
        ------
        TypeError, ValueError, FloatingPointError, RuntimeError
            As for `step`.
        """
        return self._infer(X, mask, out, keeps=False)

    def _infer(self, X: ArrayLike, mask: ArrayLike | None, out: Array | None, *, keeps: bool) -> Array:
        chosen = self._mask(mask)
        inputs = self._inputs(X, chosen)
        Y = self._output(out)
        if out is not None:
            inputs = copied_if_shared(inputs, Y)
        self._engine.step(inputs, chosen, Y, keeps)
        return Y

    def learn(
        self,
        X: ArrayLike,
        targets: ArrayLike | None,
        learning_rate: float | None = None,
        *,
        weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        out: Array | None = None,
    ) -> Array:
        """One learning step of all streams, and one change of the weights by the sum of what each would change.

        Parameters
        ----------
        X, mask, out
            As for `step`; the rows of `targets` and `weight` that the mask leaves out are not looked at either.
        targets : array_like, shape (n, n_outputs), or integers of shape (n,), or None
            Targets, or class numbers (if there is more than one output; else floats of shape (n,) are values). Rows
            of NaN or of masked values, and class -1, mean that a stream has no error signal.
        learning_rate : float, optional
            By default the network's.
        weight : float or array_like of shape (n,), optional
            Of the error signals, as for `Network.learn`.

        Returns
        -------
        ndarray, shape (n, n_outputs)
            The outputs by the weights before their change, NaN for streams that the mask leaves out.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above. Nothing has changed then.
        FloatingPointError
            If a cell state, an output or a change of a weight overflows. No weight has changed then; some streams may
            have made the step, and statistics of `Scaling` have its data. Only where the least squares of a readout
            blow up, the other weights have changed, and the readout has taken the error signals of the streams before.
        RuntimeError
            If another thread uses these streams, or learns by the same network.

        Warns
        -----
        UserWarning
            As `Network.learn`, of targets out of reach.
        """
        chosen = self._mask(mask)
        inputs = self._inputs(X, chosen)
        packed = self._targets(targets, chosen)
        if packed is not None and packed.ndim == 2:
            self.network._advice.look_at_targets(packed)
        weights = None
        if weight is not None:
            given = as_numbers("weight", weight)
            if given.ndim == 0:
                given = np.full(self._n, given)
            weights = as_weights("weight", _zeroed(given, chosen, "weight"), self._n, self.network.dtype)
        Y = self._output(out)
        if out is not None:
            inputs = copied_if_shared(inputs, Y)
            packed = None if packed is None else copied_if_shared(packed, Y)
            weights = None if weights is None else copied_if_shared(weights, Y)
        self.network._engine.check_rate(learning_rate)
        self._partials()
        self._engine.learn(inputs, packed, learning_rate, weights, chosen, Y)
        return Y

    def reset(self, mask: ArrayLike | None = None) -> None:
        """Set streams to zero: activations, cell states and partials.

        Parameters
        ----------
        mask : array_like of bool, shape (n,), optional
            Which; by default all.

        Raises
        ------
        TypeError, ValueError
            If the mask is not as above.
        RuntimeError
            If another thread uses these streams.
        """
        self._engine.reset(self._mask(mask))

    # ---- arguments ----

    def _mask(self, mask: ArrayLike | None) -> NDArray[np.bool_] | None:
        """A mask as the loops need it: contiguous, true as 1."""
        if mask is None:
            return None
        array = as_numbers("mask", mask)
        if array.dtype.kind != "b":
            raise TypeError(f"mask has dtype {array.dtype}, expected bool: one for each stream")
        if array.shape != (self._n,):
            raise ValueError(f"mask has shape {array.shape}, expected ({self._n},), one for each stream")
        bools: NDArray[np.bool_] = np.ascontiguousarray(array).view(np.uint8) != 0
        return bools

    def _inputs(self, X: ArrayLike, mask: NDArray[np.bool_] | None) -> Array:
        if mask is None and self.network._engine.fits(X, (self._n, self.network.topology.n_inputs)):
            return cast(Array, X)
        inputs = as_stream("X", _zeroed(X, mask, "X"), self._layout)
        if len(inputs) != self._n:
            raise ValueError(f"X has {len(inputs)} rows, expected {self._n}, one for each stream")
        return inputs

    def _targets(self, targets: ArrayLike | None, mask: NDArray[np.bool_] | None) -> Array | None:
        if mask is None and self.network._engine.fits(targets, (self._n, self.network.topology.n_outputs)):
            return cast(Array, targets)
        return as_stream_targets(_zeroed(targets, mask, "targets"), self._n, self._layout)

    def _output(self, out: Array | None) -> Array:
        shape = self._n, self.network.topology.n_outputs
        if out is None:
            return np.empty(shape, self.network.dtype)
        return checked_out(out, shape, self.network.dtype)

    def _partials(self) -> Array:
        """The memory of the partials, made when it is first needed."""
        if self._ds_dw is None:
            ds_dw = self._layout.streams_partials(self._n)
            with self._engine:  # another thread may be about to learn, with memory that it has bound meanwhile
                if self._ds_dw is None:
                    self._engine.bind_partials(ds_dw)
                    self._ds_dw = ds_dw
        return self._ds_dw

    # ---- single streams ----

    def __getitem__(self, i: int) -> State:
        """One stream as a `State` of the network: a copy, which goes on by itself.

        Its last step can't be corrected (`Network.correct`) any more.
        """
        group, lane = self._place(i)
        with self._engine:
            arrays = self._arrays
            phase = int(arrays["phase"][self._index(i)])
            partials = np.zeros((self._layout.sizes["n_sources"], len(arrays["coef"])), self.network.dtype)
            if self._ds_dw is not None:
                partials[...] = self._ds_dw[group, ..., lane]
            parts = {
                "activations": arrays["act"][group, :, lane],
                "cell_output": arrays["y_c"][group, :, lane],
                "cell_state": arrays["s_c"][group, :, lane],
                "partials": partials,
            }
            parts = {name: np.array(array, order="C") for name, array in parts.items()}
            seen = np.flatnonzero(arrays["seen_by"][group, :, lane])
        return state_of(self.network, PHASES[phase], parts, seen.astype(np.int32))

    def assign(self, i: int, state: State) -> None:
        """Let stream i go on from where a state of the same network is; the state stays as it is.

        Parameters
        ----------
        i : int
        state : State
            Of the same network.

        Raises
        ------
        TypeError, ValueError, IndexError
            If `state` is no state, or one of another network, or there is no stream i.
        RuntimeError
            If another thread uses the streams or the state.
        """
        group, lane = self._place(i)
        if not isinstance(state, State):
            raise TypeError(f"state must be a State, got {type(state).__name__}")
        if state._network_arrays is not self.network._arrays:
            raise ValueError("state is a state of another network, whose weights it goes with")
        numbers, parts = state._parts()
        settled = state._settled()[:, : len(self._arrays["coef"])]
        learns = numbers["phase"] != PHASES[0]
        ds_dw = self._partials() if learns else self._ds_dw
        with self._engine:
            arrays = self._arrays
            arrays["act"][group, :, lane] = parts["activations"]
            arrays["y_c"][group, :, lane] = parts["cell_output"]
            arrays["s_c"][group, :, lane] = parts["cell_state"]
            arrays["phase"][self._index(i)] = PHASES.index("corrected") if learns else 0
            if ds_dw is not None:
                ds_dw[group, ..., lane] = settled
            if learns:
                arrays["has_partials"][group] = 1
            arrays["seen_by"][group, :, lane] = 0
            arrays["seen_by"][group, parts["inputs_seen"] if learns else [], lane] = 1
            self._list(arrays, group)

    def _list(self, arrays: Mapping[str, Array], group: int) -> None:
        """List the inputs that a group has seen, after `seen_by` was written."""
        n_seen = np.count_nonzero(arrays["seen_by"][group], axis=-1)
        rows = np.flatnonzero(n_seen)
        arrays["n_seen"][group] = n_seen
        arrays["rows"][group, : len(rows)] = rows
        arrays["n_rows"][group] = len(rows)

    def _index(self, i: int) -> int:
        """Which stream i is, counted from the end if it is negative."""
        try:
            n = index(i)
        except TypeError as error:
            raise TypeError(f"streams are numbered by integers, got {i!r}") from error
        if not -self._n <= n < self._n:
            raise IndexError(f"there is no stream {n}: there are {self._n}")
        return n % self._n

    def _place(self, i: int) -> tuple[int, int]:
        """The group and the lane of stream i."""
        group, lane = divmod(self._index(i), self._layout.streams_width(self._n))
        return group, lane

    # ---- copies and files ----

    def __copy__(self) -> Streams:
        """As many streams over the same network, at the same places."""
        return _streams_of(self.network, self._n, *self._parts())

    def __reduce__(self) -> tuple[Any, ...]:
        """With their network."""
        return _streams_of, (self.network, self._n, *self._parts())

    def _parts(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """What a file has of the streams: numbers, and arrays with a row for each stream."""
        with self._engine:
            arrays = self._arrays
            parts = {
                "activations": self._by_stream(arrays["act"]),
                "cell_output": self._by_stream(arrays["y_c"]),
                "cell_state": self._by_stream(arrays["s_c"]),
                "phases": arrays["phase"].copy(),
                "inputs_seen": self._by_stream(arrays["seen_by"]),
            }
            if self._ds_dw is not None:
                parts["partials"] = self._by_stream(self._ds_dw)
        return {"n": self._n, "has_partials": "partials" in parts}, parts

    def _by_stream(self, array: Array) -> Array:
        """An array (groups, ..., lanes) as one with a row for each stream; a copy."""
        lanes_first = np.moveaxis(array, -1, 1)
        n_groups, width, *shape = lanes_first.shape
        return np.array(lanes_first.reshape(n_groups * width, *shape)[: self._n], order="C")

    def _put(self, array: Array, rows: Array) -> None:
        """Write what `_by_stream` gave."""
        lanes_first = np.moveaxis(array, -1, 1)
        for group, lanes in enumerate(lanes_first):
            mine = rows[group * len(lanes) : (group + 1) * len(lanes)]
            lanes[: len(mine)] = mine

    def _put_parts(self, numbers: dict[str, Any], parts: Mapping[str, Array]) -> None:
        """Set the streams to what `_parts` gave; ValueError if that can't be."""
        check_streams(self._layout, numbers, parts)
        arrays = self._arrays
        self._put(arrays["act"], parts["activations"])
        self._put(arrays["y_c"], parts["cell_output"])
        self._put(arrays["s_c"], parts["cell_state"])
        arrays["phase"][...] = parts["phases"]
        self._put(arrays["seen_by"], parts["inputs_seen"])
        for group in range(len(arrays["rows"])):
            self._list(arrays, group)
        if "partials" in parts:
            self._put(self._partials(), parts["partials"])
            arrays["has_partials"][...] = 1

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network and all streams to a safetensors file, which `Streams.load` reads.

        `lstm97.load` reads the network alone from it. The streams are read first, then the weights: save while no other
        thread learns by the network. Whatever happens meanwhile, the path has the old file or the new
        one, whole.

        Parameters
        ----------
        path : str or path
            Of the file; one that exists is replaced.

        Raises
        ------
        TypeError, ValueError, OSError, RuntimeError
            As for `Network.save`.
        """
        with self.network._engine.hold(weights=True, state=False):
            numbers, parts = self._parts()
        more = {STREAMS + name: array for name, array in parts.items()}
        write_whole(path, network_to_bytes(self.network, False, more, streams=as_text(numbers)))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Streams:
        """Read streams, with their network, from a file written by `save`; they go on to the same bits.

        Parameters
        ----------
        path : str or path
            Of the file.

        Returns
        -------
        Streams
            Its network is in `network`.

        Raises
        ------
        OSError, TypeError, ValueError
            As for `lstm97.load`, and if the file has no streams.
        """
        what = os.fsdecode(path)
        contents = read(path)
        if "streams" not in contents.metadata:
            raise ValueError(f"{what} has no streams; lstm97.load reads its network")
        numbers = decode(contents.metadata["streams"])
        network = network_of(contents, what)
        try:
            return _streams_of(network, numbers["n"], numbers, contents.group(STREAMS))
        except ValueError as error:
            raise ValueError(f"{what} is damaged: {error}") from error


def _zeroed(values: Any, mask: NDArray[np.bool_] | None, name: str) -> Any:
    """The values with 0 in the rows that a mask leaves out, as those are not looked at."""
    if mask is None or values is None:
        return values
    array = as_numbers(name, values, classes=1 if name == "targets" else None)
    if array.ndim == 0 or len(array) != len(mask):
        return values  # refused later
    array = array.copy()
    array[~mask] = 0
    return array


def _streams_of(network: Network, n: int, numbers: dict[str, Any], parts: Mapping[str, Array]) -> Streams:
    """The streams that `_parts` has described."""
    streams = Streams(network, n)
    streams._put_parts(numbers, parts)
    return streams
