"""Several threads train one network: in batches, with the same bits for any number of threads, and by Hogwild."""

from __future__ import annotations

import _thread
import contextlib
import os
import subprocess
import sys
import textwrap
import threading
import time
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from topologies import cases, may_lack_targets, packed, random_inputs, random_targets
from waiting import HANGS, until

import lstm97
from lstm97 import Checkpoint, History, Network, Stop, Topology, _run, options, paper
from lstm97._kernel import layout, team
from lstm97.paper import tasks
from lstm97.paper.trials.runner import initial_network

pytestmark = may_lack_targets

ADDING = Topology(2, 1, blocks=(2, 2), bias="hidden")
EXPLOSIVE = Topology(2, 1, blocks=(1, 1), input_squash="identity")


@pytest.fixture
def shared():
    """Share even the least work among the requested number of threads, on any number of CPUs."""
    with (
        mock.patch.multiple(team, WORTH_SHARING=0),
        mock.patch.multiple(_run, WORTH_THREADS=-1),
        mock.patch.multiple(options, available_cpus=lambda: 64),
    ):
        yield


def n_threads():
    """The number of threads of this process, those of compiled code included."""
    return len(os.listdir("/proc/self/task"))


def outcome(topology, inputs, targets, *, dtype="float64", make=Network, **options):
    """The results of a training: weights, history, error."""
    net, history = make(topology, dtype=dtype, seed=4), History()
    options = {"learning_rate": 0.1, "update": "sequence", "history": history} | options
    try:
        lstm97.train(net, inputs, targets, **options)
        error = None
    except FloatingPointError as overflow:
        error = str(overflow)
    counts = history.sequences, history.steps, history.epochs, history.stopped
    return net.parameters.tobytes(), history.errors.tobytes(), counts, error


def exploding(topology, **options):
    """A network whose cell states grow by 5 % of the first input at every step."""
    net = Network(topology, **options)
    net.weights["input_gate"] = 0
    net.weights["cell"] = 0.1 * np.eye(*net.weights["cell"].shape)
    return net


