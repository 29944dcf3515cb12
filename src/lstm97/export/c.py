"""A network or a forecaster as one C file that steps and learns, for programs that have no Python.

All C is in the template network.c, which compiles as it stands, in learning.c, which it includes, and in forecaster.c,
which includes network.c; the first lines of network.c say how files are made of them.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import accumulate
from math import prod
from os import PathLike
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lstm97.extend import __version__, held, memory_of, scales_of, write_whole
from lstm97.forecaster import RECENT, Forecaster, Standing, standing_of
from lstm97.network import Network
from lstm97.optimizers import RLS, SGD, Adam, RMSprop
from lstm97.topology import Kind, Squash, Topology

Array = NDArray[Any]

_UNITS: tuple[Kind, ...] = ("hidden", "cell", "input_gate", "output_gate", "forget_gate")
"""The order of the hidden layer's units. Recurrent sources are the first of them, those with a bias the last."""

_SQUASHING: dict[Squash, tuple[str, str]] = {
    "logistic": ("lstm97_squash(a, 1, 1, 0, LSTM97_N_CELLS);", "return y * (1 - y);"),
    "centered": ("lstm97_squash(a, 1, 2, -1, LSTM97_N_CELLS);", "return (1 - y * y) / 2;"),
    "centered2": ("lstm97_squash(a, 1, 4, -2, LSTM97_N_CELLS);", "return 1 - y * y / 4;"),
    "tanh": ("lstm97_squash(a, 2, 2, -1, LSTM97_N_CELLS);", "return 1 - y * y;"),
    "identity": ("(void)a;", "(void)y;\n    return 1;"),
}
"""What a squashing function does with the numbers a of all cells, and its slope as a function of its value y."""


def export_c(
    net: Network | Forecaster,
    path: str | PathLike[str],
    *,
    learn: bool = False,
    dtype: DTypeLike | None = None,
    name: str = "lstm97",
) -> None:
    """Write a network as one self-contained C99 file that steps and, if asked to, learns; or a forecaster.

    Parameters
    ----------
    net : Network or Forecaster
        Its topology, its weights, how it scales its data and, with `learn`, how it learns: optimizer, readout, loss,
        and what they have kept so far, so that learning goes on where it is now. States are left out. Of a Forecaster
        everything: it goes on in C with the value after the last one that it has learned.
    path : str or path
        Of the file; one that exists is replaced.
    learn : bool, default False
        Whether the file has the learning rule too: the functions ``NAME_learn`` and ``NAME_correct``. A Forecaster
        learns in any case.
    dtype : {"float64", "float32"}, optional
        What the file computes in, ``double`` or ``float``; by default the network's.
    name : str, default "lstm97"
        What all identifiers of the file begin with, so that a program can have several networks; macros and constants
        with its upper case, so two names must differ in more than that. What is inside of a Forecaster begins with
        ``NAME_network``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, a weight, or a number that the optimizer keeps, is not finite in `dtype`, or
        the optimizer's epsilon is 0 there.
    OSError
        If the file cannot be written.
    RuntimeError
        If another thread trains this network, or uses this forecaster.

    Notes
    -----
    The file needs a C library and allocates nothing; its first lines tell how to use it. It compiles inside C++ (from
    C++11 on) too. It computes what `Network.step`, `Network.learn` and `Network.correct` do, within rounding: its sums
    are in another order, and ``exp`` is computed otherwise. ``NAME_get_parameters`` and ``NAME_set_parameters`` have
    the weights in the order of `Network.parameters`, so what C learned can go on here.

    Inputs are values, of which ``Scaling`` scales each. Where a network has met symbols only, a file without the
    learning rule takes their one-hot rows as they are. In networks that have an optimizer, a readout, scaling or a loss
    other than the default, a target may be NaN for some outputs, as in `Network.learn`; with softmax outputs for all or
    none; others refuse it. Networks with an optimizer or a readout have ``NAME_learn_weighted`` too, whose error signal
    has a weight; by the paper's rule it is a factor of the learning rate.

    The file of a Forecaster has ``NAME_learn(&forecaster, value)``, which returns the forecast of the next value, and
    ``NAME_forecast``, ``NAME_interval`` and ``NAME_score``: those of `Forecaster`, within rounding. There is no
    `learn_many`. Numbers of the series are ``double`` in float32 too, in which only the network computes.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp(), "adding.c")
    >>> export_c(Network(Topology(2, 1)), path, learn=True, dtype="float32", name="adding")
    >>> "int adding_learn(adding_weights *weights" in path.read_text()
    True
    """
    if not isinstance(net, (Network, Forecaster)):
        raise TypeError(f"net must be a Network or a Forecaster, got {type(net).__name__}")
    if not isinstance(learn, bool):
        raise TypeError(f"learn must be True or False, got {learn!r}")
    _check_name(name)
    if isinstance(net, Forecaster):
        write_whole(path, _forecaster_source(standing_of(net), dtype, name).encode())
        return
    exported = _exported(net, learn, dtype)
    text = _source(exported).replace(", target, 0.1", f", target, {net.learning_rate!r}")  # how to use it
    write_whole(path, _with_names(text, name, exported.net.dtype).encode())


