"""Sizes and orders that both layout.py and the compiled loops state: a mismatch is refused, never used."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

import lstm97
from lstm97._kernel import builds
from lstm97._kernel.engine import Engine, check_stated
from lstm97._kernel.layout import ROW_BYTES, Places, stated
from lstm97._kernel.trainer import Trainer

LISTS = ("OUTPUT_KINDS", "RECORDS", "SQUASH_CONSTANTS")


@pytest.fixture
def net():
    """A network that uses every list."""
    return lstm97.Network(lstm97.Topology(3, 2, blocks=(1, 2), n_hidden=1, forget_gates=True), seed=1)


def test_layout_states_what_the_loops_state():
    check_stated(stated())


@pytest.mark.parametrize("name", ["ROW_BYTES", "TALLY_NUMBERS"])
def test_another_size_is_refused(name):
    with pytest.raises(ImportError, match=f"{name} is .* in layout.py, but .* in the loops"):
        check_stated(stated() | {name: 2 * stated()[name]})


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("change", [lambda a: a[:-1], lambda a: (*a, "more"), lambda a: a[::-1]])
def test_another_list_or_order_is_refused(name, change):
    with pytest.raises(ImportError, match=f"{name} is .* in layout.py, but .* in the loops"):
        check_stated(stated() | {name: change(stated()[name])})


def engine_of(net, *, sizes=None, **network):
    """An engine for a network's layout, with some sizes or arrays changed."""
    plan = net._layout
    if sizes is not None:
        plan = SimpleNamespace(sizes=plan.sizes | sizes, dtype=plan.dtype, step_work=plan.step_work)
    arrays = net._layout.network_arrays() | network
    lock = np.zeros(2, np.int64)
    kernel = builds.kernel(plan.dtype)
    return Engine(kernel, plan, arrays, net._layout.state_places.memory(), lock, True, net._advice)


def test_a_size_that_the_loops_lack_is_refused(net):
    engine_of(net)
    with pytest.raises(ValueError, match="the layout's sizes are"):
        engine_of(net, sizes={"another": 1})


@pytest.mark.parametrize("name", ["squash", "squash_h", "logistic"])
def test_too_few_constants_are_refused(net, name):
    with pytest.raises(SystemError, match=r"an array has .* bytes where the loops need"):
        engine_of(net, **{name: net._layout.network_arrays()[name][:-1]})


def begin_batches(net, **changed):
    """Give a trainer the memory for batches of four sequences, some of it changed."""
    plan = net._layout
    memory = {
        "batch": plan.batch_arrays(4),
        "total": plan.sums_memory(1),
        "sums": plan.sums_memory(2),
        "workers": [plan.worker_memory(2, 5, 0, symbols=False)],
    }
    Trainer(net.new_state()._engine).begin_batches(**(memory | changed), worth_abreast=1, worth_sharing=0)


def test_too_small_tallies_are_refused(net):
    begin_batches(net)
    with pytest.raises(SystemError, match="an array has 96 bytes where the loops need 160"):
        begin_batches(net, batch=net._layout.batch_arrays(4) | {"tallies": np.zeros((4, 3))})


def test_a_block_of_memory_that_is_too_small_is_refused(net):
    memory = net._layout.state_places.memory()
    short = memory._replace(block=memory.block[:-1])
    with pytest.raises(SystemError, match=r"an array has .* bytes where the loops need"):
        net._engine.another(short)
    total = net._layout.sums_memory(1)
    with pytest.raises(SystemError, match=r"an array has .* bytes where the loops need"):
        begin_batches(net, total=total._replace(block=total.block[:-1]))


def test_too_few_sets_of_arrays_are_refused(net):
    memory = Places(0, net._layout.state_places.arrays).memory()
    with pytest.raises(SystemError, match="there are 0 sets of arrays where the loops need 1"):
        net._engine.another(memory)


def test_memory_of_other_arrays_is_refused(net):
    with pytest.raises(KeyError, match="z_block"):
        net._engine.another(net._layout.sums_memory(1))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_arrays_in_a_block_are_aligned_apart_and_all_in_it(dtype):
    layout = lstm97.Network(lstm97.Topology(3, 2, blocks=(1, 2), forget_gates=True), dtype)._layout
    for memory in (*layout.worker_memory(7, 5, 16, symbols=True), layout.sums_memory(3), layout.state_places.memory()):
        begin = memory.block.ctypes.data
        spans = []
        for array in memory.views.values():
            assert array.flags.aligned
            assert array.shape[0] == memory.places.n
            for each in array:
                assert each.ctypes.data % ROW_BYTES == 0
                assert each.flags.c_contiguous
                spans.append((each.ctypes.data, each.ctypes.data + each.nbytes + ROW_BYTES))
        spans.sort()
        assert begin <= spans[0][0]
        assert spans[-1][1] <= begin + memory.block.nbytes
        assert all(end <= following for (_, end), (following, _) in pairwise(spans))
        assert memory.places.stride // ROW_BYTES % 2 == 1
        assert not memory.block.any()


@pytest.mark.parametrize("symbols", [False, True])
def test_phases_have_the_names_that_files_use(net, symbols):
    state = net.new_state()
    x = 1 if symbols else [0.0, 1.0, 0.0]
    assert "not learning" in repr(state)
    net.learn(x, None, learning_rate=0.1, state=state)
    assert "awaiting" in repr(state)
    net.correct([0.0, 1.0], learning_rate=0.1, state=state)
    assert "corrected" in repr(state)
