"""Finite differences, hand calculation and the paper's weight counts judge the reference."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import reference as ref
from compare import assert_close
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from topologies import Case, cases, random_inputs, random_targets

import lstm97

# ---- the truncated objective ---------------------------------------------------------------------------------------
#
# The learning rule drops every d net / d y(t-1). It is therefore the exact gradient of another network, in which the
# sources of the hidden layer are constants, recorded from a run with the present weights. In that network a weight
# affects the error only through its unit's net input, from there into the state, through the carousel (forget gates
# included, as s(t-1) is no source) to later states, and at the step of the error through y_c to the outputs. The code
# below is independent of the reference: it uses whole arrays and other formulas, and leading axes for many slightly
# changed copies of the weights.


def logistic(a):
    return 0.5 + 0.5 * np.tanh(a / 2)


SQUASH = {
    "logistic": logistic,
    "centered": lambda a: np.tanh(a / 2),
    "centered2": lambda a: 2 * np.tanh(a / 2),
    "tanh": np.tanh,
    "identity": lambda a: a,
}


def record(net, inputs, targets, learning_rate):
    """Learn step by step; return each step's outputs, sources of the hidden layer, and weights."""
    outputs, sources, weights = [], [], []
    topology = net.topology
    net.reset()
    for x, target in zip(inputs, targets, strict=True):
        seen = list(np.eye(topology.n_inputs)[x]) if np.ndim(x) == 0 else list(x)
        if topology.recurrent:
            seen.extend(net.activations.get("hidden", ()))
            seen.extend(net.activations.get("cell", ()))
            if topology.gate_sources:
                for gate in ("input_gate", "output_gate", "forget_gate"):
                    seen.extend(net.activations.get(gate, ()))
        sources.append(np.array(seen))
        weights.append({kind: w.copy() for kind, w in net.weights.items()})
        outputs.append(net.learn(x, target, learning_rate))
    return outputs, sources, weights


def truncated_nets(topology, sources, weights):
    """Net inputs of the outputs at every step, given each step's sources and weights (..., units, sources)."""
    n_blocks = len(topology.blocks)
    block = np.repeat(np.arange(n_blocks), topology.blocks)
    s = np.zeros(len(block))
    nets = []
    for seen, w in zip(sources, weights, strict=True):
        net = {}
        for kind in w:
            if kind != "output":
                biased = w[kind].shape[-1] == len(seen) + 1
                net[kind] = w[kind] @ np.append(seen, 1.0) if biased else w[kind] @ seen
        if n_blocks:
            s = logistic(net["forget_gate"])[..., block] * s if topology.forget_gates else s
            s = s + logistic(net["input_gate"])[..., block] * SQUASH[topology.input_squash](net["cell"])
            y_c = SQUASH[topology.output_squash](s)
            y_c = logistic(net["output_gate"])[..., block] * y_c if topology.output_gates else y_c
        parts = [seen[: topology.n_inputs]] if topology.input_to_output else []
        parts += [logistic(net["hidden"])] if topology.n_hidden else []
        parts += [y_c] if n_blocks else []
        parts += [np.ones(1)] if topology.bias in ("all", "gates_and_output") else []
        lead = np.broadcast_shapes(w["output"].shape[:-2], *(part.shape[:-1] for part in parts))
        parts = [np.broadcast_to(part, (*lead, part.shape[-1])) for part in parts]
        to_output = np.concatenate([np.zeros((*lead, 0)), *parts], axis=-1)
        nets.append((w["output"] @ to_output[..., None])[..., 0])
    return nets


def output_of(topology, net):
    if topology.output == "identity":
        return net
    if topology.output == "logistic":
        return logistic(net)
    return np.exp(net - np.logaddexp.reduce(net, axis=-1, keepdims=True))


