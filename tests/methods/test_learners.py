"""Tests that all learners of lstm97.methods must pass: streams, sequences, weights, threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from interrupts import assert_usable_after_ctrl_c
from learners import LEARNERS, N_INPUTS, N_OUTPUTS, PER_SEQUENCE, stream, symbols

import lstm97
from lstm97 import History, Stop
from lstm97.methods import (
    BPTT,
    METHODS,
    RTRL,
    Chunker,
    ChunkerTopology,
    ElementwiseLSTM,
    Elman,
    Learner,
    RecurrentTopology,
    predict,
    train,
)

equal = np.testing.assert_array_equal


pytestmark = pytest.mark.filterwarnings("ignore:no target was found")


@pytest.fixture(params=LEARNERS)
def make(request):
    """A function that makes learners of one kind, equal ones for equal seeds."""
    return LEARNERS[request.param]


# ---- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [stream, symbols])
def test_learn_calls_and_learn_run_in_any_chunks_and_train_give_the_same_bits(make, draw):
    X, T = draw(60)
    whole, single, cut, trained = make(), make(), make(), make()
    Y = whole.learn_run(X, T, 0.3)
    equal([single.learn(x, target, 0.3) for x, target in zip(X, T, strict=True)], Y)
    equal(single.parameters, whole.parameters)
    places = [0, 0, 1, 7, 8, 41, 60]
    parts = [cut.learn_run(X[a:b], T[a:b], 0.3) for a, b in pairwise(places)]
    equal(np.concatenate(parts), Y)
    equal(cut.parameters, whole.parameters)
    trained.train([X], [T], 0.3)
    equal(trained.parameters, whole.parameters)
    assert (whole.parameters != make().parameters).any()


def test_run_is_step_calls_and_predict_is_run_from_reset(make):
    X, _ = stream(30)
    net, other = make(), make()
    Y = net.run(X)
    equal([other.step(x) for x in X], Y)
    assert np.abs(net.run(X) - Y).max() > 1e-6  # the stream continues from its state
    net.reset()
    equal(net.run(X[:11]), Y[:11])
    equal(net.run(X[11:]), Y[11:])
    equal(net.predict([X])[0], Y)


def test_a_step_of_a_symbol_is_that_of_its_row(make):
    numbers, _ = symbols(20)
    X = np.eye(N_INPUTS)[numbers]
    np.testing.assert_allclose(make().run(numbers), make().run(X), rtol=1e-14)
    equal([make().step(int(number)) for number in numbers], [make().step(x) for x in X])


def test_none_nan_and_class_minus_one_mean_no_target(make):
    X, _ = stream(20)
    nets = [make() for _ in range(4)]
    nothing = (None, np.full((20, N_OUTPUTS), np.nan), np.full(20, -1))
    outputs = [net.learn_run(X, targets, 0.3) for net, targets in zip(nets, nothing, strict=False)]
    outputs.append(np.array([nets[3].learn(x, None, 0.3) for x in X]))
    for net, Y in zip(nets, outputs, strict=True):
        equal(Y, outputs[0])
        equal(net.parameters, nets[0].parameters)
    if not isinstance(nets[0], Chunker):  # a chunker also learns to predict its inputs
        equal(nets[0].parameters, make().parameters)
        equal(outputs[0], make().run(X))


def test_training_and_prediction_leave_the_state_of_the_stream_alone(make):
    """The weights are restored, so that only the state could make a difference."""
    X, T = stream(50)
    undisturbed, net = make(), make()
    undisturbed.learn_run(X[:20], T[:20], 0.2)
    net.learn_run(X[:20], T[:20], 0.2)
    weights = net.parameters
    net.train([X, X[:3], X[:0]], [T, T[:3], T[:0]], 0.5)
    net.predict([X, X[:5]])
    assert (net.parameters != weights).any()
    net.parameters = weights
    equal(net.learn_run(X[20:], T[20:], 0.2), undisturbed.learn_run(X[20:], T[20:], 0.2))
    equal(net.parameters, undisturbed.parameters)


def test_reset_forgets_everything_but_the_weights(make):
    X, T = stream(40)
    net, fresh = make(), make()
    net.learn_run(X, T, 0.2)
    fresh.parameters = net.parameters
    net.reset()
    equal(net.step(X[0]), fresh.step(X[0]))
    equal(net.learn_run(X, T, 0.2), fresh.learn_run(X, T, 0.2))
    equal(net.parameters, fresh.parameters)


def test_an_empty_call_changes_nothing(make):
    X, T = stream(9)
    net, other = make(), make()
    for begin in range(9):
        x, target = X[begin : begin + 1], T[begin : begin + 1]
        equal(net.learn_run(x, target, 0.2), other.learn_run(x, target, 0.2))
        for Y in (net.run(X[:0]), net.learn_run(X[:0], T[:0], 0.2), net.learn_run(X[:0], None, 0.2)):
            assert Y.shape == (0, N_OUTPUTS)
    equal(net.parameters, other.parameters)


# ---- sequences -------------------------------------------------------------------------------------------------------


def ragged(lengths=(7, 0, 1, 12, 3)):
    pairs = [stream(n, seed) for seed, n in enumerate(lengths)]
    return [X for X, _ in pairs], [T for _, T in pairs]


def test_training_on_many_is_training_on_each_in_turn(make):
    inputs, targets = ragged()
    net, other = make(), make()
    history = net.train(inputs, targets, 0.3, epochs=2)
    errors = [other.train([X], [T], 0.3).errors[0] for _ in range(2) for X, T in zip(inputs, targets, strict=True)]
    equal(net.parameters, other.parameters)
    equal(history.errors, errors)
    assert (history.sequences, history.steps, history.epochs, history.stopped) == (10, 46, 2, False)
    assert np.isnan(history.errors[[1, 6]]).all()
    assert history.seconds > 0


def test_errors_are_the_mean_distances_of_targets_from_outputs_before_the_change(make):
    inputs, targets = ragged((9,))
    Y = make().learn_run(inputs[0], targets[0], 1e-300)
    found = make().train(inputs, targets, 1e-300).errors
    np.testing.assert_allclose(found, [np.nanmean(np.abs(Y - targets[0]))], rtol=1e-14)


def test_targets_per_sequence_are_those_of_last_steps(make):
    inputs, _ = ragged()
    last = np.random.default_rng(5).random((5, N_OUTPUTS))
    last[1] = np.nan
    rows = [np.full((len(X), N_OUTPUTS), np.nan) for X in inputs]
    for T, target in zip(rows, last, strict=True):
        T[-1:] = target
    net, other = make(), make()
    equal(net.train(inputs, last, 0.3, epochs=2).errors, other.train(inputs, rows, 0.3, epochs=2).errors)
    equal(net.parameters, other.parameters)
    classes = np.array([2, -1, 0, 1, -1])
    net, other = make(), make()
    net.train(inputs, classes, 0.3)
    steps = [np.where(np.arange(len(X)) == len(X) - 1, k, -1) for X, k in zip(inputs, classes, strict=True)]
    other.train(inputs, steps, 0.3)
    equal(net.parameters, other.parameters)


def test_order_may_repeat_and_leave_out_and_a_generator_permutes_every_epoch(make):
    inputs, targets = ragged()
    net, other = make(), make()
    order = [3, 0, 3, 4]
    history = net.train(inputs, targets, 0.3, order=order, epochs=2)
    other.train([inputs[i] for i in order * 2], [targets[i] for i in order * 2], 0.3)
    equal(net.parameters, other.parameters)
    assert (history.sequences, history.epochs) == (8, 2)
    net, other = make(), make()
    net.train(inputs, targets, 0.3, order=np.random.default_rng(4), epochs=3)
    rng = np.random.default_rng(4)
    for _ in range(3):
        other.train(inputs, targets, 0.3, order=rng.permutation(5))
    equal(net.parameters, other.parameters)


def test_no_epochs_change_nothing(make):
    net = make()
    history = net.train(*ragged(), 0.3, epochs=0)
    assert (history.sequences, history.epochs) == (0, 0)
    equal(net.parameters, make().parameters)


def one_output(make):
    """A learner of the same kind with one input and one output."""
    net = make()
    if isinstance(net, Chunker):
        topology = ChunkerTopology(n_inputs=1, n_outputs=1, next_inputs=net.topology.next_inputs)
    elif isinstance(net, ElementwiseLSTM):
        topology = lstm97.Topology(1, 1, recurrent="self")
    else:
        topology = RecurrentTopology(
            n_inputs=1, n_outputs=1, n_hidden=2, fully_recurrent=net.topology.fully_recurrent, bias=True
        )
    return type(net)(topology, seed=1)


@pytest.mark.parametrize(
    "rule", [Stop(8, 0.25, 0.2), Stop(8, 0.2, np.inf, 2), Stop(5, 1.0, 0.1), Stop(1, 0.02), Stop(9, 1.0, np.inf)]
)
def test_a_stop_rule_ends_training_at_the_first_sequence_at_which_it_holds(make, rule):
    """With one output and one target per sequence, a sequence's error is also its largest error."""
    rng = np.random.default_rng(3)
    inputs = list(rng.random((400, 4, 1)))
    targets = rng.random((400, 1)) * 0.5
    targets[rng.random(400) < 0.2] = np.nan
    whole, net = one_output(make), one_output(make)
    errors = whole.train(inputs, targets, 0.1).errors
    seen, end = [], None
    for i, error in enumerate(errors):
        if np.isnan(error):
            continue
        seen.append(error)
        window = np.array(seen[-rule.window :])
        right = (window > rule.tolerance).sum() <= rule.max_wrong and window.mean() < rule.mean_error
        if len(seen) >= rule.window and right:
            end = i + 1
            break
    assert end is not None
    assert end < 400
    history = net.train(inputs, targets, 0.1, stop=rule)
    assert (history.stopped, history.sequences, history.steps, history.epochs) == (True, end, 4 * end, 0)
    equal(history.errors, errors[:end])
    other = one_output(make)
    other.train(inputs[:end], targets[:end], 0.1)
    equal(net.parameters, other.parameters)
    # In two calls, the window continues.
    cut, history = one_output(make), None
    for begin in range(0, end + 6, 3):
        part = slice(begin, begin + 3)
        history = cut.train(inputs[part], targets[part], 0.1, stop=rule, history=history)
        if history.stopped:
            break
    assert history.sequences == end
    equal(cut.parameters, net.parameters)


