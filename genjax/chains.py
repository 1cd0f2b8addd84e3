"""Markov chains through one interface: Langevin, MALA, Metropolis-Hastings, Hamiltonian Monte Carlo, annealing.

    Langevin (ULA)   x' = x + step/2 grad log p(x) + sqrt(step) noise                                            (1)
    MALA             (1) is proposed, accepted with chance min(1, p(x') q(x | x') / p(x) q(x' | x))              (2)
    random walk      x' = x + scale noise is proposed, accepted with chance min(1, p(x') / p(x))                 (3)
    HMC (1206.1901)  momentum m ~ N(0, I), `leaps` leapfrog steps of dx/dt = m, dm/dt = grad log p, accepted with
                     chance min(1, exp(H - H')),  H = -log p(x) + |m|^2 / 2                                      (4)
    AIS              log w = sum_k log p_k(x_{k-1}) - log p_{k-1}(x_{k-1}),  x_k moved from x_{k-1} by a kernel
                     of p_k; E[w] = Z_K / Z_0 (physics/9803008)                                                  (5)

ULA needs no p but its score, and is biased: on N(0, 1) it comes to the variance 1 / (1 - step / 4). The others leave p as it
is. All are for many chains at once, chain k is moved by key k alone, and a move whose chance is not a number is refused.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.densities import flat_sum
from genjax.model import Params, named, normal
from genjax.nets import Net

Field = Callable[[jax.Array], jax.Array]  # x (B, *shape) -> log p(x) up to a constant (B,), or the score (B, *shape)


class Place(NamedTuple):
    """Where chains are, and what a kernel wants to know there."""

    x: jax.Array  # (B, *shape)
    log_p: jax.Array | None = None  # (B,)
    score: jax.Array | None = None  # (B, *shape)


class Kernel(NamedTuple):
    """One way to move: what is carried from move to move, and the move."""

    start: Callable[[jax.Array], Place]  # x (B, *shape) -> place
    move: Callable[[jax.Array, Place], tuple[Place, jax.Array]]  # (keys (B,), place) -> place, accepted (B,) of 0 and 1


class Run(NamedTuple):
    """The end of some chains."""

    x: jax.Array  # (B, *shape)
    accepted: jax.Array  # (B,) share of the moves that were
    kept: Any = None  # (steps, ...) what was asked to be kept of every move


class Weighted(NamedTuple):
    """Chains at the last of a sequence of densities."""

    x: jax.Array  # (B, *shape)
    log_w: jax.Array  # (B,) whose mean of exp is the last normalizing constant over the first


# ---- kernels -----------------------------------------------------------------------------------------------------------


def langevin(log_p: Field, step: float | jax.Array, into: Field = lambda x: x) -> Kernel:
    """(1); `into` puts x back where it may be, as jnp.clip does for a box."""
    return drift(score_of(log_p), step, into)


def drift(score: Field, step: float | jax.Array, into: Field = lambda x: x) -> Kernel:
    """(1) of a score that need be no gradient."""
    positive("step", step)

    def move(keys: jax.Array, place: Place) -> tuple[Place, jax.Array]:
        noise = jnp.sqrt(step) * normal(keys, place.x.shape[1:])
        return Place(into(place.x + 0.5 * step * score(place.x) + noise)), jnp.ones(len(place.x))

    return Kernel(Place, move)


def mala(log_p: Field, step: float | jax.Array) -> Kernel:
    """(2): the step may be larger the fewer the dimensions; 57 % of the moves accepted mix best (Roberts & Rosenthal 1998)."""
    positive("step", step)
    look = looking(log_p)

    def log_q(to: Place, at: Place) -> jax.Array:
        return -flat_sum((to.x - at.x - 0.5 * step * at.score) ** 2) / (2 * step)

    def move(keys: jax.Array, place: Place) -> tuple[Place, jax.Array]:
        noise = jnp.sqrt(step) * normal(named(keys, "noise"), place.x.shape[1:])
        new = look(place.x + 0.5 * step * place.score + noise)
        return accept(keys, new.log_p - place.log_p + log_q(place, new) - log_q(new, place), new, place)

    return Kernel(look, move)


def random_walk(log_p: Field, scale: float | jax.Array) -> Kernel:
    """(3): `scale` is the standard deviation of the proposal."""
    positive("scale", scale)

    def move(keys: jax.Array, place: Place) -> tuple[Place, jax.Array]:
        x = place.x + scale * normal(named(keys, "noise"), place.x.shape[1:])
        new = Place(x, log_p(x))
        return accept(keys, new.log_p - place.log_p, new, place)

    return Kernel(lambda x: Place(x, log_p(x)), move)


def hmc(log_p: Field, step: float | jax.Array, leaps: int = 10) -> Kernel:
    """(4): `step` is the time of one leap. 65 % of the moves accepted is about best (1001.4460).

    A mode of standard deviation s swings with the period 2 pi s: where step * leaps is half of that, it only changes its sign.
    """
    positive("step", step)
    if leaps < 1:
        raise ValueError(f"hmc moves by leaps, so it needs leaps >= 1, not {leaps}")
    look = looking(log_p)

    def move(keys: jax.Array, place: Place) -> tuple[Place, jax.Array]:
        m = normal(named(keys, "momentum"), place.x.shape[1:])
        new, new_m = leapfrog(look, place, m, step, leaps)
        return accept(keys, new.log_p - 0.5 * flat_sum(new_m**2) - place.log_p + 0.5 * flat_sum(m**2), new, place)

    return Kernel(look, move)


def leapfrog(
    look: Callable[[jax.Array], Place], place: Place, m: jax.Array, step: float | jax.Array, leaps: int
) -> tuple[Place, jax.Array]:
    """(place, momentum) after `leaps` steps of the leapfrog rule: run back with -m it returns, and its error in H is step^2."""

    def leap(carry, _):
        place, m = carry
        half = m + 0.5 * step * place.score
        place = look(place.x + step * half)
        return (place, half + 0.5 * step * place.score), None

    return jax.lax.scan(leap, (place, m), length=leaps)[0]


# ---- running them ------------------------------------------------------------------------------------------------------


def run(kernel: Kernel, keys: jax.Array, x: jax.Array, steps: int, keep: Callable[[jax.Array], Any] = lambda x: None) -> Run:
    """Move chains from x.

    Args:
      kernel: how.
      keys: (B,), one a chain.
      x: (B, *shape) where they begin.
      steps: moves, at least 1.
      keep: x -> what to keep of every move, for traces; nothing by default.
    """
    if steps < 1:
        raise ValueError(f"a chain needs steps >= 1 to move at all, not steps={steps}")

    def move(place: Place, number: jax.Array):
        place, accepted = kernel.move(fold(keys, number), place)
        return place, (accepted, keep(place.x))

    place, (accepted, kept) = jax.lax.scan(move, kernel.start(x), jnp.arange(steps))
    return Run(place.x, accepted.mean(0), kept)


def annealed(kernel_at: Callable[[Any], Kernel], keys: jax.Array, x: jax.Array, levels: Any, steps: int = 1) -> Run:
    """Move chains through a sequence of densities, `steps` at each: tempering, annealed Langevin (1907.05600).

    Args:
      kernel_at: level -> the kernel of its density.
      levels: arrays with a leading axis, one entry a density.
    """

    def visit(x: jax.Array, numbered):
        number, level = numbered
        out = run(kernel_at(level), fold(keys, number), x, steps)
        return out.x, out.accepted

    x, accepted = jax.lax.scan(visit, x, (jnp.arange(count(levels)), levels))
    return Run(x, accepted.mean(0))


def importance(
    log_p_at: Callable[[Any], Field], kernel_at: Callable[[Any], Kernel], keys: jax.Array, x: jax.Array, levels: Any
) -> Weighted:
    """Annealed importance sampling (5).

    Args:
      log_p_at: level -> log density up to its constant.
      kernel_at: level -> a kernel that leaves that density as it is.
      x: (B, *shape) drawn from the first level's density.
      levels: arrays with a leading axis, from the first density to the last; many, as neighbours must overlap.
    """
    if count(levels) < 2:
        raise ValueError(f"importance goes from one density to another: give 2 levels or more, not {count(levels)}")

    def visit(carry, numbered):
        (x, log_w), (number, now, then) = carry, numbered
        log_w = log_w + log_p_at(then)(x) - log_p_at(now)(x)
        return (run(kernel_at(then), fold(keys, number), x, 1).x, log_w), None

    now, then = jax.tree.map(lambda a: a[:-1], levels), jax.tree.map(lambda a: a[1:], levels)
    steps = jnp.arange(count(then))
    return Weighted(*jax.lax.scan(visit, (x, jnp.zeros(len(x))), (steps, now, then))[0])


def log_mean(log_w: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(log of the mean of the weights, its standard error by the delta method), nats. The first is too low on average.

    One weight tells nothing of its error, which then is infinite.
    """
    log_z = jax.nn.logsumexp(log_w) - jnp.log(len(log_w))
    error = jnp.std(jnp.exp(log_w - log_z)) / jnp.sqrt(len(log_w))
    return log_z, error if len(log_w) > 1 else jnp.full_like(error, jnp.inf)


