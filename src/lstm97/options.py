"""Options and data of training, checked once, for `train`, `train_many` and the learners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm97._advice import Advice, any_presented
from lstm97._checks import integer, positive
from lstm97._threads import available_cpus, thread_count
from lstm97.history import History, Stop
from lstm97.sequences import Learns, Sequences, as_sequences, as_targets, presented

Array = NDArray[Any]


@dataclass(frozen=True)
class Options:
    """How to train: the options of `train` beside network, data, order and checkpoint.

    Raises
    ------
    TypeError, ValueError
        If an option is not as `train` takes it, or two contradict each other.
    """

    learning_rate: float = 0.1
    update: str = "step"
    epochs: int = 1
    stop: Stop | None = None
    batch_size: int = 1
    threads: int | None = None
    """As passed; after the checks an int, from the environment if it was None, and at most the number of CPUs."""
    parallel: str = "batch"
    callback: Callable[[History], object] | None = None
    history: History | None = None

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the dataclass is frozen; fields are made plain numbers once, here
        _one_of("update", self.update, ("step", "sequence"))
        set_field(self, "epochs", integer("epochs", self.epochs, at_least=0))
        set_field(self, "batch_size", integer("batch_size", self.batch_size, at_least=1))
        set_field(self, "threads", min(thread_count(self.threads, otherwise=1), available_cpus()))
        _one_of("parallel", self.parallel, ("batch", "hogwild"))
        if self.parallel == "hogwild" and self.update != "step":
            raise ValueError(
                f"parallel='hogwild' changes weights by the step, but update is {self.update!r}; try update='step'"
            )
        if self.batch_size > 1 and self.update == "step":
            raise ValueError(
                f"batch_size is {self.batch_size}, but with update='step' it must be 1; try update='sequence'"
            )
        for name, value, kind in (("stop", self.stop, Stop), ("history", self.history, History)):
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__}")
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback must be callable, got {type(self.callback).__name__}")
        set_field(self, "learning_rate", positive("learning_rate", self.learning_rate))


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse any value but these strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, got {value!r}")


class Data(NamedTuple):
    """What to train on: packed, checked and in order."""

    inputs: Sequences
    targets: Array
    """Rows, or class numbers: one for each step or one for each sequence."""
    per_sequence: bool
    presentation: NDArray[np.int64]
    """Numbers of the sequences of one epoch; 0, 1, 2, ... if a generator draws their order."""
    order: NDArray[np.int64] | np.random.Generator | None
    """The order as passed to `train`; an array as a checked copy."""
    weights: NDArray[np.float64] | None = None
    """Of the error signals, one for each of the targets; None: 1."""

    @property
    def generator(self) -> np.random.Generator | None:
        """The generator that draws the order of each epoch, or None."""
        return self.order if isinstance(self.order, np.random.Generator) else None

    @classmethod
    def checked(
        cls,
        inputs: object,
        targets: object,
        order: ArrayLike | np.random.Generator | None,
        layout: Learns,
        advice: Advice,
    ) -> Data:
        """Data from the arguments of `train`; warns of targets that cannot be learned."""
        packed = as_sequences(inputs, layout)
        rows, per_sequence = as_targets(targets, packed, layout)
        presentation = presented(order, len(packed))
        if rows.ndim == 2:
            advice.look_at_targets(rows)
        if len(presentation) and rows.size and not any_presented(rows, per_sequence, packed.offsets, presentation):
            advice.no_targets()
        as_asked = order if order is None or isinstance(order, np.random.Generator) else presentation
        return cls(packed, rows, per_sequence, presentation, as_asked)

    def next_presentation(self) -> NDArray[np.int64]:
        """The sequences of the next epoch."""
        return self.presentation if self.generator is None else self.generator.permutation(len(self.inputs))
