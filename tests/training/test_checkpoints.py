"""Checkpoints of train: a killed run continues to the bits of an uninterrupted one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from make_golden_files import train_on_golden_data
from safetensors.numpy import save_file

import lstm97
from lstm97 import Checkpoint, History, Network, Stop, Topology, _format, train
from lstm97.checkpoints import Cursor

HERE = Path(__file__).parent
RNG = np.random.default_rng(0)
INPUTS = [RNG.uniform(-1, 1, (int(n), 2)) for n in RNG.integers(1, 30, 60)]
TARGETS = RNG.uniform(0, 1, (60, 1))

OPTIONS = {
    "step": {},
    "sequence": {"update": "sequence"},
    "batch": {"update": "sequence", "batch_size": 7},
    "stop": {"stop": Stop(window=25, mean_error=0.26, tolerance=1.0)},
    "order": {"order": [5, 3, 3, 0, 59, 7, 8, 9, 30, 31, 32]},
    "stop at an epoch's end": {"stop": Stop(window=120, mean_error=1.0, tolerance=1.0)},
}


class Killed(BaseException):
    """Raised in place of a kill; nothing catches it."""


def run(path, options, *, dtype="float64", kill_after=None, every=4, generator=None, epochs=3):
    """A run with a checkpoint every few sequences, killed after the save number `kill_after`, if given."""
    net = Network(Topology(2, 1), dtype=dtype, seed=1)
    history = History()
    order = {} if generator is None else {"order": np.random.Generator(generator(5))}
    arguments = {"learning_rate": 0.5, "epochs": epochs, "history": history, **options, **order}
    if path is not None:
        arguments["checkpoint"] = Checkpoint(path, sequences=every)
    saves = 0
    original = lstm97.checkpoints.write_whole

    def counted(*args):
        nonlocal saves
        original(*args)
        saves += 1
        if saves == kill_after:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lstm97.checkpoints, "write_whole", counted)
        try:
            train(net, INPUTS, TARGETS, **arguments)
        except Killed:
            return None
    return net.parameters, history


def assert_same(found, expected):
    assert np.array_equal(found[0], expected[0])
    a, b = found[1], expected[1]
    assert np.array_equal(a.errors, b.errors)
    for name in ("sequences", "steps", "epochs", "stopped"):
        assert getattr(a, name) == getattr(b, name), name


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_killed_after_any_save_gives_the_bits_of_an_uninterrupted_one(tmp_path, name, dtype):
    path = tmp_path / "run"
    expected = run(None, OPTIONS[name], dtype=dtype)
    if "stop" in name:
        assert expected[1].stopped
        assert (expected[1].sequences == 120) == (name != "stop")
        assert 25 < expected[1].sequences < 180
    found, n_runs = None, 0
    while found is None:
        found = run(path, OPTIONS[name], dtype=dtype, kill_after=1)
        n_runs += 1
    assert n_runs > 5
    assert_same(found, expected)


@pytest.mark.parametrize("generator", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_the_order_of_every_generator_continues(tmp_path, generator):
    bits = getattr(np.random, generator)
    expected = run(None, {}, generator=bits)
    path = tmp_path / "run"
    for kills in (2, 1, 5, 3, 1, 9):
        assert run(path, {}, generator=bits, kill_after=kills) is None
    assert_same(run(path, {}, generator=bits), expected)


def test_a_complete_run_is_not_run_again_but_continues_with_more_epochs(tmp_path):
    path = tmp_path / "run"
    first = run(path, {})
    saved = path.stat().st_mtime_ns
    again = run(path, {})
    assert_same(again, first)
    assert path.stat().st_mtime_ns == saved
    assert_same(run(path, {}, epochs=5), run(None, {}, epochs=5))


def test_a_run_ended_by_a_callback_continues_if_the_next_callback_lets_it(tmp_path):
    path = tmp_path / "run"
    callback = {"callback": lambda history: history.epochs == 2}
    ended = run(path, callback)
    assert ended[1].epochs == 2
    assert_same(run(path, callback), ended)
    unbroken = run(None, {})
    assert_same(run(path, {"callback": lambda history: history.epochs == 3}), unbroken)
    path.unlink()
    run(path, callback)
    assert_same(run(path, {}), unbroken)


def test_seconds(tmp_path):
    net = Network(Topology(2, 1), seed=1)
    seen = []
    path = tmp_path / "run"
    original = lstm97.checkpoints.write_whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lstm97.checkpoints, "write_whole", lambda *a: (seen.append(time.monotonic()), original(*a)))
        history = train(net, INPUTS, TARGETS, 0.1, epochs=4000, checkpoint=Checkpoint(path, seconds=0.05))
    alone = Network(Topology(2, 1), seed=1)
    expected = train(alone, INPUTS, TARGETS, 0.1, epochs=4000)
    assert np.array_equal(net.parameters, alone.parameters)
    assert np.array_equal(history.errors, expected.errors)
    assert len(seen) > 2
    assert np.diff(seen[:-1]).min() >= 0.05


def test_short_epochs_do_not_make_portions_grow(tmp_path):
    net = Network(Topology(2, 1), seed=1)
    cursor = Cursor(Checkpoint(tmp_path / "run", seconds=1000.0), net, None, None, {"n_sequences": 8}, History())
    cursor.begin()
    for _ in range(1000):
        assert cursor.portion(8, 1) <= 8
        cursor.advance(8)
    assert cursor._next_portion <= 16


def test_a_checkpoint_is_a_network_that_can_be_loaded(tmp_path):
    path = tmp_path / "run"
    found = run(path, {})
    assert np.array_equal(lstm97.load(path).parameters, found[0])


def test_a_path_that_cannot_be_written_is_refused_before_training(tmp_path):
    net = Network(Topology(2, 1), seed=9)
    weights = net.parameters
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        train(net, INPUTS, TARGETS, checkpoint=Checkpoint(tmp_path / "no" / "run"))
    assert np.array_equal(net.parameters, weights)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"learning_rate": 0.4}, "learning_rate"),
        ({"update": "sequence"}, "update"),
        ({"update": "sequence", "batch_size": 3}, "update, batch_size|batch_size, update"),
        ({"stop": Stop()}, "stop"),
        ({"order": [1, 2]}, "order"),
        ({"order": np.random.default_rng(0)}, "order"),
    ],
)
def test_another_run_is_refused_and_changes_nothing(tmp_path, changed, words):
    history = train(Network(Topology(2, 1)), INPUTS, TARGETS, stop=Stop(window=2, tolerance=9, mean_error=9))
    path = tmp_path / "run"
    run(path, {})
    before = path.read_bytes()
    net = Network(Topology(2, 1), seed=9)
    weights = net.parameters
    arguments = {"learning_rate": 0.5, "epochs": 3, "checkpoint": Checkpoint(path), **changed}
    with pytest.raises(ValueError, match=f"is the checkpoint of another run, which differs in ({words})"):
        train(net, INPUTS, TARGETS, history=history, **arguments)
    assert np.array_equal(net.parameters, weights)
    assert path.read_bytes() == before
    assert (history.stopped, history.sequences) == (True, 2)


def test_other_data_and_other_networks_are_refused(tmp_path):
    path = tmp_path / "run"
    run(path, {})
    here = Checkpoint(path)
    with pytest.raises(ValueError, match="differs in data"):
        train(Network(Topology(2, 1)), INPUTS, TARGETS + 1e-9, 0.5, checkpoint=here)
    with pytest.raises(ValueError, match="differs in topology"):
        train(Network(Topology(2, 1, blocks=(3,))), INPUTS, TARGETS, 0.5, checkpoint=here)
    with pytest.raises(ValueError, match=r"differs in .*dtype"):
        train(Network(Topology(2, 1), dtype="float32"), INPUTS, TARGETS, 0.5, checkpoint=here)
    Network(Topology(2, 1)).save(path)
    with pytest.raises(ValueError, match="has a network but no checkpoint of train"):
        train(Network(Topology(2, 1)), INPUTS, TARGETS, 0.5, checkpoint=here)


@pytest.mark.parametrize(
    ("generator", "change"),
    [
        ("MT19937", lambda state: state["state"].update(pos=10**9)),
        ("MT19937", lambda state: state["state"].update(pos=-1)),
        ("MT19937", lambda state: state["state"].update(key=[1, 2])),
        ("Philox", lambda state: state.update(buffer_pos=-(10**9))),
        ("Philox", lambda state: state.update(buffer=[])),
        ("PCG64", lambda state: state["state"].update(state="x")),
        ("PCG64", lambda state: state.update(bit_generator="MT19937")),
        ("SFC64", lambda state: state.pop("state")),
    ],
)
def test_hostile_states_of_generators_are_refused(tmp_path, generator, change):
    path, bits = tmp_path / "run", getattr(np.random, generator)
    run(path, {}, generator=bits, kill_after=1)
    contents = _format.read(path)
    numbers = json.loads(contents.metadata["training"])
    change(numbers["generator"])
    metadata = contents.metadata | {"training": json.dumps(numbers)}
    save_file(contents.tensors, path, metadata=metadata)
    order = np.random.Generator(bits(5))
    expected = np.random.Generator(bits(5)).random(3)
    with pytest.raises(ValueError, match="has no usable state of the generator"):
        train(Network(Topology(2, 1), seed=1), INPUTS, TARGETS, 0.5, order=order, checkpoint=Checkpoint(path))
    assert np.array_equal(order.random(3), expected)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"path": 3}, TypeError),
        ({"path": "x", "sequences": 0}, ValueError),
        ({"path": "x", "sequences": 1.5}, TypeError),
        ({"path": "x", "seconds": 0}, ValueError),
        ({"path": "x", "seconds": "1"}, TypeError),
    ],
)
def test_bad_arguments(arguments, error):
    with pytest.raises(error):
        Checkpoint(**arguments)
    with pytest.raises(TypeError, match="checkpoint must be a Checkpoint, got str"):
        train(Network(Topology(2, 1)), INPUTS, TARGETS, checkpoint="x")


# ---- checkpoints of other runs ----


def refused(path, net, words, **how):
    before = net.parameters, path.read_bytes()
    with pytest.raises(
        ValueError, match=f"is the checkpoint of another run, which differs in {words}; give another path"
    ):
        train(net, INPUTS, TARGETS, **({"epochs": 2, "checkpoint": Checkpoint(path)} | how))
    assert np.array_equal(net.parameters, before[0])
    assert path.read_bytes() == before[1]


def test_networks_and_generators_of_other_seeds_are_refused(tmp_path):
    path = tmp_path / "run"
    order = np.random.default_rng(1)
    train(Network(Topology(2, 1), seed=0), INPUTS, TARGETS, epochs=2, order=order, checkpoint=Checkpoint(path))
    refused(path, Network(Topology(2, 1), seed=1), "first weights", order=np.random.default_rng(1))
    refused(path, Network(Topology(2, 1), seed=0), "generator", order=np.random.default_rng(2))
    refused(path, Network(Topology(2, 1), seed=0), "learning_rate", order=np.random.default_rng(1), learning_rate=0.2)
    refused(path, Network(Topology(2, 1), seed=0), "order, generator", order=None)
    history = train(Network(Topology(2, 1)), INPUTS, TARGETS)
    refused(path, Network(Topology(2, 1)), "history", order=np.random.default_rng(1), history=history)
    generator = np.random.default_rng(2)
    refused(path, Network(Topology(2, 1), seed=0), "generator", order=generator)
    assert generator.bit_generator.state == np.random.default_rng(2).bit_generator.state


def test_the_same_objects_continue_after_an_end_an_interrupt_and_more_epochs(tmp_path):
    path, rate = tmp_path / "run", 0.5
    expected = run(None, {}, generator=np.random.PCG64, epochs=6)
    net, order, history = Network(Topology(2, 1), seed=1), np.random.Generator(np.random.PCG64(5)), History()
    how = {"learning_rate": rate, "order": order, "history": history, "checkpoint": Checkpoint(path, sequences=7)}
    train(net, INPUTS, TARGETS, epochs=2, **how)

    def interrupt(done):
        if done.epochs == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(net, INPUTS, TARGETS, epochs=6, callback=interrupt, **how)
    train(net, INPUTS, TARGETS, epochs=6, **how)
    assert_same((net.parameters, history), expected)


@pytest.mark.filterwarnings("ignore:targets from")
def test_after_an_overflow_another_learning_rate_is_taken_and_another_network_refused(tmp_path):
    path = tmp_path / "run"
    topology = Topology(2, 1, output="identity", output_squash="identity")
    X, T = INPUTS, np.full((len(INPUTS), 1), 0.5)

    def call(net, rate):
        return train(net, X, T, rate, epochs=3, checkpoint=Checkpoint(path, sequences=5))

    net = Network(topology)
    with pytest.raises(FloatingPointError, match="try a smaller learning_rate"):
        call(net, 1e200)
    with pytest.raises(ValueError, match="differs in first weights"):
        call(Network(topology, seed=1), 0.01)
    history = call(net, 0.01)  # the same object, as the overflow has left it
    assert (history.epochs, history.sequences) == (3, 3 * len(X))
    with pytest.raises(ValueError, match="differs in learning_rate"):
        call(Network(topology), 0.02)
    path.unlink()
    with pytest.raises(FloatingPointError):
        call(Network(topology), 1e200)
    again = Network(topology)  # as in a restarted program
    call(again, 0.01)
    assert np.isfinite(again.parameters).all()


@pytest.mark.parametrize("place", ["begins", "stands", "left"])
@pytest.mark.parametrize("value", [5, None, "x", []])
def test_a_file_with_a_damaged_description_of_its_run_is_refused(tmp_path, place, value):
    path = tmp_path / "run"
    train(Network(Topology(2, 1)), INPUTS, TARGETS, checkpoint=Checkpoint(path))
    contents = _format.read(path)
    numbers = json.loads(contents.metadata["training"])
    numbers["run"][place] = value
    save_file(contents.tensors, path, contents.metadata | {"training": json.dumps(numbers)})
    with pytest.raises(ValueError, match="is damaged: its record of how the run began"):
        train(Network(Topology(2, 1)), INPUTS, TARGETS, checkpoint=Checkpoint(path))


def test_refused_calls_move_no_generator_and_write_no_file(tmp_path):
    path = tmp_path / "run"
    for how in ({"learning_rate": 1e300}, {"learning_rate": -1}, {"batch_size": 3}, {"targets": TARGETS[1:]}):
        net, order = Network(Topology(2, 1), "float32"), np.random.default_rng(1)
        before = order.bit_generator.state
        arguments = {"targets": TARGETS, "order": order, "checkpoint": Checkpoint(path), **how}
        with pytest.raises(ValueError, match=r"."):
            train(net, INPUTS, **arguments)
        assert order.bit_generator.state == before
        assert not path.exists()


@pytest.mark.slow
@pytest.mark.parametrize("n_kills", [40])
def test_kills_at_any_instant(tmp_path, n_kills):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(HERE / "kill_training.py"), str(tmp_path), str(n_kills)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["same"] is True
    assert found["kills"] >= n_kills / 2  # otherwise the runs ended before they were killed
    assert found["distinct positions"] > found["kills"] / 4


def test_the_golden_checkpoint_of_every_format_can_be_resumed(tmp_path):
    for golden in sorted((HERE.parent / "golden").glob("format-*-checkpoint.safetensors")):
        (tmp_path / "run").write_bytes(golden.read_bytes())
        resumed = train_on_golden_data(tmp_path / "run", epochs=3)
        (tmp_path / "run").unlink()
        unbroken = train_on_golden_data(tmp_path / "run", epochs=3)
        assert resumed[1].sequences == unbroken[1].sequences == 12
        assert np.allclose(resumed[0].parameters, unbroken[0].parameters, rtol=1e-12, atol=1e-12)
        assert np.allclose(resumed[1].errors, unbroken[1].errors, rtol=1e-12, atol=1e-12)
