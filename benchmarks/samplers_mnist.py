"""What steps of a sampler are worth on MNIST, by Frechet distance in the features of a classifier of MNIST.

    python -m benchmarks.samplers_mnist                    # three hours on one core; the same command goes on
    python -m benchmarks.samplers_mnist --schedule long    # four times the examples, 2500 samples a set: for a GPU
    python -m benchmarks.samplers_mnist --steps 100 50 --samples 200 --dry

One network, a UNet over patches of 2 x 2 pixels that is told the label, v-prediction on DDPM's own process, its noise rate
growing evenly, as in the table that is compared with (2010.02502, table 1). That table's times are the leading ones, at which
DDPM leaves noise of its last long step in the sample; the others here are even, and their last step takes all noise away.
Every sampler draws as many of each digit from its running average after the last step, in several sets, and all with the same
keys. DDPM has the variance beta, which that table calls sigma-hat; small is the posterior's. The student is it distilled by
consistency (2303.01469) to one step. Seconds are wall time of the whole sampler, compiled beforehand, for the fastest of the
sets. The distance grows with few samples, so that all sets have as many, and so have the test images that tell the floor: the
mean over disjoint sets, and their spread.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import genjax
from benchmarks import chunks
from benchmarks.chunks import Clock
from benchmarks.record import record, row
from genjax.data import Dataset, feed, load, row_block, symmetric
from genjax.families.consistency import renoised
from genjax.families.diffusion import diffusion
from genjax.hybrids.distilled import consistent, distilled
from genjax.metrics.distance import frechet
from genjax.metrics.features import classifier, shown_reals
from genjax.model import Model, stream
from genjax.nets import unet
from genjax.predictions import min_snr
from genjax.samplers import Sampler, ancestral, ddim, heun
from genjax.schedules import Grid, karras_grid, leading_grid, linear, lognormal_times, uniform_grid
from genjax.solvers import dpm_solver_pp

SHAPE, CHUNK, LR, SEED = (28, 28, 1), 25, 1e-3, 0
PROCESS, PREPARE, CLASSES, NAME = linear(), symmetric(256), 10, "taught"


class Schedule(NamedTuple):
    """How long is trained, and how much is drawn."""

    steps: tuple[int, int]  # of the teacher, of the student
    batch: int
    samples: int  # of a set
    group: int  # samples drawn at once
    decay: float  # of the running average


SCHEDULES = {
    "short": Schedule((11_000, 2500), 64, 500, 100, 0.998),
    "long": Schedule((12_000, 2500), 256, 2500, 500, 0.9995),
}


class Way(NamedTuple):
    """How samples are drawn."""

    sampler: Sampler
    steps: int
    evaluations: int
    grid: Grid = uniform_grid()
    branch: str = "teacher"
    sets: int = 4


WAYS = {
    "DDPM, 10 steps": Way(ancestral(1.0), 10, 10),
    "DDPM, 100 steps": Way(ancestral(1.0), 100, 100),
    "DDPM, 1000 steps": Way(ancestral(1.0), 1000, 1000, sets=2),
    "DDPM of small variance, 10 steps": Way(ancestral(), 10, 10),
    "DDPM of small variance, 100 steps": Way(ancestral(), 100, 100),
    "DDIM, 10 steps": Way(ddim(), 10, 10),
    "DDIM, 20 steps": Way(ddim(), 20, 20),
    "DDPM, 10 steps, leading times": Way(ancestral(1.0), 10, 10, leading_grid()),
    "DDPM, 100 steps, leading times": Way(ancestral(1.0), 100, 100, leading_grid()),
    "DDIM, 10 steps, leading times": Way(ddim(), 10, 10, leading_grid()),
    "DDIM, 20 steps, leading times": Way(ddim(), 20, 20, leading_grid()),
    "DPM-Solver++(2M), 10 steps": Way(dpm_solver_pp(), 10, 10, karras_grid()),
    "DPM-Solver++(2M), 20 steps": Way(dpm_solver_pp(), 20, 20, karras_grid()),
    "Heun, 18 steps": Way(heun(), 18, 35, karras_grid()),
    "consistency, 1 step": Way(renoised(), 1, 1, karras_grid(), "student"),
    "consistency, 2 steps": Way(renoised(), 2, 2, karras_grid(), "student"),
}
FASTER = (("DDPM, 1000 steps", "DPM-Solver++(2M), 20 steps", 45), ("Heun, 18 steps", "consistency, 1 step", 30))
WORSE = (("DDPM, 10 steps, leading times", "DDIM, 10 steps, leading times", 10),)


def denoiser(tx: optax.GradientTransformation, **asked) -> Model:
    net = unet((32, 64), SHAPE, patch=2, attention=(1, 2))
    return diffusion(net, SHAPE, tx, process=PROCESS, weight=min_snr(), classes=CLASSES, **asked)


def taught(steps: tuple[int, int]) -> Model:
    """The teacher and then its student."""
    falling = lambda peak, count: optax.adam(optax.cosine_decay_schedule(peak, count))
    teacher = denoiser(falling(LR, steps[0]))
    tx = falling(LR / 3, steps[1])
    student = denoiser(tx, sampler=renoised(), grid=karras_grid(), steps=1)
    return distilled(teacher, student, consistent(PROCESS, times=lognormal_times(-1.1, 2.0)), tx)


def trained(model: Model, data: Dataset, asked: Schedule, folder: Path) -> genjax.Params:
    """The running average after both stages; a run that was stopped goes on from its checkpoint in the folder."""
    train, steps = data.splits["train"], asked.steps
    x = {"x": jnp.asarray(train.x), "y": jnp.asarray(train.y)}
    first = jax.jit(feed(PREPARE))(x, jax.random.key(SEED), row_block(SEED, 0, 1, asked.batch, len(x["x"]))[0])
    start = jax.jit(lambda: genjax.init(model, jax.random.key(SEED), first))
    saved = lambda step: jax.eval_shape(lambda: genjax.next_stage(model, start(), int(step > steps[0])))
    state, about = chunks.restore(folder, NAME, saved) or (start(), {"stage": 0})
    for stage in range(about["stage"], len(steps)):
        begins = sum(steps[:stage])
        state = genjax.next_stage(model, state, stage) if int(state.step) == begins else state
        run = pieces(genjax.make_step(model, stage, begins=begins, ema_decay=asked.decay), x, asked.batch)
        state = to_the_end(run, state, begins + steps[stage], stage, folder)
    return state.ema


def pieces(step: Callable, x: dict[str, jax.Array], batch: int) -> Callable:
    """(state, step's number, how many) -> (state, metrics), in one dispatch."""
    gather = feed(PREPARE)
    one = lambda state, rows: step(state, gather(x, stream(jax.random.fold_in(state.key, state.step), "prepare"), rows))
    run = jax.jit(lambda state, rows: jax.lax.scan(one, state, rows), donate_argnums=0)
    return lambda state, first, count: run(state, row_block(SEED, first, count, batch, len(x["x"])))


def to_the_end(run: Callable, state: genjax.State, end: int, stage: int, folder: Path) -> genjax.State:
    """The stage's last state, saved, and every few minutes the one so far."""
    clock = Clock()
    while (now := int(state.step)) < end:
        state, metrics = run(state, now, min(CHUNK, end - now))
        if clock.save_now():
            chunks.save(folder, NAME, state, {"stage": stage})
            losses = {name: round(float(jnp.nanmean(value)), 4) for name, value in metrics.items() if name.endswith("loss")}
            print(f"step {int(state.step)}: {losses}", flush=True)
    chunks.save(folder, NAME, state, {"stage": stage})
    return state


def compiled(way: Way, params: genjax.Params, count: int, group: int) -> Callable:
    """(params, keys (group,), labels) -> samples."""
    model = denoiser(optax.sgd(0.0), sampler=way.sampler, steps=way.steps, grid=way.grid)
    return jax.jit(model.sample).lower(params[way.branch], keys_of(0, count, group)[0], labels_of(group)).compile()


def drawn(sample: Callable, way: Way, params: genjax.Params, count: int, group: int) -> tuple[list[np.ndarray], float]:
    """(the way's sets of `count` samples in [0, 1], seconds that one of them took)."""
    labels, params, sets, seconds = labels_of(group), params[way.branch], [], []
    for number in range(way.sets):
        keys, began = keys_of(number, count, group), time.perf_counter()
        x = np.concatenate([np.asarray(sample(params, some, labels)) for some in keys])
        seconds.append(time.perf_counter() - began)
        sets.append(np.clip(0.5 * x + 0.5, 0.0, 1.0))
    return sets, min(seconds)


def labels_of(group: int) -> jax.Array:
    return jnp.arange(group) % CLASSES


def keys_of(number: int, count: int, group: int) -> jax.Array:
    """Those of a set, by groups; every way draws it with the same."""
    return jax.random.split(jax.random.key(2026 + 1000 * number), count).reshape(-1, group)


class Found(NamedTuple):
    """What a way reached in each of its sets, and how long one took."""

    distances: list[float]
    seconds: float


def floors(data: Dataset, apply: Callable, real: np.ndarray, count: int) -> np.ndarray:
    """Distances of disjoint sets of test images, at most ten."""
    shown = shown_reals(data.spec, data.splits["test"].x)
    sets = [shown[first : first + count] for first in range(0, min(len(shown), 10 * count), count)]
    return np.array([frechet(real, apply(some)) for some in sets if len(some) == count])


def bars(found: dict[str, Found], floor: np.ndarray) -> dict[str, tuple[float, str]]:
    """{row: (the most that its distance may be, in words)}."""
    spread = float(floor.std(ddof=1)) if len(floor) > 1 else 0.0
    most = {name: float(np.mean(one.distances)) for name, one in found.items()}
    return {
        "DDIM, 20 steps": (most["DDPM, 100 steps"], "DDPM's of 100 steps"),
        "DDIM, 20 steps, leading times": (most["DDPM, 100 steps, leading times"], "DDPM's of 100 steps at leading times"),
        "DPM-Solver++(2M), 20 steps": (most["DDPM, 1000 steps"] + spread, "DDPM's of 1000 steps and the floor's spread"),
        "consistency, 1 step": (2 * most["Heun, 18 steps"], "twice the teacher's by Heun, 18 steps"),
    }


def rows_of(found: dict[str, Found], floor: np.ndarray, about: dict) -> list[dict]:
    """A row of distance for each way, and the two ratios of time."""
    asked, lines = bars(found, floor), []
    for name, one in found.items():
        bar = {}
        if name in asked:
            most, words = asked[name]
            bar = dict(bar=f"<= {most:.3f}, {words}", met=float(np.mean(one.distances)) <= most)
        note = f"{one.seconds:.2f} s, {WAYS[name].evaluations} evaluations a sample; for seeds read sets of keys"
        lines.append(row(name, "Frechet distance", one.distances, note=note, **bar, **about | sets_of(one.distances)))
    note = "the floor; for seeds read disjoint sets"
    lines.append(row("test images", "Frechet distance", list(floor), note=note, **about | sets_of(floor)))
    for far, near, least in WORSE:
        ratio = float(np.mean(found[far].distances) / np.mean(found[near].distances))
        bar = dict(bar=f">= {least}", met=ratio >= least)
        lines.append(row(f"{far} / {near}", "ratio of Frechet distances", [ratio], unit="times", **bar, **about))
    for slow, fast, least in FASTER:
        ratio = found[slow].seconds / found[fast].seconds
        bar = dict(bar=f">= {least}", met=ratio >= least)
        lines.append(row(f"{slow} / {fast}", "ratio of wall times", [ratio], unit="times", **bar, **about))
    return lines


def sets_of(values: Sequence[float]) -> dict[str, list[int]]:
    return {"seeds": list(range(len(values)))}


def measured(asked: Schedule, params: genjax.Params, folder: Path, distance: Callable) -> dict[str, Found]:
    """Every way, those of few evaluations first; what an earlier call measured is read. Programs are compiled side by side."""
    words = f"{asked.samples} samples after {asked.steps[0]} and {asked.steps[1]}.json"
    order = sorted(WAYS, key=lambda name: WAYS[name].evaluations)
    left = [name for name in order if not (folder / f"{name}, {words}").exists()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # all before the first is timed
        programs = list(pool.map(lambda name: compiled(WAYS[name], params, asked.samples, asked.group), left))
    for name, sample in zip(left, programs, strict=True):
        sets, seconds = drawn(sample, WAYS[name], params, asked.samples, asked.group)
        np.save(folder / f"{name}.npy", sets[0][:64])
        (folder / f"{name}, {words}").write_text(json.dumps([[distance(x) for x in sets], seconds]))
        print(name, (folder / f"{name}, {words}").read_text(), flush=True)
    return {name: Found(*json.loads((folder / f"{name}, {words}").read_text())) for name in WAYS}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedule", choices=SCHEDULES, default="short")
    parser.add_argument("--steps", type=int, nargs=2, help="of the teacher and of the student, where not the schedule's")
    parser.add_argument("--samples", type=int, help="of a set, where not the schedule's")
    parser.add_argument("--folder", type=Path, help="of the checkpoints; runs/samplers_mnist or one beside it")
    parser.add_argument("--dry", action="store_true", help="print only, write no result")
    args = parser.parse_args()
    data, asked, name = load("mnist"), SCHEDULES[args.schedule], "samplers_mnist" + "_long" * (args.schedule == "long")
    steps, samples = tuple(args.steps or asked.steps), args.samples or asked.samples
    asked = asked._replace(steps=steps, samples=samples, group=min(asked.group, samples))
    folder = args.folder or Path("runs", name)
    params, features = trained(taught(steps), data, asked, folder), classifier(data)
    real = features.apply(shown_reals(data.spec, data.splits["train"].x))
    floor = floors(data, features.apply, real, samples)
    print(f"floor {floor.mean():.3f} +- {floor.std():.3f}", flush=True)
    found = measured(asked, params, folder, lambda x: frechet(real, features.apply(x)))
    about = dict(seeds=[SEED], keywords={"steps": steps, "batch": asked.batch, "samples": samples}, source=features.name)
    if not args.dry:
        title = "Samplers on MNIST, by the features of a classifier" + ", trained for longer" * (args.schedule == "long")
        command = "python -m benchmarks.samplers_mnist" + " --schedule long" * (args.schedule == "long")
        record(name, title, command, rows_of(found, floor, about))


if __name__ == "__main__":
    main()
