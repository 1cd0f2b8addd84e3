"""Networks that are told a time t in [0, 1], as denoisers, velocities and energies at a noise level are."""

from collections.abc import Callable, Sequence
from math import prod

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nets.base import Net, as_net, conditions


def time_features(t: jax.Array, size: int = 64, highest: float = 1000.0, lowest: float = 0.1) -> jax.Array:
    """(B,) -> (B, size): cos and sin of f t at frequencies f that fall geometrically from `highest` to `lowest` (1706.03762).

    As they stand these are the features of DDPM (2006.11239) at its step 1000 t. A network that is differentiated with respect
    to t wants a lower `highest`.
    """
    if t.ndim != 1:
        raise ValueError(f"times are (B,), one an example, in [0, 1], but t is {t.shape}")
    frequency = highest * (lowest / highest) ** jnp.linspace(0.0, 1.0, size // 2)
    angle = t[:, None] * frequency
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


class Told(nn.Module):
    """(B, width) from a time and flat conditions: two layers on the features of the time, plus a linear image of the rest."""

    width: int
    features: Callable[[jax.Array], jax.Array] = time_features
    activation: Callable = nn.silu

    @nn.compact
    def __call__(self, t: jax.Array, *given: jax.Array | None) -> jax.Array:
        h = nn.Dense(self.width, name="first")(self.features(t))
        h = nn.Dense(self.width, name="second")(self.activation(h))
        condition = conditions(*given)
        return h if condition is None else h + nn.Dense(self.width, use_bias=False, name="conditions")(condition)


def sort_conditions(x: jax.Array, given: Sequence[jax.Array | None]) -> tuple[list, list, list]:
    """(images, tokens, the rest) of what is there: an image has the sides of x, tokens are any other (B, L, C)."""
    images, tokens, rest = [], [], []
    for c in given:
        if c is not None:
            image = c.ndim == x.ndim and c.shape[1:-1] == x.shape[1:-1]
            (images if image else tokens if c.ndim == 3 else rest).append(c)
    return images, tokens, rest


def timed_mlp(
    widths: Sequence[int],
    out: Sequence[int],
    activation: Callable = nn.silu,
    features: Callable[[jax.Array], jax.Array] = time_features,
) -> Net:
    """Net (x, t, *conditions) -> (B, *out) for flat or toy data: an mlp of x, the features of t (B,) and the conditions.

    Its last layer starts at zero. A condition is an array (B, ...) or None.
    """
    return as_net(_TimedMLP(tuple(widths), tuple(out), activation, features))


class _TimedMLP(nn.Module):
    widths: tuple[int, ...]
    out: tuple[int, ...]
    activation: Callable
    features: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array, *given: jax.Array | None) -> jax.Array:
        h = conditions(x, self.features(t).astype(x.dtype), *given)
        for width in self.widths:
            h = self.activation(nn.Dense(width)(h))
        return nn.Dense(prod(self.out), kernel_init=nn.initializers.zeros)(h).reshape(h.shape[0], *self.out)
