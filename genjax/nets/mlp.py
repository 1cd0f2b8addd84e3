"""Multi-layer perceptrons, and waves of what a network is given, of which it makes sharp functions sooner."""

from collections.abc import Callable, Sequence
from math import prod

import flax.linen as nn
import jax
import jax.numpy as jnp

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


def with_waves(net: Net, frequencies: Sequence[float]) -> Net:
    """The same net given x, sin(f x) and cos(f x) for every f, joined along the last axis (Fourier features, 2006.10739).

    A perceptron of points learns slowly what changes over a short way, which is what tells a narrow mode from its
    surroundings. Only the first input is changed.

    Args:
      net: (x, *rest) -> anything.
      frequencies: in radians per unit of x; up to about 1 / sd for modes of width sd.
    """

    def waved(x: jax.Array) -> jax.Array:
        angles = [f * x for f in frequencies]
        return jnp.concatenate([x, *map(jnp.sin, angles), *map(jnp.cos, angles)], axis=-1)

    def apply(params: dict, x: jax.Array, *rest) -> jax.Array:
        return net.apply(params, waved(x), *rest)

    return net._replace(init=lambda key, x, *rest: net.init(key, waved(x), *rest), apply=apply)
