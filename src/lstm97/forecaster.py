"""Forecasts of a series of numbers, learned while it comes in: scaling, lags, intervals and scores around a network."""

from __future__ import annotations

import io
import json
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm97.extend import (
    CODES,
    advice_of,
    awaits_target,
    decode,
    integer,
    open_regular,
    read_arrays,
    read_header,
    to_bytes,
    write_whole,
)
from lstm97.network import Network, network_from_bytes, network_to_bytes
from lstm97.optimizers import RMSprop
from lstm97.sequences import as_numbers, checked_out
from lstm97.topology import Topology

if TYPE_CHECKING:
    from numpy.random import BitGenerator, Generator, SeedSequence

Floats = NDArray[np.float64]

FORMAT = "lstm97.Forecaster 1"
OPTIMIZER = RMSprop(decay=0.999, bound=0.5)
LEARNING_RATE = 0.01

RECENT = 256
"""How many errors are kept, for intervals and scores."""
MOST_PROBABLE = 0.99
"""The highest probability of an interval: few errors lie outside, and there must be one on each side."""

ENOUGH = 100
"""With as many errors, a score is told from how much larger than all others the last one is."""
MOST_BEYOND = 15.0
"""What that adds to a score at most."""

LARGEST = 1e290
"""The largest magnitude of a value: sums of differences of such values stay finite."""
LARGEST_IN_FILE = 1e305
"""The largest magnitude of what comes from files: more than such values can have led to."""
SMALLEST_SCALE = 1e-290
"""A scale below this is taken for 0."""
LARGEST_INPUT = 10.0
"""Inputs of the network are cut to it."""
LARGEST_DEVIATION = 100.0
"""Of what goes into the mean that is the scale, in units of the scale before."""
LARGEST_ERROR = 1e15
"""Of a scaled error; what is larger is cut to it. Huber's loss makes no difference between errors above 1."""

LONGEST_HORIZON = 2**40
"""So that sizes of arrays stay countable; whether there is memory for them is another matter."""

ROOM = 512
"""How many values can come in before those that are still needed have to be moved in memory."""
AT_ONCE = 1024
"""How many values go through the network in one call."""

_NUMBERS = ("_first", "_last", "_sum", "_total", "_output", "_error")
_COUNTS = ("_n_values", "_n_scaled", "_n_lags", "_awaits")
_TOLD = (
    *("first", "last", "base", "mean", "scale", "sum", "total", "output", "error", "forecast"),
    *("n_values", "n_scaled", "n_lags"),
)


