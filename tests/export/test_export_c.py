"""The exported C file gives the package's results with every compiler, and writes only to the caller's memory.

Most tests compile an exported file with the driver below, which makes calls that it reads from stdin.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from compare import TOLERANCE, assert_close
from compiling import compiler
from examples import examples
from hypothesis import given
from topologies import cases, random_inputs, random_targets, random_weights

import lstm97
from lstm97 import Network, Topology
from lstm97.export import c
from lstm97.export.c import export_c, struct_bytes

EXAMPLE = Path(__file__).parents[2] / "examples" / "c"
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
CPP_WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wpedantic")
CPP_COMPILERS = [name for name in ("g++", "clang++") if shutil.which(name)]
SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
OK, CELL_STATE_NOT_FINITE, OUTPUT_NOT_FINITE, CHANGE_NOT_FINITE, INPUT_NOT_FINITE = range(5)
BAD_LEARNING_RATE, NOT_AWAITING = 5, 6
# -ffast-math may round anywhere, and use functions of the C library with errors of up to 4 units in the last place.
FAST_TOLERANCE = {dtype: 10 * tolerance for dtype, tolerance in TOLERANCE.items()}

# The driver reads lines with a call, the number of the state, and numbers; it answers with the status and the outputs.
DRIVER = """
#ifndef __cplusplus
#define LSTM97_DECLARATIONS_ONLY
#endif
#include "network.c"
#include <stdio.h>

static void read_numbers(lstm97_real *to, int n)
{
    double number;
    for (int i = 0; i < n; i++)
        to[i] = scanf("%lf", &number) == 1 ? (lstm97_real)number : 0;
}

static void print_numbers(const lstm97_real *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf(" %a", (double)from[i]);
    printf("\\n");
}

int main(void)
{
    static lstm97_state states[2];
    lstm97_weights w = lstm97_initial;
    lstm97_real x[LSTM97_N_INPUTS], y[LSTM97_N_OUTPUTS] = {0}, target[LSTM97_N_OUTPUTS], rate = 0;
    char call;
    int i, status = 0;
    while (scanf(" %c %d", &call, &i) == 2) {
        lstm97_state *s = &states[i];
        if (call != 'r' && call != 'c')
            read_numbers(x, LSTM97_N_INPUTS);
        if (call == 'l' || call == 'c') {
            read_numbers(target, LSTM97_N_OUTPUTS);
            read_numbers(&rate, 1);
        }
        if (call == 'r')
            lstm97_reset(s), status = LSTM97_OK;
        else if (call == 's')
            status = lstm97_step(&w, s, x, y);
#ifdef LEARN
        else if (call == 'n')
            status = lstm97_learn(&w, s, x, NULL, 0, y);
        else if (call == 'l')
            status = lstm97_learn(&w, s, x, target, rate, y);
        else if (call == 'c')
            status = lstm97_correct(&w, s, target, rate);
#endif
        printf("%d", status);
        print_numbers(y, LSTM97_N_OUTPUTS);
    }
    printf("%d %d", (int)sizeof w, (int)sizeof states[0]);
    print_numbers((const lstm97_real *)&w, sizeof w / sizeof(lstm97_real));
    return 0;
}
"""


@dataclass(frozen=True)
class Target:
    """How to compile a C program, and to run it."""

    compiler: tuple[str, ...]
    flags: tuple[str, ...] = ("-O2",)
    runner: tuple[str, ...] = ()

    def missing(self, folder):
        """The first program or library it needs that is missing, or None."""
        for tool in (self.compiler[0], *self.runner):
            if shutil.which(tool) is None:
                return tool
        (folder / "empty.c").write_text("int main(void) { return 0; }\n")
        command = [*self.compiler, *self.flags, folder / "empty.c", "-o", folder / "empty"]
        built = subprocess.run(command, capture_output=True)
        return f"what {self.compiler[0]} {' '.join(self.flags)} links" if built.returncode else None

    def build(self, folder, *flags):
        """The command that runs the program of all C files in a folder."""
        program = folder / "program"
        sources = sorted(map(str, folder.glob("*.c")))
        subprocess.run([*self.compiler, *WARNINGS, *self.flags, *flags, *sources, "-o", program, "-lm"], check=True)
        return [*self.runner, str(program)]


@dataclass(frozen=True)
class CppTarget(Target):
    """How to compile the file and the driver as one C++ translation unit."""

    def build(self, folder, *flags):
        """The command that runs the driver, which includes the network."""
        program = folder / "program"
        command = [*self.compiler, *CPP_WARNINGS, *self.flags, *flags, "-x", "c++", folder / "driver.c", "-o", program]
        subprocess.run([*command, "-lm"], check=True)
        return [*self.runner, str(program)]


CC = Target(tuple(compiler()))
CLANG = Target(("clang",))
ARM = Target(("arm-linux-gnueabihf-gcc",), ("-O2", "-static"), ("qemu-arm-static",))
NATIVE = [CC] + [CLANG] * (shutil.which("clang") is not None)
OTHERS = {
    "gcc-sanitizers": Target(CC.compiler, SANITIZE),
    "clang-sanitizers": Target(CLANG.compiler, SANITIZE),
    "arm": ARM,
}


class Program:
    """An exported network and the driver, compiled."""

    def __init__(self, net, folder, target=CC, *, learn=True, dtype=None):
        folder.mkdir(parents=True, exist_ok=True)
        export_c(net, folder / "network.c", learn=learn, dtype=dtype)
        (folder / "driver.c").write_text(DRIVER)
        self.topology, self.sizes = net.topology, struct_bytes(net, learn, dtype)
        self.command = target.build(folder, *["-DLEARN"] * learn)

    def run(self, calls):
        """Statuses (calls,), outputs (calls, n_outputs) and weights after these calls (see `call`)."""
        ran = subprocess.run(self.command, input="\n".join(calls), capture_output=True, text=True, check=True)
        assert ran.stderr == ""
        lines = [line.split() for line in ran.stdout.splitlines()]
        assert tuple(map(int, lines[-1][:2])) == self.sizes
        outputs = [list(map(float.fromhex, y)) for _, *y in lines[:-1]]
        weights = np.array(list(map(float.fromhex, lines[-1][2:])))
        return [int(status) for status, *_ in lines[:-1]], np.array(outputs), self.by_kind(weights)

    def by_kind(self, numbers):
        """The numbers of lstm97_weights as `Network.weights` has them."""
        t = self.topology
        order = [kind for kind in ("hidden", "cell", "input_gate", "output_gate", "forget_gate") if kind in t.units]
        n_units = sum(t.units[kind] for kind in order)
        n_sources = max((t.n_sources(kind) for kind in order), default=0)
        to_units = numbers[: n_sources * n_units].reshape(n_sources, n_units)
        weights, begin = {}, 0
        for kind in order:
            weights[kind] = to_units[: t.n_sources(kind), begin : begin + t.units[kind]].T
            assert not to_units[t.n_sources(kind) :, begin : begin + t.units[kind]].any()  # units without bias have 0
            begin += t.units[kind]
        rest = numbers[to_units.size : to_units.size + t.n_sources("output") * t.n_outputs]
        weights["output"] = rest.reshape(t.n_sources("output"), t.n_outputs).T
        return {kind: weights[kind] for kind in t.units}


def call(name, *numbers, state=0):
    """A line for the driver: "step", "learn", "no target", "correct" or "reset", with the call's numbers."""
    flat = [float(number).hex() for array in numbers for number in np.ravel(array)]
    return " ".join([name[0], str(state), *flat])


