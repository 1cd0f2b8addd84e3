"""Transformers (1706.03762), causal or not: pre-normalized blocks, scanned over depth, attention through
`jax.nn.dot_product_attention` on a GPU, so that it may choose its own kernel.

    h <- h + attention(norm(h))         h <- h + mlp(norm(h))

A causal one is fed [prefix, start, x_1 .. x_{T-1}] and answers at the places of [x_1 .. x_T]. Conditions: an array (B, C) of
numbers is added to the start, integers (B, L) are a prefix of tokens that every place sees.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from operator import itemgetter
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nets.base import Net, Walk, as_net

BLOCK = 64  # queries
PARTS = 2  # of a sum over channels


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
    unroll: int = 1,
    prefix_levels: int = 0,
) -> Net:
    """Causal Net (tokens (B, *places), condition) -> (B, *places, parts), with a `walk` that keeps keys and values.

    Args:
      levels: tokens are 0 .. levels - 1; 0 where they are real numbers.
      parts: outputs a place, `levels` of them where they are logits.
      context: the most places there can be, a prefix included.
      width, depth, heads: of the blocks; the hidden layer of their MLPs is 4 times as wide.
      rotary: turn queries and keys by their place (2104.09864) rather than add learned positions.
      norm: what normalizes; `partial(nn.LayerNorm, epsilon=1e-5)` with `bias=True` and `rotary=False` is GPT-2.
      bias: of the dense layers.
      remat: recompute the blocks' insides in the backward pass, to save memory.
      unroll: blocks written out in one turn of the scan; `depth` compiles longer and on a CPU steps a sixth faster.
      prefix_levels: tokens of a prefix are 0 .. prefix_levels - 1; 0 for none.
    """
    if width % heads or (rotary and width // heads % 2):
        raise ValueError(
            f"width {width} must divide over {heads} heads" + (", each of even width for rotary" if rotary else "")
        )
    module = _GPT(levels, parts, context, width, depth, heads, rotary, norm, bias, remat, unroll, prefix_levels)
    return as_net(module)._replace(walk=_walk(module))


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
    unroll: int
    prefix_levels: int

    def setup(self) -> None:
        embed = partial(nn.Embed, features=self.width, embedding_init=nn.initializers.normal(0.02))
        self.token = embed(self.levels) if self.levels else OfReals(self.width)
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
            unroll=self.unroll,
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
        return self.answer(h[:, before - 1 :]).reshape(size, *places, self.parts)

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

    def one(self, token: jax.Array, place: jax.Array, start: jax.Array, before: int) -> jax.Array:
        """(B, 1, width) what the blocks see to answer at a place: the token before it, at the first place the start."""
        return self.placed(jnp.where(place > 0, self.token(token)[:, None], start), before - 1 + place)

    def answer(self, h: jax.Array) -> jax.Array:
        return self.head(self.last_norm(h))


def _walk(module: _GPT) -> Walk:
    """Keys and values are kept, layer by layer; layers are taken out of their stack once, not at every place."""
    block = Block(module.heads, module.rotary, module.norm, module.bias)

    def walk(params: Any, size: int, places: Sequence[int], condition: jax.Array | None = None) -> tuple[Any, Callable]:
        call = partial(module.apply, {"params": params})
        layers = [jax.tree.map(itemgetter(number), params["blocks"]) for number in range(module.depth)]

        def through(h, caches, at):
            kept = []
            for layer, cache in zip(layers, caches, strict=True):
                h, cache = block.apply({"params": layer}, h, cache, at)
                kept.append(cache)
            return h, kept

        def step(caches, place, token):
            h, caches = through(call(token, place, start, before, method="one"), caches, before - 1 + place)
            return caches, call(h[:, 0], method="answer")

        opening, before = call(size, condition, method="opening")
        length, start = before + prod(places) - 1, opening[:, -1:]
        module.fits(length)
        empty = jnp.zeros((size * module.heads, length, module.width // module.heads), opening.dtype)
        caches = [(empty, empty)] * module.depth
        if before > 1:
            _, caches = through(call(opening[:, :-1], 0, method="placed"), caches, 0)
        return caches, step

    return walk


def encoder(
    levels: int,
    parts: int,
    context: int,
    *,
    width: int = 128,
    depth: int = 4,
    heads: int = 4,
    norm: Callable[[], nn.Module] = nn.RMSNorm,
    unroll: int = 1,
) -> Net:
    """Net (tokens (B, *places), condition) -> (B, *places, parts) that sees all places: of masked tokens, or of a text.

    Args:
      levels, parts, width, depth, heads, norm, unroll: as of `gpt`; the condition (B, C), where given, is added everywhere.
      context: the most places there can be; positions are learned.
    """
    if width % heads:
        raise ValueError(f"width {width} must divide over {heads} heads")
    return as_net(_Encoder(levels, parts, context, width, depth, heads, norm, unroll))


class _Encoder(nn.Module):
    levels: int
    parts: int
    context: int
    width: int
    depth: int
    heads: int
    norm: Callable[[], nn.Module]
    unroll: int

    @nn.compact
    def __call__(self, tokens: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        flat = tokens.reshape(len(tokens), -1)
        if flat.shape[1] > self.context:
            raise ValueError(f"{flat.shape[1]} places, but context={self.context}; make it larger or cut the text")
        small = nn.initializers.normal(0.02)
        h = nn.Embed(self.levels, self.width, embedding_init=small, name="token")(flat)
        h = h + self.param("position", small, (self.context, self.width))[: flat.shape[1]]
        if condition is not None:
            h = h + nn.Dense(self.width, use_bias=False, kernel_init=small, name="condition")(condition)[:, None]
        axes = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}, "in_axes": (nn.broadcast, nn.broadcast)}
        stack = nn.scan(Block, length=self.depth, unroll=self.unroll, **axes)
        h, _ = stack(self.heads, False, self.norm, False, causal=False, name="blocks")(h, None, None)
        return nn.Dense(self.parts, name="head")(self.norm()(h)).reshape(*tokens.shape, self.parts)


class OfReals(nn.Module):
    """The embedding of real numbers (...) as (..., width)."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(self.width)(x[..., None])