def struct_bytes(net: Network, learn: bool, dtype: DTypeLike | None = None) -> tuple[int, int]:
    """Bytes of the weights and of a state in C, where an int has 4 and a double is aligned to its 8."""
    exported = _exported(net, learn, dtype)
    size_of = _struct_sizes(_kept(_template(), _features(exported)), _sizes(net.topology), exported.net.dtype)
    return size_of["lstm97_weights"], size_of["lstm97_state"]


def forecaster_bytes(forecaster: Forecaster, dtype: DTypeLike | None = None) -> int:
    """Bytes of a forecaster in C, as `struct_bytes` counts them."""
    exported = _exported_within(standing_of(forecaster), dtype)
    network = _renamed(_kept(_template(), _features(exported)), "lstm97_network")
    code = network + _kept(_text("forecaster.c"), {"DIFFERENCE": forecaster.difference})
    sizes = {f"NETWORK_{name}": n for name, n in _sizes(exported.net.topology).items()} | _forecaster_sizes(forecaster)
    return _struct_sizes(code, sizes, exported.net.dtype)["lstm97_forecaster"]


def _struct_sizes(code: str, sizes: Mapping[str, int], dtype: np.dtype[Any]) -> dict[str, int]:
    """Bytes of each struct of a C text, and of what they are made of."""
    reals = dict.fromkeys(("lstm97_real", "lstm97_network_real"), dtype.itemsize)
    size_of = reals | {"double": 8, "int": 4, "unsigned char": 1}
    alignment_of = dict(size_of)
    for struct in re.findall(r"^} (lstm97_(?:\w+_)?(?:memory|column|weights|state|forecaster));$", code, re.MULTILINE):
        end, alignment = 0, 1
        for type, _, *shape in _members(code, struct):
            end = _up(end, alignment_of[type])
            end += size_of[type] * prod(sizes[n] for n in shape)
            alignment = max(alignment, alignment_of[type])
        size_of[struct], alignment_of[struct] = _up(end, alignment), alignment
    return size_of


def _members(code: str, struct: str) -> list[tuple[str, ...]]:
    """The type and the name of each member of a struct in a C text, and the names of the sizes of its array."""
    (members,) = re.findall(rf"^typedef struct {{([^}}]*)}} {struct};$", code, re.MULTILINE)
    found = re.findall(r"^    (\w[\w ]*) (\w+)((?:\[\w+\])*);", members, re.MULTILINE)
    return [(type, name, *re.findall(r"LSTM97_(\w+)", shape)) for type, name, shape in found]


