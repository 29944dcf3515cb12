"""Training and predicting over many sequences, each from a zero state."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm97._inference import Inference
from lstm97._run import Run
from lstm97._threads import thread_count
from lstm97._validation import Validation
from lstm97.checkpoints import Checkpoint
from lstm97.history import History, Stop
from lstm97.network import Network
from lstm97.options import Data, Decay, Options
from lstm97.sequences import Sequences, as_sequences, checked_out, is_array, presented

Array = NDArray[Any]


def train(
    net: Network,
    inputs: object,
    targets: object,
    learning_rate: float | Decay | Callable[[History], float] | None = None,
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
    validation: tuple[object, object] | None = None,
    patience: int | None = None,
    keep_best: bool = True,
    every: int | None = None,
    sample_weight: object = None,
) -> History:
    """Train a network on many sequences, each from a zero state; the network's own states are left alone.

    Parameters
    ----------
    net : Network
        Its weights change.
    inputs : Sequences, or list of arrays, or 3-D array_like
        Sequences of shape (n_steps_i, n_inputs), or of symbols: integers of shape (n_steps_i,). See `Sequences.pack`.
        The defaults suit inputs of about 1 in size. Masked values are refused.
    targets : array_like or Sequences
        One target per sequence, for its last step: shape (n_sequences, n_outputs), or class numbers, integers of shape
        (n_sequences,). Or one per step: a list of arrays (n_steps_i, n_outputs), a 3-D array, or class numbers as a
        list of integer arrays (n_steps_i,) or a 2-D integer array; both are refused if there is one output, and if they
        could also be rows of values. A row of NaN or of masked values, and class -1, mean no error signal. Values of
        one output may be floats of shape (n_sequences,).
    learning_rate : float, Decay or callable, optional
        The paper's alpha, positive; by default `Network.learning_rate`. A `Decay` falls from sequence to sequence. A
        callable is called with the history at the start of every epoch, and with `every` each time the callback is
        called within one; it returns the rate from there on.
    update : {"step", "sequence"}, default "step"
        When weights change: at each error signal, or once per sequence by the sum of its changes (once per batch of
        sequences, if `batch_size` is more than 1).
    epochs : int, default 1
        Number of passes through the data.
    order : array_like of int, or Generator, optional
        The sequences to train in each epoch, by number, in this order (any length, repetitions allowed); or a generator
        that draws a permutation for each epoch. By default all, as they come.
    stop : Stop, optional
        End when this rule holds: at the exact sequence, or after the batch it is in.
    batch_size : int, default 1
        With ``update="sequence"``: how many sequences in a row step together and change the weights once, by the sum
        (not the mean) of their changes. An epoch's last batch may be short.
    threads : int, optional
        How many threads train, the calling one included: by default the value of the environment variable
        ``LSTM97_NUM_THREADS``, else 1. Never more than there are CPUs or parts of the work, and only one if there is
        too little work for more. In batches each thread needs memory for up to 32 sequences under way, and a sum of
        changes as large as the weights.
    parallel : {"batch", "hogwild"}, default "batch"
        What several threads share. "batch": the sequences of a batch, so that only calls with ``batch_size`` above 4
        use them; above 8 (float64) or 16 (float32) in networks of up to 64 hidden-layer units, where a vector
        instruction works on so many sequences. The result is the same to the bit for any number. "hogwild": the
        weights; every thread trains sequences of its own, and all change the weights at each error signal, without a
        lock [1]_. The result depends on the threads' timing and cannot be repeated. Needs ``update="step"``; errors
        come in the order in which sequences end, and those under way when the stop rule holds are trained to their end.
        After an overflow the weights are as the other threads' changes have left them, finite or not. Threads that
        change a few hundred weights at every step spend much of their time moving them from one CPU's cache to
        another's.
    callback : callable, optional
        Called with the history after every epoch, and where the stop rule ends one; a true return value ends training.
    history : History, optional
        The history of an earlier call, to continue: its counts and errors grow and the stop rule's window continues, as
        if all sequences had come in one call. Its `stop` ends training from another thread.
    checkpoint : Checkpoint, optional
        Save the progress in a file, regularly and at the end. If the file exists, continue from it instead of
        beginning: the same call after a kill gives the same bits as one that was never interrupted (a callback is then
        called again for at most one epoch). The file belongs to one run, with its first weights, data, order (with the
        generator's state) and settings; the file of another run is refused. More `epochs` are allowed, and so is a
        callback that no longer ends training where the earlier one did; after a FloatingPointError, another
        `learning_rate`. After training with `validation`, `load` gives the latest weights, not the best.
    validation : pair of inputs and targets, optional
        Data to judge the network by, as for training, whenever the callback would be called, and right before that.
        A judgement is the mean, over all error signals of these data, of the mean ``|t - y|`` over the outputs that
        have a target, as in `History.errors`. `History.validation` has all judgements, `History.best` the number of
        the best.
    patience : int, optional
        End training after so many judgements in a row that are no better than one before. Needs `validation`.
    keep_best : bool, default True
        With `validation`, the network has the weights of its best judgement when the call returns, those of earlier
        calls with this `history` included, and the statistics of its scaling and its readout of then; else the latest
        weights, as always after an exception. What its optimizer keeps stays as it is at the end.
    every : int, optional
        Call the callback within epochs too, each time that so many sequences of an epoch are trained (with batches, at
        the end of the batch they are in). The weights come to the same bits as without.
    sample_weight : array_like, shape (n_sequences,), or one for each step like targets, optional
        How much each error signal counts: its errors count that many times, 0 means that there is none. Finite, at
        least 0. `History.errors` are not weighted.

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
    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network, got {type(net).__name__}")
    options = Options(
        net.learning_rate if learning_rate is None else learning_rate,
        update,
        epochs,
        stop,
        batch_size,
        threads,
        parallel,
        callback,
        history,
        every,
        validation,
        patience,
        keep_best,
    )
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        raise TypeError(f"checkpoint must be a Checkpoint, got {type(checkpoint).__name__}")
    rate = options.learning_rate
    if isinstance(rate, Decay):
        net._engine.check_rate(rate.start)
        net._engine.check_rate(rate.end)
    elif not callable(rate):
        net._engine.check_rate(rate)
    judge = None if validation is None else Validation(validation, net._layout)
    check_learning(net, options)
    data = None if sample_weight is not None else _fitting_data(net, inputs, targets, order)
    if data is None:
        data = Data.checked(inputs, targets, order, net._layout, net._advice, sample_weight)
    return Run(net, data, options, judge, checkpoint).go()


def _fitting(net: Network, inputs: Any) -> Sequences | None:
    """Inputs that the loops can use without conversion; None for any others, which may be in error."""
    engine, n_inputs = net._engine, net._topology.n_inputs
    if type(inputs) is Sequences:
        return inputs if engine.fits(inputs.values, (-1, n_inputs)) else None
    if isinstance(inputs, (list, tuple)):
        arrays = tuple(inputs)
        offsets = engine.offsets_of(arrays, (-1, n_inputs)) if arrays else None
        return None if offsets is None else Sequences._of_rows(np.concatenate(arrays), offsets)
    return Sequences._of_array(inputs) if engine.fits(inputs, (-1, -1, n_inputs)) and inputs.size else None


def _fitting_targets(net: Network, targets: Any, inputs: Sequences) -> tuple[Array, bool] | None:
    """Targets that the loops can use without conversion, and whether they are one per sequence; None for any others."""
    engine, n, n_outputs = net._engine, len(inputs), net._topology.n_outputs
    if isinstance(targets, (list, tuple)):
        arrays = tuple(targets)
        if len(arrays) != n:
            return None
        if engine.offsets_of(arrays, (n_outputs,)) is not None:
            return np.concatenate(arrays).reshape(n, n_outputs), True
        offsets = engine.offsets_of(arrays, (-1, n_outputs))
        return (np.concatenate(arrays), False) if offsets is not None and (offsets == inputs.offsets).all() else None
    if engine.fits(targets, (n, n_outputs)):
        return targets, True
    n_steps = inputs.n_steps // max(1, n)
    if engine.fits(targets, (n, n_steps, n_outputs)) and (inputs.lengths == n_steps).all():
        return targets.reshape(-1, n_outputs), False
    return None


def _fitting_data(
    net: Network, inputs: object, targets: object, order: ArrayLike | np.random.Generator | None
) -> Data | None:
    """Data as `Data.checked` finds it where the loops can use all of it without conversion, and each target is given.

    None for any others.
    """
    packed = _fitting(net, inputs)
    if packed is None or not (type(inputs) is np.ndarray or packed.lengths.all()):
        return None
    if (found := _fitting_targets(net, targets, packed)) is None:
        return None
    presentation = presented(order, len(packed))
    net._engine.look_at_targets(found[0])
    as_asked = order if order is None or isinstance(order, np.random.Generator) else presentation
    return Data(packed, *found, presentation, as_asked)


def check_learning(net: Network, options: Options) -> None:
    """Refuse what a network's way to learn does not allow."""
    if net.readout is not None and options.update != "step":
        raise ValueError(f"readout={net.readout} learns from one error signal at a time; use update='step'")
    if options.parallel == "hogwild" and (net.readout is not None or net.scaling is not None):
        raise ValueError(
            "parallel='hogwild' does not go with readout or scaling, whose numbers all threads would share"
        )


@overload
def predict(
    net: Network, inputs: object, last: Literal[True], *, threads: int | None = None, out: Array | None = None
) -> Array: ...
@overload
def predict(
    net: Network, inputs: object, last: bool = False, *, threads: int | None = None, out: Array | None = None
) -> Array | list[Array]: ...
def predict(
    net: Network,
    inputs: object,
    last: bool = False,
    *,
    threads: int | None = None,
    out: Array | None = None,
) -> Array | list[Array]:
    """The outputs of a network for many sequences, each from a zero state; the network's own states are left alone.

    Parameters
    ----------
    net : Network
        It does not change.
    inputs : Sequences, or list of arrays, or 3-D array_like
        As for `train`; there may be no sequence at all.
    last : bool, default False
        Whether only the outputs at the last step of each sequence are asked for. No sequence may be empty then.
    threads : int, optional
        How many threads share the sequences, the calling one included: by default the value of the environment variable
        ``LSTM97_NUM_THREADS``, else 1. Never more than there are CPUs or parts of the work, and only one if there is
        too little work for more. The outputs are the same to the bit for any number of threads. (Sequences of about the
        same length are computed side by side, where there are several: then they are those of `Network.run` within
        rounding, else to the bit.)
    out : ndarray, optional
        Where to write the outputs: with `last` and for array inputs of the shape returned, else (total number of steps,
        n_outputs), sequence after sequence.

    Returns
    -------
    list of ndarray, shape (n_steps_i, n_outputs), or ndarray, shape (n_sequences, n_steps, n_outputs)
        The outputs at every step; an array if ``inputs`` is one (or a tensor). Views of one block of memory. With
        `last` always an array, of shape (n_sequences, n_outputs).

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    FloatingPointError
        If a cell state or an output is not finite, naming the first sequence in which one is.
    """
    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network, got {type(net).__name__}")
    if not isinstance(last, (bool, np.bool_)):
        raise TypeError(f"last must be True or False, got {last!r}")
    packed = _fitting(net, inputs)
    if packed is None:
        packed = as_sequences(inputs, net._layout, may_be_none=True)
    n_outputs = net.topology.n_outputs
    shape: tuple[int, ...] = (packed.n_steps, n_outputs)
    if last:
        for i in () if packed.lengths.all() else np.flatnonzero(packed.lengths == 0)[:1]:
            raise ValueError(f"inputs[{i}] is empty: it has no last step, which last=True asks for")
        shape = len(packed), n_outputs
    elif is_array(inputs):
        shape = (*np.shape(cast(ArrayLike, inputs))[:2], n_outputs)
    n_threads = thread_count(threads, otherwise=1)
    block = np.empty(shape, net.dtype) if out is None else checked_out(out, shape, net.dtype)
    Y = block.reshape(-1, n_outputs)
    if out is not None and np.may_share_memory(packed.values, Y):
        packed = Sequences(packed.values.copy(), packed.offsets)
    Inference(net, packed, n_threads).run(Y, last=bool(last))
    if last or is_array(inputs):
        return block
    return [Y[begin:end] for begin, end in pairwise(packed.offsets.tolist())]