class Block(nn.Module):
    """Attention and MLP. With a cache, the places from `at` on are written into it and see all before them.

    A cache is keys and values (B heads, places, C): with more axes a CPU copies it at every place.
    """

    heads: int
    rotary: bool
    norm: Callable[[], nn.Module]
    bias: bool
    causal: bool = True

    @nn.compact
    def __call__(self, h: jax.Array, cache: Any, at: Any) -> tuple[jax.Array, Any]:
        def dense(features: int, name: str) -> Callable[[jax.Array], jax.Array]:
            product = jax.lax.dot_general if cache is None else of_few_rows
            layer = nn.Dense(features, use_bias=self.bias, name=name, dot_general=product)
            # over rows: on a CPU more axes double the gradient's time
            return lambda h: layer(h.reshape(-1, h.shape[-1])).reshape(*h.shape[:-1], features)

        width, shape = h.shape[-1], (*h.shape[:-1], self.heads, h.shape[-1] // self.heads)
        q, k, v = (part.reshape(shape) for part in jnp.split(dense(3 * width, "qkv")(self.norm()(h)), 3, axis=-1))
        if self.rotary:
            q, k = (turn(part, (0 if at is None else at) + jnp.arange(h.shape[1])) for part in (q, k))
        if cache is None:
            mixed = attention(q, k, v, self.causal)
        else:
            q, k, v = (part.swapaxes(1, 2).reshape(-1, part.shape[1], part.shape[3]) for part in (q, k, v))
            cache = tuple(jax.lax.dynamic_update_slice_in_dim(*parts, at, 1) for parts in zip(cache, (k, v), strict=True))
            mixed = _attend(q, *cache, at).reshape(len(h), self.heads, -1, q.shape[2]).swapaxes(1, 2)
        h = h + dense(width, "out")(mixed.reshape(h.shape))
        inner = nn.gelu(dense(4 * width, "up")(self.norm()(h)))
        return h + dense(width, "down")(inner), cache


def of_few_rows(x: jax.Array, w: jax.Array, *how: Any, **more: Any) -> jax.Array:
    """x @ w; a single row in parts of the sum, which the cores of a CPU take side by side: it only reads the weights."""
    plain = lambda x, w: jax.lax.dot_general(x, w, *how, **more)
    if len(x) > 1 or x.shape[1] % PARTS:
        return plain(x, w)
    in_parts = lambda x, w: (x.reshape(PARTS, 1, -1) @ w.reshape(PARTS, -1, w.shape[1])).sum(0)
    return jax.lax.platform_dependent(x, w, cpu=in_parts, default=plain)


def attention(q: jax.Array, k: jax.Array, v: jax.Array, causal: bool = True) -> jax.Array:
    """softmax(q k' / sqrt(C)) v, over the places up to each one's own or over all; q, k and v are (B, T, heads, C).

    On a CPU heads come before places, where its matrix products are two to three times as fast, and a few queries are
    answered at a time: their scores stay in the cache, and of causal ones those that nobody sees are left out.
    """

    def on_cpu(q, k, v):
        q, k, v = (part.swapaxes(1, 2) for part in (q, k, v))
        ends = [min(at + BLOCK, k.shape[2]) if causal else k.shape[2] for at in range(0, q.shape[2], BLOCK)]
        some = [_attend(q[:, :, at : at + BLOCK], k[:, :, :end], v[:, :, :end], at if causal else end)
                for at, end in zip(range(0, q.shape[2], BLOCK), ends, strict=True)]  # fmt: skip
        return jnp.concatenate(some, axis=2).swapaxes(1, 2)

    elsewhere = partial(jax.nn.dot_product_attention, is_causal=causal)
    return jax.lax.platform_dependent(q, k, v, cpu=on_cpu, default=elsewhere)


def _attend(q: jax.Array, k: jax.Array, v: jax.Array, at: Any) -> jax.Array:
    """The same, heads before places: q (..., T, C), k and v (..., S, C). Query t sees the places up to at + t."""
    scores = q @ k.swapaxes(-2, -1) / q.shape[-1] ** 0.5
    seen = jnp.arange(k.shape[-2]) <= at + jnp.arange(q.shape[-2])[:, None]
    return jax.nn.softmax(jnp.where(seen, scores, jnp.finfo(scores.dtype).min), axis=-1) @ v


def turn(x: jax.Array, places: jax.Array) -> jax.Array:
    """Rotary positions (2104.09864): x (B, T, heads, C), pairs of channels turned by place times a falling frequency."""
    half = x.shape[-1] // 2
    angle = places[:, None] * 10000.0 ** (-jnp.arange(half) / half)
    cos, sin = jnp.cos(angle)[:, None], jnp.sin(angle)[:, None]
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x.dtype)