def random_calls(topology, rng, n, rate, *, learn=True):
    """Names and arguments of n calls, in an order that the package allows."""
    learning = ("learn", "learn", "learn", "no target", "no target", "correct", "step", "reset")
    names = learning if learn else ("step", "step", "step", "reset")
    inputs, targets = random_inputs(topology, rng, n), random_targets(topology, rng, n)
    last, calls = "", []
    for x, target in zip(inputs, targets, strict=True):
        name = str(rng.choice(names))
        if last == "no target" and rng.random() < 0.5:
            name = "correct"
        elif name == "correct" and last != "no target":
            name = "learn"
        arguments = {"learn": (x, target, rate), "correct": (target, rate), "reset": ()}.get(name, (x,))
        calls.append((name, arguments))
        last = name
    return calls


def carry_out(net, calls):
    """The package's results of the calls: the outputs after each, and the weights."""
    y, outputs = np.zeros(net.topology.n_outputs), []
    for name, arguments in calls:
        if name == "learn":
            y = net.learn(*arguments)
        elif name == "no target":
            y = net.learn(*arguments, None)
        elif name == "step":
            y = net.step(*arguments)
        else:
            getattr(net, name)(*arguments)
        outputs.append(y)
    return np.array(outputs), dict(net.weights)


def network(topology, dtype, weights):
    net = Network(topology, dtype)
    for kind, values in weights.items():
        net.weights[kind] = values
    return net


def check(topology, weights, seed, folder, target, dtype, *, rate=0.05, learn=True, n_calls=40):
    """Check that the C program and the package give the same trajectory."""
    net = network(topology, dtype, weights)
    calls = random_calls(topology, np.random.default_rng(seed), n_calls, rate, learn=learn)
    program = Program(net, folder, target, learn=learn)
    statuses, outputs, changed = program.run([call(name, *arguments) for name, arguments in calls])
    expected, expected_weights = carry_out(net, calls)
    assert set(statuses) == {OK}
    assert_close(outputs, expected, TOLERANCE[dtype], "outputs")
    assert_close(changed, expected_weights, TOLERANCE[dtype], "weights")


