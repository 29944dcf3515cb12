"""Let every allocation of every kind of call fail in turn: ``python tools/failing_allocations.py RECORD``.

From the top of a checkout, with an environment active that has the package and NumPy's headers. The calls and their
checks are in tests/host/failing_allocations.py. If a call fails a check, this program ends with its traceback.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np

import lstm97

TESTS = Path(__file__).resolve().parents[1] / "tests"
PROGRAMS = TESTS / "host"
ARRAYS, MODULES = 1, 2
MODES = {
    "one array": (ARRAYS, 0),
    "an array and all after it": (ARRAYS, 1),
    "one allocation of a compiled module": (MODULES, 0),
}


def main(record: str) -> None:
    """Compile tests/host/failing.c, which makes allocations fail; run every mode; write the record."""
    with tempfile.TemporaryDirectory() as folder:
        library = str(Path(folder, "failing.so"))
        headers = [f"-I{each}" for each in (sysconfig.get_path("include"), np.get_include())]
        command = ["cc", "-O2", "-shared", "-fPIC", *headers, str(PROGRAMS / "failing.c"), "-o", library]
        subprocess.run(command, check=True)
        failed = {mode: failures(folder, *numbers) for mode, numbers in MODES.items()}
    result = {
        "what": "calls made again and again, each time with the next allocation failing, until none fails",
        "command": f"python tools/failing_allocations.py {record}",
        "date": datetime.date.today().isoformat(),
        "machine": platform.processor() or platform.machine(),
        "versions": {"lstm97": lstm97.__version__, "python": platform.python_version(), "numpy": np.__version__},
        "kinds of calls": max(map(len, failed.values())),
        "failures": sum(sum(found.values()) for found in failed.values()),
        "findings": 0,  # with a finding, the program has ended before
        "failures by what failed": failed,
    }
    Path(record).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(result["failures"], "failures,", result["findings"], "findings")


def failures(folder: str, kinds: int, lasting: int) -> dict[str, int]:
    """How many calls of each kind had an allocation fail."""
    environment = {**os.environ, "PYTHONPATH": str(TESTS / "helpers")}
    program = [sys.executable, "-W", "error", str(PROGRAMS / "failing_allocations.py")]
    done = subprocess.run(
        [*program, folder, str(kinds), "1", str(lasting)], env=environment, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
