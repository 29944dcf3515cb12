"""Settings for all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# How many examples of each property: a few that a person waits for, many for a run of its own (for the loops, in CI
# too), hardly any where every instruction is emulated. ``--hypothesis-profile`` takes another than the first.
# How long one example takes says more about what else the machine is doing than about the code.
# In CI the same code gives the same verdict; elsewhere every run looks at other cases.
for profile, max_examples in {"quick": 20, "thorough": 200, "emulated": 5}.items():
    settings.register_profile(
        profile, deadline=None, derandomize=os.environ.get("CI") == "true", max_examples=max_examples
    )
settings.load_profile("quick")

# Started in the background by a shell, the tests and the programs they start would ignore Ctrl-C, which some of
# them are about.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
