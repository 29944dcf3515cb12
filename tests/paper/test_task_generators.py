"""The generators of the paper's other tasks against the paper's own statements."""

from __future__ import annotations

import numpy as np
import pytest
from frequencies import assert_frequencies
from hypothesis import given
from hypothesis import strategies as st
from reber import inner_successors

from lstm97.paper import tasks


def rng_of(seed):
    return np.random.default_rng(seed)


# ---- task 1 ----


def strings_of(grammar):
    for x, t in zip(grammar.inputs, grammar.targets, strict=True):
        assert np.array_equal(x[1:], t[:-1])
        yield "".join(tasks.REBER[k] for k in [*x, t[-1]])


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_every_string_is_of_the_embedded_grammar_and_knows_what_may_follow(seed, n):
    grammar = tasks.embedded_reber(rng_of(seed), n)
    begins = grammar.inputs.offsets
    for i, string in enumerate(strings_of(grammar)):
        inner = inner_successors(string[2:-2])
        assert inner is not None
        assert string[0] == "B"
        assert string[-1] == "E"
        assert string[1] == string[-2]
        expected = [{"T", "P"}, *inner, {string[1]}, {"E"}]
        possible = grammar.possible[begins[i] : begins[i + 1]]
        assert [{tasks.REBER[k] for k in np.flatnonzero(row)} for row in possible] == expected


def test_every_choice_of_the_grammar_is_even():
    strings = list(strings_of(tasks.embedded_reber(rng_of(1), 20_000)))
    for before, choices in (("B", "TP"), ("BTB", "TP"), ("BTBTS", "SX"), ("BPBPT", "TV"), ("BPBPV", "PV")):
        here = [string for string in strings if string.startswith(before)]
        counts = np.array([sum(string[len(before)] == choice for string in here) for choice in choices])
        assert counts.sum() == len(here) > 100
        assert_frequencies(counts, [0.5, 0.5], len(here))


def test_sets_have_256_strings_and_no_test_string_is_a_training_string():
    training, test = tasks.embedded_reber_sets(rng_of(2))
    assert len(training.inputs) == len(test.inputs) == 256
    assert not set(strings_of(training)) & set(strings_of(test))
    for string in strings_of(test):
        assert inner_successors(string[2:-2]) is not None
    assert test.possible.shape == (test.inputs.n_steps, 7)
    others, _ = tasks.embedded_reber_sets(rng_of(3))
    assert list(strings_of(others)) != list(strings_of(training))


# ---- task 2 ----


@pytest.mark.parametrize("random_middle", [False, True])
def test_long_lags(random_middle):
    p, n = 10, 4000
    inputs, targets = tasks.long_lag(rng_of(4), n, p, random_middle=random_middle)
    assert inputs.lengths.tolist() == [p] * n
    strings = np.column_stack([inputs.values.reshape(n, p), targets.values.reshape(n, p)[:, -1]])
    assert np.array_equal(targets.values.reshape(n, p)[:, :-1], strings[:, 1:-1])
    assert np.array_equal(strings[:, 0], strings[:, -1])
    x, y = p - 1, p  # p + 1 symbols
    assert_frequencies(np.array([(strings[:, 0] == k).sum() for k in (x, y)]), [0.5, 0.5], n)
    middle = strings[:, 1:-1]
    if random_middle:
        counts = np.bincount(middle.ravel(), minlength=p + 1)
        assert_frequencies(counts[: p - 1], np.full(p - 1, 1 / (p - 1)), middle.size)
        assert counts[p - 1 :].sum() == 0
    else:
        assert (middle == np.arange(p - 1)).all()


@pytest.mark.parametrize(("q", "p"), [(50, 50), (0, 1), (1000, 100)])
def test_distractors(q, p):
    n = 5000
    inputs, targets = tasks.distractors(rng_of(5), n, q, p)
    e, b, x = p, p + 1, p + 2
    k = inputs.lengths - q - 3
    assert k.min() >= 0
    # Each further element is one more distractor with probability 9/10: 9 more on average, a sequence of q + 12
    assert inputs.lengths.mean() == pytest.approx(q + 12, abs=5 * np.sqrt(90 / n))
    assert_frequencies(np.bincount(k, minlength=3)[:3], [0.1, 0.09, 0.081], n)
    for sequence, klass in zip(inputs, targets, strict=True):
        assert sequence[0] == b
        assert sequence[1] == x + klass
        assert sequence[-1] == e
        assert (sequence[2:-1] < p).all()
    assert_frequencies(np.bincount(targets), [0.5, 0.5], n)
    drawn = inputs.values[inputs.values < p]
    assert_frequencies(np.bincount(drawn, minlength=p), np.full(p, 1 / p), len(drawn))


# ---- task 3 ----


