"""Every allocation of every kind of call fails in turn: MemoryError, intact weights, nothing locked or left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from compiling import compiler
from waiting import HANGS

pytestmark = pytest.mark.xdist_group("allocations")

HERE = Path(__file__).parent
ARRAYS, MODULES = 1, 2


@pytest.fixture(scope="module")
def extension(tmp_path_factory):
    """The folder of the module `failing`."""
    folder = tmp_path_factory.mktemp("failing")
    headers = [f"-I{each}" for each in (sysconfig.get_path("include"), np.get_include())]
    source, library = str(HERE / "failing.c"), str(folder / "failing.so")
    subprocess.run([*compiler(), "-O2", "-shared", "-fPIC", *headers, source, "-o", library], check=True)
    return folder


@pytest.fixture
def failures(extension):
    """Run cases in a new process, which a fault may crash; the number of each case's calls that failed."""

    def run(kinds, stride, *cases, lasting=False):
        path = os.pathsep.join(filter(None, [str(HERE.parent / "helpers"), os.environ.get("PYTHONPATH")]))
        settings = (str(extension), str(kinds), str(stride), str(int(lasting)))
        command = [sys.executable, "-W", "error", str(HERE / "failing_allocations.py"), *settings, *cases]
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANGS)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_no_failing_array_does_harm(failures, stride):
    found = failures(ARRAYS, stride)
    assert {name for name, n in found.items() if not n} == {"correct", "reset"}  # they allocate no array
    assert found["train with a checkpoint"] > 15


@pytest.mark.slow
def test_no_array_that_fails_with_all_after_it_does_harm(failures):
    assert failures(ARRAYS, 1, lasting=True)["train by two threads"] > 50


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_no_failing_allocation_of_a_compiled_module_does_harm(failures, stride):
    found = failures(MODULES, stride)
    for name, n in {"train by two threads": 8, "train in batches": 8, "rcc: train": 8, "bptt: learn_run": 1}.items():
        assert found[name] > n, name


def test_a_call_that_would_leave_its_network_locked_is_found(failures):
    with pytest.raises(AssertionError, match="bound by compiled code"):
        failures(ARRAYS, 1, "a fault")
