"""Arguments that a user may pass: valid ones in many forms (guises), and wrong ones of every kind."""

from __future__ import annotations

import array
import tempfile
import warnings
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np

from lstm97 import Network

HUGE = 2**40
"""A length for which there is not enough memory."""


# ---- the same elements in many guises ----


class Subclass(np.ndarray):
    """A subclass of NumPy's array."""


class Wrapped:
    """An object with ``__array__`` and nothing else."""

    def __init__(self, elements):
        self.elements = elements

    def __array__(self, dtype=None, copy=None):
        return self.elements


def misaligned(elements):
    """The elements at an odd address."""
    view = np.ndarray(elements.shape, elements.dtype, np.zeros(elements.nbytes + 1, np.uint8), offset=1)
    view[...] = elements
    return view


def mapped(elements):
    """The elements in a file mapped into memory."""
    with tempfile.TemporaryFile() as file:
        view = np.memmap(file, elements.dtype, "w+", shape=elements.shape)
    view[...] = elements
    return view


ARRAYS = {
    "copy": np.copy,
    "column-major": np.asfortranarray,
    "strided": lambda elements: np.repeat(elements, 2, axis=-1)[..., ::2],
    "backwards": lambda elements: elements[::-1].copy()[::-1],
    "swapped": lambda elements: elements.astype(elements.dtype.newbyteorder("S")),
    "named order": lambda elements: elements.view(elements.dtype.newbyteorder("S").newbyteorder("S")),  # "<", not "="
    "misaligned": misaligned,
    "mapped": mapped,
    "read-only": lambda elements: np.broadcast_to(elements, elements.shape),
    "subclass": lambda elements: elements.view(Subclass),
    "masked": np.ma.masked_array,
}
GUISES = ARRAYS | {
    "list": np.ndarray.tolist,
    "array.array": lambda elements: array.array(elements.dtype.char, elements.tolist()),
    "memoryview": lambda elements: memoryview(elements) if elements.dtype.kind in "buifc" else elements,
    "wrapped": Wrapped,
}
WITH_ZERO_STRIDE = GUISES | {"repeated": lambda elements: np.broadcast_to(elements[:1], elements.shape)}


def wear(guise, elements):
    """Elements in this guise; unchanged if they cannot have it."""
    try:
        with np.errstate(all="ignore"):
            return WITH_ZERO_STRIDE[guise](elements) if elements.ndim else elements
    except (TypeError, ValueError):  # for example, empty arrays cannot be mapped, dates have no buffers
        return elements


# ---- anything ----


class HostileError(Exception):
    """Raised by an argument itself; calls may pass it on."""


def raising(*_, **__):
    raise HostileError


# fmt: off
LIES = {
    "__array__": lambda *_, **__: "no array", "__index__": lambda _: "1", "__float__": lambda _: "1.0",
    "__len__": lambda _: 5, "__iter__": lambda _: 5, "__getitem__": lambda _, i: (0.5, 0.5)[i],
    "__bool__": lambda _: "yes", "__fspath__": lambda _: 5,
}
SCALARS = (
    None, True, False, -1, 0, 1, 2, 3, 2**63, -(2**63), 10**400, 0.0, -0.0, 0.5, 1e-300, 1e300, np.nan, np.inf, -np.inf,
    1j, "", "word", "0.1", "nan", "cell", "word\0", "\ud800", "x" * 300, b"", b"0.1", Fraction(1, 3), Decimal("0.1"),
    date(1997, 11, 15), timedelta(1), ..., int, Network, len, object(), {}, {"cell": 1}, {1, 2}, range(3),
    np.float16(0.5), np.float32(np.nan), np.longdouble(0.25), np.int8(1), np.uint8(2), np.uint64(2**63), np.bool_(True),
    np.str_("cell"), np.bytes_(b"1"), np.complex64(1), np.datetime64("1997"), np.timedelta64(1, "s"), np.void(b"abc"),
)
# fmt: on


# ---- wrong arguments, made from valid ones ----


class Meddling(Wrapped):
    """An array that does something when it is read."""

    def __init__(self, elements, do):
        super().__init__(elements)
        self.do = do

    def __array__(self, dtype=None, copy=None):
        self.do()
        return self.elements


def read_only(elements):
    """A read-only copy."""
    elements = elements.copy()
    elements.flags.writeable = False
    return elements


def cast(elements, dtype):
    """The elements in another dtype, even if the numbers change."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return elements.astype(dtype)


NUMBERS = (
    *(2, -0.5, 1e-320, 3e38, 5e-324, 2**31 - 1, 2**31, 2**64, -(10**400), np.ma.masked, np.longdouble("1e4000")),
    *(np.array(0.1), np.array(1), np.array([0.1]), [], [[]], [0.1, 0.2], [1, 2], [[0.1], [0.1, 0.2]]),
)
PLACES = (np.nan, np.inf, -np.inf, 1e300, -1e300, 3.4e38, 1e-40, 5e-324, -0.0)


def recursive():
    """A list that contains itself."""
    found = []
    found.append(found)
    return found


# Functions of a valid array that give a value of another shape, dtype or type.
STRANGE = (
    lambda a: a[None],
    lambda a: a[..., None],
    lambda a: a[:-1],
    lambda a: a[:0],
    lambda a: a.ravel(),
    lambda a: a.flat[0] if a.size else a,
    lambda a: np.concatenate([a, a]),
    lambda a: np.zeros((0, *a.shape)),
    lambda a: np.zeros(a.shape, [("x", "f8")]),
    *(lambda a, dtype=dtype: cast(a, dtype) for dtype in ("O", "U", "c16", "?", "i8", "u8", "M8[s]")),
    lambda a: recursive(),
    lambda a: iter(a.tolist()),
    lambda a: [*a.ravel().tolist(), "x"],
    lambda a: [None] * len(a),
    lambda a: [type("Raising", (), {"__array__": raising})()],
    lambda a: Wrapped(Wrapped(a)),
    lambda a: dict(enumerate(a.ravel())),
    lambda a: np.ma.masked_all(a.shape),
)
# Functions of an array that give huge arrays, which take no memory themselves.
ENDLESS = (
    lambda a: np.broadcast_to(a[:1], (HUGE, *a.shape[1:])) if a.ndim and a.size else np.zeros((HUGE, 0)),
    lambda a: np.broadcast_to(np.float32(0.1), (HUGE, HUGE // 2**20)),
    lambda a: np.broadcast_to(np.int64(0), HUGE),
    lambda a: np.zeros((HUGE, 0)),
    lambda a: np.zeros((0, HUGE)),
    lambda a: np.zeros((HUGE, 2, 0)),
)
