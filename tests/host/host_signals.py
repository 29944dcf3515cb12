"""A host whose signal handler runs every millisecond: ``python host_signals.py CALL`` prints results as JSON.

In one run the handler counts; in another it raises, as handlers that end a program by an exception do.
"""

from __future__ import annotations

import json
import signal
import sys

import numpy as np
from host_common import LARGE, constant

import lstm97

X, TARGETS = constant(3000)  # so long that a call handles signals several times
LISTS = X.tolist(), TARGETS.tolist()
ENOUGH = 20


class EndedError(Exception):
    """Raised by the handler; calls must pass it on unchanged, also while they convert a list."""


def learn(net):
    """Calls with arrays, between which signals are handled, and with lists, which signals can also interrupt."""
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
    """Call until enough signals came during calls; counts of calls and signals, and whether the bits are the usual."""
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
    """Raise in a handler during a call: whether the exception came out, and whether the network still works."""

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
    """Raise in a handler during a loop of `learn` calls: whether each was done completely or not at all."""
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
    """Run with both handlers and print the results."""
    name = sys.argv[1]
    inside = INSIDE.get(name, {"_portion"})
    results = {"counted": counted(CALLS[name], inside), "ended": ended(CALLS[name], inside)}
    if name == "learn":
        results["whole calls"] = [whole_calls() for _ in range(20)]
    print(json.dumps(results))


if __name__ == "__main__":
    main()
