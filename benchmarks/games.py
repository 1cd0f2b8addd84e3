"""What the games and tricks of GANs are worth on digits: one pair of MLPs and one schedule, everything else by turns.

    python -m benchmarks.games                              # some 20 min of one core
    python -m benchmarks.games --steps 50 --seeds 0 --dry

All are `gan_games_digits` with the knobs that the rows tell; a "plain" GAN is the non-saturating game with nothing more.
Frechet distance and coverage of 2000 samples against the training digits in the features of genjax's classifier. Samples are
of the running average of the generator, "as trained" of the parameters after the last step.
"""

import argparse
from typing import Any

import jax
import numpy as np

import genjax
from benchmarks.record import kept, record, row
from benchmarks.training import Plan, begun, trained
from genjax.config import ROOT, Recipe, load_recipe
from genjax.data import Dataset, load
from genjax.metrics.distance import frechet
from genjax.metrics.features import Features, classifier, shown_reals
from genjax.metrics.neighbours import prdc
from genjax.trained import draw

SAMPLES, STEPS = 2000, 6000
BARE: dict[str, Any] = {"r1": 0.0}
WAYS: dict[str, dict[str, Any]] = {
    "plain": BARE,
    "plain, minibatch discrimination": BARE | {"discriminate": True},
    "plain, packed 2": BARE | {"pack": 2},
    "plain, unrolled 5": BARE | {"unroll": 5},
    "plain, augmented": BARE | {"augment": True},
    "plain, R1": {},
    "plain, R1 in every fourth step": {"lazy": 4},
    "plain, R1 + R2": {"r2": 1.0},
    "relativistic, R1 + R2": {"game": "relativistic", "r2": 1.0},
    "hinge": BARE | {"game": "hinge"},
    "hinge, spectral": BARE | {"game": "hinge", "sn": True},
    "least squares": BARE | {"game": "least_squares"},
    "Wasserstein, weights in a box": BARE | {"game": "wasserstein", "clip": 0.03, "n_critic": 5},
    "Wasserstein, gradient penalty": BARE | {"game": "wasserstein", "gp": 10.0, "n_critic": 5},
}


def seen(recipe: Recipe, params: genjax.Params, features: Features, real: np.ndarray) -> tuple[float, float]:
    """(Frechet distance, coverage) of what these parameters draw."""
    shown = np.clip(recipe.show(draw(jax.jit(recipe.model.sample), params, np.arange(SAMPLES), None)), 0.0, 1.0)
    fake = features.apply(np.asarray(shown, np.float32))
    return frechet(real, fake), prdc(real, fake).coverage


def measured(name: str, data: Dataset, features: Features, real: np.ndarray, steps: int, seeds: list[int]) -> list[dict]:
    """The rows of one way to train."""
    recipe = load_recipe(ROOT / "configs" / "gan_games_digits.py").recipe(data.spec, steps=steps, **WAYS[name])
    plan, found = Plan(steps, recipe.batch, 0.0), []
    for seed in seeds:
        state = begun(recipe.model, plan, recipe.prepare, data, seed)
        state, minutes = trained(recipe.model, state, plan, recipe.prepare, data, seed)
        found.append((*seen(recipe, state.ema, features, real), seen(recipe, state.params, features, real)[0], minutes))
        print(name, seed, [round(number, 3) for number in found[-1]], flush=True)
    average, coverage, last, minutes = (list(column) for column in zip(*found, strict=True))
    about = dict(seeds=seeds, keywords=WAYS[name] | {"steps": steps}, source=features.name)
    note = f"{np.mean(minutes):.1f} processor minutes each; as trained {np.mean(last):.3g}"
    distance = row(name, "Frechet distance", average, note=note, **about)
    return [distance, row(name, "coverage", coverage, **about)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="rows to measure; the others stay")
    parser.add_argument("--dry", action="store_true", help="print only, write no result")
    args = parser.parse_args()
    data = load("digits")
    features = classifier(data)
    real = features.apply(shown_reals(data.spec, data.splits["train"].x))
    rows = [line for name in args.ways for line in measured(name, data, features, real, args.steps, args.seeds)]
    if not args.dry:
        whole = sorted(kept("games", rows), key=lambda line: list(WAYS).index(line["recipe"]))
        record("games", "Games and tricks of GANs on digits", "python -m benchmarks.games", whole)


if __name__ == "__main__":
    main()
