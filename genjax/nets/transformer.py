"""Transformers (1706.03762), causal or not: pre-normalized blocks, scanned over depth, attention through
`jax.nn.dot_product_attention` on a GPU, so that it may choose its own kernel.

    h <- h + attention(norm(h))         h <- h + mlp(norm(h))

A causal one is fed [prefix, start, x_1 .. x_{T-1}] and answers at the places of [x_1 .. x_T]. Conditions: an array (B, C) of
numbers is added to the start, integers (B, L) are a prefix of tokens that every place sees.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nets.base import Net, as_walking_net


def gpt(
    levels: int,
    parts: int,
    context: int,
    *,
    width: int = 128,
    depth: int = 4,
    heads: int = 4,
    rotary: bool = True,
    norm: Callable[[], nn.Module] = nn.RMSNorm,
    bias: bool = False,
    remat: bool = False,
    prefix_levels: int = 0,
) -> Net:
    """Causal Net (tokens (B, *places), condition) -> (B, *places, parts), with a `walk` that keeps keys and values.

    Args:
      levels: tokens are 0 .. levels - 1.
      parts: outputs a place, `levels` of them where they are logits.
      context: the most places there can be, a prefix included.
      width, depth, heads: of the blocks; the hidden layer of their MLPs is 4 times as wide.
      rotary: turn queries and keys by their place (2104.09864) rather than add learned positions.
      norm: what normalizes; `partial(nn.LayerNorm, epsilon=1e-5)` with `bias=True` and `rotary=False` is GPT-2.
      bias: of the dense layers.
      remat: recompute the blocks' insides in the backward pass, to save memory.
      prefix_levels: tokens of a prefix are 0 .. prefix_levels - 1; 0 for none.
    """
    if width % heads or (rotary and width // heads % 2):
        raise ValueError(
            f"width {width} must divide over {heads} heads" + (", each of even width for rotary" if rotary else "")
        )
    return as_walking_net(_GPT(levels, parts, context, width, depth, heads, rotary, norm, bias, remat, prefix_levels))


class _GPT(nn.Module):
    levels: int
    parts: int
    context: int
    width: int
    depth: int
    heads: int
    rotary: bool
    norm: Callable[[], nn.Module]
    bias: bool
    remat: bool
    prefix_levels: int

    def setup(self) -> None:
        embed = partial(nn.Embed, features=self.width, embedding_init=nn.initializers.normal(0.02))
        self.token = embed(self.levels)
        self.first = self.param("start", nn.initializers.normal(0.02), (self.width,))
        self.prefix = embed(self.prefix_levels) if self.prefix_levels else None
        self.position = None if self.rotary else embed(self.context)
        self.condition = nn.Dense(self.width, use_bias=False)
        block = nn.remat(Block, prevent_cse=False) if self.remat else Block
        stack = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast),
            out_axes=0,
            length=self.depth,
        )
        self.blocks = stack(self.heads, self.rotary, self.norm, self.bias)
        self.last_norm = self.norm()
        self.head = nn.Dense(self.parts, use_bias=self.bias)

    def __call__(self, tokens: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        size, places = tokens.shape[0], tokens.shape[1:]
        flat = tokens.reshape(size, -1)
        h, before = self.opening(size, condition)
        self.fits(before + flat.shape[1] - 1)
        h = jnp.concatenate([h, self.token(flat[:, :-1])], axis=1)
        h, _ = self.blocks(self.placed(h, 0), None, None)
        return self.head(self.last_norm(h[:, before - 1 :])).reshape(size, *places, self.parts)

    def opening(self, size: int, condition: jax.Array | None) -> tuple[jax.Array, int]:
        """(B, L + 1, width) embeddings of the prefix and the start, and L + 1."""
        start = jnp.broadcast_to(self.first, (size, 1, self.width))
        if condition is None:
            return start, 1
        if not jnp.issubdtype(condition.dtype, jnp.integer):
            return start + self.condition(condition)[:, None], 1
        if self.prefix is None:
            raise ValueError("this transformer was given integers as a condition, but knows no prefix: set prefix_levels")
        return jnp.concatenate([self.prefix(condition), start], axis=1), condition.shape[1] + 1

    def placed(self, h: jax.Array, at: Any) -> jax.Array:
        return h if self.rotary else h + self.position(at + jnp.arange(h.shape[1]))

    def fits(self, length: int) -> None:
        if length > self.context:
            raise ValueError(
                f"prefix and places take {length} slots, but context={self.context}; make it larger or cut the prefix"
            )

    def begin(self, size: int, places: Sequence[int], condition: jax.Array | None = None) -> Any:
        """Keys and values of prefix and start, room for the rest, and what the first place is read off."""
        h, before = self.opening(size, condition)
        length = before + prod(places) - 1
        self.fits(length)
        shape = (self.depth, size, length, self.heads, self.width // self.heads)
        cache = (jnp.zeros(shape, h.dtype), jnp.zeros(shape, h.dtype))
        h, cache = self.blocks(self.placed(h, 0), cache, 0)
        return cache, before, h[:, -1]

    def step(self, state: Any, place: jax.Array, token: jax.Array) -> tuple[Any, jax.Array]:
        """The place's output; at the first one it is known already, and the token is ignored."""
        cache, before, first = state

        def go_on(cache):
            at = before + place - 1
            h, cache = self.blocks(self.placed(self.token(token)[:, None], at), cache, at)
            return cache, h[:, 0]

        cache, h = jax.lax.cond(place > 0, go_on, lambda cache: (cache, first), cache)
        return (cache, before, first), self.head(self.last_norm(h))


