"""The PyTorch peers: what most people would use for the same job, on one CPU thread, in the dtype of the data."""

from __future__ import annotations

from itertools import cycle, islice
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from .timing import Workload


def load() -> ModuleType:
    """Import PyTorch, held to one thread as all the rows are; ImportError where it is not installed."""
    import torch

    torch.set_num_threads(1)
    return torch


def lstm_training(
    inputs: npt.NDArray[Any], targets: npt.NDArray[Any], *, n_cells: int, learning_rate: float
) -> Workload:
    """nn.LSTM and a linear output, trained a sequence at a time: forward, backward through all of it, SGD."""
    torch = load()
    _, n_steps, n_inputs = inputs.shape
    dtype = torch.from_numpy(inputs).dtype
    lstm = torch.nn.LSTM(n_inputs, n_cells, dtype=dtype)
    head = torch.nn.Linear(n_cells, targets.shape[1], dtype=dtype)
    optimizer = torch.optim.SGD([*lstm.parameters(), *head.parameters()], lr=learning_rate)
    pairs = [
        (torch.from_numpy(np.ascontiguousarray(x))[:, None, :], torch.from_numpy(t)[None, :])
        for x, t in zip(inputs, targets, strict=True)
    ]

    def run(n_items: int) -> None:
        for x, t in islice(cycle(pairs), n_items):
            optimizer.zero_grad()
            hidden, _ = lstm(x)
            loss = 0.5 * (head(hidden[-1]) - t).square().sum()
            loss.backward()
            optimizer.step()

    n_weights = sum(weights.numel() for weights in (*lstm.parameters(), *head.parameters()))
    name = f"PyTorch nn.LSTM({n_inputs}, {n_cells}) + SGD, {n_weights} weights, {inputs.dtype}"
    return Workload(name, run, n_steps)


def batch_training(
    inputs: npt.NDArray[Any], targets: npt.NDArray[Any], *, n_cells: int, learning_rate: float
) -> Workload:
    """nn.LSTM and a linear output, trained on all sequences at once: one forward, backward and SGD step for them."""
    torch = load()
    n_sequences, n_steps, n_inputs = inputs.shape
    dtype = torch.from_numpy(inputs).dtype
    lstm = torch.nn.LSTM(n_inputs, n_cells, dtype=dtype)
    head = torch.nn.Linear(n_cells, targets.shape[1], dtype=dtype)
    optimizer = torch.optim.SGD([*lstm.parameters(), *head.parameters()], lr=learning_rate)
    x = torch.from_numpy(np.ascontiguousarray(inputs.swapaxes(0, 1)))  # its default: time first
    t = torch.from_numpy(targets)

    def run(n_items: int) -> None:
        for _ in range(n_items):
            optimizer.zero_grad()
            hidden, _ = lstm(x)
            loss = 0.5 * (head(hidden[-1]) - t).square().sum()
            loss.backward()
            optimizer.step()

    name = f"PyTorch nn.LSTM({n_inputs}, {n_cells}) + SGD, batch of {n_sequences}, {inputs.dtype}"
    return Workload(name, run, n_sequences * n_steps)


def _cell(inputs: npt.NDArray[Any], n_cells: int, n_outputs: int) -> tuple[Any, Any, Any]:
    torch = load()
    n_inputs = inputs.shape[2]
    dtype = torch.from_numpy(inputs).dtype
    cell = torch.nn.LSTMCell(n_inputs, n_cells, dtype=dtype)
    head = torch.nn.Linear(n_cells, n_outputs, dtype=dtype)
    zero = torch.zeros(1, n_cells, dtype=dtype)
    return cell, head, zero


def online_learning(
    inputs: npt.NDArray[Any], targets: npt.NDArray[Any], *, n_cells: int, logistic: bool, learning_rate: float
) -> Workload:
    """LSTMCell that learns from each observation: forward, backward through one step, SGD, detach."""
    torch = load()
    _, n_steps, n_inputs = inputs.shape
    cell, head, zero = _cell(inputs, n_cells, targets.shape[2])
    optimizer = torch.optim.SGD([*cell.parameters(), *head.parameters()], lr=learning_rate)
    sequences = [
        list(zip(torch.from_numpy(x)[:, None, :], torch.from_numpy(t)[:, None, :], strict=True))
        for x, t in zip(inputs, targets, strict=True)
    ]

    def run(n_items: int) -> None:
        for sequence in islice(cycle(sequences), n_items):
            state = (zero, zero)
            for x, t in sequence:
                hidden, cells = cell(x, state)
                y = head(hidden)
                if logistic:
                    y = torch.sigmoid(y)
                loss = 0.5 * (y - t).square().sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                state = (hidden.detach(), cells.detach())

    return Workload(f"PyTorch LSTMCell({n_inputs}, {n_cells}), detach + SGD, {inputs.dtype}", run, n_steps)


def inference(inputs: npt.NDArray[Any], *, n_cells: int, n_outputs: int) -> Workload:
    """LSTMCell that steps without learning, under no_grad."""
    torch = load()
    _, n_steps, n_inputs = inputs.shape
    cell, head, zero = _cell(inputs, n_cells, n_outputs)
    sequences = [list(torch.from_numpy(x)[:, None, :]) for x in inputs]

    def run(n_items: int) -> None:
        with torch.no_grad():
            for sequence in islice(cycle(sequences), n_items):
                state = (zero, zero)
                for x in sequence:
                    state = cell(x, state)
                    head(state[0])

    return Workload(f"PyTorch LSTMCell({n_inputs}, {n_cells}), no_grad, {inputs.dtype}", run, n_steps)
