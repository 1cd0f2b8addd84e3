"""MeanFlow (2505.13447): a network that gives the average velocity between two times, so that one step samples.

    z_t = (1 - t) x + t eps,   v = eps - x,   u(z_t, r, t) = 1/(t - r) integral from r to t of v(z_s, s) ds,   r <= t
    u = v - (t - r) du/dt,   du/dt = v du/dz + du/dt                                            the MeanFlow identity    (1)
    loss = E weight || u(z_t, r, t) - stop( (1)'s right side ) ||^2,   weight = stop( 1 / (|| . ||^2 + c)^p )            (2)
    sample: z_r = z_t - (t - r) u(z_t, r, t),   once from t = 1 to r = 0, or over a grid of times                        (3)

In some of the batch r = t, which is flow matching (2210.02747).
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import optax

from genjax.conditions import told
from genjax.densities import flat_sum
from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, named, normal, stream
from genjax.nets import Net
from genjax.nets.time import time_features
from genjax.schedules import Times, levels, logit_normal_times, straight

Average = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # u: (z (B, ...), r (B,), t (B,)) -> (B, ...)


def identity(u: Average, z: jax.Array, r: jax.Array, t: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(u, the right side of (1)) at z, with the velocity v there."""
    average, change = jax.jvp(u, (z, r, t), (v, jnp.zeros_like(r), jnp.ones_like(t)))
    return average, v - (t - r).reshape(-1, *[1] * (z.ndim - 1)) * change


def meanflow(
    net: Net,
    shape: Sequence[int],
    tx: optax.GradientTransformation,
    *,
    steps: int = 1,
    classes: int = 0,
    times: Times = logit_normal_times(-0.4, 1.0),
    apart: float = 0.25,
    power: float = 1.0,
    features: Callable[[jax.Array], jax.Array] = partial(time_features, size=32, highest=30.0),
) -> Model:
    """A MeanFlow model with the branch `velocity`.

    Args:
      net: (z_t, t, condition, features of t - r) -> output of x's shape, differentiable in t: one that is told its time by
        `partial(time_features, highest=30.0)`, say, so that du/dt keeps its size.
      shape: of one example, scaled to about unit variance.
      tx: optimizer.
      steps: of `sample`, evenly from 1 to 0; network evaluations.
      classes: condition on labels 0 .. classes - 1; 0 for none.
      times: what r and t are, two drawn and sorted.
      apart: share of the batch in which they differ.
      power: p of (2); 0 is the plain squared error, 1/2 near pseudo-Huber.
      features: of t - r, what the network is told of it.

    Returns:
      A Model whose `denoise` is that of flow matching, u where r = t.
    """
    if steps < 1 or not 0.0 <= apart <= 1.0:
        raise ValueError(f"steps={steps} must be 1 or more, apart={apart} a share from 0 to 1")
    shape, process = tuple(shape), straight()

    def inputs(z: jax.Array, r: jax.Array, t: jax.Array, y: jax.Array | None) -> tuple:
        return z, t, told(y, classes), features(t - r)

    def average(params: Params, y: jax.Array | None) -> Average:
        return lambda z, r, t: net.apply(params["velocity"], *inputs(z, r, t, y))

    def init(key: jax.Array, batch: Batch) -> Params:
        t = jnp.zeros(batch["x"].shape[0])
        return {"velocity": net.init(stream(key, "velocity"), *inputs(batch["x"], t, t, batch.get("y")))}

    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(r, t) of one example."""
        a, b = times(stream(key, "a"), process), times(stream(key, "b"), process)
        r, t = jnp.minimum(a, b), jnp.maximum(a, b)
        return jnp.where(jax.random.bernoulli(stream(key, "apart"), apart), r, t), t

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        x, keys = batch["x"], example_keys(key, batch)
        r, t = jax.vmap(draw)(keys)
        eps = normal(named(keys, "noise"), x.shape[1:])
        near, far = levels(process, t, x.ndim)
        u, aim = identity(average(params, batch.get("y")), near * x + far * eps, r, t, eps - x)
        error = flat_sum((u - jax.lax.stop_gradient(aim)) ** 2)
        weight = jax.lax.stop_gradient(error + 1e-3) ** -power
        return Loss(jnp.mean(weight * error), {"error": error.mean() / x[0].size})  # 2

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        u, grid = average(params, y), jnp.linspace(1.0, 0.0, steps + 1)

        def move(z, now_and_next):
            t, r = (jnp.full(z.shape[0], time) for time in now_and_next)
            return z - (now_and_next[0] - now_and_next[1]) * u(z, r, t), None  # 3

        return jax.lax.scan(move, normal(keys, shape), (grid[:-1], grid[1:]))[0]

    def denoise(params: Params, z: jax.Array, t: jax.Array, y: jax.Array | None = None) -> jax.Array:
        t = jnp.broadcast_to(t, z.shape[:1])
        return z - levels(process, t, z.ndim)[1] * average(params, y)(z, t, t)

    phase = Phase("identity", loss, ("velocity",), tx)
    return Model(init, ((phase,),), sample, ("velocity",), denoise=denoise, process=process)
