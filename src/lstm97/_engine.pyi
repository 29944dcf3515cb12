from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm97._layout import Layout
from lstm97.training import StopWindow

Array = NDArray[Any]

@final
class Engine:
    layout: Layout
    def __init__(
        self,
        kernel: object,
        layout: Layout,
        network: dict[str, Array],
        state: dict[str, Array],
        lock: NDArray[np.int32],
    ) -> None: ...
    def reset(self) -> None: ...
    def step(self, x: ArrayLike, out: Array | None) -> Array: ...
    def learn(self, x: ArrayLike, target: ArrayLike | None, learning_rate: float, out: Array | None) -> Array: ...
    def correct(self, target: ArrayLike, learning_rate: float) -> None: ...
    def run(self, inputs: Array, out: Array, records: Sequence[Array | None] | None) -> None: ...
    def learn_run(self, inputs: Array, targets: Array | None, learning_rate: float, out: Array) -> None: ...
    def train(
        self,
        inputs: Array,
        offsets: NDArray[np.int64],
        targets: Array,
        target_per_sequence: bool,
        order: NDArray[np.int64],
        learning_rate: float,
        by_sequence: bool,
        errors: NDArray[np.float64],
        window: StopWindow | None,
    ) -> tuple[int, int, bool]: ...
