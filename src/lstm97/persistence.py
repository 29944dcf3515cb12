"""Networks in files: safetensors, with the topology in the header and the weights by name. Never pickle."""

from __future__ import annotations

import json
from dataclasses import asdict
from os import PathLike, fspath
from typing import TYPE_CHECKING

import numpy as np

from lstm97.topology import Topology

if TYPE_CHECKING:
    from lstm97.network import Network

FORMAT = "1"


def save(net: Network, path: str | PathLike[str]) -> None:
    """Write a network's topology and weights; see `lstm97.Network.save`."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    header = {"lstm97_format": FORMAT, "topology": json.dumps(asdict(net.topology)), "dtype": net.dtype.name}
    weights = {str(kind): np.ascontiguousarray(view) for kind, view in net.weights.items()}
    try:
        save_file(weights, fspath(path), metadata=header)
    except SafetensorError as error:
        raise OSError(f"{fspath(path)} cannot be written: {error}") from error


def load(path: str | PathLike[str]) -> Network:
    """Read a network from a file written by `Network.save`.

    Parameters
    ----------
    path : str or path
        Of the file.

    Returns
    -------
    Network
        With the saved topology, dtype and weights, and a zero state.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not such a file.
    """
    from safetensors import SafetensorError, safe_open

    from lstm97.network import Network

    try:
        with safe_open(fspath(path), framework="numpy") as file:
            header = file.metadata() or {}
            names = list(file.keys())
            weights = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(f"{fspath(path)} is not a safetensors file: {error}") from error
    if header.get("lstm97_format") != FORMAT:
        raise ValueError(
            f"{fspath(path)} has lstm97 format {header.get('lstm97_format')!r}; this version reads {FORMAT!r}"
        )
    try:
        net = Network(Topology(**json.loads(header["topology"])), header["dtype"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{fspath(path)} has no usable header: {error}") from error
    found = {name: array.shape for name, array in weights.items()}
    expected = {str(kind): view.shape for kind, view in net.weights.items()}
    if found != expected:
        raise ValueError(f"{fspath(path)} has weights {found}, its topology needs {expected}")
    try:
        net.parameters = np.concatenate([weights[kind].ravel() for kind in net.weights])
    except ValueError as error:
        raise ValueError(f"{fspath(path)} has weights that are not finite") from error
    return net
