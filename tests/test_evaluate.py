"""The evaluator: likelihoods that do not depend on batches, evaluations counted in programs, floors, and bad input."""

import json
from functools import partial
from math import log, log2

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import evaluate
from genjax.config import Recipe, parse
from genjax.data import Dataset, Spec, Split, binarize, dequantize, identity, load
from genjax.evaluate import main, measure
from genjax.job import plan
from genjax.metrics import against
from genjax.metrics.features import raw
from genjax.metrics.likelihood import likelihood
from genjax.metrics.speed import evaluations, speed
from genjax.model import Model, normal
from genjax.nets.convolution import conv
from genjax.run import train
from tests import table


def grey(size: int) -> Split:
    """Images 4 x 4 of levels 0 .. 16 and three classes."""
    rng = np.random.default_rng(1)
    return Split(rng.integers(17, size=(size, *table.SHAPE)).astype(np.uint8), rng.integers(3, size=size).astype(np.int32))


def model_of(**fields) -> Model:
    """The smallest model: what it samples and knows is given."""
    sample = fields.pop("sample", lambda params, keys, y=None: normal(keys, (2,)))
    return Model(lambda key, batch: {}, ((),), sample, **fields)


def recipe_of(model: Model, **fields) -> Recipe:
    return Recipe(model, (1,), 8, identity, lambda x: x, **fields)


# ---- likelihood ------------------------------------------------------------------------------------------------------


def test_a_likelihood_is_the_same_for_any_batch_size():
    split, params = grey(130), table.start("iwae conditional").params
    score = partial(likelihood, table.model("iwae conditional"), params, split, binarize(17), draws=3, seed=5)
    whole = score(at_once=130)
    assert whole.convention == "lower bound, K = 3" and whole.each.shape == (130,) and whole.bits is None
    for size in (7, 64, 100):
        found = score(at_once=size)
        assert found.nats == pytest.approx(whole.nats, rel=1e-6)
        np.testing.assert_allclose(found.each, whole.each, rtol=2e-6)
    assert score(at_once=64)._replace(each=None) != score(at_once=64, seed=6)._replace(each=None)


def test_each_row_has_its_own_noise():
    split = Split(np.full((5, 2), 3, np.uint8))
    of_x = model_of(log_prob=lambda params, batch: batch["x"][:, 0])
    assert len(set(likelihood(of_x, {}, split, dequantize(4), at_once=2).each)) == 5
    of_key = model_of(bound=lambda params, key, batch, samples: normal(evaluate_keys(key, batch), ()))
    assert len(set(likelihood(of_key, {}, split, dequantize(4), at_once=2).each)) == 5


def evaluate_keys(key, batch):
    return jax.vmap(jax.random.fold_in, (None, 0))(key, batch["index"])


def test_bits_of_a_uniform_density_are_those_of_the_levels():
    uniform = model_of(log_prob=lambda params, batch: jnp.zeros(len(batch["x"])))
    exact = likelihood(uniform, {}, grey(10), dequantize(17), cell=-log(17))
    assert exact.convention == "exact" and exact.nats == 0 and exact.bits == pytest.approx(log2(17))
    fair = model_of(log_prob=lambda params, batch: jnp.full(len(batch["x"]), -16 * jnp.log(2.0)))
    assert likelihood(fair, {}, grey(10), binarize(17), cell=0.0).bits == pytest.approx(1)


def test_a_likelihood_that_is_no_number_names_the_row():
    broken = model_of(log_prob=lambda params, batch: jnp.where(batch["index"] == 7, jnp.nan, 0.0))
    with pytest.raises(ValueError, match="row 7 is not a number"):
        likelihood(broken, {}, grey(9), identity, at_once=4)


# ---- evaluations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "labels", "number"), [
    ("vae", False, 1), ("implicit, adversarial", False, 1), ("diffusion", True, 3), ("latent(vae, diffusion)", False, 3),
    ("latent(vae, adversarial(implicit))", False, 1), ("memory", False, 0)])  # fmt: skip
def test_network_evaluations_are_read_off_the_sampler(name, labels, number):
    y = np.zeros(1, np.int32) if labels else None
    assert evaluations(table.model(name), table.start(name).params, y) == (number, False)


def sampler(function) -> Model:
    """A model whose sample is function(w, z) with w (4, 4, 4) and z (B, 4)."""
    return model_of(sample=lambda params, keys, y=None: function(params["w"], normal(keys, (4,))))


def through_layers(w, z):
    return jax.lax.scan(lambda h, layer: (jnp.tanh(h @ layer), None), z, w)[0]


