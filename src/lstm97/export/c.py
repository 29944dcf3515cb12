"""A network as one C file: weights, step and learning rule, for programs that have no Python.

The C below is written for the name lstm97 and for double; `_with_names` adapts both. A line that ends with ``//?`` and
words is kept only if the network has all of these features (see `_features`), or, after ``!``, has it not.
"""

from __future__ import annotations

import re
import textwrap
from itertools import accumulate
from math import prod
from os import PathLike
from string import Template
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lstm97.extend import __version__, write_whole
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
    with net._engine.hold(weights=True, state=False):
        exported.parameters = net.parameters
    write_whole(path, _with_names(_source(exported, learn), name, exported.dtype).encode())


def struct_bytes(topology: Topology, learn: bool, dtype: DTypeLike) -> tuple[int, int]:
    """Bytes of the weights and of a state in C, where an int has 4."""
    sizes, features, itemsize = _sizes(topology), _features(topology, learn), np.dtype(dtype).itemsize
    bytes_of = {"lstm97_real": itemsize, "int": 4, "unsigned char": 1}
    weights, state = (
        sum(
            bytes_of[member.type] * prod(sizes[size] for size in member.shape)
            for member in members
            if _holds(member.condition, features)
        )
        for members in (_WEIGHTS, _STATE)
    )
    return weights, -(-state // itemsize) * itemsize


def _check_name(name: str) -> None:
    """Whether identifiers may begin with this name."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {name!r}")
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"name must be a C identifier that begins with a letter, got {name!r}")


# ---- what a network has ----


def _features(topology: Topology, learn: bool) -> frozenset[str]:
    """The words by which lines of C are kept or left out."""
    t, sizes = topology, _sizes(topology)
    has = {
        "learn": learn,
        "units": sizes["N_UNITS"],
        "hidden": t.n_hidden,
        "cells": t.n_cells,
        "output_gates": "output_gate" in t.units,
        "forget_gates": "forget_gate" in t.units,
        "recurrent": sizes["N_RECURRENT"],
        "bias": "BIAS" in sizes,
        "some_unbiased": sizes.get("FIRST_BIASED"),
        "output_sources": sizes["N_OUTPUT_SOURCES"],
        "input_to_output": t.input_to_output,
        "output_bias": t.has_bias("output"),
        t.output: True,
        "uses_logistic": sizes["N_UNITS"] or t.output == "logistic",
    }
    return frozenset(word for word, value in has.items() if value)


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


class _Member(NamedTuple):
    """A member of a struct, there if its condition holds."""

    name: str
    shape: tuple[str, ...]
    condition: str
    what: str
    type: str = "lstm97_real"

    def __str__(self) -> str:
        dimensions = "".join(f"[LSTM97_{size}]" for size in self.shape)
        return f"    {self.type} {self.name}{dimensions}; /* {self.what} */ //? {self.condition}"


_WEIGHTS = (
    _Member("to_units", ("N_SOURCES", "N_UNITS"), "units", "from each source of the hidden layer to each unit"),
    _Member("to_outputs", ("N_OUTPUT_SOURCES", "N_OUTPUTS"), "output_sources", "from each source of the outputs"),
    _Member("nothing", (), "!units !output_sources", "C has no struct without members", "unsigned char"),
)
_STATE = (
    _Member("z", ("N_SOURCES",), "units", "sources of the hidden layer: inputs, units one step before, 1"),
    _Member("y", ("N_UNITS",), "units", "activations: hidden units, cells, input, output, forget gates"),
    _Member("s_c", ("N_CELLS",), "cells", "cell states"),
    _Member("z_k", ("N_OUTPUT_SOURCES",), "output_sources", "sources of the outputs: inputs, hidden units, cells, 1"),
    _Member("y_k", ("N_OUTPUTS",), "", "outputs"),
    _Member("s_before", ("N_CELLS",), "learn forget_gates", "cell states one step before"),
    _Member("g", ("N_CELLS",), "learn cells", "squashed net inputs of the cells"),
    _Member("h", ("N_CELLS",), "learn cells", "squashed cell states"),
    _Member("ds_dw", ("N_SOURCES", "N_PARTIALS"), "learn cells", "of s_c, by weights to cells, input, forget gates"),
    _Member("partials_bound", (), "learn cells", "nothing in ds_dw is larger"),
    _Member("e_k", ("N_OUTPUTS",), "learn", "errors times the learning rate, of the outputs"),
    _Member("e_i", ("N_HIDDEN",), "learn hidden", "of the hidden units"),
    _Member("e_out", ("N_BLOCKS",), "learn output_gates", "of the output gates"),
    _Member("e_s", ("N_CELLS",), "learn cells", "of the cell states"),
    _Member("has_partials", (), "learn cells", "whether ds_dw may be other than 0", "int"),
    _Member("is_awaiting", (), "learn", "whether the last step waits for its target", "int"),
)


# ---- the file ----


def _source(net: Network, learn: bool) -> str:
    """The file, under the name lstm97 and for double."""
    features = _features(net.topology, learn)
    parts = [
        _head(net, learn),
        _BEGIN,
        _enum(_sizes(net.topology)),
        _struct("weights", _WEIGHTS),
        _struct("state", _STATE),
        _DECLARATIONS,
        _initial(net),
        *(text for condition, text in _FUNCTIONS if _holds(condition, features)),
        _END,
    ]
    text = "\n".join(_kept(part, features) for part in parts)
    return Template(text).substitute(_bodies(net.topology))


def _holds(condition: str, features: frozenset[str]) -> bool:
    """Whether all words are features, and those with ! before them are not."""
    return all((word.removeprefix("!") in features) != word.startswith("!") for word in condition.split())


def _kept(text: str, features: frozenset[str]) -> str:
    """The text without the lines for what the network lacks, and without their conditions."""
    lines = (line.partition("//?") for line in text.strip("\n").split("\n"))
    return "".join(f"{code.rstrip()}\n" for code, _, condition in lines if _holds(condition, features))


def _with_names(text: str, name: str, dtype: np.dtype[Any]) -> str:
    """The text with another name, and for float if that is asked for."""
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


def _head(net: Network, learn: bool) -> str:
    """The comment that tells what the file is and how to use it."""
    topology = textwrap.fill(repr(net.topology), 115, initial_indent=" *     ", subsequent_indent=" *         ")
    return f"""\
/* An LSTM of {net.topology.n_weights} weights, written by lstm97 {__version__}:
 *
{topology}{_USAGE}"""


def _enum(sizes: dict[str, int]) -> str:
    """The sizes, and where in the arrays something begins."""
    lines = [f"    LSTM97_{name} = {n}" for name, n in sizes.items()]
    n_sizes = sum(name.startswith("N_") for name in sizes)
    return _ENUMS.format(",\n".join(lines[:n_sizes]), ",\n".join(lines[n_sizes:]))


def _struct(name: str, members: tuple[_Member, ...]) -> str:
    """A struct, with conditions."""
    return "\n".join(["typedef struct {", *map(str, members), f"}} lstm97_{name};"])


def _initial(net: Network) -> str:
    """The network's weights, source by source."""
    sizes, weights = _sizes(net.topology), net.weights
    to_units = np.zeros((sizes["N_SOURCES"], sizes["N_UNITS"]), net.dtype)
    begin = 0
    for kind in _UNITS:
        if kind in weights:
            n, n_sources = weights[kind].shape
            to_units[:n_sources, begin : begin + n] = weights[kind].T
            begin += n
    matrices = [_initializer(matrix) for matrix in (to_units, weights["output"].T) if matrix.size]
    return "\n".join(["const lstm97_weights lstm97_initial = {", *(matrices or ["    0"]), "};"])


def _initializer(matrix: Array) -> str:
    """A matrix in C, each number with just the digits that tell it from its neighbours."""
    suffix, per_line = ("f", 6) if matrix.dtype == np.float32 else ("", 4)
    rows = (_list([f"{value!s}{suffix}" for value in row], per_line) for row in matrix)
    return "\n".join(["    {", *(f"{row}," for row in rows), "    },"])


def _list(numbers: list[str], per_line: int) -> str:
    """Numbers in braces, so many in a line."""
    lines = (", ".join(numbers[i : i + per_line]) for i in range(0, len(numbers), per_line))
    separator = ",\n" + " " * 9
    return f"        {{{separator.join(lines)}}}"


def _bodies(topology: Topology) -> dict[str, str]:
    """Bodies of the functions that are different for each topology, by their $names in the text."""
    blocks = topology.blocks
    block_of = f"return c / {blocks[0] if blocks else 1};"
    if len(set(blocks)) > 1:
        table = _list([str(j) for j, size in enumerate(blocks) for _ in range(size)], 20)
        block_of = f"static const int blocks[LSTM97_N_CELLS] =\n{table};\n    return blocks[c];"
    (g, g_slope), (h, h_slope) = _SQUASHING[topology.input_squash], _SQUASHING[topology.output_squash]
    kinds = ",\n".join(
        f"    {{LSTM97_{kind.upper()}, {n}, {topology.n_sources(kind)}}}"
        for kind, n in topology.units.items()
        if kind != "output"
    )
    return {"block_of": block_of, "g": g, "g_slope": g_slope, "h": h, "h_slope": h_slope, "kinds": kinds}


# ---- C ----

_USAGE = r"""
 *
 *     lstm97_weights w = lstm97_initial;                      // weights that may change //? learn
 *     lstm97_state s = {0};                                   // a stream, where it begins
 *     status = lstm97_step(&lstm97_initial, &s, x, y);        // a step: inputs x, outputs y //? !learn
 *     status = lstm97_step(&w, &s, x, y);                     // a step: inputs x, outputs y //? learn
 *     status = lstm97_learn(&w, &s, x, target, 0.1, y);       // a step, then the weights change //? learn
 *     status = lstm97_learn(&w, &s, x, NULL, 0, y);           // a step whose target is not known yet ... //? learn
 *     status = lstm97_correct(&w, &s, target, 0.1);           // ... and now it is //? learn
 *     lstm97_reset(&s);                                       // another stream begins
 *     lstm97_get_parameters(&w, p);                           // the weights as Python has them, and back: //? learn
 *     status = lstm97_set_parameters(&w, p);                  //? learn
 *
 * Inside C++, where this file compiles as well, a state begins with {} instead of {0}.
 * A status of 0 means that all is well; the enum below has the others. Any number of states share the same weights.
 * Nothing is allocated, and there are no variables but those of the caller: different states may step in different
 * threads at once, but learn and correct change the weights, so that then nobody else may use them. //? learn
 * threads at once. //? !learn
 *
 * To have the declarations only, define LSTM97_DECLARATIONS_ONLY before including this file.
 */
"""

_BEGIN = r"""
#ifndef LSTM97_DECLARED
#define LSTM97_DECLARED

#ifdef __cplusplus
extern "C" {
#endif

typedef double lstm97_real;

enum {
    LSTM97_OK,
    LSTM97_CELL_STATE_NOT_FINITE, /* the weights are those of before; reset the state */
    LSTM97_OUTPUT_NOT_FINITE,     /* likewise */
    LSTM97_CHANGE_NOT_FINITE,     /* likewise; try a smaller learning rate */
    LSTM97_INPUT_NOT_FINITE,      /* x, target or a parameter is infinite or not a number; nothing has changed */
    LSTM97_BAD_LEARNING_RATE,     /* it is not positive and finite; nothing has changed */
    LSTM97_NOT_AWAITING           /* correct without a learn without target before; nothing has changed */
};
"""

_ENUMS = r"""
enum {{
{}
}};

/* Where the kinds of units begin among the units y, and where other things are among the sources z and z_k. */
enum {{
{}
}};
"""

_DECLARATIONS = r"""
extern const lstm97_weights lstm97_initial;

void lstm97_reset(lstm97_state *state);

/* y may be x. It is written if the outputs are finite. */
int lstm97_step(const lstm97_weights *weights, lstm97_state *state, const lstm97_real x[LSTM97_N_INPUTS],
                lstm97_real y[LSTM97_N_OUTPUTS]);
 //? learn
/* target may be NULL: no error signal at this step, or one by correct before the next step. */ //? learn
int lstm97_learn(lstm97_weights *weights, lstm97_state *state, const lstm97_real x[LSTM97_N_INPUTS], //? learn
                 const lstm97_real *target, lstm97_real learning_rate, lstm97_real y[LSTM97_N_OUTPUTS]); //? learn
 //? learn
int lstm97_correct(lstm97_weights *weights, lstm97_state *state, const lstm97_real target[LSTM97_N_OUTPUTS], //? learn
                   lstm97_real learning_rate); //? learn
 //? output_sources
/* The weights in the order of Network.parameters in Python: what is learned here goes on there, //? output_sources
 * and the other way round. numpy.fromfile reads what fwrite has written, and ndarray.tofile writes //? output_sources
 * what fread reads. */ //? output_sources
void lstm97_get_parameters(const lstm97_weights *weights, lstm97_real p[LSTM97_N_PARAMETERS]); //? output_sources
 //? output_sources
int lstm97_set_parameters(lstm97_weights *weights, const lstm97_real p[LSTM97_N_PARAMETERS]); //? output_sources

#ifdef __cplusplus
}
#endif

#endif

#ifndef LSTM97_DECLARATIONS_ONLY

/* Numbers in brackets are the equations of S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory", 1997.
 * Indices: k outputs, i hidden units, j blocks, c cells, m sources, u units of the hidden layer. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
#define LSTM97_RESTRICT __restrict
#else
#define LSTM97_RESTRICT restrict
#endif
"""

_ALL_FINITE = r"""
typedef uint64_t lstm97_bits; /* of a lstm97_real; if this array has -1 elements, export the network in float32 */
typedef char lstm97_bits_fit[sizeof(lstm97_bits) == sizeof(lstm97_real) ? 1 : -1];
static const lstm97_bits lstm97_bits_of_infinity = UINT64_C(0x7FF0000000000000);

/* Compares the numbers as integers: with -Ofast or -ffast-math a compiler takes it for granted that floats are finite,
 * and by volatile it cannot follow where the integer comes from. */
static int lstm97_all_finite(const lstm97_real *a, int n)
{
    lstm97_bits largest = 0;
    for (int i = 0; i < n; i++) {
        lstm97_bits bits;
        memcpy(&bits, a + i, sizeof bits);
        bits <<= 1; /* away with the sign */
        largest = bits > largest ? bits : largest;
    }
    volatile lstm97_bits seen = largest;
    return seen < lstm97_bits_of_infinity << 1;
}
"""

_VECTORS = r"""
static void lstm97_fill(lstm97_real *to, lstm97_real value, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = value;
}

static void lstm97_copy(lstm97_real *to, const lstm97_real *from, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = from[i];
}
"""

_ADD_SCALED = r"""
static void lstm97_add_scaled(lstm97_real *LSTM97_RESTRICT to, const lstm97_real *LSTM97_RESTRICT from,
                              lstm97_real factor, int n)
{
    for (int i = 0; i < n; i++)
        to[i] += factor * from[i];
}
"""

_LOGISTIC = r"""
/* 1 / (1 + exp(-a)), (3). The exponential stops before it overflows: with -Ofast, 1 / infinity may be NaN. */
static lstm97_real lstm97_logistic(lstm97_real a) { return 1 / (1 + exp(a < -700.0 ? 700.0 : -a)); }
"""

_CELL_FUNCTIONS = r"""
/* On a cell's net input, and its slope in terms of its value. */ //? learn
/* On a cell's net input. */ //? !learn
static lstm97_real lstm97_g(lstm97_real a)
{
    $g
}

static lstm97_real lstm97_g_slope(lstm97_real y) //? learn
{ //? learn
    $g_slope //? learn
} //? learn
 //? learn
/* On a cell's state, likewise. */ //? learn
/* On a cell's state. */ //? !learn
static lstm97_real lstm97_h(lstm97_real a)
{
    $h
}

static lstm97_real lstm97_h_slope(lstm97_real y) //? learn
{ //? learn
    $h_slope //? learn
} //? learn
 //? learn
/* The block of a cell, whose gates it shares. */
static int lstm97_block_of(int c)
{
    $block_of
}
"""

_HIDDEN_LAYER = r"""
/* Net inputs (7)-(9) of all units by the sources of now, then hidden units and gates. */
static void lstm97_squash_units(const lstm97_weights *w, lstm97_state *s, const lstm97_real *x)
{
    lstm97_copy(s->z, x, LSTM97_N_INPUTS);
    lstm97_copy(s->z + LSTM97_N_INPUTS, s->y, LSTM97_N_RECURRENT); //? recurrent
    s->z[LSTM97_BIAS] = 1; //? bias
    lstm97_fill(s->y, 0, LSTM97_N_UNITS);
    for (int m = 0; m < LSTM97_N_SOURCES; m++)
        lstm97_add_scaled(s->y, w->to_units[m], s->z[m], LSTM97_N_UNITS);
    for (int i = 0; i < LSTM97_N_HIDDEN; i++) //? hidden
        s->y[i] = lstm97_logistic(s->y[i]); //? hidden
    for (int u = LSTM97_INPUT_GATE; u < LSTM97_N_UNITS; u++) //? cells
        s->y[u] = lstm97_logistic(s->y[u]); //? cells
}
"""

_CELLS = r"""
/* The cells' states and what they put out. Returns whether the states are finite. */
static int lstm97_update_cells(lstm97_state *s)
{
    for (int c = 0; c < LSTM97_N_CELLS; c++) {
        int j = lstm97_block_of(c);
        lstm97_real g = lstm97_g(s->y[LSTM97_CELL + c]);
        lstm97_real s_c = s->s_c[c] + s->y[LSTM97_INPUT_GATE + j] * g; //? !forget_gates
        lstm97_real s_c = s->y[LSTM97_FORGET_GATE + j] * s->s_c[c] + s->y[LSTM97_INPUT_GATE + j] * g; //? forget_gates
        lstm97_real h = lstm97_h(s_c);
        s->s_before[c] = s->s_c[c]; //? learn forget_gates
        s->g[c] = g; //? learn
        s->h[c] = h; //? learn
        s->s_c[c] = s_c;
        s->y[LSTM97_CELL + c] = s->y[LSTM97_OUTPUT_GATE + j] * h; //? output_gates
        s->y[LSTM97_CELL + c] = h; //? !output_gates
    }
    return lstm97_all_finite(s->s_c, LSTM97_N_CELLS);
}
"""

_LOGISTIC_OUTPUTS = r"""
static void lstm97_squash_outputs(lstm97_real y[LSTM97_N_OUTPUTS])
{
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        y[k] = lstm97_logistic(y[k]);
}
"""

_SOFTMAX_OUTPUTS = r"""
static void lstm97_squash_outputs(lstm97_real y[LSTM97_N_OUTPUTS])
{
    lstm97_real most = y[0], sum = 0;
    for (int k = 1; k < LSTM97_N_OUTPUTS; k++)
        most = y[k] > most ? y[k] : most;
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        sum += y[k] = exp(y[k] - most);
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        y[k] /= sum;
}
"""

_OUTPUTS = r"""
/* The outputs, by the hidden layer of now. Returns whether they are finite. */
static int lstm97_compute_outputs(const lstm97_weights *w, lstm97_state *s)
{
    (void)w; //? !output_sources
    lstm97_copy(s->z_k + LSTM97_HIDDEN_SOURCE, s->y, LSTM97_N_HIDDEN + LSTM97_N_CELLS); //? units
    s->z_k[LSTM97_OUTPUT_BIAS] = 1; //? output_bias
    lstm97_fill(s->y_k, 0, LSTM97_N_OUTPUTS);
    for (int m = 0; m < LSTM97_N_OUTPUT_SOURCES; m++) //? output_sources
        lstm97_add_scaled(s->y_k, w->to_outputs[m], s->z_k[m], LSTM97_N_OUTPUTS); //? output_sources
    lstm97_squash_outputs(s->y_k); //? !identity
    return lstm97_all_finite(s->y_k, LSTM97_N_OUTPUTS);
}
"""

_ADVANCE = r"""
static int lstm97_advance(const lstm97_weights *w, lstm97_state *s, const lstm97_real *x)
{
    (void)x; //? !units !input_to_output
    lstm97_copy(s->z_k, x, LSTM97_N_INPUTS); //? input_to_output
    lstm97_squash_units(w, s, x); //? units
    if (!lstm97_update_cells(s)) //? cells
        return LSTM97_CELL_STATE_NOT_FINITE; //? cells
    return lstm97_compute_outputs(w, s) ? LSTM97_OK : LSTM97_OUTPUT_NOT_FINITE;
}
"""

_MAGNITUDE = r"""
static lstm97_real lstm97_magnitude(const lstm97_real *a, int n)
{
    lstm97_real sum = 0;
    for (int i = 0; i < n; i++)
        sum += fabs(a[i]);
    return sum;
}
"""

_PARTIALS = r"""
/* ds/dw = y_f ds/dw + coefficient z, where y_f is the forget gate. */ //? forget_gates
/* ds/dw = ds/dw + coefficient z. */ //? !forget_gates
static void lstm97_update_partials(lstm97_state *s)
{
    lstm97_real coefficient[LSTM97_N_PARTIALS];
    lstm97_real decay[LSTM97_N_PARTIALS]; //? forget_gates
    for (int c = 0; c < LSTM97_N_CELLS; c++) {
        int j = lstm97_block_of(c);
        lstm97_real y_in = s->y[LSTM97_INPUT_GATE + j];
        lstm97_real y_f = s->y[LSTM97_FORGET_GATE + j]; //? forget_gates
        coefficient[c] = y_in * lstm97_g_slope(s->g[c]); /* (27) */
        coefficient[LSTM97_N_CELLS + c] = s->g[c] * y_in * (1 - y_in); /* (25) */
        coefficient[2 * LSTM97_N_CELLS + c] = s->s_before[c] * y_f * (1 - y_f); //? forget_gates
        decay[c] = decay[LSTM97_N_CELLS + c] = decay[2 * LSTM97_N_CELLS + c] = y_f; //? forget_gates
    }
    for (int m = 0; m < LSTM97_N_SOURCES; m++) { //? forget_gates
        for (int i = 0; i < LSTM97_N_PARTIALS; i++) //? forget_gates
            s->ds_dw[m][i] *= decay[i]; //? forget_gates
        lstm97_add_scaled(s->ds_dw[m], coefficient, s->z[m], LSTM97_N_PARTIALS); //? forget_gates
    } //? forget_gates
    for (int m = 0; m < LSTM97_N_SOURCES; m++) //? !forget_gates
        lstm97_add_scaled(s->ds_dw[m], coefficient, s->z[m], LSTM97_N_PARTIALS); //? !forget_gates
    s->has_partials = 1;
    s->partials_bound += 2 * lstm97_magnitude(coefficient, LSTM97_N_PARTIALS) * /* twice: whatever is rounded */
                         lstm97_magnitude(s->z, LSTM97_N_SOURCES);
}

static void lstm97_drop_partials(lstm97_state *s)
{
    for (int m = 0; m < LSTM97_N_SOURCES; m++)
        lstm97_fill(s->ds_dw[m], 0, LSTM97_N_PARTIALS);
    s->partials_bound = 0;
    s->has_partials = 0;
}
"""

_ERROR_AT = r"""
/* The error that reaches a source of the outputs, by the weights from there. */
static lstm97_real lstm97_error_at(const lstm97_state *s, const lstm97_real *weights)
{
    lstm97_real sum = 0;
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        sum += weights[k] * s->e_k[k];
    return sum;
}
"""

_ERRORS = r"""
/* The error signals, times the learning rate. */
static void lstm97_set_errors(const lstm97_weights *w, lstm97_state *s, const lstm97_real *target, lstm97_real rate)
{
    (void)w; //? !units
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++) /* (19) */ //? !logistic
        s->e_k[k] = rate * (target[k] - s->y_k[k]); //? !logistic
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++) { /* (19) */ //? logistic
        lstm97_real y = s->y_k[k]; //? logistic
        s->e_k[k] = rate * (target[k] - y) * y * (1 - y); //? logistic
    } //? logistic
    const lstm97_real (*to_outputs)[LSTM97_N_OUTPUTS] = w->to_outputs + LSTM97_HIDDEN_SOURCE; //? units
    for (int i = 0; i < LSTM97_N_HIDDEN; i++) /* (20) */ //? hidden
        s->e_i[i] = s->y[i] * (1 - s->y[i]) * lstm97_error_at(s, to_outputs[i]); //? hidden
    lstm97_fill(s->e_out, 0, LSTM97_N_BLOCKS); //? output_gates
    for (int c = 0; c < LSTM97_N_CELLS; c++) { //? cells
        lstm97_real error = lstm97_error_at(s, to_outputs[LSTM97_CELL + c]); //? cells
        lstm97_real y_out = s->y[LSTM97_OUTPUT_GATE + lstm97_block_of(c)]; //? output_gates
        s->e_out[lstm97_block_of(c)] += y_out * (1 - y_out) * s->h[c] * error; /* (21) */ //? output_gates
        s->e_s[c] = y_out * lstm97_h_slope(s->h[c]) * error; /* (23) */ //? output_gates
        s->e_s[c] = lstm97_h_slope(s->h[c]) * error; /* (23) */ //? cells !output_gates
    } //? cells
}
"""

_CHANGES_FROM = r"""
/* Adds up what the partials of a block's cells ask of the weight to its gate, (26). */ //? cells
static void lstm97_add_to_gates(lstm97_real *LSTM97_RESTRICT dw, const lstm97_real *e_s, //? cells
                                const lstm97_real *ds_dw) //? cells
{ //? cells
    lstm97_fill(dw, 0, LSTM97_N_BLOCKS); //? cells
    for (int c = 0; c < LSTM97_N_CELLS; c++) //? cells
        dw[lstm97_block_of(c)] += e_s[c] * ds_dw[c]; //? cells
} //? cells
 //? cells
