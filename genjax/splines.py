"""What a flow does to one dimension: monotone rules with a closed inverse.

    affine   z = x exp(s) + t,  s limited to (-limit, limit)                                            (1605.08803)
    spline   rational-quadratic pieces on [-bound, bound], the identity outside (1906.04032, eq. 4 to 8)

At theta = 0 both are the identity.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Rule(NamedTuple):
    """An increasing function of one dimension. theta (..., parts), x and z (...)."""

    parts: int
    forward: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]  # (theta, x) -> z, log dz/dx
    inverse: Callable[[jax.Array, jax.Array], jax.Array]  # (theta, z) -> x


def affine(limit: float = 5.0) -> Rule:
    """Scale and shift; the log scale passes through a tanh so that no step can make it explode."""

    def split(theta):
        return limit * jnp.tanh(theta[..., 0] / limit), theta[..., 1]

    def forward(theta, x):
        log_scale, shift = split(theta)
        return x * jnp.exp(log_scale) + shift, log_scale

    def inverse(theta, z):
        log_scale, shift = split(theta)
        return (z - shift) * jnp.exp(-log_scale)

    return Rule(2, forward, inverse)


class Knots(NamedTuple):
    """The piece that x or z lies in: its left end, its width and height, the slopes at both ends."""

    x: jax.Array
    width: jax.Array
    z: jax.Array
    height: jax.Array
    left: jax.Array
    right: jax.Array


def spline(bins: int = 8, bound: float = 5.0, smallest: float = 1e-3) -> Rule:
    """Rational-quadratic spline with `bins` pieces; theta: widths, heights and the slopes between pieces, 3 bins - 1 in all.

    Args:
      bins: pieces.
      bound: outside [-bound, bound] the identity, with slope 1 where they meet.
      smallest: share of the interval that every piece keeps, and slope that every knot keeps.
    """
    one = jnp.log(jnp.expm1(1.0 - smallest))  # softplus of it and `smallest` make a slope of 1

    def edges(raw):
        share = smallest + (1.0 - smallest * bins) * jax.nn.softmax(raw, axis=-1)
        inner = 2.0 * bound * jnp.cumsum(share, axis=-1)[..., :-1] - bound
        ends = jnp.full((*inner.shape[:-1], 1), bound, inner.dtype)
        return jnp.concatenate([-ends, inner, ends], axis=-1)

    def table(theta):
        slopes = smallest + jax.nn.softplus(theta[..., 2 * bins :] + one)
        ones = jnp.ones((*slopes.shape[:-1], 1), slopes.dtype)
        return edges(theta[..., :bins]), edges(theta[..., bins : 2 * bins]), jnp.concatenate([ones, slopes, ones], axis=-1)

    def knots(theta, value, by_height):
        x, z, slope = table(theta)
        number = jnp.sum(value[..., None] >= (z if by_height else x)[..., 1:-1], axis=-1)
        at = lambda rows, more: jnp.take_along_axis(rows, (number + more)[..., None], axis=-1)[..., 0]
        left = [at(rows, 0) for rows in (x, z, slope)]
        right = [at(rows, 1) for rows in (x, z, slope)]
        return Knots(left[0], right[0] - left[0], left[1], right[1] - left[1], left[2], right[2])

    def forward(theta, x):
        inside = jnp.abs(x) < bound
        k = knots(theta, jnp.where(inside, x, 0.0), by_height=False)
        s, u = k.height / k.width, (jnp.where(inside, x, 0.0) - k.x) / k.width
        below = s + (k.right + k.left - 2.0 * s) * u * (1.0 - u)
        z = k.z + k.height * (s * u**2 + k.left * u * (1.0 - u)) / below
        slope = k.right * u**2 + 2.0 * s * u * (1.0 - u) + k.left * (1.0 - u) ** 2
        log_slope = 2.0 * jnp.log(s) + jnp.log(slope) - 2.0 * jnp.log(below)
        return jnp.where(inside, z, x), jnp.where(inside, log_slope, 0.0)

    def inverse(theta, z):
        inside = jnp.abs(z) < bound
        k = knots(theta, jnp.where(inside, z, 0.0), by_height=True)
        s, up = k.height / k.width, jnp.where(inside, z, 0.0) - k.z
        bend = up * (k.right + k.left - 2.0 * s)
        a, b, c = k.height * (s - k.left) + bend, k.height * k.left - bend, -s * up
        root = jnp.sqrt(jnp.maximum(b**2 - 4.0 * a * c, 0.0))  # rounding alone makes it negative
        u = 2.0 * c / (-b - root)  # the stable form of the quadratic's root in [0, 1]
        return jnp.where(inside, k.x + u * k.width, z)

    return Rule(3 * bins - 1, forward, inverse)
