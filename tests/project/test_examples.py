"""The example programs run and learn."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from waiting import HANGS

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_stream_learns_every_sensor_across_a_restart(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "python" / "stream.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    sensors = [[float(number) for number in re.findall(r"\d+\.\d+", line)] for line in done.stdout.splitlines()]
    assert len(sensors) == 3
    for first, last, unchanged in sensors:
        assert last < unchanged / 3
        assert last < first / 10
    assert list(tmp_path.iterdir()) == []
