"""Damaged, foreign and hostile files: refused in words, without a crash, running nothing, taking little memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import lstm97
from lstm97 import Network, Topology

HERE = Path(__file__).parent
TERABYTES = 10**12
MOST = 2**31 - 100  # sources of a unit


@pytest.mark.parametrize("n_files", [400, pytest.param(4000, marks=pytest.mark.slow)])
def test_mutated_files(tmp_path, n_files):
    """`docs/records/` has a run over a million of them, under sanitizers."""
    told = tmp_path / "told.json"
    command = [sys.executable, str(HERE / "fuzz_files.py"), "--files", str(n_files), "--json", str(told)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert told.exists(), done.stderr
    found = json.loads(told.read_text(encoding="utf-8"))
    assert not found["findings"], done.stderr
    assert done.returncode == 0
    assert found["refused"] + found["loaded"] == n_files
    assert found["refused"] > n_files / 2
    assert found["loaded"] > n_files / 10
    assert min(found["mutations"].values()) > n_files / 40
    assert found["peak RSS growth in MB"] < 300


def refusal(path):
    """Why a file is refused; what it takes to say so is little."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r".") as caught:
            lstm97.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32e6
    assert str(path) in str(caught.value)
    return str(caught.value)


def saved(path):
    """A small network in a file; its bytes."""
    Network(Topology(2, 1)).save(path)
    return path.read_bytes()


def written(path, header, body=b""):
    """A file with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def header_of(topology):
    """What a file with such a network says, whether or not there is one."""
    header = {"__metadata__": {"lstm97_format": "1", "topology": json.dumps(topology), "dtype": "float64"}}
    known, begin = Topology(**topology), 0
    for kind, n in known.units.items():
        shape = [n, known.n_sources(kind)]
        end = begin + 8 * shape[0] * shape[1]
        header[kind] = {"dtype": "F64", "shape": shape, "data_offsets": [begin, end]}
        begin = end
    return header


def test_a_shape_of_terabytes(tmp_path):
    header = header_of({"n_inputs": 2, "n_outputs": 1})
    header["cell"]["shape"][0] = TERABYTES
    words = refusal(written(tmp_path / "net", header))
    assert f"has cell as F64 of shape ({TERABYTES}, 11), its header needs float64 of (4, 11)" in words


@pytest.mark.parametrize("size", ["n_inputs", "n_outputs", "n_hidden"])
def test_a_topology_of_terabytes(tmp_path, size):
    topology = {"n_inputs": 2, "n_outputs": 1, "n_hidden": 1, size: MOST}
    assert "has 5 bytes of data, its header tells of" in refusal(
        written(tmp_path / "net", header_of(topology), b"other")
    )


@pytest.mark.parametrize("size", ["n_inputs", "n_outputs"])
def test_a_topology_of_terabytes_without_any_weights(tmp_path, size):
    topology = {"n_inputs": 2, "n_outputs": 1, "blocks": [], "bias": "none", size: MOST}
    words = refusal(written(tmp_path / "net", header_of(topology)))
    assert "has a topology that needs far more memory than its weights" in words


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 10**9])
def test_a_header_longer_than_the_file(tmp_path, length):
    path = tmp_path / "net"
    path.write_bytes(struct.pack("<Q", length) + saved(path)[8:])
    assert "ends before its header" in refusal(path)


def test_a_network_with_a_terabyte_of_nothing_behind_it(tmp_path):
    path = tmp_path / "net"
    saved(path)
    os.truncate(path, TERABYTES)
    assert "bytes of data, its header tells of 744" in refusal(path)


def test_a_terabyte_of_nothing_that_is_said_to_be_a_header(tmp_path):
    path = tmp_path / "net"
    path.write_bytes(struct.pack("<Q", 99_999_999))
    os.truncate(path, TERABYTES)
    assert "has a header of 99999999 bytes" in refusal(path)


def test_a_terabyte_of_nothing(tmp_path):
    path = tmp_path / "net"
    path.touch()
    os.truncate(path, TERABYTES)
    assert "its header is damaged" in refusal(path)


class Hostile:
    """Makes a folder of whoever unpickles it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_is_not_run(tmp_path):
    path, sign = tmp_path / "net", tmp_path / "sign"
    path.write_bytes(pickle.dumps(Hostile(str(sign))))
    assert "is not a safetensors file" in refusal(path)
    assert not sign.exists()
    pickle.loads(path.read_bytes())
    assert sign.exists()  # it would have been


def test_other_kinds_of_files(tmp_path):
    path, archive = tmp_path / "net", io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("net", "a text")
    for data in (b"", b"\0\0\0", b"\x89PNG\r\n\x1a\n" + bytes(100), archive.getvalue(), b"a text " * 100):
        path.write_bytes(data)
        assert "is not a safetensors file: it ends before its header" in refusal(path)
    np.save(path.with_suffix(".npy"), np.zeros(100))
    assert "is not a safetensors file" in refusal(path.with_suffix(".npy"))


def test_other_safetensors_files(tmp_path):
    path = tmp_path / "net"
    save_file({"cell": np.zeros((4, 11))}, path)
    assert "has lstm97 format None; this version reads '1' and '2'" in refusal(path)


def test_a_file_of_a_later_version(tmp_path):
    header = header_of({"n_inputs": 2, "n_outputs": 1})
    header["__metadata__"] |= {"lstm97_format": "3", "topology": "in quite another way"}
    assert "has lstm97 format '3'; this version reads '1' and '2'" in refusal(written(tmp_path / "net", header))


def test_a_file_cut_anywhere(tmp_path):
    path = tmp_path / "net"
    data = saved(path)
    for n in range(len(data)):
        path.write_bytes(data[:n])
        with pytest.raises(ValueError, match=r"ends before its header|bytes of data, its header tells of"):
            lstm97.load(path)


def test_a_header_too_deep_to_read(tmp_path):
    assert "its header is damaged" in refusal(written(tmp_path / "net", b"[" * 500_000))
    header = header_of({"n_inputs": 2, "n_outputs": 1})
    header["__metadata__"]["topology"] = "[" * 500_000
    assert "has no usable header" in refusal(written(tmp_path / "net", header))
