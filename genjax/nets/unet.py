"""The UNet (1505.04597) of denoising diffusion (2006.11239), for any number of space axes and any sides.

down     at every level `blocks` residual blocks, then a convolution of stride 2
middle   block, block
up       at every level `blocks` + 1 blocks, each seeing one more thing that the way down left, then twice the sides

block    h + conv(act(norm(conv(act(norm(h))) + told)))              told: of the time and the flat conditions
attend   h + out(attention(norm(h), norm(h) or tokens)), after a block where `attention` names its level
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nets.base import Net, as_net
from genjax.nets.conv import Conv, Norm, Shift, check_image, crop, depth_to_space, space_to_depth
from genjax.nets.time import Told, sort_conditions, time_features
from genjax.nets.transformer import attention as attend


def unet(
    widths: Sequence[int],
    out: Sequence[int],
    activation: Callable = nn.silu,
    *,
    patch: int = 1,
    blocks: int = 2,
    attention: Sequence[int] = (),
    heads: int | Sequence[int] = 1,
    norm: Callable[[], nn.Module] = Norm,
    features: Callable[[jax.Array], jax.Array] = time_features,
) -> Net:
    """Net (x, t, *conditions) -> (B, *out), at zero when it starts.

    Args:
      widths: channels of the levels, the finest first; between two levels the sides halve, rounded up.
      out: (*space, channels), of the sides of x.
      activation: of every block and of the layers that hear the time.
      patch: side of the blocks of places, dividing the sides of x, that the finest level sees as one place: cheaper.
      blocks: residual blocks of a level on the way down; on the way up there is one more.
      attention: levels whose places look at each other, 0 the finest, `len(widths)` the middle.
      heads: of attention, for all levels or one number a level; the middle has those of the coarsest.
      norm: what normalizes one example; `partial(GroupNorm, 32)` is DDPM's.
      features: of the time.
      t: (B,) in [0, 1].
      conditions: each None, (B, C), an image of the sides of x, which is then seen beside x, or tokens (B, L, C) that
        every attending level looks at.
    """
    widths, attention = tuple(widths), tuple(attention)
    heads = (heads,) * len(widths) if isinstance(heads, int) else tuple(heads)
    if not widths or min(*widths, *heads, patch) < 1:
        raise ValueError(f"a UNet needs widths, heads and a patch of 1 or more, not {widths}, {heads} and {patch}")
    if any(not 0 <= level <= len(widths) for level in attention):
        raise ValueError(f"attention={attention}: levels are 0 .. {len(widths) - 1}, and {len(widths)} is the middle")
    if len(heads) != len(widths) or any(width % number for width, number in zip(widths, heads, strict=True)):
        raise ValueError(f"heads={heads}: give a number, or one a level, that divides the widths {widths}")
    if any(side % patch for side in out[:-1]):
        raise ValueError(f"patches of side {patch} do not tile images of sides {tuple(out[:-1])}: choose another patch=")
    return as_net(_UNet(widths, tuple(out), activation, patch, blocks, attention, (*heads, heads[-1]), norm, features))


class _UNet(nn.Module):
    widths: tuple[int, ...]
    out: tuple[int, ...]
    activation: Callable
    patch: int
    blocks: int
    attention: tuple[int, ...]
    heads: tuple[int, ...]
    norm: Callable[[], nn.Module]
    features: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array, *given: jax.Array | None) -> jax.Array:
        images, tokens, rest = self._sorted(x, given)
        told = self.activation(Told(4 * self.widths[0], self.features, self.activation, name="told")(t, *rest)).astype(x.dtype)
        h = Conv(self.widths[0], name="first")(space_to_depth(jnp.concatenate([x, *images], axis=-1), self.patch))
        h, skips = self._down(h, told, tokens)
        middle = len(self.widths)
        h = self._block("middle_0", middle - 1, h, told)
        h = self._attend("middle", middle, h, tokens)
        h = self._block("middle_1", middle - 1, h, told)
        h = self._up(h, skips, told, tokens)
        h = self.activation(self.norm(name="last_norm")(h))
        many = self.patch ** (x.ndim - 2) * self.out[-1]
        return depth_to_space(Conv(many, kernel_init=nn.initializers.zeros, name="last")(h), self.patch)

    def _sorted(self, x: jax.Array, given: Sequence[jax.Array | None]) -> tuple[list, list, list]:
        check_image("a UNet", x)
        if x.shape[1:-1] != self.out[:-1]:
            raise ValueError(f"this UNet gives images of sides {self.out[:-1]}, but x is {x.shape}")
        images, tokens, rest = sort_conditions(x, given)
        if tokens and not self.attention:
            raise ValueError(f"tokens {tokens[0].shape} are given to a UNet that never attends: name levels in attention=")
        return images, tokens, rest

    def _down(self, h: jax.Array, told: jax.Array, tokens: list) -> tuple[jax.Array, list]:
        skips = [h]
        for level in range(len(self.widths)):
            if level:
                skips.append(h := Conv(self.widths[level - 1], stride=2, name=f"down_{level}_halve")(h))
            for number in range(self.blocks):
                h = self._block(f"down_{level}_{number}", level, h, told)
                skips.append(h := self._attend(f"down_{level}_{number}", level, h, tokens))
        return h, skips

    def _up(self, h: jax.Array, skips: list, told: jax.Array, tokens: list) -> jax.Array:
        for level in reversed(range(len(self.widths))):
            for number in range(self.blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._block(f"up_{level}_{number}", level, h, told)
                h = self._attend(f"up_{level}_{number}", level, h, tokens)
            if level:
                h = Conv(self.widths[level], name=f"up_{level}_double")(crop(_doubled(h), skips[-1].shape[1:-1]))
        return h

    def _block(self, name: str, level: int, h: jax.Array, told: jax.Array) -> jax.Array:
        return _Block(self.widths[level], self.activation, self.norm, name=f"{name}_block")(h, told)

    def _attend(self, name: str, level: int, h: jax.Array, tokens: list) -> jax.Array:
        if level not in self.attention:
            return h
        h = _Attend(self.heads[level], self.norm, name=f"{name}_attend")(h, None)
        for number, token in enumerate(tokens):
            h = _Attend(self.heads[level], self.norm, name=f"{name}_look_{number}")(h, token)
        return h


class _Block(nn.Module):
    """Two convolutions beside a straight way; the second starts at zero, so the block starts as that way."""

    width: int
    activation: Callable
    norm: Callable[[], nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, told: jax.Array) -> jax.Array:
        h = Conv(self.width, name="conv_0")(self.activation(self.norm(name="norm_0")(x)))
        h = self.activation(self.norm(name="norm_1")(Shift(name="told")(h, told)))
        h = Conv(self.width, kernel_init=nn.initializers.zeros, name="conv_1")(h)
        return h + (x if x.shape[-1] == self.width else Conv(self.width, kernel=1, name="straight")(x))


class _Attend(nn.Module):
    """Every place looks at all places, or at tokens (B, L, C); starts at zero."""

    heads: int
    norm: Callable[[], nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, tokens: jax.Array | None) -> jax.Array:
        size, width = x.shape[0], x.shape[-1]
        h = self.norm(name="norm")(x).reshape(-1, width)
        seen = h if tokens is None else tokens.reshape(-1, tokens.shape[-1])
        split = lambda part: part.reshape(size, -1, self.heads, width // self.heads)
        q = split(nn.Dense(width, name="query")(h))
        k, v = map(split, jnp.split(nn.Dense(2 * width, name="key_value")(seen), 2, axis=-1))
        mixed = attend(q, k, v, causal=False).reshape(-1, width)
        return x + nn.Dense(width, kernel_init=nn.initializers.zeros, name="out")(mixed).reshape(x.shape)


def _doubled(h: jax.Array) -> jax.Array:
    """Every place twice along each space axis."""
    for axis in range(1, h.ndim - 1):
        h = jnp.repeat(h, 2, axis=axis)
    return h
