"""The PyTorch peers: the usual modules for the same task, on one CPU thread, in the dtype of the data."""

from __future__ import annotations

from itertools import cycle, islice
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from .timing import Workload


def load() -> ModuleType:
    """Import PyTorch and limit it to one thread, as in most rows; ImportError where it is not installed."""
    import torch

    torch.set_num_threads(1)
    return torch


def lstm_training(
    inputs: npt.NDArray[Any],
    targets: npt.NDArray[Any],
    *,
    n_cells: int,
    learning_rate: float,
    batch_size: int = 1,
    threads: int = 1,
) -> Workload:
    """nn.LSTM and a linear output, trained batch by batch: forward, backward through all steps, SGD."""
    torch = load()
    n_sequences, n_steps, n_inputs = inputs.shape
    dtype = torch.from_numpy(inputs).dtype
    lstm = torch.nn.LSTM(n_inputs, n_cells, dtype=dtype)
    head = torch.nn.Linear(n_cells, targets.shape[1], dtype=dtype)
    parameters = [*lstm.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=learning_rate)
    batches = [
        (
            torch.from_numpy(np.ascontiguousarray(inputs[begin : begin + batch_size].swapaxes(0, 1))),  # time first
            torch.from_numpy(targets[begin : begin + batch_size]),
        )
        for begin in range(0, n_sequences, batch_size)
    ]

    def run(n_items: int) -> None:
        torch.set_num_threads(threads)
        for x, t in islice(cycle(batches), n_items):
            optimizer.zero_grad()
            hidden, _ = lstm(x)
            loss = 0.5 * (head(hidden[-1]) - t).square().sum()
            loss.backward()
            optimizer.step()
        torch.set_num_threads(1)

    n_weights = sum(weights.numel() for weights in parameters)
    batch = f"batch of {batch_size}, " if batch_size > 1 else ""
    on = f", {threads} threads" if threads > 1 else ""
    name = f"PyTorch nn.LSTM({n_inputs}, {n_cells}) + SGD, {n_weights} weights, {batch}{inputs.dtype}{on}"
    return Workload(name, run, batch_size * n_steps)


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


def prediction(inputs: npt.NDArray[Any], *, n_cells: int, n_outputs: int) -> Workload:
    """nn.LSTM and a linear output: the outputs at the end of all sequences in one call, without gradients."""
    torch = load()
    n_sequences, n_steps, n_inputs = inputs.shape
    dtype = torch.from_numpy(inputs).dtype
    lstm = torch.nn.LSTM(n_inputs, n_cells, dtype=dtype)
    head = torch.nn.Linear(n_cells, n_outputs, dtype=dtype)
    x = torch.from_numpy(np.ascontiguousarray(inputs.swapaxes(0, 1)))  # time first

    def run(n_items: int) -> None:
        with torch.inference_mode():
            for _ in range(n_items):
                hidden, _ = lstm(x)
                head(hidden[-1])

    return Workload(f"PyTorch nn.LSTM({n_inputs}, {n_cells}), {n_sequences} sequences", run, n_sequences * n_steps)
