"""Settings for all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# Number of examples of each property: "quick" is the default, "thorough" for long runs (for the loops, in CI too),
# "emulated" for emulated processors. ``--hypothesis-profile`` selects another one. No deadline: the time of an example
# depends on the load of the machine. In CI examples depend on the code alone; elsewhere every run draws others.
for profile, max_examples in {"quick": 20, "thorough": 200, "emulated": 5}.items():
    settings.register_profile(
        profile, deadline=None, derandomize=os.environ.get("CI") == "true", max_examples=max_examples
    )
settings.load_profile("quick")

# If a shell has started the tests in the background, Ctrl-C is ignored, also in programs that they start; some tests
# send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
