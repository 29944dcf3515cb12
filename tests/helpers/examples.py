"""The number of examples of expensive properties: a share of that of the profile in `conftest.py`."""

from __future__ import annotations

import math

from hypothesis import settings


def examples(share):
    """Settings for a property with expensive examples: this share of the profile's number."""
    return settings(max_examples=max(1, math.ceil(share * settings.default.max_examples)))