/* The changes of the weights from a source m to the hidden layer. */
static void lstm97_changes_from(int m, const lstm97_state *s, lstm97_real *LSTM97_RESTRICT dw)
{
    const lstm97_real z = s->z[m]; //? hidden
    const lstm97_real z = s->z[m]; //? !hidden output_gates
    const lstm97_real *ds_dw = s->ds_dw[m]; //? cells
    for (int i = 0; i < LSTM97_N_HIDDEN; i++) /* (22) */ //? hidden
        dw[i] = s->e_i[i] * z; //? hidden
    for (int c = 0; c < LSTM97_N_CELLS; c++) /* (28) */ //? cells
        dw[LSTM97_CELL + c] = s->e_s[c] * ds_dw[c]; //? cells
    lstm97_add_to_gates(dw + LSTM97_INPUT_GATE, s->e_s, ds_dw + LSTM97_N_CELLS); //? cells
    lstm97_add_to_gates(dw + LSTM97_FORGET_GATE, s->e_s, ds_dw + 2 * LSTM97_N_CELLS); //? forget_gates
    for (int j = 0; j < LSTM97_N_BLOCKS; j++) /* (22) */ //? output_gates
        dw[LSTM97_OUTPUT_GATE + j] = s->e_out[j] * z; //? output_gates
    if (m == LSTM97_BIAS) //? some_unbiased
        lstm97_fill(dw, 0, LSTM97_FIRST_BIASED); //? some_unbiased
}
"""

_CHANGE = r"""
/* Whether no change is large enough to make a finite weight overflow. Where a number is not finite, it is not known. */
static int lstm97_is_harmless(const lstm97_state *s)
{
    lstm97_real errors = lstm97_magnitude(s->e_k, LSTM97_N_OUTPUTS);
    lstm97_real factors = 1;
    errors += lstm97_magnitude(s->e_i, LSTM97_N_HIDDEN); //? hidden
    errors += lstm97_magnitude(s->e_out, LSTM97_N_BLOCKS); //? output_gates
    errors += lstm97_magnitude(s->e_s, LSTM97_N_CELLS); //? cells
    factors += lstm97_magnitude(s->z, LSTM97_N_SOURCES); //? units
    factors += lstm97_magnitude(s->z_k, LSTM97_N_OUTPUT_SOURCES); //? output_sources
    factors += s->partials_bound; //? cells
    lstm97_real bounds[2];
    bounds[0] = factors;
    bounds[1] = errors * factors;
    return lstm97_all_finite(bounds, 2) && bounds[0] < 1e290 && bounds[1] < 1e290;
}

