"""reaching(model, critic): Diffusion-GAN (2206.02262), a critic that sees both sides noised, further the more it overfits.

    t ~ U[0, T]                                      for each example, the same law on both sides                 (1)
    T <- T + speed ( E sign D(x_t) - target )        E sign D(x_t) near 1: the critic knows its reals by heart    (2)

T is the branch `reach`, moved by a loss of its own, -T (...), descended by SGD. All else is `adversarial`. The paper moves T by
the sign of (...); without it the mean over devices is the mean over the batch, so that T does not depend on their number.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from genjax.hybrids.adversarial import adversarial, samples
from genjax.hybrids.sees import corrupted
from genjax.model import Batch, Loss, Model, Params, Phase
from genjax.nets import Net
from genjax.schedules import Process


def reaching(
    model: Model,
    critic: Net,
    tx: optax.GradientTransformation,
    critic_tx: optax.GradientTransformation,
    process: Process,
    *,
    target: float = 0.6,
    speed: float = 1e-3,
    first: float = 0.05,
    every: int = 4,
    sees: Callable | None = None,
    **options,
) -> Model:
    """The model with the branches `critic` and `reach`.

    Args:
      model: anything that samples.
      critic: (x_t, t) -> (B,), t (B,) in the process's span.
      tx, critic_tx: optimizers, as of `adversarial`, which takes `options` too.
      process: how both sides are noised.
      target: share of (2).
      speed: of T in one move, a share of the whole process, where the critic is 1 off its target.
      first: T at first.
      every: T moves once in so many steps.
      sees: what is noised; samples by default.
    """
    if not 0 < first <= 1 or speed <= 0:
        raise ValueError(f"reaching needs 0 < first <= 1 and speed > 0, not {first} and {speed}")

    def init(key: jax.Array, batch: Batch) -> Params:
        return model.init(key, batch) | {"reach": jnp.asarray(first)}

    noisy = corrupted(sees or samples(model), process, lambda params: jax.lax.stop_gradient(params["reach"]))
    game = adversarial(model._replace(init=init), critic, tx, critic_tx, sees=noisy, **options)

    def adapt(params: Params, key: jax.Array, batch: Batch) -> Loss:
        real, _ = noisy(params, key, batch)
        sure = jnp.mean(jnp.sign(critic.apply(params["critic"], *real)))
        now = params["reach"]
        beyond = now - jnp.clip(jax.lax.stop_gradient(now), 0.0, 1.0)  # what left [0, 1] is back in the next move
        value = -now * jax.lax.stop_gradient(sure - target) + 0.5 * beyond**2 / speed  # 2
        return Loss(value, {"T": now, "sure": sure})

    phase = Phase("reach", adapt, ("reach",), optax.sgd(speed), lambda step: step % every == every - 1)
    return game._replace(stages=(*game.stages[:-1], (*game.stages[-1], phase)))
