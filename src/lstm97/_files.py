"""Files of named arrays in the safetensors format: equal contents give equal bytes, and readers check everything.

The format: eight bytes, little-endian, for the length of a header; the header, a JSON object that has for each array
its dtype, shape and place, and under ``__metadata__`` an object of strings; then the arrays, C-contiguous and
little-endian, without gaps. This module writes the header's names in alphabetical order and pads the header to a
multiple of 8 bytes; arrays with larger elements come first, those of one element size by name. So every array is
aligned, and equal contents are always equal bytes.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import json
import math
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

Array = NDArray[Any]

CODES = {"float64": "F64", "float32": "F32", "int64": "I64", "int32": "I32", "uint8": "U8"}
"""The format's names of dtypes."""

_METADATA = "__metadata__"
_LENGTH = 8

MOST_LEVELS = 20
"""Levels of arrays and objects, one inside another, that a JSON text may have; those written here have under 10."""

_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)
"""A string, or a bracket outside of strings; possessive, so that a search takes time in proportion to the text."""


class Entry(NamedTuple):
    """The dtype code and shape that a header gives for an array; until checked, they can be any values."""

    code: Any
    shape: tuple[Any, ...]


class Header(NamedTuple):
    """A header as read: its strings, and the entry and place of each array."""

    metadata: dict[str, str]
    entries: dict[str, Entry]
    places: dict[str, tuple[int, int]]
    """Where each array begins and ends, in bytes after the header; integers that are not checked yet."""
    size: int
    """Bytes of the file before the arrays."""


# ---- contents as bytes ----


