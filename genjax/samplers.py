"""Samplers: one `lax.scan` each, through one interface.

    sampler(denoise, process, times, x, keys) -> x at times[-1]

    denoise(x_t, t)   the expectation of x_0 given x_t; t is one number for the whole batch. All that samplers know.
    times             (n + 1,), falling; n steps are taken. Grids of `genjax.schedules` end at 0, where x is clean.
    keys              (B,), so that the noise of sample k depends on key k alone; deterministic samplers take None

All follow dx = x_0 d alpha + eps d sigma with eps = (x - alpha x_0) / sigma, which names no variable of time (1). Solvers that
remember earlier steps are in `genjax.solvers`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.model import normal
from genjax.schedules import At, Process, at, back, ratio, time_of

Denoise = Callable[[jax.Array, jax.Array], jax.Array]
Sampler = Callable[[Denoise, Process, jax.Array, jax.Array, jax.Array | None], jax.Array]


class Step(NamedTuple):
    """One step of a sampler, as a scan meets it."""

    number: jax.Array  # 0 .. n - 1
    now: At
    then: At


def steps(process: Process, times: jax.Array) -> Step:
    """All steps of a grid, stacked for `lax.scan`."""
    times = jnp.asarray(times)
    return Step(jnp.arange(len(times) - 1), at(process, times[:-1]), at(process, times[1:]))


def fresh(keys: jax.Array, number: jax.Array, x: jax.Array) -> jax.Array:
    """Standard normal noise of x's shape for a step, each sample's from its own key."""
    return normal(jax.vmap(jax.random.fold_in, (0, None))(keys, number), x.shape[1:])


def noise_in(x: jax.Array, clean: jax.Array, level: At) -> jax.Array:
    """What the predicted x_0 leaves over of x_t, in units of sigma."""
    return (x - level.alpha * clean) / level.sigma


def straight_on(x: jax.Array, clean: jax.Array, step: Step) -> jax.Array:
    """(1) with x_0 and eps held: Euler's step, which is DDIM's."""
    return step.then.alpha * clean + step.then.sigma * noise_in(x, clean, step.now)


# ---- first order ---------------------------------------------------------------------------------------------------------


def ddim(eta: float = 0.0) -> Sampler:
    """DDIM (2010.02502): deterministic at eta = 0, at eta = 1 the ancestral sampler of variance `Back.small`."""
    if not 0 <= eta <= 1:
        raise ValueError(f"ddim puts in a share eta of the noise of the ancestral sampler, 0 to 1, not eta={eta}")

    def sampler(denoise, process, times, x, keys=None):
        def move(x, step):
            clean = denoise(x, step.now.t)
            if not eta:
                return straight_on(x, clean, step), None
            power = eta**2 * back(step.now, step.then).small  # of the noise put in anew
            kept = jnp.sqrt(jnp.maximum(step.then.sigma**2 - power, 0.0))
            mean = step.then.alpha * clean + kept * noise_in(x, clean, step.now)
            return mean + jnp.sqrt(power) * fresh(keys, step.number, x), None

        return jax.lax.scan(move, x, steps(process, times))[0]

    return sampler


def euler() -> Sampler:
    """Euler's method on (1), for every process; and so on EDM's and on flow matching's equation. The same as `ddim()`."""
    return ddim()


def ancestral(share: float | None = 0.0) -> Sampler:
    """DDPM's (2006.11239, algorithm 2): draws from q(x_s | x_t, x_0) with the predicted x_0.

    Args:
      share: the variance, from 0, `Back.small` (the paper's beta-tilde), to 1, `Back.large` (its beta), in logarithms. None:
        what the model has learnt; then `denoise(x, t, shares=True)` gives (x_0, shares of x's shape).
    """
    if share is not None and not 0 <= share <= 1:
        raise ValueError(f"the variance lies between the smallest, share=0, and the largest, share=1, not at share={share}")

    def sampler(denoise, process, times, x, keys):
        def move(x, step):
            clean, by = denoise(x, step.now.t, shares=True) if share is None else (denoise(x, step.now.t), share)
            q = back(step.now, step.then)
            left = step.then.sigma > 0  # in the last step the variance is 0, where a root has no slope
            scale = jnp.where(left, jnp.sqrt(jnp.where(left, q.between(by), 1.0)), 0.0)
            return q.mean(x, clean) + scale * fresh(keys, step.number, x), None

        return jax.lax.scan(move, x, steps(process, times))[0]

    return sampler


# ---- Heun ----------------------------------------------------------------------------------------------------------------


def _heun_move(denoise: Denoise, x: jax.Array, step: Step) -> jax.Array:
    """(1) with x_0 and eps at the mean of both ends; Euler alone where the end is clean, as there is no noise to measure."""
    clean = denoise(x, step.now.t)
    ahead = straight_on(x, clean, step)

    def corrected():
        clean_then = denoise(ahead, step.then.t)
        d_clean, d_noise = clean_then - clean, noise_in(ahead, clean_then, step.then) - noise_in(x, clean, step.now)
        return ahead + 0.5 * (step.then.alpha - step.now.alpha) * d_clean + 0.5 * (step.then.sigma - step.now.sigma) * d_noise

    return jax.lax.cond(step.then.sigma > 0, corrected, lambda: ahead)


def _scan_but_last(move: Callable[[jax.Array, Step], jax.Array], x: jax.Array, every: Step) -> jax.Array:
    return jax.lax.scan(lambda x, step: (move(x, step), None), x, every)[0]


def heun() -> Sampler:
    """Heun's method, second order (2206.00364, algorithm 1): two evaluations a step, one in the last: 2 n - 1."""

    def sampler(denoise, process, times, x, keys=None):
        return _scan_but_last(lambda x, step: _heun_move(denoise, x, step), x, steps(process, times))

    return sampler


def stochastic_edm(churn: float = 40.0, least: float = 0.05, most: float = 50.0, excess: float = 1.003) -> Sampler:
    """EDM's stochastic sampler (2206.00364, algorithm 2): a little noise more, then Heun's step from there.

    Args:
      churn: S_churn; in each of n steps the ratio sigma / alpha first grows by the factor 1 + min(churn / n, sqrt 2 - 1).
      least, most: S_tmin and S_tmax, the ratios between which that is done.
      excess: S_noise, standard deviation of the noise put in.
    """
    if not (churn >= 0 and excess > 0):
        raise ValueError(f"stochastic_edm puts noise in: churn >= 0 and excess > 0, not churn={churn}, excess={excess}")

    def sampler(denoise, process, times, x, keys):
        grow = min(churn / (len(times) - 1), 2**0.5 - 1)

        def move(x, step):
            level = ratio(process, step.now.t)
            inside = (level >= least) & (level <= most)
            up = at(process, jnp.where(inside, time_of(process, level * (1 + grow)), step.now.t))
            kept = jnp.where(inside, up.alpha / step.now.alpha, 1.0)
            added = jnp.sqrt(jnp.maximum(up.sigma**2 - (kept * step.now.sigma) ** 2, 0.0))
            noisier = kept * x + jnp.where(inside, excess * added, 0.0) * fresh(keys, step.number, x)
            return _heun_move(denoise, noisier, step._replace(now=up))

        return _scan_but_last(move, x, steps(process, times))

    return sampler
