"""Run every check that needs no test: lint, format, order of the modules, types, stubs.

Run it as ``python tools/lint.py`` in an environment that has the project installed with its extra ``lint``.
All checks run, even after one has failed; the exit status is 0 only if all pass.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CHECKS: dict[str, list[str]] = {
    "lint": ["-m", "ruff", "check", "."],
    "format": ["-m", "ruff", "format", "--check", "."],
    "Cython lint": ["-m", "cython_lint.cython_lint", "src", "examples"],
    "order of the modules": ["-c", "from importlinter.cli import lint_imports_command as check; check()", "--no-cache"],
    "types": ["-m", "mypy", "--strict", "src/lstm97"],
    "types of benchmarks and tools": ["-m", "mypy", "--strict", "benchmarks", "tools"],
    "types of the wheels' recipe": ["-m", "mypy", "--strict", "wheels"],
    "stubs against the built module": [
        "-m",
        "mypy.stubtest",
        "lstm97._kernel.engine",
        "lstm97._kernel.trainer",
        "lstm97._kernel.many_streams",
        "lstm97.cython_api",
        "lstm97.methods._cascade",
        "lstm97.methods._elementwise",
        "lstm97.methods._recurrent",
        "--allowlist",
        "tools/stubtest-allowlist.txt",
    ],
}


def main() -> int:
    """Run the checks and return how many failed."""
    failed = []
    for name, arguments in CHECKS.items():
        print(f"-- {name}: python {shlex.join(arguments)}", flush=True)
        if subprocess.run([sys.executable, *arguments], cwd=ROOT).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
