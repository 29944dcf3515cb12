"""A network as one C file: weights, step and learning rule, for programs that have no Python.

All C is in the template network.c, which compiles as it stands; its first lines say how files are made of it.
"""

from __future__ import annotations

import re
import textwrap
from importlib.resources import files
from itertools import accumulate
from math import prod
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lstm97.extend import __version__, held, write_whole
from lstm97.network import Network
from lstm97.topology import Kind, Squash, Topology

Array = NDArray[Any]

_UNITS: tuple[Kind, ...] = ("hidden", "cell", "input_gate", "output_gate", "forget_gate")
"""The order of the hidden layer's units. Recurrent sources are the first of them, those with a bias the last."""

_SQUASHING: dict[Squash, tuple[str, str]] = {
    "logistic": ("return lstm97_logistic(a);", "return y * (1 - y);"),
    "centered": ("return 2 * lstm97_logistic(a) - 1;", "return (1 - y * y) / 2;"),
    "centered2": ("return 4 * lstm97_logistic(a) - 2;", "return 1 - y * y / 4;"),
    "tanh": ("return tanh(a);", "return 1 - y * y;"),
    "identity": ("return a;", "(void)y;\n    return 1;"),
}
"""What a squashing function of a does, and its slope as a function of its value y."""


def export_c(
    net: Network,
    path: str | PathLike[str],
    *,
    learn: bool = False,
    dtype: DTypeLike | None = None,
    name: str = "lstm97",
) -> None:
    """Write a network as one self-contained C99 file that steps and, if asked to, learns.

    Parameters
    ----------
    net : Network
        Its topology and its weights; states are left out.
    path : str or path
        Of the file; one that exists is replaced.
    learn : bool, default False
        Whether the file has the learning rule too: the functions ``NAME_learn`` and ``NAME_correct``.
    dtype : {"float64", "float32"}, optional
        What the file computes in, ``double`` or ``float``; by default the network's.
    name : str, default "lstm97"
        What all identifiers of the file begin with, so that a program can have several networks; macros and constants
        with its upper case, so two names must differ in more than that.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, or a weight is not finite in `dtype`.
    OSError
        If the file cannot be written.
    RuntimeError
        If another thread trains this network.

    Notes
    -----
    The file needs a C library and allocates nothing; its first lines tell how to use it. It compiles inside C++ (from
    C++11 on) too. It computes what `Network.step`, `Network.learn` and `Network.correct` do, within rounding: its sums
    are in another order, and ``exp`` is that of the C library. ``NAME_get_parameters`` and ``NAME_set_parameters`` have
    the weights in the order of `Network.parameters`, so what C learned can go on here.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp(), "adding.c")
    >>> export_c(Network(Topology(2, 1)), path, learn=True, dtype="float32", name="adding")
    >>> "int adding_learn(adding_weights *weights" in path.read_text()
    True
    """
    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network, got {type(net).__name__}")
    if not isinstance(learn, bool):
        raise TypeError(f"learn must be True or False, got {learn!r}")
    _check_name(name)
    exported = Network(net.topology, net.dtype if dtype is None else dtype)
    with held(net):
        exported.parameters = net.parameters
    write_whole(path, _with_names(_source(exported, learn), name, exported.dtype).encode())


