"""rANS against entropy; bits-back files against the bound, and back to the data bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import ndtr

from genjax import compress as c
from genjax import init, make_step
from genjax import rans as r
from genjax.densities import bernoulli, discretized_logistic, gaussian
from genjax.families.vae import vae
from genjax.model import Model, as_batch
from genjax.nets import mlp
from genjax.parallel import scanned


def toy(shape=(8, 8, 1), latent=(6,), classes=0, likelihood=None):
    likelihood = likelihood or bernoulli()
    out = (*shape[:-1], likelihood.parts * shape[-1])
    nets = mlp([32], (*latent[:-1], 2 * latent[-1])), mlp([32], out)
    model = vae(*nets, latent, optax.adam(1e-3), likelihood=likelihood, classes=classes)
    x = jnp.zeros((2, *shape))
    return model, model.init(jax.random.key(0), as_batch(x, jnp.zeros(2, int) if classes else None))


def grid(count, levels=2, shape=(8, 8, 1), seed=0):
    k = np.random.default_rng(seed).binomial(levels - 1, 0.3, (count, *shape))
    return k.astype(np.float32) / np.float32(levels - 1)


def trained(model, batch, steps):
    """Parameters whose posteriors are no longer near the prior."""
    many = jax.tree.map(lambda rows: jnp.broadcast_to(rows, (steps, *rows.shape)), batch)
    return jax.jit(scanned(make_step(model)))(init(model, jax.random.key(0), batch), many)[0].params


def bits(stack):
    return 32 * len(r.words_of(stack)) + np.log2(stack.heads.astype(float)).sum()


def same(a, b):
    return np.array_equal(a.heads, b.heads) and np.array_equal(r.words_of(a), r.words_of(b)) and a.borrowed == b.borrowed


def codecs():
    rng = np.random.default_rng(1)
    count = 101  # no multiple of the lanes
    return {
        "uniform": r.uniform(count, 12),
        "categorical": r.categorical(rng.normal(size=(count, 17)) * 4),
        "impossible level": r.categorical(np.tile([0.0, -np.inf, -1e4], (count, 1))),
        "normal": r.normal_bins(rng.normal(size=count), np.exp(rng.normal(size=count)), 12),
        "sharp and far": r.normal_bins(np.linspace(-9, 9, count), np.full(count, 1e-4), 16),
    }


# ---- rANS ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", codecs())
def test_push_and_pop_undo_each_other_in_either_order(name):
    codec = codecs()[name]
    start = r.encode_symbols(r.empty_stack(7), np.arange(500), np.ones(500, int), 10)
    popped, symbols = codec.pop(start)
    assert same(codec.push(popped, symbols), start)
    back, again = codec.pop(codec.push(start, symbols))
    assert np.array_equal(again, symbols) and same(back, start)
    back, again = codec.pop(codec.push(start, np.zeros_like(symbols)))  # a symbol of next to no probability, too
    assert not again.any() and same(back, start)


def test_popping_an_empty_stack_borrows_words_that_pushing_gives_back():
    codec = r.normal_bins(np.zeros(400), np.ones(400), 12)
    stack, symbols = codec.pop(r.empty_stack(4))
    assert stack.borrowed > 100
    back = codec.push(stack, symbols)
    assert np.array_equal(back.heads, r.empty_stack(4).heads)
    assert np.array_equal(r.words_of(back), r.random_words(4, stack.borrowed))


@pytest.mark.parametrize("lanes", [1, 32])
def test_rans_is_within_a_thousandth_of_the_entropy(lanes):
    p = np.array([0.5, 0.3, 0.1, 0.06, 0.03, 0.01])
    counts = (p * 20_000).astype(int)
    symbols = np.random.default_rng(0).permutation(np.repeat(np.arange(6), counts)).astype(np.uint64)
    codec, empty = r.categorical(np.log(np.tile(p, (20_000, 1)))), r.empty_stack(lanes)
    stack = codec.push(empty, symbols)
    assert bits(stack) - bits(empty) == pytest.approx(-(counts * np.log2(p)).sum(), rel=1e-3)


def test_popping_random_bits_samples_the_distribution():
    codec = r.normal_bins(np.full(20_000, 0.7), np.full(20_000, 0.5), 14)
    z = r.bin_centres(codec.pop(r.empty_stack(32))[1], 14)
    assert z.mean() == pytest.approx(0.7, abs=5 * 0.5 / 20_000**0.5)
    assert z.std() == pytest.approx(0.5, abs=5 * 0.5 / 40_000**0.5)


def test_bins_are_equally_likely_and_centred_under_the_prior():
    assert ndtr(r.bin_centres(np.arange(8), 3)) == pytest.approx((np.arange(8) + 0.5) / 8, abs=1e-6)
    codec = r.normal_bins(np.zeros(80), np.ones(80), 3)  # the prior itself: 3 bits each
    pushed = codec.push(r.empty_stack(4), np.tile(np.arange(8, dtype=np.uint64), 10))
    assert bits(pushed) - bits(r.empty_stack(4)) == pytest.approx(240, rel=1e-4)


def test_heads_survive_freq_one_and_full_freq():
    start, freq = np.array([0, 2**24 - 1, 0, 5] * 50, np.uint64), np.array([2**24, 1, 1, 2**23] * 50, np.uint64)
    stack = r.encode_symbols(r.empty_stack(3), start, freq, 24)
    assert (stack.heads >= 2**31).all() and (stack.heads < 2**63).all()
    back, slots = r.decode_symbols(stack, 200, 24, lambda rows, s: (s, start[rows], freq[rows]))
    assert same(back, r.empty_stack(3)) and ((slots >= start) & (slots < start + freq)).all()


# ---- bits back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "group, lanes, latent_bits, count", [(1, 32, 12, 20), (7, 5, 8, 20), (64, 1, 16, 20), (3, 8, 12, 0), (4, 300, 12, 1)]
)
def test_random_data_come_back_exactly(group, lanes, latent_bits, count):
    model, params = toy()
    x = grid(count)
    data = c.compress(model, params, x, latent_bits=latent_bits, group=group, lanes=lanes)
    assert isinstance(data, bytes)
    back = c.decompress(model, params, data)
    assert back.dtype == np.float32 and np.array_equal(back, x)


@pytest.mark.parametrize("levels", [17, 256])
def test_digits_under_a_discretized_logistic_come_back_exactly(levels):
    from sklearn.datasets import load_digits

    x = (load_digits().images[:40, ..., None] / 16 * (levels - 1)).astype(int).astype(np.float32) / np.float32(levels - 1)
    model, params = toy(likelihood=discretized_logistic(levels))
    assert np.array_equal(c.decompress(model, params, c.compress(model, params, x, group=8)), x)


def test_codes_with_space_axes_and_labels():
    model, params = toy(latent=(2, 2, 3), classes=3)
    x, y = grid(11), np.arange(11) % 3
    data = c.compress(model, params, x, y, group=4)
    assert np.array_equal(c.decompress(model, params, data, y), x)
    with pytest.raises(ValueError, match="labels"):
        c.decompress(model, params, data, (y + 1) % 3)
    with pytest.raises(ValueError, match="label for each of 11 examples; there are 10"):
        c.decompress(model, params, data, y[:10])


@pytest.mark.parametrize("likelihood", [bernoulli(), discretized_logistic(16)])
def test_size_is_the_negative_elbo(likelihood):
    levels = 2 if likelihood.parts == 1 else 16
    model, _ = toy(likelihood=likelihood)
    x = grid(600, levels)
    params = trained(model, as_batch(x[:100]), 100)
    bound = jax.jit(jax.vmap(lambda key: model.bound(params, key, as_batch(x)).sum()))
    nats = -float(bound(jax.random.split(jax.random.key(1), 20)).mean())
    data = c.compress(model, params, x, group=20, lanes=16)
    overhead = c.HEADER.size * 8 + 64 * 16  # the header and the heads, which hold between 31 and 63 bits each
    net = 8 * len(data) - c.initial_bits(data)
    assert net - overhead < nats / np.log(2) * 1.02
    assert net > nats / np.log(2) * 0.98


def test_initial_bits_grow_with_the_group_not_with_the_data():
    model, params = toy()
    cost = lambda count, group: c.initial_bits(c.compress(model, params, grid(count), group=group, lanes=4))
    assert cost(80, 1) <= cost(20, 1) + 32 * 4
    assert cost(80, 40) > 3 * cost(80, 1)


def test_every_damaged_byte_is_noticed():
    data = c._to_bytes(r.uniform(50, 12).push(r.empty_stack(2), np.arange(50)), 50, 1, 12)
    for position in range(len(data)):
        damaged = data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :]
        with pytest.raises(ValueError, match=r"damaged|not written by"):
            c._from_bytes(damaged)
    with pytest.raises(ValueError, match="damaged"):
        c._from_bytes(data[:-4])


def test_other_parameters_are_noticed():
    model, params = toy()
    data = c.compress(model, params, grid(5))
    with pytest.raises(ValueError, match="do not decode"):
        c.decompress(model, jax.tree.map(lambda p: p + 1e-2, params), data)


def test_lossy_rate_is_exact_and_distortion_falls_with_it():
    model, params = toy()
    x = grid(50)
    exact = model.decode(params, model.latent_code.posterior(params, x)[0])
    errors = []
    for latent_bits in (1, 4, 10):
        data = c.compress_lossy(model, params, x, latent_bits=latent_bits, lanes=2)
        assert 8 * len(data) == pytest.approx(50 * 6 * latent_bits, abs=8 * c.HEADER.size + 2 * 64)
        errors.append(float(jnp.abs(c.decompress_lossy(model, params, data) - exact).mean()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_refusals_are_one_clear_line():
    model, params = toy()
    with pytest.raises(ValueError, match="needs a model with `latent_code`"):
        c.compress(Model(None, (), None), {}, grid(2))
    with pytest.raises(ValueError, match="off it"):
        c.compress(model, params, grid(2) + 0.3)
    with pytest.raises(ValueError, match="one example of x has shape"):
        c.compress(model, params, grid(2, shape=(4, 4, 1)))
    with pytest.raises(ValueError, match="latent_bits=40"):
        c.compress(model, params, grid(2), latent_bits=40)
    with pytest.raises(ValueError, match="not written by"):
        c.decompress(model, params, b"hello")
    with pytest.raises(ValueError, match="of discrete data"):
        c.compress(*toy(likelihood=gaussian()), grid(2))
    with pytest.raises(ValueError, match="not finite"):
        c.compress(model, jax.tree.map(lambda p: p * jnp.nan, params), grid(2))


@pytest.mark.parametrize("likelihood, levels", [(bernoulli(), 2), (discretized_logistic(2), 2), (discretized_logistic(16), 16)])
def test_log_mass_sums_to_one_and_agrees_with_log_prob(likelihood, levels):
    theta = 3 * jax.random.normal(jax.random.key(0), (5, 3, 2 * likelihood.parts))
    mass = likelihood.log_mass(theta)
    assert mass.shape == (5, 3, 2, levels)
    assert np.asarray(jax.nn.logsumexp(mass, -1)) == pytest.approx(0, abs=1e-5)
    k = np.random.default_rng(0).integers(0, levels, (5, 3, 2))
    log_prob = np.asarray(likelihood.log_prob(theta, c.to_grid(k, levels)))
    assert np.take_along_axis(np.asarray(mass), k[..., None], -1).sum((1, 2, 3)) == pytest.approx(log_prob, rel=1e-4)
