"""Which unit of a network sees which, and how many weights that takes. Knows no arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from lstm97._checks import integer

Bias = Literal["all", "hidden", "gates", "gates_and_output", "none"]
Squash = Literal["logistic", "centered", "centered2", "tanh", "identity"]
Output = Literal["logistic", "identity", "softmax"]
Loss = Literal["squared", "cross_entropy", "huber"]
Recurrence = bool | Literal["self"]
Kind = Literal["cell", "input_gate", "output_gate", "forget_gate", "hidden", "output"]

GATES: tuple[Kind, ...] = ("input_gate", "output_gate", "forget_gate")

LOSSES: dict[str, tuple[Loss, ...]] = {
    "logistic": ("squared", "cross_entropy"),
    "identity": ("squared", "huber"),
    "softmax": ("cross_entropy",),
}
"""What outputs of each kind can learn by; the first is the default."""

MOST_SOURCES = 2**31 - 1
"""The most sources that a unit can have: they are numbered with 32 bits."""

_FLAGS = ("output_gates", "forget_gates", "gate_sources", "input_to_output")
_CHOICES: dict[str, tuple[str, ...]] = {
    "bias": get_args(Bias),
    "input_squash": get_args(Squash),
    "output_squash": get_args(Squash),
    "output": get_args(Output),
}


@dataclass(frozen=True)
class Topology:
    """The units of a network and their connections; frozen and hashable.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Number of input and output units, each at least 1.
    blocks : sequence of int, default (2, 2)
        Number of cells in each memory cell block; the cells of a block share their gates. ``()`` means no cells.
    n_hidden : int, default 0
        Number of conventional (logistic) hidden units.
    output_gates, forget_gates : bool, default True, False
        Whether each block has an output gate (without: ``y_c = h(s_c)``) and a forget gate (without: the cell
        state's self-weight is 1).
    recurrent : bool or "self", default True
        Whether the hidden layer (cells, gates, conventional hidden units) sees its own activations of the step before.
        With "self" each of its units sees its own alone; `lstm97.methods.ElementwiseLSTM` learns such a topology, by
        the whole gradient, and `Network` does not.
    gate_sources : bool, default True
        Whether these recurrent sources include the gates; False: cells and conventional hidden units only. Without
        meaning with ``recurrent="self"``.
    input_to_output : bool, default False
        Whether the outputs see the inputs too. With ``recurrent=False`` this is the paper's connectivity B.
    bias : {"all", "hidden", "gates", "gates_and_output", "none"}, default "all"
        Which units have a bias: every non-input unit, all but the outputs, only the gates, the gates and the outputs,
        none.
    input_squash, output_squash : {"logistic", "centered", "centered2", "tanh", "identity"}
        The paper's g (on a cell's net input, default "centered2", eq. 5) and h (on its state, default "centered",
        eq. 4); their ranges: [0, 1], [-1, 1], [-2, 2], [-1, 1], unbounded.
    output : {"logistic", "identity", "softmax"}, default "logistic"
        The output units. Softmax needs two outputs or more.
    loss : {"squared", "cross_entropy", "huber"}, optional
        What learning makes small: "squared", ``E = 1/2 sum (t - y)**2``, the default of logistic and identity outputs;
        "cross_entropy", that of softmax, and for logistic outputs of each by itself; "huber" for identity outputs,
        squared up to an error of 1 and linear beyond.

    Raises
    ------
    TypeError
        If a number is not an integer or a flag not a bool.
    ValueError
        If a number is out of range, a unit would have more than 2**31 - 1 sources, or a name is unknown.

    References
    ----------
    .. [1] S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997.
    .. [2] F. Gers, J. Schmidhuber and F. Cummins, "Learning to Forget", Neural Computation 12(10), 2000.

    Examples
    --------
    The network of the paper's adding problem:

    >>> Topology(2, 1, blocks=(2, 2)).n_weights
    93
    """

    n_inputs: int
    n_outputs: int
    blocks: tuple[int, ...] = (2, 2)
    n_hidden: int = 0
    output_gates: bool = True
    forget_gates: bool = False
    recurrent: Recurrence = True
    gate_sources: bool = True
    input_to_output: bool = False
    bias: Bias = "all"
    input_squash: Squash = "centered2"
    output_squash: Squash = "centered"
    output: Output = "logistic"
    loss: Loss | None = None

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the dataclass is frozen; fields are normalised once, here
        set_field(self, "n_inputs", integer("n_inputs", self.n_inputs, at_least=1))
        set_field(self, "n_outputs", integer("n_outputs", self.n_outputs, at_least=1))
        set_field(self, "n_hidden", integer("n_hidden", self.n_hidden, at_least=0))
        if isinstance(self.blocks, (str, bytes)) or not isinstance(self.blocks, Iterable):
            raise TypeError(f"blocks must be a sequence of block sizes such as (2, 2), got {self.blocks!r}")
        sizes = tuple(integer(f"blocks[{j}]", size, at_least=1) for j, size in enumerate(self.blocks))
        set_field(self, "blocks", sizes)
        for name in _FLAGS:
            value = getattr(self, name)
            if type(value).__name__ not in ("bool", "bool_"):  # bool, or NumPy's scalar
                raise TypeError(f"{name} must be True or False, got {value!r}")
            set_field(self, name, bool(value))
        if not isinstance(self.recurrent, str) or self.recurrent != "self":
            if type(self.recurrent).__name__ not in ("bool", "bool_"):
                error = ValueError if isinstance(self.recurrent, str) else TypeError
                raise error(f"recurrent must be True, False or 'self', got {self.recurrent!r}")
            set_field(self, "recurrent", bool(self.recurrent))
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
        losses = LOSSES[self.output]
        if self.loss is None:
            set_field(self, "loss", losses[0])
        elif not isinstance(self.loss, str) or self.loss not in losses:
            raise ValueError(
                f"loss must be {' or '.join(map(repr, losses))} with output={self.output!r}, got {self.loss!r}"
            )
        if self.n_inputs > MOST_SOURCES:
            raise ValueError(f"n_inputs is {self.n_inputs}, at most {MOST_SOURCES} are possible")
        for kind in self.units:
            if (n_sources := self.n_sources(kind)) > MOST_SOURCES:
                raise ValueError(
                    f"a unit of kind {kind!r} would have {n_sources} sources, at most {MOST_SOURCES} are possible"
                )
        if self.output == "softmax" and self.n_outputs == 1:
            raise ValueError(
                "output='softmax' with one output is always 1; use 'logistic', or an output for each class"
            )
        if self.n_outputs > MOST_SOURCES:
            raise ValueError(f"n_outputs is {self.n_outputs}, at most {MOST_SOURCES} are possible")

    @property
    def n_blocks(self) -> int:
        """Number of memory cell blocks."""
        return len(self.blocks)

    @property
    def n_cells(self) -> int:
        """Number of memory cells, over all blocks."""
        return sum(self.blocks)

    @property
    def units(self) -> dict[Kind, int]:
        """Number of units of each kind the topology has, in the order of ``Network.weights``."""
        counts: dict[Kind, int] = {
            "cell": self.n_cells,
            "input_gate": self.n_blocks,
            "output_gate": self.n_blocks if self.output_gates else 0,
            "forget_gate": self.n_blocks if self.forget_gates else 0,
            "hidden": self.n_hidden,
            "output": self.n_outputs,
        }
        return {kind: n for kind, n in counts.items() if n}

    @property
    def recurrent_sources(self) -> dict[str, int]:
        """Number of recurrent sources of a unit of the hidden layer by kind, in the order of the sources.

        With ``recurrent="self"`` the one source "self", which is another unit for each.
        """
        if self.recurrent == "self":
            return {"self": 1}
        if not self.recurrent:
            return {}
        order: tuple[Kind, ...] = ("hidden", "cell", *(GATES if self.gate_sources else ()))
        return {kind: self.units[kind] for kind in order if kind in self.units}

    def has_bias(self, kind: Kind) -> bool:
        """Whether units of this kind have a bias."""
        if not isinstance(kind, str) or kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(map(repr, get_args(Kind)))}, got {kind!r}")
        if kind in GATES:
            return self.bias != "none"
        return self.bias in (("all", "gates_and_output") if kind == "output" else ("all", "hidden"))

    def sources(self, kind: Kind) -> dict[str, int]:
        """Number of sources of a unit of this kind, by kind of source, in the order of a weight matrix's columns."""
        if kind == "output":
            found: dict[str, int] = {"input": self.n_inputs * self.input_to_output}
            found |= {"hidden": self.n_hidden, "cell": self.n_cells}
        else:
            found = {"input": self.n_inputs} | self.recurrent_sources
        return found | {"bias": int(self.has_bias(kind))}

    def n_sources(self, kind: Kind) -> int:
        """Number of sources of a unit of this kind, its bias included: the columns of ``Network.weights[kind]``."""
        return sum(self.sources(kind).values())

    @property
    def n_weights(self) -> int:
        """Number of weights, biases included, as the paper counts them."""
        return sum(n * self.n_sources(kind) for kind, n in self.units.items())