# ---- batches ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(
    case=cases(),
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=40),
    size=st.integers(2, 40),
    threads=st.integers(2, 5),
    memory=st.sampled_from([0, 10**6]),
    most_units=st.sampled_from([-1, 10**6]),
)
def test_any_number_of_threads_gives_the_same_bits(dtype, case, lengths, size, threads, memory, most_units):
    rng = np.random.default_rng(case.seed)
    X = [random_inputs(case.topology, rng, n, case.symbols) for n in lengths]
    D = [random_targets(case.topology, rng, n, case.when, case.classes) for n in lengths]
    X, D = packed(X, case.symbols), packed(D, case.classes)
    found = []
    for n in (1, threads):
        with (
            mock.patch.multiple(layout, BATCH_BLOCK=5, TOGETHER=3, MOST_UNITS_ABREAST=most_units),
            mock.patch.multiple(team, WORTH_SHARING=0, SUMS_BYTES=memory),
            mock.patch.multiple(_run, WORTH_THREADS=-1),
            mock.patch.multiple(options, available_cpus=lambda: 64),
        ):
            rule = Stop(window=max(1, len(lengths) // 2), tolerance=0.5, mean_error=0.4, max_wrong=len(lengths))
            found.append(outcome(case.topology, X, D, dtype=dtype, batch_size=size, threads=n, epochs=2, stop=rule))
    assert found[0] == found[1]


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("batch_size", [16, 64, 400])
def test_the_same_bits_with_many_shares_and_a_large_network(batch_size):
    topology = Topology(20, 5, blocks=(2,) * 40, forget_gates=True, output="softmax")
    rng = np.random.default_rng(1)
    X = [rng.integers(20, size=n) for n in rng.integers(1, 60, 400)]
    D = [rng.integers(-1, 5, size=len(x)) for x in X]
    found = {n: outcome(topology, X, D, learning_rate=0.001, batch_size=batch_size, threads=n) for n in (1, 2, 7)}
    assert found[1] == found[2] == found[7]


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("bad", [3, 40, 61])
def test_an_overflow_is_the_same_for_any_number_of_threads(bad):
    rng = np.random.default_rng(2)
    X = [rng.uniform(-1, 1, (100, 2)) for _ in range(64)]
    D = rng.uniform(0, 1, (64, 1))
    X[bad][20:] = 1e308
    found = [outcome(EXPLOSIVE, X, D, make=exploding, learning_rate=1e-9, batch_size=16, threads=n) for n in (1, 2, 5)]
    assert "cell state overflowed" in found[0][3]
    assert f"of sequence {bad};" in found[0][3]
    assert found[0] == found[1] == found[2]


@pytest.mark.usefixtures("shared")
def test_a_weight_that_would_overflow_is_found_by_any_number_of_threads():
    topology = Topology(2, 1, blocks=(1, 1), output="identity")
    rng = np.random.default_rng(2)
    X, D = rng.uniform(-1, 1, (32, 9, 2)), np.full((32, 1), 1e308)
    found = [outcome(topology, X, D, learning_rate=1.0, batch_size=16, threads=n) for n in (1, 3)]
    assert "weight change is not finite" in found[0][3]
    assert found[0] == found[1]
    assert found[0][0] == Network(topology, seed=4).parameters.tobytes()


@pytest.mark.usefixtures("shared")
def test_a_checkpoint_continues_with_another_number_of_threads(tmp_path):
    rng = np.random.default_rng(3)
    X, D = rng.uniform(-1, 1, (100, 12, 2)), rng.uniform(0, 1, (100, 1))
    whole = outcome(ADDING, X, D, batch_size=16, epochs=3)
    path = tmp_path / "run.safetensors"
    options = {"batch_size": 16, "checkpoint": Checkpoint(path, sequences=32)}
    outcome(ADDING, X, D, epochs=1, threads=1, **options)
    assert outcome(ADDING, X, D, epochs=2, threads=3, **options) == outcome(ADDING, X, D, batch_size=16, epochs=2)
    assert outcome(ADDING, X, D, epochs=3, threads=2, **options) == whole


@pytest.mark.usefixtures("shared")
def test_training_works_with_fewer_threads_if_no_more_can_be_started():
    rng = np.random.default_rng(3)
    X, D = rng.uniform(-1, 1, (64, 12, 2)), rng.uniform(0, 1, (64, 1))

    def refuse(*_):
        raise RuntimeError("can't start new thread")

    with mock.patch.object(team, "start_new_thread", refuse):
        alone = outcome(ADDING, X, D, batch_size=16, threads=4)
    assert alone == outcome(ADDING, X, D, batch_size=16, threads=4)


def start_and_find_no_memory(*arguments):
    """Start a thread, then raise as CPython does if there is no memory for the thread's number."""
    _thread.start_new_thread(*arguments)
    raise MemoryError


def start_without_memory(function, arguments):
    """Start no thread and raise nothing, as if the new thread had no memory for its first frame."""


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("start", [start_and_find_no_memory, start_without_memory])
def test_threads_whose_start_failed_halfway_are_neither_left_nor_waited_for(start):
    X, D = np.ones((64, 12, 2)), np.ones((64, 1))
    before = set(os.listdir("/proc/self/task"))
    raised = pytest.raises(MemoryError) if start is start_and_find_no_memory else contextlib.nullcontext()
    with mock.patch.multiple(team, start_new_thread=start, LATE=0.1), raised:
        outcome(ADDING, X, D, batch_size=16, threads=3)
    until(lambda: set(os.listdir("/proc/self/task")) <= before)


def threads_started(**options):
    """How many threads a training starts."""
    rng = np.random.default_rng(0)
    X, D = rng.uniform(-1, 1, (400, 100, 2)), rng.uniform(0, 1, (400, 1))
    with mock.patch.object(team, "start_new_thread", side_effect=team.start_new_thread) as start:
        lstm97.train(Network(ADDING), X, D, **{"update": "sequence", "batch_size": 24, "epochs": 5, **options})
    return start.call_count


@pytest.mark.parametrize(
    ("options", "variable", "more"),
    [
        ({"threads": 3}, None, 2),
        ({}, None, 0),
        ({}, "3", 2),
        ({"threads": 1}, "3", 0),
        ({"threads": 2}, "3", 1),
        ({"threads": 64}, None, 2),  # a batch of 24 has three shares of a row of lanes
        ({"threads": 3, "batch_size": 8}, None, 0),
        ({"threads": 3, "update": "step", "batch_size": 1}, None, 0),
        ({"threads": 3, "update": "step", "batch_size": 1, "parallel": "hogwild"}, None, 2),
    ],
)
def test_the_number_of_threads_is_the_requested_one_up_to_the_number_of_parts(options, variable, more, monkeypatch):
    monkeypatch.setattr(lstm97.options, "available_cpus", lambda: 64)
    monkeypatch.delenv("LSTM97_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("LSTM97_NUM_THREADS", variable)
    assert threads_started(**options) == more


def test_no_more_threads_than_cpus_and_none_for_little_work(monkeypatch):
    monkeypatch.setattr(lstm97.options, "available_cpus", lambda: 2)
    assert threads_started(threads=8) == 1
    monkeypatch.setattr(_run, "WORTH_THREADS", 10**9)
    assert threads_started(threads=8) == 0


def test_show_config_has_the_default_number_of_threads(monkeypatch):
    monkeypatch.setenv("LSTM97_NUM_THREADS", "3")
    assert lstm97.show_config().threads == 3
    monkeypatch.delenv("LSTM97_NUM_THREADS")
    assert lstm97.show_config().threads == 1


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "2,2"])
def test_a_bad_number_of_threads_in_the_environment_is_refused(text, monkeypatch):
    monkeypatch.setenv("LSTM97_NUM_THREADS", text)
    with pytest.raises(ValueError, match=f"LSTM97_NUM_THREADS is '{text}'"):
        lstm97.train(Network(ADDING), np.zeros((1, 3, 2)), np.zeros((1, 1)))


def run(program):
    """Run a program that may fork while it has threads; its output."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=HANGS, check=True).stdout


def is_soon_true(condition):
    """Whether something becomes true within ten seconds."""
    for _ in range(1000):
        if condition():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("how", [{"batch_size": 16}, {"update": "step", "parallel": "hogwild"}])
def test_no_thread_is_left_after_a_training(how):
    rng = np.random.default_rng(3)
    X, D = rng.uniform(-1, 1, (64, 100, 2)), rng.uniform(0, 1, (64, 1))
    before = n_threads()

    def leave(_):
        raise LookupError

    with pytest.raises(LookupError):
        outcome(ADDING, X, D, threads=4, callback=leave, **how)
    assert outcome(ADDING, X, D, threads=4, stop=Stop(20, 9, 9), **how)[2][3]  # stopped
    X[50, 20:] = 1e308
    assert outcome(EXPLOSIVE, X, D, make=exploding, learning_rate=1e-9, threads=4, **how)[3]
    # The threads have ended their work; the system may need a moment to remove them.
    assert is_soon_true(lambda: n_threads() == before)


def test_helpers_do_work():
    rng = np.random.default_rng(0)
    X, D = rng.uniform(-1, 1, (160, 100, 8)), rng.uniform(0, 1, (160, 1))
    net = Network(Topology(8, 1, blocks=(1,) * 64))
    with mock.patch.object(options, "available_cpus", return_value=2):
        all_of_us, me = time.process_time(), time.thread_time()
        lstm97.train(net, X, D, 1e-3, update="sequence", batch_size=16, threads=2)
        all_of_us, me = time.process_time() - all_of_us, time.thread_time() - me
    # With two free CPUs helpers do half of the work. Even on busy ones, half of the first batch is shared.
    assert all_of_us - me > 0.02 * me


@pytest.mark.parametrize("how", [{"batch_size": 16}, {"update": "step", "parallel": "hogwild"}])
def test_another_python_thread_runs_during_training(how):
    rng = np.random.default_rng(0)
    X, D = rng.uniform(-1, 1, (32, 2000, 2)), rng.uniform(0, 1, (32, 1))
    net = Network(Topology(2, 1, blocks=(1,) * 60))
    count, done, usual = 0, threading.Event(), sys.getswitchinterval()

    def keep_counting():
        nonlocal count
        while not done.is_set():
            count += 1
            time.sleep(0)  # release the GIL

    sys.setswitchinterval(1000)  # a thread keeps the GIL until it releases it itself
    counter = threading.Thread(target=keep_counting)
    counter.start()
    try:
        before = count
        lstm97.train(net, X, D, 1e-3, **{"update": "sequence", "threads": 2, **how})
        during = count - before
    finally:
        done.set()
        sys.setswitchinterval(usual)
        counter.join()
    assert during > 200


@pytest.mark.parametrize("call", ["batch_size=64, update='sequence'", "parallel='hogwild'"])
def test_fork_after_use_and_use_in_the_child(call):
    program = f"""
        import os, sys, numpy as np, lstm97
        rng = np.random.default_rng(0)
        X, D = rng.uniform(-1, 1, (400, 100, 2)), rng.uniform(0, 1, (400, 1))
        def go():
            net = lstm97.Network(lstm97.Topology(2, 1))
            history = lstm97.train(net, X, D, 0.01, threads=2, epochs=10, {call})
            return history.sequences == 4000 and np.isfinite(net.parameters).all()
        ok = go()
        child = os.fork()
        if child == 0:
            sys.exit(0 if go() else 1)
        ok = ok and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and go()
        print("ok" if ok else "not ok")
    """
    assert run(program) == "ok\n"


def test_fork_in_a_callback_ends_normally_in_the_child():
    program = """
        import os, sys, numpy as np, lstm97
        rng = np.random.default_rng(0)
        X, D = rng.uniform(-1, 1, (1600, 100, 2)), rng.uniform(0, 1, (1600, 1))
        children = []
        def fork(history):
            children.append(os.fork())
            if children[-1] == 0:
                sys.exit(5)
        lstm97.train(lstm97.Network(lstm97.Topology(2, 1)), X, D, 0.01, update="sequence", batch_size=16, threads=2,
                     epochs=3, callback=fork)
        print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
    """
    assert run(program) == "[5, 5, 5]\n"


# ---- Hogwild ----


def adding_data(n, lag=100, seed=1):
    return tasks.adding(np.random.default_rng(seed), n, lag)


def wrong_after_hogwild(experiment, seed):
    """Train by Hogwild until the stop rule holds; how many of 1000 new sequences the network then gets wrong."""
    net, history, rng = initial_network(experiment, seed=seed), History(), np.random.default_rng(7)
    with mock.patch.object(options, "available_cpus", return_value=2):
        while not history.stopped and history.sequences < 400_000:
            X, D = tasks.adding(rng, 10_000, 100)
            lstm97.train(
                net, X, D, experiment.learning_rate, parallel="hogwild", threads=2, stop=Stop(), history=history
            )
    assert history.stopped
    X, D = adding_data(1000, seed=2)
    return sum(int(abs(y[-1, 0] - d[0]) > 0.04) for y, d in zip(lstm97.predict(net, X), D, strict=True))


def test_hogwild_learns_the_adding_problem():
    experiment = paper.reading_of("adding", paper.CLOSEST).apply(paper.experiment("adding", 100, paper.LITERAL))
    # If the system suspends a thread between reading and writing a weight, the thread then undoes the other's changes,
    # sometimes just before the end. Most networks get no sequence wrong, one in a hundred gets 10 or more wrong.
    assert np.median([wrong_after_hogwild(experiment, seed) for seed in range(1, 6)]) < 20


@pytest.mark.usefixtures("shared")
def test_hogwild_counts_everything_once():
    X, D = adding_data(500, lag=30)
    net = Network(ADDING, seed=1)
    history = lstm97.train(net, X, D, 0.1, parallel="hogwild", threads=4, epochs=3)
    assert (history.sequences, history.epochs) == (1500, 3)
    assert history.steps == 3 * X.n_steps
    assert np.isfinite(history.errors).all()
    assert np.isfinite(net.parameters).all()


@pytest.mark.usefixtures("shared")
def test_hogwild_with_one_thread_is_ordinary_training():
    X, D = adding_data(200, lag=20)
    rule = Stop(window=120, tolerance=10, mean_error=10)
    ordinary = outcome(ADDING, X, D, update="step", stop=rule)
    assert outcome(ADDING, X, D, update="step", stop=rule, parallel="hogwild", threads=1) == ordinary


@pytest.mark.usefixtures("shared")
def test_hogwild_stops_soon_after_the_rule_holds():
    X, D = adding_data(500, lag=20)
    history = lstm97.train(
        Network(ADDING), X, D, 0.1, parallel="hogwild", threads=3, stop=Stop(window=100, tolerance=10, mean_error=10)
    )
    assert history.stopped
    assert 100 <= history.sequences <= 102  # sequences of the other threads were under way


@pytest.mark.usefixtures("shared")
def test_hogwild_raises_after_an_overflow():
    rng = np.random.default_rng(2)
    X = [rng.uniform(-1, 1, (100, 2)) for _ in range(64)]
    X[50][20:] = 1e308
    net = exploding(EXPLOSIVE)
    with pytest.raises(FloatingPointError, match=r"cell state overflowed at step \d+ of sequence 50;"):
        lstm97.train(net, X, np.zeros((64, 1)), 1e-9, parallel="hogwild", threads=3)
    assert np.isfinite(net.parameters).all()


@pytest.mark.usefixtures("shared")
def test_hogwild_continues_from_its_own_checkpoints_only(tmp_path):
    X, D = adding_data(100, lag=20)
    path = Checkpoint(tmp_path / "run.safetensors", sequences=30)
    options = {"parallel": "hogwild", "threads": 2, "checkpoint": path}
    lstm97.train(Network(ADDING), X, D, 0.1, **options)
    history = lstm97.train(Network(ADDING), X, D, 0.1, epochs=2, **options)
    assert (history.sequences, history.epochs) == (200, 2)
    with pytest.raises(ValueError, match="differs in parallel"):
        lstm97.train(Network(ADDING), X, D, 0.1, epochs=3, checkpoint=path)


def test_hogwild_needs_changes_by_the_step():
    with pytest.raises(ValueError, match="update='step'"):
        lstm97.train(Network(ADDING), *adding_data(3), parallel="hogwild", update="sequence")
    with pytest.raises(ValueError, match="'batch' or 'hogwild', got 'yes'"):
        lstm97.train(Network(ADDING), *adding_data(3), parallel="yes")