def _up(n: int, step: int) -> int:
    """n, rounded up to a multiple of the step."""
    return -(-n // step) * step


def _check_name(name: str) -> None:
    """Refuse a name that no identifier can begin with."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {name!r}")
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"name must be a C identifier that begins with a letter, got {name!r}")


# ---- what a network has ----


@dataclass(frozen=True)
class _Exported:
    """What a file is made of."""

    net: Network
    """Weights and settings, in the dtype of the file."""
    learn: bool
    memory: Mapping[str, Array]
    """What learning has kept, by the names of `memory_of`; reals in the dtype of the file."""
    scales: Mapping[str, tuple[Array, Array]]
    """Of the data that are scaled, means and deviations."""
    in_forecaster: bool = False


def _exported(net: Network, learn: bool, dtype: DTypeLike | None) -> _Exported:
    """A copy of what of a network goes into the file."""
    settings: Any = {"optimizer": net.optimizer, "readout": net.readout} if learn else {}
    copy = Network(net.topology, net.dtype if dtype is None else dtype, scaling=net.scaling, **settings)
    with held(net):
        copy.parameters = net.parameters
        memory, scales = memory_of(net), scales_of(net)
    if not learn:
        scales = {name: scale for name, scale in scales.items() if memory[f"scaling.{name}"][:, 0].any()}
        return _Exported(copy, learn, {}, scales)
    for name, array in memory.items():
        if name.startswith(("memory.m.", "memory.v.", "readout.")):
            with np.errstate(all="ignore"):
                memory[name] = array.astype(copy.dtype)
            if not np.isfinite(memory[name]).all():
                raise ValueError(f"what learning keeps as {name} is not finite in {copy.dtype}")
    return _Exported(copy, learn, memory, scales)


def _features(exported: _Exported) -> dict[str, bool]:
    """The macros that conditions in the template name, and whether the network has what they stand for."""
    net, learn = exported.net, exported.learn
    t, sizes = net.topology, _sizes(net.topology)
    features = {
        "LEARNS": learn,
        "IN_FORECASTER": exported.in_forecaster,
        "SINGLE": net.dtype == np.float32,
        "HAS_UNITS": sizes["N_UNITS"] > 0,
        "HAS_HIDDEN": t.n_hidden > 0,
        "HAS_CELLS": t.n_cells > 0,
        "HAS_OUTPUT_GATES": "output_gate" in t.units,
        "HAS_FORGET_GATES": "forget_gate" in t.units,
        "HAS_RECURRENT": sizes["N_RECURRENT"] > 0,
        "HAS_BIAS": "BIAS" in sizes,
        "HAS_UNBIASED": sizes.get("FIRST_BIASED", 0) > 0,
        "HAS_OUTPUT_SOURCES": sizes["N_OUTPUT_SOURCES"] > 0,
        "HAS_INPUT_TO_OUTPUT": t.input_to_output,
        "HAS_OUTPUT_BIAS": t.has_bias("output"),
        "LOGISTIC_OUTPUTS": t.output == "logistic",
        "SOFTMAX_OUTPUTS": t.output == "softmax",
        "IDENTITY_OUTPUTS": t.output == "identity",
    }
    return features | _learning_features(exported, features["HAS_OUTPUT_SOURCES"])


def _learning_features(exported: _Exported, has_output_sources: bool) -> dict[str, bool]:
    """Those macros that stand for how a network scales its data and for how it learns."""
    net, t, learn = exported.net, exported.net.topology, exported.learn
    optimizer, readout = net.optimizer, net.readout
    is_plain = optimizer == SGD() and readout is None
    is_default = is_plain and net.scaling is None and t == replace(t, loss=None)
    has_rule = learn and not is_plain and t.n_weights > 0
    has_readout = has_rule and readout is not None and has_output_sources
    has_gradients = has_rule and t.n_weights > t.n_outputs * t.n_sources("output") * has_readout
    return {
        "CROSS_ENTROPY": learn and t.output == "logistic" and t.loss == "cross_entropy",
        "HUBER": learn and t.loss == "huber",
        "PARTIAL_TARGETS": learn and net.takes_partial_targets and not is_default,
        "HAS_RULE": has_rule,
        "HAS_GRADIENTS": has_gradients,
        "HAS_MEANS": has_gradients and (isinstance(optimizer, Adam) or getattr(optimizer, "momentum", 0) > 0),
        "HAS_SQUARES": has_gradients and isinstance(optimizer, (RMSprop, Adam)),
        "IS_ADAM": has_gradients and isinstance(optimizer, Adam),
        "HAS_BOUND": has_gradients and optimizer.bound is not None,
        "HAS_READOUT": has_readout,
        "READOUT_FORGETS": has_readout and readout is not None and readout.forgetting < 1,
        "SCALES_INPUTS": "inputs" in exported.scales,
        "SCALES_TARGETS": "targets" in exported.scales,
        "STATISTICS_FORGET": learn and net.scaling is not None and net.scaling.decay is not None,
    }


def _settings(exported: _Exported) -> str:
    """The constants of the learning rule and of scaling, in double: they are rounded where they are used."""
    features, optimizer, scaling = _features(exported), exported.net.optimizer, exported.net.scaling
    values: dict[str, float] = {}
    if features["IS_ADAM"]:
        values["momentum"] = cast(Adam, optimizer).beta1
    elif features["HAS_MEANS"]:
        values["momentum"] = cast(SGD, optimizer).momentum
    if features["HAS_SQUARES"]:
        values["decay"] = optimizer.beta2 if isinstance(optimizer, Adam) else cast(RMSprop, optimizer).decay
        values["epsilon"] = cast(RMSprop | Adam, optimizer).epsilon
    if features["HAS_BOUND"]:
        values["bound"] = cast(float, optimizer.bound)
    if features["HAS_READOUT"]:
        readout = cast(RLS, exported.net.readout)
        values["forgetting"] = readout.forgetting
        if features["READOUT_FORGETS"]:
            values["prior"] = readout.prior
    if features["STATISTICS_FORGET"] and exported.scales and scaling is not None and scaling.decay is not None:
        values["statistics_decay"] = scaling.decay
    return "\n".join(f"static const double lstm97_{name} = {value!r};" for name, value in values.items())


def _sizes(topology: Topology) -> dict[str, int]:
    """The numbers of the C file: sizes, then places."""
    t = topology
    units = {kind: t.units.get(kind, 0) for kind in _UNITS}
    n_units, n_recurrent = sum(units.values()), sum(t.recurrent_sources.values())
    n_biased = sum(n for kind, n in units.items() if t.has_bias(kind))
    sizes = {
        "N_INPUTS": t.n_inputs,
        "N_OUTPUTS": t.n_outputs,
        "N_HIDDEN": t.n_hidden,
        "N_CELLS": t.n_cells,
        "N_BLOCKS": t.n_blocks,
        "N_UNITS": n_units,
        "N_RECURRENT": n_recurrent,
        "N_SOURCES": t.n_inputs + n_recurrent + bool(n_biased),
        "N_OUTPUT_SOURCES": t.n_sources("output"),
        "N_PARTIALS": (2 + ("forget_gate" in t.units)) * t.n_cells,
        "N_PARAMETERS": t.n_weights,
    }
    begins = zip(units, accumulate(units.values(), initial=0), strict=False)
    places = {kind.upper(): begin for kind, begin in begins if units[kind]}
    if n_biased:
        places |= {"BIAS": sizes["N_SOURCES"] - 1, "FIRST_BIASED": n_units - n_biased}
    places["HIDDEN_SOURCE"] = t.n_inputs * t.input_to_output
    if t.has_bias("output"):
        places["OUTPUT_BIAS"] = sizes["N_OUTPUT_SOURCES"] - 1
    return sizes | places


# ---- the file ----


def _text(name: str) -> str:
    """A C file of this package."""
    return files("lstm97.export").joinpath(name).read_text(encoding="utf-8")


def _template() -> str:
    """The C file that all exported networks are made of, with the one that it includes."""
    return _text("network.c").replace('#include "learning.c"\n', _text("learning.c"))


def _source(exported: _Exported) -> str:
    """The exported file, still under the name lstm97 and in double precision."""
    return _filled(_template(), _sections(exported), _features(exported))


def _filled(template: str, sections: Mapping[str, str], features: Mapping[str, bool]) -> str:
    """A template with its sections replaced by these texts of whole lines, and its conditions carried out."""
    text = re.sub(
        r"^// begin (\w+)\n.*?^// end\n",
        lambda found: f"{sections[found[1]]}\n" if sections[found[1]] else "",
        template,
        flags=re.DOTALL | re.MULTILINE,
    )
    return re.sub(r"\n{3,}", "\n\n", _kept(text, features))


def _kept(text: str, features: Mapping[str, bool]) -> str:
    """The text with each ``#if`` carried out, as by a preprocessor; ``#ifdef`` and ``#ifndef`` stay as they are."""
    kept: list[str] = []
    branches: list[bool | None] = []  # of each condition around a line: whether it holds; None: it stays
    for line in text.splitlines(keepends=True):
        directive, _, condition = line.rstrip().partition(" ")
        if directive == "#if":
            branches.append(_holds(condition, features))
        elif directive in ("#ifdef", "#ifndef"):
            branches.append(None)
        is_decided = directive in ("#if", "#else", "#endif") and branches[-1] is not None
        if is_decided and directive == "#else":
            branches[-1] = not branches[-1]
        if not is_decided and False not in branches:
            kept.append(line)
        if directive == "#endif":
            branches.pop()
    return "".join(kept)


def _holds(condition: str, features: Mapping[str, bool]) -> bool:
    """Whether a condition of macros, ``!``, ``&&`` and ``||`` holds."""
    return any(
        all(features[word.removeprefix("!")] != word.startswith("!") for word in words.split(" && "))
        for words in condition.split(" || ")
    )


def _with_names(text: str, name: str, dtype: np.dtype[Any]) -> str:
    """The text with another name and, if the dtype is float32, in single precision."""
    if dtype == np.float32:
        text = re.sub(r"\b(fabs)\(", r"\1f(", text)
        for double, single in (
            ("typedef double", "typedef float"),
            ("1e290", "1e30f"),
            ("1e120", "1e12f"),
            ("UINT64_C(0x7FF0000000000000)", "UINT32_C(0x7F800000)"),
        ):
            text = text.replace(double, single)
    return _renamed(text, name)


def _renamed(text: str, name: str) -> str:
    """The text with all names that begin with lstm97 beginning with this name."""
    return re.sub(r"\b(lstm97|LSTM97)_", lambda found: f"{name if found[1] == 'lstm97' else name.upper()}_", text)


def _sections(exported: _Exported) -> dict[str, str]:
    """By name, the whole lines that take the place of a section in the template."""
    net = exported.net
    topology, sizes = net.topology, _sizes(net.topology)
    (g, g_slope), (h, h_slope) = _SQUASHING[topology.input_squash], _SQUASHING[topology.output_squash]
    return {
        "template": "",
        "head": _head(exported),
        "sizes": _constants({name: n for name, n in sizes.items() if name.startswith("N_")}),
        "places": _constants({name: n for name, n in sizes.items() if not name.startswith("N_")}),
        "weights": _weights(exported),
        "settings": _settings(exported),
        "g": f"    {g}",
        "g_slope": f"    {g_slope}",
        "h": f"    {h}",
        "h_slope": f"    {h_slope}",
        "block_of": _block_of(topology.blocks),
        "kinds": _kinds(topology),
    }


def _head(exported: _Exported) -> str:
    """The first lines of the comment on how to use the file."""
    net, topology = exported.net, exported.net.topology
    name = repr(topology)
    if not exported.learn or topology == replace(topology, loss=None):
        name = name.replace(f", loss={topology.loss!r})", ")")
    settings = {
        "optimizer": None if net.optimizer == SGD() else net.optimizer,
        "readout": net.readout,
        "scaling": net.scaling,
    }
    texts = [name, *(f"{setting}={value}" for setting, value in settings.items() if value is not None)]
    wrapped = "\n".join(
        textwrap.fill(text, 115, initial_indent=" *     ", subsequent_indent=" *         ") for text in texts
    )
    return f"/* An LSTM of {topology.n_weights} weights, written by lstm97 {__version__}:\n *\n{wrapped}"


def _constants(values: dict[str, int]) -> str:
    """The members of an enum."""
    return ",\n".join(f"    LSTM97_{name} = {n}" for name, n in values.items())


def _weights(exported: _Exported) -> str:
    """The initializer of the weights and of what learning keeps, matrices source by source."""
    features = _features(exported)
    parts = [_initializer(matrix) for matrix in _matrices(exported, dict(exported.net.weights))]
    for name, has_it in (("m", features["HAS_MEANS"]), ("v", features["HAS_SQUARES"])):
        if has_it:
            moments = _matrices(exported, _by_kind(exported, name))[: 1 if features["HAS_READOUT"] else 2]
            inner = (textwrap.indent(_initializer(matrix), "    ") for matrix in moments)
            parts.append("\n".join(["    {", *inner, "    },"]))
    if features["HAS_READOUT"]:
        parts.append(_initializer(exported.memory["readout.root"]))
    n_updates = int(exported.memory.get("memory.updates", [0])[0])
    optimizer = exported.net.optimizer
    if features["IS_ADAM"]:
        parts.append(f"    {cast(Adam, optimizer).beta1 ** n_updates!r},")
    if features["HAS_SQUARES"]:
        decay = optimizer.beta2 if isinstance(optimizer, Adam) else cast(RMSprop, optimizer).decay
        parts.append(f"    {decay**n_updates!r},")
    for name, scale in exported.scales.items():
        statistics = exported.memory[f"scaling.{name}"].T if exported.learn else scale[:1]
        parts.append(_initializer(np.array([*statistics, scale[1]]).T))
    if not exported.net.topology.n_weights:
        parts.insert(0, "    0," if parts else "    0")
    return "\n".join(parts)


def _by_kind(exported: _Exported, name: str) -> dict[Kind, Array]:
    """The numbers m or v of each weight."""
    return {kind: exported.memory[f"memory.{name}.{kind}"] for kind in exported.net.weights}


def _matrices(exported: _Exported, by_kind: Mapping[Kind, Array]) -> list[Array]:
    """Numbers of each weight as the structs have them: to the units, to the outputs; what a topology lacks left out."""
    sizes = _sizes(exported.net.topology)
    to_units = np.zeros((sizes["N_SOURCES"], sizes["N_UNITS"]), exported.net.dtype)
    begin = 0
    for kind in _UNITS:
        if kind in by_kind:
            n, n_sources = by_kind[kind].shape
            to_units[:n_sources, begin : begin + n] = by_kind[kind].T
            begin += n
    return [matrix for matrix in (to_units, by_kind["output"].T) if matrix.size]


def _initializer(matrix: Array) -> str:
    """A matrix in C, each number with just as many digits as are needed to read the same number back."""
    suffix, per_line = ("f", 6) if matrix.dtype == np.float32 else ("", 4)
    rows = (_list([f"{value!s}{suffix}" for value in row], per_line) for row in matrix)
    return "\n".join(["    {", *(f"{row}," for row in rows), "    },"])


def _list(numbers: list[str], per_line: int) -> str:
    """Numbers in braces, at most `per_line` in a line."""
    lines = (", ".join(numbers[i : i + per_line]) for i in range(0, len(numbers), per_line))
    separator = ",\n" + " " * 9
    return f"        {{{separator.join(lines)}}}"


def _block_of(blocks: tuple[int, ...]) -> str:
    """How a cell c finds its block: by a division or, if blocks differ in size, in a table."""
    if len(set(blocks)) < 2:
        return f"    return c / {blocks[0] if blocks else 1};"
    table = _list([str(j) for j, size in enumerate(blocks) for _ in range(size)], 20)
    return f"    static const int blocks[LSTM97_N_CELLS] =\n{table};\n    return blocks[c];"


def _kinds(topology: Topology) -> str:
    """Of each kind of units but the outputs: where it begins, how many there are, how many sources each has."""
    return ",\n".join(
        f"    {{LSTM97_{kind.upper()}, {n}, {topology.n_sources(kind)}}}"
        for kind, n in topology.units.items()
        if kind != "output"
    )


# ---- the file of a forecaster ----


def _exported_within(standing: Standing, dtype: DTypeLike | None) -> _Exported:
    """What of the network of a forecaster goes into its file."""
    return replace(_exported(standing.forecaster.network, True, dtype), in_forecaster=True)


def _forecaster_sizes(forecaster: Forecaster) -> dict[str, int]:
    """The numbers of the forecaster's part of the file."""
    return {"N_LAGS": forecaster.lags, "N_RECENT": RECENT}


def _forecaster_source(standing: Standing, dtype: DTypeLike | None, name: str) -> str:
    """The exported file of a forecaster: the template forecaster.c, filled in, with the network that it includes."""
    forecaster, exported = standing.forecaster, _exported_within(standing, dtype)
    network, template = _source(exported), _text("forecaster.c")
    network = network[network.index("#ifndef LSTM97_DECLARED") :]  # without its words on how to use it
    n_values = int(standing.numbers["n_values"])
    sections = {
        "template": "",
        "head": (
            f"/* A forecaster of one series, written by lstm97 {__version__} after {n_values} values:\n *\n"
            f" *     Forecaster(cells={forecaster.cells}, lags={forecaster.lags}, difference={forecaster.difference})"
        ),
        "sizes": _constants(_forecaster_sizes(forecaster)),
        "initial": _initial(standing, exported, _members(network, "lstm97_state"), _forecaster_members(forecaster)),
        "settings": f"static const double lstm97_learning_rate = {forecaster.network.learning_rate!r};",
    }
    text = _filled(template, sections, {"DIFFERENCE": forecaster.difference})
    before, _, after = text.partition('#include "network.c"\n')
    return _renamed(before, name) + _with_names(network, f"{name}_network", exported.net.dtype) + _renamed(after, name)


def _forecaster_members(forecaster: Forecaster) -> list[tuple[str, ...]]:
    """The members of the struct of a forecaster."""
    code = _kept(_text("forecaster.c"), {"DIFFERENCE": forecaster.difference})
    return _members(code, "lstm97_forecaster")


def _initial(
    standing: Standing, exported: _Exported, of_state: list[tuple[str, ...]], members: list[tuple[str, ...]]
) -> str:
    """The initializer of a forecaster: the weights and the state of its network, then its other members."""
    sizes = _sizes(exported.net.topology) | _forecaster_sizes(standing.forecaster)
    state = _stream_in_c(standing, exported.net.dtype)
    own = _numbers_in_c(standing, exported.net.dtype)
    texts = {
        "weights": _weights(exported),
        "state": "\n".join(_member(*member, values=state, sizes=sizes) for member in of_state),
    }
    nested = [f"    {{\n{textwrap.indent(texts[name], '    ')}\n    }}," for _, name in members[:2]]
    return "\n".join([*nested, *(_member(*member, values=own, sizes=sizes) for member in members[2:])])


def _stream_in_c(standing: Standing, dtype: np.dtype[Any]) -> dict[str, Any]:
    """The state of a forecaster's network by the members of its struct; those left out are 0."""
    stream, n_cells = standing.stream, standing.forecaster.cells
    arrays = {
        "z": stream["sources"],
        "y": np.append(stream["cell_output"], stream["activations"][n_cells:]),
        "s_c": stream["cell_state"],
        "z_k": np.append(stream["cell_output"], 1),
        "y_k": stream["output"],
        "h": stream["squashed_cell_state"],
        "ds_dw": stream["partials"],
    }
    with np.errstate(all="ignore"):
        arrays = {name: array.astype(dtype) for name, array in arrays.items()}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError(f"the state of the forecaster's network is not finite in {dtype}")
    numbers = {
        "partials_bound": np.abs(arrays["ds_dw"]).max(),
        "has_partials": arrays["ds_dw"].any(),
        "is_awaiting": standing.is_awaiting,
    }
    return arrays | numbers


def _numbers_in_c(standing: Standing, dtype: np.dtype[Any]) -> dict[str, Any]:
    """What else a forecaster knows by the members of its struct; those left out are 0."""
    numbers, errors = standing.numbers, standing.errors
    error = numbers["error"]
    return numbers | {
        "lags": standing.lags,
        "forecast": numbers["forecast"] if numbers["n_values"] else 0.0,  # C has no NaN
        "errors": np.append(errors, np.zeros(RECENT - len(errors))).astype(dtype),
        "n_errors": len(errors),
        "place": len(errors) % RECENT,
        "judged": 0 if math.isnan(error) else 2 if math.isinf(error) else 1,
        "is_awaiting": standing.is_awaiting,
    }


def _member(type: str, name: str, *shape: str, values: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    """A member of a struct in an initializer."""
    value = np.asarray(values.get(name, 0.0))
    if not shape:
        return f"    {int(value) if type == 'int' else value!s}{'f' * (value.dtype == np.float32)},"
    if not value.any():
        return f"    {'{' * len(shape)}0{'}' * len(shape)},"
    if len(shape) == 2:
        return _initializer(value.reshape([sizes[n] for n in shape]))
    rows = _initializer(np.trim_zeros(value, "b")[np.newaxis]).splitlines()[1:-1]  # C adds the zeros
    return "\n".join(row.removeprefix("    ") for row in rows)
