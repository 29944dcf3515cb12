"""Settings for all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# How long one example takes says more about what else the machine is doing than about the code.
# In CI the same code gives the same verdict; elsewhere every run looks at other cases.
# LSTM97_EXAMPLES is for machines so slow that a test can't afford a hundred cases.
settings.register_profile(
    "lstm97",
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    max_examples=int(os.environ.get("LSTM97_EXAMPLES", "100")),
)
settings.load_profile("lstm97")

# Started in the background by a shell, the tests and the programs they start would ignore Ctrl-C, which some of
# them are about.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
