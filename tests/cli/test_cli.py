"""The `lstm97` command, run as a process of its own."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import signal
import sys
import sysconfig
import tomllib
from importlib import import_module
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from command import assert_usage_error, complaints, on_a_terminal, read_until, run
from waiting import HANGS

import lstm97
from lstm97 import cli, paper
from lstm97._extras import PACKAGES
from lstm97.cli import commands, progress
from lstm97.cli import run as run_group
from lstm97.paper import TextSettings, default_text, experiment, learn_text, run_trial

# ---- the command ----


def test_the_console_script_is_the_command():
    (script,) = entry_points(group="console_scripts", name="lstm97")
    assert script.load() is cli.main
    result = run("--version", command=[Path(sysconfig.get_path("scripts")) / "lstm97"])
    assert (result.returncode, complaints(result.stderr)) == (0, "")
    assert result.stdout == f"lstm97, version {version('lstm97')}\n"


@pytest.mark.parametrize(("missing", "name"), [("click", "list"), ("tqdm", "costs")])
def test_a_missing_extra_is_named(missing, name):
    block = f"import sys; sys.modules[{missing!r}] = None; from lstm97.cli import main; main()"
    result = run(name, command=[sys.executable, "-c", block])
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == f"lstm97: the command needs the package {missing}: pip install click tqdm\n"


def test_messages_for_missing_packages_agree_with_the_extras():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for extra, packages in PACKAGES.items():
        needs = [re.match(r"[\w-]+", need)[0] for need in project["optional-dependencies"][extra]]
        assert tuple(need for need in needs if need != "lstm97") == packages


@pytest.mark.parametrize("module", ["lstm97", "lstm97.cli"])
def test_the_package_can_be_run_as_the_command(module):
    result = run("--version", command=[sys.executable, "-W", "error", "-m", module])
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"lstm97, version {version('lstm97')}\n"
    assert run("run", "adding", "--lag", 1, command=[sys.executable, "-m", module]).returncode == 2


@pytest.mark.parametrize(
    "command",
    [[Path(sysconfig.get_path("scripts")) / "lstm97"], [sys.executable, "-m", "lstm97"]],
    ids=["script", "-m"],
)
def test_an_unknown_kernel_gives_one_line(command):
    environment = os.environ | {"LSTM97_KERNEL": "v9"}
    result = run("list", command=command, env=environment)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"lstm97: LSTM97_KERNEL is 'v9'; this installation has baseline.*\n", result.stderr)
    imported = run(command=[sys.executable, "-c", "import lstm97"], env=environment)
    assert imported.stderr.splitlines()[-1].startswith("ImportError: LSTM97_KERNEL is 'v9'")


def test_a_bad_number_of_threads_gives_one_line(tmp_path):
    result = run("reproduce", "6a", cwd=tmp_path, env=os.environ | {"LSTM97_NUM_THREADS": "many"})
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: the environment variable LSTM97_NUM_THREADS is 'many'")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "place"),
    [*((name, name) for name in ("cluster", "export", "methods", "paper")), ("executors", "cluster.executors")],
)
def test_parts_of_the_package_are_found_without_an_import_of_their_own(name, place):
    code = f"import sys, lstm97; assert 'lstm97.{place}' not in sys.modules; print(lstm97.{name}.__name__)"
    assert run(command=[sys.executable, "-W", "error", "-c", code]).stdout == f"lstm97.{place}\n"
    with pytest.raises(AttributeError, match="module 'lstm97' has no attribute 'nothing'"):
        _ = lstm97.nothing


def test_the_names_of_the_paper_are_found_when_they_are_asked_for():
    code = "import sys, lstm97.paper; print(*(name for name in sys.modules if name.startswith('lstm97.paper.')))"
    assert run(command=[sys.executable, "-W", "error", "-c", code]).stdout == "\n"
    parts = {"report", "tables", "tasks", "trials"}
    assert {*paper.__all__, *parts} <= set(dir(paper))
    (block,) = (node for node in ast.parse(Path(paper.__file__).read_text()).body if isinstance(node, ast.If))
    for_type_checkers = {
        alias.name: line.module for line in block.body if isinstance(line, ast.ImportFrom) for alias in line.names
    }
    assert set(for_type_checkers) == {*paper.__all__, *parts}
    for name, module in for_type_checkers.items():
        assert getattr(paper, name) is getattr(import_module(module), name)
    row = experiment("adding", 100)
    assert pickle.loads(pickle.dumps(row)) == row
    assert pickle.loads(pickle.dumps(paper.Trial)) is paper.Trial
    with pytest.raises(AttributeError, match=r"module 'lstm97\.paper' has no attribute 'nothing'"):
        _ = paper.nothing


def test_a_broken_installation_is_not_reported_as_a_missing_extra():
    block = "import sys; sys.modules['lstm97._kernel.engine'] = None; from lstm97.cli import main; main()"
    result = run("list", command=[sys.executable, "-c", block])
    assert "ModuleNotFoundError: import of lstm97._kernel.engine halted" in result.stderr
    assert "pip install" not in result.stderr


# ---- groups and their commands ----


def loaded_by(*arguments):
    """The modules that a fresh interpreter has loaded when the command is done."""
    program = (
        "import atexit, sys; from lstm97.cli import main; "
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main()"
    )
    result = run(*arguments, command=[sys.executable, "-W", "error", "-c", program])
    assert result.returncode == 0, result.stderr
    return set(result.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("arguments", "needed", "others"),
    [
        (["--version"], "cli.commands", ["paper", "methods", "export", "demos", "cluster"]),
        (["--help"], "cli.commands", ["paper", "methods", "export", "demos", "cluster"]),
        (["run", "--help"], "cli.run", ["paper", "methods", "export", "demos", "cluster"]),
        (["export", "c", "--help"], "cli.export", ["paper", "methods", "demos", "cluster"]),
        (["run", "text", "--max-bytes", 99, "--cells", 1], "demos.text", ["paper", "methods", "export", "cluster"]),
        (["list", "--help"], "cli.listing", ["paper.tables", "methods", "export", "demos", "cluster"]),
        (["list"], "paper.tables", ["paper.tasks", "paper.trials", "paper.report", "export", "demos", "cluster"]),
        (["costs", "--help"], "cli.costs", ["paper.tables", "paper.report", "methods", "export", "demos", "cluster"]),
        (["run", "adding", "--help"], "cli.trial", ["export", "paper.report", "cli.trials", "demos"]),
        (["reproduce", "--help"], "cli.trials", ["export", "paper.report", "cli.trial", "demos"]),
        (["report", "--help"], "paper.report", ["export", "cli.trials", "paper.report.page", "demos"]),
    ],
)
def test_a_command_loads_what_it_needs_and_no_other(arguments, needed, others):
    loaded = loaded_by(*arguments)
    assert f"lstm97.{needed}" in loaded
    for other in others:
        assert find_spec(f"lstm97.{other}") is not None
        assert f"lstm97.{other}" not in loaded
    assert not loaded & {"dask", "distributed", "matplotlib", "mpi4py", "onnx"}


def test_an_exported_network_needs_no_paper(tmp_path):
    lstm97.Network(lstm97.Topology(2, 1), seed=1).save(tmp_path / "net")
    loaded = loaded_by("export", "c", tmp_path / "net", "--out", tmp_path / "net.c")
    assert "lstm97.export.c" in loaded
    assert not loaded & {"lstm97.paper", "lstm97.methods", "lstm97.demos", "tqdm", "onnx"}


def test_a_report_as_markdown_needs_no_matplotlib(tmp_path):
    _, trial = run_trial(experiment("adding", 100), 1, max_sequences=5)
    with paper.Records(tmp_path / "records", paper.describe_run("")) as records:
        records.add(trial)
    block = "import sys; sys.modules['matplotlib'] = None; from lstm97.cli import main; main()"
    command = [sys.executable, "-W", "error", "-c", block]
    result = run("report", tmp_path / "records", "--out", tmp_path / "report.md", command=command)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "report.md").read_text().startswith("# The rerun of the paper\n")
    result = run("report", tmp_path / "records", "--out", tmp_path / "report.html", command=command)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "Error: a report needs the package matplotlib: pip install matplotlib\n"


@pytest.mark.parametrize("group", [commands.lstm97, run_group.run], ids=lambda group: group.name)
def test_a_group_says_of_its_commands_what_they_say_themselves(group):
    context = click.Context(group)
    for name, entry in group.entries.items():
        command = group.get_command(context, name)
        assert command.name == name
        assert entry.help == command.get_short_help_str(limit=1000)
        assert name in sys.modules[f"lstm97.cli.{entry.module}"].COMMANDS
    for module in {entry.module for entry in group.entries.values()}:
        here = {name for name, entry in group.entries.items() if entry.module == module}
        assert set(sys.modules[f"lstm97.cli.{module}"].COMMANDS) == here
    shown = " ".join(CliRunner().invoke(group, ["--help"], terminal_width=200).stdout.split())
    assert all(f"{name} {entry.help}" in shown for name, entry in group.entries.items())


def test_every_task_of_the_paper_can_be_run():
    assert list(run_group.TASKS) == list(paper.ROWS)


def test_list_shows_the_rows_and_readings():
    result = run("list")
    assert (result.returncode, complaints(result.stderr)) == (0, "")
    lines = [line.split() for line in result.stdout.splitlines()]
    for row, lag, sequences in (
        ("4-100", "100", "74,000"),
        ("4-500", "500", "209,000"),
        ("4-1000", "1,000", "853,000"),
    ):
        assert [row, "adding", "7", lag, "93", "0.5", "10", sequences] in lines
    assert "linear-output" in [line[0] for line in lines if line]
    assert {"literal", "text"} <= {line[0] for line in lines if line}


# ---- run adding ----


def test_adding_solved_prints_the_papers_figures_beside_ours():
    result = run("run", "adding", "--lag", 20, "--seed", 1, "--json")
    assert (result.returncode, complaints(result.stderr)) == (0, "")
    trial = json.loads(result.stdout)
    assert trial["solved"] is True
    assert trial["paper"] is None
    _, expected = run_trial(experiment("adding", 20), 1)
    for name in ("task", "lag", "reading", "seed", "sequences", "steps", "train_error", "test_wrong"):
        assert trial[name] == getattr(expected, name)
    assert trial["steps_per_second"] > 0

    result = run("run", "adding", "--lag", 20, "--seed", 1)
    assert (result.returncode, complaints(result.stderr)) == (0, "")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["training", "sequences", "-", f"{expected.sequences:,}"] in lines
    assert ["wrong", "of", "2,560", "test", "sequences", "-", f"{expected.test_wrong:,}"] in lines
    assert f"Solved: the stop rule held after {expected.sequences:,} sequences." in result.stdout


def test_adding_at_the_cap_is_not_solved():
    result = run("run", "adding", "--max-sequences", 10)
    assert (result.returncode, complaints(result.stderr)) == (1, "")
    lines = result.stdout.splitlines()
    header = next(line for line in lines if line.split() == ["paper", "here"])
    row = next(line for line in lines if line.split() == ["training", "sequences", "74,000", "10"])
    assert len(header) == len(row)
    assert header.index("paper") + len("paper") == row.index("74,000") + len("74,000")
    assert "Not solved: the stop rule did not hold within 10 sequences." in lines


@pytest.mark.parametrize("reading", ["linear-output", "unbiased-linear-output", "literal"])
def test_adding_json_is_one_object_and_the_reading_counts(reading):
    result = run("run", "adding", "--max-sequences", 1500, "--reading", reading, "--seed", 5, "--json")
    assert (result.returncode, complaints(result.stderr)) == (1, "")
    assert result.stdout.count("\n") == 1
    trial = json.loads(result.stdout)
    assert trial["solved"] is False
    assert trial["sequences"] == trial["max_sequences"] == 1500
    assert trial["paper"] == {"sequences": 74_000, "wrong": 1}
    _, expected = run_trial(experiment("adding", 100, reading), 5, max_sequences=1500)
    assert (trial["test_wrong"], trial["test_error"]) == (expected.test_wrong, expected.test_error)


def test_adding_takes_a_row_of_the_table_instead_of_a_lag():
    trials = [
        json.loads(run("run", "adding", *options, "--max-sequences", 5, "--json").stdout)
        for options in (("--row", "4-500"), ("--lag", 500))
    ]
    assert trials[0]["row"] == "4-500"
    for name in ("row", "lag", "reading", "steps", "train_error", "test_error"):
        assert trials[0][name] == trials[1][name]


def test_adding_default_reading_is_the_linear_output_without_bias():
    trial = json.loads(run("run", "adding", "--max-sequences", 5, "--json").stdout)
    assert (trial["reading"], trial["lag"], trial["seed"]) == ("unbiased-linear-output", 100, 1)


def test_adding_saves_the_network(tmp_path):
    out = tmp_path / "adding.safetensors"
    result = run("run", "adding", "--lag", 12, "--max-sequences", 1200, "--out", out, "--json")
    assert complaints(result.stderr) == f"Network saved to {out}.\n"
    assert json.loads(result.stdout)["sequences"] == 1200
    network, _ = run_trial(experiment("adding", 12), 1, max_sequences=1200)
    loaded = lstm97.load(out)
    assert loaded.topology == network.topology
    np.testing.assert_array_equal(loaded.parameters, network.parameters)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lag", 10], ["--lag", "x>=11"]),
        (["--lag", "many"], ["--lag", "not a valid integer"]),
        (["--lag", 100, "--row", "4-100"], ["--lag and --row exclude each other"]),
        (["--row", "6a"], ["--row", "4-100", "4-1000"]),
        (["--seed", -1], ["--seed"]),
        (["--reading", "wrong"], ["--reading", "linear-output", "literal"]),
        (["--max-sequences", 0], ["--max-sequences"]),
        (["--out", "no/such/folder/net"], ["--out", "no/such/folder", "does not exist"]),
        (["--out", "."], ["--out", "is a directory"]),
        (["--unknown"], ["--unknown"]),
    ],
)
def test_adding_usage_errors(arguments, words):
    assert_usage_error(run("run", "adding", *arguments), *words)


def test_a_live_line_shows_on_a_terminal_and_goes_away():
    arguments = ("run", "adding", "--lag", "1000", "--max-sequences", "5000", "--json")
    with on_a_terminal(*arguments) as (process, terminal):
        shown = read_until(terminal).decode()
        output = process.stdout.read()
    assert json.loads(output)["sequences"] == 5000
    lines = shown.split("\r")
    assert any(" of 5,000 sequences, error 0." in line and "M steps/s" in line for line in lines)
    assert "\n" not in shown
    assert lines[-1].strip() == ""  # the line was erased
    assert all(len(line) <= 100 for line in lines)


def test_ctrl_c_ends_with_one_line_and_status_130():
    # The cap ends the run if Ctrl-C does not.
    with on_a_terminal("run", "adding", "--lag", "1000", "--max-sequences", "200000") as (process, terminal):
        assert b"steps/s" in read_until(terminal, b"steps/s")
        process.send_signal(signal.SIGINT)
        rest = read_until(terminal).decode()
        assert process.wait(timeout=HANGS) == 130
        assert process.stdout.read() == b""
    assert rest.endswith("lstm97: interrupted\r\n")
    assert "Traceback" not in rest
    assert rest.count("\n") == 1


# ---- run text ----


def test_text_default_is_the_text_that_ships_with_python():
    result = run("run", "text", "--max-bytes", 3000, "--cells", 4, "--json")
    assert (result.returncode, complaints(result.stderr)) == (0, "")
    record = json.loads(result.stdout)
    assert record["file"] == str(default_text())
    assert (record["n_bytes"], record["cells"]) == (3000, 4)
    assert 0 < record["network_bits"] < 8
    assert 0 < record["order2_bits"] < record["order0_bits"] < 8


def test_text_from_a_file(tmp_path):
    file = tmp_path / "some.txt"
    file.write_bytes(b"to be or not to be, " * 100)
    options = ("--cells", 6, "--learning-rate", 0.2, "--seed", 9)
    record = json.loads(run("run", "text", file, *options, "--json").stdout)
    assert [record[name] for name in ("n_bytes", "cells", "learning_rate", "seed")] == [2000, 6, 0.2, 9]
    result = run("run", "text", file, *options)
    assert (result.returncode, complaints(result.stderr)) == (0, "")
    assert result.stdout.startswith("Bits per byte over 2,000 bytes of some.txt, ")
    lines = [line.rsplit(maxsplit=1) for line in result.stdout.splitlines()]
    assert ["  LSTM, 6 cells", f"{record['network_bits']:.3f}"] in [[a.rstrip(), b] for a, b in filter(None, lines)]
    for label, name in (("order-0", "order0_bits"), ("order-2", "order2_bits"), ("zlib", "zlib_bits")):
        (line,) = [line for line in result.stdout.splitlines() if line.strip().startswith(label)]
        assert line.endswith(f" {record[name]:.3f}")


def test_text_saves_the_network(tmp_path):
    out = tmp_path / "text.safetensors"
    options = ("--cells", 3, "--max-bytes", 2000, "--seed", 4)
    result = run("run", "text", *options, "--out", out, "--json")
    assert result.returncode == 0
    assert complaints(result.stderr) == f"Network saved to {out}.\n"
    with default_text().open("rb") as stream:
        network, _ = learn_text(stream, TextSettings(cells=3, seed=4), max_bytes=2000)
    np.testing.assert_array_equal(lstm97.load(out).parameters, network.parameters)


def test_text_from_a_pipe():
    result = run("run", "text", "/dev/stdin", "--cells", 3, "--json", input="abc" * 2000)
    record = json.loads(result.stdout)
    assert record["n_bytes"] == 6000
    assert record["network_bits"] < record["order0_bits"]


def test_text_usage_errors(tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    assert_usage_error(run("run", "text", empty), "FILE", "is empty")
    assert_usage_error(run("run", "text", tmp_path / "none"), "FILE", "does not exist")
    assert_usage_error(run("run", "text", tmp_path), "FILE", "is a directory")
    assert_usage_error(run("run", "text", "--cells", 0), "--cells")
    assert_usage_error(run("run", "text", "--out", "no/such/folder/net"), "--out", "does not exist")
    (tmp_path / "text").write_text("some text")
    assert_usage_error(run("run", "text", tmp_path / "text", "--out", tmp_path / "text"), "is the text")
    assert (tmp_path / "text").read_text() == "some text"
    assert_usage_error(run("run", "text", "--learning-rate", 0), "--learning-rate")
    assert_usage_error(run("run", "text", "--learning-rate", "nan"), "--learning-rate", "not a finite number")


def test_divergence_gives_one_line():
    result = run("run", "text", "--max-bytes", 3000, "--cells", 4, "--learning-rate", 1e30)
    assert result.returncode == 1
    assert result.stdout == ""
    assert complaints(result.stderr).startswith("Error: ")
    assert complaints(result.stderr).count("\n") == 1
    assert "learning_rate" in result.stderr


# ---- progress where there is no terminal ----


def test_lines_show_the_progress_of_a_trial_and_a_text(monkeypatch):
    monkeypatch.setattr(progress.Lines, "are_due", lambda lines: True)
    result = CliRunner().invoke(commands.lstm97, ["run", "adding", "--lag", "12", "--max-sequences", "3000"])
    for line, n in zip(result.stderr.splitlines(), ("1,000", "2,000", "3,000"), strict=True):
        assert re.fullmatch(rf"adding: {n} of 3,000 sequences, error 0\.\d+, [\d.]+ M steps/s", line)
    assert complaints(result.stderr) == ""
    result = CliRunner().invoke(commands.lstm97, ["run", "text", "--cells", "2", "--max-bytes", "3000"])
    assert "text: 3,000 of 3,000 bytes, bits/byte so far: LSTM " in result.stderr
    assert complaints(result.stderr) == ""


def test_a_long_trial_begins_with_an_estimate(monkeypatch):
    def never(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(paper, "run_trial", never)
    result = CliRunner().invoke(commands.lstm97, ["run", "adding", "--row", "4-1000"])
    first, last = result.stderr.splitlines()
    assert re.fullmatch(r"adding: about \d+ s on average, as recorded trials took \(.*\)", first)
    assert (result.exit_code, last) == (130, "lstm97: interrupted")


def test_lines_come_at_growing_intervals_and_are_for_no_terminal(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines, times = progress.Lines(), []
    for tenth in range(2000):
        now = tenth / 10
        if lines.are_due():
            lines.write(f"{now}")
            times.append(now)
    assert times[:5] == [2, 6, 14, 30, 60]
    assert np.diff(times).max() <= 30
    assert capsys.readouterr().err.split() == [f"{now}" for now in times]

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    lines = progress.Lines()
    now += 1000
    lines.write("nothing")
    assert not lines.are_due()
    assert capsys.readouterr().err == ""


def test_a_closed_stderr_does_not_end_a_run(monkeypatch):
    def broken(*arguments, **options):
        raise BrokenPipeError

    lines = progress.Lines()
    monkeypatch.setattr(progress.click, "echo", broken)
    lines.write("a line")


def test_help_says_how_long_things_take():
    for arguments in (("reproduce",), ("readings",), ("run", "adding")):
        text = " ".join(run(*arguments, "--help").stdout.split())
        assert "as recorded trials took (" in text
        assert re.search(r"Time.*\d (s|minutes|hours)\b", text)
    assert "half a minute" in run("costs", "--help").stdout
