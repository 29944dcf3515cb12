"""The package is a safe part of a host process: floating-point unit, forks, signals, exit, effects of the import."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from compare import TOLERANCE, assert_close
from compiling import compiler
from waiting import HANGS

from lstm97._kernel import builds

pytestmark = pytest.mark.xdist_group("host")

HERE = Path(__file__).parent
BUILDS = builds.runnable()
CAN_TRAP = platform.machine() == "x86_64"
MODES = ("", "round_upward", "round_downward", "round_to_zero", "flush", *["trap"] * CAN_TRAP)
TIMES = 5


def start(program, *arguments, build=""):
    """Start a program of this folder in a new process, with warnings as errors."""
    command = [sys.executable, "-W", "error", str(HERE / f"{program}.py"), *arguments]
    environment = {**os.environ, "LSTM97_KERNEL": build or os.environ.get("LSTM97_KERNEL", "")}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    """Wait for a process; its exit status, stdout and stderr."""
    try:
        said, errors = process.communicate(timeout=HANGS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, said, errors


def results_of(program, *arguments):
    """Run a program, which must succeed, and return its output, which is JSON."""
    status, said, errors = finish(start(program, *arguments))
    assert (status, errors) == (0, "")
    return json.loads(said)


# ---- the floating-point unit -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def floats(tmp_path_factory):
    """The results and exit status of `host_floats.py` for each build in each mode; two processes at a time."""
    library = tmp_path_factory.mktemp("register") / "register.so"
    subprocess.run(
        [*compiler(), "-O1", "-shared", "-fPIC", str(HERE / "register.c"), "-o", str(library), "-lm"], check=True
    )
    seen = {}
    for mode in MODES:
        processes = {build: start("host_floats", str(library), mode, build=build) for build in BUILDS}
        for build, process in processes.items():
            status, said, errors = finish(process)
            assert errors == ""
            assert said, f"{build} in mode {mode!r} ended with status {status}"
            seen[build, mode] = status, json.loads(said)
    return seen


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("build", BUILDS)
def test_control_bits_stay_as_the_host_has_them(floats, build, mode):
    _, seen = floats[build, mode]
    assert seen["build"] == build
    assert seen["control"] == [seen["control"][0]] * 4  # before the import, after it, after the calls in each dtype


@pytest.mark.parametrize("build", BUILDS)
def test_each_mode_shows_in_the_control_bits(floats, build):
    assert len({floats[build, mode][1]["control"][0] for mode in MODES}) == len(MODES)


@pytest.mark.skipif(not CAN_TRAP, reason="few processors of this kind have traps")
@pytest.mark.parametrize("build", BUILDS)
def test_no_call_traps_on_ordinary_data(floats, build):
    assert floats[build, ""][0] == 0
    assert floats[build, "trap"][0] == -signal.SIGFPE  # by a division by zero after all calls, which proves the trap


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("build", BUILDS)
def test_outputs_in_every_mode_are_those_of_the_usual_one(floats, build, mode):
    seen, usual = floats[build, mode][1], floats[build, ""][1]
    assert len(usual["outputs"]) == 6
    for i, (found, expected) in enumerate(zip(seen["outputs"], usual["outputs"], strict=True)):
        assert_close(np.array(found), np.array(expected), TOLERANCE["float64" if i < 3 else "float32"])
    if mode == "trap":
        assert seen["learned"] == usual["learned"]


# ---- processes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["learn", "learn_run", "train"])
def test_fork_while_another_thread_is_in_a_call_that_learns(call):
    seen = results_of("host_fork", call)
    # In the child the call never ends: its weights are incomplete, so learning and saving are refused.
    in_use = "this network is being trained by another thread"
    assert seen["seen"]["refused"] == {"learn": in_use, "train": in_use, "save": in_use}
    if call != "train":  # train uses a state of its own
        assert "this state is in use by another thread" in seen["seen"]["refused the state"]
    assert seen["seen"]["bystander"] == seen["expected"]
    assert seen["child"] == 0
    assert seen["calls"] > 0
    assert seen["same bits"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_networks_go_to_other_processes_and_come_back(method):
    assert results_of("host_processes", method) == [True] * 4


# ---- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["learn", "learn_run", "train", "train in batches"])
def test_signal_handlers_run_during_calls_and_change_nothing_but_by_an_exception(call):
    seen = results_of("host_signals", call)
    assert seen["counted"]["signals"] >= 20
    assert seen["counted"]["same bits"]
    assert seen["ended"] == {"came out": True, "goes on": True}
    if call == "learn":
        assert seen["whole calls"] == [True] * 20


# ---- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("learn", (0, "", "")),
        ("small learn", (0, "", "")),
        ("learn_run", (0, "", "")),
        ("train", (0, "", "")),
        ("team", (0, "", "")),
        ("hogwild", (0, "", "")),
        ("callback", (3, "", "")),
        ("callback, at once", (4, "", "")),
        ("atexit", (0, "used\n", "")),
    ],
)
def test_process_ends_normally_during_any_call(how, expected):
    processes = [start("host_exit", how) for _ in range(TIMES)]
    assert [finish(process) for process in processes] == [expected] * TIMES


# ---- the beginning ---------------------------------------------------------------------------------------------------


def test_import_changes_nothing_and_loads_no_more_than_it_needs():
    assert results_of("host_import") == {"changed": [], "unwanted": [], "imported here": [], "loaded": True}
