"""The number of threads of a call, from its argument, the environment and the machine."""

from __future__ import annotations

import pytest

from lstm97 import _threads
from lstm97._threads import VARIABLE, cgroup_cpus, thread_count, usable_cpus


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch):
    monkeypatch.setattr(_threads, "available_cpus", lambda: 8)
    monkeypatch.setattr(_threads, "cgroup_cpus", lambda: None)
    for variable in (VARIABLE, "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)


def test_the_argument_counts_first_and_the_environment_second(monkeypatch):
    assert thread_count(None, otherwise=5) == 5
    monkeypatch.setenv(VARIABLE, " 3 ")
    assert thread_count(None, otherwise=5) == 3
    assert thread_count(2, otherwise=5) == 2


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "2,4"])
def test_an_environment_without_a_valid_number_is_refused(monkeypatch, text):
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ValueError, match=f"the environment variable {VARIABLE} is '{text}', expected a number"):
        thread_count(None, otherwise=5)


@pytest.mark.parametrize(
    ("text", "found"), [("", 8), ("2", 2), ("2,4", 2), (" 3 , 1", 3), ("99", 8), ("0", 8), ("many", 8), ("," * 9, 8)]
)
def test_omp_num_threads_can_only_lower_the_number(monkeypatch, text, found):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert usable_cpus() == found


@pytest.mark.parametrize(("granted", "found"), [(None, 8), (3, 3), (64, 8)])
def test_a_container_can_only_lower_the_number(monkeypatch, granted, found):
    monkeypatch.setattr(_threads, "cgroup_cpus", lambda: granted)
    assert usable_cpus() == found
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert usable_cpus() == 2


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu.max": "\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "350000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "350000\n"}, None),
    ],
)
def test_the_quota_of_a_control_group_is_rounded_up(tmp_path, files, found):
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert cgroup_cpus(tmp_path) == found
