"""What a model is told beside its data: labels, which networks see as one-hot rows, or arrays of any kind as they are.

Classifier-free guidance (2207.12598) wants a network that also knows no condition: in training some are hidden.
"""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.model import Batch, example_keys, stream

GIVEN = -1  # in place of a number of classes: y is an array of numbers (B, ...), such as `conditioned` makes of labels or texts


def told(y: jax.Array | None, classes: int, *, least: int = 0) -> jax.Array | None:
    """What networks see of y: None without classes; y itself where they are GIVEN; of labels (B,) one-hot rows (B, classes).

    Args:
      least: -1 where label -1 stands for none, a row of zeros.

    Raises:
      ValueError: no y; labels out of range, which in compiled code become NaN.
    """
    if not classes:
        return None
    if y is None:
        raise ValueError("this model is conditional: give labels y, in the batch and to sample, encode or decode")
    if classes == GIVEN:
        return y
    if not jnp.issubdtype(y.dtype, jnp.integer):
        raise ValueError(f"this model wants labels 0 .. {classes - 1}, but y is {y.dtype}: for arrays give classes=GIVEN")
    wrong = (y < least) | (y >= classes)
    if not isinstance(wrong, jax.core.Tracer) and np.any(wrong):
        first = int(np.asarray(y)[np.asarray(wrong)][0])
        raise ValueError(f"label {first} is out of range: with classes={classes} labels are {least} .. {classes - 1}")
    return jnp.where(jnp.asarray(wrong)[:, None], jnp.nan, jax.nn.one_hot(y, classes))


def hidden(key: jax.Array, batch: Batch, drop: float, classes: int) -> Batch:
    """The batch, where of each example with probability `drop` y stands for none: label -1, or zeros where y is GIVEN."""
    if not drop:
        return batch
    hide = jax.vmap(lambda key: jax.random.bernoulli(stream(key, "drop"), drop))(example_keys(key, batch))
    y = batch["y"]
    return batch | {"y": jnp.where(hide.reshape(-1, *[1] * (y.ndim - 1)), 0 if classes == GIVEN else -1, y)}


def beside_none(given: jax.Array) -> jax.Array:
    """(2B, ...): what a batch is told, and none, for a network that answers both at once."""
    return jnp.concatenate([given, jnp.zeros_like(given)])


def guided(answers: jax.Array, scale: float) -> jax.Array:
    """(B, ...) from the answers (2B, ...) to `beside_none`: none + scale (told - none)."""
    with_it, without = jnp.split(answers, 2)
    return without + scale * (with_it - without)


def check_guidance(classes: int, drop: float, guidance: float) -> None:
    """Say in words what guidance lacks."""
    if classes < GIVEN:
        raise ValueError(f"classes={classes}: give their number, 0 for no condition, or GIVEN")
    if not (0 <= drop <= 1 and abs(guidance) < float("inf")):
        raise ValueError(f"drop={drop} is a share of the labels, 0 to 1, and guidance={guidance} a finite scale")
    if (guidance != 1.0 or drop) and not classes:
        raise ValueError(f"guidance={guidance}, drop={drop} without a condition: give classes=, or leave both out")
    if guidance != 1.0 and not drop:
        raise ValueError(f"guidance={guidance} needs a network that also knows no label: train with drop=0.1, say")
