"""cascade(low, high): a small picture from one model, a larger one of it from another (2106.15282, 2205.11487).

    stages    those of `low` on x at 1/k of its sides, then those of `high` on x          branches "low/...", "high/..."
    sample    x_low ~ low,   x ~ high(x | up(x_low) + s noise)                                                    (1)

Both see pictures of the same range. Noise of a random level s on the small picture, in training up to `augment` and told to
`high`, keeps it from trusting what `low` only nearly gets right (conditioning augmentation, 2205.11487, section 2.5).
A chain of three: cascade(cascade(low, middle), high).
"""

import jax
import jax.numpy as jnp

from genjax.model import Batch, Model, Params, Phase, example_keys, memory_under, named, normal, stream, under


def cascade(low: Model, high: Model, factor: int = 2, *, augment: float = 0.5, level: float = 0.1) -> Model:
    """A model of pictures through smaller ones.

    Args:
      low: any model of pictures (*space / factor, C).
      high: any model of pictures (*space, C) made with classes=GIVEN: it is told (*space, C + 1), the small picture enlarged
        and, in the last channel, s.
      factor: of the sides.
      augment: the largest s in training.
      level: s of sampling, at most `augment`.
    """
    if factor < 2 or not 0 <= level <= augment:
        raise ValueError(f"cascade needs factor >= 2 and 0 <= level <= augment, not {factor}, {level} and {augment}")

    def hint(keys: jax.Array, small: jax.Array, s: jax.Array) -> jax.Array:
        s = s.reshape(-1, *[1] * (small.ndim - 1))
        noisy = small + s * normal(named(keys, "augment"), small.shape[1:])
        large = enlarged(noisy, factor)
        return jnp.concatenate([large, jnp.broadcast_to(s, (*large.shape[:-1], 1))], axis=-1)

    def seen(name: str, params: Params, key: jax.Array, batch: Batch) -> Batch:
        small, keys = shrunk(batch["x"], factor), example_keys(key, batch)
        if name == "low":
            return batch | {"x": small}
        s = augment * jax.vmap(lambda key: jax.random.uniform(stream(key, "level")))(keys)
        return batch | {"y": hint(keys, small, s)}

    def init(key: jax.Array, batch: Batch) -> Params:
        some = lambda name, model: model.init(stream(key, name), seen(name, {}, key, batch))
        return {"low": some("low", low), "high": some("high", high)}

    def on(name: str, phase: Phase) -> Phase:
        lifted = under(name, phase)
        return lifted._replace(loss=lambda params, key, batch: lifted.loss(params, key, seen(name, params, key, batch)))

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        small = low.sample(params["low"], keys, y)
        keys = named(keys, "high")
        return high.sample(params["high"], keys, hint(keys, small, jnp.full(len(keys), level)))

    stages = [(name, stage) for name, model in (("low", low), ("high", high)) for stage in model.stages]
    return Model(
        init,
        tuple(tuple(on(name, phase) for phase in stage) for name, stage in stages),
        sample,
        tuple(f"high/{path}" for path in high.generates),
        memory=memory_under({"low": low, "high": high}, seen),
    )


def shrunk(x: jax.Array, factor: int) -> jax.Array:
    """(B, *space, C) -> (B, *space / factor, C): means of blocks."""
    space = x.shape[1:-1]
    if any(side % factor for side in space):
        raise ValueError(f"pictures of sides {space} do not divide by factor={factor}")
    blocks = x.reshape(x.shape[0], *(part for side in space for part in (side // factor, factor)), x.shape[-1])
    return blocks.mean(tuple(range(2, 2 * len(space) + 1, 2)))


def enlarged(x: jax.Array, factor: int) -> jax.Array:
    """(B, *space, C) -> (B, *factor space, C), smoothly."""
    return jax.image.resize(x, (x.shape[0], *(factor * side for side in x.shape[1:-1]), x.shape[-1]), "linear")
