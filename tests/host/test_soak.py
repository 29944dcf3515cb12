"""A short version of the long run in soak.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_memory_stays_and_weights_stay_finite(tmp_path, dtype):
    path = tmp_path / "record.json"
    command = [sys.executable, "-W", "error", str(HERE / "soak.py"), "--calls", "1000000", "--slices", "5"]
    subprocess.run([*command, "--dtype", dtype, "--json", str(path)], check=True, stdout=subprocess.DEVNULL)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["ok"]
    assert [part["calls"] for part in record["slices"]] == [200_000, 400_000, 600_000, 800_000, 1_000_000]
    assert record["slices"][-1]["mean error"] < 0.06  # the network has learned: the noise alone gives 0.04
