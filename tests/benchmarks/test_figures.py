"""The figures of README and docs are those that the benchmarks' commands print."""

from __future__ import annotations

import json
import re

import pytest
from benchmarks import averaging, headlines, hosts, latency
from benchmarks.__main__ import together
from benchmarks.learning_rules import __main__ as learning_rules
from pages import ALL_CORES, EMBEDDING, ROOT


@pytest.mark.parametrize(("page", "short"), [("README.md", True), ("docs/speed.md", False)])
def test_figures_are_those_that_the_command_prints(page, short):
    text = (ROOT / page).read_text(encoding="utf-8")
    option = "--short " if short else ""
    (arguments,) = re.findall(rf"`python -m benchmarks {option}--from\s+((?:\S+\.json\s*)+)`\s+prints\s+them", text)
    runs = [json.loads((ROOT / file).read_text(encoding="utf-8")) for file in arguments.split()]
    assert headlines.markdown(together(runs), short=short) in text


@pytest.mark.parametrize("tables", [hosts, latency])
def test_figures_of_embedding_are_those_that_the_commands_print(tables):
    command = rf"`python\s+-m\s+{tables.__name__}\s+--from\s+(\S+\.json)`"
    (arguments,) = re.findall(command, EMBEDDING)
    assert tables.markdown(json.loads((ROOT / arguments).read_text(encoding="utf-8"))) in EMBEDDING


def test_figures_of_learning_rules_are_those_that_the_command_prints():
    page = (ROOT / "docs/learning-rules.md").read_text(encoding="utf-8")
    (arguments,) = re.findall(r"`python -m benchmarks.learning_rules --short --from\s+(\S+\.json)`", page)
    assert learning_rules.markdown(learning_rules.shortened(learning_rules.read(ROOT / arguments))) in page


def test_tables_of_step_sizes_and_of_truncation_are_those_that_the_command_prints():
    page = (ROOT / "docs/learning-rules.md").read_text(encoding="utf-8")
    files = re.findall(r"`python -m benchmarks.learning_rules --from\s+(\S+\.json)`", page)
    assert len(files) == 2
    for file in files:
        parts = learning_rules.markdown(learning_rules.read(ROOT / file)).split("\n\n")
        assert [part for part in parts if part not in page] == []


@pytest.mark.parametrize("tables", [headlines, averaging])
def test_figures_of_all_cores_are_those_that_the_commands_print(tables):
    command = {headlines: "benchmarks", averaging: "benchmarks.averaging"}[tables]
    (arguments,) = re.findall(rf"`python\s+-m\s+{command}\s+--from\s+(\S+\.json)`", ALL_CORES)
    printed = tables.markdown(json.loads((ROOT / arguments).read_text(encoding="utf-8")))
    found = [part for part in printed.split("\n\n") if part.startswith("|")]
    assert found
    assert [part for part in found if part not in ALL_CORES] == []
