"""How long tests wait for an event. The times are so long that only an event that never comes makes a test fail."""

from __future__ import annotations

import time

HANGS = 600
"""Seconds after which a program counts as hanging."""

SOON = 60
"""Seconds within which an interrupt must end a call that takes minutes even on an idle machine."""


def until(condition, process=None):
    """Wait until a condition is true, and return its value; fail if the process ends before."""
    end = time.monotonic() + HANGS
    while not (found := condition()):
        assert time.monotonic() < end
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)
    return found
