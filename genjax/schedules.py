"""Noising processes, shared by all that diffuse: x_t = alpha(t) x_0 + sigma(t) noise, t from 0 (data) to 1 (noise)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Scalar = jax.Array | float


class Process(NamedTuple):
    """Signal and noise level as functions of time; everything else follows from the two."""

    alpha: Callable[[Scalar], jax.Array]
    sigma: Callable[[Scalar], jax.Array]


def cosine() -> Process:
    """Variance preserving, alpha = cos(pi t / 2) (2102.09672, without offset): finite at both ends, exactly noise at t = 1."""
    return Process(lambda t: jnp.cos(0.5 * jnp.pi * t), lambda t: jnp.sin(0.5 * jnp.pi * t))


def straight() -> Process:
    """Straight lines between data and noise, alpha = 1 - t (rectified flow, 2209.03003)."""
    return Process(lambda t: 1.0 - jnp.asarray(t), lambda t: jnp.asarray(t))


def noised(process: Process, x: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
    """x_t for one time an example: t (B,), x and noise (B, ...)."""
    alpha, sigma = levels(process, t, x.ndim)
    return alpha * x + sigma * noise


def levels(process: Process, t: jax.Array, ndim: int) -> tuple[jax.Array, jax.Array]:
    """(alpha(t), sigma(t)) shaped to multiply arrays of `ndim` axes whose first is the example."""
    t = t.reshape(-1, *[1] * (ndim - 1))
    return process.alpha(t), process.sigma(t)
