"""The map in CONTRIBUTING.md names every file of the package, and none that is not there."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "lstm97"
PATTERNS = {"*/__init__.py", "_kernel/core_*.pyx"}
"""Names of the map that stand for several files."""
DEEPEST = 12
"""Spaces before a name; lines with more of them continue a description."""


def names_in_map():
    """The paths of the map, from the package's folder on; a file's folder is the last line above with fewer spaces."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"^    src/lstm97/\n((?: {5,}.*\n)+)", text, re.MULTILINE)
    folders = {}
    for spaces, names in re.findall(rf"^( {{6,{DEEPEST}}})(\S+(?:, \S+)*)  ", lines, re.MULTILINE):
        indent = len(spaces)
        parents = "".join(folders[i] for i in range(6, indent, 2))
        if names.endswith("/"):
            folders[indent] = names
        else:
            yield from (parents + name for name in names.split(", "))


def is_built(file):
    return file.suffix in {".so", ".pyd", ".pyc", ".html"} or (
        file.suffix == ".c" and file.with_suffix(".pyx").exists()
    )


def test_the_map_names_each_file_of_the_package_once():
    files = [file for file in SOURCE.rglob("*") if file.is_file() and not is_built(file)]
    paths = {file.relative_to(SOURCE).as_posix() for file in files}
    named = sorted(names_in_map())
    for pattern in PATTERNS:
        named.remove(pattern)
        matched = {path for path in paths if fnmatchcase(path, pattern)}
        assert matched
        paths -= matched
    assert named == sorted(paths)
