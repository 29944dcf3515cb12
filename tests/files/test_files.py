"""Files have the same bytes each time, other readers read them, and a save completes or changes nothing."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import numpy as safetensors
from waiting import HANGS

import lstm97
from lstm97 import Checkpoint, Network, Topology, _files, train
from lstm97.methods import BPTT, RecurrentTopology, load

ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
    hnp.arrays(st.sampled_from(list(_files.CODES)), hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)),
    max_size=6,
)
TEXTS = st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=4)


def read(data, limit=10**6):
    file = io.BytesIO(data)
    header = _files.read_header(file, len(data), "the data", limit)
    return header.metadata, _files.read_arrays(file, header, "the data")


def nested(levels):
    """A JSON text with this many levels, and brackets inside strings, which do not count."""
    text = json.dumps('[{"' * 50 + "\\")
    return "[" * (levels - 1) + f'{{"a": {text}, {text}: 0}}' + "]" * (levels - 1)


def test_texts_of_too_many_levels_are_refused():
    value = _files.decode(nested(_files.MOST_LEVELS))
    while isinstance(value, list):
        (value,) = value
    assert value == {"a": '[{"' * 50 + "\\", '[{"' * 50 + "\\": 0}
    for levels in (_files.MOST_LEVELS + 1, 100_000):
        with pytest.raises(ValueError, match="it is nested more than 20 levels deep"):
            _files.decode(nested(levels))
    wide = [[{}, [i]] for i in range(100)]
    assert _files.decode(json.dumps(wide)) == wide
    for broken in ("]" * 50 + "[" * 15, '"' + '\\"' * 500_000 + "[{" * 20, "[" * 15 + "\\" + "[]" * 50):
        with pytest.raises(json.JSONDecodeError):
            _files.decode(broken)


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_json_lacks_are_refused_on_demand(name):
    assert repr(_files.decode(f"[{name}]")[0]) == name.lower().replace("inity", "")
    with pytest.raises(ValueError, match=f"^{name} is no number$"):
        _files.decode(f"[{name}]", constants=False)


def test_a_full_stack_is_no_damage_of_the_file(tmp_path):
    path = tmp_path / "net"
    net = Network(Topology(2, 1, blocks=(2,)), seed=1)
    net.learn([0.1, 0.2], [0.3])
    net.save(path, state=True)
    limit = sys.getrecursionlimit()

    def load_below(frames):
        return lstm97.load(path) if frames == 0 else load_below(frames - 1)

    def is_loaded(frames):
        try:
            return load_below(frames).parameters.tobytes() == net.parameters.tobytes()
        except RecursionError:
            return False

    assert is_loaded(0)
    outcomes = [is_loaded(frames) for frames in range(limit - 150, limit)]
    assert set(outcomes) == {True, False}
    assert outcomes == sorted(outcomes, reverse=True)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


@given(arrays=ARRAYS, texts=TEXTS)
def test_files_are_read_again_and_also_by_safetensors(arrays, texts):
    data = _files.to_bytes(arrays, texts)
    metadata, found = read(data)
    assert metadata == texts
    assert_same(found, arrays)
    assert not any(array.flags.writeable for array in found.values())
    assert_same(safetensors.load(data), arrays)
    again = dict(reversed(arrays.items())), dict(reversed(texts.items()))
    assert _files.to_bytes(*again) == data
    assert int.from_bytes(data[:8], "little") % 8 == 0


@given(arrays=ARRAYS.filter(len), texts=TEXTS)
def test_files_that_safetensors_writes_are_read(arrays, texts):
    metadata, found = read(safetensors.save(arrays, texts))
    assert metadata == texts
    assert_same(found, arrays)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: h["a"].update(data_offsets=[0, 16]), "'a' is not where it should be"),
        (lambda h: h["a"].update(data_offsets=[8, 0]), "is not where it should be"),
        (lambda h: h["b"].update(data_offsets=[0, 16]), "is not where it should be"),
        (lambda h: h["b"].update(data_offsets=[16, 32]), "'b' is not where it should be"),
        (lambda h: h["a"].update(data_offsets=[0.0, 8.0]), "its header is damaged"),
        (lambda h: h["a"].update(data_offsets=[0, 8, 8]), "its header is damaged"),
        (lambda h: h["a"].update(data_offsets=None), "its header is damaged"),
        (lambda h: h["a"].pop("shape"), "its header is damaged"),
        (lambda h: h.update(a=[]), "its header is damaged"),
        (lambda h: h.update(__metadata__=[]), "its header is damaged"),
        (lambda h: h["__metadata__"].update(x=1), "its metadata are not texts"),
    ],
)
def test_headers_that_do_not_fit_are_refused(change, words):
    data = _files.to_bytes({"a": np.zeros(1), "b": np.ones(2)}, {})
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    change(header)
    text = json.dumps(header).encode()
    with pytest.raises(ValueError, match=words):
        read(len(text).to_bytes(8, "little") + text + data[8 + n :])


def test_a_name_that_comes_twice_is_refused():
    """Two readers could use different values."""
    text = b'{"__metadata__":{},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"__metadata__":{}}'
    with pytest.raises(ValueError, match="its header is damaged"):
        read(len(text).to_bytes(8, "little") + text)


# ---- the same bytes ----

PROGRAM = """
import hashlib, pickle, sys
import numpy as np, lstm97
from lstm97.methods import BPTT, RecurrentTopology

