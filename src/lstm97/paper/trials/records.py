"""Trials as lines of a file that survives being killed at any moment: JSON, one record a line, only ever appended to.

The file is a log of runs: a line with the key "run" says which version, build and machine the trials after it come
from. Trials are found again by row, reading, seed and cap.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import platform
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from lstm97.extend import decode, read_whole, show_config, sync_folder
from lstm97.paper.trials.runner import CURVE_POINTS, Trial

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

_BEGINS = (b'{"row":', b'{"run":')

Key = tuple[str, str, int, int]


def key_of(trial: Trial) -> Key:
    """Return the key by which a trial is stored and found: row, reading, seed, cap."""
    return trial.row, trial.reading, trial.seed, trial.max_sequences


def describe_run(command: str) -> dict[str, Any]:
    """Return what the trials of a run depend on besides their seeds, as plain values."""
    config = show_config()
    return {
        "command": command,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": config.version,
        "build": config.build,
        "commit": _commit(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


MOST_UNPACKED = 100
"""Compressed records may unpack to this many times the size of their file, no more."""


class Records:
    """Trials kept in a file, a line each.

    Two trials of equal row, reading, seed and cap count as the same trial, so an experiment that was changed needs a
    new name for its reading.

    Parameters
    ----------
    path : path-like
        Made if it does not exist. An unfinished last line, which a kill may leave, is dropped.
    run : dict
        What `describe_run` returned: written before the first trial that is added.

    Attributes
    ----------
    trials : dict
        All trials of the file, by their keys, which `key_of` returns.

    Raises
    ------
    OSError
        If the file cannot be written, or another process has it open for that.
    ValueError
        If it is a pipe or a device, or a line is no record.
    """

    def __init__(self, path: str | os.PathLike[str], run: dict[str, Any]) -> None:
        self._path = Path(path)
        self._run: dict[str, Any] | None = run
        self.trials: dict[Key, Trial] = {}
        if self._path.exists() and not self._path.is_file():
            raise ValueError(f"{self._path} is not a regular file")
        self._file = self._path.open("a+b")
        try:
            _lock(self._file)
            self._file.seek(0)
            content = self._file.read()
            whole = content.rfind(b"\n") + 1
            if not any(begin.startswith(content[whole:][: len(begin)]) for begin in _BEGINS):
                raise ValueError(f"{self._path}: its last line is not the beginning of a record")
            self.trials.update(_first_of_each(_trials(content, self._path)))
            self._file.truncate(whole)
            sync_folder(self._path.parent)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, trial: Trial) -> None:
        """Append a trial and return once it is on the disk. For one thread only."""
        lines = to_line(trial)
        if self._run is not None:
            lines = _line({"run": self._run}) + lines
        self._file.write(lines)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._run = None
        self.trials[key_of(trial)] = trial


def to_line(trial: Trial) -> bytes:
    """Return a trial as its line of a file of records."""
    return _line(dataclasses.asdict(trial))


def from_line(line: bytes) -> Trial:
    """Return the trial of `to_line`.

    Raises
    ------
    ValueError
        If the line is no record of a trial.
    """
    return _trial(strict_json(line))


def read_records(*paths: str | os.PathLike[str]) -> tuple[list[Trial], list[dict[str, Any]]]:
    """Read files of records, plain or compressed (with a name that ends in ".gz").

    Returns
    -------
    trials : list of Trial
        In the order they were finished, file after file; of those with the same `key_of` only the first.
    runs : list of dict
        What they come from.

    Raises
    ------
    OSError
        If a file cannot be read.
    ValueError
        If it is a pipe or a device, unpacks to far more than its size, or a line is no record.
    """
    trials: dict[Key, Trial] = {}
    runs: list[dict[str, Any]] = []
    for path in paths:
        content = read_whole(path)
        if Path(path).suffix == ".gz":
            content = _unpacked(content, path)
        trials |= _first_of_each([*trials.values(), *_trials(content, Path(path), runs)])
    return list(trials.values()), runs


def _unpacked(content: bytes, path: str | os.PathLike[str]) -> bytes:
    """What a compressed file has; ValueError if it is damaged, or unpacks to more than records ever do."""
    most = MOST_UNPACKED * len(content)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(most + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged: {error}") from error
    if len(unpacked) > most:
        raise ValueError(f"{path}: unpacks to more than {MOST_UNPACKED} times its size, as records do not")
    return unpacked


def _first_of_each(trials: Iterable[Trial]) -> dict[Key, Trial]:
    found: dict[Key, Trial] = {}
    for trial in trials:
        found.setdefault(key_of(trial), trial)
    return found


def _lock(file: BinaryIO) -> None:
    """Keep other processes from writing the file too, where the system can."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(error.errno, "another process writes this file", file.name) from error


def _trials(content: bytes, path: Path, runs: list[dict[str, Any]] | None = None) -> Iterator[Trial]:
    """The trials of a file, and into `runs` what they come from; an unfinished last line does not count."""
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].split(b"\n")[:-1], 1):
        try:
            values = strict_json(line)
            if isinstance(values, dict) and values.keys() == {"run"}:
                if runs is not None:
                    runs.append(_run(values["run"]))
                continue
            trial = _trial(values)
        except ValueError as error:
            reason = str(error).partition("\n")[0][:200]
            raise ValueError(f"{path}, line {number}: not the record of a trial: {reason}") from error
        yield trial


