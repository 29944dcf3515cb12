"""Arrays from users, checked and packed into the arrays that the loops take."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array = NDArray[Any]


class Ends(Protocol):
    """Numbers of inputs and outputs."""

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""


class Shaped(Protocol):
    """What arrays are checked against: a network's layout, or another object with these properties."""

    @property
    def topology(self) -> Ends:
        """Has the numbers of inputs and outputs."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that reals are cast to."""


class Learns(Shaped, Protocol):
    """What targets are checked against."""

    @property
    def takes_partial_targets(self) -> bool:
        """Whether some outputs may have a target at a step and others none."""


class Sequences:
    """Sequences of different lengths, one after the other in one array.

    Parameters
    ----------
    values : array_like, shape (n_steps, n_features) or (n_steps,)
        All steps of all sequences: real rows, or symbols (integers >= 0; as targets, class numbers with -1 for none).
        Integers are copied; float rows are not, if they are C-contiguous and aligned.
    offsets : array_like of int, shape (n_sequences + 1,)
        Sequence i is ``values[offsets[i]:offsets[i + 1]]``; the first offset is 0, the last ``n_steps``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not such an array.

    Examples
    --------
    >>> batch = Sequences.pack([[[0.1, 0.2]], [[0.3, 0.4], [0.5, 0.6]]])
    >>> len(batch), batch.n_steps, batch.lengths.tolist()
    (2, 3, [1, 2])
    >>> batch[1]
    array([[0.3, 0.4],
           [0.5, 0.6]])
    """

    def __init__(self, values: ArrayLike, offsets: ArrayLike) -> None:
        if hasattr(self, "_values"):
            raise TypeError("Sequences cannot be changed by calling __init__ again; create a new Sequences")
        array = as_numbers("values", values)
        if array.dtype.kind in "iu":
            array = _as_int32("values", array) if array.ndim == 1 else array.astype(np.float64)
        elif array.dtype.kind == "b":
            array = array.astype(np.float64)
        if array.ndim != (1 if array.dtype == np.int32 else 2):
            raise ValueError(
                f"values has shape {array.shape}, expected (n_steps, n_features), or (n_steps,) integers as symbols"
            )
        bounds = as_numbers("offsets", offsets)
        if bounds.dtype.kind not in "iu" or bounds.ndim != 1:
            raise ValueError(f"offsets must be a 1-D integer array, got {bounds.dtype} of shape {bounds.shape}")
        # The offsets are copied before they are checked: another thread cannot change the copy.
        bounds = np.array(bounds, np.int64)
        if not len(bounds) or bounds[0] != 0 or bounds[-1] != len(array) or (bounds[1:] < bounds[:-1]).any():
            raise ValueError(f"offsets must rise from 0 to the number of steps, {len(array)}")
        self._offsets: NDArray[np.int64] = frozen(bounds)
        self._values: Array = np.require(array, None, ["C", "A"])
        if array.dtype == np.int32:
            self._values = frozen(self._values)
        else:  # a read-only view: the user's own array stays writable
            self._values = self._values.view()
            self._values.flags.writeable = False

    @classmethod
    def _of_rows(cls, rows: Array, offsets: NDArray[np.int64]) -> Sequences:
        """Sequences that no user sees, of arrays that are as they must be; no one else may write to these two."""
        found = cls.__new__(cls)
        rows.setflags(write=False)
        offsets.setflags(write=False)
        found._offsets, found._values = offsets, rows
        return found

    @classmethod
    def _of_array(cls, array: Array) -> Sequences:
        """The same, of one length of at least one step, in a 3-D array."""
        n, n_steps, n_features = array.shape
        n_rows = n * n_steps
        return cls._of_rows(array.reshape(n_rows, n_features), np.arange(0, n_rows + 1, n_steps, dtype=np.int64))

    @property
    def values(self) -> Array:
        """All steps of all sequences, read-only: floats (n_steps, n_features), or int32 symbols (n_steps,)."""
        return self._values

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each sequence begins, and where the last one ends: int64, shape (n_sequences + 1,), read-only."""
        return self._offsets

    def __copy__(self) -> Sequences:
        return self  # immutable

    def __deepcopy__(self, memo: object) -> Sequences:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Sequences, (self.values, self.offsets)

    @classmethod
    def pack(cls, inputs: object, dtype: DTypeLike | None = None, *, name: str = "inputs") -> Sequences:
        """Pack sequences given in any of the usual forms.

        Parameters
        ----------
        inputs : Sequences, or 3-D array_like, or 2-D integer array_like, or list
            A Sequences is returned as it is. An array (a tensor, a frame) of shape (n_sequences, n_steps, n_features)
            holds sequences of one length; one of integers and shape (n_sequences, n_steps) sequences of symbols. A list
            has one array per sequence: (n_steps_i, n_features), or (n_steps_i,) integers.
        dtype : dtype, optional
            Float dtype to pack reals into; by default their own.
        name : str
            What error messages call the argument.
        """
        return cls._pack(inputs, dtype, name)

    @classmethod
    def _pack(
        cls,
        inputs: object,
        dtype: DTypeLike | None,
        name: str,
        *,
        may_be_none: bool = False,
        may_be_masked: bool = False,
    ) -> Sequences:
        """As `pack`; optionally, an array may hold no sequences, and masked values may mean that there is no target."""
        if isinstance(inputs, Sequences):
            return inputs
        if is_array(inputs):
            return cls._from_array(
                as_numbers(name, inputs, classes=2 if may_be_masked else None), dtype, name, may_be_none
            )
        if not isinstance(inputs, (list, tuple)):
            raise TypeError(f"{name} must be a list of arrays, a 3-D array or a Sequences, got {type(inputs).__name__}")
        classes = 1 if may_be_masked else None
        arrays = [as_numbers(f"{name}[{i}]", sequence, classes=classes) for i, sequence in enumerate(inputs)]
        if not arrays:
            raise ValueError(f"{name} has no sequences")
        symbols = any(map(_is_symbols, arrays)) and all(_is_symbols(array) or array.shape == (0,) for array in arrays)
        if not symbols:
            n_features = next((array.shape[1] for array in arrays if array.ndim == 2), "n_features")
            for i, array in enumerate(arrays):
                if array.ndim != 2 or array.shape[1] != n_features:
                    raise ValueError(
                        f"{name}[{i}] has shape {array.shape}, expected (n_steps, {n_features}); if {name} is one "
                        f"sequence, pass [{name}]"
                    )
        offsets = np.cumsum([0, *map(len, arrays)])
        # Numbers too large for the dtype become infinite; later checks refuse them.
        with np.errstate(all="ignore"):
            values = np.concatenate([array for array in arrays if len(array)] or arrays)
            return cls(values if symbols else values.astype(_float_dtype(values, dtype), copy=False), offsets)

    @classmethod
    def _from_array(cls, array: Array, dtype: DTypeLike | None, name: str, may_be_none: bool) -> Sequences:
        """Pack sequences of one length."""
        symbols = array.dtype.kind in "iu" and array.ndim == 2
        if not symbols and array.ndim != 3:
            raise ValueError(
                f"{name} has shape {array.shape}, expected (n_sequences, n_steps, n_features); if it is one sequence, "
                f"pass [{name}]"
            )
        if not len(array) and not may_be_none:
            raise ValueError(f"{name} has no sequences")
        offsets = np.arange(len(array) + 1) * array.shape[1]
        with np.errstate(all="ignore"):
            values = array.reshape(offsets[-1], *array.shape[2:])
            return cls(values if symbols else values.astype(_float_dtype(values, dtype), copy=False), offsets)

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self._offsets) - 1

    def __sizeof__(self) -> int:
        """Bytes in memory, arrays included; schedulers estimate by it what a transfer costs."""
        return object.__sizeof__(self) + self.values.nbytes + self.offsets.nbytes

    def __getitem__(self, i: int) -> Array:
        """The steps of sequence i, a read-only view."""
        i = range(len(self))[operator.index(i)]
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        what = "symbols" if self.is_symbols else f"rows of {self.values.shape[1]}"
        return f"<Sequences: {len(self)} sequences, {self.n_steps} {what}>"

    @property
    def is_symbols(self) -> bool:
        """Whether the steps are symbols rather than rows."""
        return self._values.ndim == 1

    @property
    def n_steps(self) -> int:
        """Number of steps of all sequences together."""
        return len(self.values)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of steps of each sequence."""
        return self._offsets[1:] - self._offsets[:-1]

    def place(self, step: int) -> tuple[int, int]:
        """The number of the sequence that a step belongs to, and the step's number in that sequence."""
        i = int(np.searchsorted(self.offsets, step, side="right")) - 1
        return i, step - int(self.offsets[i])


