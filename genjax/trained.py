"""A trained run: read back from its folder, and sampled from, one key a sample."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.checkpoint import Checkpoints
from genjax.config import Recipe, load_recipe
from genjax.data import spec_from
from genjax.folder import read_json
from genjax.job import abstract_state
from genjax.pieces import stage_at
from genjax.step import State


class Trained(NamedTuple):
    """What a run came to."""

    recipe: Recipe
    step: int
    state: State


def reopen(folder: Path) -> Trained:
    """Rebuild the model from a run's folder and restore its newest whole checkpoint; the data are not needed."""
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is no run, it has no config.json; train one with: python train.py --run {folder}")
    identity = read_json(folder / "config.json")
    knobs = {name: tuple(value) if isinstance(value, list) else value for name, value in identity["knobs"].items()}
    recipe = load_recipe(folder / "recipe.py").recipe(spec_from(identity["spec"]), **knobs)
    recipe = recipe._replace(steps=tuple(identity["steps"]), batch=identity["batch"])
    found = Checkpoints(folder, read_only=True).restore(partial(_target, recipe, identity["example"]))
    if found is None:
        raise ValueError(f"{folder} has no finished checkpoint yet; let it train on")
    return Trained(recipe, *found)


def _target(recipe: Recipe, example: dict, done: int) -> State:
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    state = abstract_state(recipe, example, stage_at(recipe.steps, done))
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), state)


def draw(sample: Callable, params: Any, seeds: np.ndarray, y: np.ndarray | None, at_once: int = 64) -> np.ndarray:
    """(len(seeds), ...) samples, each from its own key. Always `at_once` in one call, so one program serves any number."""
    parts = []
    for first in range(0, len(seeds), at_once):
        chosen = np.resize(np.arange(first, min(first + at_once, len(seeds))), at_once)  # the last call repeats some
        keys = jax.vmap(jax.random.key)(jnp.asarray(seeds[chosen], jnp.uint32))
        parts.append(np.asarray(sample(params, keys) if y is None else sample(params, keys, y[chosen])))
    return np.concatenate(parts)[: len(seeds)]


def seed_list(text: str) -> np.ndarray:
    """0-63, 7 or 1,5,8-11 as an array."""
    try:
        ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
        seeds = [range(first, last + 1) for first, last in ((part[0], part[-1]) for part in ends if len(part) < 3)]
        if len(seeds) < len(ends) or not all(0 < len(some) <= 10**6 and some[-1] < 2**32 for some in seeds):
            raise ValueError
    except ValueError:
        raise ValueError(f"--seeds {text}: give numbers or rising ranges below 2^32, like 0-63 or 1,5,8-11") from None
    return np.concatenate([np.asarray(some, np.uint32) for some in seeds])
