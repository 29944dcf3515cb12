"""Tensors as bytes: the length of the header in 8 of them, the header in JSON, the tensors one after the other."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}


def save(tensors: dict[str, NDArray[Any]], metadata: dict[str, str] | None = None) -> bytes:
    """Bytes of these tensors and of what goes with them."""
    header: dict[str, Any] = {"__metadata__": metadata or {}}
    body = b""
    for name, tensor in tensors.items():
        data = tensor.tobytes()
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": tensor.shape,
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def load(data: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of such bytes."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(data[start + begin : start + end], DTYPES[entry["dtype"]]).reshape(entry["shape"]).copy()
        for name, entry in header.items()
        for begin, end in [entry["data_offsets"]]
    }
