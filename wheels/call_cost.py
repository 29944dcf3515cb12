"""Compare the cost of import and calls between wheels: ``python wheels/call_cost.py WHEEL WHEEL`` prints Markdown.

Times the import, after NumPy's, and the adding net's `step` and `learn` in float64, in fresh environments of the Python
that runs this. The wheels take turns; the table has medians. It shows whether the wheel for all CPythons is fast
enough.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TURNS = 15
TIMED = """
import json, time, timeit
import numpy as np
begin = time.perf_counter()
import lstm97
taken = {"import lstm97": time.perf_counter() - begin}

net = lstm97.Network(lstm97.Topology(2, 1, output="identity"))
x, target, y = np.array([0.1, 0.2]), np.array([0.3]), np.empty(1)
calls = {
    "net.step(x, out=y)": lambda: net.step(x, out=y),
    "net.step(x)": lambda: net.step(x),
    "net.learn(x, target, 0.01)": lambda: net.learn(x, target, 0.01),
}
for name, call in calls.items():
    taken[name] = min(timeit.repeat(call, number=20_000, repeat=5)) / 20_000
print(json.dumps({name: seconds * 1e6 for name, seconds in taken.items()}))
"""


def main() -> None:
    """Time the wheels in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="+", type=Path, metavar="WHEEL")
    wheels = parser.parse_args().wheels
    with tempfile.TemporaryDirectory() as folder:
        pythons = [python_with(wheel, Path(folder, str(i))) for i, wheel in enumerate(wheels)]
        taken = [[timed(python) for python in pythons] for _ in range(TURNS)]
    print(f"Microseconds, CPython {sys.version.split()[0]}, medians of {TURNS} turns:\n")
    print(
        "| call |", " | ".join("abi3" if "-abi3-" in wheel.name else wheel.name.split("-")[2] for wheel in wheels), "|"
    )
    print("|", " | ".join(["---"] * (1 + len(wheels))), "|")
    for call in taken[0][0]:
        medians = [statistics.median(turn[i][call] for turn in taken) for i in range(len(wheels))]
        print(f"| `{call}` |", " | ".join(f"{median:,.2f}" for median in medians), "|")


def python_with(wheel: Path, folder: Path) -> Path:
    """The Python of a new environment that has this wheel."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    return python


def timed(python: Path) -> dict[str, float]:
    """The times of import and calls with this Python, in microseconds."""
    found: dict[str, float] = json.loads(subprocess.check_output([python, "-c", TIMED], text=True))
    return found


if __name__ == "__main__":
    main()
