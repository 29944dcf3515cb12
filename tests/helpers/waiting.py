"""How long tests wait for what has to come. A loaded machine is no failure: these are for what would never come."""

from __future__ import annotations

import time

HANGS = 600
"""Seconds after which a program is taken for one that hangs."""

SOON = 60
"""Seconds within which an interrupt ends what would go on for minutes, on an idle machine too."""


def until(condition, process=None):
    """Wait for a condition, which must come before a process ends; what it found."""
    end = time.monotonic() + HANGS
    while not (found := condition()):
        assert time.monotonic() < end
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)
    return found
