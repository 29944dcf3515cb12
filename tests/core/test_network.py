"""Weights, states and single calls behave as documented."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from topologies import cases, may_lack_targets, packed

import lstm97
from lstm97 import Network, Topology

pytestmark = may_lack_targets

ADDING = Topology(2, 1, blocks=(2, 2), output="identity")


def network_of(case, dtype="float64"):
    net = Network(case.topology, dtype=dtype)
    for kind, w in case.weights.items():
        net.weights[kind][...] = w
    return net


def same_bits(state, other):
    """Whether two states are equal in everything that is carried from step to step."""
    return (
        np.array_equal(state.cell_state, other.cell_state)
        and all(np.array_equal(a, other.activations[kind]) for kind, a in state.activations.items())
        and all(np.array_equal(p, other.partials[kind]) for kind, p in state.partials.items())
    )


# ---- weights ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_initial_weights_are_drawn_in_order_and_rounded(dtype):
    net = Network(ADDING, dtype=dtype, seed=7, init_range=0.2)
    expected = np.random.default_rng(7).uniform(-0.2, 0.2, 93).astype(dtype)
    assert net.parameters.dtype == dtype
    assert np.array_equal(net.parameters, expected)
    begin = 0
    for view in net.weights.values():
        assert np.array_equal(view.ravel(), expected[begin : begin + view.size])
        begin += view.size


def test_given_gate_biases_replace_the_drawn_ones_only():
    drawn = Network(ADDING, seed=3)
    net = Network(ADDING, seed=3, input_gate_bias=[-3, -6], output_gate_bias=-1.5)
    assert np.array_equal(net.weights["input_gate"][:, -1], [-3, -6])
    assert np.array_equal(net.weights["output_gate"][:, -1], [-1.5, -1.5])
    for kind in drawn.weights:
        assert np.array_equal(net.weights[kind][:, :-1], drawn.weights[kind][:, :-1])
    assert np.array_equal(net.weights["cell"], drawn.weights["cell"])
    forgetful = Network(Topology(2, 1, blocks=(1, 3), forget_gates=True), forget_gate_bias=(1, 2))
    assert np.array_equal(forgetful.weights["forget_gate"][:, -1], [1, 2])


def test_a_given_gate_bias_is_trained_like_any_weight():
    net = Network(ADDING, input_gate_bias=-3.0)
    net.learn_run(np.ones((5, 2)), np.ones((5, 1)), 0.5)
    assert np.all(net.weights["input_gate"][:, -1] != -3)


@given(cases(max_steps=3))
def test_what_is_written_into_a_view_is_used_at_once(case):
    net, other = network_of(case), Network(case.topology, seed=5)
    for kind, view in other.weights.items():
        view[...] = net.weights[kind]
    assert np.array_equal(net.run(case.inputs), other.run(case.inputs))
    other.parameters = np.zeros(case.topology.n_weights)
    assert not any(view.any() for view in other.weights.values())
    other.parameters = net.parameters
    assert np.array_equal(other.parameters, net.parameters)
    net.reset()
    other.reset()
    assert np.array_equal(net.run(case.inputs), other.run(case.inputs))


def test_weights_are_a_dict_that_writes_into_the_network():
    net = Network(ADDING)
    assert isinstance(net.weights, dict)
    net.weights["cell"] = 3
    net.weights["output"] += 1
    before = net.parameters
    assert np.all(before[:44] == 3)
    weights = net.weights
    with pytest.raises(KeyError):
        weights["forget_gate"] = 0
    with pytest.raises(ValueError, match=r"weights\['cell'\] has shape \(3,\), expected \(4, 11\)"):
        weights["cell"] = np.ones(3)
    assert np.array_equal(net.parameters, before)


@pytest.mark.parametrize("write", ["update", "ior", "assign", "keywords"])
def test_weights_are_written_all_or_none(write):
    net = Network(ADDING)

    def written(values):
        if write == "update":
            net.weights.update(values)
        elif write == "keywords":
            net.weights.update(**values)
        elif write == "ior":
            net.weights |= values
        else:
            net.weights = values

    written({kind: np.full(view.shape, 0.5) for kind, view in net.weights.items()})
    assert np.array_equal(net.parameters, np.full(93, 0.5))
    for bad in ({"cell": 1, "output": np.nan}, {"cell": 1, "hidden": 1}, {"cell": 1, "output": np.ones(7)}):
        with pytest.raises((ValueError, KeyError)):
            written(bad)
        assert np.array_equal(net.parameters, np.full(93, 0.5))
    masked = np.ma.masked_array(net.weights["cell"].copy(), net.weights["cell"] > 0)
    with pytest.raises(ValueError, match=r"weights\['cell'\] has masked values"):
        written({"cell": masked})


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda weights: pickle.loads(pickle.dumps(weights))])
def test_copies_of_weights_are_plain_and_belong_to_no_network(again):
    net = Network(ADDING)
    best = again({"best": net.weights})["best"] if again is not copy.copy else again(net.weights)
    assert type(best) is dict
    net.weights["cell"] = 7
    assert not (best["cell"] == 7).any()
    net.weights.update(best)
    assert np.array_equal(net.parameters, Network(ADDING).parameters)


def test_a_dtype_may_name_its_byte_order():
    for dtype in (np.dtype("f8").newbyteorder("<"), np.dtype("f4").newbyteorder("=")):
        net = Network(Topology(1, 1), dtype=dtype)
        assert net.step([0.1]).shape == (1,)


def test_kinds_of_weights_are_those_of_the_topology():
    weights = Network(ADDING).weights
    for call in (
        lambda: weights.pop("cell"),
        lambda: weights.popitem(),
        lambda: weights.clear(),
        lambda: weights.setdefault("hidden", 1),
        lambda: weights.__delitem__("cell"),
    ):
        with pytest.raises(TypeError, match="none can be added or taken away"):
            call()


def test_properties_that_the_loops_rely_on_are_read_only():
    net = Network(ADDING)
    for name in ("dtype", "topology", "state"):
        with pytest.raises(AttributeError):
            setattr(net, name, getattr(net, name))
    for name in ("cell_state", "activations", "partials"):
        with pytest.raises(AttributeError):
            setattr(net.state, name, getattr(net.state, name))


def test_parameters_are_a_copy():
    net = Network(ADDING)
    before = net.parameters
    net.parameters[:] = 9
    assert np.array_equal(net.parameters, before)


# ---- the same bits ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(case=cases(max_steps=40), data=st.data())
def test_learn_calls_and_learn_run_in_any_chunks_and_train_give_the_same_bits(dtype, case, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, case.n_steps), max_size=4)))
    by_step, by_chunk, by_train = (network_of(case, dtype) for _ in range(3))
    rate = case.learning_rate
    Y = np.array([by_step.learn(x, t, rate) for x, t in zip(case.inputs, case.targets, strict=True)])
    bounds = [0, *cuts, case.n_steps]
    chunks = [slice(a, b) for a, b in itertools.pairwise(bounds)]
    Z = np.concatenate([by_chunk.learn_run(case.inputs[c], case.targets[c], rate) for c in chunks])
    sequences = packed([case.inputs], case.symbols), packed([case.targets], case.classes)
    lstm97.train(by_train, *sequences, learning_rate=rate)
    assert np.array_equal(Y, Z)
    assert np.array_equal(by_step.parameters, by_chunk.parameters)
    assert np.array_equal(by_step.parameters, by_train.parameters)
    assert same_bits(by_step.state, by_chunk.state)


@given(case=cases(max_steps=20))
def test_run_is_step_by_step_and_predict_to_the_bit(case):
    net = network_of(case)
    state = net.new_state()
    Y = np.array([net.step(x, state=state) for x in case.inputs])
    assert np.array_equal(Y, net.run(case.inputs))
    assert np.array_equal(Y, lstm97.predict(net, packed([case.inputs], case.symbols))[0])


@given(case=cases(max_steps=20))
def test_a_late_target_is_a_target_in_time_to_the_bit(case):
    late, in_time = network_of(case), network_of(case)
    for x, target in zip(case.inputs, case.targets, strict=True):
        in_time.learn(x, target, case.learning_rate)
        late.learn(x, None)
        if target >= 0 if case.classes else not np.isnan(target).any():
            late.correct(target, case.learning_rate)
    assert np.array_equal(late.parameters, in_time.parameters)
    assert same_bits(late.state, in_time.state)


def test_correct_needs_a_learn_step_without_target_right_before():
    net = Network(ADDING)
    before = net.parameters
    x = np.ones(2)
    with pytest.raises(RuntimeError, match="needs a learn step without a target"):
        net.correct([0.5])
    net.learn(x, None)
    net.correct([0.5])
    assert not np.array_equal(net.parameters, before)
    after = net.parameters
    with pytest.raises(RuntimeError):  # once is enough
        net.correct([0.7])
    for between in (lambda: net.step(x), lambda: net.run([x]), net.reset):
        net.learn(x, None)
        between()
        with pytest.raises(RuntimeError):
            net.correct([0.7])
    assert np.array_equal(net.parameters, after)
    net.learn_run(np.ones((3, 2)), None)
    net.correct([0.5])


# ---- states ----


def test_states_are_independent_streams_over_shared_weights():
    rng = np.random.default_rng(0)
    X, Z = rng.normal(size=(2, 30, 2))
    net = Network(ADDING, init_range=1)
    alone = [net.run(X), net.reset(), net.run(Z)][::2]
    a, b = net.new_state(), net.new_state()
    mixed = [(net.step(x, state=a), net.step(z, state=b)) for x, z in zip(X, Z, strict=True)]
    assert np.array_equal([y for y, _ in mixed], alone[0])
    assert np.array_equal([y for _, y in mixed], alone[1])


def test_learning_on_one_state_changes_the_weights_for_all():
    net, same = Network(ADDING), Network(ADDING)
    state = net.new_state()
    net.learn([1, 2], [0.3], 0.5, state=state)
    same.learn([1, 2], [0.3], 0.5)
    assert np.array_equal(net.parameters, same.parameters)
    assert not net.state.cell_state.any()
    assert state.cell_state.any()


def test_reset_is_a_new_state_also_after_symbols_and_errors():
    net = Network(Topology(50, 3, blocks=(2,), forget_gates=True, output="softmax"))
    state = net.new_state()
    net.learn_run(np.arange(50), np.arange(50) % 3, state=state)
    for reset in (state.reset, lambda: net.reset(state)):
        net.learn(4, None, state=state)
        reset()
        assert same_bits(state, net.new_state())
        fresh = net.new_state()
        assert np.array_equal(net.learn(7, None, state=state), net.learn(7, None, state=fresh))
        assert same_bits(state, fresh)


def test_inference_drops_the_partials():
    net = Network(ADDING)
    net.learn([1, 2], None)
    assert all(partials.any() for partials in net.state.partials.values())
    net.step([1, 2])
    assert not any(partials.any() for partials in net.state.partials.values())
    assert net.state.cell_state.any()


def test_a_state_of_another_network_is_refused():
    net = Network(ADDING)
    for call in (net.step, lambda x, state: net.learn(x, None, state=state), lambda x, state: net.reset(state)):
        with pytest.raises(ValueError, match="belongs to another network"):
            call([1, 2], state=Network(ADDING).new_state())
        with pytest.raises(TypeError, match="state must be a State"):
            call([1, 2], state="mine")


# ---- arrays of any layout ----


def awkward(array):
    """The same numbers in arrays of unusual layouts, by name."""
    swapped = array.astype(array.dtype.newbyteorder())
    spread = np.empty((*array.shape, 3), array.dtype)
    spread[..., 1] = array
    read_only = array.copy()
    read_only.flags.writeable = False
    shifted = np.frombuffer(b"x" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)
    assert not shifted.flags.aligned
    return {
        "list": array.tolist(),
        "byte-swapped": swapped,
        "strided": spread[..., 1],
        "backwards": np.flip(np.flip(array).copy()),
        "read-only": read_only,
        "misaligned": shifted,
        "fortran": np.asfortranarray(array),
        "other float": array.astype(np.float32 if array.dtype == np.float64 else np.float64),
        "half": array.astype(np.float16),
    }


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_arrays_of_any_layout_are_taken(dtype):
    X = np.array([[1, 0.5], [-0.25, 2], [0, 4]], dtype)  # exact in half precision
    T = np.array([[0.5], [np.nan], [0.25]], dtype)
    expected = Network(ADDING, dtype=dtype)
    Y = expected.learn_run(X, T)
    for name, x in awkward(X).items():
        net, stepping = Network(ADDING, dtype=dtype), Network(ADDING, dtype=dtype)
        assert np.array_equal(net.learn_run(x, awkward(T)[name]), Y), name
        assert np.array_equal(net.parameters, expected.parameters), name
        for i in range(3):
            one = np.asarray(x)[i] if name != "list" else x[i]
            assert np.array_equal(stepping.learn(one, awkward(T)[name][i]), Y[i]), name
        assert np.array_equal(stepping.parameters, expected.parameters), name


def test_integers_and_bools_are_numbers_where_a_row_is_wanted():
    net = Network(ADDING)
    expected = net.run([[1.0, 0.0], [2.0, 1.0]])
    net.reset()
    assert np.array_equal(net.run(np.array([[1, 0], [2, 1]])), expected)
    net.reset()
    assert np.array_equal(net.step([True, False]), expected[0])


def test_out_is_filled_and_returned():
    net = Network(ADDING, dtype="float32")
    X = np.ones((4, 2), "float32")
    out, row = np.full((4, 1), 9, "float32"), np.full(1, 9, "float32")
    assert net.learn_run(X, None, out=out) is out
    net.reset()
    assert np.array_equal(out, net.run(X))
    net.reset()
    assert net.run(X, out=out) is out
    net.reset()
    assert net.step(X[0], out=row) is row
    assert row[0] == out[0, 0]
    net.reset()
    assert net.learn(X[0], None, out=row) is row
    assert row[0] == out[0, 0]


def test_no_steps_are_no_steps():
    net = Network(ADDING)
    before = net.parameters
    assert net.learn_run(np.empty((0, 2)), np.empty((0, 1))).shape == (0, 1)
    Y, seen = net.run(np.empty((0, 2)), record=["cell_state"])
    assert Y.shape == (0, 1)
    assert seen["cell_state"].shape == (0, 4)
    assert np.array_equal(net.parameters, before)


def test_a_target_of_nan_or_class_minus_one_is_none():
    net = Network(Topology(3, 2))
    before = net.parameters
    net.learn([1, 2, 3], [np.nan, np.nan])
    net.learn(2, -1)
    net.learn(np.int8(1), np.array(-1))
    net.learn_run([0, 1], [-1, -1])
    assert np.array_equal(net.parameters, before)


# ---- accuracy of the squashing functions ----


@pytest.mark.parametrize(("dtype", "ulps"), [("float64", 4), ("float32", 4)])
@pytest.mark.parametrize("squash", ["logistic", "centered", "centered2", "tanh"])
def test_squashing_is_accurate_to_a_few_ulps_over_the_whole_range(dtype, ulps, squash):
    """Measured at the output of a cell: y_c = h(s), s = y_in g(x), with y_in = 1/2 exactly and g the identity."""
    topology = Topology(
        1, 1, (1,), output_gates=False, recurrent=False, bias="none", input_squash="identity", output_squash=squash
    )
    net = Network(topology, dtype=dtype, init_range=0)
    net.weights["cell"][:] = 2
    top = 80 if dtype == "float32" else 680
    a = np.concatenate([np.linspace(-top, top, 20001), np.linspace(-3, 3, 20001), np.geomspace(1e-30, 1, 999)])
    a = a.astype(dtype)
    y = np.array([(net.reset(), net.run([[x]], record=["cell"])[1]["cell"][0, 0])[1] for x in a])
    wide = a.astype(np.longdouble)
    e = np.exp(-np.abs(wide))
    half = np.tanh(wide / 2)
    exact = {
        "logistic": np.where(wide >= 0, 1 / (1 + e), e / (1 + e)),
        "centered": half,
        "centered2": 2 * half,
        "tanh": np.tanh(wide),
    }[squash]
    error = np.abs(y.astype(np.longdouble) - exact) / np.spacing(np.abs(exact).astype(dtype)).astype(np.longdouble)
    assert error.max() < ulps, (a[error.argmax()], error.max())


@pytest.mark.parametrize("n_units", [5, 4096])  # in registers, and from array to array
@pytest.mark.parametrize(("dtype", "where"), [("float64", (30, 45)), ("float32", (10, 20))])
def test_logistic_units_stay_between_0_and_1(dtype, where, n_units):
    """Where units saturate, numerator and denominator differ by less than their rounding errors."""
    net = Network(Topology(1, 1, blocks=(), n_hidden=n_units, bias="none", recurrent=False), dtype=dtype)
    rng = np.random.default_rng(0)
    known = [16.693500518798828, 16.645999908447266]  # an earlier compiled logistic gave 1 plus one ulp here
    lowest, highest = 1.0, 0.0
    for _ in range(2000 if n_units < 10 else 100):
        net.weights["hidden"] = np.r_[known, rng.uniform(*where, n_units - 2)][:, np.newaxis]
        _, seen = net.run([[1.0], [-1.0]], record=["hidden"])
        lowest, highest = min(lowest, seen["hidden"].min()), max(highest, seen["hidden"].max())
    assert 0 <= lowest < 1e-4
    assert highest == 1


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_squashing_saturates_without_overflow(dtype):
    net = Network(Topology(1, 1, blocks=(), n_hidden=1, bias="none", output="identity"), dtype=dtype)
    huge = np.finfo(dtype).max
    net.weights["hidden"][0, 0] = 1
    Y, seen = net.run([[huge], [-huge], [1e4], [-1e4]], record=["hidden"])
    assert np.array_equal(seen["hidden"][::2, 0], [1, 1])
    assert np.all(seen["hidden"][1::2, 0] < 1e-35)
    assert np.isfinite(Y).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_softmax_is_a_distribution_however_large_the_net_inputs(dtype):
    net = Network(Topology(1, 5, blocks=(), input_to_output=True, output="softmax", bias="none"), dtype=dtype)
    net.weights["output"][:, 0] = [1, 2, 3, -4, 0]
    for scale in (0, 1, 1e3, -1e3, 1e30):
        y = net.step([scale])
        nets = np.array([1, 2, 3, -4, 0]) * np.float64(scale)
        expected = np.exp(nets - nets.max())
        np.testing.assert_allclose(y, expected / expected.sum(), atol=4 * np.finfo(dtype).eps)
