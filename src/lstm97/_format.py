"""What the files of networks, states and checkpoints hold, and how it is checked. The format: docs/keeping-alive.md.

Everything is stored by name and never pickled. This module knows no Network: it takes and returns layouts, arrays and
numbers.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstm97._checks import COUNTABLE, integer
from lstm97._files import CODES, decode, open_regular, read_arrays, read_header
from lstm97._kernel.layout import BLOCK, Layout
from lstm97.history import COUNTS, WINDOW_NUMBERS
from lstm97.optimizers import PLAIN, RLS, SGD, Adam, Learning, RMSprop, Scaling
from lstm97.topology import Topology

Array = NDArray[Any]

FORMAT = "2"
READABLE = ("1", FORMAT)
"""Formats that are read. In format 1 a state lacks the bound of its partials."""

HEADER_LIMIT = 1_000_000
"""The longest header in bytes. Topologies with so many blocks that they need more cannot be saved."""

FREE_MEMORY = 2**26
MEMORY_PER_BYTE = 100
"""A file's network may need FREE_MEMORY bytes, and MEMORY_PER_BYTE more per byte of data: padding takes less."""

MOST_MEAN = {"float32": 2.0**60, "float64": 2.0**600}
"""What the sums of gradients that an optimizer keeps are below; see OF_MEAN in lanes.h."""

STATE, TRAINING, STREAMS = "state.", "training.", "streams."
"""The prefixes of names of tensors that belong to a state, or to a checkpoint."""

UPDATES = "memory.updates"
"""The name of the tensor that counts the updates of the weights."""

NUMBERS = (*COUNTS, "run", "epoch", "position", "ended", "stopped", "seconds", "window", "generator", "sizes")
"""The values that a checkpoint has of its training beside tensors."""

MORE_NUMBERS = ("is_judged", "rate")
"""Further values of a checkpoint, which files of runs that do not need them lack."""

PHASES = ("not learning", "awaiting", "corrected")  # numbered as Phase in abi.pxd


class Part(NamedTuple):
    """What one tensor of a file must be; None stands for a number of rows that the file chooses, up to `most_rows`."""

    dtype: str
    shape: tuple[int | None, ...]
    most_rows: int = 0

    def fits(self, shape: tuple[Any, ...]) -> bool:
        """Whether a tensor may have this shape, which comes from a file and can be any tuple."""
        return len(shape) == len(self.shape) and all(
            type(n) is int and (0 <= n <= self.most_rows if m is None else n == m)
            for n, m in zip(shape, self.shape, strict=True)
        )


class Contents(NamedTuple):
    """What a file holds, checked against its own header."""

    topology: Topology
    dtype: str
    learning: Learning
    metadata: dict[str, str]
    tensors: dict[str, Array]

    def group(self, prefix: str) -> dict[str, Array]:
        """The tensors whose names have this prefix, by the rest of their names."""
        return {name[len(prefix) :]: array for name, array in self.tensors.items() if name.startswith(prefix)}


# ---- files ----


def read(path: str | PathLike[str]) -> Contents:
    """Read and check a file."""
    with open_regular(path) as file:
        return parse(file, os.fstat(file.fileno()).st_size, os.fsdecode(path))


def parse(file: BinaryIO, size: int, what: str) -> Contents:
    """Read and check a file of `size` bytes; no array is read or allocated before the header is checked."""
    header = read_header(file, size, what, HEADER_LIMIT)
    metadata = header.metadata
    if (version := metadata.get("lstm97_format")) not in READABLE:
        raise ValueError(
            f"{what} has lstm97 format {version!r}; this version reads {' and '.join(map(repr, READABLE))}"
        )
    topology, dtype, learning, parts = _parts(metadata, what)
    n_bytes = _bytes_needed(header.entries, parts, what)
    if n_bytes != size - header.size:
        raise ValueError(f"{what} has {size - header.size} bytes of data, but its header describes {n_bytes}")
    if Layout(topology, np.dtype(dtype), learning).n_bytes > FREE_MEMORY + MEMORY_PER_BYTE * n_bytes:
        raise ValueError(f"{what} has a topology that needs far more memory than its weights")
    return Contents(topology, dtype, learning, metadata, read_arrays(file, header, what))


