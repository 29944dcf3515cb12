"""The exported C file of a Forecaster goes on as the forecaster would: forecasts, intervals, scores, missing values.

Differences are counted in the units of the series: how far it spreads.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess

import numpy as np
import pytest
from compare import TOLERANCE, assert_close
from compiling import compiler

from lstm97 import Forecaster, Network, export_c
from lstm97.export.c import forecaster_bytes
from lstm97.forecaster import AT_ONCE, RECENT

C99 = (*compiler(), "-std=c99", "-O2")
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")
SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
OK, OVERFLOW, VALUE_TOO_LARGE, BAD_PROBABILITY, TOO_FEW_ERRORS = range(5)
HORIZON = 7
PROBABILITY = 0.8

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
            return 1;
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
    """What Python tells after each value: forecast, interval, score, forecasts further ahead."""
    rows = []
    for value in values:
        forecast = forecaster.learn(value)
        interval = forecaster.interval(PROBABILITY)
        rows.append([forecast, *interval, forecaster.score, *forecaster.forecast(HORIZON)])
    return np.array(rows)


def assert_alike(rows, expected, unit, tolerance):
    """Fail unless numbers in units of the series, and scores, are alike, and NaN where they are to be."""
    np.testing.assert_array_equal(np.isnan(rows), np.isnan(expected))
    scale = np.full(expected.shape[1], unit)
    scale[3] = 1
    assert_close(np.nan_to_num(rows / scale), np.nan_to_num(expected / scale), tolerance, "what it tells")


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
@pytest.mark.parametrize(("cells", "lags"), [(1, 1), (3, 4), (16, 24)])
def test_a_new_forecaster_learns_as_in_python(cells, lags, series, difference, tmp_path):
    for seed, unit in enumerate((1.0, 1e-12, 1e200)):
        f = Forecaster(cells, lags, difference, seed=seed)
        values = series(400, seed, unit)
        statuses, rows = Program(f, tmp_path / f"{seed}").learn(values)
        assert set(statuses) == {OK}
        assert_alike(rows, told(f, values), unit, TOLERANCE["float64"] * 100)


@both
@dtypes
@pytest.mark.parametrize("n", [1, 2, 5, 40, RECENT + 50, AT_ONCE + 300])
def test_it_goes_on_where_the_forecaster_was(n, dtype, difference, tmp_path):
    values = a_series(n + 150, n)
    f = Forecaster(5, 6, difference)
    f.learn_many(values[:n])
    statuses, rows = Program(f, tmp_path, dtype=dtype).learn(values[n:])
    assert set(statuses) == {OK}
    assert_alike(rows, told(f, values[n:]), 1.0, TOLERANCE[dtype] * 100)


@both
@pytest.mark.parametrize("series", [a_series, noise])
def test_in_single_precision_it_does_what_such_a_network_does(series, difference, tmp_path):
    f = Forecaster(8, 6, difference)
    values = series(400)
    statuses, rows = Program(f, tmp_path, dtype="float32").learn(values)
    assert set(statuses) == {OK}
    assert_alike(rows, told(in_single(f), values), 1.0, TOLERANCE["float32"] * 10)
