"""Runs rows and returns the results as text and as plain values for JSON."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

import numpy as np

from . import limits
from .counting import Work
from .rows import PeerMissingError, Row, build
from .timing import Summary, Workload, take_turns

INSTANCES = 3


@dataclass(frozen=True)
class PeerResult:
    """A peer's time, and its ratio to ours; where the target is a maximum, the ratio of ours to the peer's."""

    name: str
    target: float | None
    at_most: bool = False
    time: Summary | None = None
    ratio: Summary | None = None
    met: bool | None = None
    missing: str = ""


@dataclass(frozen=True)
class LimitResult:
    """The machine's time for a part of our work and nothing else, and its share of our time."""

    name: str
    time: Summary
    share: Summary


@dataclass(frozen=True)
class Result:
    """A measured row; times in nanoseconds per time step."""

    name: str
    dtype: str
    ours: str
    time: Summary
    peers: tuple[PeerResult, ...]
    work: Work | None
    limits: tuple[LimitResult, ...]


def measure(row: Row, caches: Mapping[str, int], *, repeats: int, seconds: float) -> Result:
    """Time a row: ours, the peers and the limits take turns; ratios are taken within each round.

    Everything is built again for each third of the rounds, because the addresses of its memory can change the time of a
    small network by a fifth.
    """
    rounds = []
    for _ in range(INSTANCES):
        ours = row.ours()
        built: dict[str, Workload] = {}
        missing: dict[str, str] = {}
        for peer in row.peers:
            try:
                built[peer.name] = build(peer)
            except PeerMissingError as error:
                missing[peer.name] = str(error)
        bounds = []
        if row.work is not None:
            with suppress(OSError, subprocess.CalledProcessError):  # no C compiler, as the heading says
                bounds = list(limits.workloads(row.work, row.dtype, caches))
        workloads = [ours, *built.values(), *bounds]
        rounds.append(take_turns(workloads, repeats=-(-repeats // INSTANCES), seconds=seconds))
    taken = np.concatenate(rounds)

    columns = iter(taken.T)
    own = next(columns)
    peers = []
    for peer in row.peers:
        if peer.name in missing:
            peers.append(PeerResult(peer.name, peer.target, peer.is_ours, missing=missing[peer.name]))
            continue
        theirs = next(columns)
        ratio = Summary.of(own / theirs if peer.is_ours else theirs / own)
        met = None
        if peer.target is not None:
            met = ratio.median <= peer.target if peer.is_ours else ratio.median >= peer.target
        name = built[peer.name].name
        peers.append(PeerResult(name, peer.target, peer.is_ours, Summary.of(theirs), ratio, met))
    reached = tuple(
        LimitResult(bound.name, Summary.of(least), Summary.of(least / own))
        for bound, least in zip(bounds, columns, strict=True)
    )
    return Result(row.name, row.dtype, ours.name, Summary.of(own), tuple(peers), row.work, reached)


def heading(about: Mapping[str, Mapping[str, object]]) -> str:
    """Return machine, limits, build and versions, a line for each."""
    return "\n".join(
        f"{part + ':':<10} " + "; ".join(f"{name} {value}" for name, value in values.items())
        for part, values in about.items()
    )


def _columns(name: str, time: str, spread: str, ratio: str, target: str) -> str:
    return f"{name:<66}{time:>12}{spread:>24}{ratio:>8}  {target}".rstrip()


def column_names() -> str:
    """Return the head of the table."""
    names = _columns("", "ns per step", "quartiles", "ratio", "target")
    return names + "\n" + "-" * (len(names) + len(" 1000x missed"))


def number(value: float) -> str:
    """Return a time as text."""
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def times(ratio: float) -> str:
    """Return a ratio as text; small ones with more digits, as they are compared with targets such as 1.2."""
    return f"{ratio:.2f}x" if ratio < 10 else f"{number(ratio)}x"


def _target_text(peer: PeerResult) -> str:
    if peer.target is None:
        return ""
    verdict = {None: "", True: " met", False: " missed"}[peer.met]
    return f"{'<=' if peer.at_most else '>='} {peer.target:g}x{verdict}"


def _spread(summary: Summary) -> str:
    return f"{number(summary.lower_quartile)} .. {number(summary.upper_quartile)}"


def lines(result: Result) -> Iterator[str]:
    """Yield a row as lines of text: its name, ours, each peer with its ratio and target, each limit with our share."""
    yield f"{result.name}, {result.dtype}"
    yield _columns(f"  {result.ours}", number(result.time.median), _spread(result.time), "", "")
    for peer in result.peers:
        target = _target_text(peer)
        if peer.time is None or peer.ratio is None:
            yield _columns(f"  {peer.name}: {peer.missing}", "", "", "", target)
        else:
            median = number(peer.time.median)
            yield _columns(f"  {peer.name}", median, _spread(peer.time), times(peer.ratio.median), target)
    for limit in result.limits:
        median = number(limit.time.median)
        yield _columns(f"  {limit.name}", median, _spread(limit.time), f"{100 * limit.share.median:.0f}%", "")


def as_plain(about: Mapping[str, Mapping[str, object]], results: list[Result], **how: object) -> dict[str, object]:
    """Return everything as plain values, ready for JSON."""
    return {**about, "how": how, "unit": "ns per step", "rows": [asdict(result) for result in results]}
