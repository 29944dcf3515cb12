"""The Forecaster: judged by a plain loop around a network; bits, units, causality, missing values, files, threads."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import pickle
import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interrupts import assert_usable_after_ctrl_c
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from waiting import until

import lstm97
from lstm97 import Forecaster, Network, RMSprop, Topology
from lstm97.extend import held
from lstm97.forecaster import AT_ONCE, RECENT, ROOM

equal = np.testing.assert_array_equal
both = pytest.mark.parametrize("difference", [True, False])

SMALL = {"cells": 3, "lags": 4}
VALUES = st.lists(
    st.one_of(st.floats(-1e3, 1e3), st.integers(-3, 3).map(float), st.just(math.nan)), min_size=1, max_size=40
)


def a_series(n, seed=0):
    """A random walk with a season."""
    return np.random.default_rng(seed).normal(size=n).cumsum() + 10 * np.sin(np.arange(n) / 5)


def learned(values, **arguments):
    """A forecaster that has learned values one by one, and its forecasts."""
    f = Forecaster(**(SMALL | arguments))
    return f, np.array([f.learn(value) for value in np.asarray(values).tolist()])


def all_of(f):
    """Everything that a forecaster is, as bytes."""
    return f._to_bytes()


# ---- the judge -------------------------------------------------------------------------------------------------------


def by_a_plain_loop(values, cells, lags, difference):
    """Forecasts by a network, with windows, scales and means computed anew at every step."""
    topology = Topology(
        lags,
        1,
        blocks=(1,) * cells,
        forget_gates=True,
        gate_sources=False,
        input_squash="tanh",
        output_squash="tanh",
        output="identity",
        loss="huber",
    )
    net = Network(topology, forget_gate_bias=0.0, optimizer=RMSprop(decay=0.999, bound=0.5))
    net.weights["output"] = 0.0
    waits = None
    forecasts, deviations, counted = [], [], values[:1]
    mean, scale = values[0], 0.0
    for t, value in enumerate(values):
        if waits is not None:
            base, scale = waits
            net.correct([(value - base) / scale], 0.01)
        if t:
            expected = values[t - 1] if difference else mean
            cut = np.clip(value, expected - 100 * scale, expected + 100 * scale) if scale else value
            deviations += [abs(cut - expected)] if deviations or cut != expected else []
            counted.append(cut)
        mean = values[0] + math.fsum(v - values[0] for v in counted) / len(counted)
        scale = math.fsum(deviations) / max(1, len(deviations))
        if not scale:
            forecasts.append(value)
            continue
        seen = [0.0, *np.diff(values[: t + 1])] if difference else [v - mean for v in values[: t + 1]]
        x = np.zeros(lags)
        x[: t + 1] = seen[::-1][:lags]
        waits = value if difference else mean, scale
        y = net.learn(np.clip(x / scale, -10, 10), None, 0.01)[0]
        forecasts.append(waits[0] + scale * y)
    return forecasts


@both
def test_forecasts_are_those_of_a_plain_loop(difference):
    values = a_series(300).tolist()
    values[:3] = [values[3]] * 3  # no scale at first
    values[100] += 5000  # cut
    _, forecasts = learned(values, difference=difference)
    np.testing.assert_allclose(forecasts, by_a_plain_loop(values, 3, 4, difference), rtol=0, atol=1e-9)


def test_a_season_is_learned():
    values = a_series(2000)
    forecasts = Forecaster().learn_many(values)[:-1]
    errors, naive = abs(values[1:] - forecasts), abs(np.diff(values))
    assert errors[1000:].mean() < 0.75 * naive[1000:].mean()


def test_noise_around_a_level_is_forecast_by_its_mean():
    values = 7 + np.random.default_rng(0).normal(size=2000)
    forecasts = Forecaster(difference=False).learn_many(values)
    assert abs(forecasts[1000:] - 7).mean() < 0.3


# ---- the same bits ---------------------------------------------------------------------------------------------------


@both
def test_learn_many_comes_to_the_bits_of_learn(difference):
    values = a_series(2 * AT_ONCE + ROOM + 7)
    values[:3] = 4.0
    values[[10, 11, 12, 500, len(values) - 2]] = np.nan
    one, forecasts = learned(values, difference=difference)
    many = Forecaster(**SMALL, difference=difference)
    out = values.copy()
    assert many.learn_many(out, out=out) is out
    equal(out, forecasts)
    assert all_of(many) == all_of(one)
    cut = Forecaster(**SMALL, difference=difference)
    equal(np.concatenate([cut.learn_many(part) for part in np.split(values, [1, 2, 30, 700])]), forecasts)
    assert all_of(cut) == all_of(one)


@both
@given(values=VALUES, later=VALUES)
def test_many_copied_and_saved_ones_go_on_to_the_same_bits(values, later, difference, tmp_path_factory):
    f, forecasts = learned(values, difference=difference)
    many = Forecaster(**SMALL, difference=difference)
    equal(many.learn_many(values), forecasts)
    path = tmp_path_factory.getbasetemp() / "forecaster.safetensors"
    f.save(path)
    others = [many, copy.copy(f), copy.deepcopy(f), pickle.loads(pickle.dumps(f)), Forecaster.load(path)]
    expected = [f.learn(value) for value in later]
    for other in others:
        equal([other.learn(value) for value in later], expected)
        assert all_of(other) == all_of(f)
        equal([other.score, *other.interval(0.5), *other.forecast(3)], [f.score, *f.interval(0.5), *f.forecast(3)])


def test_a_saved_file_is_of_the_safetensors_format_and_always_the_same(tmp_path):
    f, _ = learned(a_series(400))
    paths = [tmp_path / name for name in "ab"]
    f.save(paths[0])
    Forecaster.load(paths[0]).save(paths[1])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert load_file(paths[0])["errors"].shape == (RECENT,)


@both
def test_forecasts_further_ahead_are_what_learning_nothing_would_return(difference):
    f, forecasts = learned(a_series(200), difference=difference)
    before = all_of(f)
    ahead = f.forecast(6)
    assert all_of(f) == before
    assert ahead[0] == forecasts[-1] == f.forecast()[0]
    equal(ahead[1:], [f.learn(None) for _ in range(5)])


def test_what_looks_changes_nothing():
    f, _ = learned(a_series(300))
    before = all_of(f)
    for _ in range(2):
        _ = f.forecast(40), f.interval(0.9), f.score, repr(f), f.network, copy.copy(f)
    assert all_of(f) == before


def test_seeds_give_other_networks_and_equal_seeds_equal_ones():
    values = a_series(50)
    (_, a), (_, b), (_, c) = (learned(values, seed=seed) for seed in (1, 1, 2))
    equal(a, b)
    assert (a[10:] != c[10:]).any()


# ---- what it depends on ----------------------------------------------------------------------------------------------


@both
def test_no_forecast_depends_on_a_later_value(difference):
    values = a_series(300)
    changed = values.copy()
    changed[200:] = -1e6
    f, g = (Forecaster(**SMALL, difference=difference) for _ in range(2))
    a, b = f.learn_many(values), g.learn_many(changed)
    equal(a[:200], b[:200])
    assert a[200] != b[200]


def test_the_first_forecasts_are_the_last_values():
    f = Forecaster()
    assert math.isnan(f.forecast()[0])
    assert [f.learn(value) for value in (5.0, 7.0)] == [5.0, 7.0]  # the output weights are 0 until an error is seen
    assert f.learn(8.0) != 8.0


@both
def test_a_constant_series_is_forecast_by_its_value(difference):
    f, forecasts = learned([0.1] * 30, difference=difference)
    equal(forecasts, [0.1] * 30)
    equal(f.forecast(3), [0.1] * 3)
    assert f.interval(0.9) == (0.1, 0.1)
    assert f.score == 0.0
    f.learn(0.2)
    assert f.score == math.log10(30)  # 29 errors of 0, and this one


def test_a_constant_beginning_leaves_no_trace_in_forecasts():
    values = a_series(100)
    equal(learned([values[0]] * 50 + values.tolist())[1][50:], learned(values)[1])


@both
@given(k=st.integers(-60, 60), seed=st.integers(0, 100))
def test_forecasts_have_the_units_of_the_values(k, seed, difference):
    values = a_series(60, seed)
    f, forecasts = learned(values, difference=difference)
    g, scaled = learned(np.ldexp(values, k), difference=difference)
    equal(scaled, np.ldexp(forecasts, k))
    assert g.interval(0.8) == tuple(np.ldexp(f.interval(0.8), k))
    assert g.score == f.score


@both
@pytest.mark.parametrize("unit", [1e-6, 3.7, 1e6])
def test_any_unit_will_do(unit, difference):
    values = a_series(300)
    _, forecasts = learned(values, difference=difference)
    np.testing.assert_allclose(learned(values * unit, difference=difference)[1] / unit, forecasts, atol=1e-6)


@pytest.mark.parametrize("shift", [2.0**20, -3.0])
def test_forecasts_shift_with_the_values(shift):
    values = np.round(a_series(300) * 1024) / 1024  # differences are exact with both
    _, forecasts = learned(values)
    np.testing.assert_allclose(learned(values + shift)[1] - shift, forecasts, rtol=0, atol=1e-9)


@both
@pytest.mark.parametrize("values", [[1e290, -1e290] * 20, [5e-324, 0.0] * 20, [0.0, 1e-300, 1e290, 1e-300] * 10])
def test_values_of_any_size_give_finite_forecasts(values, difference):
    f, forecasts = learned(values, difference=difference)
    assert np.isfinite([*forecasts, f.score, *f.forecast(100)]).all()
    assert not np.isinf(f.interval(0.5)).any()
    equal(Forecaster(**SMALL, difference=difference).learn_many(values), forecasts)


@both
def test_an_outlier_does_not_spoil_what_comes_after(difference):
    values = 10 * np.sin(np.arange(1500) / 5) + np.random.default_rng(0).normal(size=1500)
    spoilt = values.copy()
    spoilt[1000] = 1e9
    errors = []
    for y in (values, spoilt):
        forecasts = Forecaster(difference=difference).learn_many(y)
        errors.append(abs(values[1100:] - forecasts[1099:-1]).mean())
    assert errors[1] < 1.5 * errors[0]


# ---- what it is given ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [None, math.nan, np.float32("nan"), np.array(np.nan)])
def test_a_missing_value_teaches_nothing_and_the_forecast_takes_its_place(missing):
    f, _ = learned(a_series(100))
    weights = f.network.parameters
    ahead = f.forecast(3)
    equal([f.learn(missing), f.learn(missing)], ahead[1:])
    equal(f.network.parameters, weights)
    assert math.isnan(f.score)
    assert f.learn(3.0) != 3.0
    assert (f.network.parameters != weights).any()
    assert f.score >= 0


@pytest.mark.parametrize("dtype", [float, int, np.int8, np.float32])
def test_masked_values_are_missing(dtype):
    values = np.ma.masked_array(np.arange(40) % 7, np.arange(40) % 5 == 3, dtype)
    f, forecasts = learned(values.astype(float).filled(math.nan))
    one_by_one, at_once, a_list = (Forecaster(**SMALL) for _ in range(3))
    equal([one_by_one.learn(value) for value in values], forecasts)
    equal(at_once.learn_many(values), forecasts)
    equal(a_list.learn_many(list(values)), forecasts)
    assert all_of(one_by_one) == all_of(at_once) == all_of(a_list) == all_of(f)
    assert one_by_one.learn(np.ma.masked) == at_once.learn(np.ma.array(3, dtype, mask=True)) == f.learn(None)
    assert one_by_one.learn(np.ma.masked) == at_once.learn(np.ma.array(dtype(3), mask=True)) == f.learn(None)
    assert math.isnan(one_by_one.score)


FROM_OUTSIDE = {
    "reset": lambda net: net.reset(),
    "reset of the state": lambda net: net.state.reset(),
    "step": lambda net: net.step(np.zeros(4)),
    "learn": lambda net: net.learn(np.zeros(4), [0.5]),
    "correct": lambda net: net.correct([0.5]),
    "assign": lambda net: net.state.assign(net.new_state()),
}


@pytest.mark.parametrize("name", FROM_OUTSIDE)
@both
def test_after_a_reset_of_its_network_it_goes_on(name, difference):
    one_by_one, at_once, saved = (learned(a_series(60), difference=difference)[0] for _ in range(3))
    for f in (one_by_one, at_once, saved):
        FROM_OUTSIDE[name](f.network)
    saved = copy.copy(saved)
    parameters = one_by_one.network.parameters
    later = a_series(50, seed=1)
    forecasts = [one_by_one.learn(later[0].item())]
    equal(one_by_one.network.parameters, parameters)  # the network has not made a step with this target
    assert math.isnan(one_by_one.score)
    forecasts += [one_by_one.learn(value) for value in later[1:].tolist()]
    assert (one_by_one.network.parameters != parameters).any()
    equal(at_once.learn_many(later), forecasts)
    equal([saved.learn(value) for value in later.tolist()], forecasts)
    assert all_of(one_by_one) == all_of(at_once) == all_of(saved)


def test_while_its_network_is_in_use_it_refuses_a_value_and_stays_as_it_is():
    f, _ = learned(a_series(60))
    before = all_of(f)
    with held(f.network), pytest.raises(RuntimeError):
        f.learn(3.0)
    assert all_of(f) == before


def test_missing_values_before_the_first_change_nothing():
    f = Forecaster(**SMALL)
    before = all_of(f)
    assert math.isnan(f.learn(None))
    equal(f.learn_many([np.nan] * 3), [np.nan] * 3)
    assert all_of(f) == before
    assert f.learn(2.0) == 2.0


@pytest.mark.parametrize("number", [3, True, np.int8(3), np.float32(2.5), np.float16(2.5), np.array(2.5), np.uint64(7)])
def test_numbers_of_all_kinds_are_values(number):
    a, b = (learned(a_series(20))[0] for _ in range(2))
    assert a.learn(number) == b.learn(float(number))


NOT_VALUES = [
    *[math.inf, -math.inf, 1.1e290, 10**400, np.float32("inf")],
    *["3", 1j, b"3", [1.0], [], {}, object, np.zeros(1), np.array("3"), Fraction(1, 3), np.datetime64("2020-01-01")],
]


@pytest.mark.parametrize("value", NOT_VALUES, ids=lambda value: f"{type(value).__name__} {str(value)[:12]}")
@both
def test_what_is_refused_changes_nothing(value, difference):
    f, _ = learned(a_series(30), difference=difference)
    before = all_of(f)
    with pytest.raises((TypeError, ValueError), match="value"):
        f.learn(value)
    with pytest.raises((TypeError, ValueError), match="value"):
        f.learn_many([1.0, value])
    assert all_of(f) == before


@given(values=VALUES, bad=st.sampled_from([math.inf, -math.inf, 1e300]), at=st.integers(0, 50))
def test_many_values_are_refused_as_a_whole(values, bad, at):
    f, _ = learned(values)
    before = all_of(f)
    values.insert(at, bad)
    with pytest.raises(ValueError, match="values must be at most 1e"):
        f.learn_many(values)
    assert all_of(f) == before


@pytest.mark.parametrize(
    "values",
    [
        1.0,
        [[1.0]],
        "abc",
        [1.0, None],
        [[1.0], [1.0, 2.0]],
    ],
)
def test_learn_many_refuses_what_is_no_row_of_numbers(values):
    with pytest.raises((TypeError, ValueError), match="values"):
        Forecaster(**SMALL).learn_many(values)


@pytest.mark.parametrize("out", [np.zeros(3), np.zeros(2, np.float32), [0.0, 0.0], np.zeros(4)[::2]])
def test_learn_many_refuses_an_out_that_does_not_fit(out):
    f = Forecaster(**SMALL)
    with pytest.raises((TypeError, ValueError), match="out"):
        f.learn_many([1.0, 2.0], out=out)
    assert all_of(f) == all_of(Forecaster(**SMALL))


def test_no_values_are_learned_from_none():
    assert Forecaster(**SMALL).learn_many([]).shape == (0,)


@pytest.mark.parametrize(
    "arguments",
    [{"cells": 0}, {"cells": 1.5}, {"lags": 0}, {"lags": "3"}, {"lags": True}, {"difference": 1}, {"seed": "x"}],
)
def test_arguments_are_checked(arguments):
    with pytest.raises((TypeError, ValueError)):
        Forecaster(**arguments)


@pytest.mark.parametrize("horizon", [0, -1, 1.0, None, "2", 2**70, np.ma.masked, np.zeros(2, int)])
def test_horizons_are_checked(horizon):
    with pytest.raises((TypeError, ValueError), match="horizon"):
        Forecaster(**SMALL).forecast(horizon)


@pytest.mark.parametrize(
    "probability", [0, 1, -0.1, 0.991, math.nan, None, np.ma.masked, "0.9", b"x", [0.9], np.ones(2), 1j, object(), True]
)
def test_probabilities_are_checked(probability):
    with pytest.raises((TypeError, ValueError), match=r"^probability (must be above 0|has (dtype|shape))"):
        learned(a_series(300))[0].interval(probability)


def test_it_tells_what_it_is():
    f = Forecaster(5, 7, np.False_)
    assert repr(f) == "<Forecaster: 5 cells, 7 lags, difference=False>"
    assert (f.cells, f.lags, f.difference) == (5, 7, False)
    assert f.network.topology.n_inputs == 7


# ---- intervals and scores --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probability", [0.5, 0.9, 0.99])
def test_intervals_have_the_next_value_as_often_as_they_say(probability):
    rng = np.random.default_rng(1)
    values = np.sin(np.arange(4000) / 9) + 0.3 * rng.exponential(size=4000)
    f = Forecaster(**SMALL)
    f.learn_many(values[:1000])
    hits = 0
    for value in values[1000:]:
        low, high = f.interval(probability)
        hits += low <= value <= high
        f.learn(value)
    assert hits / 3000 == pytest.approx(probability, abs=0.02)


@pytest.mark.parametrize(("probability", "needed"), [(0.5, 3), (0.9, 19), (0.99, 199)])
def test_an_interval_needs_enough_errors(probability, needed):
    values = a_series(needed + 3).tolist()
    f, _ = learned(values[: needed + 1])  # the first has no forecast, the second no scale
    equal(f.interval(probability), (np.nan, np.nan))
    f.learn(values[needed + 1])
    low, high = f.interval(probability)
    assert low < high


def test_an_anomaly_has_the_highest_score():
    values = a_series(1000)
    values[700:] += 100.0
    f = Forecaster(**SMALL)
    scores = []
    for value in values:
        f.learn(value)
        scores.append(f.score)
    assert math.isnan(scores[0])
    assert np.isfinite(scores[1:]).all()
    assert min(scores[1:]) >= 0
    assert np.argmax(scores[1:]) + 1 == 700
    assert scores[700] > 3


def test_scores_are_logarithms_of_shares_of_the_recent_errors():
    values = a_series(600)
    f = Forecaster(**SMALL)
    errors, scores, scales = [], [], []
    for value in values:
        errors.append(value - f.forecast()[0])
        f.learn(value)
        scores.append(f.score)
        scales.append(f._scale)
    sizes = np.abs(errors[2:]) / scales[1:-1]
    for t in (5, 50, 97, 300, 500):
        recent = sizes[max(0, t - RECENT + 1) : t + 1]
        share = (recent >= recent[-1]).mean()
        if (recent >= recent[-1]).sum() > 1 or len(recent) < 100:
            assert scores[t + 2] == pytest.approx(-math.log10(share))


def test_beyond_all_errors_the_score_grows_with_their_size():
    f, _ = learned(a_series(500))
    largest, scale = abs(f._errors).max(), f._scale
    scores = []
    for times in (10, 100, 1e40):
        g = copy.copy(f)
        g.learn(f.forecast()[0] + times * largest * scale)
        scores.append(g.score)
    assert scores[0] == pytest.approx(math.log10(RECENT) + 1, abs=0.01)
    assert scores[1] == pytest.approx(math.log10(RECENT) + 2, abs=0.01)
    assert scores[2] < 18


# ---- files, threads, interrupts --------------------------------------------------------------------------------------


def rewritten(path, change, **metadata):
    """Write a file again with changed tensors and metadata."""
    with safe_open(path, "np") as file:
        found = file.metadata()
    arrays = {name: array.copy() for name, array in load_file(path).items()}
    change(arrays)
    save_file(arrays, path, found | metadata)


def put(name, index, value):
    def change(arrays):
        arrays[name][index] = value

    return change


def of_another_network(**arguments):
    topology = Forecaster(**SMALL).network.topology
    right = {"topology": topology, "optimizer": RMSprop(decay=0.999, bound=0.5), "learning_rate": 0.01}
    data = lstm97.network.network_to_bytes(Network(**(right | arguments)), True)

    def change(arrays):
        arrays["network"], arrays["counts"][3] = np.frombuffer(data, np.uint8), 0

    return change


CHANGES = {
    "nothing": lambda arrays: arrays.clear(),
    "lacks errors": lambda arrays: arrays.pop("errors"),
    "too many errors": lambda arrays: arrays.update(errors=np.zeros(RECENT + 1)),
    "errors that are not finite": put("errors", 3, np.nan),
    "lags that are not finite": put("lags", 0, np.inf),
    "another number of lags": lambda arrays: arrays.update(lags=np.zeros(5)),
    "lags of another type": lambda arrays: arrays.update(lags=np.zeros(4, np.float32)),
    "a table of lags": lambda arrays: arrays.update(lags=np.zeros((2, 2))),
    "numbers that are not finite": put("numbers", 1, np.nan),
    "a last error that is another": put("numbers", 5, 1e9),
    "a negative scale": put("numbers", 3, -1.0),
    "no scale": put("numbers", 3, 0.0),
    "a negative count": put("counts", 0, -1),
    "more scaled than seen": put("counts", 1, 1000),
    "more lags than there are": put("counts", 2, 5),
    "another truth": put("counts", 3, 2),
    "a network that is none": lambda arrays: arrays.update(network=np.zeros(100, np.uint8)),
    "a network that has not made the step": lambda arrays: (of_another_network()(arrays), put("counts", 3, 1)(arrays)),
    "another topology": of_another_network(topology=Topology(4, 1, output="identity")),
    "another optimizer": of_another_network(optimizer=lstm97.SGD()),
    "another learning rate": of_another_network(learning_rate=0.1),
    "another readout": of_another_network(readout=lstm97.RLS()),
    "scaling": of_another_network(scaling=lstm97.Scaling()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_files_that_cannot_be_are_refused(name, tmp_path):
    path = tmp_path / "f.safetensors"
    learned(a_series(300))[0].save(path)
    rewritten(path, of_another_network())
    Forecaster.load(path)
    rewritten(path, CHANGES[name])
    with pytest.raises(ValueError, match=r"f\.safetensors is not a"):
        Forecaster.load(path)


@pytest.mark.parametrize("metadata", [{"format": "2"}, {"difference": "1"}, {"difference": "tru"}])
def test_files_of_other_metadata_are_refused(metadata, tmp_path):
    path = tmp_path / "f.safetensors"
    learned(a_series(30))[0].save(path)
    rewritten(path, lambda arrays: None, **metadata)
    with pytest.raises(ValueError, match=r"f\.safetensors is not a"):
        Forecaster.load(path)


def test_a_file_with_a_network_in_single_precision_is_refused(tmp_path):
    path = tmp_path / "f.safetensors"
    f = Forecaster(**SMALL)
    settings = {"optimizer": f.network.optimizer, "learning_rate": f.network.learning_rate}
    f._network = Network(f.network.topology, "float32", **settings)
    f.save(path)
    with pytest.raises(ValueError, match="its network is not one for 4 lags"):
        Forecaster.load(path)


def test_a_network_is_no_forecaster_and_a_forecaster_no_network(tmp_path):
    path = tmp_path / "f.safetensors"
    Network(Topology(2, 1)).save(path)
    with pytest.raises(ValueError, match="not a file of a Forecaster"):
        Forecaster.load(path)
    Forecaster(**SMALL).save(path)
    with pytest.raises(ValueError, match=r"f\.safetensors"):
        lstm97.load(path)


def test_every_byte_counts(tmp_path):
    path = tmp_path / "f.safetensors"
    learned(a_series(30))[0].save(path)
    data = path.read_bytes()
    for end in range(0, len(data), 101):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"f\.safetensors"):
            Forecaster.load(path)


@given(seed=st.integers(0, 2**32), n=st.integers(1, 4), difference=st.booleans())
def test_mutated_files_are_refused_or_are_those_of_a_forecaster(seed, n, difference, tmp_path_factory):
    rng, path = np.random.default_rng(seed), tmp_path_factory.getbasetemp() / "mutated.safetensors"
    data = bytearray(all_of(learned(a_series(30), difference=difference)[0]))
    for _ in range(n):
        data[rng.integers(len(data))] = rng.integers(256)
    path.write_bytes(data)
    with contextlib.suppress(ValueError, FloatingPointError):
        f = Forecaster.load(path)
        assert all_of(copy.copy(f)) == all_of(f)
        before = all_of(f)
        assert len(f.forecast(5)) == 5
        assert len(f.interval(0.5)) == 2
        assert f.score >= 0 or math.isnan(f.score)
        assert all_of(f) == before
        f.learn_many([1.0, math.nan, 2.0, 3.0])


def test_settings_are_in_the_file_by_name(tmp_path):
    path = tmp_path / "f.safetensors"
    Forecaster(**SMALL, difference=False).save(path)
    with safe_open(path, "np") as file:
        assert json.loads(file.metadata()["difference"]) is False
        assert file.metadata()["format"] == "lstm97.Forecaster 1"


def test_a_second_thread_is_refused_and_does_no_harm():
    values = a_series(100_000)
    f, alone = Forecaster(**SMALL), Forecaster(**SMALL)
    alone.learn_many(values)
    thread = threading.Thread(target=f.learn_many, args=(values,))
    thread.start()
    until(lambda: f._busy.locked() or not thread.is_alive())
    calls = [lambda: f.learn(1.0), lambda: f.learn_many([1.0]), lambda: f.forecast(2), lambda: f.interval(0.5)]
    for call in [*calls, lambda: f.score, lambda: copy.copy(f)]:
        with pytest.raises(RuntimeError, match="in use by another thread"):
            call()
    thread.join()
    assert all_of(f) == all_of(alone)


def test_after_an_overflow_it_goes_on():
    f, _ = learned(a_series(50))
    f.network.weights["output"] = 1e308
    with pytest.raises(FloatingPointError):
        f.learn_many([1e3, -1e3] * 5)
    f.network.weights["output"] = 0.0
    assert np.isfinite(f.learn_many(a_series(50))).all()


@pytest.mark.slow
def test_it_is_usable_after_ctrl_c():
    assert_usable_after_ctrl_c(
        """
        import numpy as np, lstm97, copy
        f = lstm97.Forecaster(cells=100)
        values = np.random.default_rng(0).normal(size=1_000_000)
        print("ready", flush=True)
        try:
            f.learn_many(values)
        except KeyboardInterrupt:
            f.learn_many(values[:100])
            assert copy.copy(f).learn(1.0) == f.learn(1.0)
            print("usable")
        """
    )
