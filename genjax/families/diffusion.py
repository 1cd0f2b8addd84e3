"""Denoising diffusion (2006.11239) in continuous time, and flow matching (2210.02747): one family, other functions of time.

    x_t = alpha(t) x_0 + sigma(t) noise,   t drawn by `times`
    loss = weight(t) E || x_0(x_t, t) - x_0 ||^2 / D,  by default the squared error of the network's own target       (1)

    guidance (2207.12598)           x_0 = x_0(x_t, t, none) + scale (x_0(x_t, t, y) - x_0(x_t, t, none))              (2)
    learned variance (2102.09672)   loss = (1) + 1/1000 of the variational bound, which trains the variance alone     (3)

(3) is the bound, but for its first term without parameters, where `times` are uniform; others weigh its terms as they fall.

DDPM: diffusion(net, shape, tx, process=ddpm(), prediction=noise, sampler=ancestral(), steps=1000). EDM: process=exploding(),
prediction=edm(), times=lognormal_times(), sampler=heun(), grid=karras_grid(), steps=18. Flow matching: process=straight(),
prediction=drift. Whatever is predicted, samplers, bounds and hybrids see x_0, see `Model.denoise`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from genjax.conditions import beside_none, check_guidance, guided, hidden, told
from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, named, normal, stream
from genjax.nets import Net
from genjax.predictions import Prediction, Weight, check_prediction, clean, drift, edm, noise, own_units, velocity
from genjax.reverse import Decoder, chain_term, chain_time, flow_log_prob, normal_log_prob, prior_term
from genjax.samplers import Sampler, ddim
from genjax.schedules import Grid, Process, Times, check_noise, cosine, levels, uniform_grid, uniform_times

__all__ = ["Prediction", "clean", "diffusion", "drift", "edm", "noise", "velocity"]


def diffusion(
    denoiser: Net,
    shape: Sequence[int],
    tx: optax.GradientTransformation,
    *,
    process: Process = cosine(),
    prediction: Prediction = velocity,
    weight: Weight | None = None,
    times: Times = uniform_times(),
    sampler: Sampler = ddim(),
    grid: Grid = uniform_grid(),
    steps: int = 50,
    classes: int = 0,
    drop: float = 0.0,
    guidance: float = 1.0,
    variance: float | None = 0.0,
    chain: int = 1000,
    decoder: Decoder | None = None,
    flow_steps: int = 0,
) -> Model:
    """A diffusion model with the branch `denoiser`.

    Args:
      denoiser: (x_t, t, condition) -> output of x's shape, with twice the channels where the variance is learned; t (B,).
      shape: of one example, scaled to about unit variance.
      tx: optimizer.
      process: alpha and sigma over time.
      prediction: what the network gives: `velocity`, `noise`, `clean`, `drift` or `edm()`.
      weight: of the squared error of x_0; None weighs that of the network's own target evenly ("simple").
      times: what training draws them from.
      sampler, grid, steps: of `sample`; `steps` steps, the last to t = 0.
      classes: condition on labels 0 .. classes - 1; 0 for none.
      drop: share of examples whose label is hidden in training; then label -1 stands for none.
      guidance: scale of (2); 1 is none.
      variance: of a step of the chain, its share between `Back.small` and `Back.large`; None to learn it. A fixed one is the
        bound's alone: samples have that of their sampler, `ancestral(share)`.
      chain: T, steps of the bound, and of training where the variance is learned.
      decoder: p(x_0 | x_1) of the bound: `discretized_normal(levels)` for pixels in [-1, 1], `normal_log_prob` for densities.
      flow_steps: Runge-Kutta steps of `log_prob`, see `flow_log_prob`; exact traces, so for few dimensions.

    Returns:
      A Model with `denoise`; where there is a decoder with `bound`, an unbiased estimate of the chain's from `samples` of its
      terms, each of them once at samples = chain; with flow_steps > 0 with `log_prob`.

    Raises:
      ValueError: options that do not fit together, no steps, a process or a grid that does not reach noise.
    """
    shape, learned = tuple(shape), variance is None
    check_guidance(classes, drop, guidance)
    check_noise(process, grid, steps)
    check_prediction(prediction, process, grid(process, steps)[0])
    if chain < 2:
        raise ValueError(f"a chain has at least two steps, but chain={chain}")
    if flow_steps < 0 or not (learned or 0 <= variance <= 1):
        raise ValueError(f"diffusion needs flow_steps >= 0 and 0 <= variance <= 1, not {flow_steps} and {variance}")
    low, high = process.span

    def condition(y: jax.Array | None) -> jax.Array | None:
        return told(y, classes, least=-1 if drop else 0)

    def outputs(params: Params, x_t: jax.Array, t: jax.Array, given: jax.Array | None) -> tuple:
        """(the network's output, x_0, the share of the variance)."""
        t = jnp.broadcast_to(t, x_t.shape[:1])
        alpha, sigma = levels(process, t, x_t.ndim)
        output = denoiser.apply(params["denoiser"], prediction.scale(alpha, sigma) * x_t, t, given)
        output, share = jnp.split(output, 2, axis=-1) if learned else (output, variance)
        return output, prediction.clean(alpha, sigma, x_t, output), 0.5 * (share + 1.0) if learned else share

    def denoise(params: Params, x_t: jax.Array, t: jax.Array, y: jax.Array | None = None, *, shares: bool = False):
        """x_0, and the shares of the variance where asked for; guided, with and without the label in one batch."""
        given, t = condition(y), jnp.broadcast_to(t, x_t.shape[:1])
        if shares and not learned:
            raise ValueError("this model's variance is fixed: make it with variance=None, or sample with ancestral(0.0)")
        if guidance == 1.0:
            _, x, share = outputs(params, x_t, t, given)
        else:
            twice = lambda a: jnp.concatenate([a, a])
            _, x, share = outputs(params, twice(x_t), twice(t), beside_none(given))
            x, share = guided(x, guidance), share[: len(x_t)] if learned else share  # 2
        return (x, share) if shares else x

    def init(key: jax.Array, batch: Batch) -> Params:
        t = jnp.zeros(batch["x"].shape[0])
        return {"denoiser": denoiser.init(stream(key, "denoiser"), batch["x"], t, condition(batch.get("y")))}

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        x, keys, batch = batch["x"], example_keys(key, batch), hidden(key, batch, drop, classes)
        t = jax.vmap(lambda key: times(stream(key, "time"), process))(keys)
        number = jnp.ceil(jnp.clip(chain * (t - low) / (high - low), 1, chain)).astype(int)
        t = chain_time(process, number, chain) if learned else t
        eps = normal(named(keys, "noise"), x.shape[1:])
        alpha, sigma = levels(process, t, x.ndim)
        output, x_0, share = outputs(params, alpha * x + sigma * eps, t, condition(batch.get("y")))
        error = (output - prediction.target(alpha, sigma, x, eps)) ** 2
        value = jnp.mean(error if weight is None else own_units(weight, process, prediction, t, x.ndim) * error)  # 1
        if not learned:
            return Loss(value)
        fixed = lambda x_t, t: (jax.lax.stop_gradient(x_0), share)
        nats = chain_term(process, chain, number, x, eps, fixed, decoder or normal_log_prob)
        bound = chain * nats.mean() / x[0].size
        return Loss(value + 1e-3 * bound, {"error": value, "bound": bound})  # 3

    def bound(params: Params, key: jax.Array, batch: Batch, samples: int = 1) -> jax.Array:
        if samples < 1:
            raise ValueError(f"a bound is estimated from samples >= 1, not samples={samples}")
        x, keys = batch["x"], example_keys(key, batch)
        start = jax.vmap(lambda key: jax.random.uniform(stream(key, "time")))(keys)
        predict = lambda x_t, t: outputs(params, x_t, t, condition(batch.get("y")))[1:]

        def some(total, k):
            number = jnp.clip(1 + jnp.floor(chain * (k + start) / samples), 1, chain).astype(int)
            eps = normal(jax.vmap(lambda key: jax.random.fold_in(stream(key, "noise"), k))(keys), x.shape[1:])
            return total + chain_term(process, chain, number, x, eps, predict, decoder), None

        total, _ = jax.lax.scan(some, jnp.zeros(x.shape[0]), jnp.arange(samples))
        return -prior_term(process, x) - chain * total / samples

    def log_prob(params: Params, batch: Batch) -> jax.Array:
        one = lambda x_t, t: denoise(params, x_t, t, batch.get("y"))
        return flow_log_prob(one, process, batch["x"], steps=flow_steps)

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        one = lambda x_t, t, **asked: denoise(params, x_t, t, y, **asked)
        at = grid(process, steps)
        return sampler(one, process, at, process.sigma(at[0]) * normal(keys, shape), keys)

    return Model(
        init,
        ((Phase("denoise", loss, ("denoiser",), tx),),),
        sample,
        ("denoiser",),
        log_prob=log_prob if flow_steps else None,
        bound=bound if decoder else None,
        denoise=denoise,
        process=process,
    )
