"""A small UNet (1505.04597) as denoisers use it (2006.11239), for any number of space axes and any sides."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nets.base import Net, as_net, conditions
from genjax.nets.conv import Conv, Norm, Shift, Up, check_image, crop
from genjax.nets.time import time_features


def unet(widths: Sequence[int], out: Sequence[int], activation: Callable = nn.silu) -> Net:
    """Net (x, t, *conditions) -> (B, *out), at zero when it starts.

    Args:
      widths: channels of the levels, the finest first; between two levels the sides halve, rounded up.
      out: (*space, channels), of the sides of x.
      t: (B,) in [0, 1].
      conditions: each None, (B, C), or an image of the sides of x, which is then seen beside x.
    """
    return as_net(_UNet(tuple(widths), tuple(out), activation))


class _UNet(nn.Module):
    widths: tuple[int, ...]
    out: tuple[int, ...]
    activation: Callable

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array, *given: jax.Array | None) -> jax.Array:
        check_image("a UNet", x)
        if x.shape[1:-1] != self.out[:-1]:
            raise ValueError(f"this UNet gives images of sides {self.out[:-1]}, but x is {x.shape}")
        images = [c for c in given if c is not None and c.shape[1:-1] == x.shape[1:-1]]
        vectors = [c for c in given if c is not None and c.shape[1:-1] != x.shape[1:-1]]
        condition = self._embed(conditions(time_features(t), *vectors))
        h = Conv(self.widths[0])(jnp.concatenate([x, *images], axis=-1))
        *finer, coarsest = self.widths
        skips = []
        for width in finer:
            h = self._block(width, h, condition)
            skips.append(h)
            h = Conv(width, stride=2)(h)
        h = self._block(coarsest, self._block(coarsest, h, condition), condition)
        for width in reversed(finer):
            skip = skips.pop()
            h = jnp.concatenate([crop(Up(width)(h), skip.shape[1:-1]), skip], axis=-1)
            h = self._block(width, h, condition)
        return Conv(self.out[-1], kernel_init=nn.initializers.zeros)(self.activation(Norm()(h)))

    def _embed(self, features: jax.Array) -> jax.Array:
        width = 4 * self.widths[0]
        return self.activation(nn.Dense(width)(self.activation(nn.Dense(width)(features))))

    def _block(self, width: int, h: jax.Array, condition: jax.Array) -> jax.Array:
        return _Block(width, self.activation)(h, condition)


class _Block(nn.Module):
    """Two convolutions beside a straight way; the second starts at zero, so the block starts as that way."""

    width: int
    activation: Callable

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        h = Conv(self.width)(self.activation(Norm()(x)))
        h = self.activation(Shift()(Norm()(h), condition))
        h = Conv(self.width, kernel_init=nn.initializers.zeros)(h)
        straight = x if x.shape[-1] == self.width else Conv(self.width, kernel=1)(x)
        return straight + h
