"""One network trained on data that lie on many machines: local SGD, weights averaged after every round, over Dask.

A round is a graph of Dask tasks: one holds the weights, one for each part of the data trains a copy of the network on
it, and a tree of tasks averages the results. To the workers goes the network, as the bytes of its file; from them come
arrays of weights and plain numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstm97._extras import missing
from lstm97.extend import check_rate, claimed, integer, positive
from lstm97.network import Network, network_from_bytes, network_to_bytes
from lstm97.optimizers import SGD
from lstm97.options import Options
from lstm97.sequences import as_sequences
from lstm97.training import train

FAN_IN = 8
"""The most results that one task averages. It never varies, as the rounding of sums, thus the result, depends on it."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What a round of `train_averaged` did.

    Attributes
    ----------
    number : int
        Of the round, counted from `first_round`.
    sequences : int
        Trained by all parts together.
    error : float
        Mean of the sequences' errors, each the mean ``|t - y|`` over its targets and outputs, by the weights that the
        copy of its part had then; NaN if there was no target.
    seconds : float
        From sending the weights to having their mean.
    """

    number: int
    sequences: int
    error: float
    seconds: float


def train_averaged(
    client: Any,
    net: Network,
    partitions: Sequence[Any],
    learning_rate: float = 0.1,
    *,
    rounds: int,
    passes: float = 1,
    shuffle: int | None = None,
    update: Literal["step", "sequence"] = "step",
    batch_size: int = 1,
    first_round: int = 0,
    callback: Callable[[Round], object] | None = None,
) -> list[Round]:
    """Train one network on parts of data that stay on the workers of a Dask cluster.

    In every round a copy of the network is trained on each part, where the part is; all copies begin with the same
    weights. The network's new weights are the mean of the copies' weights, each weighted by the sequences of its part.

    Parameters
    ----------
    client : distributed.Client
        A synchronous client of the cluster. The workers need lstm97 and NumPy.
    net : Network
        The network to train; its weights change once per round. Only weights are averaged: a network that keeps more
        than them for learning, with `RMSprop`, `Adam`, momentum, a readout or scaling, is refused.
    partitions : list of Future or Dask collections
        The parts, each a pair ``(inputs, targets)`` as `lstm97.train` takes them; some may be empty. The data never
        come to the client. Make parts with tasks, ``client.submit(load, path)``: when a worker is lost, Dask makes its
        parts again elsewhere and reruns their training, to the same bits. Data that were scattered are lost with their
        worker, unless more workers have them.
    learning_rate : float, default 0.1
        The paper's alpha, positive.
    rounds : int
        How many rounds.
    passes : float, default 1
        How often a round goes through a part. With 0.1 it takes a tenth of the part, and the next round the tenth
        after that.
    shuffle : int, optional
        A seed, for each pass through a part to have an order of its own. By default sequences come as they are.
    update : {"step", "sequence"}, default "step"
        As for `lstm97.train`.
    batch_size : int, default 1
        As for `lstm97.train`; a part's last batch in a round may be short.
    first_round : int, default 0
        The number of the first round, to go on where an earlier call ended: ``rounds[-1].number + 1`` of what that
        returned. Two such calls do to the bit what one would have done.
    callback : callable, optional
        Called with each `Round` when the network has the weights of that round; a true return value ends training.

    Returns
    -------
    list of Round

    Raises
    ------
    ModuleNotFoundError
        If the package distributed is missing (it comes with the extra ``dask``).
    TypeError, ValueError
        If an argument or a part is not as above, or no part has sequences to train on.
    FloatingPointError
        If a cell state, an output or a weight would not be finite in some part.
    RuntimeError
        If a part is lost and cannot be made again, or if another thread trains this network.
    distributed.CancelledError
        If tasks of the training are cancelled from outside.
    distributed.KilledWorker
        If one worker after the other dies of the same task, as they do when it takes more memory than they have.

    Notes
    -----
    When an exception or Ctrl-C ends the call, the network has the weights of the last whole round. Tasks that run at
    that moment go on to the end of their round, but their results are lost.

    The result depends on the parts and their order, not on which worker does what, or when: all tasks are functions of
    their arguments, and means are taken over groups of 8 parts in a row, then over groups of 8 such means, and so on,
    each a running mean in float64: ``mean += (w_i - mean) * n_i / (n_1 + ... + n_i)``. A single part is trained to the
    bits of `lstm97.train`. Workers must have the same build of the loops, as different ones round differently; where
    CPUs differ, ``LSTM97_KERNEL`` makes them agree. Part p is in its pass k in the order that
    ``numpy.random.default_rng(numpy.random.SeedSequence(shuffle, spawn_key=(k, p)))`` draws by `permutation`.

    Dask runs a task where its data are, unless another worker is idle and moving the data takes less time, by Dask's
    estimate, than waiting would. With the scheduler's setting ``distributed.scheduler.work-stealing`` off, a task that
    is assigned to a worker stays there. A part is trained in as many threads as ``LSTM97_NUM_THREADS`` says on its
    worker. Dask warns of weights beyond 10 MB, as of any graph of that size
    (``distributed.admin.large-graph-warning-threshold``).

    With W parts, the weights move by the mean of W changes, not by their sum: a sequence changes them by a W-th of what
    it would on one machine with the same learning rate. A rate W times as large makes up for that, as long as training
    is stable with it. Long rounds cost little, but the mean of weights that went far apart need not be good at
    anything: parts should be random samples of the same data, and parts that differ need short rounds.

    Examples
    --------
    ::

        client = distributed.Client("tcp://scheduler:8786")
        parts = [client.submit(load, path) for path in paths]  # load(path) returns (inputs, targets)
        rounds = train_averaged(client, net, parts, 0.1, rounds=100, passes=0.1, shuffle=1)
    """
    try:
        distributed = import_module("distributed")  # not by a statement: types are checked without it too
        dask = import_module("dask")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(missing("train_averaged", error.name, "dask"), name=error.name) from error
    if not isinstance(client, distributed.Client):
        raise TypeError(f"client must be a distributed.Client, got {type(client).__name__}")
    if client.asynchronous:
        raise ValueError("client is asynchronous, expected one whose calls wait; make it with asynchronous=False")
    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network, got {type(net).__name__}")
    _check_learning(net)
    rounds = integer("rounds", rounds, at_least=0)
    first_round = integer("first_round", first_round, at_least=0)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, got {type(callback).__name__}")
    check_rate(net, learning_rate)
    Options(update=update, batch_size=batch_size)  # refuses here what the tasks would refuse
    how = _How(
        learning_rate=float(learning_rate),
        passes=positive("passes", passes),
        shuffle=None if shuffle is None else integer("shuffle", shuffle, at_least=0),
        update=update,
        batch_size=batch_size,
    )
    if not isinstance(partitions, (list, tuple)) or not partitions:
        raise TypeError(f"partitions must be a list of at least one part, got {partitions!r:.80}")
    for i, part in enumerate(partitions):
        if not isinstance(part, distributed.Future) and not dask.is_dask_collection(part):
            raise TypeError(
                f"partitions[{i}] is of type {type(part).__name__}, expected a Future or a Dask collection; "
                "make it with client.submit(load, path)"
            )
        if isinstance(part, distributed.Future) and part.client is not client:
            raise ValueError(f"partitions[{i}] belongs to another client")
    done: list[Round] = []
    with claimed(net):
        parts = [part if isinstance(part, distributed.Future) else client.compute(part) for part in partitions]
        for number in range(first_round, first_round + rounds):
            begin = perf_counter()
            try:
                result = _round(client, network_to_bytes(net, False), parts, number, how)
            except distributed.CancelledError as error:
                lost = [i for i, part in enumerate(parts) if part.status in ("lost", "cancelled")]
                if not lost:
                    raise
                raise RuntimeError(
                    f"partitions {lost} are lost in round {number}: they were cancelled, or scattered to a worker that "
                    "is gone; parts made with client.submit(load, path) can be made again"
                ) from error
            if not result.sequences:
                raise ValueError(
                    f"there is nothing to train on in round {number}: all partitions are empty, or passes is too small"
                )
            net.parameters = result.weights
            done.append(
                Round(
                    number=number,
                    sequences=result.sequences,
                    error=result.error / result.judged if result.judged else math.nan,
                    seconds=perf_counter() - begin,
                )
            )
            if callback is not None and callback(done[-1]):
                break
    return done


def _check_learning(net: Network) -> None:
    """Refuse a network that keeps more for learning than its weights, which alone are averaged."""
    settings = {"optimizer": net.optimizer, "readout": net.readout, "scaling": net.scaling}
    if isinstance(net.optimizer, SGD) and not net.optimizer.momentum:
        del settings["optimizer"]
    for name, value in settings.items():
        if value is not None:
            raise ValueError(
                f"the network has {name}={value}: what that keeps would be another on each part, and only weights are "
                "averaged; use optimizer=SGD() without momentum, and neither readout nor scaling"
            )


class _How(NamedTuple):
    """How to train, the same for all parts and rounds."""

    learning_rate: float
    passes: float
    shuffle: int | None
    update: Literal["step", "sequence"]
    batch_size: int


class _Result(NamedTuple):
    """The result of one part or several: mean weights, sequences trained, sum of errors, and of how many sequences."""

    weights: NDArray[Any]
    sequences: int
    error: float
    judged: int


def _round(client: Any, data: bytes, parts: list[Any], number: int, how: _How) -> _Result:
    """Train a copy of the network on every part, and average the results."""
    # A task returns the weights, so that Dask can make them again if their worker is lost; scattered data it cannot.
    weights = client.submit(bytes, data, pure=False)
    made = [weights]
    try:
        results = client.map(_train_part, parts, range(len(parts)), weights=weights, number=number, how=how, pure=False)
        made += results
        while len(results) > 1:
            groups = [results[i : i + FAN_IN] for i in range(0, len(results), FAN_IN)]
            results = client.map(_mean, groups, pure=False)
            made += results
        (result,) = client.gather(results)
    finally:
        for future in made:  # at once, even if a traceback keeps this frame: tasks that wait are never begun then
            future.release()
    return _Result(*result)


def _train_part(part: tuple[Any, Any], index: int, *, weights: bytes, number: int, how: _How) -> _Result:
    """In a worker: a round of training on one part."""
    try:
        net = network_from_bytes(weights)
        try:
            inputs, targets = part
        except (TypeError, ValueError) as error:
            raise TypeError(f"expected a pair (inputs, targets), got {type(part).__name__}") from error
        if not len(inputs):
            return _Result(net.parameters, 0, 0.0, 0)
        packed = as_sequences(inputs, net)
        history = train(
            net,
            packed,
            targets,
            how.learning_rate,
            update=how.update,
            batch_size=how.batch_size,
            order=_presentation(len(packed), index, number, how),
        )
    except (TypeError, ValueError, FloatingPointError) as error:
        raise type(error)(f"partitions[{index}], in round {number}: {error}") from error
    judged = history.errors[~np.isnan(history.errors)]
    return _Result(net.parameters, history.sequences, float(judged.sum()), len(judged))


def _presentation(n: int, index: int, number: int, how: _How) -> NDArray[np.int64]:
    """The sequences that a round takes from a part of n: a piece of its passes, put one after the other."""
    begin, end = (round(count * how.passes * n) for count in (number, number + 1))
    order = []
    while begin < end:
        k, position = divmod(begin, n)
        whole = np.arange(n)
        if how.shuffle is not None:
            seed = np.random.SeedSequence(how.shuffle, spawn_key=(k, index))
            whole = np.random.default_rng(seed).permutation(n)
        order.append(whole[position : position + end - begin])
        begin += len(order[-1])
    return np.concatenate(order) if order else np.empty(0, np.int64)


def _mean(results: list[_Result]) -> _Result:
    """The mean of results, each weighted by its sequences, taken in their order."""
    mean, n = np.asarray(results[0].weights, np.float64), 0
    for weights, sequences, _, _ in results:
        n += sequences
        if n == sequences:
            mean = np.array(weights, np.float64)
        elif sequences:
            mean += (weights - mean) * (sequences / n)
    return _Result(mean, n, sum(result.error for result in results), sum(result.judged for result in results))
