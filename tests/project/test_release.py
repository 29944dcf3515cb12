"""The workflow of a release accepts a tag that names the version of the package, and no other."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import lstm97

ROOT = Path(__file__).parents[2]
WORKFLOW = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("tag", "status"), [(f"v{lstm97.__version__}", 0), (f"v{lstm97.__version__}1", 1)])
def test_a_tag_is_accepted_if_it_names_the_version(tag, status):
    (command,) = re.findall(r"^ +run: (grep .*)$", WORKFLOW, re.MULTILINE)
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, env={"GITHUB_REF_NAME": tag, "PATH": "/usr/bin:/bin"})
    assert done.returncode == status
