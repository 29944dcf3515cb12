"""Validation data: judgements, patience, the best weights, and all of it through checkpoints and histories."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file

import lstm97
from lstm97 import Checkpoint, History, Network, Sequences, Stop, Topology, _format, predict, train
from lstm97._validation import Validation, _mean_errors
from lstm97.extend import history_of, history_parts

RNG = np.random.default_rng(0)
INPUTS = [RNG.uniform(-1, 1, (int(n), 2)) for n in RNG.integers(1, 12, 23)]
TARGETS = RNG.uniform(0, 1, (23, 1))
OTHERS = [RNG.uniform(-1, 1, (int(n), 2)) for n in RNG.integers(1, 12, 9)]
OTHER_TARGETS = RNG.uniform(0, 1, (9, 1))
DATA, OTHER = (Sequences.pack(INPUTS), TARGETS), (OTHERS, OTHER_TARGETS)


def network(dtype="float64"):
    return Network(Topology(2, 1), dtype, seed=1, init_range=0.5)


def rows_of(targets, x, n_outputs):
    """A sequence's targets as rows per step, NaN where there is none: from rows or classes, per step or for the end."""
    targets = np.asarray(targets)
    if targets.dtype.kind == "i":
        one_hot = np.vstack([np.eye(n_outputs), np.full(n_outputs, np.nan)])  # the last row stands for class -1
        targets = one_hot[targets]
    if targets.ndim == 2:
        return targets
    rows = np.full((len(x), n_outputs), np.nan)
    rows[-1:] = targets
    return rows


def mean_error(net, inputs, targets):
    """The judgement, by its definition: a loop over sequences, error signals and outputs."""
    signals = []
    for x, given in zip(inputs, targets, strict=True):
        Y = net.run(x, state=net.new_state())
        for y, row in zip(Y, rows_of(given, x, net.topology.n_outputs), strict=True):
            distances = [abs(float(t) - float(each)) for t, each in zip(row, y, strict=True) if not np.isnan(t)]
            if distances:
                signals.append(sum(distances) / len(distances))
    return sum(signals) / len(signals)


# ---- judgements ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["rows", "rows per step", "classes", "classes per step"])
def test_a_judgement_is_the_mean_error_over_all_signals(dtype, kind):
    rng = np.random.default_rng(5)
    n_outputs = 3
    net = Network(Topology(2, n_outputs, output="softmax"), dtype, seed=1, init_range=1.0)
    inputs = [rng.uniform(-1, 1, (int(n), 2)) for n in rng.integers(1, 12, 30)]
    if kind == "rows":
        targets = rng.uniform(0, 1, (30, n_outputs)).astype(dtype)
        targets[4] = np.nan
        inputs[4] = inputs[4][:0]  # an empty sequence without a target
    elif kind == "rows per step":
        targets = [rng.uniform(0, 1, (len(x), n_outputs)).astype(dtype) for x in inputs]
        targets[3][::2] = np.nan
    elif kind == "classes":
        targets = rng.integers(-1, n_outputs, 30)
    else:
        targets = [rng.integers(-1, n_outputs, len(x)) for x in inputs]
    packed = Sequences.pack(targets) if "per step" in kind else targets
    expected = mean_error(net, inputs, targets)
    judge = Validation((inputs, packed), net._layout)
    assert np.isclose(judge.judge(net, 1), expected, rtol=1e-12)
    history = train(net, inputs, packed, 1e-30, validation=(inputs, packed))
    assert np.isclose(history.validation, expected, rtol=1e-12).tolist() == [True]


def test_outputs_without_a_target_are_left_out():
    Y = np.array([[0.5, 0.25, 1.0], [0.5, 0.5, 0.5]])
    targets = np.array([[1.0, np.nan, 0.5], [np.nan, np.nan, 0.25]])
    assert _mean_errors(targets, Y).tolist() == [0.5, 0.25]


def test_many_rows_are_judged_a_part_at_a_time(monkeypatch):
    expected = Validation(OTHER, network()._layout).judge(network(), 1)
    monkeypatch.setattr(lstm97._validation, "AT_ONCE", 2)
    assert Validation(OTHER, network()._layout).judge(network(), 1) == expected


