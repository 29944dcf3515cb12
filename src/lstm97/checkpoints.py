"""Checkpoints of `train`: everything a killed run needs to go on to the same bits, in a file that `load` reads too."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass
from os import PathLike, fspath
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lstm97 import persistence
from lstm97._checks import integer, positive

if TYPE_CHECKING:
    from lstm97.network import Network
    from lstm97.training import History

Array = NDArray[Any]

TRAINING = "training."
COUNTS = ("sequences", "steps", "epochs")
WINDOW_NUMBERS = ("n_seen", "n_wrong", "error_sum", "error_rest")


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often `train` saves how far it came, so that the same call goes on after a kill.

    Parameters
    ----------
    path : str or path
        Of the file, which is replaced whole each time. If it exists when `train` is called, training goes on from it:
        weights, history, order and its generator's state are those in the file.
    sequences : int, optional
        Save after so many sequences (with batches, at the end of the batch they are in).
    seconds : float, optional
        Save about every so many seconds, between sequences. If neither is given, 60.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """

    path: str | PathLike[str]
    sequences: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        fspath(self.path)
        if self.sequences is not None:
            integer("sequences", self.sequences, at_least=1)
        if self.seconds is not None:
            positive("seconds", self.seconds)
        elif self.sequences is None:
            object.__setattr__(self, "seconds", 60.0)


class Progress:
    """How far a run is: the epoch, the presentation it goes through and the position there; kept in a checkpoint.

    Without a checkpoint it only counts.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | None,
        net: Network,
        done: History,
        generator: Generator | None,
        run: dict[str, Any] | None,
    ) -> None:
        self.epoch = 0
        self.position = 0
        self.presentation: NDArray[np.int64] | None = None
        self.ended = False
        self._checkpoint, self._net, self._done, self._generator = checkpoint, net, done, generator
        self._run = run or {}
        self._next_portion = 1
        self._is_saved = False
        self._saved_at = done.sequences
        self._saved_when = self._portion_began = monotonic()
        if checkpoint is not None and os.path.exists(checkpoint.path):
            self._resume(checkpoint)
        elif checkpoint is not None and not os.path.isdir(folder := os.path.dirname(os.path.realpath(checkpoint.path))):
            raise FileNotFoundError(f"there is no folder {folder} to write the checkpoint to")  # better now than then

    # ---- portions ----

    def portion(self, n_left: int, batch_size: int) -> int:
        """How many sequences to train before looking at the checkpoint again: whole batches."""
        self._portion_began = monotonic()
        if self._checkpoint is None:
            return n_left
        n = n_left
        if self._checkpoint.sequences is not None:
            due = self._saved_at + self._checkpoint.sequences - self._done.sequences
            n = min(n, -(-due // batch_size) * batch_size)
        if self._checkpoint.seconds is not None:
            n = min(n, self._next_portion * batch_size)
        return n

    def advance(self, n: int) -> None:
        """So many more sequences are trained: save if it is time."""
        self.position += n
        self._is_saved = False
        if self._checkpoint is None:
            return
        now = monotonic()
        every = self._checkpoint.seconds
        if every is not None:
            # Portions of about a sixteenth of the time, found by doubling
            if now - self._portion_began < every / 32:
                self._next_portion *= 2
            elif now - self._portion_began > every / 8:
                self._next_portion = max(1, self._next_portion // 2)
        counted = self._checkpoint.sequences
        if (counted is not None and self._done.sequences - self._saved_at >= counted) or (
            every is not None and now - self._saved_when >= every
        ):
            self.save()

    def end_epoch(self) -> None:
        """The presentation is through."""
        self.epoch += 1
        self.position = 0
        self.presentation = None
        self._is_saved = False

    def end(self) -> None:
        """Nothing is to come, whatever the number of epochs."""
        self.ended = True
        self._is_saved = False

    # ---- files ----

    def save(self) -> None:
        """Write the checkpoint, if there is to be one and it would tell anything new."""
        if self._checkpoint is None or self._is_saved:
            return
        done, window = self._done, self._done._window
        presentation = np.empty(0, np.int64) if self.presentation is None else self.presentation
        arrays: dict[str, Array] = {"order": presentation, "errors": done.errors}
        sizes = {"order": len(presentation), "errors": done.sequences, "window": 0}
        numbers: dict[str, Any] = {
            "run": self._run,
            "epoch": self.epoch,
            "position": self.position,
            "ended": self.ended,
            "seconds": done.seconds,
            "stopped": done.stopped,
            "window": None,
            "generator": None,
            "sizes": sizes,
        }
        numbers |= {name: getattr(done, name) for name in COUNTS}
        if window is not None:
            arrays |= {"window_errors": window.errors, "window_wrong": window.wrong}
            numbers["window"] = {name: getattr(window, name) for name in WINDOW_NUMBERS}
            sizes["window"] = window.stop.window
        if self._generator is not None:
            numbers["generator"] = self._generator.bit_generator.state
        training = json.dumps(numbers, default=_plain)
        more = {TRAINING + name: np.ascontiguousarray(array) for name, array in arrays.items()}
        persistence.write_whole(self._checkpoint.path, persistence.to_bytes(self._net, False, more, training=training))
        self._is_saved, self._saved_at, self._saved_when = True, done.sequences, monotonic()

    def _resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a file; nothing has changed if it is refused."""
        name = fspath(checkpoint.path)
        contents = persistence.read(name)
        if "training" not in contents.metadata:
            raise ValueError(f"{name} has a network but no checkpoint of train; give another path")
        numbers = json.loads(contents.metadata["training"])
        arrays = {key[len(TRAINING) :]: array for key, array in contents.tensors.items() if key.startswith(TRAINING)}
        wanted = self._run | {"topology": self._net.topology, "dtype": self._net.dtype.name}
        found = numbers["run"] | {"topology": contents.topology, "dtype": contents.dtype}
        different = [key for key in wanted if wanted[key] != found.get(key)]
        if different:
            raise ValueError(
                f"{name} is the checkpoint of another run, which differs in {', '.join(different)}; "
                "give another path, or remove the file"
            )
        window = self._done._window
        order = arrays["order"]
        n_sequences = self._run["n_sequences"]
        consistent = (
            numbers["position"] <= len(order)
            and (not order.size or (order.min() >= 0 and order.max() < n_sequences))
            and numbers["sizes"]["window"] == (0 if window is None else window.stop.window)
            and (window is None) == (numbers["window"] is None)
            and (self._generator is None) == (numbers["generator"] is None)
        )
        if not consistent or (window is not None and not _is_window(numbers["window"], window.stop.window)):
            raise ValueError(f"{name} is damaged: its numbers do not fit each other")
        parameters = persistence.to_network(contents, name).parameters
        if self._generator is not None:
            before = self._generator.bit_generator.state
            try:
                _check_positions(numbers["generator"])
                self._generator.bit_generator.state = numbers["generator"]
            except (LookupError, AttributeError, TypeError, ValueError, OverflowError) as error:
                self._generator.bit_generator.state = before
                raise ValueError(f"{name} is damaged: it has no usable state of the generator") from error
        self._net.parameters = parameters
        self.epoch, self.position, self.ended = numbers["epoch"], numbers["position"], numbers["ended"]
        self.presentation = np.array(order, np.int64) if self.position else None
        done = self._done
        done._errors = np.array(arrays["errors"])
        done.seconds, done.stopped = float(numbers["seconds"]), numbers["stopped"]
        for count in COUNTS:
            setattr(done, count, numbers[count])
        if window is not None:
            window.errors[...], window.wrong[...] = arrays["window_errors"], arrays["window_wrong"]
            for number in WINDOW_NUMBERS:
                setattr(window, number, numbers["window"][number])
        self._is_saved, self._saved_at = True, done.sequences