folder = sys.argv[1]
net = lstm97.Network(lstm97.Topology(3, 2, blocks=(2, 1), forget_gates=True), seed=3)
net.learn_run(np.linspace(-1, 1, 60).reshape(20, 3), np.linspace(0, 1, 40).reshape(20, 2), 0.1)
net.save(folder + "/net", state=True)
order = np.random.default_rng(3)
inputs = np.linspace(-1, 1, 36).reshape(3, 4, 3)
lstm97.train(net, inputs, np.eye(3, 2), 0.1, epochs=2, order=order, stop=lstm97.Stop(5, 0, 0))
learner = BPTT(RecurrentTopology(n_inputs=3, n_outputs=2, n_hidden=2), seed=1)
learner.save(folder + "/learner")
data = [open(folder + name, "rb").read() for name in ("/net", "/learner")]
print([hashlib.sha256(each).hexdigest() for each in (*data, pickle.dumps(net), pickle.dumps(learner))])
"""


def test_one_network_is_the_same_bytes_in_every_process(tmp_path):
    found = set()
    for seed in range(3):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path)]
        found.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1


@pytest.mark.parametrize("learn", [False, True])
def test_a_reset_stream_has_the_bytes_of_a_new_one_and_no_old_data(learn):
    new, net = Network(Topology(2, 1, forget_gates=True)), Network(Topology(2, 1, forget_gates=True))
    x = [0.123456, 0.654321]
    if learn:
        net.learn(x, None)
    else:
        net.step(x)
    net.reset()
    assert pickle.dumps(net) == pickle.dumps(new)
    assert np.float64(x[0]).tobytes() not in pickle.dumps(net)


def test_a_checkpoint_is_the_same_bytes_but_for_its_seconds(tmp_path):
    digests = set()
    for _ in range(3):
        net = Network(Topology(2, 1))
        train(net, np.ones((4, 3, 2)), np.ones((4, 1)), checkpoint=Checkpoint(tmp_path / "run"))
        data = (tmp_path / "run").read_bytes()
        n = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + n])
        training = json.loads(header["__metadata__"].pop("training"))
        assert training.pop("seconds") >= 0
        content = json.dumps([header, training]).encode() + data[8 + n :]
        digests.add(hashlib.sha256(content).hexdigest())
        (tmp_path / "run").unlink()
    assert len(digests) == 1


# ---- weights that could not be loaded are not saved ----


def test_weights_that_are_not_finite_are_not_saved_over_a_good_file(tmp_path):
    path = tmp_path / "net"
    net, learner = Network(Topology(3, 1)), BPTT(RecurrentTopology(n_inputs=3, n_outputs=1, n_hidden=2))
    for each, name in ((net, "cell"), (learner, next(iter(learner.weights)))):
        each.save(path)
        good = path.read_bytes()
        before = each.weights[name][0, 0]
        for value in (np.nan, np.inf):
            each.weights[name][0, 0] = value
            for call in (lambda each=each: each.save(path), lambda each=each: pickle.dumps(each)):
                with pytest.raises(ValueError, match="not all finite, and no file with such weights could be loaded"):
                    call()
            assert path.read_bytes() == good
        each.weights[name][0, 0] = before
        assert load(path).parameters.tobytes() == each.parameters.tobytes()


# ---- where files are written ----


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_files_that_others_have_open_are_not_replaced(tmp_path, path):
    """The paths are the system's names of open files, such as /dev/stdout, or links to them."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    program = f"""
        import lstm97, os
        os.chdir({str(tmp_path)!r})
        print("before", flush=True)
        try:
            lstm97.Network(lstm97.Topology(2, 1)).save({path!r})
        except OSError as error:
            print(error)
    """
    with open(tmp_path / "out", "w+") as out:
        subprocess.run([sys.executable, "-c", textwrap.dedent(program)], stdout=out, check=True)
    said = (tmp_path / "out").read_text().splitlines()
    assert said[0] == "before"
    assert "is not a regular file" in said[1]
    assert sorted(os.listdir(tmp_path)) == ["link", "out"]


def test_circular_links_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        Network(Topology(2, 1)).save(tmp_path / "a")


def test_a_folder_that_may_be_written_but_not_read(tmp_path, monkeypatch):
    """The refusal is simulated, as root may read any folder."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    folder.chmod(0o333)
    original = os.open

    def refuse(path, *arguments):
        if os.fspath(path) == os.fspath(folder):
            raise PermissionError(path)
        return original(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    net = Network(Topology(2, 1), seed=1)
    net.save(folder / "net")
    assert lstm97.load(folder / "net").parameters.tobytes() == net.parameters.tobytes()
    folder.chmod(0o700)


def test_temporary_files_of_killed_writers_are_removed(tmp_path):
    net, now = Network(Topology(2, 1)), time.time()
    kept = {".other.0123456789abcdef.tmp", ".net.tmp", ".net.xyz.tmp", ".net.00000000000000ff.tmp", "net"}
    for name in (".net.0123456789abcdef.tmp", ".net.fedcba9876543210.tmp", *sorted(kept)):
        (tmp_path / name).write_bytes(b"left")
        os.utime(tmp_path / name, (now - 1000, now - 1000))
    os.utime(tmp_path / ".net.00000000000000ff.tmp")  # so recent that its writer may still be alive
    net.save(tmp_path / "net")
    assert set(os.listdir(tmp_path)) == kept
    assert stat.S_IMODE((tmp_path / "net").stat().st_mode) & 0o600 == 0o600


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # files closed by their end alone
@pytest.mark.parametrize("n_signals", [100, pytest.param(3000, marks=pytest.mark.slow)])
def test_interrupted_saves_leave_no_descriptor_and_no_broken_file(tmp_path, n_signals):
    """A signal handler raises at random instants of saves."""
    net, path = Network(Topology(2, 1)), tmp_path / "net"
    begin = time.perf_counter()
    net.save(path)
    whole = time.perf_counter() - begin
    expected, descriptors = path.read_bytes(), set(os.listdir("/proc/self/fd"))
    rng, n_raised = np.random.default_rng(0), 0

    def handler(*_):
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(n_signals):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, whole))
                net.save(path)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except InterruptedError:
                n_raised += 1
            assert path.read_bytes() == expected
            assert set(os.listdir("/proc/self/fd")) == descriptors
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert n_raised > n_signals / 10
    net.learn([1, 2], [0.5])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # raised in garbage collection
