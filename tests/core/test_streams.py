"""Many streams over one network: each is as a state of its own, and a change is the sum of what they would change."""

from __future__ import annotations

import copy
import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest
from compare import TOLERANCE as PLAIN_TOLERANCE
from compare import assert_close
from hypothesis import given
from hypothesis import strategies as st
from rule_cases import RULES, TOLERANCE, pair, rate_of, reference_of, rule_cases
from topologies import cases, may_lack_targets, random_inputs, random_targets

import lstm97
from lstm97 import Adam, Network, RMSprop, Scaling, Streams, Topology

pytestmark = may_lack_targets

DTYPES = ("float64", "float32")
NAMES = ("activations", "cell_output", "cell_state", "partials")


class ReferenceStreams:
    """Reference networks that share weights, optimizer and statistics: one for each stream."""

    def __init__(self, net, rule, n):
        first = reference_of(net, rule)
        self.each = [first, *(copy.copy(first) for _ in range(n - 1))]
        for stream in self.each:
            stream.reset()
        self.first = first

    def step(self, X, mask):
        return np.array([self._or_nan(i, mask, lambda stream, x: stream.step(x), X) for i in range(len(X))])

    def _or_nan(self, i, mask, call, X):
        return call(self.each[i], X[i]) if mask[i] else np.full(self.first.topology.n_outputs, np.nan)

    def learn(self, X, targets, rate, weights, mask):
        chosen = np.flatnonzero(mask)
        for i in chosen:
            self.first.take_in_inputs(X[i])
        Y = np.array([self._or_nan(i, mask, lambda stream, x: stream.advance(x), X) for i in range(len(X))])
        signals = [i for i in chosen if self.first.is_signal(targets[i], weights[i])]
        for i in signals:
            self.first.take_in_targets(targets[i])
        total, sum_e2 = {kind: np.zeros_like(w) for kind, w in self.first.weights.items()}, 0.0
        for i in signals:
            e_k = self.each[i].output_errors(targets[i], weights[i])
            for kind, change in self.each[i].changes_by(e_k).items():
                total[kind] += change
            sum_e2 += (e_k**2).sum()
        if signals:
            readout, self.first.readout = self.first.readout, None
            output = self.first.weights["output"].copy()
            seen = set().union(*(stream.seen for stream in self.each))
            if readout is not None:
                del total["output"]
                takes_part = {kind: self.first._weights_from(seen, kind) for kind in total}
                self.first.optimizer.change(self.first.weights, total, rate, takes_part, sum_e2)
                assert np.array_equal(output, self.first.weights["output"])
                self._fit(readout, signals, targets, weights)
            else:
                self.first.update(total, rate, seen, sum_e2)
            self.first.readout = readout
        return Y

    def _fit(self, readout, signals, targets, weights):
        """Least squares, one error signal after the other."""
        output = self.first.weights["output"]
        for i in signals:
            now = self.each[i]._now
            now.y_k = output @ now.z["output"]
            readout.change(output, now.z["output"], self.each[i].output_errors(targets[i], weights[i]), weights[i])


def assert_same_outputs(found, expected, mask, tolerance):
    assert np.isnan(found[~mask]).all()
    assert_close(found[mask], expected[mask], tolerance, "outputs")


def observations(case, rng, n, dtype, when="some"):
    """Inputs and targets of n streams at one step."""
    X = random_inputs(case.topology, rng, n, case.symbols)
    targets = random_targets(case.topology, rng, n, when, case.classes)
    return X if case.symbols else X.astype(dtype), targets if case.classes else targets.astype(dtype)


