"""Which unit of a simple recurrent net sees which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lstm97.extend import integer

Squash = Literal["logistic", "tanh", "identity"]
Recurrence = Literal["all", "self"] | Sequence[Sequence[bool]]

SQUASHES: tuple[Squash, ...] = ("logistic", "tanh", "identity")


@dataclass(frozen=True, kw_only=True)
class RecurrentTopology:
    """A recurrent layer, and outputs that are part of it or a layer behind it.

    The recurrent layer sees the inputs and its own activations of the step before. Outputs either belong to it, so that
    every unit sees every other, or are a layer of their own, which sees the recurrent layer's new activations.

    Parameters
    ----------
    n_inputs, n_outputs : int
        1 or more.
    n_hidden : int
        Hidden units, all recurrent. 0 or more; at least 1 where outputs are a layer of their own.
    fully_recurrent : bool, default False
        Whether the outputs belong to the recurrent layer, as its last units.
    recurrence : {"all", "self"} or matrix of bool, default "all"
        Which units of the recurrent layer a unit sees: all, itself only, or unit j if ``recurrence[unit][j]``.
    input_to_output : bool, default False
        Whether outputs that are a layer of their own see the inputs too.
    bias : bool, default False
        Whether all units have a bias.
    squash : {"logistic", "tanh", "identity"}, default "logistic"
        The activation function of the recurrent layer.
    output : {"logistic", "tanh", "identity"}, default "logistic"
        The activation function of outputs that are a layer of their own; ignored otherwise.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    The nets of the LSTM paper's comparisons, in its counts of weights: RTRL on the embedded Reber grammar, an Elman net
    there, and one self-recurrent hidden unit for the noise-free sequences:

    >>> RecurrentTopology(n_inputs=7, n_outputs=7, n_hidden=3, fully_recurrent=True).n_weights
    170
    >>> RecurrentTopology(n_inputs=7, n_outputs=7, n_hidden=15).n_weights
    435
    >>> RecurrentTopology(n_inputs=101, n_outputs=101, n_hidden=1, input_to_output=True).n_weights
    10404
    """

    n_inputs: int
    n_outputs: int
    n_hidden: int
    fully_recurrent: bool = False
    recurrence: Recurrence = "all"
    input_to_output: bool = False
    bias: bool = False
    squash: Squash = "logistic"
    output: Squash = "logistic"

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the dataclass is frozen; fields are normalised once, here
        set_field(self, "n_inputs", integer("n_inputs", self.n_inputs, at_least=1))
        set_field(self, "n_outputs", integer("n_outputs", self.n_outputs, at_least=1))
        for name in ("fully_recurrent", "input_to_output", "bias"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
            set_field(self, name, bool(getattr(self, name)))
        set_field(self, "n_hidden", integer("n_hidden", self.n_hidden, at_least=0 if self.fully_recurrent else 1))
        for name in ("squash", "output"):
            if getattr(self, name) not in SQUASHES:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, SQUASHES))}, got {getattr(self, name)!r}")
        if self.fully_recurrent and self.input_to_output:
            raise ValueError(
                "input_to_output=True needs outputs that are a layer of their own, not fully_recurrent=True"
            )
        if isinstance(self.recurrence, str):
            if self.recurrence not in ("all", "self"):
                raise ValueError(f"recurrence must be 'all', 'self' or a matrix of bool, got {self.recurrence!r}")
        else:
            matrix = np.asarray(self.recurrence)
            if matrix.dtype != np.bool_ or matrix.shape != (self.n_units, self.n_units):
                raise ValueError(
                    f"recurrence has dtype {matrix.dtype} and shape {matrix.shape}, "
                    f"expected bool and ({self.n_units}, {self.n_units})"
                )
            set_field(self, "recurrence", tuple(map(tuple, matrix.tolist())))

    @property
    def n_units(self) -> int:
        """Number of units of the recurrent layer."""
        return self.n_hidden + self.n_outputs * self.fully_recurrent

    @property
    def n_sources(self) -> int:
        """Number of sources of the recurrent layer: inputs, its units at the step before, the bias."""
        return self.n_inputs + self.n_units + self.bias

    @property
    def n_output_sources(self) -> int:
        """Number of sources of outputs that are a layer of their own: inputs, recurrent units, the bias."""
        return 0 if self.fully_recurrent else self.n_inputs * self.input_to_output + self.n_units + self.bias

    @property
    def sees(self) -> NDArray[np.bool_]:
        """Which unit of the recurrent layer sees which, shape (n_units, n_units)."""
        if isinstance(self.recurrence, str):
            return np.ones((self.n_units,) * 2, bool) if self.recurrence == "all" else np.eye(self.n_units, dtype=bool)
        return np.array(self.recurrence, bool)

    @property
    def n_numbers(self) -> int:
        """Number of weights in memory and in files, those of absent connections included."""
        return self.n_units * self.n_sources + self.n_outputs * self.n_output_sources

    @property
    def n_weights(self) -> int:
        """Number of weights, biases included; absent connections have none."""
        absent = int(np.count_nonzero(~self.sees))
        return self.n_numbers - absent
