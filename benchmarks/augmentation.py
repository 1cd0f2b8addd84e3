"""Data augmentation by a generative model: what its samples are worth to a classifier that has few digits to learn from.

    python -m benchmarks.augmentation                    # some 5 min of one core
    python -m benchmarks.augmentation --steps 50 --seeds 0 --dry

Of the training digits so many are kept as the rows say, others for each seed. A model of the class asked for is trained on
them alone, by its recipe, and draws 2000 digits of even classes; genjax's classifier then learns from both, every second row
a real one. Its accuracy on all test digits stands beside that of the same classifier from the few alone.
"""

import argparse
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.record import record, row
from benchmarks.training import Plan, begun, trained
from genjax.config import ROOT, load_recipe
from genjax.data import Dataset, Split, load
from genjax.data.base import take
from genjax.metrics.features import classifier
from genjax.trained import draw

RECIPES, KEPT, SAMPLES, BATCH, STEPS = ("diffusion_digits", "gan_labels_digits"), (50, 150), 2000, 50, 4000


def few(data: Dataset, count: int, seed: int) -> Dataset:
    """The data set with `count` of its training rows."""
    rows = np.random.default_rng(seed).permutation(len(data.splits["train"].x))[:count]
    return data._replace(name=f"{count} of {data.name}", splits=data.splits | {"train": take(data.splits["train"], rows)})


def imagined(name: str, data: Dataset, steps: int, seed: int) -> Split:
    """Samples, as stored examples, of a recipe trained on these data."""
    recipe = load_recipe(ROOT / "configs" / f"{name}.py").recipe(data.spec, steps=steps, batch=BATCH)
    plan, labels = Plan(steps, BATCH, 0.0), np.arange(SAMPLES, dtype=np.int32) % data.spec.classes
    state = begun(recipe.model, plan, recipe.prepare, data, seed, labelled=True)
    state, _ = trained(recipe.model, state, plan, recipe.prepare, data, seed, labelled=True)
    shown = recipe.show(draw(jax.jit(recipe.model.sample), state.ema, np.arange(SAMPLES), jnp.asarray(labels)))
    x = np.round(np.clip(shown, 0, 1) * (data.spec.levels - 1)).astype(data.splits["train"].x.dtype)
    return Split(x, labels)


def beside(data: Dataset, more: Split) -> Dataset:
    """The data set with as many of its own rows, repeated, as there are more."""
    real = take(data.splits["train"], np.arange(len(more.x)) % len(data.splits["train"].x))
    both = Split(np.concatenate([real.x, more.x]), np.concatenate([real.y, more.y]))
    return data._replace(name=f"{data.name} and samples", splits=data.splits | {"train": both})


def accuracy(data: Dataset, seed: int) -> float:
    """Percent of the test digits that a classifier of the training rows names rightly."""
    with tempfile.TemporaryDirectory() as folder:
        return 100 * classifier(data, Path(folder), seed).about["accuracy"]


def measured(count: int, steps: int, seeds: list[int]) -> list[dict]:
    """The rows of one size: the few alone, and with the samples of each recipe."""
    found: dict[str, list[float]] = {}
    for seed in seeds:
        data = few(load("digits"), count, seed)
        found.setdefault("no samples", []).append(accuracy(data, seed))
        for name in RECIPES:
            found.setdefault(f"{SAMPLES} samples of {name}", []).append(
                accuracy(beside(data, imagined(name, data, steps, seed)), seed)
            )
        print(count, {name: round(values[-1], 2) for name, values in found.items()}, flush=True)
    alone, lines = np.array(found["no samples"]), []
    for name, values in found.items():
        gain = np.array(values) - alone
        better = f"{gain.mean():+.2f} on average, better on {(gain > 0).sum()} of {len(gain)} seeds"
        told = {} if name == "no samples" else {"note": better, "keywords": {"steps": steps, "batch": BATCH}}
        lines.append(row(f"classifier of {count} digits and {name}", "test accuracy", values, seeds=seeds, unit="%", **told))
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS, help="of each generative model")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--dry", action="store_true", help="print only, write no result")
    args = parser.parse_args()
    rows = [line for count in KEPT for line in measured(count, args.steps, args.seeds)]
    if not args.dry:
        record("augmentation", "Digits made up for a classifier", "python -m benchmarks.augmentation", rows)


if __name__ == "__main__":
    main()
