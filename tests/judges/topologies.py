"""Random topologies, weights, inputs and targets, shared by the tests.

Hypothesis chooses and shrinks the structure; the numbers come from a NumPy generator whose seed it draws as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pytest
from hypothesis import strategies as st
from reference import weight_shapes

import lstm97

may_lack_targets = pytest.mark.filterwarnings("ignore:no target was found")
"""For tests whose cases may have no target at all, of which `train` would warn."""

BIASES = ("all", "hidden", "gates", "gates_and_output", "none")
SQUASHES = ("logistic", "centered", "centered2", "tanh", "identity")
OUTPUTS = ("logistic", "identity", "softmax")
WHEN = ("end", "every", "some", "never")


def _now_and_then(most, rare):
    """Draws from ``most``, one in ten from ``rare``; shrinks towards ``most``."""
    if not rare:
        return most
    return st.sampled_from([False] * 9 + [True]).flatmap(lambda now: st.sampled_from(rare) if now else most)


@st.composite
def topologies(draw, *, large=True, **fixed):
    """A random ``lstm97.Topology``.

    Parameters
    ----------
    large : bool
        Whether some sizes are above 64 now and then.
    **fixed
        Arguments of ``lstm97.Topology`` that are not drawn.
    """
    sizes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
    drawn = {
        "n_inputs": draw(_now_and_then(st.integers(1, 5), [65, 70] if large else [])),
        "n_outputs": draw(_now_and_then(st.integers(1, 4), [66] if large else [])),
        "blocks": draw(_now_and_then(sizes, [(), (70,), (1,) * 65, (33, 1, 37)] if large else [()])),
        "n_hidden": draw(_now_and_then(st.integers(0, 3), [67] if large else [])),
        "output_gates": draw(st.booleans()),
        "forget_gates": draw(st.booleans()),
        "recurrent": draw(st.booleans()),
        "gate_sources": draw(st.booleans()),
        "input_to_output": draw(st.booleans()),
        "bias": draw(st.sampled_from(BIASES)),
        "input_squash": draw(st.sampled_from(SQUASHES)),
        "output_squash": draw(st.sampled_from(SQUASHES)),
        "output": draw(st.sampled_from(OUTPUTS)),
    }
    drawn |= fixed
    if drawn["output"] == "softmax" and drawn["n_outputs"] == 1:  # Topology refuses this
        drawn |= {"output": "logistic"} if fixed.get("n_outputs") == 1 else {"n_outputs": 2}
    return lstm97.Topology(**drawn)


def random_weights(topology, rng, scale=1.0):
    """Weights for each kind, uniform, their standard deviation at most ``scale / sqrt(sources)``.

    Nets without squashing would otherwise overflow, and wide ones amplify rounding errors without bound.
    """
    return {
        kind: rng.uniform(-scale, scale, (n, sources)) / max(1.0, np.sqrt(sources / 3))
        for kind, (n, sources) in weight_shapes(topology).items()
    }


def random_inputs(topology, rng, n_steps, symbols=False):
    """(n_steps, n_inputs) numbers in [-1, 1], or (n_steps,) symbols."""
    if symbols:
        return rng.integers(topology.n_inputs, size=n_steps)
    return rng.uniform(-1, 1, (n_steps, topology.n_inputs))


def random_targets(topology, rng, n_steps, when="every", classes=False):
    """(n_steps, n_outputs) numbers with rows of NaN, or (n_steps,) class numbers with -1.

    The numbers are in [0, 1]; for softmax those of a step add up to about one, on which the rule does not depend.
    ``when`` says at which steps there is a target: the "end", "every" one, "some" or "never".
    """
    wanted = {
        "end": np.arange(n_steps) == n_steps - 1,
        "every": np.ones(n_steps, dtype=bool),
        "some": rng.random(n_steps) < 0.4,
        "never": np.zeros(n_steps, dtype=bool),
    }[when]
    if classes:
        return np.where(wanted, rng.integers(topology.n_outputs, size=n_steps), -1)
    most = 2 / topology.n_outputs if topology.output == "softmax" else 1.0
    return np.where(wanted[:, None], rng.uniform(0, most, (n_steps, topology.n_outputs)), np.nan)


def packed(steps, numbers):
    """Sequences as `train` takes them; packed, as lists of integers could also be rows of zeros and ones."""
    return lstm97.Sequences.pack(steps) if numbers else steps


def _steepness(topology):
    """How much cells amplify each other's activations, and rounding errors: steep nets get small weights and rates."""
    steepness = {"identity": 4.0, "centered2": 2.0, "tanh": 2.0}.get(topology.output_squash, 1.0)
    return steepness if topology.output_gates else 2 * steepness


@dataclass(frozen=True)
class Case:
    """One sequence to learn. ``weights``, ``inputs`` and ``targets`` follow from the fields and are read-only."""

    topology: lstm97.Topology
    seed: int
    n_steps: int
    symbols: bool
    classes: bool
    when: str
    learning_rate: float

    @cached_property
    def weights(self):
        """Initial weights, dict of kind to (units, sources)."""
        weights = random_weights(self.topology, np.random.default_rng([self.seed, 0]), 1 / _steepness(self.topology))
        return {kind: _read_only(w) for kind, w in weights.items()}

    @cached_property
    def inputs(self):
        """(n_steps, n_inputs) numbers or (n_steps,) symbols."""
        rng = np.random.default_rng([self.seed, 1])
        return _read_only(random_inputs(self.topology, rng, self.n_steps, self.symbols))

    @cached_property
    def targets(self):
        """(n_steps, n_outputs) numbers, NaN where none, or (n_steps,) class numbers, -1 where none."""
        rng = np.random.default_rng([self.seed, 2])
        return _read_only(random_targets(self.topology, rng, self.n_steps, self.when, self.classes))


@st.composite
def cases(draw, *, min_steps=1, max_steps=60, large=True, symbols=None, classes=None, when=None, **fixed):
    """A random Case; ``symbols``, ``classes``, ``when`` and the arguments of the topology are drawn unless given."""
    topology = draw(topologies(large=large, **fixed))
    if classes and topology.n_outputs == 1:  # one output has no classes
        topology = replace(topology, n_outputs=2)
    if symbols is None:
        symbols = topology.n_inputs > 1 and draw(st.booleans())  # one input cannot be a symbol
    # A change overshoots, and rounding errors grow from step to step, where the learning rate times the squared
    # length of the source vector passes about 2; linear outputs get there first.
    rate = draw(st.sampled_from([0.01, 0.1] if topology.output == "identity" else [0.01, 0.1, 0.5]))
    rate /= _steepness(topology) * max(1.0, weight_shapes(topology)["output"][1] / 4)
    return Case(
        topology=topology,
        seed=draw(st.integers(0, 2**32 - 1)),
        n_steps=draw(st.integers(min_steps, max_steps)),
        symbols=symbols,
        classes=(draw(st.booleans()) if classes is None else classes) and topology.n_outputs > 1,
        when=draw(st.sampled_from(WHEN)) if when is None else when,
        learning_rate=rate,
    )


def _read_only(array):
    array.flags.writeable = False
    return array
