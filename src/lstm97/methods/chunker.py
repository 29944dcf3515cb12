"""The neural sequence chunker: two nets, of which the upper one sees only what the lower one did not expect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np

from lstm97.extend import integer, not_negative
from lstm97.history import History
from lstm97.methods._recurrent import Loops, PairLoops
from lstm97.methods.learner import Array, Floats, Integers, Learner, Seed, check_size, draw_weights
from lstm97.methods.recurrent import layers
from lstm97.methods.topology import RecurrentTopology, Squash
from lstm97.network import Weights
from lstm97.sequences import Sequences


@dataclass(frozen=True, kw_only=True)
class ChunkerTopology:
    """The two nets of a chunker.

    Parameters
    ----------
    n_inputs, n_outputs : int
    n_hidden : int, default 1
        Recurrent hidden units of each net.
    next_inputs : bool, default False
        Whether the targets are the next inputs, which the nets predict anyway. Otherwise the nets have outputs for the
        targets too.
    time : bool, default True
        Whether the upper net has an input for the time.
    imitated : {"state", "hidden"}, default "state"
        Which units of the upper net the automatizer learns to predict: all of them, as in the original, or the hidden
        ones alone, as in the LSTM paper. Outputs that see the inputs may not need the hidden units, which then carry no
        information for the automatizer.
    bias, output
        As for `RecurrentTopology`, for both nets. Their outputs see the inputs too.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    The nets of the LSTM paper's comparison, which counts the weights of the one with an extra output:

    >>> nets = ChunkerTopology(n_inputs=101, n_outputs=101, next_inputs=True, time=False, imitated="hidden")
    >>> nets.automatizer.n_weights, nets.chunker.n_weights
    (10506, 10404)
    """

    n_inputs: int
    n_outputs: int
    n_hidden: int = 1
    next_inputs: bool = False
    time: bool = True
    imitated: Literal["state", "hidden"] = "state"
    bias: bool = False
    output: Squash = "logistic"

    def __post_init__(self) -> None:
        for name in ("n_inputs", "n_outputs", "n_hidden"):
            object.__setattr__(self, name, integer(name, getattr(self, name), at_least=1))
        for name in ("next_inputs", "time"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
            object.__setattr__(self, name, bool(getattr(self, name)))
        if self.next_inputs and self.n_inputs != self.n_outputs:
            raise ValueError(f"next_inputs=True, but there are {self.n_inputs} inputs and {self.n_outputs} outputs")
        if self.imitated not in ("state", "hidden"):
            raise ValueError(f"imitated must be 'state' or 'hidden', got {self.imitated!r}")
        _ = self.automatizer  # checks the rest

    @property
    def automatizer(self) -> RecurrentTopology:
        """The lower net. Outputs: the task's, its next input (unless that is the task), the chunker's units."""
        n_outputs = self._n_predictions + self.n_hidden + (self._n_predictions if self.imitated == "state" else 0)
        return self._net(self.n_inputs, n_outputs)

    @property
    def chunker(self) -> RecurrentTopology:
        """The upper net. Inputs: an unexpected input, its time (or not). Outputs: the task's, its next input."""
        return self._net(self.n_inputs + self.time, self._n_predictions)

    @property
    def _n_predictions(self) -> int:
        """Outputs for the task and the next input."""
        return self.n_outputs + (0 if self.next_inputs else self.n_inputs)

    def _net(self, n_inputs: int, n_outputs: int) -> RecurrentTopology:
        return RecurrentTopology(
            n_inputs=n_inputs,
            n_outputs=n_outputs,
            n_hidden=self.n_hidden,
            input_to_output=True,
            bias=self.bias,
            output=self.output,
        )

    @property
    def n_weights(self) -> int:
        """Number of weights of both nets."""
        return self.automatizer.n_weights + self.chunker.n_weights


