"""Bad arguments get an error that names them and the remedy, and change nothing."""

from __future__ import annotations

import numpy as np
import pytest

import lstm97
from lstm97 import Network, Sequences, Stop, Topology, predict, train
from lstm97.methods import BPTT, RecurrentTopology

X = np.ones((3, 2))
NAN, INF = np.nan, np.inf
NOTHING = Sequences(np.empty((0, 3)), [0])
LEARNER = BPTT(RecurrentTopology(n_inputs=1, n_outputs=1, n_hidden=1))


# A call, the exception, words that its message must have.
SINGLE_STEPS = [
    (lambda net: net.step([1, 2, 3]), ValueError, r"x has shape \(3,\), expected \(2,\)"),
    (lambda net: net.learn([[1, 2]], None), ValueError, r"x has shape \(1, 2\), expected \(2,\)"),
    (lambda net: net.step(np.ones((2, 1))), ValueError, r"x has shape \(2, 1\)"),
    (lambda net: net.step([1j, 2]), TypeError, "x has dtype complex128, expected real numbers"),
    (lambda net: net.step([None, 2]), TypeError, "x has dtype object"),
    (lambda net: net.step(["1", "2"]), TypeError, "x has dtype <U1"),
    (lambda net: net.step(None), TypeError, "x has dtype object"),
    (lambda net: net.step([[1], [1, 2]]), ValueError, "x cannot be read as one array of numbers"),
    (lambda net: net.step(np.array(["2026"], "M8[Y]")), TypeError, "x has dtype datetime64"),
    (lambda net: net.step([1, NAN]), ValueError, "x contains NaN"),
    (lambda net: net.learn([1, -INF], [1]), ValueError, "x contains infinity"),
    (lambda net: net.step(2), ValueError, "x is symbol 2, expected one of 0 to 1"),
    (lambda net: net.step(-1), ValueError, "x is symbol -1"),
    (lambda net: net.step(1.0), ValueError, r"x has shape \(\), expected \(2,\)"),
    (lambda net: net.step(True), ValueError, r"x has shape \(\), expected \(2,\)"),
    (lambda net: net.learn([1, 2], [1, 2]), ValueError, r"target has shape \(2,\), expected \(1,\)"),
    (lambda net: net.learn([1, 2], 0.5), ValueError, r"target has shape \(\), expected \(1,\)"),
    (
        lambda net: net.learn([1, 2], 1),
        ValueError,
        r"target is the integer 1, .*there is only one output; for the value pass \[1.0\], for no target None",
    ),
    (lambda net: net.learn([1, 2], -1), ValueError, "target is the integer -1"),
    (lambda net: net.learn([1, 2], np.int8(0)), ValueError, "target is the integer 0"),
    (lambda net: net.correct(0), ValueError, "target is the integer 0"),
    (lambda net: net.learn([1, 2], [INF]), ValueError, "target contains infinity"),
    (lambda net: net.learn([1, 2], "no"), TypeError, "target has dtype <U2"),
    (lambda net: net.learn([1, 2], [1], 0), ValueError, "learning_rate must be positive and finite, got 0"),
    (lambda net: net.learn([1, 2], [1], -0.1), ValueError, "learning_rate must be positive"),
    (lambda net: net.learn([1, 2], [1], NAN), ValueError, "learning_rate must be positive and finite, got nan"),
    (lambda net: net.learn([1, 2], [1], INF), ValueError, "learning_rate must be positive and finite, got inf"),
    (lambda net: net.learn([1, 2], [1], "0.1"), TypeError, "learning_rate must be a number, got '0.1'"),
    (lambda net: net.learn([1, 2], None, 0), ValueError, "learning_rate"),
    (lambda net: net.correct(None), ValueError, "target must be the last step's target, got None"),
    (lambda net: net.correct([NAN]), ValueError, "target must be the last step's target"),
    (lambda net: net.correct([1], -1), ValueError, "learning_rate"),
    (lambda net: net.step([1, 2], out=[0.0]), TypeError, "out must be an ndarray, got list"),
    (lambda net: net.step([1, 2], out=np.empty(2)), ValueError, r"out has shape \(2,\) and dtype float64, expected"),
    (lambda net: net.step([1, 2], out=np.empty(1, "f4")), ValueError, "dtype float32, expected"),
    (lambda net: net.learn([1, 2], [1], out=np.broadcast_to(np.empty(1), 1)), ValueError, "out must be writeable"),
]