class Forecaster:
    """Forecasts the next value of a series, and learns from every value that comes in.

    It needs no training set, no scaling and no tuning: a new forecaster forecasts the last value, and gets better from
    there. Memory and time per value are constant.

    Parameters
    ----------
    cells : int, default 16
        How many memory cells its network has.
    lags : int, default 24
        How many of the last values, or differences, the network sees at each step. What is older it can know by its
        cells alone.
    difference : bool, default True
        Whether it sees and forecasts differences from value to value. False: the values themselves, less their mean so
        far; for series that come back to their mean, such as noise around one level.
    seed : int, SeedSequence, BitGenerator, Generator or None, default 0
        For the network's first weights, as for `Network`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    Differences are divided by the mean of all absolute differences from the first change on, values less their mean by
    the mean absolute deviation from the mean before; both are known before the forecast is made. So that an outlier
    does little harm, it counts as at most 100 times the scale in these means, and the network sees it cut to 10. Until
    the values change there is no such scale: then the forecast is the last value, and nothing is learned.

    The network has single cells with forget gates, tanh for both squashing functions, an identity output and Huber's
    loss; it learns by ``RMSprop(decay=0.999, bound=0.5)`` at a rate of 0.01. The output weights are 0 at first, so that
    the first forecast is the last value (the mean, with ``difference=False``). ``python -m benchmarks.learning_rules``
    compares this one setting with others on real series.

    A forecaster is for one thread at a time: a call, or a property, raises RuntimeError while another thread is in one.
    What an interrupt breaks off may be learned in part: of `learn_many`, a thousand values at most.

    `lstm97.export_c` writes a forecaster as a C file, which goes on where it is.

    Examples
    --------
    >>> import numpy as np
    >>> values = 20 + 5 * np.sin(np.arange(1000) / 4)
    >>> f = Forecaster(cells=8, lags=6)
    >>> for value in values[:-1]:
    ...     forecast = f.learn(value)
    >>> bool(abs(values[-1] - forecast) < 0.1 * abs(values[-1] - values[-2]))
    True
    >>> f.forecast(3).shape
    (3,)
    >>> low, high = f.interval(0.9)
    >>> low < forecast < high
    True
    >>> forecast = f.learn(40)
    >>> f.score > 3  # such an error is not expected once in a thousand values
    True
    """

    def __init__(
        self,
        cells: int = 16,
        lags: int = 24,
        difference: bool = True,
        seed: int | SeedSequence | BitGenerator | Generator | None = 0,
    ) -> None:
        cells, lags = integer("cells", cells, at_least=1), integer("lags", lags, at_least=1)
        if type(difference).__name__ not in ("bool", "bool_"):  # bool, or NumPy's scalar
            raise TypeError(f"difference must be True or False, got {difference!r}")
        network = Network(
            _topology(cells, lags),
            seed=seed,
            forget_gate_bias=0.0,
            optimizer=OPTIMIZER,
            learning_rate=LEARNING_RATE,
        )
        network.weights["output"] = 0.0
        self._set_up(network, bool(difference))

    def _set_up(self, network: Network, difference: bool) -> None:
        """Start with this network and no values."""
        self._network, self._difference = network, difference
        self._busy = threading.Lock()
        advice_of(network).is_quiet = True  # an outlier may saturate cells; nobody can scale the inputs but this class
        n = network.topology.n_inputs
        self._x, self._y, self._target = np.zeros(n), np.zeros(1), np.zeros(1)
        self._largest, self._smallest = np.full(n, LARGEST_INPUT), np.full(n, -LARGEST_INPUT)
        self._seen, self._begin = np.zeros(n + ROOM), ROOM  # what the network sees, from `_begin` on, the latest first
        self._errors, self._n_errors, self._place = np.zeros(RECENT), 0, 0
        self._elsewhere = network.new_state()
        self._n_values = self._n_scaled = self._n_lags = 0
        self._first = self._last = self._sum = self._total = self._output = 0.0
        self._error = math.nan  # of the last value, scaled; infinite without a scale
        self._awaits = False  # whether the network has made a step whose target is the next value
        self._derive()

    def _derive(self) -> None:
        """Compute what follows from the numbers and counts."""
        self._scale = _scale(self._total, self._n_scaled)
        self._mean = self._sum / self._n_values if self._n_values else 0.0
        self._base = self._last if self._difference else self._first + self._mean
        self._forecast = self._base + self._scale * self._output if self._scale else self._last
        if not self._n_values:
            self._forecast = math.nan

    def __repr__(self) -> str:
        return f"<Forecaster: {self.cells} cells, {self.lags} lags, difference={self._difference}>"

    @property
    def cells(self) -> int:
        """How many memory cells its network has."""
        return self._network.topology.n_cells

    @property
    def lags(self) -> int:
        """How many values or differences the network sees at each step."""
        return self._network.topology.n_inputs

    @property
    def difference(self) -> bool:
        """Whether the network sees differences from value to value."""
        return self._difference

    @property
    def network(self) -> Network:
        """The network inside, to look at: it belongs to the forecaster, which alone should step or train it.

        If it is reset, or steps, from outside, nothing is learned from the next value, and then the forecaster goes on.
        """
        return self._network

    # ---- learning ----

    def learn(self, value: float | None) -> float:
        """Learn from a value, and forecast the next one.

        Parameters
        ----------
        value : float, or None
            A real number, at most 1e290 in size. None, NaN or a masked value if it is missing: then nothing is
            learned, and the series goes on with the forecast in its place.

        Returns
        -------
        float
            The forecast of the next value; NaN before the first.

        Raises
        ------
        TypeError, ValueError
            If `value` is not as above. Nothing has changed then.
        RuntimeError
            If another thread uses this forecaster. Nothing has changed then.
        FloatingPointError
            If a number inside the network would not be finite. The network's state is reset then.

        Examples
        --------
        >>> f = Forecaster()
        >>> f.learn(17.5)
        17.5
        >>> f.learn(None)
        17.5
        """
        number = value if type(value) is float else _number(value)
        if number == number and not -LARGEST <= number <= LARGEST:
            raise ValueError(f"value must be at most {LARGEST:g} in size, got {value!r}")
        if not self._busy.acquire(blocking=False):
            raise RuntimeError(IN_USE)
        try:
            return self._learn(number)
        except FloatingPointError:
            self._start_again()
            raise
        finally:
            self._busy.release()

    def learn_many(self, values: ArrayLike, out: Floats | None = None) -> Floats:
        """Learn from many values in a row: to the same bits as a `learn` for each, but quicker.

        Parameters
        ----------
        values : array_like, shape (n,)
            As for `learn`; NaN or masked where one is missing.
        out : ndarray, shape (n,), optional
            Where to write the forecasts, of dtype float64 and C-contiguous; may be the values.

        Returns
        -------
        ndarray, shape (n,)
            What each `learn` would have returned: number t is the forecast of value t + 1, made before it was known.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As for `learn`. Nothing has changed then.
        FloatingPointError
            As for `learn`; the values before have been learned, but for up to a thousand.

        Examples
        --------
        >>> Forecaster().learn_many([3.0, 3.0, 3.0])
        array([3., 3., 3.])
        """
        numbers = as_numbers("values", values, classes=MASKED_IS_NAN)
        if numbers.ndim != 1:
            raise ValueError(f"values has shape {numbers.shape}, expected (n,)")
        with np.errstate(all="ignore"):
            numbers = np.array(numbers, np.float64)  # a copy, over which `out` may be
        missing = np.isnan(numbers)
        if not (np.abs(numbers[~missing]) <= LARGEST).all():
            raise ValueError(f"values must be at most {LARGEST:g} in size, or NaN")
        forecasts = np.empty(len(numbers)) if out is None else checked_out(out, numbers.shape, numbers.dtype)
        ends = [*np.flatnonzero(missing).tolist(), len(numbers)]
        with self._in_use():
            self._look_at_network()
            try:
                begin = 0
                for end in ends:
                    self._learn_given(numbers[begin:end], forecasts[begin:end])
                    if end < len(numbers):
                        forecasts[end] = self._learn(math.nan)
                    begin = end + 1
            except FloatingPointError:
                self._start_again()
                raise
        return forecasts

    def _learn(self, number: float) -> float:
        """Learn from a checked number; NaN if it is missing."""
        is_given = number == number
        if is_given:
            if not (self._awaits and self._learn_target(_cut((number - self._base) / self._scale))):
                self._judge_without_scale(number)
            self._count(number)
        elif not self._n_values:
            return math.nan
        else:
            number, self._error = self._forecast, math.nan
        if self._difference:
            seen, self._base = number - self._last, number
        else:
            seen = number - self._first
        self._last = number
        if not (begin := self._begin):
            begin = len(self._seen) + 1 - len(self._x)
            self._seen[begin:] = self._seen[: len(self._x) - 1]
        self._begin = begin = begin - 1
        self._seen[begin] = seen
        self._n_lags += self._n_lags < len(self._x)
        if not self._scale:
            self._forecast = number
            return number
        self._look(self._seen[begin : begin + len(self._x)], self._n_lags)
        self._output = self._network.learn(self._x, None, out=self._y).item()
        self._awaits = True
        self._forecast = self._base + self._scale * self._output
        return self._forecast

    def _learn_target(self, target: float) -> bool:
        """Let the network learn from its target, scaled; returns whether it has waited for that."""
        self._target[0] = target
        self._awaits = False
        try:
            self._network.correct(self._target)
        except RuntimeError:
            if awaits_target(self._network):  # another thread uses the network
                self._awaits = True
                raise
            return False  # it was reset, or made a step, from outside
        self._record(target - self._output)
        return True

    def _look_at_network(self) -> None:
        """See whether the network still waits for its target: it may have been reset, or made a step, from outside."""
        self._awaits = self._awaits and awaits_target(self._network)

    def _look(self, window: Floats, n_lags: int) -> None:
        """Write what the network sees of a window, of which n values are known, into its inputs."""
        x = self._x
        if self._difference:
            np.divide(window, self._scale, out=x)
        else:
            np.subtract(window, self._mean, out=x)
            np.divide(x, self._scale, out=x)
            x[n_lags:] = 0.0
        np.minimum(x, self._largest, out=x)
        np.maximum(x, self._smallest, out=x)

    def _count(self, number: float) -> None:
        """Take a number into the scale and the mean, an outlier cut."""
        if not self._n_values:
            self._first = self._last = self._base = number
        self._n_values += 1
        deviation = number - self._base
        if self._scale:
            most = LARGEST_DEVIATION * self._scale
            deviation = min(max(deviation, -most), most)
        if self._total or deviation:
            self._total += abs(deviation)
            self._n_scaled += 1
            self._scale = _scale(self._total, self._n_scaled)
        if self._difference:
            self._base = number
        else:
            self._sum += self._mean + deviation
            self._mean = self._sum / self._n_values
            self._base = self._first + self._mean

    def _record(self, error: float) -> None:
        """Take the last value's error, scaled, to the recent ones."""
        place = self._place
        self._errors[place] = self._error = error
        self._place = (place + 1) % RECENT
        if self._n_errors < RECENT:
            self._n_errors += 1

    def _judge_without_scale(self, number: float) -> None:
        """Record no error if the values have not changed yet; how large an error is cannot be told."""
        if not self._n_values or self._scale:  # the first value, or the first after an interrupt or a reset
            self._error = math.nan
        elif number == self._forecast:
            self._record(0.0)
        else:
            self._error = math.inf

    def _start_again(self) -> None:
        """Make the network usable again after an overflow."""
        self._network.reset()
        self._awaits = False

    # ---- many at once ----

    def _learn_given(self, numbers: Floats, forecasts: Floats) -> None:
        """Learn from numbers none of which is missing, and write the forecasts."""
        begin, n = 0, len(numbers)
        while begin < n:
            end = min(begin + AT_ONCE, n)
            if self._awaits and self._learn_at_once(numbers[begin:end], forecasts[begin:end]):
                begin = end
            else:
                forecasts[begin] = self._learn(numbers[begin].item())
                begin += 1

    def _learn_at_once(self, numbers: Floats, forecasts: Floats) -> bool:
        """Do what `_learn` does for each number, with one call of the network; False: nothing, as a scale may be 0."""
        n, n_lags = len(numbers), len(self._x)
        if self._total / (self._n_scaled + n) < SMALLEST_SCALE:
            return False
        counted = np.empty((n + 1, 3))
        counted[0] = self._base, self._scale, self._mean
        for i, number in enumerate(numbers.tolist(), 1):
            self._count(number)
            counted[i] = self._base, self._scale, self._mean
        before, units = counted[:-1, 0], counted[:-1, 1]
        bases, scales, means = counted[1:, 0], counted[1:, 1], counted[1:, 2:]
        seen = numbers - (before if self._difference else self._first)
        row = np.concatenate([self._seen[self._begin : self._begin + n_lags - 1][::-1], seen])
        windows = np.lib.stride_tricks.sliding_window_view(row, n_lags)[:, ::-1]
        if self._difference:
            X = windows / scales[:, np.newaxis]
        else:
            X = (windows - means) / scales[:, np.newaxis]
            X[np.arange(n_lags) >= self._n_lags + np.arange(1, n + 1)[:, np.newaxis]] = 0.0
        np.clip(X, -LARGEST_INPUT, LARGEST_INPUT, out=X)
        with np.errstate(over="ignore"):
            targets = np.clip((numbers - before) / units, -LARGEST_ERROR, LARGEST_ERROR)
        Y = np.empty((n, 1))
        self._awaits = False
        self._network.correct(targets[:1])
        self._network.learn_run(X, np.append(targets[1:], np.nan)[:, np.newaxis], out=Y)
        outputs = Y[:, 0]
        for error in (targets - np.concatenate([[self._output], outputs[:-1]]))[-RECENT:].tolist():
            self._record(error)
        forecasts[...] = bases + scales * outputs
        self._begin = len(self._seen) - n_lags
        self._seen[self._begin :] = windows[-1]
        self._n_lags = min(self._n_lags + n, n_lags)
        self._last, self._output = numbers[-1].item(), outputs[-1].item()
        self._forecast = forecasts[-1].item()
        self._awaits = True
        return True

    # ---- what it knows ----

    def forecast(self, horizon: int = 1) -> Floats:
        """Forecast several values ahead, as if each had come in as it was forecast; the forecaster stays as it is.

        Parameters
        ----------
        horizon : int, default 1
            How many values, at most 2^40.

        Returns
        -------
        ndarray, shape (horizon,)
            The first is what the last `learn` returned, the next ones what ``learn(None)`` would return; NaN before the
            first value.

        Raises
        ------
        TypeError, ValueError, RuntimeError, FloatingPointError
            As for `learn`; the forecaster stays as it is.

        Examples
        --------
        >>> f = Forecaster()
        >>> forecasts = f.learn_many([1.0, 2.0, 3.0])
        >>> bool(f.forecast(4)[0] == forecasts[-1])
        True
        """
        horizon = integer("horizon", horizon, at_least=1, at_most=LONGEST_HORIZON)
        forecasts = np.empty(horizon)
        with self._in_use():
            forecasts[...] = self._forecast
            if self._scale:
                self._forecast_on(forecasts)
        return forecasts

    def _forecast_on(self, forecasts: Floats) -> None:
        """Write all forecasts but the first, in a state that is not the network's own."""
        n_lags, horizon = len(self._x), len(forecasts)
        seen = np.empty(n_lags + horizon - 1)
        seen[horizon - 1 :] = self._seen[self._begin : self._begin + n_lags]
        self._elsewhere.assign(self._network.state)
        last, number, base = self._last, self._forecast, self._base
        for i in range(1, horizon):
            begin = horizon - 1 - i
            seen[begin] = number - (last if self._difference else self._first)
            last = number
            if self._difference:
                base = number
            self._look(seen[begin : begin + n_lags], self._n_lags + i)
            output = self._network.step(self._x, state=self._elsewhere, out=self._y).item()
            forecasts[i] = number = base + self._scale * output

    def interval(self, probability: float = 0.9) -> tuple[float, float]:
        """Where the next value will be, with a probability: the forecast with quantiles of recent errors around it.

        The errors are the last 256 that were made before their values were known, each in the scale of its time. Of n
        errors in random order the next one lies between the k-th from below and the k-th from above with a probability
        of ``1 - 2 k / (n + 1)`` (conformal prediction); k is the largest that is probable enough. Nothing is assumed of
        the distribution of errors but that the next is like the recent ones.

        Parameters
        ----------
        probability : float, default 0.9
            Above 0, at most 0.99.

        Returns
        -------
        low, high : float
            In the values' units; NaN as long as there are too few errors: 19 are needed for 0.9, 199 for 0.99.

        Raises
        ------
        TypeError, ValueError
            If `probability` is not as above.
        RuntimeError
            If another thread uses this forecaster.

        Examples
        --------
        >>> f = Forecaster()
        >>> f.interval(0.9)
        (nan, nan)
        """
        probability = _probability(probability)
        with self._in_use():
            n = self._n_errors
            k = int((n + 1) * (1.0 - probability) / 2.0 + 1e-9)  # 1 for 20 * (1 - 0.9) / 2, however that is rounded
            if not k:
                return math.nan, math.nan
            ordered = np.sort(self._errors[:n])
            low, high = ordered[k - 1].item(), ordered[n - k].item()
            return self._forecast + self._scale * low, self._forecast + self._scale * high

    @property
    def score(self) -> float:
        """How unusual the last value was, by its error among the last 256 errors.

        The decimal logarithm of ``1 / share``, where `share` is the part of the errors that are at least as large, its
        own among them: 0 for the smallest error, 1 for one of the largest tenth, 2 for one of the largest hundredth.
        Where there are 100 errors and this one is the largest, so that they tell no more, the share is taken to fall as
        errors grow, as ``1 / size`` from the second largest on: an error ten times as large adds 1 to log10(256), about
        2.4. Always finite, at most about 17.4; NaN if the last value had no forecast: it was the first, or missing.
        """
        with self._in_use():
            if self._error != self._error:
                return math.nan
            size, n = abs(self._error), self._n_errors
            if size == math.inf:
                return math.log10(n + 1)
            sizes = np.abs(self._errors[:n])
            n_as_large = int(np.count_nonzero(sizes >= size))
            score = math.log10(n / n_as_large)
            if n_as_large == 1 and n >= ENOUGH:
                sizes[(self._place - 1) % RECENT] = 0.0
                if second := sizes.max().item():
                    score += min(math.log10(size / second), MOST_BEYOND)
            return score

    # ---- files ----

    def save(self, path: str | PathLike[str]) -> None:
        """Write all of the forecaster to a safetensors file: what `load` makes of it goes on to the same bits.

        Whatever happens meanwhile, the path has the old file or the new one, whole.

        Parameters
        ----------
        path : str or path
            Of the file; one that exists is replaced.

        Raises
        ------
        OSError
            If the file cannot be written.
        RuntimeError
            If another thread uses this forecaster.
        """
        write_whole(path, self._to_bytes())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Forecaster:
        """Read a forecaster from a file that `save` has written; nothing in the file is executed.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        Forecaster

        Raises
        ------
        OSError
            If the file cannot be read.
        TypeError, ValueError
            If `path` is not a path, or the file is not such a file, or damaged.
        """
        with open_regular(path) as file:
            return _read(file, os.fstat(file.fileno()).st_size, os.fsdecode(path))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are the bytes of a file; a subclass's become a plain Forecaster."""
        return _from_bytes, (self._to_bytes(),)

    def _to_bytes(self) -> bytes:
        """What `save` writes."""
        with self._in_use():
            self._look_at_network()
            network = np.frombuffer(network_to_bytes(self._network, True), np.uint8)
            oldest = self._place if self._n_errors == RECENT else 0
            arrays: dict[str, NDArray[Any]] = {
                "network": network,
                "lags": self._seen[self._begin : self._begin + len(self._x)].copy(),
                "errors": np.roll(self._errors[: self._n_errors], -oldest),
                "numbers": np.array([getattr(self, name) for name in _NUMBERS]),
                "counts": np.array([getattr(self, name) for name in _COUNTS], np.int64),
            }
        return to_bytes(arrays, {"format": FORMAT, "difference": json.dumps(self._difference)})

    def _restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from the arrays of a file; ValueError if no forecaster can have left them."""
        numbers = dict(zip(_NUMBERS, arrays["numbers"].tolist(), strict=True))
        counts = dict(zip(_COUNTS, arrays["counts"].tolist(), strict=True))
        for name in ("lags", "errors"):
            if not (np.abs(arrays[name]) <= LARGEST_IN_FILE).all():
                raise ValueError(f"its {name} are not finite, or too large")
        if not all(abs(number) <= LARGEST_IN_FILE for name, number in numbers.items() if name != "_error"):
            raise ValueError("its numbers are not finite, or too large")
        n, n_scaled = counts["_n_values"], counts["_n_scaled"]
        if not (0 <= n_scaled <= n < 2**62 and 0 <= counts["_n_lags"] <= len(self._x) and counts["_awaits"] in (0, 1)):
            raise ValueError("its counts cannot be")
        if numbers["_total"] < 0 or (numbers["_total"] > 0) != (n_scaled > 0):
            raise ValueError("its scale cannot be")
        vars(self).update(numbers | counts)
        self._awaits = bool(self._awaits)
        self._n_errors = len(arrays["errors"])
        self._place = self._n_errors % RECENT
        self._errors[: self._n_errors] = arrays["errors"]
        self._seen[self._begin : self._begin + len(self._x)] = arrays["lags"]
        self._derive()
        if self._awaits and not self._scale:
            raise ValueError("it learns without a scale")
        if math.isfinite(self._error) and self._error not in arrays["errors"][-1:]:
            raise ValueError("its last error is not the last of its errors")

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """A claim on this forecaster, for one call at a time."""
        if not self._busy.acquire(blocking=False):
            raise RuntimeError(IN_USE)
        try:
            yield
        finally:
            self._busy.release()


IN_USE = "this forecaster is in use by another thread"


class Standing(NamedTuple):
    """Where a forecaster stands, for those who write it in another form."""

    forecaster: Forecaster
    """A copy of it, which no other thread uses."""
    numbers: dict[str, float]
    """Its numbers and counts, by name without the underscore; `error` may be NaN or infinite, `forecast` NaN."""
    lags: Floats
    """What the network sees, unscaled, the latest first."""
    errors: Floats
    """The recent errors, the oldest first."""
    stream: dict[str, NDArray[Any]]
    """The state of its network, by the names that files have without ``state.``; ``partials`` has what is pending."""
    is_awaiting: bool
    """Whether the network waits for its target."""


def standing_of(forecaster: Forecaster) -> Standing:
    """Where a forecaster stands now.

    Parameters
    ----------
    forecaster : Forecaster

    Returns
    -------
    Standing

    Raises
    ------
    RuntimeError
        If another thread uses this forecaster.
    """
    data = forecaster._to_bytes()
    copy, arrays = _from_bytes(data), _tensors(data)
    state = _tensors(arrays["network"].tobytes())
    stream = {name.removeprefix("state."): array for name, array in state.items() if name.startswith("state.")}
    stream["partials"] = np.hstack([partials.T for partials in copy.network.state.partials.values()])
    numbers = {name: float(getattr(copy, f"_{name}")) for name in _TOLD}
    return Standing(copy, numbers, arrays["lags"], arrays["errors"], stream, copy._awaits)


def is_forecaster(path: str | PathLike[str]) -> bool:
    """Whether a file says that `Forecaster.save` has written it; False if it cannot be read."""
    try:
        with open_regular(path) as file:
            n_bytes = os.fstat(file.fileno()).st_size
            return read_header(file, n_bytes, os.fsdecode(path), n_bytes).metadata.get("format") == FORMAT
    except (OSError, ValueError):
        return False


def _tensors(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays in the bytes of a file that was just written."""
    file = io.BytesIO(data)
    return read_arrays(file, read_header(file, len(data), "the data", len(data)), "the data")


