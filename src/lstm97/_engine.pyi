from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm97._layout import Layout
from lstm97.training import History

_Array = NDArray[Any]

def cpu_level() -> int: ...

@final
class Engine:
    layout: Layout
    def __init__(
        self,
        kernel: object,
        layout: Layout,
        network: dict[str, _Array],
        state: dict[str, _Array],
        lock: NDArray[np.int32],
    ) -> None: ...
    def settle(self, ds_dw: _Array, coef_block: _Array) -> None: ...
    def reset(self) -> None: ...
    def step(self, x: ArrayLike, out: _Array | None) -> _Array: ...
    def learn(self, x: ArrayLike, target: ArrayLike | None, learning_rate: float, out: _Array | None) -> _Array: ...
    def correct(self, target: ArrayLike, learning_rate: float) -> None: ...
    def run(self, inputs: _Array, out: _Array, records: Sequence[_Array | None] | None) -> None: ...
    def learn_run(self, inputs: _Array, targets: _Array | None, learning_rate: float, out: _Array) -> None: ...
    def begin_batches(self, arrays: dict[str, _Array]) -> None: ...
    def train(
        self,
        inputs: _Array,
        offsets: NDArray[np.int64],
        targets: _Array,
        target_per_sequence: bool,
        order: NDArray[np.int64],
        schedule: NDArray[np.int64] | None,
        learning_rate: float,
        history: History,
    ) -> None: ...