@pytest.mark.parametrize("n_signals", [300, pytest.param(3000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("call", [lstm97.load, _files.sync_folder], ids=["load", "sync_folder"])
def test_interrupted_calls_on_files_leave_no_descriptor(tmp_path, call, n_signals):
    Network(Topology(2, 1)).save(tmp_path / "net")
    path = tmp_path / "net" if call is lstm97.load else tmp_path
    begin = time.perf_counter()
    call(path)
    whole = time.perf_counter() - begin
    descriptors = set(os.listdir("/proc/self/fd"))

    def handler(*_):
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for i in range(n_signals):
            with contextlib.suppress(InterruptedError):
                signal.setitimer(signal.ITIMER_REAL, 1e-6 + whole * (i % 100) / 100)
                call(path)
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    gc.collect()  # frees objects in frames that exceptions still hold
    assert set(os.listdir("/proc/self/fd")) == descriptors


# ---- without memory ----


def test_saving_and_loading_without_memory_is_a_memory_error(tmp_path):
    """With a little too little memory or with almost none: no hang, no abort, and the old file stays."""
    program = """
        import resource, sys
        import numpy as np, lstm97

        path, spare = sys.argv[1], int(sys.argv[2])
        net = lstm97.Network(lstm97.Topology(200, 10, blocks=(1,) * 600), dtype="float32")  # 6 MB of weights
        net.save(path)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + spare, -1))
        said = []
        for call in (lambda: net.save(path), lambda: net.save(path, state=True), lambda: lstm97.load(path)):
            try:
                call()
                said.append("done")
            except MemoryError:
                said.append("no memory")
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
        assert lstm97.load(path).parameters.tobytes() == net.parameters.tobytes()
        print(*said, sep=", ")
    """
    said = []
    for megabytes in range(0, 301, 25):
        arguments = [str(tmp_path / "net"), str(megabytes << 20)]
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS)
        assert done.returncode == 0, (megabytes, done.stderr)
        said.append(done.stdout)
    assert "no memory" in said[0]
    assert said[-1] == "done, done, done\n"
