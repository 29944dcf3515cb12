"""The JAX peer for an error at every step: the same rule with forget gates, a scan over the steps of a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .jax_streams import load_jax
from .timing import Workload

Array = npt.NDArray[Any]

GATES = ("cell", "input_gate", "forget_gate")
"""The units whose weights have partials, in the order of the scan's."""


def _made_sequence(jax: Any, jnp: Any) -> Any:
    """A function that learns a sequence: inputs (steps, inputs), a target at each step; new weights and the outputs."""

    def one_step(carried: Any, observed: Any) -> Any:
        w, s, y_c, partials, rate = carried
        x, target = observed
        z = jnp.concatenate([x, y_c, jnp.ones(1, x.dtype)])
        g = 4 * jax.nn.sigmoid(w["cell"] @ z) - 2
        y_in, y_out, y_f = (jax.nn.sigmoid(w[kind] @ z) for kind in ("input_gate", "output_gate", "forget_gate"))
        coefs = (y_in * (1 - g * g / 4), g * y_in * (1 - y_in), s * y_f * (1 - y_f))
        s = s * y_f + y_in * g
        h = 2 * jax.nn.sigmoid(s) - 1
        y_c = y_out * h
        partials = tuple(p * y_f[:, None] + coef[:, None] * z for p, coef in zip(partials, coefs, strict=True))
        sources = jnp.concatenate([y_c, jnp.ones(1, x.dtype)])
        y = w["output"] @ sources
        e_k = rate * (target - y)
        eps = e_k @ w["output"][:, :-1]
        e_s = eps * y_out * (1 - h * h) / 2
        new = {kind: w[kind] + e_s[:, None] * p for kind, p in zip(GATES, partials, strict=True)}
        new["output_gate"] = w["output_gate"] + (eps * h * y_out * (1 - y_out))[:, None] * z
        new["output"] = w["output"] + e_k[:, None] * sources
        return (new, s, y_c, partials, rate), y

    def sequence(w: dict[str, Any], X: Any, targets: Any, rate: float) -> Any:
        zero = jnp.zeros(w["cell"].shape[0], X.dtype)
        partials = tuple(jnp.zeros_like(w[kind]) for kind in GATES)
        (w, *_), Y = jax.lax.scan(one_step, (w, zero, zero, partials, rate), (X, targets))
        return w, Y

    return jax.jit(sequence, donate_argnums=0)


def sequences(
    inputs: Array, targets: Array, parameters: dict[Any, Array], learning_rate: float
) -> tuple[Workload, Any]:
    """A sequence per call; and a call that gives the outputs of the next.

    For blocks of one cell with all gates, which are not among the sources, and linear outputs.

    Parameters
    ----------
    inputs : ndarray, shape (n_sequences, n_steps, n_inputs)
    targets : ndarray, shape (n_sequences, n_steps, n_outputs)
    parameters : dict of str to ndarray
        The weights by kind, as ``net.weights``.
    learning_rate : float
    """
    jax, jnp = load_jax()
    sequence = _made_sequence(jax, jnp)
    w = {str(kind): jnp.array(values) for kind, values in parameters.items()}
    parts = [(jnp.array(X), jnp.array(t)) for X, t in zip(inputs, targets, strict=True)]
    n_done = 0

    def call() -> Array:
        nonlocal w, n_done
        w, Y = sequence(w, *parts[n_done % len(parts)], learning_rate)
        n_done += 1
        return np.asarray(Y)

    def run(n_items: int) -> None:
        for _ in range(n_items):
            call()

    return Workload(f"JAX {jax.__version__}, a scan over the steps", run, inputs.shape[1]), call
