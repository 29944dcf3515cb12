"""Picks the build of the loops for this CPU.

Other files use its name only: `extend` gives it to others, and `cluster.executors` refuses workers with another build.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lstm97._kernel.engine import cpu_level
from lstm97._threads import available_cpus, thread_count
from lstm97._version import __version__

# Each build by its name, from the plainest to the fastest: the suffix of its modules, the x86-64 level it needs.
_BUILDS = {"baseline": ("", 0), "v3": ("_v3", 3), "v4": ("_v4", 4)}
_DTYPES = {"float64": "", "float32": "_f32"}


def _module(build: str, dtype: str) -> str:
    """Where a build has its loops for a dtype: what is compiled for any CPU in float64 is `_core` itself."""
    suffix = _DTYPES[dtype] + _BUILDS[build][0]
    return f"lstm97._kernel.core{suffix}" if suffix else "lstm97._core"


def present() -> tuple[str, ...]:
    """The builds this installation has."""
    return tuple(build for build in _BUILDS if all(find_spec(_module(build, dtype)) for dtype in _DTYPES))


def runnable() -> tuple[str, ...]:
    """The builds this installation has and this CPU can run."""
    return tuple(name for name in present() if _BUILDS[name][1] <= cpu_level())


def _choose() -> tuple[str, str]:
    """The build to use, and why."""
    asked = os.environ.get("LSTM97_KERNEL")
    if not asked:
        return runnable()[-1], "the fastest this CPU can run"
    if asked not in present():
        raise _refusal(f"LSTM97_KERNEL is {asked!r}; this installation has {', '.join(present())}")
    if asked not in runnable():
        raise _refusal(f"LSTM97_KERNEL is {asked!r}; this CPU can only run {', '.join(runnable())}")
    return asked, "asked for by LSTM97_KERNEL"


def _refusal(message: str) -> BaseException:
    """An ImportError. Where this program is the command `lstm97`, which is not there yet to catch it, its last line."""
    begun_as = set(pairwise(sys.orig_argv))
    script = Path((getattr(sys, "argv", None) or [""])[0]).name
    if {("-m", "lstm97"), ("-m", "lstm97.cli")} & begun_as or script in ("lstm97", "lstm97.exe"):
        return SystemExit(f"lstm97: {message}")
    return ImportError(message)


build, _reason = _choose()


def kernel(dtype: np.dtype[Any]) -> object:
    """The chosen build's table of entry points for a dtype."""
    return import_module(_module(build, dtype.name)).kernel


@dataclass(frozen=True, repr=False)
class Config:
    """What `show_config` returns.

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
        Threads that `train` uses unless an argument says otherwise.
    cpus : int
        CPUs this process may use.
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

    The build is chosen at import: the fastest this CPU can run, or the one that the environment variable
    ``LSTM97_KERNEL`` names (``baseline``, ``v3`` or ``v4``, after the x86-64 levels they need). The number of threads
    is 1, or what ``LSTM97_NUM_THREADS`` says; `train` and `train_many` take another as an argument.

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
    return Config(
        version=__version__,
        build=build,
        reason=_reason,
        builds=present(),
        threads=thread_count(None, otherwise=1),
        cpus=available_cpus(),
    )
