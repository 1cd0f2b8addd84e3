"""What a critic can be given beside layers: transforms of a `Net`, and layers that look at the whole batch.

    spectral                  W / sigma(W), sigma by power iteration (1802.05957)                             (1)
    packed                    one verdict on m examples at once (1712.04086)                                  (2)
    projection                D(x, y) = v^T h(x) + e_y^T h(x), h a trunk (1802.05637)                         (3)
    minibatch_discrimination  o_i = sum_j exp(-|M_i - M_j|_1), M = T h(x) (1606.03498)                        (4)
    minibatch_spread          standard deviation over groups of examples as a feature (1710.10196)            (5)

(2), (4) and (5) look at several rows: a verdict then depends on who is in the batch. (2) and (5) take consecutive rows, so
they are the same on any number of devices if a device's rows divide into groups; (4) takes all rows there are, which under
`pmap` are one device's. Samples of the model depend on their own key alone, as ever.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.conditions import GIVEN
from genjax.model import stream
from genjax.nets.base import Net, as_net

# ---- spectral normalization ------------------------------------------------------------------------------------------


def spectral(net: Net, warm_up: int = 10) -> Net:
    """The same net with every kernel divided by its largest singular value, so that no dense layer stretches by more than 1.

    A kernel (*window, C, F) counts as the matrix (window C, F), as in the paper: a convolution itself may stretch by up to the
    root of its window's places. A kernel that starts at zero, which has no direction to keep, starts at random; nets that scale
    their kernels when used (`stylegan2_critic`) are not for it. Parameters are {"weights", "vectors"}: one vector a kernel,
    moved on by one power iteration in each step (`follow`), so that while weights move slowly sigma stays exact.

    Args:
      warm_up: power iterations before the first step.
    """

    def init(key: jax.Array, *inputs) -> dict:
        weights = jax.tree_util.tree_map_with_path(partial(_awake, key), net.init(key, *inputs))
        vectors = {name: _unit(jax.random.normal(key, (w.shape[-1],))) for name, w in _kernels(weights).items()}
        params = {"weights": weights, "vectors": vectors}
        for _ in range(warm_up):
            params["vectors"] = follow(params)
        return params

    def apply(params: dict, *inputs) -> jax.Array:
        return net.apply(effective(params), *inputs)

    def follow(params: dict) -> dict:
        return {name: _iterate(w, params["vectors"][name])[1] for name, w in _kernels(params["weights"]).items()}

    return Net(init, apply, follow=follow)


def effective(params: dict) -> dict:
    """The weights that a spectral net computes with: (1)."""

    def scaled(path, w):
        return w / _sigma(w, params["vectors"][_name(path)]) if w.ndim > 1 else w

    return jax.tree_util.tree_map_with_path(scaled, params["weights"])


def _awake(key: jax.Array, path: tuple, w: jax.Array) -> jax.Array:
    """A kernel of zeros as one of random numbers; (1) sets its size."""
    return jnp.where(jnp.all(w == 0), jax.random.normal(stream(key, _name(path)), w.shape), w) if w.ndim > 1 else w


def _sigma(w: jax.Array, u: jax.Array) -> jax.Array:
    """v^T W u: its gradient is that of the largest singular value, as v and u are constant to first order."""
    v, u = jax.lax.stop_gradient(_iterate(w, u))
    return v @ w.reshape(-1, w.shape[-1]) @ u


def _iterate(w: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    w = w.reshape(-1, w.shape[-1])
    v = _unit(w @ u)
    return v, _unit(w.T @ v)


def _unit(v: jax.Array) -> jax.Array:
    return v / (jnp.linalg.norm(v) + 1e-12)


def _kernels(weights: dict) -> dict[str, jax.Array]:
    return {_name(path): w for path, w in jax.tree_util.tree_leaves_with_path(weights) if w.ndim > 1}


def _name(path: tuple) -> str:
    return ".".join(entry.key for entry in path)


# ---- several examples at once ----------------------------------------------------------------------------------------


def packed(critic: Net, m: int) -> Net:
    """A critic of m examples laid side by side in the channels: (B, *space, C) -> (B / m, *space, m C) -> (B / m,) logits."""

    def together(x: jax.Array) -> jax.Array:
        if x.shape[0] % m:
            raise ValueError(f"packs of m={m} do not divide a batch of {x.shape[0]}: choose another m or batch")
        x = jnp.moveaxis(x.reshape(-1, m, *x.shape[1:]), 1, -2) if x.ndim > 1 else x.reshape(-1, m, 1)
        return x.reshape(*x.shape[:-2], -1)

    def init(key: jax.Array, *seen):
        return critic.init(key, *map(together, seen))

    return critic._replace(init=init, apply=lambda params, *seen: critic.apply(params, *map(together, seen)))


def projection(trunk: Net, classes: int) -> Net:
    """Net (x, y) -> (B,) logits as in (3), for y of `samples(model, labelled=True)`: labels (B,), or arrays (B, C).

    Args:
      trunk: x -> (B, F) features.
      classes: labels are 0 .. classes - 1; GIVEN for arrays, of which the network's embedding is linear.
    """
    return on_features(trunk, as_net(_Projection(classes)))


def minibatch_discrimination(trunk: Net, kernels: int = 50, dims: int = 5) -> Net:
    """Net x -> (B,) logits: of the trunk's features (B, F) beside how near the rest of the batch is, (4)."""
    return on_features(trunk, as_net(_Discrimination(kernels, dims)))


