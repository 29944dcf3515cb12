"""Fork while another thread is in a call that learns: ``python host_fork.py CALL`` prints JSON.

CALL is learn, learn_run or train. The output has what the child saw, its exit code, and whether the parent's training
gave the same bits as one without a fork.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
import time

import numpy as np
from host_common import LARGE, constant, fork_without_warning, is_learning

import lstm97

X, TARGETS = constant(3000)

CALLS = {
    "learn": lambda net, state: net.learn(X[0], TARGETS[0], 1e-4, state=state),
    "learn_run": lambda net, state: net.learn_run(X, TARGETS, 1e-4, state=state),
    "train": lambda net, state: lstm97.train(net, [X], [TARGETS], 1e-4),
}
call = CALLS[sys.argv[1]]


def refused(attempt):
    """The message of the RuntimeError with which a call is refused."""
    try:
        attempt()
    except RuntimeError as error:
        return str(error)
    return "not refused"


def look(trained, busy, bystander):
    """What a child process can do with a network that was being trained, and with one that was not in use."""
    before = bystander.parameters
    y = bystander.learn([0.1, 0.2], [0.3], 0.5)
    return {
        "refused": {
            "learn": refused(lambda: trained.learn([0.1, 0.2], [0.3], state=trained.new_state())),
            "train": refused(lambda: lstm97.train(trained, [X], [TARGETS])),
            "save": refused(lambda: pickle.dumps(trained)),
        },
        "refused the state": refused(lambda: trained.step([0.1, 0.2], state=busy)),
        "bystander": [before.sum(), *y, bystander.parameters.sum()],
    }


def main():
    """Train in a thread, fork, and let both processes end."""
    fork_without_warning()
    trained, bystander = lstm97.Network(LARGE), lstm97.Network(lstm97.Topology(2, 1), seed=1)
    expected = pickle.loads(pickle.dumps(bystander))
    state, over, done = trained.new_state(), threading.Event(), []

    def keep_training():
        while not over.is_set():
            call(trained, state)
            done.append(None)

    trainer = threading.Thread(target=keep_training)
    trainer.start()
    # Until the fork this thread releases the GIL only when it sleeps, so that the trainer cannot end a call in between.
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    while not is_learning(trained):
        time.sleep(0.001)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, json.dumps(look(trained, state, bystander)).encode())
        sys.exit(0)  # not os._exit: the normal end of the interpreter must work too
    sys.setswitchinterval(usual)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        seen = json.load(pipe)
    _, status = os.waitpid(child, 0)
    over.set()
    trainer.join()

    before = expected.parameters
    y = expected.learn([0.1, 0.2], [0.3], 0.5)
    alone = lstm97.Network(LARGE)
    state = alone.new_state()
    for _ in done:
        call(alone, state)
    outcome = {
        "seen": seen,
        "expected": [before.sum(), *y, expected.parameters.sum()],
        "child": os.waitstatus_to_exitcode(status),
        "calls": len(done),
        "same bits": bool(np.array_equal(trained.parameters, alone.parameters)),
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