def assert_as_the_reference(case, dtype, rule, n, n_steps, tolerance, rate):
    net, _ = pair(case, dtype, rule)
    streams, reference = Streams(net, n), ReferenceStreams(net, rule, n)
    rng = np.random.default_rng([case.seed, 7])
    for _ in range(n_steps):
        mask = rng.random(n) < rng.choice([0.0, 0.5, 1.0], p=[0.05, 0.25, 0.7])
        X, targets = observations(case, rng, n, dtype)
        weights = rng.choice([0.0, 0.5, 1.0], n, p=[0.1, 0.3, 0.6])
        action = rng.choice(["learn", "step", "reset"], p=[0.8, 0.1, 0.1])
        given = None if mask.all() else mask
        if action == "learn":
            expected = reference.learn(X, targets, rate, weights, mask)
            found = streams.learn(X, targets, rate, weight=weights, mask=given)
        elif action == "step":
            ahead = streams.peek(X, mask=given)
            found, expected = streams.step(X, mask=given), reference.step(X, mask)
            assert np.array_equal(ahead, found, equal_nan=True)
        else:
            streams.reset(given)
            for i in np.flatnonzero(mask):
                reference.each[i].reset()
            continue
        assert_same_outputs(found, expected, mask, tolerance)
        assert_close(net.weights, reference.first.weights, tolerance, "weights")
    for i in {0, n // 2, n - 1}:
        state, stream = streams[i], reference.each[i]
        assert_close(state.cell_state, stream.cell_state, tolerance, "cell states")
        assert_close(state.activations, stream.activations, tolerance, "activations")
        assert_close(state.partials, stream.partials, tolerance, "partials")


@pytest.mark.parametrize("dtype", DTYPES)
@given(case=cases(max_steps=1), n=st.sampled_from([1, 2, 3, 17, 70]), n_steps=st.integers(1, 6))
def test_streams_are_as_the_reference(dtype, case, n, n_steps):
    n = n if case.topology.n_weights < 2_000 else 3
    rate = case.learning_rate / n
    assert_as_the_reference(case, dtype, {}, n, n_steps, PLAIN_TOLERANCE[dtype], rate)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", DTYPES)
@given(case=rule_cases(max_steps=1), n=st.sampled_from([1, 2, 5, 40]), n_steps=st.integers(1, 6))
def test_streams_are_as_the_reference_by_all_rules(dtype, name, case, n, n_steps):
    rule = RULES[name]
    if "readout" in rule:
        case = replace(case, topology=replace(case.topology, output="identity", loss=None))
    assert_as_the_reference(case, dtype, rule, n, n_steps, 10 * TOLERANCE[dtype], rate_of(case, rule) / n)


# ---- as single states ----

TOPOLOGY = Topology(3, 2, blocks=(2, 1), n_hidden=1, forget_gates=True, input_to_output=True)


def learned(n=70, dtype="float64", symbols=False, n_steps=5, seed=0, **settings):
    """Streams that have learned for some steps, some masked, and the generator that drew the data."""
    rng = np.random.default_rng(seed)
    streams = Streams(Network(TOPOLOGY, dtype, seed=1, **settings), n)
    for _ in range(n_steps):
        X = rng.integers(3, size=n) if symbols else rng.uniform(-1, 1, (n, 3))
        streams.learn(X, rng.uniform(size=(n, 2)), 0.01, mask=rng.random(n) < 0.8)
    return streams, rng


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_of_each_stream_is_a_step_of_its_state(dtype):
    streams, rng = learned(dtype=dtype)
    X = rng.uniform(-1, 1, (70, 3))
    expected = np.array([streams.network.step(x, state=state) for x, state in zip(X, streams, strict=True)])
    assert_close(streams.step(X), expected, PLAIN_TOLERANCE[dtype])


@pytest.mark.parametrize("symbols", [False, True])
def test_a_state_taken_out_and_assigned_goes_on_as_it_was(symbols):
    streams, rng = learned(symbols=symbols)
    net = streams.network
    other = Streams(net, 40)
    for i in range(40):
        other.assign(i, streams[i + 30])
    one = streams[69]
    X = rng.integers(3, size=70) if symbols else rng.uniform(-1, 1, (70, 3))
    assert np.array_equal(other.peek(X[30:]), streams.peek(X)[30:])
    assert_close(net.peek(X[69], state=one), streams.peek(X)[69], 1e-12)
    alike = [copy.deepcopy(each) for each in (streams, other)]
    mask = np.arange(70) >= 30
    targets = rng.uniform(size=(70, 2))
    alike[0].learn(X, targets, 0.1, mask=mask)
    alike[1].learn(X[30:], targets[30:], 0.1)
    assert_close(alike[0].network.weights, alike[1].network.weights, 1e-12)
    assert one.partials["cell"].any()


def test_a_state_with_pending_steps_is_assigned_whole():
    net = Network(TOPOLOGY, seed=1)
    state = net.new_state()
    for x in np.random.default_rng(0).uniform(-1, 1, (5, 3)):
        net.learn(x, None, state=state)
    streams = Streams(net, 2)
    streams.assign(-1, state)
    assert_close(streams[1].partials, state.partials, 1e-13)
    assert_close(streams[1].activations, state.activations, 0.5e-300)
    assert not streams[0].cell_state.any()
    streams.assign(1, net.new_state())
    assert not streams[1].partials["cell"].any()


# ---- masks, resets, peeks ----


@pytest.mark.parametrize("symbols", [False, True])
def test_streams_left_out_stay_as_they_are_to_the_bit(symbols):
    streams, rng = learned(symbols=symbols)
    mask = np.arange(70) % 3 == 0
    X = rng.integers(3, size=70) if symbols else np.where(mask[:, None], [0.5] * 3, np.nan)
    before = streams._parts()[1]
    targets = np.full((70, 2), 0.5)
    targets[~mask] = np.inf  # not looked at
    Y = streams.learn(X, targets, 0.1, mask=mask)
    streams.step(X, mask=mask)
    streams.reset(mask)
    after = streams._parts()[1]
    assert all(np.array_equal(before[name][~mask], after[name][~mask]) for name in before)
    assert not any(after[name][mask].any() for name in before)
    assert (np.isnan(Y).all(axis=1) == ~mask).all()


def test_groups_left_out_give_nan_and_keep_their_partials():
    streams, rng = learned(n=700)
    mask = np.zeros(700, bool)
    mask[650:660] = True
    before = streams._parts()[1]
    X, targets = rng.uniform(-1, 1, (700, 3)), rng.uniform(size=(700, 2))
    for Y in (streams.learn(X, targets, 0.1, mask=mask), streams.step(X, mask=mask), streams.peek(X, mask=mask)):
        assert (np.isnan(Y).all(axis=1) == ~mask).all()
    streams.step(X, mask=mask)  # of streams that learn no more, beside some that do
    after = streams._parts()[1]
    assert all(np.array_equal(before[name][~mask], after[name][~mask]) for name in before)
    assert after["partials"][640:650].any()
    assert not after["partials"][mask].any()


def test_peek_changes_nothing_to_the_bit():
    streams, rng = learned()
    before = pickle.dumps(streams._parts())
    X = rng.uniform(-1, 1, (70, 3))
    ahead = streams.peek(X)
    assert pickle.dumps(streams._parts()) == before
    assert np.array_equal(streams.step(X), ahead)


def test_all_targets_missing_change_no_weight():
    streams, rng = learned(optimizer=Adam())
    before = streams.network.parameters
    streams.learn(rng.uniform(-1, 1, (70, 3)), None, 0.1)
    streams.learn(rng.uniform(-1, 1, (70, 3)), np.full((70, 2), np.nan), 0.1)
    streams.learn(rng.uniform(-1, 1, (70, 3)), np.ones((70, 2)), 0.1, weight=0)
    assert np.array_equal(streams.network.parameters, before)


def test_a_symbol_that_no_stream_has_seen_since_its_reset_takes_no_part():
    net = Network(Topology(4, 1, blocks=(2,), forget_gates=True), seed=1, optimizer=Adam())
    streams = Streams(net, 3)
    for _ in range(3):
        streams.learn([0, 1, 2], [[1.0]] * 3, 0.01)
    streams.reset([True, False, False])
    before = net.weights["cell"].copy()
    streams.learn([1, 1, 2], [[1.0]] * 3, 0.01)
    changed = (net.weights["cell"] != before).any(axis=0)
    assert changed[:4].tolist() == [False, True, True, False]


# ---- files and copies ----


@pytest.mark.parametrize("symbols", [False, True])
@pytest.mark.parametrize("settings", [{}, {"optimizer": RMSprop(bound=0.1), "scaling": Scaling()}])
@pytest.mark.parametrize("way", ["file", "pickle", "deepcopy"])
def test_streams_go_on_to_the_bit(tmp_path, way, settings, symbols):
    streams, rng = learned(symbols=symbols, dtype="float32", **settings)
    if way == "file":
        streams.save(tmp_path / "streams")
        again = Streams.load(tmp_path / "streams")
        net = lstm97.load(tmp_path / "streams")
        assert np.array_equal(net.parameters, streams.network.parameters)
    else:
        again = pickle.loads(pickle.dumps(streams)) if way == "pickle" else copy.deepcopy(streams)
    assert again.network is not streams.network
    for _ in range(3):
        X = rng.integers(3, size=70) if symbols else rng.uniform(-1, 1, (70, 3))
        targets = rng.uniform(size=(70, 2))
        assert np.array_equal(again.learn(X, targets, 0.01), streams.learn(X, targets, 0.01))
        assert np.array_equal(again.network.parameters, streams.network.parameters)


@pytest.mark.parametrize("n", [1, 70])
def test_streams_without_cells_are_copied_and_saved(tmp_path, n):
    streams = Streams(Network(Topology(3, 2, n_hidden=2, input_to_output=True), seed=1), n)
    X = np.random.default_rng(0).uniform(-1, 1, (n, 3))
    streams.learn(X, np.full((n, 2), 0.3), 0.1)
    streams.save(tmp_path / "streams")
    again = Streams.load(tmp_path / "streams")
    alike = (again, copy.copy(streams), copy.deepcopy(streams), pickle.loads(pickle.dumps(streams)))
    assert all(np.array_equal(each.peek(X), streams.peek(X)) for each in alike)


def test_a_copy_shares_the_network():
    streams, rng = learned()
    again = copy.copy(streams)
    assert again.network is streams.network
    X = rng.uniform(-1, 1, (70, 3))
    assert np.array_equal(again.step(X), streams.peek(X))
    again.reset()
    assert streams[3].cell_state.any()


def test_a_file_without_streams_and_damaged_streams_are_refused(tmp_path):
    net = Network(TOPOLOGY)
    net.save(tmp_path / "net")
    with pytest.raises(ValueError, match=r"has no streams; lstm97\.load reads its network"):
        Streams.load(tmp_path / "net")
    streams, _ = learned(n=3, symbols=True)
    numbers, parts = streams._parts()
    damaged = [
        {"phases": np.full(3, 1, np.uint8)},
        {"phases": np.zeros(3, np.uint8)},
        {"inputs_seen": np.full((3, 3), 2, np.uint8)},
        {"inputs_seen": np.zeros((3, 3), np.uint8)},
        {"cell_state": np.zeros((3, 2))},
    ]
    for change in damaged:
        with pytest.raises(ValueError, match="stream"):
            Streams(net, 3)._put_parts(numbers, parts | change)
    del parts["partials"]
    with pytest.raises(ValueError, match="has no partials"):
        Streams(net, 3)._put_parts(numbers | {"has_partials": False}, parts)


# ---- misuse ----


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s: s.step(np.zeros((3, 3))), ValueError, "X has 3 rows, expected 4, one for each stream"),
        (lambda s: s.step(np.zeros((4, 2))), ValueError, "X has shape"),
        (lambda s: s.step([0, 1, 2, 3]), ValueError, "3"),
        (lambda s: s.step(np.full((4, 3), np.nan)), ValueError, "X"),
        (lambda s: s.step(np.zeros((4, 3)), mask=[1, 0, 1, 0]), TypeError, "mask has dtype int64, expected bool"),
        (lambda s: s.step(np.zeros((4, 3)), mask=[True]), ValueError, r"mask has shape \(1,\), expected \(4,\)"),
        (lambda s: s.step(np.zeros((4, 3)), out=np.zeros((4, 3))), ValueError, "out has shape"),
        (lambda s: s.learn(np.zeros((4, 3)), np.zeros((3, 2))), ValueError, "targets has 3 steps"),
        (lambda s: s.learn(np.zeros((4, 3)), np.zeros((4, 2)), -1.0), ValueError, "learning_rate"),
        (lambda s: s.learn(np.zeros((4, 3)), np.zeros((4, 2)), weight=-1.0), ValueError, "weight"),
        (lambda s: s.learn(np.zeros((4, 3)), np.zeros((4, 2)), weight=[1.0, 2.0]), ValueError, "weight has shape"),
        (lambda s: s.reset([True]), ValueError, "mask has shape"),
        (lambda s: s[4], IndexError, "there is no stream 4: there are 4"),
        (lambda s: s["one"], TypeError, "numbered by integers"),
        (lambda s: s.assign(0, None), TypeError, "state must be a State"),
        (lambda s: s.assign(0, Network(TOPOLOGY).new_state()), ValueError, "of another network"),
        (lambda s: s.assign(-5, s.network.new_state()), IndexError, "there is no stream -5"),
    ],
)
def test_misuse_is_refused_and_changes_nothing(call, error, words):
    streams, _ = learned(n=4)
    before = pickle.dumps((streams._parts(), streams.network.parameters))
    with pytest.raises(error, match=words):
        call(streams)
    assert pickle.dumps((streams._parts(), streams.network.parameters)) == before


