"""The textbook peer: compiles ``textbook.c`` with the system's C compiler and calls it."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

import lstm97

from .compiling import shared_library

SOURCE = Path(__file__).with_name("textbook.c")

_doubles = np.ctypeslib.ndpointer(np.float64, flags="C_CONTIGUOUS")


@cache
def _library(*flags: str) -> ctypes.CDLL:
    library = shared_library(SOURCE, *flags)
    library.textbook_new.argtypes = [ctypes.c_int] * 5
    library.textbook_new.restype = ctypes.c_void_p
    library.textbook_free.argtypes = [ctypes.c_void_p]
    library.textbook_free.restype = None
    library.textbook_set_weights.argtypes = [ctypes.c_void_p, _doubles]
    library.textbook_set_weights.restype = None
    library.textbook_get_weights.argtypes = [ctypes.c_void_p, _doubles]
    library.textbook_get_weights.restype = None
    longs = [ctypes.c_long] * 3
    library.textbook_train.argtypes = [
        ctypes.c_void_p, _doubles, _doubles, *longs, ctypes.c_int, ctypes.c_double,
    ]  # fmt: skip
    library.textbook_train.restype = None
    return library


class Textbook:
    """A network that learns by the plain C loop.

    Parameters
    ----------
    topology : lstm97.Topology
        Blocks of one size, outputs logistic or identity, and otherwise the defaults of ``lstm97.Topology``.
    parameters : array of shape (n_weights,)
        Initial weights in the order of ``lstm97.Network.parameters``.
    *flags : str
        Further compiler flags, after ``compiling.FLAGS``.

    Raises
    ------
    ValueError
        If the topology is not of that kind.
    OSError, subprocess.CalledProcessError
        If there is no C compiler or it fails.
    """

    def __init__(self, topology: lstm97.Topology, parameters: npt.ArrayLike, *flags: str) -> None:
        same = lstm97.Topology(topology.n_inputs, topology.n_outputs, blocks=topology.blocks, output=topology.output)
        if topology != same or len(set(topology.blocks)) != 1 or topology.output == "softmax":
            raise ValueError(f"the textbook loop has no such network: {topology}")
        self.topology = topology
        self._library = _library(*flags)
        self._handle = self._library.textbook_new(
            topology.n_inputs,
            len(topology.blocks),
            topology.blocks[0],
            topology.n_outputs,
            topology.output == "logistic",
        )
        if not self._handle:
            raise MemoryError("no memory for the textbook network")
        values = np.ascontiguousarray(parameters, dtype=np.float64)
        if values.shape != (topology.n_weights,):
            raise ValueError(f"parameters has shape {values.shape}, expected ({topology.n_weights},)")
        self._library.textbook_set_weights(self._handle, values)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.textbook_free(self._handle)

    @property
    def parameters(self) -> npt.NDArray[np.float64]:
        """All weights, a copy in the order of ``lstm97.Network.parameters``."""
        values = np.empty(self.topology.n_weights)
        self._library.textbook_get_weights(self._handle, values)
        return values

    def train(
        self,
        inputs: npt.NDArray[np.float64],
        targets: npt.NDArray[np.float64],
        *,
        learning_rate: float,
        n_items: int | None = None,
    ) -> None:
        """Train on ``n_items`` sequences, taken in turn, each from a zero state.

        Parameters
        ----------
        inputs : array of shape (n_sequences, n_steps, n_inputs)
            C-contiguous doubles.
        targets : array of shape (n_sequences, n_outputs) or (n_sequences, n_steps, n_outputs)
            One per sequence, at its end, or one per step.
        learning_rate : float
            The paper's alpha.
        n_items : int, optional
            Number of sequences; by default each once.
        """
        n_sequences, n_steps, n_inputs = inputs.shape
        every_step = targets.ndim == 3
        shape = (n_sequences, n_steps) if every_step else (n_sequences,)
        if n_inputs != self.topology.n_inputs or targets.shape != (*shape, self.topology.n_outputs):
            raise ValueError(f"inputs {inputs.shape} and targets {targets.shape} do not fit {self.topology}")
        count = n_sequences if n_items is None else n_items
        self._library.textbook_train(
            self._handle, inputs, targets, count, n_sequences, n_steps, every_step, learning_rate
        )
