"""A host that ends while a network is in use: ``python host_exit.py HOW``.

HOW is the call that a daemon thread is in when the main thread ends (learn, small learn, learn_run, train, team,
hogwild), or what ends the program: callback (by sys.exit), "callback, at once" (by os._exit), or atexit.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading

import numpy as np
from host_common import LARGE, constant, is_learning

import lstm97

X, TARGETS = constant(200_000)  # with LARGE a second or more
how = sys.argv[1]
net = lstm97.Network(lstm97.Topology(2, 1) if how == "small learn" else LARGE)
bystander = lstm97.Network(lstm97.Topology(2, 1))
begun = threading.Event()


def keep_learning():
    """Make one call after the other until the process ends."""
    while True:
        for x, target in zip(X, TARGETS, strict=True):
            net.learn(x, target, 1e-4)
            begun.set()


def forever(call):
    """Make long calls until the process ends; `begun` is set right before the first one."""
    while True:
        begun.set()
        call()


def in_a_thread(work, *arguments):
    """Start work in a thread; return when it has begun, with a large network when it is in a call without the GIL."""
    threading.Thread(target=work, args=arguments, daemon=True).start()
    begun.wait()
    while net.topology == LARGE and not is_learning(net):
        pass


def use_the_bystander():
    """Learn with another network at exit, while the thread still works."""
    print("used" if np.isfinite(bystander.learn([0.1, 0.2], [0.3])).all() else "broken")


def leave(_):
    """A callback of `train` that ends the program."""
    if how == "callback":
        sys.exit(3)
    os._exit(4)


match how:
    case "learn" | "small learn":
        in_a_thread(keep_learning)
    case "learn_run":
        in_a_thread(forever, lambda: net.learn_run(X, TARGETS, 1e-4))
    case "train":
        in_a_thread(forever, lambda: lstm97.train(net, [X], [TARGETS], 1e-4))
    case "team":
        many = {"update": "sequence", "batch_size": 8, "threads": 2}
        in_a_thread(forever, lambda: lstm97.train(net, [X[:999]] * 99, [TARGETS[:999]] * 99, 1e-6, **many))
    case "hogwild":
        many = {"parallel": "hogwild", "threads": 2}
        in_a_thread(forever, lambda: lstm97.train(net, [X[:999]] * 99, [TARGETS[:999]] * 99, 1e-6, **many))
    case "atexit":
        atexit.register(use_the_bystander)
        in_a_thread(forever, lambda: lstm97.train(net, [X], [TARGETS], 1e-4))
    case _:
        lstm97.train(net, [X[:10]], [TARGETS[:10]], 1e-4, epochs=3, callback=leave)
