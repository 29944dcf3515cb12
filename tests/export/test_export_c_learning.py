"""The exported C file learns as its network would: optimizers, readout, scaling, losses, targets for some outputs.

Every network has learned for some steps before it is exported, so that what it keeps matters from the first step on.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from compare import TOLERANCE, assert_close
from compiling import compiler
from topologies import random_weights

from lstm97 import RLS, SGD, Adam, Network, RMSprop, Scaling, Topology
from lstm97.export.c import export_c, struct_bytes

C99 = (*compiler(), "-std=c99", "-O2")
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")
SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
(
    OK,
    CELL_STATE_NOT_FINITE,
    OUTPUT_NOT_FINITE,
    CHANGE_NOT_FINITE,
    INPUT_NOT_FINITE,
    BAD_RATE,
    NOT_AWAITING,
    BAD_WEIGHT,
) = range(8)

# Each row of the input is a call, x, target, rate, weight; each row of the output a status, y.
DRIVER = """
#include "network.c"
#include <stdio.h>

typedef struct { lstm97_real call, x[LSTM97_N_INPUTS], target[LSTM97_N_OUTPUTS], rate, weight; } row;
typedef struct { lstm97_real status, y[LSTM97_N_OUTPUTS]; } result;

int main(void)
{
    static lstm97_weights w;
    static lstm97_state s;
    static row in;
    static result out;
    w = lstm97_initial;
    while (fread(&in, sizeof in, 1, stdin) == 1) {
        int status = LSTM97_OK;
        switch ((int)in.call) {
        case 's':
            status = lstm97_step(&w, &s, in.x, out.y);
            break;
        case 'r':
            lstm97_reset(&s);
            break;
#ifdef LEARN
        case 'l':
            status = lstm97_learn(&w, &s, in.x, in.target, in.rate, out.y);
            break;
        case 'n':
            status = lstm97_learn(&w, &s, in.x, NULL, 0, out.y);
            break;
        case 'c':
            status = lstm97_correct(&w, &s, in.target, in.rate);
            break;
#ifdef HAS_WEIGHTED
        case 'w':
            status = lstm97_learn_weighted(&w, &s, in.x, in.target, in.rate, in.weight, out.y);
            break;
        case 'v':
            status = lstm97_correct_weighted(&w, &s, in.target, in.rate, in.weight);
            break;
#endif
#endif
        }
        out.status = (lstm97_real)status;
        fwrite(&out, sizeof out, 1, stdout);
    }
#ifdef HAS_WEIGHTS
    static lstm97_real p[LSTM97_N_PARAMETERS];
    lstm97_get_parameters(&w, p);
    fwrite(p, sizeof p, 1, stdout);
#endif
    fprintf(stderr, "%d %d", (int)sizeof w, (int)sizeof s);
    return 0;
}
"""


class Program:
    """An exported network, compiled with the driver."""

    def __init__(self, net, folder, *, learn=True, dtype=None, command=C99):
        folder.mkdir(parents=True, exist_ok=True)
        export_c(net, folder / "network.c", learn=learn, dtype=dtype)
        (folder / "driver.c").write_text(DRIVER)
        self.topology, self.dtype = net.topology, np.dtype(dtype or net.dtype)
        self.sizes = struct_bytes(net, learn, dtype)
        self.program = folder / "program"
        flags = ["-DLEARN"] * learn + ["-DHAS_WEIGHTS"] * (net.topology.n_weights > 0)
        is_plain = (net.optimizer, net.readout) == (SGD(), None)
        flags += ["-DHAS_WEIGHTED"] * (learn and net.topology.n_weights > 0 and not is_plain)
        subprocess.run([*command, *STRICT, *flags, folder / "driver.c", "-o", self.program, "-lm"], check=True)

    def run(self, calls):
        """Statuses (calls,), outputs (calls, n_outputs) and parameters after calls (name, x, target, rate, weight)."""
        t = self.topology
        rows = np.ones((len(calls), 3 + t.n_inputs + t.n_outputs), self.dtype)
        for row, (name, x, target, *rest) in zip(rows, calls, strict=True):
            row[0], row[1 : 1 + t.n_inputs], row[1 + t.n_inputs : -2] = ord(name[0]), x, target
            row[len(row) - 2 :][: len(rest)] = rest
        ran = subprocess.run([self.program], input=rows.tobytes(), capture_output=True, check=True)
        assert tuple(map(int, ran.stderr.split())) == self.sizes
        numbers = np.frombuffer(ran.stdout, self.dtype)
        results = numbers[: numbers.size - t.n_weights].reshape(len(calls), 1 + t.n_outputs)
        return results[:, 0].astype(int).tolist(), results[:, 1:], numbers[numbers.size - t.n_weights :]


def is_default(net):
    """Whether a network has none of the settings with which its file takes targets that are partly NaN."""
    topology = net.topology
    return (net.optimizer, net.readout, net.scaling) == (SGD(), None, None) and topology == replace(topology, loss=None)


def random_calls(net, rng, n, rate):
    """n calls (name, x, target, rate) in an order that the package allows; inputs and targets of various units."""
    t = net.topology
    is_scaled = net.scaling is not None
    x_units = 10.0 ** rng.integers(-2, 3, t.n_inputs) if is_scaled and net.scaling.inputs else np.ones(t.n_inputs)
    t_units = np.ones(t.n_outputs)
    if is_scaled and net.scaling.targets and t.output == "identity":
        t_units = 10.0 ** rng.integers(-2, 3, t.n_outputs)
    calls, last = [], ""
    for _ in range(n):
        x = (rng.normal(0, 1, t.n_inputs) + 2 * is_scaled) * x_units
        target = (rng.uniform(0, 1, t.n_outputs) + 3 * is_scaled * (t.output == "identity")) * t_units
        if t.output == "softmax":
            target /= target.sum()
        elif not is_default(net):
            target[rng.random(t.n_outputs) < 0.2] = np.nan
        name = str(rng.choice(["learn", "no target", "step", "reset"], p=[0.8, 0.15, 0.03, 0.02]))
        if last == "no target" and rng.random() < 0.7:
            name = "correct"
            if np.isnan(target).all():
                target[0] = 0.5
        calls.append((name, x.astype(net.dtype), target.astype(net.dtype), rate))
        last = name
    return calls


def carry_out(net, calls):
    """The package's outputs of the calls; those of the last step, where a call has none."""
    y, outputs = np.zeros(net.topology.n_outputs, net.dtype), []
    for name, x, target, rate, *weight in calls:
        if name == "learn":
            y = net.learn(x, target, rate)
        elif name == "weighted":
            y = net.learn(x, target, rate, weight=weight[0])
        elif name == "very late":
            net.correct(target, rate, weight=weight[0])
        elif name == "no target":
            y = net.learn(x, None)
        elif name == "step":
            y = net.step(x)
        elif name == "correct":
            net.correct(target, rate)
        else:
            net.reset()
        outputs.append(y)
    return np.array(outputs)


