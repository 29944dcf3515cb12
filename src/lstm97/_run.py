"""One call of `train`: its threads, its epochs and its progress."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter
from typing import Any

from lstm97._advice import extent, scaling
from lstm97._kernel.team import WORTH_THREADS, Helpers, n_shares, prepare_batches, schedule
from lstm97._kernel.trainer import Trainer
from lstm97.checkpoints import Checkpoint, Cursor, run_description
from lstm97.history import History
from lstm97.network import Network, State
from lstm97.options import Data, Options

STEPS_CHECKED = 40
"""Steps of a sequence at which saturated cells are counted."""


class Run:
    """A network in training on its data; made for one call of `train`."""

    def __init__(self, net: Network, data: Data, options: Options, checkpoint: Checkpoint | None) -> None:
        self._net, self._data, self._options, self._checkpoint = net, data, options, checkpoint
        self._done = History() if options.history is None else options.history
        self._batch_size = min(options.batch_size, max(1, len(data.presentation)))
        # Before anything changes: this reads all data, which may be files mapped into memory.
        self._description = None if checkpoint is None else self._described()
        self._threads = self._worth_threads()
        self._state = State(net)
        self._trainer = self._made_trainer()

    def go(self) -> History:
        """Train to the end and return the history."""
        done = self._done
        helpers = Helpers(self._trainer)
        with done._training(), self._state._engine.training():
            try:
                helpers.start(self._threads - 1)
                self._through_epochs()
                if done.steps:
                    _check_saturation(self._net, self._data)
            finally:
                helpers.join()
        return done

    def _through_epochs(self) -> None:
        """Train from the start, or from the checkpoint, until no epoch is left or training is ended."""
        done, callback = self._done, self._options.callback
        cursor = Cursor(self._checkpoint, self._net, self._data.generator, self._options.stop, self._description, done)
        with done._beginning(self._options.stop):
            cursor.begin()
        if cursor.ended and not done.stopped:  # a callback ended the earlier call; this one's may let it continue
            cursor.ended = callback is not None and bool(callback(done))
        try:
            while cursor.epoch < self._options.epochs and not (cursor.ended or done._is_asked_to_end):
                self._epoch(cursor)
            cursor.save()
        except BaseException as error:
            cursor.leave(error)
            raise

    def _epoch(self, cursor: Cursor) -> None:
        """Train on what is left of an epoch, until the stop rule, the callback or `History.stop` ends it."""
        done, callback = self._done, self._options.callback
        if cursor.presentation is None:
            cursor.presentation = self._data.next_presentation()
        while (left := len(cursor.presentation) - cursor.position) and not done.stopped:
            self._portion(cursor, cursor.portion(left, self._batch_size))
            if done._is_asked_to_end:
                return
        if not left:
            cursor.end_epoch()
            done._epochs += 1
        if (callback is not None and callback(done)) or done.stopped:
            cursor.end()

    def _portion(self, cursor: Cursor, n: int) -> None:
        """Train on the next n sequences, or fewer if the stop rule holds."""
        data, options, done = self._data, self._options, self._done
        assert cursor.presentation is not None
        portion = cursor.presentation[cursor.position :][:n]
        begin, before = perf_counter(), done.sequences
        try:
            self._trainer.train(
                data.inputs.values,
                data.inputs.offsets,
                data.targets,
                data.per_sequence,
                data.weights,
                portion,
                None if options.update == "step" else schedule(data.inputs.lengths[portion], self._batch_size),
                options.learning_rate,
                done,
            )
        finally:
            done._seconds += perf_counter() - begin
        cursor.advance(done.sequences - before)

    def _worth_threads(self) -> int:
        """How many threads to use: no more than there are parts of the work, and one if there is little work."""
        data, options = self._data, self._options
        n_parts = len(data.presentation) if options.parallel == "hogwild" else n_shares(self._batch_size)
        steps = int(data.inputs.lengths[data.presentation].sum()) * options.epochs
        work = self._net._layout.step_work(symbols=data.inputs.is_symbols) * steps
        assert options.threads is not None
        return min(options.threads, n_parts) if work > WORTH_THREADS else 1

    def _made_trainer(self) -> Trainer:
        """A trainer with what batches or several threads need."""
        net, inputs, options = self._net, self._data.inputs, self._options
        trainer = Trainer(self._state._engine)
        if options.update == "sequence":
            longest = int(inputs.lengths.max(initial=0))
            prepare_batches(trainer, net._layout, self._threads, self._batch_size, longest, symbols=inputs.is_symbols)
        elif options.parallel == "hogwild":
            others = [State(net)._engine for _ in range(1, self._threads)]
            trainer.begin_hogwild([self._state._engine, *others])
        return trainer

    def _described(self) -> dict[str, Any]:
        """The description by which a checkpoint recognizes this run."""
        data, options = self._data, self._options
        return run_description(
            (data.inputs.values, data.inputs.offsets, data.targets),
            data.order,
            n_sequences=len(data.inputs),
            target_per_sequence=data.per_sequence,
            learning_rate=options.learning_rate,
            update=options.update,
            batch_size=options.batch_size,
            stop=options.stop,
            **({} if options.parallel == "batch" else {"parallel": options.parallel}),  # older files lack this entry
        )


def _check_saturation(net: Network, data: Data) -> None:
    """After a network's first training, warn if large data saturate most of its cells in the first sequence."""
    advice = net._advice
    if advice.is_quiet or advice.has_seen_training or data.inputs.is_symbols or not len(data.presentation):
        return
    advice.has_seen_training = True
    largest_input = max(map(abs, extent(data.inputs.values)))
    largest_target = 0.0 if data.targets.ndim == 1 else max(map(abs, extent(data.targets)))
    if not scaling(largest_input, largest_target):
        return
    state, n_saturated = State(net), []
    with suppress(FloatingPointError):
        for x in data.inputs[int(data.presentation[0])][:STEPS_CHECKED]:
            net.step(x, state=state)
            n_saturated.append(state._engine.n_saturated())
    if n_saturated:
        advice.judge_cells(n_saturated, largest_input, largest_target)
