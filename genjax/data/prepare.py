"""From stored values to what a model is trained on: pure functions (key, one example) -> float32 of the same shape.

Stored values are x in {0 .. levels - 1}; each constructor but `identity` is given the number of levels.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Prepare = Callable[[jax.Array, jax.Array], jax.Array]


def identity(key: jax.Array, x: jax.Array) -> jax.Array:
    """Continuous data as they are."""
    del key
    return x.astype(jnp.float32)


def unit(levels: int) -> Prepare:
    """x / (levels - 1), in [0, 1]."""
    top = _top(levels, "unit")
    return lambda key, x: x.astype(jnp.float32) / top


def symmetric(levels: int) -> Prepare:
    """2 x / (levels - 1) - 1, in [-1, 1]."""
    top = _top(levels, "symmetric")
    return lambda key, x: 2.0 * x.astype(jnp.float32) / top - 1.0


def dequantize(levels: int) -> Prepare:
    """(x + u) / levels with u ~ U[0, 1), in [0, 1): then bits/dim = log2(levels) - log_prob / (dimensions log 2)."""
    _top(levels, "dequantize")

    def prepare(key: jax.Array, x: jax.Array) -> jax.Array:
        x = x.astype(jnp.float32)
        noisy = jnp.minimum(x + jax.random.uniform(key, x.shape), jnp.nextafter(x + 1, 0.0))  # rounding must not leave the bin
        return noisy / levels

    return prepare


def binarize(levels: int) -> Prepare:
    """x ~ Bernoulli(x / (levels - 1)), drawn anew with each key: dynamic binarization."""
    top = _top(levels, "binarize")
    return lambda key, x: jax.random.bernoulli(key, x.astype(jnp.float32) / top).astype(jnp.float32)


def _top(levels: int, who: str) -> float:
    if levels < 2:
        raise ValueError(f"{who} needs discrete data (levels >= 2), but levels={levels}: use identity for continuous data")
    return float(levels - 1)
