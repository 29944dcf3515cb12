"""What was found out about the paper's tasks, beyond the figures of its tables."""

from __future__ import annotations

from collections.abc import Mapping

FINDINGS: Mapping[str, str] = {}
"""By the task's name. Without figures: those are in the records."""