def error_of(topology, net, target):
    """E of one step; 0 without a target.

    For softmax log sum_k exp(net_k) - sum_k t_k net_k: the cross-entropy when the targets add up to one, and with
    any targets a function whose derivatives are y_k - t_k. In the same way log(1 + exp(net_k)) - t_k net_k for the
    cross-entropy of logistic outputs, each by itself.
    """
    if np.ndim(target) == 0:
        target = np.eye(topology.n_outputs)[target] if target >= 0 else np.full(topology.n_outputs, np.nan)
    given = ~np.isnan(target)
    if not given.any():
        return np.zeros(net.shape[:-1])
    if topology.output == "softmax":
        return np.logaddexp.reduce(net, axis=-1) - net @ target
    net, target = net[..., given], target[given]
    distance = np.abs(target - output_of(topology, net))
    errors = {
        "squared": lambda: 0.5 * distance**2,
        "cross_entropy": lambda: np.logaddexp(0, net) - target * net,
        "huber": lambda: np.where(distance < 1, 0.5 * distance**2, distance - 0.5),
    }
    return errors[ref.loss_of(topology)]().sum(axis=-1)


def truncated_gradient(topology, sources, weights, targets, kind, which):
    """Central differences of fourth order of the summed error, by the weights (unit, source) of one kind.

    A weight changes by the same amount at all steps, although weights may differ between steps.
    """
    largest = max((np.abs(seen).max() for seen in sources), default=1.0)
    h = 5e-3 / (max(1.0, largest) * len(sources))  # so that states change by about as much in all cases
    factors = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
    nudges = np.zeros((len(factors), len(which), *weights[0][kind].shape))
    for a, steps in enumerate(factors):
        for b, (unit, source) in enumerate(which):
            nudges[a, b, unit, source] = steps * h
    nudged = [{**w, kind: w[kind] + nudges} for w in weights]
    nets = truncated_nets(topology, sources, nudged)
    error = sum(error_of(topology, net, target) for net, target in zip(nets, targets, strict=True))
    return np.array(list(factors.values())) @ np.broadcast_to(error, nudges.shape[:2]) / h


def some_weights(shape, seed, at_most=24):
    """Index pairs of all weights of a kind, or of a random part of them."""
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(shape[0] * shape[1])[:at_most]
    return [divmod(int(number), shape[1]) for number in numbers]


ERRORS = st.sampled_from(["end", "every", "some"])
FD_TOLERANCE = 1e-9


@examples(1.5)
@given(case=ERRORS.flatmap(lambda when: cases(min_steps=2, max_steps=12, when=when)))
def test_sequence_change_is_the_gradient_of_the_truncated_objective(case):
    topology = case.topology
    net = ref.ReferenceNetwork(topology, case.weights)
    no_targets = [None] * case.n_steps
    outputs, sources, weights = record(net, case.inputs, no_targets, case.learning_rate)
    nets = truncated_nets(topology, sources, weights)
    assert_close(outputs, [output_of(topology, a) for a in nets], 1e-12, "outputs of the truncated network")

    ref.train(net, [case.inputs], [case.targets], case.learning_rate, update="sequence")

    for kind, w in net.weights.items():
        which = some_weights(w.shape, case.seed)
        gradient = truncated_gradient(topology, sources, weights, case.targets, kind, which)
        change = w - case.weights[kind]
        found = np.array([change[index] for index in which]) / -case.learning_rate
        assert_close(found, gradient, FD_TOLERANCE, f"truncated gradient of {kind}")


@examples(0.8)
@given(case=ERRORS.flatmap(lambda when: cases(min_steps=2, max_steps=6, when=when)))
def test_each_online_change_is_the_gradient_of_the_truncated_objective_of_its_step(case):
    topology = case.topology
    net = ref.ReferenceNetwork(topology, case.weights)
    outputs, sources, weights = record(net, case.inputs, case.targets, case.learning_rate)
    nets = truncated_nets(topology, sources, weights)
    assert_close(outputs, [output_of(topology, a) for a in nets], 1e-12, "outputs of the truncated network")

    after = [*weights[1:], net.weights]
    for t in range(case.n_steps):
        only_now = [-1] * t + [case.targets[t]]
        for kind, w in weights[t].items():
            which = some_weights(w.shape, [case.seed, t], at_most=8)
            gradient = truncated_gradient(topology, sources[: t + 1], weights[: t + 1], only_now, kind, which)
            change = after[t][kind] - w
            found = np.array([change[index] for index in which]) / -case.learning_rate
            assert_close(found, gradient, FD_TOLERANCE, f"truncated gradient of {kind} at step {t}")