def test_wrong_arguments_of_the_constructor():
    with pytest.raises(TypeError, match="network must be a Network"):
        Streams(None, 3)
    with pytest.raises(ValueError, match="n must be"):
        Streams(Network(TOPOLOGY), 0)


def test_an_overflow_names_the_stream_and_changes_no_weight():
    squashes = {"input_squash": "identity", "output_squash": "identity", "output": "identity"}
    net = Network(Topology(1, 1, (2,), recurrent=False, **squashes))
    net.weights["cell"] = 1e300
    streams, before = Streams(net, 100), net.parameters
    X = np.zeros((100, 1))
    X[77] = 1e9
    for call in (streams.step, lambda X: streams.learn(X, np.ones((100, 1)))):
        with pytest.raises(FloatingPointError, match="cell state overflowed at stream 77; reset the streams"):
            call(X)
    streams.reset()
    with pytest.raises(FloatingPointError, match="weight change is not finite at this step"):
        streams.learn(np.full((100, 1), 0.1), np.full((100, 1), 1e308), 1e10)
    assert np.array_equal(net.parameters, before)
    streams.reset()
    assert np.isfinite(streams.step(np.zeros((100, 1)))).all()


def test_a_network_made_for_streams_learns_many_of_them():
    streams = Streams(Network.for_stream(2, 1, seed=0), 50)
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 6, 50)
    errors = []
    for t in range(200):
        X = np.column_stack([100 * np.sin(t / 5 + phase), 100 * np.cos(t / 5 + phase)])
        targets = 7 + 30 * np.sin((t + 1) / 5 + phase)[:, None]
        errors.append(np.abs(streams.learn(X, targets) - targets).mean())
    assert np.mean(errors[-20:]) < 0.05 * np.mean(errors[:3])


