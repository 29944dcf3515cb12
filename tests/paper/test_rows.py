"""The rows of the paper's result tables against figures typed again from the paper; selection of rows and readings."""

from __future__ import annotations

import dataclasses
import math
import pickle

import pytest

from lstm97 import Stop, Topology
from lstm97.paper import (
    CLOSEST,
    LITERAL,
    READINGS,
    ROWS,
    Figures,
    Reading,
    StopByTests,
    experiment,
    reading_of,
    run_trial,
    select_rows,
)

EVERY = [row for rows in ROWS.values() for row in rows]
BY_NAME = {row.row: row for row in EVERY}

# Section 3 of the paper. By row, or by task for several rows: blocks, inputs, outputs, weights, biased units, biases of
# the output gates and of the input gates, alpha, initial range.
NETWORKS = {
    "1-1": ((1, 1, 1, 1), 7, 7, 264, "gates", (-1, -2, -3, -4), None, 0.1, 0.2),
    "1-2": ((2, 2, 2), 7, 7, 276, "gates", (-1, -2, -3), None, 0.1, 0.2),
    "1-3": ((2, 2, 2), 7, 7, 276, "gates", (-1, -2, -3), None, 0.2, 0.2),
    "1-4": ((1, 1, 1, 1), 7, 7, 264, "gates", (-1, -2, -3, -4), None, 0.5, 0.2),
    "1-5": ((2, 2, 2), 7, 7, 276, "gates", (-1, -2, -3), None, 0.5, 0.2),
    "2a": ((1,), 101, 101, 10504, "none", None, None, 1.0, 0.2),
    "2b": ((1,), 101, 101, 10504, "none", None, None, 1.0, 0.2),
    "2c-50-50": ((1, 1), 54, 2, 364, "none", None, None, 0.01, 0.2),
    "2c-100-100": ((1, 1), 104, 2, 664, "none", None, None, 0.01, 0.2),
    "2c-200-200": ((1, 1), 204, 2, 1264, "none", None, None, 0.01, 0.2),
    "2c-500-500": ((1, 1), 504, 2, 3064, "none", None, None, 0.01, 0.2),
    "2c-1000-1000": ((1, 1), 1004, 2, 6064, "none", None, None, 0.01, 0.2),
    "2c-1000-500": ((1, 1), 504, 2, 3064, "none", None, None, 0.01, 0.2),
    "2c-1000-200": ((1, 1), 204, 2, 1264, "none", None, None, 0.01, 0.2),
    "2c-1000-100": ((1, 1), 104, 2, 664, "none", None, None, 0.01, 0.2),
    "2c-1000-50": ((1, 1), 54, 2, 364, "none", None, None, 0.01, 0.2),
    "3a": ((1, 1, 1), 1, 1, 102, "hidden", (-2, -4, -6), (-1, -3, -5), 1.0, 0.1),
    "3b": ((1, 1, 1), 1, 1, 102, "hidden", (-2, -4, -6), (-1, -3, -5), 1.0, 0.1),
    "3c": ((1, 1, 1), 1, 1, 102, "hidden", (-2, -4, -6), (-1, -3, -5), 0.1, 0.1),
    "4": ((2, 2), 2, 1, 93, "all", None, (-3, -6), 0.5, 0.1),
    "5": ((2, 2), 2, 1, 93, "all", None, None, 0.1, 0.1),
    "6a": ((2, 2), 8, 4, 156, "all", None, (-2, -4), 0.5, 0.1),
    "6b": ((2, 2, 2), 8, 8, 308, "all", None, (-2, -4, -6), 0.1, 0.1),
}