def test_the_stop_rule_and_the_history_are_those_of_training_an_lstm():
    """Also when an epoch counts as complete: the rule holds at the last of twelve sequences."""
    X, T = np.random.default_rng(0).random((12, 3, 1)), np.full((12, 1), 0.5)
    rule = Stop(window=12, tolerance=1.0, mean_error=np.inf)
    network = lstm97.Network(lstm97.Topology(1, 1, blocks=(1,)))
    net = RTRL(RecurrentTopology(n_inputs=1, n_outputs=1, n_hidden=1))
    theirs, ours = (train(learner, X, T, learning_rate=0.1, stop=rule, epochs=3) for learner in (network, net))
    for name in ("sequences", "steps", "epochs", "stopped"):
        assert getattr(ours, name) == getattr(theirs, name), name


def test_a_callback_sees_every_epoch_and_may_end_training(make):
    inputs, targets = ragged()
    seen = []

    def callback(history):
        seen.append((history.epochs, history.sequences))
        return history.epochs == 3

    history = make().train(inputs, targets, 0.1, epochs=10, callback=callback)
    assert seen == [(1, 5), (2, 10), (3, 15)]
    assert not history.stopped


def test_a_history_continues(make):
    inputs, targets = ragged()
    net, other = make(), make()
    history = net.train(inputs, targets, 0.1, epochs=2)
    assert net.train(inputs, targets, 0.1, history=history) is history
    whole = other.train(inputs, targets, 0.1, epochs=3)
    equal(history.errors, whole.errors)
    assert (history.sequences, history.steps, history.epochs) == (whole.sequences, whole.steps, whole.epochs)


