"""Damaged, foreign and hostile files are refused with a message, without a crash, running code, or much memory."""

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
from contextlib import suppress
from pathlib import Path

import fuzz_files
import fuzz_reader
import numpy as np
import pytest
from safetensors.numpy import save_file

import lstm97
from lstm97 import RLS, Adam, Network, Scaling, Topology

HERE = Path(__file__).parent
TERABYTES = 10**12
MOST = 2**31 - 100  # sources of a unit


def findings_of(tmp_path, program, what, n, *options):
    """Run one of the fuzzing programs, which must find nothing, and return its result."""
    record = tmp_path / "record.json"
    command = [sys.executable, str(HERE / program), f"--{what}", str(n), *options, "--json", str(record)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert record.exists(), done.stderr
    found = json.loads(record.read_text(encoding="utf-8"))
    assert not found["findings"], done.stderr
    assert done.returncode == 0
    assert found["peak RSS growth in MB"] < 300
    return found


@pytest.mark.parametrize("n_files", [400, pytest.param(4000, marks=pytest.mark.slow)])
def test_mutated_files(tmp_path, n_files):
    """`docs/records/` has a run over a million of them, under sanitizers."""
    found = findings_of(tmp_path, "fuzz_files.py", "files", n_files)
    assert found["refused"] + found["loaded"] == n_files
    assert found["refused"] > n_files / 2
    assert found["loaded"] > n_files / 10
    assert min(found["mutations"].values()) > n_files / 40


@pytest.mark.parametrize("n_programs", [200, pytest.param(3000, marks=pytest.mark.slow)])
def test_random_calls(tmp_path, n_programs):
    """`docs/records/` has a run of an hour, under sanitizers."""
    found = findings_of(tmp_path, "fuzz_api.py", "programs", n_programs)
    assert found["programs"] == n_programs
    assert min(found["calls"].values()) > n_programs / 8
    refusals = ("TypeError", "ValueError", "FloatingPointError", "RuntimeError", "HostileError", "MemoryError")
    assert all(found["exceptions"][kind] for kind in refusals)
    assert found["round trips"]["in all"] > 5 * n_programs


@pytest.mark.parametrize("n_trips", [600, pytest.param(20_000, marks=pytest.mark.slow)])
def test_round_trips_of_states_that_random_calls_have_reached(tmp_path, n_trips):
    """`docs/records/` has a run of a million."""
    found = findings_of(tmp_path, "fuzz_api.py", "round-trips", n_trips)
    assert found["round trips"].pop("in all") >= n_trips
    assert min(found["round trips"].values()) >= n_trips / 6


BROKEN = {
    "fuzz_api.Network.reset = lambda net, state=None: None": "reset: a state is not as new",
    "fuzz_api.Network.reset = lambda net, state=None: os.abort()": "SIGABRT",
    "fuzz_api.Network.reset = lambda net, state=None: os._exit(3)": "exit code 3",
    "fuzz_api.Network.reset = lambda net, state=None: 1 / 0": "reset: raised what it must not",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_finding_is_reported_and_repeated(tmp_path, how):
    """A finding is repeated by its index, be it an exception or a crash of the process."""
    broken = tmp_path / "broken.py"
    calls = "fuzz_api.CHOICES[:] = [fuzz_api.Program.learn, fuzz_api.Program.reset]"
    broken.write_text(f"import os, fuzz_api\n{how}\n{calls}\nfuzz_api.main()\n")

    def findings(*options):
        command, environment = [sys.executable, str(broken), *options], {**os.environ, "PYTHONPATH": str(HERE)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode != 0
        return json.loads(done.stdout)["findings"] if done.stdout else done.stderr

    found = findings("--programs", "4")
    assert len({each["index"] for each in found}) == len(found) > 1
    assert all(BROKEN[how] in each["error"] for each in found)
    if "AssertionError" in found[1]["error"]:
        assert findings("--only", str(found[1]["index"])) == [found[1]]


def test_the_corpus_of_the_reader(tmp_path):
    """Files that fuzz_reader.py has found; each takes a different path through the readers."""
    files = sorted((HERE / "corpus").iterdir())
    found = [fuzz_reader.read(path.read_bytes(), tmp_path / "file") for path in files]
    assert len(found) > 50
    assert sum(net is not None for net in found) > 10
    assert sum(path.stat().st_size for path in files) < 200_000


def refusal(path):
    """The message with which a file is refused, which must take little memory."""
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
    """Save a small network; returns the file's bytes."""
    Network(Topology(2, 1)).save(path)
    return path.read_bytes()


def written(path, header, body=b""):
    """A file with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def header_of(topology):
    """The header of a file with this topology, even if no such network is possible."""
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
    assert "has 5 bytes of data, but its header describes" in refusal(
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


def test_a_network_followed_by_a_terabyte_of_zeros(tmp_path):
    path = tmp_path / "net"
    saved(path)
    os.truncate(path, TERABYTES)
    assert "bytes of data, but its header describes 744" in refusal(path)


def test_a_terabyte_of_zeros_as_a_header(tmp_path):
    path = tmp_path / "net"
    path.write_bytes(struct.pack("<Q", 99_999_999))
    os.truncate(path, TERABYTES)
    assert "has a header of 99999999 bytes" in refusal(path)


def test_a_terabyte_of_zeros(tmp_path):
    path = tmp_path / "net"
    path.touch()
    os.truncate(path, TERABYTES)
    assert "its header is damaged" in refusal(path)


class Hostile:
    """Makes a folder when it is unpickled."""

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
    assert sign.exists()  # unpickling would have run it


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
        with pytest.raises(ValueError, match=r"ends before its header|bytes of data, but its header describes"):
            lstm97.load(path)


def test_a_header_too_deep_to_read(tmp_path):
    assert "its header is damaged" in refusal(written(tmp_path / "net", b"[" * 500_000))
    header = header_of({"n_inputs": 2, "n_outputs": 1})
    header["__metadata__"]["topology"] = "[" * 500_000
    assert "has no usable header" in refusal(written(tmp_path / "net", header))


# ---- attacks: headers with wrong values, or that readers could read differently ----


def sets(name, key, value):
    """A function that sets a field of a tensor's entry."""
    return lambda header: header[name].__setitem__(key, value)


ENTRIES = {
    "negative sizes": sets("output", "shape", [-1, -5]),
    "a truth value as size": sets("output", "shape", [True, 5]),
    "a size with a point": sets("output", "shape", [1.0, 5]),
    "a size that is no number": sets("output", "shape", [float("nan"), 5]),
    "an endless size": sets("output", "shape", [float("inf"), 5]),
    "sizes whose product is 0 in 64 bits": sets("output", "shape", [2**32, 2**32]),
    "a size of 65 bits": sets("output", "shape", [2**64 + 1, 5]),
    "a size of 4000 digits": sets("output", "shape", [10**4000, 5]),
    "no sizes": sets("output", "shape", []),
    "a text of sizes": sets("output", "shape", "15"),
    "sizes by name": sets("output", "shape", {"1": 5}),
    "tensors over each other": lambda header: header["output"].update(data_offsets=header["cell"]["data_offsets"]),
    "a tensor partly over another": sets("output", "data_offsets", [696, 736]),
    "a gap": sets("output", "data_offsets", [705, 745]),
    "tensors that change places": lambda header: header["input_gate"].update(
        data_offsets=header["output_gate"]["data_offsets"]
    ),
    "a tensor from its end to its beginning": sets("output", "data_offsets", [744, 704]),
    "a place before the file": sets("output", "data_offsets", [-40, 0]),
    "a place of 65 bits": sets("output", "data_offsets", [2**64 + 704, 2**64 + 744]),
    "truth values as places": sets("cell", "data_offsets", [False, 352]),
    "a place with a point": sets("output", "data_offsets", [704.0, 744.0]),
    "an endless place": sets("output", "data_offsets", [704, float("inf")]),
    "a dtype of whole numbers": sets("output", "dtype", "I64"),
    "a dtype of objects": sets("output", "dtype", "O"),
    "a list as dtype": sets("output", "dtype", ["F64"]),
    "one more tensor, of nothing": lambda header: header.update(
        x={"dtype": "F64", "shape": [0], "data_offsets": [744, 744]}
    ),
    "an endless number of inputs": lambda header: header["__metadata__"].update(
        topology='{"n_inputs": Infinity, "n_outputs": 1}'
    ),
    "a number of inputs that is none": lambda header: header["__metadata__"].update(
        topology='{"n_inputs": NaN, "n_outputs": 1}'
    ),
    "1e999 inputs": lambda header: header["__metadata__"].update(topology='{"n_inputs": 1e999, "n_outputs": 1}'),
    "two numbers of inputs": lambda header: header["__metadata__"].update(
        topology='{"n_inputs": 3, "n_inputs": 2, "n_outputs": 1}'
    ),
    "a topology of too many digits": lambda header: header["__metadata__"].update(topology="9" * 5000),
    "a program for a topology": lambda header: header["__metadata__"].update(topology="__import__('os').abort()"),
    "an argument that a topology has not": lambda header: header["__metadata__"].update(
        topology='{"n_inputs": 2, "n_outputs": 1, "__class__": 1}'
    ),
}
TEXTS = {
    "a tensor twice": lambda text: text[:-1] + b', "cell": ' + json.dumps({"dtype": "F64"}).encode() + b"}",
    "metadata twice": lambda text: text[:-1] + b', "__metadata__": {}}',
    "a version twice": lambda text: text.replace(b'"lstm97_format"', b'"lstm97_format": "2", "lstm97_format"'),
    "a name twice, once in another spelling": lambda text: text.replace(
        b'"dtype"', b'"dtype": "F64", "dtyp\\u0065"', 1
    ),
    "UTF-16": lambda text: text.decode().encode("utf-16-le"),
    "UTF-32": lambda text: text.decode().encode("utf-32"),
    "a byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "Latin-1": lambda text: text.replace(b'"lstm97_format"', b'"\xe4": "", "lstm97_format"'),
    "half a surrogate pair": lambda text: text.replace(b'"lstm97_format"', b'"\xed\xa0\x80": "", "lstm97_format"'),
    "a quote of two bytes": lambda text: text.replace(b'"lstm97_format"', b'\xc0\xa2lstm97_format"'),
    "something behind it": lambda text: text + b"x",
    "another header behind it": lambda text: text + text,
    "a zero behind it": lambda text: text + b"\0",
    "a comment": lambda text: b"/**/" + text,
    "a list": lambda text: b"[" + text + b"]",
    "nothing": lambda text: b"",
    "half of it": lambda text: text[: len(text) // 2],
}


def a_header():
    """The header that the attacks change, of a network that loads."""
    header = header_of({"n_inputs": 2, "n_outputs": 1})
    assert header["output"]["data_offsets"] == [704, 744]
    return header


def test_the_file_that_the_attacks_change_loads(tmp_path):
    assert lstm97.load(written(tmp_path / "net", a_header(), bytes(744))).topology == Topology(2, 1)


@pytest.mark.parametrize("attack", ENTRIES)
def test_headers_that_lie(tmp_path, attack):
    header = a_header()
    ENTRIES[attack](header)
    assert refusal(written(tmp_path / "net", header, bytes(744)))


@pytest.mark.parametrize("attack", TEXTS)
def test_headers_that_are_not_exactly_one_json_object(tmp_path, attack):
    text = TEXTS[attack](json.dumps(a_header()).encode())
    assert refusal(written(tmp_path / "net", text, bytes(744)))


# ---- the memory of learning ----


def changed(path, change):
    """The file of a network with memory after a change of its parts."""
    how = {"optimizer": Adam(bound=0.5), "readout": RLS(), "scaling": Scaling()}
    net = Network(Topology(2, 1, output="identity"), "float32", **how)
    net.learn_run(np.ones((5, 2)), np.ones((5, 1)))
    net.save(path, state=True)
    file = fuzz_files.File(path.read_bytes())
    change(file)
    path.write_bytes(file.joined())
    return path


def puts(name, place, number):
    """A function that changes a number of a tensor."""
    return lambda file: file.tensors[name].__setitem__(place, number)


def learns_by(**settings):
    """A function that changes settings of learning; those that are None are taken away."""

    def change(file):
        found = file.metadata["learning"] | settings
        file.metadata["learning"] = {name: each for name, each in found.items() if each is not None}

    return change


MEMORY = {
    "a mean that is not finite": puts("memory.m.cell", (1, 1), np.nan),
    "a mean that is too large": puts("memory.m.cell", (1, 1), 2.0**60),
    "negative squares": puts("memory.v.output", (0, 0), -1e-30),
    "endless squares": puts("memory.v.input_gate", (1, 1), np.inf),
    "a negative number of updates": puts("memory.updates", 0, -1),
    "too many updates": puts("memory.updates", 0, 2**62 + 1),
    "a root that is not finite": puts("readout.root", (0, 1), np.inf),
    "a mean of inputs that is not finite": puts("scaling.inputs", (0, 1), np.nan),
    "negative squares of targets": puts("scaling.targets", (0, 2), -1.0),
    "half an input": puts("scaling.inputs", (0, 0), 0.5),
    "squares of no targets": lambda file: [puts("scaling.targets", (0, i), i)(file) for i in (0, 2)],
    "no memory": lambda file: file.replace({k: v for k, v in file.tensors.items() if not k.startswith("memory")}),
    "memory of no rule": lambda file: file.metadata.pop("learning"),
    "memory of another rule": learns_by(optimizer=["RMSprop", {}]),
    "an unknown rule": learns_by(optimizer=["Network", {}]),
    "no rule": learns_by(optimizer=None),
    "a rule in place of another": learns_by(scaling=["RLS", {}]),
    "a list in place of settings": learns_by(optimizer=["Adam", [0.9]]),
    "a list as a rule": learns_by(optimizer=[["Adam"], {}]),
    "settings that Adam has not": learns_by(optimizer=["Adam", {"__class__": 1}]),
    "an epsilon that is 0 in float32": learns_by(optimizer=["Adam", {"epsilon": 1e-60}]),
    "an endless bound": lambda file: file.metadata.update(learning='{"optimizer": ["Adam", {"bound": 1e999}]}'),
    "a program for a rule": lambda file: file.metadata.update(learning="__import__('os').abort()"),
    "a rule that is too deep": lambda file: file.metadata.update(learning="[" * 100_000),
    "a readout of other outputs": lambda file: file.metadata["topology"].update(output="logistic", loss="squared"),
    "another number of sources": lambda file: file.replace(
        file.tensors | {"readout.root": np.zeros((4, 4), np.float32)}
    ),
}


def test_the_file_with_memory_that_the_attacks_change_loads(tmp_path):
    net = lstm97.load(changed(tmp_path / "net", lambda file: None))
    assert net.optimizer == Adam(bound=0.5)
    assert np.isfinite(net.learn([1, 2], [3])).all()


@pytest.mark.parametrize("attack", MEMORY)
def test_memory_that_learning_cannot_have_left(tmp_path, attack):
    assert refusal(changed(tmp_path / "net", MEMORY[attack]))


@pytest.mark.parametrize("number", [3e38, -3e38, 1e18, 1e-45])
def test_extreme_numbers_in_memory_harm_nothing(tmp_path, number):
    for name in ("memory.m.cell", "memory.v.cell", "readout.root", "scaling.inputs", "scaling.targets"):
        if (number < 0 and name == "memory.v.cell") or (abs(number) > 1e30 and name == "memory.m.cell"):
            continue  # refused
        place = (slice(None), 1) if name.startswith("scaling") else slice(None)
        net = lstm97.load(changed(tmp_path / "net", puts(name, place, number)))
        for _ in range(3):
            with suppress(FloatingPointError):
                net.learn([1, -1], [0.5])
        assert np.isfinite(net.parameters).all()
        net.save(tmp_path / "net")
        lstm97.load(tmp_path / "net")


def test_a_byte_more_and_a_byte_less(tmp_path):
    for n in (743, 745):
        assert f"has {n} bytes of data, but its header describes 744" in refusal(
            written(tmp_path / "net", a_header(), bytes(n))
        )


def test_circular_links_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        lstm97.load(tmp_path / "a")


@pytest.mark.parametrize("name", ["", "\0", "a\0b"])
def test_names_of_no_file(name):
    with pytest.raises((ValueError, FileNotFoundError)):
        lstm97.load(name)
