"""The comparison: each seed of a stack is the run that train.py makes, matching reaches its targets, a kill changes nothing."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.checkpoint import Checkpoints
from genjax.compare.__main__ import main
from genjax.compare.__main__ import plan as planning
from genjax.compare.course import longest, moments, train
from genjax.compare.match import branches, nearest, parameters, same_parameters, with_steps, within
from genjax.compare.plan import Options, asked, built, entries, entry, named, recipe_of, stored, with_parents
from genjax.compare.seeds import Stack, parameters_of, seconds_a_step
from genjax.config import ROOT, load_recipe, parse
from genjax.data import DataError, load
from genjax.job import plan
from genjax.model import stream
from genjax.pieces import Programs, pieces
from genjax.run import train as train_alone

TOY = '''"""Two stages, a phase that rests, noise in the data; a third of the seeds diverge where asked."""
import jax, jax.numpy as jnp, optax
from genjax.config import Recipe
from genjax.data import unit
from genjax.model import Loss, Model, Phase, example_keys, normal, stream
data = "digits"
def recipe(spec, width: int = 8, steps: tuple[int, int] = (24, 12), batch: int = 16, ill: bool = False) -> Recipe:
    """A toy."""
    def init(key, batch):
        w = 0.1 * jax.random.normal(stream(key, "w"), (width, 64))
        return {"first": {"w": w}, "last": {"b": jnp.zeros(64)}, "coin": {"c": jax.random.uniform(stream(key, "coin"))}}
    def x_of(params, keys):
        return (normal(keys, (width,)) @ params["first"]["w"] + params["last"]["b"]).reshape(-1, *spec.shape)
    def loss(params, key, batch):
        x = batch["x"] + 0.1 * normal(example_keys(key, batch), batch["x"].shape[1:])
        value = ((x_of(params, example_keys(stream(key, "z"), batch)) - x) ** 2).mean()
        return Loss(jnp.where(ill & (params["coin"]["c"] < 0.33), jnp.nan, value))
    lazy = Phase("lazy", loss, ("last",), optax.sgd(0.5), when=lambda step: step % 3 == 2)
    stages = ((Phase("fit", loss, ("first", "last"), optax.adam(1e-2, eps=1e-4)), lazy),
              (Phase("polish", loss, ("first",), optax.sgd(0.1)),))
    prepare = lambda key, x: unit(spec.levels)(key, x) + 0.05 * jax.random.normal(key, x.shape)
    return Recipe(Model(init, stages, lambda params, keys, y=None: x_of(params, keys)), steps, batch, prepare, lambda x: x, chunk=10)
'''  # noqa: E501


@cache
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The path of the toy's recipe; beside it ill.py, of which some seeds diverge."""
    path = tmp_path_factory.mktemp("toy") / "toy.py"
    path.write_text(TOY)
    path.with_name("ill.py").write_text(TOY.replace("ill: bool = False", "ill: bool = True"))
    return path


# ---- seeds under vmap --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_seed_of_a_stack_is_the_run_that_train_makes(toy, tmp_path):
    one = entry(str(toy), digits())
    stack = Stack(one.recipe, digits().splits["train"], (3, 5))
    course = train(stack, 10, tmp_path / "stack", lambda state: [0.0] * len(state.skipped), print)
    for number, seed in enumerate(stack.seeds):
        job = plan(parse([str(toy), "--seed", str(seed), "--chunk", "10", "--run", str(tmp_path / f"run{seed}")]))
        assert train_alone(job) == 0
        done, alone = Checkpoints(job.folder, read_only=True).restore(Programs(job).target)
        mine = jax.tree.map(lambda a, number=number: a[number], course.state._replace(step=None, key=None))
        assert done == int(course.state.step) == 36
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-6), mine, alone._replace(step=None, key=None))
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b[0]).max()), parameters_of(course.state, 1), course.state.ema)
    assert moved["first"]["w"] > 1e-2  # other seeds, other runs


