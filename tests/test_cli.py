"""The command line and the run: what is refused, and that a stopped run comes to the same bits, through the real scripts."""

import inspect
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal, get_args, get_origin

import jax
import numpy as np
import optax
import pytest

import genjax.pieces
from genjax import report
from genjax.checkpoint import Checkpoints, steps
from genjax.config import ROOT, load_recipe, parse
from genjax.folder import opened
from genjax.job import check, labels, plan
from genjax.model import Loss, Phase
from genjax.pieces import Programs, pieces, stage_at
from genjax.run import Ended, Loop, describe, train
from genjax.trained import draw, reopen, seed_list
from tests.table import COVERS

TOY = '''"""Two stages, a phase that rests, and on demand a loss that is not finite."""
import jax.numpy as jnp, optax
from genjax.config import Recipe
from genjax.data import identity
from genjax.model import Loss, Model, Phase, example_keys, normal
data = "moons"
def recipe(spec, steps: int = 30, batch: int = 8, bad: int = 0, count: int = 0, width: int = 2) -> Recipe:
    """A toy."""
    def init(key, batch):
        return {"mean": jnp.zeros((width,)), "scale": jnp.ones((width,))}
    def pull(name, factor=1.0):
        def loss(params, key, batch):
            x = batch["x"] + params["scale"] * normal(example_keys(key, batch), (2,))
            return Loss(factor * ((params[name] - x) ** 2).mean())
        return loss
    lazy = Phase("lazy", pull("scale"), ("scale",), optax.sgd(0.1), when=lambda step: step % 4 == 3)
    broken = Phase("broken", pull("scale", jnp.nan), ("scale",), optax.sgd(0.1), when=lambda s: (s >= bad) & (s < bad + count))
    stages = ((Phase("fit", pull("mean"), ("mean",), optax.adam(1e-2)), lazy, broken),
              (Phase("polish", pull("mean"), ("mean",), optax.adam(1e-3)),))
    sample = lambda params, keys, y=None: params["mean"] + normal(keys, (2,))
    return Recipe(Model(init, stages, sample), (steps, 15), batch, identity, lambda x: x, chunk=10)
'''
SMALL = ["--width", "8", "--latent", "2", "--steps", "60", "--chunk", "10", "--save-every", "10", "--batch", "16"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Jobs of the toy: toy(*more arguments, run=folder)."""
    place = tmp_path_factory.mktemp("toy")
    (place / "toy.py").write_text(TOY)
    common = (place / "toy.py", "--log-every", 1, "--save-every", 20)
    return lambda *more, run="run": plan(parse([*map(str, (*common, "--run", place / run, *more))]))


@pytest.fixture(scope="module")
def whole(toy):
    """A run that was never interrupted."""
    job = toy(run="whole")
    assert train(job) == 0
    return job


def bits(tree) -> list[bytes]:
    plain = lambda a: jax.random.key_data(a) if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key) else a
    return [np.asarray(plain(leaf)).tobytes() for leaf in jax.tree.leaves(tree)]


def final(job):
    return Checkpoints(job.folder, read_only=True).restore(Programs(job).target)


def metrics(folder: Path, file: str = "metrics.jsonl") -> list[dict]:
    return [json.loads(line) for line in (folder / file).read_text().splitlines()]


# ---- parsing ---------------------------------------------------------------------------------------------------------


def test_options_stand_before_or_after_the_recipe():
    recipe = str(ROOT / "configs" / "vae_digits.py")
    for line in ("--latent 3 RECIPE --dry-run", "RECIPE --dry-run --latent=3", "--dry-run RECIPE --latent 3"):
        command = parse(line.replace("RECIPE", recipe).split())
        assert command.path.name == "vae_digits.py" and command.knobs["latent"] == 3 and command.options.dry_run
    assert parse([]).path.name == "vae_digits.py"


@pytest.mark.parametrize(("line", "said"), [
    ("--latnet 3", "no --latnet; did you mean --latent?"),
    ("--latent x", "--latent"),
    ("--latent 3.5", "--latent"),
    ("--latent", "--latent"),
    ("--latent 3 4", "4"),
    ("--latent 3 --latent 4", "given 2 times"),
    ("--steps 0", "--steps is 0, but must be at least 1"),
    ("--batch -8", "--batch is -8"),
    ("--lr -0.1", "--lr is -0.1, but must be above 0"),
    ("--lr nan", "--lr is nan"),
    ("--beta inf", "--beta is inf"),
    ("--steps 99999999999", "--steps is 99999999999"),
    ("--seed -1", "--seed is -1"),
    ("--parallel pmpa", "pmpa"),
    ("configs/vae_digit.py", "did you mean configs/vae_digits.py?"),
    ("configs/vae_digits.py configs/vae_digits.py", "two recipes"),
    ("nonsense", "nonsense"),
])
def test_a_bad_command_line_is_refused_in_one_line(line, said):
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        parse(line.split())
    assert "\n" not in str(error.value)


def test_recipes_that_cannot_train_are_refused_before_the_first_step(toy):
    with pytest.raises(ValueError, match="does not divide over 4 devices; make it 8"):
        toy("--batch", 9)
    with pytest.raises(ValueError, match="does not fit moons"):
        toy("--width", 3)
    with pytest.raises(ValueError, match="training needs about"):
        plan(parse(["--width", "1000000"]))


RESTING = Phase("rest", lambda *_: Loss(0.0), (), optax.sgd(0.0))


@pytest.mark.parametrize("idle", [(), (RESTING,)], ids=["no phase", "no branch"])
def test_a_stage_that_trains_nothing_is_refused(toy, idle):
    job = toy()
    model = job.recipe.model._replace(stages=(job.recipe.model.stages[0], idle))
    with pytest.raises(ValueError, match="stage 1 of the recipe's model trains nothing: give the model to a combinator"):
        check(job.recipe._replace(model=model), job.data, job.example)


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-2-3", "-1", "4294967296", "1,,2", "0-9999999"])
def test_malformed_seeds_are_refused(text):
    with pytest.raises(ValueError, match="--seeds"):
        seed_list(text)


def test_seed_list():
    assert seed_list("1,5,8-11").tolist() == [1, 5, 8, 9, 10, 11]


def test_samples_are_told_captions_in_turn_or_one_for_all():
    recipe = plan(parse(["configs/text_diffusion_digits.py"])).recipe  # planned: the words fit the network
    ten = labels(recipe, np.arange(12))
    assert ten.shape == (12, 23) and (ten[:2] == ten[10:]).all() and len(np.unique(ten, axis=0)) == 10
    (one,) = np.unique(labels(recipe, np.arange(3), caption="This is a TWO"), axis=0)
    assert (one == recipe.read_caption("this is a two")).all()
    with pytest.raises(ValueError, match="knows no '#'"):
        labels(recipe, np.arange(3), caption="#2")
    with pytest.raises(ValueError, match="takes no labels; leave --label out"):
        labels(recipe, np.arange(3), label=2)
    with pytest.raises(ValueError, match="takes no caption; leave --caption out"):
        labels(recipe._replace(read_caption=None), np.arange(3), caption="two")


def test_samples_are_told_labels_in_turn_or_one_for_all(toy):
    recipe = toy().recipe._replace(classes=3)
    assert labels(recipe, np.arange(5)).tolist() == [0, 1, 2, 0, 1] and labels(recipe, np.arange(2), label=2).tolist() == [2, 2]
    for wrong in (3, 99, -1):
        with pytest.raises(ValueError, match=rf"^--label {wrong}: labels are 0 \.\. 2$"):
            labels(recipe, np.arange(2), label=wrong)


RECIPES = sorted((ROOT / "configs").glob("*.py"))


def others(knob):
    """The options that give a knob each other value, where it has a few."""
    name = knob.name.replace("_", "-")
    if isinstance(knob.default, bool):
        return [f"--no-{name}" if knob.default else f"--{name}"]
    few = get_args(knob.annotation) if get_origin(knob.annotation) is Literal else ()
    return [f"--{name}={value}" for value in few if value != knob.default]


def switches(path):
    """(recipe, option): none, and each other value of a knob that has a few."""
    knobs = inspect.signature(load_recipe(path).recipe).parameters.values()
    return [(path, ""), *((path, option) for knob in knobs for option in others(knob))]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "option"), [one for path in RECIPES for one in switches(path)],
                         ids=lambda part: getattr(part, "stem", part))  # fmt: skip
def test_every_recipe_fits_its_data(path, option):
    """Planning runs shapes through the step of every stage and through the sampler."""
    try:
        assert plan(parse([str(path), *filter(None, [option])])).recipe.steps
    except ValueError as error:
        if "read from a data folder" not in str(error):
            raise
        pytest.skip("no data folder: set GENJAX_DATA")


def test_no_family_is_named_in_the_core():
    families = {part for name in COVERS for part in name.split(".")[2:]}
    core = [ROOT / "genjax" / f"{name}.py" for name in ("run", "pieces", "job", "trained", "folder", "step")]
    for name in (ROOT / "train.py", ROOT / "sample.py", *core):
        words = set(re.findall(r"[a-z]+", name.read_text().lower()))
        assert not words & families, name


# ---- pieces ----------------------------------------------------------------------------------------------------------


def test_pieces_end_at_fixed_steps():
    whole = list(pieces((25, 15), 10))
    assert [(p.stage, p.start, p.stop) for p in whole] == [(0, 0, 10), (0, 10, 20), (0, 20, 25), (1, 25, 30), (1, 30, 40)]
    for k, piece in enumerate(whole):
        assert list(pieces((25, 15), 10, piece.start)) == whole[k:]
    assert [stage_at((25, 15), done) for done in (0, 24, 25, 39, 40)] == [0, 0, 1, 1, 1]


def test_windows_average_only_the_steps_at_which_a_phase_moved():
    nan = np.nan
    seen = {"a/loss": [1.0, 2, 3, 4], "b/loss": [nan, 5, nan, nan], "b/skipped": [nan, 1, nan, nan]}
    seen = {name: np.array(values) for name, values in seen.items()}
    moved = {"a/loss": np.ones(4, bool), "b/loss": np.arange(4) == 1, "b/skipped": np.arange(4) == 1}
    assert report.windows(seen, moved, 10, 14, 2) == [
        {"step": 12, "a/loss": 1.5, "b/loss": 5.0, "b/skipped": 1.0}, {"step": 14, "a/loss": 3.5}]
    seen["a/loss"][3] = nan
    assert np.isnan(report.windows(seen, moved, 10, 14, 2)[1]["a/loss"])  # a real NaN is not hidden


# ---- runs in this process, on four devices ---------------------------------------------------------------------------


class After:
    """A Stop that asks during the n-th piece."""

    name = "SIGTERM"

    def __init__(self, count: int):
        self.left, self.signal = count, 0

    def __setattr__(self, name: str, value: int) -> None:
        if name == "at":  # the loop tells where it is
            self.left -= 1
            self.signal = 0 if self.left else 15
        super().__setattr__(name, value)


def test_stopped_and_resumed_is_the_uninterrupted_run(toy, whole):
    """Stopped after every piece, over the border of two stages."""
    parts = toy(run="parts")
    parts.folder.mkdir()
    for _ in range(5):
        with pytest.raises(Ended, match="saved at step"):
            Loop(parts).run(After(1))
    Loop(parts).run(After(1))
    (step, state), (_, other) = final(whole), final(parts)
    assert step == 45 and bits(state) == bits(other)
    assert (whole.folder / "metrics.jsonl").read_bytes() == (parts.folder / "metrics.jsonl").read_bytes()
    rows = metrics(whole.folder)
    assert [row["step"] for row in rows] == list(range(1, 46))
    assert [row["step"] for row in rows if "lazy/loss" in row] == list(range(4, 31, 4))
    assert all(np.isfinite(list(row.values())).all() for row in rows)


def test_host_fed_data_give_the_same_bits(toy, whole, monkeypatch):
    monkeypatch.setattr(genjax.pieces, "ON_DEVICE", 0)
    host = toy(run="host")
    assert not Programs(host).on_device
    train(host)
    assert bits(final(host)[1]) == bits(final(whole)[1])


def test_pmap_is_the_same_to_rounding(toy, whole):
    job = toy("--parallel", "pmap", run="pmap")
    assert train(job) == 0
    told = lambda folder: metrics(folder) + metrics(folder, "monitors.jsonl")
    for a, b in zip(told(job.folder), told(whole.folder), strict=True):
        assert a.keys() == b.keys()
        np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=1e-5, atol=1e-6)


def test_single_bad_steps_are_skipped_and_counted(toy, capsys):
    job = toy("--bad", 7, "--count", 2, run="bad")
    assert train(job) == 0
    assert json.loads((job.folder / "result.json").read_text())["skipped"] == 2
    assert "of broken not finite at 2 of the steps 0 .. 9, first at 7" in capsys.readouterr().err
    assert np.isfinite(np.asarray(final(job)[1].params["mean"])).all()


def test_many_bad_steps_in_a_row_end_the_run_and_name_the_rows(toy, capsys):
    job = toy("--bad", 7, "--count", 99, "--bad-steps", 5, run="worse")
    assert train(job) == 1
    said = capsys.readouterr().err
    told = json.loads((job.folder / "result.json").read_text())["stopped"]
    assert "5 steps in a row, the last at step 11 in broken, on rows" in said.splitlines()[-1]
    assert re.search(r", whose x is \S+ \.\. \S+\. All were undone and the state saved", said)
    assert (told["first"], told["step"], len(told["rows"])) == (7, 11, 8)
    before = steps(job.folder / "checkpoints")
    assert before and np.isfinite(np.asarray(final(job)[1].params["scale"])).all()
    assert train(job) == 1  # the same command tells the same, and does not crowd out the good checkpoints
    assert steps(job.folder / "checkpoints") == before


def test_another_run_in_the_folder_is_refused(toy, whole, capsys):
    with pytest.raises(ValueError, match="holds another run: --seed 0 there, 1 here"):
        train(toy("--seed", 1, run="whole"))
    with pytest.raises(ValueError, match="holds another run: --steps 30 there, 31 here"):
        train(toy("--steps", 31, run="whole"))
    with opened(whole), pytest.raises(ValueError, match="another process is training"):
        train(whole)
    assert train(whole) == 0 and "it is complete" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_refused(toy):
    with pytest.raises(OSError, match="run folder /proc/nothing cannot be written"):
        train(toy()._replace(folder=Path("/proc/nothing")))


def test_dry_run_tells_and_writes_nothing(toy):
    job = toy("--dry-run", run="dry")
    said = describe(job)
    assert not job.folder.exists()
    for words in ("lazy trains scale at some steps only", "frozen: scale", "memory on 4 x", "in all"):
        assert words in said


def test_smoke_has_its_own_folder_and_begins_anew(toy):
    job = toy("--smoke", "--steps", 1000)
    assert job.total == 35 and job.folder.name == "run-smoke"
    assert train(job) == 0 and (job.folder / "result.json").exists()
    with opened(toy("--smoke", "--steps", 900)):
        assert not (job.folder / "result.json").exists()
    (job.folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds a real run"):
        train(job)


def test_lines_are_kept_until_they_can_be_written(tmp_path, capsys):
    lines = report.Lines(tmp_path / "folder" / "metrics.jsonl")
    lines.write([{"step": 1}])
    lines.write([{"step": 2}])
    assert lines.failed and capsys.readouterr().err.count("\n") == 1
    (tmp_path / "folder").mkdir()
    lines.write([{"step": 3}])
    with lines.path.open("a") as file:
        file.write('{"step": 4')  # half a line, as a full disk leaves it
    lines.write([{"step": 4}])
    assert not lines.failed and [row["step"] for row in metrics(tmp_path / "folder")] == [1, 2, 3, 4]
    with lines.path.open("a") as file:
        file.write('{"step": 5')
    assert [row["step"] for row in report.Lines(lines.path).cut(2)] == [1, 2]
    assert lines.path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_sample_depends_on_its_own_seed_alone():
    sample = jax.jit(lambda params, keys, y=None: params + jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys))
    many = draw(sample, 1.0, np.arange(70), None)
    few = draw(sample, 1.0, np.array([69, 3]), None)
    np.testing.assert_array_equal(few, many[[69, 3]])


# ---- the real scripts ------------------------------------------------------------------------------------------------


def start(*arguments, script: str = "train.py", **more) -> subprocess.Popen:
    """A script as a user starts it, on one device."""
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, str(ROOT / script), *map(str, arguments)], cwd=ROOT, env=kept, **pipes, **more)


def call(*arguments, **more) -> tuple[int, str, str]:
    process = start(*arguments, **more)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def until(process: subprocess.Popen, done, seconds: float = 200) -> None:
    """Wait until something is there or the process has ended."""
    end = time.monotonic() + seconds
    while not done() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_kill_stop_resume_and_sample_through_the_real_scripts(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    code, out, err = call(*SMALL, "--run", whole)
    assert code == 0 and "done: 60 steps" in out and not err
    reached = lambda step: lambda: (parts / "checkpoints" / str(step)).exists()
    process = start(*SMALL, "--run", parts)
    until(process, reached(20))
    process.kill()
    process.wait()
    process = start(*SMALL, "--run", parts)
    until(process, reached(random.choice((30, 40))))
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, err = process.communicate()
    if process.returncode:  # else it came to its end first
        assert process.returncode == 143 and time.monotonic() - began < 10 and "saved at step" in err
    code, out, err = call(*SMALL, "--run", parts)
    assert code == 0, err
    assert (whole / "metrics.jsonl").read_bytes() == (parts / "metrics.jsonl").read_bytes()
    assert bits(reopen(whole).state) == bits(reopen(parts).state)
    for name in ("env.json", "reals.png", "curve.png", "result.json", "samples/step_00000060.png"):
        assert (parts / name).exists()

    code, out, err = call(parts, "--seeds", "0-9", "--out", tmp_path / "grid.png", script="sample.py")
    assert code == 0 and "10 samples, averaged (EMA) parameters of step 60" in out, err
    drawn = np.load(tmp_path / "grid.npz")
    assert drawn["x"].shape == (10, 8, 8, 1) and (tmp_path / "grid.png").exists()
    run = reopen(parts)  # here on four devices
    np.testing.assert_allclose(draw(run.recipe.model.sample, run.state.ema, np.array([7]), None)[0], drawn["x"][7], atol=1e-5)


@pytest.mark.parametrize(("script", "arguments", "said"), [
    ("train.py", ["--lattent", "3"], "error: there is no --lattent; did you mean --latent? (--help lists all)"),
    ("sample.py", ["nowhere"], "error: nowhere is no run, it has no config.json"),
    ("sample.py", ["runs/x", "--sedes", "0-3"], "error: there is no --sedes; did you mean --seeds?"),
])
def test_errors_are_one_line_and_code_2(script, arguments, said):
    code, out, err = call(*arguments, script=script)
    assert code == 2 and err.startswith(said) and err.count("\n") == 1 and not out