def struct_bytes(topology: Topology, learn: bool, dtype: DTypeLike) -> tuple[int, int]:
    """Bytes of the weights and of a state in C, where an int has 4."""
    sizes, itemsize = _sizes(topology), np.dtype(dtype).itemsize
    bytes_of = {"lstm97_real": itemsize, "int": 4, "unsigned char": 1}
    code = _kept(_template(), _features(topology, learn))

    def n_bytes(struct: str) -> int:
        (members,) = re.findall(rf"^typedef struct {{([^}}]*)}} lstm97_{struct};$", code, re.MULTILINE)
        declared = re.findall(r"^    (\w.*) \w+((?:\[\w+\])*);", members, re.MULTILINE)
        return sum(
            bytes_of[type] * prod(sizes[n] for n in re.findall(r"LSTM97_(\w+)", shape)) for type, shape in declared
        )

    return n_bytes("weights"), -(-n_bytes("state") // itemsize) * itemsize


def _check_name(name: str) -> None:
    """Refuse a name that no identifier can begin with."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {name!r}")
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"name must be a C identifier that begins with a letter, got {name!r}")


# ---- what a network has ----


def _features(topology: Topology, learn: bool) -> dict[str, bool]:
    """The macros that conditions in the template name, and whether the network has what they stand for."""
    t, sizes = topology, _sizes(topology)
    return {
        "LEARNS": learn,
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


def _template() -> str:
    """The C file that all exported ones are made of."""
    return files("lstm97.export").joinpath("network.c").read_text(encoding="utf-8")


def _source(net: Network, learn: bool) -> str:
    """The exported file, still under the name lstm97 and in double precision."""
    sections = _sections(net)
    text = re.sub(
        r"^// begin (\w+)\n.*?^// end\n",
        lambda found: sections[found[1]],
        _template(),
        flags=re.DOTALL | re.MULTILINE,
    )
    return re.sub(r"\n{3,}", "\n\n", _kept(text, _features(net.topology, learn)))


def _kept(text: str, features: dict[str, bool]) -> str:
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


def _holds(condition: str, features: dict[str, bool]) -> bool:
    """Whether a condition of macros, ``!``, ``&&`` and ``||`` holds."""
    return any(
        all(features[word.removeprefix("!")] != word.startswith("!") for word in words.split(" && "))
        for words in condition.split(" || ")
    )


def _with_names(text: str, name: str, dtype: np.dtype[Any]) -> str:
    """The text with another name and, if the dtype is float32, in single precision."""
    if dtype == np.float32:
        text = re.sub(r"\b(exp|tanh|fabs)\(", r"\1f(", text)
        for double, single in (
            ("typedef double", "typedef float"),
            ("1e290", "1e30f"),
            ("700.0", "80.0f"),
            ("uint64_t", "uint32_t"),
            ("UINT64_C(0x7FF0000000000000)", "UINT32_C(0x7F800000)"),
        ):
            text = text.replace(double, single)
    return re.sub(r"\b(lstm97|LSTM97)_", lambda found: f"{name if found[1] == 'lstm97' else name.upper()}_", text)


def _sections(net: Network) -> dict[str, str]:
    """By name, the whole lines that take the place of a section in the template."""
    topology, sizes = net.topology, _sizes(net.topology)
    (g, g_slope), (h, h_slope) = _SQUASHING[topology.input_squash], _SQUASHING[topology.output_squash]
    sections = {
        "template": "",
        "head": _head(topology),
        "sizes": _constants({name: n for name, n in sizes.items() if name.startswith("N_")}),
        "places": _constants({name: n for name, n in sizes.items() if not name.startswith("N_")}),
        "weights": _weights(net),
        "g": f"    {g}",
        "g_slope": f"    {g_slope}",
        "h": f"    {h}",
        "h_slope": f"    {h_slope}",
        "block_of": _block_of(topology.blocks),
        "kinds": _kinds(topology),
    }
    return {name: f"{text}\n" if text else "" for name, text in sections.items()}


def _head(topology: Topology) -> str:
    """The first lines of the comment on how to use the file."""
    wrapped = textwrap.fill(repr(topology), 115, initial_indent=" *     ", subsequent_indent=" *         ")
    return f"/* An LSTM of {topology.n_weights} weights, written by lstm97 {__version__}:\n *\n{wrapped}"


def _constants(values: dict[str, int]) -> str:
    """The members of an enum."""
    return ",\n".join(f"    LSTM97_{name} = {n}" for name, n in values.items())


def _weights(net: Network) -> str:
    """The initializer of the weights, source by source."""
    sizes, weights = _sizes(net.topology), net.weights
    to_units = np.zeros((sizes["N_SOURCES"], sizes["N_UNITS"]), net.dtype)
    begin = 0
    for kind in _UNITS:
        if kind in weights:
            n, n_sources = weights[kind].shape
            to_units[:n_sources, begin : begin + n] = weights[kind].T
            begin += n
    matrices = [_initializer(matrix) for matrix in (to_units, weights["output"].T) if matrix.size]
    return "\n".join(matrices or ["    0"])


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
