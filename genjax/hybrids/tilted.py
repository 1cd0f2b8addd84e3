"""tilted(base, net): an energy on top of a model, p(x) = base(x) exp(-E(x)) / Z.

    stage 1 ..   the base's own                                                    branches "base/..."
    stage n      E(x) - E(x') + alpha ( E(x)^2 + E(x')^2 )                         branch "energy"                  (1)

x' are samples of the base, moved by `steps` moves of a Markov chain of p (2003.06060 does so with a generator, 2010.00654 with
a VAE); they need no memory, as the base begins near. latent(autoencoder, tilted(prior)) has an energy of the codes as
2006.08205 has, which learns both at once; here the autoencoder comes first and stays as it is.
-log Z = -log E_base[exp(-E)] follows from samples of the base: `log_partition`.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from genjax.chains import Field, Kernel, Run, contrast, langevin, log_mean, run, scalar
from genjax.model import Batch, Loss, Model, Params, Phase, as_batch, example_keys, memory_under, named, need, stream, under
from genjax.nets import Net


def tilted(
    base: Model,
    net: Net,
    tx: optax.GradientTransformation,
    *,
    kernel: Callable[[Field], Kernel] = partial(langevin, step=0.01),
    steps: int = 20,
    alpha: float = 0.0,
) -> Model:
    """A model with the branches `base` and `energy`, of one stage more than the base.

    Args:
      base: any model of real numbers with an exact `log_prob` that has a gradient: a flow, an autoregressive one.
      net: (x) -> (B,), E; let its last layer start at zero, so that it starts as the base.
      tx: optimizer of E.
      kernel: log p -> how chains move, see `genjax.chains`.
      steps: moves of a chain, in training and of a sample.
      alpha: weight that keeps E near zero.
    """
    density = need(base, "log_prob", "tilted")

    def e(params: Params, x: jax.Array) -> jax.Array:
        return net.apply(params["energy"], x)

    def log_p(params: Params, x: jax.Array, y: jax.Array | None) -> jax.Array:
        return density(params["base"], as_batch(x, y)) - e(params, x)

    def init(key: jax.Array, batch: Batch) -> Params:
        if not jnp.issubdtype(batch["x"].dtype, jnp.floating):
            raise ValueError(f"tilted moves x along the gradient of log p, and {batch['x'].dtype} has none: give real numbers")
        return {"base": base.init(stream(key, "base"), batch), "energy": scalar(net, stream(key, "energy"), batch["x"])}

    def walk(params: Params, keys: jax.Array, y: jax.Array | None) -> Run:
        draft = base.sample(params["base"], keys, y)
        return run(kernel(lambda x: log_p(params, x, y)), named(keys, "tilt"), draft, steps)

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return walk(params, keys, y).x

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        chains = jax.lax.stop_gradient(walk(jax.lax.stop_gradient(params), example_keys(key, batch), batch.get("y")))
        on_data, on_chains = e(params, batch["x"]), e(params, chains.x)
        value, seen = contrast(on_data, on_chains)
        value += alpha * jnp.mean(on_data**2 + on_chains**2)  # 1
        return Loss(value, seen | {"accepted": chains.accepted.mean()})

    first = tuple(tuple(under("base", phase) for phase in stage) for stage in base.stages)
    stages = (*first, (Phase("tilt", loss, ("energy",), tx),))
    told = lambda params, x, y=None: -log_p(params, x, y)
    return Model(init, stages, sample, ("energy",), energy=told, memory=memory_under({"base": base}))


def log_partition(
    base: Model, net: Net, params: Params, keys: jax.Array, y: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """(log Z, its standard error) of a `tilted` model's parameters from as many samples of the base as there are keys.

    Args:
      y: (keys,) labels for a conditional base, whose Z differs from label to label: one label for all, or their mean comes out.
    """
    return log_mean(-net.apply(params["energy"], base.sample(params["base"], keys, y)))
