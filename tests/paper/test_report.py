"""The report on the rerun of the paper: its figures are those of the records, its page is self-contained."""

from __future__ import annotations

import copy
import dataclasses
import re
import statistics
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from command import assert_usage_error, run
from matplotlib.figure import Figure

import lstm97
from lstm97.paper import READINGS, Records, describe_run, read_records, reading_of, run_trial, select_rows
from lstm97.paper.report.costs import read as read_costs
from lstm97.paper.report.inside import look_inside, net_input_parts
from lstm97.paper.report.markdown import markdown
from lstm97.paper.report.page import page
from lstm97.paper.report.pictures import as_svg
from lstm97.paper.report.result_lines import group

pytestmark = pytest.mark.xdist_group("report")

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROWS = ("1-1", "2c-50-50", "4-100", "6a")


@pytest.fixture(scope="module")
def trials():
    """Short trials of a few rows in two readings each, made to look solved at a different count for each seed."""
    found = []
    for row in select_rows(ROWS):
        for name in dict.fromkeys(("literal", reading_of(row.task, "closest").name)):
            for seed in (1, 2):
                _, trial = run_trial(reading_of(row.task, name).apply(row), seed, max_sequences=1500)
                found.append(dataclasses.replace(trial, solved=seed == 1, sequences=1000 + seed))
    return found


@pytest.fixture(scope="module")
def runs():
    return [describe_run("lstm97 reproduce <&>")]


# ---- inside the networks ----


@pytest.mark.parametrize(
    "changes",
    [{}, {"recurrent": False}, {"gate_sources": False}, {"bias": "none"}, {"output_gates": False}, {"n_hidden": 0}],
)
@pytest.mark.parametrize("symbols", [False, True])
def test_parts_of_a_gates_net_input_add_up_to_what_the_gate_shows(changes, symbols):
    topology = lstm97.Topology(3, 2, blocks=(2, 1), **changes)
    network = lstm97.Network(topology, seed=3, init_range=1.0)
    rng = np.random.default_rng(1)
    sequence = rng.integers(3, size=20, dtype=np.int32) if symbols else rng.normal(size=(20, 3))
    network.step(np.array([1.0, -2.0, 0.5]))
    untouched = copy.deepcopy(network)
    inside = look_inside(network, sequence)
    for gate, seen in inside.gates.items():
        for block in range(2):
            parts = net_input_parts(network, sequence, gate, block)
            assert set(parts) == {kind for kind, n in topology.sources(gate).items() if n}
            np.testing.assert_allclose(1 / (1 + np.exp(-sum(parts.values()))), seen[:, block], rtol=1e-12)
    np.testing.assert_array_equal(inside.outputs, lstm97.predict(network, [sequence])[0])
    np.testing.assert_array_equal(network.step(np.ones(3)), untouched.step(np.ones(3)))


# ---- figures ----


def test_trials_with_the_rows_own_cap_count_or_else_those_with_the_highest(trials):
    """All trials here ended early, at a cap of 1500."""
    key, expected = (trials[0].row, trials[0].reading), trials[:2]
    low = [dataclasses.replace(trial, max_sequences=10) for trial in expected]
    assert group([*low, *trials])[key] == expected
    own = [dataclasses.replace(trial, max_sequences=200_000) for trial in expected]
    high = [dataclasses.replace(trial, max_sequences=300_000) for trial in expected]
    assert group([*low, *high, *own, *trials])[key] == own
    unknown = dataclasses.replace(trials[0], row="7-1")
    assert group([unknown]) == {}


def test_markdown_has_the_papers_figures_and_those_of_the_records(trials, runs):
    text = markdown(trials, runs)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables]
    assert {len(line) for line in cells} == {12}
    (paper,) = [line for line in cells if line[0].startswith("**4-100**")]
    assert paper[1] == "paper"
    assert paper[4] == "74,000"
    assert paper[9] == "1"
    closest = cells[cells.index(paper) + 2]
    ours = [
        trial for trial in trials if trial.row == "4-100" and trial.reading == "unbiased-linear-output" and trial.solved
    ]
    assert closest[1] == "closest: unbiased-linear-output"
    assert closest[2] == "50% (1 of 2)"
    assert closest[11] == "1,500"
    assert closest[4] == "1,001"
    assert closest[7] == f"{1001 / 74_000:.2f}"
    assert closest[9] == f"{ours[0].test_wrong:.1f}"
    assert closest[10] == f"{ours[0].test_error:.4f}"
    assert f"{len(trials)} trials, {len(trials) // 2} of them solved" in text
    assert f"{sum(trial.steps for trial in trials):,} training steps" in text


def test_readings_beyond_the_two_get_a_table_of_their_own(trials, runs):
    row = select_rows(["4-100"])[0]
    more = [trial for trial in trials if trial.row == "1-1"]
    more = [dataclasses.replace(trial, reading="shortcut") for trial in more[:2]] + list(trials)
    text = markdown(more, runs)
    assert "Readings of row 1-1" in text
    assert f"Readings of row {row.row}" not in text
    assert text.count("| shortcut |") == 1
    meaning = next(reading.meaning for reading in READINGS["embedded-reber"] if reading.name == "shortcut")
    assert f"| shortcut | {meaning} | 50% (1 of 2) |" in text


