"""The methods other than LSTM: their rows of the paper, and every task by every method."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from command import run

from lstm97 import Network, Stop
from lstm97.methods import METHODS as LEARNERS
from lstm97.methods import load
from lstm97.paper import COMPARISONS, LITERAL, LSTM, METHODS, ROWS, learned_by, run_trial, select_rows, with_method
from lstm97.paper.tables.comparisons import BIASED, FAILING_ROWS, FOUR_UNITS, GRAMMAR_ROWS, LONG_LAG_ROWS, WHOLE_STATE
from lstm97.paper.tables.experiments import StopByTests
from lstm97.paper.trials.reproduction import is_quick, plan

EVERY = {(row.row, row.reading): row for row in COMPARISONS}


def literal(name):
    return EVERY[name, LITERAL]


# ---- the rows, by the paper's figures ----


@pytest.mark.parametrize(
    ("name", "weights", "alpha"),
    [
        ("1-rtrl-3", 170, 0.05),
        ("1-rtrl-12", 494, 0.1),
        ("1-elman-15", 435, 0.1),
        *((f"2a-4-rtrl-{alpha}", 36, alpha) for alpha in (1, 4, 10)),
        *((f"2a-10-rtrl-{alpha}", 144, alpha) for alpha in (1, 4, 10)),
        *((f"2a-100-{method}-{alpha}", 10404, alpha) for method in ("rtrl", "bptt") for alpha in (1, 4, 10)),
        ("2b-rtrl", 10404, 1),
        ("2b-bptt", 10404, 1),
    ],
)
def test_nets_have_the_papers_weights_and_alpha(name, weights, alpha):
    row = literal(name)
    assert row.topology.n_weights == weights
    assert row.learning_rate == alpha
    assert row.init_range == 0.2


def test_the_chunkers_net_with_an_output_more_has_the_papers_weights():
    nets = literal("2a-100-chunker-1").topology
    assert (nets.automatizer.n_weights, nets.chunker.n_weights) == (10506, 10404)


def test_the_papers_figures_are_those_of_tables_1_and_2():
    figures = {row.row: (row.paper.solved, row.paper.sequences) for row in (*GRAMMAR_ROWS, *LONG_LAG_ROWS)}
    assert figures["1-rtrl-3"] == (None, 173_000)
    assert figures["1-rtrl-12"] == (None, 25_000)
    assert figures["1-elman-15"] == (0.0, None)
    assert figures["1-rcc"] == (0.5, 182_000)
    assert [figures[f"2a-4-rtrl-{alpha}"] for alpha in (1, 4, 10)] == [
        (0.78, 1_043_000),
        (0.56, 892_000),
        (0.22, 254_000),
    ]
    assert figures["2a-100-chunker-1"] == (0.33, 32_400)
    assert {figures[row.row] for row in LONG_LAG_ROWS if row.lag > 4 and row.method != "chunker"} == {(0.0, None)}
    assert {row.trials for row in LONG_LAG_ROWS} == {18}


def test_all_methods_are_run_where_the_paper_says_that_they_fail():
    assert [row.row for row in FAILING_ROWS] == [
        f"{name}-{method}" for name in ("2b", "3a-100-3", "4-100") for method in METHODS
    ]
    assert {row.max_sequences for row in FAILING_ROWS} == {100_000}


def test_a_biased_net_has_a_weight_more_for_each_unit():
    assert EVERY["2a-4-rtrl-1", BIASED].topology.n_weights == 36 + 6
    assert EVERY["2a-10-rtrl-10", BIASED].topology.n_weights == 144 + 12


def test_biases_make_four_symbols_easy():
    _, trial = run_trial(EVERY["2a-4-rtrl-1", BIASED], 1)
    assert trial.solved
    assert trial.sequences < 500_000


def test_readings_of_the_chunker_change_what_they_say():
    plain, whole, four = (EVERY["2a-100-chunker-1", name] for name in (LITERAL, WHOLE_STATE, FOUR_UNITS))
    assert plain.topology.imitated == "hidden"
    assert (whole.topology.imitated, whole.topology.n_hidden, whole.init_range) == ("state", 1, 0.2)
    assert (four.topology.imitated, four.topology.n_hidden, four.init_range) == ("state", 4, 1.0)


# ---- any task by any method ----


@pytest.mark.parametrize("row", [rows[0] for rows in ROWS.values()], ids=list(ROWS))
@pytest.mark.parametrize("method", METHODS)
def test_every_task_runs_by_every_method(row, method):
    experiment = with_method(row, method)
    cap = experiment.training_set or 100
    learner, trial = run_trial(experiment, 1, max_sequences=cap)
    assert isinstance(learner, LEARNERS[method])
    assert trial.row == f"{row.row}-{method}"
    assert (trial.sequences, trial.max_sequences) == (cap, cap)
    assert trial.diverged is None
    assert np.isfinite(trial.train_error)


def test_a_trial_is_determined_by_its_seed():
    for name in ("2a-4-rtrl-10", "1-rcc"):
        one, again, other = (run_trial(literal(name), seed, max_sequences=2560)[1] for seed in (1, 1, 2))
        assert one == again
        assert one.curve != other.curve


def test_lstm_is_the_row_itself_and_other_names_are_refused():
    (row,) = ROWS["long-lag"]
    assert with_method(row, LSTM) is row
    with pytest.raises(ValueError, match="method is 'gru', expected one of 'lstm', 'rtrl'"):
        with_method(row, "gru")


@pytest.mark.slow
def test_rtrl_solves_four_symbols_with_a_large_alpha():
    _, trial = run_trial(literal("2a-4-rtrl-10"), 5)
    assert trial.solved
    assert isinstance(literal("2a-4-rtrl-10").stop, Stop)
    assert 100_000 < trial.sequences < 5_000_000


@pytest.mark.slow
def test_cascade_solves_the_embedded_grammar_from_a_set_presented_as_a_whole():
    row = literal("1-rcc")
    assert isinstance(row.stop, StopByTests)
    assert row.stop.every % row.training_set == 0
    trials = [run_trial(row, seed, max_sequences=300_000)[1] for seed in range(101, 105)]
    assert any(trial.solved for trial in trials)
    assert all(trial.sequences % 256 == 0 for trial in trials)


# ---- choosing and running them ----


def test_rows_are_chosen_by_method():
    assert all(row.method == LSTM for row in select_rows([]))
    assert select_rows([], METHODS) == list(COMPARISONS)
    assert [row.row for row in select_rows(["1"], ["elman", "rcc"])] == ["1-elman-15", "1-rcc"]
    assert [row.row for row in select_rows(["4-100"], [LSTM, "rtrl"])] == ["4-100", "4-100-rtrl"]
    with pytest.raises(ValueError, match="method is 'gru'"):
        select_rows([], ["gru"])


def test_no_two_trials_have_the_same_key():
    keys = [task.key for task in plan(select_rows([], (LSTM, *METHODS)))]
    assert len(keys) == len(set(keys))


def test_a_row_without_a_mean_is_not_quick():
    assert not is_quick(literal("1-elman-15"))
    assert is_quick(literal("2a-4-rtrl-1"))


def test_the_command_runs_a_task_by_a_method_and_saves_the_learner(tmp_path):
    done = run("run", "long-lag", "--method", "elman", "--max-sequences", 50, "--json", "--out", tmp_path / "net")
    record = json.loads(done.stdout)
    assert (done.returncode, record["method"], record["row"], record["sequences"]) == (1, "elman", "2a-elman", 50)
    assert load(tmp_path / "net").method == "elman"


def test_the_command_runs_any_row_of_a_task():
    done = run("run", "distractors", "--row", "2c-100-100", "--max-sequences", 20)
    assert done.returncode == 1
    assert done.stdout.startswith("Task 2c (distractors), lag 100, reading no-recurrence, seed 1\n")
    assert "31,000" in done.stdout


@pytest.mark.slow
def test_the_papers_own_rows_of_other_methods_are_found():
    for task, method, name in (
        ("embedded-reber", "rtrl", "1-rtrl-12"),
        ("embedded-reber", "rcc", "1-rcc"),
        ("long-lag", "chunker", "2a-100-chunker-1"),
        ("adding", "elman", "4-100-elman"),
    ):
        assert learned_by(ROWS[task][0], method) is literal(name)
    assert learned_by(ROWS["adding"][1], "elman").paper is None
    done = run("run", "long-lag", "--method", "chunker", "--max-sequences", 20)
    assert "32,400" in done.stdout
    done = run("run", "long-lag", "--row", "2a-4-rtrl-1", "--reading", "biased", "--max-sequences", 20)
    assert done.stdout.startswith("Task 2a (long-lag), lag 4, method rtrl, reading biased, seed 1\n")


def test_readings_and_methods_that_a_row_does_not_have_are_refused():
    for arguments, words in (
        (("adding", "--method", "rtrl", "--reading", "swapped-ranges"), "row 4-100-rtrl has no reading"),
        (("long-lag", "--row", "2a-4-rtrl-1", "--method", "elman"), "is learned by rtrl, not by elman"),
        (("long-lag", "--reading", "four-units"), "reading is 'four-units'"),
    ):
        done = run("run", *arguments)
        assert done.returncode == 2, arguments
        assert words in done.stderr


def test_cascades_are_judged_by_fresh_sequences():
    for rows in ROWS.values():
        row = with_method(rows[0], "rcc")
        assert isinstance(row.stop, StopByTests)
        assert row.stop.every % row.training_set == 0
    assert literal("4-100-rcc").stop.n_sequences == 2000
    assert literal("4-100-rcc").stop.stages[0].mean_error == 0.01


def test_reproduce_runs_the_rows_of_methods(tmp_path):
    out = tmp_path / "records.jsonl"
    arguments = ("reproduce", "2a-4-rtrl", "1-elman", "--methods", "all", "--trials", 1, "--max-sequences", 300)
    done = run(*arguments, "--out", out)
    assert done.returncode == 0, done.stderr
    rows = {json.loads(line).get("row") for line in out.read_text().splitlines()} - {None}
    assert rows == {"1-elman-15", *(f"2a-4-rtrl-{alpha}" for alpha in (1, 4, 10))}
    wrong = run("reproduce", "--methods", "rtrl,gru", "--out", tmp_path / "other")
    assert wrong.returncode == 2
    assert "'gru'" in wrong.stderr


def test_networks_and_learners_come_from_the_same_seed_every_time():
    for row in (ROWS["adding"][0], literal("4-100-rtrl"), literal("4-100-rcc")):
        learners = [run_trial(row, 3, max_sequences=row.training_set or 10)[0] for _ in range(2)]
        assert np.array_equal(*(learner.parameters for learner in learners))
        assert isinstance(learners[0], Network) == (row.method == LSTM)


def test_every_combination_of_task_and_method_has_a_name_of_its_own():
    names = [with_method(row, method).row for rows in ROWS.values() for row, method in itertools.product(rows, METHODS)]
    assert len(names) == len(set(names))