def _parts(metadata: dict[str, str], what: str) -> tuple[Topology, str, Learning, dict[str, Part]]:
    """The network that the metadata describe, and the tensors that the file must have."""
    try:
        topology = Topology(**decode(metadata["topology"]))
        dtype = metadata["dtype"]
        if dtype not in ("float64", "float32"):
            raise ValueError(f"dtype {dtype!r}")
        parts = {kind: Part(dtype, (n, topology.n_sources(kind))) for kind, n in topology.units.items()}
        named = {str(kind): part for kind, part in parts.items()}
        learning = _learning_of(metadata.get("learning"))
        named |= memory_parts(Layout(topology, np.dtype(dtype), learning))
        if "state" in metadata:
            check_numbers(decode(metadata["state"]), topology)
            layout = Layout(topology, np.dtype(dtype))
            named |= {STATE + name: part for name, part in state_shapes(layout).items()}
        if "streams" in metadata:
            layout = Layout(topology, np.dtype(dtype))
            shapes = streams_shapes(layout, decode(metadata["streams"]))
            named |= {STREAMS + name: part for name, part in shapes.items()}
        if "training" in metadata:
            layout = Layout(topology, np.dtype(dtype), learning)
            named |= training_parts(decode(metadata["training"]), layout.n_kept, layout.kept_dtype.name)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{what} has no usable header: {error}") from error
    return topology, dtype, learning, named


def _bytes_needed(found: Mapping[str, tuple[Any, Any]], parts: dict[str, Part], what: str) -> int:
    """Bytes of all tensors in a header; ValueError if they are not those that the file must have."""
    for names, verb in ((parts.keys() - found.keys(), "lacks"), (found.keys() - parts.keys(), "should not have")):
        if names:
            raise ValueError(f"{what} {verb} the tensor {min(names)[:80]!r}")
    total = 0
    for name, part in parts.items():
        code, shape = found[name]
        if code != CODES[part.dtype] or not part.fits(shape):
            wanted = ", ".join("n_rows" if m is None else str(m) for m in part.shape)
            raise ValueError(
                f"{what} has {name} as {code} of shape {shape}, its header needs {part.dtype} of ({wanted})"
            )
        total += math.prod(shape) * np.dtype(part.dtype).itemsize
    return total


# ---- learning ----

_SETTINGS: dict[str, dict[str, Any]] = {
    "optimizer": {"SGD": SGD, "RMSprop": RMSprop, "Adam": Adam},
    "readout": {"RLS": RLS},
    "scaling": {"Scaling": Scaling},
}
"""The settings of how a network learns that are objects, and the classes that each may be of."""


def learning_text(learning: Learning) -> str:
    """How a network learns, as a file has it: for each setting that is given its class and fields."""
    given = {name: getattr(learning, name) for name in _SETTINGS}
    settings: dict[str, Any] = {
        name: [type(each).__name__, asdict(each)] for name, each in given.items() if each is not None
    }
    if learning.learning_rate != PLAIN.learning_rate:
        settings["learning_rate"] = learning.learning_rate
    return as_text(settings)


def _learning_of(text: str | None) -> Learning:
    """What `learning_text` has written; LookupError, TypeError or ValueError if it is something else."""
    if text is None:
        return PLAIN
    found = decode(text)
    if not isinstance(found, dict) or not {"optimizer"} <= found.keys() <= {*_SETTINGS, "learning_rate"}:
        raise ValueError("learning must have an optimizer, and may have a readout, scaling and a learning_rate")
    settings: dict[str, Any] = {"learning_rate": found.pop("learning_rate", PLAIN.learning_rate)}
    for name, (kind, fields) in found.items():
        settings[name] = _SETTINGS[name][kind](**fields)
    return Learning(**settings)


