"""Densities that several families share. Every log-density is in nats, summed over all axes but the first: (B, ...) -> (B,).

A `Likelihood` turns the last layer of a decoder into a distribution of data. `theta` is that layer's output, of the data's
shape with `parts` times its channels.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Likelihood(NamedTuple):
    """p(x | theta)."""

    parts: int  # how many numbers describe one dimension of x
    log_prob: Callable[[jax.Array, jax.Array], jax.Array]  # (theta, x) -> (B,) nats
    mean: Callable[[jax.Array], jax.Array]  # theta -> E[x]
    draw: Callable[[jax.Array, jax.Array], jax.Array]  # (keys (B,), theta) -> x
    log_mass: Callable[[jax.Array], jax.Array] | None = None  # theta -> (*x.shape, levels): log p of x = k / (levels - 1)


class LatentCode(NamedTuple):
    """A model p(x) = int p(x | z) N(z; 0, I) dz laid open to an entropy coder: see `genjax.compress`."""

    latent: tuple[int, ...]  # shape of one z
    posterior: Callable[..., tuple[jax.Array, jax.Array]]  # (params, x, y=None) -> mean, scale of q(z | x), each (B, *latent)
    log_mass: Callable[..., jax.Array] | None = None  # (params, z, y=None) -> (B, *x, levels); None for continuous data


def flat_sum(values: jax.Array) -> jax.Array:
    """Sum over all axes but the first."""
    return values.reshape(values.shape[0], -1).sum(axis=1)


def normal_log_prob(x: jax.Array, mean: jax.Array | float = 0.0, log_scale: jax.Array | float = 0.0) -> jax.Array:
    """(B,) nats of independent normals, or of the standard normal."""
    z = (x - mean) * jnp.exp(-log_scale)
    return flat_sum(-0.5 * z**2 - log_scale - 0.5 * jnp.log(2 * jnp.pi))


def normal_kl(mean: jax.Array, log_scale: jax.Array) -> jax.Array:
    """KL(N(mean, scale^2) || N(0, 1)) of every dimension, nats, unsummed."""
    return 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1.0) - log_scale


def bernoulli() -> Likelihood:
    """Binary data, x in {0, 1} (or its expectation in [0, 1]); theta: logits."""

    def log_prob(logits, x):  # x log s(l) + (1 - x) log(1 - s(l)) = x l - softplus(l)
        return flat_sum(x * logits - jax.nn.softplus(logits))

    def draw(keys, logits):
        return jax.vmap(jax.random.bernoulli)(keys, jax.nn.sigmoid(logits)).astype(jnp.float32)

    def log_mass(logits):
        return jnp.stack([jax.nn.log_sigmoid(-logits), jax.nn.log_sigmoid(logits)], axis=-1)

    return Likelihood(1, log_prob, jax.nn.sigmoid, draw, log_mass)


def gaussian(scale: float | None = None) -> Likelihood:
    """Continuous data; theta: the mean and, where `scale` is None, the log standard deviation of every dimension."""

    def split(theta):
        return (theta, jnp.log(scale)) if scale is not None else jnp.split(theta, 2, axis=-1)

    def draw(keys, theta):
        mean, log_scale = split(theta)
        return mean + jnp.exp(log_scale) * jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:]))(keys)

    return Likelihood(
        1 if scale is not None else 2, lambda theta, x: normal_log_prob(x, *split(theta)), lambda theta: split(theta)[0], draw
    )


def laplace(scale: float) -> Likelihood:
    """Continuous data by their absolute error; theta: the mean, which is the median too."""

    def log_prob(theta, x):
        return flat_sum(-jnp.abs(x - theta) / scale - jnp.log(2 * scale))

    def draw(keys, theta):
        return theta + scale * jax.vmap(lambda key: jax.random.laplace(key, theta.shape[1:]))(keys)

    return Likelihood(1, log_prob, lambda theta: theta, draw)


def discretized_logistic(levels: int = 256) -> Likelihood:
    """Discrete data on the grid k / (levels - 1), k = 0 .. levels - 1 (1701.05517, one component): a logistic integrated over
    the bin of each level, the outermost bins reaching to infinity, so the probabilities sum to 1. theta: mean, log scale.
    """
    bin_width = 1.0 / (levels - 1)

    def split(theta):
        mean, log_scale = jnp.split(theta, 2, axis=-1)
        return mean + 0.5, jnp.maximum(log_scale - 2.0, -7.0)  # a zero network predicts mid-grey, about 30 levels wide

    def level_log_prob(mean, log_scale, x):
        upper = (x + bin_width / 2 - mean) * jnp.exp(-log_scale)
        lower = (x - bin_width / 2 - mean) * jnp.exp(-log_scale)
        return log_sigmoid_difference(
            jnp.where(x > 1 - bin_width / 2, jnp.inf, upper), jnp.where(x < bin_width / 2, -jnp.inf, lower))

    def log_prob(theta, x):
        return flat_sum(level_log_prob(*split(theta), x))

    def log_mass(theta):
        mean, log_scale = split(theta)
        return level_log_prob(mean[..., None], log_scale[..., None], jnp.arange(levels) * bin_width)

    def draw(keys, theta):
        mean, log_scale = split(theta)
        x = mean + jnp.exp(log_scale) * jax.vmap(lambda key: jax.random.logistic(key, mean.shape[1:]))(keys)
        return jnp.clip(jnp.round(x / bin_width), 0, levels - 1) * bin_width

    return Likelihood(2, log_prob, lambda theta: jnp.clip(split(theta)[0], 0.0, 1.0), draw, log_mass)


def log_sigmoid_difference(upper: jax.Array, lower: jax.Array) -> jax.Array:
    """log(sigmoid(upper) - sigmoid(lower)) for upper > lower, exact in both tails and at infinite ends.

    sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)).
    """
    u, l = jnp.where(jnp.isinf(upper), 0.0, upper), jnp.where(jnp.isinf(lower), 0.0, lower)  # no NaN in the gradient
    log_u = jnp.where(jnp.isinf(upper), 0.0, jax.nn.log_sigmoid(u))
    log_l = jnp.where(jnp.isinf(lower), 0.0, jax.nn.log_sigmoid(-l))
    ends = jnp.isinf(upper) | jnp.isinf(lower)
    gap = jnp.where(ends, 1.0, u - l)
    return log_u + log_l + jnp.where(ends, 0.0, jnp.log(-jnp.expm1(-gap)))
