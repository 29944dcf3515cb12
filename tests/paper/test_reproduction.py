"""Many trials side by side: the same records in threads and with executors, failures, and summaries."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from command import COMMAND, assert_usage_error, complaints, on_a_terminal, read_until, run
from tools import make_times
from trials import RUN, records_of, small, trial
from waiting import HANGS

from lstm97 import Stop
from lstm97.paper import (
    CLOSEST,
    QUICK_TRIALS,
    READINGS,
    Figures,
    Records,
    experiment,
    is_quick,
    plan,
    quick,
    read_records,
    reading_of,
    reproduce,
    run_trial,
    select_rows,
    summaries,
    summarise,
)
from lstm97.paper.trials.estimates import estimate, trial_seconds
from lstm97.paper.trials.records import key_of
from lstm97.paper.trials.summary import wilson

ROW = {row.row: row for row in select_rows([])}


SHORT = [small(12), ROW["1-5"], small(14, stop=Stop(window=50, tolerance=100, mean_error=100))]
"""Two experiments that end at the cap, one that is solved at once."""


@pytest.fixture(scope="module")
def expected():
    """The trials of three seeds, one after the other."""
    trials = [run_trial(one, seed, max_sequences=1200)[1] for one in SHORT for seed in (1, 2, 3)]
    assert [one.solved for one in trials] == [False] * 6 + [True] * 3
    return {key_of(one): one for one in trials}


# ---- the plan ----


def test_the_plan_has_as_many_trials_as_the_paper_made_with_seeds_from_1():
    planned = plan([ROW["6a"], ROW["6b"]])
    assert [(task.experiment.row, task.seed) for task in planned] == [
        *[("6a", seed) for seed in range(1, 21)],
        *[("6b", seed) for seed in range(1, 11)],
    ]
    assert all(task.max_sequences == task.experiment.max_sequences for task in planned)


@pytest.mark.parametrize(("cap", "found"), [(None, (94_170, 222_000)), (100_000, (94_170, 100_000)), (1, (1, 1))])
def test_a_cap_of_the_plan_lowers_that_of_an_experiment_and_never_raises_it(cap, found):
    planned = plan([ROW["6a"], ROW["4-100"]], trials=1, max_sequences=cap)
    assert tuple(task.max_sequences for task in planned) == found
    assert [task.key for task in planned] == [("6a", "literal", 1, found[0]), ("4-100", "literal", 1, found[1])]


# ---- running ----


@pytest.mark.parametrize("jobs", [1, 2, 4, None])
def test_any_number_of_threads_gives_the_same_records(tmp_path, expected, jobs):
    finished = []
    with Records(tmp_path / "records", RUN) as records:
        reproduce(plan(SHORT, trials=3, max_sequences=1200), records, jobs=jobs, finished=finished.append)
        assert records.trials == expected
    assert records_of(tmp_path / "records") == expected
    assert {key_of(one): one for one in finished} == expected
    assert len(finished) == len(expected)


def test_the_environment_sets_the_number_of_threads(tmp_path, monkeypatch):
    monkeypatch.setenv("LSTM97_NUM_THREADS", "3")
    barrier = threading.Barrier(3, timeout=HANGS)  # it breaks unless three trials run at the same time
    with Records(tmp_path / "records", RUN) as records:
        reproduce(plan([small()], trials=3, max_sequences=5), records, progress=lambda *_: barrier.wait())
        assert len(records.trials) == 3


EXECUTORS = {
    "threads": lambda: ThreadPoolExecutor(3),
    "processes": lambda: ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")),
}


@pytest.mark.parametrize("kind", EXECUTORS)
def test_any_executor_gives_the_same_records_and_stays_open(tmp_path, expected, kind):
    with EXECUTORS[kind]() as executor, Records(tmp_path / "records", RUN) as records:
        reproduce(plan(SHORT, trials=3, max_sequences=1200), records, executor=executor)
        assert executor.submit(abs, -1).result() == 1
    assert records_of(tmp_path / "records") == expected


def test_trials_with_a_record_are_not_run_again(tmp_path, expected):
    path = tmp_path / "records"
    for n, seeds in ((1, {1}), (1, set()), (3, {2, 3}), (2, set())):
        finished, begun = [], set()
        with Records(path, RUN) as records:
            reproduce(
                plan(SHORT, trials=n, max_sequences=1200),
                records,
                jobs=2,
                progress=lambda task, _, begun=begun: begun.add(task.key),
                finished=finished.append,
            )
        assert {(one.row, one.seed) for one in finished} == {(one.row, seed) for one in SHORT for seed in seeds}
        assert len(finished) == len(SHORT) * len(seeds)
        assert begun == {key_of(one) for one in finished}
    assert records_of(path) == expected
    assert len(read_records(path)[1]) == 2  # only runs that added trials


def test_trials_with_other_caps_and_readings_are_other_trials(tmp_path):
    with Records(tmp_path / "records", RUN) as records:
        for cap in (30, 40, None):
            for reading in READINGS["adding"][:2]:
                one = dataclasses.replace(reading.apply(small()), max_sequences=50)
                reproduce(plan([one], trials=1, max_sequences=cap), records, jobs=1)
        assert len(records.trials) == 6
        for (row, reading, seed, cap), one in records.trials.items():
            assert (one.row, one.reading, one.seed, one.sequences) == (row, reading, seed, cap)


def test_progress_comes_from_every_trial_with_its_own_task(tmp_path):
    seen = {}
    planned = plan([small(12), small(14)], trials=2, max_sequences=2300)
    with Records(tmp_path / "records", RUN) as records:
        reproduce(planned, records, jobs=2, progress=lambda task, now: seen.setdefault(task.key, []).append(now))
        assert {key: [now.sequences for now in each] for key, each in seen.items()} == {
            task.key: [1000, 2000, 2300] for task in planned
        }
        assert {key: each[-1].steps for key, each in seen.items()} == {
            key: one.steps for key, one in records.trials.items()
        }


def test_an_empty_plan_writes_nothing(tmp_path):
    with Records(tmp_path / "records", RUN) as records:
        reproduce([], records)
    assert (tmp_path / "records").read_bytes() == b""


# ---- failures ----


def bad():
    """An experiment that cannot be run."""
    return small(13, learning_rate=-1.0)


LONG = 10**7  # more sequences than any test waits for


def test_an_exception_in_one_trial_ends_all_and_keeps_the_records_so_far(tmp_path):
    planned = [
        *plan([small()], trials=1, max_sequences=100),
        *plan([bad()], trials=1),
        *plan([small(50, max_sequences=LONG, stop=Stop(tolerance=0.0))], trials=20),
    ]
    begun = set()
    with Records(tmp_path / "records", RUN) as records, pytest.raises(ValueError, match="learning_rate"):
        reproduce(planned, records, jobs=1, progress=lambda task, _: begun.add(task.key))
    assert list(records_of(tmp_path / "records")) == [planned[0].key]
    assert len(begun) < len(planned) - 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


class Reluctant(Executor):
    """Runs the first n tasks at once and never runs the others."""

    def __init__(self, n):
        self.n = n
        self.futures = []

    def submit(self, function, /, *arguments, **options):
        future = Future()
        self.futures.append(future)
        if len(self.futures) <= self.n:
            try:
                future.set_result(function(*arguments, **options))
            except Exception as error:
                future.set_exception(error)
        return future


def test_an_exception_cancels_tasks_that_wait_in_a_users_executor(tmp_path):
    planned = [*plan([bad()], trials=1), *plan([small()], trials=5)]
    executor = Reluctant(1)
    with Records(tmp_path / "records", RUN) as records, pytest.raises(ValueError, match="learning_rate"):
        reproduce(planned, records, executor=executor)
    assert [future.cancelled() for future in executor.futures] == [False] + [True] * 5
    assert records_of(tmp_path / "records") == {}


def test_an_executor_that_takes_no_more_tasks_gets_the_others_cancelled(tmp_path):
    class Full(Reluctant):
        def submit(self, function, /, *arguments, **options):
            if len(self.futures) == 2:
                raise RuntimeError("no more")
            return super().submit(function, *arguments, **options)

    executor, planned = Full(1), plan([small()], trials=3, max_sequences=5)
    with Records(tmp_path / "records", RUN) as records, pytest.raises(RuntimeError, match=r"^no more$"):
        reproduce(planned, records, executor=executor)
    assert [future.cancelled() for future in executor.futures] == [False, True]
    assert list(records_of(tmp_path / "records")) == [planned[0].key]


@pytest.mark.parametrize("error", [TimeoutError, ConnectionError, ZeroDivisionError])
def test_trials_that_ended_are_recorded_when_an_executor_fails(tmp_path, error):
    """Dask, for example, raises an OSError when it loses its workers."""

    class Lost(Reluctant):
        def submit(self, function, /, *arguments, **options):
            future = super().submit(function, *arguments, **options)
            if len(self.futures) == 2:
                future.set_exception(error("lost"))
            return future

    executor, planned = Lost(1), plan([small()], trials=3, max_sequences=5)
    with Records(tmp_path / "records", RUN) as records, pytest.raises(error, match=r"^lost$"):
        reproduce(planned, records, executor=executor)
    assert [future.cancelled() for future in executor.futures] == [False, False, True]
    assert list(records_of(tmp_path / "records")) == [planned[0].key]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["progress", "finished"])
def test_an_exception_from_a_callback_ends_all(tmp_path, name, error):
    def callback(*arguments):
        raise error("enough")

    planned = [
        *plan([small()], trials=1, max_sequences=100),
        *plan([small(50, max_sequences=LONG, stop=Stop(tolerance=0.0))], trials=20),
    ]
    with Records(tmp_path / "records", RUN) as records, pytest.raises(error, match=r"^enough$"):
        reproduce(planned, records, jobs=2, **{name: callback})
    # A finished trial is recorded before the callback is called.
    assert list(records_of(tmp_path / "records")) == ([planned[0].key] if name == "finished" else [])


def test_a_record_that_cannot_be_written_ends_all(tmp_path, monkeypatch):
    def full(_):
        raise OSError("no space left")

    planned = plan([small(50, max_sequences=LONG, stop=Stop(tolerance=0.0))], trials=20)
    planned += plan([small()], trials=1, max_sequences=100)
    with Records(tmp_path / "records", RUN) as records:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            reproduce([planned[-1], *planned[:-1]], records, jobs=2)
    assert records.trials == {}


def test_a_trial_that_diverges_is_a_record_like_others(tmp_path):
    topology = dataclasses.replace(small().topology, output="identity")
    diverging = small(13, topology=topology, learning_rate=1e3)
    with Records(tmp_path / "records", RUN) as records:
        reproduce(plan([diverging, small()], trials=2, max_sequences=500), records, jobs=2)
    found = read_records(tmp_path / "records")[0]
    assert sorted((one.lag, one.diverged is not None) for one in found) == [(12, False)] * 2 + [(13, True)] * 2


# ---- the quick tier ----


def test_rows_of_the_quick_tier_are_those_of_little_work():
    """The paper's mean number of sequences times T is 20 million steps or less, and a trial ends at twice that."""
    slow = {"3a-1000-3", "3b-1000-1", "3c-100-3", "3c-100-1", "4-500", "4-1000", "5-140", "5-13", "6b"}
    slow |= {f"2c-1000-{p}" for p in (1000, 500, 200, 100, 50)}
    assert {name for name, row in ROW.items() if not is_quick(row)} == slow
    assert not is_quick(experiment("adding", 20))  # the paper gives no number for this lag
    assert quick(ROW["2b"]).max_sequences == 400_000
    assert quick(ROW["4-100"]) == ROW["4-100"]