def test_predict_gives_the_outputs_of_each_sequence_from_zero(make):
    inputs, _ = ragged()
    net = make()
    outputs = net.predict(inputs)
    assert [Y.shape for Y in outputs] == [(len(X), N_OUTPUTS) for X in inputs]
    for X, Y in zip(inputs, outputs, strict=True):
        equal(make().run(X), Y)
    numbers = [symbols(n)[0] for n in (4, 0, 9)]
    for X, Y in zip(numbers, net.predict(numbers), strict=True):
        equal(make().run(X), Y)


def test_train_and_predict_take_learners_and_networks(make):
    inputs, targets = ragged()
    net, other = make(), make()
    equal(
        train(net, inputs, targets, learning_rate=0.3, epochs=2).errors,
        other.train(inputs, targets, 0.3, epochs=2).errors,
    )
    for Y, expected in zip(predict(net, inputs), other.predict(inputs), strict=True):
        equal(Y, expected)
    topology = lstm97.Topology(N_INPUTS, N_OUTPUTS, blocks=(1, 2))
    network, like = lstm97.Network(topology, seed=1), lstm97.Network(topology, seed=1)
    train(network, inputs, targets, learning_rate=0.3, update="sequence")
    lstm97.train(like, inputs, targets, 0.3, update="sequence")
    equal(network.parameters, like.parameters)
    for Y, expected in zip(predict(network, inputs), lstm97.predict(like, inputs), strict=True):
        equal(Y, expected)


