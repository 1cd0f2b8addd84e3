"""The diffusion transformer DiT (2212.09748), for any number of space axes.

    h = patches of x, each a token, + sine and cosine of its place;   c = told of the time and the flat conditions

    a, b, g, a', b', g' = Dense(act(c)), at zero when it starts                                         adaLN-zero
    h <- h + g attention((1 + a) norm(h) + b)           h <- h + g' mlp((1 + a') norm(h) + b')

so that every block starts as the identity and the network as zero. Blocks are scanned over depth.
"""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.nets.base import Net, as_net
from genjax.nets.conv import check_image, depth_to_space, space_to_depth
from genjax.nets.time import Told, sort_conditions, time_features
from genjax.nets.transformer import attention

zeros = nn.initializers.zeros
norm = partial(nn.LayerNorm, epsilon=1e-6, use_bias=False, use_scale=False)  # what follows it scales and shifts


def dit(
    out: Sequence[int],
    *,
    patch: int = 2,
    width: int = 384,
    depth: int = 12,
    heads: int = 6,
    features: Callable[[jax.Array], jax.Array] = partial(time_features, size=256),
    attention: Callable[[jax.Array, jax.Array, jax.Array], jax.Array] = partial(attention, causal=False),
    remat: bool = False,
    unroll: int = 1,
) -> Net:
    """Net (x, t, *conditions) -> (B, *out), at zero when it starts; its defaults are DiT-S/2.

    Args:
      out: (*space, channels), of the sides of x.
      patch: side of the patches, which divides the sides of x.
      width, depth, heads: of the blocks; the hidden layer of their MLPs is 4 times as wide.
      features: of the time.
      attention: (q, k, v), each (B, places, heads, C), -> the same shape. partial(jax.nn.dot_product_attention,
        implementation="cudnn") is a GPU's kernel that never stores the scores; it wants `half`.
      remat: recompute all but the products with weights in the backward pass, to save memory.
      unroll: blocks written out in one turn of the scan; `depth` compiles longer and on a CPU steps faster.
      t: (B,) in [0, 1].
      conditions: each None, (B, C), an image of the sides of x, which is then seen beside x, or tokens (B, L, C), which join
        the sequence (3.2, in-context).
    """
    axes = len(out) - 1
    if min(patch, width, depth, heads) < 1:
        raise ValueError(f"a DiT needs patch, width, depth and heads of 1 or more, not {patch}, {width}, {depth} and {heads}")
    if width % heads or width % (2 * max(axes, 1)):
        raise ValueError(f"width {width} must divide over {heads} heads, and over sines and cosines of {axes} axes")
    if any(side % patch for side in out[:-1]):
        raise ValueError(f"patches of side {patch} do not tile images of sides {tuple(out[:-1])}: choose another patch=")
    return as_net(_DiT(tuple(out), patch, width, depth, heads, features, attention, remat, unroll))


class _DiT(nn.Module):
    out: tuple[int, ...]
    patch: int
    width: int
    depth: int
    heads: int
    features: Callable[[jax.Array], jax.Array]
    attention: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    remat: bool
    unroll: int

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array, *given: jax.Array | None) -> jax.Array:
        check_image("a DiT", x)
        if x.shape[1:-1] != self.out[:-1]:
            raise ValueError(f"this DiT gives images of sides {self.out[:-1]}, but x is {x.shape}")
        images, tokens, rest = sort_conditions(x, given)
        told = nn.silu(Told(self.width, self.features, name="told")(t, *rest)).astype(x.dtype)
        h = patches(jnp.concatenate([x, *images], axis=-1), self.patch)
        h = dense(self.width, "first")(h)
        h = h + positions([side // self.patch for side in self.out[:-1]], self.width).astype(x.dtype)
        places = h.shape[1]
        extra = [dense(self.width, f"tokens_{number}")(token) for number, token in enumerate(tokens)]
        h, _ = self._stack()(jnp.concatenate([h, *extra], axis=1), told)
        scale, shift = jnp.split(nn.Dense(2 * self.width, kernel_init=zeros, name="last_told")(told)[:, None], 2, axis=-1)
        h = (1 + scale) * norm()(h[:, :places]) + shift
        return unpatched(dense(self.patch ** (len(self.out) - 1) * self.out[-1], "last", zeros)(h), self.patch, self.out)

    def _stack(self) -> nn.Module:
        policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        block = nn.remat(_Block, prevent_cse=False, policy=policy) if self.remat else _Block
        axes = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}, "in_axes": nn.broadcast}
        return nn.scan(block, length=self.depth, unroll=self.unroll, **axes)(self.heads, self.attention, name="blocks")


class _Block(nn.Module):
    heads: int
    attention: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]

    @nn.compact
    def __call__(self, h: jax.Array, told: jax.Array) -> tuple[jax.Array, None]:
        width = h.shape[-1]
        modulation = nn.Dense(6 * width, kernel_init=zeros, name="told")(told)[:, None]
        scale, shift, gate, inner_scale, inner_shift, inner_gate = jnp.split(modulation, 6, axis=-1)
        qkv = dense(3 * width, "qkv")((1 + scale) * norm()(h) + shift)
        mixed = self.attention(*(part.reshape(*h.shape[:-1], self.heads, -1) for part in jnp.split(qkv, 3, axis=-1)))
        h = h + gate * dense(width, "out")(mixed.reshape(h.shape))
        inner = nn.gelu(dense(4 * width, "up")((1 + inner_scale) * norm()(h) + inner_shift))
        return h + inner_gate * dense(width, "down")(inner), None


def dense(features: int, name: str, init: Callable = nn.initializers.lecun_normal()) -> Callable[[jax.Array], jax.Array]:
    """A dense layer over rows: more axes cost XLA's CPU gradient twice the time."""
    layer = nn.Dense(features, kernel_init=init, name=name)
    return lambda h: layer(h.reshape(-1, h.shape[-1])).reshape(*h.shape[:-1], features)


def patches(x: jax.Array, side: int) -> jax.Array:
    """(B, *space, C) -> (B, places, side**axes C), row by row, channels last within a patch."""
    x = space_to_depth(x, side)
    return x.reshape(x.shape[0], -1, x.shape[-1])


def unpatched(h: jax.Array, side: int, out: Sequence[int]) -> jax.Array:
    """Inverse of `patches`: (B, places, side**axes C) -> (B, *out)."""
    return depth_to_space(h.reshape(h.shape[0], *[length // side for length in out[:-1]], -1), side)


def positions(grid: Sequence[int], width: int) -> np.ndarray:
    """(places, width) sines and cosines of the place along each axis, the last axis first, at falling frequencies."""
    half = width // len(grid) // 2
    frequency = 10000.0 ** (-np.arange(half) / half)
    angles = [place.reshape(-1, 1) * frequency for place in np.indices(grid)[::-1]]
    parts = [part for angle in angles for part in (np.sin(angle), np.cos(angle))]
    return np.concatenate(parts, axis=-1).astype(np.float32)
