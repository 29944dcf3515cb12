from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from lstm97.history import History
from lstm97.methods.topology import RecurrentTopology

_Array = NDArray[Any]
_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]

@final
class Loops:
    w: _Floats
    v: _Floats
    @property
    def n_bytes(self) -> int: ...
    def __init__(self, topology: RecurrentTopology, *, through_time: bool, depth: int | None, forced: bool) -> None: ...
    def reset(self) -> None: ...
    def run(self, inputs: _Array, Y: _Floats) -> None: ...
    def predict(self, inputs: _Array, offsets: _Integers, Y: _Floats) -> None: ...
    def learn(self, inputs: _Array, targets: _Array | None, rate: float, Y: _Floats) -> bool: ...
    def train(
        self,
        inputs: _Array,
        offsets: _Integers,
        targets: _Array,
        target_per_sequence: bool,
        order: _Integers,
        rate: float,
        at_once: bool,
        history: History,
    ) -> None: ...

@final
class PairLoops:
    def __init__(
        self, low: Loops, high: Loops, *, next_inputs: bool, timed: bool, outputs_too: bool, threshold: float
    ) -> None: ...
    def reset(self) -> None: ...
    def catch_up(self) -> None: ...
    def learn(self, inputs: _Array, targets: _Array | None, rate: float, Y: _Floats) -> _Integers | None: ...
    def train(
        self,
        inputs: _Array,
        offsets: _Integers,
        targets: _Array,
        target_per_sequence: bool,
        order: _Integers,
        rate: float,
        history: History,
    ) -> None: ...
