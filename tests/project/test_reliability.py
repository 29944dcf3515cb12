"""docs/reliability.md has the figures of the records, and names programs that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def record(name):
    return json.loads((ROOT / "docs" / "records" / f"{name}-2026-11.json").read_text(encoding="utf-8"))


def row(name):
    """The cells of the table's row whose record this is."""
    (line,) = (line for line in PAGE.splitlines() if f"(records/{name}-2026-11.json)" in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_random_calls_under_sanitizers():
    found = record("fuzz-api")
    _, amount, findings, _ = row("fuzz-api")
    assert amount == f"{found['api']['programs']:,} programs"
    assert findings == f"{len(found['findings'])}"
    assert f"{found['files']['files']:,} files" in PAGE


def test_round_trips():
    found = record("round-trips")
    _, amount, findings, _ = row("round-trips")
    trips = found["round trips"]
    assert amount == f"{trips['in all']:,} round trips of {trips['file']:,} states"
    assert findings == str(len(found["findings"]))


def test_failing_allocations():
    found = record("failing-allocations")
    _, amount, findings, _ = row("failing-allocations")
    assert amount == f"{found['failures']:,} failures in {found['kinds of calls']} kinds of calls"
    assert findings == str(found["findings"])


def test_every_program_it_names_is_there():
    names = re.findall(r"`(?:tests/|tools/|wheels/)?([a-z_]+\.(?:py|sh))", PAGE)
    assert len(names) > 20
    for name in names:
        assert any(True for folder in ("tests", "tools", "wheels") for _ in (ROOT / folder).rglob(name)), name
