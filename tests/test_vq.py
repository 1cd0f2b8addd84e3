"""Quantizers: codes and vectors agree, codebooks follow their means, dead codes come back, gradients pass straight through."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import genjax
from genjax.densities import gaussian
from genjax.families.autoregressive import autoregressive
from genjax.families.vq import usage, vq
from genjax.heads import categorical
from genjax.hybrids.latent import latent
from genjax.model import as_batch
from genjax.nets import gpt, mlp
from genjax.quantizers import codebook, fsq, residual, vectors

DECAY = 0.9


def blobs(count=64, seed=0):
    """Points around 4 corners."""
    corner = jax.random.randint(jax.random.key(seed), (count, 1), 0, 4)
    centre = jnp.concatenate([corner // 2, corner % 2], axis=1) * 4.0 - 2.0
    return centre + 0.1 * jax.random.normal(jax.random.key(seed + 1), (count, 2))


def followed(book, params, z, key=jax.random.key(9)):
    """What one step of the owner's phase makes of a codebook."""
    target = book.target(params, key, z)
    return jax.tree.map(lambda old, new: old + (1 - DECAY) * (new - old), params, target)


def test_codebook_starts_by_k_means():
    z = blobs()
    params = codebook(4).init(jax.random.key(0), z)
    assert jnp.abs(vectors(params)[:, None] - jnp.sign(z) * 2).sum(-1).min(0).max() < 0.2


def test_codebook_follows_running_means_and_counts():
    book, z = codebook(4, DECAY, dead=0.0), blobs()
    params = {"sum": jnp.asarray([[-2.0, -2], [-2, 2], [2, -2], [2, 2]]) / 4, "count": jnp.full(4, 0.25)}
    after = followed(book, params, z)
    nearest = np.argmin(((np.asarray(z)[:, None] - np.asarray(vectors(params))) ** 2).sum(-1), axis=1)
    assert (book.encode(params, z) == nearest).all()
    for k in range(4):
        np.testing.assert_allclose(after["count"][k], 0.9 * 0.25 + 0.1 * (nearest == k).mean(), rtol=1e-5)
        np.testing.assert_allclose(after["sum"][k], 0.9 * params["sum"][k] + 0.1 * z[nearest == k].sum(0) / 64, rtol=1e-4)