@pytest.mark.parametrize(("name", "value"), [("trials", 0), ("trials", -1), ("max_sequences", 0)])
def test_a_plan_refuses_numbers_below_1(name, value):
    with pytest.raises(ValueError, match=f"^{name} is {value}, expected 1 or more$"):
        plan(SHORT, **{name: value})


def test_options_without_effect_are_refused(tmp_path):
    with Records(tmp_path / "records", RUN) as records, ThreadPoolExecutor(1) as executor:
        with pytest.raises(ValueError, match=r"^jobs is 0, expected 1 or more$"):
            reproduce(plan(SHORT), records, jobs=0)
        for options in ({"jobs": 1}, {"progress": print}):
            with pytest.raises(ValueError, match="not for an executor of one's own"):
                reproduce(plan(SHORT), records, executor=executor, **options)
    assert (tmp_path / "records").read_bytes() == b""


def test_trials_that_ended_while_another_failed_are_recorded(tmp_path):
    """One trial fails when the other has begun; the other ends by itself before it is asked to."""
    began, failed = threading.Event(), threading.Event()

    def watch(task, so_far):
        if task.seed == 1:
            assert began.wait(HANGS)
            failed.set()
            raise RuntimeError("no more")
        began.set()
        assert failed.wait(HANGS)

    one = dataclasses.replace(small(), max_sequences=5)
    with Records(tmp_path / "records", RUN) as records:
        with pytest.raises(RuntimeError, match="no more"):
            reproduce(plan([one], trials=2), records, jobs=2, progress=watch)
        assert [key[2] for key in records.trials] == [2]
    assert list(records_of(tmp_path / "records")) == [("4-12", "literal", 2, 5)]


