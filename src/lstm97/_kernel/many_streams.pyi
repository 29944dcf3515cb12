from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from lstm97._kernel.engine import Engine
from lstm97._kernel.layout import Memory

_Array = NDArray[Any]

@final
class StreamsEngine:
    def __init__(self, engine: Engine, n: int, memory: Memory) -> None: ...
    def bind_partials(self, ds_dw: _Array) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, kind: object, error: object, trace: object) -> None: ...
    def reset(self, mask: NDArray[np.bool_] | None) -> None: ...
    def step(self, inputs: _Array, mask: NDArray[np.bool_] | None, out: _Array, keeps: bool) -> None: ...
    def run(
        self,
        values: _Array,
        at: NDArray[np.int64],
        ends: NDArray[np.int64],
        last: bool,
        budget: int,
        out: _Array,
    ) -> bool: ...
    def learn(
        self,
        inputs: _Array,
        targets: _Array | None,
        learning_rate: float | None,
        weights: NDArray[np.float64] | None,
        mask: NDArray[np.bool_] | None,
        out: _Array,
    ) -> None: ...
