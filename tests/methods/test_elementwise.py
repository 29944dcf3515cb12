"""LSTM nets with element-wise recurrence: theirs is the whole gradient, and a Network's without recurrence too."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import reference as ref
from compare import assert_close
from elementwise_reference import DualNetwork, whole_gradient
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from rule_cases import OPTIMIZERS, rule_cases
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from topologies import may_lack_targets, packed

import lstm97
from lstm97 import SGD, Adam, Network, Topology
from lstm97.methods import ElementwiseLSTM, load

equal = np.testing.assert_array_equal

pytestmark = may_lack_targets

TOLERANCE = 1e-11


def made(case, optimizer=SGD()):  # noqa: B008
    """A learner with the weights of a case."""
    net = ElementwiseLSTM(case.topology, optimizer=optimizer)
    net.weights.update(case.weights)
    return net


def small_cases(recurrent="self", **options):
    return rule_cases(**{"min_steps": 2, "max_steps": 12, "recurrent": recurrent, **options})


def sums_to_one(case):
    """Targets of a case; of softmax, rows that add up to one, as the cross-entropy of which e = t - y is needs them."""
    if case.topology.output != "softmax" or case.classes:
        return case.targets
    return case.targets / case.targets.sum(axis=1, keepdims=True)


# ---- the gradient ----------------------------------------------------------------------------------------------------


def as_sequences(inputs, targets):
    """Sequences as `train` takes them."""
    return (packed(steps, steps[0].ndim == 1) for steps in (inputs, targets))


def changes_of(net, train, inputs, targets, learning_rate=1.0):
    """What `train` adds to each weight of a net in one update by the sequence."""
    before = {kind: w.copy() for kind, w in net.weights.items()}
    train(*as_sequences([inputs], [targets]), learning_rate, update="sequence")
    return {kind: w - before[kind] for kind, w in net.weights.items()}


@pytest.mark.parametrize("forget_gates", [False, True])
@pytest.mark.parametrize("output_gates", [False, True])
@examples(0.5)
@given(data=st.data())
def test_a_change_by_the_sequence_is_the_gradient_of_the_whole_objective(data, output_gates, forget_gates):
    case = data.draw(small_cases(output_gates=output_gates, forget_gates=forget_gates))
    targets = sums_to_one(case)
    net = made(case)
    found = changes_of(net, net.train, case.inputs, targets)
    expected = whole_gradient(case.topology, case.weights, case.inputs, targets)
    assert list(found) == list(expected)
    for kind in expected:
        assert_close(found[kind], expected[kind], TOLERANCE, what=kind)


@pytest.mark.parametrize("blocks", [(), (1,), (3, 1, 2)])
@pytest.mark.parametrize("squash", ["logistic", "centered", "centered2", "tanh", "identity"])
def test_the_gradient_reaches_back_to_the_first_step(blocks, squash):
    """The only target comes 40 steps after the only inputs that are not 0."""
    topology = Topology(
        2, 1, blocks, n_hidden=2, forget_gates=True, recurrent="self", bias="none", input_squash=squash,
        output_squash=squash, output="identity",
    )  # fmt: skip
    rng = np.random.default_rng(1)
    net = ElementwiseLSTM(topology)
    for kind, w in net.weights.items():
        w[...] = rng.uniform(-1, 1, w.shape)
        if kind != "output":
            w[:, 2] = rng.uniform(0.7, 0.9, len(w))
    weights = {kind: w.copy() for kind, w in net.weights.items()}
    X, T = np.zeros((41, 2)), np.full((41, 1), np.nan)
    X[0], T[-1] = [0.7, -0.3], 0.5
    expected = whole_gradient(topology, weights, X, T)
    scales = {kind: np.abs(g).max() for kind, g in expected.items()}
    rate = 1 / min(scales.values())  # the smallest changes are then no smaller than rounding errors of weights
    found = changes_of(net, net.train, X, T, rate)
    for kind, g in expected.items():
        np.testing.assert_allclose(found[kind] / rate / scales[kind], g / scales[kind], atol=1e-11, err_msg=kind)
    reached = [expected[kind][:, :2] for kind in topology.units if kind != "output"]
    assert all((np.abs(part) > 0).all() for part in reached)


@examples(0.5)
@given(case=small_cases(recurrent=False, when="some"))
def test_a_network_without_recurrence_has_the_whole_gradient_already(case):
    """Nothing of its rule is truncated where no unit of the hidden layer sees another: finite differences and duals."""
    targets = sums_to_one(case)
    net = Network(case.topology)
    net.weights.update(case.weights)
    found = changes_of(net, lambda *args, **how: lstm97.train(net, *args, **how), case.inputs, targets)
    expected = whole_gradient(case.topology, case.weights, case.inputs, targets)
    dual = DualNetwork(case.topology, case.weights, SGD())
    dual.train(case.inputs, targets, 1.0)
    for kind in expected:
        assert_close(found[kind], expected[kind], TOLERANCE, what=kind)
        assert_close(found[kind], dual.weights[kind] - case.weights[kind], TOLERANCE, what=kind)


@pytest.mark.parametrize("name", ["plain", *OPTIMIZERS])
@examples(0.5)
@given(data=st.data())
def test_online_trajectories_are_those_of_dual_numbers(data, name):
    """Where weights change at each error signal: outputs and weights of every step, by every optimizer."""
    case = data.draw(small_cases())
    optimizer = SGD() if name == "plain" else OPTIMIZERS[name]
    net, dual = made(case, optimizer), DualNetwork(case.topology, case.weights, optimizer)
    for x, target in zip(case.inputs, case.targets, strict=True):
        y = net.learn(x, target, case.learning_rate)
        assert_close(y, dual.learn(x, target, case.learning_rate), TOLERANCE, what="y")
    for kind, w in dual.weights.items():
        assert_close(net.weights[kind], w, TOLERANCE, what=kind)


@pytest.mark.parametrize("name", ["plain", *OPTIMIZERS])
@examples(0.3)
@given(data=st.data())
def test_updates_by_the_sequence_are_those_of_dual_numbers(data, name):
    case = data.draw(small_cases())
    optimizer = SGD() if name == "plain" else OPTIMIZERS[name]
    net, dual = made(case, optimizer), DualNetwork(case.topology, case.weights, optimizer)
    cuts = [slice(0, 1), slice(1, None), slice(0, None)]
    inputs, targets = ([values[cut] for cut in cuts] for values in (case.inputs, case.targets))
    net.train(*as_sequences(inputs, targets), case.learning_rate, update="sequence")
    for X, T in zip(inputs, targets, strict=True):
        dual.train(X, T, case.learning_rate)
    for kind, w in dual.weights.items():
        assert_close(net.weights[kind], w, TOLERANCE, what=kind)


# ---- the step --------------------------------------------------------------------------------------------------------


@examples(1)
@given(case=rule_cases(large=True, recurrent="self"))
def test_with_no_weight_from_itself_a_step_is_that_of_a_network_without_recurrence(case):
    topology = replace(case.topology, recurrent=False)
    net, network = ElementwiseLSTM(case.topology), Network(topology)
    for kind, w in case.weights.items():
        net.weights[kind] = w
        if kind != "output":
            net.weights[kind][:, topology.n_inputs] = 0
            w = np.delete(w, topology.n_inputs, axis=1)
        network.weights[kind] = w
    assert_close(net.run(case.inputs), network.run(case.inputs), TOLERANCE, what="outputs")
    net.reset()
    network.reset()
    for x in case.inputs:
        assert_close(net.step(x), network.step(x), TOLERANCE, what="output")


def test_inference_carries_what_learning_needs():
    """`run`, then one `learn`: the gradient reaches back over the steps of inference."""
    topology = Topology(3, 2, (2, 1), n_hidden=1, forget_gates=True, recurrent="self")
    rng = np.random.default_rng(0)
    X, T = rng.random((9, 3)), np.array([0.2, 0.9])
    net, other = ElementwiseLSTM(topology, 3, 0.8), ElementwiseLSTM(topology, 3, 0.8)
    net.run(X[:-1])
    net.learn(X[-1], T)
    other.learn_run(X, np.vstack([np.full((8, 2), np.nan), T]))
    equal(net.parameters, other.parameters)


@given(optimizer=st.sampled_from([SGD(), *OPTIMIZERS.values()]), input_to_output=st.booleans(), seed=st.integers(0, 99))
def test_symbols_learn_as_rows_do_but_for_inputs_that_were_not_seen(optimizer, input_to_output, seed):
    topology = Topology(6, 4, (2, 1), input_to_output=input_to_output, recurrent="self", output="softmax")
    rng = np.random.default_rng(seed)
    X, T = rng.integers(4, size=30), rng.integers(4, size=30)
    nets = [ElementwiseLSTM(topology, 3, 0.8, optimizer=optimizer) for _ in range(2)]
    before = nets[0].weights["cell"].copy()
    nets[0].learn_run(X, T, 0.1)
    equal(nets[0].weights["cell"][:, 4:6], before[:, 4:6])
    assert (nets[0].weights["cell"] != before)[:, np.unique(X)].all()
    if optimizer == SGD():
        nets[1].learn_run(np.eye(6)[X], T, 0.1)
        np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, atol=1e-13)


def test_memory_and_cost_do_not_depend_on_the_stream():
    topology = Topology(50, 3, (2, 2), recurrent="self")
    net = ElementwiseLSTM(topology)
    before = net.n_bytes
    net.learn_run(np.random.default_rng(0).random((5000, 50)), np.full(5000, 1), 0.01)
    assert net.n_bytes == before
    assert before < 8 * topology.n_weights * 20


def test_it_learns_to_remember_where_a_rule_that_truncates_does_not():
    """Conventional hidden units must keep the first input for three steps: only the whole gradient tells them to."""
    rng = np.random.default_rng(0)
    inputs = np.zeros((2000, 4, 1))
    inputs[:, 0, 0] = rng.choice([-1.0, 1.0], 2000)
    targets = (inputs[:, 0] + 1) / 2
    topology = Topology(1, 1, (), n_hidden=3, recurrent="self")
    net = ElementwiseLSTM(topology, 1, 1.0, optimizer=Adam())
    assert net.train(inputs, targets, 0.05).errors[-200:].mean() < 0.05
    truncated = Network(replace(topology, recurrent=True), seed=1, init_range=1.0, optimizer=Adam())
    assert lstm97.train(truncated, inputs, targets, 0.05).errors[-200:].mean() > 0.4


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_files_and_copies_have_the_memory_of_the_optimizer(optimizer, tmp_path):
    topology = Topology(3, 2, (2, 1), n_hidden=1, forget_gates=True, bias="gates", recurrent="self")
    rng = np.random.default_rng(0)
    X, T = rng.random((40, 3)), rng.random((40, 2))
    net = ElementwiseLSTM(topology, 1, 0.5, optimizer=optimizer)
    net.learn_run(X[:20], T[:20], 0.05)
    net.save(tmp_path / "net")
    net.reset()
    others = [load(tmp_path / "net"), copy.deepcopy(net)]
    Y = net.learn_run(X[20:], T[20:], 0.05)
    for other in others:
        assert other.optimizer == optimizer
        assert other.topology == topology
        equal(other.learn_run(X[20:], T[20:], 0.05), Y)
        equal(other.parameters, net.parameters)


def changed(path, settings=(), tensors=(), topology=(), optimizer=()):
    """Write a file anew, with some settings and tensors changed."""
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    found = json.loads(metadata["settings"])
    found["topology"] |= dict(topology)
    found["optimizer"] |= dict(optimizer)
    metadata["settings"] = json.dumps(found | dict(settings))
    save_file(load_file(path) | dict(tensors), path, metadata)


@pytest.mark.parametrize(
    "change",
    [
        {"topology": {"recurrent": True}},
        {"topology": {"recurrent": "all"}},
        {"topology": {"n_inputs": 4}},
        {"topology": {"n_inputs": 10**9}},
        {"optimizer": {"name": "SGD"}},
        {"optimizer": {"name": "Lion"}},
        {"optimizer": {"beta1": 2.0}},
        {"optimizer": {"momentum": 0.5}},
        {"settings": {"optimizer": {}}},
        {"settings": {"optimizer": 3}},
        {"settings": {"optimizer": {"name": "SGD", "momentum": 0.5, "bound": None}}},
        {"settings": {"more": 1}},
        {"tensors": {"memory.m.cell": np.zeros((4, 5))}},
        {"tensors": {"memory.m.cell": np.full((4, 4), np.nan)}},
        {"tensors": {"memory.v.cell": np.full((4, 4), -1.0)}},
        {"tensors": {"memory.updates": np.full(1, -1.0)}},
        {"tensors": {"memory.updates": np.zeros(1, np.int64)}},
        {"tensors": {"memory.w.cell": np.zeros((4, 4))}},
    ],
)
def test_files_that_are_not_its_own_are_refused(change, tmp_path):
    path = tmp_path / "net"
    ElementwiseLSTM(Topology(2, 1, recurrent="self"), optimizer=Adam()).save(path)
    changed(path)
    load(path)
    changed(path, **change)
    with pytest.raises(ValueError, match=r"is not a file of lstm97\.methods"):
        load(path)


def test_it_says_what_it_is():
    net = ElementwiseLSTM(Topology(2, 1, recurrent="self"), optimizer=Adam(bound=1.0))
    assert "recurrent='self'" in repr(net)
    assert net.optimizer == Adam(bound=1.0)
    assert (net.topology.n_weights, net.parameters.shape) == (37, (37,))
    assert ref.weight_shapes(net.topology) == {kind: w.shape for kind, w in net.weights.items()}


# ---- from outside ----------------------------------------------------------------------------------------------------


def torch_losses(torch, topology, weights, inputs, targets):
    """The loss of all steps that have a target; the graph leads to the weights through everything."""
    squash = {
        "logistic": torch.sigmoid,
        "centered": lambda a: 2 * torch.sigmoid(a) - 1,
        "centered2": lambda a: 4 * torch.sigmoid(a) - 2,
        "tanh": torch.tanh,
        "identity": lambda a: a,
    }
    block = torch.tensor([j for j, size in enumerate(topology.blocks) for _ in range(size)], dtype=torch.long)
    one = torch.ones(1, dtype=torch.float64)
    y = {kind: torch.zeros(len(w), dtype=torch.float64) for kind, w in weights.items()}
    s, total = torch.zeros(len(block), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    n = topology.n_inputs
    for x, target in zip(inputs, targets, strict=True):
        net = {
            kind: w[:, :n] @ x + w[:, n] * y[kind] + (w[:, n + 1] if w.shape[1] > n + 1 else 0)
            for kind, w in weights.items()
            if kind != "output"
        }
        y = y | {kind: torch.sigmoid(a) for kind, a in net.items() if kind != "cell"}
        if topology.blocks:
            kept = s * y["forget_gate"][block] if "forget_gate" in y else s
            s = kept + y["input_gate"][block] * squash[topology.input_squash](net["cell"])
            y["cell"] = squash[topology.output_squash](s)
            if "output_gate" in y:
                y["cell"] = y["cell"] * y["output_gate"][block]
        seen = [x] if topology.input_to_output else []
        seen += [y[kind] for kind in ("hidden", "cell") if kind in y]
        seen += [one] if topology.bias in ("all", "gates_and_output") else []
        a = torch.mv(weights["output"], torch.cat([torch.zeros(0, dtype=torch.float64), *seen]))
        if target is not None:
            total = total + torch_loss(torch, topology, a, torch.from_numpy(target))
    return total


def torch_loss(torch, topology, a, target):
    functional = torch.nn.functional
    if topology.output == "softmax":
        return functional.cross_entropy(a, target)
    if topology.loss == "cross_entropy":
        return functional.binary_cross_entropy_with_logits(a, target, reduction="sum")
    if topology.loss == "huber":
        return functional.huber_loss(a, target, reduction="sum")
    y = torch.sigmoid(a) if topology.output == "logistic" else a
    return functional.mse_loss(y, target, reduction="sum") / 2


@pytest.mark.peers
@examples(0.5)
@given(case=small_cases(max_steps=25))
def test_automatic_differentiation_gives_the_same_gradient(case):
    import torch  # not at the top, as this file is also collected where torch is missing

    targets = sums_to_one(case)
    weights = {kind: torch.tensor(w, dtype=torch.float64, requires_grad=True) for kind, w in case.weights.items()}
    inputs = [torch.from_numpy(ref.input_vector(case.topology, x)) for x in case.inputs]
    rows = [ref.target_vector(case.topology, target) for target in targets]
    loss = torch_losses(torch, case.topology, weights, inputs, rows)
    net = made(case)
    found = changes_of(net, net.train, case.inputs, targets)
    if not loss.requires_grad:
        assert all((change == 0).all() for change in found.values())
        return
    gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    for kind, g in zip(weights, gradients, strict=True):
        expected = np.zeros(found[kind].shape) if g is None else -g.numpy()
        assert_close(found[kind], expected, TOLERANCE, what=kind)
