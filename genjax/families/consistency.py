"""Consistency models (2303.01469; improved, 2310.14189): a denoiser whose answers agree along each path from noise to data.

    x_s = alpha_s x_0 + sigma_s eps,  with the x_0 and eps of x_t, s < t neighbours in a grid of times              (1)
    loss = E weight(t, s) d( f(x_t, t), stop(f'(x_s, s)) ),   f'(x_0, 0) = x_0                                      (2)
    d(a, b) = sqrt(|a - b|^2 + c^2) - c,   c = 0.00054 sqrt(D)              weight = 1 / (ratio_t - ratio_s)        (3)

f' is f, or follows it. Who says x_0 in (1) is the only difference between training, where it is the data, and distillation
(`genjax.hybrids.distilled`), where it is a teacher. What is learned answers with the end of the path, so one step samples;
more steps noise the answer anew and ask again (algorithm 1).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax.densities import flat_sum
from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, named, need, normal
from genjax.samplers import Denoise, Sampler, Step, fresh, steps, straight_on
from genjax.schedules import Grid, Process, Times, at, karras_grid, lognormal_times, noised, ratio

__all__ = ["Pairs", "agreement", "consistency", "neighbours", "renoised"]


def renoised() -> Sampler:
    """The sampler of consistency models: answer, noise the answer to the next time, answer again."""

    def sampler(denoise, process, times, x, keys):
        def move(x, step):
            return step.then.alpha * denoise(x, step.now.t) + step.then.sigma * fresh(keys, step.number, x), None

        return jax.lax.scan(move, x, steps(process, times))[0]

    return sampler


class Pairs(NamedTuple):
    """Neighbouring times. Their number may grow as training goes on."""

    grids: jax.Array  # (curriculum, most + 1) falling times, the shorter grids with zeros after their end
    times: Times

    def draw(self, keys: jax.Array, process: Process, progress: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(t, s), each (B,): the interval of the grid of this moment in which a drawn time lies."""
        count = len(self.grids)
        grid = self.grids[jnp.clip(jnp.floor(count * progress), 0, count - 1).astype(int)]
        t = jax.vmap(lambda key: self.times(key, process))(keys)
        number = jnp.clip(jnp.searchsorted(-grid, -t, side="right"), 1, jnp.sum(grid > 0))
        return grid[number - 1], grid[number]


def neighbours(process: Process, intervals: Sequence[int], grid: Grid, times: Times) -> Pairs:
    """Pairs of one grid after another, of so many intervals each.

    Raises:
      ValueError: a grid that begins where nothing of the data is left, since (3) would weigh its first interval by zero.
    """
    if not intervals or min(intervals) < 1:
        raise ValueError(f"consistency agrees over the intervals of grids: give one number or more, not {tuple(intervals)}")
    with jax.ensure_compile_time_eval():  # a model may be made inside compiled code
        grids = [np.asarray(grid(process, number)) for number in intervals]
        if not all(np.isfinite(ratio(process, jnp.asarray(each[0]))) for each in grids):
            raise ValueError("this grid of times begins at noise alone, where pairs have no weight: take karras_grid()")
    return Pairs(jnp.asarray(np.stack([np.pad(each, (0, max(intervals) + 1 - len(each))) for each in grids])), times)


def agreement(f: Denoise, target: Denoise, process: Process, x_t: jax.Array, x_0: jax.Array, t: jax.Array, s: jax.Array):
    """(B,) the inside of (2), where x_0 (B, ...) is what the data or a teacher says of x_t."""
    now, then = at(process, t, x_t.ndim), at(process, s, x_t.ndim)
    x_s = straight_on(x_t, x_0, Step(jnp.zeros(()), now, then))  # 1
    aim = jax.lax.stop_gradient(jnp.where(then.t > 0, target(x_s, s), x_s))
    c = 0.00054 * x_t[0].size ** 0.5
    distance = jnp.sqrt(flat_sum((f(x_t, t) - aim) ** 2) + c**2) - c  # 3
    return distance / (ratio(process, t) - ratio(process, s))


def consistency(
    model: Model,
    tx: optax.GradientTransformation,
    *,
    intervals: Sequence[int] = (10, 20, 40, 80, 160),
    span: int = 10_000,
    grid: Grid = karras_grid(),
    times: Times = lognormal_times(-0.4, 2.0),
    decay: float = 0.0,
) -> Model:
    """The model, its denoiser trained to be consistent; with branches `progress` and, where f' follows f, `target` more.

    Args:
      model: any with `denoise`; its own losses are left out, and with them its `drop`: no label is hidden. Make it to sample by
        `renoised()` over this `grid`, as nothing else was trained, and without guidance.
      tx: optimizer.
      intervals: of the grids, each in use for the same share of `span`, the last for ever.
      span: training steps over which the curriculum goes.
      grid: of the times, from nearly noise to 0.
      times: what is drawn, and rounded to an interval of the grid; 2310.14189 has -1.1, for data of standard deviation 1/2.
      decay: of the running average that f' is; 0 makes it f itself, as 2310.14189 has it.
    """
    denoise, process = need(model, "denoise", "consistency"), model.process
    if span < 1 or not 0 <= decay < 1:
        raise ValueError(f"consistency needs span >= 1 and 0 <= decay < 1, not span={span} and decay={decay}")
    pairs = neighbours(process, intervals, grid, times)

    def init(key: jax.Array, batch: Batch) -> Params:
        params = model.init(key, batch)
        target = {"target": jax.tree.map(jnp.copy, params)} if decay else {}
        return params | target | {"progress": jnp.zeros(())}

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        x, keys = batch["x"], example_keys(key, batch)
        t, s = pairs.draw(named(keys, "time"), process, params["progress"])
        eps = normal(named(keys, "noise"), x.shape[1:])
        f = lambda x_t, t: denoise(params, x_t, t, batch.get("y"))
        target = lambda x_t, t: denoise(params["target"] if decay else params, x_t, t, batch.get("y"))
        value = agreement(f, target, process, noised(process, x, eps, t), x, t, s).mean()  # 2
        return Loss(value, {"progress": params["progress"]})

    def follow(params: Params, key: jax.Array, batch: Batch) -> Loss:
        del key, batch
        apart = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), params["target"], {k: params[k] for k in params["target"]})
        return Loss(0.5 * sum(jax.tree.leaves(apart)))

    onward = lambda params, key, batch: Loss(-params["progress"])
    phases = (Phase("agree", loss, model.generates, tx), Phase("progress", onward, ("progress",), optax.sgd(1.0 / span)))
    phases += (Phase("target", follow, ("target",), optax.sgd(1 - decay)),) if decay else ()
    return model._replace(init=init, stages=(phases,), log_prob=None, bound=None)