@pytest.mark.slow
def test_a_course_that_was_stopped_comes_to_the_same_bits(toy, tmp_path):
    one = entry(str(toy), digits())
    look = lambda state: [float(v) for v in state.ema["last"]["b"].sum(-1)]

    def course(folder, look=look):
        return train(Stack(one.recipe, digits().splits["train"], (0, 1)), one.chunk, tmp_path / folder, look, print)

    whole, left = course("whole"), itertools.count()

    def dies(state):
        if next(left) == 5:
            raise MemoryError
        return look(state)

    with pytest.raises(MemoryError):
        course("torn", dies)
    torn = course("torn")
    assert [(row["step"], row["frechet"]) for row in torn.curve] == [(row["step"], row["frechet"]) for row in whole.curve]
    assert [row["step"] for row in whole.curve] == [4, 8, 12, 16, 24, 28, 32, 36]
    jax.tree.map(np.testing.assert_array_equal, torn.state.params, whole.state.params)
    seconds = [row["seconds"] for row in torn.curve]
    assert seconds == sorted(seconds) and torn.compile_seconds > 0


def test_moments_are_ends_of_pieces_and_the_last_is_the_end():
    for steps, chunk in (((3000,), 100), ((24, 12), 4), ((5,), 100), ((7, 3), 1), ((1000, 333), 50)):
        found = moments(steps, chunk)
        assert found <= {piece.stop for piece in pieces(steps, chunk)} and sum(steps) in found and len(found) <= 8
    assert moments((800,), 100) == {100 * k for k in range(1, 9)}


def test_the_longest_streak():
    rng = np.random.default_rng(0)
    for _ in range(50):
        bad, start = rng.random(12) < 0.6, int(rng.integers(0, 4))
        runs = [len(list(run)) for value, run in itertools.groupby([*[True] * start, *bad]) if value]
        assert longest(bad, start) == max(runs, default=0)


# ---- matching ----------------------------------------------------------------------------------------------------------


def test_nearest_equals_trying_all():
    for target in (0, 1, 7, 50, 333, 10**6):
        of = lambda n: 3 * n * n + 5
        assert nearest(of, target, 64) == min(range(1, 65), key=lambda n: abs(of(n) - target))


def test_the_same_parameters_and_examples(toy):
    one = entry(str(toy), digits())
    wide = built("wide", one.source, one.knobs | {"width": 31, "batch": 8}, digits())
    deep = entry("vae", digits())
    others = [wide, built("deep", deep.source, deep.knobs | {"batch": 16}, digits())]
    target, matched = same_parameters([one, *others], digits())
    assert target == {"parameters": parameters(others[0], digits()), "examples": 36 * 16}
    for model, before in zip(matched, [one, *others], strict=True):
        assert sum(model.recipe.steps) * model.recipe.batch == 36 * 16
        assert model.knobs | {"width": 0, "steps": 0} == before.knobs | {"width": 0, "steps": 0}
    assert matched[0].knobs["width"] == matched[1].knobs["width"] == 31
    assert matched[0].recipe.steps == (24, 12) and matched[1].recipe.steps == (48, 24)
    got, more = (parameters(matched[2], digits(), width=matched[2].knobs["width"] + n) for n in (0, 1))
    assert abs(got - target["parameters"]) < more - got


def test_steps_that_fit_a_share_of_the_time(toy):
    one = entry(str(toy), digits())._replace(chunk=10, at_once=2, rate=(0.01, 0.04))
    for share in (5.0, 33.0, 100.0):
        found = within(one, digits(), 5, share)  # three groups of at most two seeds
        takes = lambda steps: 3 * sum(n * rate for n, rate in zip(steps, one.rate, strict=True))
        assert all(n % 10 == 0 for n in found.recipe.steps)
        assert share - 3 * 10 * sum(one.rate) < takes(found.recipe.steps) <= share
    assert np.isclose(found.recipe.steps[0] / found.recipe.steps[1], 2, rtol=0.03)
    with pytest.raises(ValueError, match=r"too few for .*toy.*give more --minutes"):
        within(one, digits(), 5, 1.0)


def test_a_plan_is_measured_once(toy, tmp_path, monkeypatch):
    options = Options(models=f"{toy},vae", match="time", minutes=1.0, seeds=2)
    found = entries(options, digits())
    monkeypatch.setattr("genjax.compare.match.seconds_a_step", lambda stack, length: [0.01] * len(stack.recipe.steps))
    monkeypatch.setattr("genjax.compare.match.fitting", lambda recipe, split, seeds, chunk: Stack(recipe, split, seeds))
    target, planned = planning(options, digits(), found, tmp_path)
    assert target == {"seconds": 30.0} and [model.recipe.steps for model in planned] == [(2000, 1000), (3000,)]
    assert all(model.at_once == 2 for model in planned)
    before = (tmp_path / "plan.json").read_bytes()
    again, restored = stored(tmp_path, asked(options, found), found, digits())
    same = lambda model: model._replace(recipe=model.recipe.steps, source=model.source.path)
    assert again == target and list(map(same, restored)) == list(map(same, planned))
    assert (tmp_path / "plan.json").read_bytes() == before


