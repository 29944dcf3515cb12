"""lstm97.cython_api: the functions for compiled code give the same bits as the methods of Network."""

from __future__ import annotations

import gc
import importlib.util
import itertools
import shutil
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from bound import Bound, signatures
from hypothesis import given
from hypothesis import strategies as st
from topologies import cases

import lstm97
from lstm97 import Network, Topology

EXAMPLE = Path(__file__).parents[2] / "examples" / "cython" / "host.pyx"
X, TARGET = [0.25, -0.5], [0.75]


def small(dtype="float64", **options):
    return Network(Topology(2, 1, **options), dtype=dtype, seed=3, init_range=0.5)


def twins(case, dtype):
    """Two networks with the case's weights."""
    pair = Network(case.topology, dtype=dtype), Network(case.topology, dtype=dtype)
    for net in pair:
        for kind, w in case.weights.items():
            net.weights[kind][...] = w
    return pair


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(case=cases(symbols=False, classes=False), data=st.data())
def test_calls_are_those_of_the_network_to_the_bit(dtype, case, data):
    net, twin = twins(case, dtype)
    calls = data.draw(
        st.lists(st.sampled_from(["learn", "late", "step"]), min_size=case.n_steps, max_size=case.n_steps)
    )
    reset_at = data.draw(st.integers(0, case.n_steps))
    with Bound(net.state) as bound:
        for t, (call, x, target) in enumerate(zip(calls, case.inputs, case.targets, strict=True)):
            given_target = None if np.isnan(target[0]) else target
            if t == reset_at:
                bound.reset()
                twin.reset()
            if call == "step":
                status, y = bound.step(x), twin.step(x)
            elif call == "learn" or given_target is None:
                status = bound.learn(x, given_target, case.learning_rate)
                y = twin.learn(x, given_target, case.learning_rate)
            else:
                status, y = bound.learn(x, None, case.learning_rate), twin.learn(x, None)
                assert bound.correct(target, case.learning_rate) == "ok"
                twin.correct(target, case.learning_rate)
            assert status == "ok"
            assert np.array_equal(bound.y, y)
    assert np.array_equal(net.parameters, twin.parameters)
    assert np.array_equal(net.step(case.inputs[0]), twin.step(case.inputs[0]))


def test_signatures_are_those_that_compiled_hosts_were_built_with():
    stream = "lstm97_stream *"
    assert signatures() == {
        "lstm97_bind": f"{stream}(PyObject *, size_t, int)",
        "lstm97_unbind": f"int ({stream})",
        "lstm97_step": f"int ({stream}, void const *, void *)",
        "lstm97_learn": f"int ({stream}, void const *, void const *, double, void *)",
        "lstm97_correct": f"int ({stream}, void const *, double)",
        "lstm97_reset": f"void ({stream})",
    }


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_refused_calls_change_nothing(dtype):
    net, twin = small(dtype), small(dtype)
    with Bound(net.state) as bound:
        assert bound.learn(X, TARGET, 0.1) == "ok"
        y = bound.y.copy()
        for bad in (np.nan, np.inf, -np.inf):
            assert bound.learn([0.0, bad], TARGET, 0.1) == "input"
            assert bound.learn(X, [bad], 0.1) == "input"
            assert bound.learn([bad, 0.0], None, 0.1) == "input"
            assert bound.step([bad, 0.0]) == "input"
        assert bound.learn([np.nan, 0.0], None, 0.0) == "input"
        rates = [0.0, -0.1, np.nan, np.inf, *([1e300, 1e-300] if dtype == "float32" else [])]
        for rate in rates:
            assert bound.learn(X, TARGET, rate) == "learning rate"
        assert bound.correct(TARGET, 0.1) == "not awaiting"
        assert np.array_equal(bound.y, y)
        assert bound.learn(X, None, 0.0) == "ok"  # without a target the rate is not used
        assert bound.correct([np.nan], 0.1) == "input"
        assert bound.correct(TARGET, -1.0) == "learning rate"
        assert bound.correct(TARGET, 0.1) == "ok"
        assert bound.correct(TARGET, 0.1) == "not awaiting"
        assert bound.step(X) == "ok"
        assert bound.correct(TARGET, 0.1) == "not awaiting"
    twin.learn(X, TARGET, 0.1)
    twin.learn(X, TARGET, 0.1)
    assert np.array_equal(bound.y, twin.step(X))
    assert np.array_equal(net.parameters, twin.parameters)


def test_calls_that_overflow_leave_the_weights():
    net = small(input_squash="identity", output="identity")
    net.weights["cell"][:, 0] = 1e308
    before = net.parameters
    with Bound(net.state) as bound:
        statuses = [bound.learn([1.0, 0.0], None, 0.1) for _ in range(9)]
        assert "cell state" in statuses
        assert bound.correct(TARGET, 0.1) == "not awaiting"
        bound.reset()
        assert bound.learn([0.0, 1.0], [1e308], 100.0) == "change"
        assert bound.correct(TARGET, 0.1) == "not awaiting"
    assert np.array_equal(net.parameters, before)
    net = Network(Topology(2, 1, (), n_hidden=8, output="identity", bias="none", recurrent=False))
    net.weights["output"][...] = 1.5e308
    before = net.parameters
    with Bound(net.state) as bound:
        assert bound.step(X) == bound.learn(X, TARGET, 0.1) == "output"
        assert bound.correct(TARGET, 0.1) == "not awaiting"
    assert np.array_equal(net.parameters, before)


