"""The README's code runs, its links lead somewhere, and its picture is there."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import genjax
from genjax.data import load
from genjax.model import as_batch

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_own_family_and_own_hybrid_train():
    blocks = [block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "def " in block]
    names: dict = {}
    for block in blocks:
        exec(block, names)
    data = load("grid")
    recipe = names["recipe"](data.spec)
    assert recipe.model.log_prob and recipe.steps == (2000,) and names["data"] == "grid"
    batch = as_batch(jnp.asarray(data.splits["train"].x[:256]))
    for model in (names["mixture"](4, 2, names["optax"].adam(1e-1)), names["rightward"]):
        state, step = genjax.init(model, jax.random.key(0), batch), jax.jit(genjax.make_step(model))
        first = -model.log_prob(state.params, batch).mean()
        for _ in range(30):
            state, metrics = step(state, batch)
        assert -model.log_prob(state.params, batch).mean() < first
        assert model.sample(state.ema, jax.random.split(jax.random.key(1), 5)).shape == (5, 2)
    assert np.isfinite(metrics["reward/reward"])


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_recipe_and_module_it_names_exists():
    for name in re.findall(r"configs/\w+\.py", README):
        assert (ROOT / name).exists(), name
    table = README.partition("| name | expression | recipe |")[2].partition("\n\n")[0]
    recipes = re.findall(r"\| `(\w+)` \|$", table, re.M)
    assert len(recipes) > 20 and all((ROOT / "configs" / f"{name}.py").exists() for name in recipes), recipes
    for name in re.findall(r"`(genjax/[\w/.]+)`", README):
        assert (ROOT / name).exists(), name