@pytest.mark.parametrize(("function", "expected"), [
    (through_layers, (1, False)),  # each layer once
    (lambda w, z: jax.lax.fori_loop(0, 6, lambda i, h: jnp.tanh(h @ w[0]), z), (1.5, False)),  # a quarter of w, six times
    (lambda w, z: z @ (2 * w).sum(0).T, (1, False)),  # what is made of w alone is w
    (lambda w, z: jax.lax.cond(z.sum() > 0, lambda: z @ w.sum(0) @ w.sum(0), lambda: z @ w.sum(0)), (2, False)),
    (lambda w, z: jax.lax.while_loop(lambda h: h.sum() < 9, lambda h: h @ w.sum(0), z), (1, True)),
    (lambda w, z: jax.lax.while_loop(lambda h: h.sum() < 9, lambda h: h + 1, z) @ w.sum(0), (1, False)),
    (lambda w, z: jax.checkpoint(lambda h: jax.jit(jnp.dot)(h, w.sum(0)))(z), (1, False)),
    (lambda w, z: conv(z[:, None], w[:3]), (0.75, False)),  # three windows of four
    (lambda w, z: z + (w.sum(0) @ w.sum(0)).sum(), (0, False)),  # nothing drawn goes through it
    (lambda w, z: jax.lax.scan(lambda c, _: (c @ w.sum(0) + z, None), jnp.zeros((1, 4)), None, 5)[0], (5, False)),
])  # fmt: skip
def test_loops_branches_and_parts_are_counted(function, expected):
    assert evaluations(sampler(function), {"w": jnp.zeros((4, 4, 4))}) == pytest.approx(expected)


def test_speed_tells_what_it_should():
    y = np.zeros(1, np.int32)
    found = json.loads(json.dumps(speed(table.model("diffusion"), table.start("diffusion").params, y=y, repeats=1)))
    assert found["parameters"] == sum(a.size for a in jax.tree.leaves(table.start("diffusion").params))
    assert found["evaluations"] == 3 and not found["at_least"] and found["memory"] > 0
    assert set(found["samples_per_second"]) == {"1", "64"} and min(found["samples_per_second"].values()) > 0


# ---- against reals ---------------------------------------------------------------------------------------------------


def test_floor_and_self_score_share_no_example():
    data = Dataset("numbers", Spec((1,), 0, 0), {
        name: Split(np.arange(*ends, dtype=np.float32)[:, None]) for name, ends in
        {"train": (0, 100), "valid": (100, 130), "test": (130, 170)}.items()})  # fmt: skip
    reals = against.reals(data, "train", 50, seed=0)
    assert reals.reference.shape == (100, 1) and reals.held.shape == (50, 1)
    shared = lambda real, fake: {"shared": len(set(real.ravel()) & set(fake.ravel()))}
    row = against.beside(shared, against.clouds(raw(), reals, reals.reference[:50]))["shared"]
    assert (row["value"], row["floor"], row["self"]) == (50, 0, 0)
    assert (row["n"], row["n_floor"], row["n_self"]) == ([100, 50], [50, 50], [100, 50])
    other = against.reals(data, "test", 50, seed=0)
    assert set(other.reference.ravel()) == set(range(130, 170)) and max(other.held) < 130


def ring(key: jax.Array) -> jax.Array:
    """One draw from the true density."""
    angle, noise = jax.random.randint(jax.random.fold_in(key, 0), (), 0, 8) * jnp.pi / 4, jax.random.normal(key, (2,))
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)]) + 0.01 * noise


@pytest.fixture(scope="module")
def of_ring():
    """What is found of a model that is the truth, without the slow part."""
    model = model_of(sample=lambda params, keys, y=None: jax.vmap(ring)(keys), log_prob=lambda params, batch: batch["x"][:, 0])
    wanted = tuple(name for name in evaluate.METRICS if name != "speed")
    small = load("ring")._replace(splits={name: Split(split.x[:400]) for name, split in load("ring").splits.items()})
    return measure(recipe_of(model), {}, small, samples=400, features=raw(), wanted=wanted)


def test_the_truth_scores_like_held_out_data(of_ring):
    rows = of_ring["metrics"]
    assert (rows["modes"]["value"], rows["modes"]["label"]) == (8, "modes of 8") and not of_ring["flags"]
    assert rows["quality"]["value"] == pytest.approx(0.989, abs=0.02)
    for name in ("frechet", "precision", "coverage", "quality", "reverse_kl", "spread_ratio"):
        row = rows[name]
        assert abs(row["value"] - row["self"]) < 0.1, name
        assert (
            row["floor"] is not None and row["n"] == [400, 400] and row["n_floor"] == [200, 200] and row["n_self"] == [400, 400]
        )
    assert of_ring["likelihood"]["entropy"] == load("ring").entropy
    assert json.loads(json.dumps(of_ring)) == of_ring


