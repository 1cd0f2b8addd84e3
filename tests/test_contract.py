"""The four properties, for every public model: ownership, resume, invariance (truth is in test_maths)."""

import importlib
import inspect
import pkgutil
import typing
from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import genjax
import genjax.families
import genjax.hybrids
from genjax import parallel
from genjax.families import CAPABLE
from genjax.model import Loss, Model, Phase, as_batch, branches, check, frozen, get, put, under
from tests.table import (
    BATCH,
    BLIND,
    COVERS,
    FEW,
    PUBLIC,
    QUICK,
    TABLE,
    TOGETHER,
    batch,
    batches,
    compiled,
    every_stage,
    model,
    rows,
    start,
)


def one_phase(name, stage):
    """Whether the stage is a single phase that never rests."""
    phases = model(name).stages[stage]
    return len(phases) == 1 and phases[0].when is None


each_row = rows(TABLE, QUICK)
each_stage = rows(TABLE, QUICK, every_stage)
each_seeing_stage = rows(TABLE, QUICK, lambda name: [stage for stage in every_stage(name) if (name, stage) not in BLIND])
each_of_several = rows(TABLE, FEW, lambda name: [stage for stage in every_stage(name) if not one_phase(name, stage)])
each_public = rows(PUBLIC, FEW)
each_last = rows(PUBLIC, FEW, lambda name: [len(model(name).stages) - 1])


def leaves(tree):
    """A tree as numpy, keys as their data."""
    data = lambda leaf: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    return jax.tree.map(lambda leaf: np.asarray(data(leaf)), tree)


def same(a, b):
    chex.assert_trees_all_equal(leaves(a), leaves(b))


def differ(a, b):
    return any((x != y).any() for x, y in zip(jax.tree.leaves(leaves(a)), jax.tree.leaves(leaves(b)), strict=True))


def close(a, b, rtol=1e-5, atol=1e-6):
    chex.assert_trees_all_close(leaves(a), leaves(b), rtol=rtol, atol=atol)


def public_constructors():
    """Every public function of families and hybrids that returns a Model."""
    for package in (genjax.families, genjax.hybrids):
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(info.name)
            for name, value in vars(module).items():
                ours = inspect.isfunction(value) and value.__module__ == info.name and not name.startswith("_")
                if ours and typing.get_type_hints(value).get("return") is Model:
                    yield f"{info.name}.{name}"


def test_table_is_complete():
    assert sorted(public_constructors()) == sorted(COVERS)
    assert set(COVERS.values()) <= set(TABLE)


# ---- ownership -------------------------------------------------------------------------------------------------------


def apart_by_branch(params):
    """Parameters a little off their start, each branch by its own factor: what follows another branch has somewhere to go."""
    off = lambda branch, factor: jax.tree.map(lambda p: jnp.asarray((factor * np.asarray(p)).astype(p.dtype)), branch)
    return {name: off(branch, 1 + 0.01 * number) for number, (name, branch) in enumerate(params.items())}


@cache
def alone(name, stage, number):
    """(a row's model with one phase for its only one, never resting; the jitted step of it)."""
    phases = model(name).stages[stage]
    only = model(name)._replace(stages=((phases[number]._replace(when=None),),))
    return only, compiled(name, stage) if one_phase(name, stage) else jax.jit(genjax.make_step(only))


def moves_only(name, model, stage, step):
    """The step of a stage changes what its phases train, and nothing else.

    All that the first phase awake trains is moved. Later ones start from what that one left, where a toy may be saturated.
    """
    phases = [phase for phase in model.stages[stage] if phase.when is None or phase.when(jnp.asarray(0))]
    apart = apart_by_branch(start(name).params)
    before = genjax.next_stage(model, start(name)._replace(params=apart, ema=apart), stage)
    after, _ = step(before, batch())
    params, ema = after.params, after.ema
    for path in phases[0].trains:
        assert differ(get(before.params, path), get(params, path)), f"{path} was left where it was"
    for path in [path for phase in phases for path in phase.trains]:
        params, ema = put(params, path, get(before.params, path)), put(ema, path, get(before.ema, path))
    same((params, ema), (before.params, before.ema))


@each_stage
def test_a_stage_changes_what_it_trains_and_nothing_else(name, stage):
    moves_only(name, model(name), stage, compiled(name, stage))


@each_of_several
def test_a_phase_changes_what_it_trains_and_nothing_else(name, stage):
    for number in range(len(model(name).stages[stage])):
        only, step = alone(name, stage, number)
        moves_only(name, only, 0, step)


@each_stage
def test_what_is_trained_and_what_is_frozen_is_the_whole_tree(name, stage):
    params, phases = start(name).params, model(name).stages[stage]
    paths = [path for phase in phases for path in phase.trains] + frozen(params, phases)
    seen = {id(leaf) for path in paths for leaf in jax.tree.leaves(get(params, path))}
    assert seen == {id(leaf) for leaf in jax.tree.leaves(params)}


# ---- resume ----------------------------------------------------------------------------------------------------------


