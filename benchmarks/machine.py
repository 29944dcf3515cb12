"""Processor, build and versions, on which a figure depends besides the code."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from dataclasses import asdict
from pathlib import Path

import lstm97
from lstm97.paper.trials.records import processor

from .compiling import FLAGS, compiler, level_flags

PACKAGES = ("numpy", "torch", "onnx", "onnxruntime", "deep-river")

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def _first_line(command: list[str], folder: Path | None = None) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return (done.stdout.splitlines() or ["unknown"])[0]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def caches(folder: Path = _CACHES) -> dict[str, int]:
    """Return the sizes in bytes of the data caches by name (L1, L2, ...); empty where Linux does not list them."""
    sizes = {}
    for index in sorted(folder.glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            sizes[f"L{level}"] = int(size.removesuffix("K")) * 1024
    return sizes


def describe() -> dict[str, dict[str, object]]:
    """Return machine, build and versions, each a dict of plain values."""
    config = lstm97.show_config()
    here = Path(__file__).parent
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    return {
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "caches": ", ".join(f"{name} {size // 1024}K" for name, size in caches().items()) or "unknown",
            "system": platform.platform(),
            "load before": load,
        },
        "build": {**asdict(config), "builds": ", ".join(config.builds)},
        "versions": {
            "commit": _first_line(["git", "describe", "--always", "--dirty"], here),
            "python": platform.python_version(),
            **{package: _version(package) for package in PACKAGES},
            "C compiler of peers and limits": _first_line([*compiler(), "--version"]),
            "its flags": " ".join(FLAGS) + ", for the limits also " + (" ".join(level_flags()) or "no others"),
        },
    }
