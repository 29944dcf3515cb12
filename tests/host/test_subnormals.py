"""Subnormal numbers of the host process: importing and using the package leaves them as they were."""

from __future__ import annotations

import importlib.machinery
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from compiling import compiler

import lstm97
from lstm97._kernel import builds

pytestmark = pytest.mark.xdist_group("subnormals")

REGISTER = (Path(__file__).parent / "register.c").read_text(encoding="utf-8")
# Linking with -ffast-math adds such code to a library, which runs when the library is loaded.
CULPRIT = REGISTER + "__attribute__((constructor)) static void set_fast_math(void) { flush(); }\n"

PROGRAM = """
import ctypes, importlib, json, sys
import numpy as np

register = ctypes.CDLL(sys.argv[1])
found = []


def look():
    least = np.float64(5e-324), np.float32(1e-45)
    found.append([register.flushing(), *(bool(number * number.dtype.type(1) != 0) for number in least)])


look()
for name in sys.argv[3:]:
    importlib.import_module(name)
    look()
if sys.argv[2]:
    ctypes.CDLL(sys.argv[2])
    look()
import lstm97

for dtype in ("float64", "float32"):
    net = lstm97.Network(lstm97.Topology(2, 1, blocks=(2, 2), forget_gates=True), dtype=dtype)
    tiny = np.full((40, 2), np.finfo(dtype).smallest_subnormal, dtype)
    net.learn_run(tiny, tiny[:, :1], 0.1)
    net.run(tiny)
    lstm97.train(net, [tiny], [tiny[:, :1]], 0.1)
    lstm97.train(net, [tiny], [tiny[:, :1]], 0.1, update="sequence")
    net.learn(tiny[0], tiny[0, :1], 0.1)
    net.learn(tiny[0], None, 0.1)
    net.correct(tiny[0, :1], 0.1)
    net.step(tiny[0])
    look()
json.dump([lstm97.show_config().build, found], sys.stdout)
"""
UNTOUCHED = [0, True, True]


def compiled_modules():
    """The package's compiled modules, by name."""
    folder = Path(lstm97.__file__).parent
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    files = [file for file in folder.rglob("*") if file.name.endswith(suffixes)]
    return {".".join([*file.relative_to(folder.parent).parent.parts, file.name.split(".")[0]]): file for file in files}


def runnable_modules():
    """The compiled modules without instructions that this CPU lacks."""
    others = [suffix for name, (suffix, _) in builds._BUILDS.items() if name not in builds.runnable()]
    return sorted(name for name in compiled_modules() if not name.endswith(tuple(others)))


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """Two compiled libraries: one reads the register, the other sets it as the package must not."""
    folder = tmp_path_factory.mktemp("register")
    made = {}
    for name, source in {"register": REGISTER, "culprit": CULPRIT}.items():
        (folder / f"{name}.c").write_text(source)
        made[name] = folder / f"{name}.so"
        files = [str(folder / f"{name}.c"), "-o", str(made[name]), "-lm"]
        subprocess.run([*compiler(), "-O1", "-shared", "-fPIC", *files], check=True)
    return made


def in_a_process(libraries, build, modules=(), *, culprit=False):
    """The build used, and the state of the register and of subnormal numbers after each action."""
    environment = {**os.environ, "LSTM97_KERNEL": build}
    bad = str(libraries["culprit"]) if culprit else ""
    command = [sys.executable, "-c", PROGRAM, str(libraries["register"]), bad, *modules]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("build", builds.runnable())
def test_subnormals_stay_after_using_a_build(libraries, build):
    used, found = in_a_process(libraries, build)
    assert used == build
    assert found == [UNTOUCHED] * 3


def test_subnormals_stay_after_importing_every_compiled_module(libraries):
    modules = runnable_modules()
    assert {"lstm97._kernel.engine", "lstm97._core", "lstm97._kernel.core_f32"} <= set(modules)
    _, found = in_a_process(libraries, "", modules)
    assert found == [UNTOUCHED] * (3 + len(modules))


def test_a_library_that_flushes_subnormals_would_be_noticed(libraries):
    _, found = in_a_process(libraries, "", culprit=True)
    assert found[0] == UNTOUCHED
    assert all(flushing and not double and not single for flushing, double, single in found[1:])
    assert b"set_fast_math" in libraries["culprit"].read_bytes()


@pytest.mark.parametrize("name", sorted(compiled_modules()))
def test_no_compiled_module_is_linked_with_fast_math(name):
    assert b"set_fast_math" not in compiled_modules()[name].read_bytes()
