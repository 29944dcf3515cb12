"""RTRL, BPTT and Elman nets against differences, automatic differentiation and a NumPy reference, on random nets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pytest
import recurrent_reference as ref
from compare import assert_close
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from topologies import packed

from lstm97.methods import BPTT, RTRL, Elman, RecurrentTopology

pytestmark = pytest.mark.filterwarnings("ignore:no target was found")

TOLERANCE = 1e-10

# How much a unit amplifies another's activation: steep units get small weights and rates, or rounding errors grow.
STEEPNESS = {"logistic": 0.5, "tanh": 2.0, "identity": 3.0}


@st.composite
def topologies(draw, **fixed):
    layered = not draw(st.booleans()) if "fully_recurrent" not in fixed else not fixed["fully_recurrent"]
    drawn = {
        "n_inputs": draw(st.integers(1, 5)),
        "n_outputs": draw(st.integers(1, 4)),
        "n_hidden": draw(st.integers(1 if layered else 0, 6)),
        "fully_recurrent": not layered,
        "input_to_output": layered and draw(st.booleans()),
        "bias": draw(st.booleans()),
        "squash": draw(st.sampled_from(list(STEEPNESS))),
        "output": draw(st.sampled_from(list(STEEPNESS))),
    } | fixed
    n_units = drawn["n_hidden"] + (0 if layered else drawn["n_outputs"])
    recurrence = draw(st.sampled_from(["all", "self", "matrix"]))
    if recurrence == "matrix":
        recurrence = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random((n_units, n_units)) < 0.6
    return RecurrentTopology(**{"recurrence": recurrence, **drawn})


@dataclass(frozen=True)
class Case:
    """Sequences to learn; weights, inputs and targets follow from the fields."""

    topology: RecurrentTopology
    seed: int
    lengths: tuple[int, ...]
    symbols: bool
    classes: bool
    per_sequence: bool
    share: float

    @cached_property
    def weights(self):
        rng = np.random.default_rng([self.seed, 0])
        scale = 1 / max(STEEPNESS[self.topology.squash], STEEPNESS[self.topology.output])
        return {
            layer: rng.uniform(-scale, scale, exists.shape) * exists / max(1.0, np.sqrt(exists.shape[1] / 3))
            for layer, exists in ref.existing(self.topology).items()
        }

    @cached_property
    def rate(self):
        steep = max(STEEPNESS[self.topology.squash], STEEPNESS[self.topology.output])
        n_sources = max(w.shape[1] for w in self.weights.values())
        return 0.1 / (max(1.0, steep) * n_sources)

    @cached_property
    def inputs(self):
        rng = np.random.default_rng([self.seed, 1])
        n = self.topology.n_inputs
        if self.symbols:
            return [rng.integers(n, size=length) for length in self.lengths]
        return [rng.uniform(-1, 1, (length, n)) for length in self.lengths]

    @cached_property
    def targets(self):
        rng = np.random.default_rng([self.seed, 2])

        def some(given):
            if self.classes:
                return np.where(given, rng.integers(self.topology.n_outputs, size=len(given)), -1)
            return np.where(given[:, None], rng.uniform(0, 1, (len(given), self.topology.n_outputs)), np.nan)

        if self.per_sequence:
            return some((rng.random(len(self.lengths)) < self.share) & (np.array(self.lengths) > 0))
        return [some(rng.random(length) < self.share) for length in self.lengths]

    @cached_property
    def sequences(self):
        """Inputs and targets as `train` takes them."""
        return packed(self.inputs, self.symbols), packed(self.targets, self.classes and not self.per_sequence)

    @cached_property
    def rows(self):
        """Input and target rows of each sequence, for the reference."""
        found = []
        for i, X in enumerate(self.inputs):
            if self.per_sequence:
                T = np.full((len(X), self.topology.n_outputs), np.nan)
                T[-1:] = ref.rows(self.targets[i : i + 1], self.topology.n_outputs)
            else:
                T = ref.rows(self.targets[i], self.topology.n_outputs)
            found.append((ref.rows(X, self.topology.n_inputs), T))
        return found


RAGGED = st.lists(st.integers(0, 12), min_size=1, max_size=5)
ONE_SEQUENCE = st.lists(st.integers(1, 12), min_size=1, max_size=1)


@st.composite
def cases(draw, lengths=RAGGED, **fixed):
    topology = draw(topologies(**fixed))
    return Case(
        topology=topology,
        seed=draw(st.integers(0, 2**32 - 1)),
        lengths=tuple(draw(lengths)),
        symbols=topology.n_inputs > 1 and draw(st.booleans()),
        classes=topology.n_outputs > 1 and draw(st.booleans()),
        per_sequence=draw(st.booleans()),
        share=draw(st.sampled_from([1.0, 0.4])),
    )


def made(method, case, **settings):
    """A learner with the case's weights."""
    net = method(case.topology, **settings)
    for layer, w in net.weights.items():
        w[...] = case.weights[layer]
    return net


