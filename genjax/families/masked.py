"""Masked tokens (MaskGIT, 2202.04200): a network that sees both ways guesses what is hidden, many places at a time.

    loss     E_r E_m [ mean_{i in m} -log p(x_i | x outside m, y) ],   |m| = ceil(cos(pi r / 2) N),  r ~ U(0, 1)       (1)
    sample   all hidden; in step t of T draw every hidden place, keep the likeliest, and hide floor(cos(pi t / 2T) N) again

What is kept has the highest log p of its draw + temperature (1 - t / T) Gumbel noise. With T = N and a high temperature one
place is kept at a time, in random order: exact draws, if the network's conditionals are. Few steps draw together what should
be drawn in turn, which is the price of their speed.
"""

from collections.abc import Sequence
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax.conditions import told
from genjax.heads import Head
from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, stream
from genjax.nets import Net


def masked(
    net: Net,
    shape: Sequence[int],
    head: Head,
    tx: optax.GradientTransformation,
    *,
    steps: int = 8,
    temperature: float = 4.5,
    classes: int = 0,
) -> Model:
    """A model of tokens with the branch `net`.

    Args:
      net: (tokens, y) -> theta (B, *shape, head.parts), that of a place from all places; the token of a hidden one is
        `head.parts` (`nets.encoder(head.parts + 1, head.parts, places)`).
      shape: of one example; each number a place.
      head: distribution of one place, `heads.categorical`.
      tx: optimizer.
      steps: of sampling, at most as many as places.
      temperature: of the choice what to keep; 0 keeps the likeliest.
      classes: condition on labels 0 .. classes - 1, which the network sees one-hot; 0 for none.
    """
    shape, hidden = tuple(shape), head.parts
    count = prod(shape)
    of_tokens = jnp.issubdtype(jax.eval_shape(head.start, jax.ShapeDtypeStruct((1,), jnp.float32)).dtype, jnp.integer)
    if head.pixel or not of_tokens or head.parts < 2:
        raise ValueError("masked wants a head of tokens whose logits are one a token: heads.categorical(levels)")
    if not 1 <= steps <= count:
        raise ValueError(f"masked reveals a place or more in each step: 1 .. {count} steps, not steps={steps}")

    def guess(params: Params, tokens: jax.Array, y: jax.Array | None) -> jax.Array:
        """(B, N, parts) of tokens (B, N)."""
        theta = net.apply(params["net"], tokens.reshape(-1, *shape), told(y, classes))
        return theta.reshape(*tokens.shape, head.parts)

    def init(key: jax.Array, batch: Batch) -> Params:
        x, y = head.start(batch["x"]), told(batch.get("y"), classes)
        params = {"net": net.init(stream(key, "net"), x, y)}
        got = jax.eval_shape(net.apply, params["net"], x, y).shape[1:]
        if got != (*shape, head.parts):
            raise ValueError(f"the network gives {got} for one example, but this head needs {(*shape, head.parts)}")
        return params

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        x, keys = head.start(batch["x"]).reshape(-1, count), example_keys(key, batch)
        share = jax.vmap(lambda key: jax.random.uniform(stream(key, "share")))(keys)
        order = jax.vmap(lambda key: jax.random.permutation(stream(key, "order"), count))(keys)
        hide = order < jnp.ceil(jnp.cos(0.5 * jnp.pi * share) * count)[:, None]
        theta = guess(params, jnp.where(hide, hidden, x), batch.get("y"))
        nats = -head.log_prob(theta, x)
        nats = jnp.where(hide | jnp.isnan(nats), nats, 0.0)  # a token out of range is told, hidden or not
        return Loss(jnp.mean(nats.sum(1) / hide.sum(1)), {"hidden": hide.mean()})  # 1

    def complete(params: Params, keys: jax.Array, opening: jax.Array, y: jax.Array | None = None) -> jax.Array:
        if opening.ndim != 2 or opening.shape[1] > count:
            raise ValueError(f"an opening is (B, L) with L <= {count}, but this one is {opening.shape}: shorten it")
        known = head.start(jnp.asarray(opening))
        unknown = jnp.full((len(keys), count - known.shape[1]), hidden)
        left = remaining(unknown.shape[1], steps)

        def one(tokens, now):
            number, left = now
            keys_now = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
            return reveal(keys_now, tokens, guess(params, tokens, y), left, temperature * (1 - (number + 1) / steps)), None

        tokens, _ = jax.lax.scan(one, jnp.concatenate([known, unknown], axis=1), (jnp.arange(len(left)), left))
        return head.finish(tokens.reshape(-1, *shape))

    def reveal(keys: jax.Array, tokens: jax.Array, theta: jax.Array, left: jax.Array, temperature: jax.Array) -> jax.Array:
        """Tokens with all but the `left` least likely of the hidden ones drawn."""
        place_keys = jax.vmap(lambda key: jax.random.split(stream(key, "draw"), count))(keys)
        drawn = jnp.where(tokens == hidden, jax.vmap(jax.vmap(head.draw))(place_keys, theta), tokens)
        noise = jax.vmap(lambda key: jax.random.gumbel(stream(key, "keep"), (count,)))(keys)
        trust = jnp.where(tokens == hidden, head.log_prob(theta, drawn) + temperature * noise, jnp.inf)
        rank = jnp.argsort(jnp.argsort(trust, axis=1), axis=1)
        return jnp.where(rank < left, hidden, drawn)

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return complete(params, keys, head.finish(jnp.zeros((len(keys), 0), jnp.int32)), y)

    return Model(init, ((Phase("masked", loss, ("net",), tx),),), sample, ("net",), complete=complete)


def remaining(count: int, steps: int) -> jax.Array:
    """(T,) how many of `count` places stay hidden after each step: by the cosine, one fewer each time or more, 0 at last."""
    steps = min(steps, count)
    left = np.floor(np.cos(0.5 * np.pi * np.arange(1, steps + 1) / max(steps, 1)) * count + 1e-9)
    least, most = steps - np.arange(1, steps + 1), count - np.arange(1, steps + 1)  # one place at least in each step
    return jnp.asarray(np.clip(left, least, most), jnp.int32)
