"""The JAX peer for many streams: the same rule over all streams at once, compiled as a whole, on one CPU thread."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

import lstm97

from .timing import Workload

Array = npt.NDArray[Any]


def load_jax() -> tuple[Any, Any]:
    """JAX and its NumPy, on one thread: it makes as many as it finds processors, and here it finds one."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usable)})
    try:
        jax = import_module("jax")  # has no types that are needed here
        jnp = import_module("jax.numpy")
        jnp.zeros(1).block_until_ready()
    finally:
        os.sched_setaffinity(0, usable)
    return jax, jnp


def _forward(jax: Any, jnp: Any, w: dict[str, Any], state: Any, x: Any) -> Any:
    """A step of all streams; what it found on the way, for learning."""
    s, y_c, y_in, y_out = state
    one = jnp.ones_like(x[:, :1])
    z = jnp.concatenate([x, y_c, y_in, y_out, one], 1)
    y_in = jax.nn.sigmoid(z @ w["input_gate"].T)
    y_out = jax.nn.sigmoid(z @ w["output_gate"].T)
    g = 4 * jax.nn.sigmoid(z @ w["cell"].T) - 2
    s = s + y_in * g
    h = 2 * jax.nn.sigmoid(s) - 1
    y_c = y_out * h
    sources = jnp.concatenate([y_c, one], 1)
    return (s, y_c, y_in, y_out), sources @ w["output"].T, (z, g, h, sources)


def _made_step(jax: Any, jnp: Any) -> Any:
    def step(w: dict[str, Any], state: Any, x: Any) -> Any:
        return _forward(jax, jnp, w, state, x)[:2]

    return jax.jit(step, donate_argnums=1)


def _made_learn(jax: Any, jnp: Any) -> Any:
    def learn(w: dict[str, Any], state: Any, partials: Any, x: Any, target: Any, rate: float) -> Any:
        state, y, (z, g, h, sources) = _forward(jax, jnp, w, state, x)
        _, _, y_in, y_out = state
        by_cell = partials[0] + (y_in * (1 - g * g / 4))[:, :, None] * z[:, None, :]
        by_gate = partials[1] + (g * y_in * (1 - y_in))[:, :, None] * z[:, None, :]
        e_k = target - y
        eps = e_k @ w["output"][:, :-1]
        e_s = eps * y_out * (1 - h * h) / 2
        changes = {
            "cell": jnp.einsum("nc,ncm->cm", e_s, by_cell),
            "input_gate": jnp.einsum("nc,ncm->cm", e_s, by_gate),
            "output_gate": (eps * h * y_out * (1 - y_out)).T @ z,
            "output": e_k.T @ sources,
        }
        return {kind: w[kind] + rate * changes[kind] for kind in w}, state, (by_cell, by_gate), y

    return jax.jit(learn, donate_argnums=(0, 1, 2))


def streams(
    topology: lstm97.Topology, X: Array, targets: Array, parameters: dict[Any, Array], learning_rate: float | None
) -> tuple[Workload, Any]:
    """A step of all streams per call, which learns if there is a learning rate; and a call that gives its outputs.

    For blocks of one cell with both gates and linear outputs, everything else as ``lstm97.Topology`` has it by default.
    """
    jax, jnp = load_jax()
    n, n_cells = len(X), topology.n_cells
    w = {str(kind): jnp.array(values) for kind, values in parameters.items()}
    state: Any = tuple(jnp.zeros((n, n_cells), X.dtype) for _ in range(4))
    n_sources = topology.n_sources("cell")
    partials: Any = ()
    if learning_rate is not None:
        partials = tuple(jnp.zeros((n, n_cells, n_sources), X.dtype) for _ in range(2))
    step, learn = _made_step(jax, jnp), _made_learn(jax, jnp)

    def call() -> Array:
        nonlocal w, state, partials
        if learning_rate is None:
            state, y = step(w, state, X)
        else:
            w, state, partials, y = learn(w, state, partials, X, targets, learning_rate)
        return np.asarray(y)

    def run(n_items: int) -> None:
        for _ in range(n_items):
            call()

    return Workload(f"JAX {jax.__version__}, jit over all streams", run, n), call
