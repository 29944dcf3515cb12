"""The NumPy peer: the learning rule with NumPy, a step at a time, each operation over a whole layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import lstm97

Array = npt.NDArray[np.float64]


def logistic(net: Array) -> Array:
    """F of the paper."""
    return 1.0 / (1.0 + np.exp(-net))


class NumpyLoop:
    """A network that learns by NumPy's operations.

    Parameters
    ----------
    topology : lstm97.Topology
        Outputs logistic or identity, and everything but sizes as ``lstm97.Topology`` has it by default.
    parameters : array of shape (n_weights,)
        Initial weights in the order of ``lstm97.Network.parameters``.

    Raises
    ------
    ValueError
        If the topology is not of that kind.
    """

    def __init__(self, topology: lstm97.Topology, parameters: npt.ArrayLike) -> None:
        same = lstm97.Topology(topology.n_inputs, topology.n_outputs, blocks=topology.blocks, output=topology.output)
        if topology != same or topology.output == "softmax":
            raise ValueError(f"the NumPy loop has no such network: {topology}")
        self.is_logistic = topology.output == "logistic"
        self.block_of = np.repeat(np.arange(len(topology.blocks)), topology.blocks)  # (n_cells,)
        n_cells, n_blocks = len(self.block_of), len(topology.blocks)
        n_hidden, n_sources = n_cells + 2 * n_blocks, topology.n_inputs + n_cells + 2 * n_blocks + 1
        values = np.array(parameters, np.float64)
        self.w = values[: n_hidden * n_sources].reshape(n_hidden, n_sources)  # rows: cells, input gates, output gates
        self.w_k = values[n_hidden * n_sources :].reshape(topology.n_outputs, n_cells + 1)
        self.cells = slice(n_cells)
        self.input_gates, self.output_gates = slice(n_cells, n_cells + n_blocks), slice(n_cells + n_blocks, n_hidden)

    @property
    def parameters(self) -> Array:
        """All weights, a copy in the order of ``lstm97.Network.parameters``."""
        return np.concatenate([self.w.ravel(), self.w_k.ravel()])

    def train(
        self, inputs: npt.NDArray[Any], targets: npt.NDArray[Any], *, learning_rate: float, n_items: int | None = None
    ) -> None:
        """Train on ``n_items`` sequences, taken in turn, each from a zero state.

        Parameters
        ----------
        inputs : array of shape (n_sequences, n_steps, n_inputs)
        targets : array of shape (n_sequences, n_outputs)
            One per sequence, at its end.
        learning_rate : float
            The paper's alpha.
        n_items : int, optional
            How many sequences; all of them, once, by default.
        """
        for item in range(len(inputs) if n_items is None else n_items):
            self._learn_sequence(inputs[item % len(inputs)], targets[item % len(inputs)], learning_rate)

    def _learn_sequence(self, inputs: npt.NDArray[Any], target: npt.NDArray[Any], learning_rate: float) -> None:
        block_of = self.block_of
        y = np.zeros(len(self.w))
        s = np.zeros(len(block_of))
        ds_dw_c = np.zeros((len(block_of), self.w.shape[1]))
        ds_dw_in = np.zeros_like(ds_dw_c)
        for x in inputs:
            z = np.concatenate([x, y, [1.0]])
            f = logistic(self.w @ z)  # (7), (8), (9)
            f_c, y_in, y_out = f[self.cells], f[self.input_gates], f[self.output_gates]
            g = 4.0 * f_c - 2.0
            ds_dw_in += np.outer(g * (y_in * (1.0 - y_in))[block_of], z)  # (25)
            ds_dw_c += np.outer(y_in[block_of] * 4.0 * f_c * (1.0 - f_c), z)  # (27)
            s = s + y_in[block_of] * g
            f_s = logistic(s)
            h = 2.0 * f_s - 1.0
            y_c = y_out[block_of] * h
            y = np.concatenate([y_c, y_in, y_out])

        z_k = np.append(y_c, 1.0)
        net_k = self.w_k @ z_k
        y_k = logistic(net_k) if self.is_logistic else net_k
        e_k = (target - y_k) * (y_k * (1.0 - y_k) if self.is_logistic else 1.0)  # (19)
        error_at_cell = self.w_k[:, :-1].T @ e_k
        n_blocks = len(y_out)
        e_out = y_out * (1.0 - y_out) * np.bincount(block_of, h * error_at_cell, n_blocks)  # (21)
        e_s = y_out[block_of] * 2.0 * f_s * (1.0 - f_s) * error_at_cell  # (23)
        self.w_k += learning_rate * np.outer(e_k, z_k)  # (22)
        self.w[self.cells] += learning_rate * e_s[:, np.newaxis] * ds_dw_c  # (28)
        self.w[self.output_gates] += learning_rate * np.outer(e_out, z)  # (22)
        np.add.at(self.w[self.input_gates], block_of, learning_rate * e_s[:, np.newaxis] * ds_dw_in)  # (26)
