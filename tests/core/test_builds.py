"""The builds of the loops are chosen by the CPU or by name, and agree with each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from compare import TOLERANCE, assert_close

import lstm97
from lstm97._kernel import builds

PROGRAM = """
import json, sys
import numpy as np
import lstm97

topology = lstm97.Topology(5, 3, blocks=(2, 3, 1), n_hidden=2, forget_gates=True, output="softmax")
net = lstm97.Network(topology, dtype=sys.argv[1], seed=2, init_range=0.5)
rng = np.random.default_rng(0)
inputs, targets = rng.uniform(-1, 1, (20, 30, 5)), rng.integers(-1, 3, (20, 30))
lstm97.train(net, inputs, targets, learning_rate=0.1)
large = lstm97.Network(lstm97.Topology(5, 3, blocks=(1, 2) * 15), dtype=sys.argv[1], seed=2)
lstm97.train(large, inputs, targets, learning_rate=0.01, update="sequence", batch_size=9)
lstm97.train(large, inputs, targets, learning_rate=0.01)
results = [net.parameters, net.run(inputs[0]), large.parameters, large.run(inputs[0])]

linear, values = lstm97.Topology(5, 3, blocks=(1,) * 16, output="identity"), rng.uniform(-1, 1, (5, 30, 3))
everything = {"readout": lstm97.RLS(forgetting=0.99), "scaling": lstm97.Scaling(decay=0.99)}
for optimizer, more in (
    (lstm97.SGD(momentum=0.5, bound=0.5), {}),
    (lstm97.RMSprop(epsilon=0.01), {"scaling": lstm97.Scaling()}),
    (lstm97.Adam(epsilon=0.01, bound=0.5), everything),
):
    for topology in (linear, lstm97.Topology(5, 3, blocks=(2, 3), n_hidden=1, output="identity", loss="huber")):
        net = lstm97.Network(topology, dtype=sys.argv[1], seed=2, optimizer=optimizer, **more)
        lstm97.train(net, inputs[:5], values, learning_rate=0.01)
        if "readout" not in more:
            lstm97.train(net, inputs[:5], values, learning_rate=0.001, update="sequence", batch_size=9)
        results += [net.parameters, net.run(inputs[0])]
json.dump([lstm97.show_config().build, *(result.tolist() for result in results)], sys.stdout)
"""


def in_a_process(build, program=PROGRAM, *arguments):
    environment = {**os.environ, "LSTM97_KERNEL": build}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_all_builds_this_cpu_runs_agree_after_training(dtype):
    results = {build: json.loads(in_a_process(build, PROGRAM, dtype).stdout) for build in builds.runnable()}
    for build, (used, *arrays) in results.items():
        assert used == build
        for found, expected in zip(arrays, results["baseline"][1:], strict=True):
            assert_close(found, expected, TOLERANCE[dtype], build)


def test_the_fastest_build_is_chosen_and_a_name_overrides():
    program = "import lstm97; print(lstm97.show_config().build)"
    assert in_a_process("", program).stdout.strip() == builds.runnable()[-1]
    for build in builds.runnable():
        assert in_a_process(build, program).stdout.strip() == build
    refused = in_a_process("v9", program)
    assert refused.returncode == 1
    assert "LSTM97_KERNEL is 'v9'; this installation has baseline" in refused.stderr


def test_a_build_the_cpu_cannot_run_is_refused(monkeypatch):
    monkeypatch.setattr(builds, "cpu_level", lambda: 0)
    assert builds.runnable() == ("baseline",)
    for build in builds.present()[1:]:
        monkeypatch.setenv("LSTM97_KERNEL", build)
        with pytest.raises(ImportError, match=f"LSTM97_KERNEL is '{build}'; this CPU can only run baseline"):
            builds._choose()


def test_show_config_has_version_and_build():
    config = lstm97.show_config()
    assert config.build in config.builds == builds.present()
    assert repr(config).startswith(f"lstm97 {lstm97.__version__}\nbuild: {config.build} (")
