"""Resampling by separable filters, over any number of space axes, channels last.

    out[i] = up sum_t taps[t] s[down i + t - (T + up - down - 1) / 2]      along each axis; s: x, up - 1 zeros after each sample

Samples lie in the middles of their cells, so that a symmetric filter moves nothing: a picture made twice as large and then half
as large lies where it did. Outside is zero. Along an axis this is one constant matrix: a product with it costs less than the
convolutions beside it, and sums of shifted slices, nested layer in layer, take XLA minutes to compile.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod

import jax
import jax.numpy as jnp
import numpy as np

BINOMIAL = (0.125, 0.375, 0.375, 0.125)  # what StyleGAN2 resamples with


def resample(x: jax.Array, taps: Sequence[float], up: int = 1, down: int = 1) -> jax.Array:
    """(B, *space, C) -> (B, *space up / down, C). Taps that sum to 1 keep what is constant.

    There must be an even number of taps to change the sides by an even factor, else an odd one.
    """
    for axis in range(1, x.ndim - 1):
        x = _along(x, matrix(x.shape[axis], tuple(taps), up, down), axis)
    return x


def doubled(x: jax.Array, taps: Sequence[float] = BINOMIAL) -> jax.Array:
    """Twice the sides."""
    return resample(x, taps, up=2)


def halved(x: jax.Array, taps: Sequence[float] = BINOMIAL) -> jax.Array:
    """Half the sides, rounded up: an odd side has its last place twice."""
    odd = [(0, 0), *[(0, side % 2) for side in x.shape[1:-1]], (0, 0)]
    return resample(jnp.pad(x, odd, "edge"), taps, down=2)


@lru_cache
def matrix(side: int, taps: tuple[float, ...], up: int, down: int) -> np.ndarray:
    """(side up / down, side): the filter along one axis."""
    if (len(taps) + up - down) % 2 == 0:
        raise ValueError(f"{len(taps)} taps have no middle for up={up}, down={down}: give one tap more or less")
    i, j = np.arange(side * up // down)[:, None], np.arange(side)
    t = up * j - down * i + (len(taps) + up - down - 1) // 2
    inside = (t >= 0) & (t < len(taps))
    return np.where(inside, up * np.asarray(taps)[np.clip(t, 0, len(taps) - 1)], 0.0).astype(np.float32)


def _along(x: jax.Array, m: np.ndarray, axis: int) -> jax.Array:
    rows = x.reshape(prod(x.shape[:axis]), x.shape[axis], -1)
    return jnp.einsum("gn,bnc->bgc", m, rows).reshape(*x.shape[:axis], m.shape[0], *x.shape[axis + 1 :])
