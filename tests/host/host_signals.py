"""A host whose signal handler runs every millisecond: ``python host_signals.py CALL``, told as JSON.

Once the handler counts, and once it raises, as one that ends a program by an exception does.
"""

from __future__ import annotations

import json
import signal
import sys

import numpy as np
from host_common import LARGE, constant

import lstm97

X, TARGETS = constant(3000)  # several slices, between which signals are seen to
LISTS = X.tolist(), TARGETS.tolist()
ENOUGH = 20


class EndedError(Exception):
    """What the handler raises; it comes out as it is, also where a list is being converted."""


def learn(net):
    """Calls that a signal can come between, and some that it can come into: lists are converted in Python."""
    for i in range(50):
        net.learn(X[i], TARGETS[i], 1e-3)
        net.learn(LISTS[0][i], LISTS[1][i], 1e-3)


CALLS = {
    "learn": learn,
    "learn_run": lambda net: net.learn_run(X, TARGETS, 1e-4),
    "train": lambda net: lstm97.train(net, [X], [TARGETS], 1e-4),
    "train in batches": lambda net: lstm97.train(
        net, [X] * 2, [TARGETS] * 2, 1e-4, update="sequence", batch_size=2, epochs=2
    ),
}
INSIDE = {"learn": {"learn", "as_input", "as_target"}, "learn_run": {"learn_run"}}


def counted(call, inside):
    """Call until enough signals came into calls: how many calls, how many signals, whether the bits are as without."""
    inside_calls = 0

    def count(_, frame):
        nonlocal inside_calls
        inside_calls += frame.f_code.co_name in inside

    net, alone = lstm97.Network(LARGE), lstm97.Network(LARGE)
    signal.signal(signal.SIGALRM, count)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    calls = 0
    while inside_calls < ENOUGH:
        call(net)
        calls += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    for _ in range(calls):
        call(alone)
    return {
        "calls": calls,
        "signals": inside_calls,
        "same bits": bool(np.array_equal(net.parameters, alone.parameters)),
    }


def ended(call, inside):
    """A handler that raises inside of a call: whether its exception came out and left a network that goes on."""

    def end(_, frame):
        if frame.f_code.co_name in inside:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise EndedError

    net = lstm97.Network(LARGE)
    signal.signal(signal.SIGALRM, end)
    came_out = False
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        while True:
            call(net)
    except EndedError:
        came_out = True
    weights = net.parameters
    net.reset()
    y = net.learn(X[0], TARGETS[0], 1e-4)
    lstm97.train(net, [X[:3]], [TARGETS[:3]], 1e-4)
    twin = lstm97.Network(LARGE)
    twin.parameters = weights
    same = np.array_equal(twin.learn(X[0], TARGETS[0], 1e-4), y)
    lstm97.train(twin, [X[:3]], [TARGETS[:3]], 1e-4)
    return {"came out": came_out, "goes on": bool(same and np.array_equal(twin.parameters, net.parameters))}


def whole_calls():
    """A handler that raises in a loop of `learn` calls: each was made whole or not at all."""
    net, alone = lstm97.Network(LARGE), lstm97.Network(LARGE)
    done = 0

    def end(*_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise EndedError

    signal.signal(signal.SIGALRM, end)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        while True:
            net.learn(LISTS[0][0], TARGETS[0], 1e-4)
            done += 1
    except EndedError:
        pass
    for _ in range(done):
        alone.learn(LISTS[0][0], TARGETS[0], 1e-4)
    before = alone.parameters
    alone.learn(LISTS[0][0], TARGETS[0], 1e-4)  # the last call, if the signal came after it
    return any(np.array_equal(net.parameters, weights) for weights in (before, alone.parameters))


def main():
    """Do both, and tell."""
    name = sys.argv[1]
    inside = INSIDE.get(name, {"_portion"})
    told = {"counted": counted(CALLS[name], inside), "ended": ended(CALLS[name], inside)}
    if name == "learn":
        told["whole calls"] = [whole_calls() for _ in range(20)]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
