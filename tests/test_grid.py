"""The grid: every autoencoder with every prior trains and samples, or is refused in words; the command, and its table."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import genjax
from genjax.compare.__main__ import main
from genjax.compare.grid import CODES, PRIORS, cells, tried
from genjax.compare.match import parameters
from genjax.compare.plan import Entry, Options, with_grid
from genjax.config import knob_class
from genjax.data import Spec, load
from genjax.model import branches, get
from tests.table import SHAPE, batch

TOKENS = "these codes are tokens, but the prior makes real numbers"
COMMAND = ["--grid", "--match", "params", "--seeds", "1", "--samples", "70", "--curve-samples", "66", "--features", "raw"]
SLOW = ("ae_diffusion", "ae_flow", "ae_autoregressive", "ae_energy", "vae_flow")  # the command below trains the last
REFUSED = {"vq_diffusion": TOKENS, "vq_flow": TOKENS, "vq_energy": TOKENS}


def smaller(recipe):
    """The same cell at toy size."""

    def small(spec: Spec, width: int = 32, steps: tuple[int, int] = (8, 8), batch: int = 8):
        return recipe(spec, width=width, steps=steps, batch=batch)

    return small


@pytest.fixture
def shallow(monkeypatch):
    monkeypatch.setattr("genjax.compare.grid.LAYERS", 1)
    monkeypatch.setattr("genjax.compare.grid.DEPTH", 1)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in cells()])
def test_every_autoencoder_with_every_prior_trains_and_samples_or_says_why_not(name, shallow):
    model = smaller(cells()[name].recipe)(Spec(SHAPE, 2, 0)).model
    begin = jax.jit(lambda key, batch: genjax.init(model, key, batch))
    if name in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name]):
            begin(jax.random.key(0), batch())
        return
    state = before = begin(jax.random.key(0), batch())
    for stage, trained in enumerate(("autoencoder", "prior")):
        step = lambda state, data, stage=stage: genjax.make_step(model, stage)(genjax.next_stage(model, state, stage), data)
        state, _ = jax.jit(step)(state, batch())
        assert int(state.skipped) == 0 and moved(before, state, trained)
    x = jax.jit(model.sample)(state.params, jax.random.split(jax.random.key(1), 4))
    assert x.shape == (4, *SHAPE) and np.isfinite(x).all() and jnp.unique(x, axis=0).shape[0] == 4


def moved(before, after, name):
    """Whether every branch below a name is another than it was."""
    below = lambda state, path: jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(get(state.params, path))])
    paths = [f"{name}/{path}" for path in branches(before.params[name], 1)]
    return all((below(before, path) != below(after, path)).any() for path in paths)


def test_the_grid_is_whole():
    assert list(cells()) == [f"{codes}_{prior}" for codes in CODES for prior in PRIORS] and len(cells()) == 12
    knobs = [tuple(knob_class(source).__dataclass_fields__) for source in cells().values()]
    assert set(knobs) == {("width", "steps", "batch", "lr")}


@pytest.mark.parametrize("name", ["vae_diffusion", "vae_flow", "vae_energy", "vq_autoregressive"])
def test_any_width_makes_a_cell_so_that_parameters_can_be_matched(name):
    digits = load("digits")
    one = Entry(name, cells()[name], {}, cells()[name].recipe(digits.spec), 1)
    sizes = [parameters(one, digits, width=width) for width in (1, 33, 64)]
    assert sizes == sorted(set(sizes))


def test_a_grid_is_matched_by_time_unless_by_params_and_names_no_other_models():
    assert with_grid(Options(grid=True)).match == "time" and with_grid(Options()).match == "none"
    assert with_grid(Options(grid=True, match="params")).match == "params"
    for besides in ({"hybrid": "vae_gan"}, {"models": "vae"}):
        with pytest.raises(ValueError, match="--grid compares every autoencoder with every prior; leave out"):
            with_grid(Options(grid=True, **besides))


def test_where_no_cell_fits_the_first_reason_is_told():
    with pytest.raises(ValueError, match="no cell of the grid fits moons: "):
        tried(cells(), load("moons"))


def test_the_command_trains_what_fits_and_says_why_the_rest_does_not(tmp_path, monkeypatch, capsys, shallow):
    for dropped, which in (("ae", CODES), ("diffusion", PRIORS), ("autoregressive", PRIORS), ("energy", PRIORS)):
        monkeypatch.delitem(which, dropped)
    small = {name: source._replace(recipe=smaller(source.recipe)) for name, source in cells().items()}
    monkeypatch.setattr("genjax.compare.grid.cells", lambda: small)
    assert main([*COMMAND, "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "comparison.json").read_text())
    assert [model["name"] for model in result["models"]] == ["vae_flow"] and result["models"][0]["about"] == "latent(vae, flow)"
    assert result["grid"]["codes"] == ["vae", "vq"] and result["grid"]["priors"] == ["flow"]
    assert list(result["grid"]["refused"]) == ["vq_flow"] and result["grid"]["refused"]["vq_flow"].startswith(TOKENS)
    for text in (capsys.readouterr().out, *((tmp_path / f"comparison.{page}").read_text() for page in ("md", "html"))):
        assert text.count(TOKENS) and "refused" in text
