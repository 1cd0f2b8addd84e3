"""What a denoising network is asked for, and how its error is weighed.

    x_t = alpha x_0 + sigma noise,       x_0 = clean(alpha, sigma, x_t, net(scale x_t, t))                            (1)
    loss = weight(t) || x_0 - data ||^2,   or the plain squared error of the network's own target                     (2)

Whatever is predicted, samplers, bounds and hybrids see `denoise(params, x_t, t) -> x_0`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.nets import Net
from genjax.schedules import Process, levels

STEEPEST = 5e4  # where alpha is 0 it is 1e5, which `noise` divides by; DDPM's chain asks for 157


class Prediction(NamedTuple):
    """What the network is asked for, given alpha and sigma of the time. `clean` is affine in the output."""

    target: Callable[..., jax.Array]  # (alpha, sigma, x_0, noise) -> target
    clean: Callable[..., jax.Array]  # (alpha, sigma, x_t, output) -> x_0
    scale: Callable[..., jax.Array | float] = lambda alpha, sigma: 1.0  # (alpha, sigma) -> what x_t is multiplied by first


velocity = Prediction(  # v (2202.00512)
    lambda alpha, sigma, x, noise: alpha * noise - sigma * x,
    lambda alpha, sigma, x_t, v: (alpha * x_t - sigma * v) / (alpha**2 + sigma**2),
)
noise = Prediction(
    lambda alpha, sigma, x, noise: noise,
    lambda alpha, sigma, x_t, noise: (x_t - sigma * noise) / jnp.maximum(alpha, 1e-5),  # alpha is 0 at t = 1
)
clean = Prediction(lambda alpha, sigma, x, noise: x, lambda alpha, sigma, x_t, x: x)
drift = Prediction(  # flow matching: where a straight line from data to noise goes, noise - x_0 (2209.03003)
    lambda alpha, sigma, x, noise: noise - x,
    lambda alpha, sigma, x_t, u: (x_t - sigma * u) / (alpha + sigma),
)


def edm(data_scale: float = 0.5) -> Prediction:
    """EDM's preconditioning (2206.00364, table 1), x_0 = c_skip x_t + c_out net(c_in x_t), for any alpha.

    Input and target have unit variance at every time if the data have standard deviation `data_scale`; its plain squared error
    is that of x_0 under the paper's weight.
    """
    power = lambda alpha, sigma: alpha**2 * data_scale**2 + sigma**2  # variance of x_t
    skip = lambda alpha, sigma: alpha * data_scale**2 / power(alpha, sigma)
    out = lambda alpha, sigma: sigma * data_scale / jnp.sqrt(power(alpha, sigma))
    left = lambda alpha, sigma, x, x_t: (x - skip(alpha, sigma) * x_t) / out(alpha, sigma)
    return Prediction(
        lambda alpha, sigma, x, noise: left(alpha, sigma, x, alpha * x + sigma * noise),
        lambda alpha, sigma, x_t, output: skip(alpha, sigma) * x_t + out(alpha, sigma) * output,
        lambda alpha, sigma: 1.0 / jnp.sqrt(power(alpha, sigma)),
    )


def check_prediction(prediction: Prediction, process: Process, first: jax.Array) -> None:
    """Refuse a prediction that says next to nothing of x_0 at the first time of sampling: its errors grow as (1)'s slope."""
    with jax.ensure_compile_time_eval():  # a model may be made inside compiled code
        slope = float(jnp.abs(prediction.clean(process.alpha(first), process.sigma(first), 0.0, 1.0)))
    if not slope <= STEEPEST:
        raise ValueError(
            f"at the first time of sampling x_0 moves {slope:.0f} times as far as what the network predicts, and so does its "
            "error: take another prediction (velocity), a grid that begins where some of the data is left (karras_grid()) or a "
            "process that ends there (ddpm())"
        )


def as_denoiser(net: Net, process: Process, prediction: Prediction) -> Callable[..., jax.Array]:
    """(1) as one function: denoise(params, x_t, t, *conditions) -> x_0 of x_t's shape; t (B,), or one number for all.

    Args:
      net: (x_t, t, *conditions) -> output of x's shape; t (B,).
      process: that noised x.
      prediction: what the output means.
    """

    def denoise(params, x_t: jax.Array, t: jax.Array, *conditions: jax.Array | None) -> jax.Array:
        t = jnp.broadcast_to(t, x_t.shape[:1])
        alpha, sigma = levels(process, t, x_t.ndim)
        return prediction.clean(alpha, sigma, x_t, net.apply(params, prediction.scale(alpha, sigma) * x_t, t, *conditions))

    return denoise


# ---- weights of the squared error of x_0 ---------------------------------------------------------------------------------

Weight = Callable[[Process, jax.Array], jax.Array]  # (process, t (B,)) -> (B,)


def snr(process: Process, t: jax.Array) -> jax.Array:
    """Signal to noise, alpha^2 / sigma^2."""
    return (process.alpha(t) / process.sigma(t)) ** 2


def min_snr(most: float = 5.0) -> Weight:
    """Signal to noise, but `most` at most (2303.09556): easy times do not outweigh the others."""
    return lambda process, t: jnp.minimum(snr(process, t), most)


def edm_weight(data_scale: float = 0.5) -> Weight:
    """EDM's (2206.00364, table 1): (ratio^2 + s^2) / (ratio s)^2."""
    return lambda process, t: snr(process, t) + 1.0 / data_scale**2


def likelihood_weight() -> Weight:
    """-1/2 dSNR/dt times the length of the span: with uniform times the loss is, in nats a dimension, the part of the
    variational bound that can be trained (2107.00630, eq. 17; 2101.09258). For data that have a density its mean over times
    is infinite where the span begins without noise, as that of `cosine` does: the bound's own is then, too.
    """

    def weight(process, t):
        low, high = process.span
        slope = jax.jvp(lambda t: snr(process, t), (t,), (jnp.ones_like(t),))[1]
        return -0.5 * slope * (high - low)

    return weight


def own_units(weight: Weight, process: Process, prediction: Prediction, t: jax.Array, ndim: int) -> jax.Array:
    """The factor of the squared error of the network's target that makes it `weight` times that of x_0."""
    alpha, sigma = levels(process, t, ndim)
    slope = prediction.clean(alpha, sigma, 0.0, 1.0)  # d x_0 / d output, as `clean` is affine
    return weight(process, t).reshape(alpha.shape) * slope**2
