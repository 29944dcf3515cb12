"""Kill a training run at random instants and resume it: ``python kill_training.py FOLDER KILLS`` prints JSON."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

import lstm97

folder, n_kills = Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
INPUTS, TARGETS = rng.uniform(-1, 1, (500, 20, 2)), rng.uniform(0, 1, (500, 1))


def run(path, *, checkpointed):
    """A network trained in an order that a generator draws for every epoch."""
    net = lstm97.Network(lstm97.Topology(2, 1), seed=1)
    checkpoint = lstm97.Checkpoint(path, sequences=97) if checkpointed else None
    history = lstm97.train(net, INPUTS, TARGETS, 0.5, epochs=60, order=np.random.default_rng(2), checkpoint=checkpoint)
    return net.parameters.tobytes() + history.errors.tobytes()


expected = run(None, checkpointed=False)
path = folder / "run.safetensors"
begin = time.perf_counter()
run(folder / "timed.safetensors", checkpointed=True)
whole = time.perf_counter() - begin
random.seed(1)
kills, positions = 0, set()
for _ in range(n_kills):
    child = os.fork()
    if child == 0:
        run(path, checkpointed=True)
        os._exit(0)
    time.sleep(random.uniform(0, 2 * whole / n_kills))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        break
    kills += 1
    positions.add(path.stat().st_size if path.exists() else 0)
same = run(path, checkpointed=True) == expected
json.dump({"same": same, "kills": kills, "distinct positions": len(positions)}, sys.stdout)
