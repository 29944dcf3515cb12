"""Checks of a built wheel without running it: its requirements, its contents, and the systems that it runs on."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MOST_BYTES = 1_400_000
NEEDS = {"numpy"}
SHIPPED = (
    *("py.typed", "_kernel/engine.pyi", "_kernel/trainer.pyi", "_kernel/many_streams.pyi"),
    *("cython_api.pxd", "cython_api.pyi"),
    *("export/network.c", "export/learning.c"),
    *("methods/_cascade.pyi", "methods/_elementwise.pyi", "methods/_recurrent.pyi"),
)
LIBRARIES = {"libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-aarch64.so.1", "ld-linux-x86-64.so.2"}


def audit(wheel: Path) -> None:
    """Check a wheel; AssertionError or CalledProcessError if it fails a check."""
    run("twine", "check", "--strict", wheel)
    run("check_wheel_contents", wheel)
    if "-abi3-" in wheel.name:
        run("abi3audit", "--strict", wheel)
    size = wheel.stat().st_size
    assert size <= MOST_BYTES, f"{wheel.name} has {size} bytes"
    with zipfile.ZipFile(wheel) as archive:
        assert needs(archive) == NEEDS, f"{wheel.name} needs {needs(archive)}"
        files = set(archive.namelist())
        missing = {f"lstm97/{name}" for name in SHIPPED} - files
        assert not missing, f"{wheel.name} lacks {missing}"
        modules = [name for name in archive.namelist() if name.endswith(".so")]
        assert modules, f"{wheel.name} has no compiled module"
        for name in modules:
            assert name.endswith(suffix(wheel)), f"{wheel.name} has {name}, which its Python does not find"
            audit_module(archive.read(name), f"{wheel.name}: {name}")
    print(f"{wheel.name}: {size:,} bytes, {len(modules)} compiled modules", flush=True)


def run(module: str, *arguments: str | Path) -> None:
    """Run a tool; print its output only if it fails."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n")
        done.check_returncode()


def needs(archive: zipfile.ZipFile) -> set[str]:
    """Names of the packages that the wheel requires, without those of its extras."""
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    lines = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist", [])
    return {line.split(">")[0].strip() for line in lines if "extra ==" not in line}


def suffix(wheel: Path) -> str:
    """The suffix that the names of its compiled modules must have."""
    _, _, python, abi, platforms = wheel.stem.split("-")
    if abi == "abi3":
        return ".abi3.so"
    architecture = "aarch64" if "aarch64" in platforms else "x86_64"
    return f".cpython-{python.removeprefix('cp')}-{architecture}-linux-gnu.so"


def audit_module(content: bytes, what: str) -> None:
    """Check a compiled module: no debug information, no path of the build machine, only libraries of every Linux.

    Once it is loaded, its table of addresses must be read-only, and its stack not executable.
    """
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(content)
        file.flush()
        options = ("--wide", "--sections", "--segments", "--dynamic")
        listing = subprocess.check_output(["readelf", *options, file.name], text=True)
    assert "(NEEDED)" in listing, f"readelf lists nothing of {what}"
    for word in (".debug", ".symtab", "(RPATH)", "(RUNPATH)"):
        assert word not in listing, f"{what} has {word}"
    needed = set(re.findall(r"\(NEEDED\) .*\[(.*)\]", listing))
    assert needed <= LIBRARIES, f"{what} needs {needed - LIBRARIES}"
    assert re.search(r"\(FLAGS_1\).*\bNOW\b", listing), f"{what} resolves addresses when functions are called"
    assert "GNU_RELRO" in listing, f"{what} has a writable table of addresses"
    (stack,) = re.findall(r"GNU_STACK(?: +0x[0-9a-f]+){5} (...) ", listing)
    assert stack == "RW ", f"{what} has an executable stack"
