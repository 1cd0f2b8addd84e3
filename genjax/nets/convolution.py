"""The SAME convolution of any number of space axes, channels last, with gradients as fast as itself.

    y[b, p]  = sum over offsets i      x[b, stride p + i] W[i]                                                               (1)
    dW[i]    = sum over b, p           x[b, stride p + i]^T g[b, p]                                                          (2)
    dx[b, p] = sum over offsets i      g[b, p - i] W[i]^T                      at stride 1: (1), of g and the flipped W      (3)

On the CPU XLA is slow at (2) wherever images are large, and inside a loop, where scanned training steps are, at what JAX writes
for (3), whose kernel has its axes in another order (7 to 60 times slower than outside, jax 0.10). So here (1) and (2) are two
bilinear primitives whose transposes are the two again: forward and reverse mode, `vmap` and derivatives of derivatives (the
gradient penalties of critics) all come out as them. (2) is matrix products on the CPU, JAX's own anywhere else. Where the
stride is not 1, a convolution on the CPU is differentiated as a sum of matrix products, one a row of the kernel.
"""

from functools import partial
from itertools import product
from math import ceil, prod

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

CHUNK = 1 << 18  # numbers of shifted input at a time, so that a product finds its operand in the cache
Pads = tuple[tuple[int, int], ...]  # places of zeros before and after, an axis of space each