# ---- weights ---------------------------------------------------------------------------------------------------------


def test_weights_are_live_views(make):
    X, T = stream(40)
    net = make()
    views = net.weights
    before = {layer: w.copy() for layer, w in views.items()}
    net.learn_run(X, T, 0.5)
    for layer, w in views.items():
        assert (w != before[layer]).any(), layer
        equal(w, net.weights[layer])
    for w in views.values():
        w[...] = 0
    net.reset()
    squash = net.topology.output if not getattr(net.topology, "fully_recurrent", False) else net.topology.squash
    equal(net.run(X), np.full((40, N_OUTPUTS), 0.5 if squash == "logistic" else 0.0))


def test_parameters_are_all_weights_in_their_order_and_a_copy(make):
    net, other = make(1), make(2)
    values = net.parameters
    equal(values, np.concatenate([w.ravel() for w in net.weights.values()]))
    other.parameters = values
    equal(other.parameters, values)
    X, T = stream(20)
    equal(other.learn_run(X, T, 0.2), net.learn_run(X, T, 0.2))
    values[:] = 0
    assert (net.parameters != 0).any()


def test_equal_seeds_give_equal_weights_and_other_seeds_others(make):
    equal(make(5).parameters, make(5).parameters)
    there = make(5).parameters != 0
    assert (make(5).parameters[there] != make(6).parameters[there]).all()


def test_methods_are_known_by_name(make):
    net = make()
    assert METHODS[net.method] is type(net)
    assert isinstance(net, Learner)
    assert net.dtype == np.float64
    assert f"{net.topology.n_weights} weights" in repr(net)
    assert net.n_bytes > net.parameters.nbytes


# ---- errors ----------------------------------------------------------------------------------------------------------

LINEAR = RecurrentTopology(n_inputs=3, n_outputs=3, n_hidden=3, squash="identity", output="identity")
RUNAWAYS = {
    "rtrl": lambda: RTRL(LINEAR),
    "bptt": lambda: BPTT(LINEAR),
    "elman": lambda: Elman(LINEAR),
    "chunker": lambda: Chunker(ChunkerTopology(n_inputs=3, n_outputs=3, output="identity")),
    "elementwise lstm": lambda: ElementwiseLSTM(lstm97.Topology(3, 3, output="identity", recurrent="self")),
}


@pytest.mark.parametrize("make", RUNAWAYS.values(), ids=RUNAWAYS)
def test_overflow_raises_and_names_the_remedy(make):
    X, T = stream(50, share=1.0)
    with pytest.raises(FloatingPointError, match="smaller learning_rate"):
        make().learn_run(X, T, 1e200)
    net = make()
    with pytest.raises(FloatingPointError, match="smaller learning_rate"):
        [net.learn(x, target, 1e200) for x, target in zip(X, T, strict=True)]
    history = History()
    with pytest.raises(FloatingPointError, match="sequence 2; try a smaller learning_rate"):
        make().train([X[:1], X, X], [T[:1], T, T], 1e200, order=[2, 0, 1], history=history)
    assert history.steps == 50


