"""Restricted Boltzmann machine of binary units (Smolensky 1986), by contrastive divergence (Hinton 2002).

    E(v, h) = -a v - b h - v W h,    p(v) = sum_h exp(-E(v, h)) / Z
    F(v) = -a v - sum_j softplus(b_j + (v W)_j),    p(v) = exp(-F(v)) / Z                                        (1)
    loss = F(v) - F(v'),   v' after k Gibbs moves from v (CD-k) or from where it was left (PCD, Tieleman 2008)   (2)

Z is known by enumeration where one side has few units, otherwise estimated by annealed importance sampling along

    F_t(v) = -((1 - t) base + t a) v - sum_j softplus(t (b_j + (v W)_j))                                         (3)

from independent units of given log-odds `base` (t = 0) to the machine (t = 1) (Salakhutdinov & Murray 2008).
"""

from collections.abc import Sequence
from math import prod

import jax
import jax.numpy as jnp
import optax

from genjax.chains import Kernel, Place, contrast, importance, log_mean, run
from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, named, stream

ENUMERATED = 20  # units of the smaller side whose states are summed over when asked to
EXACT = 16  # ... and with every call of `log_prob`


def rbm(
    hidden: int,
    shape: Sequence[int],
    tx: optax.GradientTransformation,
    *,
    steps: int = 1,
    persistent: bool = True,
    sampling_steps: int = 1000,
) -> Model:
    """A binary RBM with the branch `rbm`: `weights` (D, hidden), `visible` a (D,), `hidden` b (hidden,).

    Args:
      hidden: hidden units.
      shape: of one example, its values 0 or 1; others have the energy NaN, and are refused where they can be looked at.
      tx: optimizer.
      steps: k of (2).
      persistent: chains of (2) go on from step to step, in `memory` (PCD); else they begin at the data (CD).
      sampling_steps: Gibbs moves of a sample, from evenly random units.

    Returns:
      A Model with `energy` (1); with exact `log_prob` where one side has at most 16 units. Its samples are coins:
      who asks for the gradient along them is told so.
    """
    shape, dims = tuple(shape), prod(shape)
    for name, value in (("hidden", hidden), ("steps", steps), ("sampling_steps", sampling_steps)):
        if value < 1:
            raise ValueError(f"an RBM needs {name} >= 1, not {name}={value}")

    def init(key: jax.Array, batch: Batch) -> Params:
        refuse_grey(batch["x"])
        mean = batch["x"].reshape(-1, dims).mean(0)
        weights = 0.01 * jax.random.normal(stream(key, "weights"), (dims, hidden))
        rates = base_rates(mean, len(batch["x"]))
        return {"rbm": {"weights": weights, "visible": rates, "hidden": jnp.zeros(hidden)}}

    def coin(keys: jax.Array) -> jax.Array:
        return jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, (dims,)))(named(keys, "start")).astype(jnp.float32)

    def memory(params: Params, key: jax.Array, batch: Batch) -> Batch:
        return {"chains": coin(example_keys(key, batch))}

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        v, keys, theta = batch["x"].reshape(-1, dims), example_keys(key, batch), params["rbm"]
        begin = batch["chains"] if persistent else v
        chains = run(gibbs(jax.lax.stop_gradient(theta)), keys, begin, steps).x
        value, seen = contrast(free_energy(theta, v), free_energy(theta, chains))  # 2
        flipped = jnp.mean(jnp.abs(chains - begin))
        return Loss(value, seen | {"flipped": flipped}, {"chains": chains} if persistent else {})

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        del y
        v = run(gibbs(_coins(params["rbm"])), named(keys, "walk"), coin(keys), sampling_steps).x
        return v.reshape(-1, *shape)

    def energy(params: Params, x: jax.Array, y: jax.Array | None = None) -> jax.Array:
        del y
        refuse_grey(x)
        return free_energy(params["rbm"], x.reshape(-1, dims))

    def log_prob(params: Params, batch: Batch) -> jax.Array:
        return -energy(params, batch["x"]) - log_partition(params["rbm"])

    phase = Phase("contrast", loss, ("rbm",), tx)
    few = log_prob if min(hidden, dims) <= EXACT else None
    rows = memory if persistent else None
    return Model(init, ((phase,),), sample, ("rbm",), log_prob=few, memory=rows, energy=energy)


@jax.custom_jvp
def _coins(theta: Params) -> Params:
    """The same parameters, where draws of 0 and 1 are made from them: their gradient would be zero, and nobody would notice."""
    return theta


@_coins.defjvp
def _no_gradient(primals: tuple, tangents: tuple) -> None:
    raise ValueError("samples of an RBM are coins, which have no gradient: no critic can train it; of rewards give "
                     "way=likelihood() or filtered()")  # fmt: skip


# ---- energies and moves ------------------------------------------------------------------------------------------------


