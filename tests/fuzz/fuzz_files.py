"""Mutate files of networks and checkpoints and load them: ``python tests/fuzz/fuzz_files.py --files N --seed S``.

Each file is one of a corpus, mutated once or several times: its tensors, its JSON (in its metadata too), its bytes.
Loading it may only raise ValueError; so may `train`, which resumes from files that were checkpoints. A network that
loads is then used in many calls, which may only raise documented exceptions, and its own file must load again.

How files are numbered and findings repeated: see fuzzing.py.
"""

from __future__ import annotations

import json
import pickle
import re
import struct
from contextlib import suppress
from copy import deepcopy
from typing import NamedTuple

import fuzzing
import numpy as np
from fuzzing import one

import lstm97
from lstm97 import RLS, SGD, Adam, Checkpoint, Network, RMSprop, Scaling, Stop, Topology
from lstm97.network import network_from_bytes, network_to_bytes

JSON_IN_METADATA = ("topology", "state", "training", "learning")
NUMPY_TYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "u1"}


# ---- files in parts ----


class File:
    """A file in parts: its header, with the JSON in the metadata decoded too, and its body."""

    def __init__(self, data):
        text, self.body = split(data)
        self.header, self.body = json.loads(text), bytearray(self.body)
        self.metadata = self.header["__metadata__"]
        self.metadata |= {name: json.loads(self.metadata[name]) for name in JSON_IN_METADATA if name in self.metadata}

    @property
    def tensors(self):
        """Views of the tensors, by name; valid until the header changes."""
        found = {}
        for name, entry in self.header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                view = memoryview(self.body)[begin:end] if begin < end else b""
                found[name] = np.frombuffer(view, NUMPY_TYPES[entry["dtype"]]).reshape(entry["shape"])
        return found

    def replace(self, tensors):
        """Replace the tensors by these, in this order."""
        self.header, self.body = {"__metadata__": self.metadata}, bytearray()
        codes = {np.dtype(dtype): code for code, dtype in NUMPY_TYPES.items()}
        for name, array in tensors.items():
            offsets = [len(self.body), len(self.body) + array.nbytes]
            self.header[name] = {"dtype": codes[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
            self.body += array.tobytes()

    def joined(self):
        """The bytes of the file with these parts."""
        for name in JSON_IN_METADATA:
            if name in self.metadata and not isinstance(self.metadata[name], str):
                self.metadata[name] = dumps(self.metadata[name])
        return join(dumps(self.header).encode(), self.body)


def split(data):
    """The header and the body of a file; the length in its first 8 bytes may be wrong."""
    n = int.from_bytes(data[:8], "little")
    return data[8 : 8 + n], data[8 + n :]


def join(header, body):
    """The bytes of a file with this header and body."""
    return struct.pack("<Q", len(header)) + header + bytes(body)


def dumps(value):
    """As JSON, with what Python's writer would not write where it is named."""
    return re.sub(r'\\*"@(\w+)@\\*"', lambda found: RAW[found[1]], json.dumps(value))


# ---- the corpus ----

NETWORKS = (
    (Topology(3, 2, blocks=(2, 1)), "float64"),
    (Topology(3, 1, forget_gates=True, output="identity"), "float32"),
    (Topology(4, 3, blocks=(), n_hidden=2, output="softmax", input_to_output=True), "float64"),
    (Topology(2, 2, blocks=(1,) * 20, forget_gates=True, gate_sources=False), "float32"),
    (Topology(2, 1, (3,), 1, output_gates=False, bias="gates", output_squash="identity"), "float32"),
    (Topology(1, 1, blocks=(1,), recurrent=False, bias="none", input_squash="tanh"), "float64"),
)
LINEAR = Topology(3, 2, blocks=(2, 1), forget_gates=True, input_to_output=True, output="identity")
LEARNING = (
    (LINEAR, "float64", {"optimizer": Adam(bound=0.5), "readout": RLS(0.9), "scaling": Scaling(decay=0.9)}),
    (LINEAR, "float32", {"optimizer": RMSprop(bound=1), "scaling": Scaling(targets=False)}),
    (Topology(4, 3, blocks=(1,) * 5, output="softmax"), "float32", {"optimizer": Adam(), "scaling": Scaling()}),
    (Topology(2, 1, loss="cross_entropy"), "float64", {"optimizer": SGD(momentum=0.9)}),
    (Topology(2, 2, n_hidden=1, output="identity", loss="huber"), "float32", {"readout": RLS()}),
)
STREAMS = {"none": 0, "zero": 0, "numbers": 21, "symbols": 7, "mixed": 13, "corrected": 3, "stepped": 4}  # and steps
RUNS = (
    {"order": np.random.PCG64, "stop": Stop(window=6, mean_error=1e-9)},
    {"order": np.random.MT19937, "update": "sequence", "batch_size": 3},
    {"order": np.random.Philox, "stop": Stop(window=3, tolerance=9, mean_error=9)},
    {"order": np.random.SFC64},
    {"order": None},
    {"order": np.random.PCG64, "how": {"optimizer": Adam(bound=1), "scaling": Scaling()}},
    {"order": None, "update": "sequence", "batch_size": 3, "how": {"optimizer": RMSprop()}},
)


class Case(NamedTuple):
    """A file of the corpus and, if it is a checkpoint, the run that it belongs to."""

    data: bytes
    run: dict | None = None


def corpus(folder):
    """Networks in the middle of a stream, and checkpoints; the same ones every time."""
    streams = [Case(canonical(stream(*network, kind))) for network in NETWORKS for kind in STREAMS]
    streams += [Case(canonical(stream(*network[:2], kind, **network[2]))) for network in LEARNING for kind in STREAMS]
    return streams, [Case(canonical(interrupted(folder / "corpus", run)), run) for run in RUNS]


def canonical(data):
    """The same file with its metadata in alphabetical order, and a fixed time in checkpoints."""
    file = File(data)
    if "training" in file.metadata:
        file.metadata["training"]["seconds"] = 0.5
    file.metadata = dict(sorted(file.metadata.items()))
    file.replace(file.tensors)
    return file.joined()


def stream(topology, dtype, kind, **how):
    """The file of a network whose state has seen some steps; one with a learning rule has learned from most of them."""
    net, rng, n_steps = Network(topology, dtype, seed=1, init_range=0.5, **how), np.random.default_rng(2), STREAMS[kind]
    for i in range(n_steps):
        x = rng.uniform(-1, 1, topology.n_inputs)
        if topology.n_inputs > 1 and (kind == "symbols" or (kind == "mixed" and i % 3)):
            x = int(rng.integers(topology.n_inputs))
        if kind == "stepped":
            net.step(x)
        else:
            has_target = (how and i % 3) or (kind == "corrected" and i == n_steps - 1)
            net.learn(x, [0.5] * topology.n_outputs if has_target else None)
    return network_to_bytes(net, kind != "none")


def interrupted(path, run):
    """A checkpoint of this run, in the middle of an epoch if it has one there."""
    seen = []
    path.unlink(missing_ok=True)
    train(run, path, lambda history: path.exists() and seen.append(path.read_bytes()))
    return seen[0] if seen else path.read_bytes()


def train(run, path, callback=None):
    """Train for at most two epochs, continuing from the file at this path if it exists."""
    rng = np.random.default_rng(3)
    run = dict(run)
    net = Network(Topology(2, 1, blocks=(1, 1)), seed=4, **run.pop("how", {}))
    data = rng.uniform(-1, 1, (8, 3, 2)), rng.uniform(0, 1, (8, 1))
    order = run["order"] and np.random.Generator(run["order"](5))
    before = pickle.dumps((net, order))
    try:
        checkpoint = Checkpoint(path, sequences=5)
        lstm97.train(net, *data, epochs=2, callback=callback, checkpoint=checkpoint, **(run | {"order": order}))
    except ValueError as error:
        if pickle.dumps((net, order)) != before:
            raise AssertionError("train changed something before it refused the file") from error
        raise


# ---- mutations of the parts of a file ----

RAW = {"deep": "[" * 2000 + "]" * 2000, "long": "9" * 5000, "digits": "9" * 4300, "exponent": "1e999"}
VALUES = (
    *(None, True, False, 0, 1, -1, 2, 3, 5, 15, 16, 17, 255, 0.5, -0.0, 1e300, np.inf, -np.inf, np.nan),
    *(2**31 - 1, 2**31, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, -(2**31), -(2**63)),
    *("", "0", "1", "2", "x", "\0", "\ud800", "all", "none", "gates", "tanh", "identity", "softmax", "float32"),
    *("float64", "F32", "F64", "I32", "I64", "U8", "BF16", "BOOL", "awaiting", "corrected", "not learning"),
    *("PCG64", "MT19937", "@deep@", "@long@", "@digits@", "@exponent@"),
    *([], {}, [[]], [0], [1], [1, 1, 1], [2, 2], [0] * 700, {"state": 1}),
)
SQUASHES = ("logistic", "centered", "centered2", "tanh", "identity")


def change(rng, node):
    """Change something in a tree of lists and dicts."""
    if not isinstance(node, (dict, list)) or not node:
        return
    key = one(rng, list(node) if isinstance(node, dict) else range(len(node)))
    old, way = node[key], rng.integers(10)
    if isinstance(old, (dict, list)) and old and rng.random() < 0.8:
        change(rng, old)
    elif way < 4 and isinstance(old, (int, float)):
        node[key] = one(rng, (old + 1, old - 1, old * 2, -old, float(old), not old, old + 2**32, str(old)))
    elif way < 6:
        node[key] = deepcopy(one(rng, VALUES))
    elif way == 6:
        del node[key]
    elif way == 7:
        node[key] = one(rng, ([old], {"x": old}, [old, deepcopy(old)], str(old)))
    elif isinstance(node, dict):
        other = one(rng, list(node))
        node[key], node[other if way == 8 else other + "x"] = node[other], old
    else:
        node.insert(key, deepcopy(one(rng, node if way == 8 else VALUES)))


def some_of(rng, arrays):
    """An array and a few places in it, one after the other."""
    array = one(rng, [array for array in arrays if array.size])
    return array.reshape(-1), rng.integers(array.size, size=rng.integers(1, 4))


def floats(rng, file):
    array, places = some_of(rng, [array for array in file.tensors.values() if array.dtype.kind == "f"])
    values = (np.nan, np.inf, -np.inf, np.finfo(array.dtype).max, -1e30, 1e30, 1e-40, 5.0, 0.0, -0.0)
    array[places] = one(rng, values)


def integers(rng, file):
    arrays = [array for array in file.tensors.values() if array.dtype.kind != "f" and array.size]
    if not arrays:
        return rows(rng, file)
    array, places = some_of(rng, arrays)
    low, high = np.iinfo(array.dtype).min, np.iinfo(array.dtype).max
    array[places] = one(rng, (low, high, low // 2, high // 2, high - 1, 0, 1, 2, 3, 4, 7, 8, 64))


def rows(rng, file):
    """Another number of rows, of one tensor or of all tensors of pending steps."""
    tensors = file.tensors
    names = [name for name in tensors if name.startswith(("state.pending", "state.inputs", "training"))]
    names = [one(rng, names or list(tensors))]
    if names[0].startswith("state.pending") and rng.random() < 0.8:
        names = [name for name in tensors if name.startswith("state.pending")]
    n = one(rng, (0, 1, 2, 7, 14, 15, 16, 17))
    file.replace(tensors | {name: np.resize(tensors[name], (n, *tensors[name].shape[1:])) for name in names})


def possible(rng, file):
    """A file that may pass the checks: other squashing functions, or a state that is possible or almost possible."""
    topology, state, tensors = file.metadata["topology"], file.metadata.get("state"), file.tensors
    if state is None or rng.random() < 0.3:
        topology["input_squash"], topology["output_squash"] = one(rng, SQUASHES), one(rng, SQUASHES)
        topology["output"] = one(rng, ("logistic", "identity", "softmax"))
        return
    n, n_inputs = rng.integers(16), topology["n_inputs"]
    seen = rng.permutation(n_inputs)[: rng.integers(n_inputs + 1)].astype(np.int32)
    state["symbols_only"] = bool(len(seen) and rng.random() < 0.7)
    state["symbol"] = one(rng, (None, int(rng.integers(n_inputs))))
    state["phase"] = one(rng, ("awaiting", "awaiting", "corrected", "not learning"))
    pending = {name: array for name, array in tensors.items() if name.startswith("state.pending")}
    tensors |= {name: np.resize(array, (n, *array.shape[1:])) for name, array in pending.items()}
    if len(seen):
        tensors["state.pending.symbols"] = seen[rng.integers(len(seen), size=n)]
    file.replace(tensors | {"state.inputs_seen": seen})


def order(rng, file):
    """The tensors in another order, or two of them exchanged."""
    tensors = file.tensors
    names = [str(name) for name in rng.permutation(list(tensors))]
    if rng.random() < 0.5:
        tensors[names[0]], tensors[names[-1]] = tensors[names[-1]], tensors[names[0]]
    file.replace({name: tensors[name] for name in names})


def version(rng, file):
    file.metadata["lstm97_format"] = one(rng, ("2", "10", "1.0", " 1", "01", "", "1\0", 1, None, "x" * 10000))


def topology(rng, file):
    change(rng, file.metadata.get("topology"))


def state(rng, file):
    change(rng, file.metadata.get("state") or file.metadata)


def learning(rng, file):
    """Other settings of a learning rule, or other numbers in its memory."""
    names = [name for name in file.tensors if name.startswith(("memory", "readout", "scaling"))]
    if not names or rng.random() < 0.5:
        return change(rng, file.metadata.get("learning") or file.metadata)
    array, places = some_of(rng, [file.tensors[one(rng, names)]])
    if array.dtype.kind == "i":
        array[places] = one(rng, (0, 1, -1, 2**31, 2**53, 2**62, 2**62 + 1, 2**63 - 1, -(2**63)))
    else:
        most = np.finfo(array.dtype).max
        array[places] = one(rng, (0.0, -0.0, 0.5, 1.0, -1.0, 1e-300, 1e-40, 1e30, most, most / 2, -most, np.nan))


def training(rng, file):
    change(rng, file.metadata.get("training") or file.metadata)


def metadata(rng, file):
    change(rng, file.metadata)


def entry(rng, file):
    """The header's entry for a tensor."""
    name = one(rng, [name for name in file.header if name != "__metadata__"])
    change(rng, file.header[name] if rng.random() < 0.8 else file.header)


OF_PARTS = (floats, integers, rows, possible, order, version, topology, state, learning, training, metadata, entry)


# ---- mutations of bytes, with another file at hand ----


def place_in(rng, data):
    """A random place in a file; half of them are in its body."""
    return rng.integers(one(rng, (0, len(data) - len(split(data)[1]))), len(data) + 1)


def truncate(rng, data, other):
    return data[: place_in(rng, data)]


def extend(rng, data, other):
    return data + one(rng, (b"\0", b"\0" * 8, data, other, rng.bytes(rng.integers(1, 5000))))


def flip_bits(rng, data, other):
    flipped = bytearray(data + b"\0")
    for _ in range(rng.integers(1, 4)):
        flipped[place_in(rng, data)] ^= 1 << rng.integers(8)
    return bytes(flipped[: len(data)])


def overwrite(rng, data, other):
    begin, n = place_in(rng, data), one(rng, (1, 2, 4, 8, 100))
    return data[:begin] + rng.bytes(n) + data[begin + n :]


def splice(rng, data, other):
    """The beginning of this file, and the end of another or of this one."""
    return data[: place_in(rng, data)] + (end := one(rng, (other, data)))[place_in(rng, end) :]


def header_length(rng, data, other):
    n = int.from_bytes(data[:8], "little")
    lengths = (0, 1, n - 1, n + 1, n + 8, len(data) - 8, len(data), 10**6 + 1, 10**8 + 1, 2**31, 2**32 + n, 2**63, -1)
    return (one(rng, lengths) % 2**64).to_bytes(8, "little") + data[8:]


def header_text(rng, data, other):
    """The header in another form: padded, in another encoding, with a key twice."""
    text, body = split(data)
    key = one(rng, re.findall(rb'"([\w.]+)": ', text) or [b"x"])
    again = b'"%s": %s' % (key, one(rng, (b"null", b"{}", b"[1]", b'"1"', b"0")))
    texts = (
        *(text + b" " * 1000, b" " + text, b"\xef\xbb\xbf" + text, text.decode("latin-1").encode("utf-16"), b"", b"{}"),
        *(text[:1] + again + b", " + text[1:], text[:-1] + b", " + again + b"}", text.replace(b'"', b"'")),
        *(text.replace(b'"%s": ' % key, again + b', "%s": ' % key, 1), text.replace(b"1", b"\xd9\xa1")),
    )
    return join(one(rng, texts), body)


def foreign(rng, data, other):
    heads = (b"", b"\x80\x04\x95", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"\x93NUMPY\x01\0", b"\x7fELF", b"{", b"\0" * 8)
    return one(rng, heads) + one(rng, (b"", data, data[8:], rng.bytes(200)))


OF_BYTES = (truncate, extend, flip_bits, overwrite, splice, header_length, header_text, foreign)
KINDS = [mutate.__name__ for mutate in OF_PARTS + OF_BYTES]


def mutated(seed, index, cases):
    """File number `index`: its generator, the case it was made from, the numbers of its mutations, its bytes."""
    rng = np.random.default_rng([seed, index])
    streams, checkpoints = cases
    case, other = one(rng, checkpoints if rng.random() < 0.2 else streams), one(rng, streams)
    kinds = sorted({int(kind) for kind in rng.integers(len(KINDS), size=one(rng, (1, 1, 1, 1, 2, 3)))})
    data = case.data
    if kinds[0] < len(OF_PARTS):
        file = File(data)
        for kind in kinds:
            if kind < len(OF_PARTS):
                OF_PARTS[kind](rng, file)
        data = file.joined()
    for kind in kinds:
        if kind >= len(OF_PARTS):
            data = OF_BYTES[kind - len(OF_PARTS)](rng, data, other.data)
    return rng, case, kinds, data


# ---- loading and using ----


def load(case, path, data, in_file):
    """Load a file, and resume from it if it was a checkpoint; the network, or None if it is refused."""
    if case.run is not None:
        path.write_bytes(data)
        with suppress(ValueError, FloatingPointError):
            train(case.run, path)
    if in_file:
        path.write_bytes(data)
    try:
        return lstm97.load(path) if in_file else network_from_bytes(data)
    except ValueError:
        return None


def use(net, rng):
    """Make some calls on a network, in random order."""
    topology, rate = net.topology, one(rng, (0.1, 5.0))
    n = max(2, min(20, 10**5 // (topology.n_inputs + topology.n_outputs)))
    inputs, targets = rng.uniform(-1, 1, (n, topology.n_inputs)), rng.uniform(0, 1, (n, topology.n_outputs))
    targets[:: one(rng, (2, 3))] = np.nan
    symbols = rng.integers(topology.n_inputs, size=n) if topology.n_inputs > 1 else inputs
    classes = rng.integers(-1, topology.n_outputs, size=n) if topology.n_outputs > 1 else targets
    record = ["cell_state"] * (topology.n_cells > 0) + [kind for kind in topology.units if kind != "output"]

    def correct():
        with suppress(RuntimeError):
            net.correct(targets[1], rate)

    calls = (
        *(correct, correct, lambda: net.state.partials, lambda: (net.state.cell_state, net.state.activations)),
        *(lambda: net.learn(inputs[0], None, rate), lambda: net.learn(inputs[1], targets[1], rate)),
        *(lambda: net.learn(symbols[0], None, rate), lambda: net.learn(symbols[1], classes[0], rate)),
        *(lambda: net.learn_run(inputs, targets, rate), lambda: net.learn_run(symbols, classes, rate)),
        *(lambda: net.step(symbols[0]), lambda: net.run(inputs, record), lambda: save_and_load(net)),
    )
    for i in rng.permutation(len(calls))[:8]:
        try:
            calls[i]()
        except FloatingPointError:
            net.reset()


def save_and_load(net):
    """Check that a network can be saved and loaded again."""
    try:
        again = network_from_bytes(network_to_bytes(net, True))
    except ValueError as error:
        raise AssertionError("its own file is refused") from error
    if network_to_bytes(again, False) != network_to_bytes(net, False):
        raise AssertionError("its own file has other weights, or another memory")


# ---- the run ----

OUTCOMES = ("refused", "loaded")


def main():
    options = fuzzing.command_line(__doc__, "files", 4000).parse_args()
    tally = fuzzing.Tally([*OUTCOMES, *KINDS], options.jobs)

    def make_work(folder):
        cases = corpus(folder)

        def work(index):
            rng, case, kinds, data = mutated(options.seed, index, cases)
            for kind in kinds:
                tally.add(KINDS[kind])
            try:
                net = load(case, folder / "file", data, index % 50 == 0)
                if net is not None:
                    use(net, rng)
            except Exception as error:
                error.found = {"mutations": [KINDS[kind] for kind in kinds]}
                raise
            tally.add("refused" if net is None else "loaded")

        return work

    fuzzing.main(
        options, "files", tally, make_work, lambda: tally.counts(OUTCOMES) | {"mutations": tally.counts(KINDS)}
    )


if __name__ == "__main__":
    main()
