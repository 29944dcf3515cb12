"""Checkpoints of `train`: everything a killed run needs to continue with the same bits, in a file for `load` too."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import asdict, dataclass
from os import PathLike, fspath
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm97._checks import integer, positive
from lstm97._files import decode, to_bytes, write_whole
from lstm97._format import TRAINING, Contents, as_text, read
from lstm97.history import COUNTS, WINDOW_NUMBERS, History, Stop, judgement_arrays, put_judgements
from lstm97.network import Network, move_memory, network_of, network_to_bytes, parted

Array = NDArray[Any]

BEGINS, STANDS, LEFT, KEPT = "begins", "stands", "left", "kept"
"""Keys of four states of a run: at its beginning, at this save, where an exception ended its last call, and with the
weights of the best judgement."""


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often `train` saves its progress, so that the same call continues after a kill.

    Parameters
    ----------
    path : str or path
        The file: one for each run, replaced as a whole at each save. If it exists when `train` is called, training
        continues from it: weights, history, order and its generator's state are those in the file. The call must be
        that of the same run, with the network, the order's generator and the history as they were when the run began,
        or as its last call left them.
    sequences : int, optional
        Save each time this many sequences are trained (with batches, at the end of the batch they are in).
    seconds : float, optional
        Save about once in this time, between sequences. If neither is given, 60.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """

    path: str | PathLike[str]
    sequences: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(fspath(self.path), str):
            raise TypeError(f"path must be a str or path, got {self.path!r}")
        set_field = object.__setattr__  # the dataclass is frozen
        if self.sequences is not None:
            set_field(self, "sequences", integer("sequences", self.sequences, at_least=1))
        if self.seconds is not None:
            set_field(self, "seconds", positive("seconds", self.seconds))
        elif self.sequences is None:
            set_field(self, "seconds", 60.0)


