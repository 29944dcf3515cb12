"""The commands and examples of the README and the docs run."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest
from pages import ALL_CORES, EMBEDDING, FOR_A_CLUSTER, FORECASTING, KEEPING_ALIVE, METHODS, README, ROOT, blocks
from waiting import HANGS

import lstm97
from lstm97 import methods

COMMANDS = (
    'python -m pip install ".[cli]" && lstm97 run adding --lag 100 --seed 1',
    'python -m pip install ".[test]" && python -m pytest -n auto',
)


def test_readme_opens_with_the_two_commands():
    assert tuple(blocks("console")[0].splitlines()) == COMMANDS
    assert README.index(COMMANDS[0]) < README.index("```python")


def test_first_example_has_ten_lines_at_most():
    assert len([line for line in blocks("python")[0].splitlines() if line.strip()]) <= 10


@pytest.mark.parametrize("code", blocks("python"))
def test_python_example_runs_as_is_and_prints_what_it_says(code, tmp_path):
    promised, printed = run_example(code, tmp_path)
    assert promised
    assert printed == promised


@pytest.mark.parametrize(
    "code",
    [
        *blocks("python", KEEPING_ALIVE),
        *blocks("python", FORECASTING),
        *blocks("python", METHODS),
        *(code for code in blocks("python", ALL_CORES) if FOR_A_CLUSTER not in code),
    ],
)
def test_examples_of_the_docs_run_too(code, tmp_path):
    promised, printed = run_example(code, tmp_path)
    assert printed == promised


@pytest.mark.peers
def test_examples_that_need_a_peer_run_too(tmp_path):
    (code,) = blocks("python", EMBEDDING)
    assert "import onnxruntime" in code
    run_example(code, tmp_path)


def test_learners_have_exactly_the_calls_of_their_page():
    has, lacks = re.search(r"A learner has (.*?)What it does not have:(.*?)Learners work", METHODS, re.DOTALL).groups()
    for method in methods.METHODS.values():
        assert all(callable(getattr(method, name)) for name in re.findall(r"`(\w+)`", has))
        assert not any(hasattr(method, name) for name in re.findall(r"`(\w+)`", lacks))
        assert not {"state", "out", "record"} & set(inspect.signature(method.run).parameters)
        assert not {"batch_size", "threads", "checkpoint"} & set(inspect.signature(method.train).parameters)


def run_example(code, folder):
    """The lines that an example should print by its text, and those that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, timeout=HANGS
    )
    assert done.returncode == 0, done.stderr
    return re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE), done.stdout.splitlines()


def test_every_public_name_in_the_readme_exists():
    names = set(re.findall(r"\blstm97\.([A-Za-z_]\w*)", README))
    assert {"Topology", "Network", "train"} <= names
    assert sorted(name for name in names if not hasattr(lstm97, name)) == []


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "wheels/README.md",
        *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    ],
)
def test_links_to_files_lead_somewhere(page):
    path = ROOT / page
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8"))
    assert targets or page.startswith("docs")
    assert [target for target in targets if not (path.parent / target).exists()] == []
