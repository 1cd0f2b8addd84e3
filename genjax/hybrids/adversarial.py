"""adversarial(model, critic): the model, and a critic that tells its output from data.

    critic      min  L_D( D(real), D(fake) ) + r1/2 E|grad_x D(real)|^2 + r2/2 E|grad_x D(fake)|^2 + gp ...   (1) + (2)
    generator   min  L_G( D(real), D(fake) )  over the branches that `trains` names                          (3)

What the critic sees is a function of the model, which makes one combinator of many papers: samples give the GAN
(1406.2661), reconstructions the autoencoders of VQ-GAN and latent diffusion (2012.09841, 2112.10752), both of them
VAE-GAN (1512.09300), whose encoder gets no adversarial gradient because (3) trains the decoder alone. Tricks of the trade:

    n_critic             when=lambda step: step % n == n - 1
    weight clipping      critic_tx=optax.chain(..., box(0.01))
    nets that see more   `spectral`, `packed`, `projection`, `minibatch_discrimination` of `genjax.nets`
    augmentation         sees=augmented(samples(model), augment)
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from genjax.augment import Augment, sometimes
from genjax.families.gan import Game, non_saturating
from genjax.hybrids.penalties import Seen, Told, bare, moved, row_keys, smooth, still
from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, need, stream
from genjax.nets import Net

Sees = Callable[[Params, jax.Array, Batch], tuple[Seen, Seen]]  # (params, key, batch) -> (real, fake)


def samples(model: Model, *, labelled: bool = False) -> Sees:
    """The critic sees data against samples; `labelled`: also what both were told, labels (B,) or arrays (B, ...)."""

    def sees(params: Params, key: jax.Array, batch: Batch) -> tuple[Seen, Seen]:
        if labelled and "y" not in batch:
            raise ValueError("a critic that sees labels needs data with labels y; without them use labelled=False")
        label = (Told(batch["y"]),) if labelled else ()
        return (batch["x"], *label), (model.sample(params, example_keys(key, batch), batch.get("y")), *label)

    return sees


def reconstructions(model: Model) -> Sees:
    """The critic sees data against reconstructions."""
    encode, decode = need(model, "encode", "a critic of reconstructions"), need(model, "decode", "a critic of reconstructions")
    return lambda params, key, batch: ((batch["x"],), (decode(params, encode(params, key, batch), batch.get("y")),))


def augmented(sees: Sees, augment: Augment, p: Callable[[Params], jax.Array] | None = None) -> Sees:
    """What `sees` shows, the first input of each side augmented by (key, one example) -> example (2006.10738).

    Reals and fakes by the same law, with draws of their own; the generator's gradient passes through. With `p`, params -> a
    probability, only so many of them, each whole: 2006.06676 throws a coin for every part of its pipeline. Gradient penalties
    are of what the critic sees, so of augmented data.
    """

    def both(params: Params, key: jax.Array, batch: Batch) -> tuple[Seen, Seen]:
        change = sometimes(augment, p(params)) if p else augment

        def one(side: str, seen: Seen) -> Seen:
            return (jax.vmap(change)(row_keys(stream(key, f"augment {side}"), batch, seen), seen[0]), *seen[1:])

        real, fake = sees(params, key, batch)
        return one("real", real), one("fake", fake)

    return both


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
    gp: float = 0.0,
    lazy: int = 1,
    unroll: int = 0,
    unroll_lr: float = 0.1,
    trains: tuple[str, ...] | None = None,
    when: Callable[[jax.Array], jax.Array] | None = None,
    stage: int = -1,
    name: str = "critic",
) -> Model:
    """The model with a branch and two phases more: `name`, and `name/generator`.

    Args:
      model: anything that samples.
      critic: (*seen) -> (B,) logits, high for real; a packed one (B / m,).
      tx: optimizer of the generator's move.
      critic_tx: optimizer of the critic's.
      sees: what the critic compares; samples by default.
      game: losses of the two sides, and what `accuracy` counts as a right verdict.
      r1: weight of the gradient penalty on data (1801.04406).
      r2: weight of the same on fakes.
      gp: weight of the penalty that wants slope 1 between data and fakes (1704.00028; 10 there).
      lazy: take the penalties once in so many steps on average, so many times as strong.
      unroll: virtual critic moves through which the generator differentiates (1611.02163).
      unroll_lr: of these plain gradient moves.
      trains: branches that the generator's move changes; by default those through which the model samples.
      when: step -> whether the generator moves (n_critic).
      stage: the stage of the model during which the game is played.
      name: of the critic's branch.
    """
    sees, trains = sees or samples(model), model.generates if trains is None else trains
    if not trains:
        raise ValueError("adversarial needs `trains`, or a model with `generates`: the branches that the verdict changes")
    if unroll < 0:
        raise ValueError(f"adversarial unrolls moves of the critic, 0 for none, not unroll={unroll}")
    penalty = smooth(r1, r2, gp, lazy)

    def init(key: jax.Array, batch: Batch) -> Params:
        params = model.init(key, batch)
        if name in params:
            raise ValueError(f"the model has a branch {name!r} already; give this critic another name=")
        real, _ = sees(params, key, batch)
        return params | {name: critic.init(stream(key, name), *bare(real))}

    def verdict(weights: Params, key: jax.Array, batch: Batch, real: Seen, fake: Seen) -> Loss:
        """The critic's loss, of its weights."""
        logits = partial(_logits, critic, weights)
        on_real, on_fake = logits(real), logits(fake)
        value = game.critic(on_real, on_fake) + penalty(logits, key, batch, real, fake)  # 1. the game, 2. smoothness
        seen = {"real": on_real.mean(), "fake": on_fake.mean()}
        return Loss(value, seen | ({"accuracy": game.accuracy(on_real, on_fake)} if game.accuracy else {}))

    def judge(params: Params, key: jax.Array, batch: Batch) -> Loss:
        return verdict(params[name], key, batch, *map(still, sees(params, key, batch)))

    def please(params: Params, key: jax.Array, batch: Batch) -> Loss:
        real, fake = sees(params, key, batch)
        of_weights = lambda weights: verdict(weights, key, batch, real, fake).value
        weights = moved(of_weights, params[name], unroll, unroll_lr) if unroll else params[name]
        logits = partial(_logits, critic, weights)
        return Loss(game.generator(logits(real), logits(fake)))  # 3

    def follow(params: Params, key: jax.Array, batch: Batch) -> Loss:
        target = jax.lax.stop_gradient(critic.follow(params[name]))
        gaps = jax.tree.map(lambda now, then: 0.5 * jnp.sum((now - then) ** 2), params[name]["vectors"], target)
        return Loss(sum(jax.tree.leaves(gaps)))

    learnt = f"{name}/weights" if critic.follow else name
    moves = (Phase(name, judge, (learnt,), critic_tx), Phase(f"{name}/generator", please, tuple(trains), tx, when))
    if critic.follow:
        moves += (Phase(f"{name}/vectors", follow, (f"{name}/vectors",), optax.sgd(1.0)),)
    stages = list(model.stages)
    stages[stage] = (*stages[stage], *moves)
    return model._replace(init=init, stages=tuple(stages))


def _logits(critic: Net, params: Params, seen: Seen) -> jax.Array:
    logits = critic.apply(params, *bare(seen))
    if logits.ndim != 1 or seen[0].shape[0] % logits.shape[0]:
        raise ValueError(f"a critic gives one logit an example, (B,); this one gives {logits.shape}: give it out=()")
    return logits