class Cursor:
    """How far a run is: the epoch, its presentation and the position there; saved in a checkpoint.

    Without a checkpoint it only counts. A checkpoint file that exists is read and checked here; `begin` continues from
    it.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | None,
        net: Network,
        generator: np.random.Generator | None,
        stop: Stop | None,
        run: dict[str, Any] | None,
        done: History,
    ) -> None:
        self.epoch = 0
        self.position = 0
        self.presentation: NDArray[np.int64] | None = None
        self.ended = False
        self.is_judged = False  # at this position: judged, if there are validation data, and the callback was called
        self.rate: float | None = None  # what a callable learning rate gave, until it is asked again
        self._checkpoint, self._net, self._generator, self._stop = checkpoint, net, generator, stop
        self._run = run or {}
        self._done = done
        self._next_portion, self._is_full = 1, False
        self._is_saved = False
        self._found = None
        if checkpoint is not None and b"\0" in os.fsencode(checkpoint.path):
            raise ValueError(f"the checkpoint's path {checkpoint.path!r} contains a null character")
        if checkpoint is not None:
            self._run[BEGINS] = self._standing()
            if os.path.exists(checkpoint.path):
                self._found = self._read(fspath(checkpoint.path))

    def begin(self) -> None:
        """Continue from the checkpoint, or write a first one, so that an unusable path is found at once."""
        if self._found is not None:
            self._go_on(*self._found)
            self._found = None
        else:
            self.save()
        self._saved_at = self._done.sequences
        self._saved_when = self._portion_began = monotonic()

    # ---- portions ----

    def portion(self, n_left: int, batch_size: int) -> int:
        """How many sequences to train until a save may be due: whole batches."""
        self._portion_began = monotonic()
        if self._checkpoint is None:
            return n_left
        n = n_left
        if self._checkpoint.sequences is not None:
            due = self._saved_at + self._checkpoint.sequences - self._done.sequences
            n = min(n, -(-due // batch_size) * batch_size)
        self._is_full = n >= self._next_portion * batch_size
        if self._checkpoint.seconds is not None and self._is_full:
            n = self._next_portion * batch_size
        return n

    def advance(self, n: int) -> None:
        """Count n more trained sequences; save if a save is due."""
        self.position += n
        self._is_saved = self.is_judged = False
        if self._checkpoint is None:
            return
        now = monotonic()
        every = self._checkpoint.seconds
        if every is not None and self._is_full:
            # Double or halve the portions until one takes about a sixteenth of the time between saves.
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
        """Count a complete epoch; the next one needs a presentation of its own."""
        self.epoch += 1
        self.position = 0
        self.presentation = None
        self._is_saved = self.is_judged = False

    def end_judging(self) -> None:
        """Note that the network was judged at this position; a learning rate is to be asked for again."""
        self.is_judged, self.rate = True, None
        self._is_saved = False

    def end(self) -> None:
        """End the run, even if epochs are left."""
        self.ended = True
        self._is_saved = False

    def _standing(self) -> dict[str, str]:
        """Digests of weights, generator and history, which identify a run and its present state."""
        return self._standing_with(self._net.parameters, self._net._memory())

    def _standing_with(self, parameters: Array, memory: dict[str, Array]) -> dict[str, str]:
        """As `_standing`, with these weights, and this that learning keeps."""
        generator = None if self._generator is None else self._generator.bit_generator.state
        standing = {
            "first weights": digest(parameters.tobytes()),
            "generator": digest(as_text(generator or {}).encode()),
            "history": self._digest_of_history(),
        }
        if memory:
            standing["memory of learning"] = digest_of_data(tuple(memory.values()))
        return standing

    def _digest_of_history(self) -> str:
        """A digest of the history's counts, its errors and its stop rule's window."""
        done, window = self._done, self._done._window
        parts = [as_text({count: getattr(done, count) for count in COUNTS}).encode(), done.errors.tobytes()]
        if window is not None:
            numbers = {number: getattr(window, number) for number in WINDOW_NUMBERS}
            parts += [as_text(numbers).encode(), window.errors.tobytes(), window.wrong.tobytes()]
        parts += [array.tobytes() for array in judgement_arrays(done).values()]
        return digest(b"|".join(parts))

    # ---- files ----

    def leave(self, error: BaseException) -> None:
        """Add to the checkpoint how this call leaves network, generator and history, as the next call finds them so.

        After a FloatingPointError the same call would fail again, so the next one may have another learning rate.
        """
        if self._checkpoint is None:
            return
        self._run[LEFT] = self._standing()
        with contextlib.suppress(OSError, ValueError, MemoryError):  # do not replace the exception that ends the call
            contents = read(self._checkpoint.path)
            numbers = decode(contents.metadata["training"])
            numbers["run"] |= {LEFT: self._run[LEFT]}
            if isinstance(error, FloatingPointError):
                numbers["run"]["learning_rate"] = None
                numbers.pop("rate", None)
            metadata = contents.metadata | {"training": as_text(numbers)}
            write_whole(self._checkpoint.path, to_bytes(contents.tensors, metadata))

    def save(self) -> None:
        """Write the checkpoint, if there is one and something has changed since the last save."""
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
        standing = self._standing()
        numbers["run"] |= {STANDS: standing}
        if self.is_judged and self.position:  # no run needs it between epochs
            numbers["is_judged"] = True
        if self.rate is not None:
            numbers["rate"] = self.rate
        if judgements := judgement_arrays(done):
            arrays |= judgements
            sizes["validation"] = len(judgements["validation"])
            numbers["run"] |= {KEPT: self._standing_with(*parted(self._net, judgements["best_parameters"]))}
        training = as_text(numbers)
        more = {TRAINING + name: np.ascontiguousarray(array) for name, array in arrays.items()}
        write_whole(self._checkpoint.path, network_to_bytes(self._net, False, more, training=training))
        self._is_saved, self._saved_at, self._saved_when = True, done.sequences, monotonic()

    def _read(self, name: str) -> tuple[Contents, dict[str, Any], Network]:
        """A file's contents, its run's numbers and its network; ValueError if this run cannot continue from them."""
        contents = read(name)
        if "training" not in contents.metadata:
            raise ValueError(f"{name} has a network but no checkpoint of train; give another path")
        numbers = decode(contents.metadata["training"])
        wanted = self._run | {"topology": self._net.topology, "dtype": self._net.dtype.name}
        found = numbers["run"] | {"topology": contents.topology, "dtype": contents.dtype}
        standings = [found.pop(key) for key in (BEGINS, STANDS, LEFT, KEPT) if key in found]
        if not all(isinstance(standing, dict) for standing in standings):
            raise ValueError(f"{name} is damaged: its record of how the run began or how far it came is unreadable")
        if "learning_rate" in found and found["learning_rate"] is None:  # a FloatingPointError ended the last call
            found["learning_rate"] = wanted["learning_rate"]
        here = wanted.pop(BEGINS)
        different = [key for key in wanted | found if wanted.get(key) != found.get(key)]
        if standings:  # files of format 1 may lack them
            different += [key for key in here if all(here[key] != standing.get(key) for standing in standings)]
        if different:
            raise ValueError(
                f"{name} is the checkpoint of another run, which differs in {', '.join(different)}; "
                "give another path, or remove the file"
            )
        order, window = contents.tensors[TRAINING + "order"], numbers["sizes"]["window"]
        if (
            numbers["position"] > len(order)
            or (order.size and not (order.min() >= 0 and order.max() < self._run["n_sequences"]))
            or window != (0 if self._stop is None else self._stop.window)
            or (self._stop is None) != (numbers["window"] is None)
            or (self._generator is None) != (numbers["generator"] is None)
        ):
            raise ValueError(f"{name} is damaged: its numbers do not fit each other")
        judgements = contents.group(TRAINING).get("validation")
        if judgements is not None and (
            not len(judgements)
            or np.isnan(judgements).any()
            or not np.isfinite(contents.tensors[TRAINING + "best_parameters"]).all()
        ):
            raise ValueError(f"{name} is damaged: its judgements or their best weights are not as they must be")
        if self._generator is not None:
            try:
                _check_positions(numbers["generator"])
                type(self._generator.bit_generator)().state = numbers["generator"]
            except (LookupError, AttributeError, TypeError, ValueError, OverflowError) as error:
                raise ValueError(f"{name} is damaged: it has no usable state of the generator") from error
        return contents, numbers, network_of(contents, name)

    def _go_on(self, contents: Contents, numbers: dict[str, Any], net: Network) -> None:
        """Set weights and what learning keeps, generator and history to those in a file."""
        arrays, done = contents.group(TRAINING), self._done
        self._net.parameters = net.parameters
        move_memory(net, self._net)
        if self._generator is not None:
            self._generator.bit_generator.state = numbers["generator"]
        self.epoch, self.position, self.ended = numbers["epoch"], numbers["position"], numbers["ended"]
        self.is_judged, self.rate = numbers.get("is_judged", False), numbers.get("rate")
        self.presentation = np.array(arrays["order"], np.int64) if self.position else None
        done._errors = np.array(arrays["errors"])
        put_judgements(done, arrays)
        done._seconds, done._stopped = numbers["seconds"], numbers["stopped"]
        self._run[BEGINS] = numbers["run"].get(BEGINS, self._run[BEGINS])
        for count in COUNTS:
            setattr(done, f"_{count}", numbers[count])
        if done._window is not None:
            done._window.errors[...], done._window.wrong[...] = arrays["window_errors"], arrays["window_wrong"]
            for number in WINDOW_NUMBERS:
                setattr(done._window, number, numbers["window"][number])
        self._is_saved = True


def digest(data: bytes) -> str:
    """A digest of data: BLAKE2b, 128 bits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def run_description(data: tuple[Array, ...], order: Any, **options: Any) -> dict[str, Any]:
    """What must be the same for a run to continue: options as they are, data and order as digests."""
    if isinstance(order, np.random.Generator):
        order = type(order.bit_generator).__name__
    elif order is not None:
        order = digest(np.asarray(order, np.int64).tobytes())
    stop = options.pop("stop")
    rule = None if stop is None else {name: float(value) for name, value in asdict(stop).items()}
    return options | {"stop": rule, "order": order, "data": digest_of_data(data)}


def digest_of_data(data: tuple[Array, ...]) -> str:
    """A digest of arrays, their dtypes and shapes."""
    found = hashlib.blake2b(digest_size=16)
    for array in data:
        found.update(f"{array.dtype.str} {array.shape} ".encode())
        found.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return found.hexdigest()


def _check_positions(state: Any) -> None:
    """ValueError if a position is outside its generator's buffer; NumPy does not check, and would read there."""
    for position, size in ((state["state"].get("pos", 0), 624), (state.get("buffer_pos", 0), 4)):  # MT19937, Philox
        if type(position) is not int or not 0 <= position <= size:
            raise ValueError(f"{position!r} is not a position in a buffer of {size}")
