"""Generative adversarial networks (1406.2661): an implicit model, and the losses of the game.

    G: z ~ N(0, I) -> x = G(z)            D: x -> logit
    critic     min  E f(D(x)) + ...       generator   min  E g(D(G(z))) + ...

A GAN is `adversarial(implicit(generator), critic)`: the implicit model has no loss of its own.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.model import Batch, Model, Params, normal, stream
from genjax.nets import Net


class Game(NamedTuple):
    """The two losses, of logits of real and fake examples (B,), each -> scalar."""

    critic: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[[jax.Array, jax.Array], jax.Array]


non_saturating = Game(
    lambda real, fake: jnp.mean(jax.nn.softplus(-real) + jax.nn.softplus(fake)),
    lambda real, fake: jnp.mean(jax.nn.softplus(-fake)),
)
hinge = Game(  # 1705.02894
    lambda real, fake: jnp.mean(jax.nn.relu(1.0 - real) + jax.nn.relu(1.0 + fake)),
    lambda real, fake: -jnp.mean(fake),
)
relativistic = Game(  # pairs of one real and one fake (1807.00734; with R1 + R2 it is R3GAN, 2501.05441)
    lambda real, fake: jnp.mean(jax.nn.softplus(fake - real)),
    lambda real, fake: jnp.mean(jax.nn.softplus(real - fake)),
)


def implicit(generator: Net, latent: Sequence[int]) -> Model:
    """Samples and nothing else: the branch `generator` maps noise of shape `latent` to data.

    With no loss of its own its one stage is empty: give it to `adversarial`.
    """

    def init(key: jax.Array, batch: Batch) -> Params:
        z = jnp.zeros((batch["x"].shape[0], *latent))
        return {"generator": generator.init(stream(key, "generator"), z)}

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        del y
        return generator.apply(params["generator"], normal(keys, latent))

    return Model(init, ((),), sample, ("generator",))
