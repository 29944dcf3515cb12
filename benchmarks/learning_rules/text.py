"""Bits per byte of the text that comes with Python, learned online."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import lstm97
from lstm97.demos.text import TextSettings, default_text, learn_text

from .records import Record
from .rules import FOR_ALL_OUTPUTS, RULES, network

CELLS = 32
MEASURE = "bits per byte, learning included"

RATES = {"SGD": 0.15, "SGD, bounded": 0.15}
"""Learning rates that are not the rule's own: SGD has that of `lstm97 run text`."""


@dataclass(frozen=True, kw_only=True)
class RuleSettings(TextSettings):
    """The text task's network, which learns by one of the rules."""

    rule: str

    def network(self) -> lstm97.Network:
        """Return a fresh network of float32 numbers."""
        options = {"cells": self.cells, "seed": self.seed, "output": "softmax", "dtype": "float32"}
        return network(RULES[self.rule], 256, 256, **options)  # type: ignore[arg-type]


def measure(n_bytes: int, seeds: range) -> Iterator[Record]:
    """Yield records of all rules, and of the adaptive byte models and zlib on the same bytes."""
    name = f"first {n_bytes:,} bytes of pydoc_data/topics.py"
    for number, rule in enumerate(FOR_ALL_OUTPUTS):
        rate = RATES.get(rule, RULES[rule].learning_rate)
        setting = {"cells": CELLS, "rate": rate}
        for seed in seeds:
            settings = RuleSettings(rule=rule, cells=CELLS, learning_rate=rate, seed=seed)
            try:
                with default_text().open("rb") as stream:
                    _, found = learn_text(stream, settings, max_bytes=n_bytes)
            except FloatingPointError as error:
                yield Record("text", name, rule, setting, seed, MEASURE, None, str(error))
                continue
            yield Record("text", name, rule, setting, seed, MEASURE, found.network_bits)
            if number == 0 and seed == seeds[0]:
                peers = {
                    "order-0 model": found.order0_bits,
                    "order-2 model": found.order2_bits,
                    "zlib": found.zlib_bits,
                }
                for peer, bits in peers.items():
                    yield Record("text", name, peer, {}, None, MEASURE, bits)
