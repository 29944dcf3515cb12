"""How a network and its states lie in memory: the sizes, constants and arrays that `engine` binds to the loops.

Matrices are source-major (row m: from source m to every unit) and their rows padded to whole vectors; `_core.pyx` has
the legend of the names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lstm97.optimizers import PLAIN, SGD, Adam, Learning, RMSprop
from lstm97.topology import GATES, Kind, Squash, Topology

Array = NDArray[Any]

ROW_BYTES = 64
"""Rows are padded to this; every array has as much to spare at its end, since vectors may reach over it."""

BLOCK = 16
"""Steps whose effect on the partials is carried out together."""

BATCH_BLOCK = 128
"""Where sequences step together, the longest block of steps, in place of BLOCK: it is faster, and takes more memory."""

ROWS_TOGETHER = 8
"""Rows of weights that an error signal changes as a group, one kind of unit after the other."""

TOGETHER = 16
"""The most sequences that step together."""

CONFLICT_BYTES = 4096
"""Addresses so far apart, or a multiple of it, compete for the same places of a level-1 cache."""

GROUP_BYTES = 4 * ROW_BYTES
"""The longest row of a group of streams that stand side by side, a lane each."""

LANE_ORDER: tuple[Kind, ...] = ("hidden", "cell", *GATES)
Record = Literal["cell_state", "cell", "input_gate", "output_gate", "forget_gate", "hidden"]

# Lists in the order of enums in abi.pxd.
OUTPUT_KINDS = ("logistic", "identity", "softmax")
RECORDS: tuple[Record, ...] = ("cell_state", "cell", "input_gate", "output_gate", "forget_gate", "hidden")
SQUASH_CONSTANTS = ("scale", "scale_by_ln2", "one_by_scale", "plus", "minus", "c0", "c1", "c2")

LOSSES = ("squared", "cross_entropy", "huber")
RULES = ("plain", "bounded", "momentum", "rmsprop", "adam")
STATISTICS = ("count", "mean", "squares", "deviation")

MOST_KEPT = 16
"""How many arrangements of arrays for batches a layout keeps."""

INT32, UINT8 = np.dtype(np.int32), np.dtype(np.uint8)

MOST_UNITS_ABREAST = 64
"""The hidden-layer units of the largest networks in which the sequences of a batch step abreast, a lane for each."""

TALLY_NUMBERS = 5
"""Numbers of eight bytes in a ``Tally`` of abi.pxd."""

# A squashing function is (plus + minus E) / (1 + E) with E = exp(scale a); its slope, in terms of its value y, is
# c0 + c1 y + c2 y^2. The columns: scale, plus, minus, c0, c1, c2. ("identity" has no E; only its slope is used.)
_SQUASHING: dict[Squash, tuple[float, ...]] = {
    "logistic": (-1, 1, 0, 0, 1, -1),
    "centered": (-1, 1, -1, 1 / 2, 0, -1 / 2),
    "centered2": (-1, 2, -2, 1, 0, -1 / 4),
    "tanh": (-2, 1, -1, 1, 0, -1),
    "identity": (1, 0, 0, 1, 0, 0),
}


def _squash_constants(squash: Squash) -> Array:
    """The constants of a squashing function in the order of ``SQUASH_CONSTANTS``, shape (8, 1)."""
    scale, *others = _SQUASHING[squash]
    return np.array([scale, scale / math.log(2), 1 / abs(scale), *others])[:, np.newaxis]


class Places:
    """Where arrays lie in a block of memory, in which there are n of each: set after set, an array of each name.

    Each array is aligned to ROW_BYTES and has ROW_BYTES to spare. From a set to the next it is an odd multiple of
    ROW_BYTES, so that the same array of several sets does not compete for the same lines of a cache.

    Parameters
    ----------
    n : int
    arrays : dict of str to (tuple of int, dtype)
        Each array's shape and dtype.
    """

    def __init__(self, n: int, arrays: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> None:
        self.n = n
        self.arrays = arrays
        self.begins: dict[str, int] = {}
        """Of each array of the first set, in bytes from where the sets begin: at a multiple of ROW_BYTES in memory."""
        end = 0
        for name, (shape, dtype) in arrays.items():
            self.begins[name] = end
            end += -(-math.prod(shape) * dtype.itemsize // ROW_BYTES) * ROW_BYTES + ROW_BYTES
        self.stride = end + ROW_BYTES * (end // ROW_BYTES % 2 == 0)
        """Bytes from a set to the next."""
        self.n_bytes = n * self.stride + ROW_BYTES
        """Of a block, with what there must be to spare for its alignment."""

    def memory(self) -> Memory:
        """A new block of memory, zero."""
        return Memory(self, np.zeros(self.n_bytes, np.uint8))


class Memory(NamedTuple):
    """A block of memory and where the arrays lie in it."""

    places: Places
    block: Array

    @property
    def views(self) -> dict[str, Array]:
        """The arrays, made anew, with one more axis in front, which counts the sets."""
        places, first = self.places, -self.block.ctypes.data % ROW_BYTES
        views = {}
        for name, (shape, dtype) in places.arrays.items():
            strides = (places.stride, *(math.prod(shape[i + 1 :]) * dtype.itemsize for i in range(len(shape))))
            views[name] = np.ndarray((places.n, *shape), dtype, self.block, first + places.begins[name], strides)
        return views


@dataclass(frozen=True)
class Layout:
    """The sizes of a topology's arrays for one dtype and one way to learn."""

    topology: Topology
    dtype: np.dtype[Any]
    learning: Learning = PLAIN

    def __post_init__(self) -> None:
        if self.topology.recurrent == "self":
            raise ValueError(
                "recurrent='self' is for lstm97.methods.ElementwiseLSTM; a Network takes recurrent=True or False"
            )

    @property
    def takes_partial_targets(self) -> bool:
        """Whether some outputs may have a target at a step and others none; softmax outputs depend on one another."""
        return self.topology.output != "softmax"

    def padded(self, n: int) -> int:
        """The smallest row length that holds n lanes."""
        lanes = ROW_BYTES // self.dtype.itemsize
        return -(-n // lanes) * lanes

    def row_length(self, n: int) -> int:
        """The length of a matrix's rows of n lanes: padded, and a little more where many rows would begin at addresses
        that a cache keeps in the same few places.
        """
        length = self.padded(n)
        is_bad = length > 0 and length * self.dtype.itemsize % CONFLICT_BYTES == 0
        return length + is_bad * self.padded(1)

    @cached_property
    def lanes(self) -> dict[Kind, slice]:
        """Where the kinds of hidden-layer units stand in a row, in the order of ``LANE_ORDER``."""
        found: dict[Kind, slice] = {}
        begin = 0
        for kind in LANE_ORDER:
            if n := self.topology.units.get(kind, 0):
                found[kind] = slice(begin, begin + n)
                begin += n
        return found

    @property
    def n_steering(self) -> int:
        """Kinds of weights that have partials: into the cell, its input gate, its forget gate."""
        return 2 + self.topology.forget_gates

    @property
    def n_bytes(self) -> int:
        """About how much memory a network of this layout and its state take, before it is made."""
        sizes = self.sizes
        reals = sizes["n_sources"] * sizes["n_lanes"] + sizes["n_out_sources"] * sizes["n_out_lanes"]
        reals += sum(map(math.prod, self._state_shapes(BLOCK, symbols=False, learns=True).values()))
        reals += sum(map(math.prod, self._memory_shapes().values()))
        return self.dtype.itemsize * reals

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Every number of ``Shape`` in abi.pxd, and no other."""
        t = self.topology
        lanes = self.lanes
        n_units = sum(n for kind, n in t.units.items() if kind != "output")
        n_unbiased = t.n_inputs + sum(t.recurrent_sources.values())
        has_bias_row = any(t.has_bias(kind) for kind in lanes)
        n_blocks = t.n_blocks
        return {
            "n_inputs": t.n_inputs,
            "n_hidden": t.n_hidden,
            "n_cells": t.n_cells,
            "n_blocks": n_blocks,
            "n_outputs": t.n_outputs,
            "n_sources": n_unbiased + has_bias_row,
            "n_lanes": self.row_length(n_units),
            "n_change_lanes": self.row_length(n_units) + ROW_BYTES // self.dtype.itemsize,
            "n_block": BLOCK,
            "rows_together": ROWS_TOGETHER,
            "largest_block": max(t.blocks, default=0) if self.padded(n_units) <= 2 * self.padded(1) else 0,
            "n_units": n_units,
            "n_cell_lanes": self.padded(t.n_cells),
            "n_partials": self.row_length(self.n_steering * t.n_cells),
            "n_carried": self.padded(t.n_cells + (self.n_steering - 1) * n_blocks),
            "n_direct": self.padded(t.n_hidden + t.output_gates * n_blocks),
            "n_out_sources": t.n_sources("output"),
            "n_out_lanes": self.padded(t.n_outputs),
            "lane_cell": t.n_hidden,
            "lane_in": lanes["input_gate"].start if n_blocks else -1,
            "lane_out": lanes["output_gate"].start if n_blocks and t.output_gates else -1,
            "lane_forget": lanes["forget_gate"].start if n_blocks and t.forget_gates else -1,
            "bias_source": n_unbiased if has_bias_row else -1,
            "recurrent": bool(t.recurrent),
            "gate_sources": t.gate_sources,
            "input_to_output": t.input_to_output,
            "output_bias": t.has_bias("output"),
            "single_cells": all(size == 1 for size in t.blocks),
            "block_size": max(t.blocks) if len(set(t.blocks)) == 1 else 0,
            "looks_ahead": n_blocks > 0
            and max(t.blocks) == 1
            and t.output_gates
            and t.n_hidden == 0
            and len({t.has_bias(kind) for kind in lanes}) == 1,
            "g_is_identity": t.input_squash == "identity",
            "h_is_identity": t.output_squash == "identity",
            "output": OUTPUT_KINDS.index(t.output),
            "loss": LOSSES.index(str(t.loss)),
        }

    def network_arrays(self) -> dict[str, Array]:
        """The constants, the weights (zero) and the memory of learning (as at the beginning) of one network."""
        t, sizes = self.topology, self.sizes
        n_lanes = sizes["n_lanes"]
        squash = np.repeat(_squash_constants("logistic"), n_lanes, axis=1)
        is_g, has_bias = np.zeros(n_lanes), np.zeros(n_lanes)
        for kind, where in self.lanes.items():
            has_bias[where] = t.has_bias(kind)
            if kind == "cell":
                is_g[where] = 1
                squash[:, where] = _squash_constants(t.input_squash)
        block_of = np.repeat(np.arange(t.n_blocks, dtype=np.int32), t.blocks)
        sum_of, is_summed = self._block_sums(block_of)
        constants = {
            "is_summed": is_summed,
            "is_partial": np.arange(sizes["n_partials"]) // max(1, t.n_cells) == np.arange(3)[:, np.newaxis],
            "is_continued": np.diff(block_of, prepend=-1) == 0,
            "squash": squash,
            "squash_h": np.repeat(_squash_constants(t.output_squash), ROW_BYTES // self.dtype.itemsize, axis=1),
            "squash_g": np.repeat(_squash_constants(t.input_squash), ROW_BYTES // self.dtype.itemsize, axis=1),
            "logistic": np.repeat(_squash_constants("logistic"), ROW_BYTES // self.dtype.itemsize, axis=1),
            "is_g": is_g,
            "is_cell": (np.arange(sizes["n_cell_lanes"]) < t.n_cells).astype(float),
            "is_output": (np.arange(sizes["n_out_lanes"]) < t.n_outputs).astype(float),
            "has_bias": has_bias,
        }
        shapes: dict[str, tuple[int, ...]] = {name: values.shape for name, values in constants.items()}
        shapes |= {"w": (sizes["n_sources"], n_lanes), "w_out": (sizes["n_out_sources"], sizes["n_out_lanes"])}
        shapes |= self._memory_shapes()
        arrays = {name: array[0] for name, array in self._places(1, shapes).memory().views.items()}
        for name, values in constants.items():
            arrays[name][...] = values
        arrays["block_of"] = block_of
        arrays["lane_of"] = self._lanes_of_cells(block_of)
        arrays["cell_of"] = np.arange(sizes["n_partials"]).astype(arrays["lane_of"].dtype) % max(1, t.n_cells)
        arrays["sum_of"] = sum_of
        if readout := self.learning.readout:
            np.fill_diagonal(arrays["root"], math.sqrt(readout.prior))
        arrays["n_updates"] = np.zeros(1, np.int64)
        for name, n in self.scaled().items():
            arrays[f"statistics_of_{name}"] = np.zeros((n, len(STATISTICS)))
        return arrays

    def complete(self, arrays: dict[str, Array]) -> None:
        """Fill in what follows from the memory of learning, after `memory_views` were written."""
        for name in self.scaled():
            count, _, squares, deviation = arrays[f"statistics_of_{name}"].T
            deviation[...] = np.sqrt(squares / np.maximum(count, 1))  # a count is 0 or at least 1

    @property
    def rule(self) -> str:
        """The optimizer's name among `RULES`."""
        match self.learning.optimizer:
            case RMSprop():
                return "rmsprop"
            case Adam():
                return "adam"
            case SGD(momentum=0, bound=bound):
                return "plain" if bound is None else "bounded"
        return "momentum"

    @property
    def rule_kind(self) -> int:
        """The optimizer as a RuleKind of abi.pxd."""
        return RULES.index(self.rule)

    @property
    def n_kept(self) -> int:
        """How many numbers `network.kept_of` has."""
        n = self.topology.n_weights + 3 * sum(self.scaled().values())
        return n + self.sizes["n_out_sources"] ** 2 * bool(self.learning.readout)

    @property
    def kept_dtype(self) -> np.dtype[Any]:
        """The dtype of these numbers: statistics are float64."""
        return np.dtype(np.float64) if self.scaled() else self.dtype

    def _memory_shapes(self) -> dict[str, tuple[int, ...]]:
        """The arrays of reals that learning keeps from update to update."""
        sizes = self.sizes
        w = (sizes["n_sources"], sizes["n_lanes"])
        w_out = (sizes["n_out_sources"], sizes["n_out_lanes"])
        shapes: dict[str, tuple[int, ...]] = {}
        for name in self.memory_names():
            shapes |= {name: w, f"{name}_out": w_out}
        if self.learning.readout:
            shapes["root"] = (w_out[0], self.padded(w_out[0]))
        return shapes

    def memory_names(self) -> tuple[str, ...]:
        """Which numbers the optimizer keeps for each weight: m of gradients, v of their squares."""
        return {"momentum": ("m",), "rmsprop": ("v",), "adam": ("m", "v")}.get(self.rule, ())

    def scaled(self) -> dict[str, int]:
        """How many inputs and targets are scaled, by the names of their statistics."""
        t, scaling = self.topology, self.learning.scaling
        found = {}
        if scaling and scaling.inputs:
            found["inputs"] = t.n_inputs
        if scaling and scaling.targets and t.output == "identity":
            found["targets"] = t.n_outputs
        return found

    def memory_views(self, arrays: dict[str, Array]) -> dict[str, Array]:
        """What learning keeps from update to update, by the names in files: views of a network's arrays.

        `memory.m` and `memory.v` by kind of unit, shape (units, sources): sums in which each gradient, or its square,
        counts `kept` times at each later update; Adam's means are these times 1 - beta1 and 1 - beta2, RMSprop's times
        1 - decay, SGD's momentum is m itself. `memory.updates`, (1,): how many there were. `readout.root`,
        (sources, sources) of the outputs; `scaling.inputs` and `scaling.targets`: count, mean and squared differences
        from it of each column, (columns, 3).
        """
        found: dict[str, Array] = {}
        if not self.learning.is_plain:
            found["memory.updates"] = arrays["n_updates"]
        for name in self.memory_names():
            views = self.weight_views({"w": arrays[name], "w_out": arrays[f"{name}_out"]})
            found |= {f"memory.{name}.{kind}": view for kind, view in views.items()}
        if "root" in arrays:
            found["readout.root"] = arrays["root"][:, : self.sizes["n_out_sources"]]
        for name in self.scaled():
            found[f"scaling.{name}"] = arrays[f"statistics_of_{name}"][:, : STATISTICS.index("deviation")]
        return found

    def _block_sums(self, block_of: Array) -> tuple[Array, Array]:
        """Which products of errors and partials make the change of a unit's weight, for small networks.

        In row p, lane u: the lane of the partials whose product is the p-th to be summed for unit u, and 1; or any
        lane, and 0. Shapes (cells of the largest block, n_lanes).
        """
        t, sizes = self.topology, self.sizes
        n_rows = sizes["largest_block"]
        lane = np.zeros((n_rows, sizes["n_lanes"]), np.dtype(f"i{self.dtype.itemsize}"))
        is_summed = np.zeros(lane.shape)
        if not n_rows:
            return lane, is_summed
        units = self.lanes
        cells = np.arange(t.n_cells)
        row = cells - np.searchsorted(block_of, block_of)
        lane[0, units["cell"]], is_summed[0, units["cell"]] = cells, 1
        for i, kind in enumerate(kind for kind in ("input_gate", "forget_gate") if kind in units):
            u = units[kind].start + block_of
            lane[row, u], is_summed[row, u] = (1 + i) * t.n_cells + cells, 1
        return lane, is_summed

    def _lanes_of_cells(self, block_of: Array) -> Array:
        """The lanes of each cell and its block's gates, shape (4, lanes of a row): cell, input, output, forget gate."""
        sizes = self.sizes
        lanes = ROW_BYTES // self.dtype.itemsize
        n = min(lanes, self.topology.n_cells)
        # Where there is no cell, all four are an input gate: it adds at most 1 to that lane's state.
        found = np.full((4, lanes), max(0, sizes["lane_in"]), np.dtype(f"i{self.dtype.itemsize}"))
        found[0, :n] = sizes["lane_cell"] + np.arange(n)
        for row, kind in enumerate(("in", "out", "forget"), start=1):
            found[row, :n] = max(0, sizes[f"lane_{kind}"]) + block_of[:n]
        return found

    @cached_property
    def state_places(self) -> Places:
        """Where the arrays of a state lie."""
        return self._state_places(1, BLOCK, self._state_shapes(BLOCK, symbols=False, learns=True))

    @cached_property
    def preview_places(self) -> Places:
        """Where those of the state lie in which `peek` makes its step of inference."""
        return self._state_places(1, 1, self._state_shapes(1, symbols=False) | {"ds_dw": (0, self.sizes["n_partials"])})

    def step_work(self, *, symbols: bool) -> int:
        """How many weights a step reads, with padding: of symbols, a row of each matrix at most is read."""
        sizes = self.sizes
        unread = symbols * sizes["n_inputs"]
        hidden = (sizes["n_sources"] - unread) * sizes["n_lanes"]
        return hidden + (sizes["n_out_sources"] - unread * sizes["input_to_output"]) * sizes["n_out_lanes"]

    def batch_arrays(self, size: int) -> dict[str, Array]:
        """The arrays of a batch of `size` sequences beside the sum of all their changes, zero."""
        n_rows = self.sizes["n_sources"] + self.sizes["n_out_sources"]
        return {"tallies": np.zeros((size, TALLY_NUMBERS)), "row_squares": np.zeros(n_rows)}

    def sums_memory(self, n: int) -> Memory:
        """The arrays of n sums of changes of the weights."""
        return self._kept_places(self._sums_places, n).memory()

    def _sums_places(self, n: int) -> Places:
        sizes = self.sizes
        shapes: dict[str, tuple[int, ...]] = {
            "dw": (sizes["n_sources"], sizes["n_change_lanes"]),
            "dw_out": (sizes["n_out_sources"], sizes["n_out_lanes"]),
        }
        return self._places(n, shapes, seen=((sizes["n_inputs"],), INT32), is_seen=((sizes["n_inputs"],), UINT8))

    def width_abreast(self, batch_size: int) -> int:
        """How many sequences of a batch step abreast, a lane for each, in small networks: one or two rows of lanes, so
        that large batches have shares for several threads. 0 in other networks, whose loops have a lane for each unit.
        """
        lanes = self.padded(1)
        if self.sizes["n_units"] > MOST_UNITS_ABREAST or batch_size < self.worth_abreast * lanes:
            return 0
        return 2 * lanes if batch_size >= 4 * lanes else lanes

    @property
    def worth_abreast(self) -> float:
        """The least share of lanes in use with which sequences of a batch step faster abreast, about as measured: a
        third with 8 units in float32, almost all where units fill vectors too.
        """
        return min(0.9, (self.sizes["n_units"] + 12) * self.dtype.itemsize / 256)

    def worker_memory(self, size: int, longest: int, width: int, *, symbols: bool) -> tuple[Memory, Memory, Memory]:
        """The arrays that train shares of `size` sequences, of symbols or not, of up to `longest` steps.

        First those of each of the members, which step together, then those that they share, then those of sequences
        that step abreast, `width` of them.
        """
        n_block = max(1, min(longest, BATCH_BLOCK))
        is_whole = longest <= n_block  # no step comes after the first block
        return (
            self._kept_places(self._member_places, min(size, TOGETHER), n_block, is_whole, symbols).memory(),
            self._kept_places(self._shared_places, n_block).memory(),
            self._kept_places(self._abreast_places, width, n_block * (width > 0), is_whole).memory(),
        )

    def _member_places(self, n: int, n_block: int, is_whole: bool, symbols: bool) -> Places:
        """Where the arrays of n members lie, whose sequences may be whole within a block."""
        sizes = self.sizes
        shapes = self._state_shapes(n_block, symbols=symbols)
        shapes |= {"signals_e_s": (n_block, sizes["n_cell_lanes"]), "signals_e": (n_block, sizes["n_direct"])}
        if is_whole:
            shapes["ds_dw"] = (0, sizes["n_partials"])  # no step comes after the first block, so they are not used
        return self._state_places(n, n_block, shapes, signals=((n_block,), INT32))

    def _shared_places(self, n_block: int) -> Places:
        cells, changes = self.sizes["n_cell_lanes"], self.sizes["n_change_lanes"]
        return self._places(1, {"carried_e_s": (cells,), "delta": (n_block, changes)})

    def _abreast_places(self, width: int, n_block: int, is_whole: bool) -> Places:
        """Where the arrays of `width` sequences lie that step abreast, and those of a block of their steps."""
        t, sizes = self.topology, self.sizes
        n_partials = self.n_steering * t.n_cells
        of_block = {
            "z": sizes["n_sources"],
            "coef": n_partials,
            "decay": t.n_cells * t.forget_gates,
            "e": t.n_hidden + t.n_blocks,
            "e_s": t.n_cells,
        }
        of_step = {"act": sizes["n_units"], "new_act": sizes["n_units"], "y": t.n_outputs, "target": t.n_outputs}
        of_step |= {"e_k": t.n_outputs, "present": 1, "weight": 1}
        of_step |= dict.fromkeys(("y_c", "new_y_c", "s_c", "new_s_c", "h", "carried"), t.n_cells)
        shapes: dict[str, tuple[int, ...]] = {name: (n_block, n, width) for name, n in of_block.items()}
        shapes |= {name: (n, width) for name, n in of_step.items()}
        shapes |= {"ds_dw": (0 if is_whole else sizes["n_sources"], n_partials, width)}
        return self._places(
            1,
            shapes,
            at=((width,), np.dtype(np.int64)),
            has_partials=((1,), UINT8),
            signals=((n_block,), INT32),
        )

    def _kept_places(self, find: Callable[..., Places], *arguments: int) -> Places:
        """What `find` gives for these arguments, kept for the next call: it takes as long as a short training."""
        kept, key = self._found_places, (find.__name__, *arguments)
        if (places := kept.get(key)) is None:
            if len(kept) >= MOST_KEPT:
                kept.clear()
            places = kept[key] = find(*arguments)
        return places

    @cached_property
    def _found_places(self) -> dict[tuple[object, ...], Places]:
        return {}

    def streams_width(self, n: int) -> int:
        """How many streams of n make a group: about equal groups of whole rows, of `GROUP_BYTES` at the most."""
        n_groups = -(-n * self.dtype.itemsize // GROUP_BYTES)
        return self.padded(-(-n // n_groups))

    def streams_memory(self, n: int) -> Memory:
        """The arrays of n streams side by side, but for their partials, and of the sum of their changes."""
        t, sizes, width = self.topology, self.sizes, self.streams_width(n)
        n_groups = -(-n // width)
        n_partials = self.n_steering * t.n_cells
        rows = {
            "z": sizes["n_sources"],
            "new_act": sizes["n_units"],
            "new_y_c": t.n_cells,
            "new_s_c": t.n_cells,
            "h": t.n_cells,
            "y": t.n_outputs,
            "target": t.n_outputs,
            "e_k": t.n_outputs,
            "e": t.n_hidden + t.n_blocks,
            "e_s": t.n_cells,
            "coef": n_partials,
            "decay": t.n_cells,
        }
        shapes: dict[str, tuple[int, ...]] = {name: (n_rows, width) for name, n_rows in rows.items()}
        shapes |= {"present": (width,), "weight": (width,)}
        shapes |= {"act": (n_groups, sizes["n_units"], width)}
        shapes |= dict.fromkeys(("y_c", "s_c"), (n_groups, t.n_cells, width))
        n_signals = n * bool(self.learning.readout)
        n_root_lanes = self.padded(sizes["n_out_sources"])
        shapes |= {"sources": (n_signals, n_root_lanes), "signals": (n_signals, t.n_outputs), "weights": (n_signals,)}
        shapes |= {"gain": (2, n_root_lanes), "error": (sizes["n_out_lanes"],)}
        shapes |= {"dw": (sizes["n_sources"], sizes["n_change_lanes"])}
        shapes |= {"dw_out": (sizes["n_out_sources"], sizes["n_out_lanes"])}
        return self._places(
            1,
            shapes,
            phase=((n,), UINT8),
            has_partials=((n_groups,), UINT8),
            seen_by=((n_groups, t.n_inputs, width), UINT8),
            n_seen=((n_groups, t.n_inputs), INT32),
            rows=((n_groups, t.n_inputs), INT32),
            n_rows=((n_groups,), np.dtype(np.int64)),
            statistics_before=((t.n_outputs, len(STATISTICS)), np.dtype(np.float64)),
            seen=((t.n_inputs,), INT32),
            is_seen=((t.n_inputs,), UINT8),
        ).memory()

    def streams_partials(self, n: int) -> Array:
        """The partials of n streams side by side, zero."""
        width = self.streams_width(n)
        shape = (-(-n // width), self.sizes["n_sources"], self.n_steering * self.topology.n_cells, width)
        found: Array = self._places(1, {"ds_dw": shape}).memory().views["ds_dw"][0]
        return found

    def _state_shapes(self, n_block: int, *, symbols: bool, learns: bool = False) -> dict[str, tuple[int, ...]]:
        """The arrays of reals of a state that settles its partials every `n_block` steps.

        A state for symbols alone has no inputs among its sources. One that `learns` changes the weights itself, not by
        the sums of a batch.
        """
        sizes = self.sizes
        collects = learns and not self.learning.is_plain
        n_rows = sizes["n_sources"] if self.learning.optimizer.bound else ROWS_TOGETHER
        n_sources = sizes["n_sources"] - symbols * sizes["n_inputs"]
        lanes, cells, out_lanes = sizes["n_lanes"], sizes["n_cell_lanes"], sizes["n_out_lanes"]
        n_partials = sizes["n_partials"]
        return {
            "act": (lanes,),
            "y_c": (cells,),
            "s_c": (cells,),
            "ds_dw": (sizes["n_sources"], n_partials),
            "z_block": (n_block, self.padded(n_sources)),
            "coef_block": (n_block, n_partials),
            "decay_block": (n_block, n_partials if self.topology.forget_gates else 0),
            "h": (cells,),
            "y": (out_lanes,),
            "s_before": (cells,),
            "gates": (3, cells),
            "decay": (n_partials,),
            "target": (out_lanes,),
            "e_k": (out_lanes,),
            "eps": (sizes["n_hidden"] + cells,),
            "e": (lanes,),
            "e_s": (cells,),
            "sums": (ROWS_TOGETHER, cells),
            "g": (n_rows * collects, sizes["n_change_lanes"]),
            "g_out": (sizes["n_out_sources"] * collects, out_lanes),
            "gain": (2 * bool(learns and self.learning.readout), self.padded(sizes["n_out_sources"])),
            "net_in": (lanes * learns,),
        }

    def _state_places(
        self, n: int, n_block: int, shapes: dict[str, tuple[int, ...]], **more: tuple[tuple[int, ...], np.dtype[Any]]
    ) -> Places:
        """Where the arrays of n states lie, with arrays of reals of these shapes."""
        n_sources = self.sizes["n_sources"]
        return self._places(
            n,
            shapes,
            symbols=((n_block,), INT32),
            rows=((n_sources,), INT32),
            is_listed=((n_sources,), UINT8),
            **more,
        )

    def _places(
        self, n: int, shapes: dict[str, tuple[int, ...]], **more: tuple[tuple[int, ...], np.dtype[Any]]
    ) -> Places:
        """Where n sets of arrays of reals of these shapes lie, and of others of given dtypes."""
        return Places(n, {name: (shape, self.dtype) for name, shape in shapes.items()} | more)

    def copy(self, array: Array) -> Array:
        """A copy that the loops can work on."""
        found: Array = self._places(1, {"copy": array.shape}).memory().views["copy"][0]
        found[...] = array
        return found

    def weight_views(self, arrays: dict[str, Array]) -> dict[Kind, Array]:
        """Each kind's weights as a view (units, sources) of the source-major rows."""
        t = self.topology
        views: dict[Kind, Array] = {}
        for kind in t.units:
            if kind == "output":
                views[kind] = arrays["w_out"][:, : t.n_outputs].T
            else:
                views[kind] = arrays["w"][: t.n_sources(kind), self.lanes[kind]].T
        return views


def stated() -> dict[str, Any]:
    """The sizes and orders that abi.pxd and lanes.h state too: `engine` compares them when it is imported."""
    return {
        "ROW_BYTES": ROW_BYTES,
        "TALLY_NUMBERS": TALLY_NUMBERS,
        "OUTPUT_KINDS": OUTPUT_KINDS,
        "LOSSES": LOSSES,
        "RULES": RULES,
        "STATISTICS": STATISTICS,
        "RECORDS": RECORDS,
        "SQUASH_CONSTANTS": SQUASH_CONSTANTS,
    }


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """float32 or float64 in the machine's byte order."""
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError) as error:
        raise TypeError(f"dtype must be 'float64' or 'float32', got {dtype!r}") from error
    if found not in (np.dtype("float64"), np.dtype("float32")):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    return np.dtype(found.name)  # whose byte order is written as buffers write the machine's own
