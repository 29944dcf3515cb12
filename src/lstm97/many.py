"""Training many networks side by side: in threads of this process, or on any executor of `concurrent.futures`.

To an executor networks go as bytes, and come back as bytes, in the safetensors format: each network as its file, with
what it keeps for learning; JSON for options and counts.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import count
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm97.cluster.executors import check_build, give_up, this_build
from lstm97.extend import (
    advice_of,
    any_presented,
    available_cpus,
    check_rate,
    choose_cpu,
    claimed,
    decode,
    history_of,
    history_parts,
    interrupt,
    read_arrays,
    read_header,
    step_work,
    take_over,
    thread_count,
    to_bytes,
    usable_cpus,
)
from lstm97.history import History, Stop
from lstm97.network import Network, move_memory, network_from_bytes, network_to_bytes
from lstm97.optimizers import PLAIN
from lstm97.options import Options
from lstm97.sequences import Sequences, as_sequences, as_targets, presented
from lstm97.training import check_learning, train

Array = NDArray[Any]
Pair = tuple[object, object]
Order: TypeAlias = "NDArray[np.int64] | np.random.Generator | None"  # a text: numpy.random takes a while to import

WORTH_A_THREAD = 2_000_000
"""Weights that a step reads, with padding, times steps: with more work, another thread gains more than it costs.

