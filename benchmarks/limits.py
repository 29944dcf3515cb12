"""The most that this machine can do, measured by ``limits.c`` for the instruction set of the build in use."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .compiling import level_flags, shared_library
from .counting import Work
from .timing import Workload, take_turns

SOURCE = Path(__file__).with_name("limits.c")
PACKAGE_SOURCE = SOURCE.parents[1] / "src" / "lstm97"
_C_TYPES = {"float64": "double", "float32": "float"}
_ALIGNMENT = 64
_STEPS = 1000  # per item, so that the cost of starting the loop does not count


@cache
def _library(dtype: str) -> ctypes.CDLL:
    is_double = int(dtype == "float64")
    library = shared_library(
        SOURCE,
        f"-I{PACKAGE_SOURCE}",
        f"-DLSTM97_REAL={_C_TYPES[dtype]}",
        f"-DLSTM97_REAL_IS_DOUBLE={is_double}",
        # The package is compiled with these too.
        "-fno-math-errno",
        "-fno-trapping-math",
        *level_flags(),
    )
    library.limits_multiply_add.argtypes = [ctypes.c_long]
    library.limits_multiply_add.restype = ctypes.c_double
    library.limits_change.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    library.limits_change.restype = None
    library.limits_squash.argtypes = [ctypes.c_long]
    library.limits_squash.restype = ctypes.c_double
    library.limits_read.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    library.limits_read.restype = ctypes.c_double
    return library


def computing(multiply_adds: float, dtype: str) -> Workload:
    """A number of multiply-adds per step, none of which waits for another or for memory."""
    library = _library(dtype)

    def run(n_items: int) -> None:
        library.limits_multiply_add(round(n_items * _STEPS * multiply_adds))

    return Workload(f"limit: {multiply_adds:.0f} multiply-adds at the peak rate", run, _STEPS)


def _buffer(n_bytes: float) -> npt.NDArray[np.uint8]:
    """At least n_bytes of aligned memory, rounded up to whole vectors, with small numbers in them."""
    n_whole = -(-round(n_bytes) // _ALIGNMENT) * _ALIGNMENT
    # Ones, not zeros: the system maps all untouched pages of zeros to the same page.
    room = np.ones(n_whole + _ALIGNMENT, np.uint8)
    begin = -room.ctypes.data % _ALIGNMENT
    return room[begin : begin + n_whole]


def reading(n_bytes: float, dtype: str, *, steps: int = 1, place: str = "memory") -> Workload:
    """The same n_bytes read again and again, once for a number of steps."""
    library = _library(dtype)
    buffer = _buffer(n_bytes)

    def run(n_items: int) -> None:
        library.limits_read(buffer.ctypes.data, len(buffer), n_items)

    return Workload(f"limit: {n_bytes:.0f} bytes of weights read from {place}", run, steps)


def waiting(n_in_turn: int, dtype: str) -> Workload:
    """A number of squashing functions per step, each of which needs the result of the one before."""
    library = _library(dtype)

    def run(n_items: int) -> None:
        library.limits_squash(n_items * _STEPS * n_in_turn)

    return Workload(f"limit: {n_in_turn} squashing functions, each waiting for the one before", run, _STEPS)


def changing(n_bytes: float, dtype: str, *, place: str) -> Workload:
    """The same n_bytes loaded, added to and stored at every step."""
    library = _library(dtype)
    buffer = _buffer(n_bytes)

    def run(n_items: int) -> None:
        library.limits_change(buffer.ctypes.data, len(buffer), n_items)

    return Workload(f"limit: {n_bytes:.0f} bytes of weights and partials changed in {place}", run, 1)


def place_of(n_bytes: float, caches: Mapping[str, int]) -> str:
    """Return the smallest cache that holds n_bytes, or "memory"."""
    return next((name for name, size in sorted(caches.items()) if n_bytes <= size), "memory")


def workloads(work: Work, dtype: str, caches: Mapping[str, int]) -> Iterator[Workload]:
    """Yield the limits of a row: computing; waiting; reading the weights, if the first cache does not hold them;
    changing weights and partials.

    The last two are left out where the sizes of the caches are not known.
    """
    yield computing(work.multiply_adds, dtype)
    if work.squashed_in_turn:
        yield waiting(work.squashed_in_turn, dtype)
    place = place_of(work.weight_bytes, caches)
    if caches and place != "L1":
        yield reading(work.weight_bytes, dtype, steps=work.steps_per_read, place=place)
    if caches and work.changed_bytes:
        yield changing(work.changed_bytes, dtype, place=place_of(work.changed_bytes, caches))


def peaks(caches: Mapping[str, int], *, repeats: int, seconds: float) -> dict[str, float]:
    """Measure the machine itself: the best of all rounds, to three digits.

    Returns
    -------
    dict of str to float
        Multiply-adds per nanosecond by dtype, then bytes per nanosecond read from each cache and from memory. A cache
        is read at half its size, memory at four times the size of the last cache.
    """
    sizes = {f"read from {name}, bytes per ns": size // 2 for name, size in sorted(caches.items())}
    if caches:
        sizes["read from memory, bytes per ns"] = 4 * max(caches.values())
    names = [f"multiply-adds per ns, {dtype}" for dtype in _C_TYPES]
    things = [computing(1.0, dtype) for dtype in _C_TYPES]
    for name, size in sizes.items():
        names.append(name)
        things.append(reading(size, "float64"))
    best = take_turns(things, repeats=repeats, seconds=seconds).min(axis=0)
    amounts = [1] * len(_C_TYPES) + list(sizes.values())
    return {
        name: float(f"{amount / nanoseconds:.3g}")
        for name, amount, nanoseconds in zip(names, amounts, best, strict=True)
    }
