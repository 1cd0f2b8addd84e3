"""unclip(prior, decoder, image, text): words to an embedding of pictures, that to a picture (2204.06125, DALL-E 2).

    e = E(x), t = T(y), both of length sqrt(D)

    stage 1    cross entropy of i over s e_i . t_j / D, and of j (CLIP, 2103.00020)  branches "image", "text", "sharpness"  (1)
    stage 2 .. the prior's own on e, told t                                          "prior/..."                           (2)
    stage n .. the decoder's own on x, told e                                        "decoder/..."                         (3)
    sample     x ~ decoder(x | e),  e ~ prior(e | T(y))

Embeddings are frozen once their stage is over. What a picture has that its words do not say is in e, so the prior draws it:
many different pictures of one text, each decoded from its own e.
"""

import jax
import jax.numpy as jnp
import optax

from genjax.model import Batch, Loss, Model, Params, Phase, memory_under, named, stream, under
from genjax.nets import Net


def unclip(prior: Model, decoder: Model, image: Net, text: Net, tx: optax.GradientTransformation) -> Model:
    """A model of pictures told in words.

    Args:
      prior: any model of arrays (D,) made with classes=GIVEN, which is told T(y) (B, D).
      decoder: any model of pictures made with classes=GIVEN, which is told an embedding (B, D).
      image: x -> (B, D).
      text: y -> (B, D).
      tx: optimizer of the embeddings. Each example is told from the others of the batch; under pmap, from those of its device.
    """

    def of_image(params: Params, x: jax.Array) -> jax.Array:
        return _on_sphere(image.apply(params["image"], x))

    def of_text(params: Params, y: jax.Array | None) -> jax.Array:
        if y is None:
            raise ValueError("unclip needs y, the words of each picture, in the batch and to sample")
        return _on_sphere(text.apply(params["text"], y))

    def seen(name: str, params: Params, key: jax.Array, batch: Batch) -> Batch:
        e = jax.lax.stop_gradient(of_image(params, batch["x"]))
        if name == "decoder":
            return batch | {"y": e}
        return batch | {"x": e, "y": jax.lax.stop_gradient(of_text(params, batch.get("y")))}

    def init(key: jax.Array, batch: Batch) -> Params:
        if "y" not in batch:
            raise ValueError("unclip needs data with y, the words of each picture")
        params = {"image": image.init(stream(key, "image"), batch["x"]), "text": text.init(stream(key, "text"), batch["y"])}
        e, t = of_image(params, batch["x"]), of_text(params, batch["y"])
        if e.shape != t.shape or e.ndim != 2:
            raise ValueError(f"image and text must both give (B, D); these give {e.shape} and {t.shape}")
        params |= {"sharpness": jnp.log(1 / 0.07)}  # where CLIP begins
        some = lambda name, model: model.init(stream(key, name), seen(name, params, key, batch))
        return params | {"prior": some("prior", prior), "decoder": some("decoder", decoder)}

    def match(params: Params, key: jax.Array, batch: Batch) -> Loss:
        e, t = of_image(params, batch["x"]), of_text(params, batch["y"])
        alike = jnp.exp(jnp.minimum(params["sharpness"], jnp.log(100.0))) * e @ t.T / e.shape[1]
        right = jnp.arange(len(e))
        nats = optax.softmax_cross_entropy_with_integer_labels
        value = 0.5 * (nats(alike, right) + nats(alike.T, right)).mean()  # 1
        return Loss(value, {"matched": (alike.argmax(1) == right).mean()})

    def on(name: str, phase: Phase) -> Phase:
        lifted = under(name, phase)
        return lifted._replace(loss=lambda params, key, batch: lifted.loss(params, key, seen(name, params, key, batch)))

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        each = lambda name: named(keys, name)
        e = prior.sample(params["prior"], each("prior"), of_text(params, y))
        return decoder.sample(params["decoder"], each("decoder"), e)

    later = [(name, stage) for name, model in (("prior", prior), ("decoder", decoder)) for stage in model.stages]
    return Model(
        init,
        ((Phase("match", match, ("image", "text", "sharpness"), tx),),
         *(tuple(on(name, phase) for phase in stage) for name, stage in later)),
        sample,
        tuple(f"decoder/{path}" for path in decoder.generates),
        memory=memory_under({"prior": prior, "decoder": decoder}, seen),
    )  # fmt: skip


def _on_sphere(h: jax.Array) -> jax.Array:
    """(B, D) at length sqrt(D), so that a number of it has unit size."""
    return h * jax.lax.rsqrt(jnp.mean(h**2, axis=-1, keepdims=True) + 1e-12)
