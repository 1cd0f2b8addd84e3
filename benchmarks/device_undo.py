"""Select or branch where an update may be undone, a job of `benchmarks.pending`.

The one step (`genjax.step`) keeps an update only where loss and gradient are finite: by a branch on a CPU, by a select
elsewhere. This times both on whatever device there is, scanned and a dispatch a step.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import genjax.step
from benchmarks import iwae, progress
from benchmarks.device_speed import mlp_vae
from benchmarks.progress import Progress
from benchmarks.record import row
from genjax.data import row_block
from genjax.model import Model

JOB, REPEATS = "undo", 7


def select(condition: jax.Array, yes: Callable, no: Callable) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes(), no())


def branch(condition: jax.Array, yes: Callable, no: Callable) -> Any:
    return jax.lax.cond(condition, yes, no)


@contextmanager
def undoing_by(way: Callable) -> Iterator[None]:
    """The step as if it had been written this way; steps must be traced inside."""
    before, genjax.step._either = genjax.step._either, way
    try:
        yield
    finally:
        genjax.step._either = before


def programs(model: Model, batch: int, steps: int) -> dict[str, Callable[[], Any]]:
    """{"select, scanned": a function that takes `steps` steps and waits, ...}: both ways, scanned and a dispatch a step."""
    x = np.random.default_rng(0).integers(0, 256, (6000, 28, 28, 1), np.uint8)
    data, rows = {"x": jnp.asarray(x)}, jnp.asarray(row_block(0, 0, steps, batch, len(x)))
    calls = {}
    for way in (select, branch):
        with undoing_by(way):
            one, many = (iwae.program(model).lower(iwae.begin(model), data, rows[:n]).compile() for n in (1, steps))
        calls[f"{way.__name__}, scanned"] = caller(many, iwae.begin(model), data, [rows])
        calls[f"{way.__name__}, a dispatch a step"] = caller(
            one, iwae.begin(model), data, [rows[i : i + 1] for i in range(steps)]
        )
    return calls


def caller(run: Callable, state: genjax.step.State, data: dict, blocks: list[jax.Array]) -> Callable[[], Any]:
    def call():
        nonlocal state
        for rows in blocks:
            state, _ = run(state, data, rows)
        return jax.block_until_ready(state)

    return call


def measure(model: Model, batch: int, steps: int) -> dict[str, np.ndarray]:
    """{way: (REPEATS,) ms a step}, in turn."""
    calls, times = programs(model, batch, steps), {}
    for _ in range(REPEATS + 1):  # the first warms up
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times.setdefault(name, []).append(1e3 * (time.perf_counter() - began) / steps)
    return {name: np.array(each[1:]) for name, each in times.items()}


def advance(folder: Path, deadline: float, tiny: bool = False) -> Progress:
    """Two models, each in one piece of about a minute."""
    cases = {"VAE, MLP 784-512-512-32": (mlp_vae, 64), "IWAE's net, k = 1": (lambda: iwae.build(1, optax.adam(1e-3)), 20)}
    cases = {"MLP": (lambda: mlp_vae(4), 2)} if tiny else cases
    for name, (build, batch) in cases.items():
        if any(row["recipe"] == name for row in progress.entry(folder, JOB)["rows"]):
            continue
        if deadline - time.monotonic() < (0 if tiny else 75):
            break
        ms = measure(build(), batch, 2 if tiny else 500)
        progress.keep(folder, JOB, *(compared(name, batch, way, ms) for way in ("scanned", "a dispatch a step")))
    rows = progress.entry(folder, JOB)["rows"]
    told = "; ".join(f"{row['recipe']}, {row['metric']} {np.mean(row['values']):.2f}" for row in rows)
    return Progress(len(rows) / (2 * len(cases)), told or "needs 75 s in one piece")


def compared(name: str, batch: int, way: str, ms: dict[str, np.ndarray]) -> dict:
    """The row of one way of dispatching: the ratio repeat by repeat."""
    ours, other = ms[f"select, {way}"], ms[f"branch, {way}"]
    ratio = (ours / other).round(4).tolist()
    note = f"fastest ms a step: select {ours.min():.4f}, branch {other.min():.4f}; this device is given the "
    note += "branch" if jax.default_backend() == "cpu" else "select"
    return row(
        name, f"step time, select over branch, {way}", ratio, seeds=[0], keywords={"batch": batch}, unit="times", note=note
    )