# ---- one step ----


def as_input(x: object, layout: Shaped) -> int | Array:
    """One step's input: a symbol's number, or a row of the network's dtype."""
    n_inputs = layout.topology.n_inputs
    symbol = _as_integer(x)
    if symbol is None:
        return _as_row("x", x, n_inputs, layout)
    _refuse_symbols("x", n_inputs)
    if not 0 <= symbol < n_inputs:
        raise ValueError(f"x is symbol {symbol}, expected one of 0 to {n_inputs - 1}")
    return symbol


def as_target(target: object, layout: Learns) -> int | Array | None:
    """One step's target: a class number, or a row of the network's dtype, or None for no error signal."""
    n_outputs = layout.topology.n_outputs
    number = _as_integer(target)
    if number is None:
        if target is not None and target is getattr(sys.modules.get("numpy.ma"), "masked", None):
            return None
        row = _as_row("target", target, n_outputs, layout, nan_allowed=True)
        missing = np.isnan(row)
        if missing.any() and not missing.all() and not layout.takes_partial_targets:
            raise ValueError("target is partly NaN; here a step has targets for all outputs, or none: NaN or None")
        return None if missing.all() else row
    if _takes_labels(layout):
        if not -1 <= number < 2:
            raise ValueError(f"target is class {number}, expected 0 or 1, or -1 for none")
        return None if number == -1 else np.array([number], layout.dtype)
    _refuse_classes(
        n_outputs, f"target is the integer {number}", f"for the value pass [{number}.0], for no target None"
    )
    if not -1 <= number < n_outputs:
        raise ValueError(f"target is class {number}, expected one of 0 to {n_outputs - 1}, or -1 for none")
    return None if number == -1 else number