RUNS = [
    (lambda net: net.run(X[0]), ValueError, r"X has shape \(2,\), expected \(n_steps, 2\), or \(n_steps,\) integers"),
    (lambda net: net.run(np.ones((3, 3))), ValueError, r"X has shape \(3, 3\), expected \(n_steps, 2\)"),
    (lambda net: net.run(X[None]), ValueError, r"X has shape \(1, 3, 2\)"),
    (lambda net: net.run([0, 1, 2]), ValueError, "X contains 2 at step 2, expected 0 to 1"),
    (lambda net: net.run([0, -1]), ValueError, "X contains -1 at step 1"),
    (lambda net: net.run([2**40]), ValueError, "X contains integers that do not fit 32 bits"),
    (lambda net: net.run([[1, 2], [NAN, 0]]), ValueError, "X contains NaN at step 1"),
    (lambda net: net.learn_run([[1, 2], [0, INF]], None), ValueError, "X contains infinity at step 1"),
    (lambda net: net.learn_run(X, np.ones((2, 1))), ValueError, "targets has 2 steps but the inputs have 3"),
    (lambda net: net.learn_run(X, np.ones((3, 1, 1))), ValueError, r"targets has shape \(3, 1, 1\), expected \(3, 1\)"),
    (lambda net: net.learn_run(X, np.ones((3, 2))), ValueError, r"targets has shape \(3, 2\), expected \(3, 1\)"),
    (
        lambda net: net.learn_run(X, [0, 0, 1]),
        ValueError,
        "targets is integer.* only one output; for its values pass flo",
    ),
    (lambda net: net.learn_run(X, [[1], [2], [INF]]), ValueError, "targets contains infinity in row 2"),
    (lambda net: net.learn_run(X, None, 0), ValueError, "learning_rate"),
    (lambda net: net.run(X, record="cell"), TypeError, r"record must be a sequence of names such as \('cell',\)"),
    (lambda net: net.run(X, record=["partials"]), ValueError, "record names 'partials'; this network has 'cell_state'"),
    (lambda net: net.run(X, record=["hidden"]), ValueError, "record names 'hidden'"),
    (lambda net: net.run(X, out=np.empty((2, 1))), ValueError, r"out has shape \(2, 1\)"),
    (lambda net: net.run(X, out=np.empty((3, 2))[:, :1]), ValueError, "out must be writeable, C-contiguous"),
]

