"""Simple recurrent nets that follow the whole gradient, or one step of it: RTRL, BPTT, Elman nets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lstm97.extend import integer
from lstm97.methods._recurrent import Loops
from lstm97.methods.learner import CompiledLearner, Floats, Seed, check_size, draw_weights
from lstm97.methods.topology import RecurrentTopology
from lstm97.network import Weights


class RecurrentLearner(CompiledLearner):
    """A net of `RecurrentTopology`; its subclasses differ in how they compute the gradient."""

    def __init__(
        self,
        topology: RecurrentTopology,
        seed: Seed,
        init_range: float,
        *,
        through_time: bool,
        depth: int | None,
        forced: bool,
    ) -> None:
        if not isinstance(topology, RecurrentTopology):
            raise TypeError(f"topology must be a RecurrentTopology, got {type(topology).__name__}")
        self._topology = topology
        self._loops = Loops(topology, through_time=through_time, depth=depth, forced=forced)
        super().__init__(topology.squash if topology.fully_recurrent else topology.output, self._loops)
        draw_weights(self.weights, seed, init_range)
        self.weights["recurrent"][:, topology.n_inputs :][:, : topology.n_units] *= topology.sees

    @property
    def topology(self) -> RecurrentTopology:
        """The net's units and their connections."""
        return self._topology

    @property
    def weights(self) -> dict[str, Floats]:
        """The weights "recurrent" and, where outputs are a layer of their own, "output": (units, sources) each.

        Writable views, used from the next step on. The sources of the recurrent layer are the inputs, its own units at
        the step before, the bias; those of outputs the inputs, the recurrent units, the bias: those that the topology
        has. The weight of an absent connection is never learned; it is 0 unless a value is assigned to it.
        """
        return Weights(layers(self._loops))

    def _settings(self) -> dict[str, Any]:
        return {"topology": asdict(self._topology)}

    @classmethod
    def _from_settings(cls, settings: dict[str, Any], n_numbers: int) -> Self:
        topology = RecurrentTopology(**settings["topology"])
        check_size(topology.n_numbers, n_numbers)
        return cls(topology, **{name: value for name, value in settings.items() if name != "topology"})


class RTRL(RecurrentLearner):
    """Real-time recurrent learning: the whole gradient, carried forward.

    Parameters
    ----------
    topology : RecurrentTopology
    seed : int, SeedSequence, BitGenerator, Generator or None, default 0
        For the initial weights.
    init_range : float, default 0.1
        Initial weights are uniform in [-init_range, init_range].
    teacher_forcing : bool, default False
        While learning, a fully recurrent net sees the targets of the step before instead of its outputs, where there
        were any.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    For every unit k and weight w_im of the recurrent layer the sensitivity is carried forward [1]_, [2]_::

        dy_k/dw_im(t) = f'(net_k) (sum_l w_kl dy_l/dw_im(t-1) + [k = i] z_m(t))

    and a weight changes by ``learning_rate * sum_k (error at y_k) dy_k/dw_im``. A step of n fully recurrent units costs
    O(n^4), inference too, and the memory is O(n^3); both do not depend on the stream's length. If weights change at
    every step, each part of the sensitivities belongs to the weights of its own step, as in [2]_.

    References
    ----------
    .. [1] A. J. Robinson and F. Fallside, "The utility driven dynamic error propagation network", report
       CUED/F-INFENG/TR.1, Cambridge University, 1987.
    .. [2] R. J. Williams and D. Zipser, "A learning algorithm for continually running fully recurrent neural networks",
       Neural Computation 1(2), 1989.

    Examples
    --------
    >>> net = RTRL(RecurrentTopology(n_inputs=2, n_outputs=1, n_hidden=3, fully_recurrent=True), seed=1)
    >>> before = net.learn([0.0, 1.0], [1.0], learning_rate=0.5)
    >>> net.reset()
    >>> net.step([0.0, 1.0]) > before
    array([ True])
    """

    method: ClassVar[str] = "rtrl"

    def __init__(
        self,
        topology: RecurrentTopology,
        seed: Seed = 0,
        init_range: float = 0.1,
        *,
        teacher_forcing: bool = False,
    ) -> None:
        if not isinstance(teacher_forcing, (bool, np.bool_)):
            raise TypeError(f"teacher_forcing must be True or False, got {teacher_forcing!r}")
        self._teacher_forcing = bool(teacher_forcing)
        super().__init__(topology, seed, init_range, through_time=False, depth=None, forced=self._teacher_forcing)
        if teacher_forcing and not topology.fully_recurrent:
            raise ValueError("teacher_forcing=True needs fully_recurrent=True: other nets never see their outputs")

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"teacher_forcing": self._teacher_forcing}


class BPTT(RecurrentLearner):
    """Backpropagation through time: the whole gradient, or that of the latest steps, by going back over them.

    Parameters
    ----------
    topology : RecurrentTopology
    steps : int or None, default None
        How many steps an error goes back, its own step included; None: to the sequence's (or stream's) start.
    seed, init_range
        As for `RTRL`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    With ``update="sequence"`` and no truncation, errors of all steps go back together once the sequence is over [1]_: a
    step costs O(weights). If weights change at every error signal, each error goes back by itself over the stored
    activations, through the weights of that moment: BPTT(h) of [2]_ for h ``steps``. The number of steps stored grows
    with the sequence or stream, inference included, up to ``steps``.

    References
    ----------
    .. [1] P. J. Werbos, "Generalization of backpropagation with application to a recurrent gas market model", Neural
       Networks 1, 1988.
    .. [2] R. J. Williams and J. Peng, "An efficient gradient-based algorithm for on-line training of recurrent network
       trajectories", Neural Computation 2(4), 1990.
    """

    method: ClassVar[str] = "bptt"

    def __init__(
        self, topology: RecurrentTopology, steps: int | None = None, seed: Seed = 0, init_range: float = 0.1
    ) -> None:
        self._steps = None if steps is None else integer("steps", steps, at_least=1)
        super().__init__(topology, seed, init_range, through_time=True, depth=self._steps, forced=False)

    @property
    def steps(self) -> int | None:
        """How many steps an error goes back; None: all."""
        return self._steps

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"steps": self._steps}


class Elman(BPTT):
    """An Elman net: context units hold a copy of the hidden layer, and errors go back through one step only.

    Parameters
    ----------
    topology : RecurrentTopology
        Its outputs must be a layer of their own.
    seed, init_range
        As for `RTRL`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    The context units are inputs like any other, so this is BPTT that goes back no further than the step itself [1]_.

    References
    ----------
    .. [1] J. L. Elman, "Finding structure in time", Cognitive Science 14(2), 1990.
    """

    method: ClassVar[str] = "elman"

    def __init__(self, topology: RecurrentTopology, seed: Seed = 0, init_range: float = 0.1) -> None:
        super().__init__(topology, 1, seed, init_range)
        if topology.fully_recurrent:
            raise ValueError("an Elman net's outputs are a layer of their own: fully_recurrent must be False")

    def _settings(self) -> dict[str, Any]:
        return {name: value for name, value in super()._settings().items() if name != "steps"}


def layers(loops: Loops) -> dict[str, NDArray[np.float64]]:
    """The weights of a net by layer, (units, sources) each: views."""
    return {"recurrent": loops.w.T} | ({"output": loops.v.T} if loops.v.size else {})
