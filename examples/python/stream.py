"""A host that learns while it runs: it predicts the next value of each sensor, and learns from the value when it comes.

All sensors train one network; each has a stream of its own. Halfway the host saves the network and continues from the
file, as a restarted process would.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import lstm97

N_STEPS = 8000
RATE = 0.05


def readings() -> NDArray[np.float64]:
    """The values of three sensors, shape (N_STEPS, 3): waves of different periods and phases, with noise."""
    t = np.arange(N_STEPS)[:, np.newaxis]
    waves = np.sin(2 * np.pi * t / [12, 16, 20] + [0, 1, 2])
    return waves + np.random.default_rng(0).normal(scale=0.05, size=waves.shape)


def restarted(net: lstm97.Network, path: Path) -> tuple[lstm97.Network, list[lstm97.State]]:
    """The network and streams of a new process. The file holds one stream; the others begin again, from zero states."""
    net.save(path, state=True)
    net = lstm97.load(path)
    return net, [net.state, net.new_state(), net.new_state()]


def main() -> None:
    """Run, and print mean squared errors at the beginning and at the end, and those of expecting no change."""
    topology = lstm97.Topology(1, 1, blocks=(1,) * 8, forget_gates=True, output="identity")
    net = lstm97.Network(topology, forget_gate_bias=1.0, seed=1)
    streams = [net.state, net.new_state(), net.new_state()]
    said = readings()
    errors = np.full((N_STEPS - 1, 3), np.nan)
    with tempfile.TemporaryDirectory() as folder:
        for t in range(N_STEPS - 1):
            if t == N_STEPS // 2:
                net, streams = restarted(net, Path(folder, "sensors.safetensors"))
            for i, stream in enumerate(streams):
                try:
                    expected = net.learn(said[t, i : i + 1], None, state=stream)
                    truth = said[t + 1, i : i + 1]  # in a real host, the target comes later
                    net.correct(truth, RATE, state=stream)
                    errors[t, i] = (truth[0] - expected[0]) ** 2
                except FloatingPointError:  # the weights are those before the step
                    net.reset(stream)
    unchanged = np.mean((said[1:] - said[:-1]) ** 2, axis=0)
    for i in range(3):
        first, last = np.nanmean(errors[:500, i]), np.nanmean(errors[-500:, i])
        print(f"sensor {i}: first {first:.4f}, last {last:.4f}, expecting no change {unchanged[i]:.4f}")


if __name__ == "__main__":
    main()
