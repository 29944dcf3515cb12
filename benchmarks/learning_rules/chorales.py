"""Bach's chorales: which of 88 keys sound in the next quarter note, learned in one pass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

import lstm97
from lstm97.methods import Learner

from .packages import package
from .records import Record
from .rules import FOR_ALL_OUTPUTS, RULES, network

Array = npt.NDArray[np.float64]

KEYS, LOWEST = 88, 21
"""Number of keys of a piano, and the lowest's MIDI number."""
CELLS = 32
FLOOR = 1e-6
"""Least probability of what happens, so that no key costs more than 14 nats."""
LOSS = "cross_entropy"
MEASURE = "nats per quarter note of 88 keys, before it is learned"


def load(n_chorales: int) -> list[Array]:
    """Load the first chorales of music21's corpus, in the order of their names: keys (n_quarters, 88) that sound."""
    corpus = package("music21.corpus")
    paths = sorted(str(path) for path in corpus.getComposer("bach") if str(path).endswith(".mxl"))
    return [frames(corpus.parse(path)) for path in paths[:n_chorales]]


def frames(score: object) -> Array:
    """Return which keys sound at each quarter note of a music21 score."""
    notes = score.flatten().notes  # type: ignore[attr-defined]
    found = [(float(note.offset), float(note.quarterLength), [pitch.midi for pitch in note.pitches]) for note in notes]
    sounding = np.zeros((int(max(begin + length for begin, length, _ in found)), KEYS))
    for begin, length, pitches in found:
        first, last = int(np.ceil(begin)), int(np.ceil(begin + length))
        sounding[first:last, [pitch - LOWEST for pitch in pitches]] = 1.0
    return sounding


def nats(p: Array, keys: Array) -> Array:
    """Return the cost of each frame's keys."""
    p = np.clip(p, FLOOR, 1.0 - FLOOR)
    costs: Array = -np.log(np.where(keys > 0, p, 1.0 - p)).sum(axis=1)
    return costs


def frequencies(pieces: list[Array]) -> float:
    """Return the cost if each key is as probable as its frequency so far, with one frame of 1/2 before."""
    keys = np.concatenate(pieces)
    counts = np.arange(1, len(keys) + 1)[:, np.newaxis]
    p = (np.cumsum(keys, axis=0) - keys + 0.5) / counts
    return float(nats(p, keys).mean())


def cost(pieces: list[Array], rule: str, seed: int) -> tuple[float | None, str]:
    """Return the cost of all frames of all pieces; or None and the message of an overflow."""
    net = network(RULES[rule], KEYS, KEYS, cells=CELLS, seed=seed, output="logistic", loss=LOSS)
    return cost_of(net, pieces, RULES[rule].learning_rate)


def cost_of(net: lstm97.Network | Learner, pieces: list[Array], learning_rate: float) -> tuple[float | None, str]:
    """Return what a learner pays for all frames of all pieces, each from a zero state.

    The outputs of the first frame of a piece are for silence before it.
    """
    costs = []
    try:
        for keys in pieces:
            before = np.vstack([np.zeros(KEYS), keys[:-1]])
            net.reset()
            costs.append(nats(net.learn_run(before, keys, learning_rate), keys))
    except FloatingPointError as error:
        return None, str(error)
    return float(np.concatenate(costs).mean()), ""


def measure(n_chorales: int, seeds: range) -> Iterator[Record]:
    """Yield records of all rules, and of the keys' frequencies."""
    pieces = load(n_chorales)
    name = f"{n_chorales} chorales"
    yield Record("chorales", name, "frequencies so far", {}, None, MEASURE, frequencies(pieces))
    for rule in FOR_ALL_OUTPUTS:
        setting = {"cells": CELLS, "rate": RULES[rule].learning_rate}
        for seed in seeds:
            value, note = cost(pieces, rule, seed)
            yield Record("chorales", name, rule, setting, seed, MEASURE, value, note)
