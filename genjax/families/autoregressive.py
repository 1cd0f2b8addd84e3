"""Autoregressive models: one place after the other, in the order of the arrays (raster order, R before G before B).

    log p(x) = sum_i log p(x_i | x_1 .. x_{i-1}, y),      exact                                                  (1)

MADE (1502.03509), gated PixelCNN (1606.05328), PixelCNN++ (1701.05517), ImageGPT and GPT differ in the network and the head.
Guided samples (2203.13131) are drawn from theta = theta(none) + scale (theta(y) - theta(none)), place by place.        (2)
A network that can keep what it knows of the places before (`Net.walk`) samples in one pass over them; any other
recomputes all places for each. Both draw the same sample from the same key.
"""

from collections.abc import Sequence
from math import prod

import jax
import jax.numpy as jnp
import optax

from genjax.conditions import beside_none, check_guidance, guided, hidden, told
from genjax.densities import flat_sum
from genjax.heads import Head
from genjax.model import Batch, Loss, Model, Params, Phase, stream
from genjax.nets import Net


def autoregressive(
    net: Net,
    shape: Sequence[int],
    head: Head,
    tx: optax.GradientTransformation,
    *,
    classes: int = 0,
    drop: float = 0.0,
    guidance: float = 1.0,
    cached: bool = True,
) -> Model:
    """An autoregressive model with the branch `net`.

    Args:
      net: (x, y) -> theta (B, *places, head.parts), that of a place from the places before it alone; x is what `head.start`
        makes of a batch. `Net.walk`, where it has one, serves sampling.
      shape: of one example: its axes are the places, all but the last one for a head of pixels.
      head: distribution of one place.
      tx: optimizer.
      classes: condition on labels 0 .. classes - 1, which the network sees one-hot; 0 for none.
      drop: share of examples whose label is hidden in training; then label -1 stands for none.
      guidance: scale of (2), where theta are logits; 1 is none. Each place then takes twice the network's work.
      cached: sample by `Net.walk`; False recomputes, to compare.
    """
    shape = tuple(shape)
    places = shape[:-1] if head.pixel else shape
    count = prod(places)
    held = shape[len(places) :]  # axes of one place

    check_guidance(classes, drop, guidance)
    twice = lambda a: a if guidance == 1.0 else jnp.concatenate([a, a])

    def condition(y):
        return told(y, classes, least=-1 if drop else 0)

    def asked(y):
        """What sampling tells the network."""
        return condition(y) if guidance == 1.0 else beside_none(condition(y))

    def answer(theta: jax.Array) -> jax.Array:
        return theta if guidance == 1.0 else guided(theta, guidance)  # 2

    def init(key: jax.Array, batch: Batch) -> Params:
        x = head.start(batch["x"])
        params = {"net": net.init(stream(key, "net"), x, condition(batch.get("y")))}
        got = jax.eval_shape(net.apply, params["net"], x, condition(batch.get("y"))).shape[1:]
        if got != (*places, head.parts):
            raise ValueError(f"the network gives {got} for one example, but this head needs {(*places, head.parts)}")
        return params

    def by_place(params: Params, batch: Batch) -> jax.Array:
        x = head.start(batch["x"])
        return head.log_prob(net.apply(params["net"], x, condition(batch.get("y"))), x)

    def log_prob(params: Params, batch: Batch) -> jax.Array:
        return flat_sum(by_place(params, batch))  # 1

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        value = -log_prob(params, hidden(key, batch, drop, classes)).mean()
        return Loss(value, {"nats_per_place": value / count})

    def draws(keys: jax.Array, place: jax.Array, theta: jax.Array, opening: jax.Array, known: jax.Array) -> jax.Array:
        """(B, *held) from theta (B, parts), or what the opening (B, L, *held) says, of which `known` () or (B,) places hold."""
        drawn = jax.vmap(lambda key, theta: head.draw(jax.random.fold_in(key, place), theta))(keys, theta)
        if not (length := opening.shape[1]):
            return drawn
        holds = (place < known).reshape(-1, *[1] * len(held))
        return jnp.where(holds, opening[:, jnp.minimum(place, length - 1)], drawn)

    def walked(params: Params, keys: jax.Array, y: jax.Array | None, *opening: jax.Array) -> jax.Array:
        state, step = net.walk(params["net"], len(twice(keys)), places, asked(y))

        def one(carry, place):
            state, theta = step(carry[0], place, twice(carry[1]))
            x = draws(keys, place, answer(theta), *opening)
            return (state, x), x

        _, x = jax.lax.scan(one, (state, empty(len(keys))[:, 0]), jnp.arange(count))
        return x.swapaxes(0, 1)

    def recomputed(params: Params, keys: jax.Array, y: jax.Array | None, *opening: jax.Array) -> jax.Array:
        def one(x, place):
            theta = answer(net.apply(params["net"], twice(x.reshape(-1, *shape)), asked(y))).reshape(-1, count, head.parts)
            return x.at[:, place].set(draws(keys, place, theta[:, place], *opening)), None

        return jax.lax.scan(one, empty(len(keys)), jnp.arange(count))[0]

    def empty(size: int) -> jax.Array:
        return jnp.zeros((size, count, *held), jax.eval_shape(head.start, jax.ShapeDtypeStruct((1,), jnp.float32)).dtype)

    def complete(
        params: Params, keys: jax.Array, opening: jax.Array, y: jax.Array | None = None, known: jax.Array | None = None
    ) -> jax.Array:
        if opening.shape[1] > count or opening.shape[2:] != held:
            raise ValueError(f"an opening is (B, L, *{held}) with L <= {count}, but this one is {opening.shape}: shorten it")
        known = jnp.asarray(opening.shape[1]) if known is None else jnp.minimum(known, opening.shape[1])
        x = (walked if cached and net.walk else recomputed)(params, keys, y, head.start(jnp.asarray(opening)), known)
        return head.finish(x.reshape(-1, *shape))

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return complete(params, keys, head.finish(empty(len(keys))[:, :0]), y)

    move = Phase("likelihood", loss, ("net",), tx)
    return Model(init, ((move,),), sample, ("net",), log_prob=log_prob, by_place=by_place, complete=complete)