LOSSES = (("logistic", "cross_entropy"), ("identity", "huber"))


def with_loss(topology, loss):
    """The topology, as the reference takes it, with this loss."""
    arguments = {field.name: getattr(topology, field.name) for field in fields(topology)}
    return SimpleNamespace(**{**arguments, "loss": loss})


def partly_missing(case, loss, outputs):
    """The targets of a case, some values missing; for Huber's loss on both sides of its corners, but not close."""
    rng = np.random.default_rng([case.seed, 4])
    targets = case.targets
    if loss == "huber":
        shape = targets.shape
        distances = np.where(rng.random(shape) < 0.5, rng.uniform(-0.9, 0.9, shape), rng.choice([-1.3, 1.2, 5], shape))
        targets = np.where(np.isnan(targets), targets, outputs + distances)
    return np.where(rng.random(targets.shape) < 0.3, np.nan, targets)


@pytest.mark.parametrize(("output", "loss"), LOSSES)
@examples(0.8)
@given(data=st.data(), weight=st.sampled_from([0.5, 1.0, 3.0]))
def test_changes_of_other_losses_and_partly_missing_targets_are_the_gradient(output, loss, data, weight):
    when = data.draw(ERRORS)
    case = data.draw(cases(min_steps=2, max_steps=8, when=when, classes=False, output=output))
    topology = with_loss(case.topology, loss)
    net = ref.ReferenceNetwork(topology, case.weights)
    outputs, sources, weights = record(net, case.inputs, [None] * case.n_steps, 0.1)
    targets = partly_missing(case, loss, np.array(outputs))

    total = {kind: np.zeros_like(w) for kind, w in case.weights.items()}
    net.reset()
    for x, target in zip(case.inputs, targets, strict=True):
        net.learn(x, None)
        if ref.target_vector(topology, target) is not None:
            for kind, change in net.weight_changes(target, weight).items():
                total[kind] += change

    for kind, change in total.items():
        which = some_weights(change.shape, case.seed)
        gradient = truncated_gradient(topology, sources, weights, targets, kind, which)
        found = [change[index] for index in which]
        assert_close(found, -weight * gradient, FD_TOLERANCE * max(1, weight), f"truncated gradient of {kind}")


# ---- by hand -------------------------------------------------------------------------------------------------------
#
# One input, one cell, one linear output, h the identity, no biases, nothing recurrent. At the cell's weight log 3 and
# x = 1, f(net_c) = 3/4, so g(net_c) = 1 and g'(net_c) = 4 * 3/4 * 1/4 = 3/4. Gates have weight 0: they are 1/2 and
# their f' is 1/4.

BY_HAND = SimpleNamespace(
    n_inputs=1,
    n_outputs=1,
    blocks=(1,),
    n_hidden=0,
    output_gates=True,
    forget_gates=False,
    recurrent=False,
    gate_sources=True,
    input_to_output=False,
    bias="none",
    input_squash="centered2",
    output_squash="identity",
    output="identity",
)


def one_cell(forget_gates):
    topology = SimpleNamespace(**{**vars(BY_HAND), "forget_gates": forget_gates})
    weights = {kind: [[0.0]] for kind in ref.count_units(topology)}
    weights["cell"] = [[np.log(3.0)]]
    weights["output"] = [[2.0]]
    return ref.ReferenceNetwork(topology, weights)


