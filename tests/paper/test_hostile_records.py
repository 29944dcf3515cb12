"""Manipulated files of records are refused with the line's number, or give a report without active content."""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
from pathlib import Path

import pytest
from command import run
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from lstm97.paper import Records, read_records
from lstm97.paper.report.costs import read as read_costs
from lstm97.paper.report.markdown import markdown
from lstm97.paper.report.page import page

RECORDS = Path(__file__).resolve().parents[2] / "docs" / "records"
LINES = gzip.decompress((RECORDS / "reproduction-2026-11.jsonl.gz").read_bytes()).splitlines()
(RUN,), TRIALS = LINES[:1], [line for line in LINES if line.startswith(b'{"row"')]
TRIAL = json.loads(TRIALS[0])

HOSTILE = {
    "deep": b"[" * 100_000,
    "deep in a field": TRIALS[0].replace(b'"stages":{}', b'"stages":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "a huge number": TRIALS[0].replace(b'"seed":1', b'"seed":1' + b"0" * 5000),
    "a large number": TRIALS[0].replace(b'"seed":1', b'"seed":1' + b"0" * 400),
    "an infinite number": TRIALS[0].replace(b'"seconds":', b'"seconds":1e999,"x":'),
    "infinity": json.dumps(TRIAL | {"train_error": float("inf")}).encode(),
    "NaN": json.dumps(TRIAL | {"seconds": float("nan")}).encode(),
    "half a surrogate pair": json.dumps(TRIAL | {"reading": "\ud800"}).encode(),
    "half a surrogate pair in bytes": TRIALS[0].replace(b'"literal"', b'"\xed\xa0\x80"'),
    "Latin-1": TRIALS[0].replace(b'"literal"', b'"\xe9"'),
    "UTF-16": json.dumps(TRIAL).encode("utf-16-le").replace(b"\n", b" "),
    "a key twice": TRIALS[0].replace(b'{"row":', b'{"row":"6a","row":'),
    "a list for a text": json.dumps(TRIAL | {"row": ["1-1"]}).encode(),
    "an object for a number": json.dumps(TRIAL | {"seed": {}}).encode(),
    "a text for a number": json.dumps(TRIAL | {"sequences": "many"}).encode(),
    "a text for a curve": json.dumps(TRIAL | {"curve": "0.1"}).encode(),
    "a list for an object": json.dumps(TRIAL | {"stages": [1]}).encode(),
    "true for a number": json.dumps(TRIAL | {"seed": True}).encode(),
    "a negative number": json.dumps(TRIAL | {"steps": -1}).encode(),
    "a number for true": json.dumps(TRIAL | {"solved": 1}).encode(),
    "a long curve": json.dumps(TRIAL | {"curve": [0.5] * 1000}).encode(),
    "a list": b"[1]",
    "a run that is none": b'{"run":3}',
    "a run of lists": b'{"run":{"commit":["a"]}}',
    "a run of half a surrogate pair": b'{"run":{"commit":"\\udfff"}}',
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_line_is_named_by_its_number(kind, tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"\n".join([RUN, TRIALS[1], HOSTILE[kind], TRIALS[2], b""]))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}, line 3: not the record of a trial: .") as caught:
        read_records(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_other_files_are_refused_before_they_are_read(tmp_path):
    pipe, bomb = tmp_path / "pipe", tmp_path / "bomb.jsonl.gz"
    os.mkfifo(pipe)
    bomb.write_bytes(gzip.compress(b" " * 10_000_000 + b"\n"))
    for path in (pipe, "/dev/zero"):
        for read in (read_records, read_costs, lambda path: Records(path, {})):
            with pytest.raises(ValueError, match="is not a regular file"):
                read(path)
    with pytest.raises(ValueError, match="unpacks to more than 100 times its size"):
        read_records(bomb)


def test_the_command_refuses_records_in_one_line(tmp_path):
    path = tmp_path / "records.jsonl"
    for kind in ("deep", "a list for a text", "half a surrogate pair", "a huge number"):
        path.write_bytes(b"\n".join([RUN, HOSTILE[kind], b""]))
        before = path.read_bytes()
        for command in (("report", path), ("reproduce", "6a", "--out", path, "--resume")):
            result = run(*command, cwd=tmp_path)
            assert (result.returncode, result.stdout) == (1, "")
            assert result.stderr.startswith(f"Error: {path}, line 2: not the record of a trial: ")
            assert result.stderr.count("\n") == 1
        assert path.read_bytes() == before


VALUES = st.sampled_from(
    [
        *(None, True, False, 0, 1, -1, 2**53, 2**53 + 1, 2**63, 10**400, 0.0, -0.0, 0.5, 1e308, 5e-324, -1.5),
        *(float("nan"), float("inf"), "", "6a", "4-100", "literal", "<script>alert(1)</script>", "| **a** [b](c) |"),
        *("\ud800", "\0\x1b[2J\r\n", "x" * 10_000, "$\\frac$", [], {}, [[]], [0.5], [2**60], {"ST1": 1, "ST2": 2}),
        *({"ST1": "a"}, [None], ["<script>"]),
    ]
)


@st.composite
def tampered(draw):
    """A line of the records with some of its values, keys or bytes changed."""
    line = draw(st.sampled_from([*TRIALS[::40], *[line for line in LINES if line.startswith(b'{"run"')]]))
    values = json.loads(line)
    inner = values.get("run", values)
    for _ in range(draw(st.integers(0, 3))):
        inner[draw(st.sampled_from([*inner, "more"]))] = draw(VALUES)
    if draw(st.booleans()):
        inner.pop(draw(st.sampled_from(list(inner))))
    line = (
        json.dumps(values).encode()
        if draw(st.booleans())
        else json.dumps(values, ensure_ascii=False).encode(errors="surrogatepass")
    )
    for _ in range(draw(st.integers(0, 1))):
        at = draw(st.integers(0, len(line)))
        line = line[:at] + draw(st.binary(max_size=3)) + line[at + draw(st.integers(0, 3)) :]
    return line


def test_tampered_lines_are_refused_or_reported(tmp_path):
    path = tmp_path / "records.jsonl"
    refused = reported = 0

    @examples(5)
    @given(line=tampered())
    def check(line):
        nonlocal refused, reported
        path.write_bytes(b"\n".join([RUN, TRIALS[0], line, b""]))
        try:
            trials, runs = read_records(path)
        except ValueError as error:
            message = str(error)
        else:
            message = None
        if message is not None:
            refused += 1
            assert re.fullmatch(rf"{re.escape(str(path))}, line \d+: not the record of a trial: .+", message)
            return
        reported += 1
        text = markdown(trials, runs)
        assert "<script" not in text
        assert text.encode()

    check()
    assert refused
    assert reported


@pytest.mark.slow
def test_tampered_lines_that_are_read_make_a_page(tmp_path):
    path = tmp_path / "records.jsonl"

    @examples(1)
    @given(line=tampered())
    def check(line):
        path.write_bytes(b"\n".join([RUN, TRIALS[0], line, b""]))
        try:
            found = read_records(path)
        except ValueError:
            return
        assert "<script" not in page(*found, networks=False)

    check()


def test_texts_of_records_are_escaped_in_a_report(tmp_path):
    path = tmp_path / "records.jsonl"
    live = "<script>alert(1)</script> **bold** [link](javascript:1) `code` | cell |\n# title"
    run_line = json.dumps({"run": dict.fromkeys(json.loads(RUN)["run"], live)}).encode()
    others = [json.dumps(TRIAL | {name: live}).encode() for name in ("row", "reading", "task", "diverged")]
    path.write_bytes(b"\n".join([run_line, *TRIALS[:3], *others, b""]))
    trials, runs = read_records(path)
    text = markdown(trials, runs)
    assert (
        r"&lt;script&gt;alert(1)&lt;/script&gt; \*\*bold\*\* \[link\](javascript:1) \`code\` \| cell \| \# title"
        in text
    )
    assert "<script" not in text
    assert "\n# title" not in text
    html = page(trials, runs, networks=False)
    assert "&lt;script&gt;alert(1)" in html
    assert "<script" not in html


def test_trials_of_unknown_rows_are_distinguished(tmp_path):
    path, out = tmp_path / "records.jsonl", tmp_path / "report.md"
    other = json.dumps(TRIAL | {"row": "<b>ours</b>", "seed": 7}).encode()
    lower = json.dumps(TRIAL | {"max_sequences": 5, "seed": 8}).encode()
    path.write_bytes(b"\n".join([RUN, *TRIALS[:2], other, lower, b""]))
    result = run("report", path, "--out", out)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        f"2 trials reported in {out}; 2 more left out: given up earlier than others of their row and reading, or of no "
        "row of the paper.\n"
    )
    assert "\n2 trials, " in out.read_text()
    path.write_bytes(b"\n".join([RUN, other, b""]))
    result = run("report", path, "--out", tmp_path / "none.md")
    assert result.returncode == 2
    assert "no trial of a row of the paper" in result.stderr


HOSTILE_COSTS = {
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "no text": b"\xff",
    "costs that are none": b'{"run":{},"costs":3}',
    "a cost that is none": b'{"run":{},"costs":[3]}',
    "a run that is none": b'{"run":3,"costs":[]}',
}


@pytest.mark.parametrize("kind", HOSTILE_COSTS)
def test_a_hostile_file_of_costs_is_refused(kind, tmp_path):
    path = tmp_path / "costs.json"
    path.write_bytes(HOSTILE_COSTS[kind])
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: not a file of costs: ."):
        read_costs(path)


def test_costs_of_other_methods_or_without_sense_are_refused(tmp_path):
    path = tmp_path / "costs.json"
    good = (RECORDS / "costs-2026-11.json").read_text()
    for name, value in (("method", "<script>"), ("method", []), ("n_units", 0), ("n_steps", 1e9), ("nanoseconds", "3")):
        values = json.loads(good)
        values["costs"][0][name] = value
        path.write_text(json.dumps(values))
        with pytest.raises(ValueError, match="not a file of costs"):
            read_costs(path)


# ---- a report that cannot be written ----


def test_a_report_on_a_full_disk_leaves_the_old_one(tmp_path):
    path, out = tmp_path / "records.jsonl", tmp_path / "report.md"
    path.write_bytes(b"\n".join([RUN, *TRIALS[:3], b""]))
    out.write_text("the old report")
    block = (
        "import os\n"
        "def full(*arguments): raise OSError(28, 'No space left on device')\n"
        "os.fsync = full\n"
        "from lstm97.cli import main; main()"
    )
    result = run("report", path, "--out", out, command=[sys.executable, "-c", block])
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "Error: [Errno 28] No space left on device\n"
    assert out.read_text() == "the old report"
    assert sorted(tmp_path.iterdir()) == [path, out]
