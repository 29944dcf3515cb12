"""Learning rules and data for them, shared by the tests of optimizers, readout, scaling, losses and missing targets."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from learning_rules import LearningNetwork
from reference import weight_shapes
from topologies import cases

import lstm97
from lstm97 import RLS, SGD, Adam, RMSprop, Scaling

# A change by RMSprop or Adam multiplies rounding errors of g by up to 1 / epsilon, so that comparisons with the
# reference need a large one.
EPSILON = 0.01

OPTIMIZERS = {
    "momentum": SGD(momentum=0.9),
    "bound": SGD(bound=0.1),
    "rmsprop": RMSprop(decay=0.9, epsilon=EPSILON),
    "adam": Adam(beta1=0.8, beta2=0.95, epsilon=EPSILON),
    "bounded momentum": SGD(momentum=0.5, bound=0.1),
    "bounded rmsprop": RMSprop(decay=0.0, epsilon=EPSILON, bound=0.2),
    "bounded adam": Adam(beta1=0.8, beta2=0.95, epsilon=EPSILON, bound=0.2),
}

RULES = {
    **{name: {"optimizer": optimizer} for name, optimizer in OPTIMIZERS.items()},
    "least squares": {"readout": RLS(forgetting=0.98, prior=0.5)},
    "scaling": {"scaling": Scaling(decay=0.95)},
    "all": {"optimizer": OPTIMIZERS["bounded adam"], "readout": RLS(prior=0.5), "scaling": Scaling()},
}
"""Keyword arguments of ``Network``, by name; with least squares only for update="step" and linear outputs."""

BATCH_RULES = {name: rule for name, rule in RULES.items() if "readout" not in rule}
"""Those for update="sequence" and batches."""

TOLERANCE = {"float64": 1e-11, "float32": 2e-5}
"""Of a kernel against the reference: rounding errors of a change grow up to 1 / EPSILON times."""

ALLOWED_LOSSES = {
    "logistic": ("squared", "cross_entropy"),
    "identity": ("squared", "huber"),
    "softmax": ("cross_entropy",),
}


def rule_cases(**options):
    """Cases, as of ``topologies.cases``, whose topologies have any loss."""
    few = {"max_steps": 25, "large": False, "when": "some", **options}
    return cases(**few).flatmap(
        lambda case: st.sampled_from(ALLOWED_LOSSES[case.topology.output]).map(
            lambda loss: replace(case, topology=replace(case.topology, loss=loss))
        )
    )


def rate_of(case, rule):
    """A learning rate at which changes are far larger than rounding errors, which do not grow from step to step.

    Changes by RMSprop and Adam are as large as the rate, whatever the error.
    """
    sources = max(n for _, n in weight_shapes(case.topology).values())
    adaptive = not isinstance(rule.get("optimizer", SGD()), SGD)
    return 0.1 / max(4, sources) if adaptive else 5 * case.learning_rate


def pair(case, dtype, rule):
    """The compiled network and the reference with the same weights, rounded to the dtype."""
    net = lstm97.Network(case.topology, dtype=dtype, **rule)
    for kind, w in case.weights.items():
        net.weights[kind][...] = w
    return net, reference_of(net, rule)


def reference_of(net, rule):
    """A reference with the weights of a compiled network and empty memory."""
    weights = {kind: np.array(w, np.float64) for kind, w in net.weights.items()}
    return LearningNetwork(net.topology, weights, **{"optimizer": SGD(), **rule})


def data_of(case, dtype):
    """Inputs, targets and weights of error signals, rounded to the dtype; some rows of targets partly NaN.

    Weights are 0 now and then.
    """
    rng = np.random.default_rng([case.seed, 5])
    X, targets = case.inputs, case.targets
    weights = rng.choice([0.0, 0.25, 1.0, 1.5], case.n_steps, p=[0.1, 0.2, 0.4, 0.3])
    if not case.classes and case.topology.output != "softmax":
        targets = np.where(rng.random(targets.shape) < 0.2, np.nan, targets)
    return (
        X if case.symbols else X.astype(dtype),
        targets if case.classes else targets.astype(dtype),
        weights.astype(dtype).astype(np.float64),
    )


def cut(case, arrays, lengths):
    """Arrays over steps as lists of sequences, of these lengths as far as the steps go."""
    cuts = np.minimum(np.cumsum([0, *lengths]), case.n_steps)
    return [[array[a:b] for a, b in itertools.pairwise(cuts)] for array in arrays]


def some_data(n=12, n_inputs=2, seed=0, symbols=False):
    """n sequences, with one target at the end of each, which is about the first input."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, n)
    if symbols:
        inputs = [rng.integers(n_inputs, size=k) for k in lengths]
        return lstm97.Sequences.pack(inputs), np.array([[x[0] / n_inputs] for x in inputs])
    inputs = [rng.uniform(-1, 1, (k, n_inputs)) for k in lengths]
    return inputs, np.array([[(1 + x[0, 0]) / 2] for x in inputs])
