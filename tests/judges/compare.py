"""The one rule by which two results count as the same."""

from __future__ import annotations

import numpy as np

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}  # of a kernel against the reference, by dtype


def discrepancy(actual, desired):
    """``max|actual - desired| / max(1, max|desired|)``; infinity where a shape differs or a value is not finite."""
    actual, desired = np.asarray(actual, dtype=np.float64), np.asarray(desired, dtype=np.float64)
    if actual.shape != desired.shape or not (np.isfinite(actual).all() and np.isfinite(desired).all()):
        return np.inf
    if actual.size == 0:
        return 0.0
    return float(np.abs(actual - desired).max() / max(1.0, np.abs(desired).max()))


def assert_close(actual, desired, tolerance, what="result"):
    """Fail unless the discrepancy is below ``tolerance``. Two dicts are compared key by key, order included."""
    if isinstance(desired, dict):
        assert list(actual) == list(desired), f"{what} has keys {list(actual)}, expected {list(desired)}"
        for key in desired:
            assert_close(actual[key], desired[key], tolerance, f"{what}[{key!r}]")
        return
    found = discrepancy(actual, desired)
    assert found < tolerance, (
        f"{what}, shape {np.shape(actual)}, is off by {found:.3g} (tolerance {tolerance:.3g}) from the expected "
        f"values, shape {np.shape(desired)}:\n{np.asarray(actual)!r}\nexpected\n{np.asarray(desired)!r}"
    )
