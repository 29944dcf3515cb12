"""Many networks side by side: the bits of training each alone, in threads and with executors; failures."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
import warnings
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from interrupts import assert_usable_after_ctrl_c
from joblib.externals import loky
from many_cases import (
    CASES,
    REAL,
    assert_as_alone,
    generators,
    networks,
    reals,
    standing,
)
from waiting import HANGS, until

from lstm97 import RLS, Network, Sequences, Stop, Topology, executors, many, train, train_many
from lstm97.network import network_from_bytes
from lstm97.sequences import as_sequences


@pytest.fixture
def many_cpus(monkeypatch):
    monkeypatch.setattr(many, "available_cpus", lambda: 64)


@pytest.fixture
def any_work_is_worth_a_thread(monkeypatch, many_cpus):
    monkeypatch.setattr(many, "WORTH_A_THREAD", 0)


# ---- the same bits ----


@pytest.mark.usefixtures("any_work_is_worth_a_thread")
@pytest.mark.parametrize("threads", [1, 2, 3, 7, None])
@pytest.mark.parametrize("case", CASES)
def test_any_number_of_threads_gives_the_bits_of_training_alone(case, threads):
    assert_as_alone(case, threads=threads)


class Strict(Executor):
    """Runs tasks at once; accepts only functions that are found by name, and bytes, which any pickler can send."""

    def submit(self, function, /, *arguments, **options):
        assert not options
        assert getattr(sys.modules[function.__module__], function.__qualname__) is function
        assert {type(argument) for argument in arguments} == {bytes}
        future = Future()
        future.set_running_or_notify_cancel()
        try:
            result = function(*arguments)
            assert type(result) is bytes
            future.set_result(result)
        except Exception as error:
            future.set_exception(error)
        return future


EXECUTORS = {
    "strict": Strict,
    "threads": lambda: ThreadPoolExecutor(3),
    "processes": lambda: ProcessPoolExecutor(2, multiprocessing.get_context("spawn")),
    "loky": lambda: loky.ProcessPoolExecutor(2),
}


@pytest.mark.parametrize("kind", EXECUTORS)
def test_any_executor_gives_the_bits_of_training_alone_and_stays_open(kind):
    with EXECUTORS[kind]() as executor:
        for case in CASES:
            assert_as_alone(case, executor=executor)
        if kind != "strict":
            assert executor.submit(abs, -1).result() == 1


class Watched(Strict):
    """Keeps the tasks that it is sent."""

    def __init__(self):
        self.sent = []

    def submit(self, function, /, jobs, data):
        self.sent.append((jobs, data))
        return super().submit(function, jobs, data)

    def topologies(self):
        """The topologies of the networks of each task."""
        arrays = [many._unpack(jobs)[1].values() for jobs, _ in self.sent]
        return [[network_from_bytes(array.tobytes()).topology for array in each] for each in arrays]


def test_a_network_that_cannot_learn_so_is_refused_before_others_are_trained():
    nets = [Network(REAL), Network(REAL, readout=RLS())]
    before = nets[0].parameters
    with pytest.raises(ValueError, match="use update='step'"):
        train_many(nets, reals(5, 1), update="sequence")
    assert np.array_equal(nets[0].parameters, before)


def test_data_of_many_networks_are_one_object_for_the_executor():
    executor = Watched()
    train_many(networks(6), reals(10, 1), executor=executor)
    assert len({id(data) for _, data in executor.sent}) == 2  # one for each dtype
    assert len(executor.sent) == 6


@pytest.mark.parametrize(("n", "sizes"), [(32, [1] * 32), (33, [2] + [1] * 31), (100, [4] * 4 + [3] * 28)])
def test_many_networks_with_the_same_data_share_tasks(n, sizes):
    """Network 1 fails; the other networks of its task do not."""
    nets, alone = networks(n, dtypes=["float32"]), networks(n, dtypes=["float32"])
    for net in (nets[1], alone[1]):
        net.parameters = np.full(REAL.n_weights, 3e38)
    data, orders, drawn = reals(5, 1), generators(n), generators(n)
    executor = Watched()
    histories = train_many(nets, data, order=orders, executor=executor, return_exceptions=True)
    assert [len(task) for task in executor.topologies()] == sizes
    with pytest.raises(FloatingPointError) as caught:
        train(alone[1], *data, order=drawn[1])
    assert str(histories[1]) == f"in network 1: {caught.value}"
    for i in (*range(1), *range(2, n)):
        expected = standing(alone[i], train(alone[i], *data, order=drawn[i]), drawn[i])
        assert standing(nets[i], histories[i], orders[i]) == expected
    assert nets[1].parameters.tobytes() == alone[1].parameters.tobytes()


def test_tasks_are_made_one_by_one(monkeypatch):
    events = []

    class Noted(Strict):
        def submit(self, function, /, *arguments):
            events.append("sent")
            return super().submit(function, *arguments)

    for name in ("_jobs_to_bytes", "_data_to_bytes"):
        original = getattr(many, name)
        monkeypatch.setattr(many, name, lambda *each, of=original: events.append(of.__name__) or of(*each))
    data = reals(5, 1)
    train_many(networks(3, dtypes=["float64"]), [data, data, reals(5, 2)], executor=Noted())
    task = ["_jobs_to_bytes", "sent"]
    assert events == ["_data_to_bytes", *task, *task, "_data_to_bytes", *task]


SIZES = [Topology(2, 1, blocks=(size,), output="identity") for size in (8, 24, 16, 40)]


def test_the_longest_training_is_begun_first():
    nets = [Network(topology) for topology in SIZES]
    executor = Watched()
    train_many(nets, reals(5, 1), executor=executor)
    longest_first = [SIZES[3], SIZES[1], SIZES[2], SIZES[0]]
    assert executor.topologies() == [[topology] for topology in longest_first]
    executor = Watched()
    train_many(nets, [reals(100, 1), *[reals(2, 1)] * 3], executor=executor)  # network 0 has the most to learn
    assert executor.topologies() == [[topology] for topology in (SIZES[0], SIZES[3], SIZES[1], SIZES[2])]


def test_inputs_with_several_targets_are_packed_once(monkeypatch):
    packed = []

    def pack(inputs, layout):
        packed.append(inputs)
        return as_sequences(inputs, layout)

    monkeypatch.setattr(many, "as_sequences", pack)
    inputs, targets = reals(10, 1)
    nets, alone = networks(4), networks(4)
    data = [(inputs, targets * factor) for factor in (0.1, 0.2, 0.3, 0.4)]
    found = [standing(*pair) for pair in zip(nets, train_many(nets, data), strict=True)]
    assert len(packed) == 2  # for each dtype
    assert found == [standing(net, train(net, *pair)) for net, pair in zip(alone, data, strict=True)]


@pytest.mark.parametrize("executor", [None, Strict()])
def test_training_continues_the_histories(executor):
    nets, alone, data = networks(2), networks(2), reals(30, 4)
    stop = Stop(45, 9.0, 9.0)  # holds in the second epoch
    histories = train_many(nets, data, stop=stop, executor=executor)
    for net, one, history in zip(nets, alone, histories, strict=True):
        assert not history.stopped
        train(net, *data, stop=stop, history=history)
        assert history.stopped
        assert standing(net, history) == standing(one, train(one, *data, stop=stop, epochs=2))


def test_networks_that_differ_in_everything_share_data():
    inputs = Sequences.pack(reals(20, 1)[0])
    topologies = [
        Topology(2, 1, **units, output="identity") for units in ({}, {"blocks": (), "n_hidden": 3}, {"blocks": (4,)})
    ]
    nets, alone = ([Network(topology, seed=1) for topology in topologies] for _ in range(2))
    data = (inputs, reals(20, 1)[1])
    found = [standing(*pair) for pair in zip(nets, train_many(nets, data), strict=True)]
    assert found == [standing(net, train(net, *data)) for net in alone]


@pytest.mark.parametrize("executor", [None, Strict()])
def test_no_networks_are_no_histories(executor):
    assert train_many([], [], executor=executor) == []
    assert train_many(iter(()), reals(3, 1), executor=executor) == []
    with pytest.raises(ValueError, match="batch_size is 2, but with update='step' it must be 1"):
        train_many([], [], batch_size=2, executor=executor)


# ---- side by side ----


def watched(monkeypatch, before):
    """Let `before` be called in each thread that trains a network; returns the names of those threads."""
    names = []

    def train_after(net, *arguments, **options):
        if options["epochs"]:  # with 0 epochs, train_many only checks its arguments
            names.append(threading.current_thread().name)
            before(net)
        return train(net, *arguments, **options)

    monkeypatch.setattr(many, "train", train_after)
    return names


@pytest.mark.usefixtures("any_work_is_worth_a_thread")
def test_threads_train_side_by_side_and_begin_with_the_longest(monkeypatch):
    barrier = threading.Barrier(2, timeout=HANGS)  # it breaks unless two networks are trained at the same time
    begun = []

    def before(net):
        begun.append(net.topology)
        barrier.wait()

    names = watched(monkeypatch, before)
    train_many([Network(topology) for topology in SIZES], reals(5, 1), threads=2)
    assert set(begun[:2]) == {SIZES[1], SIZES[3]}
    assert len(names) == 4
    assert len(set(names)) == 2


@pytest.mark.usefixtures("any_work_is_worth_a_thread")
def test_there_are_never_more_threads_than_cpus(monkeypatch):
    names = watched(monkeypatch, lambda net: None)
    monkeypatch.setattr(many, "available_cpus", lambda: 1)
    train_many(networks(4), reals(5, 1), threads=1000)
    assert names == [threading.current_thread().name] * 4


@pytest.mark.usefixtures("many_cpus")
def test_too_little_work_takes_no_other_thread(monkeypatch):
    names = watched(monkeypatch, lambda net: None)
    train_many(networks(3), reals(5, 1), threads=3)
    train_many(networks(1), ([np.zeros((50_000, 2))], [[0.5]]), threads=3)
    assert names == [threading.current_thread().name] * 4
    train_many(networks(2), ([np.zeros((50_000, 2))], [[0.5]]), threads=3)
    assert threading.current_thread().name not in names[4:]


@pytest.mark.usefixtures("any_work_is_worth_a_thread")
def test_the_environment_sets_the_number_of_threads(monkeypatch):
    names = watched(monkeypatch, lambda net: None)
    monkeypatch.setenv("LSTM97_NUM_THREADS", "1")
    train_many(networks(4), reals(5, 1))
    assert set(names) == {threading.current_thread().name}
    monkeypatch.setenv("LSTM97_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="LSTM97_NUM_THREADS is 'many'"):
        train_many(networks(4), reals(5, 1))


# ---- failures ----

HERE_AND_THERE = {"alone": {"threads": 1}, "threads": {"threads": 3}, "executor": {"executor": Strict()}}


@pytest.mark.usefixtures("any_work_is_worth_a_thread")
@pytest.mark.parametrize("where", HERE_AND_THERE)
def test_networks_that_fail_do_not_stop_the_others(where):
    """The data of networks 1 and 3 overflow float32 late in the first epoch."""
    inputs, targets = reals(20, 1)
    large = targets.copy()
    large[15] = 1e30
    data = [(inputs, large if i in (1, 3) else targets) for i in range(5)]
    for return_exceptions in (False, True):
        nets, alone = networks(5, dtypes=["float32"]), networks(5, dtypes=["float32"])
        orders, drawn = generators(5), generators(5)
        messages = {}
        for i, net in enumerate(alone):
            try:
                train(net, *data[i], epochs=3, order=drawn[i])
            except FloatingPointError as error:
                messages[i] = f"in network {i}: {error}"
        assert list(messages) == [1, 3]
        how = {"epochs": 3, "order": orders, "return_exceptions": return_exceptions} | HERE_AND_THERE[where]
        if return_exceptions:
            found = train_many(nets, data, **how)
            assert {i: str(one) for i, one in enumerate(found) if isinstance(one, FloatingPointError)} == messages
            assert [one.epochs for one in found if not isinstance(one, FloatingPointError)] == [3, 3, 3]
        else:
            with pytest.raises(FloatingPointError) as caught:
                train_many(nets, data, **how)
            assert str(caught.value) == messages[1]
        for net, one, order, other in zip(nets, alone, orders, drawn, strict=True):
            assert net.parameters.tobytes() == one.parameters.tobytes()
            assert str(order.bit_generator.state) == str(other.bit_generator.state)


class OddGenerator(np.random.PCG64):
    """A bit generator that is not part of numpy.random."""


NET = Network(REAL)
GOOD = reals(3, 1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"nets": NET}, TypeError, r"nets is one Network, expected a list of them; pass \[net\]"),
        ({"nets": 5}, TypeError, "nets must be a list of Networks, got int"),
        ({"nets": [NET, "net"]}, TypeError, r"nets\[1\] must be a Network, got str"),
        ({"nets": [NET, Network(REAL), NET]}, ValueError, r"nets\[0\] and nets\[2\] are the same network"),
        ({"data": "data"}, TypeError, "data must be a tuple .* got str"),
        ({"data": [GOOD]}, ValueError, "data has 1 pairs but there are 2 networks; for the same data, pass one tuple"),
        ({"data": [GOOD, list(GOOD)]}, TypeError, "got list for network 1"),
        ({"data": (*GOOD, None)}, TypeError, "got a tuple of 3 for network 0"),
        ({"data": (GOOD[0], GOOD[1][1:])}, ValueError, "^targets has 2 sequences but inputs has 3"),
        ({"data": [GOOD, (GOOD[0], GOOD[1][1:])]}, ValueError, r"^in data\[1\]: targets has 2 sequences"),
        ({"data": [GOOD, (GOOD[0], "x")]}, TypeError, r"^in data\[1\]: targets must be an array"),
        ({"order": np.random.default_rng(1)}, ValueError, r"one Generator, and 2 .* order=generator.spawn\(2\)"),
        ({"order": generators(3)}, ValueError, "order has 3 generators but there are 2 networks"),
        ({"order": [*generators(1), 0]}, TypeError, r"order\[1\] must be a Generator as the others are, got int"),
        ({"order": generators(1) * 2}, ValueError, r"order\[0\] and order\[1\] draw from the same generator"),
        ({"order": [0, 3]}, ValueError, "order must hold sequence numbers from 0 to 2"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be positive"),
        ({"learning_rate": 1e300}, ValueError, "learning_rate is 1e[+]300, which float32 can't hold"),
        ({"update": "epoch"}, ValueError, "update must be"),
        ({"batch_size": 2}, ValueError, "batch_size is 2, but with update='step' it must be 1"),
        ({"epochs": -1}, ValueError, "epochs must be at least 0"),
        ({"stop": 3}, TypeError, "stop must be a Stop"),
        ({"threads": 0}, ValueError, "threads must be at least 1"),
        ({"executor": 4}, TypeError, "executor must be a concurrent.futures.Executor, got int"),
        ({"executor": Strict(), "threads": 2}, ValueError, "threads is 2, but an executor has the workers it has"),
        ({"return_exceptions": 1}, TypeError, "return_exceptions must be True or False, got 1"),
        (
            {"executor": Strict(), "order": [np.random.Generator(OddGenerator(i)) for i in range(2)]},
            ValueError,
            "a generator by OddGenerator, which is none of numpy.random's",
        ),
    ],
)
def test_wrong_arguments_are_refused_before_anything_changes(change, error, message):
    nets = networks(2)
    before = [net.parameters.tobytes() for net in nets]
    with pytest.raises(error, match=message):
        train_many(**{"nets": nets, "data": GOOD} | change)
    assert [net.parameters.tobytes() for net in nets] == before


class Waiting(Executor):
    """An executor that begins no task until `run` is called."""

    def __init__(self):
        self.calls = []
        self.full = threading.Semaphore(0)

    def submit(self, function, /, *arguments):
        future = Future()
        self.calls.append((future, function, arguments))
        self.full.release()
        return future

    def run(self, i):
        future, function, arguments = self.calls[i]
        assert future.set_running_or_notify_cancel()
        future.set_result(function(*arguments))


def test_networks_are_claimed_while_an_executor_has_them():
    nets, data, executor = networks(3), reals(5, 1), Waiting()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(train_many, nets, data, executor=executor)
        for _ in nets:
            executor.full.acquire()
        for net in nets:
            with pytest.raises(RuntimeError, match="this network is being trained by another thread"):
                train(net, *data)
        for i in range(3):
            executor.run(i)
        running.result()
    for net in nets:
        train(net, *data)


@pytest.mark.parametrize("how", ["lost", "cancelled", "interrupted"])
def test_the_error_of_a_broken_executor_names_the_trained_networks(how):
    nets, data, executor = networks(4, dtypes=["float64"]), reals(5, 1), Waiting()
    before = [net.parameters.tobytes() for net in nets]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(train_many, nets, data, executor=executor)
        for _ in nets:
            executor.full.acquire()
        executor.run(2)
        until(lambda: nets[2].parameters.tobytes() != before[2])  # until its results have come back
        if how == "cancelled":
            assert executor.calls[1][0].cancel()
            executor.calls[1][0].set_running_or_notify_cancel()
        else:
            error = {"lost": BrokenExecutor("all are gone"), "interrupted": KeyboardInterrupt()}[how]
            executor.calls[1][0].set_exception(error)
        with pytest.raises(BrokenExecutor if how != "interrupted" else KeyboardInterrupt) as caught:
            running.result()
    assert caught.value.__notes__ == ["1 of 4 networks are trained (2); the others are as they were"]
    assert str(caught.value) or how == "interrupted"
    after = [net.parameters.tobytes() for net in nets]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, True]
    train_many(nets, data)


@pytest.mark.usefixtures("any_work_is_worth_a_thread")
@pytest.mark.parametrize("where", HERE_AND_THERE)
def test_a_network_that_another_thread_trains_is_named(where):
    nets, data = networks(3), reals(5, 1)
    begun, go_on = threading.Event(), threading.Event()

    def wait(history):
        begun.set()
        assert go_on.wait(HANGS)

    before = [nets[i].parameters.tobytes() for i in (0, 2)]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(train, nets[1], *data, callback=wait)
        assert begun.wait(HANGS)
        try:
            with pytest.raises(RuntimeError, match="in network 1: this network is being trained by another thread"):
                train_many(nets, data, **HERE_AND_THERE[where])
        finally:
            go_on.set()
        running.result()
    assert [nets[i].parameters.tobytes() for i in (0, 2)] == before
    train_many(nets, data)


@pytest.mark.usefixtures("any_work_is_worth_a_thread")
@pytest.mark.parametrize("threads", [1, 2])
def test_networks_that_wait_for_their_turn_are_trained_by_no_other_thread(monkeypatch, threads):
    nets, data, refused, tried = networks(5), reals(5, 1), [], threading.Event()

    def before(net):
        if net is nets[0]:
            with ThreadPoolExecutor(1) as pool:
                refused.append(str(pool.submit(train, nets[4], *data).exception()))
            tried.set()
        assert tried.wait(HANGS)

    monkeypatch.setattr(many, "_longest_first", lambda work: range(len(work)))
    watched(monkeypatch, before)
    train_many(nets, data, threads=threads)
    assert refused == ["this network is being trained by another thread"]
    with ThreadPoolExecutor(1) as pool:
        for net in nets:
            pool.submit(train, net, *data).result()


# ---- warnings ----

FIVES = (reals(10, 1)[0], np.full((10, 1), 5.0))
LOGISTIC, IDENTITY = Topology(2, 1), REAL


def warnings_of(nets, data, **how):
    """The warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train_many(nets, data, **how)
    return [str(warning.message) for warning in caught]