# Section 5. By row: table, T (or p, q), the paper's results.
RESULTS = {
    "1-1": (1, None, Figures(solved=1.0, sequences=39_740)),
    "1-2": (1, None, Figures(solved=1.0, sequences=21_730)),
    "1-3": (1, None, Figures(solved=0.97, sequences=14_060)),
    "1-4": (1, None, Figures(solved=0.97, sequences=9_500)),
    "1-5": (1, None, Figures(solved=1.0, sequences=8_440)),
    "2a": (2, 100, Figures(solved=1.0, sequences=5_040)),
    "2b": (0, 100, Figures(solved=1.0, sequences=5_680)),
    "2c-50-50": (3, 50, Figures(sequences=30_000)),
    "2c-100-100": (3, 100, Figures(sequences=31_000)),
    "2c-200-200": (3, 200, Figures(sequences=33_000)),
    "2c-500-500": (3, 500, Figures(sequences=38_000)),
    "2c-1000-1000": (3, 1000, Figures(sequences=49_000)),
    "2c-1000-500": (3, 1000, Figures(sequences=49_000)),
    "2c-1000-200": (3, 1000, Figures(sequences=75_000)),
    "2c-1000-100": (3, 1000, Figures(sequences=135_000)),
    "2c-1000-50": (3, 1000, Figures(sequences=203_000)),
    "3a-100-3": (4, 100, Figures(first_stage=27_380, sequences=39_850, wrong_share=0.000195)),
    "3a-100-1": (4, 100, Figures(first_stage=58_370, sequences=64_330, wrong_share=0.000117)),
    "3a-1000-3": (4, 1000, Figures(first_stage=446_850, sequences=452_460, wrong_share=0.000078)),
    "3b-100-3": (5, 100, Figures(first_stage=41_740, sequences=43_250, wrong_share=0.00828)),
    "3b-100-1": (5, 100, Figures(first_stage=74_950, sequences=78_430, wrong_share=0.01500)),
    "3b-1000-1": (5, 1000, Figures(first_stage=481_060, sequences=485_080, wrong_share=0.01207)),
    "3c-100-3": (6, 100, Figures(sequences=269_650, wrong_share=0.00558, test_error=0.014)),
    "3c-100-1": (6, 100, Figures(sequences=565_640, wrong_share=0.00441, test_error=0.012)),
    "4-100": (7, 100, Figures(sequences=74_000, wrong=1)),
    "4-500": (7, 500, Figures(sequences=209_000, wrong=0)),
    "4-1000": (7, 1000, Figures(sequences=853_000, wrong=1)),
    "5-140": (8, 100, Figures(sequences=482_000, wrong=139, test_error=0.0223)),
    "5-13": (8, 100, Figures(sequences=1_273_000, wrong=14, test_error=0.0139)),
    "6a": (9, 100, Figures(sequences=31_390, wrong=1)),
    "6b": (9, 100, Figures(sequences=571_100, wrong=2)),
}

# Sections 4 and 5. By task: trials, test sequences, the error above which a sequence is wrong (not for the grammar and
# task 2, which have no such test).
TRIALS = {
    "1": (30, 0, None),
    "2a": (18, 0, None),
    "2b": (18, 0, None),
    "2c": (20, 0, None),
    "3a": (10, 2560, 0.2),
    "3b": (10, 2560, 0.2),
    "3c": (10, 2560, 0.1),
    "4": (10, 2560, 0.04),
    "5": (10, 2560, 0.04),
    "6a": (20, 2560, 0.3),
    "6b": (10, 2560, 0.3),
}


# ---- the tables ----


def test_the_rows_are_those_of_the_paper_in_its_order():
    assert [row.row for row in EVERY] == list(RESULTS)
    assert all(row.task == task for task, rows in ROWS.items() for row in rows)
    assert all(row.row == row.paper_task or row.row.startswith(f"{row.paper_task}-") for row in EVERY)
    assert {row.reading for row in EVERY} == {"literal"}


@pytest.mark.parametrize("name", RESULTS)
def test_network_and_learning_of_every_row(name):
    row = BY_NAME[name]
    network = NETWORKS[name] if name in NETWORKS else NETWORKS[row.paper_task]
    blocks, n_inputs, n_outputs, n_weights, bias, output_gate_bias, input_gate_bias, alpha, init_range = network
    topology = row.topology
    assert (topology.blocks, topology.n_inputs, topology.n_outputs) == (blocks, n_inputs, n_outputs)
    assert (topology.n_weights, topology.bias) == (n_weights, bias)
    assert (row.output_gate_bias, row.input_gate_bias) == (output_gate_bias, input_gate_bias)
    assert (row.learning_rate, row.init_range, row.update) == (alpha, init_range, "step")
    assert (topology.n_hidden, topology.forget_gates, topology.output) == (0, False, "logistic")


