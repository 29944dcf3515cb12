"""Checks of scalar arguments."""

from __future__ import annotations

import math
import operator
from typing import Any


def integer(name: str, value: Any, at_least: int) -> int:
    """``value`` as an int of at least so much."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    number = operator.index(value)
    if number < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {number}")
    return number


def positive(name: str, value: Any) -> float:
    """``value`` as a finite float above 0."""
    try:
        number = float(value) if not isinstance(value, str) else None
    except OverflowError:
        number = math.inf
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value!r}")
    return number


def not_negative(name: str, value: Any) -> float:
    """``value`` as a float of at least 0; infinity is one."""
    try:
        nan = math.isnan(value)
    except TypeError:
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    if nan or value < 0:
        raise ValueError(f"{name} must be a number, at least 0, got {value!r}")
    return float(value)
