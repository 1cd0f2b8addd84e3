"""Multistep samplers: a first-order step, then a correction from what was predicted at the steps before.

With lambda = log(alpha / sigma), h its growth over a step, and m_0, m_1, ... the predictions of x_0 (or of the noise) at this
step, the one before, ...:

    x_s = first(x_t, m_0) + sum_j c_j (m_j - m_0),        j = 1 .. order - 1                                         (1)

`first` is DDIM's step, the exact solution for a constant prediction, or the ancestral one of the reverse SDE; c_j depends on
the times alone. So a solver is a table of c_j, and one `lax.scan` runs them all. The step to a clean x, where h is infinite, is
first order, and those before it gain one order each.

    DPM-Solver      noise predictions (2206.00927)                DPM-Solver++   x_0 predictions (2211.01095)
    UniPC           x_0 predictions, and each x corrected once more when the prediction at it is known (2302.04867)
"""

from collections.abc import Callable
from math import factorial

import jax
import jax.numpy as jnp
import numpy as np

from genjax.samplers import Sampler, Step, fresh, noise_in, steps, straight_on
from genjax.schedules import At, at, back, time_of

Levels = Callable[[Step, jax.Array], tuple[jax.Array, jax.Array]]  # (steps, h) -> the level L and exponent H of `_dpm_table`
LEAST_SNR = 1e-5  # of alpha / sigma: pure noise counts as this, so that lambda is finite; the prediction there is the same


def dpm_solver_pp(order: int = 2) -> Sampler:
    """DPM-Solver++ multistep (2211.01095, algorithm 2 for order 2), deterministic, one evaluation a step; order 1, 2 or 3."""
    return _multistep(order, lambda every, h: (every.then.alpha, -h))


def dpm_solver_sde() -> Sampler:
    """SDE-DPM-Solver++(2M) (2211.01095, section 5): second order in the drift of the reverse SDE, one evaluation a step."""
    return _multistep(2, lambda every, h: (every.then.alpha, -2 * h), stochastic=True)


def dpm_solver_multistep(order: int = 2) -> Sampler:
    """The same on predictions of the noise; order 1, 2 or 3."""
    return _multistep(order, lambda every, h: (every.then.sigma, h), of_noise=True)


def dpm_solver() -> Sampler:
    """DPM-Solver-2 (2206.00927, algorithm 1): a step with the noise of its middle in lambda; 2 n - 1 evaluations.

    From pure noise, where that middle is nowhere, and to a clean x its step is DDIM's.
    """

    def sampler(denoise, process, times, x, keys=None):
        def move(x, step):
            clean = denoise(x, step.now.t)
            begin, end = _half_log_snr(step.now), _half_log_snr(step.then)
            ahead = straight_on(x, clean, step)

            def corrected():
                middle = at(process, time_of(process, jnp.exp(-0.5 * (begin + end))))
                there = straight_on(x, clean, step._replace(then=middle))
                change = noise_in(there, denoise(there, middle.t), middle) - noise_in(x, clean, step.now)
                return ahead - step.then.sigma * jnp.expm1(end - begin) * change

            both = (step.then.sigma > 0) & (begin > np.log(LEAST_SNR))
            return jax.lax.cond(both, corrected, lambda: ahead), None

        return jax.lax.scan(move, x, steps(process, times))[0]

    return sampler


def unipc(order: int = 2, *, plain: bool = False) -> Sampler:
    """UniPC (2302.04867, algorithms 1 and 2), order p: corrects every x but the last; one evaluation a step.

    Args:
      order: p, of the predictor; the corrector gains one.
      plain: B(h) = h, better below ten steps without guidance, instead of exp(h) - 1.
    """

    def sampler(denoise, process, times, x, keys=None):
        every = steps(process, times)
        ahead, right = _unipc_tables(order, plain, every)
        right = jnp.concatenate([jnp.zeros((1, order)), right[:-1]])  # each step corrects the x that the last one gave

        def move(carry, step_and_rows):
            (x, plain_x, past), (step, predict, correct) = carry, step_and_rows
            clean = denoise(x, step.now.t)
            x = plain_x + _weighed(correct, jnp.concatenate([clean[None], past[1:]]), past[0])
            plain_x = straight_on(x, clean, step)
            return (plain_x + _weighed(predict, past, clean), plain_x, _push(past, clean)), None

        carry = x, x, jnp.zeros((order, *x.shape), x.dtype)
        return jax.lax.scan(move, carry, (every, ahead, right))[0][0]

    return _checked(order, 9, sampler)


# ---- DPM-Solver's table --------------------------------------------------------------------------------------------------


def _multistep(order: int, levels: Levels, of_noise: bool = False, stochastic: bool = False) -> Sampler:
    """(1) with `_dpm_table`."""

    def sampler(denoise, process, times, x, keys=None):
        every = steps(process, times)
        first = (lambda *a: _ancestral(*a, keys)) if stochastic else straight_on

        def move(carry, step_and_row):
            (x, past), (step, row) = carry, step_and_row
            clean = denoise(x, step.now.t)
            now = noise_in(x, clean, step.now) if of_noise else clean
            return (first(x, clean, step) + _weighed(row, past, now), _push(past, now)), None

        past = jnp.zeros((order - 1, *x.shape), x.dtype)
        return jax.lax.scan(move, (x, past), (every, _dpm_table(order, levels, every)))[0][0]

    return _checked(order, 3, sampler)