def test_threads_change_no_bit_of_a_judgement(monkeypatch):
    monkeypatch.setattr(lstm97._inference, "WORTH_THREADS", 0)
    monkeypatch.setattr(lstm97._inference, "available_cpus", lambda: 4)
    judge = Validation(OTHER, network()._layout)
    assert judge.judge(network(), 4) == judge.judge(network(), 1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", [{}, {"update": "sequence", "batch_size": 4}])
@pytest.mark.parametrize("every", [None, 7])
def test_the_network_is_judged_before_each_call_of_the_callback(dtype, options, every):
    net, other = network(dtype), network(dtype)
    seen, expected = [], []

    def callback(done):
        seen.append(len(done.validation))
        expected.append(mean_error(net, *OTHER[:1], OTHER_TARGETS.astype(dtype)))

    how = {"epochs": 3, "every": every, "keep_best": False, **options}
    history = train(net, *DATA, 0.5, validation=OTHER, callback=callback, **how)
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) == 3 * (1 if every is None else 3 if options else 4)
    assert np.allclose(history.validation, expected, rtol=1e-12)
    assert len(set(expected)) == len(expected)
    unjudged = train(other, *DATA, 0.5, epochs=3, **options)
    assert np.array_equal(net.parameters, other.parameters)
    assert np.array_equal(history.errors, unjudged.errors)
    assert unjudged.validation.shape == (0,)
    assert unjudged.best is None


