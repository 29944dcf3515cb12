"""Runs rows and shows what came out: as text for people, as plain values for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from .rows import PeerMissingError, Row
from .timing import Summary, Workload, take_turns


@dataclass(frozen=True)
class Peer:
    """What a peer took, and how many times ours that is; or why there is no figure."""

    name: str
    time: Summary | None = None
    ratio: Summary | None = None
    missing: str = ""


@dataclass(frozen=True)
class Result:
    """A measured row; times in nanoseconds per time step."""

    name: str
    dtype: str
    ours: str
    time: Summary
    peers: tuple[Peer, ...]


def measure(row: Row, *, repeats: int, seconds: float) -> Result:
    """Time a row, ours and the peers taking turns; a ratio is taken within each round."""
    ours = row.ours()
    built: dict[str, Workload] = {}
    missing: dict[str, str] = {}
    for name, build in row.peers.items():
        try:
            built[name] = build()
        except PeerMissingError as error:
            missing[name] = str(error)
    taken = take_turns([ours, *built.values()], repeats=repeats, seconds=seconds)
    found = {
        name: Peer(workload.name, Summary.of(taken[:, column]), Summary.of(taken[:, column] / taken[:, 0]))
        for column, (name, workload) in enumerate(built.items(), start=1)
    }
    peers = tuple(found.get(name) or Peer(name, missing=missing[name]) for name in row.peers)
    return Result(row.name, row.dtype, ours.name, Summary.of(taken[:, 0]), peers)


def heading(about: dict[str, dict[str, object]]) -> str:
    """Return machine, build and versions, a line for each."""
    return "\n".join(
        f"{part + ':':<10} " + "; ".join(f"{name} {value}" for name, value in values.items())
        for part, values in about.items()
    )


def _columns(name: str, time: str, spread: str, ratio: str) -> str:
    return f"{name:<56}{time:>12}{spread:>24}{ratio:>8}"


def column_names() -> str:
    """Return the head of the table."""
    names = _columns("", "ns per step", "quartiles", "ratio")
    return names + "\n" + "-" * len(names)


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _spread(summary: Summary) -> str:
    return f"{_number(summary.lower_quartile)} .. {_number(summary.upper_quartile)}"


def lines(result: Result) -> Iterator[str]:
    """Yield a row as lines of text: its name, ours, each peer and how many times ours it takes."""
    yield f"{result.name}, {result.dtype}"
    yield _columns(f"  {result.ours}", _number(result.time.median), _spread(result.time), "")
    for peer in result.peers:
        if peer.time is None or peer.ratio is None:
            yield f"  {peer.name}: {peer.missing}"
        else:
            ratio = f"{_number(peer.ratio.median)}x"
            yield _columns(f"  {peer.name}", _number(peer.time.median), _spread(peer.time), ratio)


def as_plain(about: dict[str, dict[str, object]], results: list[Result], **how: object) -> dict[str, object]:
    """Return everything as plain values, ready for JSON."""
    return {**about, "how": how, "unit": "ns per step", "rows": [asdict(result) for result in results]}