def _dpm_table(order: int, levels: Levels, every: Step) -> jax.Array:
    """(n, order - 1) c_j. With D_1, D_2 the divided differences of m over lambda, the correction is

    second order    -L (e^H - 1) / 2 D_1
    third           -L ((e^H - 1) / H - 1) D_1 - L ((e^H - 1 - H) / H^2 - 1/2) D_2
    """
    _, h = _growth(every)
    level, exponent = levels(every, h)
    grown = jnp.expm1(exponent)
    r0, r1 = _before(h, 1) / h, _before(h, 2) / h
    second = [0.5 * level * grown / r0, jnp.zeros_like(h)]
    slope = -level * (grown / exponent - 1)
    bend = -level * ((grown - exponent) / exponent**2 - 0.5) / (r0 + r1)
    share = r0 / (r0 + r1)
    third = [-slope / r0 - (slope * share + bend) * (1 / r0 + 1 / r1), (slope * share + bend) / r1]
    by_order = [jnp.zeros((len(h), 2)), jnp.stack(second, 1), jnp.stack(third, 1)]
    return _by_order(by_order, order, h)[:, : order - 1]


# ---- UniPC's tables ------------------------------------------------------------------------------------------------------


def _unipc_tables(order: int, plain: bool, every: Step) -> tuple[jax.Array, jax.Array]:
    """(n, order) twice: c_j of the predictor for m_1, m_2, ..., and of the corrector for the newest m, m_1, m_2, ..."""
    begin, h = _growth(every)
    both = [_unipc_rows(p, plain, begin, h, every.then.alpha) for p in range(1, order + 1)]
    wide = lambda rows: jnp.pad(rows, ((0, 0), (0, order - rows.shape[1])))
    return tuple(_by_order([wide(rows) for rows in part], order, h) for part in zip(*both, strict=True))


def _unipc_rows(p: int, plain: bool, begin: jax.Array, h: jax.Array, alpha: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rows of order p at every step. Weights rho solve R rho = b, R_ik = r_k^(i-1), as in the paper's theorem 3.1; the smallest
    systems have 1/2 for an answer whatever B(h) is.
    """
    size = -h if plain else jnp.expm1(-h)  # B(h)
    r = jnp.stack([*((_before(begin, k) - begin) / h for k in range(1, p)), jnp.ones_like(h)], 1)  # the last is the newest
    phi, b = jnp.expm1(-h) / -h - 1, []
    for i in range(1, p + 1):
        b.append(phi * factorial(i) / size)
        phi = phi / -h - 1 / factorial(i + 1)
    b, matrix, half = jnp.stack(b, 1), jnp.stack([r**i for i in range(p)], 1), jnp.full((len(h), 1), 0.5)
    solve = lambda count: jnp.linalg.solve(matrix[:, :count, :count], b[:, :count, None])[..., 0]
    ahead = half if p == 2 else solve(p - 1)
    right = half if p == 1 else solve(p)
    scaled = -(alpha * size)[:, None]
    return scaled * ahead / r[:, : p - 1], scaled * jnp.roll(right / r, 1, axis=1)


# ---- what they share -----------------------------------------------------------------------------------------------------


def _by_order(tables: list[jax.Array], order: int, h: jax.Array) -> jax.Array:
    """Row i of the table of the order that step i can have: 1 at first, and fewer again before a clean end; 0 into it."""
    number = np.arange(len(h))
    known = np.minimum(order, number + 1)
    able = jnp.where(jnp.isinf(h[-1]), np.minimum(known, np.maximum(2, len(h) - number)), known)
    chosen = sum(jnp.where((able == p + 1)[:, None], table, 0.0) for p, table in enumerate(tables))
    return jnp.where(jnp.isinf(h)[:, None], 0.0, chosen)


def _half_log_snr(level: At) -> jax.Array:
    return jnp.maximum(jnp.log(jnp.maximum(level.alpha, 0.0)) - jnp.log(level.sigma), np.log(LEAST_SNR))


def _growth(every: Step) -> tuple[jax.Array, jax.Array]:
    """(lambda at the beginning, h), each (n,)."""
    begin = _half_log_snr(every.now)
    return begin, _half_log_snr(every.then) - begin


def _before(values: jax.Array, steps_ago: int) -> jax.Array:
    """values[i - steps_ago]; where there is none, the first."""
    return values[np.maximum(np.arange(len(values)) - steps_ago, 0)]


def _weighed(row: jax.Array, past: jax.Array, now: jax.Array) -> jax.Array:
    """sum_j c_j (m_j - now), without a matrix product, whose digits an accelerator might cut."""
    return sum((row[j] * (past[j] - now) for j in range(min(len(row), len(past)))), jnp.zeros_like(now))


def _push(past: jax.Array, newest: jax.Array) -> jax.Array:
    return jnp.concatenate([newest[None], past])[: len(past)]


def _ancestral(x: jax.Array, clean: jax.Array, step: Step, keys: jax.Array) -> jax.Array:
    q = back(step.now, step.then)
    return q.mean(x, clean) + jnp.sqrt(q.small) * fresh(keys, step.number, x)


def _checked(order: int, most: int, sampler: Sampler) -> Sampler:
    if not 1 <= order <= most:
        raise ValueError(f"this solver has orders 1 to {most}, but order={order}")
    return sampler
