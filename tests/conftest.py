"""Settings for all tests."""

from __future__ import annotations

from hypothesis import settings

# How long one example takes says more about what else the machine is doing than about the code.
settings.register_profile("lstm97", deadline=None)
settings.load_profile("lstm97")