def _as_integer(x: object) -> int | None:
    """The value of an integer scalar; None for anything else."""
    if isinstance(x, np.ndarray) and x.ndim == 0:
        x = x[()]
    return int(x) if isinstance(x, (int, np.integer)) and not isinstance(x, bool) else None


def _as_row(name: str, x: object, n: int, layout: Shaped, nan_allowed: bool = False) -> Array:
    """A real row of n elements in the network's dtype."""
    array = as_numbers(name, x, classes=0 if nan_allowed else None)
    if array.shape != (n,):
        raise ValueError(f"{name} has shape {array.shape}, expected ({n},)")
    row = _cast(array, layout.dtype)
    if np.isinf(row).any():
        raise ValueError(f"{name} contains infinity")
    nan = np.isnan(row)
    if nan.any() and not nan_allowed:
        raise ValueError(f"{name} contains NaN")
    return row


# ---- one stream ----


def as_stream(name: str, inputs: object, layout: Shaped) -> Array:
    """A stream's inputs: (n_steps, n_inputs) of the network's dtype, or (n_steps,) int32 symbols."""
    n_inputs = layout.topology.n_inputs
    array = as_numbers(name, inputs)
    if array.ndim == 1 and array.dtype.kind in "iu":
        _refuse_symbols(name, n_inputs)
        symbols = _as_int32(name, array)
        _check_numbers(name, symbols, 0, n_inputs)
        return symbols
    if array.ndim == 2 and array.shape[1] == n_inputs:
        return _finite(name, _cast(array, layout.dtype))
    raise ValueError(
        f"{name} has shape {array.shape}, expected (n_steps, {n_inputs}), or (n_steps,) integers as symbols"
    )


def as_stream_targets(targets: object, n_steps: int, layout: Learns) -> Array | None:
    """A stream's targets: (n_steps, n_outputs) of the network's dtype, or (n_steps,) int32 classes, or None."""
    if targets is None:
        return None
    n_outputs = layout.topology.n_outputs
    array = as_numbers("targets", targets, classes=1)
    if array.ndim == 1 and array.dtype.kind in "iu":
        packed: Array = _as_classes(array, layout)
    elif array.ndim == n_outputs == 1:
        packed = _cast(array[:, np.newaxis], layout.dtype)
        _check_rows("targets", packed, layout)
    elif array.ndim == 2 and array.shape[1] == n_outputs:
        packed = _cast(array, layout.dtype)
        _check_rows("targets", packed, layout)
    else:
        raise ValueError(
            f"targets has shape {array.shape}, expected ({n_steps}, {n_outputs}), or ({n_steps},) integers as classes"
        )
    if len(packed) != n_steps:
        raise ValueError(f"targets has {len(packed)} steps but the inputs have {n_steps}")
    return packed


