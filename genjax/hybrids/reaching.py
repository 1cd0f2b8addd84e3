"""reaching(model, critic): a critic that sees both sides corrupted, further the more it overfits.

    x' = corrupt(x; T)                               both sides by the same law                                   (1)
    T <- T + speed ( E sign D(x') - target )         E sign D(x') near 1: the critic knows its reals by heart     (2)

    Diffusion-GAN (2206.02262)    further=lambda sees, reach: corrupted(sees, process, reach)      noised to t ~ U[0, T]
    ADA (2006.06676)              further=lambda sees, reach: augmented(sees, augment, reach)      augmented with probability T

T is the branch `reach`, moved by a loss of its own, -T (...), descended by SGD. All else is `adversarial`. The papers move T by
the sign of (...); without it the mean over devices is the mean over the batch, so that T does not depend on their number.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from genjax.families.gan import each_right, non_saturating
from genjax.hybrids.adversarial import Sees, adversarial, samples
from genjax.hybrids.penalties import bare
from genjax.model import Batch, Loss, Model, Params, Phase
from genjax.nets import Net


def reaching(
    model: Model,
    critic: Net,
    tx: optax.GradientTransformation,
    critic_tx: optax.GradientTransformation,
    further: Callable[[Sees, Callable[[Params], jax.Array]], Sees],
    *,
    target: float = 0.6,
    speed: float = 1e-3,
    first: float = 0.05,
    every: int = 4,
    sees: Sees | None = None,
    stage: int = -1,
    name: str = "critic",
    **options,
) -> Model:
    """The model with the branches `name` and `reach`.

    Args:
      model: anything that samples.
      critic: of what `further` shows: (x_t, t) -> (B,) with t (B,) in the process's span, or x' -> (B,).
      tx, critic_tx: optimizers, as of `adversarial`, which takes `options` too.
      further: how both sides are corrupted, given params -> T in [0, 1].
      target: share of (2).
      speed: of T in one move, where the critic is 1 off its target.
      first: T at first.
      every: T moves once in so many steps.
      sees: what is corrupted; samples by default.
      stage: the stage of the model during which all this happens.
      name: of the critic's branch.
    """
    if not 0 < first <= 1 or speed <= 0 or every < 1:
        raise ValueError(f"reaching needs 0 < first <= 1, speed > 0 and every >= 1, not {first}, {speed} and {every}")
    if options.get("game", non_saturating).accuracy is not each_right:
        raise ValueError("reaching counts how often the critic is above zero on data, which this game leaves open: give "
                         "game=non_saturating or hinge")  # fmt: skip

    def init(key: jax.Array, batch: Batch) -> Params:
        params = model.init(key, batch)
        if "reach" in params:
            raise ValueError("the model has a branch 'reach' already; one critic can be `reaching`: add others by adversarial")
        return params | {"reach": jnp.asarray(first)}

    corrupt = further(sees or samples(model), lambda params: jax.lax.stop_gradient(params["reach"]))
    game = adversarial(model._replace(init=init), critic, tx, critic_tx, sees=corrupt, stage=stage, name=name, **options)

    def adapt(params: Params, key: jax.Array, batch: Batch) -> Loss:
        real, _ = corrupt(params, key, batch)
        sure = jnp.mean(jnp.sign(critic.apply(params[name], *bare(real))))
        now = params["reach"]
        beyond = now - jnp.clip(jax.lax.stop_gradient(now), 0.0, 1.0)  # what left [0, 1] is back in the next move
        value = -now * jax.lax.stop_gradient(sure - target) + 0.5 * beyond**2 / speed  # 2
        return Loss(value, {"T": now, "sure": sure})

    phase = Phase("reach", adapt, ("reach",), optax.sgd(speed), lambda step: step % every == every - 1)
    stages = list(game.stages)
    stages[stage] = (*stages[stage], phase)
    return game._replace(stages=tuple(stages))