@pytest.mark.usefixtures("any_work_is_worth_a_thread")
@pytest.mark.parametrize("where", HERE_AND_THERE)
@pytest.mark.parametrize("topologies", [(LOGISTIC, IDENTITY), (IDENTITY, LOGISTIC), (LOGISTIC, LOGISTIC)])
def test_the_targets_of_every_network_are_looked_at(topologies, where):
    nets = [Network(topology) for topology in topologies]
    (message,) = warnings_of(nets, FIVES, **HERE_AND_THERE[where])
    assert message.startswith("targets from 5 to 5 are out of reach of logistic outputs")
    assert warnings_of(nets, FIVES, **HERE_AND_THERE[where]) == []
    (message,) = warnings_of([nets[topologies.index(LOGISTIC)], Network(LOGISTIC)], FIVES, **HERE_AND_THERE[where])
    assert "out of reach" in message


def test_each_data_set_without_targets_is_found():
    inputs, targets = reals(10, 1)
    empty = np.full_like(targets, np.nan)
    assert warnings_of(networks(2), [(inputs, targets), (inputs, empty)]) == [
        "no target was found in targets, so nothing is learned"
    ]
    one = targets.copy()
    one[1:] = np.nan
    assert warnings_of(networks(2), (inputs, one), order=[1, 2]) == [
        "no target was found in targets, so nothing is learned"
    ]
    assert warnings_of(networks(2), (inputs, one), order=[0, 2]) == []
    assert warnings_of(networks(2), (inputs, one), order=np.empty(0, int)) == []


