"""Write ``golden/format-N-*.safetensors``, files of the present format that must load forever, and expected results.

Run ``python tests/judges/make_golden_files.py`` when the format gets a new number, or has more to hold, never to make
an old file load again: files that are there stay. A JSON file beside each has the results of a few more steps with the
loaded network: outputs, and its weights afterwards.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from make_golden import numbers

import lstm97
from lstm97._format import FORMAT

FOLDER = Path(__file__).parents[1] / "golden"
LEARNING_RATE = 0.5
ADDING = lstm97.Topology(2, 1, blocks=(2, 2))


def stream(n_steps, n_inputs, n_outputs):
    """Inputs, and targets at every third step."""
    inputs = numbers((n_steps, n_inputs), 0.3).tolist()
    targets = (numbers((n_steps, n_outputs), 1.7) / 2 + 0.5).tolist()
    return inputs, [target if t % 3 == 0 else None for t, target in enumerate(targets)]


def write(name, net, inputs, targets, *, seen, state):
    """Unless it is there: learn from the first `seen` steps, save, and write the results of the others to JSON."""
    path = FOLDER / f"format-{FORMAT}-{name}.safetensors"
    if path.exists():
        return
    net.parameters = numbers(net.topology.n_weights, 2.2) / 2
    for x, target in zip(inputs[:seen], targets[:seen], strict=True):
        net.learn(x, target, LEARNING_RATE)
    net.save(path, state=state)
    if not state:
        net.reset()
    write_results(path, net, inputs[seen:], targets[seen:])


def write_results(path, net, inputs, targets):
    """Load the network in a file and write the results of further steps to JSON."""
    rest = {"inputs": inputs, "targets": targets}
    outputs = [net.learn(x, target, LEARNING_RATE).tolist() for x, target in zip(*rest.values(), strict=True)]
    results = {"dtype": net.dtype.name, "blocks": net.topology.blocks, **rest}
    results |= {"outputs": outputs, "parameters": net.parameters.tolist()}
    path.with_suffix(".json").write_text(json.dumps(results) + "\n", encoding="utf-8")


def train_on_golden_data(path, epochs):
    """The run whose first epoch the golden checkpoint has."""
    net = lstm97.Network(ADDING)
    net.parameters = numbers(ADDING.n_weights, 2.2) / 2
    history = lstm97.train(
        net,
        np.array(stream(12, 2, 1)[0]).reshape(4, 3, 2),
        numbers((4, 1), 1.7) / 2 + 0.5,
        LEARNING_RATE,
        epochs=epochs,
        order=np.random.default_rng(0),
        stop=lstm97.Stop(window=3),
        checkpoint=lstm97.Checkpoint(path, sequences=2),
    )
    return net, history


def main():
    """Write the files."""
    write("weights", lstm97.Network(ADDING), *stream(12, 2, 1), seen=6, state=False)
    write("state", lstm97.Network(ADDING), *stream(12, 2, 1), seen=6, state=True)
    gated = lstm97.Topology(3, 2, blocks=(1, 3), n_hidden=1, forget_gates=True, bias="gates", input_to_output=True)
    write("forget-gates", lstm97.Network(gated, dtype="float32"), *stream(30, 3, 2), seen=23, state=True)
    symbols = np.floor((numbers(30, 0.4) + 1) / 2.0001 * 5).astype(int).tolist()
    classes = [symbol if t % 7 == 0 else -1 for t, symbol in enumerate(symbols)]
    softmax = lstm97.Topology(5, 5, blocks=(2, 2), output="softmax")
    write("symbols", lstm97.Network(softmax), symbols, classes, seen=20, state=True)
    linear = lstm97.Topology(3, 2, blocks=(2, 1), n_hidden=1, forget_gates=True, output="identity", loss="huber")
    adam = {"optimizer": lstm97.Adam(beta1=0.8, beta2=0.95, epsilon=0.01, bound=0.1)}
    rmsprop = {"optimizer": lstm97.RMSprop(decay=0.9, epsilon=0.01, bound=0.1)}
    everything = adam | {"readout": lstm97.RLS(forgetting=0.95, prior=0.5), "scaling": lstm97.Scaling(decay=0.9)}
    write("everything", lstm97.Network(linear, **everything), *stream(30, 3, 2), seen=22, state=True)
    scaled = rmsprop | {"scaling": lstm97.Scaling(targets=False)}
    write("rmsprop", lstm97.Network(gated, "float32", **scaled), *stream(30, 3, 2), seen=23, state=True)
    momentum = {"optimizer": lstm97.SGD(momentum=0.8, bound=0.1)}
    write("momentum", lstm97.Network(softmax, **momentum), symbols, classes, seen=20, state=False)
    path = FOLDER / f"format-{FORMAT}-checkpoint.safetensors"
    if path.exists():
        return
    net, _ = train_on_golden_data(path, epochs=1)
    write_results(path, net, *stream(12, 2, 1))


if __name__ == "__main__":
    main()