def test_two_steps_worked_out_by_hand():
    net = one_cell(forget_gates=False)
    # s = 1/2 * 1, y_c = 1/2 * 1/2, y = 2 * 1/4
    assert_close(net.learn([1.0], None), [0.5], 1e-15)
    assert_close(net.cell_state, [0.5], 1e-15)
    assert_close(net.partials, {"cell": [[0.375]], "input_gate": [[0.25]]}, 1e-15)  # 1/2 * 3/4 and 1 * 1/4
    # s = 1/2 + 1/2, y_c = 1/2, y = 1; the target 3 makes e_k = 2
    assert_close(net.learn([1.0], [3.0], learning_rate=0.5), [1.0], 1e-15)
    assert_close(net.partials, {"cell": [[0.75]], "input_gate": [[0.5]]}, 1e-15)
    expected = {
        "cell": [[np.log(3.0) + 0.5 * 2 * 0.75]],  # e_s = 1/2 * 1 * (2 * 2) = 2
        "input_gate": [[0.5 * 2 * 0.5]],
        "output_gate": [[0.5 * 1]],  # e_out = 1/4 * s * (2 * 2) = 1
        "output": [[2 + 0.5 * 2 * 0.5]],  # e_k y_c
    }
    assert_close(net.weights, expected, 1e-15)


def test_two_steps_with_a_forget_gate_worked_out_by_hand():
    net = one_cell(forget_gates=True)
    net.learn([1.0], None)
    assert_close(net.partials, {"cell": [[0.375]], "input_gate": [[0.25]], "forget_gate": [[0.0]]}, 1e-15)
    # s = 1/2 * 1/2 + 1/2 * 1 = 3/4, y = 2 * 1/2 * 3/4; the target 1.25 makes e_k = 1/2
    assert_close(net.learn([1.0], [1.25], learning_rate=1.0), [0.75], 1e-15)
    partials = {
        "cell": [[0.375 / 2 + 0.375]],
        "input_gate": [[0.25 / 2 + 0.25]],
        "forget_gate": [[0.5 * 0.25]],  # s(t-1) f'
    }
    assert_close(net.partials, partials, 1e-15)
    # e_s = 1/2 * (2 * 1/2) = 1/2
    expected = {kind: 0.5 * np.array(partial) for kind, partial in partials.items()}
    expected["cell"] = expected["cell"] + np.log(3.0)
    expected["output_gate"] = [[0.25 * 0.75 * 1.0]]
    expected["output"] = [[2 + 0.5 * 0.375]]
    order = ("cell", "input_gate", "output_gate", "forget_gate", "output")
    assert_close(net.weights, {kind: expected[kind] for kind in order}, 1e-15)


# ---- weight counts -------------------------------------------------------------------------------------------------

F = {"recurrent": True, "input_to_output": False}
B = {"recurrent": False, "input_to_output": True}
PAPER_COUNTS = {
    "1-1, 1-4": (264, {"n_inputs": 7, "n_outputs": 7, "blocks": (1,) * 4, "bias": "gates", **F}),
    "1-2, 1-3, 1-5": (276, {"n_inputs": 7, "n_outputs": 7, "blocks": (2,) * 3, "bias": "gates", **F}),
    "2a, 2b": (10504, {"n_inputs": 101, "n_outputs": 101, "blocks": (1,), "output_gates": False, "bias": "none", **B}),
    **{
        f"2c, p={p}": (count, {"n_inputs": p + 4, "n_outputs": 2, "blocks": (1, 1), "bias": "none", **F})
        for p, count in {50: 364, 100: 664, 200: 1264, 500: 3064, 1000: 6064}.items()
    },
    "3": (102, {"n_inputs": 1, "n_outputs": 1, "blocks": (1,) * 3, "bias": "hidden", **F}),
    "4, 5": (93, {"n_inputs": 2, "n_outputs": 1, "blocks": (2, 2), "bias": "all", **F}),
    "6a": (156, {"n_inputs": 8, "n_outputs": 4, "blocks": (2, 2), "bias": "all", **F}),
    "6b": (308, {"n_inputs": 8, "n_outputs": 8, "blocks": (2, 2, 2), "bias": "all", **F}),
}