def check_corner(i, folder, target, dtype, **options):
    """Check a trajectory of one of the topologies of `CORNERS`."""
    check(CORNERS[i], random_weights(CORNERS[i], np.random.default_rng(i), 0.7), i, folder, target, dtype, **options)


def name_of(value):
    return value.compiler[0] if isinstance(value, Target) else None


CORNERS = [
    Topology(1, 1, blocks=()),
    Topology(1, 1, blocks=(), bias="none"),
    Topology(2, 3, blocks=(), output="softmax", input_to_output=True),
    Topology(2, 2, blocks=(), n_hidden=3),
    Topology(2, 1, blocks=(), n_hidden=1, recurrent=False, bias="gates"),
    Topology(2, 1),
    Topology(1, 1, blocks=(1,), recurrent=False, bias="none", output="identity"),
    Topology(3, 2, blocks=(3, 1, 2), n_hidden=2, forget_gates=True, input_to_output=True, output="softmax"),
    Topology(3, 2, blocks=(3, 1, 2), n_hidden=2, forget_gates=True, bias="gates", gate_sources=False),
    Topology(2, 2, blocks=(1, 1, 1), output_gates=False, bias="gates_and_output", input_squash="tanh"),
    Topology(2, 2, blocks=(4,), output_gates=False, forget_gates=True, bias="hidden", output_squash="tanh"),
    Topology(2, 1, blocks=(2, 2), n_hidden=1, recurrent=False, input_squash="logistic", output_squash="logistic"),
    Topology(2, 1, blocks=(2, 1), forget_gates=True, input_squash="identity", output_squash="identity"),
    Topology(5, 3, blocks=(17, 1, 30), n_hidden=9, forget_gates=True, output="softmax", input_squash="centered"),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("i", range(len(CORNERS)))
def test_chosen_topologies(i, dtype, tmp_path):
    weights = random_weights(CORNERS[i], np.random.default_rng(i), 0.7)
    target = NATIVE[(i + (dtype == "float32")) % len(NATIVE)]  # each compiler sees each topology once
    check(CORNERS[i], weights, i, tmp_path, target, dtype)


@pytest.mark.parametrize("i", range(len(CORNERS)))
def test_chosen_topologies_without_the_learning_rule(i, tmp_path):
    weights = random_weights(CORNERS[i], np.random.default_rng(i), 0.7)
    check(CORNERS[i], weights, i, tmp_path, NATIVE[i % len(NATIVE)], "float64", learn=False)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("target", NATIVE, ids=name_of)
def test_random_topologies(target, dtype, tmp_path_factory):
    @examples(0.08)
    @given(case=cases(min_steps=5, max_steps=40, large=False, symbols=False, classes=False))
    def run(case):
        folder = tmp_path_factory.mktemp("network")
        rate, n_calls = case.learning_rate, case.n_steps
        check(case.topology, case.weights, case.seed, folder, target, dtype, rate=rate, n_calls=n_calls)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("which", OTHERS)
def test_sanitizers_and_32_bit_arm(which, tmp_path):
    target = OTHERS[which]
    if tool := target.missing(tmp_path):
        pytest.skip(f"{tool} is not installed; .ci/run installs it")
    for i, dtype in ((4, "float64"), (7, "float32"), (8, "float64")):
        weights = random_weights(CORNERS[i], np.random.default_rng(i), 0.7)
        check(CORNERS[i], weights, i, tmp_path / f"{i}", target, dtype)
    check(CORNERS[i], weights, i, tmp_path / "inference", target, "float32", learn=False)


def test_the_dtype_may_be_another_than_the_networks(tmp_path):
    net = Network(Topology(2, 1), "float64")
    _, _, weights = Program(net, tmp_path, dtype="float32").run([])
    for kind, values in net.weights.items():
        np.testing.assert_array_equal(weights[kind], values.astype(np.float32))
    assert "double" not in (tmp_path / "network.c").read_text()


def test_numbers_are_exact(tmp_path):
    for dtype in ("float64", "float32"):
        info = np.finfo(dtype)
        net = Network(Topology(1, 1, blocks=(), n_hidden=2), dtype)
        net.parameters = [info.max, -info.tiny, info.smallest_subnormal, 0, 1 / 3, -1e-20, info.eps, 7, 1e20, -0.0, 0.1]
        small = Network(Topology(2, 3, blocks=(20,)), dtype, init_range=1e-5)  # exponents at the ends of lines
        for exported, folder in ((net, "extremes"), (small, "small")):
            _, _, weights = Program(exported, tmp_path / dtype / folder).run([])
            for kind, values in exported.weights.items():
                np.testing.assert_array_equal(weights[kind], values)


# ---- states ----


def test_states_over_the_same_weights_do_not_disturb_each_other(tmp_path):
    net = Network(Topology(2, 1, forget_gates=True), seed=1, init_range=1)
    program, rng = Program(net, tmp_path), np.random.default_rng(2)
    X = rng.uniform(-1, 1, (20, 2))
    alone = program.run([call("step", x) for x in X])[1]
    other = [call("no target", [0.3, -0.9], state=1), call("reset", state=1)]
    between = program.run([line for i, x in enumerate(X) for line in (call("step", x), other[i % 3 == 0])])[1]
    np.testing.assert_array_equal(between[::2], alone)

    # Both streams use the weights that either has learned, as the package's two states do.
    other, expected, lines = net.new_state(), [], []
    for x, target in zip(X, rng.uniform(0, 1, (20, 1)), strict=True):
        for i, state in enumerate((None, other)):
            lines.append(call("learn", x * (i + 1), target, 0.3, state=i))
            expected.append(net.learn(x * (i + 1), target, 0.3, state=state))
    _, outputs, weights = program.run(lines)
    assert_close(outputs, expected, 1e-12)
    assert_close(weights, dict(net.weights), 1e-12)


# ---- errors ----


def same_weights(actual, net):
    return all(np.array_equal(actual[kind], values) for kind, values in net.weights.items())


def test_correct_needs_a_step_that_awaits_it(tmp_path):
    net = Network(Topology(2, 1))
    x, target = [0.5, -0.5], [0.9]
    correct, learn, late = call("correct", target, 0.1), call("learn", x, target, 0.1), call("no target", x)
    lines = [
        correct,
        learn,
        correct,
        late,
        correct,
        correct,
        late,
        call("step", x),
        correct,
        late,
        call("reset"),
        correct,
    ]
    statuses, _, weights = Program(net, tmp_path).run(lines)
    refused = [i for i, status in enumerate(statuses) if status == NOT_AWAITING]
    assert refused == [0, 2, 5, 8, 11]
    for _ in range(2):
        net.learn(x, target, 0.1)
    assert_close(weights, dict(net.weights), 1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_argument_that_is_refused_changes_nothing(bad, tmp_path):
    net = Network(Topology(2, 1, forget_gates=True), seed=2)
    x, target = [0.5, -0.5], [0.9]
    refused = [
        call("step", [0.5, bad]),
        call("no target", [bad, 0]),
        call("learn", [bad, 0], target, 0.1),
        call("learn", x, [bad], 0.1),
        call("correct", [bad], 0.1),
        *(call("learn", x, target, rate) for rate in (bad, 0, -0.1)),
        call("correct", target, bad),
    ]
    lines = [call("no target", x), *refused, call("correct", target, 0.1), call("step", x)]
    statuses, outputs, weights = Program(net, tmp_path).run(lines)
    assert statuses == [OK, *[INPUT_NOT_FINITE] * 5, *[BAD_LEARNING_RATE] * 4, OK, OK]
    net.learn(x, None)
    net.correct(target, 0.1)
    assert_close(weights, dict(net.weights), 1e-12)
    assert_close(outputs[-1], net.step(x), 1e-12)


@pytest.mark.parametrize(("dtype", "huge"), [("float64", 1e308), ("float32", 3e38)])
def test_cell_states_and_outputs_that_overflow_leave_the_weights(dtype, huge, tmp_path):
    topology = Topology(2, 1, (3,), input_squash="identity", output_squash="tanh", output="identity", recurrent=False)
    net = Network(topology, dtype)
    net.weights["cell"][1] = 0
    net.weights["cell"][1, 0] = huge
    lines = [call("no target", [1, 0])] * 8 + [call("reset"), call("no target", [0, 0])]
    statuses, _, weights = Program(net, tmp_path / "cells").run(lines)
    overflown = statuses.index(CELL_STATE_NOT_FINITE)
    assert statuses == [OK] * overflown + [CELL_STATE_NOT_FINITE] * (8 - overflown) + [OK, OK]
    assert overflown >= 1
    assert same_weights(weights, net)

    net = Network(Topology(2, 2, blocks=(), n_hidden=2, output="identity", recurrent=False), dtype)
    net.weights["output"][1] = huge
    lines = [
        call("step", [1, 1]),
        call("learn", [1, 1], [0, 0], 0.1),
        call("no target", [1, 1]),
        call("correct", [0, 0], 1),
    ]
    statuses, _, weights = Program(net, tmp_path / "outputs").run(lines)
    assert statuses == [OUTPUT_NOT_FINITE] * 3 + [NOT_AWAITING]
    assert same_weights(weights, net)


@pytest.mark.parametrize(("dtype", "huge"), [("float64", 1e308), ("float32", 3e38)])
def test_a_change_that_overflows_leaves_all_weights(dtype, huge, tmp_path):
    topology = Topology(3, 2, (2, 1), n_hidden=1, forget_gates=True, input_to_output=True, output="identity")
    net = Network(topology, dtype, seed=3)
    x = [0.5, 1, -1]
    lines = [call("learn", x, [0, huge], 100), call("reset"), call("no target", x), call("correct", [0, huge], 100)]
    statuses, _, weights = Program(net, tmp_path).run(lines)
    assert statuses == [CHANGE_NOT_FINITE, OK, OK, CHANGE_NOT_FINITE]
    assert same_weights(weights, net)


@pytest.mark.parametrize("blocks", [(1,), (2, 2), (3, 1)])
@pytest.mark.parametrize(("dtype", "large"), [("float64", 1e300), ("float32", 1e37)])
def test_partials_of_earlier_steps_that_would_make_a_weight_overflow(dtype, large, blocks, tmp_path):
    topology = Topology(1, 1, blocks, output_squash="tanh", output="identity", recurrent=False, bias="none")
    net = Network(topology, dtype, seed=3)
    net.weights["input_gate"][...] = net.weights["output_gate"][...] = 0
    net.weights["cell"][...] = 0.1 / large
    lines = [call("no target", [large]), call("learn", [0], [1e20], 1)]
    statuses, _, weights = Program(net, tmp_path).run(lines)
    assert statuses == [OK, CHANGE_NOT_FINITE]
    assert same_weights(weights, net)


def test_changes_beyond_the_cheap_bound_are_carried_out(tmp_path):
    net = Network(Topology(1, 1, blocks=(), output="identity"), "float32")
    statuses, _, weights = Program(net, tmp_path).run([call("learn", [0], [2.0**120], 1)])
    assert statuses == [OK]
    net.learn([0], [2.0**120], 1)
    assert same_weights(weights, net)


# ---- compilers told that all numbers are finite ----

FAST = [(target, flag) for target in NATIVE for flag in ("-Ofast", "-ffast-math", "-ffinite-math-only")]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("target", "flag"), FAST, ids=lambda value: name_of(value) or value)
def test_fast_math_harms_no_weights(target, flag, dtype, tmp_path):
    fast = replace(target, flags=("-O2", flag))
    net = Network(Topology(2, 2, (2, 1), n_hidden=1, forget_gates=True, input_to_output=True), dtype, seed=2)
    x, target, late = [0.5, -0.5], [0.9, 0.1], call("no target", [0.5, -0.5])
    lines = []
    for bad in (np.nan, -np.nan, np.inf, -np.inf):
        lines += [
            call("step", [0.5, bad]),
            call("no target", [bad, 0]),
            call("learn", [bad, 0], target, 0.1),
            call("learn", x, [0.9, bad], 0.1),
            call("correct", [bad, 0], 0.1),
            call("learn", x, target, bad),
        ]
    statuses, outputs, weights = Program(net, tmp_path, fast).run([late, *lines, call("correct", target, 0.1), late])
    assert statuses == [OK, *([INPUT_NOT_FINITE] * 5 + [BAD_LEARNING_RATE]) * 4, OK, OK]
    net.learn(x, None)
    net.correct(target, 0.1)
    assert_close(weights, dict(net.weights), FAST_TOLERANCE[dtype])
    assert_close(outputs[-1], net.learn(x, None), FAST_TOLERANCE[dtype])


@pytest.mark.parametrize(("dtype", "huge"), [("float64", 1e308), ("float32", 3e38)])
@pytest.mark.parametrize(("target", "flag"), FAST, ids=lambda value: name_of(value) or value)
def test_overflows_are_detected_under_fast_math(target, flag, dtype, huge, tmp_path):
    fast = replace(target, flags=("-O2", flag))
    net = Network(Topology(2, 2, blocks=(), n_hidden=2, output="identity", recurrent=False), dtype)
    net.weights["output"][1] = huge
    lines = [call("learn", [1, 1], [0, 0], 0.1), call("step", [1, 1])]
    statuses, _, weights = Program(net, tmp_path / "outputs", fast).run(lines)
    assert statuses == [OUTPUT_NOT_FINITE] * 2
    assert same_weights(weights, net)

    topology = Topology(3, 2, (2, 1), n_hidden=1, forget_gates=True, input_to_output=True, output="identity")
    net = Network(topology, dtype, seed=3)
    lines = [call("learn", [0.5, 1, -1], [0, huge], 100), call("reset"), call("learn", [0.5, 1, -1], [0, 0], 0.1)]
    statuses, _, weights = Program(net, tmp_path / "changes", fast).run(lines)
    assert statuses == [CHANGE_NOT_FINITE, OK, OK]
    assert all(np.isfinite(values).all() for values in weights.values())

    topology = Topology(2, 1, (3,), input_squash="identity", output_squash="tanh", output="identity", recurrent=False)
    net = Network(topology, dtype)
    net.weights["cell"][1] = 0
    net.weights["cell"][1, 0] = huge
    statuses, _, weights = Program(net, tmp_path / "cells", fast).run([call("learn", [1, 0], [0], 0.1)] * 8)
    assert statuses[-1] == CELL_STATE_NOT_FINITE
    assert all(np.isfinite(values).all() for values in weights.values())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("target", NATIVE, ids=name_of)
def test_fast_math_handles_saturated_units(target, dtype, tmp_path):
    topology = Topology(2, 3, (4, 4), n_hidden=8, forget_gates=True, output_squash="tanh")
    net = Network(topology, dtype, seed=4, init_range=1)
    inputs = np.random.default_rng(0).uniform(-1e4, 1e4, (40, 2))
    lines = [call("learn", x, [0.1, 0.5, 0.9], 0.01) for x in inputs]
    statuses, outputs, _ = Program(net, tmp_path, replace(target, flags=("-Ofast",))).run(lines)
    assert set(statuses) == {OK}
    assert ((outputs >= 0) & (outputs <= 1)).all()


# ---- exchange of weights ----

EXCHANGE = """
#define LSTM97_DECLARATIONS_ONLY
#include "network.c"
#include <stdio.h>
#include <string.h>

/* Reads parameters and, as often as the argument says, steps of learning; writes parameters, then outputs. */
int main(int argc, char **argv)
{
    static lstm97_weights w;
    static lstm97_state s;
    lstm97_real p[LSTM97_N_PARAMETERS], x[LSTM97_N_INPUTS], target[LSTM97_N_OUTPUTS], y[LSTM97_N_OUTPUTS];
    int n = 0, status;
    memset(&w, 0x7f, sizeof w);
    if (argc != 2 || sscanf(argv[1], "%d", &n) != 1 || fread(p, sizeof p, 1, stdin) != 1)
        return 100;
    if ((status = lstm97_set_parameters(&w, p)) != LSTM97_OK)
        return status;
    for (int i = 0; i < n; i++) {
        if (fread(x, sizeof x, 1, stdin) != 1 || fread(target, sizeof target, 1, stdin) != 1)
            return 100;
        if ((status = lstm97_learn(&w, &s, x, target, 0.1f, y)) != LSTM97_OK)
            return status;
    }
    lstm97_get_parameters(&w, p);
    fwrite(p, sizeof p, 1, stdout);
    lstm97_reset(&s);
    for (int i = 0; i < LSTM97_N_INPUTS; i++)
        x[i] = (lstm97_real)(i + 1) / 8;
    for (int i = 0; i < 5; i++) {
        if ((status = lstm97_step(&w, &s, x, y)) != LSTM97_OK)
            return status;
        fwrite(y, sizeof y, 1, stdout);
    }
    return 0;
}
"""


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("i", [i for i, topology in enumerate(CORNERS) if topology.n_weights])
def test_parameters_go_to_c_and_come_back(i, dtype, tmp_path):
    topology, rng = CORNERS[i], np.random.default_rng(i)
    export_c(Network(topology, dtype, seed=1), tmp_path / "network.c", learn=True)
    (tmp_path / "exchange.c").write_text(EXCHANGE)
    command = NATIVE[i % len(NATIVE)].build(tmp_path)
    net = network(topology, dtype, random_weights(topology, rng, 0.7))
    given = net.parameters.astype(dtype)
    observations = np.hstack([random_inputs(topology, rng, 7), random_targets(topology, rng, 7)]).astype(dtype)

    def exchange(n):
        data = given.tobytes() + observations[:n].tobytes()
        numbers = np.frombuffer(subprocess.check_output([*command, str(n)], input=data), dtype)
        return numbers[: topology.n_weights], numbers[topology.n_weights :].reshape(5, -1)

    untouched, _ = exchange(0)
    np.testing.assert_array_equal(untouched, given)

    learned, outputs = exchange(7)
    assert (learned != given).any()
    for row in observations:
        net.learn(row[: topology.n_inputs], row[topology.n_inputs :], learning_rate=np.float32(0.1))
    assert_close(learned, net.parameters, TOLERANCE[dtype])
    back = Network(topology, dtype, seed=5)
    back.parameters = learned
    x = (np.arange(topology.n_inputs) + 1) / 8
    assert_close(outputs, np.array([back.step(x) for _ in range(5)]), TOLERANCE[dtype])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_not_finite_are_refused(bad, tmp_path):
    net = Network(Topology(2, 1))
    export_c(net, tmp_path / "network.c", learn=True)
    (tmp_path / "exchange.c").write_text(EXCHANGE)
    command = CC.build(tmp_path)
    parameters = net.parameters
    parameters[-1] = bad
    assert subprocess.run([*command, "0"], input=parameters.tobytes()).returncode == INPUT_NOT_FINITE


# ---- properties of the file ----


def test_the_file_needs_only_the_c_library(tmp_path):
    # Compilers may replace loops by calls of memcpy and memset.
    allowed = {"memcpy", "memset", "_GLOBAL_OFFSET_TABLE_"}
    source, object_file = tmp_path / "network.c", tmp_path / "network.o"
    for topology, dtype in ((CORNERS[7], "float64"), (CORNERS[9], "float32")):
        export_c(Network(topology), source, learn=True, dtype=dtype)
        assert re.findall(r"#include <(.*)>", source.read_text()) == ["math.h", "stdint.h", "string.h"]
        for target in NATIVE:
            command = [*target.compiler, *WARNINGS, "-O2", "-fno-stack-protector", "-c", source, "-o", object_file]
            subprocess.run(command, check=True)
            found = subprocess.run(["nm", "-u", object_file], capture_output=True, text=True, check=True)
            assert set(found.stdout.split()) - {"U"} <= allowed


def test_only_memory_of_the_caller_can_change(tmp_path):
    source = tmp_path / "network.c"
    export_c(Network(CORNERS[7]), source, learn=True)
    subprocess.run([*CC.compiler, "-O2", "-c", source, "-o", tmp_path / "a.o"], check=True)
    symbols = subprocess.run(["nm", tmp_path / "a.o"], capture_output=True, text=True, check=True).stdout.split("\n")
    assert not [line for line in symbols if re.search(r" [bBdDC] ", line)]


def test_a_program_may_have_several_networks(tmp_path):
    export_c(Network(Topology(2, 1), seed=1), tmp_path / "first.c", learn=True, name="first")
    export_c(Network(Topology(3, 2), seed=2), tmp_path / "second.c", dtype="float32", name="Second2")
    for name in ("first", "second"):
        assert not re.findall(r"\blstm97_|LSTM97_", (tmp_path / f"{name}.c").read_text())
    (tmp_path / "together.c").write_text("""
        #include "first.c"
        #define SECOND2_DECLARATIONS_ONLY
        #include "second.c"
        int main(void)
        {
            first_weights w = first_initial;
            first_state s = {0};
            Second2_state other = {0};
            double x[FIRST_N_INPUTS] = {0}, y[FIRST_N_OUTPUTS];
            float z[SECOND2_N_INPUTS] = {0};
            return first_learn(&w, &s, x, x, 0.1, y) || Second2_step(&Second2_initial, &other, z, z);
        }
    """)
    program = tmp_path / "program"
    sources = [tmp_path / "together.c", tmp_path / "second.c"]
    subprocess.run([*CC.compiler, *WARNINGS, *sources, "-o", program, "-lm"], check=True)
    subprocess.run([program], check=True)


@pytest.mark.parametrize("cpp", CPP_COMPILERS)
@pytest.mark.parametrize("standard", ["c++11", "c++14", "c++17", "c++20"])
def test_it_compiles_inside_cpp(standard, cpp, tmp_path):
    source = tmp_path / "network.c"
    for i, topology in enumerate(CORNERS):
        export_c(Network(topology, ("float64", "float32")[i % 2]), source, learn=i % 3 > 0)
        command = [cpp, f"-std={standard}", *CPP_WARNINGS, "-fsyntax-only", "-x", "c++", source]
        subprocess.run(command, check=True)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("cpp", CPP_COMPILERS)
def test_inside_cpp_it_does_the_same(cpp, dtype, tmp_path):
    check_corner(7, tmp_path, CppTarget((cpp,), ("-O2", "-std=c++11")), dtype)


@pytest.mark.parametrize("cpp", CPP_COMPILERS)
def test_cpp_programs_can_use_the_declarations(cpp, tmp_path):
    export_c(Network(Topology(2, 1)), tmp_path / "network.c", learn=True)
    (tmp_path / "main.cpp").write_text(
        '#define LSTM97_DECLARATIONS_ONLY\n#include "network.c"\n'
        "static lstm97_state s;\n"
        "int main() { double x[2] = {0, 0}, y[1]; return lstm97_step(&lstm97_initial, &s, x, y); }\n"
    )
    subprocess.run([*CC.compiler, "-c", tmp_path / "network.c", "-o", tmp_path / "network.o"], check=True)
    program = tmp_path / "program"
    flags = ("-Wall", "-Wextra", "-Werror", "-pedantic")
    subprocess.run([cpp, *flags, tmp_path / "main.cpp", tmp_path / "network.o", "-o", program, "-lm"], check=True)
    subprocess.run([program], check=True)


@pytest.mark.parametrize("name", ["", "1st", "a-b", "_net", "n t", "naïve", "a\n"])
def test_invalid_names_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="name must be a C identifier"):
        export_c(Network(Topology(2, 1)), tmp_path / "network.c", name=name)
    assert not list(tmp_path.iterdir())


