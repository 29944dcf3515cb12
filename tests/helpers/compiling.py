"""What compiles C for the tests."""

from __future__ import annotations

import os
import shlex


def compiler():
    """The command of the C compiler: ``$CC``, or ``cc``."""
    return shlex.split(os.environ.get("CC", "cc"))
