"""Compiles the C files of the benchmarks with the system's C compiler."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

import lstm97

FLAGS = ("-O3", "-shared", "-fPIC")


def compiler() -> list[str]:
    """Return the command of the C compiler: ``$CC``, or ``cc``."""
    return shlex.split(os.environ.get("CC", "cc"))


def level_flags() -> tuple[str, ...]:
    """Return what compiles C for the instruction set of the lstm97 build in use."""
    build = lstm97.show_config().build
    return () if build == "baseline" else (f"-march=x86-64-{build}",)


def shared_library(source: Path, *flags: str) -> ctypes.CDLL:
    """Compile one C file with `FLAGS` and these flags and load it.

    Raises
    ------
    OSError, subprocess.CalledProcessError
        If there is no C compiler or it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, f"lib{source.stem}.so")
        subprocess.run([*compiler(), *FLAGS, *flags, str(source), "-o", str(target), "-lm"], check=True)
        return ctypes.CDLL(str(target))  # the mapping outlives the file
