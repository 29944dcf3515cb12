"""Rules of the package's structure that import-linter does not check: Cython's imports, sizes, effects of import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import lstm97
from lstm97 import Network, Topology
from lstm97._kernel.engine import Engine
from lstm97._kernel.layout import Layout

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "lstm97"
IMPORT = re.compile(r"^\s*(?:from lstm97\.([.\w]+) c?import|from lstm97 (?:c?import) (\w+))", re.MULTILINE)
LOOPS = re.compile(r"_?core(_f32)?(_v\d)?")
ALLOWED = (
    "cpython.pycapsule",
    "cpython.pyport",
    "lstm97._kernel.abi",
    "lstm97._kernel.stop_rule",
)  # capsules export the table of functions
LONGEST_FUNCTION = 80
LARGEST_KERNEL = 128_000


def layers_of(container):
    """The number of each module's layer in a package, counted from the top, by pyproject.toml."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (c["layers"] for c in contracts if c["type"] == "layers" and c["containers"] == [container])
    return {name.strip(" ()"): i for i, names in enumerate(layers) for name in names.split("|")}


def place_of(module):
    """A module's layer in lstm97 and, in the kernel, its layer there too. All builds of the loops count as `core`."""
    package, _, inner = module.partition(".")
    if LOOPS.fullmatch(package):
        package, inner = "_kernel", "core"
    top = layers_of("lstm97")[package]
    if package != "_kernel" or not inner:
        return (top,)
    return (top, layers_of("lstm97._kernel")["core" if LOOPS.fullmatch(inner) else inner])


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.p[yx][xdi]")), ids=lambda file: file.name)
def test_cython_files_and_stubs_import_only_what_stands_below_them(file):
    module = ".".join(file.relative_to(SOURCE).with_suffix("").parts)
    for names in IMPORT.findall(file.read_text(encoding="utf-8")):
        imported = next(filter(None, names))
        if not (imported.startswith("methods.") and module.startswith("methods.")):
            assert place_of(imported) > place_of(module), f"{module} imports {imported}"


def test_the_loops_import_only_c():
    for file in ("_core.pyx", "_kernel/abi.pxd", "_kernel/stop_rule.pxd"):
        found = re.findall(r"^(?:from|import|cimport) *([.\w]*)", (SOURCE / file).read_text(), re.MULTILINE)
        for name in found:
            assert name.startswith("libc.") or name in ALLOWED, f"{file} imports {name}"


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


def test_no_function_is_long():
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                assert node.end_lineno - first.lineno < LONGEST_FUNCTION, f"{file.name}: {node.name}"


def test_import_loads_no_random_numbers_and_nothing_but_the_network():
    program = "import sys, numpy; before = set(sys.modules); import lstm97; print(*set(sys.modules) - before)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()
    wings = (f"lstm97.{name}" for name in ("cluster", "export", "many", "paper"))
    for name in ("numpy.random", "concurrent", "multiprocessing", "logging", *wings):
        assert not any(module == name or module.startswith(name + ".") for module in loaded)


def imported_by(folder):
    """Where modules are imported in a folder, by the modules' first names."""
    found = {}
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
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
    assert [name for name in imported_by("tests") if name.startswith("test_")] == []


@pytest.mark.parametrize("change", [lambda sizes: sizes.pop("n_lanes"), lambda sizes: sizes.update(n_more=1)])
def test_a_layout_with_other_sizes_than_the_loops_is_refused(change):
    net = Network(Topology(2, 1))
    layout = Layout(net.topology, net.dtype)
    arrays = layout.network_arrays(), layout.state_arrays()
    change(layout.sizes)
    with pytest.raises(ValueError, match=r"attribute 'n_lanes'|the layout's sizes are"):
        Engine(net._kernel, layout, *arrays, net._lock, True, net._advice)
