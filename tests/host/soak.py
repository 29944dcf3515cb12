"""A long run: ``python tests/host/soak.py --calls N [--json FILE]`` makes N `learn` calls on a stream without resets.

The stream is a decaying sum of the inputs with noise; the network has forget gates. Printed, for every slice of calls:
nanoseconds per call, resident memory, mean error, largest weight and cell state. At the end, and in the JSON: memory
and speed at the end against those of the second slice. Exit code 1 if a weight is not finite or memory grew.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import lstm97

CHUNK = 50_000  # calls that are timed together; also the steps of the stream that are made at a time
PAGE = resource.getpagesize()
GROWTH_LIMIT = 2**20


def resident():
    """Bytes of memory this process has now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def refill(X, targets, rng):
    """New steps in the same memory: inputs in [-1, 1]; a decaying sum of the first minus the second, with noise."""
    X[...] = rng.uniform(-1, 1, X.shape)
    total = 0.0
    for t, difference in enumerate((X[:, 0] - X[:, 1]).tolist()):
        total = 0.8 * total + 0.2 * difference
        targets[t] = total
    targets += rng.normal(scale=0.05, size=targets.shape)


def live(n_calls, n_slices, dtype, seed=0):
    """Make the calls and yield the figures of each slice."""
    rng = np.random.default_rng(seed)
    topology = lstm97.Topology(2, 1, blocks=(2, 2), forget_gates=True, output="identity")
    net = lstm97.Network(topology, dtype=dtype, seed=seed, forget_gate_bias=2.0)
    learn = net.learn
    X, targets, Y = np.empty((CHUNK, 2), dtype), np.empty((CHUNK, 1), dtype), np.empty((CHUNK, 1), dtype)
    steps = list(zip(X, targets, Y, strict=True))  # views, refilled
    n_chunks = n_calls // n_slices // CHUNK
    for k in range(n_slices):
        seconds = np.empty(n_chunks)
        for chunk in range(n_chunks):
            refill(X, targets, rng)
            begin = time.perf_counter()
            for x, target, y in steps:
                learn(x, target, 0.05, out=y)
            seconds[chunk] = (time.perf_counter() - begin) / CHUNK
        yield {
            "calls": (k + 1) * n_chunks * CHUNK,
            "ns per call": round(1e9 * float(np.median(seconds)), 1),
            "resident bytes": resident(),
            "mean error": round(float(np.abs(Y - targets).mean()), 4),
            "largest weight": round(float(np.abs(net.parameters).max()), 3),
            "largest cell state": round(float(np.abs(net.state.cell_state).max()), 3),
            "finite": bool(np.isfinite(net.parameters).all()),
        }


def main():
    """Run, print, and exit with 1 if a check fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    begin = time.perf_counter()
    slices = []
    for figures in live(options.calls, options.slices, options.dtype):
        slices.append(figures)
        print("; ".join(f"{name} {value}" for name, value in figures.items()), flush=True)
    first, last = slices[min(1, len(slices) - 1)], slices[-1]
    growth = last["resident bytes"] - first["resident bytes"]
    ok = last["finite"] and growth < GROWTH_LIMIT
    summary = {
        "command": " ".join(["python", *sys.argv]),
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True, check=False
        ).stdout.strip(),
        "config": repr(lstm97.show_config()).splitlines(),
        "machine": next(
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        "calls": last["calls"],
        "seconds": round(time.perf_counter() - begin, 1),
        "resident bytes grown since the second slice": growth,
        "ns per call, last slice / second slice": round(last["ns per call"] / first["ns per call"], 3),
        "ok": ok,
    }
    print(json.dumps(summary, indent=2))
    if options.json:
        options.json.write_text(json.dumps(summary | {"slices": slices}, indent=2) + "\n", encoding="utf-8")
    sys.exit(not ok)


if __name__ == "__main__":
    main()