def _topology(cells: int, lags: int) -> Topology:
    """The network's units."""
    return Topology(
        lags,
        1,
        blocks=(1,) * cells,
        forget_gates=True,
        gate_sources=False,
        input_squash="tanh",
        output_squash="tanh",
        output="identity",
        loss="huber",
    )


MASKED_IS_NAN = -1
"""For `as_numbers`: masked values become NaN, also those of integers, which are no classes here."""


def _number(value: Any, name: str = "value") -> float:
    """A value as a float; NaN for None and for a masked value."""
    if value is None:
        return math.nan
    try:
        if isinstance(value, (int, np.integer, np.floating)):
            return float(value)
    except OverflowError:
        return math.inf
    array = as_numbers(name, value, classes=MASKED_IS_NAN)
    if array.shape:
        way_out = "; for many values call learn_many" if name == "value" else ""
        raise ValueError(f"{name} has shape {array.shape}, expected a number{way_out}")
    return float(array)


def _probability(value: Any) -> float:
    """The probability of an interval, checked."""
    number = _number(value, "probability")
    if not 0.0 < number <= MOST_PROBABLE:
        raise ValueError(f"probability must be above 0 and at most {MOST_PROBABLE}, got {value!r}")
    return number


def _cut(error: float) -> float:
    """A scaled error, if it is not too large."""
    return error if -LARGEST_ERROR <= error <= LARGEST_ERROR else math.copysign(LARGEST_ERROR, error)