MANY = [
    (
        lambda net: train(net, X, [[1.0]]),
        ValueError,
        r"inputs has shape \(3, 2\).*if it is one sequence, pass \[inputs\]",
    ),
    (lambda net: train(net, [X, X[:, :1]], [[1.0], [1.0]]), ValueError, r"inputs\[1\] has shape \(3, 1\), expected"),
    (lambda net: train(net, [X[:, :1]], [[1]]), ValueError, r"inputs\[0\] has shape \(3, 1\), expected \(n_steps, 2\)"),
    (lambda net: train(net, [X, [0, 1]], [[1.0], [1.0]]), ValueError, r"inputs\[1\] has shape \(2,\), expected"),
    (lambda net: train(net, NOTHING, []), ValueError, r"inputs has shape \(0, 3\), expected \(n_steps, 2\)"),
    (lambda net: predict(net, NOTHING), ValueError, r"inputs has shape \(0, 3\), expected \(n_steps, 2\)"),
    (lambda net: train(net, [], []), ValueError, "inputs has no sequences"),
    (lambda net: train(net, np.empty((0, 3, 2)), np.empty((0, 1))), ValueError, "inputs has no sequences"),
    (lambda net: train(net, None, [[1.0]]), TypeError, "inputs must be a list of arrays, a 3-D array or a Sequences"),
    (lambda net: train(net, [[1j, 2]], [[1.0]]), TypeError, r"inputs\[0\] has dtype complex128"),
    (lambda net: train(net, [X, [[1, NAN]]], [[1.0], [1.0]]), ValueError, r"inputs\[1\] contains NaN at step 0"),
    (
        lambda net: train(net, [X, [[1, 1], [INF, 1]]], [[1.0], [1.0]]),
        ValueError,
        r"inputs\[1\] contains infinity at step 1",
    ),
    (
        lambda net: train(net, [[0, 1], [1, 2]], [[1.0], [1.0]]),
        ValueError,
        r"inputs contains 2 at step 1 of inputs\[1\]",
    ),
    (lambda net: train(net, [X, X], [[1.0]]), ValueError, "targets has 1 sequences but inputs has 2"),
    (lambda net: train(net, [X], None), TypeError, "targets must be an array, a list of arrays or a Sequences"),
    (lambda net: train(net, [X], 1.0), TypeError, "targets must be an array, a list of arrays or a Sequences"),
    (lambda net: train(net, [X], [[1.0, 2.0]]), ValueError, r"targets has shape \(1, 2\), expected \(1, 1\)"),
    (
        lambda net: train(net, [X], [1]),
        ValueError,
        "targets is integer, which means class numbers, and there is only one",
    ),
    (lambda net: train(net, [X], [-1]), ValueError, "targets is integer"),
    (lambda net: train(net, [X], [[0, 0, 1]]), ValueError, "targets is integer"),
    (lambda net: train(net, [X], Sequences([0, 0, 1], [0, 3])), ValueError, "targets is integer"),
    (lambda net: train(net, [X], [[[1.0]] * 2]), ValueError, r"targets\[0\] has 2 steps but inputs\[0\] has 3"),
    (lambda net: train(net, [X], [[1]]), ValueError, "targets is integer"),
    (lambda net: train(net, [X], [[[INF]] * 3]), ValueError, r"targets contains infinity at step 0 of targets\[0\]"),
    (
        lambda net: train(net, [X[:0]], [[1.0]]),
        ValueError,
        r"inputs\[0\] is empty: it has no last step for targets\[0\]",
    ),
    (lambda net: train(net, [X], [[1.0]], learning_rate=0), ValueError, "learning_rate must be positive"),
    (lambda net: train(net, [X], [[1.0]], update="epoch"), ValueError, "update must be 'step' or 'sequence'"),
    (lambda net: train(net, [X], [[1.0]], epochs=-1), ValueError, "epochs must be at least 0, got -1"),
    (lambda net: train(net, [X], [[1.0]], epochs=1.0), TypeError, "epochs must be an integer"),
    (lambda net: train(net, [X], [[1.0]], order=[0, 1]), ValueError, "order must hold sequence numbers from 0 to 0"),
    (lambda net: train(net, [X], [[1.0]], order=[-1]), ValueError, "order must hold sequence numbers"),
    (lambda net: train(net, [X], [[1.0]], order="random"), TypeError, "order must be a 1-D array"),
    (lambda net: train(net, [X], [[1.0]], stop=2000), TypeError, "stop must be a Stop, got int"),
    (lambda net: train(net, [X], [[1.0]], history=[]), TypeError, "history must be a History, got list"),
    (lambda net: train(net, [X], [[1.0]], callback=1), TypeError, "callback must be callable, got int"),
    (lambda net: train(net, [X], [[1.0]], learning_rate=-1, epochs=0), ValueError, "learning_rate must be positive"),
    (lambda net: train(net, [X], [[1.0]], learning_rate=10**400), ValueError, "learning_rate must be positive and fin"),
    (lambda net: Sequences.pack([X])[0:1], TypeError, "slice"),
    (lambda net: Sequences.pack([X], "int64"), ValueError, "dtype must be a float dtype, got int64"),
    (lambda net: train("net", [X], [[1.0]]), TypeError, "net must be a Network, got str"),
    (lambda net: predict(None, [X]), TypeError, "net must be a Network"),
    (lambda net: predict(net, X), ValueError, r"inputs has shape \(3, 2\)"),
    (lambda net: predict(net, [X], out=np.empty(3)), ValueError, r"out has shape \(3,\)"),
]

PARAMETERS = [
    (
        lambda net: setattr(net, "parameters", np.ones(92)),
        ValueError,
        r"parameters has shape \(92,\), expected \(93,\)",
    ),
    (lambda net: setattr(net, "parameters", np.full(93, NAN)), ValueError, "parameters must be finite"),
    (lambda net: setattr(net, "parameters", "abc"), TypeError, "parameters has dtype"),
]


