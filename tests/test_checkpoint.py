"""Checkpoints: bitwise, proved whole or not used, and a failed save loses nothing that was saved before."""

import random
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.checkpoint import Checkpoints, damage, export, manifest, steps
from genjax.parallel import data_mesh, shardings
from genjax.step import State


def make_state(seed: int, size: int = 64) -> State:
    """A state with all that a state may hold: a typed key, optimizer tuples, memory, an empty branch."""
    key = jax.random.key(seed)
    params = {"a": {"w": jax.random.normal(key, (size,))}, "b": jnp.ones((3, 2), jnp.bfloat16)}
    opt = {"fit": optax.adam(1e-3).init(params), "none": optax.sgd(0.1).init(params)}
    memory, zero = {"chains": jax.random.normal(key, (8, 2))}, jnp.zeros((), jnp.int32)
    return State(zero + seed, key, params, jax.tree.map(jnp.copy, params), opt, memory, zero)


def like(state: State) -> State:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), state)


def abstract():
    return lambda step: like(make_state(0))


def bits(tree) -> list[bytes]:
    plain = lambda a: jax.random.key_data(a) if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key) else a
    return [np.asarray(plain(leaf)).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run folder with checkpoints 1, 2 and 3."""
    folder = tmp_path_factory.mktemp("saved")
    checkpoints = Checkpoints(folder, keep=3)
    for step in (1, 2, 3):
        checkpoints.save(step, make_state(step))
    checkpoints.close()
    return folder


@pytest.fixture
def run(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


def test_restores_the_newest_bit_for_bit(run):
    step, state = Checkpoints(run).restore(abstract())
    assert step == 3 and bits(state) == bits(make_state(3))
    assert jax.tree.structure(state) == jax.tree.structure(make_state(3))


def test_nothing_saved_is_nothing_restored(tmp_path):
    assert Checkpoints(tmp_path).restore(abstract()) is None


def test_a_state_given_away_after_save_is_saved_as_it_was(tmp_path):
    state, checkpoints = make_state(1, 2**20), Checkpoints(tmp_path)
    before = bits(state)
    overwrite = jax.jit(lambda s: s._replace(params=jax.tree.map(lambda a: a * 0 - 1, s.params)), donate_argnums=0)
    checkpoints.save(1, state)
    overwrite(state)
    checkpoints.close()
    assert bits(Checkpoints(tmp_path).restore(lambda step: like(make_state(1, 2**20)))[1]) == before


def test_restores_on_other_devices(run):
    state_sharding, _ = shardings(data_mesh())
    assert data_mesh().size == 4
    target = lambda step: State(*map(
        lambda tree, sharding: jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree),
        make_state(0), state_sharding))
    _, state = Checkpoints(run).restore(target)
    assert bits(state) == bits(make_state(3)) and len(state.params["b"].devices()) == 4


def test_100_of_100_flipped_bytes_are_noticed(run):
    """A hundred anywhere, one in every file at least, and each byte of the manifest."""
    folder, rng = run / "checkpoints", random.Random(0)
    files = [path for path in sorted(folder.joinpath("3").rglob("*")) if path.is_file() and path.stat().st_size]
    flips = [(file, rng.randrange(file.stat().st_size)) for file in [*files, *rng.choices(files, k=100 - len(files))]]
    flips += [(manifest(folder, 3), place) for place in range(manifest(folder, 3).stat().st_size)]
    for file, place in flips:
        whole = file.read_bytes()
        file.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1 :])
        assert damage(folder, 3), f"byte {place} of {file}"
        file.write_bytes(whole)
    assert not damage(folder, 3)


@pytest.mark.parametrize("harm", ["truncate", "remove", "add", "empty folder", "no manifest"])
def test_a_damaged_newest_is_named_and_the_one_before_used(run, harm, capsys):
    folder = run / "checkpoints"
    victim = max((path for path in (folder / "3").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    harms = {
        "truncate": lambda: victim.write_bytes(victim.read_bytes()[:-1]),
        "remove": lambda: victim.unlink(),
        "add": lambda: victim.with_name("new").write_text(""),
        "empty folder": lambda: (shutil.rmtree(folder / "3"), (folder / "3").mkdir()),
        "no manifest": lambda: manifest(folder, 3).unlink(),
    }
    harms[harm]()
    step, state = Checkpoints(run).restore(abstract())
    said = capsys.readouterr().err
    assert step == 2 and bits(state) == bits(make_state(2))
    assert "checkpoint 3" in said and said.count("\n") == 1
    assert "manifest" in said if harm == "no manifest" else "file 3/" in said


def test_all_damaged_is_an_error_not_a_new_beginning(run):
    for step in (1, 2, 3):
        manifest(run / "checkpoints", step).write_text("nonsense")
    with pytest.raises(ValueError, match="are damaged; remove that folder"):
        Checkpoints(run).restore(abstract())


def test_the_newest_are_kept_and_a_damaged_one_is_written_anew(run):
    manifest(run / "checkpoints", 3).write_text("nonsense")
    checkpoints = Checkpoints(run, keep=2)
    assert checkpoints.restore(abstract())[0] == 2
    for step in (3, 4):
        checkpoints.save(step, make_state(step))
    checkpoints.close()
    assert steps(run / "checkpoints") == [4, 3] and not damage(run / "checkpoints", 3)


def test_a_checkpoint_of_another_model_is_refused(run):
    other = make_state(0)._replace(params={"c": jnp.zeros(2)})
    with pytest.raises(ValueError, match="of another model"):
        Checkpoints(run).restore(lambda step: like(other))


def test_a_full_disk_keeps_the_old_and_the_next_save_works(tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        checkpoints = Checkpoints(disk)
        checkpoints.save(1, make_state(1))
        checkpoints.settle(wait=True)
        (disk / "filler").write_bytes(bytes(2**20 - 2**17))
        checkpoints.save(2, make_state(2, 2**18))
        checkpoints.settle(wait=True)
        said = capsys.readouterr().err
        assert "checkpoint 2 could not be written (No space left on device)" in said and said.count("\n") == 1
        with pytest.raises(OSError, match="last state is not saved"):
            checkpoints.close()
        assert Checkpoints(disk).restore(abstract())[0] == 1
        (disk / "filler").unlink()
        checkpoints.save(3, make_state(3))
        checkpoints.close()
        step, state = Checkpoints(disk).restore(abstract())
        assert step == 3 and bits(state) == bits(make_state(3))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_export_names_arrays_by_their_paths(tmp_path):
    from safetensors.numpy import load_file

    params = {"encoder": {"Dense_0": {"kernel": jnp.arange(6.0).reshape(2, 3)}}, "scale": jnp.ones(())}
    assert export(params, tmp_path / "p.safetensors") == 2
    read = load_file(tmp_path / "p.safetensors")
    np.testing.assert_array_equal(read["encoder/Dense_0/kernel"], params["encoder"]["Dense_0"]["kernel"])
    assert set(read) == {"encoder/Dense_0/kernel", "scale"}