def test_divergence_shows_and_a_ratio_needs_half_of_the_trials(trials, runs):
    ours = [trial for trial in trials if (trial.row, trial.reading) == ("6a", "literal")]
    assert f" | {1001 / 31_390:.2f} | " in markdown(ours, runs)
    lost = dataclasses.replace(ours[1], seed=3, diverged="too large")
    text = markdown([*ours, lost], runs)
    assert "| 33% (1 of 3), 1 diverged |" in text
    assert f" | {1001 / 31_390:.2f} | " not in text


def test_the_docs_agree_with_the_committed_records():
    """The page was made by ``lstm97 report`` from these files, in this order."""
    records = [DOCS / "records" / f"{name}-2026-11.jsonl.gz" for name in ("reproduction", "readings", "methods")]
    measured = read_costs(DOCS / "records" / "costs-2026-11.json")[0]
    made = markdown(*read_records(*records), measured)
    docs = (DOCS / "reproduction.md").read_text(encoding="utf-8")
    # The last section is computed again, so its rounding depends on the machine.
    assert docs.partition("## How errors vanish")[0] == made.partition("## How errors vanish")[0]
    assert docs.count("\n") == made.count("\n")


# ---- the page ----


class Page(HTMLParser):
    """Checks that elements close in order, and collects ids, references and text."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.references, self.words = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href"):
                self.references.append(value)
            self.references += re.findall(r"url\((.*?)\)", value or "")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def parsed(trials, runs):
    return Page(page(trials, runs, networks=False))


def test_the_page_is_well_formed_and_self_contained(parsed):
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids)) > 100
    assert {reference[0] for reference in parsed.references} == {"#"}
    assert {reference[1:] for reference in parsed.references} <= set(parsed.ids)


def test_the_page_shows_the_same_figures_as_the_markdown(parsed, trials, runs):
    words = set(parsed.words)
    for line in markdown(trials, runs).splitlines():
        if line.startswith("|") and not line.startswith("| ---"):
            assert {cell.strip() for cell in line.strip("|").split("|")[1:]} - {""} <= words


def test_pictures_keep_their_numbers(trials, runs):
    """Coordinates are rounded; numbers in texts are not."""
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([0, 1 / 3], [0, 0.0025])
    axes.set_yticks([0.00125, 0.0025])
    text = as_svg(figure, "name", "a <caption>")
    assert {">0.00125<", ">0.00250<"} <= set(re.findall(r">[0-9.]+<", text))
    assert re.findall(r' d="[^"]*\d\.\d{3,}', text) == []
    assert 'aria-label="a &lt;caption&gt;"' in text


@pytest.mark.slow
def test_a_page_with_networks_draws_three_of_them(trials, runs):
    text = page(trials, runs)
    names = re.findall(r'<svg[^>]*>.*?id="(inside-[^"]*?)-figure_1"', text, flags=re.S)
    assert names == ["inside-4-100", "inside-6a", "inside-2c-50-50"]
    assert Page(text).open == []


def test_means_are_over_solved_trials_only(trials, runs):
    more = [dataclasses.replace(trial, solved=True) for trial in trials]
    text = markdown(more, runs)
    mean = statistics.fmean((1001, 1002))
    assert f"| 100% (2 of 2) | 34% - 100% | {mean:,.0f} |" in text
    none = markdown([dataclasses.replace(trial, solved=False) for trial in trials], runs)
    assert "| 0% (0 of 2) | 0% - 66% |  |" in none
    assert "nan" not in none


# ---- the command ----


@pytest.mark.slow
def test_the_command_makes_a_page_and_markdown(tmp_path, trials, runs):
    with Records(tmp_path / "records.jsonl", runs[0]) as records:
        for trial in trials:
            records.add(trial)
    result = run("report", tmp_path / "records.jsonl", "--out", tmp_path / "report.md")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{len(trials)} trials reported in {tmp_path / 'report.md'}.\n"
    assert (tmp_path / "report.md").read_text() == markdown(*read_records(tmp_path / "records.jsonl"))
    result = run("report", tmp_path / "records.jsonl", "--out", tmp_path / "report.html")
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_the_command_refuses(tmp_path):
    empty, damaged = tmp_path / "empty.jsonl", tmp_path / "damaged.jsonl"
    empty.touch()
    damaged.write_text('{"row": 1}\n')
    assert_usage_error(run("report", empty), "no trial")
    assert_usage_error(run("report", tmp_path / "none"), "does not exist")
    assert_usage_error(run("report", damaged, "--out", damaged), "holds records")
    result = run("report", damaged, "--out", tmp_path / "report.html")
    assert (result.returncode, result.stdout) == (1, "")
    assert f"{damaged}, line 1: not the record of a trial" in result.stderr


def test_all_findings_are_written():
    from lstm97.paper.report.findings import COMPARISON_FINDINGS, FINDINGS

    assert not [text for text in (*FINDINGS.values(), *COMPARISON_FINDINGS.values()) if "TO DO" in text or not text]
