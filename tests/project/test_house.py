"""Rules of the package's structure: the imports of all modules, compiled ones too; sizes; effects of import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import TopologicalSorter
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import lstm97
from lstm97 import Network, Topology
from lstm97._kernel.engine import Engine
from lstm97._kernel.layout import Layout

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "lstm97"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LAYERS = {contract["containers"][0]: contract["layers"] for contract in CONTRACTS if contract["type"] == "layers"}
LOOPS = re.compile(r"_?core(_f32)?(_v\d)?")
CYTHON = {".pyx", ".pxd", ".pxi"}
NOT_CODE = re.compile(r'"""[\s\S]*?"""|#[^\n]*|\\\n')
IMPORT = re.compile(
    r"(?:^|[;:])[ \t]*((?:from[ \t]+[.\w]+[ \t]*)?\bc?import\b[ \t]*(?:\([^)]*\)|[^\n;]*))", re.MULTILINE
)
FUNCTION = re.compile(
    r"^( *)(?:async |cp?)?def (?!class\b)[^=(\n]*?(\w+)\((?:[^()]|\([^()]*\))*\).*:.*\n((?:(?:\1 +.*)?\n)*)",
    re.MULTILINE,
)
NEEDED_BY_LOOPS = ("cpython.pycapsule", "cpython.pyport", "lstm97._kernel.abi", "lstm97._kernel.stop_rule")
"""What the loops may import besides C; capsules export the table of functions."""
SHARED_WITH_METHODS = tuple(f"lstm97._kernel.{name}" for name in ("abi", "arrays", "stop_rule", "stop_window"))
"""The exception to what is forbidden: the loops of `methods` cimport the stop rule in C from the kernel."""
LONGEST_FUNCTION = 80
LARGEST_KERNEL = 215_000


def module_of(file):
    """The module that a file of the package belongs to. All builds of the loops, and what they include, are `core`."""
    if file.suffix == ".pxi" or LOOPS.fullmatch(file.stem):
        return "lstm97._kernel.core"
    return ".".join(("lstm97", *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


FILES = [file for file in sorted(SOURCE.rglob("*")) if file.suffix in {".py", ".pyi", *CYTHON}]
MODULES = {module_of(file) for file in FILES}


def imports_in(text, file):
    """What a file with this text imports, wherever in it: modules of the package, and others by what follows `from`."""
    if file.suffix in CYTHON:
        text = NOT_CODE.sub(" ", text)
        yield from (module_of(file.parent / name) for name in re.findall(r'^\s*include "(.*)"', text, re.MULTILINE))
        text = "\n".join(IMPORT.findall(text)).replace("cimport", "import")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = module_of(file.parent / "__init__.py").split(".")
            start = [*package[: len(package) + 1 - node.level], node.module or ""] if node.level else [node.module]
            names = [".".join((*filter(None, start), alias.name)) for alias in node.names]
            if names[0].partition(".")[0] != "lstm97":
                names = [node.module]
        else:
            continue
        for name in names:
            name = re.sub(rf"^lstm97\.(_kernel\.)?{LOOPS.pattern}(?=\.|$)", "lstm97._kernel.core", name)
            while name.startswith("lstm97.") and name not in MODULES:  # a name in a module
                name = name.rpartition(".")[0]
            yield name


@cache
def graph():
    """What each module imports, compiled modules and stubs included."""
    found = {module: set() for module in MODULES}
    for file in FILES:
        found[module_of(file)].update(imports_in(file.read_text(encoding="utf-8"), file))
    return {module: imported - {module} for module, imported in found.items()}


def imports_within_package():
    return [(module, name) for module, names in graph().items() for name in names if name in MODULES]


def is_in(module, package):
    return f"{module}.".startswith(f"{package}.")


@pytest.mark.parametrize(
    ("name", "text", "imported"),
    [
        ("extend.py", "def f():\n    from lstm97 import sequences, network", ["lstm97.sequences", "lstm97.network"]),
        ("extend.py", "if TYPE_CHECKING:\n    from lstm97._core import kernel", ["lstm97._kernel.core"]),
        ("export/c.py", "from . import onnx\nfrom .. import Network", ["lstm97.export.onnx", "lstm97"]),
        ("_kernel/engine.pyx", "import os, lstm97.network as n; cimport cython", ["os", "lstm97.network", "cython"]),
        (
            "_kernel/engine.pyx",
            "from lstm97._kernel cimport abi, core_v3",
            ["lstm97._kernel.abi", "lstm97._kernel.core"],
        ),
        ("_kernel/engine.pyx", "from .abi cimport (  # C\n    Net,\n    State)\n", ["lstm97._kernel.abi"] * 2),
        ("methods/_cascade.pyx", 'include "../_kernel/vectors.pxi"', ["lstm97._kernel.core"]),
        ("_kernel/shares.pxi", "import numpy \\\n    as np\n", ["numpy"]),
        ("_kernel/engine.pyx", '"""\nimport x\n"""\n# import y\nif 1: from ..network import State', ["lstm97.network"]),
    ],
)
def test_every_form_of_import_is_seen(name, text, imported):
    assert list(imports_in(text, SOURCE / name)) == imported


@pytest.mark.parametrize("package", LAYERS)
def test_modules_import_only_what_stands_below_them(package):
    layers = {name.strip(" ()"): i for i, names in enumerate(LAYERS[package]) for name in names.split("|")}
    for names in imports_within_package():
        places = [
            name.removeprefix(f"{package}.").partition(".")[0] for name in names if name.startswith(f"{package}.")
        ]
        assert set(places) <= set(layers), f"pyproject.toml lists no layer for {places}"
        if len(places) == 2 and places[0] != places[1]:
            assert layers[places[1]] > layers[places[0]], "{} imports {}".format(*names)


@pytest.mark.parametrize(
    "contract", [c for c in CONTRACTS if c["type"] == "forbidden"], ids=lambda contract: contract["name"]
)
def test_no_module_imports_what_is_forbidden(contract):
    for module, name in imports_within_package():
        is_forbidden = name in contract["forbidden_modules"]
        if contract.get("as_packages", True):
            is_forbidden = any(is_in(name, forbidden) for forbidden in contract["forbidden_modules"])
        is_shared = is_in(module, "lstm97.methods") and name in SHARED_WITH_METHODS
        if any(is_in(module, source.removesuffix(".**")) for source in contract["source_modules"]) and not is_shared:
            assert not is_forbidden, f"{module} imports {name}"


def test_no_imports_go_in_a_circle():
    TopologicalSorter(graph()).prepare()


def test_the_loops_import_only_c():
    for module in ("lstm97._kernel.core", "lstm97._kernel.abi", "lstm97._kernel.stop_rule"):
        for name in graph()[module]:
            assert name.startswith("libc.") or name in NEEDED_BY_LOOPS, f"{module} imports {name}"


def test_no_build_of_the_loops_is_large_or_has_cythons_views_of_memory():
    built = [
        file
        for file in Path(lstm97.__file__).parent.rglob("*")
        if LOOPS.fullmatch(file.name.partition(".")[0]) and file.name.endswith(tuple(EXTENSION_SUFFIXES))
    ]
    assert len(built) >= 2
    for file in built:
        data = file.read_bytes()
        assert b"memoryview" not in data
        is_sanitized = any(name in data for name in (b"__asan_", b"__ubsan_", b"__tsan_"))  # such builds are larger
        assert is_sanitized or len(data) < LARGEST_KERNEL


def bodies(file):
    """The functions of a file, and how many lines each has below its docstring."""
    text = file.read_text(encoding="utf-8")
    if file.suffix in CYTHON:
        for _, name, body in FUNCTION.findall(re.sub(r'"""[\s\S]*?"""', "", text)):
            yield name, len(body.strip().splitlines())
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            yield node.name, node.end_lineno - first.lineno + 1


def test_no_function_is_long():
    scripts = [file for folder in ("tools", "benchmarks", "wheels") for file in (ROOT / folder).glob("*.py")]
    found = [(file.name, name, n) for file in (*FILES, *scripts) for name, n in bodies(file)]
    assert any(file == "_core.pyx" and name == "learn_step" and n > 10 for file, name, n in found)
    assert [function for function in found if function[-1] > LONGEST_FUNCTION] == []


def test_import_loads_no_random_numbers_and_nothing_but_the_network():
    program = "import sys, numpy; before = set(sys.modules); import lstm97; print(*set(sys.modules) - before)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()
    wings = (f"lstm97.{name}" for name in ("cli", "cluster", "demos", "export", "many", "methods", "paper"))
    for name in ("numpy.random", "concurrent", "multiprocessing", "logging", *wings):
        assert not any(module == name or module.startswith(name + ".") for module in loaded)


def imported_by(folder):
    """Where modules are imported in a folder, by the modules' first names; `relative` for relative imports."""
    found = {}
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = ["relative" if node.level else node.module]
            else:
                continue
            for name in names:
                found.setdefault(name.partition(".")[0], set()).add(file.relative_to(ROOT))
    return found


def test_benchmarks_use_no_tests_and_tests_no_benchmarks_but_those_of_benchmarks():
    tests = ROOT / "tests"
    assert {file.parts[1] for file in imported_by("tests")["benchmarks"]} == {"benchmarks"}
    assert not {"tests", *(file.stem for file in tests.rglob("*.py"))} & set(imported_by("benchmarks"))


def test_tests_import_no_tests_but_their_helpers():
    assert [name for name in imported_by("tests") if name.startswith("test_") or name in ("tests", "relative")] == []


@pytest.mark.parametrize("change", [lambda sizes: sizes.pop("n_lanes"), lambda sizes: sizes.update(n_more=1)])
def test_a_layout_with_other_sizes_than_the_loops_is_refused(change):
    net = Network(Topology(2, 1))
    layout = Layout(net.topology, net.dtype)
    arrays = layout.network_arrays(), layout.state_places.memory()
    change(layout.sizes)
    with pytest.raises(ValueError, match=r"attribute 'n_lanes'|the layout's sizes are"):
        Engine(net._kernel, layout, *arrays, net._lock, True, net._advice)
