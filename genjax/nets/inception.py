"""Inception-V3 up to its 2048 pooled features (arXiv 1512.00567, table 1), in the two layouts that have weights.

The paper's layout is the one torchvision has. The layout of FID (arXiv 1706.08500) is the network whose weights
were published on 5 December 2015 for TensorFlow: its average pools leave padding out of the mean, and its last block has a max
pool where the paper has an average. Branches have torchvision's names, so weights carry over by name.

Batch normalization in inference mode is a scale and a bias a channel,

    scale = gamma / sqrt(variance + 0.001),    bias = beta - scale mean,

so the network is a function of one example. Sides of an image are at least 75; the published weights saw 299.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from genjax.nets.base import Net, as_net

EPSILON = 1e-3  # of the batch normalization that scale and bias stand for
SIDE = 299  # of the images that the published weights were trained on

Pool = Callable[[jax.Array], jax.Array]

padded_average = partial(nn.avg_pool, window_shape=(3, 3), strides=(1, 1), padding="SAME")
inner_average = partial(padded_average, count_include_pad=False)
inner_max = partial(nn.max_pool, window_shape=(3, 3), strides=(1, 1), padding="SAME")
halving_max = partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))


def paper_inception() -> Net:
    """Net x (B, H, W, 3) in [-1, 1] -> (B, 2048), the layout of torchvision's weights."""
    return as_net(_Inception(padded_average, padded_average))


def fid_inception() -> Net:
    """Net x (B, H, W, 3) in [-1, 1] -> (B, 2048), the layout of FID's weights."""
    return as_net(_Inception(inner_average, inner_max))


class _Inception(nn.Module):
    pool: Pool  # in the blocks that keep the sides
    last_pool: Pool  # in the last of them

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Unit(32, (3, 3), 2, name="Conv2d_1a_3x3")(x)
        x = Unit(32, (3, 3), padding="VALID", name="Conv2d_2a_3x3")(x)
        x = halving_max(Unit(64, (3, 3), name="Conv2d_2b_3x3")(x))
        x = Unit(80, name="Conv2d_3b_1x1")(x)
        x = halving_max(Unit(192, (3, 3), padding="VALID", name="Conv2d_4a_3x3")(x))
        for letter, pooled in zip("bcd", (32, 64, 64), strict=True):
            x = BlockA(pooled, self.pool, name=f"Mixed_5{letter}")(x)
        x = BlockB(name="Mixed_6a")(x)
        for letter, inner in zip("bcde", (128, 160, 160, 192), strict=True):
            x = BlockC(inner, self.pool, name=f"Mixed_6{letter}")(x)
        x = BlockD(name="Mixed_7a")(x)
        x = BlockE(self.pool, name="Mixed_7b")(x)
        return BlockE(self.last_pool, name="Mixed_7c")(x).mean((1, 2))


class Unit(nn.Module):
    """Convolution, scale and bias a channel, ReLU: (B, H, W, C) -> (B, H', W', features). A stride of 2 pads nothing."""

    features: int
    window: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        padding = self.padding if self.stride == 1 else "VALID"
        # HIGHEST: a GPU's default keeps 10 bits of each factor, too few for features that are compared across machines
        options = {"use_bias": False, "precision": lax.Precision.HIGHEST, "name": "conv"}
        x = nn.Conv(self.features, self.window, self.stride, padding, **options)(x)
        scale = self.param("scale", nn.initializers.ones, (self.features,))
        return nn.relu(x * scale + self.param("bias", nn.initializers.zeros, (self.features,)))


def chain(x: jax.Array, *units: Unit) -> jax.Array:
    """One branch: units one after another."""
    for unit in units:
        x = unit(x)
    return x


def side_by_side(*branches: jax.Array) -> jax.Array:
    """Branches as channels of one image."""
    return jnp.concatenate(branches, axis=-1)


# ---- the blocks, by torchvision's letters: A, C and E keep the sides, B and D halve them ----------------------------------


class BlockA(nn.Module):
    """(B, H, W, C) -> (B, H, W, 224 + pooled)."""

    pooled: int
    pool: Pool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        five = Unit(48, name="branch5x5_1"), Unit(64, (5, 5), name="branch5x5_2")
        three = [Unit(64 if n == 1 else 96, (1, 1) if n == 1 else (3, 3), name=f"branch3x3dbl_{n}") for n in (1, 2, 3)]
        pooled = Unit(self.pooled, name="branch_pool")(self.pool(x))
        return side_by_side(Unit(64, name="branch1x1")(x), chain(x, *five), chain(x, *three), pooled)


class BlockB(nn.Module):
    """(B, H, W, C) -> (B, about H/2, about W/2, 480 + C)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        double = Unit(64, name="branch3x3dbl_1"), Unit(96, (3, 3), name="branch3x3dbl_2")
        double = chain(x, *double, Unit(96, (3, 3), 2, name="branch3x3dbl_3"))
        return side_by_side(Unit(384, (3, 3), 2, name="branch3x3")(x), double, halving_max(x))


class BlockC(nn.Module):
    """(B, H, W, C) -> (B, H, W, 768): windows of 7 as a row and a column."""

    inner: int
    pool: Pool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c, row, column = self.inner, (1, 7), (7, 1)
        one = Unit(c, name="branch7x7_1"), Unit(c, row, name="branch7x7_2"), Unit(192, column, name="branch7x7_3")
        steps = ((c, (1, 1)), (c, column), (c, row), (c, column), (192, row))
        two = [Unit(features, window, name=f"branch7x7dbl_{n}") for n, (features, window) in enumerate(steps, 1)]
        pooled = Unit(192, name="branch_pool")(self.pool(x))
        return side_by_side(Unit(192, name="branch1x1")(x), chain(x, *one), chain(x, *two), pooled)


class BlockD(nn.Module):
    """(B, H, W, C) -> (B, about H/2, about W/2, 512 + C)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        three = Unit(192, name="branch3x3_1"), Unit(320, (3, 3), 2, name="branch3x3_2")
        seven = Unit(192, name="branch7x7x3_1"), Unit(192, (1, 7), name="branch7x7x3_2")
        seven = *seven, Unit(192, (7, 1), name="branch7x7x3_3"), Unit(192, (3, 3), 2, name="branch7x7x3_4")
        return side_by_side(chain(x, *three), chain(x, *seven), halving_max(x))


class BlockE(nn.Module):
    """(B, H, W, C) -> (B, H, W, 2048): windows of 3 as a row beside a column."""

    pool: Pool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        row_and_column = lambda x, name: [
            Unit(384, window, name=f"{name}{letter}")(x) for letter, window in (("a", (1, 3)), ("b", (3, 1)))
        ]
        one = row_and_column(Unit(384, name="branch3x3_1")(x), "branch3x3_2")
        two = chain(x, Unit(448, name="branch3x3dbl_1"), Unit(384, (3, 3), name="branch3x3dbl_2"))
        two = row_and_column(two, "branch3x3dbl_3")
        pooled = Unit(192, name="branch_pool")(self.pool(x))
        return side_by_side(Unit(320, name="branch1x1")(x), *one, *two, pooled)