def learned_network(topology, dtype, seed=0, n=60, rate=0.02, **settings):
    """A network that has learned for n steps."""
    net = Network(topology, dtype, **settings)
    rng = np.random.default_rng(seed)
    for kind, weights in random_weights(topology, rng, 0.5).items():
        net.weights[kind] = weights
    carry_out(net, random_calls(net, rng, n, rate))
    net.reset()
    return net


def check(net, folder, *, rate=0.01, n=300, **options):
    """Check that C and the package go on alike: each output in its own units, and the parameters."""
    program = Program(net, folder, **options)
    calls = random_calls(net, np.random.default_rng(7), n, rate)
    if not options.get("learn", True):
        calls = [(name if name == "reset" else "step", *arguments) for name, *arguments in calls]
    statuses, outputs, parameters = program.run(calls)
    before, expected = net.parameters, carry_out(net, calls)
    assert set(statuses) == {OK}
    unit = np.maximum(np.abs(expected).max(axis=0), 1e-30)
    assert_close(outputs / unit, expected / unit, TOLERANCE[net.dtype.name], "outputs")
    assert_close(parameters, net.parameters, TOLERANCE[net.dtype.name], "parameters")
    assert (parameters != before).any() == options.get("learn", True) * (net.topology.n_weights > 0)


