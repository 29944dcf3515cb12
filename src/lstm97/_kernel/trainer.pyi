from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from lstm97._kernel.engine import Engine
from lstm97._kernel.layout import Memory
from lstm97.history import History
from lstm97.options import Decay

_Array = NDArray[Any]

@final
class Trainer:
    def __new__(cls, engine: Engine) -> Self: ...
    def begin_batches(
        self,
        *,
        batch: dict[str, _Array],
        total: Memory,
        sums: Memory,
        workers: list[tuple[Memory, Memory, Memory]],
        worth_abreast: float,
        worth_sharing: int,
    ) -> None: ...
    def begin_hogwild(self, engines: list[Engine]) -> None: ...
    def move_helper(self, number: int) -> None: ...
    def help(self, number: int) -> None: ...
    def end_team(self) -> None: ...
    def train(
        self,
        inputs: _Array,
        offsets: NDArray[np.int64],
        targets: _Array,
        target_per_sequence: bool,
        weights: NDArray[np.float64] | None,
        order: NDArray[np.int64],
        schedule: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
        learning_rate: float | Decay,
        history: History,
    ) -> None: ...
