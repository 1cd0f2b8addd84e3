"""What a comparison is: its options, the recipes behind its names, and the plan, made once and kept in the folder.

plan.json   what was asked for, and of each model: recipe, knobs, steps, chunk, measured seconds a step
"""

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple

from genjax.checkpoint import warn, write_atomically
from genjax.config import ROOT, Positive, Recipe, Source, in_words, knob_class, load_recipe, shown
from genjax.data import Dataset
from genjax.data import names as data_sets
from genjax.folder import differences, read_json
from genjax.job import check, stored_example

MOMENTS = 8  # at which a learning curve is looked at


@dataclass(frozen=True)
class Options:
    """What is compared, and how.

    Attributes:
      data: data set of all models.
      data_dir: folder of the data files; the variable GENJAX_DATA where not given.
      models: with commas between: NAME for configs/NAME_DATA.py, or another configs/NAME_*.py where that does not exist; or the
        path of a recipe.
      grid: every autoencoder with every prior instead of --models, see `genjax.compare.grid`; those that make no sense are
        refused with the reason. Matched by time unless by params.
      hybrid: NAME of a recipe with `parents`: compares it with them instead of --models, and tells what it is worth; matched by
        time unless by params.
      match: params gives all the same number of parameters (knob `width`) and of training examples; time the same share of
        --minutes; none leaves the recipes as they are.
      minutes: of training, all models and seeds together; with --match time.
      seeds: how many each model is trained with, 0 to this less one.
      samples: that each seed is measured by at its end.
      curve_samples: that each point of a learning curve is measured by.
      features: classifier, trained on the data's labels, or raw values, or a file of Inception weights; empty for the first
        where there are labels and images.
      out: folder of the comparison; runs/compare_DATA where not given. The same command on an existing one goes on.
      debug: show the traceback of an error.
    """

    data: str = "digits"
    data_dir: str = ""
    models: str = "vae,gan,diffusion,vae_gan,latent_diffusion"
    grid: bool = False
    hybrid: str = ""
    match: Literal["params", "time", "none"] = "none"
    minutes: Positive = 8.0
    seeds: int = 5
    samples: int = 2000
    curve_samples: int = 500
    features: str = ""
    out: str = ""
    debug: bool = False


class Entry(NamedTuple):
    """One model of a comparison."""

    name: str
    source: Source
    knobs: dict[str, Any]
    recipe: Recipe
    chunk: int  # steps in one dispatch
    at_once: int = 0  # seeds in one program, as measured for the plan; 0: as many as fit
    rate: tuple[float, ...] = ()  # seconds a step of each stage, all `at_once` seeds together, likewise

    @property
    def total(self) -> int:
        return sum(self.recipe.steps)


def with_parents(options: Options) -> Options:
    """The options with the hybrid and its parents for models, and an equal budget."""
    if not options.hybrid:
        return options
    parents = load_recipe(recipe_of(options.hybrid, options.data)).parents
    if not parents:
        raise ValueError(f'--hybrid {options.hybrid}: its recipe names no parents; `parents = ("vae", "gan")` there would')
    return replace(options, models=",".join([options.hybrid, *parents]), match=budget(options))


def with_grid(options: Options) -> Options:
    """The options of a grid, with an equal budget; ValueError where they name other models besides."""
    if not options.grid:
        return options
    if options.hybrid or options.models != Options.models:
        raise ValueError("--grid compares every autoencoder with every prior; leave out --models and --hybrid")
    return replace(options, match=budget(options))


def budget(options: Options) -> str:
    """What a comparison of equals is matched by."""
    return "time" if options.match == "none" else options.match


# ---- recipes by name -------------------------------------------------------------------------------------------------


def entries(options: Options, data: Dataset) -> list[Entry]:
    """The models asked for, with the knobs' defaults."""
    names = [name.strip() for name in options.models.split(",") if name.strip()]
    if not names:
        raise ValueError("--models is empty; give names like vae,diffusion or paths of recipes, with commas between")
    found = [entry(name, data) for name in names]
    labels = [one.name for one in found]
    if repeated := [label for label in labels if labels.count(label) > 1]:
        raise ValueError(f"--models: {repeated[0]} is given {labels.count(repeated[0])} times; give it once")
    return found


def entry(name: str, data: Dataset) -> Entry:
    """A model with the defaults of its recipe; ValueError where that does not fit the data."""
    source = load_recipe(recipe_of(name, data.name))
    label = Path(name).stem if name.endswith(".py") else name
    return built(label, source, defaults(source), data)