def _scale(total: float, n: int) -> float:
    """The mean of n deviations; 0 if there is none, or it is too small to divide by."""
    scale = total / n if n else 0.0
    return scale if scale >= SMALLEST_SCALE else 0.0


def _from_bytes(data: bytes) -> Forecaster:
    """The forecaster of `Forecaster._to_bytes`."""
    return _read(io.BytesIO(data), len(data), "the data")


def _read(file: BinaryIO, size: int, what: str) -> Forecaster:
    """The forecaster in a file of `size` bytes."""
    header = read_header(file, size, what, size)
    try:
        if (version := header.metadata.get("format")) != FORMAT:
            raise ValueError(f"its format is {version!r}, expected {FORMAT!r}")
        if type(difference := decode(header.metadata.get("difference", "null"))) is not bool:
            raise ValueError("difference is not true or false")
        _check_entries(header.entries, size - header.size)
        arrays = read_arrays(file, header, what)
        data = arrays["network"].tobytes()
        network = network_from_bytes(data)
        n_lags = len(arrays["lags"])
        wanted = _topology(network.topology.n_cells, n_lags), OPTIMIZER, LEARNING_RATE
        found = network.topology, network.optimizer, network.learning_rate
        if found != wanted or network.readout or network.scaling or network.dtype != np.float64:
            raise ValueError(f"its network is not one for {n_lags} lags")
        if arrays["counts"][_COUNTS.index("_awaits")] and _phase(data) != "awaiting":
            raise ValueError("its network has not made a step that waits for its target")
        forecaster = Forecaster.__new__(Forecaster)
        forecaster._set_up(network, difference)
        forecaster._restore(arrays)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{what} is not a file of a Forecaster: {error}") from error
    return forecaster


