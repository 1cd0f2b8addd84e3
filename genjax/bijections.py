"""Bijections as records that compose, the parts of normalizing flows (1505.05770).

    z = f(x),        log p(x) = log p(z) + log | det df/dx |

A bijection says how to go forward, with the log-determinant, and how to come back; everything else follows from these two.
Arrays are (B, *shape), log-determinants (B,) in nats. `y` is a condition (B, C) or None, handed on to whoever looks at it.

    chain, invert                        composition
    planar                               one bend, for posteriors
    actnorm, mix, squeeze, factor_out    the parts of Glow (1807.03039) and of multi-scale RealNVP (1605.08803)
    coupling, causal                     networks: half of the dimensions given the others, or each given those before it
    affine, spline                       what these do to one dimension, the spline in `genjax.splines`
    logit, reshape                       from data in (0, 1) to the line, and between shapes
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.densities import flat_sum
from genjax.model import stream
from genjax.nets import Net
from genjax.splines import Rule


class Bijection(NamedTuple):
    """x <-> z. `init` sees a batch as it arrives here, for those who start from data."""

    init: Callable[..., Any]  # (key, x, y) -> params
    forward: Callable[..., tuple[jax.Array, jax.Array]]  # (params, x, y) -> z, log |det dz/dx| (B,)
    inverse: Callable[..., jax.Array]  # (params, z, y) -> x


def chain(*parts: Bijection) -> Bijection:
    """One after the other; each is initialized on what those before it make of the batch."""

    def init(key, x, y=None):
        params = {}
        for number, part in enumerate(parts):
            params[str(number)] = part.init(stream(key, str(number)), x, y)
            x, _ = part.forward(params[str(number)], x, y)
        return params

    def forward(params, x, y=None):
        total = jnp.zeros(x.shape[0], x.dtype)
        for number, part in enumerate(parts):
            x, log_det = part.forward(params[str(number)], x, y)
            total += log_det
        return x, total

    def inverse(params, z, y=None):
        for number in reversed(range(len(parts))):
            z = parts[number].inverse(params[str(number)], z, y)
        return z

    return Bijection(init, forward, inverse)


def invert(part: Bijection) -> Bijection:
    """The same bijection the other way round: IAF (1606.04934) is `invert` of a masked autoregressive layer."""

    def forward(params, x, y=None):
        z = part.inverse(params, x, y)
        return z, -part.forward(params, z, y)[1]

    return Bijection(part.init, forward, lambda params, z, y=None: part.forward(params, z, y)[0])


# ---- without networks --------------------------------------------------------------------------------------------------


def actnorm() -> Bijection:
    """z = (x - shift) exp(log_scale) by channel; the first batch comes out with mean 0 and variance 1 (1807.03039)."""

    def init(key, x, y=None):
        rows = x.reshape(-1, x.shape[-1])
        return {"shift": rows.mean(0), "log_scale": -jnp.log(rows.std(0) + 1e-6)}

    def forward(params, x, y=None):
        z = (x - params["shift"]) * jnp.exp(params["log_scale"])
        return z, jnp.full(x.shape[0], _places(x) * params["log_scale"].sum())

    return Bijection(init, forward, lambda params, z, y=None: z * jnp.exp(-params["log_scale"]) + params["shift"])


def mix(channels: int, seed: int = 0) -> Bijection:
    """Invertible 1x1 convolution z = x W', W = P L (U + diag s), which starts as a random rotation (1807.03039, 3.2)."""
    from scipy.linalg import lu  # jax brings scipy

    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((channels, channels)))[0]
    permutation, lower, upper = lu(rotation)
    sign = np.sign(np.diag(upper))

    def init(key, x, y=None):
        if x.shape[-1] != channels:
            raise ValueError(f"mix({channels}) mixes {channels} channels, but x is {x.shape}")
        parts = {"lower": np.tril(lower, -1), "upper": np.triu(upper, 1), "log_s": np.log(np.abs(np.diag(upper)))}
        return jax.tree.map(lambda a: jnp.asarray(a, x.dtype), parts)

    def triangles(params):
        low, up, log_s = params["lower"], params["upper"], params["log_s"]
        eye, signs = jnp.eye(channels, dtype=low.dtype), jnp.asarray(sign, low.dtype)
        return jnp.tril(low, -1) + eye, jnp.triu(up, 1) + jnp.diag(signs * jnp.exp(log_s))

    def forward(params, x, y=None):
        low, up = triangles(params)
        weight = jnp.asarray(permutation, x.dtype) @ low @ up
        return x @ weight.T, jnp.full(x.shape[0], _places(x) * params["log_s"].sum())

    def inverse(params, z, y=None):
        low, up = triangles(params)
        columns = jnp.asarray(permutation.T, z.dtype) @ z.reshape(-1, channels).T
        columns = jax.scipy.linalg.solve_triangular(low, columns, lower=True, unit_diagonal=True)
        return jax.scipy.linalg.solve_triangular(up, columns).T.reshape(z.shape)

    return Bijection(init, forward, inverse)


