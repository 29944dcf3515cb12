"""Send networks and states to other processes and back: ``python host_processes.py METHOD`` prints results as JSON."""

from __future__ import annotations

import json
import multiprocessing
import sys

import numpy as np
from host_common import fork_without_warning

import lstm97

X, TARGETS = np.random.default_rng(0).uniform(-1, 1, (2, 30, 2))


def learn(stream):
    """Learn a stream with a network and one of its states; called in other processes too."""
    net, state = stream
    y = net.learn_run(X, TARGETS[:, :1], 0.1, state=state)
    return net, state, y


def main():
    """Let two processes learn the same as this one, and compare."""
    fork_without_warning()
    streams = []
    for seed in range(4):
        net = lstm97.Network(
            lstm97.Topology(2, 1, forget_gates=True, output="identity"),
            dtype=("float64", "float32")[seed % 2],
            seed=seed,
        )
        state = net.new_state()
        net.learn([0.1, 0.2], [0.3], state=state)
        streams.append((net, state))
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        found = pool.map(learn, streams)
    same = []
    for (net, state, y), stream in zip(found, streams, strict=True):
        own_net, own_state, own_y = learn(stream)
        same.append(
            bool(
                np.array_equal(net.parameters, own_net.parameters)
                and np.array_equal(state.cell_state, own_state.cell_state)
                and np.array_equal(y, own_y)
                and np.array_equal(net.step(X[0], state=state), own_net.step(X[0], state=own_state))
            )
        )
    print(json.dumps(same))


if __name__ == "__main__":
    main()
