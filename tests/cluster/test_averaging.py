"""Averaging over a Dask cluster gives the bits of a plain loop, on any workers, and even if workers are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import dask
import numpy as np
import pytest
from distributed import CancelledError, Client, Future, LocalCluster
from distributed import wait as await_all
from pages import ALL_CORES, FOR_A_CLUSTER, blocks
from topologies import may_lack_targets
from waiting import HANGS

import lstm97
from lstm97 import RLS, SGD, Adam, Network, RMSprop, Scaling, Topology
from lstm97.cluster import averaging
from lstm97.cluster.averaging import Round, train_averaged
from lstm97.network import network_from_bytes

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # worker processes can't import this file

pytestmark = [pytest.mark.xdist_group("cluster"), may_lack_targets]

TOPOLOGY = Topology(2, 1, blocks=(2, 1))
SIZES = (7, 0, 12, 3, 1, 0, 9, 5, 4, 8, 6)  # more parts than one task averages


def load(i, n):
    rng = np.random.default_rng([i, n])
    return rng.uniform(-1, 1, (n, 5, 2)), rng.uniform(0, 1, (n, 1))


def cluster_of(**how):
    return LocalCluster(threads_per_worker=1, dashboard_address="127.0.0.1:0", **how)


@pytest.fixture(scope="module")
def client():
    """Two workers, threads of this process."""
    with cluster_of(n_workers=2, processes=False) as cluster, Client(cluster) as client:
        yield client


@pytest.fixture
def processes():
    """Two workers, each a process that is restarted when it dies.

    New for each test: where a worker has died, a LocalCluster sometimes loses count of its workers (KeyError in its
    `_update_worker_status`), and what waits for them waits for ever.
    """
    with cluster_of(n_workers=2, host="127.0.0.1") as cluster, Client(cluster) as client:
        yield client


def loaded(client, sizes=SIZES):
    return [client.submit(load, i, n, pure=False) for i, n in enumerate(sizes)]


def network(dtype="float64"):
    return Network(TOPOLOGY, dtype=dtype, seed=3)


def averaged(client, rounds=3, sizes=SIZES, **how):
    """The bytes of a network's weights after some rounds."""
    net = network()
    train_averaged(client, net, loaded(client, sizes), rounds=rounds, **how)
    return net.parameters.tobytes()


def running_mean(pairs):
    pairs = [(weights, n) for weights, n in pairs if n]
    if not pairs:
        return None, 0
    mean, total = pairs[0]
    mean = mean.astype(np.float64)
    for weights, n in pairs[1:]:
        total += n
        mean = mean + (weights - mean) * (n / total)
    return mean, total


def tree_mean(pairs):
    while len(pairs) > 1:
        pairs = [running_mean(pairs[i : i + 8]) for i in range(0, len(pairs), 8)]
    return pairs[0][0]


def by_hand(net, sizes, learning_rate, *, rounds, passes=1, shuffle=None, **how):
    """The same training on one machine: each round takes the next slice of every part's presentation."""
    presentations = []
    for i, n in enumerate(sizes):
        orders = [
            np.arange(n)
            if shuffle is None
            else np.random.default_rng(np.random.SeedSequence(shuffle, spawn_key=(k, i))).permutation(n)
            for k in range(int(rounds * passes) + 1)
        ]
        presentations.append(np.concatenate(orders))
    counts, errors = [], []
    for number in range(rounds):
        begin, results, errors_now = net.parameters, [], []
        for i, n in enumerate(sizes):
            order = presentations[i][round(number * passes * n) : round((number + 1) * passes * n)]
            if len(order):
                net.parameters = begin
                history = lstm97.train(net, *load(i, n), learning_rate, order=order, **how)
                errors_now.extend(history.errors)
            results.append((net.parameters, len(order)))
        net.parameters = tree_mean(results)
        counts.append(len(errors_now))
        errors.append(np.mean(errors_now))
    return counts, errors


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"passes": 0.3},
        {"passes": 2.5, "shuffle": 7},
        {"shuffle": 0, "update": "sequence", "batch_size": 4},
    ],
)
def test_a_round_is_plain_training_of_every_part_and_the_mean(client, dtype, how):
    net, expected = network(dtype), network(dtype)
    rounds = train_averaged(client, net, loaded(client), 0.4, rounds=4, **how)
    counts, errors = by_hand(expected, SIZES, 0.4, rounds=4, **how)
    assert net.parameters.tobytes() == expected.parameters.tobytes()
    assert [done.number for done in rounds] == [0, 1, 2, 3]
    assert [done.sequences for done in rounds] == counts
    np.testing.assert_allclose([done.error for done in rounds], errors, rtol=1e-12)
    assert all(done.seconds > 0 for done in rounds)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_one_part_is_plain_training(client, dtype):
    net, expected = network(dtype), network(dtype)
    train_averaged(client, net, loaded(client, [13]), rounds=3)
    lstm97.train(expected, *load(0, 13), epochs=3)
    assert net.parameters.tobytes() == expected.parameters.tobytes()


