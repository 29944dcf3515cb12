"""Automatic differentiation with detached net-input sources gives the truncated gradient of the reference."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
from compare import assert_close
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from topologies import cases

pytestmark = pytest.mark.peers

TOLERANCE = 1e-12


@pytest.fixture(scope="module")
def torch():
    import torch  # not at the top, as this file is also collected where torch is missing

    torch.set_num_threads(1)
    return torch


def squash_functions(torch):
    return {
        "logistic": torch.sigmoid,
        "centered": lambda a: 2 * torch.sigmoid(a) - 1,
        "centered2": lambda a: 4 * torch.sigmoid(a) - 2,
        "tanh": torch.tanh,
        "identity": lambda a: a,
    }


def losses_of_steps(torch, topology, weights, inputs, targets):
    """Outputs of all steps, and the loss of each step that has a target; the graph leads to ``weights[t]``.

    Activations of the step before are detached where they enter net inputs, so that the only way back in time is the
    cell state.
    """
    squash = squash_functions(torch)
    block = torch.tensor([j for j, size in enumerate(topology.blocks) for _ in range(size)], dtype=torch.long)
    one = torch.ones(1, dtype=torch.float64)
    s = torch.zeros(len(block), dtype=torch.float64)
    order = ["hidden", "cell"]
    if topology.gate_sources:
        order += ["input_gate", "output_gate", "forget_gate"]
    y = {kind: torch.zeros(len(w), dtype=torch.float64) for kind, w in weights[0].items()}
    outputs, losses = [], {}
    for t, (w, x, target) in enumerate(zip(weights, inputs, targets, strict=True)):
        sources = torch.cat([x, *(y[kind].detach() for kind in order if topology.recurrent and kind in y)])
        net = {}
        for kind in w:
            if kind != "output":
                z = torch.cat([sources, one]) if w[kind].shape[1] > len(sources) else sources
                net[kind] = torch.mv(w[kind], z)
        y = {kind: torch.sigmoid(a) for kind, a in net.items() if kind != "cell"}
        if topology.blocks:
            if "forget_gate" in y:
                s = s * y["forget_gate"][block]
            s = s + y["input_gate"][block] * squash[topology.input_squash](net["cell"])
            y["cell"] = squash[topology.output_squash](s)
            if "output_gate" in y:
                y["cell"] = y["cell"] * y["output_gate"][block]
        seen = [x] if topology.input_to_output else []
        seen += [y[kind] for kind in ("hidden", "cell") if kind in y]
        seen += [one] if topology.bias in ("all", "gates_and_output") else []
        a = torch.mv(w["output"], torch.cat([torch.zeros(0, dtype=torch.float64), *seen]))
        if topology.output == "softmax":
            outputs.append(torch.softmax(a, 0))
        else:
            outputs.append(torch.sigmoid(a) if topology.output == "logistic" else a)
        if target is not None:
            if topology.output == "softmax":
                losses[t] = torch.nn.functional.cross_entropy(a, target)
            else:
                losses[t] = 0.5 * torch.nn.functional.mse_loss(outputs[-1], target, reduction="sum")
    return outputs, losses


def as_tensors(torch, case):
    """Inputs and targets as tensors; for softmax, targets that add up to one, as PyTorch's cross-entropy needs."""
    topology = case.topology
    inputs = [torch.from_numpy(ref.input_vector(topology, x)) for x in case.inputs]
    targets = [ref.target_vector(topology, target) for target in case.targets]
    if topology.output == "softmax":
        targets = [None if target is None else target / target.sum() for target in targets]
    return inputs, [None if target is None else torch.from_numpy(target) for target in targets]


def leaf(torch, weights):
    return {kind: torch.tensor(w, dtype=torch.float64, requires_grad=True) for kind, w in weights.items()}


def gradient(torch, losses, leaves):
    """Derivatives of the summed losses; zeros for weights without influence."""
    zeros = [torch.zeros_like(w) for w in leaves]
    if not losses:
        return zeros
    found = torch.autograd.grad(sum(losses), leaves, retain_graph=True, allow_unused=True)
    return [zero if g is None else g for zero, g in zip(zeros, found, strict=True)]


@pytest.mark.parametrize("forget_gates", [False, True])
@pytest.mark.parametrize("output", ["logistic", "identity", "softmax"])
@pytest.mark.parametrize("when", ["end", "every", "some"])
@examples(0.2)
@given(data=st.data())
def test_sequence_change_is_the_truncated_gradient(torch, data, when, output, forget_gates):
    case = data.draw(cases(min_steps=2, max_steps=20, when=when, output=output, forget_gates=forget_gates))
    inputs, targets = as_tensors(torch, case)
    weights = leaf(torch, case.weights)
    outputs, losses = losses_of_steps(torch, case.topology, [weights] * case.n_steps, inputs, targets)
    gradients = gradient(torch, list(losses.values()), list(weights.values()))

    net = ref.ReferenceNetwork(case.topology, case.weights)
    as_arrays = [None if target is None else target.numpy() for target in targets]
    (found,) = ref.train(net, [case.inputs], [as_arrays], learning_rate=1.0, update="sequence")

    assert_close(found, [y.detach().numpy() for y in outputs], TOLERANCE, "outputs")
    for (kind, w), g in zip(net.weights.items(), gradients, strict=True):
        assert_close(w - case.weights[kind], -g.numpy(), TOLERANCE, f"change of {kind}")


@examples(0.5)
@given(case=st.sampled_from(["every", "some"]).flatmap(lambda when: cases(min_steps=2, max_steps=8, when=when)))
def test_each_online_change_is_the_truncated_gradient_of_its_step(torch, case):
    """Every step has weights of its own; the change at a step is the sum of its loss's gradients by all of them."""
    learning_rate = 0.1  # a smaller one would leave rounding errors of the weights in the changes
    inputs, targets = as_tensors(torch, case)
    net = ref.ReferenceNetwork(case.topology, case.weights)
    weights, found, changes = [], [], []
    for x, target in zip(case.inputs, targets, strict=True):
        before = {kind: w.copy() for kind, w in net.weights.items()}
        weights.append(leaf(torch, before))
        found.append(net.learn(x, None if target is None else target.numpy(), learning_rate))
        changes.append({kind: (w - before[kind]) / learning_rate for kind, w in net.weights.items()})

    outputs, losses = losses_of_steps(torch, case.topology, weights, inputs, targets)

    assert_close(found, [y.detach().numpy() for y in outputs], TOLERANCE, "outputs")
    for t, change in enumerate(changes):
        loss = [losses[t]] if t in losses else []
        total = {kind: np.zeros_like(w) for kind, w in change.items()}
        for w in weights[: t + 1]:
            for kind, g in zip(w, gradient(torch, loss, list(w.values())), strict=True):
                total[kind] -= g.numpy()
        assert_close(change, total, TOLERANCE, f"change at step {t}")
