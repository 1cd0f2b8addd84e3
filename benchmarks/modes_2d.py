"""GANs on ring and grid: modes covered, share of samples near one, reverse KL, as PacGAN counts them (1712.04086, table 1).

    python -m benchmarks.modes_2d                      # 6000 steps: three games, two toys, ten seeds under vmap
    python -m benchmarks.modes_2d --schedule long      # 20 000 steps, in which samples come to lie on the modes
    python -m benchmarks.modes_2d --schedule pacgan    # the paper's 400 000 steps with its nets, also packed: for a GPU
    python -m benchmarks.modes_2d --schedule few --toys grid --seeds 3     # diffusion and a denoising GAN
    python -m benchmarks.modes_2d --minutes 30         # stop before that; the same command goes on from there

    short     generator 3 x 128 of z in 2 dimensions, critic 2 x 128, batch 256, Adam with b1 = 0, learning rate 5e-4 on a
              cosine to 0
    long      the same nets; learning rate 1e-3, which with its gamma was found on two of the seeds on the grid
    pacgan    generator 4 x 400 with z in 2 dimensions, maxout critic 3 x 200 of 5 pieces, batch 100, Adam 1e-4 with b1 = 0.8;
              the paper's generator has BatchNorm, this one normalizes each example
    few       nets 3 x 256 that know the time, batch 256, four steps of a cosine process that are shorter near the data, each
              drawn by a relativistic GAN (2112.07804) whose z has 2 dimensions, or by the chain of a diffusion model; Adam as
              in `short`

Critics of all but `pacgan` also see waves of the point, sin and cos at five frequencies: without them a critic of this size
has not told the modes from their surroundings when the schedule ends. Data are divided by their largest centre. Critics with
R1 + R2 have gamma 0.01 on both sides, in `long` 0.003.

Scored are 2500 samples a seed of the running average of the parameters after the last step; nothing is chosen. A sample is good
within 3 sd of a centre, a mode counts with one good sample, reverse KL is over good samples.
"""

import argparse
import math
import time
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import genjax
from benchmarks import chunks
from benchmarks.chunks import Clock
from benchmarks.record import kept, record, row
from genjax.data import load, row_block, toy_centres
from genjax.families.diffusion import diffusion
from genjax.families.gan import implicit, non_saturating, relativistic
from genjax.hybrids.adversarial import adversarial
from genjax.hybrids.stepwise import steps_of, stepwise
from genjax.metrics.modes import modes
from genjax.model import Model, as_batch
from genjax.nets import Net, maxout, mlp, packed, timed_mlp, with_waves
from genjax.nets.time import time_features
from genjax.parallel import seeded
from genjax.samplers import ancestral
from genjax.schedules import cosine, warped

SAMPLES, WAVES = 2500, (2.0, 4.0, 8.0, 16.0, 32.0)


class Schedule(NamedTuple):
    """How all games of a run are trained."""

    steps: int
    batch: int
    latent: int
    methods: tuple[str, ...]
    lr: float = 5e-4
    gamma: float = 0.01


SCHEDULES = {
    "short": Schedule(6000, 256, 2, ("plain", "R1 + R2", "relativistic, R1 + R2")),
    "long": Schedule(20_000, 256, 2, ("relativistic, R1 + R2", "plain", "R1 + R2"), 1e-3, 0.003),
    "pacgan": Schedule(400_000, 100, 2, ("plain", "packed 2", "packed 4", "R1 + R2", "relativistic, R1 + R2"), 1e-4),
    "few": Schedule(20_000, 256, 2, ("diffusion, 4 steps", "denoising GAN, 4 steps")),
}
PAPER = {  # (modes, good samples, reverse KL), mean over 10 runs
    ("ring", "plain"): (6.3, 0.982, 0.45),
    ("ring", "packed 2"): (7.9, 0.956, 0.07),
    ("ring", "packed 4"): (7.8, 0.959, 0.07),
    ("grid", "plain"): (17.3, 0.948, 0.70),
    ("grid", "packed 2"): (23.8, 0.913, 0.13),
    ("grid", "packed 4"): (24.8, 0.936, 0.04),
}


