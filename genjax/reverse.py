"""Likelihoods of what reverses a noising process: the variational bound of a chain, and the probability flow's density.

The bound (2006.11239, eq. 5) of a chain of T steps between t_0 = 0 and t_T, in nats:

    -log p(x_0) <= KL( q(x_T | x_0) || N(0, sigma_T^2) )                                                             (1)
                   + sum_{i > 1} E KL( q(x_{i-1} | x_i, x_0) || p(x_{i-1} | x_i) )                                   (2)
                   - E log p(x_0 | x_1)                                                                              (3)

The flow (2011.13456, section 4.3) in z = x / alpha and u = log(sigma / alpha) has no singular end:

    dz/du = z - x_0(z, u),      log p(x) = log N(z; 0, sigma / alpha) at its end + integral of D - tr(dx_0/dz) du    (4)

It is followed by Runge-Kutta's fourth-order rule in fixed steps: smooth in u, it needs no adaptive solver.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.densities import flat_sum, normal_log_prob
from genjax.schedules import Process, at, back, edges, time_of

Decoder = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # (x_0, mean, log_scale) -> (B,) nats; `normal_log_prob`, or
Predict = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array | float]]  # (x_t, t (B,)) -> (x_0, share of variance)


def discretized_normal(levels: int = 256) -> Decoder:
    """A normal integrated over the bins of data on the grid 2 k / (levels - 1) - 1, the outermost reaching to infinity."""
    half = 1.0 / (levels - 1)

    def log_prob(x, mean, log_scale):
        precision, far = jnp.exp(-log_scale), 1e3
        upper = jnp.where(x > 1 - half, far, (x + half - mean) * precision)
        lower = jnp.where(x < half - 1, -far, (x - half - mean) * precision)
        flip = lower + upper > 0  # work in the left tail, where logarithms of the normal's integral keep their digits
        upper, lower = jnp.where(flip, -lower, upper), jnp.where(flip, -upper, lower)
        log_upper = jax.scipy.stats.norm.logcdf(upper)
        return flat_sum(log_upper + jnp.log(-jnp.expm1(jax.scipy.stats.norm.logcdf(lower) - log_upper)))

    return log_prob


# ---- the bound -----------------------------------------------------------------------------------------------------------


def chain_time(process: Process, number: jax.Array, chain: int) -> jax.Array:
    """t_i: 0, then evenly up to the end of the span."""
    low, high = process.span
    return jnp.where(number > 0, low + (high - low) * number / chain, 0.0)


def prior_term(process: Process, x: jax.Array) -> jax.Array:
    """(1): (B,) nats."""
    end = at(process, process.span[1])
    return flat_sum(0.5 * (end.alpha * x / end.sigma) ** 2)


def chain_term(
    process: Process, chain: int, number: jax.Array, x: jax.Array, noise: jax.Array, predict: Predict, decoder: Decoder
) -> jax.Array:
    """(2), or (3) where `number` is 1, of one step of the chain for each example, for the given noise.

    Args:
      chain: T, 2 at least.
      number: (B,) integers i in 1 .. T.
      x, noise: (B, ...).
      predict: (x_t, t) -> (x_0, share), the share as in `Back.between`.

    Returns:
      (B,) nats; the bound is minus their sum over i and minus `prior_term`.
    """
    i = number.reshape(-1, *[1] * (x.ndim - 1))
    level = lambda i: at(process, chain_time(process, i, chain))
    now, later = level(i), jnp.maximum(i, 2)  # of the first step `small` is 0: that of the second stands in (section 3.2)
    q = back(now, level(i - 1))
    clean, share = predict(now.alpha * x + now.sigma * noise, chain_time(process, number, chain))
    log_small, log_large = jnp.log(back(level(later), level(later - 1)).small), jnp.log(q.large)
    log_ratio = share * (log_large - log_small)  # of the two variances, p's to q's
    difference = (q.of_clean * (x - clean)) ** 2 * jnp.exp(-log_small)
    kl = 0.5 * (log_ratio - 1.0 + jnp.exp(-log_ratio) * (1.0 + difference))
    log_scale = jnp.broadcast_to(0.5 * (log_small + log_ratio), x.shape)
    return jnp.where(number > 1, flat_sum(kl), -decoder(x, clean, log_scale))


# ---- the flow ------------------------------------------------------------------------------------------------------------

Trace = Callable[[Callable[[jax.Array], jax.Array], jax.Array], jax.Array]  # (v -> J v, an array like v) -> (B,) trace of J


def exact_trace(product: Callable[[jax.Array], jax.Array], like: jax.Array) -> jax.Array:
    """One product for each of the D dimensions, one after the other: D small."""
    shape, size = like.shape, like[0].size

    def entry(total, k):
        basis = jnp.zeros((shape[0], size), like.dtype).at[:, k].set(1.0)
        return total + product(basis.reshape(shape)).reshape(shape[0], size)[:, k], None

    return jax.lax.scan(entry, jnp.zeros(shape[0], like.dtype), jnp.arange(size))[0]


def hutchinson(signs: jax.Array) -> Trace:
    """An unbiased estimate from one product: signs (B, ...) are random and -1 or 1 (1810.01367). Not a log-density: an
    estimate of one, whose exponential is biased.
    """
    return lambda product, like: flat_sum(signs * product(signs))


def flow_log_prob(
    denoise: Callable[[jax.Array, jax.Array], jax.Array],
    process: Process,
    x: jax.Array,
    *,
    steps: int = 100,
    trace: Trace = exact_trace,
    least: float = 1e-3,
    most: float = 1e5,
) -> jax.Array:
    """(4): (B,) nats, of the flow that samplers follow.

    Args:
      denoise: (x_t, t) -> x_0, t one number.
      process: whose denoiser it is.
      x: (B, ...).
      steps: of Runge-Kutta, four evaluations each; the error falls with their fourth power (a normal of scale 0.5: 1e-3 nats a
        dimension at 80, 1e-5 at 240).
      trace: `exact_trace`, or an estimate by `hutchinson`.
      least, most: ratios sigma / alpha between which the flow is followed, cut to those of the process. x is taken for data at
        `least`; noise at `most` for all that is left of them.
    """
    low, high = (jnp.log(edge) for edge in edges(process, least, most))

    def field(z, u):
        level = at(process, time_of(process, jnp.exp(u)))
        clean, product = jax.linearize(lambda z: denoise(level.alpha * z, level.t), z)
        return z - clean, z[0].size - trace(product, z)

    def step(state, u):
        z, gained = state
        h = (high - low) / steps
        k1, g1 = field(z, u)
        k2, g2 = field(z + 0.5 * h * k1, u + 0.5 * h)
        k3, g3 = field(z + 0.5 * h * k2, u + 0.5 * h)
        k4, g4 = field(z + h * k3, u + h)
        return (z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), gained + h / 6 * (g1 + 2 * g2 + 2 * g3 + g4)), None

    start = x, jnp.zeros(x.shape[0], x.dtype)
    (z, gained), _ = jax.lax.scan(step, start, low + (high - low) * jnp.arange(steps) / steps)
    return normal_log_prob(z, 0.0, high) + gained
