"""Make and test every wheel that a Linux machine on x86-64 can make: ``python wheels/build.py``.

Makes the sdist. From it makes the wheels for glibc 2.17 and later, for x86-64 and, cross-compiled, for aarch64: one for
all CPythons (abi3) and one for each of `TESTED`. Audits all of them. Tests the abi3 wheels in fresh environments: on
every CPython the tests whose results may depend on it, then the tests of the loops, thoroughly, with each build that
this CPU can run; for aarch64 the tests of the loops under qemu. Then runs the project's cibuildwheel settings in a
container. ``python wheels/build.py x86_64`` (or ``aarch64``, ``container``) does one part.

Needs Linux on x86-64 and CPython 3.11 to 3.13; for aarch64 and the container a Debian, root, and programs that are
named if they are missing. Tools come from PyPI (`requirements.txt`) into `.cache/`; wheels and sdist are written beside
this file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

WHEELS = Path(__file__).resolve().parent
CACHE = WHEELS / ".cache"
TOOLS = CACHE / "tools" / "bin" / "python"
PARTS = ("x86_64", "aarch64", "container")
TESTED = ("3.11", "3.12", "3.13")
PYTEST = ("-m", "pytest", "-q", "-n", "auto")
# The tests of the compiled loops, and those whose results may depend on the processor.
KERNEL_TESTS = (
    *("core/test_kernel", "core/test_network", "core/test_peek", "core/test_batches", "core/test_not_finite"),
    *("core/test_cython_api", "training/test_training", "judges/test_golden", "files/test_persistence"),
)
# These are run with each build too, with as few examples as on any machine: there are many rules in many combinations.
RULE_TESTS = (
    *("core/test_optimizers", "core/test_readout", "core/test_scaling", "core/test_losses"),
    *("core/test_missing_targets", "core/test_memory", "core/test_streams"),
)
EMULATED_TESTS = (
    *KERNEL_TESTS,
    *("methods/test_recurrent_methods", "methods/test_cascade", "methods/test_elementwise"),
    *("host/test_subnormals", "core/test_arguments"),
)
# These tests are run on one CPython only: experiments, reports, benchmarks, commands, exporters, and programs with
# processes of their own do not depend on the version.
THE_SAME_ON_EVERY_PYTHON = (
    *(f"tests/{folder}" for folder in ("benchmarks", "cli", "cluster", "demos", "export", "paper", "project")),
    *(f"tests/{name}.py" for name in ("core/test_builds", "host/test_hostile_folder", "host/test_soak")),
    *(f"tests/{name}.py" for name in ("judges/test_autograd", "judges/test_reference", "methods/test_chunker")),
)
# Emulated CPUs and the build that each must choose. None for v4: the emulator has no AVX-512.
EMULATED = {"Nehalem": "baseline", "Haswell": "v3"}


def main() -> None:
    """Make and test the parts named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all if none is named")
    parts = parser.parse_args().parts or PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no part is called {min(unknown)}; there are {', '.join(PARTS)}")
    if Path(sys.executable) != TOOLS:
        go_on_with_tools()
    from audit import audit
    from pythons import found_pythons

    pythons = found_pythons()
    if missing := [version for version in TESTED if version not in pythons]:
        sys.exit(f"build.py needs CPython {', '.join(missing)}, on the path or pyenv's")
    for kind in ("*.tar.gz", *(f"*_{part}.whl" for part in parts)):
        for old in WHEELS.glob(kind):
            old.unlink()
    with tempfile.TemporaryDirectory() as temporary:
        section("the sdist, and from it alone, on a bare environment")
        sdist, source = make_sdist(Path(temporary))
        try_sdist(sdist, source, pythons[TESTED[0]], Path(temporary))
        for architecture in ("x86_64", "aarch64"):
            if architecture in parts:
                section(f"wheels for {architecture}")
                wheels = make_wheels(source, architecture, {version: pythons[version] for version in TESTED})
                for wheel in wheels:
                    audit(wheel)
                try_wheels(wheels, architecture, source, pythons, Path(temporary))
        if "container" in parts:
            import container

            for builds, environment in (("cp311-*", {"LSTM97_ABI3": "1"}), ("cp311-* cp312-* cp313-*", {})):
                section(f"cibuildwheel in a container: {builds} {environment or ''}")
                for wheel in container.run(sdist, CACHE / "container", builds, environment, CACHE):
                    audit(wheel)
    section("all passed")


def section(title: str) -> None:
    """Print a title and the seconds since the start."""
    print(f"\n=== {title} ({time.monotonic() - START:.0f} s)", flush=True)


def go_on_with_tools() -> None:
    """Run this program again with the Python that has the tools, which are installed if they are missing."""
    if not TOOLS.exists():
        run(sys.executable, "-m", "venv", TOOLS.parents[1])
    run(TOOLS, "-m", "pip", "install", "--quiet", "--requirement", WHEELS / "requirements.txt")
    path = os.pathsep.join([str(TOOLS.parent), os.environ["PATH"]])  # the tools call each other by name
    os.execve(TOOLS, [str(TOOLS), *sys.argv], {**os.environ, "PATH": path})