def test_targets_out_of_reach_are_told_once():
    streams = Streams(Network(Topology(1, 1)), 2)
    with pytest.warns(UserWarning, match="out of reach"):
        streams.learn([[0.0], [0.0]], [[5.0], [5.0]], 1e-9)
    streams.learn([[0.0], [0.0]], [[5.0], [5.0]], 1e-9)


def test_outputs_may_be_written_over_the_inputs():
    net = Network(Topology(2, 2, blocks=(2,)), seed=1)
    X = np.random.default_rng(0).uniform(-1, 1, (9, 2))
    expected, out = Streams(net, 9).step(X), X.copy()
    assert Streams(net, 9).step(out, out=out) is out
    assert np.array_equal(out, expected)


def test_outputs_may_be_written_over_the_weights_of_error_signals():
    rng = np.random.default_rng(0)
    X, targets, weight = rng.uniform(-1, 1, (200, 2)), rng.uniform(size=(200, 1)), rng.uniform(size=200)
    alike = [Streams(Network(Topology(2, 1, blocks=(2,)), seed=1), 200) for _ in range(2)]
    expected = alike[0].learn(X, targets, 0.1, weight=weight.copy())
    assert np.array_equal(alike[1].learn(X, targets, 0.1, weight=weight, out=weight[:, np.newaxis]), expected)
    assert np.array_equal(alike[0].network.parameters, alike[1].network.parameters)