def training_parts(numbers: Any) -> dict[str, persistence.Part]:
    """The tensors of a checkpoint with these numbers; ValueError or TypeError if they are none."""
    sizes = {name: integer(name, numbers["sizes"][name], at_least=0) for name in ("order", "errors", "window")}
    for name in (*COUNTS, "epoch", "position"):
        integer(name, numbers[name], at_least=0)
    if numbers["sequences"] != sizes["errors"]:
        raise ValueError("sequences and errors differ in number")
    if not isinstance(numbers["run"], dict) or not all(type(numbers[name]) is bool for name in ("stopped", "ended")):
        raise ValueError("run, stopped or ended is not as it must be")
    if not 0 <= float(numbers["seconds"]) < math.inf:
        raise ValueError("seconds must be finite")
    parts = {
        TRAINING + "order": persistence.Part("int64", (sizes["order"],)),
        TRAINING + "errors": persistence.Part("float64", (sizes["errors"],)),
    }
    if numbers["window"] is not None:
        parts[TRAINING + "window_errors"] = persistence.Part("float64", (sizes["window"],))
        parts[TRAINING + "window_wrong"] = persistence.Part("uint8", (sizes["window"],))
    return parts


def describe_run(data: tuple[Array, ...], order: Any, **options: Any) -> dict[str, Any]:
    """What has to be the same for a run to go on: options as they are, data and order by their digests."""
    digest = hashlib.blake2b(digest_size=16)
    for array in data:
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    if isinstance(order, Generator):
        order = type(order.bit_generator).__name__
    elif order is not None:
        order = hashlib.blake2b(np.asarray(order, np.int64).tobytes(), digest_size=16).hexdigest()
    stop = options.pop("stop")
    described = options | {"stop": None if stop is None else asdict(stop), "order": order, "data": digest.hexdigest()}
    plain: dict[str, Any] = json.loads(json.dumps(described, default=_plain))
    return plain


def _is_window(numbers: Any, size: int) -> bool:
    """Whether these can be the numbers of a stop rule's window of this size."""
    return (
        isinstance(numbers, dict)
        and numbers.keys() == set(WINDOW_NUMBERS)
        and all(type(numbers[name]) is int and 0 <= numbers[name] < 2**62 for name in ("n_seen", "n_wrong"))
        and numbers["n_wrong"] <= size
        and all(isinstance(numbers[name], float) for name in ("error_sum", "error_rest"))
    )


def _check_positions(state: Any) -> None:
    """ValueError if a generator would read outside its buffer: NumPy believes the positions it is given."""
    for place, size in ((state["state"].get("pos", 0), 624), (state.get("buffer_pos", 0), 4)):  # MT19937, Philox
        if type(place) is not int or not 0 <= place <= size:
            raise ValueError(f"{place!r} is not a position in a buffer of {size}")


def _plain(value: Any) -> Any:
    """What JSON has no word for: arrays and scalars of NumPy."""
    return value.tolist()
