"""What training did, and the rule by which it stops."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm97._checks import COUNTABLE, integer, not_negative

COUNTS = ("sequences", "steps", "epochs")
"""The counts of a History."""

WINDOW_NUMBERS = ("n_seen", "n_wrong", "error_sum", "error_rest")
"""The numbers of a StopWindow."""


@dataclass(frozen=True)
class Stop:
    """The paper's stop rule: train until the most recent sequences are right and their mean error is small.

    The rule holds as soon as, among the `window` most recent training sequences that had an error signal, at most
    `max_wrong` are wrong and the mean error is below `mean_error`. Judged after every sequence, by the outputs that its
    error signals were computed from.

    Parameters
    ----------
    window : int, default 2000
        Number of sequences judged; the rule cannot hold before as many had an error signal.
    tolerance : float, default 0.04
        A sequence is wrong if ``|t - y|`` is above this for any output at any of its targets.
    mean_error : float, default 0.01
        Bound of the mean of the sequences' errors; a sequence's error is the mean ``|t - y|`` over its targets and
        outputs. ``numpy.inf``: no bound.
    max_wrong : int, default 0
        Number of wrong sequences allowed.

    Raises
    ------
    TypeError, ValueError
        If a number is not as above.
    """

    window: int = 2000
    tolerance: float = 0.04
    mean_error: float = 0.01
    max_wrong: int = 0

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the dataclass is frozen; fields are made plain numbers once, here
        set_field(self, "window", integer("window", self.window, at_least=1, at_most=COUNTABLE))
        set_field(self, "max_wrong", integer("max_wrong", self.max_wrong, at_least=0, at_most=COUNTABLE))
        set_field(self, "tolerance", not_negative("tolerance", self.tolerance))
        set_field(self, "mean_error", not_negative("mean_error", self.mean_error))


class StopWindow:
    """What a stop rule keeps of the latest sequences: ring buffers of errors and of right or wrong, running sums."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self.errors: NDArray[np.float64] = np.zeros(stop.window)
        self.wrong: NDArray[np.uint8] = np.zeros(stop.window, np.uint8)
        self.n_seen = 0
        self.n_wrong = 0
        self.error_sum = 0.0
        self.error_rest = 0.0


