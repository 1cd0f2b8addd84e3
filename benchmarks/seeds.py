"""What one program for many seeds, and one dispatch for many steps, are worth: python -m benchmarks.seeds

A small MLP VAE on digits, 200 steps of 64 examples, data on the device. All ways run in turn within one process, several
times over; the minimum of each counts, and the ratios are of minima, since other work may share the machine.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import genjax
from benchmarks import progress
from benchmarks.progress import Progress
from benchmarks.record import record, row
from genjax.data import feed, load, row_block, unit
from genjax.families.vae import vae
from genjax.model import stream
from genjax.nets import mlp
from genjax.parallel import scanned, seeded

STEPS, BATCH, SEEDS = 200, 64, 8


def ways(width: int, x: np.ndarray, steps: int = STEPS) -> dict[str, Callable[[], jax.Array]]:
    """name -> a function that trains on x (n, 8, 8, 1), 0 .. 16, and returns the final parameters' sum."""
    data, make = jax.device_put({"x": x}), feed(unit(17))
    model = vae(mlp((width,), (16,)), mlp((width,), (8, 8, 1)), (8,), optax.adam(1e-3))
    raw = genjax.make_step(model)
    rows = jnp.asarray(row_block(0, 0, steps, BATCH, len(x)))

    def step(state, rows):
        return raw(state, make(data, stream(jax.random.fold_in(state.key, state.step), "prepare"), rows))

    first = make(data, jax.random.key(0), rows[0])
    start = jax.jit(lambda seed: genjax.init(model, jax.random.key(seed), first))
    states = [start(seed) for seed in range(SEEDS)]
    stack = jax.tree.map(lambda *leaf: jnp.stack(leaf), *states)._replace(step=states[0].step)
    one, many = jax.jit(step), jax.jit(seeded(step))
    one_scan, many_scan = jax.jit(scanned(step)), jax.jit(scanned(seeded(step)))

    def stepwise(call, state):
        for number in range(steps):
            state, _ = call(state, rows[number])
        return total(state)

    return {
        "one seed, a dispatch a step": lambda: stepwise(one, states[0]),
        "one seed, one dispatch": lambda: total(one_scan(states[0], rows)[0]),
        "8 seeds in turn, a dispatch a step": lambda: sum(stepwise(one, state) for state in states),
        "8 seeds in turn, one dispatch each": lambda: sum(total(one_scan(state, rows)[0]) for state in states),
        "8 seeds under vmap, a dispatch a step": lambda: stepwise(many, stack),
        "8 seeds under vmap, one dispatch": lambda: total(many_scan(stack, rows)[0]),
    }


def total(state: genjax.State) -> jax.Array:
    """A number that is there only when all of the state is."""
    return sum(leaf.sum() for leaf in jax.tree.leaves(state.params)).block_until_ready()


def measure(width: int, repeats: int, x: np.ndarray, steps: int = STEPS) -> dict[str, float]:
    """Seconds of each way, the minimum over the repeats."""
    best, calls = {}, ways(width, x, steps)
    for _ in range(repeats + 1):  # the first compiles
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            best[name] = [*best.get(name, []), time.perf_counter() - began]
    return {name: min(times[1:]) for name, times in best.items()}


def rows(t: dict[str, float], width: int, note: str = "") -> list[dict[str, Any]]:
    """Lines of RESULTS.md from the seconds of each way."""
    vmapped = min(t["8 seeds under vmap, a dispatch a step"], t["8 seeds under vmap, one dispatch"])
    turns, chunks = t["8 seeds in turn, a dispatch a step"], t["8 seeds in turn, one dispatch each"]
    alone = t["one seed, one dispatch"]
    gain = t["one seed, a dispatch a step"] / alone
    told = "; ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in t.items()) + note
    of = {"recipe": "MLP VAE on digits", "seeds": list(range(SEEDS)), "keywords": {"width": width, "batch": BATCH}}
    gpu = jax.default_backend() == "gpu"
    return [
        row(metric="8 seeds under vmap over 8 runs in turn, a dispatch a step", values=[vmapped / turns], unit="times",
            bar="<= 0.5", met=vmapped <= 0.5 * turns, note=told, **of),
        row(metric="8 seeds under vmap over 8 runs in turn, each one dispatch", values=[vmapped / chunks], unit="times", **of),
        row(metric="8 seeds under vmap over one run, one dispatch", values=[vmapped / alone], unit="times",
            bar="<= 1.3 on a GPU", met=vmapped <= 1.3 * alone if gpu else None, **of),
        row(metric="steps/s of a scanned chunk over a dispatch a step", values=[gain], unit="times", bar=">= 2",
            met=gain >= 2, **of),
    ]  # fmt: skip


def advance(folder: Path, deadline: float, tiny: bool = False) -> Progress:
    """The job of `benchmarks.pending`: pixels are random, so that no file is needed, and speed does not depend on them.

    It compiles for a minute and runs for seconds: where that does not fit it waits for a longer turn.
    """
    if found := progress.entry(folder, "seeds")["rows"]:
        return Progress(1.0, told(found))
    if deadline - time.monotonic() < (0 if tiny else 90):
        return Progress(0.0, "needs 90 s in one piece")
    x = np.random.default_rng(0).integers(0, 17, (1439, 8, 8, 1), np.uint8)
    t = measure(4, 1, x, steps=2) if tiny else measure(64, 7, x)
    found = progress.keep(folder, "seeds", *rows(t, 64, note="; random pixels"))
    return Progress(1.0, told(found))


def told(rows: list[dict[str, Any]]) -> str:
    return "; ".join(f"{row['metric']} {row['values'][0]:.2f}" for row in rows)


def main() -> None:
    """Measure and write results/seeds.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=64, help="of the one hidden layer either way")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    t = measure(args.width, args.repeats, load("digits").splits["train"].x)
    for name, seconds in t.items():
        print(f"{name:40} {1000 * seconds:8.1f} ms")
    record("seeds", "Seeds under vmap, steps under scan", "python -m benchmarks.seeds", rows(t, args.width))


if __name__ == "__main__":
    main()
