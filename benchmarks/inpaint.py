"""Digits whose lower half is gone, filled in by a diffusion model that was never trained to (RePaint, 2201.09865).

    python train.py configs/diffusion_mnist.py
    python -m benchmarks.inpaint                    # minutes; writes results/pictures/inpaint_mnist.png, too

A classifier says how many of the test digits are still taken for what they were: whole, with the half missing, and filled in by
`genjax.tasks.inpaint` with each step taken once and several times. Two halves that do not fit make no digit. In the picture a
row is a digit: whole, what is left of it, three ways to fill it in with each step taken once, three with each taken five times.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.record import record, row
from genjax import tasks
from genjax.data import load
from genjax.metrics.features import classifier, shown_reals
from genjax.report import picture
from genjax.trained import Trained, reopen

COUNT, STEPS, AT_ONCE = 200, 100, 50
AGAIN = {1: "once", 5: "five times"}


def filled(run: Trained, x: np.ndarray, known: np.ndarray, again: int, seed: int) -> np.ndarray:
    """Shown pictures (n, H, W, C), some at a time."""
    one = jax.jit(lambda keys, x: tasks.inpaint(run.recipe.model, run.state.ema, keys, x, known, steps=STEPS, again=again))
    keys = jax.random.split(jax.random.key(seed), len(x))
    parts = [one(keys[k : k + AT_ONCE], x[k : k + AT_ONCE]) for k in range(0, len(x), AT_ONCE)]
    return np.clip(run.recipe.show(np.concatenate(parts)), 0, 1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/diffusion_mnist"))
    args = parser.parse_args()
    run, data = reopen(args.run), load("mnist")
    features, test = classifier(data), data.splits["test"]
    raw, labels = test.x[:COUNT], test.y[:COUNT]
    x = np.asarray(run.recipe.prepare(jax.random.key(0), jnp.asarray(raw)))
    known = np.broadcast_to(np.arange(x.shape[1]).reshape(-1, 1, 1) < x.shape[1] // 2, x.shape[1:])
    whole = shown_reals(data.spec, raw)
    ways = {"whole": whole, "lower half missing": np.where(known, whole, 0.0)}
    ways |= {f"filled in, each step taken {words}": filled(run, x, known, n, 0) for n, words in AGAIN.items()}
    lines = []
    for name, shown in ways.items():
        share = float((features.classify(shown) == labels).mean())
        print(f"{name}: {share:.3f}", flush=True)
        about = dict(seeds=[0], source=features.name, note=f"{COUNT} test digits, {STEPS} steps" if "step" in name else "")
        lines.append(row(f"{args.run.name}, {name}", "taken for what they were", [share], unit="share", **about))
    few = [filled(run, x[:8], known, n, seed) for n in AGAIN for seed in (1, 2, 3)]
    columns = [ways["whole"][:8], ways["lower half missing"][:8], *few]
    picture(Path("results/pictures/inpaint_mnist.png"), np.stack(columns, 1).reshape(-1, *whole.shape[1:]))
    record("inpaint", "Digits whose lower half is filled in", "python -m benchmarks.inpaint", lines)


if __name__ == "__main__":
    main()