def free_energy(theta: Params, v: jax.Array, t: jax.Array | float = 1.0, base: jax.Array | float = 0.0) -> jax.Array:
    """(B,) nats, (1) or (3), of v (B, D) in {0, 1}; NaN for other values."""
    visible = (1 - t) * base + t * theta["visible"]
    value = -v @ visible - jax.nn.softplus(t * (theta["hidden"] + v @ theta["weights"])).sum(-1)
    return jnp.where(jnp.all((v == 0) | (v == 1), axis=-1), value, jnp.nan)


def gibbs(theta: Params, t: jax.Array | float = 1.0, base: jax.Array | float = 0.0) -> Kernel:
    """h ~ p(h | v), then v ~ p(v | h): leaves (3) as it is."""

    def draw(keys: jax.Array, logits: jax.Array) -> jax.Array:
        return jax.vmap(jax.random.bernoulli)(keys, jax.nn.sigmoid(logits)).astype(jnp.float32)

    def move(keys: jax.Array, place: Place) -> tuple[Place, jax.Array]:
        h = draw(named(keys, "hidden"), t * (theta["hidden"] + place.x @ theta["weights"]))
        v = draw(named(keys, "visible"), (1 - t) * base + t * (theta["visible"] + h @ theta["weights"].T))
        return Place(v), jnp.ones(len(v))

    return Kernel(Place, move)


def base_rates(mean: jax.Array, count: int) -> jax.Array:
    """Log-odds of each unit from its mean over `count` examples, as if one more had been seen at one half."""
    mean = (mean * count + 0.5) / (count + 1)
    return jnp.log(mean) - jnp.log1p(-mean)


# ---- the partition function ----------------------------------------------------------------------------------------------


def log_partition(theta: Params, at_once: int = 10) -> jax.Array:
    """() log Z, exact: the units of the smaller side take all their states, 2**at_once of them at a time.

    ValueError where that side has more than 20.
    """
    weights, ours, others = theta["weights"], theta["visible"], theta["hidden"]
    if len(ours) > len(others):
        weights, ours, others = weights.T, others, ours
    if len(ours) > ENUMERATED:
        raise ValueError(f"{len(theta['visible'])} visible and {len(theta['hidden'])} hidden units: enumeration needs at most "
                         f"{ENUMERATED} on one side; use annealed_log_partition")  # fmt: skip
    low = min(len(ours), at_once)
    states = jnp.arange(2**low)[:, None] >> jnp.arange(low) & 1

    def some(number: jax.Array) -> jax.Array:
        high = jnp.broadcast_to(number >> jnp.arange(len(ours) - low) & 1, (2**low, len(ours) - low))
        s = jnp.concatenate([states, high], axis=-1).astype(jnp.float32)
        return jax.nn.logsumexp(s @ ours + jax.nn.softplus(others + s @ weights).sum(-1))

    return jax.nn.logsumexp(jax.lax.map(some, jnp.arange(2 ** (len(ours) - low))))


def annealed_log_partition(
    theta: Params, keys: jax.Array, times: jax.Array, base: jax.Array | float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """(log Z, its standard error), estimated by annealed importance sampling: a lower bound on average.

    Args:
      theta: the branch `rbm`.
      keys: (chains,), one a chain.
      times: (K,) from 0 to 1; others are refused where they can be looked at.
      base: (D,) log-odds of the units at t = 0, best those of the data: `base_rates`.
    """
    refuse_parts(times)
    dims, hidden = theta["weights"].shape
    base = jnp.broadcast_to(base, (dims,))
    begin = jax.vmap(lambda key: jax.random.bernoulli(key, jax.nn.sigmoid(base)))(named(keys, "start")).astype(jnp.float32)
    log_p_at = lambda t: lambda v: -free_energy(theta, v, t, base)
    log_w = importance(log_p_at, lambda t: gibbs(theta, t, base), named(keys, "walk"), begin, times).log_w
    log_ratio, error = log_mean(log_w)
    return log_ratio + jax.nn.softplus(base).sum() + hidden * jnp.log(2.0), error


def refuse_parts(times: jax.Array) -> None:
    """Refuse times that do not lead from 0 to 1: between other densities the ratio is another number."""
    try:
        whole = len(times) > 1 and bool((times[0] == 0) & (times[-1] == 1))
    except jax.errors.ConcretizationTypeError:
        return
    if not whole:
        raise ValueError(f"annealing passes times that lead from 0 to 1, not {len(times)} from {times[0]:.3g} to "
                         f"{times[-1]:.3g}: jnp.linspace(0, 1, 1000)")  # fmt: skip


def refuse_grey(x: jax.Array) -> None:
    """Refuse values other than 0 and 1; inside jit nothing is known of them, and their energy is NaN."""
    try:
        binary = bool(jnp.all((x == 0) | (x == 1)))
    except jax.errors.ConcretizationTypeError:
        return
    if not binary:
        raise ValueError(f"an RBM is of binary units, but x holds values {jnp.min(x):.3g} .. {jnp.max(x):.3g}: prepare with "
                         "binarize, or give data of 0 and 1")  # fmt: skip
