"""The cost of a step in a host program, by its interface: ``python -m benchmarks.hosts`` prints tables as Markdown.

The interfaces: a call of `Network` for each step, one call for many steps, the C functions for Cython code, and the
exported C file.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import lstm97
from lstm97 import cython_api

from .compiling import compiler, shared_library
from .latency import NETWORKS, SEQUENCE_STEPS, markdown_table, where
from .machine import describe
from .ours import LEARNING_RATE, problem
from .rows import DTYPES
from .timing import Workload, take_turns

SOURCE = Path(__file__).with_name("hosts.c")
WAYS = ("`Network`, a call per step", "`Network`, one call", "Cython", "exported C, -O2", "exported C, -O3")
TARGETS = {platform.machine(): compiler(), "32-bit ARM, Thumb": ["arm-linux-gnueabihf-gcc", "-mthumb"]}

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Cost:
    """Nanoseconds per step, by interface."""

    network: str
    dtype: str
    call: str
    nanoseconds: dict[str, float]


@dataclass(frozen=True)
class Size:
    """Bytes of an exported file that learns: code by processor, weights, a state."""

    network: str
    dtype: str
    code: dict[str, int]
    weights: int
    state: int


# ---- interfaces ------------------------------------------------------------------------------------------------------


def c_function(name: str) -> tuple[int, str]:
    """Return the address of a function of lstm97.cython_api and its C type, found as Cython's cimport finds them."""
    capsule = cython_api.__pyx_capi__[name]
    read, find = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    read.restype, read.argtypes = ctypes.c_char_p, [ctypes.py_object]
    find.restype, find.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature: bytes = read(capsule)
    return find(capsule, signature), signature.decode()


def _address(array: Array | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def _checked(status: int) -> None:
    if status:
        raise FloatingPointError(f"a call ended with status {status}")


def by_calls(net: lstm97.Network, X: Array, targets: Array | None) -> Callable[[int], None]:
    """Return a function that passes over the steps n times, with a call for each step."""
    y, step, learn = np.empty(net.topology.n_outputs, net.dtype), net.step, net.learn

    def run(passes: int) -> None:
        for _ in range(passes):
            net.reset()
            if targets is None:
                for x in X:
                    step(x, out=y)
            else:
                for x, target in zip(X, targets, strict=True):
                    learn(x, target, LEARNING_RATE, out=y)

    return run


def by_one_call(net: lstm97.Network, X: Array, targets: Array | None) -> Callable[[int], None]:
    """Return a function that passes over the steps n times, each time in one call."""
    Y = np.empty((len(X), net.topology.n_outputs), net.dtype)

    def run(passes: int) -> None:
        for _ in range(passes):
            net.reset()
            if targets is None:
                net.run(X, out=Y)
            else:
                net.learn_run(X, targets, LEARNING_RATE, out=Y)

    return run


def by_cython(net: lstm97.Network, X: Array, targets: Array | None, library: ctypes.CDLL) -> Callable[[int], None]:
    """Return passes in a compiled loop that calls the functions for Cython."""
    y = np.empty(net.topology.n_outputs, net.dtype)
    bind = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_size_t, ctypes.c_int)
    unbind = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(c_function("lstm97_unbind")[0])
    calls = [ctypes.c_void_p(c_function(f"lstm97_{name}")[0]) for name in ("step", "learn", "reset")]
    row_bytes = 0 if targets is None else targets.strides[0]

    def run(passes: int) -> None:
        stream = ctypes.c_void_p(bind(c_function("lstm97_bind")[0])(net.state, net.dtype.itemsize, 1))
        try:
            _checked(
                library.go_bound(
                    *(stream, *calls),
                    *(_address(X), ctypes.c_size_t(X.strides[0]), _address(targets), ctypes.c_size_t(row_bytes)),
                    *(ctypes.c_double(LEARNING_RATE), _address(y), ctypes.c_long(len(X)), ctypes.c_long(passes)),
                )
            )
        finally:
            unbind(stream)

    return run


def by_exported(net: lstm97.Network, X: Array, targets: Array | None, library: ctypes.CDLL) -> Callable[[int], None]:
    """Return a function that passes over the steps n times, in a compiled loop that calls the exported file."""
    y = np.empty(net.topology.n_outputs, net.dtype)

    def run(passes: int) -> None:
        _checked(
            library.go_exported(
                *(_address(X), _address(targets), ctypes.c_double(LEARNING_RATE), _address(y)),
                *(ctypes.c_long(len(X)), ctypes.c_long(passes)),
            )
        )

    return run


def compiled(net: lstm97.Network, level: str) -> ctypes.CDLL:
    """Return hosts.c compiled at a level of optimisation, together with the network's exported file."""
    with tempfile.TemporaryDirectory() as folder:
        lstm97.export_c(net, Path(folder, "hosted.c"), learn=True, name="hosted")
        return shared_library(SOURCE, level, f"-I{folder}", '-DEXPORTED="hosted.c"')


