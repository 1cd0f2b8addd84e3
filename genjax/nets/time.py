"""Networks that are told a time t in [0, 1], as denoisers, velocities and energies at a noise level are."""

from collections.abc import Callable, Sequence
from math import prod

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nets.base import Net, as_net, conditions


def time_features(t: jax.Array, size: int = 64, highest: float = 1000.0) -> jax.Array:
    """(B,) -> (B, size): cos and sin of f t at frequencies f that fall geometrically from `highest` to 1/10 (1706.03762)."""
    if t.ndim != 1:
        raise ValueError(f"times are (B,), one an example, in [0, 1], but t is {t.shape}")
    frequency = highest * (0.1 / highest) ** jnp.linspace(0.0, 1.0, size // 2)
    angle = t[:, None] * frequency
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def timed_mlp(widths: Sequence[int], out: Sequence[int], activation: Callable = nn.silu) -> Net:
    """Net (x, t, *conditions) -> (B, *out) for flat or toy data: an mlp of x, the features of t (B,) and the conditions.

    Its last layer starts at zero. A condition is an array (B, ...) or None.
    """
    return as_net(_TimedMLP(tuple(widths), tuple(out), activation))


class _TimedMLP(nn.Module):
    widths: tuple[int, ...]
    out: tuple[int, ...]
    activation: Callable

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array, *given: jax.Array | None) -> jax.Array:
        h = conditions(x, time_features(t), *given)
        for width in self.widths:
            h = self.activation(nn.Dense(width)(h))
        return nn.Dense(prod(self.out), kernel_init=nn.initializers.zeros)(h).reshape(h.shape[0], *self.out)
