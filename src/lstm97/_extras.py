"""What comes with the package's extras, and what to say where it is missing. Needs nothing itself."""

from __future__ import annotations

PACKAGES = {
    "cli": ("click", "tqdm"),
    "report": ("matplotlib",),
    "onnx": ("onnx",),
    "dask": ("distributed",),
    "mpi": ("mpi4py",),
}
"""Of each extra, what it has beside other extras."""


def missing(who: str, package: str | None, extra: str) -> str:
    """Name a package that is missing, and what to install: the packages themselves, as lstm97 may be on no index."""
    top = (package or "").partition(".")[0]
    return f"{who} needs the package {top}: pip install {' '.join(PACKAGES[extra])}"
