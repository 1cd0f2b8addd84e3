"""Quantizers against vector-quantize-pytorch: the codebook's update step by step, its start and revivals, FSQ, residual codes.

Ours keeps sums and counts a vector of the batch, theirs in all; theirs smooths its counts (`eps`), which is turned off.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import genjax
from genjax.families.vq import vq
from genjax.model import as_batch, stream
from genjax.nets import Net
from genjax.quantizers import codebook, fsq, residual, vectors
from tests.parity import need, tensor

torch, library = need("torch"), need("vector_quantize_pytorch")

SIZE, CHANNELS, ROWS, DECAY, STEPS = 12, 4, 96, 0.8, 5
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def batches(steps=STEPS):
    """Blobs that wander, so that every step moves the codebook."""
    rng = np.random.default_rng(0)
    centres = 2 * rng.standard_normal((SIZE, CHANNELS))
    drift = 0.3 * rng.standard_normal((SIZE, CHANNELS))
    which = rng.integers(0, SIZE, (steps, ROWS))
    noise = 0.5 * rng.standard_normal((steps, ROWS, CHANNELS))
    return [np.float32((centres + k * drift)[which[k]] + noise[k]) for k in range(steps)]


def as_it_is():
    return Net(lambda key, x: {}, lambda params, x: x)


def trained(quantizer, z):
    """A VQ model whose encoder and decoder do nothing: its state, and the step that training takes."""
    model = vq(as_it_is(), as_it_is(), quantizer, (CHANNELS,), optax.sgd(0.1), decay=DECAY)
    state = genjax.init(model, jax.random.key(0), as_batch(jnp.asarray(z)))
    return model, state, jax.jit(genjax.make_step(model))


def give(theirs, params):
    """Our codebook to one of theirs."""
    theirs.embed.copy_(tensor(vectors(params))[None])
    theirs.embed_avg.copy_(ROWS * tensor(params["sum"])[None])
    theirs.cluster_size.copy_(ROWS * tensor(params["count"])[None])


def same_codebook(params, theirs):
    close(vectors(params), theirs.embed[0])
    close(ROWS * params["sum"], theirs.embed_avg[0])
    close(ROWS * params["count"], theirs.cluster_size[0])


def plain(**more):
    """Options of theirs that say what ours is."""
    return dict(dim=CHANNELS, codebook_size=SIZE, decay=DECAY, eps=0.0, rotation_trick=False, **more)


def test_codebook_follows_step_by_step():
    data = batches()
    model, state, step = trained(codebook(SIZE, DECAY, dead=0.0), data[0])
    theirs = library.VectorQuantize(**plain()).train()
    give(theirs._codebook, state.params["codebook"])
    start = vectors(state.params["codebook"])
    for z in data:
        codes = model.encode(state.params, None, as_batch(jnp.asarray(z)))
        out, their_codes, _ = theirs(tensor(z)[None])
        np.testing.assert_array_equal(codes, their_codes[0])
        close(model.decode(state.params, codes), out[0])
        state, _ = step(state, as_batch(jnp.asarray(z)))
        same_codebook(state.params["codebook"], theirs._codebook)
    assert abs(vectors(state.params["codebook"]) - start).max() > 0.5
    assert len(np.unique(codes)) > SIZE // 2


def test_codebook_starts_by_the_same_k_means():
    z, key = batches(1)[0], jax.random.key(3)
    at_first = vectors(codebook(SIZE, rounds=0).init(key, z))
    pick = z[jax.random.choice(stream(key, "start"), ROWS, (SIZE,), replace=False)]
    close(at_first, pick)
    kmeans = need("vector_quantize_pytorch.vector_quantize_pytorch").kmeans
    means, counts = kmeans(tensor(z)[None], SIZE, num_iters=10, sample_fn=lambda samples, count: tensor(pick)[None])
    params = codebook(SIZE, rounds=10).init(key, z)
    close(vectors(params), means[0])
    assert abs(means[0] - tensor(pick)).max() > 0.5
    np.testing.assert_array_equal(counts.sum(), ROWS)


def test_the_same_codes_are_dead_and_come_back():
    share = 0.3  # of the even share
    z = batches(1)[0]
    _, state, step = trained(codebook(SIZE, DECAY, dead=share), z)
    book = state.params["codebook"]
    count = book["count"].at[:3].set(0.5 * share / SIZE)  # three that nothing will fall to
    far = vectors(book).at[:3].add(100.0)
    state = state._replace(params=state.params | {"codebook": {"sum": far * count[:, None], "count": count}})
    options = plain(threshold_ema_dead_code=share * ROWS / SIZE)
    theirs = library.VectorQuantize(**options).train()
    theirs._codebook.reset_cluster_size = ROWS / SIZE
    give(theirs._codebook, state.params["codebook"])
    theirs(tensor(z)[None])
    state, _ = step(state, as_batch(jnp.asarray(z)))
    ours, expected = vectors(state.params["codebook"]), theirs._codebook.embed[0].numpy()
    from_batch = lambda e: (abs(e[:, None] - z[None]).max(-1) < 1e-4).any(1)
    np.testing.assert_array_equal(from_batch(np.asarray(ours)), from_batch(expected))
    assert from_batch(expected)[:3].all() and not from_batch(expected).all()
    close(ROWS * state.params["codebook"]["count"], theirs._codebook.cluster_size[0])
    close(ours[~from_batch(expected)], expected[~from_batch(expected)])


def test_residual_codes_and_their_codebooks_step_by_step():
    data, depth = batches(), 3
    quantizer = residual([codebook(SIZE, DECAY, dead=0.0) for _ in range(depth)])
    model, state, step = trained(quantizer, data[0])
    theirs = library.ResidualVQ(num_quantizers=depth, **plain()).train()
    for number, layer in enumerate(theirs.layers):
        give(layer._codebook, state.params["codebook"][str(number)])
    for z in data:
        codes = model.encode(state.params, None, as_batch(jnp.asarray(z)))
        out, their_codes, _ = theirs(tensor(z)[None])
        np.testing.assert_array_equal(codes, their_codes[0])
        close(model.decode(state.params, codes), out[0])
        state, _ = step(state, as_batch(jnp.asarray(z)))
        for number, layer in enumerate(theirs.layers):
            same_codebook(state.params["codebook"][str(number)], layer._codebook)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (3, 4), (7, 6, 5)])
def test_fsq_has_the_same_values_codes_and_gradients(levels):
    ours, theirs = fsq(levels), library.FSQ(list(levels))
    z = np.float32(2 * np.random.default_rng(0).standard_normal((200, len(levels))))
    leaf = tensor(z)[None].requires_grad_()
    out, codes = theirs(leaf)
    (out**2).sum().backward()
    np.testing.assert_array_equal(ours.encode({}, z), codes[0])
    close(ours.decode({}, codes[0].numpy()), out[0].detach())
    close(ours.decode({}, np.arange(ours.size)), theirs.implicit_codebook)

    def square(z):
        soft = ours.bounded(z)
        return jnp.sum((soft + jax.lax.stop_gradient(ours.decode({}, ours.encode({}, z)) - soft)) ** 2)  # as in families.vq

    close(jax.grad(square)(z), leaf.grad[0], atol=1e-4)