# ---- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("line", "said"), [
    ("--models vea", "no model vea in configs; did you mean vae? There are"),
    ("--models vae,gan,vae", "vae is given 2 times; give it once"),
    ("--models ,", "--models is empty"),
    ("--models configs/vae_digit.py", "did you mean configs/vae_digits.py?"),
    ("--models vae --data moons", "model vae (configs/vae_digits.py): "),
    ("--models vae --seeds 0", "--seeds is 0, but must be at least 1"),
    ("--models vae --minutes 0", "--minutes is 0"),
    ("--models vae --match parameters", "parameters"),
    ("--models vae --features raw --samples 64", "--samples 64: a covariance of 64 features needs at least 65 samples"),
    ("--models vae --features raw --curve-samples 20", "--curve-samples 20: a covariance"),
    ("--models vae --data digts", "did you mean digits"),
])  # fmt: skip
def test_bad_input_is_refused_in_one_line(line, said, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("genjax.compare.__main__.one_model", lambda *of: pytest.fail("it began to train"))
    with pytest.raises(SystemExit) as end:
        main([*line.split(), "--out", str(tmp_path / "out")])
    told = capsys.readouterr().err
    assert end.value.code == 2 and told.count("\n") == 1 and said in told


HYBRIDS = [p.stem for p in sorted((ROOT / "configs").glob("*.py")) if load_recipe(p).parents]


def test_the_parents_of_a_hybrid_are_models():
    assert len(HYBRIDS) > 5
    for name in HYBRIDS:
        assert set(load_recipe(ROOT / "configs" / f"{name}.py").parents) <= set(named()), name


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "vae_gan_digits" else pytest.mark.slow) for n in HYBRIDS])
def test_the_parents_of_a_hybrid_are_recipes_that_fit_its_data(name):
    try:
        data = load(load_recipe(ROOT / "configs" / f"{name}.py").data)
    except DataError as error:
        assert "read from a data folder" in str(error)
        pytest.skip("no data folder: set GENJAX_DATA")
    name = name.removesuffix(f"_{data.name}")
    options = with_parents(Options(data=data.name, hybrid=name))
    assert options.match == "time" and options.models.split(",")[0] == name
    first = next(iter(entries(options, data)))
    assert sum(branches(first, data).values()) == parameters(first, data)
    assert with_steps(first, data, first.recipe.steps).total == first.total


def test_a_recipe_without_the_knob_steps_is_not_matched(toy):
    one = entry(str(toy), digits())
    with pytest.raises(ValueError, match="toy has no knob `steps` to be matched by; leave it out"):
        with_steps(one._replace(knobs={}), digits(), one.recipe.steps)


def test_a_recipe_without_parents_is_no_hybrid():
    with pytest.raises(ValueError, match="--hybrid vae: its recipe names no parents"):
        with_parents(Options(hybrid="vae"))


def test_names_find_recipes(toy):
    assert recipe_of("vae", "digits").name == "vae_digits.py" and recipe_of("vae", "mnist").name == "vae_mnist.py"
    assert recipe_of("vae_gan", "mnist").name == "vae_gan_digits.py"  # none of its own
    assert recipe_of("vq_gan", "fashion_mnist").name == "vq_gan_fashion_mnist.py"
    assert recipe_of("vae_conv", "digits").name == "vae_conv_mnist.py"
    assert recipe_of(str(toy), "digits") == toy


# ---- from the command to the page ----------------------------------------------------------------------------------------


def command(toy, out, **changed):
    options = {"models": f"{toy},{toy.with_name('ill.py')}", "match": "params", "seeds": 2, "samples": 70, "curve-samples": 66}
    options |= {"features": "raw", "out": out} | changed
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    """A comparison that was never interrupted."""
    out = tmp_path_factory.mktemp("compared") / "whole"
    assert main(command(toy, out)) == 0
    return out


