"""Layers of convolutions over any number of space axes, channels last, and the small networks made of them."""

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil, gcd, prod

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from genjax.nets.base import Net, as_net, conditions
from genjax.nets.convolution import conv

# ---- places and channels ------------------------------------------------------------------------------------------------


def space_to_depth(x: jax.Array, side: int) -> jax.Array:
    """(B, *space, C) -> (B, *(space / side), side**axes C): every block of that side becomes a place, channels last in it."""
    axes, grid = x.ndim - 2, [length // side for length in x.shape[1:-1]]
    x = x.reshape(x.shape[0], *[number for length in grid for number in (length, side)], x.shape[-1])
    order = [*range(1, 2 * axes + 1, 2), *range(2, 2 * axes + 1, 2)]
    return x.transpose(0, *order, 2 * axes + 1).reshape(x.shape[0], *grid, -1)


def depth_to_space(x: jax.Array, side: int) -> jax.Array:
    """Inverse of `space_to_depth`: (B, *space, side**axes C) -> (B, *(side space), C)."""
    size, space, axes = x.shape[0], x.shape[1:-1], x.ndim - 2
    x = x.reshape(size, *space, *[side] * axes, x.shape[-1] // side**axes)
    order = [axis for place in range(1, axes + 1) for axis in (place, place + axes)]
    return x.transpose(0, *order, 2 * axes + 1).reshape(size, *[side * length for length in space], -1)


# ---- layers ----------------------------------------------------------------------------------------------------------


class Conv(nn.Module):
    """SAME convolution with bias: (B, *space, C) -> (B, *ceil(space / stride), features)."""

    features: int
    kernel: int = 3  # side of the window
    stride: int = 1
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*[self.kernel] * (x.ndim - 2), x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        return conv(x, kernel, self.stride) + self.param("bias", nn.initializers.zeros, (self.features,))


class Up(nn.Module):
    """(B, *space, C) -> (B, *2 space, features): convolution, then depth to space; no ConvTranspose, slow on the CPU."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        axes = x.ndim - 2
        return depth_to_space(Conv(2**axes * self.features)(x), 2)


class GroupNorm(nn.Module):
    """x (B, ..., C) less its mean, over its standard deviation, by example and group of channels (1803.08494); two gains.

    What Flax's does, summed over the places first: 2 to 3 times faster on the CPU, forward and backward.
    """

    groups: int
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size, channels = x.shape[0], x.shape[-1]
        if channels % self.groups:
            raise ValueError(f"{channels} channels do not divide into {self.groups} groups")
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        rows = x.reshape(size, -1, channels).astype(jnp.promote_types(x.dtype, jnp.float32))
        mean, square = (self._pooled(sums.mean(axis=1)) for sums in (rows, rows**2))
        gain = scale * lax.rsqrt(jnp.maximum(square - mean**2, 0.0) + self.epsilon)
        return (rows * gain[:, None] + (bias - mean * gain)[:, None]).reshape(x.shape).astype(x.dtype)

    def _pooled(self, means: jax.Array) -> jax.Array:
        """(B, C): every channel's mean replaced by its group's."""
        each = means.reshape(means.shape[0], self.groups, -1).mean(axis=-1)
        return jnp.repeat(each, means.shape[-1] // self.groups, axis=-1)


class Norm(nn.Module):
    """Group normalization of one example: at most 8 groups, of at least 4 channels where there are so many.

    Conditions are added after it: a norm of few channels would take out most of what is the same at every place.
    """

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        return GroupNorm(max(1, gcd(32, h.shape[-1]) // 4))(h)


class Shift(nn.Module):
    """Adds a linear image of a condition (B, C) or None to every place of h (B, ..., F)."""

    @nn.compact
    def __call__(self, h: jax.Array, condition: jax.Array | None) -> jax.Array:
        if condition is None:
            return h
        return h + nn.Dense(h.shape[-1])(condition).reshape(h.shape[0], *[1] * (h.ndim - 2), -1)


# ---- networks --------------------------------------------------------------------------------------------------------


def conv_encoder(widths: Sequence[int], out: Sequence[int], activation: Callable = nn.gelu) -> Net:
    """Net (x, *conditions) -> (B, *out): each width a level at half the sides, then a linear layer.

    Args:
      widths: channels of the levels, the finest first.
      out: shape of a code, (32,) or with x's number of space axes (7, 7, 4): then its sides are x's halved once a level,
        rounded up. `()` gives one number an example.
    """
    return as_net(_Encoder(tuple(widths), tuple(out), activation))


def conv_decoder(widths: Sequence[int], out: Sequence[int], activation: Callable = nn.gelu) -> Net:
    """Net (z, *conditions) -> (B, *out), the mirror of `conv_encoder`.

    Args:
      widths: channels of the levels, the finest first as in the encoder.
      out: (*space, channels) of the image; sides need not be even, the last rows are cropped.
      z: (B, n), or spatial: its sides are those of `out` halved once a level, rounded up.
    """
    return as_net(_Decoder(tuple(widths), tuple(out), activation))


def conv_critic(widths: Sequence[int], activation: Callable = partial(nn.leaky_relu, negative_slope=0.2)) -> Net:
    """Net (x, *conditions) -> (B,) logits. It normalizes nothing, so that a gradient penalty sees one example alone."""
    return as_net(_Encoder(tuple(widths), (), activation, norm=False))


def conv_same(width: int, out: Sequence[int], activation: Callable = nn.relu) -> Net:
    """Net (x, *conditions) -> (B, *out) at x's own sides: windows of 3, 1 and 3, as Glow's couplings have them (1807.03039, 4).

    Its last layer does not start at zero, as theirs does: a coupling has a gain of its own that does, and two would never move.
    """
    return as_net(_Same(width, tuple(out), activation))


class _Same(nn.Module):
    width: int
    out: tuple[int, ...]
    activation: Callable

    @nn.compact
    def __call__(self, x: jax.Array, *given: jax.Array | None) -> jax.Array:
        check_image("a network that keeps an image's sides", x)
        h = self.activation(Shift()(Conv(self.width)(x), conditions(*given)))
        h = self.activation(Conv(self.width, kernel=1)(h))
        return Conv(self.out[-1])(h)


class _Encoder(nn.Module):
    widths: tuple[int, ...]
    out: tuple[int, ...]
    activation: Callable
    norm: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *given: jax.Array | None) -> jax.Array:
        check_image("a convolutional encoder or critic", x)
        h, condition = x, conditions(*given)
        for width in self.widths:
            h = Conv(width, stride=2)(h)
            h = Norm()(h) if self.norm else h
            h = self.activation(Shift()(h, condition))
        if len(self.out) < x.ndim - 1:
            return nn.Dense(prod(self.out))(h.reshape(h.shape[0], -1)).reshape(h.shape[0], *self.out)
        if h.shape[1:-1] != self.out[:-1]:
            raise ValueError(f"{len(self.widths)} levels make codes of sides {h.shape[1:-1]}, but out is {self.out}")
        return Conv(self.out[-1], kernel=1)(h)


class _Decoder(nn.Module):
    widths: tuple[int, ...]
    out: tuple[int, ...]
    activation: Callable

    @nn.compact
    def __call__(self, z: jax.Array, *given: jax.Array | None) -> jax.Array:
        *narrower, widest = self.widths
        condition = conditions(*given)
        h = self._start(z, widest)
        for width in reversed(narrower):
            h = Up(width)(self._finish(h, condition))
        return crop(Up(self.out[-1])(self._finish(h, condition)), self.out[:-1])

    def _finish(self, h: jax.Array, condition: jax.Array | None) -> jax.Array:
        return self.activation(Shift()(Norm()(h), condition))

    def _start(self, z: jax.Array, width: int) -> jax.Array:
        """(B, *coarsest space, width) from a flat or a spatial code."""
        start = tuple(ceil(side / 2 ** len(self.widths)) for side in self.out[:-1])
        if z.ndim == 2:
            return nn.Dense(prod(start) * width)(z).reshape(z.shape[0], *start, width)
        if z.shape[1:-1] != start:
            raise ValueError(f"a decoder of {len(self.widths)} levels to {self.out} wants codes (B, n) or of sides {start}, "
                             f"but z is {z.shape}")  # fmt: skip
        return Conv(width)(z)


def crop(h: jax.Array, space: Sequence[int]) -> jax.Array:
    """The first places of each space axis."""
    return h[(slice(None), *[slice(side) for side in space])]


def check_image(who: str, x: jax.Array) -> None:
    """Refuse what is not (B, *space, channels) with one to three space axes."""
    if not 3 <= x.ndim <= 5:
        raise ValueError(f"{who} wants x (B, *space, channels) with 1 to 3 space axes, but x is {x.shape}: "
                         "use an mlp for flat data, or give the data its space axes")  # fmt: skip