def as_resets(resets: object, n_steps: int) -> NDArray[np.bool_] | None:
    """The steps before which a stream's state is reset: None, or bools (n_steps,), a contiguous copy."""
    if resets is None:
        return None
    array = as_numbers("resets", resets)
    if array.dtype.kind != "b":
        raise TypeError(f"resets has dtype {array.dtype}, expected bool: whether the state is reset before each step")
    if array.shape != (n_steps,):
        raise ValueError(f"resets has shape {array.shape}, expected ({n_steps},), one for each step")
    bools: NDArray[np.bool_] = np.ascontiguousarray(array).view(np.uint8) != 0  # true is now 1, as the loops need it
    return bools


# ---- many sequences ----


def as_sequences(inputs: object, layout: Shaped, *, may_be_none: bool = False) -> Sequences:
    """Sequences of finite rows in the network's dtype, or of symbols that are all in range."""
    n_inputs = layout.topology.n_inputs
    if may_be_none and isinstance(inputs, (list, tuple)) and not inputs:
        return Sequences(np.empty((0, n_inputs), layout.dtype), [0])
    packed = Sequences._pack(inputs, layout.dtype, "inputs", may_be_none=may_be_none)
    if type(packed) is not Sequences:  # a subclass, whose own properties are not trusted
        packed = Sequences(packed.values, packed.offsets)
    if packed.is_symbols:
        _refuse_symbols("inputs", n_inputs)
        _check_numbers("inputs", packed.values, 0, n_inputs, packed)
        if not isinstance(inputs, Sequences):
            _refuse_either("inputs", packed, n_inputs)
        return packed
    _check_width("inputs", packed, n_inputs)
    if packed.values.dtype != layout.dtype:
        packed = Sequences(_cast(packed.values, layout.dtype), packed.offsets)
    _finite("inputs", packed.values, packed)
    return packed


def is_array(value: object) -> bool:
    """Whether a value is an array of any library: NumPy's, a tensor, a data frame, a buffer."""
    return isinstance(value, (np.ndarray, memoryview)) or hasattr(value, "__array__")


def as_targets(targets: object, inputs: Sequences, layout: Learns) -> tuple[Array, bool]:
    """Targets for sequences, and whether they are one per sequence: reals of the network's dtype or int32 classes."""
    n_outputs = layout.topology.n_outputs
    per_sequence = None if isinstance(targets, Sequences) else _one_per_sequence(targets, n_outputs)
    if per_sequence is None:
        steps = Sequences._pack(targets, layout.dtype, "targets", may_be_masked=True)
        if type(steps) is not Sequences:
            steps = Sequences(steps.values, steps.offsets)
        _same_number(len(steps), len(inputs))
        if steps.is_symbols and not _takes_labels(layout):
            _refuse_classes(n_outputs)
        for i in np.flatnonzero(steps.lengths != inputs.lengths)[:1]:
            raise ValueError(
                f"targets[{i}] has {steps.lengths[i]} steps but inputs[{i}] has {inputs.lengths[i]}"
                + ("; integers are class numbers, real targets are floats" if steps.is_symbols else "")
            )
        if steps.is_symbols and not isinstance(targets, Sequences) and not _takes_labels(layout):
            _refuse_either("targets", steps, n_outputs)
        rows: Array = steps.values
        if not steps.is_symbols:
            _check_width("targets", steps, n_outputs)
    else:
        _same_number(len(per_sequence), len(inputs))
        rows = per_sequence
        if rows.ndim == 2 and rows.shape[1] != n_outputs:
            raise ValueError(f"targets has shape {rows.shape}, expected ({len(inputs)}, {n_outputs})")
    given: Any
    if rows.ndim == 1:
        rows = _as_classes(rows, layout)
    if rows.ndim == 1:
        given = rows >= 0
    else:
        rows = _cast(rows, layout.dtype)
        _check_rows("targets", rows, layout, steps if per_sequence is None else None)
        given = ~np.isnan(rows).all(axis=1)
    if per_sequence is not None:
        for i in np.flatnonzero(given & (inputs.lengths == 0))[:1]:
            raise ValueError(f"inputs[{i}] is empty: it has no last step for targets[{i}]")
    return rows, per_sequence is not None