# ---- summaries ----


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (9, 10, 0.59585, 0.98212),
        (10, 10, 0.72247, 1.0),
        (0, 10, 0.0, 0.27753),
        (5, 10, 0.23659, 0.76341),
        (1, 1, 0.20655, 1.0),
        (29, 30, 0.83330, 0.99409),
    ],
)
def test_wilson_interval_against_known_values(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-5)


@pytest.mark.parametrize("n", [1, 2, 10, 30])
def test_the_found_share_is_1_96_deviations_from_both_ends_of_the_wilson_interval(n):
    """For each end p, the found share is 1.96 standard deviations sqrt(p (1 - p) / n) away from p."""
    for successes in range(n + 1):
        share = successes / n
        low, high = wilson(successes, n)
        assert 0 <= low <= share + 1e-12
        assert share - 1e-12 <= high <= 1
        for p in (low, high)[successes == 0 : 1 + (successes < n)]:  # leaves out ends at 0 or 1
            assert abs(share - p) == pytest.approx(1.959964 * math.sqrt(p * (1 - p) / n), rel=1e-5)
        assert (low < 1e-12) == (successes == 0)
        assert (high > 1 - 1e-12) == (successes == n)


SOLVED = [
    trial(seed=1, sequences=1000, stages={"ST1": 400, "ST2": 1000}, test_wrong=3, test_error=0.01, steps=10),
    trial(seed=2, sequences=4000, stages={"ST1": 500, "ST2": 4000}, test_wrong=0, test_error=0.03, steps=20),
    trial(seed=3, sequences=2500, stages={"ST1": 2400, "ST2": 2500}, test_wrong=0, test_error=0.05, steps=30),
]
FAILED = [
    trial(seed=4, solved=False, sequences=5000, stages={"ST1": 4999}, test_wrong=900, test_error=0.4, steps=40),
    trial(seed=5, solved=False, sequences=7, stages={}, diverged="all of it", test_wrong=None, test_error=None),
]