# ---- measurements ----------------------------------------------------------------------------------------------------


def _networks() -> Iterator[tuple[str, str, lstm97.Network]]:
    for (name, topology), dtype in product(NETWORKS.items(), DTYPES):
        yield name, dtype, lstm97.Network(topology, dtype=dtype, seed=0)


def costs(repeats: int, seconds: float) -> Iterator[Cost]:
    """Measure all networks; the interfaces take turns, each with a network of its own."""
    for name, dtype, net in _networks():
        inputs, all_targets = problem(net.topology, SEQUENCE_STEPS, dtype, every_step=True)
        libraries = [compiled(net, level) for level in ("-O2", "-O3")]
        for call, targets in (("step", None), ("learn, a target at every step", all_targets[0])):
            twins = [lstm97.Network(net.topology, dtype=dtype, seed=0) for _ in range(3)]
            runs = [
                by_calls(twins[0], inputs[0], targets),
                by_one_call(twins[1], inputs[0], targets),
                by_cython(twins[2], inputs[0], targets, libraries[0]),
                *(by_exported(net, inputs[0], targets, library) for library in libraries),
            ]
            ways = [Workload(way, run, SEQUENCE_STEPS) for way, run in zip(WAYS, runs, strict=True)]
            taken = np.median(take_turns(ways, repeats=repeats, seconds=seconds), axis=0)
            yield Cost(name, dtype, call, dict(zip(WAYS, taken.tolist(), strict=True)))


def sizes() -> Iterator[Size]:
    """Compile the exported files for size, with the compilers that are installed, and yield their sizes."""
    for name, dtype, net in _networks():
        with tempfile.TemporaryDirectory() as folder:
            file, thing = Path(folder, "hosted.c"), Path(folder, "hosted.o")
            lstm97.export_c(net, file, learn=True, name="hosted")
            code = {}
            for target, command in TARGETS.items():
                if shutil.which(command[0]):
                    subprocess.run([*command, "-std=c99", "-Os", "-c", str(file), "-o", str(thing)], check=True)
                    code[target] = _code_bytes(thing, net.topology.n_weights * net.dtype.itemsize)
            program = f"#include <stdio.h>\n#include {json.dumps(str(file))}\n" + (
                'int main(void) { printf("%zu %zu", sizeof(hosted_weights), sizeof(hosted_state)); return 0; }\n'
            )
            asked = Path(folder, "asked")
            command = [*compiler(), "-x", "c", "-", "-o", str(asked), "-lm"]
            subprocess.run(command, input=program, text=True, check=True)
            weights, state = map(int, subprocess.check_output([asked], text=True).split())
        yield Size(name, dtype, code, weights, state)


def _code_bytes(thing: Path, least: int) -> int:
    """Return the bytes of code and constants in an object file, without its weights, which take `least` bytes."""
    listed = subprocess.check_output(["size", "--format=sysv", str(thing)], text=True).splitlines()
    parts = {words[0]: int(words[1]) for words in map(str.split, listed) if words and words[0].startswith(".")}
    if parts[".rodata"] < least:
        raise ValueError(f"{thing} does not hold its weights: {parts}")
    return sum(size for part, size in parts.items() if part.startswith((".text", ".rodata"))) - least


# ---- tables ----------------------------------------------------------------------------------------------------------


def markdown(figures: dict[str, Any]) -> str:
    """Return the tables, below the machine and the versions."""
    code = list(dict.fromkeys(target for row in figures["sizes"] for target in row["code"]))
    return "\n\n".join(
        [
            where(figures),
            markdown_table(
                "Nanoseconds of a step by the way in:",
                ("network", "call", *WAYS),
                (
                    (f"{row['network']}, {row['dtype']}", row["call"], *(f"{row['nanoseconds'][w]:.0f}" for w in WAYS))
                    for row in figures["costs"]
                ),
            ),
            markdown_table(
                "Bytes of an exported file that learns, code and constants, compiled with -Os:",
                ("network", *(f"code, {target}" for target in code), "weights", "each state"),
                (
                    (
                        f"{row['network']}, {row['dtype']}",
                        *(f"{row['code'][target]:,}" for target in code),
                        *(f"{row['weights']:,}", f"{row['state']:,}"),
                    )
                    for row in figures["sizes"]
                ),
            ),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print, or print the figures from a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hosts", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="take little time: to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as well")
    parser.add_argument(
        "--from", dest="file", type=Path, metavar="FILE", help="run nothing: print what --json wrote to FILE"
    )
    options = parser.parse_args(arguments)
    if options.file:
        print(markdown(json.loads(options.file.read_text(encoding="utf-8"))))
        return
    repeats, seconds = (3, 0.001) if options.quick else (9, 0.2)
    figures: dict[str, Any] = {**describe(), "repeats": repeats, "seconds": seconds}
    figures["costs"] = [asdict(row) for row in costs(repeats, seconds)]
    figures["sizes"] = [asdict(row) for row in sizes()]
    print(markdown(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
