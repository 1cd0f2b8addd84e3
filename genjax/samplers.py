"""Samplers: one `lax.scan` each, through one interface.

    denoise(x_t, t) -> the expectation of x_0 given x_t; t is one number for the whole batch
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.schedules import Process


def ddim(denoise: Callable[[jax.Array, jax.Array], jax.Array], process: Process, x: jax.Array, steps: int) -> jax.Array:
    """Deterministic DDIM (2010.02502, eta = 0) from noise x at t = 1 to t = 0: exactly `steps` evaluations, last sigma 0.

    The noise in x_t is what the predicted x_0 leaves over, (x_t - alpha x_0) / sigma; the next x_t mixes both anew.
    """
    times = jnp.linspace(1.0, 0.0, steps + 1)

    def step(x, now_and_next):
        now, then = now_and_next
        clean = denoise(x, now)
        noise = (x - process.alpha(now) * clean) / process.sigma(now)
        return process.alpha(then) * clean + process.sigma(then) * noise, None

    return jax.lax.scan(step, x, (times[:-1], times[1:]))[0]
