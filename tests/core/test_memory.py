"""The memory of optimizer, readout and scaling belongs to the network: it goes wherever the weights go, to the bit."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from compare import assert_close
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from learning_rules import LearningNetwork, Optimizer
from rule_cases import (
    BATCH_RULES,
    OPTIMIZERS,
    RULES,
    TOLERANCE,
    data_of,
    pair,
    rate_of,
    reference_of,
    rule_cases,
    some_data,
)
from topologies import may_lack_targets

import lstm97
from lstm97 import SGD, Checkpoint, History, Network, Topology

pytestmark = may_lack_targets

DTYPES = ("float64", "float32")
LINEAR = Topology(3, 2, blocks=(2, 1), n_hidden=1, forget_gates=True, input_to_output=True, output="identity")


def stream(seed=0, n_steps=40, symbols=False):
    """Inputs and targets of a stream for LINEAR, some targets missing."""
    rng = np.random.default_rng(seed)
    T = rng.uniform(-1, 1, (n_steps, 2))
    T[rng.random(n_steps) < 0.3] = np.nan
    T[rng.random(T.shape) < 0.1] = np.nan
    return rng.integers(3, size=n_steps) if symbols else rng.uniform(-1, 1, (n_steps, 3)), T


def made(name, dtype="float64", *, symbols=False):
    """A network with one of the rules, in the middle of a stream."""
    net = Network(LINEAR, dtype, seed=1, **RULES[name])
    net.learn_run(*stream(symbols=symbols), 0.01)
    return net


def future(net, *, symbols=False):
    """All that a network will do: its outputs and weights on a stream from where it is."""
    X, T = stream(1, symbols=symbols)
    with_old_state = net.learn_run(X, T, 0.01)
    net.reset()
    return np.concatenate([with_old_state.ravel(), net.learn_run(X, T, 0.01).ravel(), net.parameters])


every_rule = pytest.mark.parametrize("name", RULES)


# ---- one rule however it is called ----


@every_rule
@pytest.mark.parametrize("dtype", DTYPES)
@examples(0.5)
@given(case=rule_cases(output="identity"), data=st.data())
def test_learning_gives_the_same_bits_however_it_is_called(name, dtype, case, data):
    X, D, weights = data_of(case, dtype)
    rule, rate = RULES[name], rate_of(case, RULES[name])

    def by_learn(net):
        return [net.learn(x, d, rate, weight=w) for x, d, w in zip(X, D, weights, strict=True)]

    def by_correct(net):
        outputs = []
        for x, d, w in zip(X, D, weights, strict=True):
            outputs.append(net.learn(x, None))
            if w and (d >= 0 if case.classes else not np.isnan(d).all()):
                net.correct(d, rate, weight=w)
        return outputs

    def by_runs(net):
        outputs, at = [], 0
        while at < case.n_steps:
            part = slice(at, at + data.draw(st.integers(1, 9)))
            outputs.extend(net.learn_run(X[part], D[part], rate, weight=weights[part]))
            at = part.stop
        return outputs

    def by_train(net):
        pack = lstm97.Sequences.pack
        lstm97.train(net, pack([X]), pack([D]), rate, sample_weight=[weights])

    nets, outputs = [], []
    for call in (by_learn, by_correct, by_runs, by_train):
        net, _ = pair(case, dtype, rule)
        outputs.append(call(net))
        net.reset()
        net.learn_run(X, D, rate)  # what it has in memory shows here
        nets.append(net)
    for net, found in zip(nets[1:], outputs[1:], strict=True):
        assert np.array_equal(net.parameters, nets[0].parameters)
        assert found is None or np.array_equal(found, outputs[0])


@every_rule
@pytest.mark.parametrize("dtype", DTYPES)
@examples(0.5)
@given(case=rule_cases(output="identity", max_steps=12), data=st.data())
def test_all_states_of_a_network_share_its_memory(name, dtype, case, data):
    net, reference = pair(case, dtype, RULES[name])
    other = LearningNetwork(case.topology, reference.weights, SGD())
    for shared in ("weights", "optimizer", "readout", "input_columns", "target_columns"):
        setattr(other, shared, getattr(reference, shared))
    rate = rate_of(case, RULES[name])
    streams = [(net.state, reference), (net.new_state(), other)]
    for x, target, weight in zip(*data_of(case, dtype), strict=True):
        state, judge = data.draw(st.sampled_from(streams))
        y = net.learn(x, target, rate, state=state, weight=min(weight, 1.0))
        assert_close(y, judge.learn(x, target, rate, min(weight, 1.0)), TOLERANCE[dtype], "outputs")
    assert_close(net.weights, reference.weights, TOLERANCE[dtype], "weights")


# ---- copies and files ----


def saved_and_loaded(net, tmp_path):
    net.save(tmp_path / "net", state=True)
    return lstm97.load(tmp_path / "net")


COPIES = {
    "copy": lambda net, _: copy.copy(net),
    "deepcopy": lambda net, _: copy.deepcopy(net),
    "pickle": lambda net, _: pickle.loads(pickle.dumps(net)),
    "file": saved_and_loaded,
}


@every_rule
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("symbols", [False, True])
def test_copies_go_on_to_the_same_bits(how, name, dtype, symbols, tmp_path):
    net = made(name, dtype, symbols=symbols)
    expected = future(made(name, dtype, symbols=symbols), symbols=symbols)
    found = COPIES[how](net, tmp_path)
    assert (found.optimizer, found.readout, found.scaling) == (net.optimizer, net.readout, net.scaling)
    assert np.array_equal(future(found, symbols=symbols), expected)
    assert np.array_equal(future(net, symbols=symbols), expected)  # they share nothing


@every_rule
def test_files_without_state_have_the_memory_too(name, tmp_path):
    net, same = made(name), made(name)
    net.save(tmp_path / "net")
    same.reset()
    assert np.array_equal(future(lstm97.load(tmp_path / "net")), future(same))


@every_rule
def test_a_saved_file_has_the_same_bytes_each_time(name, tmp_path):
    for path in ("a", "b"):
        made(name).save(tmp_path / path, state=True)
    lstm97.load(tmp_path / "a").save(tmp_path / "c", state=True)
    contents = [(tmp_path / path).read_bytes() for path in "abc"]
    assert contents[0] == contents[1] == contents[2]


class Killed(BaseException):
    """Raised in place of a kill."""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "how"),
    [*((name, {}) for name in RULES), *((name, {"update": "sequence", "batch_size": 5}) for name in BATCH_RULES)],
)
def test_training_goes_on_from_a_checkpoint_to_the_same_bits(name, how, dtype, tmp_path):
    def trained(checkpoint, kill_in_epoch=None):
        net, history = Network(Topology(2, 1, output="identity"), dtype, seed=1, **RULES[name]), History()

        def callback(history):
            if history.epochs == kill_in_epoch:
                raise Killed

        try:
            data = some_data(n=23)
            lstm97.train(net, *data, 0.02, epochs=4, history=history, checkpoint=checkpoint, callback=callback, **how)
        except Killed:
            return None
        return np.concatenate([net.parameters, history.errors, net.learn_run([[1.0, 2.0]] * 5, [[0.5]] * 5).ravel()])

    checkpoint = Checkpoint(tmp_path / "run", sequences=4)
    for epoch in (1, 3):
        assert trained(checkpoint, kill_in_epoch=epoch) is None
    assert np.array_equal(trained(checkpoint), trained(None))


@every_rule
def test_a_checkpoint_of_another_rule_is_refused(name, tmp_path):
    data, checkpoint = some_data(), Checkpoint(tmp_path / "run")
    lstm97.train(Network(Topology(2, 1, output="identity"), **RULES[name]), *data, 0.01, checkpoint=checkpoint)
    with pytest.raises(ValueError, match="is the checkpoint of another run"):
        lstm97.train(Network(Topology(2, 1, output="identity")), *data, 0.01, checkpoint=checkpoint)


# ---- growth, another optimizer ----


def grown_reference(reference, net):
    """The reference with memory in place in the grown network ``net``, zero for what is new."""
    old, new = reference.topology, net.topology
    judge = LearningNetwork(new, net.weights, reference.optimizer.settings)
    columns = {}
    for kind in reference.weights:
        starts = np.cumsum([0, *new.sources(kind).values()])
        pairs = zip(starts, new.sources(kind), strict=False)
        columns[kind] = [a + i for a, source in pairs for i in range(old.sources(kind).get(source, 0))]
    judge.optimizer.t = reference.optimizer.t
    for memory, before in ((judge.optimizer.m, reference.optimizer.m), (judge.optimizer.v, reference.optimizer.v)):
        for kind, array in before.items():
            memory[kind][: len(array), columns[kind]] = array
    if reference.readout is not None:
        judge.readout = copy.deepcopy(reference.readout)
        judge.readout.P = reference.readout.settings.prior * np.eye(new.n_sources("output"))
        judge.readout.P[np.ix_(columns["output"], columns["output"])] = reference.readout.P
    judge.input_columns, judge.target_columns = reference.input_columns, reference.target_columns
    return judge


def both_learn(net, reference, case, dtype, rate):
    for x, target, weight in zip(*data_of(case, dtype), strict=True):
        weight = min(weight, 1.0)
        y = net.learn(x, target, rate, weight=weight)
        assert_close(y, reference.learn(x, target, rate, weight), TOLERANCE[dtype], "outputs")
    assert_close(net.weights, reference.weights, TOLERANCE[dtype], "weights")


@every_rule
@pytest.mark.parametrize("dtype", DTYPES)
@examples(0.5)
@given(case=rule_cases(output="identity", max_steps=15), size=st.integers(1, 3))
def test_a_new_block_leaves_memory_in_place(name, dtype, case, size):
    net, reference = pair(case, dtype, RULES[name])
    rate = rate_of(case, RULES[name])
    both_learn(net, reference, case, dtype, rate)
    grown = net.with_block(size)
    assert (grown.optimizer, grown.readout, grown.scaling) == (net.optimizer, net.readout, net.scaling)
    both_learn(grown, grown_reference(reference, grown), case, dtype, rate)


@every_rule
@pytest.mark.parametrize("dtype", DTYPES)
@examples(0.5)
@given(case=rule_cases(output="identity", max_steps=15), optimizer=st.sampled_from([SGD(), *OPTIMIZERS.values()]))
def test_another_optimizer_begins_with_empty_memory(name, dtype, case, optimizer):
    net, reference = pair(case, dtype, RULES[name])
    rate = rate_of(case, RULES["adam"])
    both_learn(net, reference, case, dtype, rate)
    expected = copy.deepcopy(net)
    other = net.with_optimizer(optimizer)
    assert (other.optimizer, other.readout, other.scaling) == (optimizer, net.readout, net.scaling)
    assert np.array_equal(other.parameters, net.parameters)
    judge = reference_of(other, {"optimizer": optimizer})
    for kept in ("readout", "input_columns", "target_columns"):
        setattr(judge, kept, getattr(reference, kept))
    judge.optimizer = Optimizer(optimizer, judge.weights)
    both_learn(other, judge, case, dtype, rate)
    X, D, _ = data_of(case, dtype)  # the network itself is as it was, memory included
    assert np.array_equal(net.learn_run(X, D, rate), expected.learn_run(X, D, rate))
    assert np.array_equal(net.parameters, expected.parameters)


# ---- failures ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("symbols", [False, True])
@pytest.mark.parametrize("name", [name for name in RULES if "scaling" not in RULES[name] and "bound" not in name])
def test_a_change_that_is_not_finite_changes_neither_weights_nor_memory(name, symbols, dtype):
    net, same = (made(name, dtype, symbols=symbols) for _ in range(2))
    huge = [np.finfo(dtype).max / 4, 0.0]
    x, weights = (1 if symbols else [0.5, 1, -1]), net.parameters
    for failing in (
        lambda: net.learn(x, huge, 1e30),
        lambda: net.learn_run([x], [huge], 1e30),
        lambda: lstm97.train(net, lstm97.Sequences.pack([[x]]), [huge], 1e30),
    ):
        net.reset()
        with pytest.raises(FloatingPointError):
            failing()
        assert np.array_equal(net.parameters, weights)
    net.reset()
    same.reset()
    assert np.array_equal(future(net, symbols=symbols), future(same, symbols=symbols))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_a_rate_too_small_to_matter_leaves_the_weights_finite(name, dtype):
    """A factor that is divided by such a rate, and would not be finite in float32, once made weights NaN."""
    net = made(name, dtype)
    for rate in (1e-15, 1e-25, 1e-35, 1e-40):
        net.learn_run(*stream(2), rate)
        assert np.isfinite(net.parameters).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sum_of_gradients_that_a_later_rate_could_not_bear_is_refused(dtype):
    """With a tiny rate the weights would stay small, and the next, moderate gradient would be taken without a look."""
    net, huge = Network(LINEAR, dtype, optimizer=SGD(momentum=0.9)), float(np.finfo(dtype).max) / 1e3
    weights = net.parameters
    with pytest.raises(FloatingPointError):
        net.learn([0.5, 1, -1], [huge, 0], 1 / huge)
    assert np.array_equal(net.parameters, weights)
    net.reset()
    net.learn([0.5, 1, -1], [1, 0], 6e4)
    assert np.isfinite(net.parameters).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["momentum", "rmsprop", "adam"])
def test_a_batch_that_is_not_finite_changes_neither_weights_nor_memory(name, dtype):
    net, same = made(name, dtype), made(name, dtype)
    X, T = np.random.default_rng(0).uniform(size=(3, 5, 3)), np.zeros((3, 2))
    T[2] = np.finfo(dtype).max / 4
    with pytest.raises(FloatingPointError):
        lstm97.train(net, X, T, 1e30, update="sequence", batch_size=3)
    for network in (net, same):
        network.reset()
    assert np.array_equal(future(net), future(same))
