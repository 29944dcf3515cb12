"""LSTM nets whose units see themselves alone, and learn by the whole gradient."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar, Self, get_args

import numpy as np

from lstm97.methods._elementwise import Loops
from lstm97.methods.learner import CompiledLearner, Floats, Seed, check_size, draw_weights
from lstm97.network import Weights
from lstm97.optimizers import SGD, Adam, Learning, Optimizer, RMSprop
from lstm97.topology import Kind, Loss, Squash, Topology

SQUASHES = (*get_args(Squash), "softmax")
LOSSES = get_args(Loss)
OPTIMIZERS: dict[str, type[Optimizer]] = {kind.__name__: kind for kind in (SGD, RMSprop, Adam)}


class ElementwiseLSTM(CompiledLearner):
    """An LSTM whose recurrence is element-wise: each unit sees its own activation only, so that nothing is truncated.

    Parameters
    ----------
    topology : lstm97.Topology
        With ``recurrent="self"``.
    seed : int, SeedSequence, BitGenerator, Generator or None, default 0
        For the initial weights.
    init_range : float, default 0.1
        Initial weights are uniform in [-init_range, init_range].
    optimizer : lstm97.SGD, RMSprop or Adam, default SGD()
        How gradients change the weights.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    A step is that of `lstm97.Network`, but for the recurrent source: a cell sees its own y_c(t-1), a gate its own
    activation, a conventional hidden unit its own. What carries the whole gradient forward is then a few numbers for
    each weight [1]_, [2]_: the derivative of a gate's or hidden unit's activation by its own weights, of a cell's state
    by its own and its gates' weights. With q the weight of a unit from itself::

        dy_u/dw(t) = f'(net_u) (z(t) + q_u dy_u/dw(t-1))                            gates, hidden units
        ds_c/dw(t) = p ds_c/dw(t-1) + what w does at this step itself
        p          = y_f + y_in g'(net_c) q_c y_out(t-1) h'(s_c(t-1))

    so that a step costs time and memory in proportion to the weights, those of gates times the cells of a block. Steps
    of inference (`step`, `run`) carry the derivatives too, as `learn` may follow. Weights from symbols that were not
    seen since the reset cost nothing. If weights change at every step, each part of the derivatives belongs to the
    weights of its own step.

    The memory of an optimizer is part of files, copies and pickles. Optimizers take the same part of the weights as
    those of `lstm97.Network`: not those from input symbols that were not seen since the reset.

    References
    ----------
    .. [1] M. C. Mozer, "A focused backpropagation algorithm for temporal pattern recognition", Complex Systems 3(4),
       1989.
    .. [2] K. Irie, A. Gopalakrishnan and J. Schmidhuber, "Exploring the Promise and Limits of Real-Time Recurrent
       Learning", ICLR 2024.

    Examples
    --------
    >>> net = ElementwiseLSTM(Topology(n_inputs=2, n_outputs=1, blocks=(1, 1, 1), recurrent="self"), seed=1)
    >>> before = net.learn([0.0, 1.0], [1.0], learning_rate=0.5)
    >>> net.reset()
    >>> net.step([0.0, 1.0]) > before
    array([ True])
    """

    method: ClassVar[str] = "elementwise-lstm"

    def __init__(
        self,
        topology: Topology,
        seed: Seed = 0,
        init_range: float = 0.1,
        *,
        optimizer: Optimizer = SGD(),  # noqa: B008 - frozen
    ) -> None:
        if not isinstance(topology, Topology):
            raise TypeError(f"topology must be a Topology, got {type(topology).__name__}")
        if topology.recurrent != "self":
            raise ValueError(f"topology must have recurrent='self', got {topology.recurrent}; others are for a Network")
        self._topology = topology
        self._optimizer = Learning(optimizer).optimizer
        self._lanes = _lanes(topology)
        is_biased = [np.full(topology.units[kind], float(topology.has_bias(kind))) for kind in self._lanes]
        self._loops = Loops(
            _numbers(topology, self._lanes) | {"rule": list(OPTIMIZERS).index(type(optimizer).__name__)},
            _rule(self._optimizer),
            np.repeat(np.arange(topology.n_blocks, dtype=np.int32), topology.blocks),
            np.concatenate([np.zeros(0), *is_biased]),
        )
        super().__init__(topology.output, self._loops)
        draw_weights(self.weights, seed, init_range)

    @property
    def topology(self) -> Topology:
        """The net's units and their connections."""
        return self._topology

    @property
    def optimizer(self) -> Optimizer:
        """How gradients change the weights."""
        return self._optimizer

    @property
    def weights(self) -> dict[str, Floats]:
        """The weights by kind of unit as of `lstm97.Network`, (units, sources) each: writable views.

        They are used from the next step on. The sources of a unit of the hidden layer are the inputs, itself at the
        step before, the bias; those of an output: inputs, hidden units, cells, bias; as far as the topology has them.
        """
        return Weights(self._views(self._loops.w, self._loops.w_out))

    def _views(self, hidden: Floats, output: Floats) -> dict[str, Floats]:
        """Matrices of rows by source as views by kind of unit."""
        units = self._topology.units
        found: dict[str, Floats] = {
            kind: hidden[: self._topology.n_sources(kind), first : first + units[kind]].T
            for kind, first in self._lanes.items()
        }
        return found | {"output": output.T}

    def _memory(self) -> dict[str, Floats]:
        memory = self._loops.memory
        found = {"memory.updates": self._loops.n_updates} if self._optimizer != SGD() else {}
        for name in ("m", "v"):
            if (name, "hidden") in memory:
                views = self._views(memory[name, "hidden"], memory[name, "output"])
                found |= {f"memory.{name}.{kind}": view for kind, view in views.items()}
        return found

    def _settings(self) -> dict[str, Any]:
        optimizer = {"name": type(self._optimizer).__name__} | asdict(self._optimizer)
        return {"topology": asdict(self._topology), "optimizer": optimizer}

    @classmethod
    def _from_settings(cls, settings: dict[str, Any], n_numbers: int) -> Self:
        topology = Topology(**settings["topology"])
        if settings.keys() != {"topology", "optimizer"}:
            raise ValueError(f"it has the settings {', '.join(sorted(settings))}")
        fields = dict(settings["optimizer"])
        optimizer = OPTIMIZERS[fields.pop("name")](**fields)
        n_each = {"RMSprop": 1, "Adam": 2}.get(type(optimizer).__name__, int(getattr(optimizer, "momentum", 0) > 0))
        check_size(topology.n_weights * (1 + n_each) + (optimizer != SGD()), n_numbers)
        return cls(topology, init_range=0.0, optimizer=optimizer)


