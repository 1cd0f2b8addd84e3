"""similar(model, features): a VAE whose likelihood is of what a network sees of the data (VAE-GAN, 1512.09300).

    - log p(f(x) | z) = || f(x) - f(decode(z)) ||^2 / (2 s^2) + const,   z ~ q(z | x)             (1)
    + beta KL( q(z | x) || N(0, I) )                                                              (2)

in the place of the model's own ELBO. With f a layer of the critic, `similar(adversarial(vae, critic, sees=drawn(vae, ...)), f)`
is VAE-GAN whole: (1) and (2) train the encoder, (1) and the verdict the decoder, the verdict alone the critic, from which the
likelihood learns what is alike.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from genjax.densities import flat_sum, normal_kl
from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, need, normal


def similar(
    model: Model,
    features: Callable[[Params, jax.Array], jax.Array],
    tx: optax.GradientTransformation,
    *,
    scale: float = 1.0,
    beta: float = 1.0,
    instead: str = "elbo",
) -> Model:
    """The model with the phase `similarity` in the place of its ELBO; its `bound` stays that of the data themselves.

    Args:
      model: has a normal posterior and decodes: a `vae` without a flow, or what is made of one.
      features: (params, x) -> (B, ...), of the model's parameters; nothing in them is trained by this phase but what the
        ELBO trained.
      tx: optimizer of the phase.
      scale: s, the standard deviation of a feature.
      beta: weight of the KL.
      instead: name of the phase whose place it takes.
    """
    code, decode = need(model, "latent_code", "similar"), need(model, "decode", "similar")
    old = [phase for stage in model.stages for phase in stage if phase.name == instead]
    if not old:
        names = ", ".join(phase.name for stage in model.stages for phase in stage)
        raise ValueError(f"similar takes the place of a phase; there is no {instead!r} among {names}: give instead=")

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        x, y = batch["x"], batch.get("y")
        mean, width = code.posterior(params, x, y)
        z = mean + width * normal(example_keys(key, batch), code.latent)
        gap = (features(params, x) - features(params, decode(params, z, y))) / scale
        far = 0.5 * flat_sum(gap**2).mean()  # 1. likeness
        kl = flat_sum(normal_kl(mean, jnp.log(width))).mean()  # 2. KL
        return Loss(far + beta * kl, {"far": far, "kl": kl})

    phase = Phase("similarity", loss, old[0].trains, tx, old[0].when)
    stages = tuple(tuple(phase if one.name == instead else one for one in stage) for stage in model.stages)
    return model._replace(stages=stages)