TOPOLOGIES = [
    Topology(2, 1),
    Topology(3, 2, blocks=(3, 1, 2), n_hidden=2, forget_gates=True, input_to_output=True, bias="gates_and_output"),
    Topology(2, 3, blocks=(2, 1), output_gates=False, bias="gates", input_squash="tanh"),
    Topology(2, 2, blocks=(), n_hidden=3, input_to_output=True),
]
OUTPUTS = ("logistic", "identity", "softmax")

OPTIMIZERS = [
    SGD(bound=0.5),
    SGD(bound=0.01),
    SGD(momentum=0.9),
    SGD(momentum=0.5, bound=0.02),
    RMSprop(decay=0.99),
    RMSprop(bound=0.05),
    Adam(),
    Adam(beta1=0.5, beta2=0.99, epsilon=1e-3, bound=0.1),
]


def rate_of(optimizer):
    """A learning rate with which rounding errors are not amplified in the course of a test."""
    return 0.01 if isinstance(optimizer, SGD) else 0.003


def with_output(topology, output, loss=None):
    """A topology with other outputs."""
    n_outputs = max(2, topology.n_outputs) if output == "softmax" else topology.n_outputs
    return replace(topology, output=output, loss=loss, n_outputs=n_outputs)


# ---- learning ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("i", range(len(OPTIMIZERS)))
def test_optimizers(i, dtype, tmp_path):
    optimizer = OPTIMIZERS[i]
    for shift in range(2):
        topology = with_output(TOPOLOGIES[(i + shift) % 4], OUTPUTS[(i + shift + (dtype == "float32")) % 3])
        net = learned_network(topology, dtype, optimizer=optimizer)
        check(net, tmp_path / f"{shift}", rate=rate_of(optimizer))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("i", range(len(OPTIMIZERS)))
def test_optimizers_with_scaling_and_with_a_readout(i, dtype, tmp_path):
    optimizer, topology = OPTIMIZERS[i], with_output(TOPOLOGIES[(i + 1) % 4], "identity")
    scaling = Scaling(decay=(None, 0.99)[i % 2])
    net = learned_network(topology, dtype, optimizer=optimizer, scaling=scaling)
    check(net, tmp_path / "scaling", rate=rate_of(optimizer))
    readout = RLS((1.0, 0.99, 0.95)[i % 3], prior=(1.0, 10.0)[i % 2])
    net = learned_network(topology, dtype, optimizer=optimizer, readout=readout, scaling=Scaling())
    check(net, tmp_path / "readout", rate=rate_of(optimizer))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("readout", [RLS(), RLS(0.98), RLS(0.99, prior=2.0), RLS(prior=0.01)])
def test_readouts(readout, dtype, tmp_path):
    for i in (1, 3):
        check(learned_network(with_output(TOPOLOGIES[i], "identity"), dtype, readout=readout), tmp_path / f"{i}")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scaling", [Scaling(), Scaling(targets=False), Scaling(inputs=False, decay=0.9)])
def test_scaling(scaling, dtype, tmp_path):
    for i, output in enumerate(OUTPUTS):
        topology = with_output(TOPOLOGIES[(i + scaling.targets) % 4], output)
        check(learned_network(topology, dtype, scaling=scaling), tmp_path / output)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("output", "loss"), [("logistic", "cross_entropy"), ("identity", "huber")])
def test_losses(output, loss, dtype, tmp_path):
    for i, optimizer in enumerate((SGD(), RMSprop(bound=1.0), Adam())):
        topology = with_output(TOPOLOGIES[i], output, loss)
        net = learned_network(topology, dtype, optimizer=optimizer)
        if loss == "huber":
            net.weights["output"] *= 5  # errors are beyond 1 and below -1, too
        check(net, tmp_path / f"{i}", rate=rate_of(optimizer))
    check(learned_network(topology, dtype, readout=RLS(0.99) if loss == "huber" else None), tmp_path / "readout")


