"""What a comparison says of each model: a quick look at each moment, everything at the end, and the whole as one record."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from genjax import report
from genjax.checkpoint import warn, write_atomically
from genjax.compare.course import BAD_STEPS, Course, Look
from genjax.compare.match import parameters
from genjax.compare.plan import Entry, Options
from genjax.compare.seeds import parameters_of
from genjax.config import Recipe, shown
from genjax.data import Dataset
from genjax.evaluate import METRICS, features_of, measure
from genjax.folder import read_json
from genjax.job import labels
from genjax.metrics.features import Features, shown_reals
from genjax.model import Params
from genjax.run import PICTURED
from genjax.trained import draw

MOST = 10_000  # reals that a learning curve is held against
ONCE = "speed"  # the same for every seed


# ---- where it is measured ----------------------------------------------------------------------------------------------


class Space(NamedTuple):
    """A feature space, and the real examples in it that learning curves are held against."""

    features: Features
    reals: np.ndarray  # (n, d)


def space(options: Options, data: Dataset) -> Space:
    """The features asked for; ValueError where they are more than the samples."""
    features = features_of(options.features, data)
    found = Space(features, features.apply(reals(data, MOST)))
    for name, number in (("samples", options.samples), ("curve-samples", options.curve_samples)):
        if number <= (d := found.reals.shape[1]):
            raise ValueError(f"--{name} {number}: a covariance of {d} features needs at least {d + 1} samples")
    return found


def reals(data: Dataset, count: int) -> np.ndarray:
    """The first real examples, as recipes show them."""
    rows = data.splits["train"].x
    return shown_reals(data.spec, rows[np.arange(min(count, len(rows)))])


# ---- at a moment -----------------------------------------------------------------------------------------------------


def looker(recipe: Recipe, features: Features, reals: np.ndarray, count: int) -> Look:
    """state -> the Frechet distance of each seed's samples 0 .. count - 1 from the reals; None where they are not finite.

    Args:
      reals: (n, d) features of real examples.
    """
    from genjax.metrics.distance import frechet

    sample, seeds = jax.jit(recipe.model.sample), np.arange(count)

    def one(params: Params) -> float | None:
        x = np.asarray(recipe.show(draw(sample, params, seeds, labels(recipe, seeds))))
        x = np.clip(x, 0, 1) if x.ndim == 4 else x  # as `measure` does with images
        return float(frechet(reals, features.apply(x))) if np.isfinite(x).all() else None

    return lambda state: [one(parameters_of(state, number)) for number in range(len(state.skipped))]


# ---- at the end ------------------------------------------------------------------------------------------------------


def measured(entry: Entry, course: Course, data: Dataset, features: Features, samples: int, folder: Path) -> list[dict]:
    """What `genjax.evaluate.measure` says of each seed of a course, kept as FOLDER/seed_0.json and so on."""
    said = []
    for number, seed in enumerate(course.seeds):
        path = folder / f"seed_{seed}.json"
        if not path.exists():
            params = parameters_of(course.state, number)
            why = diverged(entry.recipe, params, course.curve[-1]["streak"][number])
            of = {"samples": samples, "features": features, "seed": seed, "wanted": wanted(folder)}
            found = {"diverged": why} if why else measure(entry.recipe, params, data, **of)
            write_atomically(path, json.dumps({"seed": seed} | found) + "\n")
        said.append(read_json(path))
    return said


def diverged(recipe: Recipe, params: Params, streak: int) -> str:
    """Why a seed's numbers mean nothing, or an empty string."""
    if streak >= BAD_STEPS:
        return f"{streak} steps in a row with a loss or gradient that was not finite"
    x = draw(jax.jit(recipe.model.sample), params, PICTURED, labels(recipe, PICTURED))
    finite = np.isfinite(x).all() and all(bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(params))
    return "" if finite else "parameters or samples that are not finite"


def wanted(folder: Path) -> tuple[str, ...] | None:
    """None, for everything, of the first seed; of the others all but what is the same for every seed."""
    first = next((one for path in sorted(folder.glob("seed_*.json")) if "metrics" in (one := read_json(path))), None)
    if first is None:
        return None
    there = {"likelihood": first["likelihood"] is not None, "modes": "modes" in first["metrics"], ONCE: False}
    return tuple(name for name in METRICS if there.get(name, True))


