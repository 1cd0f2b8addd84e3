"""StyleGAN2 (1912.04958): a mapping from noise to styles, and a synthesis that styles modulate.

    mapping     w = f(z / rms z)                          dense, leaky relu, weights at a hundredth of the learning rate
    layer       x -> a( demod( conv(x * s) ) + strength * noise + bias ),   s = A w,   a: sqrt 2 leaky relu               (1)
    demod       divides each output channel by sqrt( sum_{p, c} (s_c W_{p c f})^2 ): variance 1 for white x               (2)
    image       sum over levels of upsampled 1-windows of the level's features, modulated but not demodulated             (3)
    critic      residual levels with binomial halving, the spread of groups of examples, two dense layers

Scaling x by s before and the output after a shared convolution is the convolution of each example with its own kernel. Weights
are N(0, 1) and scaled when used ("equalized", 1710.10196), so that one learning rate suits all layers.

Noise is drawn from the sample's key; without keys there is none.
"""

from collections.abc import Sequence
from math import prod, sqrt
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nets.base import Net, as_net, conditions
from genjax.nets.conv import check_image
from genjax.nets.convolution import conv
from genjax.nets.critics import minibatch_spread
from genjax.nets.fir import doubled, halved


class Styles(NamedTuple):
    """The two halves of a generator with styles."""

    mapping: Net  # (z, *conditions) -> w (B, W)
    synthesis: Net  # (w, keys=None) -> x; w (B, W), or one of each layer (B, count, W); keys (B,)
    count: int  # how many styles there are


def stylegan2(widths: Sequence[int], out: Sequence[int], style: int = 128, depth: int = 4) -> Styles:
    """Mapping and synthesis.

    Args:
      widths: channels of the levels, the finest first; between two levels the sides halve.
      out: (*space, channels); sides must halve evenly once for each level but the first.
      style: numbers in w.
      depth: layers of the mapping; 8 in the paper.
    """
    synthesis = _Synthesis(tuple(widths), coarsest(out, len(widths)), out[-1])
    return Styles(mapping(style, depth), as_net(synthesis), 2 * len(widths))


def mapping(style: int, depth: int) -> Net:
    """Net (z, *conditions) -> w (B, style)."""
    return as_net(_Mapping(style, depth))


def stylegan2_critic(widths: Sequence[int], out: Sequence[int] = (), spread: int = 4) -> Net:
    """Net x -> (B, *out): logits (B,), or features for `projection`.

    Args:
      widths: channels of the levels, the finest first; between two levels the sides halve, rounded up.
      spread: rows of a group over which the standard deviation is a feature; 0 for none. See `minibatch_spread`.
    """
    return as_net(_Critic(tuple(widths), tuple(out), spread))


def coarsest(out: Sequence[int], levels: int) -> tuple[int, ...]:
    """Sides at the coarsest of so many levels; ValueError where they do not halve evenly, or there are none."""
    sides, times = tuple(out[:-1]), 2 ** (levels - 1)
    if not sides or any(side % times or side // times < 2 for side in sides):
        raise ValueError(f"sides {sides} do not halve evenly {levels - 1} times to 2 or more, as {levels} widths ask for: "
                         "give fewer widths, or pad the images")  # fmt: skip
    return tuple(side // times for side in sides)


# ---- layers, equalized -----------------------------------------------------------------------------------------------


def act(h: jax.Array) -> jax.Array:
    """Leaky relu that keeps variance."""
    return sqrt(2.0) * nn.leaky_relu(h, 0.2)


def normalized(z: jax.Array) -> jax.Array:
    """Divided by its root mean square over the channels."""
    return z * jax.lax.rsqrt(jnp.mean(z**2, axis=-1, keepdims=True) + 1e-8)


class Linear(nn.Module):
    """Equalized dense layer; `rate` is its learning rate relative to the others."""

    features: int
    bias: float = 0.0
    rate: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.normal(1.0 / self.rate), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.constant(self.bias / self.rate), (self.features,))
        return x @ (kernel * (self.rate / sqrt(x.shape[-1]))) + bias * self.rate


class Window(nn.Module):
    """Equalized convolution with bias."""

    features: int
    window: int = 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.normal(1.0), (*[self.window] * (x.ndim - 2), x.shape[-1], self.features))
        return conv(x, kernel / sqrt(prod(kernel.shape[:-1])), 1) + self.param("bias", nn.initializers.zeros, (self.features,))