def test_learning_from_the_beginning(tmp_path):
    for i, optimizer in enumerate(OPTIMIZERS):
        topology = with_output(TOPOLOGIES[i % 4], "identity")
        settings = {"readout": RLS(0.99)} if i % 2 else {}
        net = learned_network(topology, "float64", n=0, optimizer=optimizer, scaling=Scaling(), **settings)
        check(net, tmp_path / f"{i}", rate=rate_of(optimizer))


CORNERS = [
    Topology(1, 1, blocks=()),
    Topology(1, 1, blocks=(), bias="none"),
    Topology(2, 2, blocks=(), bias="none", input_to_output=True),
    Topology(2, 1, blocks=(), n_hidden=1, recurrent=False, bias="gates"),
    Topology(1, 1, blocks=(1,), recurrent=False, bias="none"),
    Topology(2, 2, blocks=(4,), output_gates=False, forget_gates=True, bias="hidden", output_squash="tanh"),
]
SETTINGS = [
    {"optimizer": SGD(bound=0.1)},
    {"optimizer": SGD(momentum=0.5)},
    {"optimizer": Adam(bound=0.1), "scaling": Scaling()},
    {"optimizer": RMSprop(), "scaling": Scaling(inputs=False)},
    {"readout": RLS()},
    {"readout": RLS(0.9), "optimizer": Adam(), "scaling": Scaling(targets=False, decay=0.9)},
    {"readout": RLS(0.9), "optimizer": RMSprop(bound=1.0)},
    {"scaling": Scaling(decay=0.5)},
]


@pytest.mark.parametrize("j", range(len(SETTINGS)))
def test_small_topologies(j, tmp_path):
    for i, topology in enumerate(CORNERS):
        net = learned_network(with_output(topology, "identity"), ("float64", "float32")[(i + j) % 2], **SETTINGS[j])
        check(net, tmp_path / f"{i}", rate=0.003, n=60, command=(*compiler(), "-std=c11"))


