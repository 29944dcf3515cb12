"""Threads: other threads run during a long call, misuse is refused, Ctrl-C ends the call."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from interrupts import assert_usable_after_ctrl_c
from topologies import may_lack_targets

import lstm97
from lstm97 import Network, Topology

pytestmark = may_lack_targets

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
    assert during > 1000  # if the call held the GIL, the thread could only count during one switch interval at each end


def while_running(call, meanwhile, learner=None):
    """Call ``meanwhile`` repeatedly while ``call`` runs in another thread; returns its results and exceptions.

    If the network `learner` is given, the first call waits until it is being trained.
    """
    results, errors = [], []
    begun = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: (begun.set(), call()))
        begun.wait()
        time.sleep(0.1)  # so that the long call comes first, and is not refused itself
        while learner is not None and not learner._lock.any() and not running.done():
            time.sleep(0.001)
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
        _, errors = while_running(long_calls(net, state)[name], meanwhile, net)
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
    before, other = net.state.cell_state, net.new_state()
    for reset in (net.reset, net.state.reset, lambda: net.reset(net.state)):
        fresh = Network(LARGE)
        net.parameters = fresh.parameters
        _, errors = while_running(lambda: lstm97.train(net, [LONG], [targets], 1e-3), reset, net)
        assert set(errors) == {"this network is being trained by another thread"}
    assert np.array_equal(net.state.cell_state, before)
    lstm97.train(alone, [LONG], [targets], 1e-3)
    assert np.array_equal(net.parameters, alone.parameters)
    net.reset()
    # A state of another stream may be reset during training.
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
        _, errors = while_running(long_calls(net, net.new_state())[name], meanwhile, net)
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


def test_no_other_call_comes_between_the_portions_of_a_training(tmp_path):
    net, alone = Network(Topology(2, 1)), Network(Topology(2, 1))
    rng = np.random.default_rng(0)
    inputs, targets = rng.uniform(-1, 1, (20_000, 20, 2)), rng.uniform(0, 1, (20_000, 1))
    state, learned = net.new_state(), []
    checkpoint = lstm97.Checkpoint(tmp_path / "run", sequences=500)
    with ThreadPoolExecutor(1) as pool:
        begun = threading.Event()
        call = partial(lstm97.train, net, inputs, targets, 0.1, checkpoint=checkpoint, callback=lambda _: False)
        running = pool.submit(lambda: (begun.set(), call()))
        begun.wait()
        while not (tmp_path / "run").exists():  # until training has begun
            pass
        while not running.done():
            try:
                net.learn([1, 1], [1], state=state)
                learned.append(running.done())
            except RuntimeError:
                pass
        running.result()
    assert all(learned)  # no call of `learn` failed; the last ones may have come after the training
    lstm97.train(alone, inputs, targets, 0.1)
    if not learned:
        assert np.array_equal(net.parameters, alone.parameters)


def test_a_callback_may_use_the_network_that_is_trained(tmp_path):
    net = Network(Topology(2, 1))
    rng = np.random.default_rng(0)
    done = []

    def look(history):
        net.save(tmp_path / "net", state=True)
        net.reset()
        net.learn([1, 1], None)
        net.parameters = net.parameters
        done.append(history.epochs)

    lstm97.train(net, rng.uniform(-1, 1, (5, 3, 2)), rng.uniform(0, 1, (5, 1)), epochs=3, callback=look)
    assert done == [1, 2, 3]


def test_inference_learning_and_saving_under_stress(tmp_path):
    net = Network(Topology(2, 1, forget_gates=True), init_range=1)
    streams = np.random.default_rng(0).normal(size=(200, 60, 2))
    # Inference whose results are compared needs a network that is not trained meanwhile.
    still = pickle.loads(pickle.dumps(net))
    expected = [still.run(x, state=still.new_state()) for x in streams]
    over, refused, saved = threading.Event(), [], []

    def keep_learning():
        state = net.new_state()
        while not over.is_set():
            try:
                net.learn([0.1, 0.2], [0.3], 0.01, state=state)
            except RuntimeError as error:
                refused.append(str(error))

    def keep_saving():
        while not over.is_set():
            try:
                saved.append(pickle.loads(pickle.dumps(net)).parameters)
            except RuntimeError as error:
                refused.append(str(error))

    def step_by_step(i):
        own, other = still.new_state(), net.new_state()
        outputs = []
        for x in streams[i]:
            outputs.append(still.step(x, state=own))
            assert np.isfinite(net.step(x, state=other)).all()
        return np.array(outputs)

    with ThreadPoolExecutor(8) as pool:
        others = [pool.submit(keep_learning), pool.submit(keep_saving)]
        try:
            found = list(pool.map(step_by_step, range(200)))
        finally:
            over.set()
        for other in others:
            other.result()
    assert np.array_equal(found, expected)
    assert all(np.isfinite(parameters).all() for parameters in saved)
    assert saved
    assert set(refused) <= {
        "this network is being saved or copied by another thread",
        "this network is being trained by another thread",
    }


def test_inference_on_many_states_from_many_threads_is_right():
    net = Network(Topology(2, 1, blocks=(8,) * 4), init_range=1)
    streams = np.random.default_rng(0).normal(size=(40, 500, 2))
    expected = [net.run(x, state=net.new_state()) for x in streams]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: net.run(x, state=net.new_state()), streams))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    "call",
    [
        "lstm97.train(net, [X], [T], learning_rate=1e-6)",
        "lstm97.train(net, [X], [T], learning_rate=1e-6, update='sequence')",
        "lstm97.train(net, [X] * 4, [T] * 4, learning_rate=1e-6, update='sequence', batch_size=3)",
        "lstm97.train(net, [X] * 8, [T] * 8, learning_rate=1e-6, update='sequence', batch_size=8, threads=2)",
        "lstm97.train(net, [X] * 4, [T] * 4, learning_rate=1e-6, parallel='hogwild', threads=2)",
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
    assert_usable_after_ctrl_c(program)


def at_once(n_threads, n_calls, call):
    """Each thread i makes call(i) n_calls times; returns the number of successes, and messages of RuntimeErrors."""
    start = threading.Barrier(n_threads)

    def keep_calling(i):
        done, refused = 0, set()
        start.wait()
        for _ in range(n_calls):
            try:
                call(i)
                done += 1
            except RuntimeError as error:
                refused.add(str(error))
        return done, refused

    with ThreadPoolExecutor(n_threads) as pool:
        done, refused = zip(*pool.map(keep_calling, range(n_threads)), strict=True)
    return sum(done), set().union(*refused)


# The tests below make single small steps, which keep the GIL: they only run at the same time without a GIL.


def learner_of(net, states):
    """A call(i) for `at_once`: the same small step on states[i], with arrays of its own."""
    t = net.topology
    arrays = [(np.full(t.n_inputs, 0.1), np.full(t.n_outputs, 0.3), np.empty(t.n_outputs)) for _ in states]

    def learn(i):
        x, target, out = arrays[i]
        net.learn(x, target, 0.01, state=states[i], out=out)

    return learn


def test_many_threads_that_learn_on_one_state_give_the_weights_of_one():
    net, alone = Network(Topology(2, 1)), Network(Topology(2, 1))
    n_done, refused = at_once(4, 30_000, learner_of(net, [net.state] * 4))
    assert n_done
    assert refused <= {"this state is in use by another thread; give each thread its own: new_state()"}
    for _ in range(n_done):
        learner_of(alone, [alone.state])(0)
    assert np.array_equal(net.parameters, alone.parameters)
    assert np.array_equal(net.step([0.1, 0.1]), alone.step([0.1, 0.1]))


def test_many_threads_that_learn_on_states_of_their_own_change_the_weights_one_at_a_time():
    topology = Topology(2, 8, blocks=(), n_hidden=16, recurrent=False)  # changes of weights do not depend on a state
    net, alone = Network(topology), Network(topology)
    n_done, refused = at_once(4, 30_000, learner_of(net, [net.new_state() for _ in range(4)]))
    assert n_done
    assert refused <= {"this network is being trained by another thread"}
    for _ in range(n_done):
        learner_of(alone, [alone.state])(0)
    assert np.array_equal(net.parameters, alone.parameters)


def test_claims_of_many_threads_are_all_given_back():
    net = Network(Topology(2, 1))
    states = [net.state] + [net.new_state() for _ in range(2)]
    users = [0] * len(states)

    def bind(i):
        engine = states[i]._engine
        engine.bind(learns=True)
        users[i] += 1
        assert users[i] == 1
        users[i] -= 1
        engine.unbind(learns=True)

    binds = [partial(bind, i) for i in (0, 0, 1, 2)]
    others = [partial(net.learn, [0.1, 0.1], [0.3], 0.01, state=state) for state in states]
    others += [net.reset, net.with_block, partial(lstm97.train, net, [[[0.1, 0.1]]], [[0.3]], 0.01)]
    for calls, n_calls in ((binds, 20_000), (binds + others, 300)):
        n_done, _ = at_once(len(calls), n_calls, lambda i, calls=calls: calls[i]())
        assert n_done
        assert not net._lock.any()
        for state in states:
            net.learn([0.1, 0.1], [0.3], 0.01, state=state)
