"""How errors flow back, and the costs of learning: the figures of the report's charts."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from command import run

from lstm97 import Network, Topology
from lstm97.methods import BPTT, RTRL, RecurrentTopology
from lstm97.paper.report import costs, vanishing

pytestmark = pytest.mark.xdist_group("vanishing")

STEPS = 12


def f(a):
    return 1 / (1 + np.exp(-a))


def jacobian_flow(net):
    """The error at the net inputs by lag, from the activations and the recurrent weights alone."""
    w, v = net.weights["recurrent"], net.weights["output"]
    y, ys = np.zeros(len(w)), []
    for t in range(STEPS):
        y = f(w[:, t] + w[:, STEPS : STEPS + len(w)] @ y)
        ys.append(y)
    o = f(v @ y)
    error = v.T @ (o * (1 - o) * (1 - o))
    sizes = []
    for y in reversed(ys):
        error = y * (1 - y) * error
        sizes.append(np.linalg.norm(error))
        error = w[:, STEPS : STEPS + len(w)].T @ error
    return np.array(sizes)


@pytest.mark.parametrize("make", [RTRL, BPTT])
@pytest.mark.parametrize("init_range", [0.2, 1.0, 4.0])
def test_the_flow_through_conventional_nets_is_the_product_of_their_jacobians(make, init_range):
    net = make(RecurrentTopology(n_inputs=STEPS, n_outputs=2, n_hidden=4), seed=3, init_range=init_range)
    expected = jacobian_flow(net)
    np.testing.assert_allclose(vanishing.error_flow(net), expected, rtol=1e-9)


def test_the_flow_through_cells_is_that_of_equation_41():
    topology = Topology(STEPS, 1, blocks=(1, 1, 1))
    net = Network(topology, seed=2, init_range=0.5)
    sequence = np.arange(STEPS)
    Y, seen = net.run(sequence, record=("cell_state", "input_gate", "output_gate", "cell"))
    w = net.weights["cell"]
    sizes = []
    before = {"cell": np.zeros(3), "input_gate": np.zeros(3), "output_gate": np.zeros(3)}
    for t in range(STEPS):
        z = np.concatenate([np.eye(STEPS)[t], before["cell"], before["input_gate"], before["output_gate"], [1.0]])
        half = np.tanh(w @ z / 2)  # g = 2 tanh(net / 2), g' = 1 - tanh^2
        sizes.append(seen["input_gate"][t] * (1 - half**2))
        before = {kind: seen[kind][t] for kind in before}
    o = Y[-1, 0]
    h_slope = (1 - np.tanh(seen["cell_state"][-1] / 2) ** 2) / 2
    e_s = seen["output_gate"][-1] * h_slope * net.weights["output"][0, :3] * o * (1 - o) * (1 - o)
    expected = np.linalg.norm(np.array(sizes) * e_s, axis=1)[::-1]
    np.testing.assert_allclose(vanishing.error_flow(net), expected, rtol=1e-9)


def test_errors_vanish_but_not_in_cells():
    flows = {(flow.method, flow.init_range): flow.sizes for flow in vanishing.measure()}
    # Appendix A.2: n tau^q with tau = n w_max / 4 bounds what weights below 4 / n let through between activations. At
    # net inputs there is one factor f' more at the lag and one less at the end; such weights keep their ratio below 4.
    lags = np.arange(1, vanishing.STEPS)
    tau = vanishing.UNITS * 0.2 / 4
    first = 4 * vanishing.UNITS * tau**lags
    for method in ("rtrl", "bptt"):
        assert (flows[method, 0.2][:, 1:] < first).all()
        assert np.median(flows[method, 1.0][:, -1]) < 1e-30
    assert flows["lstm", 0.2].min() > 0.5
    assert np.allclose(flows["rtrl", 1.0][:, :20], flows["bptt", 1.0][:, :20], rtol=1e-6)


# ---- costs ----


@pytest.fixture(scope="module")
def measured():
    """Costs of small sizes, from short timings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "UNITS", (2, 4))
        patch.setattr(costs, "LENGTHS", (100, 1000))
        patch.setattr(costs, "ROUNDS", 2)
        patch.setattr(costs, "SHORTEST", 1e-4)
        patch.setattr(costs, "AT_MOST", 100)
        return costs.measure()


def test_costs_are_measured_for_all_methods_and_sizes(measured):
    assert {(cost.method, cost.n_units) for cost in measured if cost.n_steps == 100} >= {
        (name, n) for name in costs.MEASURED for n in (2, 4)
    }
    assert all(cost.nanoseconds > 0 and cost.n_bytes > 0 for cost in measured)
    units = {(cost.method, cost.n_units): cost.n_weights for cost in measured}
    assert units["rtrl", 4] == 4 * (4 + 4)
    assert units["lstm", 2] == Topology(costs.N_INPUTS, 1, blocks=(1, 1)).n_weights


def test_memory_grows_with_the_sequence_for_methods_that_store_it(measured):
    long = {cost.method: cost.n_bytes for cost in measured if cost.n_steps == 1000}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "ROUNDS", 1)
        patch.setattr(costs, "SHORTEST", 1e-4)
        patch.setattr(costs, "AT_MOST", 100)
        short = {name: costs._cost(name, costs.LENGTHS_UNITS, 100).n_bytes for name in long}
    kept_per_step = 8 * (costs.N_INPUTS + 2 * costs.LENGTHS_UNITS)
    assert long["bptt"] - short["bptt"] > 800 * kept_per_step
    for name in ("lstm", "rtrl", "elman", "chunker"):
        assert long[name] - short[name] < 2000, name


def test_costs_come_back_from_their_file(tmp_path, measured):
    costs.write(tmp_path / "costs.json", measured, {"processor": "any"})
    assert costs.read(tmp_path / "costs.json") == (measured, {"processor": "any"})
    (tmp_path / "other").write_text(json.dumps({"costs": [{"method": "lstm"}]}))
    with pytest.raises(ValueError, match="not a file of costs"):
        costs.read(tmp_path / "other")


@pytest.mark.slow
def test_the_report_shows_costs_and_flow(tmp_path, measured):
    costs.write(tmp_path / "costs.json", measured, {})
    records = tmp_path / "records.jsonl"
    made = run("reproduce", "2a-4-rtrl-1", "--methods", "rtrl", "--trials", 1, "--max-sequences", 50, "--out", records)
    assert made.returncode == 0, made.stderr
    done = run("report", records, "--costs", tmp_path / "costs.json", "--out", tmp_path / "report.md")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report.md").read_text()
    lstm = next(cost for cost in measured if (cost.method, cost.n_units, cost.n_steps) == ("lstm", 4, 100))
    line = next(line for line in text.splitlines() if line.startswith("| lstm |") and " ns" not in line)
    shown = [float(cell) for cell in line.split("|")[3:-1] if cell.strip()]
    assert shown[1] == pytest.approx(lstm.nanoseconds / lstm.n_weights, rel=0.06)
    assert "**2a-4-rtrl-1**" in text
    flow = next(line for line in text.splitlines() if line.startswith("| bptt | ±0.2"))
    assert math.isclose(float(flow.split("|")[4]), 7.3e-3, rel_tol=0.02)
    done = run("report", records, "--costs", tmp_path / "costs.json", "--out", tmp_path / "report.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text()
    assert page.count('<svg role="img" aria-label="Time and memory of learning, by method."') == 1
    assert page.count('<svg role="img" aria-label="The error that reaches a step') == 1
