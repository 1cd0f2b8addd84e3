"""A stage of a model trained in one process on data that fit: what the shorter benchmarks share."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

import genjax
from genjax.data import Dataset, feed, row_block
from genjax.data.prepare import Prepare
from genjax.model import Model, stream

CHUNK, LINES = 50, 6


class Plan(NamedTuple):
    """Steps, examples in a step, the peak of the learning rate."""

    steps: int
    batch: int
    lr: float


def columns(data: Dataset, labelled: bool) -> dict[str, jax.Array]:
    """The training rows on the device, with their labels where the model is told them."""
    split = data.splits["train"]
    return {"x": jnp.asarray(split.x)} | ({"y": jnp.asarray(split.y)} if labelled else {})


def begun(model: Model, plan: Plan, prepare: Prepare, data: Dataset, seed: int, labelled: bool = False) -> genjax.State:
    """The state before the first step, of the first batch of train."""
    x = columns(data, labelled)
    first = jax.jit(feed(prepare))(x, jax.random.key(seed), row_block(seed, 0, 1, plan.batch, len(x["x"]))[0])
    return jax.jit(lambda key, batch: genjax.init(model, key, batch))(jax.random.key(seed), first)


def trained(
    model: Model,
    state: genjax.State,
    plan: Plan,
    prepare: Prepare,
    data: Dataset,
    seed: int,
    stage: int = 0,
    labelled: bool = False,
) -> tuple[genjax.State, float]:
    """(the state after `plan.steps` of a stage, minutes of processor time), printing a few lines on the way."""
    step, gather, began = genjax.make_step(model, stage, ema_decay=0.998), feed(prepare), time.process_time()
    x = columns(data, labelled)

    def one(state, rows):
        return step(state, gather(x, stream(jax.random.fold_in(state.key, state.step), "prepare"), rows))

    run = jax.jit(lambda state, rows: jax.lax.scan(one, state, rows), donate_argnums=0)
    for first in range(0, plan.steps, CHUNK):
        state, metrics = run(state, row_block(seed, first, min(CHUNK, plan.steps - first), plan.batch, len(x["x"])))
        if (first // CHUNK + 1) % max(1, plan.steps // CHUNK // LINES) == 0:
            told = {name: value for name, value in metrics.items() if name.endswith(("loss", "accuracy"))}
            seen = {name: round(float(jnp.nanmean(value)), 3) for name, value in told.items()}  # a resting phase tells NaN
            print(f"  step {first + CHUNK}, {(time.process_time() - began) / 60:.1f} min, {seen}", flush=True)
    return state, (time.process_time() - began) / 60
