"""What an autoregressive network says of one place: a distribution to score and to draw from.

bernoulli     the logit of a token that is 1 rather than 0
categorical   logits of integer tokens, sampled at a temperature, from the top k or the top p of the mass (1904.09751)
normals       a mixture of normal densities of one real number
logistics     a mixture of discretized logistics over the channels of a pixel, G given R, B given R and G (1701.05517)
"""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.densities import log_sigmoid_difference


class Head(NamedTuple):
    """p(x_place | theta_place). theta (..., parts) for each place; a place is one token, or one pixel with all its channels."""

    parts: int
    pixel: bool  # a place holds the last axis of x
    start: Callable[[jax.Array], jax.Array]  # x as batches hold it -> what the network is fed
    finish: Callable[[jax.Array], jax.Array]  # back
    log_prob: Callable[[jax.Array, jax.Array], jax.Array]  # (theta (..., parts), x (...)) -> (...) nats of each place
    draw: Callable[[jax.Array, jax.Array], jax.Array]  # (key, theta (parts,)) -> one place


def categorical(
    levels: int,
    *,
    grid: bool = True,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    inverse: bool = False,
) -> Head:
    """Tokens 0 .. levels - 1.

    Args:
      levels: how many tokens there are.
      grid: batches hold token k as k / (levels - 1), as `data.unit` makes them; False where they hold the integers.
      temperature, top_k, top_p: of sampling; 1, 0 and 1 sample the model itself.
      inverse: draw by two random numbers a token rather than one for each level, for thousands of them; other samples of a key.
    """

    def start(x: jax.Array) -> jax.Array:  # what is no number becomes a token out of range, whose probability is NaN
        tokens = jnp.where(jnp.isfinite(x), jnp.round(x * (levels - 1)), levels) if grid else x
        return within(tokens.astype(jnp.int32), levels)

    finish = (lambda tokens: tokens / (levels - 1)) if grid else (lambda tokens: tokens)

    def log_prob(logits: jax.Array, tokens: jax.Array) -> jax.Array:
        of_token = jnp.take_along_axis(logits, tokens[..., None], axis=-1, mode="fill")[..., 0]
        return of_token - jax.nn.logsumexp(logits, axis=-1)

    def draw(key: jax.Array, logits: jax.Array) -> jax.Array:
        return (by_inverse if inverse else jax.random.categorical)(key, likeliest(logits / temperature, top_k, top_p))

    if temperature <= 0 or not 0 < top_p <= 1 or not 0 <= top_k <= levels:
        raise ValueError(f"sampling needs temperature > 0, 0 < top_p <= 1 and top_k of 0 .. {levels}, "
                         f"not {temperature}, {top_p}, {top_k}")  # fmt: skip
    return Head(levels, False, start, finish, log_prob, draw)


def within(tokens: jax.Array, levels: int) -> jax.Array:
    """The tokens. One that is out of range is a ValueError, in compiled code `levels`, whose probability is NaN."""
    wrong = (tokens < 0) | (tokens >= levels)
    if not isinstance(wrong, jax.core.Tracer) and wrong.any():
        raise ValueError(f"token {tokens[wrong][0]} is out of range: this head has levels={levels}, tokens 0 .. {levels - 1}")
    return jnp.where(wrong, levels, tokens)


def bernoulli(*, grid: bool = True, temperature: float = 1.0) -> Head:
    """Tokens 0 and 1 by one logit: `categorical(2)` at half the outputs."""
    tokens = categorical(2, grid=grid, temperature=temperature)

    def log_prob(logit: jax.Array, token: jax.Array) -> jax.Array:
        of_token = -jax.nn.softplus(jnp.where(token == 1, -1.0, 1.0) * logit[..., 0])
        return jnp.where((token == 0) | (token == 1), of_token, jnp.nan)

    def draw(key: jax.Array, logit: jax.Array) -> jax.Array:
        return jax.random.bernoulli(key, jax.nn.sigmoid(logit[0] / temperature)).astype(jnp.int32)

    return tokens._replace(parts=1, log_prob=log_prob, draw=draw)


def by_inverse(key: jax.Array, logits: jax.Array) -> jax.Array:
    """A token by the inverse of the distribution function: a block of about the root of all levels, then one inside of it."""
    width = ceil(len(logits) ** 0.5)
    mass = jnp.pad(jnp.exp(logits - logits.max()), (0, -len(logits) % width)).reshape(-1, width)
    u, v = jax.random.uniform(key, (2,))

    def chosen(mass: jax.Array, u: jax.Array) -> jax.Array:
        upto = jnp.cumsum(mass)
        return jnp.sum(upto <= u * upto[-1])  # u < 1, so never one without mass

    block = chosen(mass.sum(1), u)
    return block * width + chosen(mass[block], v)


