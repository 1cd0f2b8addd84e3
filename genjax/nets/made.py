"""MADE (1502.03509): an MLP whose weights are masked so that the outputs of dimension d see the inputs before d alone.

unit with degree m sees units of degree <= m;  outputs of dimension d see hidden units of degree < d
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.nets.base import Net, as_net, conditions


def made(
    widths: Sequence[int],
    parts: int = 1,
    *,
    activation: Callable = nn.relu,
    order: Sequence[int] | None = None,
    seed: int | None = None,
    direct: bool = False,
    levels: int = 2,
) -> Net:
    """Net (x (B, *places), *conditions) -> (B, *places, parts), places in the order of the array. Conditions are seen by all.

    Args:
      widths: of the hidden layers.
      parts: outputs a place.
      order: place of each dimension, a permutation of 0 .. D - 1; as they come where not given.
      seed: draw the hidden units' degrees with it; where not given they are spread evenly.
      direct: the outputs see the inputs before them by weights of their own, too.
      levels: integers are tokens 0 .. levels - 1, which the network sees in [-1, 1].
    """
    return as_net(_MADE(tuple(widths), parts, activation, None if order is None else tuple(order), seed, direct, levels))


class _MADE(nn.Module):
    widths: tuple[int, ...]
    parts: int
    activation: Callable
    order: tuple[int, ...] | None
    seed: int | None
    direct: bool
    levels: int

    @nn.compact
    def __call__(self, x: jax.Array, *given: jax.Array | None) -> jax.Array:
        condition, h = conditions(*given), x.reshape(x.shape[0], -1)
        if jnp.issubdtype(x.dtype, jnp.integer):
            h = 2.0 * h / (self.levels - 1) - 1.0
        x_in, dims = h, h.shape[1]
        masks = mask_list(dims, self.widths, self.order, self.seed)
        for width, mask in zip(self.widths, masks[:-1], strict=True):
            h = Masked(width, mask)(h)
            h = h if condition is None else h + nn.Dense(width, use_bias=False)(condition)
            h = self.activation(h)
        out = Masked(dims * self.parts, masks[-1].repeat(self.parts, axis=1))(h)
        out = out if condition is None else out + nn.Dense(dims * self.parts, use_bias=False)(condition)
        if self.direct:
            (before,) = mask_list(dims, (), self.order, None)
            out = out + Masked(dims * self.parts, before.repeat(self.parts, axis=1), name="direct")(x_in)
        return out.reshape(*x.shape, self.parts)


class Masked(nn.Module):
    """A dense layer with a fixed mask (inputs, outputs) on its weights."""

    features: int
    mask: np.ndarray

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), self.mask.shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return x @ (kernel * self.mask.astype(np.float32)) + bias


def mask_list(dims: int, widths: Sequence[int], order: Sequence[int] | None, seed: int | None) -> list[np.ndarray]:
    """One mask (inputs, outputs) of bool a layer, the last one to one output a dimension."""
    place = np.arange(dims) if order is None else np.asarray(order)
    if sorted(place) != list(range(dims)):
        raise ValueError(f"order must be a permutation of 0 .. {dims - 1}, one place for each of the {dims} dimensions")
    degrees = [place + 1, *_hidden(dims, widths, seed)]
    return [b[None] >= a[:, None] for a, b in pairwise(degrees)] + [place[None] + 1 > degrees[-1][:, None]]


def _hidden(dims: int, widths: Sequence[int], seed: int | None) -> list[np.ndarray]:
    """Degrees 1 .. D - 1 of the hidden units; each layer's least is no less than the one before it needs."""
    top = max(dims - 1, 1)
    if seed is None:
        return [1 + np.arange(width) % top for width in widths]
    rng, least, degrees = np.random.default_rng(seed), 1, []
    for width in widths:
        degrees.append(rng.integers(least, top + 1, width))
        least = int(degrees[-1].min())
    return degrees