def test_other_arguments_are_checked(tmp_path):
    net, path = Network(Topology(2, 1)), tmp_path / "network.c"
    with pytest.raises(TypeError, match="net must be a Network"):
        export_c(net.topology, path)
    with pytest.raises(TypeError, match="name must be a string"):
        export_c(net, path, name=None)
    with pytest.raises(ValueError, match="dtype must be"):
        export_c(net, path, dtype="float16")
    net.weights["cell"][0, 0] = 1e300
    with pytest.raises(ValueError, match="must be finite in float32"):
        export_c(net, path, dtype="float32")
    assert not path.exists()


# ---- the template ----

TEMPLATE = Path(c.__file__).with_name("network.c")
SAMPLE = Topology(2, 1, blocks=(2, 1), n_hidden=1, forget_gates=True, input_to_output=True, bias="gates_and_output")


@pytest.mark.parametrize("standard", ["c99", "c11"])
@pytest.mark.parametrize("target", NATIVE, ids=name_of)
def test_the_template_compiles_as_it_stands(target, standard, tmp_path):
    flags = (f"-std={standard}", *WARNINGS[1:])
    subprocess.run([*target.compiler, *flags, "-c", TEMPLATE, "-o", tmp_path / "network.o"], check=True)


def test_the_template_is_the_network_that_it_names(tmp_path):
    template = TEMPLATE.read_text(encoding="utf-8")
    defined = dict(re.findall(r"^#define (\w+) ([01])$", template, re.MULTILINE))
    features = c._features(c._exported(Network(SAMPLE), True, None))
    assert {name: value == "1" for name, value in defined.items()} == features
    export_c(Network(SAMPLE), tmp_path / "network.c", learn=True)
    exported = (tmp_path / "network.c").read_text().replace(f", written by lstm97 {lstm97.__version__}", "")
    exported = re.sub(r"(lstm97_initial = \{).*?(^\};)", r"\1\n\2", exported, flags=re.DOTALL | re.MULTILINE)
    rest = iter(template.splitlines())
    assert [line for line in exported.splitlines() if line not in rest] == []  # all its lines, in this order


