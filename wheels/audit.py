"""What a built wheel must be, whatever its code does: what it needs, what it holds, where it runs."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MOST_BYTES = 1_500_000
NEEDS = {"numpy"}
SHIPPED = ("py.typed", "_kernel/engine.pyi", "cython_api.pxd", "methods/_recurrent.pyi")
LIBRARIES = {"libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-aarch64.so.1", "ld-linux-x86-64.so.2"}


def audit(wheel: Path) -> None:
    """Raise AssertionError or CalledProcessError if the wheel is not as it must be."""
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
    """Run a tool; what it says matters only if it fails."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n")
        done.check_returncode()


def needs(archive: zipfile.ZipFile) -> set[str]:
    """Names of what has to be installed beside it, extras left out."""
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    lines = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist", [])
    return {line.split(">")[0].strip() for line in lines if "extra ==" not in line}


def suffix(wheel: Path) -> str:
    """How the modules in it must end."""
    _, _, python, abi, platforms = wheel.stem.split("-")
    if abi == "abi3":
        return ".abi3.so"
    architecture = "aarch64" if "aarch64" in platforms else "x86_64"
    return f".cpython-{python.removeprefix('cp')}-{architecture}-linux-gnu.so"


def audit_module(content: bytes, what: str) -> None:
    """No debug information, nothing of the machine that built it, no library that is not on every Linux.

    Loaded, it has no address that can still be changed, and no executable stack.
    """
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(content)
        file.flush()
        asked = ("--wide", "--sections", "--segments", "--dynamic")
        told = subprocess.check_output(["readelf", *asked, file.name], text=True)
    assert "(NEEDED)" in told, f"readelf tells nothing of {what}"
    for word in (".debug", ".symtab", "(RPATH)", "(RUNPATH)"):
        assert word not in told, f"{what} has {word}"
    needed = set(re.findall(r"\(NEEDED\) .*\[(.*)\]", told))
    assert needed <= LIBRARIES, f"{what} needs {needed - LIBRARIES}"
    assert re.search(r"\(FLAGS_1\).*\bNOW\b", told), f"{what} finds addresses when it is called"
    assert "GNU_RELRO" in told, f"{what} has addresses that can be changed"
    (stack,) = re.findall(r"GNU_STACK(?: +0x[0-9a-f]+){5} (...) ", told)
    assert stack == "RW ", f"{what} has an executable stack"
