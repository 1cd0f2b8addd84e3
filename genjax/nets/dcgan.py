"""DCGAN (1511.06434) without BatchNorm: each example is normalized by itself (group normalization).

    G    z -> linear -> [norm, relu, twice the sides] x L -> tanh           values in [-1, 1], as `symmetric` prepares data
    D    x -> [half the sides by 4-windows, norm but in the first, leaky relu] x L -> linear

A transposed convolution with a 4-window and stride 2 is a 3-window followed by depth-to-space, some of whose weights are zero.
"""

from collections.abc import Sequence
from math import ceil, prod

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nets.base import Net, as_net, conditions
from genjax.nets.conv import Conv, Norm, Up, check_image, crop


def dcgan_generator(widths: Sequence[int], out: Sequence[int]) -> Net:
    """Net (z, *conditions) -> (B, *out) in [-1, 1].

    Args:
      widths: channels of the levels, the finest first: (64, 128, 256, 512) in the paper, for sides of 64.
      out: (*space, channels); its sides halve once a level, rounded up.
    """
    sides = out[:-1]
    if not sides or min(sides) < 2 ** (len(widths) - 1):
        raise ValueError(f"{len(widths)} levels halve sides {tuple(sides)} to nothing: give fewer widths, or images")
    return as_net(_Generator(tuple(widths), tuple(out)))


def dcgan_critic(widths: Sequence[int], out: Sequence[int] = (), norm: bool = True) -> Net:
    """Net x -> (B, *out): logits (B,), or features for `projection` and `minibatch_discrimination`.

    Args:
      widths: channels of the levels, the finest first.
      norm: False leaves all normalization out, as gradient penalties like it.
    """
    return as_net(_Critic(tuple(widths), tuple(out), norm))


class _Generator(nn.Module):
    widths: tuple[int, ...]
    out: tuple[int, ...]

    @nn.compact
    def __call__(self, z: jax.Array, *given: jax.Array | None) -> jax.Array:
        sides = [tuple(ceil(side / 2**level) for side in self.out[:-1]) for level in range(len(self.widths) + 1)]
        h = nn.Dense(prod(sides[-1]) * self.widths[-1])(conditions(z, *given))
        h = h.reshape(z.shape[0], *sides[-1], self.widths[-1])
        for level in reversed(range(len(self.widths))):
            width = self.widths[level - 1] if level else self.out[-1]
            h = crop(Up(width)(nn.relu(Norm()(h))), sides[level])
        return jnp.tanh(h)


class _Critic(nn.Module):
    widths: tuple[int, ...]
    out: tuple[int, ...]
    norm: bool

    @nn.compact
    def __call__(self, x: jax.Array, *given: jax.Array | None) -> jax.Array:
        check_image("a DCGAN critic", x)
        h = x
        for level, width in enumerate(self.widths):
            h = Conv(width, kernel=4, stride=2)(h)
            h = nn.leaky_relu(Norm()(h) if self.norm and level else h, 0.2)
        return nn.Dense(prod(self.out))(conditions(h, *given)).reshape(x.shape[0], *self.out)
