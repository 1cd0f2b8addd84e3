"""What a model is told beside its data: labels, which networks see as one-hot rows, or arrays of any kind as they are."""

import jax
import jax.numpy as jnp
import numpy as np

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