def test_a_bound_needs_no_memory(client):
    nets = [Network(TOPOLOGY, optimizer=SGD(bound=0.01)) for _ in range(2)]
    train_averaged(client, nets[0], loaded(client, [13]), rounds=3)
    lstm97.train(nets[1], *load(0, 13), epochs=3)
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()
    assert nets[0].parameters.tobytes() != network().parameters.tobytes()


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        *(("optimizer", rule) for rule in (SGD(momentum=0.5), RMSprop(), Adam(bound=1))),
        *(("readout", RLS()), ("scaling", Scaling())),
    ],
)
def test_a_network_that_keeps_more_than_weights_is_refused(client, name, setting):
    net = Network(Topology(2, 1, output="identity"), **{name: setting})
    with pytest.raises(ValueError, match=rf"the network has {name}={type(setting).__name__}\(.*only weights"):
        train_averaged(client, net, loaded(client), rounds=1)


def test_equal_results_have_themselves_as_their_mean():
    weights = np.array([0.1, -0.7, 1e300, 5e-324])
    results = [averaging._Result(weights, n, 0.5, n) for n in (3, 0, 7, 1)]
    mean, *rest = averaging._mean(results)
    assert mean.tobytes() == weights.tobytes()
    assert rest == [11, 2.0, 11]


def test_any_number_of_workers_gives_the_same_bits(client, processes):
    expected = averaged(client, passes=0.7, shuffle=2)
    with cluster_of(n_workers=1, processes=False) as cluster, Client(cluster) as alone:
        assert averaged(alone, passes=0.7, shuffle=2) == expected
    assert averaged(processes, passes=0.7, shuffle=2) == expected


def test_two_calls_give_the_weights_of_one(client):
    how = {"passes": 0.4, "shuffle": 5}
    parts, net = loaded(client), network()
    first = train_averaged(client, net, parts, rounds=2, **how)
    second = train_averaged(client, net, parts, rounds=3, first_round=first[-1].number + 1, **how)
    assert [done.number for done in first + second] == [0, 1, 2, 3, 4]
    assert net.parameters.tobytes() == averaged(client, 5, **how)
    assert net.parameters.tobytes() != averaged(client, 5, passes=0.4, shuffle=6)


def test_no_rounds_change_nothing(client):
    assert averaged(client, 0) == network().parameters.tobytes()


def test_delayed_parts_are_made_by_the_cluster_once(client, tmp_path):
    def noted(i, n):
        with open(tmp_path / "loaded", "a") as file:
            file.write(f"{i}\n")
        return load(i, n)

    net = network()
    train_averaged(client, net, [dask.delayed(noted)(i, n) for i, n in enumerate(SIZES)], rounds=3)
    assert net.parameters.tobytes() == averaged(client)
    assert sorted(map(int, (tmp_path / "loaded").read_text().split())) == list(range(len(SIZES)))