# ---- what learning by chains shares --------------------------------------------------------------------------------------


def contrast(data: jax.Array, chains: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """E_data - E_chains, whose gradient is that of -log p where the chains are draws of p (Hinton 2002), and its health.

    Args:
      data, chains: (B,) energies; the chains themselves must be constant to the gradient.

    Returns:
      (scalar, metrics): mean and spread of both, and `chain_gap`, what they are apart: under one `spread_data` for chains that
      are where the data are, large where they ran away or cannot follow.
    """
    gap = data.mean() - chains.mean()
    seen = {
        "energy_data": data.mean(),
        "energy_chains": chains.mean(),
        "spread_data": data.std(),
        "spread_chains": chains.std(),
        "chain_gap": gap,
    }
    return gap, seen


def scalar(net: Net, key: jax.Array, *inputs: jax.Array | None) -> Params:
    """Parameters of a network of energies, refused where it does not give one number an example."""
    params = net.init(key, *inputs)
    if (got := jax.eval_shape(net.apply, params, *inputs).shape) != inputs[0].shape[:1]:
        raise ValueError(f"an energy is one number an example, (B,); this network gives {got}")
    return params


# ---- parts -------------------------------------------------------------------------------------------------------------


def score_of(log_p: Field) -> Field:
    """x -> gradient of log p, one an example."""
    return jax.grad(lambda x: log_p(x).sum())


def looking(log_p: Field) -> Callable[[jax.Array], Place]:
    """x -> the place with its log p and score, in one pass."""

    def look(x: jax.Array) -> Place:
        log_p_x, back = jax.vjp(log_p, x)
        return Place(x, log_p_x, back(jnp.ones_like(log_p_x))[0])

    return look


def accept(keys: jax.Array, log_ratio: jax.Array, new: Place, old: Place) -> tuple[Place, jax.Array]:
    """The new place with chance min(1, exp(log_ratio)), else the old one; NaN is no chance."""
    u = jax.vmap(jax.random.uniform)(named(keys, "accept"))
    yes = jnp.log(u) < log_ratio
    pick = lambda a, b: jnp.where(yes.reshape(-1, *[1] * (a.ndim - 1)), a, b)
    return jax.tree.map(pick, new, old), yes.astype(jnp.float32)


def positive(name: str, value: float | jax.Array) -> None:
    """Refuse a number that is known to be no step."""
    if isinstance(value, int | float) and not value > 0:
        raise ValueError(f"a chain moves by {name} > 0, not {name}={value}")


def fold(keys: jax.Array, number: jax.Array) -> jax.Array:
    """(B,) keys of one move."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def count(levels: Any) -> int:
    """How many levels there are."""
    return len(jax.tree.leaves(levels)[0])
