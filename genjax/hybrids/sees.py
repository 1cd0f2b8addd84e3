"""What else a critic may see: pairs, codes, features, noised pictures. Each is a `Sees` for `adversarial`.

    pairs       (x, E(x)) against (D(z), z)                       BiGAN, ALI (1605.09782, 1606.00704)
    codes       z ~ N(0, I) against E(x)                          adversarial autoencoder (1511.05644)
    drawn       x against D(E(x)) and D(z), half of each          VAE-GAN (1512.09300)
    featured    the same in the features of a fixed network       perceptual critics
    corrupted   both sides after the same noising, told t         Diffusion-GAN (2206.02262), see `genjax.hybrids.reaching`

Which branches the verdict changes is `adversarial`'s `trains`: BiGAN's are ("encoder", "decoder"), the adversarial
autoencoder's ("encoder",). Of pairs the model makes both sides, which wants the game `two_sided`, or a relativistic one.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from genjax.hybrids.adversarial import Sees
from genjax.hybrids.penalties import Seen, row_keys
from genjax.model import Batch, Model, Params, example_keys, named, need, normal, stream
from genjax.schedules import Process, noised


def pairs(model: Model, latent: Sequence[int]) -> Sees:
    """Data with their codes against what noise of shape `latent` decodes to, with that noise; the critic is (x, z) -> (B,)."""
    encode, decode = need(model, "encode", "a critic of pairs"), need(model, "decode", "a critic of pairs")

    def sees(params: Params, key: jax.Array, batch: Batch) -> tuple[Seen, Seen]:
        z = _noise(key, batch, latent)
        return (batch["x"], encode(params, key, batch)), (decode(params, z, batch.get("y")), z)

    return sees


def codes(model: Model, latent: Sequence[int]) -> Sees:
    """Standard normal noise against codes."""
    encode = need(model, "encode", "a critic of codes")
    return lambda params, key, batch: ((_noise(key, batch, latent),), (encode(params, key, batch),))


def drawn(model: Model, latent: Sequence[int]) -> Sees:
    """Data, twice, against reconstructions and what noise decodes to."""
    encode, decode = need(model, "encode", "a critic of drawn codes"), need(model, "decode", "a critic of drawn codes")

    def sees(params: Params, key: jax.Array, batch: Batch) -> tuple[Seen, Seen]:
        fakes = [decode(params, z, batch.get("y")) for z in (encode(params, key, batch), _noise(key, batch, latent))]
        return (jnp.concatenate([batch["x"]] * 2),), (jnp.concatenate(fakes),)

    return sees


def featured(sees: Sees, features: Callable[[jax.Array], jax.Array]) -> Sees:
    """What `sees` shows, the first input of each side as a fixed network sees it, x (B, ...) -> (B, ...)."""

    def through(params: Params, key: jax.Array, batch: Batch) -> tuple[Seen, Seen]:
        real, fake = sees(params, key, batch)
        return (features(real[0]), *real[1:]), (features(fake[0]), *fake[1:])

    return through


def corrupted(sees: Sees, process: Process, reach: Callable[[Params], jax.Array] = lambda params: jnp.ones(())) -> Sees:
    """Both sides noised to one time t an example, drawn evenly below `reach`, each with noise of its own; and told t.

    The critic is (x_t, t, *other) -> (B,). The gradient passes through the noising.
    """

    def noisy(params: Params, key: jax.Array, batch: Batch) -> tuple[Seen, Seen]:
        real, fake = sees(params, key, batch)
        keys = row_keys(stream(key, "corrupt"), batch, real)
        low, high = process.span
        share = jax.vmap(lambda key: jax.random.uniform(stream(key, "time")))(keys)
        t = low + share * jnp.clip(reach(params), 0.0, 1.0) * (high - low)

        def one(side: str, seen: Seen) -> Seen:
            eps = normal(named(keys, side), seen[0].shape[1:])
            return (noised(process, seen[0], eps, t), t, *seen[1:])

        return one("real", real), one("fake", fake)

    return noisy


def _noise(key: jax.Array, batch: Batch, latent: Sequence[int]) -> jax.Array:
    return normal(example_keys(stream(key, "prior"), batch), latent)
