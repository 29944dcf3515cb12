"""The methods the 1997 paper compares LSTM with, each a learner with the calls of `lstm97.Network` for one stream.

`RTRL`, `BPTT` and `Elman` train nets of `RecurrentTopology`, `Chunker` two of them, `RCC` grows one of its own.
`ElementwiseLSTM` is no method of the paper's: an LSTM that follows the whole gradient. `train` and `predict` take any
of them, and an `lstm97.Network`.
"""

from __future__ import annotations

from os import PathLike
from types import MappingProxyType
from typing import Any

from lstm97.history import History
from lstm97.methods.cascade import RCC, CascadeTopology
from lstm97.methods.chunker import Chunker, ChunkerTopology
from lstm97.methods.elementwise import ElementwiseLSTM
from lstm97.methods.learner import Learner, read
from lstm97.methods.recurrent import BPTT, RTRL, Elman
from lstm97.methods.topology import RecurrentTopology, Squash
from lstm97.network import Network
from lstm97.training import predict as predict_by_network
from lstm97.training import train as train_network

__all__ = [
    "BPTT",
    "METHODS",
    "RCC",
    "RTRL",
    "CascadeTopology",
    "Chunker",
    "ChunkerTopology",
    "ElementwiseLSTM",
    "Elman",
    "Learner",
    "RecurrentTopology",
    "Squash",
    "load",
    "predict",
    "train",
]

METHODS = MappingProxyType({method.method: method for method in (RTRL, BPTT, Elman, RCC, Chunker, ElementwiseLSTM)})
"""The methods by name."""


def train(net: Learner | Network, inputs: object, targets: object, **how: Any) -> History:
    """Train a learner of any method, or an LSTM, on many sequences: `Learner.train` or `lstm97.train`.

    Parameters
    ----------
    net : Learner or lstm97.Network
    inputs, targets
        As for `lstm97.train`.
    **how
        Other arguments of `Learner.train` or `lstm97.train`: learning_rate, update, epochs, order, stop, callback,
        history.

    Returns
    -------
    lstm97.History

    Raises
    ------
    TypeError, ValueError, FloatingPointError, RuntimeError
        As `Learner.train` or `lstm97.train`.
    """
    if isinstance(net, Network):
        return train_network(net, inputs, targets, **how)
    return net.train(inputs, targets, **how)


def predict(net: Learner | Network, inputs: object) -> Any:
    """Return the outputs of a learner, or an LSTM, for many sequences: `Learner.predict` or `lstm97.predict`.

    Parameters
    ----------
    net : Learner or lstm97.Network
    inputs
        As for `lstm97.train`.

    Returns
    -------
    list of ndarray, shape (n_steps_i, n_outputs); for a Network an array if ``inputs`` is one

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As `Learner.predict` or `lstm97.predict`.
    """
    return predict_by_network(net, inputs) if isinstance(net, Network) else net.predict(inputs)


def load(path: str | PathLike[str]) -> Learner | Network:
    """Read a learner from a file that `Learner.save` wrote, or a network from one of `Network.save`.

    Nothing in the file is executed.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Learner or lstm97.Network
        A learner with the saved settings and weights, its state zero; a network as `lstm97.load` has it.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not such a file, or damaged.
    """
    return read(path, METHODS)
