"""Multi-layer perceptrons."""

from collections.abc import Callable, Sequence
from math import prod

import flax.linen as nn
import jax

from genjax.nets.base import Net, as_net, conditions


def mlp(widths: Sequence[int], out: Sequence[int], activation: Callable = nn.gelu) -> Net:
    """Net (x, *conditions) -> (B, *out): everything flattened and joined, hidden layers of `widths`, a linear last layer.

    A condition is an array (B, ...) or None. `out=()` gives one number an example.
    """
    return as_net(_MLP(tuple(widths), tuple(out), activation))


class _MLP(nn.Module):
    widths: tuple[int, ...]
    out: tuple[int, ...]
    activation: Callable

    @nn.compact
    def __call__(self, *inputs: jax.Array | None) -> jax.Array:
        if inputs[0] is not None and inputs[0].ndim == 0:
            raise ValueError("an mlp wants arrays (B, ...) whose first axis is the example, but was given a scalar")
        h = conditions(*inputs)
        for width in self.widths:
            h = self.activation(nn.Dense(width)(h))
        return nn.Dense(prod(self.out))(h).reshape(h.shape[0], *self.out)
