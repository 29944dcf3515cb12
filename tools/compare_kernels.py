"""Compare the machine code of the loops in two commits: ``python tools/compare_kernels.py BEFORE [AFTER]``.

Both are checked out into a temporary folder and compiled there for every type and instruction set; without AFTER the
second is the working copy. Prints a line for each build and for each function that differs; exits with 1 if there is
one. Needs Cython, setuptools, a C compiler and objdump.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FUNCTION = re.compile(r"^[0-9a-f]+ <(?P<name>.+)>:$")
INSTRUCTION = re.compile(r"^\s+[0-9a-f]+:\t(?P<text>.*)$")
PREFIX = re.compile(r"__pyx_f_\w*?(core(_f32)?(_v\d)?)_")
ADDRESS = re.compile(r"\b[0-9a-f]+ <(?P<place>[^>]+)>")
CONSTANT = re.compile(r"\.rodata\S*")  # a constant's address, which says nothing about the code


def main(before: str, after: str | None = None) -> int:
    """Compare the builds of two commits and return the number of functions that differ."""
    with tempfile.TemporaryDirectory() as folder:
        old, new = (functions_of(commit, Path(folder, name)) for commit, name in ((before, "a"), (after, "b")))
    n_different = 0
    for build in sorted(old.keys() | new.keys()):
        mine, theirs = old.get(build, {}), new.get(build, {})
        names = mine.keys() | theirs.keys()
        different = sorted(name for name in names if mine.get(name) != theirs.get(name))
        print(f"{build}: {len(names) - len(different)} of {len(names)} functions are the same")
        for name in different:
            sizes = [len(found[name]) if name in found else "none" for found in (mine, theirs)]
            print(f"    {name}: {sizes[0]} instructions before, {sizes[1]} after")
        n_different += len(different)
    return n_different


def functions_of(commit: str | None, folder: Path) -> dict[str, dict[str, list[str]]]:
    """The instructions of every function in each build of the loops; of the working copy if the commit is None."""
    folder.mkdir()
    if commit is None:
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        files = subprocess.run(listed, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        present = [name for name in files.split(b"\0") if name and (ROOT / os.fsdecode(name)).exists()]
        pack = subprocess.run(
            ["tar", "--create", "--null", "--files-from=-"],
            cwd=ROOT,
            input=b"\0".join(present),
            stdout=subprocess.PIPE,
            check=True,
        )
    else:
        pack = subprocess.run(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    subprocess.run(["tar", "--extract"], cwd=folder, input=pack.stdout, check=True)
    build = [sys.executable, "setup.py", "--quiet", "build_ext", "--build-temp", "temp", "--build-lib", "lib"]
    subprocess.run(build, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    objects = [file for file in (folder / "temp").rglob("*.o") if re.fullmatch(r"_?core(_\w+)?", file.stem)]
    return {file.stem.lstrip("_"): disassembled(file) for file in objects}


def disassembled(file: Path) -> dict[str, list[str]]:
    """The instructions of an object file's functions, without addresses and without the prefixes of Cython's names."""
    command = ["objdump", "--disassemble", "--reloc", "--no-show-raw-insn", str(file)]
    listing = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in listing.splitlines():
        if match := FUNCTION.match(line):
            current = []
            if PREFIX.match(match["name"]):
                found[PREFIX.sub("", match["name"])] = current
        elif match := INSTRUCTION.match(line):
            text = CONSTANT.sub(".rodata", PREFIX.sub("", match["text"]))
            current.append(ADDRESS.sub(r"<\g<place>>", text))
    return found


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) > 0)
