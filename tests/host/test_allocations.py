"""No step of the loops allocates memory: allocations are counted, with Python's objects and without them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from compiling import compiler

pytestmark = pytest.mark.xdist_group("allocations")

HERE = Path(__file__).parent
DTYPES = ("float64", "float32")


@pytest.fixture(scope="module")
def count(tmp_path_factory):
    """Counts of a new process with an allocator of Python: under "pymalloc" small objects are not counted."""
    library = tmp_path_factory.mktemp("allocations") / "allocations.so"
    source = str(HERE / "allocations.c")
    subprocess.run([*compiler(), "-O2", "-shared", "-fPIC", source, "-o", str(library)], check=True)

    def run(allocator):
        preloaded = f"{library} {os.environ.get('LD_PRELOAD', '')}".strip()
        path = os.pathsep.join(filter(None, [str(HERE.parent / "helpers"), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "LD_PRELOAD": preloaded, "PYTHONMALLOC": allocator, "PYTHONPATH": path}
        command = [sys.executable, "-W", "error", str(HERE / "allocations.py"), str(library)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def c_library(count):
    return count("pymalloc")


@pytest.fixture(scope="module")
def objects_too(count):
    return count("malloc")


def test_the_counter_counts_arrays_and_mappings(c_library, objects_too):
    assert c_library["nothing"] == objects_too["nothing"] == [0, 0]
    # One block of memory, and one object where objects are counted.
    for name in ("an array", "a mapping"):
        assert c_library[name] == [1, 1]
        assert objects_too[name] == [2, 2]


RULES = ("momentum", "RMSprop", "Adam with a bound", "everything")


@pytest.mark.parametrize("size", ["small net", "large net", "bound small net", "bound large net", *RULES])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_allocates_nothing(c_library, size, dtype):
    assert c_library[size][dtype] == {name: [0, 0] for name in ("learn", "learn without target", "step")}


@pytest.mark.parametrize("size", ["small net", "large net"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_makes_no_objects_except_buffer_descriptions(objects_too, size, dtype):
    # NumPy makes a description of each array's buffer, with its format or without; for `out` first with, then without
    # it. All are freed when the call returns.
    plain, with_format = 1, 2
    step = 2 * with_format + plain
    learn = step + with_format
    assert objects_too[size][dtype] == {
        "learn": [learn, learn],
        "learn without target": [step, step],
        "step": [step, step],
    }


def test_runs_allocate_as_often_for_few_steps_as_for_many(c_library, objects_too):
    ten, some, many = c_library["runs"]
    assert ten == some == many
    _, some, many = objects_too["runs"]
    assert some == many


def test_training_allocates_as_often_for_few_sequences_as_for_many(c_library):
    # Both sizes need arrays with a number per sequence or batch; those below 128 would come from NumPy's cache.
    some, many = c_library["training"]
    assert some == many
    assert all(taken == given > 0 for taken, given in many.values())
