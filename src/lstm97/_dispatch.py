"""Picks the build of the loops. The only file that knows there may be several."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from lstm97 import _core, _core_f32

_BUILDS: dict[str, dict[str, ModuleType]] = {"baseline": {"float64": _core, "float32": _core_f32}}
_CHOSEN = "baseline"


def kernel(dtype: np.dtype[Any]) -> object:
    """The chosen build's table of entry points for a dtype."""
    return _BUILDS[_CHOSEN][dtype.name].kernel


@dataclass(frozen=True, repr=False)
class Config:
    """What `show_config` tells.

    Attributes
    ----------
    version : str
        Of lstm97.
    build : str
        The build of the loops in use.
    reason : str
        Why that one.
    builds : tuple of str
        The builds this installation has.
    threads : int
        Threads one call computes with.
    cpus : int
        CPUs this machine has.
    """

    version: str
    build: str
    reason: str
    builds: tuple[str, ...]
    threads: int
    cpus: int

    def __repr__(self) -> str:
        return "\n".join(
            (
                f"lstm97 {self.version}",
                f"build: {self.build} ({self.reason}); present: {', '.join(self.builds)}",
                f"threads: {self.threads} of {self.cpus}",
            )
        )


def show_config() -> Config:
    """Version, build of the loops chosen and why, builds present, threads.

    Returns
    -------
    Config
        Its repr is for people, its attributes are for programs.

    Examples
    --------
    >>> import lstm97
    >>> lstm97.show_config().build in lstm97.show_config().builds
    True
    """
    from lstm97 import __version__

    return Config(
        version=__version__,
        build=_CHOSEN,
        reason="the only one present",
        builds=tuple(_BUILDS),
        threads=1,
        cpus=os.cpu_count() or 1,
    )
