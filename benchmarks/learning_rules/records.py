"""A measured value with all that it depends on: what is written to files, and what tables are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Record:
    """One model on one data set with one seed."""

    task: str
    data: str
    model: str
    """Name of a learning rule, or of a peer."""
    setting: dict[str, Any]
    """Options of the model and the preparation of its inputs, as plain values."""
    seed: int | None
    """None for a model that draws no numbers."""
    measure: str
    value: float | None
    """None if the model overflowed."""
    note: str = ""

    @property
    def label(self) -> str:
        """The model with its setting, as a row of a table names it."""
        return ", ".join([self.model, *(_option(name, value) for name, value in self.setting.items())])


def _option(name: str, value: Any) -> str:
    """Return an option as text: "24 lags", "rate 0.01", "differences"."""
    if isinstance(value, str):
        return value
    return f"{value} {name}" if isinstance(value, int) else f"{name} {value:g}"
