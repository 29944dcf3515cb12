"""The text task: the models for comparison against fractions by hand, the network's bits against single steps."""

from __future__ import annotations

import importlib.util
import io
import itertools
import math
import zlib
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm97.paper import ByteModel, TextSettings, default_text, learn_text

SMALL = TextSettings(cells=5, seed=3)
SENTENCE = b"It was the best of times, it was the worst of times, it was the age of wisdom, " * 10


def cost(order, data):
    return ByteModel(order).cost(np.frombuffer(data, np.uint8))


def probability(model_order, data):
    """The model's formula with dictionaries and fractions: the probabilities of the bytes of `data`."""
    followers = [defaultdict(Counter) for _ in range(model_order + 1)]
    padded = bytes(2) + data
    result = []
    for i, byte in enumerate(data):
        p = Fraction(1, 256)
        for k, table in enumerate(followers):
            counts = table[padded[i + 2 - k : i + 2]]
            if counts:
                p = (counts[byte] + len(counts) * p) / Fraction(sum(counts.values()) + len(counts))
            counts[byte] += 1
        result.append(p)
    return result


# ---- order-0, -1 and -2 models ----


def test_order_0_by_hand():
    u = Fraction(1, 256)
    expected = [u, (1 + u) / 2, (0 + u) / 3, (2 + 2 * u) / 5]  # n + d = 0, 1 + 1, 2 + 1, 3 + 2
    np.testing.assert_allclose(cost(0, b"aaba"), [-math.log2(p) for p in expected], rtol=1e-14)


def test_order_2_by_hand():
    u = Fraction(1, 256)
    # The last b of "abab": after "ba" nothing was seen; after "a", one b; in all, two a and one b.
    fourth = (1 + (1 + 2 * u) / 5) / 2
    # The last a of "ababa": after "ab", one a; after "b", one a; in all, two a and two b.
    fifth = (1 + (1 + (2 + 2 * u) / 6) / 2) / 2
    np.testing.assert_allclose(cost(2, b"ababa")[3:], [-math.log2(fourth), -math.log2(fifth)], rtol=1e-14)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("text", [b"", b"a", b"abracadabra", bytes([255, 0, 255, 255, 0, 7])])
def test_probabilities_of_all_next_bytes_sum_to_one(order, text):
    total = sum(2.0 ** -cost(order, text + bytes([byte]))[-1] for byte in range(256))
    assert total == pytest.approx(1, abs=1e-12)


@given(st.sampled_from([0, 1, 2]), st.lists(st.sampled_from([0, 1, 97, 255]), max_size=60), st.data())
def test_models_follow_the_formula_however_the_text_is_cut(order, text, data):
    cut = data.draw(st.integers(0, len(text)))
    model = ByteModel(order)
    array = np.array(text, np.uint8)
    pieces = np.concatenate([model.cost(array[:cut]), model.cost(array[cut:])])
    expected = [-math.log2(p) for p in probability(order, bytes(text))]
    np.testing.assert_allclose(pieces, expected, rtol=1e-12)


@pytest.mark.parametrize("order", [-1, 3])
def test_other_orders_are_refused(order):
    with pytest.raises(ValueError, match=f"^order is {order}, expected 0, 1 or 2$"):
        ByteModel(order)


# ---- the default text ----


def test_default_text_is_the_source_of_the_help_topics():
    path = default_text()
    assert path.parts[-2:] == ("pydoc_data", "topics.py")
    assert path.read_bytes().count(b"statement") > 100


def test_a_python_without_default_text_raises_an_error(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="give a file of your own"):
        default_text()


# ---- the network ----


def bits_by_single_steps(settings, text):
    """Total bits of a text, from one `learn` call per byte."""
    network = settings.network()
    bits = 8.0  # the first byte
    for byte, following in itertools.pairwise(text):
        p = float(network.learn(byte, following, settings.learning_rate)[following])
        bits -= math.log2(p * (1 - 2**-16) + 2**-24)
    return bits


@pytest.mark.parametrize("n_bytes", [1, 2, 3, 700])
def test_bits_are_those_of_single_steps(n_bytes):
    text = SENTENCE[:n_bytes]
    _, record = learn_text(io.BytesIO(text), SMALL)
    assert record.n_bytes == n_bytes
    assert record.network_bits == pytest.approx(bits_by_single_steps(SMALL, text) / n_bytes, rel=1e-12)


def test_chunks_do_not_change_the_result(monkeypatch):
    whole, record = learn_text(io.BytesIO(SENTENCE), SMALL)
    monkeypatch.setattr("lstm97.demos.text.CHUNK", 37)
    pieces, in_pieces = learn_text(io.BytesIO(SENTENCE), SMALL)
    np.testing.assert_array_equal(whole.parameters, pieces.parameters)
    for name in ("network_bits", "order0_bits", "order2_bits", "zlib_bits"):
        assert getattr(in_pieces, name) == pytest.approx(getattr(record, name), rel=1e-12)


def test_the_record_compares_on_the_same_bytes():
    _, record = learn_text(io.BytesIO(SENTENCE), SMALL, max_bytes=500)
    text = SENTENCE[:500]
    assert record.n_bytes == 500
    assert record.order0_bits == pytest.approx(cost(0, text).mean())
    assert record.order2_bits == pytest.approx(cost(2, text).mean())
    assert record.zlib_bits == 8 * len(zlib.compress(text, 9)) / 500
    assert (record.cells, record.seed, record.learning_rate) == (5, 3, SMALL.learning_rate)


def test_max_bytes_leaves_the_rest_unread():
    stream = io.BytesIO(SENTENCE)
    learn_text(stream, SMALL, max_bytes=123)
    assert stream.tell() == 123


def test_progress_counts_up_to_the_record(monkeypatch):
    monkeypatch.setattr("lstm97.demos.text.CHUNK", 300)
    seen = []
    _, record = learn_text(io.BytesIO(SENTENCE[:700]), SMALL, callback=seen.append)
    assert [progress.n_bytes for progress in seen] == [300, 600, 700]
    assert seen[-1].network_bits == record.network_bits
    # The bits of the chunks add up to the bits of the text.
    total = sum(progress.recent_bits * n for progress, n in zip(seen, (300, 300, 100), strict=True))
    assert total / 700 == pytest.approx(record.network_bits)


def test_same_seed_same_record():
    first, second = (learn_text(io.BytesIO(SENTENCE), SMALL)[1] for _ in range(2))
    _, other = learn_text(io.BytesIO(SENTENCE), TextSettings(cells=5, seed=4))
    assert first == second
    assert other.network_bits != first.network_bits


def test_the_network_remembers_further_than_two_bytes():
    # The letter after four dots repeats the one before them. Two bytes of context contain neither it nor all dots.
    letters = np.random.default_rng(0).choice([97, 98], 20_000)
    text = b"".join(b"%c....%c" % (letter, letter) for letter in letters)
    seen = []
    _, record = learn_text(io.BytesIO(text), TextSettings(cells=16, learning_rate=0.1), callback=seen.append)
    assert record.order2_bits > 0.75
    # One of 6 bytes has 1 bit that cannot be predicted. When the network gets close to that depends on rounding.
    assert min(so_far.recent_bits for so_far in seen[:-1]) < 0.2
    assert record.network_bits < 0.5


def test_an_empty_text_is_refused():
    with pytest.raises(ValueError, match="nothing to read"):
        learn_text(io.BytesIO(b""), SMALL)