def judged(entry: Entry, found: list[Course], said: list[dict], data: Dataset, picture: str) -> dict[str, Any]:
    """One model's part of comparison.json."""
    good = next((one for one in said if "metrics" in one), {"metrics": {}, "speed": {}})
    speed = good["speed"] or {}
    return {
        "name": entry.name,
        "recipe": shown(entry.source.path),
        "about": (entry.source.about.splitlines() or [""])[0],
        "knobs": entry.knobs,
        "parameters": parameters(entry, data),
        "steps": list(entry.recipe.steps),
        "train_seconds": round(sum(course.curve[-1]["seconds"] for course in found), 3),
        "compile_seconds": round(found[0].compile_seconds, 3),
        "seeds_at_once": len(found[0].seeds),
        "diverged": sum("diverged" in one for one in said),
        "collapsed": sum(bool(one.get("flags")) for one in said),
        "flags": [one.get("flags") or ([one["diverged"]] if "diverged" in one else []) for one in said],
        "evaluations": evaluations(speed),
        "samples_per_second": speed.get("samples_per_second"),
        "memory_bytes": speed.get("memory"),
        "likelihood": likelihood(said),
        "metrics": {name: [value_of(one, name) for one in said] for name in good["metrics"]},
        "curve": joined(found),
        "picture": picture,
    }


def evaluations(speed: dict[str, Any]) -> float | str | None:
    """Network evaluations a sample, "at least n" where a loop hides its count."""
    number = speed.get("evaluations")
    number = int(number) if number is not None and number == int(number) else number
    return f"at least {number}" if speed.get("at_least") else number


def value_of(said: dict[str, Any], name: str) -> float | None:
    """A metric of a seed, None where it has none or one that is not finite: JSON knows no NaN."""
    value = said.get("metrics", {}).get(name, {}).get("value")
    return value if value is not None and math.isfinite(value) else None


def likelihood(said: list[dict]) -> dict[str, Any] | None:
    """Nats and bits of each seed, and what kind of number they are."""
    there = [one.get("likelihood") or {} for one in said]
    if not any(there):
        return None
    first = next(one for one in there if one)
    bits = [one.get("bits") for one in there]
    told = {"convention": first["convention"], "split": first["split"], "nats": [one.get("nats") for one in there]}
    return told | {"bits": bits if any(b is not None for b in bits) else None}


def joined(found: list[Course]) -> list[dict[str, Any]]:
    """The learning curve of all seeds: of groups trained one after the other, the seconds add up."""
    rows = zip(*[course.curve for course in found], strict=True)
    return [
        {
            "step": parts[0]["step"],
            "seconds": round(sum(part["seconds"] for part in parts), 3),
            "frechet": [v if v is None or math.isfinite(v) else None for part in parts for v in part["frechet"]],
        }
        for parts in rows
    ]


def beside(said: list[dict[str, Any]]) -> dict[str, Any]:
    """The floor, the self-score and the n of each metric, which are of the data and the same for all models."""
    first = next((one for one in said if "metrics" in one), {"metrics": {}})["metrics"]
    sizes = ("n", "n_floor", "n_self")
    of = lambda field: {name: value[field] for name, value in first.items() if field in value}
    return {"floor": of("floor"), "self": of("self"), "n": {name: {s: v.get(s) for s in sizes} for name, v in first.items()}}


# ---- pictures --------------------------------------------------------------------------------------------------------


def pictured(path: Path, make: Callable[[], np.ndarray]) -> str:
    """Draw examples into a picture beside the record; its name there, or "" where it cannot be drawn."""
    try:
        report.picture(path, np.nan_to_num(make()))
    except (ImportError, OSError, ValueError) as error:
        warn(f"{path.name} is not drawn: {error}")
        return ""
    return f"{path.parent.name}/{path.name}"


def samples_of(entry: Entry, course: Course) -> np.ndarray:
    """64 samples of the first seed, as they are shown."""
    sample = jax.jit(entry.recipe.model.sample)
    return np.asarray(entry.recipe.show(draw(sample, parameters_of(course.state, 0), PICTURED, labels(entry.recipe, PICTURED))))
