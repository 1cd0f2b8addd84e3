"""Denoising diffusion in a few steps, each drawn by a generator (2112.07804): the implicit model of a denoising diffusion GAN.

    x_s ~ q(x_s | x_t, x_0),   x_0 = G(x_t, z, t),   z ~ N(0, I)                                                  (1)

The critic sees (x_s, t, x_t), on the real side a step of the forward process: `adversarial(stepwise(...), critic,
sees=steps_of(...))`. Large steps have reverse laws of many modes, which is why a z decides between them.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from genjax.families.gan import check_made
from genjax.hybrids.adversarial import Sees
from genjax.hybrids.penalties import Seen, Told
from genjax.model import Batch, Model, Params, example_keys, named, normal, stream
from genjax.nets import Net
from genjax.schedules import Process, at, back, check_noise, noised, onward


def stepwise(generator: Net, shape: Sequence[int], latent: Sequence[int], process: Process, steps: int = 4) -> Model:
    """The branch `generator`, with no loss of its own.

    Args:
      generator: (x_t, t, z) -> x_0 of x's shape.
      shape: of one example, scaled to about unit variance.
      latent: shape of one z.
      process: that is cut into `steps` even steps; it ends in noise.
    """
    times = _times(process, steps)

    def init(key: jax.Array, batch: Batch) -> Params:
        x, t = batch["x"], jnp.zeros(batch["x"].shape[0])
        given = x, t, jnp.zeros((x.shape[0], *latent))
        params = generator.init(stream(key, "generator"), *given)
        check_made(jax.eval_shape(generator.apply, params, *given), x)
        if x.shape[1:] != tuple(shape):
            raise ValueError(f"stepwise draws {tuple(shape)} an example, but data are {x.shape[1:]}: set its `shape`")
        return {"generator": params}

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        def one(x, step):
            now, then = step
            named = jax.vmap(lambda key: jax.random.fold_in(key, jnp.round(now * steps).astype(int)))(keys)
            return _drawn(generator, params, named, process, x, now, then, latent), None

        start = process.sigma(times[0]) * normal(named(keys, "start"), shape)
        return jax.lax.scan(one, start, (times[:-1], times[1:]))[0]

    return Model(init, ((),), sample, ("generator",))


def steps_of(generator: Net, latent: Sequence[int], process: Process, steps: int = 4) -> Sees:
    """A step of the forward process against the generator's way back from the same x_t; the critic is (x_s, t, x_t) -> (B,)."""
    times = _times(process, steps)

    def sees(params: Params, key: jax.Array, batch: Batch) -> tuple[Seen, Seen]:
        keys, x = example_keys(key, batch), batch["x"]
        some = lambda name: named(keys, name)
        number = jax.vmap(lambda key: jax.random.randint(key, (), 0, steps))(some("step"))
        t, s = times[number], times[number + 1]
        x_s = noised(process, x, normal(some("noise"), x.shape[1:]), s)
        x_t = onward(x_s, normal(some("more"), x.shape[1:]), at(process, t, x.ndim), at(process, s, x.ndim))
        made = _drawn(generator, params, some("back"), process, x_t, t, s, latent)
        return (x_s, t, Told(x_t)), (made, t, Told(x_t))

    return sees


def _times(process: Process, steps: int) -> jax.Array:
    if steps < 1:
        raise ValueError(f"a denoising GAN takes at least one step, not steps={steps}")
    check_noise(process)
    return jnp.linspace(process.span[1], 0.0, steps + 1)


def _drawn(
    generator: Net, params: Params, keys: jax.Array, process: Process, x_t: jax.Array, t: jax.Array, s: jax.Array,
    latent: Sequence[int],
) -> jax.Array:  # fmt: skip
    """(1): x_s of shape (B, ...)."""
    z = normal(named(keys, "z"), latent)
    x_0 = generator.apply(params["generator"], x_t, jnp.broadcast_to(t, x_t.shape[:1]), z)
    q = back(at(process, t, x_t.ndim), at(process, s, x_t.ndim))
    eps = normal(named(keys, "eps"), x_t.shape[1:])
    return q.mean(x_t, x_0) + jnp.sqrt(q.small) * eps
