"""The NumPy peer: the reference that judges the kernels in the tests, timed as it stands there."""

from __future__ import annotations

import importlib.util
from itertools import cycle, islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy.typing as npt

import lstm97

from .timing import Workload

SOURCE = Path(__file__).parents[1] / "tests" / "reference.py"


def load() -> ModuleType:
    """Import ``tests/reference.py``, which stands in no package; FileNotFoundError where there are no tests."""
    spec = importlib.util.spec_from_file_location("reference", SOURCE)
    if spec is None or spec.loader is None:
        raise ImportError(f"{SOURCE} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def training(
    topology: lstm97.Topology, inputs: npt.NDArray[Any], targets: npt.NDArray[Any], *, learning_rate: float
) -> Workload:
    """A sequence at a time, in float64, with a target at the end of each."""
    reference = load()
    network = reference.ReferenceNetwork(topology, lstm97.Network(topology, seed=0).weights)
    wanted = reference.targets_at_end(inputs, targets)
    pairs = list(zip(inputs, wanted, strict=True))

    def run(n_items: int) -> None:
        for x, targets_of_steps in islice(cycle(pairs), n_items):
            reference.train(network, [x], [targets_of_steps], learning_rate)

    return Workload("NumPy reference", run, inputs.shape[1])
