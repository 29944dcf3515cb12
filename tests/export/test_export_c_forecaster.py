"""The exported C file of a Forecaster goes on as the forecaster would: forecasts, intervals, scores, missing values.

Differences are counted in the units of the series: how far it spreads.
"""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from compare import TOLERANCE, assert_close
from compiling import compiler

from lstm97 import Forecaster, Network, export_c
from lstm97.export.c import forecaster_bytes
from lstm97.forecaster import AT_ONCE, RECENT

C99 = (*compiler(), "-std=c99", "-O1")
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")
SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
OK, OVERFLOW, VALUE_TOO_LARGE, BAD_PROBABILITY, TOO_FEW_ERRORS = range(5)
HORIZON = 7
PROBABILITY = 0.8
SCORE = 3

both = pytest.mark.parametrize("difference", [True, False])
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])

# Each number of the input is a value to learn; each row of the output is what is known then.
DRIVER = f"""
#include "forecaster.c"
#include <stdio.h>

int main(void)
{{
    static lstm97_forecaster f;
    double value, told[6 + {HORIZON}];
    f = lstm97_initial;
    while (fread(&value, sizeof value, 1, stdin) == 1) {{
        told[0] = lstm97_learn(&f, value);
        told[1] = f.status;
        told[2] = lstm97_interval(&f, {PROBABILITY}, told + 3, told + 4);
        told[5] = lstm97_score(&f);
        if (lstm97_forecast(&f, {HORIZON}, told + 6) != LSTM97_OK)
            for (int i = 0; i < {HORIZON}; i++)
                told[6 + i] = NAN;
        fwrite(told, sizeof told, 1, stdout);
    }}
    fprintf(stderr, "%d", (int)sizeof f);
    return 0;
}}
"""


class Program:
    """An exported forecaster, compiled with the driver."""

    def __init__(self, forecaster, folder, *, dtype=None, command=C99):
        folder.mkdir(parents=True, exist_ok=True)
        export_c(forecaster, folder / "forecaster.c", dtype=dtype)
        (folder / "driver.c").write_text(DRIVER)
        self.size = forecaster_bytes(forecaster, dtype)
        self.program = folder / "program"
        subprocess.run([*command, *STRICT, folder / "driver.c", "-o", self.program, "-lm"], check=True)

    def learn(self, values):
        """What C tells after each value: status, and a row like those of `told`."""
        data = np.asarray(values, np.float64).tobytes()
        ran = subprocess.run([self.program], input=data, capture_output=True, check=True)
        assert int(ran.stderr) == self.size
        rows = np.frombuffer(ran.stdout).reshape(len(values), 6 + HORIZON)
        assert set(rows[:, 2]) <= {OK, TOO_FEW_ERRORS}
        np.testing.assert_array_equal(rows[:, 2] == TOO_FEW_ERRORS, np.isnan(rows[:, 3]))
        return rows[:, 1].astype(int).tolist(), np.delete(rows, [1, 2], axis=1)


def told(forecaster, values):
    """What Python tells after each value: forecast, interval, score, forecasts further ahead; NaN where it raises."""
    rows = []
    for value in values:
        forecast, ahead = math.nan, np.full(HORIZON, math.nan)
        with contextlib.suppress(FloatingPointError):
            forecast = forecaster.learn(value)
        with contextlib.suppress(FloatingPointError):
            ahead = forecaster.forecast(HORIZON)
        rows.append([forecast, *forecaster.interval(PROBABILITY), forecaster.score, *ahead])
    return np.array(rows)


