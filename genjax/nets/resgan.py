"""Residual networks without normalization, in the manner of R3GAN (2501.05441).

    block   h + W_3 a(W_2 a(W_1 h)),   W_1 and W_3 of window 1, W_2 of window 3, W_3 = 0 at first, a: leaky relu
    G       basis * linear(z) -> [blocks, twice the sides] ... -> window 1      basis: a learned picture of the coarsest sides
    D       window 1 -> [blocks, half the sides] ... -> sum over places of basis * h -> linear

With relativistic pairs and R1 + R2 such nets need no other trick. Unlike the paper's, W_2 is not grouped. Resampling is
binomial; channels change by a window of 1 beside it.
"""

from collections.abc import Sequence
from math import ceil, prod

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nets.base import Net, as_net, conditions
from genjax.nets.conv import Conv, check_image, crop
from genjax.nets.critics import minibatch_spread
from genjax.nets.fir import doubled, halved

HE = nn.initializers.he_normal()


def resgan_generator(widths: Sequence[int], out: Sequence[int], blocks: int = 2) -> Net:
    """Net (z, *conditions) -> (B, *out), any number of space axes and any sides.

    Args:
      widths: channels of the levels, the finest first; between two levels the sides halve, rounded up.
      out: (*space, channels).
      blocks: residual blocks of a level.
    """
    if not widths or len(out) < 2 or min(out[:-1]) < 2 ** (len(widths) - 1):
        raise ValueError(f"{len(widths)} levels halve sides {tuple(out[:-1])} to nothing: give fewer widths, or images")
    return as_net(_Generator(tuple(widths), tuple(out), blocks))


def resgan_critic(widths: Sequence[int], out: Sequence[int] = (), blocks: int = 2, spread: int = 0) -> Net:
    """Net (x, *conditions) -> (B, *out): logits (B,), or features for `projection` and `minibatch_discrimination`.

    Args:
      widths: channels of the levels, the finest first.
      blocks: residual blocks of a level.
      spread: rows of a group over which the standard deviation is a feature; 0 for none. See `minibatch_spread`.
    """
    if not widths:
        raise ValueError("a residual critic needs widths, one a level")
    return as_net(_Critic(tuple(widths), tuple(out), blocks, spread))


class _Block(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        h = nn.leaky_relu(Conv(width, kernel=1, kernel_init=HE)(x), 0.2)
        h = nn.leaky_relu(Conv(width, kernel_init=HE)(h), 0.2)
        return x + Conv(width, kernel=1, kernel_init=nn.initializers.zeros)(h)


def _blocks(count: int, h: jax.Array) -> jax.Array:
    for _ in range(count):
        h = _Block()(h)
    return h


class _Generator(nn.Module):
    widths: tuple[int, ...]
    out: tuple[int, ...]
    blocks: int

    @nn.compact
    def __call__(self, z: jax.Array, *given: jax.Array | None) -> jax.Array:
        sides = [tuple(ceil(side / 2**level) for side in self.out[:-1]) for level in range(len(self.widths))]
        basis = self.param("basis", nn.initializers.normal(1.0), (*sides[-1], self.widths[-1]))
        scale = nn.Dense(self.widths[-1])(conditions(z, *given))
        h = basis * scale.reshape(z.shape[0], *[1] * (basis.ndim - 1), -1)
        for level in reversed(range(len(self.widths))):
            if level < len(self.widths) - 1:
                h = crop(doubled(Conv(self.widths[level], kernel=1)(h)), sides[level])
            h = _blocks(self.blocks, h)
        return Conv(self.out[-1], kernel=1)(h)


class _Critic(nn.Module):
    widths: tuple[int, ...]
    out: tuple[int, ...]
    blocks: int
    spread: int

    @nn.compact
    def __call__(self, x: jax.Array, *given: jax.Array | None) -> jax.Array:
        check_image("a residual critic", x)
        h = Conv(self.widths[0], kernel=1)(x)
        for level, width in enumerate(self.widths):
            if level:
                h = Conv(width, kernel=1)(halved(h))
            h = _blocks(self.blocks, h)
        h = minibatch_spread(h, self.spread) if self.spread else h
        basis = self.param("basis", nn.initializers.normal(prod(h.shape[1:-1]) ** -0.5), h.shape[1:])
        h = jnp.sum((basis * h).reshape(h.shape[0], -1, h.shape[-1]), axis=1)
        return nn.Dense(prod(self.out))(conditions(h, *given)).reshape(x.shape[0], *self.out)