def defaults(source: Source) -> dict[str, Any]:
    """The knobs of a recipe as its file has them."""
    return {knob: field.default for knob, field in knob_class(source).__dataclass_fields__.items()}


def built(name: str, source: Source, knobs: dict[str, Any], data: Dataset, **known: Any) -> Entry:
    """The recipe of these knobs, checked against the data."""
    try:
        recipe = source.recipe(data.spec, **knobs)
        check(recipe, data, stored_example(data.splits["train"]))
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"model {name} ({shown(source.path)}): {in_words(error)}") from error
    return Entry(name, source, knobs, recipe, **({"chunk": chunk_of(recipe)} | known))


def chunk_of(recipe: Recipe) -> int:
    """Steps in one dispatch: the recipe's, or fewer where its run is too short for a curve."""
    return max(1, min(recipe.chunk, sum(recipe.steps) // MOMENTS))


def recipe_of(name: str, data: str) -> Path:
    """The recipe's file: a path, this data set's own, or another data set's of that name."""
    if name.endswith(".py"):
        return Path(name)
    known = named()
    if name not in known:
        near = get_close_matches(name, known, 1, 0.0)
        raise ValueError(f"no model {name} in configs; did you mean {near[0]}? There are {', '.join(sorted(known))}")
    paths = {path.stem: path for path in known[name]}
    return paths.get(f"{name}_{data}") or paths.get(f"{name}_digits") or known[name][0]


def named() -> dict[str, list[Path]]:
    """{model: its recipes}, a recipe being configs/MODEL_DATA.py."""
    known: dict[str, list[Path]] = {}
    for path in sorted((ROOT / "configs").glob("*_*.py")):
        known.setdefault(model_of(path.stem), []).append(path)
    return known


def model_of(stem: str) -> str:
    """MODEL of MODEL_DATA, where DATA is a data set's whole name, or else the last word."""
    data = max((name for name in data_sets() if stem.endswith(f"_{name}")), key=len, default=stem.rpartition("_")[2])
    return stem.removesuffix(f"_{data}")


# ---- the folder --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(options: Options) -> Iterator[Path]:
    """The comparison's folder, which no other process may work on meanwhile."""
    folder = Path(options.out or f"runs/compare_{options.data}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise OSError(f"folder {folder} cannot be written: {error.strerror or error}; give another with --out") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go when the process dies
        except OSError:
            raise ValueError(f"another process compares in {folder}; wait for it, or give another --out") from None
        yield folder


def asked(options: Options, found: list[Entry]) -> dict[str, Any]:
    """What a comparison is, to tell it from another; a changed recipe is told of by `stored`."""
    told = ("data_dir", "out", "debug", "models", "hybrid", "grid", "minutes")  # elsewhere, or of no matter
    fields = {k: v for k, v in vars(options).items() if k not in told}
    fields["minutes"] = options.minutes if options.match == "time" else None
    return fields | {"models": [one.name for one in found]}


def store(folder: Path, asked: dict[str, Any], target: dict[str, Any], planned: list[Entry]) -> None:
    """Write the plan."""
    rows = [
        {"name": e.name, "recipe": shown(e.source.path), "sha256": sha256(e.source.path), "knobs": e.knobs,
         "steps": e.recipe.steps, "chunk": e.chunk, "at_once": e.at_once, "rate": e.rate}
        for e in planned
    ]  # fmt: skip
    write_atomically(folder / "plan.json", json.dumps({"asked": asked, "target": target, "models": rows}, indent=1) + "\n")


def stored(folder: Path, wanted: dict[str, Any], found: list[Entry], data: Dataset) -> tuple[dict, list[Entry]] | None:
    """(target, models) as planned before, or None in a new folder; ValueError where another comparison lives there."""
    path = folder / "plan.json"
    if not path.exists():
        return None
    plan = read_json(path)
    if different := differences(plan["asked"], json.loads(json.dumps(wanted)), "--"):
        raise ValueError(f"{folder} holds another comparison: {different}. Give another --out, or that one's own command")
    return plan["target"], [_restored(row, one, data) for row, one in zip(plan["models"], found, strict=True)]


def _restored(row: dict[str, Any], found: Entry, data: Dataset) -> Entry:
    if row["sha256"] != sha256(found.source.path):
        warn(f"{row['recipe']} has changed since this comparison began; if more than words did, begin anew with --out")
    knobs = {name: tuple(value) if isinstance(value, list) else value for name, value in row["knobs"].items()}
    known = {"chunk": row["chunk"], "at_once": row["at_once"], "rate": tuple(row["rate"])}
    return built(found.name, found.source, knobs, data, **known)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