def likeliest(logits: jax.Array, top_k: int = 0, top_p: float = 1.0) -> jax.Array:
    """Logits (levels,) with -inf for all but the k likeliest, and but the fewest likeliest that hold a mass of p."""
    if top_k:
        logits = jnp.where(logits < jax.lax.top_k(logits, top_k)[0][-1], -jnp.inf, logits)
    if top_p < 1:
        falling = jnp.sort(logits)[::-1]
        before = jnp.cumsum(jax.nn.softmax(falling)) - jax.nn.softmax(falling)  # mass of those that are likelier
        logits = jnp.where(logits < jnp.min(jnp.where(before < top_p, falling, jnp.inf)), -jnp.inf, logits)
    return logits


def normals(mixtures: int = 5) -> Head:
    """Real numbers, each a place of its own; nats are of a density. theta: log weights, means and log scales by mixture."""

    def split(theta):
        weights, means, log_scales = jnp.split(theta, 3, axis=-1)
        return jax.nn.log_softmax(weights), means, jnp.maximum(log_scales, -7.0)

    def log_prob(theta: jax.Array, x: jax.Array) -> jax.Array:
        weights, means, log_scales = split(theta)
        return jax.nn.logsumexp(weights + jax.scipy.stats.norm.logpdf(x[..., None], means, jnp.exp(log_scales)), axis=-1)

    def draw(key: jax.Array, theta: jax.Array) -> jax.Array:
        weights, means, log_scales = split(theta)
        which = jax.random.categorical(jax.random.fold_in(key, 0), weights)
        return means[which] + jnp.exp(log_scales[which]) * jax.random.normal(jax.random.fold_in(key, 1))

    same = lambda x: x
    return Head(3 * mixtures, False, same, same, log_prob, draw)


def logistics(levels: int = 256, channels: int = 3, mixtures: int = 10) -> Head:
    """Pixels k / (levels - 1) in [0, 1] of `channels`; the mean of each channel shifts linearly with those before it.

    theta: log weights (mixtures), then means, log scales and, for pairs of channels, slopes, all by mixture.
    """
    pairs = channels * (channels - 1) // 2
    half_bin = 1.0 / (levels - 1)  # x is scaled to [-1, 1], where a bin is twice as wide

    def split(theta):
        weights, rest = theta[..., :mixtures], theta[..., mixtures:]
        rest = rest.reshape(*theta.shape[:-1], 2 * channels + pairs, mixtures)
        log_scale = jnp.maximum(rest[..., channels : 2 * channels, :] - 2.0, -7.0)
        return weights, rest[..., :channels, :], log_scale, jnp.tanh(rest[..., 2 * channels :, :])

    def shifted(means, slopes, x):
        """Means (..., channels, mixtures) given the channels before each."""
        out, pair = [], 0
        for c in range(channels):
            mean = means[..., c, :]
            for before in range(c):
                mean = mean + slopes[..., pair, :] * x[..., before, None]
                pair += 1
            out.append(mean)
        return jnp.stack(out, axis=-2)

    def log_prob(theta: jax.Array, x: jax.Array) -> jax.Array:
        weights, means, log_scale, slopes = split(theta)
        means, x = shifted(means, slopes, x), x[..., None]
        upper, lower = ((x + side - means) * jnp.exp(-log_scale) for side in (half_bin, -half_bin))
        upper = jnp.where(x > 1.0 - half_bin, jnp.inf, upper)
        lower = jnp.where(x < -1.0 + half_bin, -jnp.inf, lower)
        each = log_sigmoid_difference(upper, lower).sum(-2)
        return jax.nn.logsumexp(each + jax.nn.log_softmax(weights), axis=-1)

    def draw(key: jax.Array, theta: jax.Array) -> jax.Array:
        weights, means, log_scale, slopes = split(theta)
        which = jax.random.categorical(jax.random.fold_in(key, 0), weights)
        noise = jax.random.logistic(jax.random.fold_in(key, 1), (channels,)) * jnp.exp(log_scale[:, which])
        x = jnp.zeros(channels)
        for c in range(channels):
            value = shifted(means, slopes, x)[c, which] + noise[c]
            x = x.at[c].set(jnp.clip(jnp.round((value + 1) / (2 * half_bin)), 0, levels - 1) * 2 * half_bin - 1)
        return x

    parts = mixtures * (1 + 2 * channels + pairs)
    return Head(parts, True, lambda x: 2.0 * x - 1.0, lambda x: (x + 1.0) / 2.0, log_prob, draw)
