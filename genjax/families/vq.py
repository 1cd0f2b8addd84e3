"""Vector-quantized autoencoder (1711.00937): codes are integers.

    z = E(x),   e = nearest codebook vector to z,   D(z + stop(e - z)): the gradient passes straight through

    loss       -log p(x | e)                                                                                    (1)
               + commitment ||z - stop(e)||^2                                                                   (2)
    codebook   follows the running mean of the z that fall to each vector, in a phase of its own                (3)

The same with FSQ or residual codebooks: `genjax.quantizers`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from genjax.densities import Likelihood, flat_sum, gaussian
from genjax.model import Batch, Loss, Model, Params, Phase, stream
from genjax.nets import Net
from genjax.quantizers import Quantizer


def vq(
    encoder: Net,
    decoder: Net,
    quantizer: Quantizer,
    latent: Sequence[int],
    tx: optax.GradientTransformation,
    *,
    likelihood: Likelihood = gaussian(0.1),
    commitment: float = 0.25,
    decay: float = 0.99,
) -> Model:
    """A VQ autoencoder with branches `encoder`, `decoder` and, where vectors are learned, `codebook`.

    Args:
      encoder: x -> (B, *latent).
      decoder: (B, *latent) -> theta of the likelihood.
      quantizer: of the last axis of the latent; one with learned vectors must be made with the same `decay`.
      latent: (*places, channels).
      tx: optimizer of encoder and decoder.
      likelihood: of the data given the codes.
      commitment: weight of (2), relative to the reconstruction's nats.
      decay: of the codebook's running means.

    Returns:
      A Model without a prior: its codes are integers (B, *places), with a last axis from residual quantizers, for
      `latent(vq(...), prior, scaled=False)`. It samples uniformly drawn codes.
    """
    places = tuple(latent[:-1])
    shape_of_codes = (*places, quantizer.depth) if quantizer.depth else places

    def init(key: jax.Array, batch: Batch) -> Params:
        params = {"encoder": encoder.init(stream(key, "encoder"), batch["x"])}
        z = encoder.apply(params["encoder"], batch["x"])
        if z.shape[1:] != tuple(latent):
            raise ValueError(f"the encoder gives {z.shape[1:]} for one example, but latent={tuple(latent)}")
        params["decoder"] = decoder.init(stream(key, "decoder"), z)
        return params | {"codebook": quantizer.init(stream(key, "codebook"), z.reshape(-1, latent[-1]))}

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        z = quantizer.bounded(encoder.apply(params["encoder"], batch["x"]))
        codes = jax.lax.stop_gradient(quantizer.encode(params["codebook"], encoder.apply(params["encoder"], batch["x"])))
        e = jax.lax.stop_gradient(quantizer.decode(params["codebook"], codes))
        theta = decoder.apply(params["decoder"], z + jax.lax.stop_gradient(e - z))
        reconstruction = -likelihood.log_prob(theta, batch["x"]).mean()  # 1
        commit = flat_sum((z - e) ** 2).mean()  # 2
        return Loss(
            reconstruction + commitment * commit,
            {"reconstruction": reconstruction, "commitment": commit} | usage(codes, quantizer.size),
        )

    def follow(params: Params, key: jax.Array, batch: Batch) -> Loss:
        z = jax.lax.stop_gradient(encoder.apply(params["encoder"], batch["x"])).reshape(-1, latent[-1])
        target = jax.lax.stop_gradient(quantizer.target(params["codebook"], key, z))
        # 3. half the squared distance, less what the target alone adds: linear in the batch, as a mean over devices wants it
        toward = jax.tree.map(lambda a, b: 0.5 * jnp.sum(a**2) - jnp.sum(a * b), params["codebook"], target)
        return Loss(sum(jax.tree.leaves(toward)))

    def encode(params: Params, key: jax.Array, batch: Batch) -> jax.Array:
        return quantizer.encode(params["codebook"], encoder.apply(params["encoder"], batch["x"]))

    def decode(params: Params, codes: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return likelihood.mean(decoder.apply(params["decoder"], quantizer.decode(params["codebook"], codes)))

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return decode(params, jax.vmap(lambda key: jax.random.randint(key, shape_of_codes, 0, quantizer.size))(keys))

    phases = (Phase("autoencoder", loss, ("encoder", "decoder"), tx),)
    if quantizer.target:
        phases += (Phase("codebook", follow, ("codebook",), optax.sgd(1.0 - decay)),)
    return Model(init, (phases,), sample, ("decoder",), encode, decode)


def usage(codes: jax.Array, size: int) -> dict[str, jax.Array]:
    """Of one batch: the perplexity exp(H) of its codes, and how many different ones it uses."""
    share = jnp.zeros(size).at[codes.reshape(-1)].add(1.0) / codes.size
    entropy = -jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.maximum(share, 1e-12)), 0.0))
    return {"perplexity": jnp.exp(entropy), "active_codes": jnp.sum(share > 0)}