@each_stage
def test_stop_and_resume_is_bitwise(name, stage):
    step, straight = compiled(name, stage), start(name, stage)
    for seed in range(4):
        straight, _ = step(straight, batch(seed))
    state = start(name, stage)
    for seed in range(4):
        state, _ = step(state, batch(seed))
        if seed == 1:  # through the host, as a checkpoint goes
            key = jax.random.wrap_key_data(jnp.asarray(leaves(state.key)))
            state = jax.tree.map(jnp.asarray, leaves(state._replace(key=None)))._replace(key=key)
    same(state, straight)


# ---- invariance ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["implicit, adversarial", "memory"])
def test_jit_equals_eager(name):
    close(compiled(name)(start(name), batch()), genjax.make_step(model(name))(start(name), batch()), atol=1e-5)


@each_last
def test_a_scan_over_seeds_under_vmap_equals_single_steps_of_single_seeds(name, stage):
    states = [start(name, stage, seed) for seed in (0, 1)]
    stacked = jax.tree.map(lambda *leaf: jnp.stack(leaf), *states)._replace(step=states[0].step)
    together = jax.jit(parallel.scanned(parallel.seeded(genjax.make_step(model(name), stage))))(stacked, batches(3))
    alone = [loop(compiled(name, stage), state) for state in states]
    state, metrics = jax.tree.map(lambda *leaf: jnp.stack(leaf), *alone)
    close(together, (state._replace(step=alone[0][0].step), jax.tree.map(lambda m: jnp.moveaxis(m, 0, 1), metrics)), atol=1e-5)


def loop(step, state):
    """(state, stacked metrics) of three steps."""
    metrics = []
    for seed in range(3):
        state, seen = step(state, batch(seed))
        metrics.append(seen)
    return state, jax.tree.map(lambda *m: jnp.stack(m), *metrics)


def sgd_steps(name, make, count=3):
    """A few plain-SGD steps, since Adam hides a wrongly scaled gradient; returns the state and the last metrics."""
    sgd = TABLE[name](optax.sgd(0.01))
    state = genjax.next_stage(sgd, jax.tree.map(jnp.copy, start(name)), 0)  # a copy, for `sharded` takes it
    step = make(sgd)
    for seed in range(count):
        state, metrics = step(state, batch(seed))
    return state, metrics


@cache
def sgd_steps_of_one_device(name):
    return sgd_steps(name, lambda m: jax.jit(genjax.make_step(m)))


@each_public
def test_four_devices_equal_one(name):
    four = sgd_steps(name, lambda m: parallel.sharded(genjax.make_step(m), parallel.data_mesh()))
    close(four, sgd_steps_of_one_device(name))


@rows([name for name in PUBLIC if name not in TOGETHER], FEW)
def test_pmap_equals_jit(name):
    (state, metrics) = sgd_steps(name, lambda m: parallel.pmapped(genjax.make_step(m, axis_name="data")))
    (wanted, other) = sgd_steps_of_one_device(name)
    close(state, wanted)
    losses = [key for key in metrics if key.endswith("/loss")]
    close({key: metrics[key] for key in losses}, {key: other[key] for key in losses})


@each_row
def test_sample_k_depends_on_key_k_alone(name):
    keys, y = jax.random.split(jax.random.key(5), 7), jnp.arange(7) % 3
    sample, params = jax.jit(model(name).sample), start(name).params
    together = sample(params, keys, y)
    close(jnp.concatenate([sample(params, keys[k : k + 1], y[k : k + 1]) for k in (0, 3, 6)]), together[jnp.array([0, 3, 6])])
    assert jnp.unique(together.reshape(7, -1), axis=0).shape[0] == 7


@each_public
def test_noise_is_keyed_by_name(name):
    """A phase draws the same noise whatever stands before it in its stage."""
    first = model(name).stages[0][-1]._replace(when=None)
    only, step = alone(name, 0, len(model(name).stages[0]) - 1)
    before = genjax.next_stage(only, start(name), 0)
    before = before._replace(step=before.step + 1)
    resting = Phase("resting", lambda *_: genjax.Loss(jnp.zeros(())), (), optax.sgd(0.0))
    after, _ = step(before, batch())
    with_other = only._replace(stages=((resting, first),))
    before = before._replace(opt=before.opt | {"resting": resting.tx.init({})})
    other, _ = jax.jit(genjax.make_step(with_other))(before, batch())
    close(other.params, after.params, rtol=1e-6, atol=1e-7)


# ---- memory, resting phases, non-finite moves ------------------------------------------------------------------------


def test_memory_rides_with_the_next_batch():
    first, _ = compiled("memory")(start("memory"), batch())
    second, metrics = compiled("memory")(first, batch())
    assert not np.allclose(first.memory["chains"], second.memory["chains"])
    np.testing.assert_allclose(metrics["energy/spread"], second.memory["chains"].std(), rtol=1e-6)


