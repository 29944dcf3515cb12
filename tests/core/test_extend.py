"""What wings of the package use of its core: public names, and the functions of `lstm97.extend`."""

from __future__ import annotations

import ast
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from many_cases import REAL, reals, standing

import lstm97
from lstm97 import RLS, Adam, History, Network, Scaling, Stop, extend, train
from lstm97.methods import RTRL, RecurrentTopology

WINGS = ("cli", "cluster", "demos", "export", "many.py", "methods", "paper")

OWN = {
    "kind._from_settings": "a class method of the class whose file this is",
    "learner._install": "an instance that a class method of its own class has just made",
    "learner._max_units": "as learner._install",
    "learner._tensors": "as learner._install",
    "learner._topology": "as learner._install",
    "os._exit": "a public function of the standard library, in spite of its name",
    "super()._checked_update": "a method of the own base class",
    "super()._settings": "a method of the own base class",
}
"""Private attributes that wings may name, and why."""


def private_attributes(source):
    """The private attributes of other objects that Python source names."""
    return {
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    }


def test_wings_name_private_attributes_of_no_network_and_no_history():
    package = Path(lstm97.__file__).parent
    found = {}
    for wing in WINGS:
        files = [package / wing] if wing.endswith(".py") else sorted((package / wing).rglob("*.py"))
        assert files
        for file in files:
            for name in private_attributes(file.read_text(encoding="utf-8")):
                found.setdefault(name, []).append(str(file.relative_to(package)))
    assert {name: files for name, files in found.items() if name not in OWN} == {}
    assert OWN.keys() <= found.keys()  # no exception is listed in vain


def test_private_attributes_are_found():
    source = "self._a; cls._b; net._engine.hold(); self.net._layout; history.__class__; history._window = 1"
    assert private_attributes(source) == {"net._engine", "self.net._layout", "history._window"}


def elsewhere(call, *arguments, **options):
    """The error of a call in another thread, as text; None if there is none."""
    with ThreadPoolExecutor(1) as pool:
        error = pool.submit(call, *arguments, **options).exception()
        return error and str(error)


TRAINED, READ = (f"this network is being {what} by another thread" for what in ("trained", "saved or copied"))


def test_a_held_network_is_trained_by_no_thread():
    net = Network(REAL)
    with extend.held(net):
        before = net.parameters
        assert elsewhere(train, net, *reals(3, 1)) == READ
        assert (net.parameters == before).all()
    assert elsewhere(train, net, *reals(3, 1)) is None


def test_a_claimed_network_is_trained_by_the_thread_that_has_taken_it_over():
    net, data = Network(REAL), reals(3, 1)

    def take_over_and_train():
        extend.take_over(net)
        train(net, *data)

    with extend.claimed(net):
        train(net, *data)
        assert elsewhere(train, net, *data) == TRAINED
        with ThreadPoolExecutor(1) as pool:
            pool.submit(take_over_and_train).result()
            with pytest.raises(RuntimeError, match=TRAINED):
                train(net, *data)
    assert elsewhere(train, net, *data) is None


@pytest.mark.parametrize(("dtype", "rate"), [("float64", 1e300), ("float32", 1e30), ("float32", np.float32(0.1))])
def test_learning_rates_that_a_network_can_hold_pass(dtype, rate):
    extend.check_rate(Network(REAL, dtype), rate)


@pytest.mark.parametrize("rate", [0, 1e300, np.nan, "1"])
def test_other_learning_rates_are_refused(rate):
    with pytest.raises(TypeError if rate == "1" else ValueError, match="learning_rate"):
        extend.check_rate(Network(REAL, "float32"), rate)


def test_a_step_with_symbols_reads_fewer_weights():
    net = Network(lstm97.Topology(50, 1, blocks=(2,)))
    assert 0 < extend.step_work(net, symbols=True) < extend.step_work(net, symbols=False)
    assert extend.step_work(net, symbols=False) >= net.topology.n_weights


def test_what_learning_keeps_comes_in_copies():
    topology = lstm97.Topology(2, 1, output="identity")
    net = Network(topology, optimizer=Adam(), readout=RLS(prior=4.0), scaling=Scaling())
    X, targets = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[10.0], [30.0]])
    net.learn_run(X, targets, 0.1)
    memory = extend.memory_of(net)
    assert memory["memory.updates"].tolist() == [2]
    for name in ("m", "v"):
        for kind, weights in net.weights.items():
            kept = memory[f"memory.{name}.{kind}"]
            assert kept.shape == weights.shape
            assert kept.any() == (kind != "output")  # which the readout changes
    root = memory["readout.root"]
    assert root.shape == (net.weights["output"].shape[1],) * 2
    assert (np.diag(root @ root.T) <= 4).all()
    assert memory["scaling.inputs"].tolist() == [[2, 2, 2], [2, 5, 0]]
    assert memory["scaling.targets"].tolist() == [[2, 20, 200]]
    scales = extend.scales_of(net)
    assert {name: np.array(scale).tolist() for name, scale in scales.items()} == {
        "inputs": [[2, 5], [1, 0]],
        "targets": [[20], [10]],
    }
    root[...] = 0
    assert extend.memory_of(net)["readout.root"].any()

    assert extend.memory_of(Network(topology)) == {}
    assert extend.scales_of(Network(topology, optimizer=Adam())) == {}
    fresh = extend.scales_of(Network(topology, scaling=Scaling(targets=False)))
    assert {name: np.array(scale).tolist() for name, scale in fresh.items()} == {"inputs": [[0, 0], [0, 0]]}


@pytest.mark.filterwarnings("error")
def test_advice_can_be_turned_off():
    net, learner = Network(lstm97.Topology(1, 1)), RTRL(RecurrentTopology(n_inputs=1, n_outputs=1, n_hidden=1))
    for each in (net, learner):
        extend.advice_of(each).accept_targets()
        each.learn([0.1], [7.0])


@pytest.mark.parametrize("stop", [None, Stop(4, 9.0, 9.0), Stop(50, 0.0, 0.0)])
def test_a_history_is_made_again_from_its_parts(stop):
    net, data, history = Network(REAL), reals(10, 1), History()
    train(net, *data, stop=stop, history=history)
    numbers, arrays = extend.history_parts(history)
    again = extend.history_of(json.loads(json.dumps(numbers)), arrays, stop)
    assert standing(net, again) == standing(net, history)
    assert again.seconds == history.seconds
    other = Network(REAL)
    other.parameters = net.parameters
    assert standing(net, train(net, *data, stop=stop, history=again)) == standing(
        other, train(other, *data, stop=stop, history=history)
    )


def test_a_history_serves_one_training_and_counts():
    history = History()
    with extend.begun(history, Stop(3)):
        with pytest.raises(RuntimeError, match="in use by another training"), extend.begun(history, None):
            pass
        assert not extend.is_asked_to_end(history)
        history.stop()
        assert extend.is_asked_to_end(history)
        extend.add_counts(history, steps=3, epochs=1, seconds=0.5)
        extend.add_counts(history, steps=2)
    assert (history.steps, history.epochs, history.seconds) == (5, 1, 0.5)
    assert not extend.is_asked_to_end(history)


def test_an_interrupted_training_ends_soon():
    history, begun = History(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            train, Network(REAL), *reals(5, 1), epochs=10**9, history=history, callback=lambda _: begun.set()
        )
        assert begun.wait(60)
        extend.interrupt(history)
        with pytest.raises(KeyboardInterrupt):
            running.result()