def build(method: str, name: str, size: Schedule) -> Model:
    """A game of points."""
    if name == "few":
        return build_few(method, size)
    penalty = size.gamma if "R1" in method else 0.0
    game = relativistic if "relativistic" in method else non_saturating
    if name == "pacgan":
        generator, critic, tx = mlp((400,) * 4, (2,), normed), maxout((200,) * 3, 5), optax.adam(size.lr, b1=0.8)
    else:
        generator, critic = mlp((128,) * 3, (2,), nn.relu), with_waves(mlp((128,) * 2, (), nn.relu), WAVES)
        tx = falling(size)
    critic = with_pack(critic, method)
    return adversarial(implicit(generator, (size.latent,)), critic, tx, tx, game=game, r1=penalty, r2=penalty)


def build_few(method: str, size: Schedule) -> Model:
    """Four steps from noise to points: a chain whose steps are normal, or one whose steps a GAN draws."""
    features = lambda t: time_features(t, 8, highest=10.0, lowest=0.5)
    net = lambda out: timed_mlp((256,) * 3, out, nn.relu, features)
    tx, process = falling(size), warped(cosine(), 2.0)
    if method.startswith("diffusion"):
        return diffusion(net((2,)), (2,), tx, process=process, steps=4, sampler=ancestral())
    generator, latent, critic = net((2,)), (size.latent,), with_waves(net(()), WAVES)
    sees, model = steps_of(generator, latent, process, 4), stepwise(generator, (2,), latent, process, 4)
    return adversarial(model, critic, tx, tx, sees=sees, game=relativistic, r1=size.gamma, r2=size.gamma)


def falling(size: Schedule) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(size.lr, size.steps), b1=0.0, b2=0.99)


def normed(h: jax.Array) -> jax.Array:
    """Relu of features normalized over one example, in place of BatchNorm."""
    return nn.relu((h - h.mean(-1, keepdims=True)) * jax.lax.rsqrt(h.var(-1, keepdims=True) + 1e-5))


def with_pack(critic: Net, method: str) -> Net:
    return packed(critic, int(method.split()[1])) if method.startswith("packed") else critic


# ---- training ----------------------------------------------------------------------------------------------------------


def start(model: Model, x: np.ndarray, seeds: range, batch: int) -> genjax.State:
    """A stack of states, one a seed, and one step number for all."""
    begin = lambda seed: genjax.init(model, jax.random.key(seed), as_batch(jnp.asarray(x[:batch])))
    return jax.vmap(begin)(jnp.asarray(seeds))._replace(step=jnp.zeros((), jnp.int32))


def train(
    model: Model, x: np.ndarray, seeds: range, name: str, size: Schedule, folder: Path, deadline: float
) -> tuple[genjax.State, float]:
    """(states as far as the deadline lets them come, saved; seconds of training in all)."""
    data, clock, chunk = jnp.asarray(x), Clock(deadline), 500
    step = seeded(genjax.make_step(model, ema_decay=0.999), batch_axis=0)
    batches = jax.vmap(lambda rows: as_batch(data[rows]))
    run = jax.jit(lambda state, rows: jax.lax.scan(lambda s, r: (step(s, batches(r))[0], None), state, rows)[0])
    fresh = lambda: start(model, x, seeds, size.batch)
    state, about = chunks.restore(folder, name, lambda step: jax.eval_shape(fresh)) or (jax.jit(fresh)(), {"seconds": 0.0})
    while (done := int(state.step)) < size.steps and clock.another():
        blocks = [row_block(seed, done, min(chunk, size.steps - done), size.batch, len(x)) for seed in seeds]
        state = jax.block_until_ready(run(state, np.stack(blocks, 1)))
        about["seconds"] += clock.tick()
        if clock.save_now():
            chunks.save(folder, name, state, about)
            print(f"{name}: step {int(state.step)}, {about['seconds']:.0f} s", flush=True)
    chunks.save(folder, name, state, about)
    return state, about["seconds"]


def scores(model: Model, state: genjax.State, toy: str, scale: float) -> list[tuple[int, float, float | None]]:
    """(modes, share of good samples, reverse KL) of each seed."""
    draw = jax.jit(jax.vmap(lambda params, key: model.sample(params, jax.random.split(key, SAMPLES))))
    points = np.asarray(draw(state.ema, jax.random.split(jax.random.key(2026), len(state.skipped)))) * scale
    found = [modes(x, *toy_centres(toy)) for x in points]
    return [(each.covered, each.quality, each.reverse_kl) for each in found]


# ---- rows ----------------------------------------------------------------------------------------------------------------


