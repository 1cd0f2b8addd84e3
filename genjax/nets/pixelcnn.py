"""Gated PixelCNN (1606.05328): a vertical stack sees the rows above, a horizontal one the row so far and the vertical stack.

    v_1 <- image one row down, h_1 <- image one column right
    v <- gate(causal rows * v)        h <- h + 1x1 * gate(causal columns * h + 1x1 * v)        gate(a, b) = tanh(a) sigmoid(b)

The two shifts make it blind to the pixel itself and all after it; every convolution after them may see where it stands.
With a head of logistics over the channels (`genjax.heads`) it is PixelCNN++ without its down- and up-sampling.

Walking, each layer keeps the vertical rows and horizontal columns that its window still needs: the vertical stack is computed
once a row, the horizontal one once a pixel, so a whole image costs about what one pass over it does (2017, fast PixelCNN++).
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from genjax.nets.base import Net, as_net
from genjax.nets.convolution import padded


def pixelcnn(
    parts: int,
    *,
    width: int = 64,
    depth: int = 8,
    window: int = 5,
    first: int = 7,
    levels: int = 2,
    channels: int = 1,
    embedding: int = 0,
) -> Net:
    """Causal Net (x, condition) -> (B, *places, parts), with a `walk`.

    x is (B, H, W) or (B, H, W, 1) of integer tokens, all axes places, or (B, H, W, C) of numbers in [-1, 1], pixels places.

    Args:
      parts: outputs a place.
      width, depth: channels and layers of both stacks.
      window: side of the windows; `first` that of the first layer's.
      levels: tokens are 0 .. levels - 1.
      channels: C.
      embedding: numbers that a token is seen as, for tokens that are names, such as codes; 0 sees levels of one scale.
    """
    if not window % 2 or not first % 2:
        raise ValueError(f"windows have a middle: window={window} and first={first} must be odd")
    module = _PixelCNN(parts, width, depth, window, first, levels, embedding or channels, embedding)

    def walk(params, size, places, condition=None):
        call = partial(module.apply, {"params": params})
        return call(size, places, condition, method="begin"), partial(call, method="step")

    return as_net(module)._replace(walk=walk)


class _PixelCNN(nn.Module):
    parts: int
    width: int
    depth: int
    window: int
    first: int
    levels: int
    channels: int
    embedding: int

    def setup(self) -> None:
        later = [Gated(self.width, self.width, self.window) for _ in range(self.depth - 1)]
        self.layers = [Gated(self.channels + 1, self.width, self.first), *later]
        self.out = [nn.Dense(2 * self.width), nn.Dense(self.parts)]
        if self.embedding:
            self.token = nn.Embed(self.levels, self.embedding)

    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        places = x.shape[1:] if jnp.issubdtype(x.dtype, jnp.integer) else x.shape[1:-1]
        image = self.seen(x.reshape(*x.shape[:3], -1))
        v = jnp.pad(image, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]
        h = jnp.pad(image, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
        for layer in self.layers:
            v, h = layer(v, h, condition)
        return self.answer(h).reshape(len(x), *places, self.parts)

    def seen(self, x: jax.Array) -> jax.Array:
        """Numbers in [-1, 1] or embeddings, and a channel of ones that tells the image from what is around it."""
        if jnp.issubdtype(x.dtype, jnp.integer):
            x = self.token(x[..., 0]) if self.embedding else 2.0 * x / (self.levels - 1) - 1.0
        return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)

    def answer(self, h: jax.Array) -> jax.Array:
        return self.out[1](nn.relu(self.out[0](nn.relu(h))))

    # ---- place by place

    def begin(self, size: int, places: tuple[int, ...], condition: jax.Array | None = None) -> Any:
        """Nothing seen yet: zeros, as around the image."""
        row = jnp.zeros((size, places[1], self.channels + 1))
        return {"row": row, "layers": [layer.begin(size, places[1]) for layer in self.layers]}, condition

    def step(self, carried: Any, place: jax.Array, before: jax.Array) -> tuple[Any, jax.Array]:
        """The output of the pixel at `place`, in raster order, once the pixel before it is known."""
        state, condition = carried
        size, wide, _ = state["row"].shape
        new = self.seen(before.reshape(size, -1))
        at = jnp.maximum(place - 1, 0) % wide
        row = jnp.where(place > 0, lax.dynamic_update_slice_in_dim(state["row"], new[:, None], at, 1), state["row"])
        onward = lambda _, old: self.next_row(old, row, condition)
        starts = (place % wide == 0).astype(int)
        layers = lax.fori_loop(0, starts, onward, state["layers"])  # once or not at all; a cond would copy all at every pixel
        h, kept = jnp.where(place % wide == 0, 0.0, new), []
        for layer, old in zip(self.layers, layers, strict=True):
            h, old = layer.next_pixel(old, h, place % wide)
            kept.append(old)
        return ({"row": row, "layers": kept}, condition), self.answer(h)

    def next_row(self, layers: list, row: jax.Array, condition: jax.Array | None) -> list:
        """The vertical stack one row down, and no columns seen."""
        kept = []
        for layer, old in zip(self.layers, layers, strict=True):
            row, old = layer.next_row(old, row, condition)
            kept.append(old)
        return kept


class Gated(nn.Module):
    """One layer of both stacks; `channels` come in."""

    channels: int
    width: int
    side: int

    def setup(self) -> None:
        self.reach = self.side // 2 + 1  # rows, and columns, up to its own
        init, double = nn.initializers.lecun_normal(), 2 * self.width
        self.down = self.param("down", init, (self.reach, self.side, self.channels, double))
        self.along = self.param("along", init, (1, self.reach, self.channels, double))
        self.to_row, self.mix, self.told = nn.Dense(double), nn.Dense(self.width), nn.Dense(2 * double, use_bias=False)

    def __call__(self, v: jax.Array, h: jax.Array, condition: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        down, told = causal_conv(v, self.down, rows=True), self.tell(condition, 4)
        row = self.to_row(down) + told[1]
        return gate(down + told[0]), self.onward(h, causal_conv(h, self.along, rows=False) + row)

    def tell(self, condition: jax.Array | None, ndim: int) -> tuple[jax.Array, jax.Array] | tuple[float, float]:
        """What the condition adds before the two gates."""
        if condition is None:
            return 0.0, 0.0
        told = self.told(condition)
        return tuple(jnp.split(told.reshape(len(told), *[1] * (ndim - 2), -1), 2, axis=-1))

    def onward(self, h: jax.Array, before_gate: jax.Array) -> jax.Array:
        new = self.mix(gate(before_gate))
        return h + new if h.shape == new.shape else new

    # ---- place by place

    def begin(self, size: int, wide: int) -> dict[str, jax.Array]:
        return {
            "above": jnp.zeros((size, self.reach - 1, wide, self.channels)),
            "left": jnp.zeros((size, self.reach - 1, self.channels)),
            "row": jnp.zeros((size, wide, 2 * self.width)),
        }

    def next_row(self, old: dict, v: jax.Array, condition: jax.Array | None) -> tuple[jax.Array, dict]:
        """One row v (B, W, C) of the vertical stack."""
        rows = jnp.concatenate([old["above"], v[:, None]], axis=1)
        half = self.side // 2
        layout = ("NHWC", "HWIO", "NHWC")
        down = lax.conv_general_dilated(rows, self.down, (1, 1), ((0, 0), (half, half)), dimension_numbers=layout)[:, 0]
        told = self.tell(condition, 3)
        kept = {"above": rows[:, 1:], "left": jnp.zeros_like(old["left"]), "row": self.to_row(down) + told[1]}
        return gate(down + told[0]), kept

    def next_pixel(self, old: dict, h: jax.Array, column: jax.Array) -> tuple[jax.Array, dict]:
        """One pixel h (B, C) of the horizontal stack."""
        columns = jnp.concatenate([old["left"], h[:, None]], axis=1)
        along = jnp.einsum("bkc,kcf->bf", columns, self.along[0])
        row = lax.dynamic_index_in_dim(old["row"], column, 1, keepdims=False)
        return self.onward(h, along + row), old | {"left": columns[:, 1:]}


def gate(x: jax.Array) -> jax.Array:
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.tanh(a) * jax.nn.sigmoid(b)


def causal_conv(x: jax.Array, kernel: jax.Array, rows: bool) -> jax.Array:
    """Convolution whose window ends at its own row (or, of a kernel of one row, column), zeros around the image."""
    height, width = kernel.shape[:2]
    across = ((width - 1) // 2, width // 2) if rows else (width - 1, 0)
    return padded(x, kernel, ((height - 1, 0), across))
