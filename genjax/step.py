"""The one training step, for every model and every hybrid.

    state, metrics = step(state, batch)

Moves run in order, each on the parameters the one before left: differentiate its loss with respect to the branches it
trains, update those, leave the rest bit for bit. A move whose loss or gradient is not finite is undone and counted.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax.model import Batch, Model, Params, Phase, check, pick, place, stream

Metrics = dict[str, jax.Array]


class State(NamedTuple):
    """All that training carries from one step to the next; a checkpoint is this and nothing else."""

    step: jax.Array  # () int32, over all stages
    key: jax.Array  # the run's seed: folded with the step, never split
    params: Params
    ema: Params  # running average of params, what `sample` is given
    opt: dict[str, Any]  # phase name -> optimizer state
    memory: Batch
    skipped: jax.Array  # () int32, steps in a row in which some move was undone


def init(model: Model, key: jax.Array, batch: Batch) -> State:
    """The state before the first step. `batch` shows shapes, and starting values to those who look (actnorm, codebooks)."""
    params = model.init(stream(key, "init"), batch)
    check(params, model.stages)
    memory = model.memory(params, stream(key, "memory"), batch) if model.memory else {}
    step, skipped = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    state = State(step, key, params, params, init_opt(params, model.stages[0]), memory, skipped)
    return jax.tree.map(jnp.copy, state)  # no two leaves share a buffer, so that a state can be donated


def init_opt(params: Params, stage: tuple[Phase, ...]) -> dict[str, Any]:
    """Fresh optimizer states of one stage."""
    return {phase.name: phase.tx.init(pick(params, phase.trains)) for phase in stage}


def next_stage(model: Model, state: State, stage: int) -> State:
    """The state at the start of a later stage: the same tree, other optimizers."""
    return state._replace(opt=init_opt(state.params, model.stages[stage]))


def make_step(
    model: Model, stage: int = 0, *, begins: int = 0, ema_decay: float = 0.999, axis_name: str | None = None
) -> Callable[[State, Batch], tuple[State, Metrics]]:
    """The step of one stage.

    Args:
      begins: the global step at which the stage begins; `Phase.when` and the average's warm-up count from there.
      ema_decay: of the running average; 0 makes it follow the parameters exactly.
      axis_name: where given, batches are one device's share and gradients are averaged over this axis (pmap, shard_map
        with check_vma=False).

    Returns:
      step(state, batch) -> (state, metrics). Metrics are scalars named "phase/metric", those of a resting phase NaN: what
      its loss reports, `loss`, `grad_norm`, `skipped` (1 where the move was undone).
    """
    phases = model.stages[stage]

    def step(state: State, batch: Batch) -> tuple[State, Metrics]:
        params, opt, memory, metrics = state.params, {}, state.memory, {}
        key, local_step = jax.random.fold_in(state.key, state.step), state.step - begins
        for phase in phases:
            params, opt[phase.name], new, seen = _scheduled(phase, local_step, axis_name)(
                params, state.opt[phase.name], memory, stream(key, phase.name), batch
            )
            memory = memory | new
            metrics |= {f"{phase.name}/{name}": value for name, value in seen.items()}
        undone = sum((metrics[f"{phase.name}/skipped"] > 0 for phase in phases), jnp.zeros((), bool))
        rate = jnp.where(undone, 0.0, 1.0 - jnp.minimum(ema_decay, (1.0 + local_step) / (10.0 + local_step)))
        ema = jax.tree.map(lambda e, p: (e + rate * (p - e)).astype(e.dtype), state.ema, params)
        skipped = jnp.where(undone, state.skipped + 1, 0)
        return State(state.step + 1, state.key, params, ema, opt, memory, skipped), metrics

    return step


def _scheduled(phase: Phase, step: jax.Array, axis_name: str | None) -> Callable:
    """The move of a phase, or, when it rests, the identity with NaN for metrics."""
    move = _move(phase, axis_name)
    if phase.when is None:
        return move

    def rest(params, opt, memory, key, batch):
        _, _, new, seen = jax.eval_shape(move, params, opt, memory, key, batch)
        nothing = jax.tree.map(lambda s: jnp.full(s.shape, jnp.nan, s.dtype), seen)
        return params, opt, {name: memory[name] for name in new}, nothing

    return lambda *args: jax.lax.cond(phase.when(step), move, rest, *args)


def _move(phase: Phase, axis_name: str | None) -> Callable:
    """(params, opt, memory, key, batch) -> (params, opt, new memory, metrics)."""

    def move(params, opt, memory, key, batch):
        def loss(mine):
            out = phase.loss(place(params, mine), key, batch | memory)
            return out.value, out

        old = pick(params, phase.trains)
        grads, out = jax.grad(loss, has_aux=True)(old)
        metrics = {"loss": out.value} | out.metrics
        if axis_name is not None:
            grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
        metrics["grad_norm"] = optax.tree.norm(grads)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])

        def update():
            updates, new_opt = phase.tx.update(grads, opt, old)
            return optax.apply_updates(old, updates), new_opt, out.memory

        def undo():
            return old, opt, {name: memory.get(name, rows) for name, rows in out.memory.items()}

        new, opt_after, rows = _either(finite, update, undo)
        return place(params, new), opt_after, rows, _as_float(metrics | {"skipped": ~finite})

    return move


def _either(condition: jax.Array, yes: Callable, no: Callable) -> Any:
    """`yes()` or `no()`. On a CPU a branch: a select of every leaf keeps XLA from fusing the update, a third of an MLP's step.
    Elsewhere a select: a branch on an accelerator may make the host wait for it.
    """

    def select():
        return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes(), no())

    return jax.lax.platform_dependent(cpu=lambda: jax.lax.cond(condition, yes, no), default=select)


def _as_float(metrics: Metrics) -> Metrics:
    return {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}