def bad(said, wanted=None, samples=70, rows=100, **fields):
    """`measure` refuses with these words in one line."""
    data = Dataset("grey", Spec(table.SHAPE, 17, 3), {name: grey(rows) for name in ("train", "valid", "test")})
    model = model_of(sample=lambda params, keys, y=None: normal(keys, table.SHAPE), **fields)
    with pytest.raises(ValueError, match=said) as error:
        measure(recipe_of(model), {}, data, samples=samples, features=raw(), wanted=wanted)
    assert "\n" not in str(error.value)


def test_what_cannot_be_measured_is_refused_in_one_line():
    bad("no metric 'fid'.*did you mean", ("fid",))
    bad("no metric 'frechett'; did you mean frechet", ("frechett",))
    bad("modes are counted on toys", ("modes",))
    bad("likelihood needs a model with `log_prob` or `bound`", ("likelihood",))
    bad("--samples 16 are too few for the covariance of 16 features: draw 17", samples=16)
    bad("16 rows of split 'train' are too few for the covariance of 16 features", ("frechet",), rows=16)


def test_few_data_leave_the_covariance_out():
    data = Dataset("grey", Spec(table.SHAPE, 17, 3), {name: grey(80) for name in ("train", "valid", "test")})
    recipe = recipe_of(model_of(sample=lambda params, keys, y=None: normal(keys, table.SHAPE)))
    wide = raw()._replace(apply=lambda x: np.tile(raw().apply(x), 5))  # 80 features
    found = measure(recipe, {}, data, samples=90, features=wide)
    assert "frechet" not in found["metrics"] and found["metrics"]["kernel"]["value"] is not None


def test_samples_that_are_not_finite_name_the_seed():
    last = lambda keys: jax.random.key_data(keys)[:, -1]
    model = model_of(
        sample=lambda params, keys, y=None: jnp.where((last(keys) % 40 == 33)[:, None], jnp.nan, normal(keys, (2,)))
    )
    with pytest.raises(ValueError, match="2 of 100 samples are not finite, the first that of seed 33"):
        measure(recipe_of(model), {}, load("ring"), samples=100, features=raw(), wanted=("frechet",))


def test_agreement_is_asked_of_models_with_labels():
    """A sampler that draws what it is told, and a classifier that reads it."""
    data = Dataset("grey", Spec(table.SHAPE, 17, 3), {name: grey(100) for name in ("train", "valid", "test")})
    model = model_of(sample=lambda params, keys, y: jnp.broadcast_to(y[:, None, None, None] / 16, (len(y), *table.SHAPE)))
    reads = raw()._replace(classify=lambda x: np.round(16 * x[:, 0, 0, 0]))
    found = measure(recipe_of(model, classes=3), {}, data, samples=60, features=reads, wanted=("ndb",))
    assert found["metrics"]["agreement"]["value"] == 1 and found["metrics"]["agreement"]["self"] < 0.3
    assert "likelihood" not in found and "speed" not in found


# ---- a run, through the command line ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "tiny"
    small = ["--smoke", "--width", "8", "--latent", "2", "--batch", "8", "--run", str(place)]
    job = plan(parse(small))
    assert train(job) == 0
    return job.folder


def test_a_run_is_evaluated_into_its_result(folder, capsys):
    before = json.loads((folder / "result.json").read_text())
    assert main([str(folder), "--metrics", "likelihood,frechet", "--features", "raw", "--samples", "70", "--draws", "2"]) == 0
    said = capsys.readouterr().out
    for words in (
        "lower bound, K = 2",
        "Frechet distance",
        "floor",
        "self",
        "1439/70",
        "719/70",
        "weights ema",
        "split 'train'",
    ):
        assert words in said
    assert main([str(folder), "--metrics", "speed", "--features", "raw", "--samples", "70"]) == 0
    after = json.loads((folder / "result.json").read_text())
    assert {name: after[name] for name in before} == before
    found = after["evaluation"]
    assert found["metrics"]["frechet"]["value"] > 0 and found["likelihood"]["n"] == 179  # of the first one
    assert found["speed"]["evaluations"] == 1 and found["speed"]["train_seconds"] > 0  # and of the second
    assert main([str(folder), "--metrics", "speed", "--features", "raw", "--samples", "71", "--weights", "last"]) == 0
    other = json.loads((folder / "result.json").read_text())["evaluation"]
    assert other["metrics"] == {} and other["weights"] == "last"  # numbers of another context are not mixed in


