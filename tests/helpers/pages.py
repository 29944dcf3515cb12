"""The pages for users, and the code blocks in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
KEEPING_ALIVE, FORECASTING, METHODS, EMBEDDING, ALL_CORES = (
    (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    for name in ("keeping-alive", "forecasting", "methods", "embedding", "all-cores")
)
# The example for a cluster, which tests/cluster/test_averaging.py runs on one
FOR_A_CLUSTER = "from distributed import Client"


def blocks(language, text=README):
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
