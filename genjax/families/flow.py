"""Normalizing flows (1505.05770): an invertible map of data to noise, with exact likelihood and exact inverse.

    log p(x) = log N(f(x); 0, I) + log | det df/dx |                                                            (1)
    dequantized   log P(x) >= E_u [ log p((x + u) / levels) - D log levels - log q(u | x) ],   u in [0, 1)^D     (2)

`flow` is the model of any bijection; `realnvp`, `glow`, `coupling_flow` and `maf` build the usual ones.
"""

from collections.abc import Callable, Sequence
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax.bijections import (
    Bijection,
    actnorm,
    causal,
    chain,
    checkerboard,
    coupling,
    factor_out,
    flip,
    halves,
    mix,
    squeeze,
)
from genjax.conditions import told
from genjax.densities import flat_sum, normal_log_prob
from genjax.model import Batch, Loss, Model, Params, Phase, as_batch, example_keys, need, normal, stream
from genjax.nets import Net
from genjax.splines import Rule, affine, spline


def flow(
    bijection: Bijection,
    shape: Sequence[int],
    tx: optax.GradientTransformation,
    *,
    temperature: float = 1.0,
    classes: int = 0,
) -> Model:
    """A flow with the branch `flow`.

    Args:
      bijection: of x (B, *shape) and z (B, ...), started from the first batch.
      shape: of one example, continuous: dequantized, not integers.
      tx: optimizer.
      temperature: standard deviation of the noise that samples are made of; 1 samples p. Trained parameters serve any.
      classes: condition on labels 0 .. classes - 1; 0 for none.

    Returns:
      A Model with exact `log_prob`, whose codes are z and whose `decode` is the exact inverse.
    """
    shape = tuple(shape)

    def condition(y):
        return told(y, classes)

    def init(key: jax.Array, batch: Batch) -> Params:
        return {"flow": bijection.init(stream(key, "flow"), batch["x"], condition(batch.get("y")))}

    def forward(params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return bijection.forward(params["flow"], batch["x"], condition(batch.get("y")))

    def log_prob(params: Params, batch: Batch) -> jax.Array:
        z, log_det = forward(params, batch)
        return normal_log_prob(z) + log_det  # 1

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        z, log_det = forward(params, batch)
        log_p = normal_log_prob(z) + log_det
        return Loss(-log_p.mean(), {"log_det": log_det.mean(), "code_power": jnp.mean(z**2)})

    def decode(params: Params, z: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return bijection.inverse(params["flow"], z, condition(y))

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        batch = as_batch(jnp.zeros((1, *shape)), None if y is None else y[:1])
        latent = jax.eval_shape(forward, params, batch)[0].shape[1:]
        return decode(params, temperature * normal(keys, latent), y)

    infer = lambda params, key, batch: forward(params, batch)  # q and p(x | z) are points, their ratio is the determinant
    encode = lambda params, key, batch: forward(params, batch)[0]
    phase = Phase("likelihood", loss, ("flow",), tx)
    return Model(init, ((phase,),), sample, ("flow",), encode, decode, log_prob, infer=infer)


# ---- the usual ones ------------------------------------------------------------------------------------------------------


def coupling_flow(net: Callable[[int], Net], dims: int, layers: int = 8, rule: Rule | None = None) -> Bijection:
    """Couplings of flat data (B, dims), by default splines (1906.04032), each half given the other in turn.

    `net(outputs)` makes a network (x, y) -> (B, outputs).
    """
    rule = rule or spline()
    layer = lambda k: (mix(dims, seed=k), coupling(net(dims * rule.parts), rule, halves((dims,), k % 2 == 0)))
    return chain(actnorm(), *(part for k in range(layers) for part in layer(k)))


def maf(net: Callable[[int], Net], layers: int = 5, rule: Rule | None = None) -> Bijection:
    """Masked autoregressive flow (1705.07057) of flat data; `net(parts)` makes a MADE. `invert` of it is IAF."""
    rule = rule or affine()
    parts = [part for k in range(layers) for part in (actnorm(), causal(net(rule.parts), rule), flip())]
    return chain(*parts[:-1])


def realnvp(net: Callable[[Sequence[int]], Net], shape: Sequence[int], scales: int = 2, depth: int = 3) -> Bijection:
    """Multi-scale RealNVP (1605.08803, 3.6): `depth` checkerboard couplings, squeeze, `depth` channel couplings, and half of
    the channels go on to the next scale. `net(out)` makes a network from an image to an image of shape `out`.
    """

    def some(shape, masks):
        rule = affine()
        out = (*shape[:-1], rule.parts * shape[-1])
        return [part for mask in masks for part in (coupling(net(out), rule, mask), actnorm())]

    board = some(shape, [checkerboard(shape, k % 2 == 0) for k in range(depth)])
    if scales == 1:
        return chain(*board, *some(shape, [checkerboard(shape, depth % 2 == 0)]))
    small = squeezed(shape)
    channels = some(small, [halves(small, k % 2 == 0) for k in range(depth)])
    onward = realnvp(net, (*small[:-1], small[-1] // 2), scales - 1, depth)
    return chain(*board, squeeze(shape), *channels, factor_out(onward, small))


def glow(net: Callable[[Sequence[int]], Net], shape: Sequence[int], scales: int = 2, depth: int = 8) -> Bijection:
    """Multi-scale Glow (1807.03039): at each scale squeeze, then `depth` times actnorm, 1x1 convolution, affine coupling; half
    of the channels leave with a mean and scale read off the other half (a last coupling), the rest goes on.
    """
    small, rule = squeezed(shape), affine()
    out = (*small[:-1], rule.parts * small[-1])
    step = lambda k: (actnorm(), mix(small[-1], seed=k), coupling(net(out), rule, halves(small)))
    steps = [part for k in range(depth) for part in step(k)]
    if scales == 1:
        return chain(squeeze(shape), *steps)
    onward = glow(net, (*small[:-1], small[-1] // 2), scales - 1, depth)
    leave = coupling(net(out), rule, halves(small))
    return chain(squeeze(shape), *steps, leave, factor_out(onward, small))


def squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape after `squeeze`."""
    return (*(side // 2 for side in shape[:-1]), shape[-1] * 2 ** (len(shape) - 1))


# ---- discrete data -------------------------------------------------------------------------------------------------------


def dequantized(
    model: Model, shape: Sequence[int], levels: int, tx: optax.GradientTransformation, noise: Bijection | None = None
) -> Model:
    """A flow of integers: (2) with u uniform, or u ~ q(u | x) from a flow of its own (variational, 1902.00275, 3.1).

    Args:
      model: a flow of data in [0, 1); becomes the branch `model`.
      shape: of one example.
      levels: stored values are 0 .. levels - 1; batches hold them as k / (levels - 1).
      tx: optimizer of all of it.
      noise: bijection from log-odds of u to N(0, I), conditional on x; becomes the branch `noise`.

    Returns:
      A Model whose `bound` is on the log-probability of the integers, tighter with more samples.
    """
    density, shape = need(model, "log_prob", "dequantized"), tuple(shape)
    volume = prod(shape) * np.log(levels)

    def uniform(params: Params, keys: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.vmap(lambda key: jax.random.uniform(key, shape))(keys), jnp.zeros(len(x))

    def variational(params: Params, keys: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        e = normal(keys, shape)
        v = noise.inverse(params["noise"], e, x)
        log_q_v = normal_log_prob(e) + noise.forward(params["noise"], v, x)[1]
        return jax.nn.sigmoid(v), log_q_v - flat_sum(jax.nn.log_sigmoid(v) + jax.nn.log_sigmoid(-v))

    draw = variational if noise else uniform

    def init(key: jax.Array, batch: Batch) -> Params:
        x = batch["x"] * (levels - 1.0) / levels
        params = {"model": model.init(stream(key, "model"), batch | {"x": x + 0.5 / levels})}
        return params | ({"noise": noise.init(stream(key, "noise"), jnp.zeros_like(x), x)} if noise else {})

    def one(params: Params, key: jax.Array, batch: Batch) -> jax.Array:
        """(B,) the inside of (2) at one draw of u."""
        x = batch["x"] * (levels - 1.0)
        u, log_q = draw(params, example_keys(key, batch), batch["x"])
        inside = jnp.minimum((x + u) / levels, jnp.nextafter(1.0, 0.0))
        return density(params["model"], batch | {"x": inside}) - volume - log_q

    def bound(params: Params, key: jax.Array, batch: Batch, samples: int = 1) -> jax.Array:
        some = lambda number: one(params, jax.random.fold_in(key, number), batch)
        return jax.nn.logsumexp(jax.lax.map(some, jnp.arange(samples)), axis=0) - jnp.log(samples)

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        return Loss(-one(params, key, batch).mean())  # 2

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        x = model.sample(params["model"], keys, y)
        return jnp.clip(jnp.floor(x * levels), 0, levels - 1) / (levels - 1)

    branches = ("model", "noise") if noise else ("model",)
    return Model(init, ((Phase("dequantize", loss, branches, tx),),), sample, ("model",), bound=bound)