def assert_alike(rows, expected, unit, tolerance):
    """Fail unless numbers in the unit of the series, and scores, are alike, and NaN where they are to be."""
    np.testing.assert_array_equal(np.isnan(rows), np.isnan(expected))
    rows, expected = np.nan_to_num(rows), np.nan_to_num(expected)
    for i in range(rows.shape[1]):
        if i != SCORE:
            assert_close(rows[:, i] / unit, expected[:, i] / unit, tolerance, f"column {i}")
    # Rounding may change which of two errors is the larger, and with it a score by a 256th or so.
    assert np.abs(rows[:, SCORE] - expected[:, SCORE]).max() < (1e-12 if tolerance < 1e-9 else 0.02)


def a_series(n, seed=0, unit=1.0, missing=0.05):
    """A random walk with a season and a few outliers, of which some values are missing, in any unit."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=n).cumsum() + 10 * np.sin(np.arange(n) / 5)
    values[rng.random(n) < 0.01] += 500
    values[rng.random(n) < missing] = math.nan
    return values * unit


def noise(n, seed=0, unit=1.0):
    """Values around one level, of which some are missing and some are equal."""
    rng = np.random.default_rng(seed)
    values = 50 + rng.normal(size=n).round(1)
    values[rng.random(n) < 0.05] = math.nan
    return values * unit


def in_single(forecaster):
    """A new forecaster whose network computes in float32, as that of a float32 file does."""
    f = Forecaster(forecaster.cells, forecaster.lags, forecaster.difference)
    settings = {"optimizer": f.network.optimizer, "learning_rate": f.network.learning_rate}
    network = Network(f.network.topology, "float32", **settings)
    network.parameters = forecaster.network.parameters
    f._set_up(network, forecaster.difference)
    f._y = f._y.astype("float32")
    return f


# ---- what it computes ----


@both
@pytest.mark.parametrize("series", [a_series, noise])
@pytest.mark.parametrize(("cells", "lags", "unit"), [(1, 1, 1.0), (3, 4, 1e-12), (16, 24, 1e200)])
def test_a_new_forecaster_learns_as_in_python(cells, lags, unit, series, difference, tmp_path):
    f = Forecaster(cells, lags, difference, seed=lags)
    values = series(600, lags, unit)
    statuses, rows = Program(f, tmp_path).learn(values)
    assert set(statuses) == {OK}
    assert_alike(rows, told(f, values), unit, TOLERANCE["float64"])


@both
@dtypes
@pytest.mark.parametrize("n", [1, 5, RECENT + 50, AT_ONCE + 300])
def test_it_goes_on_where_the_forecaster_was(n, dtype, difference, tmp_path):
    values = a_series(n + 150, n)
    f = Forecaster(5, 6, difference)
    f.learn_many(values[:n])
    statuses, rows = Program(f, tmp_path, dtype=dtype).learn(values[n:])
    assert set(statuses) == {OK}
    assert_alike(rows, told(f, values[n:]), 1.0, TOLERANCE[dtype])


@both
@pytest.mark.parametrize("series", [a_series, noise])
def test_in_single_precision_it_does_what_such_a_network_does(series, difference, tmp_path):
    f = Forecaster(8, 6, difference)
    values = series(1000)
    statuses, rows = Program(f, tmp_path, dtype="float32").learn(values)
    assert set(statuses) == {OK}
    assert_alike(rows, told(in_single(f), values), 1.0, TOLERANCE["float32"])


@both
def test_beginnings_without_change_and_gaps(difference, tmp_path):
    nan = math.nan
    values = [nan, nan, 7.0, 7.0, nan, 7.0, 7.0, 7.5, nan, nan, 8.0, *a_series(60), *[nan] * 20, 3.0, 4.0, *[2.0] * 20]
    f = Forecaster(3, 4, difference)
    statuses, rows = Program(f, tmp_path / "new").learn(values)
    assert set(statuses) == {OK}
    assert np.isnan(rows[:2, 0]).all()
    assert rows[2:7, 0].tolist() == [7.0] * 5
    assert_alike(rows, told(f, values), 1.0, TOLERANCE["float64"])
    for n in (2, 3, 7, 8, 9, 40):  # exported there
        f = Forecaster(3, 4, difference)
        f.learn_many(values[:n])
        statuses, rows = Program(f, tmp_path / f"{n}").learn(values[n:])
        assert_alike(rows, told(f, values[n:]), 1.0, TOLERANCE["float64"])


FAST = [(*C99, flag) for flag in ("-Ofast", "-ffast-math")]


@pytest.mark.parametrize("command", [C99, *FAST], ids=lambda command: command[-1])
def test_values_that_are_too_large_change_nothing(command, tmp_path):
    f = Forecaster(3, 4)
    f.learn_many(a_series(50))
    good, bad = a_series(40, 1), [math.inf, -math.inf, 1.1e290, -1.1e290, 1e308]
    values = np.array([[*bad, value] for value in good])
    statuses, rows = Program(f, tmp_path, command=command).learn(values.ravel())
    assert statuses == [*[VALUE_TOO_LARGE] * 5, OK] * 40
    assert np.isnan(rows[:, 0].reshape(40, 6)[:, :5]).all()
    assert_alike(rows[5::6], told(f, good), 1.0, 1e-10)


@both
def test_values_of_any_size_give_finite_forecasts(difference, tmp_path):
    values = [0.0, 5e-324, -5e-324, 1e290, -1e290, 0.0, 1.0, 1e-300, -1e290, 1e290, *[1e290, -1e290] * 20, 3.0, 4.0]
    f = Forecaster(3, 4, difference)
    statuses, rows = Program(f, tmp_path).learn(values)
    assert set(statuses) == {OK}
    assert np.isfinite(rows[:, 0]).all()
    assert_alike(rows, told(f, values), 1e290, TOLERANCE["float64"])


@both
def test_errors_are_cut_as_in_python(difference, tmp_path):
    values = [0.0, 1.0] * 10 + [1e30, -1e30] * 8  # far beyond 1e15 times the scale
    f = Forecaster(3, 4, difference)
    statuses, rows = Program(f, tmp_path).learn(values)
    assert set(statuses) == {OK}
    expected = told(f, values)
    assert_alike(rows, expected, 1e30, TOLERANCE["float64"])


def test_after_an_overflow_it_goes_on(tmp_path):
    f = Forecaster(3, 4)
    f.learn_many(a_series(50, unit=1e-3))
    f.network.weights["output"][0, :-1] = 1e308
    values = [1.0, -1.0, math.nan, 1.0, 2.0, *a_series(20, unit=1e-3)]
    statuses, rows = Program(f, tmp_path).learn(values)
    expected = told(f, values)
    assert set(statuses) == {OK, OVERFLOW}
    np.testing.assert_array_equal(np.array(statuses) == OVERFLOW, np.isnan(expected[:, 0]))
    assert_alike(rows, expected, np.nanmax(np.abs(expected)), TOLERANCE["float64"])


PROBABILITIES = [0.01, 0.5, 0.9, 0.98, 0.99, 0.0, -0.1, 0.991, 1.0, math.nan, math.inf]


@dtypes
@pytest.mark.parametrize("n", [20, 150, 600])
def test_intervals_of_all_probabilities(n, dtype, tmp_path):
    f = Forecaster(2, 3)
    f.learn_many([50.0] * 30 + list(noise(n)))  # many of the first errors are equal: 0
    export_c(f, tmp_path / "forecaster.c", dtype=dtype)
    (tmp_path / "driver.c").write_text("""
        #include "forecaster.c"
        #include <stdio.h>
        int main(void)
        {
            double p, told[3];
            while (fread(&p, sizeof p, 1, stdin) == 1) {
                told[0] = lstm97_interval(&lstm97_initial, p, told + 1, told + 2);
                fwrite(told, sizeof told, 1, stdout);
            }
            return 0;
        }
    """)
    subprocess.run([*C99, *STRICT, tmp_path / "driver.c", "-o", tmp_path / "program", "-lm"], check=True)
    rows = np.frombuffer(subprocess.check_output([tmp_path / "program"], input=np.array(PROBABILITIES).tobytes()))
    for probability, row in zip(PROBABILITIES, rows.reshape(-1, 3), strict=True):
        if not 0 < probability <= 0.99:
            assert row[0] == BAD_PROBABILITY
            assert np.isnan(row[1:]).all()
        else:
            expected = f.interval(probability)
            assert row[0] == (TOO_FEW_ERRORS if math.isnan(expected[0]) else OK)
            np.testing.assert_allclose(row[1:], expected, 1e-12 if dtype == "float64" else 1e-6)


# ---- the file ----


def test_a_program_may_have_several_forecasters_and_networks(tmp_path):
    forecasters = Forecaster(2, 3), Forecaster(3, 2, difference=False)
    for name, f, dtype in zip(("first", "Second2"), forecasters, ("float64", "float32"), strict=True):
        f.learn_many(noise(40))
        export_c(f, tmp_path / f"{name}.c", dtype=dtype, name=name)
        assert not re.findall(r"\blstm97_|LSTM97_", (tmp_path / f"{name}.c").read_text())
    export_c(Network(forecasters[0].network.topology), tmp_path / "net.c", name="net")
    (tmp_path / "main.c").write_text("""
        #define SECOND2_DECLARATIONS_ONLY
        #include "first.c"
        #include "Second2.c"
        #include "net.c"
        #include <stdio.h>
        int main(void)
        {
            first_forecaster f = first_initial;
            Second2_forecaster g = Second2_initial;
            net_state s = {0};
            double x[NET_N_INPUTS] = {0};
            double forecasts[2];
            forecasts[0] = first_learn(&f, 51.0);
            forecasts[1] = Second2_learn(&g, 51.0);
            fwrite(forecasts, sizeof forecasts, 1, stdout);
            return net_step(&net_initial, &s, x, x);
        }
    """)
    sources = [tmp_path / "main.c", tmp_path / "Second2.c"]
    subprocess.run([*C99, *STRICT, *sources, "-o", tmp_path / "program", "-lm"], check=True)
    forecasts = np.frombuffer(subprocess.check_output([tmp_path / "program"]))
    np.testing.assert_allclose(forecasts, [f.learn(51.0) for f in forecasters], 1e-6)


LANGUAGES = [(*compiler(), "-std=c99"), (*compiler(), "-std=c11")]
LANGUAGES += [("clang", f"-std={name}") for name in ("c99", "c11") if shutil.which("clang")]
LANGUAGES += [
    (name, f"-std={standard}", "-x", "c++")
    for name in ("g++", "clang++")
    if shutil.which(name)
    for standard in ("c++11", "c++20")
]


@pytest.mark.parametrize("language", LANGUAGES, ids=" ".join)
def test_it_compiles_without_warnings(language, tmp_path):
    for difference in (True, False):
        for cells, lags in ((1, 1), (3, 2), (2, 5)):
            f = Forecaster(cells, lags, difference)
            f.learn_many(noise(cells * 20 - 20))
            export_c(f, tmp_path / "f.c", dtype=("float64", "float32")[lags == 2], name="f")
            for flags in ((), ("-DF_DECLARATIONS_ONLY",)):
                subprocess.run([*language, *STRICT, *flags, "-fsyntax-only", tmp_path / "f.c"], check=True)


@pytest.mark.parametrize("cpp", [name for name in ("g++", "clang++") if shutil.which(name)])
def test_inside_cpp_it_does_the_same(cpp, tmp_path):
    f, values = Forecaster(3, 4), a_series(200)
    f.learn_many(values[:50])
    _, rows = Program(f, tmp_path, command=(cpp, "-std=c++11", "-O2", "-x", "c++")).learn(values[50:])
    assert_alike(rows, told(f, values[50:]), 1.0, TOLERANCE["float64"])


@dtypes
def test_the_file_needs_only_the_c_library_and_has_no_variables(dtype, tmp_path):
    # Compilers may replace loops by calls of memcpy, memmove and memset.
    allowed = {"sqrt", "sqrtf", "log10", "memcpy", "memmove", "memset"}
    for difference in (True, False):
        f = Forecaster(4, 5, difference)
        export_c(f, tmp_path / "f.c", dtype=dtype)
        assert re.findall(r"#include (.*)", (tmp_path / "f.c").read_text()) == ["<math.h>", "<stdint.h>", "<string.h>"]
        subprocess.run([*compiler(), "-O2", "-c", tmp_path / "f.c", "-o", tmp_path / "f.o"], check=True)
        nm = subprocess.run(["nm", tmp_path / "f.o"], capture_output=True, text=True, check=True).stdout
        assert set(re.findall(r"^ +U (\w+)", nm, re.MULTILINE)) <= allowed | {"_GLOBAL_OFFSET_TABLE_"}
        assert not re.findall(r" [bBdDC] ", nm)


def test_the_docs_have_the_sizes():
    page = (Path(__file__).parents[2] / "docs" / "forecasting.md").read_text(encoding="utf-8")
    sizes = [forecaster_bytes(Forecaster(), dtype) // 1000 for dtype in ("float64", "float32")]
    assert f"{sizes[0]} KB by the default settings, {sizes[1]} KB in float32" in page


def test_what_single_precision_cannot_hold_is_refused(tmp_path):
    f = Forecaster(2, 3)
    f.learn_many(noise(50))
    f.network.weights["cell"][0, 0] = 1e300
    with pytest.raises(ValueError, match="finite in float32"):
        export_c(f, tmp_path / "f.c", dtype="float32")
    assert not (tmp_path / "f.c").exists()


def test_the_export_leaves_the_forecaster_and_its_file_as_they_are(tmp_path):
    f = Forecaster(2, 3)
    f.learn_many(noise(50))
    before = f._to_bytes()
    export_c(f, tmp_path / "a.c")
    export_c(Forecaster.load(saved(f, tmp_path)), tmp_path / "b.c", learn=True)
    assert f._to_bytes() == before
    assert (tmp_path / "a.c").read_bytes() == (tmp_path / "b.c").read_bytes()
    assert "after 49 values" in (tmp_path / "a.c").read_text()


def saved(forecaster, folder):
    """The path of its file."""
    forecaster.save(folder / "f.safetensors")
    return folder / "f.safetensors"


def test_the_command_writes_the_same_file_as_the_function(tmp_path):
    f = Forecaster(2, 3)
    f.learn_many(noise(50))
    path = saved(f, tmp_path)
    for arguments in ([], ["--learn"]):
        command = ["export", "c", path, "--dtype", "float32", "--name", "level", *arguments]
        ran = subprocess.run([sys.executable, "-m", "lstm97", *command], capture_output=True, text=True)
        assert (ran.returncode, ran.stderr) == (0, "")
        n_bytes = f"{forecaster_bytes(f, 'float32'):,}"
        assert ran.stdout == f"{tmp_path / 'f.c'} written: {n_bytes} bytes for each forecaster.\n"
        export_c(f, tmp_path / "same.c", dtype="float32", name="level")
        assert (tmp_path / "f.c").read_bytes() == (tmp_path / "same.c").read_bytes()


@pytest.mark.slow
@both
@dtypes
def test_sanitizers(dtype, difference, tmp_path):
    f, values = Forecaster(5, 6, difference), a_series(600)
    f.learn_many(values[:100])
    statuses, rows = Program(f, tmp_path, dtype=dtype, command=(*C99, *SANITIZE)).learn(values[100:])
    assert set(statuses) == {OK}
    assert_alike(rows, told(f, values[100:]), 1.0, TOLERANCE[dtype] * 10)
