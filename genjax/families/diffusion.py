"""Denoising diffusion (2006.11239) in continuous time, trained on a weighted denoising error.

    x_t = alpha(t) x_0 + sigma(t) noise,   t ~ U[0, 1]
    loss = E || net(x_t, t) - target ||^2 / D                                                                  (1)

with target v = alpha noise - sigma x_0 (2202.00512), the noise, or x_0. Whatever is predicted, sampling sees x_0.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, normal, stream
from genjax.nets import Net
from genjax.samplers import ddim
from genjax.schedules import Process, cosine, levels


class Prediction(NamedTuple):
    """What the network is asked for, given alpha and sigma of the time."""

    target: Callable[..., jax.Array]  # (alpha, sigma, x_0, noise) -> target
    clean: Callable[..., jax.Array]  # (alpha, sigma, x_t, output) -> x_0


velocity = Prediction(
    lambda alpha, sigma, x, noise: alpha * noise - sigma * x,
    lambda alpha, sigma, x_t, v: (alpha * x_t - sigma * v) / (alpha**2 + sigma**2),
)
noise = Prediction(
    lambda alpha, sigma, x, noise: noise,
    lambda alpha, sigma, x_t, noise: (x_t - sigma * noise) / jnp.maximum(alpha, 1e-4),  # alpha is 0 at t = 1
)
clean = Prediction(lambda alpha, sigma, x, noise: x, lambda alpha, sigma, x_t, x: x)


def diffusion(
    denoiser: Net,
    shape: Sequence[int],
    tx: optax.GradientTransformation,
    *,
    process: Process = cosine(),
    prediction: Prediction = velocity,
    steps: int = 50,
    classes: int = 0,
) -> Model:
    """A diffusion model with the branch `denoiser`.

    Args:
      denoiser: (x_t, t, condition) -> output of x's shape; t (B,) in [0, 1].
      shape: of one example, scaled to about unit variance.
      tx: optimizer.
      process: alpha and sigma over time.
      prediction: `velocity`, `noise` or `clean`.
      steps: of the DDIM sampler, network evaluations a sample.
      classes: condition on labels 0 .. classes - 1; 0 for none.
    """

    def condition(y):
        return None if not classes else jax.nn.one_hot(y, classes)

    def init(key: jax.Array, batch: Batch) -> Params:
        t = jnp.zeros(batch["x"].shape[0])
        return {"denoiser": denoiser.init(stream(key, "denoiser"), batch["x"], t, condition(batch.get("y")))}

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        x, keys = batch["x"], example_keys(key, batch)
        t = jax.vmap(lambda key: jax.random.uniform(stream(key, "time")))(keys)
        eps = normal(jax.vmap(lambda key: stream(key, "noise"))(keys), x.shape[1:])
        alpha, sigma = levels(process, t, x.ndim)
        output = denoiser.apply(params["denoiser"], alpha * x + sigma * eps, t, condition(batch.get("y")))
        return Loss(jnp.mean((output - prediction.target(alpha, sigma, x, eps)) ** 2))  # 1

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        def denoise(x_t, t):
            alpha, sigma = process.alpha(t), process.sigma(t)
            output = denoiser.apply(params["denoiser"], x_t, jnp.full(x_t.shape[0], t), condition(y))
            return prediction.clean(alpha, sigma, x_t, output)

        return ddim(denoise, process, normal(keys, shape), steps)

    return Model(init, ((Phase("denoise", loss, ("denoiser",), tx),),), sample, ("denoiser",))
