"""Options and data of training, checked once, for `train`, `train_many` and the learners."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm97._advice import Advice, any_presented
from lstm97._checks import COUNTABLE, integer, positive
from lstm97._threads import available_cpus, thread_count
from lstm97.history import History, Stop
from lstm97.sequences import Learns, Sequences, as_sample_weights, as_sequences, as_targets, presented

Array = NDArray[Any]


@dataclass(frozen=True)
class Decay:
    """A learning rate for `train` that falls geometrically from one value to another, and then stays there.

    Parameters
    ----------
    start, end : float
        Positive, the end not above the start.
    sequences : int
        How many sequences the fall takes, counted by the History: `History.sequences`. So it goes on where training
        goes on, with ``history=`` and with a checkpoint.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    Before n sequences were trained, the rate is ``start * (end / start) ** (n / sequences)``. It changes from sequence
    to sequence; where weights change once per batch, all of a batch have the rate of its first sequence.

    Examples
    --------
    >>> rate = Decay(0.5, 0.05, sequences=1000)
    >>> rate.at(0), round(rate.at(500), 4), rate.at(1000), rate.at(5000)
    (0.5, 0.1581, 0.05, 0.05)
    """

    start: float
    end: float
    sequences: int

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the dataclass is frozen; fields are made plain numbers once, here
        set_field(self, "start", positive("start", self.start))
        set_field(self, "end", positive("end", self.end))
        set_field(self, "sequences", integer("sequences", self.sequences, at_least=1, at_most=COUNTABLE))
        if self.end > self.start:
            raise ValueError(f"end must not be above start, {self.start}, got {self.end}")

    def at(self, n: int) -> float:
        """The rate of the next sequence.

        Parameters
        ----------
        n : int
            How many sequences were trained before it, at least 0.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            If `n` is not as above.
        """
        n = integer("n", n, at_least=0)
        if n >= self.sequences:
            return self.end
        return max(self.end, self.start * math.pow(self.end / self.start, float(n) / float(self.sequences)))


@dataclass(frozen=True)
class Options:
    """How to train: the options of `train` beside network, data, order and checkpoint.

    Raises
    ------
    TypeError, ValueError
        If an option is not as `train` takes it, or two contradict each other.
    """

    learning_rate: float | Decay | Callable[[History], float] = 0.1
    update: str = "step"
    epochs: int = 1
    stop: Stop | None = None
    batch_size: int = 1
    threads: int | None = None
    """As passed; after the checks an int, from the environment if it was None, and at most the number of CPUs."""
    parallel: str = "batch"
    callback: Callable[[History], object] | None = None
    history: History | None = None
    every: int | None = None
    validation: object = None
    """As passed; None: there is none."""
    patience: int | None = None
    keep_best: bool = True

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the dataclass is frozen; fields are made plain numbers once, here
        _one_of("update", self.update, ("step", "sequence"))
        set_field(self, "epochs", integer("epochs", self.epochs, at_least=0))
        set_field(self, "batch_size", integer("batch_size", self.batch_size, at_least=1))
        threads = thread_count(self.threads, otherwise=1)
        set_field(self, "threads", threads if threads == 1 else min(threads, available_cpus()))
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
        for name, number in (("every", self.every), ("patience", self.patience)):
            if number is not None:
                set_field(self, name, integer(name, number, at_least=1))
        if self.patience is not None and self.validation is None:
            raise ValueError(f"patience is {self.patience}, but there is no validation to judge the network by")
        if not isinstance(self.keep_best, (bool, np.bool_)):
            raise TypeError(f"keep_best must be True or False, got {self.keep_best!r}")
        if not isinstance(self.learning_rate, Decay) and not callable(self.learning_rate):
            set_field(self, "learning_rate", positive("learning_rate", self.learning_rate))

    @property
    def constant_rate(self) -> float:
        """The learning rate, for learners that have one for all sequences: TypeError if it is none."""
        if isinstance(self.learning_rate, Decay) or callable(self.learning_rate):
            raise TypeError(f"learning_rate must be a number here, got {self.learning_rate!r}; only train takes others")
        return self.learning_rate


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
        sample_weight: object = None,
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
        weights = (
            None if sample_weight is None else as_sample_weights(sample_weight, packed, per_sequence, layout.dtype)
        )
        return cls(packed, rows, per_sequence, presentation, as_asked, weights)

    def next_presentation(self) -> NDArray[np.int64]:
        """The sequences of the next epoch."""
        return self.presentation if self.generator is None else self.generator.permutation(len(self.inputs))