/* Whether all weights would be finite after their change. */
static int lstm97_would_be_finite(const lstm97_weights *w, const lstm97_state *s)
{
    int finite = 1;
    (void)w; //? !units !output_sources
    (void)s; //? !units !output_sources
    for (int m = 0; m < LSTM97_N_SOURCES; m++) { //? units
        lstm97_real dw[LSTM97_N_UNITS]; //? units
        lstm97_changes_from(m, s, dw); //? units
        lstm97_add_scaled(dw, w->to_units[m], 1, LSTM97_N_UNITS); //? units
        finite &= lstm97_all_finite(dw, LSTM97_N_UNITS); //? units
    } //? units
    for (int m = 0; m < LSTM97_N_OUTPUT_SOURCES; m++) { //? output_sources
        lstm97_real after[LSTM97_N_OUTPUTS]; //? output_sources
        lstm97_copy(after, w->to_outputs[m], LSTM97_N_OUTPUTS); //? output_sources
        lstm97_add_scaled(after, s->e_k, s->z_k[m], LSTM97_N_OUTPUTS); //? output_sources
        finite &= lstm97_all_finite(after, LSTM97_N_OUTPUTS); //? output_sources
    } //? output_sources
    return finite;
}

/* The change of all weights or, if one would not be finite, of none. */
static int lstm97_change_weights(lstm97_weights *w, lstm97_state *s, const lstm97_real *target, lstm97_real rate)
{
    s->is_awaiting = 0;
    lstm97_set_errors(w, s, target, rate);
    if (!lstm97_is_harmless(s) && !lstm97_would_be_finite(w, s))
        return LSTM97_CHANGE_NOT_FINITE;
    for (int m = 0; m < LSTM97_N_SOURCES; m++) { //? units
        lstm97_real dw[LSTM97_N_UNITS]; //? units
        lstm97_changes_from(m, s, dw); //? units
        lstm97_add_scaled(w->to_units[m], dw, 1, LSTM97_N_UNITS); //? units
    } //? units
    for (int m = 0; m < LSTM97_N_OUTPUT_SOURCES; m++) /* (22) */ //? output_sources
        lstm97_add_scaled(w->to_outputs[m], s->e_k, s->z_k[m], LSTM97_N_OUTPUTS); //? output_sources
    return LSTM97_OK;
}
"""

_CALLS = r"""
void lstm97_reset(lstm97_state *state)
{
    (void)state; //? !learn !units
    lstm97_fill(state->y, 0, LSTM97_N_UNITS); //? units
    lstm97_fill(state->s_c, 0, LSTM97_N_CELLS); //? cells
    lstm97_drop_partials(state); //? learn cells
    state->is_awaiting = 0; //? learn
}

