"""Noising processes, shared by all that diffuse: x_t = alpha(t) x_0 + sigma(t) noise, t from 0 (data) to 1 (noise).

Two functions of time are the whole of a process. From them follow

    ratio(t) = sigma / alpha              the noise level that EDM calls sigma (2206.00364); log SNR = -2 log ratio   (1)
    time_of(ratio)                        its inverse                                                                (2)
    q(x_s | x_t, x_0), s < t              one step back when x_0 is known (2006.11239, eq. 6)                        (3)

`*_times` draw the times of training; `*_grid` choose those of a sampler: n + 1 falling times, of which the last is 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Scalar = jax.Array | float


class Process(NamedTuple):
    """Signal and noise level as functions of time; everything else follows from the two."""

    alpha: Callable[[Scalar], jax.Array]
    sigma: Callable[[Scalar], jax.Array]
    span: tuple[float, float] = (0.0, 1.0)  # the least and the greatest time of training


Times = Callable[[jax.Array, Process], jax.Array]  # (key, process) -> one time
Grid = Callable[[Process, int], jax.Array]  # (process, n) -> (n + 1,) falling times, from noise to 0


# ---- processes -----------------------------------------------------------------------------------------------------------


def cosine(offset: float = 0.0) -> Process:
    """Variance preserving, alpha = cos(pi t / 2): finite at both ends, exactly noise at t = 1.

    `offset` is the s of 2102.09672 (there 0.008), alpha = cos(a) / cos(a_0) with a = pi/2 (t + s) / (1 + s).
    """
    if not 0 <= offset < 1:
        raise ValueError(f"a cosine process begins at an offset in [0, 1), not offset={offset}")
    if not offset:
        return Process(lambda t: jnp.cos(0.5 * jnp.pi * t), lambda t: jnp.sin(0.5 * jnp.pi * t))
    start, gone = 0.5 * np.pi * offset / (1 + offset), lambda t: 0.5 * jnp.pi * t / (1 + offset)
    alpha = lambda t: jnp.cos(start + gone(t)) / float(np.cos(start))
    # cos^2 a_0 - cos^2 a = sin(a - a_0) sin(a + a_0), which keeps its digits where the two cosines nearly agree
    sigma = lambda t: jnp.sqrt(jnp.sin(gone(t)) * jnp.sin(2 * start + gone(t))) / float(np.cos(start))
    return Process(alpha, sigma)


def straight() -> Process:
    """Straight lines between data and noise, alpha = 1 - t (flow matching, 2210.02747; rectified flow, 2209.03003)."""
    return Process(lambda t: 1.0 - jnp.asarray(t), lambda t: jnp.asarray(t))


def linear(first: float = 0.1, last: float = 20.0) -> Process:
    """Variance preserving, its noise rate beta(t) growing from `first` to `last`: DDPM in continuous time (2011.13456)."""
    log_power = lambda t: -(first * t + 0.5 * (last - first) * jnp.square(t))  # log alpha^2
    return Process(lambda t: jnp.exp(0.5 * log_power(t)), lambda t: jnp.sqrt(jnp.abs(jnp.expm1(log_power(t)))))


def ddpm(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Process:
    """The paper's `steps` noise rates, evenly from `first` to `last` (2006.11239, section 4); step i is time i / steps."""
    return from_betas(np.linspace(first, last, steps))


def from_betas(betas: np.ndarray) -> Process:
    """Any discrete chain x_i = sqrt(1 - beta_i) x_(i-1) + sqrt(beta_i) noise as a process: exact at t = i / T, i = 1 .. T.

    Between them the rate is constant, so log alpha^2 is linear.
    """
    if not len(betas) or not np.all((np.asarray(betas) > 0) & (np.asarray(betas) < 1)):
        raise ValueError("a chain needs noise rates, each between 0 and 1")
    table = np.concatenate([[0.0], np.cumsum(np.log1p(-np.asarray(betas, np.float64)))])
    places = np.arange(len(table)) / (len(table) - 1)
    log_power = lambda t: jnp.interp(jnp.asarray(t), jnp.asarray(places), jnp.asarray(table))  # log alpha^2
    return Process(lambda t: jnp.exp(0.5 * log_power(t)), lambda t: jnp.sqrt(jnp.abs(jnp.expm1(log_power(t)))))


