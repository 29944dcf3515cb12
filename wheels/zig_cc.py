"""A C compiler and linker for another machine or an older C library: zig's clang, called as setuptools calls GCC.

``python zig_cc.py TARGET ARGUMENT...``, with a TARGET such as ``x86_64-linux-gnu.2.17``. Arguments with library folders
of this machine's Python are dropped, as they would stay in the module as a RUNPATH; levels of x86-64 are renamed as zig
names them.
"""

from __future__ import annotations

import subprocess
import sys


def translated(arguments: list[str]) -> list[str]:
    """The arguments in zig's syntax."""
    kept = [argument for argument in arguments if not argument.startswith(("-L", "-Wl,-rpath", "-Wl,--rpath"))]
    return [argument.replace("-march=x86-64-v", "-march=x86_64_v") for argument in kept]


if __name__ == "__main__":
    target, *arguments = sys.argv[1:]
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target, *translated(arguments)]
    sys.exit(subprocess.run(command, check=False).returncode)
