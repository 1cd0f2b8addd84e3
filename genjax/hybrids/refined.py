"""refined(base, diffusion, start): noise a draft of the base to the time `start`, and denoise it from there.

    stages       those of the base, then those of the diffusion                    branches "base/...", "diffusion/..."
    sample       x_0' ~ base,   x_start = alpha x_0' + sigma noise,   x = the reverse process from `start` to 0      (1)

A GAN's draft begins the reverse process at a middle time; VAE's or one made by hand is drawn anew (SDEdit, 2108.01073). With
`told` the diffusion also sees the draft as its condition, in training the base's reconstruction of x (DiffuseVAE, 2201.00308,
its second formulation).

Over a base with codes it is a model with codes: what is moved, mixed or added in the base's latent space (`genjax.tasks`) the
diffusion draws, from the same noise for every code, so that a picture depends on its code alone.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.model import Batch, Model, Params, Phase, memory_under, named, need, normal, stream, under
from genjax.samplers import Sampler, ddim
from genjax.schedules import Grid, Process, noised, uniform_grid


def refined(
    base: Model,
    diffusion: Model,
    start: float = 0.5,
    *,
    steps: int = 25,
    sampler: Sampler = ddim(),
    grid: Grid = uniform_grid(),
    told: bool = False,
) -> Model:
    """A model that drafts with one and draws with the other.

    Args:
      base: any model of the data; with `told` one that encodes and decodes.
      diffusion: any model with `denoise`; with `told` one made with classes=GIVEN, whose network sees images as conditions.
      start: time at which the reverse process begins, in (0, 1]: near 0 the draft is kept, at 1 only what is told of it.
      steps, sampler, grid: of the reverse process; the grid is run over the times below `start`.

    Returns:
      A Model; where the base encodes and decodes, with its `encode` and with drawn pictures as its `decode`.
    """
    need(diffusion, "denoise", "refined, as diffusion,")
    if told:
        need(base, "encode", "refined(told=True), as base,"), need(base, "decode", "refined(told=True), as base,")
    if not 0 < start <= 1:
        raise ValueError(f"refined starts at a time in (0, 1], not start={start}")
    if steps < 1:
        raise ValueError(f"refined takes at least one step, but steps={steps}; give steps=1 or more")

    def reconstruction(params: Params, key: jax.Array, batch: Batch) -> jax.Array:
        codes = base.encode(params["base"], stream(key, "codes"), batch)
        return jax.lax.stop_gradient(base.decode(params["base"], codes, batch.get("y")))

    def on(params: Params, key: jax.Array, batch: Batch) -> Batch:
        return batch | {"y": reconstruction(params, key, batch)} if told else batch

    def init(key: jax.Array, batch: Batch) -> Params:
        params = {"base": base.init(stream(key, "base"), batch)}
        return params | {"diffusion": diffusion.init(stream(key, "diffusion"), on(params, key, batch))}

    def drawn(phase: Phase) -> Phase:
        lifted = under("diffusion", phase)
        return lifted._replace(loss=lambda params, key, batch: lifted.loss(params, key, on(params, key, batch)))

    def redrawn(params: Params, draft: jax.Array, keys: jax.Array, y: jax.Array | None) -> jax.Array:
        see = draft if told else y
        denoise = lambda x_t, t, **asked: diffusion.denoise(params["diffusion"], x_t, t, see, **asked)
        return polished(denoise, diffusion.process, draft, keys, start, steps, sampler, grid)

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return redrawn(params, base.sample(params["base"], keys, y), named(keys, "refine"), y)

    def decode(params: Params, codes: jax.Array, y: jax.Array | None = None) -> jax.Array:
        draft = base.decode(params["base"], codes, y)
        return redrawn(params, draft, jnp.broadcast_to(jax.random.key(0), (len(draft),)), y)

    first = tuple(tuple(under("base", phase) for phase in stage) for stage in base.stages)
    second = tuple(tuple(drawn(phase) for phase in stage) for stage in diffusion.stages)
    branches = tuple(f"diffusion/{path}" for path in diffusion.generates)
    rows = memory_under({"base": base, "diffusion": diffusion})
    model = Model(init, (*first, *second), sample, branches, process=diffusion.process, memory=rows)
    if base.encode and base.decode:
        model = model._replace(encode=_below("base", base.encode), decode=decode)
    return model if told else model._replace(denoise=_below("diffusion", diffusion.denoise))


def polished(
    denoise: Callable, process: Process, draft: jax.Array, keys: jax.Array, start: float, steps: int,
    sampler: Sampler = ddim(), grid: Grid = uniform_grid(),
) -> jax.Array:  # fmt: skip
    """(1) of drafts (B, ...), one key each: `steps` steps of the sampler from the time `start` to 0."""
    times = start * grid(process, steps) / process.span[1]
    eps = normal(named(keys, "noise"), draft.shape[1:])
    x = noised(process, draft, eps, jnp.full(len(draft), times[0]))
    return sampler(denoise, process, times, x, keys)


def _below(name: str, capability: Callable) -> Callable:
    return lambda params, *inputs, **asked: capability(params[name], *inputs, **asked)