def exploding(least: float = 0.002, most: float = 80.0, rho: float = 7.0) -> Process:
    """Variance exploding, alpha = 1, as in EDM (2206.00364): sigma = most t^rho, asked about from `least` on.

    Time is warped so that Karras' grid is even in it, and a network that is told t resolves small noise levels.
    """
    if not 0 < least < most:
        raise ValueError(f"a process explodes from a least sigma above 0 to a larger one, not from {least} to {most}")
    sigma = lambda t: most * jnp.asarray(t) ** rho
    return Process(lambda t: jnp.ones_like(jnp.asarray(t, float)), sigma, ((least / most) ** (1 / rho), 1.0))


def unscaled(process: Process) -> Process:
    """The process of x_t / alpha(t): variance exploding, with the same times and the same denoising problem."""
    return Process(lambda t: jnp.ones_like(process.alpha(t)), lambda t: ratio(process, t), process.span)


def warped(process: Process, power: float) -> Process:
    """The same way at t^power: with power > 1 even steps of time are shorter near the data."""
    faster = lambda level: lambda t: level(jnp.asarray(t) ** power)
    return Process(faster(process.alpha), faster(process.sigma), tuple(end ** (1 / power) for end in process.span))


# ---- what follows from a process -----------------------------------------------------------------------------------------


def ratio(process: Process, t: Scalar) -> jax.Array:
    """(1): sigma / alpha at a time; infinite where nothing of the data is left."""
    return process.sigma(t) / jnp.maximum(process.alpha(t), 0.0)  # cos(pi / 2) rounds to less than 0


def time_of(process: Process, wanted: Scalar) -> jax.Array:
    """(2): the time at which sigma / alpha has this value, 1 where it is never so large. By halving [0, 1]."""
    wanted = jnp.asarray(wanted, float)
    below = lambda t: process.sigma(t) < wanted * process.alpha(t)

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        return jnp.where(below(middle), middle, low), jnp.where(below(middle), high, middle)

    ends = jnp.zeros_like(wanted), jnp.ones_like(wanted)
    low, high = jax.lax.fori_loop(0, 60, halve, ends)
    return jnp.where(wanted > 0, 0.5 * (low + high), 0.0)


