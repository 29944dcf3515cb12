"""The benchmarks: the textbook peer runs the same algorithm, and the figures are right."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys

import numpy as np
import pytest
from benchmarks import limits, startup, textbook
from benchmarks.__main__ import main
from benchmarks.counting import Work, count
from benchmarks.headlines import markdown
from benchmarks.machine import caches
from benchmarks.numpy_loop import NumpyLoop
from benchmarks.report import LimitResult, PeerResult, Result, as_plain, lines, measure
from benchmarks.rows import Peer, Row, build, table
from benchmarks.textbook import Textbook
from benchmarks.timing import Summary, Workload, take_turns
from compare import assert_close
from reference import ReferenceNetwork, targets_at_end, train

import lstm97


@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("output", ["identity", "logistic"])
@pytest.mark.parametrize("blocks", [(1,), (2, 2), (3, 3, 3)])
def test_textbook_loop_learns_as_the_reference_does(blocks, output, every_step):
    topology = lstm97.Topology(3, 2, blocks=blocks, output=output)
    rng = np.random.default_rng(len(blocks))
    weights = lstm97.Network(topology, seed=7, init_range=0.5).weights
    reference = ReferenceNetwork(topology, weights)
    textbook = Textbook(topology, np.concatenate([kind.ravel() for kind in weights.values()]))
    inputs = rng.uniform(-1, 1, (4, 20, 3))
    targets = rng.uniform(0, 1, (4, 20, 2) if every_step else (4, 2))

    textbook.train(inputs, targets, learning_rate=0.3)
    train(reference, inputs, targets if every_step else targets_at_end(inputs, targets), 0.3)

    expected = np.concatenate([kind.ravel() for kind in reference.weights.values()])
    assert_close(textbook.parameters, expected, 1e-12)


@pytest.mark.parametrize("output", ["identity", "logistic"])
@pytest.mark.parametrize("blocks", [(1,), (2, 2), (3, 1, 2)])
def test_numpy_loop_learns_as_the_reference_does(blocks, output):
    topology = lstm97.Topology(3, 2, blocks=blocks, output=output)
    weights = lstm97.Network(topology, seed=7, init_range=0.5).weights
    reference = ReferenceNetwork(topology, weights)
    loop = NumpyLoop(topology, np.concatenate([kind.ravel() for kind in weights.values()]))
    rng = np.random.default_rng(len(blocks))
    inputs, targets = rng.uniform(-1, 1, (4, 20, 3)), rng.uniform(0, 1, (4, 2))

    loop.train(inputs, targets, learning_rate=0.3, n_items=6)
    order = [0, 1, 2, 3, 0, 1]
    train(reference, inputs[order], targets_at_end(inputs[order], targets[order]), 0.3)

    expected = np.concatenate([kind.ravel() for kind in reference.weights.values()])
    assert_close(loop.parameters, expected, 1e-12)


@pytest.mark.parametrize("topology", [lstm97.Topology(2, 2, output="softmax"), lstm97.Topology(2, 1, n_hidden=1)])
def test_numpy_loop_refuses_other_networks(topology):
    with pytest.raises(ValueError, match="no such network"):
        NumpyLoop(topology, np.zeros(topology.n_weights))


def test_textbook_loop_takes_sequences_in_turn():
    topology = lstm97.Topology(2, 1, output="identity")
    start = lstm97.Network(topology, seed=1).parameters
    rng = np.random.default_rng(2)
    inputs, targets = rng.uniform(-1, 1, (3, 10, 2)), rng.uniform(0, 1, (3, 1))
    around, at_length = Textbook(topology, start), Textbook(topology, start)
    around.train(inputs, targets, learning_rate=0.3, n_items=5)
    order = [0, 1, 2, 0, 1]
    at_length.train(inputs[order], targets[order], learning_rate=0.3)
    np.testing.assert_array_equal(around.parameters, at_length.parameters)
    assert not np.array_equal(around.parameters, start)


@pytest.mark.parametrize(
    "different",
    [{"blocks": (1, 2)}, {"output": "softmax"}, {"bias": "gates"}, {"forget_gates": True}, {"n_hidden": 1}],
)
def test_textbook_loop_refuses_other_networks(different):
    topology = lstm97.Topology(2, 2, **different)
    with pytest.raises(ValueError, match="no such network"):
        Textbook(topology, np.zeros(topology.n_weights))


def test_summary_holds_the_quartiles():
    assert Summary.of(np.array([4.0, 1.0, 3.0, 2.0, 100.0])) == Summary(3.0, 2.0, 4.0, 1.0, 100.0, 5)


def test_workloads_take_turns_and_are_timed_per_step(monkeypatch):
    calls = []
    clock = itertools.count()  # each call of the clock is a second after the one before
    monkeypatch.setattr("benchmarks.timing.time.perf_counter", lambda: next(clock))
    first = Workload("first", lambda n: calls.append(("first", n)), 10)
    second = Workload("second", lambda n: calls.append(("second", n)), 1000)
    taken = take_turns([first, second], repeats=2, seconds=3.0)
    turns = calls[-4:]
    assert [name for name, _ in turns] == ["first", "second"] * 2
    (_, n_first), (_, n_second) = turns[:2]
    expected = [1e9 / (n_first * 10), 1e9 / (n_second * 1000)]
    np.testing.assert_allclose(taken, [expected, expected])


# ---- work and limits -------------------------------------------------------------------------------------------------


def test_work_of_the_adding_net_is_that_counted_by_hand():
    # 8 units x 11 sources, 8 rows of partials x 11; at a signal 5 output weights and their changes, 4 errors at cells,
    # the changes of 2 output gates and of all weights with partials
    expected = 88 + 88 + (5 + 5 + 4 + 22 + 88) / 100
    work = count(lstm97.Topology(2, 1, blocks=(2, 2), output="identity"), "float32", signals=0.01, outputs=0.01)
    assert work.multiply_adds == pytest.approx(expected)
    assert work.weight_bytes == pytest.approx(4 * (88 + 5 / 100))
    assert work.steps_per_read == 1
    assert work.squashed_in_turn == 2


EVERYTHING = lstm97.Topology(
    3, 2, blocks=(1, 2), n_hidden=2, forget_gates=True, gate_sources=False, input_to_output=True
)


def test_work_counts_hidden_units_forget_gates_and_inputs_of_outputs():
    # 11 units x 9 sources; partials of 3 cells by 3 kinds of weights; 2 outputs x 9 sources; 2 x 5 errors
    work = count(EVERYTHING, "float64", signals=0.5, outputs=1)
    assert work.multiply_adds == 99 + 18 + 81 + 0.5 * (10 + 18 + 4 * 9 + 81)
    assert work.weight_bytes == 8 * (99 + 18)


def test_work_of_a_batch_has_a_lane_per_gate_and_reads_weights_once():
    # 3 cells, 2 input gates and 2 forget gates; their changes are those outer products and nothing more
    work = count(EVERYTHING, "float64", signals=0.5, outputs=0.5, batch_size=64)
    assert work.multiply_adds == 99 + 9 + 63 + 0.5 * (10 + 18 + 4 * 9)
    assert work.steps_per_read == 64
    assert work.squashed_in_turn == 0


@pytest.mark.parametrize(("output", "in_turn"), [("identity", 2), ("logistic", 3), ("softmax", 3)])
def test_a_step_waits_for_outputs_where_its_error_changes_the_weights_of_the_next(output, in_turn):
    topology = lstm97.Topology(3, 2, output=output)
    assert count(topology, "float64", signals=1, outputs=1).squashed_in_turn == in_turn
    assert count(topology, "float64", signals=0.5, outputs=1).squashed_in_turn == 2


def test_work_with_an_error_at_every_step_changes_all_weights_and_partials():
    # 11 units x 9 sources, 2 outputs x 9 sources, partials of 3 cells by 3 kinds of weights
    assert count(EVERYTHING, "float32", signals=1, outputs=1).changed_bytes == 4 * (99 + 18 + 81)
    assert count(EVERYTHING, "float32", signals=0.5, outputs=1).changed_bytes == 0


def test_changing_memory_is_a_limit():
    names = [workload.name for workload in limits.workloads(Work(50.0, 500, 1, 0, 5000), "float64", SIZES)]
    assert names[1:] == ["limit: 5000 bytes of weights and partials changed in L2"]


def test_without_a_compiler_the_table_has_no_limits(monkeypatch, capsys):
    monkeypatch.setenv("CC", "no-such-compiler")
    for compiled in (limits._library, textbook._library):
        compiled.cache_clear()  # else libraries that earlier tests have compiled would be used
    monkeypatch.setitem(sys.modules, "torch", None)
    main(["--quick", "--only", "adding net, 93 weights, T=100, error at the end, float64"])
    printed = capsys.readouterr().out
    assert "not measured, no working C compiler" in printed
    assert "textbook C loop: no working C compiler" in printed
    assert "\n  limit: " not in printed


@pytest.mark.parametrize("n_symbols", [54, 50004])
def test_work_on_symbols_does_not_grow_with_the_alphabet(n_symbols):
    # of the sources: the symbol, 2 cells, 4 gates, the bias; at a signal the 20 symbols seen
    topology = lstm97.Topology(n_symbols, 2, blocks=(1, 1))
    work = count(topology, "float64", signals=0.1, outputs=0.1, symbols_seen=20)
    assert work.multiply_adds == pytest.approx(48 + 32 + 0.1 * (6 + 4 + 6 + 2 * 8 + 4 * 27))
    assert work.weight_bytes == pytest.approx(8 * (48 + 0.6))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_limits_really_compute_and_really_read(dtype):
    library = limits._library(dtype)
    asked = 10_000
    done = library.limits_multiply_add(asked) / (0.5 * 1e-9)  # the result is the sum of these products
    assert asked * 0.99 < done < asked + 9 * 16 + 1
    numbers = np.arange(1, 1041, dtype=dtype)  # more than whole rounds of the loop
    shifted = np.zeros(numbers.nbytes + 64, np.uint8)
    begin = -shifted.ctypes.data % 64
    shifted[begin : begin + numbers.nbytes] = numbers.view(np.uint8)
    total = library.limits_read(shifted.ctypes.data + begin, numbers.nbytes, 3)
    assert total == 3 * numbers.sum(dtype="float64")


def test_caches_are_read_as_linux_shows_them(tmp_path):
    shown = [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2048K"), ("3", "Unified", "30720K")]
    for i, values in enumerate(shown):
        folder = tmp_path / f"index{i}"
        folder.mkdir()
        for name, value in zip(("level", "type", "size"), values, strict=True):
            (folder / name).write_text(value + "\n")
    assert caches(tmp_path) == {"L1": 48 * 1024, "L2": 2048 * 1024, "L3": 30720 * 1024}
    assert caches(tmp_path / "nowhere") == {}


SIZES = {"L1": 1000, "L2": 20000}


@pytest.mark.parametrize(("n_bytes", "place"), [(1000, "L1"), (1001, "L2"), (20001, "memory")])
def test_weights_are_read_from_the_first_cache_that_holds_them(n_bytes, place):
    assert limits.place_of(n_bytes, SIZES) == place
    names = [workload.name for workload in limits.workloads(Work(50.0, n_bytes, 4, 0, 0), "float32", SIZES)]
    assert names[0] == "limit: 50 multiply-adds at the peak rate"
    assert names[1:] == ([] if place == "L1" else [f"limit: {n_bytes} bytes of weights read from {place}"])
    assert len(list(limits.workloads(Work(50.0, n_bytes, 4, 0, 0), "float32", {}))) == 1
    (_, waiting) = limits.workloads(Work(50.0, n_bytes, 1, 2, 400), "float32", {})
    assert waiting.name == "limit: 2 squashing functions, each waiting for the one before"


def test_peaks_name_every_cache_and_memory():
    found = limits.peaks(SIZES, repeats=1, seconds=0.001)
    places = [f"read from {name}, bytes per ns" for name in ("L1", "L2", "memory")]
    assert list(found) == ["multiply-adds per ns, float64", "multiply-adds per ns, float32", *places]
    assert min(found.values()) > 0


# ---- rows and the report ---------------------------------------------------------------------------------------------


def test_table_has_every_target_of_the_plan():
    bounds = {}
    for row in table():
        for peer in row.peers:
            if peer.target is not None:
                bounds.setdefault((row.name, peer.name), []).append(peer.target)
    found = [values[0] for values in bounds.values()]
    adding, large = [1.9, 0.95, 100, 1.7, 0.95, 4, 1.7, 0.95, 4], [1.9, 0.95, 2.5, 1.7, 0.95, 1.5, 1.7, 0.95, 1.5]
    threads = [*adding, *large, 0.97, 4]
    rules = [1.6] * 5 + [3]
    calls = [200, 50, 15, 15, 1.1, 200, 1.1, 50, 1.5, 1.3, 5, 2, 10]
    streams = [4, 4, 3, 4, 4, 3, 1, 1, 1.2, 1, 1, 1, 1, 1]  # steps by two peers, and learns
    forgetting, batches, predict = [2, 1, 1, 1], [25, 12, 8, 2, 1.5], [1.2, 1.1] * 3
    calls += [8, 2.5, *batches, *streams, *predict, 1.2]
    assert found == [2, 100, 40, 100, *forgetting, *rules, *calls, *threads, 1000]
    assert all(len(set(values)) == 1 for values in bounds.values())  # one target per row, whatever the dtype


def test_every_row_of_loops_has_its_work_and_no_row_of_calls_or_threads():
    for row in table():
        is_of_a_rule = row.peers[0].name == "SGD()"
        is_predicted = ", predict for " in row.name
        is_of_calls = " call per " in row.name or row.name.endswith(" threads") or is_predicted
        assert (row.work is None) == (is_of_calls or is_of_a_rule)
    assert len({(row.name, row.dtype) for row in table()}) == len(table())


def workload(name, steps):
    return lambda: Workload(name, lambda n: None, steps)


@pytest.fixture
def every_turn_takes_a_second(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("benchmarks.timing.time.perf_counter", lambda: next(clock))


@pytest.mark.usefixtures("every_turn_takes_a_second")
def test_row_is_measured_against_installed_peers():
    def missing():
        raise ModuleNotFoundError(name="something")

    peers = (
        Peer("absent", missing, 2.0),
        Peer("slow", workload("a slow one", 10)),
        Peer("small", workload("a case of ours", 2000), is_ours=True),
    )
    result = measure(Row("row", "float32", workload("ours", 1000), peers), {}, repeats=2, seconds=1.0)
    assert result.time.median == 1e9 / 1000
    absent, slow, small = result.peers
    assert absent == PeerResult("absent", 2.0, missing="something is not installed")
    assert (slow.name, slow.ratio.median, slow.met) == ("a slow one", pytest.approx(100), None)
    assert (small.name, small.ratio.median, small.met) == ("a case of ours", pytest.approx(2), None)
    assert result.limits == ()


@pytest.mark.usefixtures("every_turn_takes_a_second")
@pytest.mark.parametrize("is_ours", [False, True])
@pytest.mark.parametrize("target", [1.9, 2.0, 2.1])
def test_target_is_met_on_the_right_side(target, is_ours):
    peer = Peer("peer", workload("peer", 10 if is_ours else 5), target, is_ours=is_ours)
    row = Row("row", "float32", workload("ours", 5 if is_ours else 10), (peer,))
    (found,) = measure(row, {}, repeats=1, seconds=1.0).peers
    assert found.ratio.median == 2.0
    assert found.met is (target >= 2.0 if is_ours else target <= 2.0)


def test_error_of_a_peer_that_is_installed_is_not_hidden():
    def broken():
        raise ImportError("half installed")

    with pytest.raises(ImportError, match="half installed"):
        build(Peer("broken", broken))


def steady(value):
    return Summary(value, value, value, value, value, 3)


RESULT = Result(
    name="a row",
    dtype="float32",
    ours="our call",
    time=steady(50.0),
    peers=(
        PeerResult("a slow one", 100, False, steady(6000.0), steady(120.0), True),
        PeerResult("one like us", 1.2, True, steady(40.0), steady(1.25), False),
        PeerResult("absent", 8, missing="it is not installed"),
        PeerResult("untold", None, False, steady(25.0), steady(0.5)),
    ),
    work=Work(177.24, 352.2, 1, 2, 0),
    limits=(LimitResult("limit: a peak", steady(10.0), steady(0.2)),),
)


def test_lines_show_ratios_targets_and_limits():
    shown = [" ".join(line.split()) for line in lines(RESULT)]
    assert shown == [
        "a row, float32",
        "our call 50.0 50.0 .. 50.0",
        "a slow one 6000 6000 .. 6000 120.0x >= 100x met",
        "one like us 40.0 40.0 .. 40.0 1.25x <= 1.2x missed",
        "absent: it is not installed >= 8x",
        "untold 25.0 25.0 .. 25.0 0.50x",
        "limit: a peak 10.0 10.0 .. 10.0 20%",
    ]


ABOUT = {
    "machine": {"processor": "Some CPU", "cores": 2},
    "build": {"version": "0.1.0", "build": "v3"},
    "versions": {"commit": "abc"},
}


def test_json_keeps_everything():
    figures = json.loads(json.dumps(as_plain(ABOUT, [RESULT], repeats=3)))
    (row,) = figures["rows"]
    assert row["work"] == {
        "multiply_adds": 177.24,
        "weight_bytes": 352.2,
        "steps_per_read": 1,
        "squashed_in_turn": 2,
        "changed_bytes": 0,
    }
    assert [peer["target"] for peer in row["peers"]] == [100, 1.2, 8, None]
    assert [peer["at_most"] for peer in row["peers"]] == [False, True, False, False]
    assert row["peers"][2]["missing"] == "it is not installed"
    assert row["limits"][0]["share"]["median"] == 0.2
    assert figures["how"] == {"repeats": 3}


def test_command_prints_the_headlines_of_files(tmp_path, capsys):
    figures = as_plain(ABOUT, [RESULT])
    faster = dataclasses.replace(RESULT, name="another row", time=steady(25.0))
    files = [tmp_path / "one.json", tmp_path / "other.json"]
    for file, result in zip(files, (RESULT, faster), strict=True):
        file.write_text(json.dumps(as_plain(ABOUT, [result])))
    main(["--from", *map(str, files)])
    printed = capsys.readouterr().out
    assert printed.startswith(markdown(json.loads(json.dumps(figures))))
    assert "| another row, float32 | 25.0 | a slow one | 6000 | 120.0x | ≥ 100x | yes |" in printed
    assert printed.splitlines()[:7] == [
        "Some CPU, 2 cores; lstm97 0.1.0, build v3, commit abc; ns per step.",
        "",
        "| what | lstm97 | beside it | takes | ratio | target | met |",
        "|---|---|---|---|---|---|---|",
        "| a row, float32 | 50.0 | a slow one | 6000 | 120.0x | ≥ 100x | yes |",
        "| a row, float32 | 50.0 | one like us | 40.0 | 1.25x | ≤ 1.2x | no |",
        "| a row, float32 | 50.0 | absent |  |  | ≥ 8x | it is not installed |",
    ]


def test_imports_are_measured_beyond_numpys_and_judged(monkeypatch):
    told = []
    for most, verdict in ((1e9, "met"), (0.0, "missed")):
        monkeypatch.setattr(startup, "MOST", most)
        found = startup.measure(repeats=2, show=told.append)
        assert found.met == (verdict == "met")
        assert told[-1].endswith(verdict)
        assert found.lstm97.repeats == found.numpy.repeats == 2
        assert found.lstm97.minimum > 0


@pytest.mark.slow
def test_command_measures_a_row_and_says_what_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    file = tmp_path / "figures.json"
    row_name = "adding net, 93 weights, T=100, error at the end, float64"
    main(["--quick", "--only", row_name, "--json", str(file)])
    printed = capsys.readouterr().out
    assert "PyTorch nn.LSTM: torch is not installed" in printed

    figures = json.loads(file.read_text())
    assert figures["unit"] == "ns per step"
    assert f"{figures['startup']['lstm97']['median']:.1f} ms" in printed
    (row,) = figures["rows"]
    textbook, *others, numpy, torch = row["peers"]
    assert len(others) == (lstm97.show_config().build != "baseline")
    assert row["time"]["repeats"] == figures["how"]["repeats"]
    assert 0 < row["time"]["minimum"] <= row["time"]["median"] <= row["time"]["maximum"]
    lowest = textbook["time"]["minimum"] / row["time"]["maximum"]
    highest = textbook["time"]["maximum"] / row["time"]["minimum"]
    assert lowest <= textbook["ratio"]["median"] <= highest
    assert f"{textbook['ratio']['median']:.2f}x" in printed or f"{textbook['ratio']['median']:.1f}x" in printed
    assert numpy["ratio"]["minimum"] > 1
    assert torch["time"] is None
    assert torch["missing"] == "torch is not installed"
    computing, waiting = row["limits"]  # no limit for reading, as such a small net fits in the first cache
    assert 0 < computing["share"]["median"] < waiting["share"]["median"] < 1
    assert figures["limits"]["multiply-adds per ns, float64"] > 0


def test_command_refuses_a_row_it_does_not_have(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "no such row"])
    assert "no row has 'no such row' in its name" in capsys.readouterr().err


# ---- peers that are installed on request -----------------------------------------------------------------------------


def lstm_step(x, h, c, weights):
    """One step of the LSTM that the ONNX operator defines, with its order of gates: input, output, forget, cell."""
    net_in, net_out, net_forget, net_cell = np.split(
        weights["W"][0] @ x + weights["R"][0] @ h + weights["B"][0].reshape(2, -1).sum(axis=0), 4
    )
    y_in, y_out, y_forget = (1 / (1 + np.exp(-net)) for net in (net_in, net_out, net_forget))
    c = y_forget * c + y_in * np.tanh(net_cell)
    return y_out * np.tanh(c), c


@pytest.mark.peers
def test_onnx_peers_carry_the_state_of_an_lstm():
    import onnx
    from benchmarks import onnx_runtime

    inputs = np.random.default_rng(0).uniform(-1, 1, (1, 7, 3)).astype(np.float32)
    model = onnx.load_model_from_string(onnx_runtime.lstm_model(3, 5, 2))
    onnx.checker.check_model(model)
    weights = {value.name: onnx.numpy_helper.to_array(value) for value in model.graph.initializer}
    h = c = np.zeros(5)
    for x in inputs[0]:
        h, c = lstm_step(x, h, c, weights)
    expected = weights["V"] @ h + weights["bias"]
    for peer in (onnx_runtime.run_calls, onnx_runtime.bound_calls):
        workload = peer(inputs, n_cells=5, n_outputs=2)
        assert workload.steps == 7
        for n_items in (1, 3):  # each item begins with a zero state, even if the number of steps is odd
            np.testing.assert_allclose(workload.run(n_items)[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.peers
def test_command_measures_onnx_runtime(tmp_path):
    file = tmp_path / "figures.json"
    main(["--quick", "--only", "adding net, one net.step call per observation, float32", "--json", str(file)])
    figures = json.loads(file.read_text())
    (row,) = figures["rows"]
    torch, run, bound = row["peers"]
    for peer in (torch, run, bound):
        assert peer["missing"] == ""
        assert peer["ratio"]["minimum"] > 1
        assert peer["met"] is (peer["ratio"]["median"] >= peer["target"])


@pytest.mark.deep_river
def test_command_measures_deep_river(tmp_path):
    file = tmp_path / "figures.json"
    main(["--quick", "--only", "32 cells, 10 inputs, one net.learn call per observation, float32", "--json", str(file)])
    figures = json.loads(file.read_text())
    (row,) = figures["rows"]
    (peer,) = row["peers"]
    assert peer["name"] == "deep-river LSTMRegressor, hidden 32, window 10"
    assert peer["ratio"]["minimum"] > 1
    assert figures["versions"]["deep-river"] != "not installed"
