"""Variational autoencoder (1312.6114): beta (Higgins et al. 2017), free bits (1606.04934), importance weighted (1509.00519).

    p(x) = int p(x | z) N(z; 0, I) dz,      q(z | x) = N(z; mean(x), diag scale(x)^2)

    ELBO      log p(x) >= E_q[ log p(x|z) ] - KL( q(z|x) || N(0, I) )                                       (1) - (2)
    IWAE      log p(x) >= E_q[ log 1/K sum_k w_k ],   w_k = p(x | z_k) N(z_k; 0, I) / q(z_k | x)                  (3)

With a flow of the posterior (1505.05770; of masked autoregressive layers it is IAF, 1606.04934) a draw goes on through it, told
what the encoder says besides: z = f(z_0; h(x)), log q(z | x) = log N(z_0; mean, scale) - log |det df/dz_0|.

Conditional on labels y: both networks are given them, and the bounds are on log p(x | y).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax.bijections import Bijection
from genjax.conditions import told
from genjax.densities import LatentCode, Likelihood, bernoulli, flat_sum, normal_kl, normal_log_prob
from genjax.model import Batch, Loss, Model, Params, Phase, as_batch, example_keys, normal, stream
from genjax.nets import Net


class Posterior(NamedTuple):
    """q(z_0 | x): mean and log_scale (B, *latent), and what a flow is told (B, context)."""

    mean: jax.Array
    log_scale: jax.Array
    told: jax.Array | None = None


def vae(
    encoder: Net,
    decoder: Net,
    latent: Sequence[int],
    tx: optax.GradientTransformation,
    *,
    likelihood: Likelihood = bernoulli(),
    beta: float = 1.0,
    free_bits: float = 0.0,
    samples: int = 1,
    importance: bool = False,
    classes: int = 0,
    flow: Bijection | None = None,
    context: int = 0,
) -> Model:
    """A VAE with branches `encoder` and `decoder`, and `flow` where the posterior has one.

    Args:
      encoder: (x, condition) -> (B, *latent) with twice the channels, mean and log standard deviation of q.
      decoder: (z, condition) -> theta of the likelihood: x's shape with `likelihood.parts` times its channels.
      latent: shape of one code, (32,) or with space axes (4, 4, 8).
      tx: optimizer of both branches.
      likelihood: of the data given a code.
      beta: weight of the KL; 1 is a bound on log p(x), above 1 disentangles.
      free_bits: nats that each latent dimension may carry before its KL, averaged over the batch, costs anything.
      samples: K draws of z an example in the training loss.
      importance: train the IWAE bound (3) over the K draws rather than the mean of K ELBOs.
      classes: condition on labels 0 .. classes - 1; 0 for none.
      flow: of draws from the encoder's normal, z_0 (B, *latent) -> z; only its way forward is taken. Its KL is that of draws.
      context: numbers that the encoder gives besides, (latent[-1] * 2 + context) in all, as the condition of the flow.

    Returns:
      A Model whose `bound` is (3) for any number of samples, whose codes are draws from q and whose samples are the
      likelihood's means.
    """
    if importance and (beta != 1.0 or free_bits):
        raise ValueError("the importance-weighted bound has no separate KL: with importance=True keep beta=1, free_bits=0")

    if flow and free_bits:
        raise ValueError("free bits are of each dimension's own KL, which a flow of the posterior mixes: keep free_bits=0")
    width = latent[-1]

    def condition(y):
        return told(y, classes)

    def init(key: jax.Array, batch: Batch) -> Params:
        y = condition(batch.get("y"))
        z = jnp.zeros((batch["x"].shape[0], *latent))
        params = {
            "encoder": encoder.init(stream(key, "encoder"), batch["x"], y),
            "decoder": decoder.init(stream(key, "decoder"), z, y),
        }
        _fits("encoder", encoder.apply, (params["encoder"], batch["x"], y), (*latent[:-1], 2 * width + context))
        shape = batch["x"].shape[1:]
        _fits("decoder", decoder.apply, (params["decoder"], z, y), (*shape[:-1], likelihood.parts * shape[-1]))
        q = posterior(params, batch)
        return params | ({"flow": flow.init(stream(key, "flow"), q.mean, q.told)} if flow else {})

    def posterior(params: Params, batch: Batch) -> Posterior:
        theta = encoder.apply(params["encoder"], batch["x"], condition(batch.get("y")))
        beside = theta[..., 2 * width :].reshape(len(theta), -1) if context else None
        return Posterior(theta[..., :width], theta[..., width : 2 * width], beside)

    def draw(params: Params, q: Posterior, key: jax.Array, batch: Batch, count: int) -> tuple[jax.Array, jax.Array]:
        """z (count, B, *latent), reparameterized draws from q, and log N(z; 0, I) - log q(z | x) of each (count, B)."""
        noise = normal(example_keys(key, batch), (count, *latent)).swapaxes(0, 1)
        z, log_det = q.mean + jnp.exp(q.log_scale) * noise, 0.0
        if flow:
            tiled = None if q.told is None else jnp.tile(q.told, (count, 1))
            z, log_det = flow.forward(params["flow"], z.reshape(-1, *latent), tiled)
            z, log_det = z.reshape(noise.shape), log_det.reshape(noise.shape[:2])
        ratio = 0.5 * (noise**2 - z**2) + q.log_scale
        return z, ratio.reshape(*noise.shape[:2], -1).sum(-1) + log_det

    def log_p_x(params: Params, z: jax.Array, batch: Batch) -> jax.Array:
        """(count, B) log p(x | z): one pass through the decoder for all draws."""
        count, size = z.shape[:2]
        y = condition(batch.get("y"))
        y = None if y is None else jnp.tile(y, (count, 1))
        theta = decoder.apply(params["decoder"], z.reshape(-1, *latent), y)
        theta = theta.reshape(count, size, *theta.shape[1:])
        return jax.vmap(likelihood.log_prob, (0, None))(theta, batch["x"])

    def log_weights(params: Params, q: Posterior, key: jax.Array, batch: Batch, count: int) -> jax.Array:
        """(count, B) log w_k of (3), all draws in one pass through the decoder."""
        z, log_ratio = draw(params, q, key, batch, count)
        return log_p_x(params, z, batch) + log_ratio

    def elbo(params: Params, key: jax.Array, batch: Batch) -> Loss:
        q = posterior(params, batch)
        z, log_ratio = draw(params, q, key, batch, samples)
        reconstruction = -log_p_x(params, z, batch).mean()  # 1. reconstruction
        kl = -log_ratio.mean() if flow else normal_kl(q.mean, q.log_scale).mean(0)  # 2. KL, per latent dimension
        value = reconstruction + beta * (kl if flow else jnp.maximum(kl, free_bits).sum())
        seen = {"reconstruction": reconstruction, "kl": kl.sum(), "active_units": _active_units(q)}
        return Loss(value, seen | {"elbo": -reconstruction - kl.sum()})

    def iwae(params: Params, key: jax.Array, batch: Batch) -> Loss:
        q = posterior(params, batch)
        log_w = log_weights(params, q, key, batch, samples)
        value = -_log_mean_exp(log_w).mean()  # 3. importance-weighted bound
        kl = flat_sum(normal_kl(q.mean, q.log_scale)).mean()
        return Loss(value, ({} if flow else {"kl": kl}) | {"active_units": _active_units(q), "elbo": log_w.mean()})

    def bound(params: Params, key: jax.Array, batch: Batch, samples: int = 1, at_once: int = 50) -> jax.Array:
        """(B,) nats: (3) with K = samples, `at_once` draws in memory; more samples are tighter. Same keys, same value."""
        q = posterior(params, batch)
        full, rest = divmod(samples, at_once)

        def some(count, number):
            return jax.nn.logsumexp(log_weights(params, q, jax.random.fold_in(key, number), batch, count), axis=0)

        total = jnp.full(q.mean.shape[0], -jnp.inf)
        if full:
            step = lambda total, number: (jnp.logaddexp(total, some(at_once, number)), None)
            total, _ = jax.lax.scan(step, total, jnp.arange(full))
        if rest:
            total = jnp.logaddexp(total, some(rest, full))
        return total - jnp.log(samples)

    def infer(params: Params, key: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """One draw of z, and its log w without the prior, which another may take the place of."""
        z, log_ratio = draw(params, posterior(params, batch), key, batch, 1)
        return z[0], (log_p_x(params, z, batch) + log_ratio)[0] - normal_log_prob(z[0])

    def encode(params: Params, key: jax.Array, batch: Batch) -> jax.Array:
        q = posterior(params, batch)
        return draw(params, q, key, batch, 1)[0][0]

    def decode(params: Params, z: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return likelihood.mean(decoder.apply(params["decoder"], z, condition(y)))

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return decode(params, normal(keys, latent), y)

    def mean_and_scale(params: Params, x: jax.Array, y: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        q = posterior(params, as_batch(x, y))
        return q.mean, jnp.exp(q.log_scale)

    def log_mass(params: Params, z: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return likelihood.log_mass(decoder.apply(params["decoder"], z, condition(y)))

    code = None if flow else LatentCode(tuple(latent), mean_and_scale, log_mass if likelihood.log_mass else None)
    trains = ("encoder", "decoder", *(("flow",) if flow else ()))
    phase = Phase("iwae" if importance else "elbo", iwae if importance else elbo, trains, tx)
    return Model(init, ((phase,),), sample, ("decoder",), encode, decode, bound=bound, latent_code=code, infer=infer)


def _fits(name: str, apply: Callable, inputs: tuple, wanted: tuple[int, ...]) -> None:
    """Refuse a network whose output does not have the shape that the maths needs."""
    if (got := jax.eval_shape(apply, *inputs).shape[1:]) != tuple(wanted):
        raise ValueError(f"the {name} gives {got} for one example, but {tuple(wanted)} is needed")


def _active_units(q: Posterior) -> jax.Array:
    """How many dimensions of the code follow x: the variance of q's mean over the batch exceeds 0.01 (1509.00519)."""
    return jnp.sum(q.mean.var(0) > 0.01)


def _log_mean_exp(log_w: jax.Array) -> jax.Array:
    return jax.nn.logsumexp(log_w, axis=0) - jnp.log(log_w.shape[0])