def test_sequences_of_any_form_and_steps_without_targets(client):
    inputs, targets = load(0, 6)
    each = np.full((6, 5, 1), np.nan)
    each[:4, -1] = targets[:4]
    parts = client.scatter([(list(inputs), each), ([], []), (lstm97.Sequences.pack(inputs), list(each))])
    net, expected = network(), network()
    (done,) = train_averaged(client, net, parts, rounds=1)
    history = lstm97.train(expected, inputs, each)
    assert net.parameters.tobytes() == expected.parameters.tobytes()  # both parts are equal, and so is their mean
    assert done.sequences == 12
    assert done.error == pytest.approx(np.nanmean(history.errors), rel=1e-12)
    nothing = client.submit(lambda: (inputs, np.full((6, 5, 1), np.nan)))
    (done,) = train_averaged(client, net, [nothing], rounds=1)
    assert np.isnan(done.error)


# ---- data that are sent ----------------------------------------------------------------------------------------------


def plain(value):
    """Whether a value is bytes, numbers, text, containers of these, or a future."""
    if isinstance(value, (list, tuple, range)):
        return all(map(plain, value))
    return value is None or isinstance(value, (bytes, int, float, str, Future))


def test_only_bytes_and_plain_values_are_sent(client, monkeypatch):
    calls, gathered = [], []

    def watch(name):
        original = getattr(Client, name)

        def call(self, *args, **options):
            if name == "gather":
                gathered.append(original(self, *args, **options))
                return gathered[-1]
            calls.append((name, args, options))
            return original(self, *args, **options)

        monkeypatch.setattr(Client, name, call)

    net, parts = network(), loaded(client)
    for name in ("submit", "map", "gather", "scatter", "compute"):
        watch(name)
    train_averaged(client, net, parts, rounds=1)
    functions = [args[0] for _, args, _ in calls]
    assert functions == [bytes, averaging._train_part, averaging._mean, averaging._mean]
    for _, (_, *args), options in calls:
        assert all(map(plain, args))
        assert all(map(plain, options.values()))
    (_, (_, sent), _), *_ = calls
    assert type(sent) is bytes
    assert np.array_equal(network_from_bytes(sent).parameters, network().parameters)
    assert len(SIZES) > averaging.FAN_IN  # so that there are two levels of means
    ((result,),) = gathered  # one vector of weights and three numbers are sent to the client
    assert [type(value) for value in result] == [np.ndarray, int, float, int]
    assert result[0].nbytes == 8 * TOPOLOGY.n_weights


def test_importing_the_module_imports_no_dask():
    code = "import sys, lstm97.cluster.averaging; print({'dask', 'distributed'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_a_missing_package_is_named(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs the package distributed: pip install distributed"):
        train_averaged(client, network(), [], rounds=1)


# ---- failures --------------------------------------------------------------------------------------------------------


class Watched:
    """A part that does something when it is trained for the second time."""

    def __init__(self, pair, folder, does):
        self.pair, self.folder, self.does = pair, folder, does

    def __iter__(self):
        with open(self.folder / "looks", "a+") as file:
            file.write("x")
            n = file.tell()
        if n == 2:
            self.does(self.folder)
        return iter(self.pair)


def noted_load(i, n, folder):
    with open(folder / "loads", "a") as file:
        file.write(f"{i} ")
    pair = load(i, n)
    return Watched(pair, folder, lambda _: os.kill(os.getpid(), signal.SIGKILL)) if i == 2 else pair


def test_a_killed_worker_changes_no_bit(client, processes, tmp_path):
    parts = [processes.submit(noted_load, i, n, tmp_path) for i, n in enumerate(SIZES)]
    await_all(parts, timeout=HANGS)
    net = network()
    train_averaged(processes, net, parts, rounds=3, shuffle=1)
    # Part 2 was trained in three rounds, and once when its worker was killed. Which parts were made again depends on
    # where Dask had put them and their copies.
    assert len((tmp_path / "looks").read_text()) > 3
    assert {int(i) for i in (tmp_path / "loads").read_text().split()} == set(range(len(SIZES)))
    assert net.parameters.tobytes() == averaged(client, shuffle=1)


