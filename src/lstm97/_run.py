"""One call of `train`: its threads, its epochs and its progress."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm97._advice import extent, scaling
from lstm97._checks import positive
from lstm97._format import learning_text
from lstm97._kernel.team import WORTH_THREADS, Helpers, n_shares, prepare_batches, schedule
from lstm97._kernel.trainer import Trainer
from lstm97._validation import Validation
from lstm97.checkpoints import Checkpoint, Cursor, digest_of_data, run_description
from lstm97.history import History
from lstm97.network import Network, State, kept_of, put_kept
from lstm97.optimizers import PLAIN
from lstm97.options import Data, Decay, Options

STEPS_CHECKED = 40
"""Steps of a sequence at which saturated cells are counted."""


class Run:
    """A network in training on its data; made for one call of `train`."""

    def __init__(
        self,
        net: Network,
        data: Data,
        options: Options,
        validation: Validation | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self._net, self._data, self._options, self._checkpoint = net, data, options, checkpoint
        self._validation = validation
        self._done = History() if options.history is None else options.history
        self._batch_size = min(options.batch_size, max(1, len(data.presentation)))
        self._every = options.every and -(-options.every // self._batch_size) * self._batch_size
        # Before anything changes.
        self._check_best()
        # This reads all data, which may be files mapped into memory.
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
        done = self._done
        cursor = Cursor(self._checkpoint, self._net, self._data.generator, self._options.stop, self._description, done)
        before = done._begin(self._options.stop)
        try:
            cursor.begin()
        except BaseException:
            done._undo_beginning(before)
            raise
        if cursor.ended and not done.stopped:  # a callback ended the earlier call; this one's may let it continue
            cursor.ended = self._is_enough()
        try:
            while cursor.epoch < self._options.epochs and not (cursor.ended or done._is_asked_to_end):
                self._epoch(cursor)
            cursor.save()
            if self._validation is not None and self._options.keep_best and done._best_parameters is not None:
                put_kept(self._net, done._best_parameters)
        except BaseException as error:
            cursor.leave(error)
            raise

    def _epoch(self, cursor: Cursor) -> None:
        """Train on what is left of an epoch, until the stop rule, the callback or `History.stop` ends it."""
        done = self._done
        if cursor.presentation is None:
            cursor.presentation = self._data.next_presentation()
        while (left := len(cursor.presentation) - cursor.position) and not done.stopped:
            until_due = left if self._every is None else self._every - cursor.position % self._every
            if until_due == self._every and cursor.position and not cursor.is_judged:
                self._judge(cursor)
                if cursor.ended or done._is_asked_to_end:
                    return
            self._portion(cursor, cursor.portion(min(left, until_due), self._batch_size))
            if done._is_asked_to_end:
                return
        if not left:
            cursor.end_epoch()
            done._epochs += 1
        self._judge(cursor)
        if done.stopped:
            cursor.end()

    def _judge(self, cursor: Cursor) -> None:
        """Judge the network by the validation data, if there are any; end the run if that or the callback ends it."""
        if self._validation is not None:
            assert self._options.threads is not None
            judgement = self._validation.judge(self._net, self._options.threads)
            self._done._judged(judgement, lambda: kept_of(self._net))
        if self._is_enough():
            cursor.end()
        cursor.end_judging()

    def _is_enough(self) -> bool:
        """Whether the callback ends training, or too many judgements were no better than one before."""
        callback = self._options.callback
        ends = callback is not None and bool(callback(self._done))
        return self._done._has_lost_patience(self._options.patience) or ends

    def _check_best(self) -> None:
        """ValueError if the weights that the history has kept are of another network, and this call needs them."""
        best, layout = self._done._best_parameters, self._net._layout
        if best is None or (self._validation is None and self._checkpoint is None):
            return
        if (len(best), best.dtype) != (layout.n_kept, layout.kept_dtype):
            raise ValueError(
                f"history has judgements of a network of {len(best)} {best.dtype} weights, but this one has "
                f"{layout.n_kept} {layout.kept_dtype} weights; give each network a history of its own"
            )

    def _rate(self, cursor: Cursor) -> float | Decay:
        """The learning rate of the next portion: a callable is asked once for all until the next judgement."""
        rate = self._options.learning_rate
        if isinstance(rate, Decay) or not callable(rate):
            return rate
        if cursor.rate is None:
            asked = positive("learning_rate(history)", rate(self._done))
            self._state._engine.check_rate(asked)
            cursor.rate = asked
        return cursor.rate

    def _portion(self, cursor: Cursor, n: int) -> None:
        """Train on the next n sequences, or fewer if the stop rule holds."""
        data, options, done = self._data, self._options, self._done
        assert cursor.presentation is not None
        portion = cursor.presentation[cursor.position : cursor.position + n]
        rate = self._rate(cursor)
        begin, before = perf_counter(), done.sequences
        try:
            self._trainer.train(
                data.inputs.values,
                data.inputs.offsets,
                data.targets,
                data.per_sequence,
                data.weights,
                portion,
                None if options.update == "step" else self._schedule(data.inputs.lengths[portion]),
                rate,
                done,
            )
        finally:
            done._seconds += perf_counter() - begin
        cursor.advance(done.sequences - before)

    def _schedule(self, lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The order of sequences of these lengths in batches and shares."""
        return schedule(lengths, self._batch_size, self._net._layout.width_abreast(self._batch_size))

    def _worth_threads(self) -> int:
        """How many threads to use: no more than there are parts of the work, and one if there is little work."""
        data, options = self._data, self._options
        if options.threads == 1:
            return 1
        n_parts = n_shares(self._batch_size, self._net._layout.width_abreast(self._batch_size))
        if options.parallel == "hogwild":
            n_parts = len(data.presentation)
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
        rate: Any = options.learning_rate
        if isinstance(rate, Decay):
            rate = asdict(rate)
        elif callable(rate):
            rate = "a callable"
        more: dict[str, Any] = {}  # only what is not by default: older files lack these entries
        if options.parallel != "batch":
            more["parallel"] = options.parallel
        if self._every is not None:
            more["every"] = self._every
        if self._validation is not None:
            more["validation"] = digest_of_data(self._validation.data)
        if self._net._learning != PLAIN:
            more["learning"] = learning_text(self._net._learning)
        if data.weights is not None:
            more["sample_weight"] = digest_of_data((data.weights,))
        return run_description(
            (data.inputs.values, data.inputs.offsets, data.targets),
            data.order,
            n_sequences=len(data.inputs),
            target_per_sequence=data.per_sequence,
            learning_rate=rate,
            update=options.update,
            batch_size=options.batch_size,
            stop=options.stop,
            **more,
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
