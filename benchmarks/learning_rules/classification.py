"""Classes of a stream's observations, each predicted before it is learned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

import lstm97

from .packages import Labelled, package
from .records import Record
from .rules import FOR_ALL_OUTPUTS, FOR_STREAM, RULES, network

Array = npt.NDArray[np.float64]

CELLS = 16
MEASURE = "share of observations whose class was predicted before it was learned"
CLIP = 5.0


def standardised(inputs: Array) -> Array:
    """Return each row in units of the standard deviation around the mean of the rows up to it, at most 5 of them."""
    counts = np.arange(1, len(inputs) + 1)[:, np.newaxis]
    moved = inputs - inputs[0]
    mean = np.cumsum(moved, axis=0) / counts
    deviation = np.sqrt(np.maximum(np.cumsum(moved**2, axis=0) / counts - mean**2, 0.0))
    scaled: Array = np.clip((moved - mean) / np.where(deviation > 0, deviation, 1.0), -CLIP, CLIP)
    return scaled


def accuracy(stream: Labelled, rule: str, seed: int) -> tuple[float | None, str]:
    """Return the accuracy of a network with softmax outputs, or None and the message if it overflows."""
    net = network(RULES[rule], stream.inputs.shape[1], stream.n_classes, cells=CELLS, seed=seed, output="softmax")
    inputs, rate = standardised(stream.inputs), RULES[rule].learning_rate
    try:
        outputs = [net.learn(x, target, rate) for x, target in zip(inputs, stream.classes.tolist(), strict=True)]
    except FloatingPointError as error:
        return None, str(error)
    return float((np.argmax(outputs, axis=1) == stream.classes).mean()), ""


def of_stream_network(stream: Labelled, seed: int) -> float:
    """Return the accuracy of `lstm97.Network.for_stream` as it comes, on inputs in their own units."""
    net = lstm97.Network.for_stream(stream.inputs.shape[1], stream.n_classes, "classification", seed=seed)
    outputs = net.learn_run(stream.inputs, stream.classes)
    return float((np.argmax(outputs, axis=1) == stream.classes).mean())


def logistic_regression(stream: Labelled) -> float:
    """Return the accuracy of river's logistic regression behind its scaler."""
    scaler, classifier = package("river.preprocessing"), package("river.linear_model")
    model = scaler.StandardScaler() | classifier.LogisticRegression()
    right = 0
    for x, target in zip(stream.inputs.tolist(), stream.classes.tolist(), strict=True):
        named = {str(m): value for m, value in enumerate(x)}
        right += model.predict_one(named) == bool(target)
        model.learn_one(named, bool(target))
    return right / len(stream.classes)


def hoeffding_tree(stream: Labelled) -> float:
    """Return the accuracy of river's adaptive Hoeffding tree."""
    model = package("river.tree").HoeffdingAdaptiveTreeClassifier(seed=1)
    right = 0
    for x, target in zip(stream.inputs.tolist(), stream.classes.tolist(), strict=True):
        named = {str(m): value for m, value in enumerate(x)}
        right += model.predict_one(named) == target
        model.learn_one(named, target)
    return right / len(stream.classes)


PEERS = {"river logistic regression": logistic_regression, "river Hoeffding tree": hoeffding_tree}


def measure(streams: Iterable[Labelled], seeds: range) -> Iterator[Record]:
    """Yield records of all rules and peers."""
    for stream in streams:
        for name, peer in PEERS.items():
            yield Record("streams", stream.name, name, {}, None, MEASURE, peer(stream))
        for seed in seeds:
            yield Record("streams", stream.name, FOR_STREAM, {}, seed, MEASURE, of_stream_network(stream, seed))
        for rule in FOR_ALL_OUTPUTS:
            setting = {"cells": CELLS, "rate": RULES[rule].learning_rate}
            for seed in seeds:
                value, note = accuracy(stream, rule, seed)
                yield Record("streams", stream.name, rule, setting, seed, MEASURE, value, note)
