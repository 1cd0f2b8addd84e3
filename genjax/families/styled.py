"""A generator with styles (StyleGAN: 1812.04948, 1912.04958, 2106.12423): an implicit model in two halves.

    z ~ N(0, I),   w = f(z),   x = g(w, noise)
    truncation     w <- m + psi (w - m),   m the running mean of w                                             (1)
    mixing         some layers take w of one z, the later ones of another                                      (2)
    path length    min E ( |J^T y| - a )^2,   J = dg/dw,  y ~ N(0, I / places),  a the running mean of |J^T y|  (3)

Like any implicit model it learns by `adversarial`. Truncation and mixing are keywords: the same parameters sample with
psi = 0.7 from `styled(..., psi=0.7)`, and a critic that is to see mixed samples is given those of another such model:

    model = styled(nets, latent, path_tx=...)
    adversarial(model, critic, ..., sees=samples(styled(nets, latent, mixing=0.9)))
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from genjax.conditions import told
from genjax.families.gan import check_made
from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, named, normal, stream
from genjax.nets import Net
from genjax.nets.stylegan2 import Styles


def styled(
    nets: Styles,
    latent: Sequence[int],
    *,
    classes: int = 0,
    mixing: float = 0.0,
    psi: float = 1.0,
    decay: float = 0.998,
    path_tx: optax.GradientTransformation | None = None,
    path_every: int = 4,
    path_decay: float = 0.99,
) -> Model:
    """Branches `mapping`, `synthesis`, `middle` and, where path lengths are regularized, `path_length`.

    Args:
      nets: `stylegan2(...)` or `stylegan3(...)` of `genjax.nets`.
      latent: shape of one z.
      classes: condition on labels 0 .. classes - 1; 0 for none.
      mixing: share of samples with two styles.
      psi: truncation of samples; 1 for none, 0 gives the mean style's picture.
      decay: of the running mean of w.
      path_tx: optimizer of (3), a phase of its own; None leaves it out. An Adam here forgets the scale of the loss: its
        learning rate is the weight.
      path_every: steps from one such move to the next.
      path_decay: of the running mean a.

    Returns:
      A Model whose `decode` maps styles (B, W) or (B, count, W) to x without noise.
    """

    if path_every < 1:
        raise ValueError(f"path lengths are regularized once in path_every >= 1 steps, not path_every={path_every}")

    def styles(params: Params, keys: jax.Array, y: jax.Array | None) -> jax.Array:
        z = normal(keys, latent)
        return nets.mapping.apply(params["mapping"], z, *((told(y, classes),) if classes else ()))

    def mixed(params: Params, keys: jax.Array, y: jax.Array | None) -> jax.Array:
        """(2): (B, count, W)."""
        first, second = (styles(params, named(keys, name), y)[:, None] for name in ("first", "second"))
        yes = jax.vmap(lambda key: jax.random.uniform(key) < mixing)(named(keys, "mixed"))
        cross = jax.vmap(lambda key: jax.random.randint(key, (), 1, nets.count))(named(keys, "cross"))
        later = yes[:, None] & (jnp.arange(nets.count) >= cross[:, None])
        return jnp.where(later[..., None], second, first)

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        w = mixed(params, keys, y) if mixing else styles(params, named(keys, "first"), y)
        w = w if psi == 1.0 else params["middle"] + psi * (w - params["middle"])  # 1
        return nets.synthesis.apply(params["synthesis"], w, named(keys, "noise"))

    def init(key: jax.Array, batch: Batch) -> Params:
        size = batch["x"].shape[0]
        condition = (told(batch.get("y"), classes),) if classes else ()
        params = {"mapping": nets.mapping.init(stream(key, "mapping"), jnp.zeros((size, *latent)), *condition)}
        w = styles(params, jax.random.split(key, size), batch.get("y"))
        params |= {"synthesis": nets.synthesis.init(stream(key, "synthesis"), w), "middle": jnp.zeros(w.shape[1:])}
        check_made(jax.eval_shape(nets.synthesis.apply, params["synthesis"], w), batch["x"])
        return params | ({"path_length": jnp.zeros(())} if path_tx else {})

    def follow(params: Params, key: jax.Array, batch: Batch) -> Loss:
        w = jax.lax.stop_gradient(styles(params, example_keys(key, batch), batch.get("y"))).mean(0)
        m = params["middle"]
        return Loss(jnp.sum(0.5 * m**2 - m * w))  # half the squared distance, less what w alone adds

    def even(params: Params, key: jax.Array, batch: Batch) -> Loss:
        keys = example_keys(key, batch)
        w = styles(params, keys, batch.get("y"))
        lengths = path_lengths(nets.synthesis, params["synthesis"], w, nets.count, keys)
        a, target = params["path_length"], jax.lax.stop_gradient(lengths.mean())
        value = jnp.mean((lengths - jax.lax.stop_gradient(a)) ** 2) + 0.5 * a**2 - a * target  # 3
        return Loss(value, {"length": lengths.mean()})

    phases = [Phase("middle", follow, ("middle",), optax.sgd(1.0 - decay))]
    if path_tx:
        kinds = lambda picked: {path: "mean" if path.endswith("path_length") else "nets" for path in picked}
        tx = optax.partition({"nets": path_tx, "mean": optax.sgd(1.0 - path_decay)}, kinds)
        moves = ("mapping", "synthesis", "path_length")
        phases.append(Phase("path_length", even, moves, tx, lambda step: step % path_every == 0))

    def decode(params: Params, w: jax.Array, y: jax.Array | None = None) -> jax.Array:
        del y
        return nets.synthesis.apply(params["synthesis"], w)

    return Model(init, (tuple(phases),), sample, ("mapping", "synthesis"), decode=decode)


def path_lengths(synthesis: Net, params: Params, w: jax.Array, count: int, keys: jax.Array) -> jax.Array:
    """(B,) |J^T y| of (3), the root mean square over the `count` styles; keys (B,) give the noise and y."""
    w = jnp.broadcast_to(w[:, None], (w.shape[0], count, w.shape[-1]))
    noise = named(keys, "noise")

    def along(w):
        x = synthesis.apply(params, w, noise)
        y = normal(named(keys, "direction"), x.shape[1:]) * (x.shape[-1] / x[0].size) ** 0.5
        return jnp.sum(x * y)

    return jnp.sqrt(jnp.mean(jnp.sum(jax.grad(along)(w) ** 2, axis=-1), axis=-1) + 1e-12)
