"""An edit in a VAE's codes that a diffusion draws (DiffuseVAE, 2201.00308): is it what was asked for, and does it look real?

    python train.py configs/diffuse_vae_digits.py
    python -m benchmarks.edits                      # a minute; writes results/pictures/edits_digits.png, too

Test digits of each class are moved towards each other class, by some amount of the difference of the two classes' mean codes of
training data. A classifier says how many are now of the class moved to; the Frechet distance of all of them, as the VAE decodes
and as the diffusion draws the same codes, says how real they look; the diffusion draws all of them from
one noise. The picture has an edit a row: from left to right the amounts, first as the VAE decodes, then as the diffusion draws.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.record import record, row
from genjax import tasks
from genjax.data import Dataset, load
from genjax.densities import gaussian
from genjax.families.vae import vae
from genjax.folder import read_json
from genjax.metrics.distance import frechet
from genjax.metrics.features import Features, classifier, shown_reals
from genjax.model import Batch, Model, as_batch
from genjax.nets import mlp
from genjax.report import picture
from genjax.trained import Trained, reopen

AMOUNTS, KEY = (0.0, 0.5, 1.0, 1.5), jax.random.key(0)


class Ways(NamedTuple):
    """Two models of the same codes and their parameters, by name."""

    run: Trained
    models: dict[str, tuple[Model, Any]]


def opened(folder: Path) -> Ways:
    """The recipe's model, and its VAE alone."""
    run, told = reopen(folder), read_json(folder / "config.json")
    shape, width, latent = tuple(told["spec"]["shape"]), told["knobs"]["width"], told["knobs"]["latent"]
    nets, likelihood = (mlp((width, width), (2 * latent,)), mlp((width, width), shape)), gaussian(told["knobs"]["spread"])
    draft = vae(*nets, (latent,), optax.sgd(0.0), likelihood=likelihood)
    params = run.state.ema
    return Ways(run, {"VAE": (draft, params["base"]), "diffusion": (run.recipe.model, params)})


def examples(run: Trained, data: Dataset, split: str, label: int) -> Batch:
    """Those of a class, as the model sees them."""
    some = data.splits[split]
    return as_batch(run.recipe.prepare(KEY, jnp.asarray(some.x[some.y == label])))


def edits(ways: Ways, data: Dataset, amount: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """({way: shown pictures (n, H, W, C)}, (n,) the class each was moved to), in the same order for every amount."""
    kinds, means, found, to = range(data.spec.classes), [], {name: [] for name in ways.models}, []
    model, params = ways.models["VAE"]
    means = [model.encode(params, KEY, examples(ways.run, data, "train", kind)).mean(0) for kind in kinds]
    for label in kinds:
        batch = examples(ways.run, data, "test", label)
        for other in [kind for kind in kinds if kind != label]:
            for name, (model, params) in ways.models.items():
                x = tasks.move(model, params, KEY, batch, means[other] - means[label], amount)
                found[name].append(np.clip(ways.run.recipe.show(np.asarray(x)), 0, 1))
            to.append(np.full(len(batch["x"]), other))
    return {name: np.concatenate(parts) for name, parts in found.items()}, np.concatenate(to)


def rows_of(name: str, amount: float, shown: np.ndarray, to: np.ndarray, real: np.ndarray, features: Features) -> list[dict]:
    """What an amount comes to, drawn in one way."""
    share, distance = float((features.classify(shown) == to).mean()), frechet(real, features.apply(shown))
    print(f"{name}, {amount}: {share:.3f} of the class, distance {distance:.2f}", flush=True)
    about = dict(seeds=[0], keywords={"amount": amount}, source=features.name, note=f"{len(to)} edits")
    recipe = f"diffuse_vae_digits, drawn by the {name}"
    return [row(recipe, "share of the class moved to", [share], **about), row(recipe, "Frechet distance", [distance], **about)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/diffuse_vae_digits"))
    args = parser.parse_args()
    ways, data = opened(args.run), load("digits")
    features = classifier(data)
    real, lines, seen = features.apply(shown_reals(data.spec, data.splits["train"].x)), [], []
    for amount in AMOUNTS:
        found, to = edits(ways, data, amount)
        seen.append(found)
        lines += [line for name, shown in found.items() for line in rows_of(name, amount, shown, to, real, features)]
    some = np.linspace(0, len(to) - 1, 8).astype(int)
    sheet = [found[name][k] for k in some for name in ways.models for found in seen]
    picture(Path("results/pictures/edits_digits.png"), np.stack(sheet))
    record("edits", "Edits in a VAE's codes, as it decodes and as a diffusion draws them", "python -m benchmarks.edits", lines)


if __name__ == "__main__":
    main()
