"""The benchmark of the interfaces for hosts runs, prints all its tables, and prints the same from a file."""

from __future__ import annotations

import json
import platform

import numpy as np
import pytest
from benchmarks import hosts
from benchmarks.hosts import WAYS, by_calls, by_cython, by_exported, by_one_call, compiled, main

import lstm97

pytestmark = pytest.mark.xdist_group("hosts")

TOPOLOGY = lstm97.Topology(3, 2, blocks=(2, 1), output="identity")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The command's output, and the file that it writes."""
    file = tmp_path_factory.mktemp("hosts") / "figures.json"
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr("builtins.print", printed.append)
        patch.setattr(hosts, "NETWORKS", {"small": TOPOLOGY})
        main(["--quick", "--json", str(file)])
    return printed, file


def test_every_interface_does_the_same_work():
    rng = np.random.default_rng(0)
    X, targets = rng.uniform(-1, 1, (9, 3)), rng.uniform(0, 1, (9, 2))
    nets = [lstm97.Network(TOPOLOGY, seed=0) for _ in range(3)]
    library = compiled(nets[0], "-O2")
    for make, net in zip((by_calls, by_one_call, by_cython), nets, strict=True):
        before = net.parameters
        for given in (targets, None):
            (make(net, X, given, library) if make is by_cython else make(net, X, given))(2)
        assert not np.array_equal(net.parameters, before)
        assert np.array_equal(net.parameters, nets[0].parameters)
    by_exported(nets[0], X, targets, library)(2)  # a status other than 0 would raise


def test_a_call_that_fails_is_not_timed():
    net = lstm97.Network(TOPOLOGY)
    with pytest.raises(FloatingPointError, match="a call ended with status 4"):
        by_cython(net, np.full((1, 3), np.nan), None, compiled(net, "-O2"))(1)
    net.reset()  # allowed, as the state is no longer bound


@pytest.mark.slow
def test_command_prints_every_interface_and_size(measured):
    printed, file = measured
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert [(row["dtype"], row["call"]) for row in figures["costs"]] == [
        (dtype, call) for dtype in ("float64", "float32") for call in ("step", "learn, a target at every step")
    ]
    for row in figures["costs"]:
        assert list(row["nanoseconds"]) == list(WAYS)
        assert min(row["nanoseconds"].values()) > 0
    for row, itemsize in zip(figures["sizes"], (8, 4), strict=True):
        assert row["weights"] >= TOPOLOGY.n_weights * itemsize
        assert 500 < row["code"][platform.machine()] < 10_000
        assert row["state"] > row["weights"]
    (text,) = printed
    assert all(way in text for way in WAYS)


@pytest.mark.slow
def test_a_file_prints_the_same_tables(measured, capsys):
    printed, file = measured
    main(["--from", str(file)])
    assert capsys.readouterr().out == f"{printed[0]}\n"