def test_a_dead_code_is_put_on_a_datum():
    book, z = codebook(2, DECAY, dead=0.1), blobs()
    params = {"sum": jnp.asarray([[0.0, 0], [10, 10]]), "count": jnp.asarray([0.9, 0.02])}
    after = followed(book, params, z)
    assert jnp.abs(vectors(after)[1] - z).sum(-1).min() < 1e-3
    assert jnp.abs(vectors(after)[0] - z.mean(0)).max() < 1.0


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (3, 4), (3,)])
def test_fsq_codes_and_numbers_are_one_to_one(levels):
    quantizer = fsq(levels)
    codes = jnp.arange(quantizer.size)
    numbers = quantizer.decode({}, codes)
    assert quantizer.size == np.prod(levels) and len(np.unique(numbers, axis=0)) == quantizer.size
    z = jnp.arctanh(jax.random.uniform(jax.random.key(0), (5000, len(levels)), minval=-0.999, maxval=0.999))
    seen = quantizer.encode({}, z)
    assert seen.min() >= 0 and seen.max() < quantizer.size
    np.testing.assert_allclose(
        quantizer.decode({}, seen), quantizer.bounded(z), atol=0.5 / np.min(np.asarray(levels) // 2) + 1e-6
    )
    assert len(np.unique(seen)) > 0.8 * quantizer.size


def test_each_residual_part_quantizes_what_is_left():
    z = jax.random.normal(jax.random.key(0), (256, 3))
    quantizer = residual([codebook(8, DECAY)] * 3)
    params = jax.jit(quantizer.init)(jax.random.key(1), z)
    codes = quantizer.encode(params, z)
    assert codes.shape == (256, 3)
    parts = [vectors(params[str(k)])[codes[:, k]] for k in range(3)]
    np.testing.assert_allclose(quantizer.decode(params, codes), sum(parts), rtol=1e-5)
    errors = [jnp.mean((z - sum(parts[: k + 1])) ** 2) for k in range(3)]
    assert errors[0] > errors[1] > errors[2]


def small(quantizer, latent=(4, 2), tx=None):
    encoder, decoder = mlp((16,), latent), mlp((16,), (4, 4, 1))
    return vq(encoder, decoder, quantizer, latent, tx or optax.adam(1e-2), likelihood=gaussian(0.3), decay=DECAY)


def test_gradient_passes_straight_through():
    model = small(codebook(4, DECAY))
    batch = as_batch(jax.random.normal(jax.random.key(0), (8, 4, 4, 1)))
    params = jax.jit(model.init)(jax.random.key(1), batch)
    slope = jax.jit(jax.grad(lambda p: model.stages[0][0].loss(p, jax.random.key(2), batch).value))(params)
    assert optax.tree.norm(slope["encoder"]) > 0 and optax.tree.norm(slope["codebook"]) == 0


@pytest.mark.parametrize("quantizer", [
    pytest.param(codebook(8, DECAY), id="book"),
    pytest.param(fsq((4, 3)), id="fsq", marks=pytest.mark.slow),
    pytest.param(residual([codebook(8, DECAY)] * 2), id="residual", marks=pytest.mark.slow),
])  # fmt: skip
def test_it_learns_and_its_codes_have_a_prior(quantizer):
    x = jnp.repeat(jax.random.bernoulli(jax.random.key(0), 0.5, (256, 4, 1, 1)), 4, axis=2).astype(jnp.float32)  # lit rows
    batch = as_batch(x)
    depth = quantizer.depth or 1
    prior = autoregressive(
        gpt(quantizer.size, quantizer.size, 4 * depth, width=16, depth=1, heads=2),
        (4, depth) if quantizer.depth else (4,), categorical(quantizer.size, grid=False), optax.adam(1e-2),
    )  # fmt: skip
    model = latent(small(quantizer), prior, scaled=False)
    state = jax.jit(lambda key: genjax.init(model, key, batch))(jax.random.key(3))
    for stage in (0, 1):
        state = genjax.next_stage(model, state, stage) if stage else state
        step = genjax.make_step(model, stage, begins=150 * stage, ema_decay=0.9)
        state, _ = jax.jit(lambda state, step=step: jax.lax.scan(lambda s, _: step(s, batch), state, length=150))(state)
    assert int(state.skipped) == 0
    back = model.decode(state.params, model.encode(state.params, jax.random.key(0), batch))
    assert jnp.mean((back - x) ** 2) < 0.03
    drawn = jax.jit(model.sample)(state.ema, jax.random.split(jax.random.key(4), 64))
    rows = drawn[..., 0].mean(2)
    assert jnp.mean(jnp.minimum(jnp.abs(rows), jnp.abs(rows - 1))) < 0.15
    assert 0.3 < rows.mean() < 0.7


def test_usage_of_a_batch():
    seen = usage(jnp.asarray([0, 0, 1, 1, 2, 2, 3, 3]), 16)
    np.testing.assert_allclose((seen["perplexity"], seen["active_codes"]), (4, 4), rtol=1e-5)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"codebook of 100 .* batch has 64"):
        codebook(100).init(jax.random.key(0), blobs())
    with pytest.raises(ValueError, match="three levels or more"):
        fsq((8, 2))
    with pytest.raises(ValueError, match=r"quantizes 2 channels, but z is \(3, 4\)"):
        fsq((4, 4)).encode({}, jnp.zeros((3, 4)))
    with pytest.raises(ValueError, match="codebooks of one size"):
        residual([codebook(4), codebook(8)])
    with pytest.raises(ValueError, match=r"encoder gives \(4, 2\) .* latent=\(2, 2\)"):
        vq(mlp((4,), (4, 2)), mlp((4,), (4,)), codebook(4), (2, 2), optax.sgd(0.1)).init(
            jax.random.key(0), as_batch(jnp.zeros((8, 4)))
        )
