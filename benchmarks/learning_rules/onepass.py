"""Classes of whole sequences, after one pass over the training set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np

import lstm97
from lstm97 import methods
from lstm97.methods import Learner

from .packages import Sequences
from .records import Record
from .rules import FOR_ALL_OUTPUTS, RULES, network

CELLS = 16
MEASURE = "share of test sequences whose class has the largest output, after each training sequence was learned once"
WAYS = ("targets at each step, mean output", "target at the last step, its output")


def accuracy(data: Sequences, rule: str, way: str, seed: int) -> tuple[float | None, str]:
    """Return the accuracy of a network after every sequence was learned once in one of the two ways."""
    n_inputs = data.train[0].shape[1]
    net = network(RULES[rule], n_inputs, data.n_classes, cells=CELLS, seed=seed, output="softmax")
    return accuracy_of(net, data, way, RULES[rule].learning_rate, seed)


def accuracy_of(
    net: lstm97.Network | Learner, data: Sequences, way: str, learning_rate: float, seed: int, passes: int = 1
) -> tuple[float | None, str]:
    """Return the accuracy of a learner after some passes over the training set in one of the two ways.

    Inputs are scaled by mean and standard deviation of the training set. The order of its sequences, which are sorted
    by class, is drawn.
    """
    steps = np.concatenate(list(data.train))
    mean, deviation = steps.mean(axis=0), steps.std(axis=0)
    train, test = ([(x - mean) / deviation for x in part] for part in (data.train, data.test))
    targets = [np.full(len(x), number, dtype=np.int64) for x, number in zip(train, data.train_classes, strict=True)]
    last = way == WAYS[1]
    if last:
        for target in targets:
            target[:-1] = -1  # no error at these steps
    order = np.random.default_rng(seed).permutation(len(train))
    try:
        methods.train(net, train, targets, learning_rate=learning_rate, order=order, epochs=passes)
    except FloatingPointError as error:
        return None, str(error)
    outputs = methods.predict(net, test)
    found = np.array([(y[-1] if last else y.mean(axis=0)).argmax() for y in outputs])
    return float((found == data.test_classes).mean()), ""


def nearest_neighbour(data: Sequences) -> float:
    """Return the accuracy of the nearest training sequence, by Euclidean distance of the sequences' means."""
    train, test = (np.array([x.mean(axis=0) for x in part]) for part in (data.train, data.test))
    distances = np.linalg.norm(test[:, np.newaxis] - train, axis=2)
    return float((data.train_classes[distances.argmin(axis=1)] == data.test_classes).mean())


def measure(sets: Iterable[Sequences], seeds: range) -> Iterator[Record]:
    """Yield records of all rules and of a peer."""
    for data in sets:
        yield Record("one pass", data.name, "nearest mean input", {}, None, MEASURE, nearest_neighbour(data))
        for rule, way in product(FOR_ALL_OUTPUTS, WAYS):
            setting = {"way": way, "cells": CELLS, "rate": RULES[rule].learning_rate}
            for seed in seeds:
                value, note = accuracy(data, rule, way, seed)
                yield Record("one pass", data.name, rule, setting, seed, MEASURE, value, note)
