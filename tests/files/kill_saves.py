"""Kill saves at random instants: ``python kill_saves.py PATH KILLS`` prints results as JSON.

A child saves one network after the other until it is killed; then the file must be one of them, complete.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import lstm97

path, n_kills = Path(sys.argv[1]), int(sys.argv[2])
nets = [lstm97.Network(lstm97.Topology(20, 5, blocks=(2,) * 20), seed=seed) for seed in range(8)]
digests = [net.parameters.tobytes() for net in nets]
nets[0].save(path)
begin = time.perf_counter()
for net in nets:
    net.save(path, state=True)
one_save = (time.perf_counter() - begin) / len(nets)
random.seed(0)
broken = left_behind = different = 0
before = digests[-1]
for _ in range(n_kills):
    child = os.fork()
    if child == 0:
        while True:
            for net in nets:
                net.save(path, state=True)
    time.sleep(random.uniform(0, 10 * one_save))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    try:
        found = lstm97.load(path).parameters.tobytes()
    except Exception:
        broken += 1
        continue
    broken += found not in digests
    different += found != before
    before = found
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        left_behind += 1
        leftover.unlink()
json.dump({"kills": n_kills, "broken": broken, "left behind": left_behind, "different files": different}, sys.stdout)
