"""Residual autoencoders of pictures, without normalization: what is the same all over a picture, its colours, passes as it is.

    block   h + W_2 a(W_1 a(h)),   both of window 3, W_2 = 0 at first
    E       [blocks of 2 places a side -> channels, blocks] ... -> window 1
    D       window 3 -> [blocks, channels -> blocks of 2 places a side] ... -> the picture

`conv_encoder` and `conv_decoder` are a third of the work, but norms hide how bright and of which tone an example is.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax

from genjax.nets.base import Net, as_net, conditions
from genjax.nets.conv import Conv, Shift, Up, check_image, space_to_depth


def res_encoder(widths: Sequence[int], out: Sequence[int], activation: Callable = nn.gelu, blocks: int = 1) -> Net:
    """Net (x, *conditions) -> (B, *out), spatial codes whose sides are those of x halved once a level.

    Args:
      widths: channels of the levels, the finest first.
      out: (*space, channels).
      blocks: residual blocks of a level.
    """
    return as_net(_Encoder(tuple(widths), tuple(out), activation, blocks))


def res_decoder(widths: Sequence[int], out: Sequence[int], activation: Callable = nn.gelu, blocks: int = 1) -> Net:
    """Net (z, *conditions) -> (B, *out), the mirror of `res_encoder`, of spatial codes."""
    return as_net(_Decoder(tuple(widths), tuple(out), activation, blocks))


def _level(h: jax.Array, condition: jax.Array | None, activation: Callable, blocks: int) -> jax.Array:
    """One level: the condition, then residual blocks."""
    h = Shift()(h, condition)
    for _ in range(blocks):
        inner = Conv(h.shape[-1])(activation(h))
        h = h + Conv(h.shape[-1], kernel_init=nn.initializers.zeros)(activation(inner))
    return h


def _check(levels: int, picture: Sequence[int], code: Sequence[int]) -> None:
    """Refuse sides that do not fit."""
    if tuple(picture) != tuple(side * 2**levels for side in code):
        raise ValueError(
            f"{levels} levels make pictures of sides {tuple(picture)} from codes {2**levels} times smaller, not {tuple(code)}"
        )


class _Encoder(nn.Module):
    widths: tuple[int, ...]
    out: tuple[int, ...]
    activation: Callable
    blocks: int

    @nn.compact
    def __call__(self, x: jax.Array, *given: jax.Array | None) -> jax.Array:
        check_image("a residual encoder", x)
        _check(len(self.widths), x.shape[1:-1], self.out[:-1])
        h, condition = x, conditions(*given)
        for width in self.widths:
            h = _level(Conv(width)(space_to_depth(h, 2)), condition, self.activation, self.blocks)
        return Conv(self.out[-1], kernel=1)(self.activation(h))


class _Decoder(nn.Module):
    widths: tuple[int, ...]
    out: tuple[int, ...]
    activation: Callable
    blocks: int

    @nn.compact
    def __call__(self, z: jax.Array, *given: jax.Array | None) -> jax.Array:
        check_image("a residual decoder", z)
        _check(len(self.widths), self.out[:-1], z.shape[1:-1])
        *narrower, widest = self.widths
        h, condition = Conv(widest)(z), conditions(*given)
        for width in reversed(narrower):
            h = Up(width)(_level(h, condition, self.activation, self.blocks))
        return Up(self.out[-1])(self.activation(_level(h, condition, self.activation, self.blocks)))
