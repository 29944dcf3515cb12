"""Checks of scalar arguments."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any

import numpy as np

COUNTABLE = 2**62
"""The largest count that is accepted: 64-bit counters in the loops cannot overflow from it."""


def integer(name: str, value: Any, at_least: int, at_most: int | None = None) -> int:
    """``value`` as an int from `at_least` to `at_most`; None: without an upper bound."""
    if type(value) is int:  # found faster than by what follows, which asks for no more
        number = value
    else:
        try:
            if isinstance(value, bool):
                raise TypeError("a bool is no number")
            number = operator.index(value)
        except TypeError:
            raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {number}")
    if at_most is not None and number > at_most:
        raise ValueError(f"{name} must be at most {at_most}, got {number}")
    return number


def positive(name: str, value: Any) -> float:
    """``value`` as a finite float above 0."""
    number = _real(name, value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value!r}")
    return number


def not_negative(name: str, value: Any) -> float:
    """``value`` as a float of at least 0, infinity included."""
    number = _real(name, value)
    if not number >= 0:
        raise ValueError(f"{name} must be a number, at least 0, got {value!r}")
    return number


def fraction(name: str, value: Any) -> float:
    """``value`` as a float from 0 to below 1."""
    number = _real(name, value)
    if not 0 <= number < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value!r}")
    return number


def _real(name: str, value: Any) -> float:
    """A real scalar or 0-D array as a float; infinite if it is too large for a float."""
    if type(value) is float:
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    try:
        if isinstance(value, Real) or (hasattr(value, "__float__") and not isinstance(value, (np.generic, np.ndarray))):
            return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{name} must be a number, got {value!r}")
