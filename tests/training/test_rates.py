"""Learning rates that change while `train` goes on, and calls of the callback within epochs.

The judge is training by calls of `train` with a constant rate each, sequence by sequence or batch by batch.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import lstm97
from lstm97 import Checkpoint, Decay, History, Network, Sequences, Stop, Topology, train
from lstm97.methods import RTRL, RecurrentTopology

RNG = np.random.default_rng(0)
INPUTS = [RNG.uniform(-1, 1, (int(n), 2)) for n in RNG.integers(1, 12, 23)]
TARGETS = RNG.uniform(0, 1, (23, 1))
DATA = Sequences.pack(INPUTS), TARGETS

UPDATES = {
    "step": {},
    "hogwild": {"parallel": "hogwild", "threads": 1},
    "sequence": {"update": "sequence"},
    "batch": {"update": "sequence", "batch_size": 4},
    "threads": {"update": "sequence", "batch_size": 16, "threads": 2},
}


def network(dtype="float64"):
    return Network(Topology(2, 1), dtype, seed=1, init_range=0.5)


def by_hand(net, rate_of, batch_size=1, epochs=1, **options):
    """Train batch after batch, each with the rate that ``rate_of(history)`` gives before it."""
    history = History()
    for _ in range(epochs):
        for begin in range(0, len(INPUTS), batch_size):
            order = np.arange(begin, min(begin + batch_size, len(INPUTS)))
            train(net, *DATA, rate_of(history), batch_size=batch_size, order=order, history=history, **options)
    return net.parameters, history.errors


# ---- Decay ----


def test_a_decay_falls_geometrically_and_then_stays():
    rate = Decay(0.8, 0.1, 30)
    rates = [rate.at(n) for n in range(50)]
    assert rates[0] == 0.8
    assert rates[30:] == [0.1] * 20
    assert np.allclose(np.diff(np.log(rates[:31])), math.log(0.1 / 0.8) / 30, rtol=1e-12)
    assert Decay(1e300, 1e-300, 2).at(1) >= 1e-300
    assert Decay(1, 1, 1) == Decay(1.0, 1.0, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((0.1, 0.2, 10), ValueError, "end must not be above start, 0.1, got 0.2"),
        ((0.0, 0.0, 10), ValueError, "start must be positive"),
        ((0.1, 0, 10), ValueError, "end must be positive"),
        ((0.1, 0.1, 0), ValueError, "sequences must be at least 1"),
        ((0.1, 0.1, 1.5), TypeError, "sequences must be an integer"),
        (("a", 0.1, 1), TypeError, "start must be a number"),
    ],
)
def test_other_decays_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        Decay(*arguments)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize("length", [1, 17, 40, 1000])
def test_every_sequence_or_batch_has_its_own_rate(name, dtype, length, monkeypatch):
    monkeypatch.setattr(lstm97._run, "WORTH_THREADS", 0)
    rate, options = Decay(0.9, 0.02, length), UPDATES[name]
    net = network(dtype)
    history = train(net, *DATA, rate, epochs=2, **options)
    alone = {key: value for key, value in options.items() if key in ("update", "batch_size")}
    parameters, errors = by_hand(network(dtype), lambda done: rate.at(done.sequences), epochs=2, **alone)
    assert np.array_equal(net.parameters, parameters)
    assert np.array_equal(history.errors, errors)
    constant = network(dtype)
    train(constant, *DATA, 0.9, epochs=2, **options)
    assert not np.array_equal(net.parameters, constant.parameters)


@pytest.mark.parametrize("name", ["step", "hogwild", "batch"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_decay_that_does_not_fall_is_a_constant_rate(name, dtype):
    net, other = network(dtype), network(dtype)
    train(net, *DATA, Decay(0.3, 0.3, 10), epochs=2, **UPDATES[name])
    train(other, *DATA, 0.3, epochs=2, **UPDATES[name])
    assert np.array_equal(net.parameters, other.parameters)


def test_a_decay_goes_on_with_the_history_and_however_training_is_cut(tmp_path):
    rate = Decay(0.9, 0.02, 60)
    net = network()
    expected = train(net, *DATA, rate, epochs=3)
    other, history = network(), History()
    for epochs in (1, 2):
        train(other, *DATA, rate, epochs=epochs, history=history)
    cut = network()
    train(cut, *DATA, rate, epochs=3, checkpoint=Checkpoint(tmp_path / "run", sequences=5))
    assert np.array_equal(history.errors, expected.errors)
    assert np.array_equal(net.parameters, other.parameters)
    assert np.array_equal(net.parameters, cut.parameters)
    with pytest.raises(ValueError, match="differs in learning_rate"):
        train(network(), *DATA, Decay(0.9, 0.02, 61), epochs=3, checkpoint=Checkpoint(tmp_path / "run"))


def test_several_threads_learn_with_a_decay_without_a_lock(monkeypatch):
    monkeypatch.setattr(lstm97._run, "WORTH_THREADS", 0)
    net = network()
    history = train(net, *DATA, Decay(0.5, 1e-12, 23), epochs=40, parallel="hogwild", threads=2)
    assert history.sequences == 40 * len(INPUTS)
    before = net.parameters
    train(net, *DATA, Decay(0.5, 1e-12, 23), parallel="hogwild", threads=2, history=history)
    assert 0 < np.abs(net.parameters - before).max() < 1e-9  # as the rate has fallen


def test_rates_that_the_dtype_cannot_hold_are_refused_at_once():
    net = network("float32")
    before = net.parameters
    for rate in (Decay(1e300, 0.1, 10), Decay(0.1, 1e-300, 10)):
        with pytest.raises(ValueError, match="which float32 can't hold"):
            train(net, *DATA, rate)
    assert np.array_equal(net.parameters, before)


@pytest.mark.parametrize("rate", [Decay(0.5, 0.1, 10), lambda history: 0.1])
def test_learners_with_one_rate_for_all_refuse_others(rate):
    with pytest.raises(TypeError, match="learning_rate must be a number here, got"):
        lstm97.train_many([network()], (INPUTS, TARGETS), learning_rate=rate)
    with pytest.raises(TypeError, match="learning_rate must be a number here, got"):
        RTRL(RecurrentTopology(n_inputs=2, n_outputs=1, n_hidden=3)).train(INPUTS, TARGETS, learning_rate=rate)
    with pytest.raises(TypeError, match="learning_rate must be a number"):
        network().learn([0.1, 0.2], [0.5], rate)


# ---- callables ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", UPDATES)
def test_a_callable_is_asked_at_the_start_of_every_epoch(name, dtype):
    asked = []

    def rate(done):
        asked.append(done.sequences)
        return 0.9 / (1 + done.sequences)

    options = UPDATES[name]
    net = network(dtype)
    history = train(net, *DATA, rate, epochs=3, **options)
    assert asked == [0, 23, 46]
    other, done = network(dtype), History()
    for _ in range(3):
        train(other, *DATA, 0.9 / (1 + done.sequences), history=done, **options)
    assert np.array_equal(net.parameters, other.parameters)
    assert np.array_equal(history.errors, done.errors)


@pytest.mark.parametrize("every", [1, 5, 7, 22, 23, 24])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_within_epochs_a_callable_is_asked_after_each_few_sequences(every, batch_size):
    asked = []

    def rate(done):
        asked.append(done.sequences)
        return 0.9 / (1 + done.sequences)

    options = {"update": "sequence", "batch_size": batch_size} if batch_size > 1 else {}
    net = network()
    train(net, *DATA, rate, epochs=2, every=every, **options)
    n = -(-every // batch_size) * batch_size
    starts = [begin + 23 * epoch for epoch in range(2) for begin in range(0, 23, n)]
    assert asked == starts
    other, done = network(), History()
    for start in starts:
        order = np.arange(start % 23, min(start % 23 + n, 23))
        train(other, *DATA, 0.9 / (1 + start), order=order, history=done, **options)
    assert np.array_equal(net.parameters, other.parameters)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (0.0, ValueError, r"learning_rate\(history\) must be positive and finite, got 0.0"),
        (None, TypeError, r"learning_rate\(history\) must be a number, got None"),
        (1e300, ValueError, r"which float32 can't hold"),
    ],
)
def test_what_a_callable_returns_is_checked(given, error, words):
    net = network("float32")
    before = net.parameters
    with pytest.raises(error, match=words):
        train(net, *DATA, lambda done: given)
    assert np.array_equal(net.parameters, before)
    train(net, *DATA, lambda done: np.float32(0.25))


def test_an_error_of_a_callable_ends_training():
    def rate(done):
        return {0: 0.5}[done.epochs]

    net, other = network(), network()
    history = History()
    with pytest.raises(KeyError):
        train(net, *DATA, rate, epochs=3, history=history)
    train(other, *DATA, 0.5)
    assert history.epochs == 1
    assert np.array_equal(net.parameters, other.parameters)


# ---- every ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize("every", [1, 6, 100])
def test_calls_within_epochs_change_no_bit(name, dtype, every):
    options, seen = UPDATES[name], []
    options = options | {"order": np.arange(23)[::-1]}
    net, other = network(dtype), network(dtype)
    found = train(net, *DATA, 0.5, epochs=2, every=every, callback=lambda done: seen.append(done.sequences), **options)
    expected = train(other, *DATA, 0.5, epochs=2, **options)
    assert np.array_equal(net.parameters, other.parameters)
    assert np.array_equal(found.errors, expected.errors)
    n = -(-every // options.get("batch_size", 1)) * options.get("batch_size", 1)
    assert seen == [min(23, begin + n) + 23 * epoch for epoch in range(2) for begin in range(0, 23, n)]


def test_the_callback_ends_training_within_an_epoch():
    net, other = network(), network()
    history = train(net, *DATA, 0.5, epochs=9, every=4, callback=lambda done: done.sequences >= 30)
    assert (history.sequences, history.epochs) == (31, 1)
    done = train(other, *DATA, 0.5)
    train(other, *DATA, 0.5, order=np.arange(8), history=done)
    assert np.array_equal(net.parameters, other.parameters)


def test_the_stop_rule_ends_at_its_exact_sequence_with_a_last_call():
    seen = []
    rule = {"stop": Stop(window=10, tolerance=9, mean_error=9)}
    history = train(network(), *DATA, every=4, callback=lambda done: seen.append(done.sequences), **rule)
    assert history.stopped
    assert seen == [4, 8, 10]
    seen.clear()
    rule = {"stop": Stop(window=8, tolerance=9, mean_error=9)}
    train(network(), *DATA, every=4, callback=lambda done: seen.append(done.sequences), **rule)
    assert seen == [4, 8]


def test_history_stop_within_a_call_ends_training_there():
    net, history = network(), History()
    train(net, *DATA, every=5, epochs=3, history=history, callback=lambda done: done.stop())
    assert history.sequences == 5


@pytest.mark.parametrize(("every", "error"), [(0, ValueError), (1.5, TypeError), ("1", TypeError)])
def test_other_numbers_of_sequences_are_refused(every, error):
    with pytest.raises(error, match="every must be"):
        train(network(), *DATA, every=every)
