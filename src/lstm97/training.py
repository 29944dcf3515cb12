"""Training and predicting over many sequences, each from a zero state."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm97._advice import any_presented, extent, scaling
from lstm97._checks import COUNTABLE, integer, not_negative, positive
from lstm97._crew import WORTH_THREADS, Helpers, n_shares, prepare_batches, schedule
from lstm97._threads import available_cpus, thread_count
from lstm97.checkpoints import Checkpoint, Progress, describe_run
from lstm97.sequences import UNREADABLE, Sequences, as_sequences, as_targets, checked_out, is_array, unmasked

if TYPE_CHECKING:
    from lstm97.network import Network

Array = NDArray[Any]

STEPS_LOOKED_AT = 40
"""Steps of a sequence that tell whether its cells are saturated."""


@dataclass(frozen=True)
class Stop:
    """The paper's stop rule: train until the most recent sequences are right and their mean error is small.

    The rule holds as soon as, among the `window` most recent training sequences that had an error signal, at most
    `max_wrong` are wrong and the mean error is below `mean_error`. Judged after every sequence, by the outputs that its
    error signals were computed from.

    Parameters
    ----------
    window : int, default 2000
        Number of sequences looked at; the rule cannot hold before there are so many.
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
    """What a stop rule remembers of the latest sequences: rings of their errors and verdicts, and running sums."""

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

    `stop`, called from another thread or a signal's handler, ends training that goes on with it.
    """

    def __init__(self) -> None:
        self._sequences = 0
        self._steps = 0
        self._epochs = 0
        self._stopped = False
        self._seconds = 0.0
        self._errors: NDArray[np.float64] = np.empty(0)
        self._window: StopWindow | None = None
        self._is_given_up = False  # a call of train that goes on with this ends soon, as if interrupted
        self._is_asked_to_end = False  # the same, as if all were done
        self._in_use = threading.Lock()

    @property
    def sequences(self) -> int:
        """Sequences trained."""
        return self._sequences

    @property
    def steps(self) -> int:
        """Steps done, also of a sequence or batch that an error ended."""
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
        """Have `train` end after the sequence or batch under way, or the next call at once, if none is under way.

        For another thread, or a signal's handler: ``history = History()``, then ``train(..., history=history)`` returns
        as if the callback had ended it. A checkpoint is saved, and the same call goes on from it.
        """
        self._is_asked_to_end = True

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_in_use"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _in_use=threading.Lock())

    @contextmanager
    def _training(self) -> Iterator[None]:
        """A claim on this history, for one training at a time."""
        if not self._in_use.acquire(blocking=False):
            raise RuntimeError("this history is in use by another training; give each its own")
        try:
            yield
        finally:
            self._is_asked_to_end = False
            self._in_use.release()

    @property
    def errors(self) -> NDArray[np.float64]:
        """The error of each trained sequence, shape (sequences,): mean ``|t - y|`` over its targets and outputs.

        NaN where a sequence had no target. A read-only view.
        """
        errors = self._errors[: self._sequences]
        errors.flags.writeable = False
        return errors

    def __repr__(self) -> str:
        return (
            f"<History: {self.sequences} sequences, {self.steps} steps, {self.epochs} epochs, "
            f"{'stopped' if self.stopped else 'not stopped'}, {self.seconds:.3g} s>"
        )

    def _room(self, n: int) -> NDArray[np.float64]:
        """Where the errors of the next n sequences go; grows by doubling, so that many short calls stay cheap."""
        needed = self.sequences + n
        if needed > len(self._errors):
            grown = np.empty(max(needed, 2 * len(self._errors)))
            grown[: self.sequences] = self._errors[: self.sequences]
            self._errors = grown
        return self._errors[self.sequences : needed]

    def _begin(self, stop: Stop | None) -> None:
        """Get ready to go on under a stop rule; its window continues if the rule is the same."""
        self._stopped = False
        if stop is None:
            self._window = None
        elif self._window is None or self._window.stop != stop:
            self._window = StopWindow(stop)


def train(
    net: Network,
    inputs: object,
    targets: object,
    learning_rate: float = 0.1,
    *,
    update: Literal["step", "sequence"] = "step",
    epochs: int = 1,
    order: ArrayLike | np.random.Generator | None = None,
    stop: Stop | None = None,
    batch_size: int = 1,
    threads: int | None = None,
    parallel: Literal["batch", "hogwild"] = "batch",
    callback: Callable[[History], object] | None = None,
    history: History | None = None,
    checkpoint: Checkpoint | None = None,
) -> History:
    """Train a network on many sequences, each from a zero state; the network's own states are left alone.

    Parameters
    ----------
    net : Network
        Its weights change.
    inputs : Sequences, or list of arrays, or 3-D array_like
        Sequences of shape (n_steps_i, n_inputs), or of symbols: integers of shape (n_steps_i,). See `Sequences.pack`.
        Inputs of about 1 in size are what the defaults are made for. Masked values are refused.
    targets : array_like or Sequences
        One target per sequence, for its last step: shape (n_sequences, n_outputs), or class numbers, integers of shape
        (n_sequences,). Or one per step: a list of arrays (n_steps_i, n_outputs), a 3-D array, or class numbers as a
        list of integer arrays (n_steps_i,) or a 2-D integer array; both are refused where there is one output, and
        where they could as well be rows of values. A row of NaN or of masked values, and class -1, mean no error
        signal. Values of one output may be floats of shape (n_sequences,).
    learning_rate : float, default 0.1
        The paper's alpha, positive; the default of all calls that learn.
    update : {"step", "sequence"}, default "step"
        When weights change: at each error signal, or once per sequence by the sum of its changes (once per batch of
        sequences, if `batch_size` is more than 1).
    epochs : int, default 1
        How often to go through the data.
    order : array_like of int, or Generator, optional
        The sequences to train in each epoch, by number, in this order (any length, repetitions allowed); or a generator
        that draws a permutation for each epoch. By default all, as they come.
    stop : Stop, optional
        End when this rule holds: at the exact sequence, or after the batch it is in.
    batch_size : int, default 1
        With ``update="sequence"``: how many sequences in a row step together and change the weights once, by the sum
        (not the mean) of their changes. An epoch's last batch may be short.
    threads : int, optional
        How many threads train, the calling one among them: by default as many as the environment variable
        ``LSTM97_NUM_THREADS`` says, else 1. Never more than there are CPUs or parts of the work, and one alone where
        the work is too little for more. In batches each thread needs memory for up to 16 sequences under way, and a sum
        of changes as large as the weights.
    parallel : {"batch", "hogwild"}, default "batch"
        What several threads share. "batch": the sequences of a batch, so that only calls with ``batch_size`` above 4
        use them; the result is the same to the bit for any number. "hogwild": the weights; every thread trains
        sequences of its own, and all change the weights at each error signal, without a lock [1]_. What comes of that
        depends on who comes first: it cannot be repeated. Needs ``update="step"``; errors come in the order in which
        sequences end, and those under way when the stop rule holds are trained to their end. After an overflow the
        weights are as the others' changes have left them, finite or not. Threads that change a few hundred weights at
        every step spend much of their time on getting them from each other.
    callback : callable, optional
        Called with the history after every epoch; a true return value ends training.
    history : History, optional
        Of an earlier call, to go on with: its counts and errors grow and the stop rule's window continues, as if all
        sequences had come in one call. Its `stop` ends training from another thread.
    checkpoint : Checkpoint, optional
        Save in a file how far training came, every so often and at the end. If the file exists, go on from it instead
        of beginning: the same call after a kill comes to the same bits as one that was never interrupted (a callback is
        then called again for at most one epoch). It is the file of one run: of these first weights, data, order (with
        the generator's state) and settings; of another run's it is refused. More `epochs` are allowed, and so is a
        callback that would no longer have ended training where it did; after a FloatingPointError, another
        `learning_rate`.

    Returns
    -------
    History
        ``history``, or a new one.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, or the checkpoint is damaged or of another run. Nothing has changed then.
    OSError
        If the checkpoint cannot be read or written.
    FloatingPointError
        If a cell state, an output at a target or a weight would not be finite, naming step and sequence, counted from
        0 (for a weight's sum over a batch, the last target in it). The weights are those before the change that failed.
    RuntimeError
        If another thread trains this network, or trains with this history.

    Warns
    -----
    UserWarning
        Once for each network: if no sequence that is trained has a target; if outputs cannot reach the targets; if
        large inputs or targets have most cells saturated at the end of its first training.

    References
    ----------
    .. [1] F. Niu, B. Recht, C. Re and S. J. Wright, "Hogwild!: A Lock-Free Approach to Parallelizing Stochastic
       Gradient Descent", NIPS 2011.

    Examples
    --------
    Remember the first of ten inputs:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> inputs = rng.choice([-1.0, 1.0], (1000, 10, 1))
    >>> net = Network(Topology(1, 1, blocks=(1,), output_squash="tanh", output="identity"), seed=1)
    >>> history = train(net, inputs, inputs[:, 0], learning_rate=0.1, epochs=20)
    >>> history.sequences, bool(history.errors[-1000:].mean() < 0.1 * history.errors[:1000].mean())
    (20000, True)
    """
    from lstm97.network import Network, State

    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network, got {type(net).__name__}")
    if not isinstance(update, str) or update not in ("step", "sequence"):
        raise ValueError(f"update must be 'step' or 'sequence', got {update!r}")
    epochs = integer("epochs", epochs, at_least=0)
    batch_size = integer("batch_size", batch_size, at_least=1)
    threads = min(thread_count(threads, otherwise=1), available_cpus())
    if not isinstance(parallel, str) or parallel not in ("batch", "hogwild"):
        raise ValueError(f"parallel must be 'batch' or 'hogwild', got {parallel!r}")
    if parallel == "hogwild" and update != "step":
        raise ValueError(f"parallel='hogwild' changes weights by the step, but update is {update!r}; try update='step'")
    if batch_size > 1 and update == "step":
        raise ValueError(f"batch_size is {batch_size}, but with update='step' it must be 1; try update='sequence'")
    if stop is not None and not isinstance(stop, Stop):
        raise TypeError(f"stop must be a Stop, got {type(stop).__name__}")
    if history is not None and not isinstance(history, History):
        raise TypeError(f"history must be a History, got {type(history).__name__}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, got {type(callback).__name__}")
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        raise TypeError(f"checkpoint must be a Checkpoint, got {type(checkpoint).__name__}")
    learning_rate = positive("learning_rate", learning_rate)
    net._engine.check_rate(learning_rate)
    packed = as_sequences(inputs, net._layout)
    rows, per_sequence = as_targets(targets, packed, net._layout)
    if rows.ndim == 2:
        net._advice.look_at_targets(rows)
    presentation = presented(order, len(packed))
    if len(presentation) and rows.size and not any_presented(rows, per_sequence, packed.offsets, presentation):
        net._advice.no_targets()
    generator = order if isinstance(order, np.random.Generator) else None
    done = History() if history is None else history
    run = None
    if checkpoint is not None:
        run = describe_run(
            (packed.values, packed.offsets, rows),
            order,
            n_sequences=len(packed),
            target_per_sequence=per_sequence,
            learning_rate=learning_rate,
            update=update,
            batch_size=batch_size,
            stop=stop,
            **({} if parallel == "batch" else {"parallel": parallel}),  # which older files do not have
        )
    engine = State(net)._engine
    size = min(batch_size, max(1, len(presentation)))
    n_parts = len(presentation) if parallel == "hogwild" else n_shares(size)
    symbols = packed.values.ndim == 1
    work = net._layout.step_work(symbols=symbols) * int(packed.lengths[presentation].sum()) * epochs
    threads = min(threads, n_parts) if work > WORTH_THREADS else 1
    if update == "sequence":
        longest = int(packed.lengths.max(initial=0))
        prepare_batches(engine, net._layout, threads, size, longest, symbols=symbols)
    elif parallel == "hogwild":
        engine.begin_hogwild([engine, *(State(net)._engine for _ in range(1, threads))])
    values, offsets = packed.values, packed.offsets
    helpers = Helpers(engine)
    with done._training(), engine.training():
        try:
            helpers.come(threads - 1)
            progress = Progress(checkpoint, net, generator, stop, run, done)
            done._begin(stop)
            progress.begin()
            if progress.ended and not done.stopped:  # by a callback, which may have changed its mind
                progress.ended = callback is not None and bool(callback(done))
            try:
                while progress.epoch < epochs and not (progress.ended or done._is_asked_to_end):
                    if progress.presentation is None:
                        drawn = presentation if generator is None else generator.permutation(len(packed))
                        progress.presentation = drawn
                    while (left := len(progress.presentation) - progress.position) and not done.stopped:
                        portion = progress.presentation[progress.position :][: progress.portion(left, size)]
                        begin, before = perf_counter(), done.sequences
                        try:
                            engine.train(
                                values,
                                offsets,
                                rows,
                                per_sequence,
                                portion,
                                None if update == "step" else schedule(packed.lengths[portion], size),
                                learning_rate,
                                done,
                            )
                        finally:
                            done._seconds += perf_counter() - begin
                        progress.advance(done.sequences - before)
                        if done._is_asked_to_end:
                            break
                    if not left:
                        progress.end_epoch()
                        done._epochs += 1
                    if done._is_asked_to_end:
                        break
                    if (callback is not None and callback(done)) or done.stopped:
                        progress.end()
            except BaseException as error:
                progress.leave(error)
                raise
            progress.save()
            if done.steps:
                _look_at_cells(net, packed, rows, presentation)
        finally:
            helpers.leave()
    return done


def _look_at_cells(net: Network, inputs: Sequences, targets: Array, presentation: NDArray[np.int64]) -> None:
    """Warn if most of a network's cells are saturated by large data; looks once, after its first training."""
    from lstm97.network import State

    advice = net._advice
    if advice.is_quiet or advice.has_seen_training or inputs.is_symbols or not len(presentation):
        return
    advice.has_seen_training = True
    largest_input = max(map(abs, extent(inputs.values)))
    largest_target = 0.0 if targets.ndim == 1 else max(map(abs, extent(targets)))
    if not scaling(largest_input, largest_target):
        return
    state, n_saturated = State(net), []
    with suppress(FloatingPointError):
        for x in inputs[int(presentation[0])][:STEPS_LOOKED_AT]:
            net.step(x, state=state)
            n_saturated.append(state._engine.n_saturated())
    if n_saturated:
        advice.look_at_cells(sorted(n_saturated)[len(n_saturated) // 4], largest_input, largest_target)


def predict(net: Network, inputs: object, *, out: Array | None = None) -> Array | list[Array]:
    """The outputs of a network for many sequences, each from a zero state; the network's own states are left alone.

    Parameters
    ----------
    net : Network
        Stays as it is.
    inputs : Sequences, or list of arrays, or 3-D array_like
        As for `train`; there may be no sequence at all.
    out : ndarray, optional
        Where to write the outputs: of the shape returned for array inputs, else (total number of steps, n_outputs),
        sequence after sequence.

    Returns
    -------
    list of ndarray, shape (n_steps_i, n_outputs), or ndarray, shape (n_sequences, n_steps, n_outputs)
        The outputs at every step; an array if ``inputs`` is one (or a tensor). Views of one block of memory.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    FloatingPointError
        If a cell state or an output is not finite.
    """
    from lstm97.network import Network, State

    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network, got {type(net).__name__}")
    packed = as_sequences(inputs, net._layout, may_be_none=True)
    n_outputs = net.topology.n_outputs
    shape: tuple[int, ...] = (packed.n_steps, n_outputs)
    if is_array(inputs):
        shape = (*np.shape(cast(ArrayLike, inputs))[:2], n_outputs)
    block = np.empty(shape, net.dtype) if out is None else checked_out(out, shape, net.dtype)
    Y = block.reshape(-1, n_outputs)
    engine = State(net)._engine
    if np.may_share_memory(packed.values, Y):
        packed = Sequences(packed.values.copy(), packed.offsets)
    outputs = [Y[begin:end] for begin, end in zip(packed.offsets[:-1], packed.offsets[1:], strict=True)]
    for i, sequence in enumerate(packed):
        engine.reset()
        try:
            engine.run(sequence, outputs[i], None)
        except FloatingPointError as error:
            raise FloatingPointError(f"in sequence {i}: {error}") from error
    return block if is_array(inputs) else outputs


def presented(order: ArrayLike | np.random.Generator | None, n_sequences: int) -> NDArray[np.int64]:
    """The numbers of the sequences to train, one epoch long."""
    if order is None or isinstance(order, np.random.Generator):
        return np.arange(n_sequences)
    order = unmasked("order", order)
    try:
        numbers = np.array(order)  # a copy, so that what is checked cannot change
    except UNREADABLE as error:
        raise ValueError(f"order cannot be read as one array of numbers: {error}") from error
    if not numbers.size and numbers.dtype.kind == "f":  # as an empty list is
        numbers = numbers.astype(np.int64)
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
        raise TypeError(f"order must be a 1-D array of sequence numbers, got {numbers.dtype} of shape {numbers.shape}")
    if numbers.size and (numbers.min() < 0 or numbers.max() >= n_sequences):
        raise ValueError(f"order must hold sequence numbers from 0 to {n_sequences - 1}")
    return numbers.astype(np.int64, copy=False)