def gradient(net, case):
    """The gradient: minus the changes of the weights when training on the whole case with learning rate 1."""
    before = {layer: w.copy() for layer, w in net.weights.items()}
    net.train(*case.sequences, 1.0, update="sequence")
    return {layer: before[layer] - w for layer, w in net.weights.items()}


def judged(case, **how):
    """The gradient of the case's one sequence by differences."""
    ((X, T),) = case.rows
    return ref.gradient(case.topology, case.weights, X, T, **how)


# ---- fixed weights: one gradient, computed in many ways --------------------------------------------------------------


@examples(0.6)
@given(cases(ONE_SEQUENCE))
def test_gradients_of_rtrl_and_bptt_are_the_differences_of_the_squared_error(case):
    expected = judged(case)
    assert_close(gradient(made(RTRL, case), case), expected, TOLERANCE, "RTRL")
    assert_close(gradient(made(BPTT, case), case), expected, TOLERANCE, "BPTT")
    n_steps = case.lengths[0]
    for steps in (n_steps, n_steps + 3, 1000):
        assert_close(gradient(made(BPTT, case, steps=steps), case), expected, TOLERANCE, f"BPTT({steps})")


@examples(0.4)
@given(cases(ONE_SEQUENCE), st.integers(1, 6))
def test_truncated_bptt_is_the_differences_of_the_truncated_error(case, steps):
    assert_close(gradient(made(BPTT, case, steps=steps), case), judged(case, depth=steps), TOLERANCE)


@examples(0.3)
@given(cases(ONE_SEQUENCE, fully_recurrent=False))
def test_elman_goes_back_one_step_by_differences_with_the_context_kept(case):
    expected = judged(case, depth=1)
    assert_close(gradient(made(Elman, case), case), expected, TOLERANCE)
    assert_close(gradient(made(BPTT, case, steps=1), case), expected, TOLERANCE)


@examples(0.3)
@given(cases(ONE_SEQUENCE, fully_recurrent=False, input_to_output=False, recurrence="all"))
def test_elman_is_full_bptt_of_single_steps_whose_context_is_an_input(case):
    """The context is passed as inputs to a net without recurrence."""
    ((X, T),) = case.rows
    topology, n = case.topology, case.topology.n_hidden
    unrolled = RecurrentTopology(
        n_inputs=topology.n_inputs + n,
        n_outputs=topology.n_outputs,
        n_hidden=n,
        recurrence=np.zeros((n, n), bool),
        bias=topology.bias,
        squash=topology.squash,
        output=topology.output,
    )
    contexts = [np.zeros(n)]
    for x in X:
        contexts.append(ref.forward(topology, case.weights, x, contexts[-1])[0])
    net = BPTT(unrolled)
    recurrent, one = case.weights["recurrent"], topology.n_inputs + n
    net.weights["recurrent"][...] = np.hstack([recurrent[:, :one], np.zeros((n, n)), recurrent[:, one:]])
    net.weights["output"][...] = case.weights["output"]
    total = {"recurrent": np.zeros(recurrent.shape), "output": np.zeros(case.weights["output"].shape)}
    for x, context, target in zip(X, contexts[:-1], T, strict=True):
        start = net.parameters
        before = {layer: w.copy() for layer, w in net.weights.items()}
        net.train([np.hstack([x, context])[None]], [target[None]], 1.0, update="sequence")
        change = {layer: before[layer] - w for layer, w in net.weights.items()}
        total["recurrent"] += np.delete(change["recurrent"], np.s_[one : one + n], axis=1)
        total["output"] += change["output"]
        net.parameters = start
    assert_close(gradient(made(Elman, case), case), total, TOLERANCE)


@examples(0.4)
@given(cases(ONE_SEQUENCE, fully_recurrent=True))
def test_gradient_of_teacher_forcing_is_the_differences_with_forced_values_as_constants(case):
    net = made(RTRL, case, teacher_forcing=True)
    assert_close(gradient(net, case), judged(case, forcing=True), TOLERANCE)