# ---- the command ----


def lstm97_command(*arguments):
    command = [sys.executable, "-c", "from lstm97.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_writes_the_same_file_as_the_function(tmp_path):
    net, file = Network(Topology(2, 1), seed=5), tmp_path / "adding.safetensors"
    net.save(file)
    result = lstm97_command("export", "c", file, "--learn", "--dtype", "float32", "--name", "adding")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        f"{tmp_path / 'adding.c'} written: 372 bytes of weights, 540 bytes of state for each stream.\n"
    )
    export_c(net, tmp_path / "same.c", learn=True, dtype="float32", name="adding")
    assert (tmp_path / "adding.c").read_bytes() == (tmp_path / "same.c").read_bytes()

    result = lstm97_command("export", "c", file, "--out", tmp_path / "other.c")
    assert (result.returncode, result.stderr) == (0, "")
    export_c(net, tmp_path / "same.c")
    assert (tmp_path / "other.c").read_bytes() == (tmp_path / "same.c").read_bytes()


def test_errors_of_the_command_are_one_line(tmp_path):
    bad, good = tmp_path / "bad.safetensors", tmp_path / "good.c"
    bad.write_bytes(b"no network")
    Network(Topology(2, 1)).save(good)
    for arguments, status, complaint in (
        ([bad], 1, "is not a safetensors file"),
        ([good, "--name", "1st", "--out", tmp_path / "out.c"], 1, "name must be a C identifier"),
        ([good], 2, "holds the network"),
        ([tmp_path / "nothing"], 2, "does not exist"),
        ([good, "--out", tmp_path / "no" / "folder.c"], 2, "does not exist"),
    ):
        result = lstm97_command("export", "c", *arguments)
        assert result.returncode == status
        assert complaint in result.stderr
        assert "Traceback" not in result.stderr
    assert sorted(tmp_path.iterdir()) == [bad, good]