@pytest.mark.parametrize("make", [RUNAWAYS[name] for name in ("rtrl", "bptt", "elman")])
def test_outputs_that_overflow_in_inference_raise(make):
    net = make()
    net.weights["recurrent"][...] = 1e200
    for call in (net.run, lambda X: net.predict([X])):
        with pytest.raises(FloatingPointError, match="output is not finite"):
            call(np.ones((5, 3)))


WRONG_CALLS = {
    "x": [lambda net: net.step([1.0]), lambda net: net.learn([np.nan] * 3, None), lambda net: net.step(3)],
    "X": [lambda net: net.run(np.ones((4, 2))), lambda net: net.learn_run(np.array([0, 3]), None)],
    "target": [lambda net: net.learn([0.0] * 3, [1.0]), lambda net: net.learn([0.0] * 3, 3)],
    "targets": [
        lambda net: net.learn_run(np.ones((4, 3)), np.ones((3, 3))),
        lambda net: net.train([np.ones((4, 3))], [np.ones((3, 3))]),
        lambda net: net.train([np.ones((4, 3))], np.array([3])),
        lambda net: net.train([np.ones((4, 3))], [[[np.nan, 0.0, 1.0]] * 4]),
    ],
    "inputs": [lambda net: net.train([np.ones((4, 2))], [np.ones((4, 3))]), lambda net: net.predict([[0, 3]])],
    "learning_rate": [
        lambda net: net.learn([0.0] * 3, None, 0.0),
        lambda net: net.learn_run(np.ones((2, 3)), None, np.inf),
        lambda net: net.train([np.ones((4, 3))], np.array([0]), -1.0),
        lambda net: net.train([np.ones((4, 3))], np.array([0]), "fast"),
    ],
    "update": [lambda net: net.train([np.ones((4, 3))], np.array([0]), update="batch")],
    "epochs": [
        lambda net: net.train([np.ones((4, 3))], np.array([0]), epochs=-1),
        lambda net: net.train([np.ones((4, 3))], np.array([0]), epochs=1.5),
    ],
    "order": [lambda net: net.train([np.ones((4, 3))], np.array([0]), order=[1])],
    "stop": [lambda net: net.train([np.ones((4, 3))], np.array([0]), stop=0.1)],
    "history": [lambda net: net.train([np.ones((4, 3))], np.array([0]), history=[])],
    "callback": [lambda net: net.train([np.ones((4, 3))], np.array([0]), callback=3)],
    "parameters": [
        lambda net: setattr(net, "parameters", net.parameters[1:]),
        lambda net: setattr(net, "parameters", net.parameters * np.nan),
    ],
}


@pytest.mark.parametrize("argument", WRONG_CALLS)
def test_a_wrong_argument_of_a_call_is_named_and_nothing_changes(make, argument):
    net = make()
    for call in WRONG_CALLS[argument]:
        with pytest.raises((TypeError, ValueError), match=rf"^{argument}\b"):
            call(net)
    equal(net.parameters, make().parameters)


