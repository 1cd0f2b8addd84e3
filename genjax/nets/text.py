"""Networks of token sequences: SeqGAN's (1609.05473) recurrent generator and critic of many windows, and a reader of captions.

    lstm          i, f, o = s(W x + U h + b),   g = tanh(W x + U h + b),   c <- f c + i g,   h <- o tanh(c)      (1)
    text_critic   max over places of relu(conv_w(x)) for each window w, side by side, then linear (1408.5882)    (2)
    reading       h <- h + gelu(conv_w(norm(h))), some times                                                     (3)
    pooled        the greatest over places, wherever in the text a word stands (1408.5882)                       (4)
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nets.base import Net, Walk, as_net
from genjax.nets.conv import Conv


def lstm(levels: int, parts: int, *, width: int = 32, embedding: int = 32) -> Net:
    """Causal Net (tokens (B, *places), condition) -> (B, *places, parts), with a `walk` that keeps c and h.

    Fed [start, x_1 .. x_{T-1}], it answers at the places of [x_1 .. x_T], as `gpt` does; any number of places.

    Args:
      levels: tokens are 0 .. levels - 1.
      parts: outputs a place, `levels` of them where they are logits.
      width: of the state.
      embedding: of a token. A condition (B, C), where given, is added to that of the start.
    """
    module = _LSTM(levels, parts, width, embedding)
    return as_net(module)._replace(walk=_walk(module))


class _LSTM(nn.Module):
    levels: int
    parts: int
    width: int
    embedding: int

    def setup(self) -> None:
        self.token = nn.Embed(self.levels, self.embedding)
        self.first = self.param("start", nn.initializers.normal(0.02), (self.embedding,))
        self.condition = nn.Dense(self.embedding, use_bias=False)
        self.cell = nn.OptimizedLSTMCell(self.width)
        self.along = nn.RNN(self.cell)
        self.head = nn.Dense(self.parts)

    def __call__(self, tokens: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        flat = tokens.reshape(len(tokens), -1)
        x = jnp.concatenate([self.opening(len(tokens), condition)[:, None], self.token(flat[:, :-1])], axis=1)
        return self.head(self.along(x)).reshape(*tokens.shape, self.parts)  # 1

    def opening(self, size: int, condition: jax.Array | None) -> jax.Array:
        start = jnp.broadcast_to(self.first, (size, self.embedding))
        return start if condition is None else start + self.condition(condition)

    def one(self, carry: Any, place: jax.Array, token: jax.Array, start: jax.Array) -> tuple[Any, jax.Array]:
        carry, h = self.cell(carry, jnp.where(place > 0, self.token(token), start))
        return carry, self.head(h)


def _walk(module: _LSTM) -> Walk:
    def walk(params: Any, size: int, places: Sequence[int], condition: jax.Array | None = None) -> tuple[Any, Callable]:
        del places
        call = partial(module.apply, {"params": params})
        start = call(size, condition, method="opening")
        empty = jnp.zeros((size, module.width), start.dtype)
        return (empty, empty), lambda carry, place, token: call(carry, place, token, start, method="one")

    return walk


def reading(levels: int, parts: int, *, width: int = 64, depth: int = 3, window: int = 5) -> Net:
    """Net tokens (B, *places) -> (B, *places, parts): of short texts in letters, whose words it knows at any place.

    Args:
      levels: tokens are 0 .. levels - 1.
      parts: outputs a place.
      width: of the layers.
      depth: of them; a place sees (window - 1) depth / 2 letters to either side.
      window: letters that a layer sees at once.
    """
    return as_net(_Reading(levels, parts, width, depth, window))


class _Reading(nn.Module):
    levels: int
    parts: int
    width: int
    depth: int
    window: int

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        h = nn.Embed(self.levels, self.width)(tokens.reshape(len(tokens), -1))
        for _ in range(self.depth):
            h = h + nn.gelu(Conv(self.width, self.window)(nn.RMSNorm()(h)))  # 3
        return nn.Dense(self.parts)(nn.RMSNorm()(h)).reshape(*tokens.shape, self.parts)


def pooled(net: Net) -> Net:
    """Net (tokens (B, *places), ...) -> (B, parts): the most that a network says of each part at any place."""

    def apply(params: Any, *inputs: jax.Array) -> jax.Array:
        h = net.apply(params, *inputs)
        return h.reshape(len(h), -1, h.shape[-1]).max(axis=1)  # 4

    return net._replace(apply=apply, walk=None)


def text_critic(levels: int, *, windows: Sequence[int] = (1, 2, 3, 4, 5), features: int = 64, embedding: int = 32) -> Net:
    """Net tokens (B, *places) -> (B,) logits.

    Args:
      levels: tokens are 0 .. levels - 1.
      windows: how many neighbouring tokens a feature sees.
      features: of each window.
      embedding: of a token.
    """
    return as_net(_TextCritic(levels, tuple(windows), features, embedding))


class _TextCritic(nn.Module):
    levels: int
    windows: tuple[int, ...]
    features: int
    embedding: int

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        h = nn.Embed(self.levels, self.embedding)(tokens.reshape(len(tokens), -1).astype(jnp.int32))  # batches may hold floats
        seen = [nn.relu(Conv(self.features, window)(h)).max(1) for window in self.windows]
        return nn.Dense(1)(jnp.concatenate(seen, axis=-1))[:, 0]  # 2
