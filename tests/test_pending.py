"""Pending benchmarks: deadlines are kept, kills and moves lose nothing, finished rows land in results/."""

import json
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import genjax
from benchmarks import chunks, device_dit, device_recipes, device_undo, iwae, iwae_paper, pending, progress, record
from benchmarks.chunks import Clock
from benchmarks.iwae_paper import TINY
from benchmarks.pending import JOBS, Job
from benchmarks.progress import Progress
from genjax.nets import dit
from genjax.pieces import Programs

ROOT = Path(__file__).resolve().parent.parent


class Time:
    """A clock that the test sets."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Time:
    monkeypatch.setattr(chunks, "time", fake := Time())
    return fake


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(iwae, "HIDDEN", (4,))
    monkeypatch.setattr(iwae, "LATENT", (2,))


def equal(a, b) -> bool:
    same = jax.tree.map(np.array_equal, chunks.plain(a), chunks.plain(b))
    return all(jax.tree.leaves(same))


# ---- the clock -----------------------------------------------------------------------------------------------------------


def test_clock_stops_before_the_deadline_though_chunks_vary(clock):
    rng, ran = np.random.default_rng(0), 0
    watch = Clock(deadline=1100.0, guess=4.0)
    while watch.another():
        clock.now += rng.uniform(3.0, 4.4)
        assert watch.tick() <= 4.4
        ran += 1
    assert ran >= 20 and clock.now + chunks.SAVING < 1100.0
    assert watch.longest <= 4.4 and 1100.0 - clock.now < 1.5 * watch.longest + 4.4  # and it does not give up early


def test_clock_asks_for_a_checkpoint_now_and_then(clock):
    watch, asked = Clock(), 0
    for _ in range(100):
        clock.now += 10.0
        asked += watch.save_now()
    assert asked == 1000 // (chunks.SAVE_EVERY + 10)


# ---- checkpoints -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def state() -> genjax.State:
    params = {"b": jnp.arange(3.0, dtype=jnp.bfloat16), "w": jnp.arange(100.0).reshape(20, 5)}
    zero = jnp.zeros((), jnp.int32)
    return genjax.State(zero, jax.random.key(3), params, params, {"p": (zero + 4, params)}, {"rows": params["w"]}, zero)


def test_checkpoint_comes_back_in_small_parts(tmp_path, monkeypatch, state):
    monkeypatch.setattr(chunks, "PART", 100)
    chunks.save(tmp_path, "a", state, {"seconds": 1.5})
    files = list(tmp_path.iterdir())
    assert len(files) > 10 and max(path.stat().st_size for path in files) <= 100
    back, about = chunks.restore(tmp_path, "a", lambda step: state)
    assert equal(back, state) and about["seconds"] == 1.5
    chunks.save(tmp_path, "a", state._replace(step=state.step + 7), {})
    assert {path.name.split(".")[1] for path in tmp_path.iterdir()} == {"7"}


@pytest.mark.parametrize("how", ["part missing", "byte flipped", "never renamed"])
def test_unfinished_or_damaged_checkpoint_is_passed_over(tmp_path, monkeypatch, state, how):
    monkeypatch.setattr(chunks, "PART", 100)
    monkeypatch.setattr(chunks, "forget", lambda *a, **k: None)
    chunks.save(tmp_path, "a", state, {})
    chunks.save(tmp_path, "a", state._replace(step=state.step + 7), {})
    last = chunks.found(tmp_path, "a")[7][-1]
    if how == "part missing":
        last.unlink()
    elif how == "never renamed":
        last.rename(last.with_name(f".aside.{last.name}"))
    else:
        last.write_bytes(last.read_bytes()[:-1] + b"\xff")
    back, about = chunks.restore(tmp_path, "a", lambda step: state)
    assert about["step"] == 0 and equal(back, state)


def test_checkpoint_of_another_model_is_one_line(tmp_path, state):
    chunks.save(tmp_path, "a", state, {})
    with pytest.raises(ValueError, match=r"another version wrote it; remove it"):
        chunks.restore(tmp_path, "a", lambda step: state._replace(memory={}))
    assert chunks.restore(tmp_path, "b", lambda step: state) is None


# ---- the IWAE job ----------------------------------------------------------------------------------------------------------


def test_staircase_is_the_authors():
    per_epoch, one = 5, jnp.ones(())
    tx = iwae.staircase(per_epoch)

    def step(opt, _):
        update, opt = tx.update(one, opt, one)
        return opt, -update

    _, rates = jax.lax.scan(step, tx.init(one), length=per_epoch * 40)
    rates = rates * (1 + 1e-4)  # Adam's step for a constant gradient of 1 is lr / (1 + eps)
    epochs = np.repeat(1e-4 * np.round(10 ** (1 - np.arange(4) / 7), 1), [3**i for i in range(4)])
    assert np.allclose(np.reshape(rates, (40, per_epoch)), epochs[:, None], rtol=1e-4)
    assert sum(3**i for i in range(8)) == iwae.EPOCHS == iwae_paper.FULL.epochs


def finals(folder: Path) -> tuple:
    with np.load(folder / "iwae_k2.params.npz") as z:
        params = {name: z[name] for name in z.files}
    return progress.entry(folder, "iwae_k2")["rows"][0]["values"], params


def advance(folder: Path) -> Progress:
    return iwae_paper.advance(2, folder, float("inf"), TINY)


@pytest.mark.slow
def test_iwae_job_resumes_to_the_same_bits(tmp_path, small, monkeypatch):
    monkeypatch.setitem(iwae.PAPER, 2, 86.0)
    monkeypatch.setattr(iwae_paper.chunks, "SAVE_EVERY", 0.0)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    read, rows = [], iwae_paper.row_block
    monkeypatch.setattr(iwae_paper, "row_block", lambda *of: read.append(of[:2]) or rows(*of))
    assert advance(whole).done == 1.0 and not chunks.found(whole, "iwae_k2")  # the checkpoint made way
    assert read == [(seed, step) for step in (0, 20, 40) for seed in (0, 1)]

    ticks, (another, tick) = [], (Clock.another, Clock.tick)

    def deadly(self):
        ticks.append(0)
        if len(ticks) in (2, 5):  # in the second chunk of training, and in the score
            raise KeyboardInterrupt
        return tick(self)

    monkeypatch.setattr(Clock, "tick", deadly)
    monkeypatch.setattr(Clock, "another", lambda self: not ticks and another(self))  # a deadline after the first chunk
    now = advance(broken)
    assert now.done == iwae_paper.TRAINING / 3 and now.line.startswith("epoch 1.0 of 3") and len(ticks) == 1
    monkeypatch.setattr(Clock, "another", another)
    for step in (20, 60):
        with pytest.raises(KeyboardInterrupt):
            advance(broken)
        assert list(chunks.found(broken, "iwae_k2")) == [step]
    assert advance(broken).done == 1.0

    (values, params), (others, leaves) = finals(whole), finals(broken)
    assert len(values) == TINY.seeds and values[0] != values[1]
    assert others == values and all(np.array_equal(params[name], leaves[name]) for name in params)


def test_iwae_past_its_deadline_trains_nothing_and_saves(tmp_path, small):
    now = iwae_paper.advance(2, tmp_path, time.monotonic() - 1, TINY)
    assert now.done == 0.0 and list(chunks.found(tmp_path, "iwae_k2")) == [0]


def test_single_runs_go_on_and_keep_their_layout(tmp_path, small, capsys):
    model, x = iwae.build(1, iwae.staircase(5)), iwae_paper.noise(20)
    about = dict(samples=1, epochs=2, seed=0, lr=1e-3, batch=4)
    assert iwae.train(model, tmp_path / "whole.npz", about, x)
    assert not iwae.train(model, tmp_path / "some.npz", about | {"epochs": 1}, x, deadline=time.monotonic() - 1)
    assert iwae.train(model, tmp_path / "some.npz", about | {"epochs": 1}, x)
    assert iwae.train(model, tmp_path / "some.npz", about, x)
    states = [iwae.restore(tmp_path / f"{name}.npz", iwae.begin(model))[0] for name in ("whole", "some")]
    assert int(states[0].step) == 10 and equal(*states)
    with np.load(tmp_path / "whole.npz") as z:
        assert z.files[:2] == ["spent", "about"] and json.loads(str(z["about"])) == about
        assert set(z.files[2:]) == {f"arr_{i}" for i in range(len(jax.tree.leaves(states[0])))}


# ---- the other jobs --------------------------------------------------------------------------------------------------------

RECIPE = '''"""A toy."""
import optax
from genjax.config import Recipe
from genjax.data import identity
from genjax.densities import gaussian
from genjax.families.vae import vae
from genjax.nets import mlp
data = "ring"
def recipe(spec, steps: int = 20) -> Recipe:
    """A toy."""
    model = vae(mlp((4,), (2,)), mlp((4,), (4,)), (1,), optax.adam(1e-3), likelihood=gaussian())
    return Recipe(model, (steps,), 8, prepare=identity, show=lambda x: x, chunk=10)
'''


def test_recipe_is_left_and_taken_up_to_the_same_bits(tmp_path, monkeypatch):
    path = tmp_path / "toy.py"
    path.write_text(RECIPE)
    job, about = device_recipes.planned(path, tiny=True), {"seconds": {}, "compiled": 0.0}
    programs = Programs(job)
    monkeypatch.setattr(device_recipes, "Programs", lambda job: programs)  # compiled once
    whole, _ = device_recipes.loop(job, programs, programs.first(), dict(about), Clock(), tmp_path)

    asked = []
    monkeypatch.setattr(Clock, "another", lambda self: asked.append(0) or len(asked) != 2)
    now = device_recipes.advance(tmp_path, float("inf"), tiny=True, paths=[path])
    assert now == Progress(0.5, "toy: step 10 of 20")
    half, _ = chunks.restore(tmp_path, "recipe_toy", programs.target)
    half = jax.device_put(half, jax.tree.map(lambda leaf: leaf.sharding, programs.target(10)))
    again, _ = device_recipes.loop(job, programs, half, dict(about), Clock(), tmp_path)
    assert equal(whole, again)

    assert device_recipes.advance(tmp_path, float("inf"), tiny=True, paths=[path]).done == 1.0
    assert device_recipes.advance(tmp_path, float("inf"), tiny=True, paths=[path]).done == 1.0
    (row,) = progress.entry(tmp_path, "recipes")["rows"]
    assert row["recipe"] == "toy" and row["keywords"] == {"steps": 20, "batch": 8} and not chunks.found(tmp_path, "recipe_toy")


def test_recipe_without_its_data_waits(tmp_path):
    path = tmp_path / "toy.py"
    path.write_text(RECIPE.replace('"ring"', '"no_such_set"'))
    now = device_recipes.advance(tmp_path, float("inf"), tiny=True, paths=[path])
    assert now.done == 0.0 and "toy: no data set 'no_such_set'" in now.line


def test_both_ways_to_undo_are_taken_and_put_back():
    before = genjax.step._either
    with device_undo.undoing_by(device_undo.select):
        trace = str(jax.make_jaxpr(lambda c: genjax.step._either(c, lambda: 1.0, lambda: 2.0))(True))
    assert "cond" not in trace and genjax.step._either is before
    with device_undo.undoing_by(device_undo.branch):
        trace = str(jax.make_jaxpr(lambda c: genjax.step._either(c, lambda: 1.0, lambda: 2.0))(True))
    assert "cond" in trace and genjax.step._either is before


# ---- the list and the order ------------------------------------------------------------------------------------------------


def toy(name: str, steps: list[float], device: str = "any") -> Job:
    """A job that comes to the next of `steps` each time, and has a row at the end."""
    left = iter(steps)

    def advance(folder, deadline):
        done = next(left)
        if done == 1.0:
            progress.keep(folder, name, record.row(name, "metric", [1.0], seeds=[0]))
        return Progress(done, f"came to {done}")

    return Job(name, "a toy", device, {"gpu": 10, "cpu": 100}, advance, "toys")


def test_next_takes_what_fits_in_order_and_tells_failures(tmp_path, capsys):
    jobs = [toy("a", [0.5, 1.0]), toy("b", [1.0], device="gpu"), toy("c", []), toy("d", [1.0])]
    after = []
    failed = pending.advance_all(jobs, tmp_path, float("inf"), "cpu", after.append)
    assert failed == 1 and [job.name for job in after] == ["a", "d"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["a", "c", "d"] and "failed" in lines[1]
    pending.advance_all(jobs[:2], tmp_path, time.monotonic() + pending.LEAST - 1, "cpu", after.append)
    assert "a: not begun" in capsys.readouterr().out and len(after) == 2
    pending.advance_all(jobs[:2], tmp_path, float("inf"), "cpu", after.append)
    pending.advance_all(jobs[:2], tmp_path, float("inf"), "cpu", after.append)  # a is done: not begun again
    assert [job.name for job in after] == ["a", "d", "a"] and progress.entry(tmp_path, "a")["done"] == 1.0


def test_list_tells_done_from_pending_and_believes_what_was_measured(tmp_path, monkeypatch):
    job = toy("a", [])
    assert pending.minutes_left(job, progress.entry(tmp_path, "a"), "gpu") == 10
    progress.update(tmp_path, "a", done=0.5, minutes={"gpu": 12.0}, share={"gpu": 0.25})
    known = progress.entry(tmp_path, "a")
    assert pending.minutes_left(job, known, "gpu") == 24 and pending.minutes_left(job, known, "cpu") == 50
    progress.update(tmp_path, "b", done=1.0)
    (tmp_path / "mnist").mkdir()
    for name in pending.MNIST:
        (tmp_path / name).write_bytes(b"x" * 250_000)
    monkeypatch.setenv("GENJAX_DATA", str(tmp_path))
    table = pending.table([job._replace(data=pending.MNIST), toy("b", []), toy("c", [])], tmp_path).splitlines()
    assert table[1].split()[:7] == ["a", "any", "50.0", "%", "24", "50", "mnist:"] and "1.0 MB" in table[1]
    assert table[2].split()[2] == "done" and table[3].split()[2:5] == ["pending", "10", "100"]
    monkeypatch.delenv("GENJAX_DATA")
    assert "mnist: missing" in pending.table([JOBS[-1]], tmp_path)


def test_rows_land_in_results_and_travel_with_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "ROOT", tmp_path / "there")
    monkeypatch.setitem(pending.TITLES, "toys", "Toys")
    monkeypatch.setenv("GENJAX_COMMIT", "abc1234")
    (tmp_path / "there").mkdir()
    jobs, folder = [toy("a", [1.0]), toy("b", [1.0])], tmp_path / "pending"
    for job in jobs:
        pending.advance(job, folder, float("inf"), "cpu")
        pending.publish(jobs, folder, job)
    written = json.loads((tmp_path / "there" / "results" / "toys.json").read_text())
    assert [row["recipe"] for row in written["rows"]] == ["a", "b"] and written["commit"] == "abc1234" and written["hardware"]
    monkeypatch.setattr(record, "ROOT", tmp_path / "here")
    pending.collect(folder)
    assert json.loads((tmp_path / "here" / "results" / "toys.json").read_text()) == written


def test_damaged_progress_is_one_line(tmp_path):
    (tmp_path / "progress.json").write_text("{")
    with pytest.raises(ValueError, match=r"progress.json is damaged; remove it"):
        progress.read(tmp_path)


def test_the_transformer_is_timed_and_its_operations_are_those_of_the_compiled_products(tmp_path):
    assert device_dit.advance(tmp_path, float("inf"), tiny=True).done == 1.0
    lines = progress.entry(tmp_path, "dit")["rows"]
    assert [line["recipe"] for line in lines] == list(device_dit.NAMES.values())
    assert all(0 < line["values"][0] < 1 and "forward pass" in line["note"] for line in lines)
    size = device_dit.TINY._replace(shape=(16, 16, 4), width=64, depth=2)
    net = dit(size.shape, patch=2, width=size.width, depth=size.depth, heads=size.heads, unroll=size.depth)
    x, t = jnp.zeros((4, *size.shape)), jnp.zeros(4)
    params = net.init(jax.random.key(0), x, t)
    compiled = jax.jit(net.apply).lower(params, x, t).compile().cost_analysis()["flops"] / len(x)
    assert compiled / 1.25 < size.operations / 3 < compiled  # the rest: patches, times, norms, activations


def test_every_job_is_complete():
    assert len({job.name for job in JOBS}) == len(JOBS)
    for job in JOBS:
        assert job.device in ("any", "gpu") and job.minutes["gpu"] > 0 and job.result in pending.TITLES
        assert job.device == "gpu" or job.minutes["cpu"] > 0


BARE = """
import sys
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"tyro", "sklearn", "scipy", "matplotlib", "tensorflow_datasets", "PIL", "tensorboardX"}:
            raise ImportError(f"{name} is not on a bare machine")
sys.meta_path.insert(0, Bare())
from benchmarks import pending, progress
sys.argv = ["pending", "--list", "--folder", sys.argv[1]]
assert pending.main() == 0 and "jax" not in sys.modules
import benchmarks.device_speed, benchmarks.device_undo, benchmarks.device_recipes, benchmarks.device_dit, benchmarks.seeds
from benchmarks import iwae
iwae.HIDDEN, iwae.LATENT = (4,), (2,)
sys.argv = ["pending", "--job", "iwae_k1", "--tiny", "--folder", sys.argv[-1]]
sys.exit(pending.main())
"""


def test_runs_on_a_bare_machine(tmp_path):
    command = [sys.executable, "-c", BARE, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert ended.returncode == 0, ended.stderr
    assert "iwae_k1: VAE, k = 1" in ended.stdout and progress.entry(tmp_path, "iwae_k1")["done"] == 1.0


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"--device gpu: jax finds only cpu here"):
        pending.device("gpu")