class Chunker(Learner):
    """The neural sequence chunker of two nets: history compression.

    Parameters
    ----------
    topology : ChunkerTopology
    seed, init_range
        As for `RTRL`.
    threshold : float, default 0.2
        An input is unexpected, and a target missed, if the automatizer is off by more than this in any element.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    The automatizer predicts its next input [1]_. An input that it fails to predict, and the first one after a reset, is
    passed on to the chunker, together with the time since the input passed on before, as ``1 - 1/gap``; so is the input
    of a step whose target was missed. The chunker predicts the next input passed on, and missed targets, over a much
    shorter history. The automatizer also learns to predict the chunker's units at every step: so it gets an error
    signal without delay for what the chunker remembers, and takes the prediction over. Both learn by RTRL, at every
    step.

    The outputs are the automatizer's. Inference runs the automatizer alone: its inputs are not passed on, even the
    first one.

    If ``topology.next_inputs``, a step without target learns from the next input when it comes.

    References
    ----------
    .. [1] J. Schmidhuber, "Learning complex, extended sequences using the principle of history compression", Neural
       Computation 4(2), 1992.
    """

    method: ClassVar[str] = "chunker"

    def __init__(
        self, topology: ChunkerTopology, seed: Seed = 0, init_range: float = 0.1, *, threshold: float = 0.2
    ) -> None:
        if not isinstance(topology, ChunkerTopology):
            raise TypeError(f"topology must be a ChunkerTopology, got {type(topology).__name__}")
        super().__init__(topology.output)
        self._topology = topology
        self._threshold = not_negative("threshold", threshold)
        self._automatizer, self._chunker = (
            Loops(net, through_time=False, depth=None, forced=False) for net in (topology.automatizer, topology.chunker)
        )
        self._pair = PairLoops(
            self._automatizer,
            self._chunker,
            next_inputs=topology.next_inputs,
            timed=topology.time,
            outputs_too=topology.imitated == "state",
            threshold=self._threshold,
        )
        self._passed_on = np.empty(0, np.int64)
        draw_weights(self.weights, seed, init_range)

    @property
    def topology(self) -> ChunkerTopology:
        """The two nets."""
        return self._topology

    @property
    def weights(self) -> dict[str, Floats]:
        """The weights of both nets by layer, "automatizer.recurrent" and so on: as those of `RTRL`."""
        nets = (("automatizer", self._automatizer), ("chunker", self._chunker))
        return Weights({f"{name}.{layer}": view for name, net in nets for layer, view in layers(net).items()})

    @property
    def n_bytes(self) -> int:
        """Bytes of memory of weights and states."""
        return self._automatizer.n_bytes + self._chunker.n_bytes

    @property
    def passed_on(self) -> Integers:
        """The times of the inputs that the latest call of `learn` or `learn_run` passed on to the chunker.

        In steps since the reset; the first input's time is 1. A target that is the next input counts as that input.
        """
        return self._passed_on

    def _settings(self) -> dict[str, Any]:
        topology = self._topology
        fields = {name: getattr(topology, name) for name in topology.__dataclass_fields__}
        return {"topology": fields, "threshold": self._threshold}

    @classmethod
    def _from_settings(cls, settings: dict[str, Any], n_numbers: int) -> Self:
        topology = ChunkerTopology(**settings["topology"])
        check_size(topology.automatizer.n_numbers + topology.chunker.n_numbers, n_numbers)
        return cls(topology, threshold=settings["threshold"])

    def _reset(self) -> None:
        self._pair.reset()

    def _run(self, inputs: Array, Y: Floats) -> None:
        outputs = np.empty((len(inputs), self._topology.automatizer.n_outputs))
        try:
            self._automatizer.run(inputs, outputs)
        finally:
            self._pair.catch_up()
        Y[...] = outputs[:, : self._topology.n_outputs]

    def _learn(self, inputs: Array, targets: Array | None, learning_rate: float, Y: Floats) -> None:
        passed_on = self._pair.learn(inputs, targets, learning_rate, Y)
        if passed_on is None:
            raise FloatingPointError("weights overflowed; try a smaller learning_rate")
        self._passed_on = passed_on

    def _train(
        self,
        inputs: Sequences,
        targets: Array,
        target_per_sequence: bool,
        order: Integers,
        learning_rate: float,
        update: str,
        history: History,
    ) -> None:
        self._pair.train(inputs.values, inputs.offsets, targets, target_per_sequence, order, learning_rate, history)

    def _predict(self, inputs: Sequences, Y: Floats) -> None:
        outputs = np.empty((len(Y), self._topology.automatizer.n_outputs))
        self._automatizer.predict(inputs.values, inputs.offsets, outputs)
        Y[...] = outputs[:, : self._topology.n_outputs]

    def _checked_update(self, update: str | None) -> str:
        if super()._checked_update(update) != "step":
            raise ValueError("the chunker's weights change at every step: update must be 'step'")
        return "step"
