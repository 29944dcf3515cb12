"""Blocks of one size: what is summed over the cells of each, in vectors of blocks and in what is left over."""

from __future__ import annotations

import numpy as np
import pytest
from compare import TOLERANCE, assert_close
from reference import ReferenceNetwork, train

import lstm97
from lstm97 import Network, Topology
from lstm97._kernel import layout


@pytest.mark.parametrize("update", ["step", "sequence"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n_blocks", [7, 16, 19, 33])
@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_blocks_of_one_size_train_as_the_reference(size, n_blocks, dtype, update, monkeypatch):
    monkeypatch.setattr(layout, "BATCH_BLOCK", 3)  # sequences go on from block to block of steps
    topology = Topology(2, 1, blocks=(size,) * n_blocks, forget_gates=n_blocks % 2 == 0, output="identity")
    net = Network(topology, dtype, seed=1)
    reference = ReferenceNetwork(topology, {kind: np.array(w, np.float64) for kind, w in net.weights.items()})
    rng = np.random.default_rng(2)
    X = [rng.uniform(-1, 1, (n, 2)).astype(dtype) for n in (5, 8)]
    D = [rng.uniform(0, 1, (n, 1)).astype(dtype) for n in (5, 8)]
    before = {kind: w.copy() for kind, w in net.weights.items()}
    lstm97.train(net, X, D, 0.5, update=update)
    train(reference, X, D, 0.5, update=update)
    # Of the changes alone: beside the weights, a wrong sum would be small.
    found, expected = ({kind: w - before[kind] for kind, w in n.weights.items()} for n in (net, reference))
    assert_close(found, expected, 10 * TOLERANCE[dtype], "changes")