def _check_entries(entries: Any, n_bytes: int) -> None:
    """ValueError unless a file has the tensors of a forecaster and `n_bytes` bytes of them."""
    wanted = {"network": "uint8", "lags": "float64", "errors": "float64", "numbers": "float64", "counts": "int64"}
    if entries.keys() != wanted.keys():
        raise ValueError(f"it has the tensors {', '.join(sorted(entries))[:80]}")
    most = {"network": n_bytes, "lags": n_bytes, "errors": RECENT}
    total = 0
    for name, dtype in wanted.items():
        code, shape = entries[name]
        length = {"numbers": len(_NUMBERS), "counts": len(_COUNTS)}.get(name)
        is_length = len(shape) == 1 and type(shape[0]) is int and 0 <= shape[0] <= most.get(name, n_bytes)
        if code != CODES[dtype] or not is_length or (length is not None and shape[0] != length):
            raise ValueError(f"{name} has not the dtype and shape that it must have")
        total += shape[0] * np.dtype(dtype).itemsize
    if total != n_bytes:
        raise ValueError(f"it has {n_bytes} bytes of data, but its header describes {total}")


def _phase(data: bytes) -> str:
    """The phase of the state in the bytes of a network."""
    header = read_header(io.BytesIO(data), len(data), "the network", len(data))
    phase: str = decode(header.metadata["state"])["phase"]
    return phase
