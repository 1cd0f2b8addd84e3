"""Branches that are copies of others: half their squared distances, descended by SGD at rate 1."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from genjax.model import Batch, Loss, Params, Phase, pick


def copying(sources: Sequence[str], targets: Sequence[str], name: str, rate: float = 1.0) -> Phase:
    """The phase in which each branch of `targets` follows that of `sources`: at rate 1 a copy, below it a running average."""

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        del key, batch
        mine, theirs = (list(pick(params, paths).values()) for paths in (targets, sources))
        squares = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), mine, theirs)
        return Loss(0.5 * sum(jax.tree.leaves(squares), jnp.zeros(())))

    return Phase(name, loss, tuple(targets), optax.sgd(rate))
