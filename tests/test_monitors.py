"""Monitors: planted failures are told, once and in one line; sound series and sound recipes are not."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import genjax
from genjax.bijections import chain
from genjax.config import Recipe, parse
from genjax.data import identity, row_block
from genjax.densities import gaussian
from genjax.families.flow import flow
from genjax.families.gan import hinge, implicit, non_saturating, relativistic
from genjax.families.vae import vae
from genjax.hybrids.adversarial import adversarial
from genjax.job import plan
from genjax.model import as_batch, get
from genjax.monitors import FEWEST, Monitors, of_inverse, of_samples, row_above
from genjax.nets import Net
from genjax.pieces import norms, scanned_piece
from genjax.report import windows
from genjax.run import Ended, Loop, train
from genjax.watches import WATCHES, above, below, grown, outgrown
from tests.table import LATENT, SHAPE, TABLE, batch, compiled, small, start, toy_diffusion, toy_vae
from tests.test_cli import After

LENGTH = 1000


def warnings(folder) -> list[dict]:
    path = folder / "warnings.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def lines(values, name="fit/kl", every=10, begin=0) -> list[dict]:
    """Rows of metrics.jsonl."""
    return [{"step": begin + every * (k + 1), name: float(value)} for k, value in enumerate(values)]


def told(folder, rows, steps=(LENGTH,), at_once=3) -> list[dict]:
    """What monitors say of rows that come a few at a time."""
    monitors = Monitors(folder, steps)
    for k in range(0, len(rows), at_once):
        monitors.follow(rows[k : k + at_once])
    return monitors.warnings


# ---- the watches on series that are made up ----------------------------------------------------------------------------

SOUND = {"accuracy": 0.7, "active_units": 5.0, "kl": 3.0, "grad_norm": 4.0, "update_norm": 0.1, "params_norm": 30.0,
         "perplexity": 40.0, "spread_ratio": 0.9, "recall": 0.4, "inverse_error": 1e-5,
         "chain_gap": 0.2, "square_chains": 1.0}  # fmt: skip
BROKEN = {"accuracy": 0.995, "active_units": 0.2, "kl": 0.01, "grad_norm": 0.0, "update_norm": 20.0, "params_norm": 200.0,
          "perplexity": 1.1, "spread_ratio": 0.1, "recall": 0.01, "inverse_error": 0.1,
          "chain_gap": -9.0, "square_chains": 2500.0}  # fmt: skip
BESIDE = {"params_norm": 30.0, "recall_of_reals": 0.8, "spread_data": 1.0, "square_data": 1.0}


def test_every_watch_has_a_row_here():
    assert {watch.metric for watch in WATCHES} == set(SOUND) == set(BROKEN)


@pytest.mark.parametrize("metric", SOUND)
def test_a_broken_value_is_told_once_and_a_sound_one_never(metric, tmp_path, capsys):
    noise = np.random.default_rng(0).uniform(0.99, 1.005, 100)
    for name, value, count in (("sound", SOUND[metric], 0), ("broken", BROKEN[metric], 1)):
        (tmp_path / name).mkdir()
        beside = {f"fit/{n}": v for n, v in BESIDE.items() if n != metric}
        rows = [row | beside for row in lines(value * noise, f"fit/{metric}")]
        rows[0] |= {"fit/params_norm": BESIDE["params_norm"]}
        assert len(told(tmp_path / name, rows)) == count == len(warnings(tmp_path / name))
        said = capsys.readouterr().err
        assert said.count("\n") == count and all(line.startswith("warning: step ") for line in said.splitlines())
    assert f"fit/{metric}" in said and "usually" in said and ";" in said


def test_a_gradient_that_explodes_is_told_and_one_that_grows_is_not(tmp_path):
    slow = np.geomspace(1, 50, 100)
    assert not told(tmp_path, lines(slow, "fit/grad_norm"))
    fast = np.where(np.arange(100) < 60, 1.0, 1e4)
    assert [w["problem"] for w in told(tmp_path, lines(fast, "fit/grad_norm"))] == ["exploding gradient"]


def test_it_must_hold_for_a_tenth_of_the_stage_after_its_warm_up(tmp_path):
    """Warm-up: steps 1 .. 100. One good line in ten keeps the watch silent; the first ten in a row do not."""
    values = np.zeros(100)
    values[10::10] = 1.0
    assert not told(tmp_path, lines(values))
    assert told(tmp_path, lines(np.zeros(100)), at_once=1)[0]["step"] == 200


def test_a_short_stage_is_too_short_to_judge(tmp_path):
    assert not told(tmp_path, lines(np.zeros(FEWEST), every=1), (FEWEST,))
    assert told(tmp_path, lines(np.zeros(2 * FEWEST), every=1), (2 * FEWEST,))


def test_each_stage_is_judged_by_itself(tmp_path):
    """Ten bad lines over a border are none; the second stage has a warm-up of its own."""
    rows = lines(np.r_[np.ones(91), np.zeros(9)]) + lines(np.r_[np.zeros(10), np.ones(90)], begin=LENGTH)
    assert not told(tmp_path, rows, (LENGTH, LENGTH))
    rows = lines(np.ones(100)) + lines(np.zeros(100), begin=LENGTH)
    assert told(tmp_path, rows, (LENGTH, LENGTH), at_once=1)[0]["step"] == LENGTH + 200


def test_what_is_usual_is_what_this_stage_is_used_to(tmp_path):
    rows = lines(np.ones(100), "fit/grad_norm") + lines(np.full(100, 1e4), "fit/grad_norm", begin=LENGTH)
    assert not told(tmp_path, rows, (LENGTH, LENGTH))


def test_rows_far_apart_must_hold_for_their_share_too(tmp_path):
    """Samples are judged over 0.3 of a stage after its warm-up."""
    rows = [{"step": step, "samples/spread_ratio": 0.0} for step in (150, 180, 390, 410)]
    assert not told(tmp_path, rows[:3], at_once=1)
    assert told(tmp_path, rows, at_once=1)[0]["step"] == 410


def test_numbers_that_are_not_finite_and_resting_phases_are_left_out(tmp_path):
    values = np.zeros(100)
    values[::3] = np.nan
    assert told(tmp_path, lines(values))
    sparse = [row if k % 7 == 0 else {"step": row["step"]} for k, row in enumerate(lines(np.zeros(100)))]
    (tmp_path / "none").mkdir()
    assert not told(tmp_path / "none", sparse[:35])  # five values, but four after the warm-up
    assert len(told(tmp_path / "none", sparse)) == 1


def test_two_metrics_of_one_problem_are_told_once_for_each_phase(tmp_path):
    rows = [{"step": 10 * k, "a/kl": 0.0, "a/active_units": 0.0, "b/c/kl": 0.0} for k in range(1, 101)]
    assert sorted(w["phase"] for w in told(tmp_path, rows)) == ["a", "b/c"]


def test_a_resumed_run_does_not_warn_again_and_remembers(tmp_path, capsys):
    rows = lines(np.zeros(100))
    whole = told(tmp_path, rows, at_once=1)
    capsys.readouterr()
    again = Monitors(tmp_path, (LENGTH,), rows[:5])
    again.follow(rows[5:])
    assert again.warnings == whole and not capsys.readouterr().err
    late = tmp_path / "late"
    late.mkdir()
    stopped = Monitors(late, (LENGTH,), rows[:19])
    stopped.follow(rows[19:20])  # what came before the stop counts
    assert stopped.warnings == whole


def test_predicates():
    before, recent = np.array([6.0, 1.0, 2.0]), np.array([13.0, 14.0])
    assert above(12.9)(recent, before) and not above(13.0)(recent, before)
    assert below(14.1)(recent, before) and not below(14.0)(recent, before)
    assert grown(6.4)(recent, before) and not grown(6.5)(recent, before) and not grown(1.0)(recent, before[:0])
    assert outgrown(2.0, 6.0)(recent, before) and not outgrown(2.2, 6.0)(recent, before)
    assert not outgrown(2.0, 6.1)(recent, before) and not outgrown(0.0, 0.0)(recent, before[:0])


@pytest.mark.parametrize(("size", "moves", "count"), [(30.0, 20.0, 1), (1.5, 0.5, 1), (0.05, 0.05, 0), (3e-6, 2e-6, 0)])
def test_numbers_that_belong_near_zero_may_move_by_their_size_and_a_small_net_may_not(size, moves, count, tmp_path):
    rows = [row | {"reach/params_norm": size} for row in lines(np.full(100, moves), "reach/update_norm")]
    assert [w["problem"] for w in told(tmp_path, rows)] == count * ["exploding update"]


# ---- divergence in the warm-up, step by step ---------------------------------------------------------------------------

LONG, CHUNK = 20_000, 100


def told_early(folder, values, name="fit/grad_norm", beside=(), chunk=CHUNK) -> list[dict]:
    """What monitors say of a long run whose first steps these are, piece by piece."""
    metrics = {name: np.asarray(values, np.float32)} | dict(beside)
    monitors = Monitors(folder, (LONG,))
    for begin in range(0, len(values), chunk):
        piece = {n: v[begin : begin + chunk] for n, v in metrics.items()}
        if begin == 0:
            monitors.follow([{"step": 1} | {n: float(v[np.isfinite(v)][0]) for n, v in piece.items()}])
        moved = {n: np.isfinite(v) for n, v in piece.items()}
        monitors.follow(windows(piece, moved, begin, begin + len(piece[name]), min(50, chunk)))
        monitors.follow_steps(begin, piece)
    return monitors.warnings


@pytest.mark.parametrize(("name", "first"), [("fit/loss", 80.0), ("fit/loss", -80.0), ("a/b/grad_norm", 1e-9)])
def test_an_explosion_at_step_50_is_told_at_step_100(name, first, tmp_path, capsys):
    values = first * np.random.default_rng(0).uniform(0.5, 1.5, 300)
    values[50:] = np.copysign(1e6, first)
    (warning,) = told_early(tmp_path, values, name)
    assert (warning["step"], warning["phase"], warning["problem"]) == (100, name.rpartition("/")[0], "divergence")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{name} is {np.copysign(1e6, first):.3g}, " in said
    assert "since step 51;" in said and "lower the learning rate" in said


@pytest.mark.parametrize("chunk", [1, 10])
def test_an_explosion_is_seen_over_the_ends_of_pieces_and_rests(chunk, tmp_path):
    """It moves at every third step; the five in a row end at step 63."""
    values = np.where(np.arange(200) < 50, 1.0, 1e4) * np.where(np.arange(200) % 3 == 2, 1, np.nan)
    values[:3] = 1.0
    assert [w["step"] for w in told_early(tmp_path, values, chunk=chunk)] == [-(-63 // chunk) * chunk]


@pytest.mark.parametrize("values", [
    np.where(np.arange(2500) % 50 < 4, 1e9, 1.0),  # spikes of less than five steps, from the second piece's on
    np.minimum(np.arange(2500) / 10, 900.0),  # zero layers: it begins at 0, and grows at once and far
    np.where(np.arange(2500) < 2010, 1.0, 1e9),  # after the warm-up it is for the watches to tell
], ids=["spikes", "zero layers", "late"])  # fmt: skip
def test_spikes_and_gradients_that_grow_from_zero_are_not_divergence(values, tmp_path):
    values[0] = min(values[0], 1.0)
    assert not told_early(tmp_path, values)


def test_a_loss_that_begins_at_zero_is_compared_with_its_gradient_and_the_other_way_round(tmp_path):
    many, none = np.full(200, 50.0, np.float32), np.zeros(200, np.float32)
    values = np.r_[0.0, np.full(199, 4e4)]
    for name, other in (("loss", "grad_norm"), ("grad_norm", "loss")):
        for first, count in ((many, 0), (none, 1)):
            folder = tmp_path / f"{name}{count}"
            folder.mkdir()
            assert len(told_early(folder, values, f"fit/{name}", {f"fit/{other}": first})) == count


def test_each_stage_has_a_beginning_of_its_own(tmp_path):
    """Four steps before a border and four after it are no five in a row, and a second stage begins where it begins."""
    monitors = Monitors(tmp_path, (100, 100))
    for begin, values in ((0, np.r_[np.ones(96), np.full(4, 1e4)]), (100, np.r_[np.full(4, 1e4), np.ones(96)])):
        monitors.follow([{"step": begin + 1, "fit/loss": 1.0}, {"step": begin + 100, "fit/loss": 1.0}])
        monitors.follow_steps(begin, {"fit/loss": values})
    assert not monitors.warnings
    monitors = Monitors(tmp_path, (100, 100))
    for begin in (0, 100):
        monitors.follow([{"step": begin + 1, "fit/loss": 1.0 + 100 * begin}])
        monitors.follow_steps(begin, {"fit/loss": np.full(100, 1.0 + 100 * begin)})
    assert not monitors.warnings


def test_row_above():
    values = np.array([9.0, 1, 9, 9, 9, 9, 9, 9, 1])
    assert row_above(values, 8.9) == 2 and row_above(values, 9.0) is None and row_above(values[:6], 8.9) is None
    assert row_above(values[2:6], 8.9) is None and row_above(values[:0], 8.9) is None


# ---- what losses report ------------------------------------------------------------------------------------------------


def test_active_units_are_the_dimensions_whose_mean_follows_x():
    """An encoder that is the identity on three numbers: their variances over the batch decide."""
    encoder = Net(lambda key, x, y: {}, lambda params, x, y: jnp.concatenate([x, jnp.zeros_like(x)], -1))
    decoder = Net(lambda key, z, y: {}, lambda params, z, y: z)
    x = jnp.array([[0.0, 0, 1], [0.19, 0.21, 0]]) + 5.0  # standard deviations 0.095, 0.105 and 0.5 beside a bound of 0.1
    for importance, phase in ((False, "elbo"), (True, "iwae")):
        model = vae(encoder, decoder, (3,), optax.sgd(0.0), likelihood=gaussian(1.0), importance=importance)
        state = genjax.init(model, jax.random.key(0), as_batch(x))
        _, metrics = genjax.make_step(model)(state, as_batch(x))
        assert metrics[f"{phase}/active_units"] == 2


def test_the_accuracy_of_a_critic_is_that_of_its_game():
    real, fake = jnp.array([2.0, 1, -1, 3]), jnp.array([-2.0, 2, -3, 1])
    assert non_saturating.accuracy(real, fake) == hinge.accuracy(real, fake) == (3 / 4 + 2 / 4) / 2
    assert relativistic.accuracy(real, fake) == 3 / 4
    assert relativistic.accuracy(real - 7, fake - 7) == 3 / 4  # of pairs nothing but the difference counts


def test_norms_of_parameters_and_update():
    name = "adversarial, n_critic"  # its generator moves in every other step
    before = start(name).params
    after = compiled(name)(compiled(name)(start(name), batch())[0], batch())[0].params
    found = norms(TABLE[name]().stages[0], before, after, 2)
    assert set(found) == {f"critic{phase}/{norm}" for phase in ("", "/generator") for norm in ("params_norm", "update_norm")}
    for path, phase in (("critic", "critic"), ("generator", "critic/generator")):
        old, new = (np.concatenate([np.ravel(a) for a in jax.tree.leaves(get(params, path))]) for params in (before, after))
        np.testing.assert_allclose(found[f"{phase}/params_norm"], np.linalg.norm(old), rtol=1e-5)
        np.testing.assert_allclose(found[f"{phase}/update_norm"], np.linalg.norm(new - old) / 2**0.5, rtol=1e-5)


# ---- what samples tell -------------------------------------------------------------------------------------------------


def test_the_inverse_error_is_that_of_a_planted_stretch():
    """decode = 1 + e times the true inverse is wrong by e; where it is not finite, it is told as enormous."""
    model = flow(chain(), (2,), optax.sgd(0.1))
    x = jax.random.normal(jax.random.key(0), (64, 2))
    for wrong, error in ((0.0, 0.0), (0.25, 0.25), (np.nan, 1e9)):
        broken = model._replace(decode=lambda params, z, y, by=1 + wrong: by * model.decode(params, z, y))
        found = of_inverse(broken, {"flow": {}}, x)["samples/inverse_error"]
        np.testing.assert_allclose(found, error, rtol=1e-5, atol=1e-6)
    assert of_inverse(toy_vae(), {}, x) == {}


def test_of_samples_on_planted_collapse():
    rng = np.random.default_rng(0)
    reals, others, good = (rng.normal(size=(64, 4, 4, 1)) for _ in range(3))
    seen = of_samples(good, reals, others)
    assert 0.9 < seen["samples/spread_ratio"] < 1.1 and 0.8 < seen["samples/recall"] / seen["samples/recall_of_reals"] < 1.25
    seen = of_samples(0 * good + reals[0], reals, others)  # noise is ignored
    assert seen["samples/spread_ratio"] == 0 == seen["samples/recall"]
    np.testing.assert_allclose(of_samples(0.1 * good, reals, others)["samples/spread_ratio"], 0.1, rtol=0.1)
    assert of_samples(np.full_like(good, np.nan), reals, others) == {} == of_samples(good, 0 * reals, others)


# ---- models that fail, and the same ones sound ---------------------------------------------------------------------------

STEPS, PIECE = 400, 20


def trained(model, folder) -> list[str]:
    """Problems that are told of a toy model over a short training, piece by piece as a run is."""
    recipe = Recipe(model, (STEPS,), 32, identity, show=lambda x: x)
    state = jax.jit(lambda key, batch: genjax.init(model, key, batch))(jax.random.key(0), batch(size=32))
    piece, data = jax.jit(scanned_piece(recipe, 0)), {"x": batch(size=32 * STEPS)["x"]}
    monitors = Monitors(folder, (STEPS,))
    for begin in range(0, STEPS, PIECE):
        state, seen = piece(state, data, row_block(0, begin, PIECE, 32, 32 * STEPS))
        metrics = {name: np.asarray(values) for name, values in seen.metrics.items()}
        if begin == 0:
            monitors.follow([{"step": 1} | {name: float(values[0]) for name, values in metrics.items()}])
        monitors.follow(windows(metrics, {name: np.ones(PIECE, bool) for name in metrics}, begin, begin + PIECE, 4))
        monitors.follow_steps(begin, metrics)
        monitors.follow([{"step": begin + PIECE} | {name: float(value) for name, value in seen.norms.items()}])
    return sorted(warning["problem"] for warning in monitors.warnings)


def game(lr: float, critic_lr: float, **options):
    return adversarial(implicit(small(SHAPE), LATENT), small((), 32), optax.adam(lr), optax.adam(critic_lr), **options)


@pytest.mark.parametrize(("make", "problems"), [
    (lambda: toy_vae(optax.adam(1e-2)), []),
    (lambda: toy_vae(optax.adam(1e-2), beta=1000.0), ["posterior collapse"]),
    (lambda: game(1e-3, 1e-3, game=relativistic, r1=0.1, r2=0.1), []),
    (lambda: game(1e-4, 1e-2), ["saturated critic"]),
    (lambda: toy_diffusion(tx=optax.adam(1e-2)), []),
    (lambda: toy_diffusion(tx=optax.adam(10.0)), ["divergence", "exploding update"]),
], ids=["vae", "vae, beta 1000", "game", "critic a hundred times faster", "diffusion", "diffusion, lr 10"])  # fmt: skip
def test_planted_failures_are_told_and_sound_models_are_not(make, problems, tmp_path):
    assert trained(make(), tmp_path) == problems


# ---- a run -------------------------------------------------------------------------------------------------------------

FAILING = '''"""Reports a collapsed code, and its sampler ignores the noise."""
import jax.numpy as jnp, optax
from genjax.config import Recipe
from genjax.data import identity
from genjax.model import Loss, Model, Phase
data = "moons"
def recipe(spec, steps: int = 250, batch: int = 8, sound: bool = False, lr: float = 1e-2) -> Recipe:
    """A toy."""
    def loss(params, key, batch):
        return Loss(((params["mean"] - batch["x"]) ** 2).mean(), {"kl": 3.0 * sound})
    stages = ((Phase("fit", loss, ("mean",), optax.adam(lr)),),)
    sample = lambda params, keys, y=None: params["mean"] + jnp.zeros((len(keys), 2))
    model = Model(lambda key, batch: {"mean": jnp.zeros(2)}, stages, sample)
    return Recipe(model, (steps,), batch, identity, lambda x: x, chunk=25)
'''


def test_a_run_warns_once_though_it_is_stopped(tmp_path, capsys):
    (tmp_path / "failing.py").write_text(FAILING)
    job = lambda name: plan(parse([str(tmp_path / "failing.py"), "--save-every", "50", "--run", str(tmp_path / name)]))
    whole, parts = job("whole"), job("parts")
    assert train(whole) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "fit/kl is 0 nats" in said[0] and "samples/spread_ratio is 0:" in said[1]
    parts.folder.mkdir()
    with pytest.raises(Ended, match="saved at step 150"):  # after the first warning; no samples are drawn here
        Loop(parts).run(After(6))
    Loop(parts).run(After(99))
    again = capsys.readouterr().err.splitlines()
    assert len(again) == 2 and again[0] == said[0]
    assert (whole.folder / "metrics.jsonl").read_bytes() == (parts.folder / "metrics.jsonl").read_bytes()
    for folder in (whole.folder, parts.folder):
        listed = json.loads((folder / "result.json").read_text())["warnings"]
        assert listed == warnings(folder) and [w["problem"] for w in listed] == ["posterior collapse", "mode collapse"]
    rows = [json.loads(line) for line in (whole.folder / "monitors.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "fit/update_norm" in row] == list(range(25, 251, 25))
    assert [row["step"] for row in rows if "samples/spread_ratio" in row] == list(range(50, 251, 50))
    assert rows[0]["step"] == 1 and rows[0]["fit/kl"] == 0 == rows[-1]["samples/spread_ratio"]


def test_a_run_that_diverges_at_once_is_told_at_the_end_of_its_first_piece(tmp_path, capsys):
    (tmp_path / "failing.py").write_text(FAILING)
    job = plan(parse([str(tmp_path / "failing.py"), "--steps", "50", "--lr", "1e6", "--run", str(tmp_path / "run")]))
    assert train(job) == 0
    assert [(w["step"], w["phase"], w["problem"]) for w in warnings(job.folder)] == [(25, "fit", "divergence")]
    assert "since step 2;" in capsys.readouterr().err
