"""What any model with codes, a density or a denoiser can be asked to do: reconstruct, interpolate, do arithmetic, find the odd
one out, fill in.

Pure functions over the fields of a `Model`; each names the field it needs and refuses a model that lacks it. All codes of one
call are drawn with the same key, hence example k of every batch with the same noise: the ends of a path are exactly the
reconstructions, and in a - b + c the noise of b and c cancels.

    path      code_t = p(code_a, code_b, t), t = 0 .. 1, p on the great circle (Shoemake 1985; 1609.04468) or the line
    direction E[code | attribute] - E[code | no attribute]                           (attribute vectors, 1512.09300)
    score     -log p(x), or its upper bound -bound(x), nats: high for what the model has not seen
    fill in   x where it is known, elsewhere drawn given that: by reverse steps of a diffusion beside the known part under the
              same noise, each taken several times (RePaint, 2201.09865), or by chains of p that move the rest
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from genjax.chains import Field, Kernel, fold, langevin, run
from genjax.model import Batch, Model, Params, as_batch, named, need, normal
from genjax.schedules import Grid, at, back, karras_grid, onward

Path = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # (a, b (B, *code), t ()) -> codes between them


def reconstruct(model: Model, params: Params, key: jax.Array, batch: Batch) -> jax.Array:
    """(B, *x): each example encoded (with noise, where codes are random) and decoded."""
    encode, decode = need(model, "encode", "reconstruct"), need(model, "decode", "reconstruct")
    return decode(params, encode(params, key, batch), batch.get("y"))


# ---- paths between examples ------------------------------------------------------------------------------------------


def linear(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
    """The straight line from a to b, (B, *code)."""
    return (1 - t) * a + t * b


def spherical(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
    """The great circle from a to b, (B, *code), one angle an example; the line where they are (anti)parallel.

    Half-way codes of a line are too short for a Gaussian prior, whose codes lie near a sphere of radius sqrt(dimension).
    """
    dot = lambda u, v: (u * v).reshape(u.shape[0], -1).sum(1)
    cosine = dot(a, b) / jnp.sqrt(jnp.maximum(dot(a, a) * dot(b, b), 1e-24))
    straight = jnp.abs(cosine) > 1 - 1e-5  # there float32 knows no angle, and line and circle are the same to 1e-5
    angle = jnp.arccos(jnp.where(straight, 0.0, cosine))
    angle, straight = (v.reshape(-1, *[1] * (a.ndim - 1)) for v in (angle, straight))
    arc = (jnp.sin((1 - t) * angle) * a + jnp.sin(t * angle) * b) / jnp.sin(angle)
    return jnp.where(straight, linear(a, b, t), arc)


def interpolate(
    model: Model, params: Params, key: jax.Array, a: Batch, b: Batch, count: int, path: Path = spherical
) -> jax.Array:
    """(B, count, *x): pictures at `count` even steps from example k of a to example k of b; the ends are `reconstruct`'s.

    Labels, where the model is conditional, switch from a's to b's half-way. ValueError for fewer than 2 steps.
    """
    if count < 2:
        raise ValueError(f"interpolate needs count >= 2, the two ends; it is {count}")
    decode = need(model, "decode", "interpolate")
    z_a, z_b = (_codes(model, params, key, batch, "interpolate") for batch in (a, b))
    t = jnp.linspace(0.0, 1.0, count)
    codes = jax.vmap(path, (None, None, 0), 1)(z_a, z_b, t)
    y = None if a.get("y") is None else jnp.stack([(a if number < count / 2 else b)["y"] for number in range(count)], 1)
    merge = lambda rows: None if rows is None else rows.reshape(-1, *rows.shape[2:])
    x = decode(params, merge(codes), merge(y))
    return x.reshape(*codes.shape[:2], *x.shape[1:])


# ---- arithmetic ------------------------------------------------------------------------------------------------------


def arithmetic(model: Model, params: Params, key: jax.Array, a: Batch, b: Batch, c: Batch) -> jax.Array:
    """(B, *x): the picture whose code is a - b + c, with a's labels: "a is to b as the result is to c"."""
    z_a, z_b, z_c = (_codes(model, params, key, batch, "arithmetic") for batch in (a, b, c))
    return need(model, "decode", "arithmetic")(params, z_a - z_b + z_c, a.get("y"))


def attribute_direction(model: Model, params: Params, key: jax.Array, batch: Batch, attribute: jax.Array) -> jax.Array:
    """(*code,): from the mean code of the examples without an attribute to the mean code of those with it.

    Args:
      attribute: (B,) bool, known values (not traced by jit). ValueError unless there are examples of both kinds.
    """
    attribute = np.asarray(attribute, bool)
    if attribute.all() or not attribute.any():
        raise ValueError(f"attribute_direction needs examples with and without; all {attribute.size} are {attribute.all()}")
    codes = _codes(model, params, key, batch, "attribute_direction")
    return codes[attribute].mean(0) - codes[~attribute].mean(0)


