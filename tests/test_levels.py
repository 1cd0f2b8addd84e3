"""Levels: the data keep their promises, the reward agrees with a search in plain Python, a broken reward is told."""

import json
from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.config import ROOT, parse
from genjax.data import levels as module
from genjax.data import load
from genjax.data.levels import GOAL, LEAST, START, WALL, coloured, moves, solvable
from genjax.job import plan
from genjax.run import train

RECIPE = ROOT / "configs" / "rewarded_levels.py"
SMALL = ["--smoke", "--width", "4", "--depth", "1", "--batch", "8"]


def searched(tile: np.ndarray) -> int:
    """Least moves by breadth-first search; 0 where there is no way, or not one start and one goal."""
    starts, goals = (list(map(tuple, np.argwhere(tile == kind))) for kind in (START, GOAL))
    if len(starts) != 1 or len(goals) != 1:
        return 0
    seen, queue = {starts[0]: 0}, deque(starts)
    while queue:
        i, j = here = queue.popleft()
        for at in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            inside = 0 <= at[0] < tile.shape[0] and 0 <= at[1] < tile.shape[1]
            if inside and at not in seen and tile[at] != WALL:
                seen[at] = seen[here] + 1
                queue.append(at)
    return seen.get(goals[0], 0)


@pytest.fixture(scope="module")
def tiles() -> np.ndarray:
    """All levels."""
    return np.concatenate([split.x[..., 0] for split in load("levels").splits.values()])


# ---- the data -------------------------------------------------------------------------------------------------------------


def test_levels_have_one_start_one_goal_and_a_way(tiles):
    ways = [searched(tile) for tile in tiles[::10]]
    assert min(ways) >= LEAST and np.ptp(ways) > 10
    assert (jax.jit(moves)(jnp.asarray(tiles[..., None] / np.float32(3))) >= LEAST).all()
    assert len({tile.tobytes() for tile in tiles}) == len(tiles) == 6000
    for kind in (START, GOAL):
        assert (tiles == kind).any(0)[::2, ::2].all()  # in every room


def test_levels_are_the_same_each_time():
    dataset = load("levels")
    again = module.levels.__wrapped__()
    assert dataset.spec[:3] == ((7, 7, 1), 4, 0) and dataset.splits["train"].x.dtype == np.uint8
    assert [len(dataset.splits[name].x) for name in ("train", "valid", "test")] == [4800, 600, 600]
    for name, split in dataset.splits.items():
        assert np.array_equal(split.x, again.splits[name].x)


def test_trees_are_lightest_and_mazes_join_all_rooms():
    rng = np.random.default_rng(0)
    a, b = np.array([0, 1, 2, 0, 0]), np.array([1, 2, 3, 3, 2])
    weight = rng.random((50, 5))
    got = module.spanning_trees(weight, a, b)
    for row, tree in zip(weight, got, strict=True):
        chosen, part = np.zeros(5, bool), list(range(4))  # Kruskal: lightest first, unless its ends are joined already
        for k in np.argsort(row):
            if part[a[k]] != part[b[k]]:
                chosen[k], old = True, part[b[k]]
                part = [part[a[k]] if each == old else each for each in part]
        assert np.array_equal(tree, chosen)
    wall = module.mazes(rng, 20)
    first = np.zeros(wall.shape, bool)
    first[:, 0, 0] = True
    assert (module.distances(~wall, first)[:, ::2, ::2] >= 0).all() and wall[:, 1::2, 1::2].all()


# ---- the reward -------------------------------------------------------------------------------------------------------------


def test_the_reward_agrees_with_a_search(tiles):
    rng = np.random.default_rng(1)
    some = tiles[:140].copy()
    some[40:80][rng.random((40, 7, 7)) < 0.1] = WALL  # also over starts and goals
    some[80:110][rng.random((30, 7, 7)) < 0.01] = GOAL
    some[110:140][rng.random((30, 7, 7)) < 0.01] = START
    loose = rng.choice(4, (60, 7, 7), p=(0.68, 0.3, 0.01, 0.01))
    for part in (some, loose, rng.choice(4, (200, 2, 3))):
        ways = np.array([searched(tile) for tile in part])
        x = jnp.asarray(part[..., None] / np.float32(3))
        assert np.array_equal(jax.jit(moves)(x), ways)
        assert np.array_equal(jax.jit(solvable)(x), (ways > 0).astype(np.float32))
        assert 0 < (ways > 0).mean() < 1


def test_a_way_may_wind_through_the_whole_level():
    tile = np.zeros((11, 11), int)
    tile[1::4, :-1] = tile[3::4, 1:] = WALL
    tile[0, 0], tile[10, 0] = START, GOAL
    assert searched(tile) == 70 == moves(jnp.asarray(tile[None, ..., None] / 3))[0]


def test_pictures_tell_the_tiles_apart():
    shown = np.asarray(coloured(jnp.arange(4).reshape(1, 2, 2, 1) / 3))
    assert shown.shape == (1, 2, 2, 3) and shown.min() >= 0 and shown.max() <= 1
    assert len(np.unique(shown.reshape(4, 3), axis=0)) == 4


# ---- the recipe -------------------------------------------------------------------------------------------------------------


def test_the_recipe_runs(tmp_path):
    job = plan(parse([str(RECIPE), *SMALL, "--run", str(tmp_path / "run")]))
    assert train(job) == 0
    assert (job.folder / "reals.png").exists() and list((job.folder / "samples").glob("*.png"))


BROKEN = '''"""A point in the plane, and a reward that is NaN for some."""
import jax.numpy as jnp, optax
from genjax.config import Recipe
from genjax.data import identity
from genjax.hybrids.rewarded import filtered, likelihood, rewarded
from genjax.model import Loss, Model, Phase, normal
data = "moons"
def recipe(spec, retrain: bool = False) -> Recipe:
    """A toy."""
    log_prob = lambda params, batch: -((batch["x"] - params["mean"]) ** 2).sum(1)
    fit = Phase("fit", lambda params, key, batch: Loss(-log_prob(params, batch).mean()), ("mean",), optax.sgd(0.1))
    sample = lambda params, keys, y=None: params["mean"] + normal(keys, (2,))
    model = Model(lambda key, batch: {"mean": jnp.zeros(2)}, ((fit,),), sample, ("mean",), log_prob=log_prob)
    reward = lambda x, y=None: jnp.where(x[:, 0] > 0, jnp.nan, 1.0)
    return Recipe(rewarded(model, reward, optax.sgd(0.1), filtered() if retrain else likelihood()), (10, 20), 32,
                  identity, lambda x: x, chunk=10)
'''


@pytest.mark.parametrize("knob", [[], ["--retrain"]], ids=["likelihood", "filtered"])
def test_a_reward_that_is_not_finite_is_named(knob, tmp_path, capsys):
    (tmp_path / "broken.py").write_text(BROKEN)
    job = plan(parse([str(tmp_path / "broken.py"), *knob, "--run", str(tmp_path / "run")]))
    assert train(job) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "10 steps in a row, the last at step 19 in reward, where reward/reward " in said
    assert " not finite either, on rows" in said and "look at what gives reward/reward, whether" in said
    stopped = json.loads((job.folder / "result.json").read_text())["stopped"]
    assert stopped["phases"] == ["reward"] and "reward/reward" in stopped["metrics"]
    assert not {"reward/loss", "reward/grad_norm", "reward/skipped"} & set(stopped["metrics"])