@pytest.mark.parametrize("variant", ["a", "b", "c"])
@pytest.mark.parametrize(("lag", "n_informative"), [(100, 3), (100, 1), (1000, 3)])
def test_two_sequences(variant, lag, n_informative):
    n = 2000
    inputs, targets = tasks.two_sequences(rng_of(6), n, lag, n_informative, variant=variant)
    assert inputs.lengths.min() == lag
    assert inputs.lengths.max() == lag + lag // 10
    start = inputs.offsets[:-1, np.newaxis] + np.arange(n_informative)
    informative = inputs.values[start, 0]
    is_noise = np.ones(inputs.n_steps, bool)
    is_noise[start] = False
    noise = inputs.values[is_noise, 0]
    assert noise.mean() == pytest.approx(0, abs=5 * np.sqrt(0.2 / len(noise)))
    assert noise.var() == pytest.approx(0.2, rel=5 * np.sqrt(2 / len(noise)))
    if variant == "c":
        class_1 = informative.mean(axis=1) > 0  # the best guess; the variance of this mean is 0.2 / N
        near = np.abs(targets[class_1, 0].mean() - 0.8) + np.abs(targets[~class_1, 0].mean() - 0.2)
        assert near < 0.1
        middle = targets[:, 0] - np.where(class_1, 0.8, 0.2)
        assert middle.var() == pytest.approx(0.1, rel=0.25)
        return
    assert set(np.unique(targets)) == {0.0, 1.0}
    assert_frequencies(targets.sum(), 0.5, n)
    sign = np.where(targets == 1, 1.0, -1.0)
    if variant == "a":
        assert (informative == sign).all()
    else:
        error = (informative - sign).ravel()
        assert error.mean() == pytest.approx(0, abs=5 * np.sqrt(0.2 / error.size))
        assert error.var() == pytest.approx(0.2, rel=5 * np.sqrt(2 / error.size))


# ---- task 5 ----


@given(st.integers(11, 60), st.integers(1, 40), st.integers(0, 2**32))
def test_multiplication(lag, n_sequences, seed):
    inputs, targets = tasks.multiplication(rng_of(seed), n_sequences, lag)
    sums, _ = tasks.adding(rng_of(seed), n_sequences, lag)
    assert np.array_equal(inputs.offsets, sums.offsets)
    assert np.array_equal(inputs.values[:, 1], sums.values[:, 1])  # the same marks
    for sequence, target in zip(inputs, targets[:, 0], strict=True):
        values, markers = sequence.T
        assert (values >= 0).all()
        assert (values < 1).all()
        assert target == pytest.approx(np.prod(values[markers == 1]))  # an unseen mark counts as 1


# ---- task 6 ----


@pytest.mark.parametrize(("n_relevant", "places"), [(2, [(10, 20), (50, 60)]), (3, [(10, 20), (33, 43), (66, 76)])])
def test_temporal_order(n_relevant, places):
    n = 6000
    inputs, targets = tasks.temporal_order(rng_of(7), n, n_relevant)
    number = tasks.TEMPORAL_ORDER.index
    found = np.zeros((n_relevant, 111))
    for sequence, klass in zip(inputs, targets, strict=True):
        assert sequence[0] == number("E")
        assert sequence[-1] == number("B")
        where = np.flatnonzero(sequence >= number("X"))
        assert len(where) == n_relevant
        digits = sequence[where] - number("X")
        assert klass == int("".join(map(str, digits)), 2)
        rest = np.delete(sequence, [0, len(sequence) - 1, *where])
        assert np.isin(rest, [number(c) for c in "abcd"]).all()
        found[np.arange(n_relevant), where] += 1
    for counts, (first, last) in zip(found, places, strict=True):
        assert counts.sum() == counts[first : last + 1].sum()
        assert_frequencies(counts[first : last + 1], np.full(11, 1 / 11), n)
    assert_frequencies(np.bincount(inputs.lengths)[100:], np.full(11, 1 / 11), n)
    assert_frequencies(np.bincount(targets), np.full(2**n_relevant, 2.0**-n_relevant), n)


# ---- all ----

GENERATORS = {
    "long_lag": lambda rng, n: tasks.long_lag(rng, n, 7),
    "distractors": lambda rng, n: tasks.distractors(rng, n, 20, 5),
    "two_sequences": lambda rng, n: tasks.two_sequences(rng, n, 20, 2, variant="c"),
    "multiplication": lambda rng, n: tasks.multiplication(rng, n, 20),
    "temporal_order": tasks.temporal_order,
}


@pytest.mark.parametrize("name", GENERATORS)
def test_the_same_seed_draws_the_same_and_one_generator_draws_afresh(name):
    rng = rng_of(8)
    first, second, again = (GENERATORS[name](r, 30) for r in (rng, rng, rng_of(8)))
    assert np.array_equal(first[0].values, again[0].values)
    assert not np.array_equal(first[0].values[:200], second[0].values[:200])
    nothing, _ = GENERATORS[name](rng, 0)
    assert len(nothing) == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda rng: tasks.embedded_reber(rng, -1), "n_sequences is -1"),
        (lambda rng: tasks.embedded_reber_sets(rng, 0), "n_strings is 0"),
        (lambda rng: tasks.long_lag(rng, 5, 1), "lag is 1"),
        (lambda rng: tasks.distractors(rng, 5, -1, 5), "lag is -1"),
        (lambda rng: tasks.distractors(rng, 5, 5, 0), "n_distractors is 0"),
        (lambda rng: tasks.two_sequences(rng, 5, 5, 6), "lag is 5, expected 6 or more"),
        (lambda rng: tasks.two_sequences(rng, 5, 5, 0), "n_informative is 0"),
        (lambda rng: tasks.two_sequences(rng, 5, 5, 1, variant="d"), "variant is 'd'"),
        (lambda rng: tasks.multiplication(rng, 5, 10), "lag is 10"),
        (lambda rng: tasks.temporal_order(rng, 5, 4), "n_relevant is 4"),
    ],
)
def test_the_generators_refuse_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call(rng_of(0))