def test_the_error_names_scattered_parts_of_a_lost_worker(processes):
    pids = processes.run(os.getpid)
    victim, other = pids
    (lost,) = processes.scatter([load(1, 5)], workers=[victim])
    parts = [processes.submit(load, 0, 4, workers=[other]), lost]
    net, seen = network(), []

    def kill(done):
        seen.append(net.parameters)
        os.kill(pids[victim], signal.SIGKILL)

    with pytest.raises(RuntimeError, match=r"partitions \[1\] are lost in round 1: .* client\.submit\(load, path\)"):
        train_averaged(processes, net, parts, rounds=3, callback=kill)
    assert np.array_equal(net.parameters, seen[-1])
    assert len(seen) == 1


def test_parts_are_not_moved(client):
    places = list(client.ncores())
    parts = [client.submit(load, i, 20_000, workers=[place]) for i, place in enumerate(places)]
    train_averaged(client, network(), parts, rounds=3)
    found = {key: list(where) for key, where in client.who_has(parts).items()}
    assert found == {part.key: [place] for part, place in zip(parts, places, strict=True)}
    assert len(places) == 2


def wait(folder):
    (folder / "begun").touch()
    while not (folder / "go on").exists():
        time.sleep(0.01)


def test_ctrl_c_leaves_the_last_whole_round_and_no_tasks(client, tmp_path):
    def interrupt():
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    part = client.submit(lambda: Watched(load(0, 5), tmp_path, wait))
    net, done = network(), []
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            train_averaged(client, net, [part, *loaded(client)], rounds=3, callback=done.append)
    finally:
        (tmp_path / "go on").touch()
        thread.join()
    assert [one.number for one in done] == [0]
    again = network()
    train_averaged(client, again, loaded(client, [5, *SIZES]), rounds=0)
    parts = [client.submit(load, 0, 5), *loaded(client)]
    train_averaged(client, again, parts, rounds=1)
    assert net.parameters.tobytes() == again.parameters.tobytes()
    tasks = client.cluster.scheduler.tasks
    while any("_train_part" in str(key) or "_mean" in str(key) for key in list(tasks)):
        time.sleep(0.01)
    net.learn([1, 1], [1])  # the call no longer claims the network


def test_cancelled_tasks_end_the_call(client, tmp_path):
    def cancel():
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        client.cancel([Future(key, client) for key in list(client.futures) if "_mean" in str(key)])

    part = client.submit(lambda: Watched(load(0, 5), tmp_path, wait))
    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        with pytest.raises(CancelledError):
            train_averaged(client, network(), [part, *loaded(client)], rounds=3)
    finally:
        (tmp_path / "go on").touch()
        thread.join()


def test_an_overflow_names_part_and_round(client):
    inputs, targets = load(0, 5)
    parts = [*loaded(client, [3, 4]), client.submit(lambda: (inputs, targets * 1e300))]
    net, done = Network(Topology(2, 1, output="identity")), []
    with pytest.raises(FloatingPointError, match=r"partitions\[2\], in round 0: .* of sequence \d"):
        train_averaged(client, net, parts, rounds=2, callback=done.append)
    assert not done
    assert np.array_equal(net.parameters, Network(net.topology).parameters)
    net.learn([1, 1], [1])


@pytest.mark.parametrize(
    ("part", "error", "message"),
    [
        (lambda: 5, TypeError, r"partitions\[1\], in round 0: expected a pair \(inputs, targets\), got int"),
        (
            lambda: (np.full((1, 1, 2), np.nan), np.ones((1, 1))),
            ValueError,
            r"partitions\[1\].*inputs\[0\] contains NaN",
        ),
        (lambda: (np.ones((2, 1, 2)), np.ones((1, 1))), ValueError, r"partitions\[1\].*targets has 1 sequences"),
        (lambda: 1 / 0, ZeroDivisionError, "division by zero"),
    ],
)
def test_a_bad_part_is_named(client, part, error, message):
    net = network()
    with pytest.raises(error, match=message):
        train_averaged(client, net, [*loaded(client, [3]), client.submit(part, pure=False)], rounds=1)
    assert np.array_equal(net.parameters, network().parameters)