def test_memory_is_lifted_with_its_phase():
    inner = model("memory")
    state, phase = start("memory"), under("outer", inner.stages[0][0])
    lifted = Model(lambda key, b: {"outer": inner.init(key, b)}, ((phase,),), inner.sample)
    lifted_state = genjax.init(lifted, jax.random.key(0), batch())._replace(memory={"outer/chains": state.memory["chains"]})
    after, _ = jax.jit(genjax.make_step(lifted))(lifted_state, batch())
    assert list(after.memory) == ["outer/chains"]
    assert after.memory["outer/chains"].shape == state.memory["chains"].shape


def test_a_resting_phase_changes_nothing_and_reports_nan():
    name = "adversarial, n_critic"
    resting, seen = compiled(name)(start(name), batch())
    same(resting.params["generator"], start(name).params["generator"])
    same(resting.opt["critic/generator"], start(name).opt["critic/generator"])
    assert all(np.isnan(v) for k, v in seen.items() if k.startswith("critic/generator/"))
    moved, seen = compiled(name)(resting, batch())
    assert np.isfinite(seen["critic/generator/loss"])
    assert differ(moved.params["generator"], resting.params["generator"])


@each_seeing_stage
def test_a_non_finite_batch_changes_nothing_but_the_counters(name, stage):
    before = start(name, stage)
    bad = batch() | {"x": batch()["x"].at[0, 0].set(jnp.nan)}
    after, metrics = compiled(name, stage)(before, bad)
    touched = [phase for phase in model(name).stages[stage] if float(metrics[f"{phase.name}/skipped"]) == 1]
    assert touched, "the poisoned batch reached no move"
    assert (int(after.step), int(after.skipped)) == (1, 1)
    same(after.ema, before.ema)
    for phase in touched:
        same([get(after.params, p) for p in phase.trains], [get(before.params, p) for p in phase.trains])
        same(after.opt[phase.name], before.opt[phase.name])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(leaves((after.params, after.memory))))
    healed, _ = compiled(name, stage)(compiled(name, stage)(after, bad)[0], batch())
    assert int(healed.skipped) == 0


# ---- bad input -------------------------------------------------------------------------------------------------------


def test_unknown_branch_lists_those_there_are():
    wrong = model("vae")._replace(stages=((model("vae").stages[0][0]._replace(trains=("encodr",)),),))
    with pytest.raises(KeyError, match=r"no branch 'encodr'; there are encoder, .*decoder"):
        genjax.init(wrong, jax.random.key(0), batch())


def test_overlapping_paths_and_equal_names_are_refused():
    phase = model("vae").stages[0][0]
    params = start("vae").params
    inside = branches(params["encoder"], 1)[0]
    with pytest.raises(ValueError, match="twice"):
        check(params, ((phase._replace(trains=("encoder", f"encoder/{inside}")),),))
    with pytest.raises(ValueError, match="two phases of one name"):
        check(params, ((phase, phase),))


def test_a_missing_capability_is_named():
    from genjax.hybrids.adversarial import adversarial, reconstructions
    from genjax.hybrids.latent import latent

    said = "latent needs a model with `encode`; this one has denoise; models that have it: vae, vq, autoencoder, flow"
    with pytest.raises(ValueError, match=f"^{said}$"):
        latent(model("diffusion"), model("diffusion"))
    with pytest.raises(ValueError, match="this one has only `sample`; models that have it: vae"):
        latent(model("implicit, adversarial"), model("diffusion"))
    with pytest.raises(ValueError, match="needs a model with `encode`"):
        reconstructions(model("diffusion"))
    with pytest.raises(ValueError, match="`generates`"):
        adversarial(model("memory"), None, optax.sgd(1.0), optax.sgd(1.0))


def test_capabilities_are_told_of_the_families_that_have_them():
    rows = {name.split(".")[-1]: model(row) for name, row in COVERS.items() if ".families." in name}
    others = {"generates", "memory", "process"}  # no combinator asks for these by name
    assert set(CAPABLE) == {*Model._field_defaults} - others
    for field, told in CAPABLE.items():
        assert sorted(told) == sorted(name for name, made in rows.items() if getattr(made, field) is not None), field


def test_two_critics_of_one_name_are_refused():
    from genjax.hybrids.adversarial import adversarial
    from tests.table import small

    twice = adversarial(model("adversarial(vae)"), small(()), optax.sgd(1.0), optax.sgd(1.0))
    with pytest.raises(ValueError, match="branch 'critic' already"):
        genjax.init(twice, jax.random.key(0), batch())


def test_as_batch_numbers_its_examples():
    assert as_batch(jnp.zeros((BATCH, 2)))["index"].tolist() == list(range(BATCH))


def test_a_fresh_state_can_be_donated_whatever_its_leaves_share():
    one = jnp.ones(3)
    keeper = optax.GradientTransformation(lambda params: params, lambda grads, kept, params=None: (grads, kept))
    move = Phase("move", lambda params, key, batch: Loss(jnp.sum(params["a"] * params["b"])), ("a", "b"), keeper)
    twins = Model(lambda key, batch: {"a": one, "b": one}, ((move,),), lambda params, keys, y=None: keys)
    state, metrics = jax.jit(genjax.make_step(twins), donate_argnums=0)(genjax.init(twins, jax.random.key(0), batch()), batch())
    assert float(metrics["move/loss"]) == 3.0 and int(state.step) == 1