def test_a_call_that_is_refused_gives_no_warning():
    nets = [Network(LOGISTIC), Network(LOGISTIC, "float32")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"learning_rate is 1e[+]300, which float32 can't hold"):
            train_many(nets, FIVES, 1e300)
        with pytest.raises(ValueError, match="threads must be at least 1"):
            train_many(nets, FIVES, threads=0)
    assert len(warnings_of(nets, FIVES)) == 1


def test_an_interrupt_leaves_networks_that_have_not_come_back_as_they_were():
    nets, data, executor = networks(4, dtypes=["float64"]), reals(5, 1), Waiting()
    before = [net.parameters.tobytes() for net in nets]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(train_many, nets, data, executor=executor)
        for _ in nets:
            executor.full.acquire()
        executor.run(2)
        executor.calls[0][0].set_exception(KeyboardInterrupt("enough"))
        with pytest.raises(KeyboardInterrupt, match="enough"):
            running.result()
    assert [future.cancelled() for future, *_ in executor.calls] == [False, True, False, True]
    after = [net.parameters.tobytes() for net in nets]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, True]
    train_many(nets, data)


@pytest.mark.usefixtures("any_work_is_worth_a_thread")
def test_an_interrupt_begins_no_further_network_and_ends_those_in_threads(monkeypatch):
    """Network 0 would train without end; network 1 raises the interrupt."""
    nets = networks(8, dtypes=["float64"])
    begun, first, interrupted = [], threading.Event(), threading.Event()

    def before(net):
        begun.append(nets.index(net))
        if net is nets[0]:
            first.set()
        else:
            assert first.wait(HANGS)
            if interrupted.is_set():
                time.sleep(1)  # may begin before the first interrupt is handled, which takes a moment without a GIL
            interrupted.set()
            raise KeyboardInterrupt("enough")

    watched(monkeypatch, before)
    with pytest.raises(KeyboardInterrupt, match="enough"):
        train_many(nets, reals(5, 1), epochs=10**9, threads=2)
    assert {0, 1} <= set(begun)
    assert len(begun) < 8
    monkeypatch.undo()
    train_many(nets, reals(5, 1), executor=Strict())  # no claim is left
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_ctrl_c_ends_threads_in_the_middle_of_an_epoch_and_leaves_usable_networks():
    program = """
        import lstm97, numpy as np
        X, T = np.ones((1_000_000, 2)), np.ones((1_000_000, 1))
        nets = [lstm97.Network(lstm97.Topology(2, 1, blocks=(1,) * 300)) for _ in range(3)]
        print("ready", flush=True)
        try:
            lstm97.train_many(nets, ([X], [T]), learning_rate=1e-6, threads=2)  # uninterrupted it would run for minutes
        except KeyboardInterrupt:
            lstm97.train_many(nets, ([X[:3]], [T[:3]]), threads=2)
            print("usable" if all(np.isfinite(net.parameters).all() for net in nets) else "broken")
    """
    assert_usable_after_ctrl_c(program)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("any_work_is_worth_a_thread")
def test_errors_that_belong_to_no_network_are_not_changed(monkeypatch, threads):
    def before(net):
        raise RecursionError("too deep")

    watched(monkeypatch, before)
    with pytest.raises(RecursionError, match=r"^too deep$"):
        train_many(networks(2), reals(5, 1), threads=threads)


def test_workers_with_another_build_are_refused(monkeypatch):
    monkeypatch.setattr(many, "this_build", lambda: ["1.0", "v4", "x86_64"])
    monkeypatch.setattr(executors, "this_build", lambda: ["1.0", "baseline", "x86_64"])
    nets = networks(1)
    before = nets[0].parameters.tobytes()
    with pytest.raises(BrokenExecutor, match=r"^a worker has .* the build baseline on x86_64, this .* with v4 on"):
        train_many(nets, reals(3, 1), executor=Strict())
    assert nets[0].parameters.tobytes() == before