def test_teacher_forcing_has_another_gradient():
    topology = RecurrentTopology(n_inputs=2, n_outputs=2, n_hidden=1, fully_recurrent=True)
    case = Case(topology, seed=1, lengths=(6,), symbols=False, classes=False, per_sequence=False, share=1.0)
    difference = gradient(made(RTRL, case), case)["recurrent"] - judged(case, forcing=True)["recurrent"]
    assert np.abs(difference).max() > 1e-3


@pytest.mark.peers
@examples(0.3)
@given(case=cases(ONE_SEQUENCE))
def test_gradients_are_those_of_torch_autograd(case):
    import torch  # not at the top, as this file is also collected where torch is missing

    squashes = {"logistic": torch.sigmoid, "tanh": torch.tanh, "identity": lambda a: a}
    topology = case.topology
    weights = {layer: torch.tensor(w, requires_grad=True) for layer, w in case.weights.items()}
    one = [torch.ones(1, dtype=torch.float64)] if topology.bias else []
    y = torch.zeros(len(weights["recurrent"]), dtype=torch.float64)
    loss = sum(w.sum() * 0 for w in weights.values())
    ((X, T),) = case.rows
    for x, target in zip(torch.tensor(X), torch.tensor(T), strict=True):
        y = squashes[topology.squash](weights["recurrent"] @ torch.cat([x, y, *one]))
        if topology.fully_recurrent:
            o = y[topology.n_hidden :]
        else:
            seen = [x] if topology.input_to_output else []
            o = squashes[topology.output](weights["output"] @ torch.cat([*seen, y, *one]))
        if not target.isnan().any():
            loss = loss + ((target - o) ** 2).sum() / 2
    loss.backward()
    exists = ref.existing(topology)
    expected = {layer: w.grad.numpy() * exists[layer] for layer, w in weights.items()}
    assert_close(gradient(made(RTRL, case), case), expected, TOLERANCE, "RTRL")
    assert_close(gradient(made(BPTT, case), case), expected, TOLERANCE, "BPTT")


# ---- changing weights: trajectories ----------------------------------------------------------------------------------

RULES = {
    "rtrl": (lambda case: made(RTRL, case), ref.RTRL),
    "bptt": (lambda case: made(BPTT, case), ref.BPTT),
    "bptt(1)": (lambda case: made(BPTT, case, steps=1), lambda *args: ref.BPTT(*args, depth=1)),
    "bptt(4)": (lambda case: made(BPTT, case, steps=4), lambda *args: ref.BPTT(*args, depth=4)),
}


@pytest.mark.parametrize("update", ["step", "sequence"])
@pytest.mark.parametrize("rule", RULES)
@examples(0.2)
@given(case=cases())
def test_training_on_ragged_sequences_gives_the_weights_and_errors_of_the_reference(rule, update, case):
    make, make_reference = RULES[rule]
    net, reference = make(case), make_reference(case.topology, case.weights, update == "step")
    for _ in range(2):
        history = net.train(*case.sequences, case.rate, update=update)
        errors = ref.train(reference, case.rows, case.rate)
        assert_close(net.weights, reference.weights, TOLERANCE, rule)
        np.testing.assert_allclose(history.errors, errors, rtol=TOLERANCE, atol=TOLERANCE)  # NaN equals NaN


@pytest.mark.parametrize("rule", RULES)
@examples(0.2)
@given(case=cases(ONE_SEQUENCE))
def test_learning_from_a_stream_gives_the_outputs_and_weights_of_the_reference_at_every_step(rule, case):
    make, make_reference = RULES[rule]
    net, reference = make(case), make_reference(case.topology, case.weights)
    ((X, T),) = case.rows
    for x, target in zip(X, T, strict=True):
        assert_close(net.learn(x, target, case.rate), reference.step(x), TOLERANCE, f"{rule} outputs")
        reference.learn(target, case.rate)
        assert_close(net.weights, reference.weights, TOLERANCE, rule)


