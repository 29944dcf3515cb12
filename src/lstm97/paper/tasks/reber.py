"""Task 1 of the paper: strings of the embedded Reber grammar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm97.paper.tasks._drawing import check, offsets_of
from lstm97.sequences import Sequences

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
    check("n_sequences", n_sequences, 0)
    outer = rng.integers(2, size=n_sequences)
    symbol_of_outer = np.array([REBER.index("T"), REBER.index("P")], np.int32)[outer]
    # All strings walk through the inner grammar side by side; a string that has reached the end stays there.
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
    offsets = offsets_of(lengths + 3)  # where the strings, without their last symbols, begin and end
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
    # The inner string is between T or P and its return; its symbols are inputs one step after they are targets.
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
    check("n_strings", n_strings, 1)
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