def test_judgements_are_a_read_only_copy_and_go_with_the_history():
    history = train(network(), *DATA, 0.5, epochs=2, validation=OTHER)
    assert history.validation.dtype == np.float64
    assert not history.validation.flags.writeable
    for other in (copy.copy(history), copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        assert np.array_equal(other.validation, history.validation)
        assert other.best == history.best
    remade = history_of(*history_parts(history), None)
    assert np.array_equal(remade.validation, history.validation)
    assert np.array_equal(remade._best_parameters, history._best_parameters)
    with pytest.raises(AttributeError):
        history.validation = []


# ---- patience and the best weights ----


def judged(monkeypatch, judgements):
    """Let the judgements be these, one after the other."""
    left = iter(judgements)
    monkeypatch.setattr(Validation, "judge", lambda *_: next(left))


@pytest.mark.parametrize(
    ("judgements", "patience", "n", "best"),
    [
        ([5, 4, 3, 3, 3, 1], 2, 5, 2),  # an equal one is no new best
        ([5, 4, 6, 3, 4, 4, 4, 1], 3, 7, 3),
        ([1, 2, 3], 1, 2, 0),
        ([5, 4, 3, 2, 1, 0.5, 0.25, 0.125], 1, 8, 7),
    ],
)
@pytest.mark.parametrize("keep_best", [True, False])
def test_training_ends_after_judgements_without_a_new_best(monkeypatch, judgements, patience, n, best, keep_best):
    judged(monkeypatch, map(float, judgements))
    weights = []
    net = network()
    history = train(
        net,
        *DATA,
        0.5,
        epochs=len(judgements),
        validation=OTHER,
        patience=patience,
        keep_best=keep_best,
        callback=lambda done: weights.append(net.parameters),
    )
    assert history.validation.tolist() == judgements[:n]
    assert (history.epochs, history.best) == (n, best)
    assert np.array_equal(net.parameters, weights[best if keep_best else -1])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_best_weights_give_the_best_judgement(dtype):
    net = network(dtype)
    history = train(net, *DATA, 2.0, epochs=12, every=3, validation=OTHER)
    assert 0 < history.best < len(history.validation) - 1  # else this would show nothing
    assert history.validation[history.best] == history.validation.min()
    assert np.isclose(mean_error(net, OTHERS, OTHER_TARGETS.astype(dtype)), history.validation.min(), rtol=1e-12)


def test_the_best_weights_are_kept_when_a_rule_a_callback_or_another_thread_ends_training(monkeypatch):
    for how in (
        {"stop": Stop(window=55, tolerance=9, mean_error=9)},
        {"callback": lambda done: len(done.validation) == 3},
        {"callback": lambda done: done.stop() if len(done.validation) == 3 else None},
    ):
        judged(monkeypatch, [2.0, 1.0, 3.0, 4.0])
        net, other = network(), network()
        history = train(net, *DATA, 0.5, epochs=5, validation=OTHER, **how)
        assert history.validation.tolist() == [2, 1, 3]
        train(other, *DATA, 0.5, epochs=2)
        assert np.array_equal(net.parameters, other.parameters)


def test_after_an_exception_the_weights_are_the_latest(monkeypatch):
    judged(monkeypatch, [1.0, 2.0])

    def interrupt(done):
        if done.epochs == 2:
            raise KeyboardInterrupt

    net, other = network(), network()
    with pytest.raises(KeyboardInterrupt):
        train(net, *DATA, 0.5, epochs=5, validation=OTHER, callback=interrupt)
    train(other, *DATA, 0.5, epochs=2)
    assert np.array_equal(net.parameters, other.parameters)


def test_a_history_continues_its_judgements():
    net, history, whole = network(), History(), network()
    how = {"validation": OTHER, "keep_best": False}
    expected = train(whole, *DATA, 0.5, epochs=6, **how)
    for epochs in (2, 1, 3):
        train(net, *DATA, 0.5, epochs=epochs, history=history, **how)
    assert np.array_equal(net.parameters, whole.parameters)
    assert np.array_equal(history.validation, expected.validation)
    assert history.best == expected.best


def test_the_best_weights_may_be_those_of_an_earlier_call(monkeypatch, tmp_path):
    judged(monkeypatch, [1.0, 3.0, 2.0, 4.0])
    net, history, first = network(), History(), network()
    train(net, *DATA, 0.5, epochs=2, history=history, validation=OTHER, keep_best=False)
    train(net, *DATA, 0.5, epochs=2, history=history, validation=OTHER)
    train(first, *DATA, 0.5)
    assert np.array_equal(net.parameters, first.parameters)
    larger = Network(Topology(2, 1, blocks=(3,)))
    with pytest.raises(ValueError, match=r"history has judgements of a network of \d+ float64 weights"):
        train(larger, *DATA, history=history, validation=OTHER)
    with pytest.raises(ValueError, match="but this one has 93 float32 weights"):
        train(network("float32"), *DATA, history=history, checkpoint=Checkpoint(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    train(larger, *DATA, history=history)


# ---- checkpoints ----


class Killed(BaseException):
    """Raised in place of a kill; nothing catches it."""


RUNS = {
    "epochs": {"validation": OTHER},
    "every": {"validation": OTHER, "every": 5},
    "every batch": {"validation": OTHER, "every": 5, "update": "sequence", "batch_size": 4},
    "patience": {"validation": OTHER, "every": 6, "patience": 3, "learning_rate": 4.0},
    "latest": {"validation": OTHER, "every": 6, "keep_best": False},
    "callable": {"every": 5, "learning_rate": lambda done: 0.9 / (1 + done.sequences)},
    "callable by judgement": {
        "validation": OTHER,
        "every": 4,
        "learning_rate": lambda done: 0.5 * (1 + len(done.validation)) ** -0.5,
    },
    "decay": {"validation": OTHER, "learning_rate": lstm97.Decay(0.9, 0.1, 40)},
    "stop": {"validation": OTHER, "every": 4, "stop": Stop(window=30, tolerance=9, mean_error=9)},
}


def run(path, options, *, dtype="float64", kill_after=None, every=3):
    """A run with a checkpoint every few sequences, killed after the save number `kill_after`, if given."""
    net, history = network(dtype), History()
    arguments = {"learning_rate": 0.5, "epochs": 3, "history": history, "order": np.random.default_rng(3), **options}
    if path is not None:
        arguments["checkpoint"] = Checkpoint(path, sequences=every)
    saves = 0
    original = lstm97.checkpoints.write_whole

    def counted(*args):
        nonlocal saves
        original(*args)
        saves += 1
        if saves == kill_after:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lstm97.checkpoints, "write_whole", counted)
        try:
            train(net, *DATA, **arguments)
        except Killed:
            return None
    return net.parameters, history


def assert_same(found, expected):
    assert np.array_equal(found[0], expected[0])
    a, b = found[1], expected[1]
    assert np.array_equal(a.errors, b.errors)
    assert np.array_equal(a.validation, b.validation)
    for name in ("sequences", "steps", "epochs", "stopped", "best"):
        assert getattr(a, name) == getattr(b, name), name


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("every", [3, 5])
def test_a_run_killed_after_any_save_comes_to_the_same_judgements_and_weights(tmp_path, name, dtype, every):
    path = tmp_path / "run"
    expected = run(None, RUNS[name], dtype=dtype)
    assert name != "patience" or expected[1].epochs < 3
    found, n_runs = None, 0
    while found is None:
        found = run(path, RUNS[name], dtype=dtype, kill_after=1, every=every)
        n_runs += 1
    assert n_runs > 4
    assert_same(found, expected)
    assert_same(run(path, RUNS[name], dtype=dtype, every=every), expected)  # complete: nothing is done again


def test_a_run_that_lost_patience_goes_on_with_more_of_it(tmp_path):
    path, options = tmp_path / "run", RUNS["patience"]
    expected = run(None, options | {"patience": 30})
    ended = run(path, options)
    assert ended[1].sequences < expected[1].sequences
    assert_same(run(path, options), ended)
    assert_same(run(path, options | {"patience": 30}), expected)


def test_the_same_objects_go_on_from_the_best_weights_and_after_an_interrupt(tmp_path):
    expected = run(None, {"validation": OTHER, "every": 5, "epochs": 6, "learning_rate": 3.0})
    net, order, history = network(), np.random.default_rng(3), History()
    how = {"order": order, "history": history, "validation": OTHER, "every": 5, "learning_rate": 3.0}
    how["checkpoint"] = Checkpoint(tmp_path / "run", sequences=7)
    train(net, *DATA, epochs=2, **how)
    latest = lstm97.load(tmp_path / "run").parameters
    assert not np.array_equal(net.parameters, latest)  # the best weights, unlike the latest

    def interrupt(done):
        if done.sequences == 23 * 2 + 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(net, *DATA, epochs=6, callback=interrupt, **how)
    train(net, *DATA, epochs=6, **how)
    assert_same((net.parameters, history), expected)


def test_a_run_that_a_callback_or_history_stop_ended_within_an_epoch_goes_on(tmp_path):
    expected = run(None, {"validation": OTHER, "every": 4})
    for ends in (lambda done: done.sequences == 31, lambda done: done.stop() if done.sequences == 31 else None):
        path = tmp_path / "run"
        ended = run(path, {"validation": OTHER, "every": 4, "callback": ends}, every=4)
        assert ended[1].sequences == 31
        assert len(ended[1].validation) == 8
        assert_same(run(path, {"validation": OTHER, "every": 4}), expected)
        path.unlink()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"every": 4}, "every"),
        ({"every": None}, "every"),
        ({"validation": (OTHERS, OTHER_TARGETS + 1e-3)}, "validation"),
        ({"validation": None}, "validation"),
        ({"learning_rate": lambda done: 0.5}, "learning_rate"),
    ],
)
def test_runs_with_other_judgements_are_refused(tmp_path, changed, words):
    options = {"validation": OTHER, "every": 5}
    run(tmp_path / "run", options)
    with pytest.raises(ValueError, match=f"is the checkpoint of another run, which differs in {words};"):
        run(tmp_path / "run", options | changed)