def move(
    model: Model, params: Params, key: jax.Array, batch: Batch, direction: jax.Array, amount: jax.Array | float = 1.0
) -> jax.Array:
    """(B, *x): each example moved by `amount`, () or (B,), along a direction (*code,) of code space."""
    codes = _codes(model, params, key, batch, "move")
    amount = jnp.reshape(amount, (-1, *[1] * (codes.ndim - 1)))
    return need(model, "decode", "move")(params, codes + amount * direction, batch.get("y"))


def _codes(model: Model, params: Params, key: jax.Array, batch: Batch, who: str) -> jax.Array:
    """Codes that can be added and scaled; ValueError for indices of a codebook."""
    codes = need(model, "encode", who)(params, key, batch)
    if not jnp.issubdtype(codes.dtype, jnp.floating):
        raise ValueError(f"{who} needs codes that are real numbers; this model's are {codes.dtype}")
    return codes


# ---- density ---------------------------------------------------------------------------------------------------------


def anomaly_score(model: Model, params: Params, key: jax.Array, batch: Batch, samples: int = 1) -> jax.Array:
    """(B,) nats: -log p(x) where the model knows it exactly, or up to a constant (an energy), else its upper bound from
    `samples` draws.
    """
    if model.log_prob is not None:
        return -model.log_prob(params, batch)
    if model.energy is not None:
        return model.energy(params, batch["x"], batch.get("y"))
    return -need(model, "bound", "anomaly_score")(params, key, batch, samples)


# ---- filling in ------------------------------------------------------------------------------------------------------


def inpaint(
    model: Model, params: Params, keys: jax.Array, x: jax.Array, known: jax.Array, y: jax.Array | None = None, *,
    steps: int = 100, again: int = 5, grid: Grid = karras_grid(),
) -> jax.Array:  # fmt: skip
    """(B, *x): x itself where it is known, elsewhere drawn by a diffusion model to fit.

    Args:
      keys: (B,), one a sample.
      known: bool, of x's shape or one that broadcasts to it.
      steps: from noise to data.
      again: how often each is taken. In between it is undone by noise, so that what was drawn can adapt to what is known; once
        is faster, and fits badly.
      grid: of times.
    """
    denoise, process = need(model, "denoise", "inpaint"), model.process
    if again < 1:
        raise ValueError(f"inpaint takes each step again >= 1 times, not again={again}")
    times = grid(process, steps)

    def visit(x_t: jax.Array, level: tuple) -> tuple[jax.Array, None]:
        number, t, s = level
        now, then = at(process, t), at(process, s)
        q = back(now, then)

        def turn(carry: tuple, k: jax.Array) -> tuple:
            noise = lambda name: normal(named(fold(keys, number * again + k), name), x.shape[1:])
            drawn = q.mean(carry[0], denoise(params, carry[0], t, y)) + jnp.sqrt(q.small) * noise("drawn")
            x_s = jnp.where(known, then.alpha * x + then.sigma * noise("known"), drawn)
            return (onward(x_s, noise("undone"), now, then), x_s), None

        return jax.lax.scan(turn, (x_t, x_t), jnp.arange(again))[0][1], None

    start = process.sigma(times[0]) * normal(named(keys, "start"), x.shape[1:])
    return jax.lax.scan(visit, start, (jnp.arange(steps), times[:-1], times[1:]))[0]


def inpaint_by_chains(
    model: Model, params: Params, keys: jax.Array, x: jax.Array, known: jax.Array, y: jax.Array | None = None, *,
    kernel: Callable[[Field], Kernel] = partial(langevin, step=0.01), moves: int = 1000,
) -> jax.Array:  # fmt: skip
    """(B, *x): x itself where it is known, elsewhere where chains of p given that have come from noise.

    Args:
      model: of real numbers, with `energy`, or a `log_prob` that has a gradient.
      keys, known: as of `inpaint`.
      kernel: log p -> how chains move, see `genjax.chains`.
      moves: of a chain.
    """
    filled = lambda z: jnp.where(known, x, z)
    if model.energy is not None:
        log_p = lambda z: -model.energy(params, filled(z), y)
    else:
        density = need(model, "log_prob", "inpaint_by_chains")
        log_p = lambda z: density(params, as_batch(filled(z), y))
    return filled(run(kernel(log_p), named(keys, "walk"), normal(named(keys, "start"), x.shape[1:]), moves).x)
