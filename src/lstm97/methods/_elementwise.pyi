from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from lstm97.history import History

_Array = NDArray[Any]
_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]

NUMBERS: tuple[str, ...]
RULE: tuple[str, ...]

@final
class Loops:
    w: _Floats
    w_out: _Floats
    n_updates: _Floats
    memory: dict[tuple[str, str], _Floats]
    @property
    def n_bytes(self) -> int: ...
    def __init__(
        self,
        numbers: Mapping[str, int],
        rule: Mapping[str, float],
        block_of: NDArray[np.int32],
        is_biased: _Floats,
    ) -> None: ...
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
