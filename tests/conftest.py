"""Settings for all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# How long one example takes says more about what else the machine is doing than about the code.
settings.register_profile("lstm97", deadline=None)
settings.load_profile("lstm97")

# Started in the background by a shell, the tests and the programs they start would ignore Ctrl-C, which some of
# them are about.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
