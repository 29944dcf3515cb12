"""The pictures of the report, as SVG: how trials spread, how they learned, and what goes on inside a network."""

from __future__ import annotations

import html
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from lstm97.network import Network
from lstm97.paper.report.costs import LENGTHS_UNITS, STEPS, Cost
from lstm97.paper.report.inside import Gate, look_inside, net_input_parts
from lstm97.paper.report.vanishing import Flow
from lstm97.paper.tables.experiments import LSTM, Experiment
from lstm97.paper.trials.runner import Trial

# These colours differ in brightness too, for readers who cannot tell hues apart.
LITERAL_COLOUR, CLOSEST_COLOUR = "#d55e00", "#0072b2"
METHOD_COLOURS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9")
UNIT_COLOURS = ("#000000", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")

CURVES_DRAWN = 10
"""Learning curves drawn for a row and reading, at most: those of the trials with the lowest seeds."""


def spread(groups: Sequence[tuple[Experiment, Mapping[str, Sequence[Trial]]]]) -> Figure:
    """Draw each solved trial's training sequences as a multiple of the paper's mean.

    `groups` has for every row its trials in the "literal" and the "closest" reading.
    """
    figure = Figure(figsize=(8, 1.2 + 0.36 * len(groups)), layout="constrained")
    axes = figure.add_subplot()
    for place, (row, by_reading) in enumerate(groups):
        assert row.paper is not None
        assert row.paper.sequences is not None
        for name, colour, shift in (("literal", LITERAL_COLOUR, -0.18), ("closest", CLOSEST_COLOUR, 0.18)):
            trials = by_reading.get(name, ())
            solved = [trial.sequences / row.paper.sequences for trial in trials if trial.solved]
            axes.plot(solved, [place + shift] * len(solved), "o", color=colour, markersize=4, alpha=0.55, mew=0)
            if solved:
                axes.plot(np.mean(solved), place + shift, "|", color=colour, markersize=11, mew=2)
            if n_failed := len(trials) - len(solved):
                text = f"{n_failed} of {len(trials)} not solved"
                axes.text(
                    1.0,
                    place + shift,
                    text,
                    color=colour,
                    fontsize=7,
                    va="center",
                    ha="right",
                    transform=axes.get_yaxis_transform(),
                )
    axes.axvline(1, color="0.3", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(groups)), [row.row for row, _ in groups], fontsize=8)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    low, high = axes.get_xlim()
    axes.set_xlim(low, max(high, 3) * 4)
    axes.grid(visible=True, axis="x", color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("training sequences of a solved trial / the paper's mean (bar: mean)")
    figure.legend(handles=_reading_handles(lines=False), loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    return figure


def curves(groups: Sequence[tuple[Experiment, Mapping[str, Sequence[Trial]]]]) -> Figure:
    """Draw the mean training error against the training sequences, a small picture for each row."""
    columns = 3
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(2.9 * columns, 0.5 + 2.1 * rows), layout="constrained")
    for place, (row, by_reading) in enumerate(groups):
        axes = figure.add_subplot(rows, columns, place + 1)
        for name, colour, style in (("literal", LITERAL_COLOUR, "--"), ("closest", CLOSEST_COLOUR, "-")):
            for trial in sorted(by_reading.get(name, ()), key=lambda trial: trial.seed)[:CURVES_DRAWN]:
                ends = trial.curve_every * np.arange(1, len(trial.curve) + 1)
                axes.plot(ends / 1000, trial.curve, style, color=colour, linewidth=0.7, alpha=0.7)
        if row.paper is not None and row.paper.sequences is not None:
            axes.axvline(row.paper.sequences / 1000, color="0.3", linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_title(row.row, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("thousand training sequences (dotted: the paper's mean)", fontsize=8)
    figure.supylabel("mean absolute error", fontsize=8)
    figure.legend(handles=_reading_handles(lines=True), loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    return figure


def inside(
    networks: Sequence[tuple[str, Network]],
    sequence: NDArray[Any],
    target: NDArray[np.float64],
    marks: Mapping[int, str],
) -> Figure:
    """Draw cell states, gates and outputs over one sequence, a column for each network.

    `target` is that of the last step, shape (n_outputs,). `marks` are steps worth a line, with what happens there.
    """
    rows = {
        "cell_state": "cell states",
        "input_gate": "input gates",
        "output_gate": "output gates",
        "output": "outputs",
    }
    figure = Figure(figsize=(4.4 * len(networks), 7.2), layout="constrained")
    every = figure.subplots(len(rows), len(networks), sharex=True, squeeze=False)
    for column, (title, network) in enumerate(networks):
        seen = look_inside(network, sequence)
        block_of = [block for block, size in enumerate(network.topology.blocks) for _ in range(size)]
        for (kind, name), axes in zip(rows.items(), every[:, column], strict=True):
            values = {"cell_state": seen.cell_state, "output": seen.outputs, **seen.gates}[kind]
            owners = block_of if kind == "cell_state" else range(values.shape[1])
            for unit, owner in enumerate(owners):
                second = kind == "cell_state" and owner in owners[:unit]
                axes.plot(values[:, unit], "--" if second else "-", color=_unit_colour(owner), linewidth=1.1)
                if kind == "output":
                    axes.plot(
                        len(sequence) - 1, target[unit], "o", color=_unit_colour(owner), mfc="none", clip_on=False
                    )
            if kind != "cell_state":
                axes.set_ylim(-0.05, 1.05)
            _mark(axes, marks, label=kind == "cell_state")
            axes.set_ylabel(name, fontsize=8)
        every[0, column].set_title(title, fontsize=10, pad=18)
        every[-1, column].set_xlabel("step", fontsize=8)
    return figure


def gate_parts(
    networks: Sequence[tuple[str, Network]], sequence: NDArray[Any], marks: Mapping[int, str], gate: Gate
) -> Figure:
    """Draw what each block's gate gets as net input, by where it comes from."""
    n_blocks = networks[0][1].topology.n_blocks
    figure = Figure(figsize=(4.4 * len(networks), 0.7 + 2.6 * n_blocks), layout="constrained")
    every = figure.subplots(n_blocks, len(networks), sharex=True, squeeze=False)
    looks = {
        "input": ("from the inputs", "-", "#0072b2"),
        "cell": ("from the cells", "-", "#e69f00"),
        "input_gate": ("from the input gates", "--", "#009e73"),
        "output_gate": ("from the output gates", ":", "#cc79a7"),
        "bias": ("bias", "-.", "0.45"),
    }
    for column, (title, network) in enumerate(networks):
        for block in range(n_blocks):
            axes = every[block, column]
            parts = net_input_parts(network, sequence, gate, block)
            axes.plot(sum(parts.values()), color="black", linewidth=1.8, label="net input: their sum")
            for kind, values in parts.items():
                name, style, colour = looks[kind]
                axes.plot(values, style, color=colour, linewidth=1.0, label=name)
            axes.axhline(0, color="0.3", linewidth=0.6)
            _mark(axes, marks, label=block == 0)
            axes.set_ylabel(f"block {block + 1}", fontsize=8)
        every[0, column].set_title(title, fontsize=10, pad=18)
        every[-1, column].set_xlabel("step", fontsize=8)
    handles, labels = every[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def costs(measured: Sequence[Cost]) -> Figure:
    """Draw time per step and weight against the number of units, and memory against the length of a sequence."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    by_units, by_steps = figure.subplots(1, 2)
    names = list(dict.fromkeys(cost.method for cost in measured))
    for name, colour, marker in zip(names, itertools.cycle(METHOD_COLOURS), "os^vDPX", strict=False):
        units = [cost for cost in measured if cost.method == name and cost.n_steps == STEPS]
        steps = [cost for cost in measured if cost.method == name and cost.n_units == LENGTHS_UNITS]
        look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.2}
        by_units.plot(
            [cost.n_units for cost in units],
            [cost.nanoseconds / cost.n_weights for cost in units],
            label=name,
            **look,
        )
        by_steps.plot([cost.n_steps for cost in steps], [cost.n_bytes / 1024 for cost in steps], **look)
    by_units.set_xlabel("hidden units (cells of LSTM)", fontsize=8)
    by_units.set_ylabel("nanoseconds per step and weight", fontsize=8)
    by_steps.set_xlabel(f"steps of the sequence, {LENGTHS_UNITS} units", fontsize=8)
    by_steps.set_ylabel("KiB held by the learner", fontsize=8)
    for axes in (by_units, by_steps):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.tick_params(labelsize=7)
        axes.grid(visible=True, color="0.9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    by_units.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    by_units.set_xticks(sorted({cost.n_units for cost in measured}))
    by_units.xaxis.set_minor_locator(NullLocator())
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def error_flow(flows: Sequence[Flow]) -> Figure:
    """Draw what is left of an error against the number of steps it went back, for nets of each kind."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.add_subplot()
    shades = dict(
        zip(dict.fromkeys(flow.init_range for flow in flows if flow.method != LSTM), METHOD_COLOURS[1:], strict=False)
    )
    for flow in flows:
        lags = np.arange(flow.sizes.shape[1])
        middle = np.median(flow.sizes, axis=0)
        colour = METHOD_COLOURS[0] if flow.method == LSTM else shades[flow.init_range]
        name = f"{flow.method}, initial weights within {flow.init_range:g}"
        # The curves of RTRL and BPTT coincide: RTRL's is drawn wide and pale, so that both are seen.
        wide = flow.method == "rtrl"
        axes.plot(lags, middle, color=colour, linewidth=5 if wide else 1.4, alpha=0.3 if wide else 1, label=name)
        if not wide:
            axes.fill_between(
                lags, flow.sizes.min(axis=0), flow.sizes.max(axis=0), color=colour, alpha=0.12, linewidth=0
            )
    axes.set_yscale("log")
    axes.set_ylim(1e-20, 100)
    axes.set_xlim(0, flows[0].sizes.shape[1] - 1)
    axes.set_xlabel("steps back in time", fontsize=8)
    axes.set_ylabel("error, as a share of that at the last step", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(visible=True, color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def as_svg(figure: Figure, name: str, caption: str) -> str:
    """Return a figure as an SVG element for a page that has others; the same figure gives the same text.

    All its ids begin with `name`, so that they differ from those of other figures. A screen reader reads `caption` out.
    """
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "lstm97", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    # Coordinates are rounded to a hundredth of a point, which cannot be seen and keeps the page small.
    places = re.compile(r' (?:d|x|y|transform)="[^"]*"')
    text = places.sub(lambda place: re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", place[0]), text)
    text = text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(caption)}" ', 1)
    return re.sub(r'( id="| xlink:href="#|url\(#)', rf"\1{name}-", text).rstrip()


def _mark(axes: Axes, marks: Mapping[int, str], *, label: bool) -> None:
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    for step, text in marks.items():
        axes.axvline(step, color="0.6", linewidth=0.8, linestyle=":")
        if label:
            axes.annotate(
                text, (step, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8, color="0.3"
            )


def _unit_colour(number: int) -> str:
    return UNIT_COLOURS[number % len(UNIT_COLOURS)]


def _reading_handles(*, lines: bool) -> list[Line2D]:
    literal, closest = (
        Line2D([], [], color=colour, label=name)
        for name, colour in (("literal reading", LITERAL_COLOUR), ("closest reading", CLOSEST_COLOUR))
    )
    literal.set_linestyle("--")
    if not lines:
        for handle in (literal, closest):
            handle.set(linestyle="none", marker="o")
    return [literal, closest]