@pytest.mark.parametrize("rule", RULES)
def test_steps_of_inference_count_as_past_steps_for_learning(rule):
    topology = RecurrentTopology(n_inputs=2, n_outputs=1, n_hidden=3)
    case = Case(topology, seed=3, lengths=(9,), symbols=False, classes=False, per_sequence=False, share=1.0)
    make, make_reference = RULES[rule]
    net, reference = make(case), make_reference(topology, case.weights)
    ((X, T),) = case.rows
    for t, (x, target) in enumerate(zip(X, T, strict=True)):
        if t % 3:
            assert_close(net.step(x), reference.step(x), TOLERANCE)
        else:
            assert_close(net.learn(x, target, 0.5), reference.step(x), TOLERANCE)
            reference.learn(target, 0.5)
    assert_close(net.weights, reference.weights, TOLERANCE)


@pytest.mark.parametrize("update", ["step", "sequence"])
@examples(0.3)
@given(case=cases(fully_recurrent=True))
def test_teacher_forcing_replaces_outputs_by_targets_and_drops_their_sensitivities(update, case):
    net = made(RTRL, case, teacher_forcing=True)
    reference = ref.RTRL(case.topology, case.weights, update == "step")
    history = net.train(*case.sequences, case.rate, update=update)
    errors = ref.train(reference, case.rows, case.rate, forcing=True)
    assert_close(net.weights, reference.weights, TOLERANCE)
    np.testing.assert_allclose(history.errors, errors, rtol=TOLERANCE, atol=TOLERANCE)


@examples(0.2)
@given(cases(ONE_SEQUENCE, fully_recurrent=True))
def test_teacher_forcing_on_a_stream_forces_while_learning_and_not_in_inference(case):
    net = made(RTRL, case, teacher_forcing=True)
    reference = ref.RTRL(case.topology, case.weights)
    ((X, T),) = case.rows
    for x, target in zip(X, T, strict=True):
        assert_close(net.learn(x, target, case.rate), reference.step(x), TOLERANCE)
        reference.learn(target, case.rate)
        reference.force(target)
    for x in X:
        assert_close(net.step(x), reference.step(x), TOLERANCE)


def test_weights_of_connections_that_are_not_there_stay_zero():
    sees = np.array([[True, False, True], [True, True, False], [True, True, False]])
    topology = RecurrentTopology(n_inputs=2, n_outputs=1, n_hidden=2, fully_recurrent=True, recurrence=sees)
    rng = np.random.default_rng(1)
    X, T = rng.uniform(-1, 1, (50, 2)), rng.random((50, 1))
    for method in (RTRL, BPTT):
        net = method(topology, seed=1, init_range=1.0)
        before = net.parameters
        net.learn_run(X, T, 0.5)
        net.train([X], [T], 0.5, update="sequence")
        among = net.weights["recurrent"][:, 2:5]
        assert (among[~sees] == 0).all()
        assert (net.parameters != before).sum() == topology.n_weights


# ---- long streams and sequences --------------------------------------------------------------------------------------


def test_full_bptt_of_a_stream_goes_back_to_its_start_past_every_growth_of_its_memory():
    topology = RecurrentTopology(n_inputs=1, n_outputs=1, n_hidden=1, squash="tanh", output="identity")
    weights = {"recurrent": np.array([[0.7, 1.01]]), "output": np.array([[0.8]])}
    n = 700
    X = np.random.default_rng(2).uniform(-0.02, 0.02, (n, 1))
    X[0] = 1
    T = np.full((n, 1), np.nan)
    T[[5, 63, 64, 65, 128, 300, 699]] = 0.3
    net = BPTT(topology)
    reference = ref.BPTT(topology, weights)
    for layer, w in net.weights.items():
        w[...] = weights[layer]
    n_bytes = net.n_bytes
    cuts = [0, 1, 64, 65, 66, 200, 320, n]
    for begin, end in pairwise(cuts):
        outputs = net.learn_run(X[begin:end], T[begin:end], 0.01)
        for x, target, o in zip(X[begin:end], T[begin:end], outputs, strict=True):
            assert_close(o, reference.step(x), TOLERANCE)
            reference.learn(target, 0.01)
        assert_close(net.weights, reference.weights, TOLERANCE)
    assert net.n_bytes > n_bytes
    net.reset()
    reference.reset()
    assert_close(net.learn(X[0], T[5], 0.01), reference.step(X[0]), TOLERANCE)
    reference.learn(T[5], 0.01)
    assert_close(net.weights, reference.weights, TOLERANCE)


