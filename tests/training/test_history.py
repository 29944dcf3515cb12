"""Histories are read-only for users, are used by one training at a time, and can end it."""

from __future__ import annotations

import contextlib
import copy
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from waiting import until

import lstm97
from lstm97 import Checkpoint, History, Network, Stop, Topology, methods, train
from lstm97.methods import RTRL, RecurrentTopology

RNG = np.random.default_rng(0)
X, T = RNG.uniform(-1, 1, (50, 20, 2)), RNG.uniform(0, 1, (50, 1))
HOW = {
    "step": {},
    "sequence": {"update": "sequence"},
    "batch": {"update": "sequence", "batch_size": 16},
    "threads": {"update": "sequence", "batch_size": 16, "threads": 2},
    "hogwild": {"parallel": "hogwild", "threads": 2},
}


def test_its_numbers_cannot_be_assigned():
    history = train(Network(Topology(2, 1)), X, T)
    for name in ("sequences", "steps", "epochs", "stopped", "seconds", "errors"):
        with pytest.raises(AttributeError):
            setattr(history, name, -3)
    assert history.sequences == 50
    assert not history.errors.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        history.errors[0] = 0


def test_copies_and_pickles_are_independent():
    rule = Stop(window=70, tolerance=9, mean_error=9)
    net = Network(Topology(2, 1))
    history = train(net, X, T, stop=rule)
    for again in (copy.copy(history), copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        other = copy.copy(net)
        train(other, X, T, stop=rule, history=again)
        assert (again.sequences, again.stopped) == (70, True)
    assert history.sequences == 50
    twin, errors = copy.copy(history), history.errors.tobytes()
    train(net, X[:1], T[:1], history=history)  # allocates memory for more errors
    train(net, X[:1], 1 - T[:1], history=copy.copy(history))
    assert history.errors[:50].tobytes() == twin.errors.tobytes() == errors


@pytest.mark.parametrize(
    "net", [Network(Topology(2, 1)), RTRL(RecurrentTopology(n_inputs=2, n_outputs=1, n_hidden=2))], ids=["LSTM", "RTRL"]
)
def test_a_training_that_cannot_begin_changes_no_history(net, tmp_path):
    rule = Stop(window=5, tolerance=9, mean_error=9)
    history = methods.train(net, X, T, stop=rule)
    history.stop()
    cases = [({"stop": Stop(window=2**60)}, ValueError), ({"stop": Stop(window=2**45)}, MemoryError)]
    if isinstance(net, Network):
        cases.append(({"checkpoint": Checkpoint(tmp_path / "none" / "run")}, FileNotFoundError))
    for options, error in cases:
        with pytest.raises(error):
            methods.train(net, X, T, history=history, **options)
        assert history.stopped
        assert history._window.stop == rule
    assert methods.train(net, X, T, history=history).sequences == 5  # `stop` still applies


def test_one_training_at_a_time():
    history = History()
    nets = [Network(Topology(2, 1), seed=i) for i in range(2)]

    def second(_):
        with pytest.raises(RuntimeError, match="this history is in use by another training"):
            train(nets[1], X, T, history=history)
        learner = RTRL(RecurrentTopology(n_inputs=2, n_outputs=1, n_hidden=2))
        with pytest.raises(RuntimeError, match="this history is in use by another training"):
            learner.train(X, T, history=history)

    train(nets[0], X, T, history=history, callback=second)
    before = nets[1].parameters
    train(nets[1], X, T, history=history)
    assert history.sequences == 100
    assert not np.array_equal(nets[1].parameters, before)


def test_two_threads_with_one_history_both_finish():
    history = History()

    def work(seed):
        net, done = Network(Topology(2, 1), seed=seed), 0
        for _ in range(200):
            with contextlib.suppress(RuntimeError):
                train(net, X, T, history=history)
                done += 1
        return done

    with ThreadPoolExecutor(2) as pool:
        done = sum(pool.map(work, range(2)))
    assert history.sequences == done * 50 > 0
    assert history.epochs == done


@pytest.mark.parametrize("how", HOW)
def test_stop_ends_a_training_from_another_thread_after_whole_sequences(how):
    net, history = Network(Topology(2, 1)), History()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(train, net, X, T, epochs=10**9, history=history, **HOW[how])
        until(lambda: net._lock.any())
        time.sleep(0.05)
        history.stop()
        assert running.result() is history
    assert len(history.errors) == history.sequences
    assert not history.stopped
    if how != "hogwild":
        alone = Network(Topology(2, 1))
        epochs, rest = divmod(history.sequences, 50)
        order = np.r_[np.tile(np.arange(50), epochs), np.arange(rest)] if how == "step" else None
        if order is not None and len(order) < 500_000:
            train(alone, X, T, order=order)
            assert np.array_equal(net.parameters, alone.parameters)
        if "batch_size" in HOW[how]:
            assert rest % 16 == 0
    before = history.sequences
    train(net, X, T, history=history, **HOW[how])
    assert history.sequences == before + 50


def test_a_training_stopped_before_it_begins_does_nothing():
    net, history = Network(Topology(2, 1)), History()
    before = net.parameters
    history.stop()
    train(net, X, T, history=history)
    assert history.sequences == 0
    assert np.array_equal(net.parameters, before)
    train(net, X, T, history=history)
    assert history.sequences == 50


def test_a_stopped_run_continues_from_its_checkpoint_to_the_same_bits(tmp_path):
    def run(path, history, callback=None):
        net = Network(Topology(2, 1), seed=1)
        order = np.random.default_rng(4)
        checkpoint = None if path is None else Checkpoint(path, sequences=7)
        train(net, X, T, epochs=20, order=order, history=history, callback=callback, checkpoint=checkpoint)
        return net.parameters, history.errors

    expected = run(None, History())
    n_runs = 0
    while True:
        history = History()
        stopping = threading.Timer(0.005 * (1 + n_runs / 5), history.stop)  # later each time, so the run completes
        stopping.start()
        found = run(tmp_path / "run", history)
        stopping.cancel()
        stopping.join()
        n_runs += 1
        if history.epochs == 20:
            break
    assert n_runs > 1
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])


def test_a_callback_that_stops_the_history_ends_the_training():
    history = History()
    train(Network(Topology(2, 1)), X, T, epochs=9, history=history, callback=lambda h: h.stop())
    assert history.epochs == 1
    assert lstm97.History is History