@pytest.mark.parametrize("row", PAPER_COUNTS)
def test_weight_counts_of_the_paper(row):
    count, arguments = PAPER_COUNTS[row]
    shapes = ref.weight_shapes(SimpleNamespace(**{**vars(BY_HAND), **arguments}))
    assert sum(units * sources for units, sources in shapes.values()) == count


# Columns of each kind without a bias, of 3 inputs, 2 conventional hidden units, 1 + 2 cells and 3 x 2 gates: the hidden
# layer sees 3 + 2 + 3 + 6, the outputs 2 + 3.
UNBIASED = {"cell": 14, "input_gate": 14, "output_gate": 14, "forget_gate": 14, "hidden": 14, "output": 5}
GATES = {"input_gate", "output_gate", "forget_gate"}


@pytest.mark.parametrize(
    ("bias", "biased"),
    [
        ("all", set(UNBIASED)),
        ("hidden", GATES | {"cell", "hidden"}),
        ("gates", GATES),
        ("gates_and_output", GATES | {"output"}),
        ("none", set()),
    ],
)
def test_each_bias_mode_gives_its_units_one_more_source(bias, biased):
    topology = lstm97.Topology(3, 2, blocks=(1, 2), n_hidden=2, forget_gates=True, bias=bias)
    sources = {kind: n for kind, (_, n) in ref.weight_shapes(topology).items()}
    assert list(sources.items()) == [(kind, n + (kind in biased)) for kind, n in UNBIASED.items()]


@pytest.mark.parametrize(
    ("flags", "hidden_layer", "outputs"),
    [
        ({"gate_sources": False}, 3 + 2 + 3, 2 + 3),
        ({"recurrent": False}, 3, 2 + 3),
        ({"input_to_output": True}, 3 + 2 + 3 + 6, 3 + 2 + 3),
        ({"output_gates": False}, 3 + 2 + 3 + 4, 2 + 3),
        ({"forget_gates": False}, 3 + 2 + 3 + 4, 2 + 3),
        ({"n_hidden": 0}, 3 + 3 + 6, 3),
        ({"blocks": ()}, 3 + 2, 2),
    ],
)
def test_each_flag_changes_what_the_units_see(flags, hidden_layer, outputs):
    arguments = {"blocks": (1, 2), "n_hidden": 2, "forget_gates": True, "bias": "none", **flags}
    sources = {kind: n for kind, (_, n) in ref.weight_shapes(lstm97.Topology(3, 2, **arguments)).items()}
    assert sources.pop("output") == outputs
    assert set(sources.values()) == {hidden_layer}


# ---- properties that the other tests rely on -----------------------------------------------------------------------


def learned(case, inputs, targets, update="step"):
    net = ref.ReferenceNetwork(case.topology, case.weights)
    (outputs,) = ref.train(net, [inputs], [targets], case.learning_rate, update)
    return net, outputs


@examples(0.25)
@given(case=cases(max_steps=12, large=False, symbols=False, classes=True))
def test_symbols_and_classes_are_one_hot(case):
    symbols = random_inputs(case.topology, np.random.default_rng(case.seed), case.n_steps, symbols=True)
    rows = np.eye(case.topology.n_outputs)[case.targets]
    rows[case.targets == -1] = np.nan
    net, outputs = learned(case, symbols, case.targets)
    other, expected = learned(case, np.eye(case.topology.n_inputs)[symbols], rows)
    assert_close(outputs, expected, 1e-15, "outputs")
    assert_close(net.weights, other.weights, 1e-15, "weights")