def test_threads_that_begin_to_learn_at_once_get_the_same_partials(monkeypatch):
    streams = Streams(Network(TOPOLOGY, seed=1), 3)
    make, made = streams._layout.streams_partials, []

    def make_late(n):
        made.append(make(n))
        if len(made) == 1:  # another thread is first
            streams.learn(np.ones((3, 3)), None)
        return made[-1]

    monkeypatch.setattr(type(streams._layout), "streams_partials", lambda layout, n: make_late(n))
    streams.learn(np.ones((3, 3)), None)
    assert len(made) == 2
    assert streams._ds_dw is made[1]
    assert made[1].any()
    assert not made[0].any()


def test_threads_step_streams_of_their_own_and_refuse_to_share():
    net = Network(TOPOLOGY, seed=1)
    X = np.random.default_rng(0).uniform(-1, 1, (20, 300, 3))
    expected = Streams(net, 300)
    Y = [expected.step(x) for x in X]
    found = {}

    def work(i):
        mine = Streams(net, 300)
        found[i] = all(np.array_equal(mine.step(x), y) for x, y in zip(X, Y, strict=True))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(4), True)
    with expected._engine, pytest.raises(RuntimeError, match="in use by another thread"):
        expected.step(X[0])
    with net._engine.hold(weights=True, state=False), pytest.raises(RuntimeError, match="being saved or copied"):
        expected.learn(X[0], None)
    expected.learn(X[0], None)