SIZES = {"n_inputs": 2, "n_outputs": 2, "n_hidden": 2}
NET = RecurrentTopology(**SIZES)
FULL = RecurrentTopology(**SIZES, fully_recurrent=True)
PAIR = ChunkerTopology(n_inputs=2, n_outputs=2)
CELLS = lstm97.Topology(2, 2, recurrent="self")


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: RecurrentTopology(**SIZES | {"n_inputs": 0}), "n_inputs"),
        (lambda: RecurrentTopology(**SIZES | {"n_outputs": 1.5}), "n_outputs"),
        (lambda: RecurrentTopology(**SIZES | {"n_hidden": 0}), "n_hidden"),
        (lambda: RecurrentTopology(**SIZES | {"n_hidden": -1}, fully_recurrent=True), "n_hidden"),
        (lambda: RecurrentTopology(**SIZES, fully_recurrent=1), "fully_recurrent"),
        (lambda: RecurrentTopology(**SIZES, fully_recurrent=True, input_to_output=True), "input_to_output"),
        (lambda: RecurrentTopology(**SIZES, input_to_output="yes"), "input_to_output"),
        (lambda: RecurrentTopology(**SIZES, bias=None), "bias"),
        (lambda: RecurrentTopology(**SIZES, squash="relu"), "squash"),
        (lambda: RecurrentTopology(**SIZES, output=None), "output"),
        (lambda: RecurrentTopology(**SIZES, recurrence="none"), "recurrence"),
        (lambda: RecurrentTopology(**SIZES, recurrence=np.eye(2)), "recurrence"),
        (lambda: RecurrentTopology(**SIZES, recurrence=np.ones((3, 3), bool)), "recurrence"),
        (lambda: ChunkerTopology(n_inputs=0, n_outputs=2), "n_inputs"),
        (lambda: ChunkerTopology(n_inputs=2, n_outputs=2, n_hidden=0), "n_hidden"),
        (lambda: ChunkerTopology(n_inputs=2, n_outputs=3, next_inputs=True), "next_inputs"),
        (lambda: ChunkerTopology(n_inputs=2, n_outputs=2, next_inputs=1), "next_inputs"),
        (lambda: ChunkerTopology(n_inputs=2, n_outputs=2, time="yes"), "time"),
        (lambda: ChunkerTopology(n_inputs=2, n_outputs=2, bias=2), "bias"),
        (lambda: ChunkerTopology(n_inputs=2, n_outputs=2, output="softmax"), "output"),
        (lambda: RTRL("net"), "topology"),
        (lambda: BPTT(PAIR), "topology"),
        (lambda: Elman(None), "topology"),
        (lambda: Chunker(NET), "topology"),
        (lambda: RTRL(NET, init_range=-1.0), "init_range"),
        (lambda: BPTT(NET, init_range=np.inf), "init_range"),
        (lambda: Elman(NET, init_range="small"), "init_range"),
        (lambda: Chunker(PAIR, init_range=np.nan), "init_range"),
        (lambda: RTRL(NET, teacher_forcing=True), "teacher_forcing"),
        (lambda: RTRL(FULL, teacher_forcing=1), "teacher_forcing"),
        (lambda: BPTT(NET, 0), "steps"),
        (lambda: BPTT(NET, 2.0), "steps"),
        (lambda: Elman(FULL), ".*fully_recurrent"),
        (lambda: Chunker(PAIR, threshold=-0.1), "threshold"),
        (lambda: Chunker(PAIR, threshold=None), "threshold"),
        (lambda: ElementwiseLSTM(NET), "topology"),
        (lambda: ElementwiseLSTM(lstm97.Topology(2, 2)), "topology"),
        (lambda: ElementwiseLSTM(lstm97.Topology(2, 2, recurrent=False)), "topology"),
        (lambda: ElementwiseLSTM(CELLS, init_range=-1.0), "init_range"),
        (lambda: ElementwiseLSTM(CELLS, optimizer="adam"), "optimizer"),
    ],
)
def test_a_wrong_setting_is_named(call, argument):
    with pytest.raises((TypeError, ValueError), match=rf"^{argument}\b"):
        call()


def test_weights_of_the_chunker_do_not_change_once_per_sequence():
    net = LEARNERS["chunker"]()
    with pytest.raises(ValueError, match="update must be 'step'"):
        net.train(*ragged(), update="sequence")


# ---- threads ---------------------------------------------------------------------------------------------------------


def test_another_thread_is_refused_while_one_trains(make):
    X, T = stream(5)
    net = make()
    in_callback, go_on = threading.Event(), threading.Event()

    def callback(history):
        in_callback.set()
        go_on.wait(10)

    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(net.train, [X], [T], 0.1, callback=callback)
        try:
            assert in_callback.wait(10)
            for call in (
                lambda: net.step(X[0]),
                lambda: net.run(X),
                lambda: net.learn(X[0], T[0]),
                lambda: net.learn_run(X, T),
                lambda: net.train([X], [T]),
                lambda: net.predict([X]),
                net.reset,
                lambda: setattr(net, "parameters", net.parameters),
            ):
                with pytest.raises(RuntimeError, match="in use"):
                    call()
        finally:
            go_on.set()
        training.result()
    other = make()
    other.train([X], [T], 0.1)
    equal(net.parameters, other.parameters)
    equal(net.step(X[0]), other.step(X[0]))


def test_a_callback_may_use_the_learner_it_is_called_from(make):
    inputs, targets = ragged()
    net, other = make(), make()
    seen = []

    def callback(history):
        seen.append((net.predict(inputs), net.step(inputs[0][0])))

    net.train(inputs, targets, 0.1, epochs=3, callback=callback)
    assert len(seen) == 3
    for outputs, y in seen:
        other.train(inputs, targets, 0.1)
        equal(np.concatenate(outputs), np.concatenate(other.predict(inputs)))
        equal(y, other.step(inputs[0][0]))
    equal(net.parameters, other.parameters)