def test_a_summary_by_hand():
    summary = summarise([FAILED[0], *SOLVED, FAILED[1]], Figures(sequences=5000))
    assert (summary.row, summary.reading, summary.max_sequences) == ("3a-100-3", "literal", 5000)
    assert (summary.trials, summary.solved, summary.diverged) == (5, 3, 1)
    assert summary.interval == wilson(3, 5)
    assert (summary.mean, summary.median, summary.least, summary.most) == (2500, 2500, 1000, 4000)
    assert summary.ratio == 0.5
    assert summary.first_stage == pytest.approx((400 + 500 + 2400) / 3)
    assert summary.wrong == 1
    assert summary.test_error == pytest.approx(0.03)
    assert summary.test_sequences == 2560
    assert summary.steps == 10 + 20 + 30 + 40 + 314_159
    assert (summary.seconds, summary.train_seconds, summary.draw_seconds) == (5 * 1.25, 5 * 1.0, 5 * 0.125)


def test_the_median_of_an_even_number_lies_between_the_middle_two():
    summary = summarise([*SOLVED, dataclasses.replace(SOLVED[0], sequences=1500)], None)
    assert (summary.median, summary.mean) == (2000, 2250)


def test_figures_without_data_are_nan():
    none_solved = summarise(FAILED, Figures(sequences=5000))
    assert (none_solved.solved, none_solved.interval[0]) == (0, 0)
    for name in ("mean", "median", "least", "most", "ratio", "first_stage", "wrong", "test_error"):
        assert math.isnan(getattr(none_solved, name))
    without_the_paper = summarise(SOLVED, None)
    assert math.isnan(without_the_paper.ratio)
    one_stage = [dataclasses.replace(one, stages={"solved": 9}, test_wrong=None, test_error=None) for one in SOLVED]
    without_tests = summarise(one_stage, Figures(sequences=2500))
    assert math.isnan(without_tests.first_stage)
    assert math.isnan(without_tests.wrong)
    assert math.isnan(without_tests.test_error)
    assert without_tests.ratio == 1