def flip() -> Bijection:
    """The last axis backwards: between autoregressive layers, so that each dimension comes first once."""
    there = lambda params, x, y=None: (x[..., ::-1], jnp.zeros(x.shape[0], x.dtype))
    return Bijection(lambda key, x, y=None: {}, there, lambda params, z, y=None: z[..., ::-1])


def planar(dims: int, net: Net | None = None) -> Bijection:
    """z = x + u tanh(w x + b), one bend across a hyperplane (1505.05770, eq. 10 and A.1); x is (B, dims).

    `net` reads (w, u, b), (B, 2 dims + 1), off the condition y; without it they are parameters. u is moved along w so that
    w u > -1, where the map can be inverted: by bisection of the one number w x.
    """

    def init(key, x, y=None):
        if net is None:
            return jnp.concatenate([jax.random.normal(key, (dims,)) / dims**0.5, jnp.zeros(dims + 1)])
        return net.init(key, y)

    def bend(params, x, y):
        theta = params if net is None else net.apply(params, y)
        w, u, b = (jnp.broadcast_to(part, (len(x), part.shape[-1])) for part in jnp.split(theta, [dims, 2 * dims], axis=-1))
        along, square = jnp.sum(w * u, -1, keepdims=True), jnp.sum(w**2, -1, keepdims=True) + 1e-12
        least = jax.nn.softplus(along + np.log(np.e - 1.0)) - 1.0  # above -1, and 0 at 0
        return w, u + (least - along) * w / square, b[:, 0]

    def forward(params, x, y=None):
        w, u, b = bend(params, x, y)
        turn = jnp.tanh(jnp.sum(w * x, -1) + b)
        return x + u * turn[:, None], jnp.log1p(jnp.sum(u * w, -1) * (1.0 - turn**2))

    def inverse(params, z, y=None):
        w, u, b = bend(params, z, y)
        wz, wu = jnp.sum(w * z, -1), jnp.sum(w * u, -1)

        def halve(ends, _):
            low, high = ends
            middle = 0.5 * (low + high)
            below = middle + wu * jnp.tanh(middle + b) < wz
            return (jnp.where(below, middle, low), jnp.where(below, high, middle)), None

        (low, high), _ = jax.lax.scan(halve, (wz - jnp.abs(wu), wz + jnp.abs(wu)), length=60)
        return z - u * jnp.tanh(0.5 * (low + high) + b)[:, None]

    return Bijection(init, forward, inverse)


