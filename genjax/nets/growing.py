"""Networks that grow (1710.10196): one generator and one critic with a head for every level of sides.

    generator at level s   alpha up( rgb_s(h_s) ) + (1 - alpha) up( up( rgb_{s-1}(h_{s-1}) ) )                       (1)
    critic at level s      the mirror: features from x at level s faded with those from x at level s - 1             (2)

Level 0 is the coarsest. Images have their full sides at every level: the generator repeats places, the critic averages them,
so that data, samples and checkpoints keep one shape. alpha = 0 is level s - 1 exactly, alpha = 1 is level s. The generator
normalizes features place by place over the channels; the critic's last feature is the spread of groups of examples.
"""

from collections.abc import Sequence
from math import prod

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nets.base import Net, as_net
from genjax.nets.conv import Conv, check_image
from genjax.nets.critics import minibatch_spread
from genjax.nets.stylegan2 import coarsest, normalized

HE = nn.initializers.he_normal()


def growing_generator(widths: Sequence[int], out: Sequence[int]) -> tuple[Net, ...]:
    """A Net (z, alpha) -> (B, *out) for each level, the coarsest first, all on the same parameters.

    Args:
      widths: channels of the levels, the finest first; between two levels the sides halve evenly.
      out: (*space, channels).
      alpha: (B,) or (), how far the level has faded in; level 0 ignores it.
    """
    start = coarsest(out, len(widths))
    return _one_init([as_net(_Generator(tuple(reversed(widths)), start, out[-1], level)) for level in range(len(widths))])


def growing_critic(widths: Sequence[int], spread: int = 4) -> tuple[Net, ...]:
    """A Net (x, alpha) -> (B,) logits for each level, the coarsest first, all on the same parameters."""
    return _one_init([as_net(_Critic(tuple(reversed(widths)), spread, level)) for level in range(len(widths))])


def _one_init(levels: Sequence[Net]) -> tuple[Net, ...]:
    """The highest level's, which makes every head."""
    return tuple(net._replace(init=levels[-1].init) for net in levels)


def repeat(x: jax.Array, times: int = 2) -> jax.Array:
    """Every place so many times along each space axis."""
    for axis in range(1, x.ndim - 1):
        x = jnp.repeat(x, times, axis)
    return x


def pool(x: jax.Array) -> jax.Array:
    """Means of blocks of side 2."""
    for axis in range(1, x.ndim - 1):
        x = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :]).mean(axis + 1)
    return x


def fade(coarse: jax.Array, fine: jax.Array, alpha: jax.Array) -> jax.Array:
    """(1) and (2), so written that 0 and 1 are exact."""
    alpha = jnp.reshape(alpha, (-1, *[1] * (fine.ndim - 1)))
    return (1.0 - alpha) * coarse + alpha * fine


def _act(h: jax.Array) -> jax.Array:
    return nn.leaky_relu(h, 0.2)


class _Generator(nn.Module):
    widths: tuple[int, ...]  # the coarsest first
    start: tuple[int, ...]
    channels: int
    level: int

    @nn.compact
    def __call__(self, z: jax.Array, alpha: jax.Array) -> jax.Array:
        rgb = lambda level, h: Conv(self.channels, kernel=1, name=f"rgb_{level}")(h)
        h = nn.Dense(prod(self.start) * self.widths[0])(normalized(z.reshape(z.shape[0], -1)))
        h, image = normalized(_act(h.reshape(z.shape[0], *self.start, -1))), None
        for level in range(self.level + 1):
            h = repeat(h) if level else h
            for half in range(2 if level else 1):
                h = normalized(_act(Conv(self.widths[level], kernel_init=HE, name=f"conv_{level}_{half}")(h)))
            if self.is_initializing() or level >= self.level - 1:
                finer = rgb(level, h)
                image = fade(repeat(image), finer, alpha) if level and level == self.level else finer
        return repeat(image, 2 ** (len(self.widths) - 1 - self.level))


class _Critic(nn.Module):
    widths: tuple[int, ...]  # the coarsest first
    spread: int
    level: int

    @nn.compact
    def __call__(self, x: jax.Array, alpha: jax.Array) -> jax.Array:
        check_image("a growing critic", x)
        coarsest(x.shape[1:], len(self.widths))
        seen = [x]
        for _ in self.widths[1:]:
            seen.insert(0, pool(seen[0]))
        first = lambda level: _act(Conv(self.widths[level], kernel=1, kernel_init=HE, name=f"from_{level}")(seen[level]))
        heads = {level: first(level) for level in range(len(self.widths)) if self.is_initializing() or level in self._heads()}
        h = heads[self.level]
        for level in range(self.level, 0, -1):
            for half, width in enumerate((self.widths[level], self.widths[level - 1])):
                h = _act(Conv(width, kernel_init=HE, name=f"conv_{level}_{half}")(h))
            h = pool(h)
            h = fade(heads[level - 1], h, alpha) if level == self.level else h
        h = minibatch_spread(h, self.spread) if self.spread else h
        h = _act(Conv(self.widths[0], kernel_init=HE, name="last")(h))
        return nn.Dense(1)(h.reshape(h.shape[0], -1))[:, 0]

    def _heads(self) -> tuple[int, int]:
        return self.level, self.level - 1
