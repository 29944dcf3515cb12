"""Records of trials in a file are read as they were written, even if the writer was killed at any moment."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import math
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command import COMMAND, complaints, run
from trials import trial

import lstm97
from lstm97.paper import Records, describe_run, read_records
from lstm97.paper.trials.records import key_of

RUN = {"command": "lstm97 reproduce", "version": "1"}


NO_SEQUENCE = trial(
    seed=4, solved=False, diverged='too large, "für immer"\nat step 3', sequences=0, train_error=None, curve=()
)
EVERY = [
    trial(),
    trial(seed=2, solved=False, stages={}, grown=()),
    trial(row="1-1", test_sequences=0, test_wrong=None, test_error=None),
    NO_SEQUENCE,
    trial(reading="a reading", seed=10**12),
    trial(max_sequences=5001),
]


def written(path, trials=EVERY, run=RUN):
    with Records(path, run) as records:
        for one in trials:
            records.add(one)
    return path


def as_text(trials):
    """The trials without their times, as text."""
    times = ("seconds", "train_seconds", "draw_seconds", "steps_per_second")
    return [repr(dataclasses.replace(one, **dict.fromkeys(times, 0.0))) for one in trials]


# ---- writing and reading ----


def test_trials_are_read_as_they_were_written(tmp_path):
    path = written(tmp_path / "records")
    trials, runs = read_records(path)
    assert as_text(trials) == as_text(EVERY)
    assert runs == [RUN]
    with Records(path, RUN) as records:
        assert list(records.trials) == [key_of(one) for one in EVERY]
        assert as_text(records.trials.values()) == as_text(EVERY)
    assert (trials[0], trials[0].grown, trials[0].curve) == (EVERY[0], (100, 250), (0.5, 1e-17, 1 / 3))
    assert trials[3].train_error is None


def test_nan_and_infinity_are_not_written(tmp_path):
    with Records(tmp_path / "records", RUN) as records, pytest.raises(ValueError, match="not JSON compliant"):
        records.add(trial(train_error=math.nan))
    assert (tmp_path / "records").read_bytes() == b""


@pytest.mark.parametrize("content", [b"notes without an end", b"two\nlines", b"{", b'{"ro', b'{"run":{"com'])
def test_only_the_beginning_of_a_record_is_dropped_as_unfinished(tmp_path, content):
    path = tmp_path / "records"
    path.write_bytes(content)
    if content.startswith(b"{"):
        assert read_records(written(path, EVERY[:1]))[1] == [RUN]
        return
    with pytest.raises(ValueError, match=f"^{path}: its last line is not the beginning of a record$"):
        Records(path, RUN)
    assert path.read_bytes() == content


def test_two_writers_cannot_open_the_same_file(tmp_path):
    with Records(tmp_path / "records", RUN), pytest.raises(BlockingIOError, match="another process writes this file"):
        Records(tmp_path / "records", RUN)


def test_row_reading_seed_and_cap_identify_a_trial():
    assert key_of(trial()) == ("3a-100-3", "literal", 1, 5000)
    assert len({key_of(one) for one in EVERY}) == len(EVERY)


def test_every_trial_is_a_line_of_json_behind_the_line_of_its_run(tmp_path):
    path = written(tmp_path / "records")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {"run": RUN}
    assert [line["seed"] for line in lines[1:]] == [one.seed for one in EVERY]


def test_times_are_kept_to_what_can_be_measured(tmp_path):
    times = {"seconds": 1.23456, "train_seconds": 0.00049, "draw_seconds": 2.0, "steps_per_second": 12345.678}
    ((found,), _) = read_records(written(tmp_path / "records", [trial(**times)]))
    assert found.seconds == pytest.approx(1.23456, abs=0.0006)
    assert found.train_seconds == pytest.approx(0.00049, abs=0.0006)
    assert found.steps_per_second == pytest.approx(12345.678, abs=0.6)
    assert found == trial()


def test_a_trial_is_in_the_file_as_soon_as_it_is_added(tmp_path):
    path = tmp_path / "records"
    with Records(path, RUN) as records:
        for n, one in enumerate(EVERY, 1):
            records.add(one)
            assert as_text(read_records(path)[0]) == as_text(EVERY[:n])
            assert as_text(records.trials.values()) == as_text(EVERY[:n])


def test_a_file_that_does_not_exist_is_made_and_read_as_nothing(tmp_path):
    path = tmp_path / "records"
    with pytest.raises(FileNotFoundError):
        read_records(path)
    with Records(path, RUN) as records:
        assert records.trials == {}
    assert read_records(path) == ([], [])


def test_several_files_are_read_as_one_and_of_a_trial_found_twice_the_first_counts(tmp_path):
    first = written(tmp_path / "first", EVERY[:3], {"command": "first"})
    again = dataclasses.replace(EVERY[2], sequences=1)  # the same trial by another build
    second = written(tmp_path / "second", [again, EVERY[4]], {"command": "second"})
    runs = [{"command": "first"}, {"command": "second"}]
    assert read_records(first, second) == ([*EVERY[:3], EVERY[4]], runs)
    assert read_records(second, first) == ([again, EVERY[4], *EVERY[:2]], runs[::-1])
    compressed = tmp_path / "first.jsonl.gz"
    compressed.write_bytes(gzip.compress(first.read_bytes()))
    assert read_records(compressed, second) == read_records(first, second)
    compressed.write_bytes(compressed.read_bytes()[:-20])
    with pytest.raises(ValueError, match=rf"^{re.escape(str(compressed))}: damaged"):
        read_records(compressed)


# ---- runs ----


def test_a_run_is_written_once_and_only_with_its_first_trial(tmp_path):
    path = tmp_path / "records"
    written(path, [], {"command": "nothing"})
    assert path.read_bytes() == b""
    written(path, EVERY[:2], {"command": "first"})
    written(path, [], {"command": "nothing"})
    written(path, EVERY[2:3], {"command": "second"})
    trials, runs = read_records(path)
    assert as_text(trials) == as_text(EVERY[:3])
    assert runs == [{"command": "first"}, {"command": "second"}]
    kinds = ["run" if "run" in json.loads(line) else "trial" for line in path.read_text().splitlines()]
    assert kinds == ["run", "trial", "trial", "run", "trial"]


def test_a_run_names_version_build_and_machine(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = describe_run("lstm97 reproduce 4")
    config = lstm97.show_config()
    assert found["command"] == "lstm97 reproduce 4"
    assert (found["version"], found["build"]) == (config.version, config.build)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["started"])
    assert found["cores"] >= 1
    assert found["processor"]
    here = Path(lstm97.__file__).resolve().parents[2]
    if (here / ".git").exists() and here == Path(__file__).resolve().parents[2]:  # an editable installation
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        assert found["commit"] == head.stdout[:12]
    else:
        assert found["commit"] is None
    assert json.loads(json.dumps(found)) == found


# ---- unfinished and damaged files ----


@pytest.mark.parametrize("n_whole", [0, 1, 2])
def test_an_unfinished_last_line_is_dropped_and_its_trial_appended_again(tmp_path, n_whole):
    """Cut at many bytes of the line of a run (0) and of a trial."""
    path = tmp_path / "records"
    lines = written(path, EVERY[:2]).read_bytes().splitlines(keepends=True)
    before = b"".join(lines[:n_whole])
    n_trials = max(0, n_whole - 1)
    length = len(lines[n_whole])
    for cut in {*range(0, length, 29), 1, length - 2, length - 1}:
        path.write_bytes(before + lines[n_whole][:cut])
        assert read_records(path) == (EVERY[:n_trials], [RUN] if n_whole else [])
        assert path.read_bytes() == before + lines[n_whole][:cut]
        with Records(path, {"command": "again"}) as records:
            assert path.read_bytes() == before
            assert list(records.trials.values()) == EVERY[:n_trials]
            records.add(EVERY[n_trials])
        assert read_records(path) == (EVERY[: n_trials + 1], [RUN, {"command": "again"}][n_whole == 0 :])


LINE = json.loads(json.dumps(dataclasses.asdict(trial())))
DAMAGED = {
    "no JSON": b"{",
    "nothing": b"",
    "zeros": b"\0" * 40,
    "no text": b'{"row":"\xff"}',
    "no record": b"[1, 2]",
    "a number": b"17",
    "a word": b'"word"',
    "null": b"null",
    "half of a line": json.dumps(LINE).encode()[:100],
    "two lines in one": json.dumps(LINE).encode() * 2,
    "one key less": json.dumps({name: value for name, value in LINE.items() if name != "steps"}).encode(),
    "one key more": json.dumps(LINE | {"unheard_of": 1}).encode(),
    "a curve that is none": json.dumps(LINE | {"curve": 3}).encode(),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_line_is_refused_with_its_number_and_the_file_left_alone(tmp_path, damage):
    path = tmp_path / "records"
    lines = written(path).read_bytes().splitlines(keepends=True)
    assert len(lines) == 7
    for number in (1, 3, 8):
        damaged = b"".join([*lines[: number - 1], DAMAGED[damage] + b"\n", *lines[number - 1 :]])
        path.write_bytes(damaged)
        expected = rf"^{re.escape(str(path))}, line {number}: not the record of a trial: "
        with pytest.raises(ValueError, match=expected):
            read_records(path)
        with pytest.raises(ValueError, match=expected):
            Records(path, RUN)
        assert path.read_bytes() == damaged


def test_missing_and_unknown_keys_are_named(tmp_path):
    path = tmp_path / "records"
    for damage, key in (("one key less", "steps"), ("one key more", "unheard_of")):
        path.write_bytes(DAMAGED[damage] + b"\n")
        with pytest.raises(ValueError, match=rf"line 1: .*'{key}'"):
            read_records(path)


# ---- killed ----

ARGUMENTS = ["reproduce", "1-1", "1-5", "6a", "--reading", "literal", "--max-sequences", "3000", "--trials", "4"]
PLANNED = [(row, "literal", seed, 3000) for row in ("1-1", "1-5", "6a") for seed in (1, 2, 3, 4)]


@pytest.mark.slow
def test_a_reproduction_killed_many_times_gives_the_records_of_an_uninterrupted_one(tmp_path):
    whole, path = tmp_path / "whole", tmp_path / "killed"
    assert run(*ARGUMENTS, "--out", whole).returncode == 0
    expected = {key_of(one): one for one in read_records(whole)[0]}
    assert sorted(expected) == sorted(PLANNED)

    rng = random.Random(1)
    kills, sizes = 0, [0]
    while kills < 3:
        command = [*COMMAND, *ARGUMENTS, "--out", path, "--resume", "--jobs", "2"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            # Wait until this process has written something.
            while process.poll() is None and not (path.exists() and path.stat().st_size > sizes[-1]):
                time.sleep(0.001)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0, 0.08))
            process.send_signal(signal.SIGKILL)
        if process.returncode == 0:
            break
        kills += 1
        assert process.returncode == -signal.SIGKILL
        sizes.append(path.stat().st_size)
        so_far = {key_of(one): one for one in read_records(path)[0]}
        assert so_far == {key: expected[key] for key in so_far}
    assert kills > 0
    result = run(*ARGUMENTS, "--out", path, "--resume")
    assert (result.returncode, complaints(result.stderr)) == (0, "")

    trials, runs = read_records(path)
    assert {key_of(one): one for one in trials} == expected
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len([line for line in lines if "run" not in line]) == len(PLANNED)  # no trial is there twice
    assert len(runs) >= 2
    assert all("--resume" in one["command"] for one in runs)
