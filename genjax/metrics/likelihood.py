"""Likelihood of a whole split: nats an example and, where the recipe tells the volume of a stored value, bits a dimension.

    nats = mean of -log p(x)          bits/dim = (nats / D - cell) / log 2,     cell = log volume of a value, `Recipe.cell`

After `dequantize` a stored value is an interval of length 1 / levels, and bits/dim bounds a lossless code's from above
(1511.01844). The number belongs to the model and the split: the noise of row k, of its preparation and of a bound, comes from
a key that k is folded into, so that batches of any size give the same.
"""

from collections.abc import Callable
from math import log, prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data import Split, fetch
from genjax.model import Batch, Model, Params, example_keys, stream


class Likelihood(NamedTuple):
    """Negative log-likelihood of a split."""

    nats: float  # mean over the examples
    bits: float | None  # per dimension; None where densities have no volume of a value
    convention: str  # "exact", or "lower bound, K = 100": then the number is above the true one
    error: float  # standard error of `nats` over the examples
    each: np.ndarray  # (n,) nats


def likelihood(
    model: Model,
    params: Params,
    split: Split,
    prepare: Callable,
    *,
    cell: float | None = None,
    draws: int = 100,
    seed: int = 0,
    at_once: int = 100,
) -> Likelihood | None:
    """The likelihood of every row of a split, or None for a model that has none.

    Args:
      model: its `log_prob` is taken, else its `bound`.
      params: of the model.
      split: all of it is read.
      prepare: (key, x) -> x, the recipe's.
      cell: log volume of one stored value in the model's units, per dimension; see `Recipe.cell`.
      draws: K of the bound.
      seed: of the noise.
      at_once: rows in a batch; the number does not depend on it.

    Raises:
      ValueError: the likelihood of some row is not a number.
    """
    if (score := scorer(model, draws)) is None:
        return None
    each = -by_row(score, params, split, prepare, jax.random.key(seed), at_once)
    if np.isnan(each).any():
        raise ValueError(f"the likelihood of row {int(np.isnan(each).argmax())} is not a number; look at it, or train anew")
    nats = float(each.mean())
    bits = None if cell is None else (nats / prod(split.x.shape[1:]) - cell) / log(2)
    convention = "exact" if model.log_prob else f"lower bound, K = {draws}"
    return Likelihood(nats, bits, convention, float(each.std() / len(each) ** 0.5), each)


def scorer(model: Model, draws: int) -> Callable[[Params, jax.Array, Batch], jax.Array] | None:
    """(params, key, batch) -> (B,) nats, of the best likelihood that the model has."""
    if model.log_prob:
        return lambda params, key, batch: model.log_prob(params, batch)
    return (lambda params, key, batch: model.bound(params, key, batch, draws)) if model.bound else None


def by_row(score: Callable, params: Params, split: Split, prepare: Callable, key: jax.Array, at_once: int) -> np.ndarray:
    """(n,) float64: the score of each row. `index` is its place in the split, and the last batch repeats rows to be full."""

    @jax.jit
    def some(params: Params, key: jax.Array, data: Batch, index: jax.Array) -> jax.Array:
        batch = data | {"index": index}
        x = jax.vmap(prepare)(example_keys(stream(key, "prepare"), batch), data["x"])
        return score(params, stream(key, "score"), batch | {"x": x})

    count, parts = len(split.x), []
    for first in range(0, count, at_once):
        index = np.resize(np.arange(first, min(first + at_once, count)), at_once)
        parts.append(np.asarray(some(params, key, fetch(split, index), jnp.asarray(index)), np.float64))
    return np.concatenate(parts)[:count]
