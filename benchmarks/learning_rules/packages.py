"""Data sets that Python packages bring along, each loaded without the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PACKAGES = ("river", "statsmodels", "pmdarima", "aeon", "music21")


class MissingPackageError(Exception):
    """A package with data is not installed."""


def package(name: str) -> Any:
    """Import a module of a package that has no types; MissingPackageError if it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackageError(f"{name.partition('.')[0]} is not installed: {error}") from error


@dataclass(frozen=True)
class Series:
    """A series of numbers, equally spaced in time, and the number of observations in its season."""

    name: str
    values: Array
    season: int


def _of_river(name: str) -> Array:
    return np.array([value for _, value in getattr(package("river.datasets"), name)()], dtype=np.float64)


def _of_statsmodels(name: str) -> Any:
    return getattr(package("statsmodels.datasets"), name).load_pandas().data


def _co2() -> Array:
    """Weekly means; the 59 weeks without one have the value of the week before."""
    return np.asarray(_of_statsmodels("co2")["co2"].ffill(), dtype=np.float64)


def _elnino() -> Array:
    """Months of all years in a row."""
    return np.asarray(_of_statsmodels("elnino").drop(columns="YEAR"), dtype=np.float64).ravel()


_SERIES: dict[str, tuple[Callable[[], Array], int]] = {
    "airline": (lambda: _of_river("AirlinePassengers"), 12),
    "trump": (lambda: _of_river("TrumpApproval"), 7),
    "water": (lambda: _of_river("WaterFlow"), 24),
    "sunspots": (lambda: np.asarray(_of_statsmodels("sunspots")["SUNACTIVITY"], dtype=np.float64), 11),
    "co2": (_co2, 52),
    "elnino": (_elnino, 12),
    "taylor": (lambda: np.asarray(package("pmdarima.datasets").load_taylor(), dtype=np.float64), 336),
}


def real_series() -> list[Series]:
    """Load the seven series."""
    return [Series(name, load(), season) for name, (load, season) in _SERIES.items()]


@dataclass(frozen=True)
class Labelled:
    """A stream of observations, each with a class number."""

    name: str
    inputs: Array
    classes: npt.NDArray[np.int64]
    n_classes: int


def labelled_streams() -> list[Labelled]:
    """Load the two streams with classes, in their order."""
    streams = []
    for name in ("Phishing", "Bananas"):
        pairs = list(getattr(package("river.datasets"), name)())
        inputs = np.array([list(x.values()) for x, _ in pairs], dtype=np.float64)
        streams.append(Labelled(name, inputs, np.array([int(y) for _, y in pairs], dtype=np.int64), 2))
    return streams


@dataclass(frozen=True)
class Sequences:
    """Sequences (T_i, n_inputs) of a training and of a test set, each with a class number."""

    name: str
    train: Sequence[Array]
    train_classes: npt.NDArray[np.int64]
    test: Sequence[Array]
    test_classes: npt.NDArray[np.int64]
    n_classes: int


def labelled_sequences() -> list[Sequences]:
    """Load the two sets of sequences, in the parts into which they come."""
    return [_of_aeon("JapaneseVowels", "load_japanese_vowels"), _of_aeon("ItalyPowerDemand", "load_italy_power_demand")]


def _of_aeon(name: str, loader: str) -> Sequences:
    load = getattr(package("aeon.datasets"), loader)
    (train, train_names), (test, test_names) = load(split="train"), load(split="test")
    names, train_classes = np.unique(train_names, return_inverse=True)
    test_classes = np.searchsorted(names, test_names)
    steps_first = [[np.asarray(x, dtype=np.float64).T for x in part] for part in (train, test)]
    return Sequences(name, steps_first[0], train_classes, steps_first[1], test_classes, len(names))