def memory_parts(layout: Layout) -> dict[str, Part]:
    """The tensors of what learning keeps from update to update: those of `Layout.memory_views`."""
    topology = layout.topology
    weights = {kind: (n, topology.n_sources(kind)) for kind, n in topology.units.items()}
    parts = {} if layout.learning.is_plain else {UPDATES: Part("int64", (1,))}
    for name in layout.memory_names():
        parts |= {f"memory.{name}.{kind}": Part(layout.dtype.name, shape) for kind, shape in weights.items()}
    if layout.learning.readout:
        n = topology.n_sources("output")
        parts["readout.root"] = Part(layout.dtype.name, (n, n))
    for name, n in layout.scaled().items():
        parts[f"scaling.{name}"] = Part("float64", (n, 3))
    return parts


def check_memory(tensors: Mapping[str, Array]) -> None:
    """ValueError if the tensors of `memory_parts` have numbers that learning cannot have left."""
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite")
        squares = array if name.startswith("memory.v.") else array[:, ::2] if name.startswith("scaling.") else array[:0]
        if (squares < 0).any() or (name == UPDATES and not 0 <= int(array[0]) <= COUNTABLE):
            raise ValueError(f"{name} is negative, or too large")
        if name.startswith("memory.m.") and (np.abs(array) >= MOST_MEAN[array.dtype.name]).any():
            raise ValueError(f"{name} is too large")
        if name.startswith("scaling.") and ((array[:, 0] < 1) & array.any(axis=1)).any():
            raise ValueError(f"{name} counts less than one value")


# ---- states ----


def state_shapes(layout: Layout) -> dict[str, Part]:
    """The tensors of a state; ``pending.*`` have one row for each step that the partials do not contain yet."""
    t, sizes, dtype = layout.topology, layout.sizes, layout.dtype.name
    n_sources, n_cells, n_partials = sizes["n_sources"], t.n_cells, layout.n_steering * t.n_cells
    shapes = {
        "activations": Part(dtype, (sizes["n_units"],)),
        "cell_output": Part(dtype, (n_cells,)),
        "cell_state": Part(dtype, (n_cells,)),
        "squashed_cell_state": Part(dtype, (n_cells,)),
        "output": Part(dtype, (t.n_outputs,)),
        "sources": Part(dtype, (n_sources,)),
        "partials": Part(dtype, (n_sources, n_partials)),
        "inputs_seen": Part("int32", (None,), t.n_inputs),
        "pending.sources": Part(dtype, (None, n_sources), BLOCK - 1),
        "pending.symbols": Part("int32", (None,), BLOCK - 1),
        "pending.coefficients": Part(dtype, (None, n_partials), BLOCK - 1),
    }
    if t.forget_gates:
        shapes["pending.decay"] = Part(dtype, (None, n_cells), BLOCK - 1)
    return shapes


def check_numbers(numbers: Any, topology: Topology) -> None:
    """ValueError if these are not numbers that `state_parts` gives; format 1 lacks partials_bound."""
    if not isinstance(numbers, dict) or {"partials_bound", *numbers} != {
        "phase",
        "symbol",
        "symbols_only",
        "partials_bound",
    }:
        raise ValueError("the state must have phase, symbol, symbols_only and partials_bound")
    bound_of(numbers)
    symbol = numbers["symbol"]
    if symbol is not None and (type(symbol) is not int or not 0 <= symbol < topology.n_inputs):
        raise ValueError(f"the state's symbol is {symbol!r}")
    if numbers["phase"] not in PHASES or type(numbers["symbols_only"]) is not bool:
        raise ValueError("the state's phase or symbols_only is unknown")


def bound_of(numbers: dict[str, Any]) -> float:
    """The bound that no partial of a state exceeds; infinite if the file has none."""
    text = numbers.get("partials_bound", "inf")
    if not isinstance(text, str):
        raise ValueError(f"the state's partials_bound is {text!r}")
    bound = float.fromhex(text)
    if bound < 0:
        raise ValueError(f"the state's partials_bound is {text!r}")
    return bound