def result_of(out):
    return json.loads((out / "comparison.json").read_text())


def timeless(result):
    """What does not depend on the clock or the command."""
    models = [
        {k: v for k, v in model.items() if k not in ("train_seconds", "compile_seconds", "samples_per_second")}
        | {"curve": [(row["step"], row["frechet"]) for row in model["curve"]]}
        for model in result["models"]
    ]
    return result | {"models": models, "command": "", "commit": ""}


def test_the_record(whole):
    result = result_of(whole)
    toy, ill = result["models"]
    coins = [jax.random.uniform(stream(stream(jax.random.key(seed), "init"), "coin")) < 0.33 for seed in range(2)]
    assert 0 < sum(coins) < 2 and ill["diverged"] == sum(coins) and toy["diverged"] == 0
    for model in (toy, ill):
        assert model["steps"] == [24, 12] and model["parameters"] == 9 * 64 + 1 and len(model["curve"]) == 8
        assert all(len(row["frechet"]) == 2 for row in model["curve"]) and model["train_seconds"] > 0
        assert set(model["metrics"]) >= {"frechet", "kernel", "precision", "recall", "density", "coverage"}
        assert model["likelihood"] is None and (whole / model["picture"]).stat().st_size > 1000
    for values in ill["metrics"].values():
        assert [value is None for value in values] == [bool(coin) for coin in coins]
    well = coins.index(False)  # of its seeds, and so the same run as the toy's
    assert np.isclose(toy["curve"][-1]["frechet"][well], ill["curve"][-1]["frechet"][well])
    assert toy["curve"][-1]["frechet"][0] < toy["curve"][0]["frechet"][0]
    assert result["target"] == {"parameters": 9 * 64 + 1, "examples": 36 * 16} and result["floor"]["frechet"] > 0
    for page in ("comparison.md", "comparison.html"):
        assert "toy" in (whole / page).read_text()


def test_a_finished_comparison_is_read_not_made_again(whole, toy, monkeypatch, capsys):
    monkeypatch.setattr("genjax.compare.course.train", lambda *of: pytest.fail("it trains again"))
    before = result_of(whole)
    assert main(command(toy, whole)) == 0
    assert result_of(whole) == before
    with pytest.raises(SystemExit):
        main(command(toy, whole, seeds=3))
    assert "holds another comparison: --seeds 2 there, 3 here. Give another --out" in capsys.readouterr().err


def test_a_killed_comparison_goes_on_to_the_same_numbers(whole, toy, tmp_path):
    """kill -9 in the middle of the second model."""
    arguments = command(toy, tmp_path / "out")
    for name in ("plan.json", "models/toy.json", "pictures/toy.png"):  # the first is done already
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(whole / name, tmp_path / "out" / name)
    process = subprocess.Popen(
        [sys.executable, "-m", "genjax.compare", *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "4"},
    )  # fmt: skip
    seen = list(iter_until(process.stdout, "ill seeds_0-1: step 16/36"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert seen and not (tmp_path / "out" / "comparison.json").exists()
    assert main(arguments) == 0
    assert timeless(result_of(tmp_path / "out")) == timeless(result_of(whole))
    for name in ("plan.json", "models/toy.json"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()


def iter_until(lines, text):
    """The lines up to the first that holds a text."""
    for line in lines:
        yield line
        if text in line:
            return
    pytest.fail(f"it ended before {text}")


def test_the_time_of_a_step_is_that_of_the_fastest_piece(monkeypatch):
    """Of whole pieces, after one that does not count, until they took long enough; whatever else slowed the others."""
    pieces, clock = iter([9.0, 0.4, 0.2, 0.5, 9.0, 3.0, 2.0, 4.0]), [0.0]

    def advance(state, *given):
        clock[0] += next(pieces)
        return state, {}

    stack = SimpleNamespace(recipe=SimpleNamespace(steps=(10, 10)), first=lambda: 0, next=lambda state, stage: state,
                            blocks=lambda pieces: [(pieces[0], 0, 0)], advance=advance)  # fmt: skip
    monkeypatch.setattr("genjax.compare.seeds.time.perf_counter", lambda: clock[0])
    assert seconds_a_step(stack, 2) == pytest.approx([0.1, 1.0])
    assert next(pieces, None) is None