def _one_per_sequence(targets: object, n_outputs: int) -> Array | None:
    """Targets with one row or class per sequence as an array; None if they look like targets per step."""
    if not is_array(targets) and not isinstance(targets, (list, tuple)):
        raise TypeError(f"targets must be an array, a list of arrays or a Sequences, got {type(targets).__name__}")
    if isinstance(targets, (list, tuple)):
        arrays = [as_numbers(f"targets[{i}]", target, classes=1) for i, target in enumerate(targets)]
        classes_per_step = all(array.ndim == 1 and array.dtype.kind in "iu" for array in arrays)
        if classes_per_step or any(array.ndim > 1 for array in arrays):
            return None
        targets = arrays or np.array([])
    array = as_numbers("targets", targets, classes=2)
    integers = array.dtype.kind in "iu"
    if array.ndim == 3 or (array.ndim == 2 and integers):
        return None
    if array.ndim == 2 or (array.ndim == 1 and integers):
        return array
    if array.ndim == n_outputs == 1:
        return array[:, np.newaxis]
    raise ValueError(
        f"targets has shape {array.shape}, expected (n_sequences, {n_outputs}), or one row per step: a list of "
        f"(n_steps, {n_outputs})"
    )


def _check_width(name: str, packed: Sequences, n: int) -> None:
    """Refuse rows of other than n numbers; the message names the first sequence, if there is one."""
    if packed.values.shape[1] != n:
        which, rows = (f"{name}[0]", packed[0]) if len(packed) else (name, packed.values)
        raise ValueError(f"{which} has shape {rows.shape}, expected (n_steps, {n})")


def _same_number(n_targets: int, n_inputs: int) -> None:
    """Refuse targets for another number of sequences."""
    if n_targets != n_inputs:
        raise ValueError(f"targets has {n_targets} sequences but inputs has {n_inputs}")


# ---- order ----


def presented(order: ArrayLike | np.random.Generator | None, n_sequences: int) -> NDArray[np.int64]:
    """The numbers of the sequences to train, one epoch long."""
    if order is None or isinstance(order, np.random.Generator):
        return np.arange(n_sequences)
    order = unmasked("order", order)
    try:
        numbers = np.array(order)  # a copy, which another thread cannot change after the checks
    except UNREADABLE as error:
        raise ValueError(f"order cannot be read as one array of numbers: {error}") from error
    if not numbers.size and numbers.dtype.kind == "f":  # NumPy makes an empty list a float array
        numbers = numbers.astype(np.int64)
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
        raise TypeError(f"order must be a 1-D array of sequence numbers, got {numbers.dtype} of shape {numbers.shape}")
    if numbers.size and (numbers.min() < 0 or numbers.max() >= n_sequences):
        raise ValueError(f"order must hold sequence numbers from 0 to {n_sequences - 1}")
    return numbers.astype(np.int64, copy=False)


# ---- outputs ----


