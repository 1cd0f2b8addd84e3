"""Stacked MNIST: three digits in three channels, 1000 modes; modes reached and reverse KL of 26 000 samples by a classifier.

    python -m benchmarks.stacked                      # small nets, the critic a quarter of the generator: fit for a CPU
    python -m benchmarks.stacked --setting full       # DCGAN of 64 channels, 100 000 steps, 128 000 triples: for a GPU
    python -m benchmarks.stacked --minutes 30         # stop before that; the same command goes on from there

    quarter   generator 64-32-16-8 channels, critic 2-4-8: where plain GANs collapse (1611.02163; 1712.04086, table 3)
    full      generator and critic 64-128-256-512, z in 100 dimensions, batch 64, Adam 2e-4 with b1 = 0.5

Games with R1 + R2 have residual nets without normalization (2501.05441), the others DCGANs that normalize each example where
the papers have BatchNorm. 26 000 draws from the truth give reverse KL 0.0192, the floor. Samples are of the running average
of the parameters after the last step; nothing is chosen.
"""

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import genjax
from benchmarks import chunks, progress
from benchmarks.chunks import Clock
from benchmarks.progress import Progress
from benchmarks.record import kept, record, row
from genjax.data import Dataset, Spec, Split, load, row_block
from genjax.families.gan import implicit, non_saturating, relativistic
from genjax.hybrids.adversarial import adversarial
from genjax.metrics.features import classifier
from genjax.metrics.modes import Modes, stacked
from genjax.model import Model, as_batch
from genjax.nets import dcgan_critic, dcgan_generator, packed, resgan_critic, resgan_generator

SHAPE, SAMPLES, AT_ONCE = (28, 28, 3), 26_000, 500


class Setting(NamedTuple):
    """Sizes and schedule."""

    widths: tuple[int, ...]  # of the generator, the finest first
    critic: tuple[int, ...]
    latent: int
    steps: int
    batch: int = 64
    lr: float = 2e-4
    triples: int = 128_000
    samples: int = SAMPLES
    real: bool = True


QUARTER = Setting((8, 16, 32, 64), (2, 4, 8), 256, 10_000)
FULL = Setting((64, 128, 256, 512), (64, 128, 256, 512), 100, 100_000)
TINY = Setting((4, 4), (4,), 3, 4, batch=8, triples=64, samples=20, real=False)
SETTINGS = {"quarter": QUARTER, "full": FULL}
METHODS = ("plain", "unrolled 5", "packed 2", "packed 4", "R1 + R2", "relativistic, R1 + R2")
PAPER = {  # (modes, reverse KL, where)
    ("quarter", "plain"): (30.6, 5.99, "1712.04086, table 3"),
    ("quarter", "unrolled 5"): (236.4, 4.67, "1712.04086, table 3"),
    ("quarter", "packed 2"): (484.5, 2.61, "1712.04086, table 3"),
    ("quarter", "packed 4"): (667.4, 1.81, "1712.04086, table 3"),
    ("full", "plain"): (78.9, 4.50, "1712.04086"),
    ("full", "packed 2"): (1000.0, 0.06, "1712.04086"),
    ("full", "packed 4"): (1000.0, 0.07, "1712.04086"),
    ("full", "R1 + R2"): (693.0, 0.927, "2501.05441, table 1"),
    ("full", "relativistic, R1 + R2"): (1000.0, 0.0781, "2501.05441, table 1"),
}


def build(method: str, size: Setting) -> Model:
    """A game of stacked digits."""
    tx, many = optax.adam(size.lr, b1=0.5), int(method.split()[1]) if method.startswith(("packed", "unrolled")) else 0
    generator, critic = dcgan_generator(size.widths, SHAPE), dcgan_critic(size.critic)
    if "R1" in method:
        tx = optax.adam(size.lr, b1=0.0, b2=0.99)
        widths, of_critic = size.widths[:3], size.critic[:3]  # 28, 14, 7
        generator, critic = resgan_generator(widths, SHAPE, blocks=1), resgan_critic(of_critic, blocks=1)
        game = relativistic if "relativistic" in method else non_saturating
        return adversarial(implicit(generator, (size.latent,)), critic, tx, tx, game=game, r1=1.0, r2=1.0)
    critic = packed(critic, many) if method.startswith("packed") else critic
    unroll = many if method.startswith("unrolled") else 0
    return adversarial(implicit(generator, (size.latent,)), critic, tx, tx, unroll=unroll, unroll_lr=1e-2)


def triples(data: Dataset, count: int, seed: int = 0) -> np.ndarray:
    """(count, 3) rows of the training images, drawn once for all runs."""
    return np.random.default_rng(seed).integers(len(data.splits["train"].x), size=(count, 3))


def digits(size: Setting) -> Dataset:
    """MNIST, or for tests blank pixels."""
    if size.real:
        return load("mnist")
    train = Split(np.zeros((9, *SHAPE[:2], 1), np.uint8))
    return Dataset("blank", Spec((*SHAPE[:2], 1), 256, 0), {"train": train})


# ---- training ----------------------------------------------------------------------------------------------------------


