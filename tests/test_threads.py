"""Threads: others go on during a long call, misuse is refused, Ctrl-C ends it."""

from __future__ import annotations

import copy
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import lstm97
from lstm97 import Network, Topology

LARGE = Topology(2, 1, blocks=(1,) * 100, output="identity")
LONG = np.full((60_000, 2), 0.5)  # with LARGE a third of a second or more


def long_calls(net, state):
    nothing = np.full((len(LONG), 1), np.nan)
    return {
        "run": lambda: net.run(LONG, state=state),
        "learn_run": lambda: net.learn_run(LONG, None, state=state),
        "train": lambda: lstm97.train(net, [LONG], [nothing]),
        "predict": lambda: lstm97.predict(net, [LONG]),
    }


@pytest.mark.parametrize("name", ["run", "learn_run", "train", "predict"])
def test_another_python_thread_makes_progress_during_a_long_call(name):
    net = Network(LARGE)
    call = long_calls(net, net.new_state())[name]
    count, done = 0, threading.Event()

    def keep_counting():
        nonlocal count
        while not done.is_set():
            count += 1

    counter = threading.Thread(target=keep_counting)
    counter.start()
    try:
        before = count
        call()
        during = count - before
    finally:
        done.set()
        counter.join()
    assert during > 1000  # with the GIL held it would be one switch interval's worth at either end, at the most


def while_running(call, meanwhile):
    """Call ``meanwhile`` again and again while ``call`` runs in another thread; its results and exceptions."""
    results, errors = [], []
    begun = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: (begun.set(), call()))
        begun.wait()
        time.sleep(0.1)  # else ours might be the first call, and the long one refused
        while not running.done():
            try:
                results.append(meanwhile())
            except RuntimeError as error:
                errors.append(str(error))
            time.sleep(0.01)
        running.result()
    return results, errors


@pytest.mark.parametrize("name", ["learn_run", "train"])
def test_training_one_network_twice_is_refused(name):
    net = Network(LARGE)
    state, other = net.new_state(), net.new_state()
    for meanwhile in (
        lambda: net.learn([1, 1], [1], state=other),
        lambda: lstm97.train(net, [LONG[:1]], [[1.0]]),
        lambda: setattr(net, "parameters", np.zeros(LARGE.n_weights)),
    ):
        _, errors = while_running(long_calls(net, state)[name], meanwhile)
        assert errors
        assert set(errors) == {"this network is being trained by another thread"}
    assert np.isfinite(net.learn([1, 1], [1], state=other)).all()


@pytest.mark.parametrize("name", ["run", "learn_run"])
def test_two_threads_on_one_state_are_refused(name):
    net = Network(LARGE)
    state = net.new_state()
    alone = long_calls(net, net.new_state())["run"]()
    for meanwhile in (lambda: net.step([1, 1], state=state), state.reset, lambda: net.learn([1, 1], None, state=state)):
        state.reset()
        _, errors = while_running(long_calls(net, state)[name], meanwhile)
        assert any("state is in use by another thread" in error for error in errors)
    state.reset()
    assert np.array_equal(net.run(LONG, state=state), alone)


def test_resetting_during_train_is_refused_and_changes_nothing():
    net, alone = Network(LARGE), Network(LARGE)
    targets = np.full((len(LONG), 1), np.nan)
    targets[::1000] = 0.5
    net.step([1, 1])
    before = net.state.cell_state
    other = net.new_state()
    _, errors = while_running(lambda: lstm97.train(net, [LONG], [targets], 1e-3), net.reset)
    assert set(errors) == {"this network is being trained by another thread"}
    assert np.array_equal(net.state.cell_state, before)
    lstm97.train(alone, [LONG], [targets], 1e-3)
    assert np.array_equal(net.parameters, alone.parameters)
    net.reset()
    # A state that other streams use is theirs to reset, whoever trains.
    done, errors = while_running(
        lambda: lstm97.train(net, [LONG], [targets], 1e-3), lambda: (net.step([1, 1], state=other), net.reset(other))
    )
    assert done
    assert not errors


@pytest.mark.parametrize("name", ["learn_run", "train"])
def test_a_network_that_learns_is_not_saved_or_grown_or_copied_half_way(name, tmp_path):
    net = Network(LARGE)
    for meanwhile in (
        lambda: net.save(tmp_path / "net"),
        lambda: net.save(tmp_path / "net", state=True),
        lambda: net.with_block(),
        lambda: copy.copy(net),
    ):
        _, errors = while_running(long_calls(net, net.new_state())[name], meanwhile)
        assert set(errors) == {"this network is being trained by another thread"}
    assert not (tmp_path / "net").exists()
    net.save(tmp_path / "net")


def test_a_state_in_use_is_not_saved_but_the_weights_may_be(tmp_path):
    net = Network(LARGE)
    stream = net.new_state()
    for meanwhile in (lambda: net.save(tmp_path / "net", state=stream), lambda: copy.copy(stream)):
        _, errors = while_running(long_calls(net, stream)["run"], meanwhile)
        assert errors
        assert all("state is in use by another thread" in error for error in errors)
    done, errors = while_running(long_calls(net, stream)["run"], lambda: net.save(tmp_path / "net") or True)
    assert done
    assert not errors


def test_inference_on_many_states_from_many_threads_is_right():
    net = Network(Topology(2, 1, blocks=(8,) * 4), init_range=1)
    streams = np.random.default_rng(0).normal(size=(40, 500, 2))
    expected = lstm97.predict(net, streams)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: net.run(x, state=net.new_state()), streams))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    "call",
    [
        "lstm97.train(net, [X], [T], learning_rate=1e-6)",
        "lstm97.train(net, [X], [T], learning_rate=1e-6, update='sequence')",
        "lstm97.train(net, [X] * 4, [T] * 4, learning_rate=1e-6, update='sequence', batch_size=3)",
        "lstm97.train(net, [X[:5]], [T[:5]], learning_rate=1e-6, epochs=10**9)",
        "net.learn_run(X, T, 1e-6)",
        "net.run(X)",
    ],
)
def test_ctrl_c_ends_a_long_call_and_leaves_a_usable_network(call):
    program = f"""
        import lstm97, numpy as np
        X, T = np.ones((1_000_000, 2)), np.ones((1_000_000, 1))
        net = lstm97.Network(lstm97.Topology(2, 1, blocks=(1,) * 300))  # uninterrupted it would run for minutes
        print("ready", flush=True)
        try:
            {call}
        except KeyboardInterrupt:
            net.reset()
            y = net.learn(X[0], T[0])
            lstm97.train(net, [X[:3]], [T[:3]])
            print("usable" if np.isfinite(net.parameters).all() and np.isfinite(y).all() else "broken")
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.5)  # it is in the call by now
        child.send_signal(signal.SIGINT)
        try:
            said, _ = child.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
            raise
    assert said == "usable\n"