def test_checkpoints_without_these_options_hold_nothing_of_them(tmp_path):
    path = tmp_path / "run"
    run(path, {}, kill_after=4)
    numbers = json.loads(_format.read(path).metadata["training"])
    assert numbers.keys() == set(_format.NUMBERS)
    assert numbers["run"].keys().isdisjoint({"every", "validation", "kept"})


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors, numbers: tensors.pop("training.validation"),
        lambda tensors, numbers: tensors.pop("training.best_parameters"),
        lambda tensors, numbers: tensors["training.best_parameters"].fill(np.inf),
        lambda tensors, numbers: tensors["training.validation"].fill(np.nan),
        lambda tensors, numbers: tensors.update({"training.best_parameters": np.zeros(5)}),
        lambda tensors, numbers: tensors.update({"training.best_parameters": np.zeros(93, np.float32)}),
        lambda tensors, numbers: numbers["sizes"].update(validation=0),
        lambda tensors, numbers: numbers["sizes"].update(validation="x"),
        lambda tensors, numbers: numbers["sizes"].update(validation=10**9),
        lambda tensors, numbers: numbers["sizes"].pop("validation"),
        lambda tensors, numbers: numbers.update(is_judged=1),
        lambda tensors, numbers: numbers.update(rate=-1.0),
        lambda tensors, numbers: numbers.update(rate=float("nan")),
        lambda tensors, numbers: numbers.update(rate="0.5"),
        lambda tensors, numbers: numbers.update(more=1),
        lambda tensors, numbers: numbers["run"].update(kept=5),
    ],
)
def test_damaged_judgements_are_refused_and_change_nothing(tmp_path, damage):
    path = tmp_path / "run"
    options = RUNS["callable by judgement"]
    run(path, options, kill_after=6)
    contents = _format.read(path)
    tensors, numbers = dict(contents.tensors), json.loads(contents.metadata["training"])
    assert {"is_judged", "rate"} & numbers.keys()
    tensors = {name: np.array(array) for name, array in tensors.items()}
    damage(tensors, numbers)
    save_file(tensors, path, contents.metadata | {"training": json.dumps(numbers)})
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"run (is damaged|has no usable header|lacks|should not have|has training)"):
        run(path, options)
    assert path.read_bytes() == before


