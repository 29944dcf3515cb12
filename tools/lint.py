"""Run every check that needs no test: lint, format, types, stubs against the built module.

Run it as ``python tools/lint.py`` in an environment that has the project installed with its extra ``lint``.
All checks run, whatever the first ones say; the exit status is 0 only if all pass.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CHECKS: dict[str, list[str]] = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "Cython lint": ["cython_lint.cython_lint", "src", "examples"],
    "types": ["mypy", "--strict", "src/lstm97"],
    "types of benchmarks and tools": ["mypy", "--strict", "benchmarks", "tools/lint.py"],
    "types of the wheels' recipe": ["mypy", "--strict", "wheels"],
    "stubs against the built module": [
        "mypy.stubtest",
        "lstm97._engine",
        "lstm97.cython_api",
        "lstm97.methods._cascade",
        "lstm97.methods._recurrent",
        "--allowlist",
        "tools/stubtest-allowlist.txt",
    ],
}


def main() -> int:
    """Run the checks and return how many failed."""
    failed = []
    for name, (module, *arguments) in CHECKS.items():
        print(f"-- {name}: {module} {' '.join(arguments)}", flush=True)
        if subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