def on_features(trunk: Net, head: Net) -> Net:
    """Net (x, *rest) -> head(trunk(x), *rest) with the branches `trunk` and `head`, for who wants what the trunk says.

    Args:
      trunk: x -> (B, F) features.
      head: (features, *rest) -> (B,) logits.
    """
    if trunk.follow or head.follow:
        raise ValueError("a spectral net inside another critic would not be followed: put spectral(...) around the whole")

    def init(key: jax.Array, x: jax.Array, *rest) -> dict:
        first, second = jax.random.split(key)
        params = {"trunk": trunk.init(first, x)}
        h = trunk.apply(params["trunk"], x)
        if h.ndim != 2:
            raise ValueError(f"the critic's trunk gives {h.shape}, but features (B, F) are needed: give it out=(F,)")
        return params | {"head": head.init(second, h, *rest)}

    return Net(init, lambda params, x, *rest: head.apply(params["head"], trunk.apply(params["trunk"], x), *rest))


class _Projection(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, h: jax.Array, y: jax.Array | None = None) -> jax.Array:
        if self.classes == GIVEN and y is not None and y.ndim == 2:
            return nn.Dense(1)(h)[:, 0] + jnp.sum(nn.Dense(h.shape[-1], use_bias=False, name="given")(y) * h, axis=-1)
        if self.classes == GIVEN and y is not None:
            raise ValueError("this projection critic reads arrays (B, C); for labels give it their number, classes=10")
        if y is None or y.ndim != 1 or not jnp.issubdtype(y.dtype, jnp.integer):
            raise ValueError("a projection critic needs integer labels (B,) beside x, or arrays (B, C) with classes=GIVEN: "
                             "give sees=samples(model, labelled=True)")  # fmt: skip
        table = self.param("classes", nn.initializers.normal(h.shape[-1] ** -0.5), (self.classes, h.shape[-1]))
        return nn.Dense(1)(h)[:, 0] + jnp.sum(jax.nn.one_hot(y, self.classes) @ table * h, axis=-1)


class _Discrimination(nn.Module):
    kernels: int
    dims: int

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        return nn.Dense(1)(jnp.concatenate([h, Closeness(self.kernels, self.dims)(h)], axis=-1))[:, 0]


class Closeness(nn.Module):
    """(B, F) -> (B, kernels): (4), without the example itself, which is always as near as can be."""

    kernels: int
    dims: int

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        m = nn.Dense(self.kernels * self.dims, use_bias=False)(h).reshape(h.shape[0], self.kernels, self.dims)
        distance = jnp.abs(m[:, None] - m[None]).sum(-1)
        return jnp.exp(-distance).sum(1) - 1.0


def minibatch_spread(h: jax.Array, group: int) -> jax.Array:
    """(B, *space, C) -> (B, *space, C + 1): (5) over groups of consecutive rows, the same number at every place of a group."""
    size = min(group, h.shape[0])
    if h.shape[0] % size:
        raise ValueError(f"groups of {group} do not divide a batch of {h.shape[0]}: choose another group or batch")
    groups = h.reshape(-1, size, *h.shape[1:])
    spread = jnp.sqrt(groups.var(1) + 1e-8).reshape(groups.shape[0], -1).mean(1)
    return jnp.concatenate([h, jnp.broadcast_to(_like(jnp.repeat(spread, size), h), (*h.shape[:-1], 1))], axis=-1)


def _like(a: jax.Array, h: jax.Array) -> jax.Array:
    return a.reshape(-1, *[1] * (h.ndim - 1))


# ---- maxout ----------------------------------------------------------------------------------------------------------


def maxout(widths: tuple[int, ...], pieces: int = 5) -> Net:
    """Net x -> (B,) logits of hidden layers that take the largest of some linear pieces (1302.4389), as PacGAN's toys do."""
    return as_net(_Maxout(tuple(widths), pieces))


class _Maxout(nn.Module):
    widths: tuple[int, ...]
    pieces: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = x.reshape(x.shape[0], -1)
        for width in self.widths:
            h = nn.Dense(width * self.pieces)(h).reshape(h.shape[0], width, self.pieces).max(-1)
        return nn.Dense(1)(h)[:, 0]
