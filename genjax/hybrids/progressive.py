"""progressive(generators, critics, ...): a GAN that grows, one stage a level of sides (1710.10196).

    stage s     adversarial(generator at level s, critic at level s), both faded from level s - 1 by alpha
    alpha       clip(fade - (s - 1), 0, 1);   fade <- fade + 1 / n in each step of stage s, until it is s
    reals       alpha x + (1 - alpha) x at the sides of level s - 1, as fakes are

`fade` is a branch: what is sampled at any time is the level that has been reached, and a checkpoint knows it. Steps of stage s
beyond the n that fade it in train it at its full sides. Each stage starts with fresh optimizers, as in the paper.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from genjax.families.gan import check_made
from genjax.hybrids.adversarial import Sees, adversarial
from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, normal, stream
from genjax.nets import Net
from genjax.nets.growing import fade, pool, repeat


def progressive(
    generators: Sequence[Net],
    critics: Sequence[Net],
    latent: Sequence[int],
    tx: optax.GradientTransformation,
    critic_tx: optax.GradientTransformation,
    *,
    fade_steps: int,
    **game,
) -> Model:
    """Branches `generator`, `critic` and `fade`; a stage for each level.

    Args:
      generators: `growing_generator(...)` of `genjax.nets`: (z, alpha) -> x for each level, the coarsest first.
      critics: `growing_critic(...)`: (x, alpha) -> (B,) logits.
      latent: shape of one z.
      tx: optimizer of the generator.
      critic_tx: optimizer of the critic.
      fade_steps: steps in which a level fades in.
      game: further options of `adversarial` (game, r1, r2, gp, lazy, when).
    """
    if len(generators) != len(critics):
        raise ValueError(f"{len(generators)} levels of the generator, {len(critics)} of the critic: give both the same widths")
    if fade_steps < 1:
        raise ValueError(f"a level fades in over at least one step, but fade_steps={fade_steps}; give fade_steps=1 or more")

    def alpha(params: Params, level: int, size: int) -> jax.Array:
        return jnp.broadcast_to(jnp.clip(jax.lax.stop_gradient(params["fade"]) - (level - 1), 0.0, 1.0), (size,))

    def drawn(level: int, params: Params, keys: jax.Array) -> jax.Array:
        return generators[level].apply(params["generator"], normal(keys, latent), alpha(params, level, len(keys)))

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        del y
        reached = jnp.clip(jnp.ceil(params["fade"] - 0.5 / fade_steps), 0, len(generators) - 1).astype(jnp.int32)
        ways = [lambda params, keys, level=level: drawn(level, params, keys) for level in range(len(generators))]
        return jax.lax.switch(reached, ways, params, keys)

    def init(key: jax.Array, batch: Batch) -> Params:
        size = batch["x"].shape[0]
        z = jnp.zeros((size, *latent))
        params = generators[-1].init(stream(key, "generator"), z, jnp.ones(size))
        check_made(jax.eval_shape(generators[-1].apply, params, z, jnp.ones(size)), batch["x"])
        return {"fade": jnp.zeros(()), "generator": params}

    def sees(level: int) -> Sees:
        def both(params: Params, key: jax.Array, batch: Batch):
            x, known = batch["x"], alpha(params, level, batch["x"].shape[0])
            x = fade(blocky(x, len(generators) - level), x, known) if level else x
            return (x, known), (drawn(level, params, example_keys(key, batch)), known)

        return both

    def grow(level: int) -> Phase:
        def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
            del key, batch
            left = jax.lax.stop_gradient(fade_steps * (level - params["fade"]))  # in steps; sums of 1/n come short of a whole
            return Loss(-params["fade"] * jnp.clip(left, 0.0, 1.0))

        return Phase("fade", loss, ("fade",), optax.sgd(1.0 / fade_steps))

    def stage(level: int) -> Model:
        start = Model(init, ((grow(level),) if level else (),), sample, ("generator",))
        return adversarial(start, critics[level], tx, critic_tx, sees=sees(level), **game)

    stages = [stage(level) for level in range(len(generators))]
    return stages[-1]._replace(stages=tuple(each.stages[0] for each in stages))


def blocky(x: jax.Array, times: int) -> jax.Array:
    """Of its full sides, with the detail that is left when they are halved so many times."""
    for _ in range(times):
        x = pool(x)
    return repeat(x, 2**times)