def to_bytes(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file with these arrays, of dtypes in `CODES`, and these strings."""
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))}
    begin = 0
    for name in order:
        array = arrays[name]
        end = begin + array.nbytes
        header[name] = {"data_offsets": [begin, end], "dtype": CODES[array.dtype.name], "shape": list(array.shape)}
        begin = end
    text = json.dumps(dict(sorted(header.items())), separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)
    data = [np.ascontiguousarray(arrays[name], arrays[name].dtype.newbyteorder("<")).ravel() for name in order]
    return b"".join([len(text).to_bytes(_LENGTH, "little"), text, *(array.view(np.uint8).data for array in data)])


def read_header(file: BinaryIO, size: int, what: str, limit: int) -> Header:
    """Read the header of a file of `size` bytes; ValueError if it is damaged, or longer than `limit` bytes.

    The header is read only after its length was checked against `size`, and the arrays only by `read_arrays`, after the
    caller has checked the header.
    """
    start = file.read(_LENGTH)
    length = int.from_bytes(start, "little")
    if len(start) < _LENGTH or length > size - _LENGTH:
        raise ValueError(f"{what} is not a safetensors file: it ends before its header does")
    if length > limit:
        raise ValueError(f"{what} has a header of {length} bytes; those of networks have {limit} at most")
    try:
        entries = decode(file.read(length).decode())
        metadata = entries.pop(_METADATA, {})
        found = {name: Entry(entry["dtype"], tuple(entry["shape"])) for name, entry in entries.items()}
        places = {name: _place(entry["data_offsets"]) for name, entry in entries.items()}
        texts = all(isinstance(value, str) for value in metadata.values())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{what} is not a safetensors file: its header is damaged") from error
    if not texts:
        raise ValueError(f"{what} is not a safetensors file: its metadata are not texts")
    return Header(metadata, found, places, _LENGTH + length)


def read_arrays(file: BinaryIO, header: Header, what: str) -> dict[str, Array]:
    """Read the arrays of a header whose dtypes and shapes have been checked; read-only views of one block."""
    dtypes = {code: np.dtype(name).newbyteorder("<") for name, code in CODES.items()}
    begins = {}
    end = 0
    for name, (begin, stop) in sorted(header.places.items(), key=lambda item: item[1]):
        entry = header.entries[name]
        begins[name] = begin
        if begin != end or stop != begin + dtypes[entry.code].itemsize * math.prod(entry.shape):
            raise ValueError(f"{what} is not a safetensors file: {name[:80]!r} is not where it should be")
        end = stop
    data = file.read(end)
    if len(data) != end:
        raise ValueError(f"{what} ends before its data does")
    arrays = {}
    for name, entry in header.entries.items():
        flat = np.frombuffer(data, dtypes[entry.code], math.prod(entry.shape), begins[name])
        arrays[name] = native(flat).reshape(entry.shape)
    return arrays


def decode(text: str, *, constants: bool = True) -> Any:
    """The value of a JSON text.

    ValueError if it is not JSON, has more than `MOST_LEVELS` levels, or repeats a name, so that its value is ambiguous.
    Infinity, -Infinity and NaN, which Python writes although JSON lacks them, are refused unless `constants` is true.

    The levels are counted first: a RecursionError means that the caller's stack is nearly full, never a bad text.
    """
    _check_levels(text)
    refusal = None if constants else _refuse_constant
    return json.loads(text, object_pairs_hook=_without_repetition, parse_constant=refusal)


def native(array: Array) -> Array:
    """The same numbers in native byte order, with a dtype that buffers export as native; a view if they have it."""
    dtype = np.dtype(array.dtype.name)
    return array.view(dtype) if array.dtype == dtype else array.astype(dtype)


def _check_levels(text: str) -> None:
    """ValueError if arrays and objects of a JSON text are nested too deeply."""
    if text.count("[") + text.count("{") <= MOST_LEVELS:
        return
    level = 0
    for token in _TOKEN.finditer(text):
        match token[0][0]:
            case "[" | "{":
                level += 1
            case "]" | "}":
                level -= 1
        if level > MOST_LEVELS:
            raise ValueError(f"it is nested more than {MOST_LEVELS} levels deep")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; ValueError if a name is repeated."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _place(offsets: Any) -> tuple[int, int]:
    """Where an array begins and ends, by the data_offsets of its entry."""
    begin, end = offsets
    if type(begin) is not int or type(end) is not int:
        raise TypeError(f"data_offsets are {offsets!r}")
    return begin, end


# ---- files ----


@contextlib.contextmanager
def open_regular(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    """A regular file, open for reading; ValueError for others, such as a pipe, which could block."""
    name = fspath(path)  # refuses descriptors: those are closed by their owner
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with _opened(name, flags) as descriptor, open(descriptor, "rb", closefd=False) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{os.fsdecode(name)} is not a regular file")
        yield file


def read_whole(path: str | PathLike[str]) -> bytes:
    """The contents of a regular file; ValueError if it is not one."""
    with open_regular(path) as file:
        return file.read()


@contextlib.contextmanager
def _opened(path: str | bytes, flags: int) -> Iterator[int]:
    """A file descriptor, which is closed at the end, even if a signal handler raises an exception.

    Opening the file and storing its descriptor are one call in C, and so is closing it: no handler runs in between.
    """
    opened: list[int] = []
    close = map(os.close, opened)
    try:
        opened.extend(map(os.open, (path,), (flags,)))
        yield opened[0]
    finally:
        collections.deque(close, maxlen=0)


def write_whole(path: str | PathLike[str], data: bytes) -> None:
    """Replace a file so that even after a crash either the old or the new one is there, complete.

    The new file is flushed to the disk before it gets the name. The first time that a process writes a file, it also
    removes temporary files that killed writers of the same file have left. OSError if the path is not that of a regular
    file, or the file cannot be written.
    """
    if not (name := os.fsdecode(path)):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    target = _target(name)
    if (there := target.exists()) and not target.is_file():
        raise OSError(f"{target} is not a regular file")
    new = target.with_name(f"{_temporary(target)}{os.urandom(8).hex()}.tmp")
    try:
        with open(new, "xb") as file:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # where the file system has no locks
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held as long as the writer lives
            if there and hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)
    if str(target) not in _cleared:
        _cleared.add(str(target))
        _clear(target)


def _target(path: str) -> Path:
    """The file that a path leads to through symbolic links.

    OSError for the links by which the system names open files, such as /dev/stdout: replacing such a file would take it
    away from the process that has it open.
    """
    for _ in range(40):  # as many links as Linux follows
        folder = os.path.realpath(os.path.dirname(path))
        if folder in ("/dev", "/dev/fd") or folder.startswith("/proc/"):
            raise OSError(f"{path} is not a regular file")
        path = os.path.join(folder, os.path.basename(path))
        if not os.path.islink(path):
            return Path(path)
        path = os.path.join(folder, os.readlink(path))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, on systems where folders can be opened."""
    if os.name != "posix":
        return
    try:
        with _opened(os.fspath(folder), os.O_RDONLY) as descriptor:
            os.fsync(descriptor)
    except PermissionError:  # a folder that may be written but not read
        os.sync()


_cleared: set[str] = set()
"""Files that this process has written, and whose left temporary files it has removed."""

_LEFT_BEHIND = 60
"""Seconds after which an unlocked temporary file is taken for one that a killed writer has left."""


def _temporary(target: Path) -> str:
    """The beginning of the names of a file's temporary files."""
    return f".{target.name[:40]}."


def _clear(target: Path) -> None:
    """Remove the temporary files that killed writers of a file have left, where this process is allowed to."""
    if fcntl is None:
        return
    pattern = re.compile(re.escape(_temporary(target)) + r"[0-9a-f]{16}\.tmp")
    with contextlib.suppress(OSError):
        left = [each for each in os.scandir(target.parent) if pattern.fullmatch(each.name)]
        for each in left:
            with contextlib.suppress(OSError):
                age = time.time() - each.stat(follow_symlinks=False).st_mtime
                if age > _LEFT_BEHIND and each.is_file(follow_symlinks=False):
                    with open(each.path, "rb") as file:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its writer lives
                        os.unlink(each.path)