@examples(0.25)
@given(case=cases(max_steps=12, large=False))
def test_a_late_error_signal_gives_the_same_change_as_a_prompt_one(case):
    net = ref.ReferenceNetwork(case.topology, case.weights)
    for x, target in zip(case.inputs, case.targets, strict=True):
        net.learn(x, None)
        if ref.target_vector(case.topology, target) is not None:
            net.correct(target, case.learning_rate)
            with pytest.raises(RuntimeError):
                net.correct(target, case.learning_rate)
    prompt, _ = learned(case, case.inputs, case.targets)
    assert_close(net.weights, prompt.weights, 1e-15, "weights")
    assert_close(net.partials, prompt.partials, 1e-15, "partials")


def test_inference_advances_as_learning_does_but_drops_the_partials():
    topology = lstm97.Topology(3, 2, blocks=(2, 1), n_hidden=2, forget_gates=True)
    case = Case(topology, seed=5, n_steps=7, symbols=False, classes=False, when="never", learning_rate=0.1)
    net, outputs = learned(case, case.inputs, case.targets)
    other = ref.ReferenceNetwork(topology, case.weights)
    assert_close(other.run(case.inputs), outputs, 1e-15, "outputs")
    assert_close(other.cell_state, net.cell_state, 1e-15, "cell states")
    assert_close(other.activations, net.activations, 1e-15, "activations")
    for kind, partial in other.partials.items():
        assert not partial.any()
        assert net.partials[kind].any()
    with pytest.raises(RuntimeError):
        other.correct(case.targets[0])


def test_mean_errors_and_targets_at_end():
    topology = lstm97.Topology(1, 2, blocks=())
    outputs = [np.array([[0.5, 0.5], [0.25, 0.5]]), np.array([[0.5, 0.5]])]
    at_end = ref.targets_at_end(outputs, [[0.75, 1.0], 0])
    assert at_end == [[None, [0.75, 1.0]], [0]]
    assert_close(ref.mean_errors(topology, outputs, at_end), [0.5, 0.5], 1e-15)
    assert_close(ref.mean_errors(topology, outputs, [[1, 0], [-1]])[:1], [(0.5 + 0.5 + 0.75 + 0.5) / 4], 1e-15)
    assert np.isnan(ref.mean_errors(topology, outputs, [[1, 0], [-1]])[1])


def test_error_at_every_step_of_a_sequence_is_summed_with_fixed_weights():
    topology = lstm97.Topology(2, 1, blocks=(2,))
    case = Case(topology, seed=8, n_steps=5, symbols=False, classes=False, when="every", learning_rate=0.1)
    whole, _ = learned(case, case.inputs, case.targets, update="sequence")
    total = {kind: np.zeros_like(w) for kind, w in case.weights.items()}
    for t in range(case.n_steps):
        only_one = np.where(np.arange(case.n_steps)[:, None] == t, case.targets, np.nan)
        single, _ = learned(case, case.inputs, only_one, update="sequence")
        for kind in total:
            total[kind] += single.weights[kind] - case.weights[kind]
    changes = {kind: w - case.weights[kind] for kind, w in whole.weights.items()}
    assert_close(changes, total, 1e-15, "summed changes")
    assert all(change.any() for change in changes.values())


@pytest.mark.parametrize(
    ("actual", "desired"),
    [([np.nan], [np.nan]), ([np.inf], [np.inf]), ([1.0], [[1.0]]), ([1.0], [1.1]), ([1000.0], [1001.0])],
)
def test_comparison_can_fail(actual, desired):
    with pytest.raises(AssertionError):
        assert_close(actual, desired, 5e-4)


def test_random_targets_are_where_they_should_be():
    topology = lstm97.Topology(1, 3)
    rng = np.random.default_rng(3)
    wanted = {
        when: ~np.isnan(random_targets(topology, rng, 200, when)).any(axis=1)
        for when in ("end", "every", "some", "never")
    }
    assert [int(w.sum()) for w in wanted.values()][:2] == [1, 200]
    assert wanted["end"][-1]
    assert 40 < wanted["some"].sum() < 120
    assert not wanted["never"].any()
