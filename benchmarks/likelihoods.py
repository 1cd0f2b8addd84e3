"""Exact likelihoods of MNIST in a stated processor time, beside the published numbers that took a GPU.

    python -m benchmarks.likelihoods made                    # one row, up to 80 minutes on one core; kept with its curve
    python -m benchmarks.likelihoods maf
    python -m benchmarks.likelihoods made --steps 300 --dry

Nothing is chosen on test: the schedules were set beforehand so that they end within the time, the running average of the
parameters after the last step is scored once. The curve is that of the first thousand rows of the valid split; all others of
train and valid are trained on, as the references train on all 60 000 (the rows recorded but MADE's were on 50 000 still).
Bernoulli rows: every batch is binarized anew, and so is test, once. MAF: nats of the logit of dequantized pixels,
(1e-6 + (1 - 2e-6) x), as 1705.07057 tells them.
"""

import argparse
import json
import time
from collections.abc import Callable
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import genjax
from benchmarks.record import kept, record, row
from genjax.data import Split, binarize, dequantize, feed, load, row_block
from genjax.data.base import joined
from genjax.families.autoregressive import autoregressive
from genjax.families.flow import flow, maf
from genjax.heads import bernoulli
from genjax.metrics.likelihood import likelihood
from genjax.model import Model, stream
from genjax.nets import gpt, made, pixelcnn
from genjax.splines import affine

SHAPE, ALPHA, LOOKS, CHUNK, HELD = (28, 28, 1), 1e-6, 8, 20, 1000
RAISED = "pytorch-generative, README: {} epochs on a GPU"


class Job(NamedTuple):
    """One row of the table."""

    what: str
    build: Callable[[optax.GradientTransformation], Model]
    prepare: Callable
    lr: float
    batch: int
    steps: int
    reference: float
    source: str


def by_made(tx: optax.GradientTransformation) -> Model:
    return autoregressive(made((4000,), direct=True), SHAPE, bernoulli(), tx)


def by_pixelcnn(tx: optax.GradientTransformation) -> Model:
    return autoregressive(pixelcnn(1, width=16, depth=8), SHAPE, bernoulli(), tx)


def by_transformer(tx: optax.GradientTransformation) -> Model:
    net = gpt(2, 1, prod(SHAPE), width=64, depth=8, heads=2, rotary=False, unroll=8)
    return autoregressive(net, SHAPE, bernoulli(), tx)


def by_maf(tx: optax.GradientTransformation) -> Model:
    return flow(maf(lambda parts: made((1024,), parts), 5, affine()), (prod(SHAPE),), tx)


def logits(key: jax.Array, x: jax.Array) -> jax.Array:
    """Flat logits of dequantized pixels, of whose density MAF's nats are."""
    p = ALPHA + (1 - 2 * ALPHA) * dequantize(256)(key, x)
    return (jnp.log(p) - jnp.log1p(-p)).reshape(-1)


JOBS = {
    "made": Job("MADE, one hidden layer of 4000", by_made, binarize(256), 1.5e-3, 200, 28_000, 84.87, RAISED.format(85)),
    "pixelcnn": Job("Gated PixelCNN, 8 layers of 16", by_pixelcnn, binarize(256), 4e-3, 16, 8000, 81.45, RAISED.format(457)),
    "imagegpt": Job("ImageGPT, 8 blocks of 64", by_transformer, binarize(256), 3e-3, 16, 600, 79.17, RAISED.format(457)),
    "maf": Job("MAF(5), hidden layers of 1024", by_maf, logits, 5e-4, 100, 12_000, 1272.70,
               "kamenbliznashki/normalizing_flows, README: 50 epochs; the paper's 1300.5"),
}  # fmt: skip


def trained_on(data: dict[str, Split]) -> np.ndarray:
    """All images but those of test and the first of valid, which tell the curve."""
    return joined(data["train"], Split(data["valid"].x[HELD:])).x


def train(job: Job, data: dict[str, Split], seed: int, steps: int) -> tuple[Model, genjax.Params, list[tuple], float]:
    """(model, averaged parameters, [(minutes, valid nats)], minutes), looking at valid `LOOKS` times."""
    tx = optax.chain(
        optax.clip_by_global_norm(50.0), optax.adam(optax.warmup_cosine_decay_schedule(0.0, job.lr, steps // 20, steps))
    )
    model, rows = job.build(tx), trained_on(data)
    step, prepare, x, many = genjax.make_step(model, ema_decay=0.998), feed(job.prepare), {"x": jnp.asarray(rows)}, len(rows)
    first = jax.jit(prepare)(x, jax.random.key(seed), row_block(seed, 0, 1, job.batch, many)[0])
    state = genjax.init(model, jax.random.key(seed), first)

    def one(state, rows):
        return step(state, prepare(x, stream(jax.random.fold_in(state.key, state.step), "prepare"), rows))

    run = jax.jit(lambda state, rows: jax.lax.scan(one, state, rows), donate_argnums=0)
    some, curve, spent = Split(data["valid"].x[:HELD]), [], 0.0
    for first in range(0, steps, CHUNK):
        began = time.monotonic()
        state, metrics = run(state, row_block(seed, first, CHUNK, job.batch, many))
        loss = float(metrics["likelihood/loss"].mean())
        spent += (time.monotonic() - began) / 60
        if (first // CHUNK + 1) % max(1, steps // CHUNK // LOOKS) == 0:
            valid = likelihood(model, state.ema, some, job.prepare)
            curve.append((round(spent, 1), round(valid.nats, 2)))
            print(
                json.dumps({"step": first + CHUNK, "minutes": round(spent, 2), "loss": round(loss, 2), "valid": valid.nats}),
                flush=True,
            )
    return model, state.ema, curve, spent


def measured(name: str, seed: int, steps: int) -> dict:
    """One row."""
    job, data = JOBS[name], load("mnist").splits
    steps = steps or job.steps
    model, params, curve, minutes = train(job, data, seed, steps)
    found = likelihood(model, params, Split(data["test"].x), job.prepare)
    print(f"{job.what}: {found.nats:.2f} +- {found.error:.2f} nats on test ({job.reference}), {minutes:.1f} min", flush=True)
    epochs = steps * job.batch / len(trained_on(data))
    keywords = {"steps": steps, "batch": job.batch, "lr": job.lr}
    seen = ", ".join(f"{nats:.2f} after {at:g}" for at, nats in curve)
    note = f"{minutes:.0f} min of training, {epochs:.1f} epochs; standard error over test images {found.error:.2f}; "
    asked = dict(bar=f"<= {job.reference}", met=found.nats <= job.reference, reference=job.reference, source=job.source)
    about = dict(seeds=[seed], keywords=keywords, unit="nats", note=f"{note}valid after minutes: {seen}")
    return row(f"{job.what}, MNIST", "test NLL", [found.nats], **asked, **about)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="+", choices=JOBS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="0: the row's own")
    parser.add_argument("--dry", action="store_true", help="print only, write no result")
    args = parser.parse_args()
    for name in args.jobs:
        line = measured(name, args.seed, args.steps)
        if not args.dry:
            record(
                "likelihoods",
                "Exact likelihoods of MNIST in a stated time",
                "python -m benchmarks.likelihoods JOB",
                kept("likelihoods", [line]),
            )


if __name__ == "__main__":
    main()
