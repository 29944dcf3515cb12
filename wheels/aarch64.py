"""Runs the tests against an aarch64 wheel on an x86-64 machine: ``python wheels/aarch64.py WHEEL [PYTEST OPTION]...``.

The Python comes from a small Debian for aarch64, in a folder called the root here; pip installs the wheel with NumPy's
and the other aarch64 wheels that it needs; qemu emulates the Python process only. There is no chroot: files, processes
and the C compiler are this machine's, so tests that start programs work too. Needs root rights once, for debootstrap.
Slow: see `main` for running a part only.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
CACHE = Path(__file__).parent / ".cache"
SUITE, GLIBC = "bookworm", 36  # Debian's release, and the minor version of its glibc
TOOLS = {  # program: Debian package
    "debootstrap": "debootstrap",
    "dpkg-deb": "dpkg",
    "qemu-aarch64-static": "qemu-user-static",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
}
# Removed from the root, so that programs use this machine's folders of these names.
HOST_FOLDERS = ("dev", "proc", "sys", "run", "tmp", "home", "root")
# Removed from the environment: they would make the emulated Python use this machine's packages or libraries.
HOST_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_PRELOAD", "LD_LIBRARY_PATH", "LSTM97_KERNEL")
# Tests that cannot run under emulation, and why.
DESELECTED = {
    "tests/core/test_cython_api.py::test_the_example_builds_against_what_is_installed_and_learns": "no headers",
}


def run(wheel: Path, cache: Path, pytest_arguments: Sequence[str]) -> None:
    """Run the smoke test and then the tests against a wheel.

    Parameters
    ----------
    wheel : Path
        For aarch64 and the root's Python, 3.11.
    cache : Path
        Folder where the root is kept for later runs.
    pytest_arguments : sequence of str
        More arguments for pytest; it runs in a copy of the checkout.

    Raises
    ------
    subprocess.CalledProcessError
        If a test fails.
    """
    check_tools()
    root = ready_root(cache.resolve())
    kept = {name: value for name, value in os.environ.items() if name not in HOST_VARIABLES}
    environment = {**kept, "CC": "aarch64-linux-gnu-gcc"}
    with tempfile.TemporaryDirectory() as temporary:
        python = virtual_environment(root, Path(temporary, "environment"), wheel.resolve())
        copy = Path(temporary, "checkout")
        ignored = shutil.ignore_patterns("build", "dist", "venv", ".*", "*.egg-info", "__pycache__")
        shutil.copytree(CHECKOUT, copy, ignore=ignored)
        for command in (["wheels/smoke_test.py"], ["-m", "pytest", *pytest_options(), *pytest_arguments]):
            subprocess.run([python, *command], cwd=copy, env=environment, check=True)


def check_tools() -> None:
    """Exit with a message if a program is missing on this machine."""
    for program, package in TOOLS.items():
        if not shutil.which(program):
            sys.exit(f"aarch64.py needs {program}: apt-get install {package}")


def ready_root(cache: Path) -> Path:
    """The folder with the files of an aarch64 Debian, made if it does not exist; only a complete one has this name."""
    root = cache / f"aarch64-{SUITE}"
    if root.exists():
        return root
    if os.getuid() != 0:
        sys.exit("aarch64.py needs root, for debootstrap")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        made = Path(temporary, "root")
        options = ["--foreign", "--variant=minbase", "--arch=arm64", "--include=python3"]
        subprocess.run(["debootstrap", *options, SUITE, made], check=True)
        packages = made / "var/cache/apt/archives"
        for package in sorted(packages.glob("*.deb")):  # debootstrap has unpacked only what its second stage needs
            subprocess.run(["dpkg-deb", "--extract", package, made], check=True)
        for folder in (packages, *(made / name for name in HOST_FOLDERS)):
            shutil.rmtree(folder)
        made.rename(root)
    return root


def virtual_environment(root: Path, folder: Path, wheel: Path) -> Path:
    """Make a virtual environment with the wheel and what its tests need, and return its Python.

    That Python is a script which starts qemu. The script passes its own path, which becomes ``sys.executable``, so that
    Python processes started by the tests are emulated too. The pyvenv.cfg beside it keeps this machine's packages out.
    """
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    emulator = shlex.join(["qemu-aarch64-static", "-L", str(root)])
    python.write_text(f'#!/bin/sh\nexec {emulator} -0 "$0" {shlex.quote(str(root / "usr/bin/python3"))} "$@"\n')
    python.chmod(0o755)
    (folder / "pyvenv.cfg").write_text(f"home = {root}/usr/bin\ninclude-system-site-packages = false\n")

    version = (root / "usr/bin/python3").readlink().name.removeprefix("python")
    target = ["--target", str(folder / "lib" / f"python{version}" / "site-packages"), "--python-version", version]
    tags = ["manylinux2014", *(f"manylinux_2_{minor}" for minor in range(17, GLIBC + 1))]
    platforms = [f"--platform={tag}_aarch64" for tag in tags]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", *target, *platforms]
    subprocess.run([*pip, f"{wheel}[test]", "pytest-xdist"], check=True)
    return python


def pytest_options() -> list[str]:
    """Options for all CPUs, for few examples, and against the tests that cannot run under emulation."""
    return [
        f"--numprocesses={os.cpu_count()}",
        "--hypothesis-profile=emulated",
        *(f"--deselect={test}" for test in DESELECTED),
    ]


def main() -> None:
    """Run by the command line; further arguments such as ``tests/core/test_kernel.py -k softmax`` select tests."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--root", type=Path, default=CACHE, help="folder for the small Debian (default: %(default)s)")
    asked, pytest_arguments = parser.parse_known_args()
    run(asked.wheel, asked.root, pytest_arguments)


if __name__ == "__main__":
    main()