def run(*command: str | Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
    """Run a command; CalledProcessError if it fails."""
    subprocess.run(command, cwd=cwd, env={**os.environ, **(environment or {})}, check=True)


def make_sdist(folder: Path) -> tuple[Path, Path]:
    """Make the sdist; return its path and the folder where it is unpacked."""
    run(sys.executable, "-m", "build", "--sdist", "--outdir", folder, WHEELS.parent)
    (made,) = folder.glob("*.tar.gz")
    sdist = Path(shutil.copy(made, WHEELS))
    run(sys.executable, "-m", "twine", "check", "--strict", sdist)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return sdist, folder / sdist.name.removesuffix(".tar.gz")


def environment_with(python: Path, folder: Path, *requirements: str | Path) -> Path:
    """The Python of a fresh virtual environment in which these packages are installed."""
    run(python, "-m", "venv", folder)
    fresh = folder / "bin" / "python"
    run(fresh, "-m", "pip", "install", "--quiet", *requirements)
    return fresh


def try_sdist(sdist: Path, source: Path, python: Path, folder: Path) -> None:
    """Install the sdist with pip, which also installs its build requirements, and run the smoke test."""
    run(environment_with(python, folder / "bare", sdist), source / "wheels" / "smoke_test.py")


def make_wheels(source: Path, architecture: str, pythons: Mapping[str, Path]) -> list[Path]:
    """The wheels of an architecture: one for all CPythons, one for each of these."""
    compiler = f"{TOOLS} {WHEELS / 'zig_cc.py'} {architecture}-linux-gnu.2.17"
    cross = {"CC": compiler, "LDSHARED": f"{compiler} -shared", "_PYTHON_HOST_PLATFORM": f"linux-{architecture}"}
    oldest = next(iter(pythons))
    wheels = []
    for version, abi3 in ((oldest, True), *((version, False) for version in pythons)):
        environment = {**cross, "LSTM97_ABI3": "1" if abi3 else "0"}
        if not abi3:  # by default the suffix of modules names this machine's architecture
            environment["SETUPTOOLS_EXT_SUFFIX"] = own_suffix(version, architecture)
        shutil.rmtree(source / "build", ignore_errors=True)
        with tempfile.TemporaryDirectory() as made:
            command = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", made, source)
            run(pythons[version], *command, environment=environment)
            (wheel,) = Path(made).glob("*.whl")
            # auditwheel renames the wheel after the oldest system on which it runs.
            run(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", f"{made}/repaired", wheel)
            (repaired,) = Path(made, "repaired").glob("*.whl")
            if f"manylinux_2_17_{architecture}" not in repaired.name:
                sys.exit(f"{repaired.name} should run with glibc 2.17")
            wheels.append(Path(shutil.copy(repaired, WHEELS)))
    return wheels


def own_suffix(version: str, architecture: str) -> str:
    """The suffix of the compiled modules for one CPython."""
    return f".cpython-{version.replace('.', '')}-{architecture}-linux-gnu.so"


def try_wheels(wheels: list[Path], architecture: str, source: Path, pythons: Mapping[str, Path], folder: Path) -> None:
    """Run the tests against the wheel for all CPythons, and the smoke test against the wheels for one CPython."""
    (abi3,) = (wheel for wheel in wheels if "-abi3-" in wheel.name)
    if architecture == "aarch64":
        import aarch64

        section("the tests on aarch64, under qemu")
        aarch64.run(abi3, CACHE, test_files(EMULATED_TESTS))
        return
    tests = folder / "tests"
    shutil.copytree(source, tests, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    for version in TESTED:
        section(f"the tests against {abi3.name}, CPython {version}")
        python = environment_with(pythons[version], folder / version, abi3, *test_tools(source))
        run(python, "wheels/smoke_test.py", cwd=tests)
        run(python, *PYTEST, *(f"--ignore={path}" for path in THE_SAME_ON_EVERY_PYTHON), cwd=tests)
    try_builds(folder / TESTED[-1] / "bin" / "python", tests)
    for wheel in wheels:
        own = [version for version in TESTED if f"-cp{version.replace('.', '')}-cp" in wheel.name]
        for version in own:
            section(f"the smoke test against {wheel.name}")
            python = environment_with(pythons[version], folder / f"{version}-own", wheel)
            run(python, "wheels/smoke_test.py", cwd=tests)


def test_tools(source: Path) -> list[str]:
    """The requirements of these tests: those of the extra `test`, without the extras that it includes."""
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [tool for tool in project["optional-dependencies"]["test"] if not tool.startswith(project["name"])]


def test_files(names: Sequence[str]) -> list[str]:
    """The paths of test files."""
    return [f"tests/{name}.py" for name in names]


def try_builds(python: Path, tests: Path) -> None:
    """Run the tests of the loops on every build that this CPU can run; check which builds emulated CPUs choose."""
    show = "import json; from lstm97._kernel import builds as d; print(json.dumps([d.present(), d.runnable()]))"
    present, runnable = json.loads(subprocess.check_output([python, "-c", show], text=True))
    for build in present:
        section(f"the tests of the loops, forced to {build}")
        if build not in runnable:
            print(f"this CPU cannot run {build}")
            continue
        thoroughly = ("--hypothesis-profile=thorough", *test_files(KERNEL_TESTS))
        run(python, *PYTEST, *thoroughly, cwd=tests, environment={"LSTM97_KERNEL": build})
        run(python, *PYTEST, *test_files(RULE_TESTS), cwd=tests, environment={"LSTM97_KERNEL": build})
    section("what other CPUs choose")
    emulator = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if not emulator:
        sys.exit("build.py needs qemu's emulation of x86-64 programs: apt-get install qemu-user-static")
    choice = "import lstm97; print(lstm97.show_config().build)"
    for cpu, expected in EMULATED.items():
        chosen = subprocess.check_output([emulator, "-cpu", cpu, python, "-c", choice], text=True).strip()
        print(f"{cpu}: {chosen}")
        if chosen != expected:
            sys.exit(f"{cpu} should have chosen {expected}")


START = time.monotonic()

if __name__ == "__main__":
    main()