def state_parts(
    layout: Layout, arrays: Mapping[str, Array], standing: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Array]]:
    """The numbers and arrays of a state, copies without padding, from its memory and its engine's counters."""
    t, sizes = layout.topology, layout.sizes
    n_cells, n_sources, n_partials = t.n_cells, sizes["n_sources"], layout.n_steering * t.n_cells
    n = standing["n_pending"]
    pending = np.array(arrays["z_block"][:n, :n_sources])
    symbols = np.full(n, -1, np.int32)
    sources = np.array(arrays["z_block"][standing["slot"], :n_sources])
    if not standing["dense"]:  # with symbols only, z_block lacks the inputs
        symbols[...] = arrays["symbols"][:n]
        pending[:, : t.n_inputs] = 0
        pending[np.arange(n), symbols] = 1
    if standing["symbol"] >= 0:
        sources[: t.n_inputs] = np.arange(t.n_inputs) == standing["symbol"]
    parts = {
        "activations": arrays["act"][: sizes["n_units"]],
        "cell_output": arrays["y_c"][:n_cells],
        "cell_state": arrays["s_c"][:n_cells],
        "squashed_cell_state": arrays["h"][:n_cells],
        "output": arrays["y"][: t.n_outputs],
        "sources": sources,
        "partials": arrays["ds_dw"][:, :n_partials],
        "inputs_seen": arrays["rows"][n_sources - t.n_inputs : standing["n_rows"]],
        "pending.sources": pending,
        "pending.symbols": symbols,
        "pending.coefficients": arrays["coef_block"][:n, :n_partials],
    }
    if t.forget_gates:
        parts["pending.decay"] = arrays["decay_block"][:n, :n_cells]
    is_awaiting = PHASES[standing["phase"]] == "awaiting"
    if not is_awaiting:  # only a late target needs these; otherwise they are left over from earlier steps
        for name in ("squashed_cell_state", "output", "sources"):
            parts[name] = np.zeros_like(parts[name])
    numbers = {
        "phase": PHASES[standing["phase"]],
        "symbol": standing["symbol"] if standing["symbol"] >= 0 and standing["phase"] != 0 else None,
        "symbols_only": not standing["dense"] or (n == 0 and not is_awaiting),
        "partials_bound": standing["partials_bound"].hex(),  # text, as JSON has no infinity and NaN
    }
    return numbers, {name: np.array(array, order="C") for name, array in parts.items()}