def test_truncated_bptt_needs_no_more_memory_for_a_longer_stream():
    net = BPTT(RecurrentTopology(n_inputs=2, n_outputs=1, n_hidden=3), steps=7)
    n_bytes = net.n_bytes
    X = np.random.default_rng(0).random((1000, 2))
    net.learn_run(X, X[:, :1], 0.1)
    net.train([X], [X[:, :1]], 0.1)
    assert net.n_bytes == n_bytes


@pytest.mark.parametrize("method", [RTRL, BPTT])
def test_gradient_over_a_long_sequence_is_that_of_the_reference(method):
    topology = RecurrentTopology(n_inputs=1, n_outputs=1, n_hidden=2, squash="tanh", bias=True)
    case = Case(topology, seed=4, lengths=(300,), symbols=False, classes=False, per_sequence=False, share=1.0)
    reference = ref.BPTT(topology, case.weights, at_once=False)
    ref.train(reference, case.rows, 1.0)
    expected = {layer: case.weights[layer] - w for layer, w in reference.weights.items()}
    assert_close(gradient(made(method, case), case), expected, TOLERANCE)


# ---- the nets of the paper -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topology", "n_weights"),
    [
        ({"n_inputs": 5, "n_outputs": 5, "n_hidden": 1, "input_to_output": True}, 36),
        ({"n_inputs": 11, "n_outputs": 11, "n_hidden": 1, "input_to_output": True}, 144),
        ({"n_inputs": 101, "n_outputs": 101, "n_hidden": 1, "input_to_output": True}, 10404),
        ({"n_inputs": 7, "n_outputs": 7, "n_hidden": 3, "fully_recurrent": True}, 170),
        ({"n_inputs": 7, "n_outputs": 7, "n_hidden": 12, "fully_recurrent": True}, 494),
        ({"n_inputs": 7, "n_outputs": 7, "n_hidden": 15}, 435),
    ],
)
def test_nets_of_the_paper_have_its_numbers_of_weights(topology, n_weights):
    topology = RecurrentTopology(**topology)
    assert topology.n_weights == n_weights
    assert BPTT(topology).parameters.shape == (n_weights,)


@examples(0.5)
@given(topologies())
def test_number_of_weights_is_that_of_existing_connections(topology):
    assert topology.n_weights == sum(exists.sum() for exists in ref.existing(topology).values())
    assert {layer: w.shape for layer, w in RTRL(topology).weights.items()} == ref.weight_shapes(topology)


def test_initial_weights_are_uniform_in_their_range_and_follow_from_the_seed():
    topology = RecurrentTopology(n_inputs=20, n_outputs=20, n_hidden=30)
    weights = RTRL(topology, seed=7, init_range=0.3).parameters
    assert np.abs(weights).max() <= 0.3
    assert_close(np.sort(weights), np.linspace(-0.3, 0.3, len(weights)), 0.03)
    np.testing.assert_array_equal(BPTT(topology, seed=7, init_range=0.3).parameters, weights)
    assert (Elman(topology, seed=8, init_range=0.3).parameters != weights).all()


@pytest.mark.parametrize("steps", [None, 3, 63, 64, 65, 200])
def test_a_long_prediction_leaves_nothing_in_the_rings_of_a_shorter_training(steps):
    topology = RecurrentTopology(n_inputs=2, n_outputs=1, n_hidden=2)
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(3, 100, 2)), rng.random((3, 100, 1))
    net, fresh = (BPTT(topology, steps, seed=1, init_range=1.0) for _ in range(2))
    net.predict(rng.normal(size=(1, 3000, 2)))
    for learner in (net, fresh):
        for update in ("step", "sequence"):
            learner.train(inputs, targets, 0.5, update=update)
    assert np.array_equal(net.parameters, fresh.parameters)


@pytest.mark.parametrize("lengths", [(10, 130, 70, 500, 3)])
@pytest.mark.parametrize("steps", [None, 100])
def test_rings_that_grow_in_the_middle_of_a_stream_keep_what_they_had(lengths, steps):
    topology = RecurrentTopology(n_inputs=2, n_outputs=1, n_hidden=2)
    rng = np.random.default_rng(1)
    X, targets = rng.normal(size=(sum(lengths), 2)), rng.random((sum(lengths), 1))
    pieces, whole = (BPTT(topology, steps, seed=1, init_range=1.0) for _ in range(2))
    begin = 0
    for n in lengths:
        pieces.learn_run(X[begin : begin + n], targets[begin : begin + n], 0.5)
        begin += n
    whole.learn_run(X, targets, 0.5)
    assert np.array_equal(pieces.parameters, whole.parameters)
