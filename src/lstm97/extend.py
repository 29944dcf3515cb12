"""For learners, exporters and executors outside the package: what they may use beside the public names.

These names and their meaning are as stable as the public API; the package's other private parts are not.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lstm97._advice import Advice, any_presented
from lstm97._checks import integer, not_negative, positive
from lstm97._files import (
    CODES,
    Header,
    decode,
    open_regular,
    read_arrays,
    read_header,
    read_whole,
    sync_folder,
    to_bytes,
    write_whole,
)
from lstm97._format import PHASES
from lstm97._kernel.builds import build, show_config
from lstm97._kernel.engine import Engine, choose_cpu
from lstm97._kernel.layout import LANE_ORDER, Layout, float_dtype
from lstm97._threads import available_cpus, thread_count, usable_cpus
from lstm97._version import __version__
from lstm97.history import add_counts, begun, history_of, history_parts, interrupt, is_asked_to_end

__all__ = [
    "CODES",
    "LANE_ORDER",
    "Advice",
    "Header",
    "__version__",
    "add_counts",
    "advice_of",
    "any_presented",
    "available_cpus",
    "awaits_target",
    "begun",
    "build",
    "check_rate",
    "choose_cpu",
    "claimed",
    "decode",
    "float_dtype",
    "held",
    "history_of",
    "history_parts",
    "integer",
    "interrupt",
    "is_asked_to_end",
    "memory_of",
    "not_negative",
    "open_regular",
    "positive",
    "read_arrays",
    "read_header",
    "read_whole",
    "scales_of",
    "show_config",
    "step_work",
    "sync_folder",
    "take_over",
    "thread_count",
    "to_bytes",
    "usable_cpus",
    "write_whole",
]


class _Network(Protocol):
    """What the functions below use of a `lstm97.Network`, whose module is above this one."""

    _engine: Engine
    _layout: Layout
    _lock: Any

    def _memory(self) -> dict[str, NDArray[Any]]: ...


class _Learner(Protocol):
    """A `lstm97.Network`, or a learner of `lstm97.methods`."""

    _advice: Advice


def held(net: _Network) -> AbstractContextManager[None]:
    """A context in which no other thread changes the weights of a network, so that they are read as a whole.

    Parameters
    ----------
    net : Network

    Returns
    -------
    context manager

    Raises
    ------
    RuntimeError
        When the context is entered, if another thread trains, saves or copies the network.
    """
    return net._engine.hold(weights=True, state=False)


def claimed(net: _Network) -> AbstractContextManager[None]:
    """A context in which this thread alone may change the weights of a network, by training or by assigning.

    Parameters
    ----------
    net : Network

    Returns
    -------
    context manager
        It may be left in another thread than it was entered in.

    Raises
    ------
    RuntimeError
        When the context is entered, if another thread trains, saves or copies the network.
    """
    return net._engine.training()


def take_over(net: _Network) -> None:
    """Let the calling thread train a network that another thread has `claimed`, instead of that thread.

    It ends what it does with the network before the context of `claimed` ends.

    Parameters
    ----------
    net : Network
    """
    net._lock[1] = threading.get_ident()


def check_rate(net: _Network, learning_rate: float) -> None:
    """Refuse a learning rate that is not positive and finite, in the dtype of the network too.

    Parameters
    ----------
    net : Network
    learning_rate : float

    Raises
    ------
    TypeError, ValueError
        If it is no such number.
    """
    net._engine.check_rate(learning_rate)


def step_work(net: _Network, *, symbols: bool) -> int:
    """How many weights a step of a network reads, with padding: a measure of the time that it takes.

    Parameters
    ----------
    net : Network
    symbols : bool
        Whether its inputs are symbols, for which a row of each matrix is read.

    Returns
    -------
    int
    """
    return net._layout.step_work(symbols=symbols)


def memory_of(net: _Network) -> dict[str, NDArray[Any]]:
    """What the optimizer, the readout and the scaling of a network keep from step to step, as they are now.

    Parameters
    ----------
    net : Network
        Which no other thread trains: see `held`.

    Returns
    -------
    dict of str to ndarray
        Copies, by the names that files have: ``memory.m.KIND`` and ``memory.v.KIND``, shape (units, sources), as far as
        the optimizer keeps them; ``memory.updates``, shape (1,), the updates so far; ``readout.root``, shape (sources,
        sources), the root of P; ``scaling.inputs`` and ``scaling.targets``, shape (columns, 3): count, mean, sum of
        squared differences from it.
    """
    return {name: np.array(view, order="C") for name, view in net._memory().items()}


def scales_of(net: _Network) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """By what a network scales its data now.

    Parameters
    ----------
    net : Network
        Which no other thread trains: see `held`.

    Returns
    -------
    dict of str to (ndarray, ndarray)
        The means and the deviations of "inputs" and of "targets", as far as they are scaled.
    """
    found = {}
    for name, array in memory_of(net).items():
        if name.startswith("scaling."):
            count, mean, squares = array.T
            found[name.removeprefix("scaling.")] = mean, np.sqrt(squares / np.where(count > 0, count, 1))
    return found


def awaits_target(net: _Network) -> bool:
    """Whether the last step of a network's own state was one of `learn` without a target, which `correct` can give it.

    Parameters
    ----------
    net : Network

    Returns
    -------
    bool
    """
    return bool(PHASES[net._engine.numbers()["phase"]] == "awaiting")


def advice_of(net: _Learner) -> Advice:
    """The warnings about the data of a network or learner, to be given for it or to be turned off.

    Parameters
    ----------
    net : Network or Learner

    Returns
    -------
    Advice
    """
    return net._advice