def test_record_replaces_the_rows_of_the_same_run(folder, tmp_path, monkeypatch):
    from benchmarks import record

    monkeypatch.setattr(record, "ROOT", tmp_path)
    monkeypatch.setattr(record, "commit", lambda: "none")
    line = [str(folder), "--metrics", "likelihood,prdc", "--features", "raw", "--samples", "70", "--draws", "1", "--record"]
    assert main(line) == 0
    path = tmp_path / "results" / "evaluations.json"
    file = json.loads(path.read_text())
    first = file["rows"]
    assert [row["metric"] for row in first] == ["test NLL, nats", "precision", "recall", "density", "coverage"]
    assert first[1]["recipe"] == "vae_digits on digits" and first[1]["keywords"] == {"latent": 2, "width": 8, "batch": 8}
    assert first[1]["source"] == "held-out reals" and "floor" in first[1]["note"] and "raw" in first[1]["note"]
    path.write_text(json.dumps(file | {"commit": "old", "rows": [first[0] | {"recipe": "another"}, *first]}))
    assert main(line) == 0
    other, *again = json.loads(path.read_text())["rows"]
    assert other["recipe"] == "another" and other["measured"]["commit"] == "old"  # a row that stays keeps where it is from
    assert [row["recipe"] for row in again] == ["vae_digits on digits"] * 5 and not any("measured" in row for row in again)


def test_a_report_has_a_line_a_run_and_floors_below():
    from benchmarks.record import row
    from benchmarks.report import by_data

    speed, told = "2 network evaluations a sample, 7 parameters", {"reference": 0.5, "floor": 0.25, "space": "n 9; toys"}
    far = lambda recipe, value, seed: row(recipe, "distance", [value], seeds=[seed], **told)
    rows = [far("a on toys", 1.0, 0), far("a on toys", 2.0, 1), far("b on toys", 3.0, 0) | {"keywords": {"width": 8}},
            row("b on toys", "samples", [9.0], seeds=[0], keywords={"width": 8}, note=speed),
            far("a on others", 4.0, 0)]  # fmt: skip
    rows[0]["measured"] = {"commit": "old", "date": "then", "hardware": "there"}
    about = {"title": "T", "command": "C", "commit": "new", "date": "now", "hardware": "here", "versions": {}}
    _, toys, others = by_data(about | {"rows": rows}).split("On ")
    assert toys.splitlines() == [
        "toys:", "", "| recipe | distance | samples | how |", "| --- | ---: | ---: | --- |",
        "| a | 1 |  | seeds 0; n 9; toys; old, then on there |",
        "| a | 2 |  | seeds 1; n 9; toys; new, now |",
        "| b `width=8` | 3 | 9 (2 NFE) | seeds 0; n 9; toys; new, now |",
        "| *one half of the data against the other* | 0.25 |  |  |",
        "| *held-out data for samples* | 0.5 |  |  |", "",
    ]  # fmt: skip
    assert "| a | 4 | seeds 0; n 9;" in others


@pytest.mark.parametrize(("arguments", "said"), [
    (["--metrics", "frechte"], "there is no metric 'frechte'; did you mean frechet?"),
    (["--metrics", "modes", "--features", "raw"], "modes are counted on toys"),
    (["--features", "nowhere.pth"], "--features nowhere.pth: give classifier, raw, or a file"),
    (["--features", "raw", "--samples", "64"], "--samples 64 are too few"),
    (["--features", "raw", "--split", "tran"], "digits has no split 'tran'; there are train, valid, test"),
    (["--weigths", "ema"], "there is no --weigths; did you mean --weights?"),
])  # fmt: skip
def test_bad_input_is_one_line(folder, arguments, said, capsys):
    with pytest.raises(SystemExit) as end:
        main([str(folder), *arguments])
    words = capsys.readouterr().err
    assert end.value.code == 2 and said in words and words.count("\n") == 1


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "is no run" in capsys.readouterr().err


def test_a_run_without_an_average_has_no_ema(tmp_path):
    run = evaluate.Trained(recipe_of(table.model("vae"), ema_decay=0.0), 3, table.start("vae"))
    with pytest.raises(ValueError, match=r"keeps no running average.*--weights last"):
        evaluate.weights_of(run, "ema", tmp_path)
    assert evaluate.weights_of(run, "kept", tmp_path)[0] == "last"
    kept = run._replace(recipe=recipe_of(table.model("vae")))
    assert [evaluate.weights_of(kept, which, tmp_path)[0] for which in ("kept", "ema", "last")] == ["ema", "ema", "last"]