def squeeze(shape: Sequence[int]) -> Bijection:
    """(*space, C) -> (*space / 2, 2^axes C): each block of 2 x 2 becomes channels (1605.08803, 3.6)."""
    *space, channels = shape
    if any(side % 2 for side in space):
        raise ValueError(
            f"squeeze halves every side, but the sides of {tuple(shape)} are not all even; pad or crop, or fewer levels"
        )
    axes, halves = len(space), [side // 2 for side in space]
    split = [n for half in halves for n in (half, 2)]
    order = [0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1]
    small = (*halves, channels * 2**axes)

    def forward(params, x, y=None):
        z = x.reshape(-1, *split, channels).transpose(order).reshape(-1, *small)
        return z, jnp.zeros(x.shape[0], x.dtype)

    def inverse(params, z, y=None):
        blocks = z.reshape(-1, *halves, *[2] * axes, channels)
        return blocks.transpose(np.argsort(order)).reshape(-1, *shape)

    return Bijection(lambda key, x, y=None: {}, forward, inverse)


def factor_out(inner: Bijection, shape: Sequence[int]) -> Bijection:
    """Multi-scale (1605.08803, 3.6): the first half of the channels goes on through `inner`, the rest is done; flat z."""
    half = shape[-1] // 2
    if not half:
        raise ValueError(f"factor_out needs two channels or more, but the shape is {tuple(shape)}; squeeze first")
    rest = (*shape[:-1], shape[-1] - half)

    def init(key, x, y=None):
        return inner.init(key, x[..., :half], y)

    def forward(params, x, y=None):
        z, log_det = inner.forward(params, x[..., :half], y)
        return jnp.concatenate([z.reshape(len(z), -1), x[..., half:].reshape(len(x), -1)], axis=1), log_det

    def inverse(params, z, y=None):
        done = z[:, -prod(rest) :].reshape(-1, *rest)
        goes_on = z[:, : -prod(rest)]
        goes_on = goes_on.reshape(-1, *_latent(inner, params, (*shape[:-1], half), y))
        return jnp.concatenate([inner.inverse(params, goes_on, y), done], axis=-1)

    return Bijection(init, forward, inverse)


def reshape(before: Sequence[int], after: Sequence[int]) -> Bijection:
    """(B, *before) -> (B, *after)."""
    there = lambda params, x, y=None: (x.reshape(-1, *after), jnp.zeros(x.shape[0], x.dtype))
    return Bijection(lambda key, x, y=None: {}, there, lambda params, z, y=None: z.reshape(-1, *before))


def logit(margin: float = 1e-6) -> Bijection:
    """z = logit(margin + (1 - 2 margin) x), from (0, 1) to the line (1705.07057, appendix D)."""
    inside = 1.0 - 2.0 * margin

    def forward(params, x, y=None):
        p = margin + inside * x
        return jnp.log(p) - jnp.log1p(-p), flat_sum(np.log(inside) - jnp.log(p) - jnp.log1p(-p))

    return Bijection(lambda key, x, y=None: {}, forward, lambda params, z, y=None: (jax.nn.sigmoid(z) - margin) / inside)


# ---- with networks -----------------------------------------------------------------------------------------------------


def coupling(net: Net, rule: Rule, kept: np.ndarray) -> Bijection:
    """Dimensions that are not `kept` go through `rule`, with parameters that `net` reads off those that are (1605.08803).

    Args:
      net: (x, y) -> (B, *shape) with `rule.parts` times the channels.
      rule: what happens to one dimension.
      kept: (*shape) of bool.
    """

    def seen(params, x, y):
        return _theta(net, params, jnp.where(kept, x, 0.0), y, rule)

    def forward(params, x, y=None):
        z, log_slope = rule.forward(seen(params, x, y), x)
        return jnp.where(kept, x, z), flat_sum(jnp.where(kept, 0.0, log_slope))

    def inverse(params, z, y=None):
        return jnp.where(kept, z, rule.inverse(seen(params, z, y), z))

    return Bijection(lambda key, x, y=None: _init(net, key, x, y, rule), forward, inverse)


def causal(net: Net, rule: Rule) -> Bijection:
    """Every dimension goes through `rule`, with parameters that `net` reads off the dimensions before it: MAF (1705.07057).

    `net` is (x (B, D), y) -> (B, D, rule.parts); what dimension d gets depends on x_1 .. x_{d-1} alone (`genjax.nets.made`).
    Forward is one pass; the inverse takes D of them, each of which makes one more dimension right.
    """

    def forward(params, x, y=None):
        z, log_slope = rule.forward(_theta(net, params, x, y, rule), x)
        return z, flat_sum(log_slope)

    def inverse(params, z, y=None):
        one_more = lambda x, _: (rule.inverse(_theta(net, params, x, y, rule), z), None)
        return jax.lax.scan(one_more, jnp.zeros_like(z), length=z.shape[-1])[0]

    return Bijection(lambda key, x, y=None: _init(net, key, x, y, rule), forward, inverse)


def _init(net: Net, key: jax.Array, x: jax.Array, y: jax.Array | None, rule: Rule) -> Any:
    """The network, a gain of its outputs and a shift, both zero at first: the layer starts as what `rule` does at theta = 0.

    The shift is what a dimension learns that no network speaks of, the first of an autoregressive order.
    """
    params = net.init(key, x, y)
    got, numbers = jax.eval_shape(net.apply, params, x, y).shape, x[0].size * rule.parts
    if prod(got[1:]) != numbers:
        raise ValueError(f"this rule takes {rule.parts} numbers a dimension, {numbers} in all, but its network gives {got[1:]}")
    zeros = jnp.zeros((*x.shape[1:], rule.parts))
    return {"net": params, "gain": zeros, "shift": zeros}


def _theta(net: Net, params: Any, x: jax.Array, y: jax.Array | None, rule: Rule) -> jax.Array:
    """(B, *shape, parts)"""
    return net.apply(params["net"], x, y).reshape(*x.shape, rule.parts) * params["gain"] + params["shift"]


def halves(shape: Sequence[int], first: bool = True) -> np.ndarray:
    """Keep one half of the channels."""
    front = np.arange(shape[-1]) < shape[-1] // 2
    return np.broadcast_to(front if first else ~front, shape)


def checkerboard(shape: Sequence[int], even: bool = True) -> np.ndarray:
    """Keep every second place of all axes but the last."""
    place = np.indices(shape[:-1]).sum(0) % 2 == 0
    return np.broadcast_to((place if even else ~place)[..., None], shape)


def _places(x: jax.Array) -> int:
    return prod(x.shape[1:-1])


def _latent(part: Bijection, params: Any, shape: Sequence[int], y: jax.Array | None) -> tuple[int, ...]:
    """Shape of one z of a bijection whose x has this one."""
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    y = None if y is None else jax.ShapeDtypeStruct((1, *y.shape[1:]), y.dtype)
    return jax.eval_shape(part.forward, params, x, y)[0].shape[1:]