def conv(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """SAME convolution (1). x (B, *space, C), kernel (*window, C, F) -> (B, *ceil(space / stride), F)."""
    pads = tuple(lax.padtype_to_pads(x.shape[1:-1], kernel.shape[:-2], (stride,) * (x.ndim - 2), "SAME"))
    return padded(x, kernel, pads) if stride == 1 else _strided(x, kernel, stride, pads)


def padded(x: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """(1) of stride 1 with the window where `pads` put it; each axis' pad is one less than its window, so that sides stay."""
    return convolved.bind(x, kernel, pads=pads)


def _plain(x: jax.Array, kernel: jax.Array, stride: int = 1, *, pads: Pads) -> jax.Array:
    space = "DHW"[-len(pads) :]
    layout = (f"N{space}C", f"{space}IO", f"N{space}C")
    return lax.conv_general_dilated(x, kernel, (stride,) * len(space), pads, dimension_numbers=layout)


# ---- stride 1: two primitives --------------------------------------------------------------------------------------------


convolved = Primitive("genjax_conv")  # (1): x, kernel -> y
correlated = Primitive("genjax_correlate")  # (2): x, g -> dW


def _correlate(x: jax.Array, g: jax.Array, *, pads: Pads) -> jax.Array:
    """(2) as JAX has it."""
    window = [1 + sum(pad) for pad in pads]
    kernel = jax.ShapeDtypeStruct((*window, x.shape[-1], g.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: _plain(x, kernel, pads=pads), kernel)(g)[0]


def _correlate_by_products(x: jax.Array, g: jax.Array, *, pads: Pads) -> jax.Array:
    """(2), some examples at a time: g^T [x shifted by the offsets of one row of the kernel, side by side].

    Where g has fewer channels it is g that is shifted, the other way: fewer numbers to lay out.
    """
    if g.shape[-1] < x.shape[-1]:
        return jnp.flip(_correlate_by_products(g, x, pads=_turned(pads)), range(len(pads))).swapaxes(-1, -2)
    window, out, channels, features = [1 + sum(pad) for pad in pads], g.shape[1:-1], x.shape[-1], g.shape[-1]
    rows = _divisor(x.shape[0], CHUNK // (window[-1] * prod(out) * channels))
    offsets = list(product(*map(range, window[:-1])))

    def add(total, some):
        x, g = jnp.pad(some[0], [(0, 0), *pads, (0, 0)]), some[1].reshape(-1, features).T
        return total + jnp.stack([g @ _last_axis(x, at, out, 1, window[-1]) for at in offsets]), None

    zeros = jnp.zeros((len(offsets), features, window[-1] * channels), jnp.promote_types(x.dtype, jnp.float32))
    total, _ = lax.scan(add, zeros, (x.reshape(-1, rows, *x.shape[1:]), g.reshape(-1, rows, *g.shape[1:])))
    return total.swapaxes(1, 2).reshape(*window, channels, features).astype(x.dtype)


def _back(g: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """(3)."""
    flipped = jnp.flip(kernel, range(len(pads))).swapaxes(-1, -2)
    return convolved.bind(g, flipped, pads=_turned(pads))


def _turned(pads: Pads) -> Pads:
    return tuple((after, before) for before, after in pads)


def _batched(primitive: Primitive, args: tuple, axes: tuple, *, pads: Pads) -> tuple[jax.Array, int]:
    """`vmap`: examples of the batch join the others; where kernels are many, one after the other on the CPU."""
    a, b = (v if axis is None else jnp.moveaxis(v, axis, 0) for v, axis in zip(args, axes, strict=True))
    if primitive is convolved and axes[1] is None:
        y = primitive.bind(a.reshape(-1, *a.shape[2:]), b, pads=pads)
        return y.reshape(*a.shape[:2], *y.shape[1:]), 0
    many = next(v.shape[0] for v, axis in ((a, axes[0]), (b, axes[1])) if axis is not None)
    a, b = (v if axis is not None else jnp.broadcast_to(v, (many, *v.shape)) for v, axis in ((a, axes[0]), (b, axes[1])))
    in_turn = lambda a, b: lax.map(lambda pair: primitive.bind(*pair, pads=pads), (a, b))
    at_once = jax.vmap(partial(_plain if primitive is convolved else _correlate, pads=pads))
    return lax.platform_dependent(a, b, cpu=in_turn, default=at_once), 0


def _declare(primitive: Primitive, plain, pull_first, pull_second) -> None:
    """Rules of a bilinear primitive that computes `plain`."""

    def shaped(*args, **how):
        out = jax.eval_shape(partial(plain, **how), *(jax.ShapeDtypeStruct(arg.shape, arg.dtype) for arg in args))
        return jax.core.ShapedArray(out.shape, out.dtype)

    primitive.def_impl(jax.jit(primitive.bind, static_argnames="pads"))
    primitive.def_abstract_eval(shaped)
    ad.defbilinear(primitive, pull_first, pull_second)
    batching.primitive_batchers[primitive] = partial(_batched, primitive)
    mlir.register_lowering(primitive, mlir.lower_fun(plain, multiple_results=False))


_declare(  # what a change of the output says of x, and of the kernel
    convolved,
    _plain,
    lambda g, x, kernel, *, pads: _back(g, kernel, pads),
    lambda g, x, kernel, *, pads: correlated.bind(x, g, pads=pads),
)
_declare(  # of x, and of g: <dW, kernel> is <x * kernel, g>
    correlated,
    _correlate,
    lambda kernel, x, g, *, pads: _back(g, kernel, pads),
    lambda kernel, x, g, *, pads: convolved.bind(x, kernel, pads=pads),
)
mlir.register_lowering(correlated, mlir.lower_fun(_correlate_by_products, multiple_results=False), platform="cpu")


# ---- other strides: products ---------------------------------------------------------------------------------------------


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _strided(x: jax.Array, kernel: jax.Array, stride: int, pads: Pads) -> jax.Array:
    return _plain(x, kernel, stride, pads=pads)


@_strided.defjvp
def _strided_jvp(stride: int, pads: Pads, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (x, kernel), (dx, dkernel) = primals, tangents
    products = jax.checkpoint(partial(products_conv, stride=stride, pads=pads), prevent_cse=False)  # keep x, not its shifts
    either = partial(lax.platform_dependent, cpu=products, default=partial(_plain, stride=stride, pads=pads))
    return _strided(x, kernel, stride, pads), either(dx, kernel) + either(x, dkernel)


def products_conv(x: jax.Array, kernel: jax.Array, stride: int, pads: Pads) -> jax.Array:
    """`conv` as a sum of matrix products over the rows of the kernel, some examples at a time."""
    window, out = kernel.shape[:-2], [ceil(side / stride) for side in x.shape[1:-1]]
    rows = _divisor(x.shape[0], CHUNK // (window[-1] * prod(out) * x.shape[-1]))

    @partial(jax.checkpoint, prevent_cse=False)
    def some(chunk, kernel):
        chunk = jnp.pad(chunk, [(0, 0), *pads, (0, 0)])
        offsets = product(*map(range, window[:-1]))
        return sum(_last_axis(chunk, at, out, stride, window[-1]) @ kernel[at].reshape(-1, kernel.shape[-1]) for at in offsets)

    chunks = x.reshape(-1, rows, *x.shape[1:])
    y = lax.scan(lambda _, chunk: (None, some(chunk, kernel)), None, chunks)[1]
    return y.reshape(x.shape[0], *out, kernel.shape[-1])


def _last_axis(x: jax.Array, at: tuple[int, ...], out: tuple[int, ...], stride: int, size: int) -> jax.Array:
    """(B * places, size * C): what the kernel's row at offset `at` sees, its `size` last offsets side by side."""

    def shifted(last):
        starts = (*at, last)
        ends = [start + (side - 1) * stride + 1 for start, side in zip(starts, out, strict=True)]
        return lax.slice(x, (0, *starts, 0), (x.shape[0], *ends, x.shape[-1]), (1, *[stride] * len(out), 1))

    return jnp.concatenate([shifted(last) for last in range(size)], axis=-1).reshape(-1, size * x.shape[-1])


def _divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`, at least 1."""
    return max(d for d in range(1, number + 1) if number % d == 0 and d <= max(1, most))
