"""The JAX peer for batches: the same rule over all sequences at once, a scan over the steps, compiled as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import lstm97

from .jax_streams import load_jax
from .timing import Workload

Array = npt.NDArray[Any]


def _made_batch(jax: Any, jnp: Any, block_of: Array, n_blocks: int) -> Any:
    """A function that changes weights by a batch: inputs (steps, sequences, inputs), a target at each one's end.

    The scan keeps each step's sources and coefficients, of which the change is one product at the end: faster here than
    carrying the partials from step to step.
    """
    membership = jnp.asarray(np.arange(n_blocks)[:, np.newaxis] == block_of, jnp.float32)  # (blocks, cells)

    def one_step(w: dict[str, Any], state: Any, x: Any) -> Any:
        s, y_c, y_in, y_out = state
        z = jnp.concatenate([x, y_c, y_in, y_out, jnp.ones_like(x[:, :1])], 1)
        y_in = jax.nn.sigmoid(z @ w["input_gate"].T)
        y_out = jax.nn.sigmoid(z @ w["output_gate"].T)
        g = 4 * jax.nn.sigmoid(z @ w["cell"].T) - 2
        by_cell = y_in @ membership
        s = s + by_cell * g
        h = 2 * jax.nn.sigmoid(s) - 1
        kept = (z, by_cell * (1 - g * g / 4), g * by_cell * (1 - by_cell))
        return (s, (y_out @ membership) * h, y_in, y_out), kept

    def batch(w: dict[str, Any], X: Any, targets: Any, rate: float) -> Any:
        n = X.shape[1]
        zeros = [jnp.zeros((n, size), X.dtype) for size in (len(block_of), len(block_of), n_blocks, n_blocks)]
        (s, y_c, _, y_out), (z, coef_cell, coef_in) = jax.lax.scan(lambda a, x: one_step(w, a, x), tuple(zeros), X)
        h = 2 * jax.nn.sigmoid(s) - 1
        sources = jnp.concatenate([y_c, jnp.ones_like(y_c[:, :1])], 1)
        e_k = rate * (targets - sources @ w["output"].T)
        eps = e_k @ w["output"][:, :-1]
        e_s = eps * (y_out @ membership) * (1 - h * h) / 2
        e_out = ((eps * h) @ membership.T) * y_out * (1 - y_out)
        return {
            "cell": w["cell"] + jnp.einsum("tnc,tnm->cm", coef_cell * e_s, z),
            "input_gate": w["input_gate"] + jnp.einsum("tnj,tnm->jm", (coef_in * e_s) @ membership.T, z),
            "output_gate": w["output_gate"] + e_out.T @ z[-1],
            "output": w["output"] + e_k.T @ sources,
        }

    return jax.jit(batch, donate_argnums=0)


def batches(
    topology: lstm97.Topology, inputs: Array, targets: Array, parameters: dict[Any, Array], learning_rate: float
) -> tuple[Workload, Any]:
    """One batch of all sequences per call; and a call that gives the weights after one.

    For linear outputs and input and output gates, everything else as ``lstm97.Topology`` has it by default.

    Parameters
    ----------
    topology : lstm97.Topology
    inputs : ndarray, shape (n_sequences, n_steps, n_inputs)
    targets : ndarray, shape (n_sequences, n_outputs)
        At the last steps.
    parameters : dict of str to ndarray
        The weights by kind, as ``net.weights``.
    learning_rate : float
    """
    jax, jnp = load_jax()
    block_of = np.repeat(np.arange(topology.n_blocks), topology.blocks)
    batch = _made_batch(jax, jnp, block_of, topology.n_blocks)
    w = {str(kind): jnp.array(values) for kind, values in parameters.items()}
    X, t = jnp.array(inputs.swapaxes(0, 1)), jnp.array(targets)

    def call() -> dict[str, Array]:
        nonlocal w
        w = batch(w, X, t, learning_rate)
        return {kind: np.asarray(values) for kind, values in w.items()}

    def run(n_items: int) -> None:
        nonlocal w
        for _ in range(n_items):
            w = batch(w, X, t, learning_rate)
        jax.block_until_ready(w)

    return Workload(f"JAX {jax.__version__}, a scan over the steps", run, inputs.shape[0] * inputs.shape[1]), call
