"""Train a network, then serve it in ONNX Runtime: several streams, each with a state of its own.

Needs ``pip install onnx onnxruntime`` besides lstm97. `Server` alone is enough to serve the file, and does not use
lstm97.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import lstm97

Array = NDArray[Any]


class Server:
    """A model of one step, and the state of each of its streams."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a step has too little work for several threads
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        _, *parts = self._session.get_inputs()  # x, and the parts of a state
        self._zero = {part.name: np.zeros((1, part.shape[1]), np.float32) for part in parts}
        self._states: dict[str, dict[str, Array]] = {}

    def step(self, stream: str, x: Array) -> Array:
        """The outputs at the next step of a stream; its first call begins with a zero state."""
        state = self._states.get(stream, self._zero)
        y, *after = self._session.run(None, {"x": x[np.newaxis], **state})
        self._states[stream] = dict(zip(state, after, strict=True))  # outputs are in the order of the inputs
        return y[0]

    def end(self, stream: str) -> None:
        """Delete the state of a stream."""
        self._states.pop(stream, None)


def train(rng: np.random.Generator) -> lstm97.Network:
    """Train a network to output, at the last of 20 noisy steps, whether the first one was 1 or -1."""
    firsts = rng.choice([-1.0, 1.0], size=(20000, 1))
    net = lstm97.Network(lstm97.Topology(1, 1, output="identity"), dtype="float32", input_gate_bias=(-1, -3))
    lstm97.train(net, sequences(rng, firsts), firsts, learning_rate=0.1)
    return net


def sequences(rng: np.random.Generator, firsts: Array) -> Array:
    """First steps of shape (n, 1), and noise after them: shape (n, 20, 1)."""
    inputs = rng.normal(scale=0.3, size=(len(firsts), 20, 1))
    inputs[:, 0] = firsts
    return inputs.astype(np.float32)


def main() -> None:
    """Serve two streams, one step of each in turn, and compare with lstm97."""
    rng = np.random.default_rng(0)
    net = train(rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.onnx")
        lstm97.export_onnx(net, path)
        server = Server(path)

    inputs = sequences(rng, np.array([[1.0], [-1.0]]))
    states = [net.new_state(), net.new_state()]
    apart = 0.0
    for xs in inputs.swapaxes(0, 1):
        answers = [server.step(stream, x) for stream, x in zip("ab", xs, strict=True)]
        expected = [net.step(x, state=state) for x, state in zip(xs, states, strict=True)]
        apart = max(apart, float(np.abs(np.subtract(answers, expected)).max()))
    for stream, xs, (answer,) in zip("ab", inputs, answers, strict=True):
        print(f"stream {stream} began with {xs[0, 0]:+.0f} and ends with {answer:+.2f}")
        server.end(stream)
    print(f"lstm97 and ONNX Runtime are {apart:.0e} apart at most")


if __name__ == "__main__":
    main()