# ---- arguments ----


@pytest.mark.filterwarnings("ignore:targets from")
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"patience": 3}, ValueError, "patience is 3, but there is no validation"),
        ({"patience": 0, "validation": OTHER}, ValueError, "patience must be at least 1"),
        ({"patience": 1.5, "validation": OTHER}, TypeError, "patience must be an integer"),
        ({"keep_best": 1, "validation": OTHER}, TypeError, "keep_best must be True or False, got 1"),
        ({"validation": OTHERS}, TypeError, r"validation must be a pair \(inputs, targets\)"),
        ({"validation": 5}, TypeError, r"validation must be a pair \(inputs, targets\)"),
        ({"validation": (OTHERS, OTHER_TARGETS[1:])}, ValueError, "in validation: targets has 8 sequences but inputs"),
        ({"validation": ([np.ones((2, 3))], [[1.0]])}, ValueError, r"in validation: inputs\[0\] has shape \(2, 3\)"),
        ({"validation": (OTHERS, OTHER_TARGETS * np.nan)}, ValueError, "validation has no target: nothing could be"),
    ],
)
def test_other_arguments_are_refused_and_change_nothing(arguments, error, words, tmp_path):
    net = network()
    before = net.parameters
    with pytest.raises(error, match=words):
        train(net, *DATA, checkpoint=Checkpoint(tmp_path / "run"), **arguments)
    assert np.array_equal(net.parameters, before)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:targets from")
def test_an_overflow_on_the_validation_data_is_an_error_that_says_so():
    squashes = {"input_squash": "identity", "output_squash": "identity", "output": "identity"}
    net = Network(Topology(2, 1, recurrent=False, **squashes), seed=1)
    net.weights["input_gate"] = 0
    net.weights["cell"] = 50
    X = np.full((2, 3, 2), 1e307)
    with pytest.raises(FloatingPointError, match="in validation: in sequence 0: cell state overflowed at step"):
        train(net, *DATA, 1e-9, validation=(X, [[0.0], [0.0]]))
    assert np.isfinite(predict(net, OTHERS, last=True)).all()