def rows_of(toy: str, method: str, schedule: str, size: Schedule, found: list, note: str) -> list[dict]:
    """Three rows of RESULTS.md; bars as PacGAN reaches them, on quality and evenness only under its full schedule."""
    covered, quality, kl = (list(column) for column in zip(*found, strict=True))
    known, of, mean = [value for value in kl if value is not None], len(toy_centres(toy)[0]), lambda v: float(np.mean(v))
    smoothed = {"gamma": size.gamma} if "R1" in method or "denoising" in method else {}
    keywords = {"schedule": schedule, "steps": size.steps, "batch": size.batch} | smoothed
    about = {"seeds": list(range(len(found))), "keywords": keywords}
    paper = [{"reference": value, "source": "1712.04086, table 1, 10 runs"} for value in PAPER.get((toy, method), ())] or [
        {}
    ] * 3
    most = of if schedule == "few" else 7.9 if toy == "ring" else 24.8
    told = [{"bar": f">= {most}", "met": mean(covered) >= most}, {}, {}]
    if method == "plain":
        told = [{"bar": "drops modes, as others' do", "met": mean(covered) < of}, {}, {}]
    elif method.startswith("diffusion"):
        told = [{}, {"bar": "fails: < 0.9", "met": mean(quality) < 0.9}, {}]
    elif schedule != "short":
        least = 0.9 if schedule == "few" else 0.936
        told[1:] = (
            {"bar": f">= {least}", "met": mean(quality) >= least},
            {"bar": "<= 0.04", "met": bool(known) and mean(known) <= 0.04},
        )
    recipe, lost = f"{method} on {toy}, {schedule} schedule", len(kl) - len(known)
    recipe = recipe if schedule == "few" else f"GAN on {toy}, {method}, {schedule} schedule"
    none = f"{lost} seeds without a good sample are left out" if lost else ""
    return [
        row(recipe, f"modes of {of}", covered, note=note, **told[0], **paper[0], **about),
        row(recipe, "share of samples within 3 sd", quality, **told[1], **paper[1], **about),
        row(recipe, "reverse KL", known, unit="nats", note=none, **told[2], **paper[2], **about),
    ]


def measured(toy: str, method: str, args: argparse.Namespace, deadline: float) -> list[dict] | None:
    """Rows of one game on one toy, or None where the deadline came first."""
    size, seeds = SCHEDULES[args.schedule], range(args.seeds)
    size = size._replace(steps=args.steps or size.steps)
    scale = float(np.abs(toy_centres(toy)[0]).max())
    model, x = build(method, args.schedule, size), load(toy).splits["train"].x / np.float32(scale)
    words = [args.schedule, toy, method, str(size.steps), str(args.seeds)]
    name = "-".join(words).replace(" ", "").replace(",", "")
    state, seconds = train(model, x, seeds, name, size, args.folder, deadline)
    if int(state.step) < size.steps:
        print(f"{toy}, {method}: step {int(state.step)} of {size.steps}; the same command goes on", flush=True)
        return None
    found, skipped = scores(model, state, toy, scale), int(state.skipped.max())
    covered, good = (np.mean([each[k] for each in found]) for k in (0, 1))
    print(f"{toy}, {method}: {covered:.1f} modes, {100 * good:.1f} % good, {seconds / 60:.1f} min", flush=True)
    note = f"{seconds / 60:.0f} min for all seeds together" + (f"; the last {skipped} steps undone" if skipped else "")
    return rows_of(toy, method, args.schedule, size, found, note)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedule", choices=SCHEDULES, default="short")
    parser.add_argument("--toys", nargs="+", choices=("ring", "grid"), default=["ring", "grid"])
    parser.add_argument("--methods", nargs="+", choices=[*SCHEDULES["pacgan"].methods, *SCHEDULES["few"].methods])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, help="fewer than the schedule's, to try the command")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--folder", type=Path, default=Path("runs/modes_2d"))
    parser.add_argument("--dry", action="store_true", help="print, write no results")
    args = parser.parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    command = "python -m benchmarks.modes_2d" + (f" --schedule {args.schedule}" if args.schedule != "short" else "")
    command += f" --toys grid --seeds {args.seeds}" if args.schedule == "few" else ""
    for toy in args.toys:
        for method in args.methods or SCHEDULES[args.schedule].methods:
            if (more := measured(toy, method, args, deadline)) is None:
                return
            if not args.dry:
                name, title = f"modes_2d_{args.schedule}", f"Samples of ring and grid, {args.schedule} schedule"
                record(name, title, command, kept(name, more))


if __name__ == "__main__":
    main()