class Block(nn.Module):
    """Attention and MLP. With a cache, the places from `at` on are written into it and see all before them."""

    heads: int
    rotary: bool
    norm: Callable[[], nn.Module]
    bias: bool

    @nn.compact
    def __call__(self, h: jax.Array, cache: Any, at: Any) -> tuple[jax.Array, Any]:
        def dense(features: int, name: str) -> Callable[[jax.Array], jax.Array]:
            layer = nn.Dense(
                features, use_bias=self.bias, name=name
            )  # over rows: more axes cost XLA's CPU gradient twice the time
            return lambda h: layer(h.reshape(-1, h.shape[-1])).reshape(*h.shape[:-1], features)

        width, shape = h.shape[-1], (*h.shape[:-1], self.heads, h.shape[-1] // self.heads)
        q, k, v = (part.reshape(shape) for part in jnp.split(dense(3 * width, "qkv")(self.norm()(h)), 3, axis=-1))
        if self.rotary:
            q, k = (turn(part, (0 if at is None else at) + jnp.arange(h.shape[1])) for part in (q, k))
        if cache is None:
            mixed = attention(q, k, v)
        else:
            cache = tuple(jax.lax.dynamic_update_slice_in_dim(old, new, at, 1) for old, new in zip(cache, (k, v), strict=True))
            seen = jnp.arange(cache[0].shape[1]) <= at + jnp.arange(h.shape[1])[:, None]
            mixed = attention(q, *cache, seen)
        h = h + dense(width, "out")(mixed.reshape(h.shape))
        inner = nn.gelu(dense(4 * width, "up")(self.norm()(h)))
        return h + dense(width, "down")(inner), cache


def attention(q: jax.Array, k: jax.Array, v: jax.Array, seen: jax.Array | None = None) -> jax.Array:
    """softmax(q k' / sqrt(C)) v over the places that are `seen` (T, S), else those up to its own.

    q is (B, T, heads, C), k and v are (B, S, heads, C). On a CPU heads come before places, where its matrix products are two
    to three times as fast.
    """

    def on_cpu(q, k, v):
        q, k, v = (part.swapaxes(1, 2) for part in (q, k, v))
        scores = q @ k.swapaxes(2, 3) / q.shape[-1] ** 0.5
        mask = jnp.tril(jnp.ones(scores.shape[2:], bool)) if seen is None else seen
        weights = jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min), axis=-1)
        return (weights @ v).swapaxes(1, 2)

    def elsewhere(q, k, v):
        mask = None if seen is None else seen[None, None]
        return jax.nn.dot_product_attention(q, k, v, mask=mask, is_causal=seen is None)

    return jax.lax.platform_dependent(q, k, v, cpu=on_cpu, default=elsewhere)


def turn(x: jax.Array, places: jax.Array) -> jax.Array:
    """Rotary positions (2104.09864): x (B, T, heads, C), pairs of channels turned by place times a falling frequency."""
    half = x.shape[-1] // 2
    angle = places[:, None] * 10000.0 ** (-jnp.arange(half) / half)
    cos, sin = jnp.cos(angle)[:, None], jnp.sin(angle)[:, None]
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x.dtype)