def checked_out(out: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """``out``, if results of this shape and dtype can be written there."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an ndarray, got {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"out has shape {out.shape} and dtype {out.dtype}, expected {shape} and {dtype}")
    if not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        raise ValueError("out must be writeable, C-contiguous and aligned")
    return out


def copied_if_shared(array: Array, out: Array) -> Array:
    """``array``, or a copy if results written to ``out`` could change it while it is still being read."""
    return array.copy() if np.may_share_memory(array, out) else array


def as_weights(name: str, weights: object, n: int, dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """The weights of n error signals: numbers that are finite in the network's dtype, at least 0."""
    array = as_numbers(name, weights)
    if array.shape != (n,):
        raise ValueError(f"{name} has shape {array.shape}, expected ({n},)")
    array = _cast(array, np.dtype(np.float64))
    if not (_all_finite(_cast(array, dtype)) and (array >= 0).all()):
        raise ValueError(f"{name} must be numbers that are finite in {dtype}, at least 0")
    return array


def as_sample_weights(
    weights: object, inputs: Sequences, per_sequence: bool, dtype: np.dtype[Any]
) -> NDArray[np.float64]:
    """The weight of each target: given for each sequence, or, where targets are, for each step."""
    name, n = "sample_weight", len(inputs)
    if isinstance(weights, Sequences):
        weights = list(weights)
    if not is_array(weights) and not isinstance(weights, (list, tuple)):
        raise TypeError(f"{name} must be an array or a list of arrays, got {type(weights).__name__}")
    rows = list(cast(Any, weights))
    if all(np.ndim(row) == 0 for row in rows):
        found = as_weights(name, weights, n, dtype)
        return found if per_sequence else np.repeat(found, inputs.lengths)
    if per_sequence:
        raise ValueError(f"{name} has weights for each step, but targets has one for each sequence")
    if len(rows) != n:
        raise ValueError(f"{name} has {len(rows)} sequences but the inputs have {n}")
    return np.concatenate(
        [
            as_weights(f"{name}[{i}]", row, length, dtype)
            for i, (row, length) in enumerate(zip(rows, inputs.lengths, strict=True))
        ]
    )


# ---- arrays ----


# Exceptions that mean that a conversion failed. Others, such as those that a signal handler raises, pass through.
UNREADABLE = (TypeError, ValueError, ArithmeticError, LookupError, BufferError, RecursionError)


def as_numbers(name: str, value: object, *, classes: int | None = None) -> Array:
    """Any real array_like as an array of bools, integers or floats.

    Masked values are refused, unless `classes` is given. Then they mean that there is no target: in integer arrays of
    at most `classes` dimensions, which hold class numbers, they become -1, in other arrays NaN.
    """
    value = unmasked(name, value, classes)
    try:
        array = np.asarray(value)
    except UNREADABLE as error:
        raise ValueError(f"{name} cannot be read as one array of numbers: {error}") from error
    if array.dtype.kind not in "buif":
        raise TypeError(f"{name} has dtype {array.dtype}, expected real numbers")
    return array


def unmasked(name: str, value: Any, classes: int | None = None) -> Any:
    """A masked array, or a list of them, as arrays without a mask (see `as_numbers`); anything else as it is."""
    kind = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)  # until it is imported, no array is masked
    if kind is None:
        return value
    if isinstance(value, (list, tuple)):
        if any(isinstance(each, kind) for each in value):
            inner = None if classes is None else classes - 1
            return [unmasked(f"{name}[{i}]", each, inner) for i, each in enumerate(value)]
        return value
    if not isinstance(value, (np.ndarray, np.generic, int, float)) and hasattr(value, "__array__"):
        value = np.asanyarray(value)  # another library's array, which may become a masked array
    if not isinstance(value, kind):
        return value
    hidden = np.ma.getmaskarray(value)
    if not hidden.any():
        return value.data
    if classes is None:
        raise ValueError(f"{name} has masked values, and none may be missing here; fill them, or leave those steps out")
    if value.dtype.kind in "iu" and value.ndim <= classes:
        return np.where(hidden, np.int64(-1), value.data)
    return np.where(hidden, np.nan, value.data)


def frozen(array: Array) -> Array:
    """A copy that nothing can write to: the loops use its numbers as indices."""
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def _is_symbols(array: Array) -> bool:
    """Whether an array can be one sequence of symbols or classes."""
    return array.ndim == 1 and array.dtype.kind in "iu"


def _float_dtype(values: Array, dtype: DTypeLike | None) -> np.dtype[Any]:
    """The dtype to pack reals into: the one asked for, or their own."""
    if dtype is not None:
        try:
            found = np.dtype(dtype)
        except (TypeError, ValueError, SyntaxError) as error:
            raise TypeError(f"dtype must be a float dtype, got {dtype!r}") from error
        if found.kind != "f":
            raise ValueError(f"dtype must be a float dtype, got {found}")
        return found
    return values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)


def _cast(array: Array, dtype: np.dtype[Any]) -> Array:
    """The array in a dtype, contiguous and aligned; a view if it is so already."""
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array.view(dtype)  # an equal dtype may spell its byte order differently, which buffers export
    with np.errstate(all="ignore"):  # numbers too large for the dtype become infinite; later checks refuse them
        return np.require(array, dtype, ["C", "A"])


def _as_int32(name: str, numbers: Array) -> NDArray[np.int32]:
    """Integers as int32, a copy that no other thread can change: the loops use them as indices."""
    numbers = np.array(numbers, order="C")
    if numbers.size and not -(2**31) <= int(numbers.min()) <= int(numbers.max()) < 2**31:
        raise ValueError(f"{name} contains integers that do not fit 32 bits")
    return numbers.astype(np.int32, copy=False)