def noised(process: Process, x: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
    """x_t for one time an example: t (B,), x and noise (B, ...)."""
    alpha, sigma = levels(process, t, x.ndim)
    return alpha * x + sigma * noise


def levels(process: Process, t: jax.Array, ndim: int) -> tuple[jax.Array, jax.Array]:
    """(alpha(t), sigma(t)) shaped to multiply arrays of `ndim` axes whose first is the example."""
    return at(process, t, ndim)[1:]


class At(NamedTuple):
    """A time and its two levels."""

    t: jax.Array
    alpha: jax.Array
    sigma: jax.Array


def at(process: Process, t: Scalar, ndim: int = 0) -> At:
    """Of one time or of many; with `ndim` shaped to multiply arrays of so many axes whose first is the example."""
    t = jnp.reshape(t, (-1, *[1] * (ndim - 1))) if ndim else jnp.asarray(t)
    return At(t, process.alpha(t), process.sigma(t))


class Back(NamedTuple):
    """(3): q(x_s | x_t, x_0) = N(of_x x_t + of_clean x_0, small); `large` is the variance of q(x_t | x_s), DDPM's beta."""

    of_x: jax.Array
    of_clean: jax.Array
    small: jax.Array
    large: jax.Array

    def mean(self, x: jax.Array, clean: jax.Array) -> jax.Array:
        """Of x_s."""
        return self.of_x * x + self.of_clean * clean

    def between(self, share: Scalar) -> jax.Array:
        """The variance whose logarithm lies this share of the way from `small` to `large` (2102.09672, eq. 15)."""
        return self.small ** (1.0 - share) * self.large**share


def back(now: At, then: At) -> Back:
    """(3) for t = now, s = then."""
    kept = now.alpha / then.alpha
    large = jnp.maximum(now.sigma**2 - (kept * then.sigma) ** 2, 0.0)
    power = now.sigma**2
    return Back(kept * then.sigma**2 / power, then.alpha * large / power, large * then.sigma**2 / power, large)


def onward(x: jax.Array, eps: jax.Array, now: At, then: At) -> jax.Array:
    """x_t ~ q(x_t | x_s) from x = x_s, the forward process a part of its way, for t = now, s = then."""
    return now.alpha / then.alpha * x + jnp.sqrt(back(now, then).large) * eps


# ---- times of training ---------------------------------------------------------------------------------------------------


def uniform_times() -> Times:
    """Uniform over the span of the process."""

    def draw(key, process):
        low, high = process.span
        return low + (high - low) * jnp.maximum(jax.random.uniform(key), 2.0**-24)  # 0 would be drawn once in 2^23 times

    return draw


def logit_normal_times(mean: float = 0.0, scale: float = 1.0) -> Times:
    """sigmoid of a normal number (2403.03206, section 3.1): flow matching that dwells on the middle times."""
    return lambda key, process: jnp.clip(jax.nn.sigmoid(mean + scale * jax.random.normal(key)), *process.span)


def lognormal_times(mean: float = -1.2, scale: float = 1.2) -> Times:
    """EDM's: the logarithm of the ratio sigma / alpha is normal (2206.00364, table 1)."""
    wanted = lambda key: jnp.exp(mean + scale * jax.random.normal(key))
    return lambda key, process: jnp.clip(time_of(process, wanted(key)), *process.span)


# ---- grids of samplers ---------------------------------------------------------------------------------------------------


def uniform_grid() -> Grid:
    """Even in time, from the end of the span to 0: every second time of it is one of the grid of half as many steps.

    Where the span begins above 0 the last steps begin below it, with so little noise that they leave x as it is.
    """
    return lambda process, steps: jnp.linspace(process.span[1], 0.0, _some(steps) + 1)


def karras_grid(rho: float = 7.0, least: float = 0.002, most: float = 80.0) -> Grid:
    """`steps` ratios sigma / alpha from `most` to `least`, even in their rho-th root, then 0 (2206.00364, eq. 5).

    The two are cut to what the process reaches within its span.
    """

    def grid(process, steps):
        low, high = edges(process, least, most)
        return _ended(time_of(process, jnp.linspace(high ** (1 / rho), low ** (1 / rho), _some(steps)) ** rho))

    return grid


def log_snr_grid(least: float = 0.002, most: float = 80.0) -> Grid:
    """`steps` ratios from `most` to `least`, even in their logarithm, then 0 (DPM-Solver's, 2206.00927, section 3.4)."""

    def grid(process, steps):
        low, high = edges(process, least, most)
        return _ended(time_of(process, jnp.exp(jnp.linspace(jnp.log(high), jnp.log(low), _some(steps)))))

    return grid


def trailing_grid(chain: int = 1000) -> Grid:
    """Every so-many-th of the `chain` times of a discrete process, the last one first (2305.08891, section 3.3)."""

    def grid(process, steps):
        return jnp.asarray(np.round(chain - np.arange(steps + 1) * _stride(chain, steps)) / chain, float)

    return grid


def leading_grid(chain: int = 1000) -> Grid:
    """Every so-many-th of the `chain` times of a discrete process, the first one last, then 0, as in DDIM (2010.02502).

    It begins short of the end of the span, by a part of a step, and its last step is one of the chain itself, so that noise
    which a sampler added before is left in.
    """

    def grid(process, steps):
        return _ended(jnp.asarray((1 + np.floor(np.arange(steps)[::-1] * _stride(chain, steps))) / chain, float))

    return grid


def check_noise(process: Process, grid: Grid = uniform_grid(), steps: int = 1) -> None:
    """Refuse a process that does not end in noise, and a grid of it that begins before it does."""
    with jax.ensure_compile_time_eval():  # a model may be made inside compiled code
        first, end = (float(1.0 / ratio(process, t)) for t in (grid(process, steps)[0], process.span[1]))
    if not (first <= 0.1 and end <= 0.1):
        raise ValueError(
            f"sampling never reaches noise: alpha / sigma is {first:.2g} at the grid's first time, {end:.2g} at the process's "
            "end, so that samples would start from what training has not seen; take larger noise rates, a larger last sigma or "
            "a grid that begins later, until both are below 0.1"
        )


def _some(steps: int) -> int:
    if steps < 1:
        raise ValueError(f"a sampler takes at least one step, but steps={steps}; give steps=1 or more")
    return steps


def _stride(chain: int, steps: int) -> float:
    if _some(steps) > chain:
        raise ValueError(f"{steps} steps on a chain of {chain}: a sampler cannot take more steps than its chain has")
    return chain / steps


def edges(process: Process, least: float, most: float) -> tuple[jax.Array, jax.Array]:
    """The ratios [least, most], cut to what the process reaches within its span."""
    if not 0 < least < most:
        raise ValueError(f"ratios fall from `most` to a `least` above 0, not from {most} to {least}")
    low, high = (ratio(process, t) for t in process.span)
    return jnp.maximum(low, least), jnp.minimum(high, most)


def _ended(times: jax.Array) -> jax.Array:
    return jnp.append(times, 0.0)
