"""The benchmark of learning rules runs without data packages, looks at no later value, prints a file again."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import numpy as np
import pytest
from benchmarks.learning_rules import __main__ as command
from benchmarks.learning_rules import (
    adaptive,
    chorales,
    classification,
    delays,
    forecasting,
    grid,
    onepass,
    packages,
    peers,
    sines,
    stepsizes,
    tables,
    text,
    truncation,
)
from benchmarks.learning_rules.forecasting import WARM_UP, Setting
from benchmarks.learning_rules.packages import Labelled, Sequences, Series
from benchmarks.learning_rules.preparations import PREPARATIONS
from benchmarks.learning_rules.records import Record
from benchmarks.learning_rules.rules import RULES, Rule, network

import lstm97
from lstm97.demos.text import default_text, learn_text

ONE_SEED = range(1, 2)


def a_series(n=120, name="made"):
    t = np.arange(n)
    return Series(name, 50 + 3 * np.sin(t / 4) + 0.1 * np.random.default_rng(1).standard_normal(n), 25)


# ---- nothing looks ahead ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PREPARATIONS)
@pytest.mark.parametrize("lags", [1, 5])
def test_preparations_depend_on_no_later_value(kind, lags):
    values = a_series(40).values
    whole = PREPARATIONS[kind](values, lags)
    for n in (2, 3, 17):
        part = PREPARATIONS[kind](values[:n], lags)
        for name in ("inputs", "targets", "shift", "scale"):
            assert np.allclose(getattr(part, name), getattr(whole, name)[: n - 1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", PREPARATIONS)
def test_perfect_outputs_are_perfect_forecasts(kind):
    values = a_series(40).values
    prepared = PREPARATIONS[kind](values, 3)
    assert np.allclose(prepared.forecasts(prepared.targets), values[1:])


def test_inputs_are_the_last_values_the_latest_first():
    values = np.array([1.0, 3.0, 7.0, 6.0])
    assert PREPARATIONS["raw"](values, 2).inputs.tolist() == [[1, 0], [3, 1], [7, 3]]
    for name, scale in (("differences", 3), ("differences by deviation", np.sqrt((4 + 16) / 2))):
        differences = PREPARATIONS[name](values, 2)
        assert np.allclose(differences.scale, [1, 2, scale])
        assert np.allclose(differences.inputs * differences.scale[:, np.newaxis], [[0, 0], [2, 0], [4, 2]])
    z = PREPARATIONS["z-scores"](values, 2)
    assert np.allclose(z.shift, [1, 2, 11 / 3])
    assert np.allclose(z.scale, [1, 1, values[:3].std()])


@pytest.mark.parametrize("name", [name for name, _ in peers._FORECASTERS.items() if "river" not in name])
def test_forecasts_of_peers_depend_on_no_later_value(name):
    series = a_series(60)
    forecast = dict(peers.forecasters())[name]
    whole = forecast(series)
    assert whole.shape == (59,)
    for n in (3, 26, 40):
        assert np.allclose(forecast(Series("part", series.values[:n], series.season)), whole[: n - 1])


def test_least_squares_is_ridge_regression_on_the_rows_before():
    prepared = PREPARATIONS["differences"](a_series(60).values, 4)
    outputs = (peers.recursive_least_squares(prepared, ridge=0.5) - prepared.shift) / prepared.scale
    X = np.column_stack([prepared.inputs, np.ones(59)])
    for t in (0, 7, 58):
        w = np.linalg.solve(X[:t].T @ X[:t] + 0.5 * np.eye(5), X[:t].T @ prepared.targets[:t, 0])
        assert outputs[t] == pytest.approx(X[t] @ w, abs=1e-9)


def test_networks_forecast_before_they_learn():
    rule, setting = "SGD", Setting(lags=3, cells=2)
    values = a_series(80).values
    changed = values.copy()
    changed[-1] += 100.0  # only the last error may change
    errors = []
    for y in (values, changed):
        value, note = forecasting.run(Series("made", y, 1), rule, setting, 1)
        assert note == ""
        errors.append(value * np.abs(np.diff(y))[WARM_UP:].sum())
    assert errors[1] - errors[0] == pytest.approx(100.0, abs=20.0)


def test_the_forecaster_is_measured_by_forecasts_made_before():
    series = a_series(120)
    changed = Series("made", np.append(series.values[:-1], 1e6), 1)
    a, b = (
        record.value * np.abs(np.diff(each.values))[WARM_UP:].sum()
        for each in (series, changed)
        for record in forecasting.of_forecaster("series", [each], ONE_SEED)
    )
    assert b - a == pytest.approx(1e6, rel=1e-3)  # only the last error has changed


def test_intervals_are_those_before_the_value():
    values = np.random.default_rng(0).normal(size=1000).cumsum()
    share, note = forecasting.covered(values, lstm97.Forecaster(2, 3), 0.9)
    assert share == pytest.approx(0.9, abs=0.03)
    assert note == ""
    assert forecasting.covered(values[:20], lstm97.Forecaster(2, 3), 0.9) == (None, "too few values")
    records = list(forecasting.of_intervals([a_series(30)], ONE_SEED))
    assert [record.value is None for record in records] == [False, False, True]
    assert "| 1 of 1 too short |" in tables.pivot([asdict(record) for record in records], "intervals")


def test_the_score_of_the_naive_forecast_is_one_and_leaves_the_first_errors_out():
    values = a_series(100).values
    assert forecasting.score(values, values[:-1]) == 1.0
    forecasts = values[1:].copy()
    forecasts[:WARM_UP] = 1e9
    assert forecasting.score(values, forecasts) == 0.0


def test_standardised_rows_depend_on_no_later_row():
    rows = np.random.default_rng(2).normal(3.0, 2.0, (30, 4))
    whole = classification.standardised(rows)
    assert np.allclose(classification.standardised(rows[:11]), whole[:11])
    assert np.allclose(whole[-1], (rows[-1] - rows.mean(axis=0)) / rows.std(axis=0))


# ---- tasks -----------------------------------------------------------------------------------------------------------


def test_an_overflow_is_a_record_without_value():
    series = Series("steep", 1e150 * 10.0 ** np.arange(60), 1)
    (record,) = forecasting.networks("raw", [series], ("SGD",), [Setting("raw", 1, 2)], ONE_SEED)
    assert record.value is None
    assert "not finite" in record.note
    assert "| 1 of 1 overflowed |" in tables.pivot([asdict(record)], "raw")


def test_classes_of_a_stream_are_learned():
    rng = np.random.default_rng(3)
    classes = rng.integers(0, 2, 1500)
    stream = Labelled("made", (2.0 * classes - 1)[:, np.newaxis] + 0.3 * rng.standard_normal((1500, 2)), classes, 2)
    value, _ = classification.accuracy(stream, "SGD", 1)
    assert 0.8 < value <= 1.0


@pytest.mark.parametrize("way", onepass.WAYS)
def test_classes_of_sequences_are_learned_in_one_pass(way):
    rng = np.random.default_rng(4)
    classes = np.repeat([0, 1, 2], 100)
    parts = [
        [
            np.eye(3)[c] + 0.1 * rng.standard_normal((int(n), 3))
            for c, n in zip(classes, rng.integers(3, 9, 300), strict=True)
        ]
        for _ in range(2)
    ]
    data = Sequences("made", parts[0], classes, parts[1], classes, 3)
    value, _ = onepass.accuracy(data, "RMSprop, bounded", way, 1)
    assert value > 0.9
    assert onepass.nearest_neighbour(data) > 0.95


def test_marked_bits_are_those_of_the_target():
    inputs, classes = delays.marked_bits(np.random.default_rng(5), 50, 12)
    assert inputs.shape == (50, 12, 2)
    for sequence, number in zip(inputs, classes, strict=True):
        first, second = np.flatnonzero(sequence[:, 1])
        assert 0 <= first < 3 <= second < 6
        assert number == (sequence[first, 0] != sequence[second, 0])


def test_a_delay_that_is_not_learned_says_how_many_are_wrong(monkeypatch):
    monkeypatch.setattr(delays, "TESTED_EVERY", 20)
    value, note = delays.sequences_until_solved(delays.Task(20, 40), "SGD", 0.1, 1)
    assert value is None
    assert note.endswith("wrong after 40 sequences")


class Note:
    """A note as music21 has it."""

    def __init__(self, offset, length, *keys):
        self.offset, self.quarterLength = offset, length
        self.pitches = [type("Pitch", (), {"midi": key}) for key in keys]


def test_frames_have_the_keys_that_sound_at_each_quarter():
    notes = [Note(0.0, 2.0, 60, 64), Note(0.5, 1.0, 70), Note(2.0, 0.5, 21), Note(2.5, 0.5, 108)]
    score = type("Score", (), {"flatten": lambda self: type("Flat", (), {"notes": notes})})()
    assert [np.flatnonzero(frame).tolist() for frame in chorales.frames(score)] == [[39, 43], [39, 43, 49], [0]]


def test_nats_of_keys():
    p, keys = np.array([[0.5, 0.25], [1.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    assert np.allclose(chorales.nats(p, keys), [-np.log(0.5 * 0.75), -np.log(1e-6)], atol=1e-5)


# ---- step sizes that adapt themselves --------------------------------------------------------------------------------

BY_BOTH = {
    "SGD": (lstm97.SGD(), 0.03, adaptive.sgd(lambda t, n: 0.03)),
    "SGD, bounded": (lstm97.SGD(bound=0.1), 0.3, adaptive.sgd(lambda t, n: 0.3, 0.1)),
    "RMSprop": (lstm97.RMSprop(), 0.01, adaptive.rms_prop(lambda t, n: 0.01)),
    "RMSprop, bounded": (lstm97.RMSprop(bound=0.5), 0.01, adaptive.rms_prop(lambda t, n: 0.01, 0.5)),
    "Adam": (lstm97.Adam(), 0.003, adaptive.adam(0.003)),
    "Adam, bounded": (lstm97.Adam(bound=0.05), 0.01, adaptive.adam(0.01, 0.05)),
}


@pytest.mark.parametrize("output", ["identity", "huber", "logistic"])
@pytest.mark.parametrize("name", BY_BOTH)
def test_a_rule_that_sets_the_weights_learns_as_the_networks_own(name, output):
    optimizer, rate, begin = BY_BOTH[name]
    loss = {"identity": None, "huber": "huber", "logistic": "cross_entropy"}[output]
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 4))
    targets = 3.0 * np.tanh(X[:, :1] - np.roll(X, 1, axis=0)[:, 1:2])
    if output == "logistic":
        targets = (targets > 0).astype(float)
    kind = "logistic" if output == "logistic" else "identity"
    own, set_by_rule = (
        network(Rule(rate, each), 4, 1, cells=5, seed=2, output=kind, loss=loss) for each in (optimizer, lstm97.SGD())
    )
    outputs = own.learn_run(X, targets, rate)
    assert np.allclose(stepsizes.learned(set_by_rule, X, targets, begin), outputs, rtol=0, atol=1e-12)
    assert np.allclose(set_by_rule.parameters, own.parameters, rtol=0, atol=1e-12)
    assert np.abs(own.parameters).max() > 0.5  # it has learned


def tracked_error(begin, n_steps=20_000):
    """Mean squared error, over the last half, on the task that IDBD was published with: 5 of 20 inputs matter, and the
    sign of one of them changes every 20 steps."""
    rng = np.random.default_rng(0)
    signs, w, first = np.ones(5), np.zeros(20), np.zeros(20)
    change, errors = begin(20, n_steps), []
    for t in range(n_steps):
        if t % 20 == 0:
            signs[rng.integers(5)] *= -1
        x = rng.normal(size=20)
        e = float(signs @ x[:5] - w @ x)
        errors.append(e * e)
        w = w + change(e * x, e, w - first)
    return float(np.mean(errors[n_steps // 2 :]))


def test_learned_step_sizes_follow_what_changes():
    assert 3.3 < min(tracked_error(adaptive.sgd(lambda t, n, rate=rate: rate)) for rate in (0.03, 0.04, 0.05)) < 3.7
    assert 1.3 < tracked_error(adaptive.idbd(0.01)) < 1.8
    assert 1.3 < tracked_error(adaptive.autostep(0.01)) < 2.5


def test_first_updates_by_hand():
    g, e, moved = np.array([6.0, -8.0]), 2.0, np.zeros(2)

    def first(begin):
        return begin(2, 4)(g, e, moved)

    assert np.allclose(first(adaptive.obgd(2.0)), g / (2 * 2 * 7))
    assert np.allclose(adaptive.obgd(2.0)(2, 4)(0.01 * g, e, moved), 0.01 * g)
    assert np.allclose(first(adaptive.adaptive_obgd(2.0)), [1 / 4, -1 / 4])
    assert np.allclose(first(adaptive.clipped(0.1, 5.0)), 0.1 * g / 2)
    assert np.allclose(first(adaptive.adagrad(0.1)), [0.1, -0.1])
    assert np.allclose(first(adaptive.dog(0.1)), 0.1 * g / 10)
    assert np.allclose(first(adaptive.cocob(100.0)), [0.01, -0.01])
    assert np.allclose(first(adaptive.idbd(0.01)), 0.03 * g)
    assert np.allclose(first(adaptive.autostep(0.01)), g * 0.03)
    assert np.allclose(adaptive.autostep(0.01)(2, 4)(10 * g, e, moved), 10 * g / (30**2 + 40**2))
    assert np.allclose(first(adaptive.ADAPTIVE["SGD, rate / root of t"].begin(0.3)), 0.3 * g)
    assert np.allclose(first(adaptive.ADAPTIVE["SGD, Decay to a tenth"].begin(0.3)), 0.3 * g)
    assert np.allclose(first(adaptive.ADAPTIVE["SGD, rate / (1 + t / 100)"].begin(0.3)), 0.3 * g / 1.01)


@pytest.mark.parametrize("name", [name for name in adaptive.ADAPTIVE if "bounded" in name])
def test_a_bounded_update_moves_the_output_by_half_its_error_at_most(name):
    rule = adaptive.ADAPTIVE[name]
    J, e = np.array([300.0, -400.0, 10.0]), 2.0
    moved = J @ rule.begin(max(rule.values))(3, 9)(e * J, e, np.zeros(3))
    assert moved == pytest.approx(0.5 * e)


@pytest.mark.parametrize("name", adaptive.ADAPTIVE)
def test_an_error_of_zero_moves_nothing_at_first(name):
    rule = adaptive.ADAPTIVE[name]
    assert np.allclose(rule.begin(rule.setting)(3, 9)(np.zeros(3), 0.0, np.zeros(3)), 0.0)


def test_step_sizes_are_measured_and_an_overflow_is_told(monkeypatch):
    rules = {
        stepsizes.REFERENCE: adaptive.ADAPTIVE[stepsizes.REFERENCE],
        "steep": adaptive.Adaptive(lambda rate: adaptive.sgd(lambda t, n: rate), "rate", 1e300, (0.01, 0.1), 0),
    }
    monkeypatch.setattr(stepsizes, "ADAPTIVE", rules)
    rng = np.random.default_rng(3)
    classes = rng.integers(0, 2, 300)
    stream = Labelled("two", (2.0 * classes - 1)[:, np.newaxis] + 0.3 * rng.standard_normal((300, 2)), classes, 2)
    records = [
        *stepsizes.of_series([a_series()], ONE_SEED),
        *stepsizes.of_a_row([a_series(), a_series(60, "other")], ONE_SEED),
        *stepsizes.of_classes([stream], ONE_SEED),
    ]
    rows = [asdict(record) for record in records]
    assert len(rows) == 5 * 2 * 3
    squared, huber, first, *_ = [
        row["value"] for row in rows if row["model"] == stepsizes.REFERENCE and row["setting"] == {"rate": 0.01}
    ]
    assert first == huber != squared  # what comes later changes nothing
    assert squared == pytest.approx(forecasting.run(a_series(), "RMSprop, bounded", Setting(), 1)[0], rel=1e-9)
    printed = stepsizes.table(rows)
    assert f"| RMSprop, bounded, rate 0.01 | 1 | {squared:.3f} |" in printed
    assert "| steep, rate 1e+300 | 0 | overflowed | overflowed |" in printed
    assert (
        printed == tables.markdown({"rows": rows, "command": "", "tasks missing": {}, **NO_MACHINE}).split("\n\n", 2)[2]
    )


NO_MACHINE = {
    "machine": {"processor": "", "cores": 0},
    "build": {"version": "", "build": ""},
    "versions": dict.fromkeys(["python", "numpy", "commit", *packages.PACKAGES], ""),
}


# ---- truncation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connections", truncation.CONNECTIONS)
def test_learners_differ_in_their_connections_alone(connections):
    net = truncation.make(connections, "RMSprop", 3, 2, cells=4, seed=5, init_range=0.2, forget_gate_bias=0.7)
    assert net.topology.recurrent == truncation.CONNECTIONS[connections]
    assert isinstance(net, lstm97.Network) == (connections != "each unit itself, exact")
    assert net.optimizer == lstm97.RMSprop()
    assert (net.weights["forget_gate"][:, -1] == 0.7).all()
    assert 0.15 < np.abs(net.weights["cell"]).max() <= 0.2


def test_text_costs_what_the_demo_says():
    settings = text.RuleSettings(rule="Adam", cells=text.CELLS, learning_rate=0.003, seed=1)
    with default_text().open("rb") as stream:
        _, record = learn_text(stream, settings, max_bytes=3000)
    bits, _ = truncation.of_text(truncation.Case("all cells, truncated", "Adam", 1), 3000)
    assert bits == pytest.approx(record.network_bits, rel=1e-4)


def test_forecasts_are_those_of_the_other_tables():
    case = truncation.Case("all cells, truncated", "RMSprop, bounded", 1)
    found, _ = truncation.of_series(case, a_series(), 24)
    assert found == pytest.approx(forecasting.run(a_series(), "RMSprop, bounded", Setting(), 1)[0], rel=1e-9)


def test_truncation_has_a_row_for_each_rule_and_connections():
    def row(data, model, value, task=truncation.TASK, **setting):
        return asdict(Record(task, data, model, setting or {"rule": "Adam", "rate": 1.0}, 1, "errors", value))

    (truncated, none, itself) = truncation.CONNECTIONS
    rows = [
        *(
            row(data, truncated, value)
            for data, value in (("a, 24 lags", 1.0), ("b, 24 lags", 4.0), ("XOR, T=8", None))
        ),
        *(row(data, none, value) for data, value in (("a, 24 lags", 1.0), ("b, 24 lags", 1.0), ("XOR, T=8", 5000.0))),
        *(
            row("small", each, ns, truncation.TIME, weights=7)
            for each, ns in ((truncated, 200.0), (none, 100.0), (itself, 500.0))
        ),
    ]
    printed = truncation.table(rows)
    assert "| Adam | all cells, truncated | 2.000 | 1 of 1 not solved |" in printed
    assert "| Adam | none, exact | 1.000 | 5,000 |" in printed
    assert "| each unit itself, exact | 500 (2.50), 7 weights |" in printed


# ---- rules, tables, command ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_that_is_there_learns_a_sine(rule):
    setting = Setting("raw" if RULES[rule].scaling else "differences", 8, 4)
    value, note = forecasting.run(a_series(400), rule, setting, 1)
    assert note == ""
    assert value < 1.0


def test_the_grid_is_compared_with_the_fixed_setting():
    def record(task, data, model, rate, seed, value):
        return asdict(Record(task, data, model, {"rate": rate}, seed, "error", value))

    rows = [
        *(record("grid", "a", "SGD", rate, seed, value) for rate, value in ((0.1, 0.5), (0.2, 0.8)) for seed in (1, 2)),
        *(record("grid", "b", "SGD", rate, seed, value) for rate, value in ((0.1, 0.9), (0.2, 0.6)) for seed in (1, 2)),
        record("fixed", "a", "SGD", 0.1, 1, 0.5),
        record("fixed", "b", "SGD", 0.1, 1, 0.75),
    ]
    assert grid.table(rows).splitlines()[4:] == [
        "| best of 2 | 0.500 | 0.600 | 0.548 |  |",
        "| SGD | 1.00 | 1.25 | 1.118 | 1.25 |",
        "| *grid:* SGD, rate 0.1 | 1.00 | 1.50 | 1.225 | 1.50 |",
    ]


def test_tables_have_means_over_seeds():
    rows = [
        asdict(Record("series", data, "SGD", {"lags": 24, "rate": 0.03, "preparation": "raw"}, seed, "error", value))
        for data, seed, value in (("a", 1, 1.0), ("a", 2, 4.0), ("b", 1, 0.5), ("b", 2, 0.5))
    ]
    assert tables.pivot(rows, "series").splitlines() == [
        "**series**: error; geometric means over 2 seeds.",
        "",
        "|  | a | b | mean |",
        "| --- | --- | --- | --- |",
        "| SGD, 24 lags, rate 0.03, raw | 2.000 | 0.500 | 1.000 |",
    ]


def test_the_noise_of_sines_is_the_least_error():
    records = {record.model: record.value for record in sines.measure((2_000,), ONE_SEED)}
    floor = records["the sines without noise"]
    assert floor == pytest.approx(sines.NOISE * np.sqrt(2 / np.pi), rel=0.1)
    assert all(value > floor for model, value in records.items() if model != "the sines without noise")


def test_the_command_runs_without_data_packages_and_prints_a_file_again(tmp_path, monkeypatch, capsys):
    for name in ("river.datasets", "aeon.datasets"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it was not installed
    file = tmp_path / "figures.json"
    tasks = [part for task in ("sines", "text", "streams", "one pass") for part in ("--task", task)]
    command.main(["--quick", *tasks, "--json", str(file)])
    printed = capsys.readouterr().out
    assert "Task left out: streams; river is not installed" in printed
    assert "Task left out: one pass; aeon is not installed" in printed
    assert "| SGD, 16 cells, rate 0.03 |" in printed
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert {row["task"] for row in figures["rows"]} == {"sines", "text"}
    assert all(row["value"] > 0 for row in figures["rows"])
    assert figures["command"].startswith("python -m benchmarks.learning_rules --quick --task sines")
    command.main(["--from", str(file)])
    assert capsys.readouterr().out == printed


def test_files_of_several_runs_are_printed_together():
    def run(task, missing):
        return {"rows": [{"task": task}], "tasks missing": {missing: "why"}, "command": task}

    figures = command.together([run("a", "b"), run("b", "c")])
    assert [row["task"] for row in figures["rows"]] == ["a", "b"]
    assert figures["tasks missing"] == {"c": "why"}
    assert figures["command"] == "a; b"
