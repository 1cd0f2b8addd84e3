"""adversarial(model, critic): the model, and a critic that tells its output from data.

    critic      min  L_D( D(real), D(fake) ) + r1/2 E|grad_x D(real)|^2 + r2/2 E|grad_x D(fake)|^2      (1) + (2)
    generator   min  L_G( D(real), D(fake) )  over the branches that `trains` names                          (3)

What the critic sees is a function of the model, which makes one combinator of many papers: samples give the GAN
(1406.2661), reconstructions the autoencoders of VQ-GAN and latent diffusion (2012.09841, 2112.10752), both of them
VAE-GAN (1512.09300), whose encoder gets no adversarial gradient because (3) trains the decoder alone.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from genjax.families.gan import Game, non_saturating
from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, need, stream
from genjax.nets import Net

Seen = tuple[jax.Array, ...]  # the inputs of the critic for a batch of examples
Sees = Callable[[Params, jax.Array, Batch], tuple[Seen, Seen]]  # (params, key, batch) -> (real, fake)


def samples(model: Model) -> Sees:
    """The critic sees data against samples."""
    return lambda params, key, batch: ((batch["x"],), (model.sample(params, example_keys(key, batch), batch.get("y")),))


def reconstructions(model: Model) -> Sees:
    """The critic sees data against reconstructions."""
    encode, decode = need(model, "encode", "a critic of reconstructions"), need(model, "decode", "a critic of reconstructions")
    return lambda params, key, batch: ((batch["x"],), (decode(params, encode(params, key, batch), batch.get("y")),))


def adversarial(
    model: Model,
    critic: Net,
    tx: optax.GradientTransformation,
    critic_tx: optax.GradientTransformation,
    *,
    sees: Sees | None = None,
    game: Game = non_saturating,
    r1: float = 0.0,
    r2: float = 0.0,
    trains: tuple[str, ...] | None = None,
    when: Callable[[jax.Array], jax.Array] | None = None,
    stage: int = -1,
    name: str = "critic",
) -> Model:
    """The model with a branch and two phases more: `name`, and `name/generator`.

    Args:
      model: anything that samples.
      critic: (*seen) -> (B,) logits, high for real.
      tx: optimizer of the generator's move.
      critic_tx: optimizer of the critic's.
      sees: what the critic compares; samples by default.
      game: losses of the two sides, and what `accuracy` counts as a right verdict.
      r1: weight of the gradient penalty on data (1801.04406).
      r2: weight of the same on fakes.
      trains: branches that the generator's move changes; by default those through which the model samples.
      when: step -> whether the generator moves (n_critic).
      stage: the stage of the model during which the game is played.
      name: of the critic's branch.
    """
    sees, trains = sees or samples(model), model.generates if trains is None else trains
    if not trains:
        raise ValueError("adversarial needs `trains`, or a model with `generates`: the branches that the verdict changes")

    def init(key: jax.Array, batch: Batch) -> Params:
        params = model.init(key, batch)
        if name in params:
            raise ValueError(f"the model has a branch {name!r} already; give this critic another name=")
        real, _ = sees(params, key, batch)
        return params | {name: critic.init(stream(key, name), *real)}

    def judge(params: Params, key: jax.Array, batch: Batch) -> Loss:
        real, fake = jax.lax.stop_gradient(sees(params, key, batch))
        logits = partial(_logits, critic, params[name])
        on_real, on_fake = logits(real), logits(fake)
        value = game.critic(on_real, on_fake)  # 1. the game
        value += 0.5 * r1 * _penalty(logits, real) if r1 else 0.0  # 2. smoothness
        value += 0.5 * r2 * _penalty(logits, fake) if r2 else 0.0
        return Loss(value, {"real": on_real.mean(), "fake": on_fake.mean(), "accuracy": game.accuracy(on_real, on_fake)})

    def please(params: Params, key: jax.Array, batch: Batch) -> Loss:
        real, fake = sees(params, key, batch)
        logits = partial(_logits, critic, params[name])
        return Loss(game.generator(logits(real), logits(fake)))  # 3

    moves = (Phase(name, judge, (name,), critic_tx), Phase(f"{name}/generator", please, tuple(trains), tx, when))
    stages = list(model.stages)
    stages[stage] = (*stages[stage], *moves)
    return model._replace(init=init, stages=tuple(stages))


def _logits(critic: Net, params: Params, seen: Seen) -> jax.Array:
    logits = critic.apply(params, *seen)
    if logits.shape != (seen[0].shape[0],):
        raise ValueError(f"a critic gives one logit an example, (B,); this one gives {logits.shape}")
    return logits


def _penalty(logits: Callable[[Seen], jax.Array], seen: Seen) -> jax.Array:
    """Mean squared norm of the critic's gradient with respect to all it sees."""
    gradients = jax.grad(lambda seen: logits(seen).sum())(seen)
    return sum(jnp.sum(g**2) for g in gradients) / seen[0].shape[0]