def test_no_parts_are_refused(client):
    for sizes, passes in (((0, 0), 1), ((1, 2), 0.1)):
        with pytest.raises(ValueError, match="nothing to train on in round 0: all partitions are empty, or passes"):
            train_averaged(client, network(), loaded(client, sizes), rounds=1, passes=passes)


def test_callback_sees_the_new_weights_and_can_end_training(client):
    net, seen = network(), []

    def look(done):
        assert isinstance(done, Round)
        seen.append(net.parameters.tobytes())
        net.reset()
        return done.number == 1

    rounds = train_averaged(client, net, loaded(client), rounds=5, callback=look)
    assert [done.number for done in rounds] == [0, 1]
    assert seen == [averaged(client, 1), averaged(client, 2)]


def test_another_training_of_the_network_is_refused_during_a_call(client):
    net, refused = network(), []

    def learn_elsewhere(_):
        with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError) as caught:
            pool.submit(net.learn, [1, 1], [1]).result()
        refused.append(str(caught.value))

    train_averaged(client, net, loaded(client), rounds=2, callback=learn_elsewhere)
    assert refused == ["this network is being trained by another thread"] * 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"client": "tcp://host:8786"}, TypeError, "client must be a distributed.Client, got str"),
        ({"net": TOPOLOGY}, TypeError, "net must be a Network, got Topology"),
        ({"partitions": []}, TypeError, r"partitions must be a list of at least one part, got \[\]"),
        ({"partitions": load(0, 1)[0]}, TypeError, "partitions must be a list of at least one part"),
        ({"partitions": [load(0, 1)]}, TypeError, r"partitions\[0\] is of type tuple, .* client\.submit\(load, path\)"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be positive"),
        ({"rounds": 1.5}, TypeError, "rounds must be an integer"),
        ({"rounds": -1}, ValueError, "rounds must be at least 0"),
        ({"first_round": -1}, ValueError, "first_round must be at least 0"),
        ({"passes": 0}, ValueError, "passes must be positive"),
        ({"shuffle": "yes"}, TypeError, "shuffle must be an integer"),
        ({"update": "epoch"}, ValueError, "update must be 'step' or 'sequence'"),
        ({"batch_size": 2}, ValueError, "batch_size is 2, but with update='step' it must be 1"),
        ({"callback": 3}, TypeError, "callback must be callable, got int"),
    ],
)
def test_misuse_is_refused_before_anything_happens(client, change, error, message):
    net = network()
    with pytest.raises(error, match=message):
        train_averaged(**{"client": client, "net": net, "partitions": loaded(client, [1]), "rounds": 1} | change)
    assert np.array_equal(net.parameters, network().parameters)


def test_other_clients_are_refused(client):
    with Client(client.cluster, set_as_default=False) as other, pytest.raises(ValueError, match="another client"):
        train_averaged(other, network(), loaded(client, [1]), rounds=1)


def test_clients_that_do_not_wait_are_refused(client):
    async def call():
        async with Client(client.cluster.scheduler_address, asynchronous=True, set_as_default=False) as waits_for_none:
            train_averaged(waits_for_none, network(), [], rounds=1)

    with pytest.raises(ValueError, match=r"client is asynchronous, .* asynchronous=False"):
        asyncio.run(call())


@pytest.mark.slow
def test_the_example_of_the_docs_runs(client):
    (code,) = [code for code in blocks("python", ALL_CORES) if FOR_A_CLUSTER in code]
    names = {"__name__": "__main__", "net": network(), "paths": range(2)}
    exec("import numpy as np\ndef load(i): return np.full((20, 5, 2), i / 2), np.full((20, 1), i / 2)\n", names)
    before = names["net"].parameters
    address = '"tcp://scheduler:8786"'
    assert address in code
    exec(code.replace(address, repr(client.cluster.scheduler_address)), names)
    names["client"].close()
    assert len(names["rounds"]) == 100
    assert (names["net"].parameters != before).any()