int lstm97_step(const lstm97_weights *weights, lstm97_state *state, const lstm97_real x[LSTM97_N_INPUTS],
                lstm97_real y[LSTM97_N_OUTPUTS])
{
    if (!lstm97_all_finite(x, LSTM97_N_INPUTS))
        return LSTM97_INPUT_NOT_FINITE;
    if (state->has_partials) //? learn cells
        lstm97_drop_partials(state); //? learn cells
    state->is_awaiting = 0; //? learn
    int status = lstm97_advance(weights, state, x);
    if (status == LSTM97_OK)
        lstm97_copy(y, state->y_k, LSTM97_N_OUTPUTS);
    return status;
}
"""

_LEARNING_CALLS = r"""
static int lstm97_check(const lstm97_real *target, lstm97_real learning_rate)
{
    if (!lstm97_all_finite(target, LSTM97_N_OUTPUTS))
        return LSTM97_INPUT_NOT_FINITE;
    return lstm97_all_finite(&learning_rate, 1) && learning_rate > 0 ? LSTM97_OK : LSTM97_BAD_LEARNING_RATE;
}

int lstm97_learn(lstm97_weights *weights, lstm97_state *state, const lstm97_real x[LSTM97_N_INPUTS],
                 const lstm97_real *target, lstm97_real learning_rate, lstm97_real y[LSTM97_N_OUTPUTS])
{
    if (!lstm97_all_finite(x, LSTM97_N_INPUTS))
        return LSTM97_INPUT_NOT_FINITE;
    int status = target ? lstm97_check(target, learning_rate) : LSTM97_OK;
    if (status != LSTM97_OK)
        return status;
    state->is_awaiting = 0;
    status = lstm97_advance(weights, state, x);
    if (status != LSTM97_OK)
        return status;
    lstm97_update_partials(state); //? cells
    state->is_awaiting = 1;
    if (target)
        status = lstm97_change_weights(weights, state, target, learning_rate);
    lstm97_copy(y, state->y_k, LSTM97_N_OUTPUTS);
    return status;
}

