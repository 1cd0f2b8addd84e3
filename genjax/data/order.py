"""Which rows a step trains on, and how they become a batch.

The order of rows is a pure function of (seed, epoch), so the place in the data is the step number and nothing about a loader
is ever saved. Examples are numbered through all epochs; step `s` has numbers s * batch .. (s + 1) * batch - 1.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data.base import DataError, Split
from genjax.model import Batch, example_keys

Prepare = Callable[[jax.Array, jax.Array], jax.Array]


def rows(seed: int, step: int, batch: int, size: int) -> np.ndarray:
    """(batch,) int32 row numbers below `size`. Each epoch visits each row once; one may end inside a batch."""
    return _numbered(seed, step * batch, batch, size)


def row_block(seed: int, step: int, steps: int, batch: int, size: int) -> np.ndarray:
    """(steps, batch) int32: the rows of steps `step` .. `step + steps - 1`, for a scan."""
    return _numbered(seed, step * batch, steps * batch, size).reshape(steps, batch)


def _numbered(seed: int, first: int, count: int, size: int) -> np.ndarray:
    """Rows of the examples numbered first .. first + count - 1."""
    if size < 1:
        raise DataError("no rows to draw batches from: the split is empty")
    parts, end = [], first + count
    while first < end:
        epoch, start = divmod(first, size)
        part = _permutation(seed, epoch, size)[start : start + end - first]
        parts.append(part)
        first += len(part)
    return np.concatenate(parts)


@lru_cache(maxsize=2)  # a batch may lie across two epochs
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """Counter-based, so that any epoch is reached without the ones before it. A millisecond for 60 000 rows."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(size).astype(np.int32)


def fetch(split: Split, rows: Any = slice(None)) -> dict[str, np.ndarray]:
    """Host arrays {x, y} of some rows, or of all of them: `jax.device_put(fetch(split))` is what `feed` gathers from."""
    batch = {"x": np.asarray(split.x[rows])}
    return batch if split.y is None else batch | {"y": np.asarray(split.y[rows], np.int32)}


def feed(prepare: Prepare) -> Callable[[dict[str, jax.Array], jax.Array, jax.Array], Batch]:
    """The pure function (data, key, rows) -> batch that gathers rows on the device and prepares each example.

    `data` is an argument rather than a constant of the compiled program: a constant of 47 MB would be slow to compile. For a
    set that is read by index on the host, give it the fetched rows with `rows = arange(B)`.

    Args:
      prepare: (key, one example) -> float32, see `genjax.data.prepare`.

    Returns:
      (data {x, y?}, key, rows (B,)) -> {x float32, y?, index (B,)}; every example has its own key.
    """

    def gather(data: dict[str, jax.Array], key: jax.Array, rows: jax.Array) -> Batch:
        batch = {name: _gather(column, rows) for name, column in data.items()} | {"index": jnp.arange(rows.shape[0])}
        return batch | {"x": jax.vmap(prepare)(example_keys(key, batch), batch["x"])}

    return gather


def _gather(column: jax.Array, rows: jax.Array) -> jax.Array:
    """column[rows], each example as one flat row: with its axes kept, XLA's CPU gather of images takes eight times as long."""
    return column.reshape(column.shape[0], -1)[rows].reshape(*rows.shape, *column.shape[1:])