def _lanes(topology: Topology) -> dict[Kind, int]:
    """Where the kinds of units begin in a row of weights."""
    lanes: dict[Kind, int] = {}
    begin = 0
    for kind, n in topology.units.items():
        if kind != "output":
            lanes[kind] = begin
            begin += n
    return lanes


def _numbers(topology: Topology, lanes: dict[Kind, int]) -> dict[str, int]:
    """What the loops know of a topology."""
    t = topology
    return {
        **{name: getattr(t, name) for name in ("n_inputs", "n_cells", "n_hidden", "n_outputs", "input_to_output")},
        "n_units": sum(t.units[kind] for kind in lanes),
        "n_out_sources": t.n_sources("output"),
        "lane_in": lanes.get("input_gate", 0),
        "lane_out": lanes.get("output_gate", 0),
        "lane_f": lanes.get("forget_gate", 0),
        "lane_hidden": lanes.get("hidden", 0),
        "has_out": "output_gate" in lanes,
        "has_f": "forget_gate" in lanes,
        "has_bias": any(t.has_bias(kind) for kind in lanes),
        "output_bias": t.has_bias("output"),
        "g": SQUASHES.index(t.input_squash),
        "h": SQUASHES.index(t.output_squash),
        "output": SQUASHES.index(t.output),
        "loss": LOSSES.index(t.loss),
    }


def _rule(optimizer: Optimizer) -> dict[str, float]:
    """What the loops know of an optimizer."""
    fields = asdict(optimizer)
    return {
        "kept_m": fields.get("momentum", fields.get("beta1", 0.0)),
        "kept_v": fields.get("decay", fields.get("beta2", 0.0)),
        "epsilon": fields.get("epsilon", 0.0),
        "bound": optimizer.bound or 0.0,
    }
