"""Every call on a file fails in turn: its error is raised, the file stays intact, and the same call then succeeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from compiling import compiler
from waiting import HANGS

HERE = Path(__file__).parent


def test_no_failing_call_on_a_file_does_harm(tmp_path):
    library, folder = tmp_path / "failing_files.so", tmp_path / "files"
    folder.mkdir()
    source = str(HERE / "failing_files.c")
    subprocess.run([*compiler(), "-O2", "-shared", "-fPIC", source, "-o", str(library), "-ldl"], check=True)
    environment = {**os.environ, "LD_PRELOAD": f"{library} {os.environ.get('LD_PRELOAD', '')}".strip()}
    command = [sys.executable, "-W", "error", str(HERE / "failing_files.py"), str(library), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name in ("save", "save over another", "train", "learner"):
        assert {"open", "write", "fsync", "close", "rename"} <= set(found[name]), name
    assert {"open", "read"} <= set(found["load"])
    assert {"open", "read", "write", "fsync", "close", "flock"} <= set(found["records"])