def test_summaries_come_in_the_order_of_the_experiments():
    other = dataclasses.replace(SOLVED[0], reading="other", sequences=77)
    experiments = [
        ROW["6a"],
        dataclasses.replace(ROW["3a-100-3"], reading="other"),
        ROW["3a-100-3"],
        dataclasses.replace(ROW["3a-100-3"], reading="never tried"),
    ]
    found = summaries([*SOLVED, other], experiments)
    assert [one for _, one in found] == experiments[1:3]
    assert [(summary.reading, summary.trials, summary.mean) for summary, _ in found] == [
        ("other", 1, 77),
        ("literal", 3, 2500),
    ]
    assert found[1][0] == summarise(SOLVED, ROW["3a-100-3"].paper)


# ---- the commands ----


def table_of(result):
    """Rows of the table a command printed, by row and reading."""
    assert (result.returncode, complaints(result.stderr)) == (0, "")
    lines = [line.split() for line in result.stdout.split("\n\n")[0].splitlines()]
    assert lines[0] == ["row", "reading", "solved", "mean", "median", "least", "most", "paper", "ratio", "wrong"]
    return {(line[0], line[1]): line[2:] for line in lines[1:]}


def test_reproduce_shows_a_table_of_what_it_recorded(tmp_path):
    out = tmp_path / "records"
    arguments = ("reproduce", "4-100", "1-5", "--reading", "literal", "--max-sequences", 1000, "--trials", 2)
    result = run(*arguments, "--jobs", 2, "--out", out)
    found = records_of(out)
    assert sorted(found) == [(row, "literal", seed, 1000) for row in ("1-5", "4-100") for seed in (1, 2)]
    assert found["4-100", "literal", 2, 1000] == run_trial(ROW["4-100"], 2, max_sequences=1000)[1]
    assert table_of(result) == {
        ("1-5", "literal"): ["0", "of", "2", "8,440"],
        ("4-100", "literal"): ["0", "of", "2", "74,000"],
    }
    n_steps = sum(one.steps for one in found.values())
    assert f"{n_steps:,} training steps; 4 of 4 trials run now" in result.stdout

    again = run(*arguments, "--out", out, "--resume")
    assert table_of(again) == table_of(result)
    assert "; 0 of 4 trials run now" in again.stdout
    assert records_of(out) == found


