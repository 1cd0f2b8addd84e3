"""Generative adversarial networks (1406.2661): an implicit model, and the losses of the game.

    G: z ~ N(0, I) -> x = G(z)            D: x -> logit
    critic     min  E f(D(x)) + ...       generator   min  E g(D(G(z))) + ...

A GAN is `adversarial(implicit(generator), critic)`: the implicit model has no loss of its own.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.conditions import told
from genjax.model import Batch, Model, Params, normal, stream
from genjax.nets import Net

Side = Callable[[jax.Array, jax.Array], jax.Array]  # logits of real and fake examples, (B,) each -> scalar


def each_right(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Share of examples that a critic judges rightly, one at a time, reals above zero and fakes below."""
    return 0.5 * (jnp.mean(real > 0) + jnp.mean(fake < 0))


def pairs_right(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Share of the given pairs whose real one has the higher logit; a critic of pairs fixes no zero."""
    return jnp.mean(real > fake)


class Game(NamedTuple):
    """The two losses, of logits of real and fake examples; when the critic counts as right, None where that says nothing."""

    critic: Side
    generator: Side
    accuracy: Side | None = each_right


non_saturating = Game(
    lambda real, fake: jnp.mean(jax.nn.softplus(-real) + jax.nn.softplus(fake)),
    lambda real, fake: jnp.mean(jax.nn.softplus(-fake)),
)
hinge = Game(  # 1705.02894
    lambda real, fake: jnp.mean(jax.nn.relu(1.0 - real) + jax.nn.relu(1.0 + fake)),
    lambda real, fake: -jnp.mean(fake),
)
two_sided = Game(  # where the model makes both sides, as with pairs (1605.09782), it wants each taken for the other
    non_saturating.critic,
    lambda real, fake: jnp.mean(jax.nn.softplus(real) + jax.nn.softplus(-fake)),
)
least_squares = Game(  # 1611.04076 with labels 1 and 0, between which a verdict is right
    lambda real, fake: 0.5 * jnp.mean((real - 1.0) ** 2 + fake**2),
    lambda real, fake: 0.5 * jnp.mean((fake - 1.0) ** 2),
    lambda real, fake: each_right(real - 0.5, fake - 0.5),
)
wasserstein = Game(  # 1701.07875: only with a critic of bounded slope; one that is always right is what it wants
    lambda real, fake: jnp.mean(fake) - jnp.mean(real),
    lambda real, fake: -jnp.mean(fake),
    None,
)
relativistic = Game(  # pairs of one real and one fake (1807.00734; with R1 + R2 it is R3GAN, 2501.05441)
    lambda real, fake: jnp.mean(jax.nn.softplus(fake - real)),
    lambda real, fake: jnp.mean(jax.nn.softplus(real - fake)),
    pairs_right,
)


def covering(alpha: float = 0.2) -> Game:
    """The first critic of D2GAN (1709.03831): D = softplus(logit), high for data; at its best alpha p(x) / q(x).

    The generator between this one and `seeking` minimizes alpha KL(p, q) + beta KL(q, p): the one covers all modes, the other
    stays within them. adversarial(adversarial(model, critic, game=covering()), critic, game=seeking(), name="seeking").
    """
    return Game(
        lambda real, fake: jnp.mean(jax.nn.softplus(fake)) - alpha * jnp.mean(_log_softplus(real)),
        lambda real, fake: -jnp.mean(jax.nn.softplus(fake)),
        pairs_right,
    )


def seeking(beta: float = 0.1) -> Game:
    """The second critic of D2GAN, high for fakes; at its best beta q(x) / p(x). It drives samples out of where no data are."""
    return Game(
        lambda real, fake: jnp.mean(jax.nn.softplus(real)) - beta * jnp.mean(_log_softplus(fake)),
        lambda real, fake: beta * jnp.mean(_log_softplus(fake)),
        lambda real, fake: pairs_right(fake, real),
    )


def _log_softplus(x: jax.Array) -> jax.Array:
    """log log(1 + e^x), which is x itself where that is far below zero."""
    low = x < -15.0
    return jnp.where(low, x, jnp.log(jax.nn.softplus(jnp.where(low, 0.0, x))))


def check_made(made: jax.Array, x: jax.Array) -> None:
    """Refuse a generator that makes something else than the data are."""
    if made.shape != x.shape:
        raise ValueError(f"the generator makes {made.shape[1:]} an example, but data are {x.shape[1:]}: set its `out`")


def implicit(generator: Net, latent: Sequence[int], *, classes: int = 0) -> Model:
    """Samples and nothing else: the branch `generator` maps noise of shape `latent` to data.

    With no loss of its own its one stage is empty: give it to `adversarial`.

    Args:
      generator: z -> x, or (z, condition) -> x with a one-hot condition (B, classes).
      latent: shape of one z.
      classes: condition on labels 0 .. classes - 1; 0 for none. What the critic then sees: `samples(model, labelled=True)`.
    """

    def given(y: jax.Array | None) -> tuple[jax.Array, ...]:
        return (told(y, classes),) if classes else ()

    def init(key: jax.Array, batch: Batch) -> Params:
        z = jnp.zeros((batch["x"].shape[0], *latent))
        params = {"generator": generator.init(stream(key, "generator"), z, *given(batch.get("y")))}
        check_made(jax.eval_shape(generator.apply, params["generator"], z, *given(batch.get("y"))), batch["x"])
        return params

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return generator.apply(params["generator"], normal(keys, latent), *given(y))

    return Model(init, ((),), sample, ("generator",))