@pytest.mark.parametrize(
    ("name", "update"), [(name, "step") for name in LEARNERS] + [(name, "sequence") for name in PER_SEQUENCE]
)
def test_two_trainings_in_two_threads_are_those_one_after_the_other(name, update):
    inputs, targets = ragged((50,) * 20)
    serial = [LEARNERS[name](seed) for seed in (1, 2)]
    for net in serial:
        net.train(inputs, targets, 0.1, update=update, epochs=5)
    threaded = [LEARNERS[name](seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda net: net.train(inputs, targets, 0.1, update=update, epochs=5), threaded))
    for net, other in zip(threaded, serial, strict=True):
        equal(net.parameters, other.parameters)


LARGE = RecurrentTopology(n_inputs=20, n_outputs=20, n_hidden=20)
LARGE_LEARNERS = {
    "rtrl": (lambda: RTRL(LARGE), 4_000),
    "bptt": (lambda: BPTT(LARGE, 10), 20_000),
    "elman": (lambda: Elman(LARGE), 60_000),
    "chunker": (lambda: Chunker(ChunkerTopology(n_inputs=20, n_outputs=20, n_hidden=8)), 15_000),
    "elementwise lstm": (lambda: ElementwiseLSTM(lstm97.Topology(20, 20, (2,) * 8, recurrent="self")), 30_000),
}


@pytest.mark.parametrize("name", LARGE_LEARNERS)
@pytest.mark.parametrize("how", ["train", "learn_run"])
def test_another_python_thread_makes_progress_during_training(name, how):
    make, n_steps = LARGE_LEARNERS[name]
    net = make()
    X = np.random.default_rng(0).random((n_steps, 20))
    count, done = 0, threading.Event()

    def keep_counting():
        nonlocal count
        while not done.is_set():
            count += 1

    counter = threading.Thread(target=keep_counting)
    counter.start()
    try:
        before = count
        net.train([X], [X], 0.01) if how == "train" else net.learn_run(X, X, 0.01)
        during = count - before
    finally:
        done.set()
        counter.join()
    assert during > 1000  # if the call held the GIL, the thread could only count during one switch interval at each end


# Uninterrupted these would run for minutes.
ENDLESS = {
    "rtrl": "RTRL(RecurrentTopology(n_inputs=5, n_outputs=5, n_hidden=60))",
    "elementwise lstm": "ElementwiseLSTM(Topology(5, 5, (1,) * 5000, recurrent='self'))",
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize(
    "call",
    [
        "net.train([X[:5]], [X[:5]], 0.01, epochs=10**9)",
        "net.train([X], [X], 0.01)",
        "net.train([X], [X], 0.01, update='sequence')",
        "net.learn_run(X, X, 0.01)",
        "net.run(X)",
    ],
)
def test_ctrl_c_ends_a_long_call_and_leaves_a_usable_learner(call, name):
    program = f"""
        import numpy as np
        from lstm97 import Topology
        from lstm97.methods import RTRL, ElementwiseLSTM, RecurrentTopology
        X = np.ones((100_000, 5))
        net = {ENDLESS[name]}
        print("ready", flush=True)
        try:
            {call}
        except KeyboardInterrupt:
            net.reset()
            y = net.learn(X[0], X[0])
            net.train([X[:3]], [X[:3]])
            print("usable" if np.isfinite(net.parameters).all() and np.isfinite(y).all() else "broken")
    """
    assert_usable_after_ctrl_c(program)


@pytest.mark.parametrize("name", LEARNERS)
def test_weights_are_written_by_update_and_assignment(name):
    net = LEARNERS[name]()
    net.weights.update({layer: np.full(view.shape, 0.25) for layer, view in net.weights.items()})
    assert (net.parameters == 0.25).all()
    first = next(iter(net.weights))
    net.weights[first] = 0.5
    weights = net.weights
    weights |= {first: net.weights[first] + 0.25}
    assert (net.weights[first] == 0.75).all()
