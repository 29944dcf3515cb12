"""The benchmark of averaging runs, prints all its tables, and prints the same from a file."""

from __future__ import annotations

import json
import math
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest
from benchmarks import averaging
from benchmarks.averaging import Setting, Size, load, load_part, main

pytestmark = pytest.mark.xdist_group("cluster")

SETTINGS = (Setting(2, 500, 0.5), Setting(4, 500, 1e200))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The command's output, and the file that it writes."""
    file = tmp_path_factory.mktemp("averaging") / "figures.json"
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as printed:
        patch.setattr(averaging, "QUICK", Size(2, 4_000, SETTINGS, dict.fromkeys(averaging.NETWORKS, (1, 3)), 2))
        main(["--quick", "--json", str(file)])
    return printed.getvalue(), file


def test_parts_together_have_the_sequences_of_one_machine():
    inputs, targets = load(3, 10)
    parts = [load_part(3, 10, i, Setting(4, 1, 0.5)) for i in range(4)]
    assert [len(part) for part, _ in parts] == [2, 3, 2, 3]
    assert np.array_equal(np.concatenate([part.values for part, _ in parts]), inputs.values)
    assert np.array_equal(np.concatenate([wanted for _, wanted in parts]), targets)


def test_different_parts_have_small_or_large_targets_in_the_original_order():
    inputs, targets = load(3, 10)
    split = np.median(targets)
    for i, chosen in enumerate((targets[:, 0] < split, targets[:, 0] > split)):
        part, wanted = load_part(3, 10, i, Setting(2, 1, 0.5, alike=False))
        assert np.array_equal(wanted, targets[chosen])
        assert all(np.array_equal(part[k], inputs[j]) for k, j in enumerate(np.flatnonzero(chosen)))


@pytest.mark.slow
def test_command_prints_every_setting_and_network(measured):
    _, file = measured
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert [row["sequences"] for row in figures["learned"]] == [[2000, 4000]] * 3
    assert [row["setting"] and row["setting"]["n_parts"] for row in figures["learned"]] == [None, 2, 4]
    alone, parts, overflowed = (np.array(row["errors"]) for row in figures["learned"])
    assert alone.shape == parts.shape == (2, 2)
    assert 0 < min(alone.min(), parts.min()) < max(alone.max(), parts.max()) < 0.5
    assert np.isinf(overflowed).all()
    assert [(row["network"], row["n_parts"]) for row in figures["overheads"]] == [
        (name, n) for name in averaging.NETWORKS for n in (1, 3)
    ]
    assert all(0 < row["seconds"]["minimum"] <= row["seconds"]["median"] for row in figures["overheads"])
    assert figures["sequences_per_second"] > 0


@pytest.mark.slow
def test_a_file_prints_the_same_tables(measured, capsys):
    printed, file = measured
    main(["--from", str(file)])
    assert capsys.readouterr().out == printed
    assert printed.count("\n| --- |") == 3
    assert "| 4 parts, 500 each | 1e+200 | inf | inf (inf - inf) | never |  |" in printed


def test_the_model_is_a_line_and_the_time_of_transfers():
    rows = [{"network": "a net", "n_parts": n, "seconds": {"median": 0.25 + 0.5 * n}} for n in (1, 2, 9)]
    assert averaging.fit([*rows, {"network": "another"}], "a net") == pytest.approx((0.25, 0.5))
    assert [averaging.transfers(n) for n in (1, 2, 1000)] == [0, 2, 1998]
    second = int(averaging.BANDWIDTH)  # bytes that take one second
    received = {1: 0, 2: 1, 8: 7, 9: 14, 64: 14, 65: 21}
    for n, n_received in received.items():
        assert averaging.transfer_seconds(n, second) == n - 1 + n_received


def test_learned_table_shows_medians_and_the_ratio():
    setting = {"n_parts": 2, "round_length": 1500, "learning_rate": 1.0, "alike": False}
    rows = [
        {"setting": None, "sequences": [2, 4, 6], "errors": [[0.2, 0.04, 0.03], [0.2, 0.1, 0.04], [0.3, 0.04, 0.02]]},
        {"setting": setting, "sequences": [3, 6], "errors": [[0.2, 0.04], [0.3, 0.03], [0.3, math.inf]]},
    ]
    assert averaging.learned_table(rows).splitlines()[4:] == [
        "| one machine | 0.5 | 0.0400 | 0.0300 (0.0200 - 0.0400) | 4 | 1.00 |",
        "| 2 different parts, 1,500 each | 1 |  | 0.0400 (0.0300 - inf) | 6 | 1.50 |",
    ]