int lstm97_correct(lstm97_weights *weights, lstm97_state *state, const lstm97_real target[LSTM97_N_OUTPUTS],
                   lstm97_real learning_rate)
{
    int status = lstm97_check(target, learning_rate);
    if (status != LSTM97_OK)
        return status;
    if (!state->is_awaiting)
        return LSTM97_NOT_AWAITING;
    return lstm97_change_weights(weights, state, target, learning_rate);
}
"""

_PARAMETERS = r"""
/* Kinds of units in the order of the parameters: the first unit, how many, and how many sources each sees. */ //? units
static const struct { int begin, n, n_sources; } lstm97_kinds[] = { //? units
$kinds //? units
}; //? units
enum { LSTM97_N_KINDS = sizeof lstm97_kinds / sizeof lstm97_kinds[0] }; //? units
 //? units
void lstm97_get_parameters(const lstm97_weights *weights, lstm97_real p[LSTM97_N_PARAMETERS])
{
    lstm97_real *next = p;
    for (int kind = 0; kind < LSTM97_N_KINDS; kind++) //? units
        for (int i = 0; i < lstm97_kinds[kind].n; i++) //? units
            for (int m = 0; m < lstm97_kinds[kind].n_sources; m++) //? units
                *next++ = weights->to_units[m][lstm97_kinds[kind].begin + i]; //? units
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        for (int m = 0; m < LSTM97_N_OUTPUT_SOURCES; m++)
            *next++ = weights->to_outputs[m][k];
}