@pytest.mark.parametrize("name", RESULTS)
def test_connections_and_squashing_of_every_row(name):
    """F with g and h for all but 2a and 2b: these have B, a logistic g, no h and no output gate."""
    topology = BY_NAME[name].topology
    found = (topology.recurrent, topology.input_to_output, topology.output_gates)
    squashing = (topology.input_squash, topology.output_squash)
    if name in ("2a", "2b"):
        assert (found, squashing) == ((False, True, False), ("logistic", "identity"))
    else:
        assert (found, squashing) == ((True, False, True), ("centered2", "centered"))
        assert topology.gate_sources


@pytest.mark.parametrize("name", RESULTS)
def test_results_of_every_row(name):
    row = BY_NAME[name]
    table, lag, figures = RESULTS[name]
    assert (row.table, row.paper) == (table, figures)
    assert lag is None or row.lag == lag
    n_trials, n_test, tolerance = TRIALS[row.paper_task]
    assert (row.trials, row.test_sequences) == (n_trials, n_test)
    assert tolerance is None or row.test_tolerance == tolerance
    assert row.max_sequences >= 3 * figures.sequences
    if name in ("2a", "2b"):
        assert row.max_sequences == 5_000_000


def test_other_differences_between_the_rows_of_a_task():
    for row in EVERY:
        _, *numbers = row.row.split("-")
        if row.paper_task == "2c":
            assert numbers == [str(row.lag), str(row.parameters["n_distractors"])]
            assert row.topology.n_inputs == row.parameters["n_distractors"] + 4
        elif row.paper_task[0] == "3":
            assert numbers == [str(row.lag), str(row.parameters["n_informative"])]
            assert row.parameters["variant"] == row.paper_task[1]
        elif row.paper_task == "4":
            assert numbers == [str(row.lag)]
        elif row.paper_task[0] == "6":
            assert row.parameters["n_relevant"] == {"6a": 2, "6b": 3}[row.paper_task]


def test_initial_networks_grow_from_nothing_in_tasks_2a_and_2b_only():
    assert {row.row: row.growth.n_blocks for row in EVERY if row.growth} == {"2a": 1, "2b": 1}


# ---- the stop rules ----


def stages_of(row):
    return [(stage.max_wrong, stage.mean_error) for stage in row.stop.stages]


@pytest.mark.parametrize("name", [name for name in RESULTS if name[0] == "1"])
def test_stop_rule_of_task_1_is_no_wrong_string_in_both_sets(name):
    row = BY_NAME[name]
    assert isinstance(row.stop, StopByTests)
    assert row.stop.n_sequences == 256
    assert stages_of(row) == [(0, math.inf)]


def test_stop_rules_of_task_2():
    assert BY_NAME["2a"].stop == Stop(window=10_000, tolerance=0.25, mean_error=math.inf, max_wrong=0)
    by_tests = BY_NAME["2b"].stop
    assert isinstance(by_tests, StopByTests)
    assert (by_tests.n_sequences, by_tests.tolerance, by_tests.last_step) == (10_000, 0.25, True)
    assert stages_of(BY_NAME["2b"]) == [(0, math.inf)]
    for row in ROWS["distractors"]:
        assert row.stop == Stop(window=10_000, tolerance=0.2, mean_error=math.inf, max_wrong=0)
    assert [row.row for row in EVERY if not row.count_window] == ["2a", "2b", *(r.row for r in ROWS["distractors"])]


@pytest.mark.parametrize(
    ("paper_task", "tolerance", "stages"),
    [
        ("3a", 0.2, [(0, math.inf), (0, 0.01)]),
        ("3b", 0.2, [(5, math.inf), (5, 0.04)]),  # "fewer than 6"
        ("3c", 0.1, [(0, 0.015)]),
    ],
)
def test_stop_rules_of_task_3(paper_task, tolerance, stages):
    rows = [row for row in EVERY if row.paper_task == paper_task]
    assert rows
    for row in rows:
        assert isinstance(row.stop, StopByTests)
        assert (row.stop.n_sequences, row.stop.tolerance) == (256, tolerance)
        assert stages_of(row) == stages