class History:
    """What training did. Made and continued by `train`; its numbers can be read and not assigned.

    `stop`, called from another thread or a signal handler, ends the training that uses this history.
    """

    def __init__(self) -> None:
        self._sequences = 0
        self._steps = 0
        self._epochs = 0
        self._stopped = False
        self._seconds = 0.0
        self._errors: NDArray[np.float64] = np.empty(0)
        self._window: StopWindow | None = None
        self._validation: list[float] = []
        self._best_parameters: NDArray[Any] | None = None  # `kept_of` the network of the best judgement
        self._best: int | None = None  # its number
        self._is_given_up = False  # True: the training that uses this history ends soon, as if interrupted
        self._is_asked_to_end = False  # True: that training ends soon, as if complete
        self._has_begun = False  # whether the training that has claimed this history has begun
        self._in_use = threading.Lock()

    @property
    def sequences(self) -> int:
        """Sequences trained."""
        return self._sequences

    @property
    def steps(self) -> int:
        """Steps done, those of a sequence or batch that an error ended included."""
        return self._steps

    @property
    def epochs(self) -> int:
        """Complete passes through the data or the order."""
        return self._epochs

    @property
    def stopped(self) -> bool:
        """Whether the stop rule held, after the last of these sequences."""
        return self._stopped

    @property
    def seconds(self) -> float:
        """Time spent in the loops."""
        return self._seconds

    def stop(self) -> None:
        """End `train` after the sequence or batch under way; if none is under way, end the next call at once.

        For another thread, or a signal handler: ``history = History()``, then ``train(..., history=history)`` returns
        as if the callback had ended it. A checkpoint is saved, and the same call continues from it.
        """
        self._is_asked_to_end = True

    def __copy__(self) -> History:
        """A copy with memory of its own, so that training can continue with both."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_in_use"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _in_use=threading.Lock())

    def _training(self) -> _Claim:
        """A claim on this history, for one training at a time. If it fails to begin, `stop` applies to the next one."""
        return _Claim(self)

    @property
    def errors(self) -> NDArray[np.float64]:
        """The error of each trained sequence, shape (sequences,): mean ``|t - y|`` over its targets and outputs.

        NaN where a sequence had no target. A read-only view.
        """
        errors = self._errors[: self._sequences]
        errors.flags.writeable = False
        return errors

    @property
    def validation(self) -> NDArray[np.float64]:
        """The judgements by `train`'s validation data so far, shape (n_judgements,); a read-only copy.

        Each is the mean, over all error signals of these data, of the mean ``|t - y|`` over the outputs with a target.
        """
        judgements = np.array(self._validation, np.float64)
        judgements.flags.writeable = False
        return judgements

    @property
    def best(self) -> int | None:
        """The number of the best judgement in `validation`, the first of equals; None before there is any."""
        return self._best

    def __repr__(self) -> str:
        return (
            f"<History: {self.sequences} sequences, {self.steps} steps, {self.epochs} epochs, "
            f"{'stopped' if self.stopped else 'not stopped'}, {self.seconds:.3g} s>"
        )

    def _room(self, n: int) -> NDArray[np.float64]:
        """Memory for the errors of the next n sequences; it grows by doubling, so that many short calls stay cheap."""
        needed = self._sequences + n
        if needed > len(self._errors):
            grown = np.empty(max(needed, 2 * len(self._errors)))
            if self._sequences:
                grown[: self._sequences] = self._errors[: self._sequences]
            self._errors = grown
        return self._errors[self._sequences : needed]

    def _judged(self, judgement: float, kept: Callable[[], NDArray[Any]]) -> None:
        """Add a judgement of a network; what `kept` gives of it is kept if it is the best so far."""
        if self._best is None or judgement < self._validation[self._best]:
            self._best_parameters, self._best = kept(), len(self._validation)
        self._validation.append(judgement)

    def _has_lost_patience(self, patience: int | None) -> bool:
        """Whether so many judgements in a row, the latest ones, are no better than one before."""
        return patience is not None and self.best is not None and len(self._validation) - 1 - self.best >= patience

    def _begin(self, stop: Stop | None) -> tuple[StopWindow | None, bool]:
        """Prepare for training under a stop rule; its window continues if the rule is the same.

        Returns what `_undo_beginning` takes, should training fail before it changes anything.
        """
        before = self._window, self._stopped
        window = self._window
        if stop is None:
            window = None
        elif window is None or window.stop != stop:
            window = StopWindow(stop)  # may raise MemoryError; nothing has changed yet
        self._window, self._stopped, self._has_begun = window, False, True
        return before

    def _undo_beginning(self, before: tuple[StopWindow | None, bool]) -> None:
        """Be again as before `_begin`."""
        self._window, self._stopped = before
        self._has_begun = False


class _Claim:
    """A context in which one training uses a history, and no other."""

    __slots__ = ("_history",)

    def __init__(self, history: History) -> None:
        self._history = history

    def __enter__(self) -> None:
        if not self._history._in_use.acquire(blocking=False):
            raise RuntimeError("this history is in use by another training; give each its own")

    def __exit__(self, *_: object) -> None:
        history = self._history
        if history._has_begun:
            history._has_begun = history._is_asked_to_end = False
        history._in_use.release()


# ---- for those who train something else than a Network, or elsewhere ----


@contextmanager
def begun(history: History, stop: Stop | None) -> Iterator[None]:
    """A context in which this training alone uses a history, under a stop rule.

    Parameters
    ----------
    history : History
    stop : Stop or None
        Its window continues if the history's last training had the same rule.

    Raises
    ------
    RuntimeError
        If another training uses the history.
    """
    with history._training():
        history._begin(stop)
        yield


def is_asked_to_end(history: History) -> bool:
    """Whether `History.stop` has asked the training that uses a history to end.

    Parameters
    ----------
    history : History

    Returns
    -------
    bool
    """
    return history._is_asked_to_end


def add_counts(history: History, *, steps: int = 0, epochs: int = 0, seconds: float = 0.0) -> None:
    """Add to what a history has counted.

    Parameters
    ----------
    history : History
    steps, epochs : int, default 0
    seconds : float, default 0.0
    """
    history._steps += steps
    history._epochs += epochs
    history._seconds += seconds


def interrupt(history: History) -> None:
    """Let the `lstm97.train` that uses a history end within a fraction of a second, by a KeyboardInterrupt.

    Parameters
    ----------
    history : History
    """
    history._is_given_up = True


def history_parts(history: History) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Everything in a history, for another process to make it again by `history_of`.

    Parameters
    ----------
    history : History

    Returns
    -------
    numbers : dict of str to bool, int, float or dict
        Plain values, as for JSON.
    arrays : dict of str to ndarray
    """
    numbers: dict[str, Any] = {name: getattr(history, name) for name in (*COUNTS, "stopped", "seconds")}
    arrays: dict[str, NDArray[Any]] = {"errors": history.errors}
    if (window := history._window) is not None:
        numbers["window"] = {name: getattr(window, name) for name in WINDOW_NUMBERS}
        arrays |= {"window_errors": window.errors, "window_wrong": window.wrong}
    return numbers, arrays | judgement_arrays(history)


def judgement_arrays(history: History) -> dict[str, NDArray[Any]]:
    """A history's judgements and its best weights, by their names in files; empty if there are none."""
    if history._best_parameters is None:
        return {}
    return {"validation": history.validation, "best_parameters": history._best_parameters}


def put_judgements(history: History, arrays: dict[str, NDArray[Any]]) -> None:
    """Set a history's judgements to those of `judgement_arrays`; the arrays are copied."""
    best = arrays.get("best_parameters")
    history._validation = judgements = [float(each) for each in arrays.get("validation", ())]
    history._best = judgements.index(min(judgements)) if judgements else None
    history._best_parameters = None if best is None else np.array(best)


def history_of(numbers: dict[str, Any], arrays: dict[str, NDArray[Any]], stop: Stop | None) -> History:
    """The history whose `history_parts` these are.

    Parameters
    ----------
    numbers, arrays : dict
        The arrays are copied.
    stop : Stop or None
        The rule of its last training.

    Returns
    -------
    History
    """
    history = History()
    history._errors = np.array(arrays["errors"])
    put_judgements(history, arrays)
    for name in (*COUNTS, "stopped", "seconds"):
        setattr(history, f"_{name}", numbers[name])
    if stop is not None:
        history._window = window = StopWindow(stop)
        window.errors[...] = arrays["window_errors"]
        window.wrong[...] = arrays["window_wrong"]
        for name in WINDOW_NUMBERS:
            setattr(window, name, numbers["window"][name])
    return history
