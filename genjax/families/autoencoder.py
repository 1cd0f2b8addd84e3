"""An autoencoder: codes that keep what the data hold, and no law of the codes.

    loss = E || D(E(x)) - x ||^2 / D + decay E |E(x)|^2 / C                                              (1) + (2)

It is a generative model only with a prior of its codes: `latent(autoencoder(...), prior)`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from genjax.model import Batch, Loss, Model, Params, Phase, normal, stream
from genjax.nets import Net


def autoencoder(
    encoder: Net, decoder: Net, latent: Sequence[int], tx: optax.GradientTransformation, *, decay: float = 1e-4
) -> Model:
    """An autoencoder with the branches `encoder` and `decoder`.

    Args:
      encoder: x -> (B, *latent).
      decoder: (B, *latent) -> x's shape.
      latent: shape of one code.
      tx: optimizer.
      decay: weight of the codes' own size, which without it nothing holds.

    Returns:
      A Model without a prior: it samples what standard normal codes decode to, which is no law of the data.
    """
    latent = tuple(latent)

    def init(key: jax.Array, batch: Batch) -> Params:
        weights = encoder.init(stream(key, "encoder"), batch["x"])
        z = encoder.apply(weights, batch["x"])
        if z.shape[1:] != latent:
            raise ValueError(f"the encoder gives {z.shape[1:]} for one example, but latent={latent}")
        return {"encoder": weights, "decoder": decoder.init(stream(key, "decoder"), z)}

    def encode(params: Params, key: jax.Array, batch: Batch) -> jax.Array:
        return encoder.apply(params["encoder"], batch["x"])

    def decode(params: Params, codes: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return decoder.apply(params["decoder"], codes)

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        z = encode(params, key, batch)
        error, size = jnp.mean((decode(params, z) - batch["x"]) ** 2), jnp.mean(z**2)
        return Loss(error + decay * size, {"error": error, "code_power": size})  # 1 + 2

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return decode(params, normal(keys, latent))

    phase = Phase("autoencoder", loss, ("encoder", "decoder"), tx)
    return Model(init, ((phase,),), sample, ("decoder",), encode, decode)
