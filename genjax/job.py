"""A job: all that is decided and checked before the first step of a run."""

import json
import os
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.config import Command, Options, Recipe, in_words, load_recipe
from genjax.data import Dataset, Split, feed, load
from genjax.model import Batch, trained_by
from genjax.report import nbytes, size_of
from genjax.step import State, init, make_step, next_stage

ON_DEVICE = 2**30  # bytes of data that are kept on the device; more is read ahead from the host

Example = dict[str, tuple[tuple[int, ...], str]]  # {"x": (shape, dtype), "y": ...} of one stored example


class Job(NamedTuple):
    """A run to be."""

    name: str
    folder: Path
    source: Path  # the recipe's file
    recipe: Recipe
    data: Dataset
    options: Options  # resolved: no zeros that stand for a default
    identity: dict[str, Any]  # what the run is, as config.json holds it

    @property
    def split(self) -> Split:
        return self.data.splits["train"]

    @property
    def example(self) -> Example:
        return self.identity["example"]

    @property
    def total(self) -> int:
        return sum(self.recipe.steps)


def plan(command: Command) -> Job:
    """Load data and recipe; ValueError for all that can be known to be wrong before the first step."""
    source = load_recipe(command.path)
    data = load(command.options.data or source.data, command.options.data_dir or None)
    recipe = source.recipe(data.spec, **command.knobs)
    options = command.options
    if options.smoke:
        recipe, options = shrunk(recipe), replace(options, chunk=0, log_every=0, save_every=0)
    options = resolved(options, recipe)
    example = stored_example(data.splits["train"])
    check(recipe, data, example)
    name = source.path.stem
    identity = {"recipe": name, "knobs": command.knobs, "data": data.name, "seed": options.seed, "smoke": options.smoke}
    identity |= {"steps": recipe.steps, "batch": recipe.batch, "chunk": options.chunk, "log_every": options.log_every}
    identity |= {"spec": data.spec._asdict(), "example": example}
    return Job(name, run_folder(options, name), source.path, recipe, data, options, json.loads(json.dumps(identity)))


def run_folder(options: Options, name: str) -> Path:
    folder = Path(options.run) if options.run else Path("runs") / name
    return folder.with_name(f"{folder.name}-smoke") if options.smoke else folder


def shrunk(recipe: Recipe) -> Recipe:
    """The recipe of --smoke."""
    batch = min(recipe.batch, 8 * len(jax.devices()))
    return recipe._replace(steps=tuple(min(n, 20) for n in recipe.steps), batch=batch, chunk=10)


