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


def each_right(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Share of examples that a critic judges rightly, one at a time, reals above zero and fakes below."""
    return 0.5 * (jnp.mean(real > 0) + jnp.mean(fake < 0))


def pairs_right(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Share of the given pairs whose real one has the higher logit; a critic of pairs fixes no zero."""
    return jnp.mean(real > fake)


class Game(NamedTuple):
    """The two losses, of logits of real and fake examples (B,), each -> scalar; and when the critic counts as right."""

    critic: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[[jax.Array, jax.Array], jax.Array]
    accuracy: Callable[[jax.Array, jax.Array], jax.Array] = each_right


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
    pairs_right,
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