# ---- the example ----


@pytest.mark.parametrize("target", [CC, OTHERS["gcc-sanitizers"]], ids=["plain", "sanitizers"])
def test_the_example_learns(target, tmp_path):
    for file in EXAMPLE.iterdir():
        if file.suffix in (".c", ".py"):
            shutil.copy(file, tmp_path)
    subprocess.run([sys.executable, "make_network.py"], cwd=tmp_path, check=True, env=dict(os.environ))
    command = target.build(tmp_path)
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    first, last = map(float, re.findall(r"([0-9.]+)$", result.stdout, re.MULTILINE))
    assert last < first / 10

    net = Network(Topology(1, 1, blocks=(2, 2), forget_gates=True, output="identity"), "float32")
    net.parameters = np.fromfile(tmp_path / "learned.bin", "float32")
    signal = np.sin(0.5 * np.arange(1001, dtype="float32"))
    forecasts = net.run(signal[:-1, None])[200:, 0]
    assert np.mean((forecasts - signal[201:]) ** 2) < first / 10


def test_the_example_of_the_docs_compiles(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```c\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    export_c(Network(Topology(2, 1), "float32"), tmp_path / "adding.c", learn=True, name="adding")
    main = "int main(void)\n{\n    float x[2] = {0}, y[1];\n    begin();\n    return observe(x, x, y);\n}\n"
    (tmp_path / "host.c").write_text(code + main)
    subprocess.run(CC.build(tmp_path), check=True)