def resolved(options: Options, recipe: Recipe) -> Options:
    """Options with a number in place of each zero that stands for a default."""
    total, chunk = sum(recipe.steps), options.chunk or recipe.chunk
    if options.log_every > chunk:
        raise ValueError(f"--log-every {options.log_every}: a line averages at most the {chunk} steps of a chunk; see --chunk")
    about = max(1, min(total // 300, chunk))
    log_every = options.log_every or next(n for n in range(about, 0, -1) if chunk % n == 0)
    save_every = round_up(options.save_every or round_up(total, 10) // 10, chunk)
    return replace(options, chunk=chunk, log_every=log_every, save_every=save_every)


def round_up(number: int, to: int) -> int:
    """The next multiple."""
    return -(-number // to) * to


def stored_example(split: Split) -> Example:
    """Shape and dtype of one stored example, enough to rebuild a state without the data."""
    x = (tuple(split.x.shape[1:]), np.dtype(split.x.dtype).name)
    return {"x": x} if split.y is None else {"x": x, "y": (tuple(split.y.shape[1:]), "int32")}


def check(recipe: Recipe, data: Dataset, example: Example) -> None:
    """Refuse a recipe that cannot train on these data and devices."""
    devices = len(jax.devices())
    if len(recipe.steps) != len(recipe.model.stages):
        raise ValueError(f"the recipe gives steps for {len(recipe.steps)} stages, its model has {len(recipe.model.stages)}")
    if idle := [number for number, stage in enumerate(recipe.model.stages) if not trained_by(stage)]:
        raise ValueError(f"stage {idle[0]} of the recipe's model trains nothing: give the model to a combinator that trains "
                         "it, as by a critic, or leave the stage out")  # fmt: skip
    if recipe.batch % devices:
        near = max(1, round(recipe.batch / devices)) * devices
        raise ValueError(f"a batch of {recipe.batch} does not divide over {devices} devices; make it {near}")
    try:
        needed = sum(memory_needed(recipe, data.splits["train"], example).values())
        trace(recipe, example)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"the recipe does not fit {data.name} {data.spec}: {in_words(error)}") from error
    if needed > (there := device_memory()):
        raise ValueError(f"training needs about {nbytes(needed)}, the device has {nbytes(there)}; make batch or nets smaller")


# ---- shapes and bytes, without computing anything -----------------------------------------------------------------------


def abstract_state(recipe: Recipe, example: Example, stage: int = 0) -> State:
    """The state's shapes and dtypes at some stage."""
    state = jax.eval_shape(partial(init, recipe.model), abstract_key(), abstract_batch(recipe, example))
    return jax.eval_shape(partial(next_stage, recipe.model, stage=stage), state) if stage else state


def abstract_key() -> jax.ShapeDtypeStruct:
    return jax.eval_shape(lambda: jax.random.key(0))


def abstract_batch(recipe: Recipe, example: Example) -> Batch:
    """Shapes and dtypes of a prepared batch."""
    data = {name: jax.ShapeDtypeStruct((recipe.batch, *shape), jnp.dtype(dtype)) for name, (shape, dtype) in example.items()}
    return jax.eval_shape(feed(recipe.prepare), data, abstract_key(), jax.ShapeDtypeStruct((recipe.batch,), jnp.int32))


def trace(recipe: Recipe, example: Example) -> None:
    """Run the shapes through every stage's step and through the sampler, so that none fails hours later."""
    batch = abstract_batch(recipe, example)
    for stage in range(len(recipe.model.stages)):
        jax.eval_shape(make_step(recipe.model, stage), abstract_state(recipe, example, stage), batch)
    keys, params = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2)), abstract_state(recipe, example).params
    y = labels(recipe, np.arange(2))
    jax.eval_shape(recipe.model.sample, params, keys, *(() if y is None else (y,)))


def labels(recipe: Recipe, seeds: np.ndarray, label: int | None = None, caption: str = "") -> np.ndarray | None:
    """What samples are told: all the same label or caption, or each seed its own in turn; None for a model of neither."""
    if recipe.read_caption is None and caption:
        raise ValueError("this model takes no caption; leave --caption out")
    if recipe.read_caption is not None and label is None:
        rows = np.stack([recipe.read_caption(text) for text in ((caption,) if caption else recipe.captions)])
        return rows[seeds % len(rows)]
    if not recipe.classes:
        if label is not None:
            raise ValueError("this model takes no labels; leave --label out")
        return None
    if label is not None and not 0 <= label < recipe.classes:
        raise ValueError(f"--label {label}: labels are 0 .. {recipe.classes - 1}")
    return (seeds % recipe.classes if label is None else np.full(len(seeds), label)).astype(np.int32)


def data_bytes(split: Split) -> int:
    return prod(split.x.shape) * np.dtype(split.x.dtype).itemsize


def memory_needed(recipe: Recipe, split: Split, example: Example) -> dict[str, int]:
    """Bytes by purpose, without the activations, which only the compiler knows."""
    states = [abstract_state(recipe, example, stage) for stage in range(len(recipe.model.stages))]
    return {
        "parameters": size_of(states[0].params),
        "their average": size_of(states[0].ema),
        "gradients": size_of(states[0].params),
        "optimizer": max(size_of(state.opt) for state in states),
        "memory rows": size_of(states[0].memory),
        "data": min(data_bytes(split), ON_DEVICE),
        "batch": recipe.batch * prod(split.x.shape[1:]) * 4,
    }


def device_memory() -> int:
    """Bytes of one device; of the machine where the device does not tell."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
