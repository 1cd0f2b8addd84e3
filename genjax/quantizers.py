"""From vectors to integers and back: what a discrete autoencoder puts between its two halves.

    codebook   the nearest of K vectors, which follow the mean of what falls to them (1711.00937, appendix A.1)
    fsq        each channel bounded and rounded to one of L levels: nothing to learn (2309.15505)
    residual   several in a row, each on what the ones before left over (2107.03312)

Vectors are (..., C); codes are integers (...), or (..., depth) from `residual`.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.model import stream


class Quantizer(NamedTuple):
    """Vectors to codes and back. `target` is what learned vectors follow, None where there are none."""

    size: int  # codes are 0 .. size - 1
    init: Callable[..., Any]  # (key, z (N, C)) -> params
    encode: Callable[..., jax.Array]  # (params, z) -> codes
    decode: Callable[..., jax.Array]  # (params, codes) -> vectors
    target: Callable[..., Any] | None = None  # (params, key, z (N, C)) -> params that a step of rate 1 would set
    bounded: Callable[[jax.Array], jax.Array] = lambda z: z  # what `encode` rounds, where gradients pass
    depth: int = 0  # codes a vector; 0 for one without an axis of its own


def codebook(size: int, decay: float = 0.99, rounds: int = 10, dead: float = 0.03) -> Quantizer:
    """K vectors e_k = sum_k / count_k that follow the running sums and counts, per z, of the z nearest to them.

    Args:
      size: K.
      decay: of the running averages; the owner's phase steps with 1 - decay.
      rounds: of k-means on the first batch, from which the vectors start.
      dead: a code whose running count falls below this share of the even share is put on a random z of the batch.
    """

    def init(key: jax.Array, z: jax.Array) -> Any:
        if len(z) < size:
            raise ValueError(
                f"a codebook of {size} starts from as many vectors, but the batch has {len(z)}; take a smaller codebook"
            )
        start = z[jax.random.choice(stream(key, "start"), len(z), (size,), replace=False)]
        e, _ = jax.lax.scan(lambda e, _: (_means(z, e), None), start, length=rounds)
        count = jnp.maximum(_counts(_nearest(e, z), size), 1.0) / len(z)
        return {"sum": e * count[:, None], "count": count}

    def encode(params: Any, z: jax.Array) -> jax.Array:
        return _nearest(vectors(params), z)

    def target(params: Any, key: jax.Array, z: jax.Array) -> Any:
        one_hot = jax.nn.one_hot(_nearest(vectors(params), z), size, dtype=z.dtype)
        sums, count = one_hot.T @ z / len(z), one_hot.mean(0)
        rare = decay * params["count"] + (1.0 - decay) * count < dead / size
        fresh = z[jax.random.randint(stream(key, "revive"), (size,), 0, len(z))]
        jump = lambda old, new: old + (new - old) / (1.0 - decay)  # what a step of rate 1 - decay takes to `new` exactly
        return {
            "sum": jnp.where(rare[:, None], jump(params["sum"], fresh / size), sums),
            "count": jnp.where(rare, jump(params["count"], jnp.full_like(count, 1.0 / size)), count),
        }

    return Quantizer(size, init, encode, lambda params, codes: jnp.take(vectors(params), codes, axis=0, mode="fill"), target)


def vectors(params: Any) -> jax.Array:
    """(K, C) of a `codebook`'s parameters."""
    return params["sum"] / params["count"][:, None]


def _nearest(e: jax.Array, z: jax.Array) -> jax.Array:
    """(...) index of the nearest of the rows of e to each z (..., C); out of range where z is not finite, so that it shows."""
    nearest = jnp.argmin(jnp.sum(e**2, axis=-1) - 2.0 * z @ e.T, axis=-1)
    return jnp.where(jnp.isfinite(z).all(-1), nearest, len(e))


def _counts(codes: jax.Array, size: int) -> jax.Array:
    return jnp.zeros(size).at[codes].add(1.0)


def _means(z: jax.Array, e: jax.Array) -> jax.Array:
    """One round of k-means; a vector to which nothing falls stays."""
    one_hot = jax.nn.one_hot(_nearest(e, z), len(e), dtype=z.dtype)
    count = one_hot.sum(0)[:, None]
    return jnp.where(count > 0, one_hot.T @ z / jnp.maximum(count, 1.0), e)


def fsq(levels: Sequence[int] = (8, 5, 5, 5)) -> Quantizer:
    """Finite scalar quantization: channel i is one of levels[i] numbers in [-1, 1]; the codebook is their product."""
    steps = np.asarray(levels)
    if (steps < 3).any():  # with two, zero lies at the edge of both
        raise ValueError(f"fsq needs three levels or more in every channel, but levels={tuple(levels)}")
    half, basis = steps // 2, np.concatenate([[1], np.cumprod(steps[:-1])])
    width = (steps - 1) * (1 + 1e-3) / 2  # a little wider than the outermost level
    offset = np.where(steps % 2 == 0, 0.5, 0.0)

    def bounded(z: jax.Array) -> jax.Array:
        if z.shape[-1] != len(steps):
            raise ValueError(f"fsq of levels {tuple(levels)} quantizes {len(steps)} channels, but z is {z.shape}")
        return (jnp.tanh(z + np.arctanh(offset / width)) * width - offset) / half

    def encode(params: Any, z: jax.Array) -> jax.Array:
        del params
        codes = jnp.sum((jnp.round(bounded(z) * half) + half).astype(jnp.int32) * basis, axis=-1)
        return jnp.where(jnp.isfinite(z).all(-1), codes, prod(steps.tolist()))  # as in a codebook

    def decode(params: Any, codes: jax.Array) -> jax.Array:
        del params
        return (codes[..., None] // basis % steps - half) / half

    return Quantizer(prod(steps.tolist()), lambda key, z: {}, encode, decode, bounded=bounded)


def residual(parts: Sequence[Quantizer]) -> Quantizer:
    """The second quantizes what the first left over, and so on; vectors are sums. Codes gain a last axis of `len(parts)`."""
    if len({part.size for part in parts}) != 1 or any(part.target is None for part in parts):
        raise ValueError("residual takes codebooks of one size")
    names = [str(number) for number in range(len(parts))]

    def each(params: Any, z: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """(what is left, its code) at each part."""
        found = []
        for name, part in zip(names, parts, strict=True):
            codes = part.encode(params[name], z)
            found.append((z, codes))
            z = z - part.decode(params[name], codes)
        return found

    def init(key: jax.Array, z: jax.Array) -> Any:
        params = {}
        for name, part in zip(names, parts, strict=True):
            params[name] = part.init(stream(key, name), z)
            z = z - part.decode(params[name], part.encode(params[name], z))
        return params

    def encode(params: Any, z: jax.Array) -> jax.Array:
        return jnp.stack([codes for _, codes in each(params, z)], axis=-1)

    def decode(params: Any, codes: jax.Array) -> jax.Array:
        return sum(part.decode(params[name], codes[..., k]) for k, (name, part) in enumerate(zip(names, parts, strict=True)))

    def target(params: Any, key: jax.Array, z: jax.Array) -> Any:
        left = [rest for rest, _ in each(params, z)]
        return {n: part.target(params[n], stream(key, n), rest) for n, part, rest in zip(names, parts, left, strict=True)}

    return Quantizer(parts[0].size, init, encode, decode, target, depth=len(parts))