def test_a_bound_state_and_a_learning_network_are_refused_to_python(tmp_path):
    net = small()
    other, third = net.new_state(), net.new_state()
    data = np.zeros((1, 5, 2)), np.zeros((1, 1))
    with Bound(net.state):
        for call in (lambda: net.step(X), lambda: net.reset(), lambda: net.learn(X, TARGET), lambda: Bound(net.state)):
            with pytest.raises(RuntimeError, match=r"this state is bound by compiled code \(lstm97.cython_api\)"):
                call()
        for call in (
            lambda: net.learn(X, TARGET, state=other),
            lambda: lstm97.train(net, *data),
            lambda: net.save(tmp_path / "net.safetensors"),
            lambda: net.with_block(),
        ):
            with pytest.raises(RuntimeError, match="this network is bound by compiled code that learns"):
                call()
        net.step(X, state=other)
        with Bound(other) as learning, Bound(third, learns=False) as inferring:
            assert learning.learn(X, TARGET, 0.1) == inferring.step(X) == "ok"
        with pytest.raises(RuntimeError, match="this network is bound"):
            net.learn(X, TARGET, state=other)  # the first state is still bound
        net.step(X, state=other)
    net.learn(X, TARGET)
    net.save(tmp_path / "net.safetensors", state=True)


def test_a_state_bound_for_inference_lets_others_learn():
    net = small()
    other = net.new_state()
    with Bound(net.state, learns=False) as bound:
        before = bound.step(X), bound.y.copy()
        net.learn(X, [0.9], 0.5, state=other)
        bound.reset()
        assert bound.step(X) == "ok"
        assert not np.array_equal(bound.y, before[1])
        weights = net.parameters
        assert bound.learn(X, TARGET, 0.1) == bound.learn(X, None, 0.1) == bound.correct(TARGET, 0.1) == "not learning"
        assert np.array_equal(net.parameters, weights)


def test_states_that_cannot_be_bound_are_refused():
    net = small("float32")
    with pytest.raises(TypeError, match="state must be a State, got Network"):
        Bound(net)
    with pytest.raises(TypeError, match="real_bytes is 8, but the network's dtype is float32"):
        Bound(net.state, real_bytes=8)
    refusals = []

    def callback(history):
        with pytest.raises(RuntimeError) as caught:
            Bound(net.new_state())
        refusals.append(str(caught.value))

    lstm97.train(net, np.zeros((1, 3, 2)), np.zeros((1, 1)), callback=callback)
    assert refusals == ["this network is being trained"]
    net.learn(X, TARGET)


def test_unbinding_null_does_nothing():
    bound = Bound(small().state)
    bound.release()
    bound.release()


def test_a_bound_state_is_kept_alive_until_it_is_unbound():
    net = small()
    state = net.new_state()
    gone = weakref.ref(net)
    bound = Bound(state)
    del net, state
    gc.collect()
    assert gone() is not None
    assert bound.learn(X, TARGET, 0.1) == "ok"
    bound.release()
    gc.collect()
    assert gone() is None


def test_bound_networks_learn_in_threads_of_their_own():
    rng = np.random.default_rng(0)
    inputs, targets = rng.uniform(-1, 1, (3000, 2)), rng.uniform(0, 1, (3000, 1))

    def learn(seed):
        net = Network(Topology(2, 1), seed=seed)
        with Bound(net.state) as bound:
            for x, target in zip(inputs, targets, strict=True):
                assert bound.learn(x, target, 0.1) == "ok"
        return net.parameters

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(learn, range(4)))
    for seed, parameters in enumerate(found):
        net = Network(Topology(2, 1), seed=seed)
        net.learn_run(inputs, targets, 0.1)
        assert np.array_equal(parameters, net.parameters)


@pytest.mark.slow
def test_the_example_builds_against_what_is_installed_and_learns(tmp_path):
    shutil.copy(EXAMPLE, tmp_path)
    build = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "host.pyx"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    (module,) = (path for path in tmp_path.iterdir() if path.suffix in (".so", ".pyd"))
    spec = importlib.util.spec_from_file_location("host", module)
    host = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(host)
    net = Network(Topology(1, 1, forget_gates=True, output="identity"), forget_gate_bias=1.0)
    twin = Network(net.topology, forget_gate_bias=1.0)
    errors = host.mean_squared_errors(net, 5000, 4)
    assert errors[-1] < errors[0] / 10
    printed = subprocess.run(
        [sys.executable, "-c", "import host; host.main()"], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    assert len(printed.splitlines()) == 10
    wave = [0.5 * np.sin(0.2 * t) + 0.4 * np.sin(0.31 * t) for t in range(20_001)]
    for x, truth in itertools.pairwise(wave):
        twin.learn([x], None)
        twin.correct([truth], 0.02)
    assert np.allclose(net.parameters, twin.parameters, rtol=0, atol=1e-6)  # the two sines may round differently
