"""A C compiler and linker for another machine or an older C library: zig's clang, called as setuptools calls GCC.

``python zig_cc.py TARGET ARGUMENT...``, where TARGET is such as ``x86_64-linux-gnu.2.17``. What Python's own build adds
for its own machine is dropped: where it found libraries (which would stay in the module as a RUNPATH), and levels of
x86-64 are called what zig calls them.
"""

from __future__ import annotations

import subprocess
import sys


def translated(arguments: list[str]) -> list[str]:
    """The arguments as zig takes them."""
    kept = [argument for argument in arguments if not argument.startswith(("-L", "-Wl,-rpath", "-Wl,--rpath"))]
    return [argument.replace("-march=x86-64-v", "-march=x86_64_v") for argument in kept]


if __name__ == "__main__":
    target, *arguments = sys.argv[1:]
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target, *translated(arguments)]
    sys.exit(subprocess.run(command, check=False).returncode)