def weighted(calls, rng):
    """The same calls with weights of the error signals, some of them 0."""
    names = {"learn": "weighted", "correct": "very late"}
    weights = rng.choice([0.0, 0.3, 1.0, 4.0], len(calls))
    return [(names.get(name, name), *rest, weight) for (name, *rest), weight in zip(calls, weights, strict=True)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("settings", SETTINGS[:-1], ids=lambda settings: " ".join(map(str, settings.values())))
def test_error_signals_have_weights(settings, dtype, tmp_path):
    output = "identity" if "readout" in settings else OUTPUTS[SETTINGS.index(settings) % 3]
    net = learned_network(with_output(TOPOLOGIES[1], output), dtype, **settings)
    rng = np.random.default_rng(4)
    calls = weighted(random_calls(net, rng, 300, 0.003), rng)
    assert {"weighted", "very late"} < {name for name, *_ in calls}
    statuses, outputs, parameters = Program(net, tmp_path).run(calls)
    expected = carry_out(net, calls)
    assert set(statuses) == {OK}
    unit = np.maximum(np.abs(expected).max(axis=0), 1e-30)
    assert_close(outputs / unit, expected / unit, TOLERANCE[dtype], "outputs")
    assert_close(parameters, net.parameters, TOLERANCE[dtype], "parameters")


@pytest.mark.parametrize("command", [C99, (*C99, "-Ofast")], ids=["plain", "fast-math"])
def test_weights_that_are_none_are_refused(command, tmp_path):
    net = learned_network(with_output(TOPOLOGIES[1], "identity"), "float64", optimizer=Adam())
    before = net.parameters
    x, target = [0.5, 1, -1], [0.3, 0.1]
    bad = [-1.0, np.nan, np.inf, -np.inf]
    calls = [
        *[("weighted", x, target, 0.1, weight) for weight in bad],
        ("no target", x, target, 0.1),
        *[("very late", x, target, 0.1, weight) for weight in [*bad, 0.0]],
    ]
    statuses, _, parameters = Program(net, tmp_path, command=command).run(calls)
    assert statuses == [BAD_WEIGHT] * 4 + [OK] + [BAD_WEIGHT] * 4 + [OK]
    np.testing.assert_array_equal(parameters, before)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("settings", [{}, {"optimizer": RMSprop(bound=0.5)}, {"scaling": Scaling()}], ids=str)
def test_a_row_of_nan_is_no_target_of_softmax_outputs(settings, dtype, tmp_path):
    net = learned_network(with_output(TOPOLOGIES[2], "softmax"), dtype, **settings)
    rng = np.random.default_rng(5)
    calls = random_calls(net, rng, 200, 0.01)
    for name, _, target, _ in calls:
        if name == "learn" and rng.random() < 0.3:
            target[:] = np.nan
    statuses, outputs, parameters = Program(net, tmp_path).run(calls)
    expected = carry_out(net, calls)
    assert set(statuses) == {OK}
    assert_close(outputs, expected, TOLERANCE[dtype])
    assert_close(parameters, net.parameters, TOLERANCE[dtype])


@pytest.mark.parametrize("settings", [{}, {"optimizer": RMSprop(bound=0.5)}], ids=str)
def test_late_targets_of_softmax_outputs_may_be_nan_but_not_in_part(settings, tmp_path):
    net = learned_network(with_output(TOPOLOGIES[2], "softmax"), "float64", **settings)
    x, good, none, partly = [0.5, -1.0], [0.2, 0.3, 0.5], [np.nan] * 3, [0.5, np.nan, 0.5]
    calls = [
        ("learn", x, none, 0.1),
        ("correct", x, partly, 0.1),
        ("correct", x, [0, 0, np.inf], 0.1),
        ("correct", x, none, 0.1),
        ("correct", x, good, 0.1),
        ("correct", x, good, 0.1),
        ("learn", x, partly, 0.1),
        ("learn", x, none, -1.0),
    ]
    statuses, _, parameters = Program(net, tmp_path).run(calls)
    assert statuses == [OK, INPUT_NOT_FINITE, INPUT_NOT_FINITE, OK, OK, NOT_AWAITING, INPUT_NOT_FINITE, BAD_RATE]
    net.learn(x, none, 0.1)
    net.correct(good, 0.1)
    assert_close(parameters, net.parameters, TOLERANCE["float64"])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_exponentials_and_roots(dtype, tmp_path):
    rng, unit = np.random.default_rng(6), np.finfo(dtype).eps
    most = 700 if dtype == "float64" else 80
    a = np.concatenate([rng.uniform(-most, most, 5000), rng.normal(size=5000), np.arange(-60, 60) * np.log(2) / 2, [0]])
    b = 10 ** rng.uniform(-280 if dtype == "float64" else -28, np.log10(np.finfo(dtype).max), len(a))
    a[:4] = np.inf, -np.inf, 1e30, np.nan
    a, b = a.astype(dtype), b.astype(dtype)
    net = Network(Topology(2, 1), dtype, optimizer=RMSprop())
    export_c(net, tmp_path / "network.c", learn=True)
    (tmp_path / "driver.c").write_text("""
        #include "network.c"
        #include <stdio.h>
        int main(void)
        {
            lstm97_real in[2];
            while (fread(in, sizeof in, 1, stdin) == 1) {
                lstm97_exp_some(in, 1);
                in[1] = lstm97_one_by_root(in[1]);
                fwrite(in, sizeof in, 1, stdout);
            }
            return 0;
        }
    """)
    subprocess.run([*C99, *STRICT, tmp_path / "driver.c", "-o", tmp_path / "program", "-lm"], check=True)
    output = subprocess.check_output([tmp_path / "program"], input=np.column_stack([a, b]).tobytes())
    exponentials, roots = np.frombuffer(output, dtype).reshape(-1, 2).T.astype("float64")
    np.testing.assert_allclose(exponentials[:3], np.exp([most, -most, most]), 4 * unit)
    assert np.isnan(exponentials[3])
    np.testing.assert_allclose(exponentials[4:], np.exp(a[4:].astype("float64")), 4 * unit)
    np.testing.assert_allclose(roots, 1 / np.sqrt(b.astype("float64")), 4 * unit)


# ---- what files do with data ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_columns_that_stay_the_same_and_columns_far_from_zero(dtype, tmp_path):
    net = Network(with_output(TOPOLOGIES[1], "identity"), dtype, seed=1, scaling=Scaling())
    rng = np.random.default_rng(2)
    X = np.column_stack([np.full(200, 7.0), 1e5 + rng.normal(size=200), rng.normal(0, 1e-3, 200)]).astype(dtype)
    targets = np.column_stack([1e4 + X[:, 1] - 1e5, np.full(200, -3.0)]).astype(dtype)
    calls = [("learn", x, target, 0.05) for x, target in zip(X, targets, strict=True)]
    statuses, outputs, parameters = Program(net, tmp_path / "learning").run(calls)
    expected = carry_out(net, calls)
    assert set(statuses) == {OK}
    assert_close(outputs / [1e4, 3], expected / [1e4, 3], TOLERANCE[dtype])
    assert_close(parameters, net.parameters, TOLERANCE[dtype])

    net.reset()
    calls = [("step", *arguments) for _, *arguments in calls]
    _, outputs, _ = Program(net, tmp_path / "inference", learn=False).run(calls)
    assert_close(outputs / [1e4, 3], carry_out(net, calls) / [1e4, 3], TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scaling", [Scaling(), Scaling(targets=False), Scaling(inputs=False, decay=0.9)])
def test_inference_with_scaling(scaling, dtype, tmp_path):
    for i, output in enumerate(OUTPUTS):
        net = learned_network(with_output(TOPOLOGIES[i], output), dtype, scaling=scaling, optimizer=Adam())
        check(net, tmp_path / output, learn=False, n=40)
        text = (tmp_path / output / "network.c").read_text()
        assert not {"optimizer", "sqrt", "squares"} & set(re.findall(r"\w+", text))


def test_inference_of_a_network_that_has_met_symbols_only_takes_one_hot_rows(tmp_path):
    net = Network(Topology(4, 1, output="identity"), seed=1, scaling=Scaling(), init_range=1)
    symbols = np.random.default_rng(1).integers(4, size=50)
    net.learn_run(symbols, np.sin(symbols)[:, None], 0.1)
    net.reset()
    calls = [("step", np.eye(4)[symbol], [0], 0) for symbol in symbols]
    _, outputs, _ = Program(net, tmp_path, learn=False).run(calls)
    assert_close(outputs, net.run(symbols), 1e-12)


@pytest.mark.parametrize("settings", [{"scaling": Scaling()}, {"optimizer": Adam()}, {"readout": RLS()}])
def test_a_target_of_nothing_but_nan_counts_as_none(settings, tmp_path):
    net = learned_network(with_output(TOPOLOGIES[1], "identity"), "float64", **settings)
    x, nothing, target = [0.5, -0.5, 1.0], [np.nan] * 2, [np.nan, 0.3]
    calls = [
        ("learn", x, nothing, 0.1),
        ("correct", x, nothing, 0.1),
        ("correct", x, target, 0.1),
        ("correct", x, target, 0.1),
        ("learn", x, target, 0.1),
        ("correct", x, target, 0.1),
        ("learn", x, target, 0.1),
    ]
    statuses, outputs, parameters = Program(net, tmp_path).run(calls)
    assert statuses == [OK, OK, OK, NOT_AWAITING, OK, NOT_AWAITING, OK]
    net.learn(x, None)
    net.correct(target, 0.1)
    net.learn(x, target, 0.1)
    assert_close(outputs[-1], net.learn(x, target, 0.1), 1e-12)
    assert_close(parameters, net.parameters, 1e-12)


FAST = (*compiler(), "-std=c99", "-Ofast")


@pytest.mark.parametrize("command", [C99, FAST], ids=["plain", "fast-math"])
@pytest.mark.parametrize("output", ["identity", "softmax"])
def test_refused_arguments_change_nothing(output, command, tmp_path):
    topology = with_output(TOPOLOGIES[1], output)
    net = learned_network(topology, "float64", optimizer=RMSprop(bound=1.0), scaling=Scaling())
    x, bad_x, target = [0.5, -0.5, 1.0], [0.5, np.nan, 1.0], [0.25, 0.75]
    refused = [("learn", bad_x, target, 0.1), ("no target", bad_x, target, 0.1), ("step", bad_x, target, 0.1)]
    refused += [(name, x, [0.25, value], 0.1) for name in ("learn", "correct") for value in (np.inf, -np.inf)]
    rates = [(name, x, target, rate) for name in ("learn", "correct") for rate in (0, -1, np.nan, np.inf)]
    partly = [("learn", x, [np.nan, 1], 0.1)]
    begin, end = [("no target", x, target, 0)], [("correct", x, target, 0.1), *partly, ("step", x, target, 0)]
    calls = [*begin, *refused, *rates, *end]
    statuses, outputs, parameters = Program(net, tmp_path, command=command).run(calls)
    is_refused = INPUT_NOT_FINITE if output == "softmax" else OK
    assert statuses == [OK, *[INPUT_NOT_FINITE] * len(refused), *[BAD_RATE] * len(rates), OK, is_refused, OK]
    net.learn(x, None)
    net.correct(target, 0.1)
    if output != "softmax":
        net.learn(x, [np.nan, 1], 0.1)
    assert_close(outputs[-1], net.step(x), 1e-11)
    assert_close(parameters, net.parameters, 1e-11)


@pytest.mark.parametrize("command", [C99, FAST], ids=["plain", "fast-math"])
@pytest.mark.parametrize(("dtype", "huge"), [("float64", 1e200), ("float32", 1e25)])
@pytest.mark.parametrize(
    "settings",
    [*({"optimizer": optimizer} for optimizer in OPTIMIZERS[::2]), {"readout": RLS(0.9)}],
    ids=lambda settings: str(*settings.values()),
)
def test_a_change_that_overflows_leaves_weights_and_memory(settings, dtype, huge, command, tmp_path):
    net = learned_network(with_output(TOPOLOGIES[1], "identity"), dtype, **settings)
    net.weights["output"][1, 4] = 0
    x, rate = [0.5, 1, -1], 0.01
    calls = [
        ("learn", x, [0.3, 0.1], rate),
        ("learn", [huge, 1, -1], [0, np.finfo(dtype).max], rate),
        ("reset", x, [0, 0], rate),
        *[("learn", x, [0.3, 0.1], rate)] * 20,
    ]
    statuses, outputs, parameters = Program(net, tmp_path, command=command).run(calls)
    assert statuses == [OK, CHANGE_NOT_FINITE, OK, *[OK] * 20]
    net.learn(*calls[0][1:])
    with pytest.raises(FloatingPointError, match="weight"):
        net.learn(*calls[1][1:])
    expected = carry_out(net, calls[2:])
    tolerance = TOLERANCE[dtype] * (10 if command == FAST else 1)
    assert_close(outputs[3:], expected[1:], tolerance)
    assert_close(parameters, net.parameters, tolerance)


# ---- files ----


def test_the_dtype_may_be_another_than_the_networks(tmp_path):
    topology = with_output(TOPOLOGIES[1], "identity")
    net = learned_network(topology, "float64", optimizer=Adam(), scaling=Scaling())
    program = Program(net, tmp_path, dtype="float32")
    calls = random_calls(net, np.random.default_rng(3), 100, 0.001)
    _, outputs, parameters = program.run(calls)
    expected = carry_out(net, calls)
    assert_close(outputs / np.abs(expected).max(0), expected / np.abs(expected).max(0), 1e-5)
    assert_close(parameters, net.parameters, 1e-4)


def test_a_memory_that_the_dtype_cannot_hold_is_refused(tmp_path):
    net = Network(Topology(1, 1, output="identity"), optimizer=RMSprop(), seed=1)
    net.learn([1.0], [1e30], 1e-40)
    with pytest.raises(ValueError, match=r"what learning keeps as memory\.v\.\w+ is not finite in float32"):
        export_c(net, tmp_path / "net.c", learn=True, dtype="float32")
    assert not (tmp_path / "net.c").exists()
    export_c(net, tmp_path / "net.c", dtype="float32")  # which has no memory

    net = Network(Topology(1, 1), optimizer=Adam(epsilon=1e-60))
    with pytest.raises(ValueError, match="epsilon is 1e-60, which is 0 in float32"):
        export_c(net, tmp_path / "net.c", learn=True, dtype="float32")


def test_the_file_names_its_settings(tmp_path):
    net = Network(
        Topology(1, 1, output="identity", loss="huber"),
        optimizer=RMSprop(bound=0.5),
        readout=RLS(0.99),
        scaling=Scaling(decay=0.9),
    )
    export_c(net, tmp_path / "net.c", learn=True)
    head = re.sub(r"\s+\*\s+", " ", (tmp_path / "net.c").read_text().partition("*/")[0])
    for setting in ("optimizer", "readout", "scaling"):
        assert f"{setting}={getattr(net, setting)}" in head
    assert str(net.topology) in head
    export_c(net, tmp_path / "net.c")
    head = re.sub(r"\s+\*\s+", " ", (tmp_path / "net.c").read_text().partition("*/")[0])
    assert str(net.scaling) in head
    assert not re.search("optimizer|readout|loss", head)


def test_the_file_needs_only_the_c_library(tmp_path):
    allowed = {"sqrt", "sqrtf", "memcpy", "memset", "_GLOBAL_OFFSET_TABLE_"}
    for i, settings in enumerate(SETTINGS):
        net = Network(with_output(TOPOLOGIES[1], "identity"), ("float64", "float32")[i % 2], **settings)
        export_c(net, tmp_path / "net.c", learn=True)
        subprocess.run([*compiler(), "-O2", "-c", tmp_path / "net.c", "-o", tmp_path / "net.o"], check=True)
        nm = subprocess.run(["nm", tmp_path / "net.o"], capture_output=True, text=True, check=True).stdout
        assert set(re.findall(r"^ +U (\w+)", nm, re.MULTILINE)) <= allowed
        assert not re.findall(r" [bBdDC] ", nm)


LANGUAGES = [(*compiler(), "-std=c99"), (*compiler(), "-std=c11")]
LANGUAGES += [("clang", f"-std={name}") for name in ("c99", "c11") if shutil.which("clang")]
LANGUAGES += [(name, "-std=c++11", "-x", "c++") for name in ("g++", "clang++") if shutil.which(name)]


@pytest.mark.parametrize("language", LANGUAGES, ids=" ".join)
def test_it_compiles_without_warnings(language, tmp_path):
    source = tmp_path / "net.c"
    for i, topology in enumerate((*CORNERS, *TOPOLOGIES)):
        for j, settings in list(enumerate(SETTINGS))[i % 4 :: 4]:
            for learn in (True, False):
                dtype = ("float64", "float32")[(i + j) % 2]
                output = OUTPUTS[(i + j) % 3] if "readout" not in settings else "identity"
                net = learned_network(with_output(topology, output), dtype, n=3, **settings)
                export_c(net, source, learn=learn, name="net")
                assert "lstm97_" not in source.read_text()
                subprocess.run([*language, *STRICT, "-fsyntax-only", source], check=True)


@pytest.mark.parametrize("cpp", [name for name in ("g++", "clang++") if shutil.which(name)])
def test_inside_cpp_it_does_the_same(cpp, tmp_path):
    for i, settings in enumerate(SETTINGS):
        net = learned_network(with_output(TOPOLOGIES[i % 4], "identity"), "float64", **settings)
        check(net, tmp_path / f"{i}", rate=0.003, n=60, command=(cpp, "-std=c++11", "-O2", "-x", "c++"))


@pytest.mark.slow
def test_sanitizers(tmp_path):
    for i, settings in enumerate(SETTINGS):
        for topology in (CORNERS[i % len(CORNERS)], TOPOLOGIES[i % 4]):
            net = learned_network(with_output(topology, "identity"), "float32", **settings)
            folder = tmp_path / f"{i} {topology.n_weights}"
            check(net, folder, rate=0.003, n=60, command=(*compiler(), "-std=c99", *SANITIZE))
