"""Samplers on a mixture whose denoiser is known: error against steps, beside the errors measured with reference code.

    python -m benchmarks.samplers                         # half a minute

Data: three normals on the line. x_t = x_0 + sigma noise, sigma from 20 to 0.02 on the grid of Karras (rho = 7) of n + 1 points,
from the 41 points linspace(-2.5, 2.5) * 20. Error: mean distance of the ends to those of Heun's method with 20 000 steps, in
float64.
"""

from collections.abc import Sequence
from functools import cache
from math import log2

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.record import record, row
from genjax.samplers import Denoise, Sampler, ddim, heun
from genjax.schedules import Process, exploding, karras_grid
from genjax.solvers import dpm_solver, dpm_solver_multistep, dpm_solver_pp, unipc

MEANS, WEIGHTS, SCALES = np.array([-2.0, 0.5, 3.0]), np.array([0.3, 0.5, 0.2]), np.array([0.3, 0.2, 0.4])
STEPS = (10, 20, 40, 80, 160, 320)
REFERENCE = {  # errors at these steps, measured before the library was written, with code of its own
    "DDIM = Euler": (1.78e-1, 9.83e-2, 5.76e-2, 2.16e-2, 1.05e-2, 5.17e-3),
    "Heun": (8.37e-2, 1.33e-2, 3.10e-3, 7.49e-4, 1.84e-4, 4.56e-5),
    "DPM-Solver++(2M)": (9.85e-2, 1.59e-2, 3.55e-3, 8.84e-4, 2.22e-4, 5.55e-5),
}
SAMPLERS: dict[str, Sampler] = {
    "DDIM = Euler": ddim(),
    "Heun": heun(),
    "DPM-Solver++(2M)": dpm_solver_pp(2),
    "DPM-Solver++(3M)": dpm_solver_pp(3),
    "DPM-Solver-2": dpm_solver(),
    "DPM-Solver, multistep": dpm_solver_multistep(2),
    "UniPC, order 2": unipc(2),
    "UniPC, order 3": unipc(3),
}


def denoiser(process: Process) -> Denoise:
    """E[x_0 | x_t] of the mixture."""

    def denoise(x, t):
        alpha, sigma = process.alpha(t), process.sigma(t)
        power = (alpha * SCALES) ** 2 + sigma**2
        gap = x[..., None] - alpha * MEANS
        share = jax.nn.softmax(jnp.log(WEIGHTS) - 0.5 * jnp.log(power) - 0.5 * gap**2 / power, axis=-1)
        return jnp.sum(share * (MEANS + alpha * SCALES**2 / power * gap), axis=-1)

    return denoise


def ends(sampler: Sampler, steps: int) -> jax.Array:
    """(41,) where the starting points go; call it with 64 bits enabled."""
    process = exploding(0.02, 20.0)

    @jax.jit
    def run(x):
        times = karras_grid(least=0.02, most=20.0)(process, steps + 1)[:-1]  # without the step to sigma 0
        return sampler(denoiser(process), process, times, x, None)

    return run(jnp.linspace(-2.5, 2.5, 41) * 20)


@cache
def exact() -> np.ndarray:
    """(41,) where they should go."""
    with jax.enable_x64(True):
        return np.asarray(ends(heun(), 20_000))


def errors(sampler: Sampler, steps: Sequence[int] = STEPS) -> list[float]:
    """Mean error at each number of steps."""
    with jax.enable_x64(True):
        return [float(np.abs(np.asarray(ends(sampler, n)) - exact()).mean()) for n in steps]


def main() -> None:
    """Measure and record."""
    rows = []
    for name, sampler in SAMPLERS.items():
        found, known = errors(sampler), REFERENCE.get(name)
        order = log2(found[-2] / found[-1])
        print(f"{name:24}", *(f"{e:.2e}" for e in found), f"order {order:.2f}", flush=True)
        common = dict(seeds=[0], source="Heun with 20 000 steps; the same table by other code")
        for k, (steps, error) in enumerate(zip(STEPS, found, strict=True)):
            bar = (
                {}
                if known is None
                else {"bar": f"<= {known[k]:.3g} + 1 %", "met": error <= 1.01 * known[k], "reference": known[k]}
            )
            rows.append(row(name, f"mean error, {steps} steps", [error], keywords={"steps": steps}, **common, **bar))
        wanted = {"DDIM = Euler": 1.0, "Heun": 2.0, "DPM-Solver++(2M)": 2.0}.get(name)
        bar = {} if wanted is None else {"bar": f"{wanted} +- 0.05", "met": abs(order - wanted) <= 0.05, "reference": wanted}
        rows.append(row(name, "order, from 160 to 320 steps", [order], **common, **bar))
    record("samplers", "Samplers on a mixture with a known denoiser", "python -m benchmarks.samplers", rows)


if __name__ == "__main__":
    main()