def train(
    model: Model, data: Dataset, seed: int, name: str, size: Setting, folder: Path, deadline: float
) -> tuple[genjax.State, float]:
    """(state as far as the deadline lets it come, saved; seconds of training in all)."""
    x, chosen = jnp.asarray(data.splits["train"].x[..., 0]), jnp.asarray(triples(data, size.triples))
    clock, chunk = Clock(deadline), min(size.steps, 100 if jax.default_backend() == "gpu" else 10)
    batch = lambda rows: as_batch(jnp.moveaxis(x[chosen[rows]], 1, -1).astype(jnp.float32) / 127.5 - 1.0)
    step = genjax.make_step(model, ema_decay=0.999)
    run = jax.jit(lambda state, rows: jax.lax.scan(lambda s, r: (step(s, batch(r))[0], None), state, rows)[0])
    fresh = lambda: genjax.init(model, jax.random.key(seed), batch(jnp.arange(size.batch)))
    state, about = chunks.restore(folder, name, lambda step: jax.eval_shape(fresh)) or (jax.jit(fresh)(), {"seconds": 0.0})
    while (done := int(state.step)) < size.steps and clock.another():
        rows = row_block(seed, done, min(chunk, size.steps - done), size.batch, size.triples)
        state = jax.block_until_ready(run(state, rows))
        about["seconds"] += clock.tick()
        if clock.save_now():
            chunks.save(folder, name, state, about)
            print(f"{name}: step {int(state.step)}, {about['seconds']:.0f} s", flush=True)
    chunks.save(folder, name, state, about)
    return state, about["seconds"]


def score(model: Model, state: genjax.State, classify, count: int) -> Modes:
    """Modes of fresh samples, each channel classified as a digit."""
    draw, keys = jax.jit(model.sample), jax.random.split(jax.random.key(2026), count)
    classes = []
    for first in range(0, count, AT_ONCE):
        x = np.asarray(draw(state.ema, keys[first : first + AT_ONCE]))
        shown = np.clip(0.5 * x + 0.5, 0.0, 1.0)
        classes.append(np.stack([classify(shown[..., c : c + 1]) for c in range(3)], -1))
    return stacked(np.concatenate(classes))


# ---- as a job, and as a command --------------------------------------------------------------------------------------------


def advance(method: str, folder: Path, deadline: float, size: Setting = FULL, seeds: Sequence[int] = (0,)) -> Progress:
    """Train and score seeds in turn until the deadline, and keep the two rows in the folder."""
    setting = next((name for name, each in SETTINGS.items() if each.widths == size.widths), "tiny")
    words = f"stacked-{setting}-{size.steps}-{method}".replace(" ", "").replace(",", "")
    if rows := progress.entry(folder, words)["rows"]:
        return Progress(1.0, told(rows))
    data, model, found, spent = digits(size), build(method, size), [], 0.0
    for number, seed in enumerate(seeds):
        state, seconds = train(model, data, seed, f"{words}-{seed}", size, folder, deadline)
        if int(state.step) < size.steps:
            share = (number + int(state.step) / size.steps) / len(seeds)
            return Progress(share, f"seed {seed}: step {int(state.step)} of {size.steps}")
        classify = classifier(data).classify if size.real else lambda x: np.zeros(len(x), int)
        found, spent = [*found, score(model, state, classify, size.samples)], spent + seconds
    progress.keep(folder, words, *rows_of(method, setting, size, found, list(seeds), spent / 60))
    return Progress(1.0, told(progress.entry(folder, words)["rows"]))


def told(rows: list[dict]) -> str:
    return "; ".join(f"{row['recipe']}, {row['metric']}: {np.mean(row['values']):.3f}" for row in rows)


def rows_of(method: str, setting: str, size: Setting, found: list[Modes], seeds: list[int], minutes: float) -> list[dict]:
    """Modes and reverse KL."""
    covered, kl = [each.covered for each in found], [each.reverse_kl for each in found]
    modes, nats, source = PAPER.get((setting, method), ("", "", ""))
    wins = setting == "full" and method.startswith(("relativistic", "packed"))
    reached, even = float(np.mean(covered)) == 1000.0, float(np.mean(kl)) <= 0.0781
    bars = [{"bar": "1000", "met": reached}, {"bar": "<= 0.0781", "met": even}]
    about = {"seeds": seeds, "keywords": {"setting": setting, "steps": size.steps, "batch": size.batch}, "source": source}
    name, note = f"GAN on stacked MNIST, {method}, {setting}", f"{minutes:.0f} min; {size.samples} samples"
    return [
        row(name, "modes of 1000", covered, reference=modes, note=note, **(bars[0] if wins else {}), **about),
        row(name, "reverse KL", kl, unit="nats", reference=nats, note="floor 0.0192", **(bars[1] if wins else {}), **about),
    ]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=SETTINGS, default="quarter")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, help="another number than the setting's")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--folder", type=Path, default=Path("runs/stacked"))
    parser.add_argument("--dry", action="store_true", help="print, write no results")
    args = parser.parse_args()
    size = SETTINGS[args.setting]
    size, rows = size._replace(steps=args.steps or size.steps), []
    for method in args.methods:
        now = advance(method, args.folder, time.monotonic() + 60 * args.minutes, size, range(args.seeds))
        print(f"{method}: {now.line}", flush=True)
        if now.done < 1.0:
            return
        words = f"stacked-{args.setting}-{size.steps}-{method}".replace(" ", "").replace(",", "")
        rows += progress.entry(args.folder, words)["rows"]
        if not args.dry:
            command = f"python -m benchmarks.stacked --setting {args.setting}" + f" --steps {args.steps}" * bool(args.steps)
            name = f"stacked_{args.setting}"
            record(name, f"Stacked MNIST, {args.setting}", command, kept(name, rows))


if __name__ == "__main__":
    main()