def restore_state(
    layout: Layout, arrays: Mapping[str, Array], numbers: dict[str, Any], parts: Mapping[str, Array]
) -> dict[str, Any]:
    """Write what `state_parts` gave into a state's memory; returns its engine's counters. ValueError if it is wrong."""
    t, sizes = layout.topology, layout.sizes
    n_cells, n_sources, n_partials = t.n_cells, sizes["n_sources"], layout.n_steering * t.n_cells
    check_numbers(numbers, t)
    for name, part in state_shapes(layout).items():
        if parts[name].dtype != part.dtype or not part.fits(parts[name].shape):
            raise ValueError(f"the state's {name} has dtype {parts[name].dtype} and shape {parts[name].shape}")
    seen, symbols, pending = parts["inputs_seen"], parts["pending.symbols"], parts["pending.sources"]
    n = len(symbols)
    if any(len(array) != n for name, array in parts.items() if name.startswith("pending.")):
        raise ValueError("the state's pending steps differ in number")
    is_seen = np.zeros(t.n_inputs, bool)
    if seen.size and (seen.min() < 0 or seen.max() >= t.n_inputs):
        raise ValueError("the state's inputs_seen are not different inputs")
    is_seen[seen] = True
    if np.count_nonzero(is_seen) != len(seen):
        raise ValueError("the state's inputs_seen are not different inputs")
    lowest = 0 if numbers["symbols_only"] else -1
    if n and (symbols.min() < lowest or symbols.max() >= t.n_inputs or not is_seen[symbols[symbols >= 0]].all()):
        raise ValueError("the state's pending symbols are not among its inputs_seen")
    if _any_but_zero(parts["partials"][: t.n_inputs][~is_seen]):
        raise ValueError("the state has partials by inputs that are not among its inputs_seen")
    decay = parts.get("pending.decay", np.zeros(0))
    # Earlier versions wrote forget gates that rounding had put just above 1.
    if not ((decay >= 0) & (decay <= 1 + 4 * np.finfo(decay.dtype).eps)).all():
        raise ValueError("the state's pending.decay is not between 0 and 1")
    if numbers["phase"] == PHASES[0] and (n or _any_but_zero(parts["partials"])):
        raise ValueError("the state has partials but is not learning")
    bound = bound_of(numbers)
    if bound == bound and not np.abs(parts["partials"]).max(initial=0) <= bound:
        bound = math.inf  # a partial exceeds it, so nothing is known; the loops find a bound again
    arrays["act"][: sizes["n_units"]] = parts["activations"]
    arrays["y_c"][:n_cells] = parts["cell_output"]
    arrays["s_c"][:n_cells] = parts["cell_state"]
    arrays["h"][:n_cells] = parts["squashed_cell_state"]
    arrays["y"][: t.n_outputs] = parts["output"]
    arrays["ds_dw"][:, :n_partials] = parts["partials"]
    arrays["z_block"][:n, :n_sources] = pending
    if not n:  # else the last step's sources are the last of the pending ones
        arrays["z_block"][0, :n_sources] = parts["sources"]
    arrays["symbols"][:n] = symbols
    arrays["coef_block"][:n, :n_partials] = parts["pending.coefficients"]
    if t.forget_gates:
        arrays["decay_block"][:n, :n_partials] = np.tile(np.minimum(decay, 1), layout.n_steering)
    block_of = np.repeat(np.arange(t.n_blocks), t.blocks)
    for gate, kind in zip(arrays["gates"], ("input_gate", "output_gate", "forget_gate"), strict=True):
        if kind in layout.lanes:
            gate[:n_cells] = arrays["act"][layout.lanes[kind]][block_of]
    n_fixed = n_sources - t.n_inputs
    arrays["rows"][n_fixed : n_fixed + len(seen)] = seen
    arrays["is_listed"][...] = 0
    arrays["is_listed"][seen] = 1
    return {
        "n_pending": n,
        "n_rows": n_fixed + len(seen),
        "symbol": -1 if numbers["symbol"] is None else numbers["symbol"],
        "phase": PHASES.index(numbers["phase"]),
        "dense": not numbers["symbols_only"],
        "partials_bound": bound,
    }


# ---- many streams ----


def streams_shapes(layout: Layout, numbers: Any) -> dict[str, Part]:
    """The tensors of streams with these numbers, a row for each; LookupError, TypeError or ValueError if wrong."""
    if not isinstance(numbers, dict) or numbers.keys() != {"n", "has_partials"}:
        raise ValueError("the streams must have n and has_partials")
    n = integer("n", numbers["n"], at_least=1)
    if n > COUNTABLE or type(numbers["has_partials"]) is not bool:
        raise ValueError("the streams' n or has_partials is unknown")
    t, sizes, dtype = layout.topology, layout.sizes, layout.dtype.name
    shapes = {
        "activations": Part(dtype, (n, sizes["n_units"])),
        "cell_output": Part(dtype, (n, t.n_cells)),
        "cell_state": Part(dtype, (n, t.n_cells)),
        "phases": Part("uint8", (n,)),
        "inputs_seen": Part("uint8", (n, t.n_inputs)),
    }
    if numbers["has_partials"]:
        shapes["partials"] = Part(dtype, (n, sizes["n_sources"], layout.n_steering * t.n_cells))
    return shapes


