"""Programs that are sent a Ctrl-C in the middle of a call."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest
from waiting import SOON


def assert_usable_after_ctrl_c(program):
    """Interrupt a program half a second after it has printed "ready"; it ends soon, and prints "usable"."""
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.5)  # until the child is in the call
        child.send_signal(signal.SIGINT)
        try:
            said, _ = child.communicate(timeout=SOON)
        except subprocess.TimeoutExpired:
            child.kill()
            raise
    assert said == "usable\n"
