"""Measure a trained run.

    python -m genjax.evaluate runs/x                                   all that its model and its data allow
    python -m genjax.evaluate runs/x --metrics frechet,prdc --samples 5000
    python -m genjax.evaluate runs/x --features weights.pth            distances in Inception-V3's features: FID

Numbers go into the run's result.json and, with --record, into RESULTS.md. Each metric of samples is shown beside its floor and
its self-score, see `genjax.metrics.against`.
"""

import math
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from genjax.config import Recipe, one_line, parse_into, split_run, use_compilation_cache
from genjax.data import Dataset, identity, load, spec_from
from genjax.folder import read_json
from genjax.job import labels
from genjax.metrics import against
from genjax.metrics.features import Features, classifier, raw
from genjax.metrics.likelihood import likelihood, scorer
from genjax.metrics.speed import speed
from genjax.metrics.told import keep, record, table
from genjax.model import Params
from genjax.trained import Trained, draw, reopen

METRICS = ("likelihood", "frechet", "kernel", "prdc", "ndb", "modes", "collapse", "speed")
OF_SAMPLES = METRICS[1:-1]


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
      metrics: some of likelihood, frechet, kernel, prdc, ndb, modes, collapse, speed, with commas; all by default.
      samples: drawn for the metrics of samples, from seeds 0, 1, 2 ...
      features: the space of distances: classifier, raw, or a file of Inception-V3 weights. A classifier where there are labels.
      seed: of the metrics' own draws.
      weights: the running average (ema) or the parameters themselves (last). The average where the run keeps one.
      split: the reals that samples are held against; the other splits give the self-score.
      draws: K of the bound where a model has no exact likelihood.
      data_dir: folder of the data files; the variable GENJAX_DATA where not given.
      record: also write the numbers to results/evaluations.json, from which RESULTS.md is made.
      debug: show the traceback of an error.
    """

    metrics: str = ""
    samples: int = 10_000
    features: str = ""
    seed: int = 0
    weights: Literal["kept", "ema", "last"] = "kept"
    split: str = "train"
    draws: int = 100
    data_dir: str = ""
    record: bool = False
    debug: bool = False


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    with one_line(debug="--debug" in arguments):
        folder, rest = split_run(arguments, Options)
        options = parse_into({"evaluate": Options}, rest, "python -m genjax.evaluate runs/x", __doc__)["evaluate"]
        wanted = tuple(options.metrics.replace(" ", "").split(",")) if options.metrics else None
        check_names(wanted or ())
        use_compilation_cache()
        run = reopen(folder)
        which, params = weights_of(run, options.weights, folder)
        data = data_of(read_json(folder / "config.json"), options.data_dir)
        features = features_of(options.features, data)
        found = measure(
            run.recipe, params, data, samples=options.samples, features=features, seed=options.seed, wanted=wanted,
            split=options.split, draws=options.draws,
        )  # fmt: skip
        found = keep(folder, {"step": run.step, "weights": which} | found)
        print(table(found))
        if options.record:
            print(f"recorded in {record(folder, found)}")
    return 0


# ---- what is measured with what --------------------------------------------------------------------------------------


def weights_of(run: Trained, which: str, folder: Path) -> tuple[str, Params]:
    """("ema" or "last", the parameters); ValueError for an average that the run does not keep."""
    kept = run.recipe.ema_decay > 0
    if which == "ema" and not kept:
        raise ValueError(f"{folder} keeps no running average (its recipe has ema_decay 0): give --weights last")
    which = {"kept": "ema" if kept else "last"}.get(which, which)
    return which, run.state.ema if which == "ema" else run.state.params


def data_of(config: dict[str, Any], data_dir: str) -> Dataset:
    """The data set of a run, as it was."""
    data = load(config["data"], data_dir or None)
    if data.spec != (then := spec_from(config["spec"])):
        raise ValueError(
            f"{data.name} is {data.spec} now, but was {then} when the run was trained; give the --data-dir of then"
        )
    return data


def features_of(name: str, data: Dataset) -> Features:
    """The space that is named; by default a classifier where there are labels, else the raw values."""
    name = name or ("classifier" if data.spec.classes else "raw")
    if name in ("raw", "classifier"):
        return raw() if name == "raw" else classifier(data)
    if not Path(name).is_file():
        raise ValueError(f"--features {name}: give classifier, raw, or a file of Inception-V3 weights; there is no such file")
    from genjax.metrics.inception import inception

    return inception(Path(name))


def check_names(wanted: tuple[str, ...]) -> None:
    for name in wanted:
        if name not in METRICS:
            near = get_close_matches(name, METRICS, 1, 0.0)[0]
            raise ValueError(f"there is no metric {name!r}; did you mean {near}? There are {', '.join(METRICS)}")


# ---- measuring -------------------------------------------------------------------------------------------------------


def measure(
    recipe: Recipe,
    params: Params,
    data: Dataset,
    *,
    samples: int,
    features: Features,
    seed: int = 0,
    wanted: tuple[str, ...] | None = None,
    split: str = "train",
    draws: int = 100,
) -> dict[str, Any]:
    """Everything wanted of one model, ready for JSON.

    Args:
      recipe: of the model.
      params: what it samples with.
      data: what it was trained on.
      samples: how many are drawn, from seeds 0 .. samples - 1.
      features: the space of distances and neighbours.
      seed: of the metrics' own draws: halves of the reals, subsets, noise of a bound.
      wanted: of METRICS; None for all that this model and these data allow, and what they do not is left out.
      split: the reals that samples are held against; all other splits stand as samples for the self-score.
      draws: K of a likelihood's bound.

    Returns:
      {"data", "split", "samples", "seed", "features": {"name", **about},
       "metrics": {NAME: {"label", "value", "floor", "self", "better": "lower" | "higher" | "near 1", "space",
                          "n": [reals, samples], "n_floor": [half, half], "n_self": [reals, held out]}},
       "likelihood": {"nats", "bits", "error", "convention", "split", "n", "entropy"} or None,
       "flags": [sentences of the collapse score],
       "speed": what `genjax.metrics.speed.speed` returns}, each only where wanted; numbers that cannot be had are None.
      NAME is frechet, kernel, precision, recall, density, coverage, ndb, js, modes, quality, reverse_kl, spread_ratio,
      duplicates, missing and, of a model that is given labels in a classifier's features, agreement.

    Raises:
      ValueError: an unknown metric, one asked for by name that cannot be had, samples that are not finite or too few.
    """
    check_names(wanted or ())
    lacking = {name: why for name in wanted or METRICS if (why := lacks(name, recipe, data, features, split))}
    if wanted and lacking:
        raise ValueError("; ".join(lacking.values()))
    names = [name for name in wanted or METRICS if name not in lacking]
    found = {"data": data.name, "split": split, "samples": samples, "seed": seed}
    found |= {"features": {"name": features.name} | features.about, "metrics": {}}
    if any(name in OF_SAMPLES for name in names):
        found |= of_samples(recipe, params, data, samples, features, seed, names, split)
    if "likelihood" in (wanted or METRICS):
        found["likelihood"] = of_test(recipe, params, data, seed, draws)
    if "speed" in names:
        found["speed"] = speed(recipe.model, params, y=labels(recipe, np.arange(1)))
    return finite(found)


def lacks(name: str, recipe: Recipe, data: Dataset, features: Features, split: str) -> str:
    """Why a metric cannot be had of this model on these data, or nothing."""
    if name == "likelihood" and scorer(recipe.model, 1) is None:
        return "likelihood needs a model with `log_prob` or `bound`, and this one has neither: leave it out of --metrics"
    if name == "modes" and not against.has_modes(data.name):
        return f"modes are counted on toys of Gaussians around points, ring and grid, not on {data.name}"
    if name == "frechet" and split in data.splits:
        x = data.splits[split].x
        rows, long = min(len(x), against.most(data)), features.apply(against.shown_reals(data.spec, x[:2])).shape[1]
        if rows <= long:
            return (f"the {rows} rows of split {split!r} are too few for the covariance of {long} features: "
                    "take another --features, or leave frechet out of --metrics")  # fmt: skip
    return ""


def of_samples(
    recipe: Recipe, params: Params, data: Dataset, samples: int, features: Features, seed: int, names: list[str], split: str
) -> dict[str, Any]:
    """Metrics of drawn samples against reals."""
    reals = against.reals(data, split, samples, seed)
    long = features.apply(reals.reference[:2]).shape[1]
    if "frechet" in names and samples <= long:
        raise ValueError(f"--samples {samples} are too few for the covariance of {long} features: draw {long + 1} or more")
    shown, y = drawn(recipe, params, samples)
    of = against.clouds(features, reals, shown)
    values = of if features.name == "raw" else against.clouds(raw(), reals, shown)
    rows, flags = {}, None
    if "frechet" in names:
        rows |= against.distances(of)
    if "kernel" in names:
        rows |= against.kernels(of, seed)
    if "prdc" in names:
        rows |= against.neighbours(of)
    if "ndb" in names:
        rows |= against.binned(values, seed)
    if "modes" in names:
        rows |= against.of_modes(values, data.name)
    if "collapse" in names:
        more, flags = against.collapsed(of, seed)
        rows |= more
    if y is not None and y.ndim == 1 and features.classify:
        rows |= against.agreement(features, shown, y, reals)
    return {"metrics": rows} | ({} if flags is None else {"flags": flags})


def drawn(recipe: Recipe, params: Params, samples: int) -> tuple[np.ndarray, np.ndarray | None]:
    """(samples as they are shown, images cut to [0, 1]; their labels); ValueError where one is not finite."""
    seeds = np.arange(samples)
    y = labels(recipe, seeds)
    shown = np.asarray(recipe.show(draw(jax.jit(recipe.model.sample), params, seeds, y)), np.float32)
    bad = np.flatnonzero(~np.isfinite(shown.reshape(samples, -1)).all(1))
    if len(bad):
        raise ValueError(f"{len(bad)} of {samples} samples are not finite, the first that of seed {bad[0]}: look for the step "
                         "at which training went wrong, or begin anew with a lower learning rate")  # fmt: skip
    return (np.clip(shown, 0, 1) if shown.ndim == 4 else shown), y


def of_test(recipe: Recipe, params: Params, data: Dataset, seed: int, draws: int) -> dict[str, Any] | None:
    """Likelihood of the whole test split, or None for a model that has none."""
    split = data.splits["test"]
    found = likelihood(recipe.model, params, split, recipe.prepare, cell=recipe.cell, draws=draws, seed=seed)
    if found is None:
        return None
    numbers = {"nats": found.nats, "bits": found.bits, "error": found.error}
    told = ", given the label" if recipe.classes else ", given the caption" if recipe.captions else ""
    entropy = data.entropy if recipe.prepare is identity else None
    return numbers | {"convention": found.convention + told, "split": "test", "n": len(found.each), "entropy": entropy}


def finite(found: Any) -> Any:
    """The same with None for numbers that JSON has no word for."""
    if isinstance(found, dict):
        return {name: finite(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [finite(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