def check_streams(layout: Layout, numbers: dict[str, Any], parts: Mapping[str, Array]) -> None:
    """ValueError if the numbers and tensors cannot be those of streams that a network has left."""
    for name, part in streams_shapes(layout, numbers).items():
        if name not in parts or parts[name].dtype != part.dtype or not part.fits(parts[name].shape):
            raise ValueError(f"the streams' {name} are not as they must be")
    phases, seen, n_inputs = parts["phases"], parts["inputs_seen"], layout.topology.n_inputs
    if not np.isin(phases, (PHASES.index("not learning"), PHASES.index("corrected"))).all():
        raise ValueError("a stream's phase is unknown")
    if seen.max(initial=0) > 1 or seen[phases == 0].any():
        raise ValueError("the streams' inputs_seen are not as they must be")
    if "partials" not in parts:
        if phases.any():
            raise ValueError("a stream learns, but has no partials")
        return
    for i, each in enumerate(parts["partials"]):
        if _any_but_zero(each[:n_inputs][seen[i] == 0]) or (phases[i] == 0 and _any_but_zero(each)):
            raise ValueError(f"stream {i} has partials by inputs that it has not seen, or is not learning")


def _any_but_zero(array: Array) -> bool:
    """Whether any number is not 0, as NaN is; without NumPy's warning of signalling NaN."""
    with np.errstate(invalid="ignore"):
        return bool(array.any())


# ---- checkpoints ----


def training_parts(numbers: Any, n_kept: int, dtype: str) -> dict[str, Part]:
    """The tensors of a checkpoint with these numbers; LookupError, TypeError or ValueError if the numbers are wrong."""
    if not isinstance(numbers, dict) or numbers.keys() - set(MORE_NUMBERS) != set(NUMBERS):
        raise ValueError(f"the training must have {', '.join(NUMBERS)}")
    sizes = {name: integer(name, numbers["sizes"][name], at_least=0) for name in ("order", "errors", "window")}
    for name in (*COUNTS, "epoch", "position"):
        if integer(name, numbers[name], at_least=0) > COUNTABLE:
            raise ValueError(f"{name} is {numbers[name]}")
    if numbers["sequences"] != sizes["errors"]:
        raise ValueError("sequences and errors differ in number")
    if not (type(numbers["seconds"]) is float and 0 <= numbers["seconds"] < math.inf):
        raise ValueError(f"seconds is {numbers['seconds']!r}")
    kinds = {"run": dict, "stopped": bool, "ended": bool, "generator": dict | None, "window": dict | None}
    for name, kind in kinds.items():
        if not isinstance(numbers[name], kind):
            raise TypeError(f"{name} is {numbers[name]!r}")
    parts = {
        TRAINING + "order": Part("int64", (sizes["order"],)),
        TRAINING + "errors": Part("float64", (sizes["errors"],)),
    }
    if (window := numbers["window"]) is not None:
        if not 0 <= integer("n_wrong", window["n_wrong"], at_least=0) <= sizes["window"]:
            raise ValueError("more sequences are wrong than the window has")
        if integer("n_seen", window["n_seen"], at_least=0) > COUNTABLE:
            raise ValueError(f"n_seen is {window['n_seen']}")
        if window.keys() != set(WINDOW_NUMBERS) or not all(type(window[name]) is float for name in WINDOW_NUMBERS[2:]):
            raise ValueError("the window's numbers are not as they must be")
        parts[TRAINING + "window_errors"] = Part("float64", (sizes["window"],))
        parts[TRAINING + "window_wrong"] = Part("uint8", (sizes["window"],))
    if not isinstance(numbers.get("is_judged", False), bool):
        raise TypeError(f"is_judged is {numbers['is_judged']!r}")
    if "rate" in numbers and not (type(numbers["rate"]) is float and 0 < numbers["rate"] < math.inf):
        raise ValueError(f"rate is {numbers['rate']!r}")
    if "validation" in numbers["sizes"]:
        n_judgements = integer("validation", numbers["sizes"]["validation"], at_least=1)
        parts[TRAINING + "validation"] = Part("float64", (n_judgements,))
        parts[TRAINING + "best_parameters"] = Part(dtype, (n_kept,))
    return parts


# ---- texts ----


def as_text(values: Mapping[str, Any]) -> str:
    """The JSON text of values, the same for equal values; NumPy's arrays and scalars are allowed."""
    return json.dumps(values, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    """NumPy arrays and scalars as lists and numbers."""
    return value.tolist()