def test_reproduce_shows_counts_of_solved_trials(tmp_path):
    """The records are made up, so that their figures are known."""
    out = tmp_path / "records"
    counts = {1: 30_000, 2: 120_000, 3: 222_000}
    with Records(out, RUN) as records:
        for seed, sequences in counts.items():
            solved = seed < 3
            records.add(
                trial(
                    row="4-100",
                    task="adding",
                    seed=seed,
                    max_sequences=222_000,
                    solved=solved,
                    sequences=sequences,
                    test_wrong=seed,
                )
            )
    result = run("reproduce", "4-100", "--reading", "literal", "--trials", 3, "--resume", "--out", out)
    figures = ["2", "of", "3", "75,000", "75,000", "30,000", "120,000", "74,000", "1.01", "1.5"]
    assert table_of(result) == {("4-100", "literal"): figures}


def test_reproduce_runs_the_literal_and_the_closest_reading_by_default(tmp_path):
    out = tmp_path / "records"
    table = table_of(run("reproduce", "4", "6", "--quick", "--max-sequences", 5, "--out", out))
    expected = [
        (row, reading)
        for row in ("4-100", "6a")
        for reading in dict.fromkeys(["literal", reading_of(ROW[row].task, CLOSEST).name])
    ]
    assert list(table) == expected
    assert sorted(records_of(out)) == sorted((*key, seed, 5) for key in expected for seed in range(1, QUICK_TRIALS + 1))


def test_readings_runs_a_task_in_every_reading(tmp_path):
    out = tmp_path / "records"
    table = table_of(run("readings", "adding", "--trials", 1, "--max-sequences", 5, "--out", out))
    assert list(table) == [("4-100", reading.name) for reading in READINGS["adding"]]
    out = tmp_path / "of all rows"
    table = table_of(run("readings", "6", "--all-rows", "--trials", 1, "--max-sequences", 5, "--out", out))
    assert list(table) == [(row, one.name) for row in ("6a", "6b") for one in READINGS[ROW[row].task]]


@pytest.mark.parametrize("command", ["reproduce", "readings"])
def test_an_existing_file_is_left_alone_without_resume(tmp_path, command):
    out = tmp_path / "records"
    out.write_text("precious\n")
    result = run(command, "4-100", "--max-sequences", 1, "--trials", 1, "--out", out)
    assert_usage_error(result, str(out), "exists", "--resume", "--out")
    assert out.read_text() == "precious\n"