def test_stop_rules_of_tasks_4_to_6():
    for row in ROWS["adding"]:
        assert row.stop == Stop(window=2000, tolerance=0.04, mean_error=0.01, max_wrong=0)
    # "fewer than n_seq" of the 2000
    assert BY_NAME["5-140"].stop == Stop(window=2000, tolerance=0.04, mean_error=math.inf, max_wrong=139)
    assert BY_NAME["5-13"].stop == Stop(window=2000, tolerance=0.04, mean_error=math.inf, max_wrong=12)
    for name in ("6a", "6b"):
        assert BY_NAME[name].stop == Stop(window=2000, tolerance=0.3, mean_error=0.1, max_wrong=0)


# ---- selecting rows ----


def names_of(*names):
    return [row.row for row in select_rows(names)]


def test_without_a_name_every_row_is_selected():
    assert select_rows([]) == select_rows(iter([])) == EVERY


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("4-100", ["4-100"]),
        ("1-1", ["1-1"]),
        ("4", ["4-100", "4-500", "4-1000"]),
        ("adding", ["4-100", "4-500", "4-1000"]),
        ("1", ["1-1", "1-2", "1-3", "1-4", "1-5"]),
        ("embedded-reber", ["1-1", "1-2", "1-3", "1-4", "1-5"]),
        ("2", [name for name in RESULTS if name[0] == "2"]),
        ("2a", ["2a"]),
        ("long-lag", ["2a"]),
        ("2c", [name for name in RESULTS if name.startswith("2c")]),
        ("2c-1000", ["2c-1000-1000", "2c-1000-500", "2c-1000-200", "2c-1000-100", "2c-1000-50"]),
        ("2c-1000-50", ["2c-1000-50"]),
        ("3a-100", ["3a-100-3", "3a-100-1"]),
        ("two-sequences-noisy", ["3b-100-3", "3b-100-1", "3b-1000-1"]),
        ("3", [name for name in RESULTS if name[0] == "3"]),
        ("5", ["5-140", "5-13"]),
        ("6", ["6a", "6b"]),
    ],
)
def test_rows_are_selected_by_names_their_beginnings_and_tasks(name, rows):
    assert names_of(name) == rows


def test_several_names_give_the_papers_order_and_no_row_twice():
    assert names_of("6b", "4", "1-2", "adding", "4-500") == ["1-2", "4-100", "4-500", "4-1000", "6b"]


@pytest.mark.parametrize("name", ["7", "2c-10", "4-", "4-1", "a", "", "3-100", "Adding", "1-1-1"])
def test_a_name_that_selects_nothing_is_refused(name):
    with pytest.raises(ValueError, match=rf"^there is no row '{name}', expected one of 1-1, 1-2, .*, 6a, 6b$"):
        select_rows(["4", name])


# ---- readings ----

READINGS_OF_ROWS = [(row, reading) for row in EVERY for reading in READINGS[row.task]]


def test_readings_are_of_tasks_that_exist():
    assert set(READINGS) == set(ROWS)


@pytest.mark.parametrize("task", ROWS)
def test_every_task_has_a_literal_reading_that_changes_nothing_and_no_name_twice(task):
    readings = READINGS[task]
    names = [reading.name for reading in readings]
    assert len(set(names)) == len(names)
    assert all(reading.meaning for reading in readings)
    for row in ROWS[task]:
        assert reading_of(task, LITERAL).apply(row) == row
    assert reading_of(task, CLOSEST) in readings
    assert CLOSEST not in names
    for reading in readings:
        assert reading_of(task, reading.name) is reading