def modulated_conv(x: jax.Array, kernel: jax.Array, s: jax.Array, demodulate: bool = True) -> jax.Array:
    """(B, *space, C), (*window, C, F), (B, C) -> (B, *space, F): each example with the kernel s_c W_{p c f}, and (2)."""
    over = lambda a: a.reshape(a.shape[0], *[1] * (x.ndim - 2), -1)
    h = conv(x * over(s), kernel, 1)
    if not demodulate:
        return h
    squares = jnp.sum(kernel**2, axis=tuple(range(x.ndim - 2)))  # (C, F)
    return h * over(jax.lax.rsqrt(s**2 @ squares + 1e-8))


class Modulated(nn.Module):
    """`modulated_conv` with its affine style s = A w, equalized."""

    features: int
    window: int = 3
    demodulate: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        s = Linear(x.shape[-1], bias=1.0, name="style")(w)
        kernel = self.param("kernel", nn.initializers.normal(1.0), (*[self.window] * (x.ndim - 2), x.shape[-1], self.features))
        return modulated_conv(x, kernel / sqrt(prod(kernel.shape[:-1])), s, self.demodulate)


# ---- networks --------------------------------------------------------------------------------------------------------


class _Mapping(nn.Module):
    style: int
    depth: int

    @nn.compact
    def __call__(self, z: jax.Array, *given: jax.Array | None) -> jax.Array:
        condition = conditions(*given)
        h = normalized(z.reshape(z.shape[0], -1))
        if condition is not None:
            h = jnp.concatenate([h, normalized(Linear(h.shape[-1])(condition))], axis=-1)
        for _ in range(self.depth):
            h = act(Linear(self.style, rate=0.01)(h))
        return h


class _Layer(nn.Module):
    """(1)."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array, keys: jax.Array | None) -> jax.Array:
        h = Modulated(self.features)(x, w)
        strength = self.param("noise", nn.initializers.zeros, ())
        if keys is not None:
            h = h + strength * jax.vmap(lambda key: jax.random.normal(key, (*x.shape[1:-1], 1)))(keys)
        return act(h + self.param("bias", nn.initializers.zeros, (self.features,)))


class _Synthesis(nn.Module):
    widths: tuple[int, ...]
    start: tuple[int, ...]
    channels: int

    @nn.compact
    def __call__(self, w: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        count = 2 * len(self.widths)
        w = each_layer(w, count)
        h = self.param("constant", nn.initializers.normal(1.0), (*self.start, self.widths[-1]))
        h, image, number = jnp.broadcast_to(h, (w.shape[0], *h.shape)), 0.0, 0
        for level, width in enumerate(reversed(self.widths)):
            for half in range(2 if level else 1):
                h = doubled(h) if level and half == 0 else h
                noise = None if keys is None else jax.vmap(jax.random.fold_in, (0, None))(keys, number)
                h, number = _Layer(width)(h, w[:, number], noise), number + 1
            rgb = Modulated(self.channels, window=1, demodulate=False)(h, w[:, number])
            rgb = rgb + self.param(f"bias_{level}", nn.initializers.zeros, (self.channels,))
            image = rgb + (doubled(image) if level else 0.0)
        return image


def each_layer(w: jax.Array, count: int) -> jax.Array:
    """(B, count, W) from one style for all, or as it is."""
    if w.ndim == 3 and w.shape[1] != count:
        raise ValueError(f"this synthesis takes {count} styles an example, but was given {w.shape[1]}: fit `count` of Styles")
    return w if w.ndim == 3 else jnp.broadcast_to(w[:, None], (w.shape[0], count, w.shape[-1]))


class _Critic(nn.Module):
    widths: tuple[int, ...]
    out: tuple[int, ...]
    spread: int

    @nn.compact
    def __call__(self, x: jax.Array, *given: jax.Array | None) -> jax.Array:
        check_image("a StyleGAN2 critic", x)
        h = act(Window(self.widths[0], window=1)(x))
        for width, wider in zip(self.widths, self.widths[1:], strict=False):
            straight = Window(wider, window=1)(halved(h))
            h = act(Window(wider)(halved(act(Window(width)(h)))))
            h = (h + straight) / sqrt(2.0)
        h = minibatch_spread(h, self.spread) if self.spread else h
        h = act(Window(self.widths[-1])(h))
        h = act(Linear(self.widths[-1])(conditions(h, *given)))
        return Linear(prod(self.out))(h).reshape(x.shape[0], *self.out)
