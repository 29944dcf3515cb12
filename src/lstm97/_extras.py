"""The packages of the extras, and the message where one is missing. Imports nothing."""

from __future__ import annotations

PACKAGES = {
    "cli": ("click", "tqdm"),
    "report": ("matplotlib",),
    "onnx": ("onnx",),
    "dask": ("distributed",),
    "mpi": ("mpi4py",),
}
"""The packages of each extra, without those of other extras that it includes."""


def missing(who: str, package: str | None, extra: str) -> str:
    """The message for a missing package. It names packages, not the extra: lstm97 itself may be on no index."""
    top = (package or "").partition(".")[0]
    return f"{who} needs the package {top}: pip install {' '.join(PACKAGES[extra])}"