Where that is with two threads was measured; a call has some tenths of a millisecond that no other thread can share.
"""

TASKS = 32
"""The most tasks that an executor gets of networks with the same data: it may send the data with each of them."""


class _Data(NamedTuple):
    """What networks with the same dtype and the same numbers of inputs and outputs are trained on: packed, checked."""

    inputs: Sequences
    targets: Array | Sequences
    order: NDArray[np.int64] | None
    n_steps: int
    """Of one epoch."""
    lacks_targets: bool
    """Whether there are sequences to train on, and none of them has a target."""


class _Job(NamedTuple):
    """One network and what it is trained on; those with the same data have the same object."""

    net: Network
    data: _Data
    generator: np.random.Generator | None

    @property
    def order(self) -> Order:
        """As for `train`."""
        return self.data.order if self.generator is None else self.generator

    @property
    def work(self) -> int:
        """Of one epoch: weights that a step reads, with padding, times steps."""
        return step_work(self.net, symbols=self.data.inputs.is_symbols) * self.data.n_steps


def train_many(
    nets: Iterable[Network],
    data: Pair | Sequence[Pair],
    learning_rate: float | None = None,
    *,
    update: Literal["step", "sequence"] = "step",
    epochs: int = 1,
    order: ArrayLike | np.random.Generator | Sequence[np.random.Generator] | None = None,
    stop: Stop | None = None,
    batch_size: int = 1,
    threads: int | None = None,
    executor: Executor | None = None,
    return_exceptions: bool = False,
) -> list[History]:
    """Train many networks side by side, each to the same bits as `train` alone would.

    Parameters
    ----------
    nets : iterable of Network
        Their weights change. They may differ in everything; none twice.
    data : tuple (inputs, targets), or list of such tuples
        What `train` takes as inputs and targets: one pair for all networks, or a list with a pair for each.
    learning_rate, update, epochs, stop, batch_size
        As for `train`, the same for all networks; without a learning rate, each has its own.
    order : array_like of int, or list of Generator, optional
        The same sequences in the same order for all networks, as for `train`; or a list with a generator for each,
        which draws its permutations.
    threads : int, optional
        How many threads of this process train, each one network at a time: by default as many as the environment
        variable ``LSTM97_NUM_THREADS`` says, else one for each CPU this process may use; never more than there are
        CPUs. Networks that take too little time for that are trained one after the other.
    executor : concurrent.futures.Executor, optional
        Where to train instead, such as a ProcessPoolExecutor, ``Client.get_executor(pure=False)`` of Dask or an
        MPIPoolExecutor; see `lstm97.executors.open_executor`. Stays open.
    return_exceptions : bool, default False
        Put the FloatingPointError of a network in the place of its history, instead of raising it.

    Returns
    -------
    list of History
        One for each network.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above. Nothing has changed then.
    FloatingPointError
        When all are done, of the first network with a cell state, output or weight that would not be finite, by its
        number. Its weights are those before the change that failed; the other networks are trained.
    RuntimeError
        If another thread trains, saves or copies one of the networks: nothing has changed then. (And the other way
        round: what waits here or is trained here cannot be trained elsewhere.) If the executor is broken
        (concurrent.futures.BrokenExecutor): its workers are lost, or have another version of lstm97 or another build of
        its loops than this process, or it has cancelled a task. A note on what is raised names the trained networks.

    Warns
    -----
    UserWarning
        Before any network is trained: if no sequence that is trained has a target; if outputs cannot reach the targets.
        Given once for each network, and once if several networks have the same one. There is no warning of saturated
        cells, which `train` would give.

    Notes
    -----
    When interrupted, no further network is begun. In threads, those under way end within a fraction of a second, with
    the changes made so far; on an executor they may go on for nothing, and networks that had not come back are as they
    were.

    An executor gets a function of this module and two bytes objects for each task: some networks, and their data. Most
    executors send all of that with every task, so networks with the same data and dtype make 32 tasks or fewer, of
    networks in a row: the data travel 32 times at the most. Where there are more workers than that, pass the data
    several times, as different tuples. In threads nothing is sent or copied. What takes longest is begun first.

    Without networks, data and order have nothing to be checked against.

    Examples
    --------
    >>> import numpy as np
    >>> inputs = np.random.default_rng(0).choice([-1.0, 1.0], (100, 10, 1))
    >>> topology = Topology(1, 1, blocks=(1,), output_squash="tanh", output="identity")
    >>> nets = [Network(topology, seed=seed) for seed in range(3)]
    >>> histories = train_many(nets, (inputs, inputs[:, 0]), learning_rate=0.1, epochs=2)
    >>> [history.sequences for history in histories]
    [200, 200, 200]
    """
    many = _networks(nets)
    if type(return_exceptions) is not bool:
        raise TypeError(f"return_exceptions must be True or False, got {return_exceptions!r}")
    rate = PLAIN.learning_rate if learning_rate is None else learning_rate
    checked = Options(rate, update, epochs, stop, batch_size, threads=1)
    options = {name: getattr(checked, name) for name in ("update", "epochs", "stop", "batch_size")}
    options["learning_rate"] = None if learning_rate is None else checked.constant_rate
    jobs = _jobs(many, data, order, checked)
    n_threads = 0
    if executor is None:
        n_threads = min(thread_count(threads, usable_cpus()), available_cpus(), len(jobs))
        if sum(job.work for job in jobs) * checked.epochs <= WORTH_A_THREAD * len(jobs):
            n_threads = 1
    else:
        _check_executor(executor, threads)
        for job in jobs:
            _check_generator(job.generator)
    with _claimed(many) as claims:
        _advise(jobs)
        with _quiet(many):
            if executor is None:
                done = _train_here(jobs, options, n_threads, claims)
            else:
                done = _train_there(jobs, options, executor)
    for i, outcome in enumerate(done):
        if isinstance(outcome, FloatingPointError):
            done[i] = FloatingPointError(f"in network {i}: {outcome}")
            if not return_exceptions:
                raise done[i] from outcome
    return done


# ---- arguments ----


def _networks(nets: Iterable[Network]) -> list[Network]:
    """The networks, all different."""
    if isinstance(nets, Network):
        raise TypeError("nets is one Network, expected a list of them; pass [net]")
    if not isinstance(nets, Iterable):
        raise TypeError(f"nets must be a list of Networks, got {type(nets).__name__}")
    many, numbers = list(nets), dict[int, int]()
    for i, net in enumerate(many):
        if not isinstance(net, Network):
            raise TypeError(f"nets[{i}] must be a Network, got {type(net).__name__}")
        if (first := numbers.setdefault(id(net), i)) != i:
            raise ValueError(f"nets[{first}] and nets[{i}] are the same network, which can't be trained twice at once")
    return many


def _jobs(nets: list[Network], data: Any, order: Any, options: Options) -> list[_Job]:
    """Each network with its data, which are packed once for all networks that can share them."""
    pairs = _pairs(data, len(nets))
    generators = _generators(order, len(nets))
    known: dict[tuple[Any, ...], _Data] = {}
    known_inputs: dict[tuple[Any, ...], Sequences] = {}
    jobs = []
    for i, (net, pair, generator) in enumerate(zip(nets, pairs, generators, strict=True)):
        key = (id(pair), net.dtype, net.topology.n_inputs, net.topology.n_outputs)
        if key not in known:
            try:
                inputs_key = (id(pair[0]), net.dtype, net.topology.n_inputs)
                if inputs_key not in known_inputs:
                    known_inputs[inputs_key] = as_sequences(pair[0], net)
                known[key] = _packed(known_inputs[inputs_key], pair[1], net, order if generator is None else None)
            except (TypeError, ValueError) as error:
                if isinstance(data, tuple):
                    raise
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"in data[{i}]: {error}") from error
        check_rate(net, options.constant_rate)
        check_learning(net, options)
        jobs.append(_Job(net, known[key], generator))
    return jobs


def _pairs(data: Any, n: int) -> list[Pair]:
    """A pair of inputs and targets for each network; the same object for all that share it."""
    if not isinstance(data, (tuple, list)):
        raise TypeError(f"data must be a tuple (inputs, targets), or a list of them, got {type(data).__name__}")
    pairs: list[Pair] = [data] * n if isinstance(data, tuple) else data
    if len(pairs) != n:
        raise ValueError(f"data has {len(pairs)} pairs but there are {n} networks; for the same data, pass one tuple")
    for i, pair in enumerate(pairs):
        if not isinstance(pair, tuple) or len(pair) != 2:
            got = f"a tuple of {len(pair)}" if isinstance(pair, tuple) else type(pair).__name__
            raise TypeError(f"data must be a tuple (inputs, targets), or a list of them, got {got} for network {i}")
    return pairs


def _packed(inputs: Sequences, targets: object, net: Network, order: Any) -> _Data:
    """Data in the form for any network with the dtype of this one and as many inputs and outputs."""
    rows, per_sequence = as_targets(targets, inputs, net)
    presentation = presented(order, len(inputs))
    n_steps = int(inputs.lengths[presentation].sum())
    is_empty = not len(presentation) or not rows.size
    return _Data(
        inputs,
        rows if per_sequence else Sequences(rows, inputs.offsets),
        None if order is None else presentation,
        n_steps,
        not is_empty and not any_presented(rows, per_sequence, inputs.offsets, presentation),
    )


def _generators(order: Any, n: int) -> Sequence[np.random.Generator | None]:
    """The generator of each network, all different; None if the order is none or an array."""
    if isinstance(order, np.random.Generator):
        if n != 1:
            raise ValueError(
                f"order is one Generator, and {n} networks would take turns at it in no order that could be repeated; "
                f"give each its own: order=generator.spawn({n})"
            )
        return [order]
    if not isinstance(order, (list, tuple)) or not any(isinstance(each, np.random.Generator) for each in order):
        return [None] * n
    if len(order) != n:
        raise ValueError(f"order has {len(order)} generators but there are {n} networks")
    numbers: dict[int, int] = {}
    for i, each in enumerate(order):
        if not isinstance(each, np.random.Generator):
            raise TypeError(f"order[{i}] must be a Generator as the others are, got {type(each).__name__}")
        if (first := numbers.setdefault(id(each.bit_generator), i)) != i:
            raise ValueError(f"order[{first}] and order[{i}] draw from the same generator; give each network its own")
    return order


def _check_executor(executor: Any, threads: int | None) -> None:
    """Refuse an executor of another type, and an executor together with a number of threads."""
    if not isinstance(executor, Executor):
        raise TypeError(f"executor must be a concurrent.futures.Executor, got {type(executor).__name__}")
    if threads is not None:
        raise ValueError(f"threads is {threads}, but an executor has the workers it has; leave it out")


# ---- before training ----


@contextmanager
def _claimed(nets: list[Network]) -> Iterator[dict[int, ExitStack]]:
    """A claim on each network, by its number: all of them, or none if another thread uses one.

    The end of the context ends the claims that are still in the dict.
    """
    claims: dict[int, ExitStack] = {}
    try:
        for i, net in enumerate(nets):
            with _in_network(i), ExitStack() as claim:
                claim.enter_context(claimed(net))
                claims[i] = claim.pop_all()
        yield claims
    finally:
        for i in range(len(nets)):
            if claim_left := claims.pop(i, None):
                claim_left.close()


@contextmanager
def _in_network(i: int) -> Iterator[None]:
    """Name the network in the error that another thread is using it."""
    try:
        yield
    except RuntimeError as error:
        if type(error) is not RuntimeError:  # such as a RecursionError, which has nothing to do with the network
            raise
        raise RuntimeError(f"in network {i}: {error}") from error


def _advise(jobs: list[_Job]) -> None:
    """Warn of data that a network cannot learn, as `train` would; what is true of several networks is said once."""
    given: set[str] = set()
    for job in jobs:
        targets = job.data.targets
        rows = targets.values if isinstance(targets, Sequences) else targets
        if rows.ndim == 2:
            advice_of(job.net).look_at_targets(rows, given)
        if job.data.lacks_targets:
            advice_of(job.net).no_targets(given)


@contextmanager
def _quiet(nets: list[Network]) -> Iterator[None]:
    """No warnings while networks are trained: `_advise` has given them, for the line that called `train_many`."""
    before = [advice_of(net).is_quiet for net in nets]
    try:
        for net in nets:
            advice_of(net).is_quiet = True
        yield
    finally:
        for net, was_quiet in zip(nets, before, strict=True):
            advice_of(net).is_quiet = was_quiet


# ---- here ----


def _train_here(jobs: list[_Job], options: dict[str, Any], threads: int, claims: dict[int, ExitStack]) -> list[Any]:
    """The history of each network, or the FloatingPointError that ended it; `claims` as `_claimed` gives them."""
    histories = [History() for _ in jobs]

    def run(i: int) -> History | FloatingPointError:
        job = jobs[i]
        try:
            with _in_network(i):
                return train(job.net, *job.data[:2], **options, order=job.order, threads=1, history=histories[i])
        except FloatingPointError as error:
            return error

    def run_in_thread(i: int) -> History | FloatingPointError:
        # An interrupt may end `train_many` before this thread, which therefore ends its network's claim itself.
        with claims.pop(i):
            take_over(jobs[i].net)
            return run(i)

    if threads <= 1:
        return [run(i) for i in range(len(jobs))]

    done: list[Any] = [None] * len(jobs)
    numbers = count()
    pool = ThreadPoolExecutor(threads, initializer=lambda: choose_cpu(next(numbers)))
    try:
        futures = {pool.submit(run_in_thread, i): i for i in _longest_first([job.work for job in jobs])}
        for future in as_completed(futures):
            done[futures[future]] = future.result()
    except BaseException:
        for history in histories:
            interrupt(history)
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return done


def _longest_first(work: Sequence[int]) -> list[int]:
    """Numbers of tasks by falling work, so that no long one is left to run alone in the end."""
    return sorted(range(len(work)), key=work.__getitem__, reverse=True)


# ---- elsewhere ----


def _train_there(jobs: list[_Job], options: dict[str, Any], executor: Executor) -> list[Any]:
    """As `_train_here`, by an executor."""
    groups = _groups(jobs)
    done: list[Any] = [None] * len(jobs)
    futures: dict[Future[bytes], list[int]] = {}
    try:
        for group, task in zip(groups, _tasks(jobs, groups, options), strict=True):
            futures[executor.submit(train_elsewhere, *task)] = group
        for future in as_completed(futures):
            group = futures[future]
            outcomes = _take_back([jobs[i] for i in group], options["stop"], future.result())
            for i, outcome in zip(group, outcomes, strict=True):
                done[i] = outcome
    except CancelledError as error:
        give_up(executor, futures, error)
        broken = BrokenExecutor("the executor has cancelled a task, or has lost it")
        broken.add_note(_what_is_done(done))
        raise broken from error
    except BaseException as error:
        give_up(executor, futures, error)
        error.add_note(_what_is_done(done))
        raise
    return done


def _what_is_done(done: list[Any]) -> str:
    """Which networks have come back."""
    trained = [i for i, outcome in enumerate(done) if outcome is not None]
    names = ", ".join(map(str, trained[:50])) + ", ..." * (len(trained) > 50)
    return f"{len(trained)} of {len(done)} networks are trained ({names or 'none'}); the others are as they were"


def _groups(jobs: list[_Job]) -> list[list[int]]:
    """The numbers of the networks in each task: in a row among those with the same data; the longest task first."""
    same: dict[int, list[int]] = {}
    for i, job in enumerate(jobs):
        same.setdefault(id(job.data), []).append(i)
    groups = [part.tolist() for numbers in same.values() for part in np.array_split(numbers, min(len(numbers), TASKS))]
    return [groups[g] for g in _longest_first([sum(jobs[i].work for i in group) for group in groups])]


def _tasks(jobs: list[_Job], groups: list[list[int]], options: dict[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    """What `train_elsewhere` takes for each group; data as bytes are kept only until they are in their last task."""
    packed: dict[int, bytes] = {}
    left = Counter(id(jobs[group[0]].data) for group in groups)
    for group in groups:
        data = jobs[group[0]].data
        key = id(data)
        if key not in packed:
            packed[key] = _data_to_bytes(data)
        left[key] -= 1
        yield _jobs_to_bytes([jobs[i] for i in group], options), packed[key] if left[key] else packed.pop(key)


def train_elsewhere(jobs: bytes, data: bytes) -> bytes:
    """What an executor is given to do: train the networks of a task, and return what has come of them."""
    plain, arrays = _unpack(jobs)
    check_build(plain["build"])
    _, sequences = _unpack(data)
    inputs = Sequences(sequences["inputs"], sequences["offsets"])
    per_sequence, targets = "per_sequence" in sequences, sequences["targets"]
    options = plain["options"]
    if options["stop"] is not None:
        options["stop"] = Stop(**options["stop"])
    outcomes, results = [], dict[str, Array]()
    for i, state in enumerate(plain["generators"]):
        net = network_from_bytes(arrays[f"network {i}"].tobytes())
        advice_of(net).is_quiet = True
        generator = None if state is None else _generator(state)
        order = sequences.get("order") if generator is None else generator
        history, error = History(), None
        try:
            train(
                net,
                inputs,
                targets if per_sequence else Sequences(targets, inputs.offsets),
                **options,
                order=order,
                threads=1,
                history=history,
            )
        except FloatingPointError as raised:
            error = str(raised)
        numbers, parts = history_parts(history)
        outcomes.append(
            {
                "error": error,
                "history": numbers,
                "generator": generator and generator.bit_generator.state,
            }
        )
        results |= {f"network {i}": _as_array(net)} | {f"{name} of {i}": part for name, part in parts.items()}
    return _pack({"outcomes": outcomes}, results)


def _take_back(jobs: Iterable[_Job], stop: Stop | None, result: bytes) -> list[History | FloatingPointError]:
    """Set networks and their generators to what has come of them; the history of each, or what ended it."""
    plain, arrays = _unpack(result)
    done: list[History | FloatingPointError] = []
    for i, (job, outcome) in enumerate(zip(jobs, plain["outcomes"], strict=True)):
        net = network_from_bytes(arrays[f"network {i}"].tobytes())
        job.net.parameters = net.parameters
        move_memory(net, job.net)
        if job.generator is not None:
            job.generator.bit_generator.state = outcome["generator"]
        if outcome["error"] is not None:
            done.append(FloatingPointError(outcome["error"]))
            continue
        names = ("errors",) if stop is None else ("errors", "window_errors", "window_wrong")
        parts = {name: arrays[f"{name} of {i}"] for name in names}
        done.append(history_of(outcome["history"], parts, stop))
    return done


def _jobs_to_bytes(jobs: Sequence[_Job], options: dict[str, Any]) -> bytes:
    """What `train_elsewhere` needs besides the data."""
    stop = options["stop"]
    plain = {
        "build": this_build(),
        "options": options | {"stop": stop and asdict(stop)},
        "generators": [job.generator and job.generator.bit_generator.state for job in jobs],
    }
    return _pack(plain, {f"network {i}": _as_array(job.net) for i, job in enumerate(jobs)})


def _as_array(net: Network) -> NDArray[np.uint8]:
    """The file of a network, without a state."""
    return np.frombuffer(network_to_bytes(net, False), np.uint8)


def _data_to_bytes(data: _Data) -> bytes:
    """What a network is trained on; there is an array "per_sequence" if targets belong to sequences, not to steps."""
    inputs, targets, order = data[:3]
    arrays = {"inputs": inputs.values, "offsets": inputs.offsets}
    if isinstance(targets, Sequences):
        arrays["targets"] = targets.values
    else:
        arrays |= {"targets": targets, "per_sequence": np.empty(0, np.uint8)}
    return _pack({}, arrays if order is None else arrays | {"order": order})


def _check_generator(generator: np.random.Generator | None) -> None:
    """Refuse a generator that `_generator` could not make."""
    if generator is not None:
        kind = type(generator.bit_generator)
        if getattr(np.random, kind.__name__, None) is not kind:
            raise ValueError(f"order has a generator by {kind.__name__}, which is none of numpy.random's: not sent")


def _generator(state: dict[str, Any]) -> np.random.Generator:
    """A generator in a state."""
    generator = np.random.Generator(getattr(np.random, state["bit_generator"])())
    generator.bit_generator.state = state
    return generator


def _pack(plain: dict[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Plain values and arrays as bytes."""
    return to_bytes(arrays, {"plain": json.dumps(plain, default=lambda array: array.tolist())})


def _unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """What `_pack` was given."""
    file = io.BytesIO(data)
    header = read_header(file, len(data), "the data", len(data))
    return decode(header.metadata["plain"]), read_arrays(file, header, "the data")
