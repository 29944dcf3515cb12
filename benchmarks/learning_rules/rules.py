"""The learning rules by name, and networks that learn by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lstm97
from lstm97 import RLS, SGD, Adam, RMSprop, Scaling

BOUND = 0.5


@dataclass(frozen=True)
class Rule:
    """Options of a network that decide how it learns, and the learning rate where a task has no other."""

    learning_rate: float
    optimizer: SGD | RMSprop | Adam
    loss: str | None = None
    """Instead of the squared error, for identity outputs."""
    readout: RLS | None = None
    scaling: Scaling | None = None


BOUNDED = RMSprop(bound=BOUND)
RULES = {
    "SGD": Rule(0.03, SGD()),
    "SGD, bounded": Rule(0.03, SGD(bound=BOUND)),
    "RMSprop": Rule(0.01, RMSprop()),
    "RMSprop, bounded": Rule(0.01, BOUNDED),
    "RMSprop, bounded, Huber": Rule(0.01, BOUNDED, "huber"),
    "RMSprop, bounded, RLS": Rule(0.01, BOUNDED, readout=RLS()),
    "RMSprop, bounded, Huber, RLS": Rule(0.01, BOUNDED, "huber", readout=RLS()),
    "RMSprop, bounded, scaling": Rule(0.01, BOUNDED, scaling=Scaling()),
    "RMSprop, bounded, Huber, scaling": Rule(0.01, BOUNDED, "huber", scaling=Scaling()),
    "RMSprop, bounded, RLS, scaling": Rule(0.01, BOUNDED, readout=RLS(), scaling=Scaling()),
    "RMSprop, bounded, Huber, RLS, scaling": Rule(0.01, BOUNDED, "huber", readout=RLS(), scaling=Scaling()),
    "Adam": Rule(0.003, Adam()),
    "Adam, bounded": Rule(0.003, Adam(bound=BOUND)),
}

FOR_STREAM = "Network.for_stream"
"""What records call a network that is made by `lstm97.Network.for_stream` and used as it comes."""

FOR_ALL_OUTPUTS = tuple(name for name, rule in RULES.items() if not (rule.readout or rule.scaling or rule.loss))
"""Rules that are for logistic and softmax outputs too."""
UNSCALED = tuple(name for name, rule in RULES.items() if not rule.scaling)


def single_cells(
    n_inputs: int,
    n_outputs: int,
    *,
    cells: int,
    output: str = "identity",
    loss: str | None = None,
    recurrent: bool | str = True,
) -> lstm97.Topology:
    """Return a topology of single cells with three gates; loss is the output's own if none is given."""
    options: dict[str, Any] = {"output": output, "recurrent": recurrent}
    if loss is not None:
        options["loss"] = loss
    return lstm97.Topology(
        n_inputs,
        n_outputs,
        blocks=(1,) * cells,
        forget_gates=True,
        gate_sources=False,
        input_squash="tanh",
        output_squash="tanh",
        **options,
    )


def network(
    rule: Rule,
    n_inputs: int,
    n_outputs: int,
    *,
    cells: int,
    seed: int,
    output: str = "identity",
    forget_gate_bias: float = 1.0,
    dtype: str = "float64",
    init_range: float = 0.1,
    loss: str | None = None,
) -> lstm97.Network:
    """Make a network of single cells with three gates, which learns by a rule.

    `loss` is for outputs that have another than the rule's or the topology's own.
    """
    loss = loss or (rule.loss if output == "identity" else None)
    return lstm97.Network(
        single_cells(n_inputs, n_outputs, cells=cells, output=output, loss=loss),
        dtype=dtype,
        seed=seed,
        init_range=init_range,
        forget_gate_bias=forget_gate_bias,
        optimizer=rule.optimizer,
        readout=rule.readout,
        scaling=rule.scaling,
    )