@pytest.mark.parametrize(
    ("row", "reading"), READINGS_OF_ROWS, ids=[f"{row.row}-{reading.name}" for row, reading in READINGS_OF_ROWS]
)
def test_every_reading_applies_to_every_row_of_its_task(row, reading):
    changed = reading.apply(row)
    assert changed.reading == reading.name
    assert pickle.loads(pickle.dumps(changed)) == changed
    # A reading does not change the identity of a row, and differs from the literal one in something else.
    for name in ("row", "task", "paper_task", "table", "lag", "trials", "paper"):
        assert getattr(changed, name) == getattr(row, name)
    assert changed.parameters.keys() >= row.parameters.keys()
    assert (dataclasses.replace(changed, reading=LITERAL) == row) == (reading.name == LITERAL)


@pytest.mark.parametrize("task", ROWS)
def test_every_reading_can_be_trained(task):
    for reading in READINGS[task]:
        changed = dataclasses.replace(reading.apply(ROWS[task][0]), test_sequences=1)
        _, trial = run_trial(changed, 1, max_sequences=2)
        assert (trial.reading, trial.sequences, trial.diverged) == (reading.name, 2, None)
        assert trial.train_error > 0


def test_a_reading_changes_what_it_says_and_nothing_else():
    row = BY_NAME["6a"]
    reading = Reading(
        name="mine",
        meaning="",
        topology={"bias": "gates", "output": "identity"},
        settings={"init_range": 0.3, "input_gate_bias": None},
        rate_factor=0.5,
    )
    topology = Topology(8, 4, blocks=(2, 2), bias="gates", output="identity")
    assert reading.apply(row) == dataclasses.replace(
        row, reading="mine", topology=topology, init_range=0.3, input_gate_bias=None, learning_rate=0.25
    )
    with pytest.raises(ValueError, match=r"^experiment is in the reading 'mine', expected 'literal'$"):
        reading.apply(reading.apply(row))
    in_place_of_the_factor = dataclasses.replace(reading, settings={"learning_rate": 0.7})
    assert in_place_of_the_factor.apply(row).learning_rate == 0.7


@pytest.mark.parametrize("changes", [{"tests_every": 5}, {"squared_errors": True}])
def test_a_reading_about_tests_needs_a_row_with_tests(changes):
    reading = Reading(name="mine", meaning="", **changes)
    with pytest.raises(ValueError, match=r"^reading 'mine' .* of tests|^reading 'mine' changes how often tests"):
        reading.apply(BY_NAME["6a"])
    (name, value), stop = next(iter(changes.items())), reading.apply(BY_NAME["3a-100-3"]).stop
    assert {"tests_every": stop.every, "squared_errors": stop.squared}[name] == value


def test_an_unknown_reading_is_refused_and_the_known_ones_are_named():
    with pytest.raises(ValueError, match=r"^reading is 'x', expected one of .*'literal'") as caught:
        reading_of("adding", "x")
    for reading in READINGS["adding"]:
        assert repr(reading.name) in str(caught.value)


# ---- the adding problem at any lag ----


def test_experiment_without_a_reading_is_the_closest_one():
    for row in ROWS["adding"]:
        assert experiment("adding", row.lag, LITERAL) == row
        assert (
            experiment("adding", row.lag)
            == experiment("adding", row.lag, CLOSEST)
            == reading_of("adding", "unbiased-linear-output").apply(row)
        )
        linear = experiment("adding", row.lag, "linear-output")
        assert linear == dataclasses.replace(
            row, reading="linear-output", topology=dataclasses.replace(row.topology, output="identity")
        )


@pytest.mark.parametrize(("lag", "row"), [(20, 100), (299, 100), (300, 500), (749, 500), (750, 1000), (9999, 1000)])
def test_a_lag_without_row_is_like_the_nearest_row(lag, row):
    expected = dataclasses.replace(experiment("adding", row), row=f"4-{lag}", lag=lag, paper=None)
    assert experiment("adding", lag) == expected


def test_experiment_names_the_known_rows():
    with pytest.raises(ValueError, match=r"^task is 'adding up', expected one of 'adding'$"):
        experiment("adding up", 100)
    with pytest.raises(ValueError, match=r"^reading is 'x', expected one of .*'literal'"):
        experiment("adding", 100, "x")
