from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from lstm97.history import History

_Array = NDArray[Any]
_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]

def run(
    inputs: _Array,
    offsets: _Integers,
    weights: _Floats,
    n_inputs: int,
    symmetric: bool,
    linear: bool,
    state: _Floats,
    fresh: bool,
    Y: _Floats,
) -> None: ...
def quickprop(
    weights: _Floats,
    slope: _Floats,
    before: _Floats,
    last: _Floats,
    epsilon: float,
    mu: float,
    decay: float,
) -> bool: ...
def enter(history: History, errors: _Floats, worst: _Floats) -> int: ...

@final
class TrainingSet:
    errors: _Floats
    worst: _Floats
    hidden: _Floats
    residuals: _Floats
    def __init__(
        self, inputs: _Array, offsets: _Integers, targets: _Floats, n_inputs: int, symmetric: bool, linear: bool
    ) -> None: ...
    def add_unit(self, w: _Floats) -> None: ...
    def output_pass(self, order: _Integers, w: _Floats, offset: float, slope: _Floats) -> tuple[float, int]: ...
    def candidate_pass(
        self, order: _Integers, w: _Floats, correlation: _Floats, slope: _Floats | None = None
    ) -> int: ...
