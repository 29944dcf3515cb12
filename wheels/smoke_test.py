"""The test that every built wheel must pass, with only its requirements installed: ``python wheels/smoke_test.py``.

Trains a network with every build of the loops that this machine can run, on a task whose success is obvious, and checks
that the import does not change the process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

LEARNING = """
import sys
import numpy as np
import lstm97

build, folder = sys.argv[1:]
assert lstm97.show_config().build == build, lstm97.show_config()
for dtype in ("float64", "float32"):
    # The first of ten steps of a sequence is the answer that is wanted at the last one.
    rng = np.random.default_rng(0)
    targets = rng.choice([-1.0, 1.0], size=(3000, 1))
    inputs = rng.normal(scale=0.3, size=(3000, 10, 1))
    inputs[:, 0] = targets
    net = lstm97.Network(lstm97.Topology(1, 1, output="identity"), dtype=dtype, input_gate_bias=(-1, -3))
    lstm97.train(net, inputs[:2500], targets[:2500], learning_rate=0.1)
    answers = lstm97.predict(net, inputs[2500:])[:, -1]
    right = np.mean(np.sign(answers) == targets[2500:])
    assert right > 0.99, (build, dtype, right)

    # The same steps, with one call each and a file in between, give the same bits.
    steps, wanted = rng.normal(size=(40, 1)), rng.normal(size=(40, 1))
    twin = lstm97.Network(net.topology, dtype=dtype)
    twin.parameters = net.parameters
    whole = twin.learn_run(steps, wanted, 0.1)
    single = [net.learn(x, target, 0.1) for x, target in zip(steps[:20], wanted[:20])]
    net.save(f"{folder}/net.safetensors", state=True)
    net = lstm97.load(f"{folder}/net.safetensors")
    single += [net.learn(x, target, 0.1) for x, target in zip(steps[20:], wanted[20:])]
    assert np.array_equal(single, whole) and np.array_equal(net.parameters, twin.parameters), (build, dtype)
print(f"{build}: learned, {right:.3f} right in float32")
"""


def check_import() -> None:
    """Import the package and check that this changes nothing in the process but its modules."""
    before = dict(os.environ), threading.active_count(), n_threads()
    import lstm97

    assert (dict(os.environ), threading.active_count(), n_threads()) == before, "the import changed the process"
    optional = {"safetensors", "click", "tqdm", "matplotlib", "onnx"} & sys.modules.keys()
    assert not optional, f"the import loaded {optional}"
    for name in (
        "py.typed",
        "_kernel/engine.pyi",
        "_kernel/trainer.pyi",
        "_kernel/many_streams.pyi",
        "cython_api.pxd",
        "export/network.c",
        "export/learning.c",
    ):
        assert (Path(lstm97.__file__).parent / name).is_file(), f"the wheel lacks {name}"
    print(f"lstm97 {lstm97.__version__} from {Path(lstm97.__file__).parent}")


def n_threads() -> int:
    """The number of threads of this process; on other systems than Linux only Python's own."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else threading.active_count()


def main() -> None:
    """Run all checks; the first that fails ends the program."""
    import numpy as np  # imported first, as its import changes the process

    check_import()
    from lstm97._kernel import builds

    print(f"Python {sys.version.split()[0]}, NumPy {np.__version__}, builds {', '.join(builds.present())}")
    with tempfile.TemporaryDirectory() as folder:
        for build in builds.runnable():
            command = [sys.executable, "-W", "error", "-c", LEARNING, build, folder]
            subprocess.run(command, env={**os.environ, "LSTM97_KERNEL": build}, check=True)
    print("the wheel works")


if __name__ == "__main__":
    main()