def _refuse_symbols(name: str, n_inputs: int) -> None:
    """Refuse integers where there is one input: its only symbol would carry no information, so values are meant."""
    if n_inputs == 1:
        raise ValueError(
            f"{name} is integer, which means symbols, and there is only one input; for its values pass floats of shape "
            "(n_steps, 1), for one step (1,)"
        )


def _refuse_classes(
    n_outputs: int,
    given: str = "targets is integer",
    way_out: str = "for its values pass floats: targets.astype(float)",
) -> None:
    """Refuse integers where there is one output: a class number would say nothing, so a value must be meant."""
    if n_outputs == 1:
        raise ValueError(f"{given}, which means class numbers, and there is only one output; {way_out}")


def _takes_labels(layout: Shaped) -> bool:
    """Whether the integers 0 and 1 are the values of one output: the probability of the second of two classes."""
    return layout.topology.n_outputs == 1 and getattr(layout.topology, "loss", None) == "cross_entropy"


def _as_classes(numbers: Array, layout: Shaped) -> Array:
    """Class numbers, -1 for none, as int32; or, where one output stands for two classes, as rows of its values."""
    n_outputs = layout.topology.n_outputs
    if not _takes_labels(layout):
        _refuse_classes(n_outputs)
        classes = _as_int32("targets", numbers)
        _check_numbers("targets", classes, -1, n_outputs)
        return classes
    labels = _as_int32("targets", numbers)
    _check_numbers("targets", labels, -1, 2)
    rows = labels[:, np.newaxis].astype(layout.dtype)
    rows[labels == -1] = np.nan
    return rows


def _refuse_either(name: str, numbers: Sequences, n: int) -> None:
    """Refuse integers that may be either symbols or classes, one for each step, or the n values of one step."""
    lengths = numbers.lengths[numbers.lengths > 0]
    if len(lengths) and (lengths == n).all():
        one, ends = ("symbol", "inputs") if name == "inputs" else ("class", "outputs")
        raise ValueError(
            f"{name} is integer, with {n} numbers for each sequence and {n} {ends}: if each number is the {one} of a "
            f"step, pass Sequences.pack({name}); if they are the {n} values of one step, floats: {name}.astype(float)"
        )


def _where(name: str, step: int, sequences: Sequences | None) -> str:
    """The place of a step in words: "at step 2", "at step 2 of inputs[7]"."""
    if sequences is None:
        return f"at step {step}"
    i, step = sequences.place(step)
    return f"at step {step} of {name}[{i}]"


def _check_numbers(name: str, numbers: Array, low: int, n: int, sequences: Sequences | None = None) -> None:
    """Refuse symbols or classes outside low to n - 1."""
    if numbers.size and (numbers.min() < low or numbers.max() >= n):
        step = int(np.flatnonzero((numbers < low) | (numbers >= n))[0])
        raise ValueError(f"{name} contains {numbers[step]} {_where(name, step, sequences)}, expected {low} to {n - 1}")


def _all_finite(rows: Array) -> bool:
    """Whether all numbers are finite; needs no temporary array unless their sum is not finite."""
    with np.errstate(all="ignore"):
        total = rows.sum()
    return bool(np.isfinite(total) or np.isfinite(rows).all())


def _finite(name: str, rows: Array, sequences: Sequences | None = None) -> Array:
    """The rows, if all are finite."""
    if not _all_finite(rows):
        step = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        what = "NaN" if np.isnan(rows[step]).any() else "infinity"
        if sequences is not None:
            i, step = sequences.place(step)
            name = f"{name}[{i}]"
        raise ValueError(f"{name} contains {what} at step {step}")
    return rows


def _check_rows(name: str, rows: Array, layout: Learns, sequences: Sequences | None = None) -> None:
    """Refuse target rows that contain infinity, or NaN in some columns only where none or all must have targets."""

    def where(found: Any) -> str:
        row = int(np.flatnonzero(found)[0])
        return f"in row {row}" if sequences is None else _where(name, row, sequences)

    if _all_finite(rows):
        return
    infinite = np.isinf(rows).any(axis=1)
    if infinite.any():
        raise ValueError(f"{name} contains infinity {where(infinite)}")
    nan = np.isnan(rows)
    partly = nan.any(axis=1) & ~nan.all(axis=1)
    if partly.any() and not layout.takes_partial_targets:
        raise ValueError(f"{name} is partly NaN {where(partly)}; here a row without error signal is all NaN")