def test_a_damaged_file_is_named_in_one_line(tmp_path):
    out = tmp_path / "records"
    out.write_text("precious\n")
    result = run("reproduce", "4-100", "--max-sequences", 1, "--trials", 1, "--out", out, "--resume")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {out}, line 1: not the record of a trial: ")
    assert result.stderr.count("\n") == 1
    assert out.read_text() == "precious\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reproduce", "7"], ["there is no row '7'", "4-100"]),
        (["reproduce", "4-100", "4-10"], ["there is no row '4-10'"]),
        (["readings", "x"], ["there is no row 'x'"]),
        (["readings"], ["TASK"]),
        (["reproduce", "4-100", "--reading", "x"], ["--reading", "adding", "'x'", "'literal'"]),
        (["reproduce", "4-100", "--reading", "literal", "--reading", "x"], ["--reading", "'x'"]),
        (["reproduce", "4-100", "--trials", "0"], ["--trials"]),
        (["reproduce", "4-100", "--jobs", "0"], ["--jobs"]),
        (["reproduce", "4-100", "--max-sequences", "0"], ["--max-sequences"]),
        (["reproduce", "4-100", "--out", "no/such/folder/file"], ["--out", "does not exist"]),
    ],
)
def test_usage_errors_leave_no_file(tmp_path, arguments, words):
    # With this cap a command that is wrongly accepted ends soon.
    arguments = [*arguments, "--max-sequences", "1"] if "--max-sequences" not in arguments else arguments
    assert_usage_error(run(*arguments, cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []


def test_the_live_line_stays_between_trials(tmp_path):
    arguments = ["reproduce", "1-5", "3b-1000-1", "--reading", "literal", "--trials", "1", "--max-sequences", "5000"]
    with on_a_terminal(*arguments, "--jobs", "1", "--out", tmp_path / "records") as (process, terminal):
        lines = read_until(terminal).decode().split("\r")
        assert process.wait(timeout=HANGS) == 0
    found = {line.partition(": ")[2].partition(" sequences")[0] for line in lines if line.startswith("1 of 2 trials")}
    assert len(found & {f"{n},000" for n in range(1, 6)}) > 1
    assert lines[-1].strip() == ""  # the line was erased


def test_ctrl_c_ends_a_reproduction_with_status_130_and_its_records_whole(tmp_path):
    out = tmp_path / "records"
    # The trials of the first row are short, those of the second longer than the test waits.
    arguments = ["reproduce", "1-5", "3b-1000-1", "--reading", "literal", "--trials", "3", "--max-sequences", "30000"]
    command = [*COMMAND, *arguments, "--jobs", "3", "--out", out]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (out.exists() and len(records_of(out)) >= 3):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=HANGS)
    assert (process.returncode, stdout) == (130, "")
    assert complaints(stderr) == f"lstm97: what is done is in {out}; --resume goes on with it\nlstm97: interrupted\n"
    assert out.read_bytes().endswith(b"\n")
    found = records_of(out)
    assert sorted(found) == [("1-5", "literal", seed, 30_000) for seed in (1, 2, 3)]
    assert found["1-5", "literal", 3, 30_000] == run_trial(ROW["1-5"], 3, max_sequences=30_000)[1]


# ---- estimates ----


def test_every_trial_has_a_line_where_there_is_no_terminal(tmp_path):
    out = tmp_path / "records"
    arguments = ("reproduce", "6a", "--reading", "literal", "--max-sequences", 3000, "--jobs", 1, "--out", out)
    first, *lines = run(*arguments, "--trials", 2).stderr.splitlines()
    assert re.fullmatch(r"2 of 2 trials to run: about 1 s on one core, as recorded trials took \(.*\)", first)
    for i, line in enumerate(lines, 1):
        assert re.fullmatch(
            rf"{i} of 2 trials: 6a literal, seed {i}: not solved after 3,000 sequences, \d+\.\d s", line
        )
    assert len(lines) == 2
    first, *lines = run(*arguments, "--trials", 3, "--resume").stderr.splitlines()
    assert first.startswith("1 of 3 trials to run: ")
    assert len(lines) == 1
    assert run(*arguments, "--trials", 3, "--resume").stderr == "All 3 trials have their records.\n"


def test_the_times_are_those_of_the_records():
    assert make_times.TARGET.read_text() == make_times.table(make_times.ROOT)


def test_recorded_trials_are_estimated_as_recorded():
    trials, _ = read_records(make_times.ROOT / "docs" / "records" / "reproduction-2026-11.jsonl.gz")
    groups = {}
    for one in trials:
        groups.setdefault((one.row, one.reading), []).append(one)
    rows = {row.row: row for row in select_rows([])}
    checked = 0
    for (row, reading), found in groups.items():
        caps = {one.max_sequences for one in found}
        row_read = reading_of(rows[row].task, reading).apply(rows[row])
        if len(caps) == 1 and len(found) >= row_read.trials:
            took = statistics.fmean(one.seconds for one in found)
            assert trial_seconds(row_read, caps.pop()) == pytest.approx(took, rel=0.15)
            checked += 1
    assert checked > 30


def test_estimates_of_trials_add_up():
    rows = {row.row: row for row in select_rows([])}
    planned = plan([rows["6a"], rows["4-1000"]], trials=3)
    found = estimate(planned)
    each = [trial_seconds(rows[row], rows[row].max_sequences) for row in ("6a", "4-1000")]
    assert found.seconds == pytest.approx(3 * sum(each))
    assert found.longest == each[1]
    assert found.side_by_side(2) == pytest.approx(1.5 * sum(each))
    assert found.side_by_side(100) == each[1]
    unknown = dataclasses.replace(rows["6a"], row="of our own")
    assert estimate(plan([unknown, rows["6a"]], trials=2)).unknown == 2
    assert trial_seconds(rows["4-1000"], 1000) < trial_seconds(rows["4-1000"], 100_000)