# ---- what a file may hold ----

LARGEST = 2**53
"""The largest whole number that a file may hold: up to here every whole number is exact as a float."""


def strict_json(data: bytes) -> Any:
    """Return the value of strict JSON in UTF-8; ValueError if it is none, repeats a name or is nested too deeply."""
    return decode(data.decode(), constants=False)


def is_text(value: Any) -> bool:
    """Whether a value is a string that UTF-8 can write, so no half of a surrogate pair."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def is_count(value: Any) -> bool:
    """Whether a value is a whole number, 0 or more, that is exact as a float."""
    return type(value) is int and 0 <= value <= LARGEST


def is_measure(value: Any) -> bool:
    """Whether a value is a number, 0 or more, of which a sum is finite."""
    return is_count(value) or (type(value) is float and 0 <= value <= 1e300)


def _is_curve(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= CURVE_POINTS and all(map(is_measure, value))


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_count, value))


def _are_stages(value: Any) -> bool:
    return isinstance(value, dict) and all(map(is_text, value)) and all(map(is_count, value.values()))


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("row", "task", "reading"), (is_text, "a text")),
    "diverged": (_or_none(is_text), "a text or null"),
    "solved": (lambda value: isinstance(value, bool), "true or false"),
    **dict.fromkeys(
        ("lag", "seed", "max_sequences", "sequences", "steps", "curve_every", "test_sequences"),
        (is_count, "a whole number, 0 or more"),
    ),
    "test_wrong": (_or_none(is_count), "a whole number, 0 or more, or null"),
    "stages": (_are_stages, "an object of whole numbers"),
    "grown": (_are_counts, "a list of whole numbers"),
    "curve": (_is_curve, f"a list of at most {CURVE_POINTS} numbers, 0 or more"),
    **dict.fromkeys(("train_error", "test_error"), (_or_none(is_measure), "a number, 0 or more, or null")),
    **dict.fromkeys(
        ("seconds", "train_seconds", "draw_seconds", "steps_per_second"), (is_measure, "a number, 0 or more")
    ),
}
"""Of each field of a trial, the check of its value and what that value must be, in words."""


def _trial(values: Any) -> Trial:
    """The trial of a line's values; ValueError if they are not those of a trial."""
    if not isinstance(values, dict):
        raise ValueError("it is no object")
    if values.keys() != _FIELDS.keys():
        raise ValueError(f"keys {sorted(_FIELDS.keys() ^ values.keys())} are missing or unknown")
    for name, (check, wanted) in _FIELDS.items():
        if not check(values[name]):
            raise ValueError(f"{name} is not {wanted}")
    return Trial(**values | {"grown": tuple(values["grown"]), "curve": tuple(values["curve"])})


def _run(values: Any) -> dict[str, Any]:
    """The values of a line on a run; ValueError if they are not texts and numbers by name."""
    if not isinstance(values, dict) or not all(
        is_text(name) and (value is None or is_text(value) or is_count(value)) for name, value in values.items()
    ):
        raise ValueError("a run is not an object of texts and whole numbers")
    return values


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(_short(values), separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _short(values: dict[str, Any]) -> dict[str, Any]:
    """Values with times rounded to a millisecond and rates to a step per second, as far as they can be measured."""
    return {
        name: round(value, 3) if isinstance(value, float) and name.endswith("seconds") else value
        for name, value in values.items()
    } | ({"steps_per_second": float(round(values["steps_per_second"]))} if "steps_per_second" in values else {})


def _commit() -> str | None:
    """The commit of the checkout that this very file belongs to; None if it is an installed copy.

    Files are read and no program is run: git would carry out what a folder's configuration says. So it stays unknown
    whether the checkout has changes.
    """
    source = Path(__file__).resolve().parents[3]
    if source.name != "src" or not (source.parent / "pyproject.toml").is_file():
        return None
    try:
        return _commit_of(source.parent / ".git")
    except (OSError, ValueError):
        return None


def _commit_of(git: Path) -> str | None:
    """The first digits of the commit that git's folder, or a file with the name of one, has as its head."""
    if git.is_file():  # in a worktree the folder's place is written in a file
        git = git.parent / git.read_text().removeprefix("gitdir:").strip()
    head = (git / "HEAD").read_text().strip()
    if head.startswith("ref:"):
        ref = head.removeprefix("ref:").strip()
        shared = git / (git / "commondir").read_text().strip() if (git / "commondir").is_file() else git
        if (shared / ref).is_file():
            head = (shared / ref).read_text().strip()
        else:
            packed = [line.split(" ") for line in (shared / "packed-refs").read_text().splitlines()]
            head = next((line[0] for line in packed if line[1:] == [ref]), "")
    return head[:12] if re.fullmatch("[0-9a-f]{40,64}", head) else None


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
