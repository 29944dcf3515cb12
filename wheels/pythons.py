"""The CPythons of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ASK = "import sys; sys.exit(sys.implementation.name != 'cpython')"


def found_pythons() -> dict[str, Path]:
    """The executables of CPythons by version, such as 3.13 or 3.13t: pyenv's, also inactive ones, and the path's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found: dict[str, Path] = {}
    for version in (f"3.{minor}{letter}" for minor in range(11, 30) for letter in ("", "t")):
        for executable in (*sorted(pyenv.glob(f"*/bin/python{version}")), shutil.which(f"python{version}")):
            if executable and subprocess.run([executable, "-c", ASK], capture_output=True, check=False).returncode == 0:
                found[version] = Path(executable)
                break
    return found
