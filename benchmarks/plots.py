"""Charts of the figures that ``--json`` writes, each as PNG and SVG; readable without colour."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from .memory import MEGABYTE
from .streams import LEARN_RUN, PYTORCH, TRAIN

Plain = Mapping[str, Any]

# Colours that differ in brightness too.
COLOURS = {TRAIN: "#000000", LEARN_RUN: "#0072b2", PYTORCH: "#e69f00"}
MARKERS = {TRAIN: "o", LEARN_RUN: "^", PYTORCH: "D"}
DASHES = {"float64": "-", "float32": "--"}

PAGE = mmap.PAGESIZE  # the least by which memory can grow


def _series(points: Sequence[Plain]) -> dict[tuple[str, str], list[Plain]]:
    """Group points by subject and dtype, in the order they come."""
    found: dict[tuple[str, str], list[Plain]] = {}
    for point in points:
        found.setdefault((point["subject"], point["dtype"]), []).append(point)
    return found


def _curves(
    axes: Axes,
    points: Sequence[Plain],
    x: Callable[[Plain], float],
    y: Callable[[Plain], float],
    spread: Callable[[Plain], tuple[float, float]] | None = None,
) -> None:
    """Draw a curve for each series, with its quartiles as a band; both axes logarithmic."""
    for (subject, dtype), series in _series(points).items():
        series.sort(key=x)
        places = [x(point) for point in series]
        axes.plot(
            places,
            [y(point) for point in series],
            color=COLOURS[subject],
            linestyle=DASHES[dtype],
            marker=MARKERS[subject],
            markerfacecolor=COLOURS[subject] if dtype == "float64" else "white",
            markersize=5,
            linewidth=1.5,
            label=f"{subject}, {dtype}",
        )
        if spread is not None:
            low, high = zip(*map(spread, series), strict=True)
            axes.fill_between(places, low, high, color=COLOURS[subject], alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(visible=True, which="major", color="0.85", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(fontsize=9, framealpha=0.9)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _per_weight(point: Plain) -> float:
    return float(point["time"]["median"]) / float(point["n_weights"])


def time_by_weights(growth: Plain) -> Figure:
    """Draw the time per step and weight against the number of weights."""
    figure, axes = _figure(7, 4.5)

    def spread(point: Plain) -> tuple[float, float]:
        n_weights = point["n_weights"]
        return point["time"]["lower_quartile"] / n_weights, point["time"]["upper_quartile"] / n_weights

    points = growth["by_weights"]
    _curves(axes, points, lambda point: point["n_weights"], _per_weight, spread)
    axes.set_xlabel("weights of the network")
    axes.set_ylabel("time per step and weight (ns)")
    axes.set_title(f"Learning, sequences of {points[0]['n_steps']} steps, error at the end, one thread", fontsize=10)
    return figure


def time_by_steps(growth: Plain) -> Figure:
    """Draw the time per step against the length of the sequence."""
    figure, axes = _figure(7, 4.5)

    def spread(point: Plain) -> tuple[float, float]:
        return point["time"]["lower_quartile"], point["time"]["upper_quartile"]

    points = growth["by_steps"]
    _curves(axes, points, lambda point: point["n_steps"], lambda point: point["time"]["median"], spread)
    axes.set_ylim(bottom=10)
    axes.set_xlabel("steps of the sequence")
    axes.set_ylabel("time per step (ns)")
    axes.set_title("Learning, adding net, one sequence, error at the end, one thread", fontsize=10)
    return figure


def memory_by_steps(memory: Plain) -> Figure:
    """Draw the rise of the peak of memory against the length of the sequence."""
    figure, axes = _figure(7, 4.5)
    points = memory["points"]
    _curves(axes, points, lambda point: point["n_steps"], lambda point: max(point["rise"], PAGE) / MEGABYTE)
    axes.axhline(1, color="0.3", linewidth=0.8, linestyle=":")
    axes.set_xlabel("steps of the sequence")
    axes.set_ylabel("peak memory beyond the data (MB)")
    axes.set_title("Learning, adding net, one sequence, error at the end (no rise is drawn as one page)", fontsize=10)
    return figure


def _times(value: float, _: object = None) -> str:
    return f"{value:,.3g}x" if value < 1000 else f"{value:,.0f}x"


def ratios(rows: Sequence[Plain]) -> Figure:
    """Draw each row's ratio to each of its peers as a bar, and the target, if there is one, as a mark."""
    bars = [(row, peer) for row in rows for peer in row["peers"] if peer["ratio"] is not None]
    figure, axes = _figure(11, 1.2 + 0.36 * len(bars))
    labels = []
    for place, (row, peer) in enumerate(bars):
        ratio, target = peer["ratio"]["median"], peer["target"]
        missed = target is not None and not peer["met"]
        at_most = peer["at_most"]
        axes.barh(place, ratio, height=0.7, color="white" if missed else "0.7", edgecolor="0.3", hatch="//" * missed)
        if target is not None:
            axes.plot(target, place, marker="<" if at_most else ">", color="black", markersize=8, zorder=3)
        in_the_way = target is not None and 0.95 * ratio < target < 1.6 * ratio
        axes.text(1.12 * target if in_the_way else 1.05 * ratio, place, _times(ratio), va="center", fontsize=8)
        sides = f"ours by {peer['name']}" if at_most else peer["name"]
        labels.append(f"{row['name']}, {row['dtype']}\n{sides}")
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.axvline(1, color="0.3", linewidth=0.8)
    axes.set_yticks(range(len(bars)), labels, fontsize=7)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.xaxis.set_major_formatter(FuncFormatter(_times))
    axes.set_xlabel('time the peer takes / time lstm97 takes  (the other way round where labelled "ours by")')
    marks = [
        Patch(facecolor="0.7", edgecolor="0.3", label="ratio"),
        Patch(facecolor="white", edgecolor="0.3", hatch="//", label="ratio, target missed"),
        Line2D([], [], color="black", marker=">", markersize=8, linestyle="none", label="target: at least"),
        Line2D([], [], color="black", marker="<", markersize=8, linestyle="none", label="target: at most"),
    ]
    figure.legend(handles=marks, loc="outside upper right", ncols=4, fontsize=8, frameon=False)
    return figure


def draw(figures: Plain, folder: Path) -> list[Path]:
    """Draw the charts that there are figures for and return the files written.

    Parameters
    ----------
    figures : dict
        Plain values as ``--json`` writes them: "rows", "growth" and "memory", as far as they were measured.
    folder : Path
        Where the files go; created if it does not exist.
    """
    pictures: dict[str, Figure] = {}
    if figures.get("rows"):
        pictures["ratios"] = ratios(figures["rows"])
    if figures.get("growth"):
        pictures["time-by-weights"] = time_by_weights(figures["growth"])
        pictures["time-by-steps"] = time_by_steps(figures["growth"])
    if figures.get("memory"):
        pictures["memory-by-steps"] = memory_by_steps(figures["memory"])
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    # A fixed salt and no dates, so that the same figures give the same files.
    with matplotlib.rc_context({"svg.hashsalt": "lstm97"}):
        for name, figure in pictures.items():
            for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
                written.append(folder / f"{name}.{suffix}")
                figure.savefig(written[-1], dpi=150, metadata=metadata)
    return written