int lstm97_set_parameters(lstm97_weights *weights, const lstm97_real p[LSTM97_N_PARAMETERS])
{
    const lstm97_real *next = p;
    if (!lstm97_all_finite(p, LSTM97_N_PARAMETERS))
        return LSTM97_INPUT_NOT_FINITE;
    for (int kind = 0; kind < LSTM97_N_KINDS; kind++) //? units
        for (int i = 0; i < lstm97_kinds[kind].n; i++) //? units
            for (int m = 0; m < LSTM97_N_SOURCES; m++) /* what a kind does not see weighs nothing */ //? units
                weights->to_units[m][lstm97_kinds[kind].begin + i] = //? units
                    m < lstm97_kinds[kind].n_sources ? *next++ : 0; //? units
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        for (int m = 0; m < LSTM97_N_OUTPUT_SOURCES; m++)
            weights->to_outputs[m][k] = *next++;
    return LSTM97_OK;
}
"""

_END = r"""
#endif
"""

_FUNCTIONS = (
    ("", _ALL_FINITE),
    ("", _VECTORS),
    ("output_sources", _ADD_SCALED),
    ("uses_logistic", _LOGISTIC),
    ("cells", _CELL_FUNCTIONS),
    ("units", _HIDDEN_LAYER),
    ("cells", _CELLS),
    ("logistic", _LOGISTIC_OUTPUTS),
    ("softmax", _SOFTMAX_OUTPUTS),
    ("", _OUTPUTS),
    ("", _ADVANCE),
    ("learn", _MAGNITUDE),
    ("learn cells", _PARTIALS),
    ("learn units", _ERROR_AT),
    ("learn", _ERRORS),
    ("learn units", _CHANGES_FROM),
    ("learn", _CHANGE),
    ("", _CALLS),
    ("learn", _LEARNING_CALLS),
    ("output_sources", _PARAMETERS),
)
"""The functions in their order, and which networks have them."""
