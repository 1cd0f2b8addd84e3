"""Steps and samples a second of small models in one program, a job of `benchmarks.pending`.

Training: gather, binarize, step, scanned over an epoch of random pixels that lie on the device; compilation left out. Nets this
small are bound by launches, not arithmetic: the bar is 10 000 steps a second for the IWAE's net at batch 20, k = 1.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import iwae, progress
from benchmarks.progress import Progress
from benchmarks.record import row
from benchmarks.step_time import BATCH, LATENT, RATE, SHAPE
from genjax.data import row_block
from genjax.families.vae import vae
from genjax.model import Model
from genjax.nets import Net, conv_decoder, conv_encoder, mlp
from genjax.precision import half

JOB, REPEATS, DRAWN = "speed", 5, 1024


class Case(NamedTuple):
    """What is timed."""

    name: str
    build: Callable[[], Model]
    batch: int
    sampled: bool = False  # time its sampler too
    bar: float = 0.0  # steps/s


def same(net: Net) -> Net:
    return net


def mlp_vae(width: int = 512, cast: Callable[[Net], Net] = same) -> Model:
    encoder, decoder = mlp((width, width), (2 * LATENT,)), mlp((width, width), SHAPE)
    return vae(cast(encoder), cast(decoder), (LATENT,), optax.adam(RATE))


def conv_vae(widths: tuple[int, ...] = (32, 64), cast: Callable[[Net], Net] = same) -> Model:
    encoder, decoder = conv_encoder(widths, (2 * LATENT,)), conv_decoder(widths, SHAPE)
    return vae(cast(encoder), cast(decoder), (LATENT,), optax.adam(RATE))


CASES = [
    Case("IWAE's net, k = 1", lambda: iwae.build(1, optax.adam(RATE)), 20, bar=10_000),
    Case("VAE, MLP 784-512-512-32", mlp_vae, BATCH, sampled=True),
    Case("VAE, MLP 784-512-512-32, bfloat16", partial(mlp_vae, cast=half), BATCH),
    Case("VAE, convolutional 32, 64", conv_vae, BATCH, sampled=True),
    Case("VAE, convolutional 32, 64, bfloat16", partial(conv_vae, cast=half), BATCH),
]
TOY = [Case("MLP", partial(mlp_vae, 4), 2, sampled=True), Case("MLP, bfloat16", partial(mlp_vae, 4, half), 2, bar=1)]


def advance(folder: Path, deadline: float, tiny: bool = False) -> Progress:
    """Time the cases that are left, one by one, while 45 s or what the slowest took remain."""
    cases, slowest = (TOY, 0.0) if tiny else (CASES, 45.0)
    for case in cases:
        if case.name in names(folder):
            continue
        began = time.monotonic()
        if began + slowest > deadline:
            break
        rows = steps(case, 2 if tiny else 1000)
        rows += draws(case, 4 if tiny else DRAWN) if case.sampled else []
        progress.keep(folder, JOB, *rows)
        slowest = max(slowest, time.monotonic() - began)
    count = len(names(folder))
    return Progress(count / len(cases), f"{count} of {len(cases)} models timed")


def names(folder: Path) -> set[str]:
    """Of the cases that are timed."""
    return {row["recipe"] for row in progress.entry(folder, JOB)["rows"]}


def steps(case: Case, count: int) -> list[dict]:
    """The row of training: `count` steps in a dispatch."""
    model, size = case.build(), max(case.batch, 6000)
    x = np.random.default_rng(0).integers(0, 256, (size, *SHAPE), np.uint8)
    data, rows = {"x": jnp.asarray(x)}, jnp.asarray(row_block(0, 0, count, case.batch, size))
    state, began = iwae.begin(model), time.perf_counter()
    run = iwae.program(model).lower(state, data, rows).compile()
    note, rates = f"float32 products as the device does them by default; compiled in {time.perf_counter() - began:.1f} s", []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(run(state, data, rows))
        rates.append(round(count / (time.perf_counter() - began), 1))
    return [timed(case, f"training steps in a scan of {count}", rates[1:], "steps/s", note, case.bar)]


def draws(case: Case, at_once: int) -> list[dict]:
    """The rows of sampling: one at a time, 64, and many."""
    model, rows = case.build(), []
    params = iwae.begin(model).params
    for batch in (1, 64, at_once):
        keys = jax.random.split(jax.random.key(0), batch)
        sample = jax.jit(model.sample).lower(params, keys).compile()
        rates = []
        for _ in range(REPEATS + 1):
            began = time.perf_counter()
            for _ in range(20):
                sample(params, keys).block_until_ready()
            rates.append(round(20 * batch / (time.perf_counter() - began), 1))
        rows.append(timed(case, f"samples, {batch} at once", rates[1:], "samples/s", "", 0.0))
    return rows


def timed(case: Case, metric: str, rates: list[float], unit: str, note: str, bar: float) -> dict:
    """One row; a value a repeat, of one seed."""
    return row(case.name, metric, rates, seeds=[0], keywords={"batch": case.batch}, unit=unit, note=note,
               bar=f">= {bar:.0f}" if bar else "", met=bool(max(rates) >= bar) if bar else None)  # fmt: skip
