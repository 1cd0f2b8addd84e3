"""A branch that is a copy of another: half their squared distance, descended by SGD at rate 1 (see `genjax.hybrids`)."""

import jax
import jax.numpy as jnp
import optax

from genjax.model import Batch, Loss, Params, Phase, get


def copying(source: str, target: str, rate: float = 1.0) -> Phase:
    """The phase in which the branch `target` follows `source`: at rate 1 a copy, below it a running average."""

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        del key, batch
        apart = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), get(params, target), get(params, source))
        return Loss(0.5 * sum(jax.tree.leaves(apart), jnp.zeros(())))

    return Phase(f"{target}/follow", loss, (target,), optax.sgd(rate))
