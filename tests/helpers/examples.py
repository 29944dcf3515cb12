"""How many examples a property is tried with: a share of what the profile of `conftest.py` gives."""

from __future__ import annotations

import math

from hypothesis import settings


def examples(share):
    """Settings for a property whose examples cost so much that this share of the profile's has to do."""
    return settings(max_examples=max(1, math.ceil(share * settings.default.max_examples)))