@pytest.mark.parametrize(("call", "error", "words"), SINGLE_STEPS + RUNS + MANY + PARAMETERS)
def test_bad_arguments_are_refused_and_change_nothing(call, error, words):
    net = Network(Topology(2, 1, output="identity"), seed=1)
    net.learn_run(X, None)  # gives the network a state that could change, and a step that awaits its target
    parameters, state, partials = net.parameters, net.state.cell_state, net.state.partials
    with pytest.raises(error, match=words):
        call(net)
    assert np.array_equal(net.parameters, parameters)
    assert np.array_equal(net.state.cell_state, state)
    assert all(np.array_equal(net.state.partials[kind], partials[kind]) for kind in partials)
    net.correct([0.5])
    untouched = Network(Topology(2, 1, output="identity"), seed=1)
    untouched.learn_run(X, None)
    untouched.correct([0.5])
    assert np.array_equal(net.parameters, untouched.parameters)


def test_a_refused_call_changes_no_history_and_draws_nothing():
    net, rng = Network(Topology(2, 1)), np.random.default_rng(0)
    history = train(net, [X], [[0.5]], stop=Stop(window=1, tolerance=9, mean_error=9))
    with pytest.raises(ValueError, match="learning_rate"):
        train(net, [X], [[0.5]], learning_rate=-1, order=rng, history=history)
    assert history.stopped
    assert rng.integers(1000) == np.random.default_rng(0).integers(1000)


@pytest.mark.parametrize(
    "call",
    [
        lambda net: net.learn([1e-300, 1], [1e-300]),
        lambda net: net.peek([1e-300, 1]),
        lambda net: net.learn_run([[1e-300, 1]], [[1e-300]]),
        lambda net: net.run([[1e-300, 1]]),
        lambda net: train(net, [[[1e-300, 1]]], [[1e-300]]),
        lambda net: train(net, [[[1e-300, 1]]], [[1e-300]], 1e-30),
        lambda net: predict(net, np.full((1, 1, 2), 1e-300)),
        lambda net: Sequences.pack([[[1e-300]]], "float32"),
        lambda net: setattr(net, "parameters", np.full(93, 1e-300)),
        lambda net: setattr(net, "weights", {"cell": 1e-300}),
        lambda net: Network(Topology(2, 1), "float32", init_range=1e-40, input_gate_bias=1e-300),
        lambda net: net.with_block(init_range=1e-40, outgoing_range=1e-40, output_gate_bias=1e-300),
        lambda net: setattr(LEARNER, "parameters", LEARNER.parameters * np.longdouble("1e-400")),
    ],
)
@pytest.mark.parametrize("errors", ["raise", "warn"])
def test_numbers_too_small_for_the_dtype_are_zeros_however_numpy_is_set(errors, call):
    """Users may set NumPy to raise or warn at every underflow."""
    net = Network(Topology(2, 1), dtype="float32", seed=1)
    with np.errstate(all=errors):
        call(net)


def test_a_learning_rate_the_dtype_cannot_hold_is_refused():
    net = Network(Topology(2, 1), dtype="float32")
    with pytest.raises(ValueError, match="learning_rate is 1e-60, which float32 can't hold"):
        net.learn([1, 2], [1], 1e-60)


def test_partly_nan_targets_are_refused_for_softmax():
    net = Network(Topology(2, 2, output="softmax"))
    with pytest.raises(ValueError, match="target is partly NaN"):
        net.learn([1, 2], [NAN, 1])
    with pytest.raises(ValueError, match="targets is partly NaN in row 1"):
        net.learn_run(X, [[1, 1], [1, NAN], [1, 1]])
    with pytest.raises(ValueError, match="targets is partly NaN in row 0"):
        train(net, [X], [[NAN, 1]])


def test_integers_are_refused_where_they_could_be_symbols_or_values():
    net = Network(Topology(1, 1))
    for call in (lambda: net.step(0), lambda: net.run([0, 0]), lambda: train(net, [[0, 0]], [[1.0]])):
        with pytest.raises(ValueError, match="integer, which means symbols, and there is only one input"):
            call()


