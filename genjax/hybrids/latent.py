"""latent(autoencoder, prior): first an autoencoder, then, on its frozen codes, a model of them (2112.10752).

    stage 1 ..   the autoencoder's own, on x                 branches "autoencoder/..."
    stage n ..   the prior's own, on z = E(x) / scale        branches "prior/..."
    sample       x = D(scale * z),  z ~ prior
    bound        log p(x) >= E_q[ log p(x|c) - log q(c|x) + log prior(c / scale) - D log scale ],   c of D numbers       (1)

`scale` is the root mean square of the codes, so that the prior sees unit variance: a branch that follows, by
s <- s + (1 - decay) (mean z^2 - s), written as half a squared distance descended by SGD.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, memory_under, need, stream, under


def latent(autoencoder: Model, prior: Model, *, scaled: bool = True, decay: float = 0.99) -> Model:
    """A model that samples codes and decodes them.

    Args:
      autoencoder: any model with `encode` and `decode`.
      prior: any model of arrays of the codes' shape.
      scaled: divide codes by their running scale; False for discrete codes.
      decay: of that running average.

    Returns:
      A Model with `bound` (1) where the autoencoder has `infer` and the prior a likelihood. Under an exact `log_prob` it is of
      K = samples draws of c, importance weighted (1509.00519); a prior that has a `bound` alone is given the K for its own, of
      one draw of c. An autoencoder without p(x|c), as one of tokens, has no bound.
    """
    encode, decode = need(autoencoder, "encode", "latent"), need(autoencoder, "decode", "latent")

    def codes(params: Params, key: jax.Array, batch: Batch) -> jax.Array:
        return jax.lax.stop_gradient(encode(params["autoencoder"], stream(key, "codes"), batch))

    def scale(params: Params) -> jax.Array:
        return jnp.sqrt(params["scale"])

    def unit(params: Params, key: jax.Array, batch: Batch) -> jax.Array:
        z = codes(params, key, batch)
        return z / scale(params) if scaled else z

    def back(params: Params, z: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return decode(params["autoencoder"], z * scale(params) if scaled else z, y)

    def on_codes(params: Params, key: jax.Array, batch: Batch) -> Batch:
        return batch | {"x": unit(params, key, batch)}

    def init(key: jax.Array, batch: Batch) -> Params:
        params = {"autoencoder": autoencoder.init(stream(key, "autoencoder"), batch)}
        if scaled and jnp.issubdtype(codes(params, key, batch).dtype, jnp.integer):
            raise ValueError("these codes are tokens, which have no scale: give latent scaled=False, and a prior of tokens")
        params |= {"scale": jnp.mean(codes(params, key, batch) ** 2)} if scaled else {}
        begin = lambda: prior.init(stream(key, "prior"), on_codes(params, key, batch))
        made = jax.eval_shape(prior.sample, jax.eval_shape(begin), example_keys(key, batch), batch.get("y"))
        _fits(made, codes(params, key, batch))
        return params | {"prior": begin()}

    def seen(name: str, params: Params, key: jax.Array, batch: Batch) -> Batch:
        return on_codes(params, key, batch) if name == "prior" else batch

    def of_codes(phase: Phase) -> Phase:
        lifted = under("prior", phase)
        return lifted._replace(loss=lambda params, key, batch: lifted.loss(params, key, on_codes(params, key, batch)))

    def follow(params: Params, key: jax.Array, batch: Batch) -> Loss:
        target = jnp.mean(codes(params, key, batch) ** 2)
        return Loss(0.5 * (params["scale"] - target) ** 2, {"scale": scale(params)})

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return back(params, prior.sample(params["prior"], keys, y), y)

    def log_weight(params: Params, key: jax.Array, batch: Batch, of_code: Callable) -> jax.Array:
        """(B,) the inside of (1) at one draw of c; of_code: (params, batch) -> (B,) log prior."""
        c, log_w = autoencoder.infer(params["autoencoder"], key, batch)
        z, volume = (c / scale(params), c[0].size * jnp.log(scale(params))) if scaled else (c, 0.0)
        return log_w + of_code(params["prior"], batch | {"x": z}) - volume  # 1

    def bound(params: Params, key: jax.Array, batch: Batch, samples: int = 1) -> jax.Array:
        if not prior.log_prob:  # noisy, so that its exponential is no estimate of a density and cannot weigh
            told = lambda params, batch: prior.bound(params, stream(key, "prior"), batch, samples)
            return log_weight(params, jax.random.fold_in(key, 0), batch, told)
        some = lambda number: log_weight(params, jax.random.fold_in(key, number), batch, prior.log_prob)
        return jax.nn.logsumexp(jax.lax.map(some, jnp.arange(samples)), axis=0) - jnp.log(samples)

    following = (Phase("scale", follow, ("scale",), optax.sgd(1 - decay)),) if scaled else ()
    first = tuple(tuple(under("autoencoder", phase) for phase in stage) for stage in autoencoder.stages)
    second = tuple((*following, *(of_codes(phase) for phase in stage)) for stage in prior.stages)
    return Model(
        init,
        (*first, *second),
        sample,
        tuple(f"prior/{path}" for path in prior.generates),
        encode=unit,
        decode=back,
        memory=memory_under({"autoencoder": autoencoder, "prior": prior}, seen),
        bound=bound if autoencoder.infer and (prior.log_prob or prior.bound) else None,
    )


def _fits(made: jax.Array, codes: jax.Array) -> None:
    """Refuse a prior that makes something else than codes."""
    tokens = [jnp.issubdtype(part.dtype, jnp.integer) for part in (made, codes)]
    if tokens == [False, True]:
        raise ValueError("these codes are tokens, but the prior makes real numbers: take an autoregressive prior of tokens")
    if tokens == [True, False]:
        raise ValueError("these codes are real numbers, but the prior makes tokens: quantize the codes, or take another prior")
    if made.shape != codes.shape:
        raise ValueError(f"one code is {codes.shape[1:]}, but the prior makes {made.shape[1:]}: give it the codes' shape")
