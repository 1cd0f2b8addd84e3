"""What keeps a critic smooth, each a function of the critic's logits; and virtual moves of a critic.

    R1      E |grad_x D(real)|^2,    R2 the same on fakes (1801.04406, 2501.05441)                            (1)
    GP      E (|grad_x D(x^)| - 1)^2,   x^ = e real + (1 - e) fake,   e ~ U(0, 1)   (1704.00028)              (2)
    lazy    k times the penalty, with probability 1/k: the same gradient on average at a k-th of the cost     (3)
    box     the critic's weights kept in [-c, c] (1701.07875)                                                 (4)

Lazy R1 (1912.04958) counts every k-th step. A phase of its own could do that, but would have an Adam of its own, which
takes any weight out of a loss again. A coin inside the critic's loss leaves one loss and one optimizer.

An input of a critic with one number an example, (B,), is a condition: a label, a time. So is any that is `Told`. No penalty
looks at the slope of a condition: the critic would unlearn it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax.model import Batch, example_keys, stream


class Told(NamedTuple):
    """A condition among what a critic sees, the same on both sides."""

    y: jax.Array


Seen = tuple[jax.Array | Told, ...]  # the inputs of the critic for a batch of examples
Logits = Callable[[Seen], jax.Array]  # -> (n,), n = B, or B / m of a critic that judges m together
Penalty = Callable[[Logits, jax.Array, Batch, Seen, Seen], jax.Array]  # (logits, key, batch, real, fake) -> scalar


def squared_slopes(logits: Logits, seen: Seen) -> jax.Array:
    """(n,): of every logit the squared norm of its gradient with respect to all data it sees."""
    is_data = [not isinstance(x, Told) and x.ndim > 1 for x in seen]
    if not any(is_data):
        raise ValueError("a critic's slope is that along its data, (B, ...), and all that it sees here are conditions, (B,)")

    def total(data):
        given = iter(data)
        out = logits(tuple(next(given) if yes else x for x, yes in zip(seen, is_data, strict=True)))
        return out.sum(), out

    slopes, out = jax.grad(total, has_aux=True)([x for x, yes in zip(seen, is_data, strict=True) if yes])
    return sum(jnp.sum(slope.reshape(out.shape[0], -1) ** 2, axis=1) for slope in slopes)


def smooth(r1: float = 0.0, r2: float = 0.0, gp: float = 0.0, lazy: int = 1) -> Penalty:
    """r1/2 R1 + r2/2 R2 + gp GP; with lazy = k as (3) says."""
    if lazy < 1:
        raise ValueError(f"lazy={lazy}: a penalty is taken every `lazy` steps on average, 1 for always")

    def value(logits, key, batch, real, fake):
        total = jnp.zeros(())
        total += 0.5 * r1 * squared_slopes(logits, real).mean() if r1 else 0.0  # 1
        total += 0.5 * r2 * squared_slopes(logits, fake).mean() if r2 else 0.0
        return total + (gp * unit_slope(logits, key, batch, real, fake) if gp else 0.0)  # 2

    def sometimes(logits, key, *rest):
        now = jax.random.bernoulli(stream(key, "lazy"), 1.0 / lazy)
        return jax.lax.cond(now, lambda: lazy * value(logits, key, *rest), lambda: jnp.zeros(()))  # 3

    return sometimes if lazy > 1 and (r1 or r2 or gp) else value


def unit_slope(logits: Logits, key: jax.Array, batch: Batch, real: Seen, fake: Seen) -> jax.Array:
    """(2), one e an example for all that is seen of it."""
    e = jax.vmap(jax.random.uniform)(row_keys(stream(key, "between"), batch, real))
    mix = lambda a, b: b + e.reshape(-1, *[1] * (a.ndim - 1)) * (a - b) if not isinstance(a, Told) and a.ndim > 1 else a
    slopes = squared_slopes(logits, tuple(mix(a, b) for a, b in zip(real, fake, strict=True)))
    return jnp.mean((jnp.sqrt(slopes + 1e-12) - 1.0) ** 2)  # a root at 0 has no derivative


def row_keys(key: jax.Array, batch: Batch, seen: Seen) -> jax.Array:
    """One key a row that is seen: an example's own, and others where it is seen again, as `sees.drawn` shows it."""
    keys = example_keys(key, batch)
    again = [jax.vmap(jax.random.fold_in, (0, None))(keys, time) for time in range(1, len(seen[0]) // len(keys))]
    return jnp.concatenate([keys, *again])


def bare(seen: Seen) -> tuple[jax.Array, ...]:
    """What is seen as a network takes it."""
    return tuple(x.y if isinstance(x, Told) else x for x in seen)


def still(seen: Seen) -> Seen:
    """What is seen, as data: only the encoder of a condition, if it learns along, still feels what the critic makes of it."""
    return tuple(x if isinstance(x, Told) else jax.lax.stop_gradient(x) for x in seen)


def box(side: float) -> optax.GradientTransformation:
    """(4), as the last of a chain: `optax.chain(optax.rmsprop(5e-5), box(0.01))` for `critic_tx`."""
    if not side > 0:
        raise ValueError(f"weights are kept in a box [-side, side], side > 0, not side={side}")
    inside = lambda update, weight: jnp.clip(weight + update, -side, side) - weight
    return optax.stateless(lambda updates, params: jax.tree.map(inside, updates, params))


def moved(loss: Callable, weights: dict, moves: int, lr: float) -> dict:
    """Weights after some plain gradient moves on a loss of them, differentiably: the virtual critic of 1611.02163."""

    def move(weights, _):
        return jax.tree.map(lambda w, g: w - lr * g, weights, jax.grad(loss)(weights)), None

    return jax.lax.scan(move, weights, None, moves)[0]