def test_values_that_overflow_the_dtype_are_refused():
    net = Network(Topology(2, 1), dtype="float32")
    for call in (
        lambda: net.step([1e300, 0]),
        lambda: net.run([[1e300, 0]]),
        lambda: train(net, [[[1e300, 0]]], [[0.0]]),
        lambda: net.learn([1, 0], [1e300]),
        lambda: train(net, [[[1.0, 0]]], [[1e300]]),
    ):
        with pytest.raises(ValueError, match="contains infinity"):
            call()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"topology": "adding"}, TypeError, "topology must be a Topology, got str"),
        ({"dtype": "float16"}, ValueError, "dtype must be 'float64' or 'float32', got 'float16'"),
        ({"dtype": "no"}, TypeError, "dtype must be 'float64' or 'float32'"),
        ({"dtype": ">f8"}, ValueError, "dtype must be"),
        ({"init_range": -1}, ValueError, "init_range must be a number, at least 0"),
        ({"init_range": "0.1"}, TypeError, "init_range must be a number"),
        ({"init_range": NAN}, ValueError, "init_range must be a number"),
        ({"init_range": INF}, ValueError, "init_range must be finite"),
        (
            {"init_range": 1e300, "dtype": "float32"},
            ValueError,
            "init_range must be finite, and twice its value in float32",
        ),
        ({"input_gate_bias": 1e300, "dtype": "float32"}, ValueError, "input_gate_bias is 1e.300, which float32 can"),
        ({"seed": -1}, ValueError, "non-negative"),
        ({"input_gate_bias": [1, 2, 3]}, ValueError, r"input_gate_bias has shape \(3,\), expected .* \(2,\)"),
        ({"output_gate_bias": NAN}, ValueError, "output_gate_bias must be finite"),
        ({"output_gate_bias": "low"}, TypeError, "output_gate_bias must be a number or one per block"),
        ({"forget_gate_bias": 1}, ValueError, "forget_gate_bias is given but the topology has no forget gates"),
        (
            {"topology": Topology(2, 1, bias="none"), "input_gate_bias": 1},
            ValueError,
            "input_gate_bias is given but the gates have no bias",
        ),
    ],
)
def test_networks_refuse(arguments, error, words):
    with pytest.raises(error, match=words):
        Network(**{"topology": Topology(2, 1), **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"window": 0}, ValueError, "window must be at least 1"),
        ({"window": 2**70}, ValueError, "window must be at most"),
        ({"max_wrong": 2**70}, ValueError, "max_wrong must be at most"),
        ({"window": 2.0}, TypeError, "window must be an integer"),
        ({"max_wrong": -1}, ValueError, "max_wrong must be at least 0"),
        ({"tolerance": -1}, ValueError, "tolerance must be a number, at least 0"),
        ({"mean_error": NAN}, ValueError, "mean_error must be a number, at least 0"),
        ({"mean_error": "small"}, TypeError, "mean_error must be a number"),
    ],
)
def test_stop_rules_refuse(arguments, error, words):
    with pytest.raises(error, match=words):
        Stop(**arguments)


@pytest.mark.parametrize(
    ("values", "offsets", "error", "words"),
    [
        (np.ones((4, 2)), [0, 5], ValueError, "offsets must rise from 0 to the number of steps, 4"),
        (np.ones((4, 2)), [1, 4], ValueError, "offsets must rise from 0"),
        (np.ones((4, 2)), [0, 3, 2, 4], ValueError, "offsets must rise from 0"),
        (np.ones((4, 2)), [], ValueError, "offsets must be a 1-D integer array"),
        (np.ones((4, 2)), [0.0, 4.0], ValueError, "offsets must be a 1-D integer array"),
        (np.ones(4), [0, 4], ValueError, r"values has shape \(4,\), expected \(n_steps, n_features\)"),
        (np.ones((4, 2, 1)), [0, 4], ValueError, "values has shape"),
        (["a"], [0, 1], TypeError, "values has dtype <U1"),
    ],
)
def test_sequences_refuse(values, offsets, error, words):
    with pytest.raises(error, match=words):
        Sequences(values, offsets)


def test_load_refuses_what_is_not_a_network(tmp_path):
    file = tmp_path / "net.safetensors"
    with pytest.raises(OSError, match=r"net\.safetensors"):
        lstm97.load(file)
    file.write_bytes(b"not a network")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        lstm97.load(file)
