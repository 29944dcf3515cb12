"""The charts show the figures that they are given."""

from __future__ import annotations

import pytest
from benchmarks.streams import LEARN_RUN, PYTORCH, TRAIN

pytestmark = pytest.mark.peers  # matplotlib comes with them


@pytest.fixture(scope="module")
def plots():
    from benchmarks import plots  # not at the top, as this file is also collected where matplotlib is missing

    return plots


def time(median):
    return {"median": median, "lower_quartile": 0.9 * median, "upper_quartile": 1.2 * median}


def point(subject, dtype, n_weights, n_steps, median):
    return {"subject": subject, "dtype": dtype, "n_weights": n_weights, "n_steps": n_steps, "time": time(median)}


def peer(name, ratio, target=None, *, at_most=False, met=None):
    ratio = None if ratio is None else time(ratio)
    return {"name": name, "ratio": ratio, "target": target, "at_most": at_most, "met": met}


FIGURES = {
    "rows": [
        {
            "name": "adding net",
            "dtype": "float64",
            "peers": [
                peer("textbook", 2.5, 2.0, met=True),
                peer("PyTorch", 80.0, 100.0, met=False),
                peer("NumPy", 700.0),
                peer("ONNX Runtime", None, 15.0),
            ],
        },
        {"name": "symbols", "dtype": "float64", "peers": [peer("54 symbols", 1.1, 1.2, at_most=True, met=True)]},
    ],
    "growth": {
        "by_weights": [
            point(TRAIN, "float64", 100, 100, 80.0),
            point(PYTORCH, "float32", 130, 100, 6500.0),
            point(TRAIN, "float64", 1000, 100, 200.0),
        ],
        "by_steps": [point(LEARN_RUN, "float64", 93, 10**7, 95.0), point(LEARN_RUN, "float64", 93, 100, 300.0)],
    },
    "memory": {
        "points": [
            {"subject": LEARN_RUN, "dtype": "float64", "n_steps": 1000, "rise": 0},
            {"subject": LEARN_RUN, "dtype": "float64", "n_steps": 10**7, "rise": 80_000},
        ]
    },
}


def curves(figure):
    (axes,) = figure.axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.get_xlabel()
    assert axes.get_ylabel().endswith((" (ns)", " (MB)"))
    handles, labels = axes.get_legend_handles_labels()
    return {
        label: list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for line, label in zip(handles, labels, strict=True)
    }


def test_time_by_weights(plots):
    assert curves(plots.time_by_weights(FIGURES["growth"])) == {
        f"{TRAIN}, float64": [(100, 0.8), (1000, 0.2)],
        f"{PYTORCH}, float32": [(130, 50.0)],
    }


def test_time_by_steps_goes_from_short_to_long(plots):
    assert curves(plots.time_by_steps(FIGURES["growth"])) == {f"{LEARN_RUN}, float64": [(100, 300.0), (10**7, 95.0)]}


def test_memory_by_steps_draws_none_as_a_page(plots):
    page = plots.PAGE / 1e6
    assert curves(plots.memory_by_steps(FIGURES["memory"])) == {f"{LEARN_RUN}, float64": [(1000, page), (10**7, 0.08)]}


def test_ratios_and_targets(plots):
    (axes,) = plots.ratios(FIGURES["rows"]).axes
    assert axes.get_xscale() == "log"
    bars = axes.patches
    assert [bar.get_width() for bar in bars] == [2.5, 80.0, 700.0, 1.1]
    assert [bool(bar.get_hatch()) for bar in bars] == [False, True, False, False]
    marks = {tuple(line.get_xydata()[0]): line.get_marker() for line in axes.lines if line.get_marker() in "<>"}
    assert marks == {(2.0, 0): ">", (100.0, 1): ">", (1.2, 3): "<"}
    assert [text.get_text() for text in axes.texts] == ["2.5x", "80x", "700x", "1.1x"]
    assert axes.get_yticklabels()[3].get_text() == "symbols, float64\nours by 54 symbols"


def test_the_same_figures_give_the_same_files(plots, tmp_path):
    names = {"ratios", "time-by-weights", "time-by-steps", "memory-by-steps"}
    first, second = (plots.draw(FIGURES, tmp_path / folder) for folder in ("first", "second"))
    assert {file.name for file in first} == {f"{name}.{suffix}" for name in names for suffix in ("png", "svg")}
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_only_what_was_measured_is_drawn(plots, tmp_path):
    written = plots.draw({"rows": FIGURES["rows"]}, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(written) == [tmp_path / "ratios.png", tmp_path / "ratios.svg"]
