"""The paper's tasks: seeded generators of fresh sequences and their targets.

A generator takes a `numpy.random.Generator`, a number of sequences and the task's own parameters, and returns
`(inputs, targets)`: an `lstm97.Sequences` and what `lstm97.train` wants as targets. All sequences of a call
are written into one flat array, so the cost per sequence stays far below the cost of training on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm97.sequences import Sequences

Floats = NDArray[np.float64]

SHORTEST_LAG = 11
"""The shortest lag of tasks 4 and 5 at which the first ten pairs never include the last pair, whose marker is -1."""

REBER = "BTPSXVE"
"""The symbols of the Reber grammar, in the order of their numbers."""

# The inner grammar: from each node, two edges (symbol, node), each with probability 1/2; node 7 is behind the end.
_REBER_EDGES = (
    (("B", 1), ("B", 1)),
    (("T", 2), ("P", 3)),
    (("S", 2), ("X", 4)),
    (("T", 3), ("V", 5)),
    (("X", 3), ("S", 6)),
    (("P", 4), ("V", 6)),
    (("E", 7), ("E", 7)),
)
_REBER_SYMBOL = np.array([[REBER.index(symbol) for symbol, _ in edges] for edges in _REBER_EDGES], np.int32)
_REBER_NEXT = np.array([[node for _, node in edges] for edges in _REBER_EDGES])
_REBER_END = len(_REBER_EDGES)

TEMPORAL_ORDER = "EBabcdXY"
"""The symbols of the temporal order tasks, in the order of their numbers."""


@dataclass(frozen=True)
class Grammar:
    """Strings of the embedded Reber grammar, and what may follow at each of their steps.

    Attributes
    ----------
    inputs : lstm97.Sequences
        Every string without its last symbol, as numbers of `REBER`.
    targets : lstm97.Sequences
        The next symbol at every step, as a class.
    possible : ndarray of bool, shape (n_steps, 7)
        The symbols that the grammar allows next, at every step of `inputs`.
    """

    inputs: Sequences
    targets: Sequences
    possible: NDArray[np.bool_]


def embedded_reber(rng: np.random.Generator, n_sequences: int) -> Grammar:
    """Draw strings of the embedded Reber grammar (task 1 of the paper).

    B, then T or P, then a string of the inner grammar, then the same T or P again, then E; every choice has probability
    1/2.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where all randomness comes from.
    n_sequences : int
        How many strings to draw; some may be equal.

    Returns
    -------
    Grammar

    Raises
    ------
    ValueError
        If `n_sequences` is negative.
    """
    _check("n_sequences", n_sequences, 0)
    outer = rng.integers(2, size=n_sequences)
    symbol_of_outer = np.array([REBER.index("T"), REBER.index("P")], np.int32)[outer]
    # All strings walk through the inner grammar side by side; who has reached its end waits there.
    node = np.zeros(n_sequences, np.intp)
    columns: list[NDArray[np.int32]] = []
    options: list[NDArray[np.bool_]] = []
    while (inside := node < _REBER_END).any():
        symbols, allowed = np.full(n_sequences, -1, np.int32), np.zeros((n_sequences, len(REBER)), bool)
        edge = rng.integers(2, size=n_sequences)
        here = node[inside]
        symbols[inside] = _REBER_SYMBOL[here, edge[inside]]
        rows = np.flatnonzero(inside)
        allowed[rows, _REBER_SYMBOL[here, 0]] = allowed[rows, _REBER_SYMBOL[here, 1]] = True
        node[inside] = _REBER_NEXT[here, edge[inside]]
        columns.append(symbols)
        options.append(allowed)
    inner = np.array(columns, np.int32).reshape(len(columns), n_sequences).T
    lengths = (inner >= 0).sum(axis=1)
    offsets = _offsets(lengths + 3)  # of the strings without their last symbol
    first, last = offsets[:-1], offsets[1:] - 1
    n_steps = int(offsets[-1])
    inputs, targets = np.empty(n_steps, np.int32), np.empty(n_steps, np.int32)
    possible = np.zeros((n_steps, len(REBER)), bool)
    inside_steps = np.ones(n_steps, bool)
    inside_steps[first] = inside_steps[last] = False
    inputs[first] = REBER.index("B")
    inputs[first + 1] = targets[first] = targets[last - 1] = inputs[last] = symbol_of_outer
    targets[last] = REBER.index("E")
    possible[first, REBER.index("T")] = possible[first, REBER.index("P")] = True
    possible[last - 1, symbol_of_outer] = True
    possible[last, REBER.index("E")] = True
    # Between T or P and its return: the inner string, as inputs one step later than as targets
    is_target = inside_steps.copy()
    is_target[last - 1] = False
    targets[is_target] = inner[inner >= 0]
    possible[is_target] = np.array(options).reshape(len(options), n_sequences, len(REBER)).swapaxes(0, 1)[inner >= 0]
    is_input = inside_steps.copy()
    is_input[first + 1] = False
    inputs[is_input] = inner[inner >= 0]
    return Grammar(Sequences(inputs, offsets), Sequences(targets, offsets), possible)


def embedded_reber_sets(rng: np.random.Generator, n_strings: int = 256) -> tuple[Grammar, Grammar]:
    """Draw a pair of a training set and a test set (task 1 of the paper): no test string is in the training set.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where all randomness comes from.
    n_strings : int, default 256
        Strings of each set. Within a set strings may be equal.

    Returns
    -------
    training, test : Grammar

    Raises
    ------
    ValueError
        If `n_strings` is below 1.
    """
    _check("n_strings", n_strings, 1)
    training = embedded_reber(rng, n_strings)
    known = {sequence.tobytes() for sequence in training.inputs}
    chosen: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]] = []
    while len(chosen) < n_strings:
        drawn = embedded_reber(rng, n_strings)
        begins = drawn.inputs.offsets
        chosen += [
            (sequence, drawn.targets[i], drawn.possible[begins[i] : begins[i + 1]])
            for i, sequence in enumerate(drawn.inputs)
            if sequence.tobytes() not in known
        ]
    inputs, targets, possible = zip(*chosen[:n_strings], strict=True)
    test = Grammar(Sequences.pack(list(inputs)), Sequences.pack(list(targets)), np.concatenate(possible))
    return training, test


def long_lag(
    rng: np.random.Generator, n_sequences: int, lag: int, *, random_middle: bool = False
) -> tuple[Sequences, Sequences]:
    """Draw noise-free sequences with a long time lag (task 2a), or with a random middle (task 2b).

    With p = ``lag`` and p + 1 symbols a1 .. a(p-1), x, y, numbered in this order: (x, a1, ..., a(p-1), x) or (y, a1,
    ..., a(p-1), y), each with probability 1/2. The task is to predict the next symbol at every step.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where all randomness comes from.
    n_sequences : int
        How many sequences to draw.
    lag : int
        The paper's p, at least 2: the last symbol is known p steps before it comes.
    random_middle : bool, default False
        Draw the p - 1 symbols between at random (task 2b) instead of a1 .. a(p-1).

    Returns
    -------
    inputs : lstm97.Sequences
        Symbols, p steps each.
    targets : lstm97.Sequences
        The next symbol at every step, as a class.

    Raises
    ------
    ValueError
        If `n_sequences` is negative or `lag` is below 2.
    """
    _check("n_sequences", n_sequences, 0)
    _check("lag", lag, 2)
    strings = np.empty((n_sequences, lag + 1), np.int32)
    strings[:, 0] = strings[:, -1] = rng.integers(lag - 1, lag, size=n_sequences, endpoint=True)
    strings[:, 1:-1] = rng.integers(lag - 1, size=(n_sequences, lag - 1)) if random_middle else np.arange(lag - 1)
    offsets = np.arange(n_sequences + 1) * lag
    return Sequences(strings[:, :-1].ravel(), offsets), Sequences(strings[:, 1:].ravel(), offsets)


def distractors(
    rng: np.random.Generator, n_sequences: int, lag: int, n_distractors: int
) -> tuple[Sequences, NDArray[np.int32]]:
    """Draw sequences with very long time lags and no local regularities (task 2c of the paper).

    With p = ``n_distractors`` and q = ``lag``: b, then x or y, then q distractors and k more, then e. Symbols are
    numbered a1 .. ap, e, b, x, y. k is geometric: each further element is a distractor with probability 9/10, else e.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where all randomness comes from.
    n_sequences : int
        How many sequences to draw.
    lag : int
        The paper's q; the shortest time lag is q + 1.
    n_distractors : int
        The paper's p.

    Returns
    -------
    inputs : lstm97.Sequences
        Symbols, q + k + 3 steps.
    targets : ndarray of int32, shape (n_sequences,)
        The second symbol as a class, x 0 and y 1, for the last step.

    Raises
    ------
    ValueError
        If `n_sequences` or `lag` is negative, or `n_distractors` below 1.
    """
    _check("n_sequences", n_sequences, 0)
    _check("lag", lag, 0)
    _check("n_distractors", n_distractors, 1)
    p = n_distractors
    more = rng.geometric(0.1, size=n_sequences) - 1
    offsets = _offsets(lag + more + 3)
    classes = rng.integers(2, size=n_sequences, dtype=np.int32)
    values = rng.integers(p, size=int(offsets[-1]), dtype=np.int32)
    values[offsets[:-1]] = p + 1
    values[offsets[:-1] + 1] = p + 2 + classes
    values[offsets[1:] - 1] = p
    return Sequences(values, offsets), classes


def two_sequences(
    rng: np.random.Generator, n_sequences: int, lag: int, n_informative: int, *, variant: str = "a"
) -> tuple[Sequences, Floats]:
    """Draw sequences of the two-sequence problem (task 3 of the paper): noise and signal on the same input line.

    The first N elements tell the class: +1 for class 1, -1 for class 2. All others are Gaussian with mean 0 and
    VARIANCE 0.2.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where all randomness comes from.
    n_sequences : int
        How many sequences to draw.
    lag : int
        The paper's T: lengths are uniform in [T, T + T / 10], both ends included.
    n_informative : int
        The paper's N, from 1 to `lag`.
    variant : {"a", "b", "c"}
        "a": as above. "b": the informative elements carry the same noise too. "c": as "b", and the targets are 0.2 and
        0.8 plus Gaussian noise of variance 0.1.

    Returns
    -------
    inputs : lstm97.Sequences
        Values of shape (n_steps, 1).
    targets : ndarray of float64, shape (n_sequences, 1)
        For the last step: 1 for class 1 and 0 for class 2; with "c" 0.8 and 0.2, noise added.

    Raises
    ------
    ValueError
        If a number is out of range or the variant unknown.
    """
    _check("n_sequences", n_sequences, 0)
    _check("n_informative", n_informative, 1)
    _check("lag", lag, n_informative)
    if variant not in ("a", "b", "c"):
        raise ValueError(f"variant is {variant!r}, expected 'a', 'b' or 'c'")
    offsets = _offsets(_lengths(rng, n_sequences, lag))
    is_class_1 = rng.integers(2, size=n_sequences).astype(bool)
    values = rng.normal(scale=np.sqrt(0.2), size=(int(offsets[-1]), 1))
    informative = offsets[:-1, np.newaxis] + np.arange(n_informative)
    sign = np.where(is_class_1, 1.0, -1.0)[:, np.newaxis]
    values[informative, 0] = sign + (values[informative, 0] if variant != "a" else 0.0)
    targets = noise_free = is_class_1[:, np.newaxis].astype(np.float64)
    if variant == "c":
        targets = 0.2 + 0.6 * noise_free + rng.normal(scale=np.sqrt(0.1), size=noise_free.shape)
    return Sequences(values, offsets), targets


def adding(rng: np.random.Generator, n_sequences: int, lag: int) -> tuple[Sequences, Floats]:
    """Draw sequences of the adding task (task 4 of the paper).

    Every element is a pair (value, marker). One of the first ten pairs is marked 1, then one of the first
    ``lag // 2 - 1`` pairs that are still unmarked. All other markers are 0, except those of the first and the
    last pair, which are always -1. The target, known at the end only, is ``0.5 + (X1 + X2) / 4`` for the
    values X1 and X2 of the two marked pairs.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where all randomness comes from.
    n_sequences : int
        How many sequences to draw.
    lag : int
        The paper's T: lengths are uniform in [T, T + T / 10], both ends included. At least 11.

    Returns
    -------
    inputs : lstm97.Sequences
        Values of shape (n_steps, 2): the value, uniform in [-1, 1), and the marker.
    targets : ndarray of float64, shape (n_sequences, 1)
        One target per sequence, for its last step; in [0, 1].

    Raises
    ------
    ValueError
        If `n_sequences` is negative or `lag` is below 11.

    Notes
    -----
    A first pair that gets marked keeps its marker -1: the network cannot see the mark, and the pair's value
    counts as 0 in the target.
    """
    values, offsets, x1, x2 = _marked_pairs(rng, n_sequences, lag, low=-1.0, unseen=0.0)
    return Sequences(values, offsets), (0.5 + (x1 + x2) / 4.0)[:, np.newaxis]


def multiplication(rng: np.random.Generator, n_sequences: int, lag: int) -> tuple[Sequences, Floats]:
    """Draw sequences of the multiplication task (task 5 of the paper).

    As `adding`, with values in [0, 1) and the product of the two marked ones as the target; a marked first pair, whose
    mark cannot be seen, counts as 1.

    Parameters
    ----------
    rng, n_sequences, lag
        As for `adding`.

    Returns
    -------
    inputs : lstm97.Sequences
        Values of shape (n_steps, 2): the value and the marker.
    targets : ndarray of float64, shape (n_sequences, 1)
        One target per sequence, for its last step; in [0, 1].

    Raises
    ------
    ValueError
        As for `adding`.
    """
    values, offsets, x1, x2 = _marked_pairs(rng, n_sequences, lag, low=0.0, unseen=1.0)
    return Sequences(values, offsets), (x1 * x2)[:, np.newaxis]


def temporal_order(
    rng: np.random.Generator, n_sequences: int, n_relevant: int = 2
) -> tuple[Sequences, NDArray[np.int32]]:
    """Draw sequences of the temporal order tasks (6a with two relevant symbols, 6b with three).

    E first and B last, 100 to 110 symbols; X or Y at random in each relevant place, a, b, c or d in all others.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where all randomness comes from.
    n_sequences : int
        How many sequences to draw.
    n_relevant : {2, 3}
        2: the relevant symbols are at t1 in 10..20 and t2 in 50..60. 3: in 10..20, 33..43 and 66..76. Places are
        counted from 0.

    Returns
    -------
    inputs : lstm97.Sequences
        Symbols, as numbers of `TEMPORAL_ORDER`.
    targets : ndarray of int32, shape (n_sequences,)
        The class for the last step: the relevant symbols as binary digits, X 0 and Y 1, the first the most significant.

    Raises
    ------
    ValueError
        If `n_sequences` is negative or `n_relevant` neither 2 nor 3.
    """
    _check("n_sequences", n_sequences, 0)
    begins = {2: (10, 50), 3: (10, 33, 66)}.get(n_relevant)
    if begins is None:
        raise ValueError(f"n_relevant is {n_relevant}, expected 2 or 3")
    offsets = _offsets(_lengths(rng, n_sequences, 100))
    a, x = TEMPORAL_ORDER.index("a"), TEMPORAL_ORDER.index("X")
    values = rng.integers(a, a + 4, size=int(offsets[-1]), dtype=np.int32)
    values[offsets[:-1]] = TEMPORAL_ORDER.index("E")
    values[offsets[1:] - 1] = TEMPORAL_ORDER.index("B")
    classes = np.zeros(n_sequences, np.int32)
    for begin in begins:
        is_y = rng.integers(2, size=n_sequences, dtype=np.int32)
        values[offsets[:-1] + rng.integers(begin, begin + 10, size=n_sequences, endpoint=True)] = x + is_y
        classes = 2 * classes + is_y
    return Sequences(values, offsets), classes


def _check(name: str, value: int, at_least: int) -> None:
    """ValueError if a number is too small."""
    if value < at_least:
        raise ValueError(f"{name} is {value}, expected {at_least} or more")


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where sequences of these lengths begin and end, one after the other."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _lengths(rng: np.random.Generator, n_sequences: int, lag: int) -> NDArray[np.int64]:
    """Uniform in [T, T + T / 10]."""
    return rng.integers(lag, lag + lag // 10, size=n_sequences, endpoint=True)


def _marked_pairs(
    rng: np.random.Generator, n_sequences: int, lag: int, *, low: float, unseen: float
) -> tuple[Floats, NDArray[np.int64], Floats, Floats]:
    """Pairs (value, marker) of tasks 4 and 5, where their sequences begin, and the values of the two marked ones.

    Values are uniform in [low, 1). A marked first pair counts as `unseen`.
    """
    _check("n_sequences", n_sequences, 0)
    if lag < SHORTEST_LAG:
        raise ValueError(
            f"lag is {lag}, expected {SHORTEST_LAG} or more: "
            "one of the first ten pairs is marked and must not be the last one"
        )
    offsets = _offsets(_lengths(rng, n_sequences, lag))
    start, last = offsets[:-1], offsets[1:] - 1

    first = rng.integers(10, size=n_sequences)
    second = rng.integers(lag // 2 - 1, size=n_sequences)
    second += second >= first  # the pair marked already does not count among the unmarked ones

    values = np.zeros((int(offsets[-1]), 2))
    values[:, 0] = rng.uniform(low, 1.0, size=len(values))
    values[start + first, 1] = 1.0
    values[start + second, 1] = 1.0
    values[start, 1] = -1.0  # after the marks: a marked first pair keeps -1
    values[last, 1] = -1.0

    x1 = np.where(first == 0, unseen, values[start + first, 0])
    x2 = np.where(second == 0, unseen, values[start + second, 0])
    return values, offsets, x1, x2
