"""Autoregressive models: blind to what comes later, probabilities that sum to one, samples that follow them, cached or not."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.data.texts import letters
from genjax.families.autoregressive import autoregressive
from genjax.heads import bernoulli, categorical, likeliest, logistics, normals
from genjax.model import as_batch
from genjax.nets import gpt, lstm, made, pixelcnn
from genjax.nets.transformer import BLOCK, attention

TX = optax.adam(1e-3)
SMALL = dict(width=8, depth=2, window=3, first=3)

# name -> (network, shape of x, levels of its tokens)
NETS = {
    "made": (made((16,), 3, levels=3), (2, 2), 3),
    "made, direct": (made((9,), 3, levels=3, order=(2, 0, 3, 1), direct=True), (4,), 3),
    "gpt": (gpt(3, 3, 4, width=8, depth=2, heads=2), (4,), 3),
    "gpt, learned places": (gpt(3, 3, 4, width=8, depth=2, heads=2, rotary=False, remat=True), (2, 2), 3),
    "lstm": (lstm(3, 3, width=8, embedding=4), (4,), 3),
    "pixelcnn": (pixelcnn(3, levels=3, **SMALL), (3, 2, 1), 3),
    "pixelcnn of names": (pixelcnn(3, levels=3, embedding=2, **SMALL), (3, 2), 3),
}
each = pytest.mark.parametrize("name", NETS)


def built(name, classes=0, **options):
    net, shape, levels = NETS[name]
    model = autoregressive(net, shape, categorical(levels, grid=False), TX, classes=classes, **options)
    x = jax.random.randint(jax.random.key(0), (4, *shape), 0, levels)
    shaken = lambda params: jax.tree.map(lambda a: a + 0.3 * jax.random.normal(jax.random.key(2), a.shape), params)
    params = jax.jit(lambda key, batch: shaken(model.init(key, batch)))(jax.random.key(1), as_batch(x, jnp.arange(4) % 2))
    return model, params


def all_states(shape, levels):
    return jnp.asarray(list(product(range(levels), repeat=int(np.prod(shape))))).reshape(-1, *shape)


@each
def test_a_place_sees_what_comes_before_and_nothing_else(name):
    net, shape, levels = NETS[name]
    _, params = built(name)
    x = np.random.default_rng(3).integers(0, levels, (1, *shape))
    count = x.size
    changed = np.repeat(x.reshape(1, -1), count, axis=0)
    changed[np.arange(count), np.arange(count)] = (changed[np.arange(count), np.arange(count)] + 1) % levels  # row j: place j
    theta = np.asarray(jax.jit(net.apply)(params["net"], np.concatenate([x, changed.reshape(count, *shape)])))
    moved = np.abs(theta[1:] - theta[:1]).reshape(count, count, -1).max(-1) > 0
    place = np.asarray({"made, direct": (2, 0, 3, 1)}.get(name, range(count)))
    assert (moved == (place[:, None] < place[None])).all()


@each
def test_probabilities_of_all_states_sum_to_one(name):
    _, shape, levels = NETS[name]
    model, params = built(name)
    log_p = jax.jit(model.log_prob)(params, as_batch(all_states(shape, levels)))
    assert abs(np.exp(np.asarray(log_p, np.float64)).sum() - 1) < 1e-5
    assert np.std(log_p) > 0.1
    by_place = jax.jit(model.by_place)(params, as_batch(all_states(shape, levels)))
    assert by_place.shape[1:] == shape
    np.testing.assert_allclose(by_place.reshape(len(log_p), -1).sum(1), log_p, rtol=1e-5)


@each
def test_cached_samples_are_the_naive_ones(name):
    if NETS[name][0].walk is None:
        assert name.startswith("made")
        return
    keys, y = jax.random.split(jax.random.key(4), 16), jnp.arange(16) % 2
    fast, params = built(name, classes=2)
    slow, _ = built(name, classes=2, cached=False)
    naive = jax.jit(slow.sample)(params, keys, y)
    np.testing.assert_array_equal(jax.jit(fast.sample)(params, keys, y), naive)


def test_a_sample_drawn_alone_is_the_one_drawn_among_others():
    """A single row has matrix products of its own."""
    (model, params), keys = built("gpt"), jax.random.split(jax.random.key(4), 8)
    together, alone = jax.jit(model.sample)(params, keys), jax.jit(lambda params, key: model.sample(params, key[None])[0])
    np.testing.assert_array_equal(np.stack([alone(params, key) for key in keys]), together)


def test_a_transformer_of_real_numbers_sees_what_comes_before_and_walks_to_the_naive_samples():
    net, keys = gpt(0, normals(2).parts, 4, width=8, depth=1, heads=1), jax.random.split(jax.random.key(4), 16)
    fast, slow = (autoregressive(net, (4,), normals(2), TX, cached=cached) for cached in (True, False))
    x = jax.random.normal(jax.random.key(0), (1, 4))
    params = jax.jit(fast.init)(jax.random.key(1), as_batch(x))
    params = jax.tree.map(lambda a: a + 0.3 * jax.random.normal(jax.random.key(2), a.shape), params)
    theta = jax.jit(net.apply)(params["net"], jnp.concatenate([x, x + jnp.eye(4)]))
    moved = np.abs(np.asarray(theta[1:] - theta[:1])).max(-1) > 0
    assert (moved == (np.arange(4)[:, None] < np.arange(4))).all()
    np.testing.assert_allclose(jax.jit(fast.sample)(params, keys), jax.jit(slow.sample)(params, keys), rtol=1e-5, atol=1e-5)


def test_samples_follow_the_probabilities():
    model, params = built("gpt")
    x = np.asarray(jax.jit(model.sample)(params, jax.random.split(jax.random.key(5), 20_000)))
    seen = np.bincount(x @ 3 ** np.arange(3, -1, -1), minlength=81) / len(x)
    p = np.exp(jax.jit(model.log_prob)(params, as_batch(all_states((4,), 3))))
    assert (np.abs(seen - p) < 5 * np.sqrt(p * (1 - p) / len(x)) + 1e-4).all()


@pytest.mark.parametrize("name", ["gpt", "pixelcnn"])
def test_guided_samples_are_the_same_cached_and_naive(name):
    keys, y = jax.random.split(jax.random.key(4), 16), jnp.arange(16) % 2
    (fast, params), (slow, _) = (built(name, classes=2, drop=0.1, guidance=3.0, cached=cached) for cached in (True, False))
    np.testing.assert_array_equal(jax.jit(fast.sample)(params, keys, y), jax.jit(slow.sample)(params, keys, y))


def test_guided_samples_follow_logits_moved_away_from_those_of_no_label():
    (model, params), states = built("gpt", classes=2, drop=0.1, guidance=3.0), all_states((4,), 3)
    x = np.asarray(jax.jit(model.sample)(params, jax.random.split(jax.random.key(5), 20_000), jnp.ones(20_000, jnp.int32)))
    told = lambda *row: jax.jit(NETS["gpt"][0].apply)(params["net"], states, jnp.tile(jnp.asarray(row), (81, 1)))
    theta, none = told(0.0, 1.0), told(0.0, 0.0)
    log_p = jax.nn.log_softmax(3 * theta - 2 * none)
    p = np.exp(np.take_along_axis(np.asarray(log_p), np.asarray(states)[..., None], -1).sum((1, 2)))
    seen = np.bincount(x @ 3 ** np.arange(3, -1, -1), minlength=81) / len(x)
    assert (np.abs(seen - p) < 5 * np.sqrt(p * (1 - p) / len(x)) + 1e-4).all()


def test_hidden_labels_are_trained_as_none():
    (model, params), y = built("gpt", classes=2, drop=1.0), jnp.arange(4) % 2
    batch, loss = as_batch(all_states((4,), 3)[10:14], y), model.stages[0][0].loss
    none = -model.log_prob(params, batch | {"y": jnp.full(4, -1)}).mean()
    assert abs(loss(params, jax.random.key(0), batch).value - none) < 1e-5
    assert abs(-model.log_prob(params, batch).mean() - none) > 1e-3


def test_attention_is_that_of_jax():
    """On a CPU, where it is written out a block of queries at a time; elsewhere it is that function."""
    for places in (5, 2 * BLOCK + 3):
        q, k, v = np.random.default_rng(places).standard_normal((3, 2, places, 3, 4), np.float32)
        for causal in (True, False):
            expected = jax.jit(partial(jax.nn.dot_product_attention, is_causal=causal))(q, k, v)
            got = jax.jit(attention, static_argnums=3)(q, k, v, causal)
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_a_prefix_is_seen_by_all_places_and_by_the_walk():
    net = gpt(3, 3, 6, width=8, depth=1, heads=1, prefix_levels=5)
    tokens, prefix = jnp.zeros((2, 4), jnp.int32), jnp.asarray([[1, 4], [1, 3]])
    params = jax.jit(net.init)(jax.random.key(0), tokens, prefix)
    theta = np.asarray(jax.jit(net.apply)(params, tokens, prefix))
    assert (np.abs(theta[0] - theta[1]).max(-1) > 0).all()

    @jax.jit
    def walk(params):
        state, step = net.walk(params, 2, (4,), prefix)
        return jax.lax.scan(lambda state, place: step(state, place, tokens[:, 0]), state, jnp.arange(4))[1]

    np.testing.assert_allclose(walk(params).swapaxes(0, 1), theta, atol=1e-6)


# ---- heads ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_logistics_sum_to_one_and_draw_what_they_say(channels):
    """The sum over all colours holds only if each channel's mean looks at channels before it alone."""
    head = logistics(4, channels, mixtures=2)
    theta = 1.5 * jax.random.normal(jax.random.key(0), (head.parts,))
    x = head.start(all_states((channels,), 4) / 3)
    p = np.exp(jax.jit(head.log_prob)(jnp.broadcast_to(theta, (len(x), head.parts)), x), dtype=np.float64)
    assert abs(p.sum() - 1) < 1e-5
    drawn = head.finish(jax.jit(jax.vmap(head.draw, (0, None)))(jax.random.split(jax.random.key(1), 20_000), theta))
    levels = np.rint(np.asarray(drawn) * 3).astype(int)
    np.testing.assert_allclose(drawn, levels / 3, atol=1e-6)
    seen = np.bincount(levels @ 4 ** np.arange(channels - 1, -1, -1), minlength=len(p)) / 20_000
    assert (np.abs(seen - p) < 5 * np.sqrt(p * (1 - p) / 20_000) + 2e-4).all()


def test_pixel_head_on_an_image_network():
    head = logistics(4, 3, 2)
    net = pixelcnn(head.parts, channels=3, **SMALL)
    model = autoregressive(net, (3, 3, 3), head, TX)
    x = jax.random.randint(jax.random.key(0), (2, 3, 3, 3), 0, 4) / 3
    params = jax.jit(model.init)(jax.random.key(1), as_batch(x))
    jacobian = np.abs(jax.jit(jax.jacobian(lambda x: net.apply(params["net"], x[None])[0].sum(-1)))(x[0])).sum(-1).reshape(9, 9)
    assert ((jacobian > 0) == np.tril(np.ones((9, 9)), -1)).all()
    keys = jax.random.split(jax.random.key(2), 8)
    naive = autoregressive(net, (3, 3, 3), head, TX, cached=False)
    np.testing.assert_allclose(jax.jit(model.sample)(params, keys), jax.jit(naive.sample)(params, keys), atol=1e-6)


def test_one_logit_is_two_of_which_one_is_zero():
    one, two = bernoulli(grid=False, temperature=0.5), categorical(2, grid=False, temperature=0.5)
    logit = jnp.asarray([-40.0, -1.0, 0.0, 2.0, 40.0])[:, None]
    both = jnp.concatenate([0 * logit, logit], -1)
    for token in (0, 1):
        tokens = jnp.full(5, token)
        np.testing.assert_allclose(one.log_prob(logit, tokens), two.log_prob(both, tokens), rtol=1e-6, atol=1e-7)
    assert np.isnan(one.log_prob(logit[:2], jnp.asarray([2, -1]))).all()
    drawn = jax.vmap(one.draw, (0, None))(jax.random.split(jax.random.key(0), 20_000), jnp.asarray([0.7]))
    assert abs(drawn.mean() - jax.nn.sigmoid(1.4)) < 0.01 and drawn.dtype == jnp.int32


OUT_OF_RANGE = [(bernoulli(), [0.0, jnp.nan, jnp.nan], 2), (categorical(5, grid=False), [0, -1, 7], -1)]


@pytest.mark.parametrize(("head", "x", "token"), OUT_OF_RANGE, ids=["bernoulli", "categorical"])
def test_tokens_out_of_range_are_named_and_in_compiled_code_nan(head, x, token):
    with pytest.raises(ValueError, match=rf"token {token} is out of range: .*levels=., tokens 0 \.\. "):
        head.start(jnp.asarray(x))
    score = jax.jit(lambda x: head.log_prob(jnp.zeros((3, head.parts)), head.start(x)))
    assert np.isnan(score(jnp.asarray(x))).tolist() == [False, True, True]


def test_likeliest_keeps_the_top_k_and_the_nucleus():
    logits = jnp.log(jnp.asarray([0.1, 0.5, 0.25, 0.15]))
    kept = lambda **how: np.flatnonzero(np.isfinite(likeliest(logits, **how))).tolist()
    assert kept(top_k=2) == [1, 2]
    assert kept(top_p=0.5) == [1]
    assert kept(top_p=0.51) == [1, 2]
    assert kept(top_p=0.95) == [0, 1, 2, 3]
    assert kept() == [0, 1, 2, 3]


def test_draws_by_the_inverse_follow_the_logits_and_leave_out_what_has_no_mass():
    head = categorical(7, grid=False, top_k=5, inverse=True)
    logits = jnp.asarray([0.3, -9.0, 1.0, -0.5, 2.0, 0.0, -2.0])
    drawn = jax.jit(jax.vmap(head.draw, (0, None)))(jax.random.split(jax.random.key(0), 40_000), logits)
    seen, p = np.bincount(drawn, minlength=7) / 40_000, np.asarray(jax.nn.softmax(likeliest(logits, 5)))
    assert seen[[1, 6]].tolist() == [0, 0] and drawn.dtype == jnp.int32
    assert (np.abs(seen - p) < 5 * np.sqrt(p * (1 - p) / 40_000) + 1e-9).all()


def test_low_temperature_takes_the_likeliest():
    head = categorical(4, temperature=1e-3)
    logits = jnp.asarray([0.0, 0.3, 0.2, 0.1])
    assert (jax.vmap(head.draw, (0, None))(jax.random.split(jax.random.key(0), 50), logits) == 1).all()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"gives \(2, 2, 3\) .* needs \(2, 2, 4\)"):
        model = autoregressive(NETS["made"][0], (2, 2), categorical(4, grid=False), TX)
        model.init(jax.random.key(0), as_batch(jnp.zeros((1, 2, 2), jnp.int32)))
    with pytest.raises(ValueError, match=r"take 7 slots, but context=6"):
        net = gpt(3, 3, 6, width=8, depth=1, heads=1, prefix_levels=5)
        net.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32), jnp.zeros((1, 3), jnp.int32))
    with pytest.raises(ValueError, match="set prefix_levels"):
        NETS["gpt"][0].init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32), jnp.zeros((1, 3), jnp.int32))
    with pytest.raises(ValueError, match=r"top_k of 0 \.\. 3"):
        categorical(3, top_k=4)
    with pytest.raises(ValueError, match="must divide over 3 heads"):
        gpt(3, 3, 4, width=8, heads=3)
    with pytest.raises(ValueError, match=r"guidance=2.0 needs a network that also knows no label: train with drop"):
        autoregressive(NETS["gpt"][0], (4,), categorical(3, grid=False), TX, classes=2, guidance=2.0)
    with pytest.raises(ValueError, match="must be odd"):
        pixelcnn(3, window=4)


# ---- openings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cached", [True, False])
def test_a_completed_sample_is_the_sample_that_began_so(cached):
    """Places of one key are drawn alike, whether the places before were drawn or given."""
    model, params = built("gpt", cached=cached)
    keys = jax.random.split(jax.random.key(6), 32)
    x = jax.jit(model.sample)(params, keys)
    np.testing.assert_array_equal(jax.jit(model.complete)(params, keys, x[:, :2]), x)
    other = jax.jit(model.complete)(params, keys, (x[:, :2] + 1) % 3)
    np.testing.assert_array_equal(other[:, :2], (x[:, :2] + 1) % 3)
    assert (other[:, 2:] != x[:, 2:]).any()


@pytest.mark.parametrize(("name", "cached"), [("lstm", True), ("gpt", False), ("pixelcnn", True)])
def test_as_much_of_an_opening_holds_as_its_row_is_told(name, cached):
    model, params = built(name, cached=cached)
    keys, count = jax.random.split(jax.random.key(6), 32), int(np.prod(NETS[name][1]))
    opening, known = jax.random.randint(jax.random.key(7), (32, count), 0, 3), jnp.arange(32) % (count + 1)
    whole = jax.jit(model.complete)(params, keys, opening, known=known)
    for length in range(count + 1):
        rows = known == length
        cut = jax.jit(model.complete)(params, keys[rows], opening[rows, :length])
        np.testing.assert_array_equal(whole[rows], cut)


def test_an_opening_longer_than_the_context_is_refused():
    model, params = built("gpt")
    with pytest.raises(ValueError, match=r"L <= 4, but this one is \(1, 5\)"):
        model.complete(params, jax.random.split(jax.random.key(0), 1), jnp.zeros((1, 5), jnp.int32))


def test_texts_are_their_tokens_and_unknown_characters_are_named():
    show, read = letters("\n abc")
    assert show(np.array([read("cab a\n")])).tolist() == ["cab a\n"]
    with pytest.raises(ValueError, match="knows no 'x' 'é'"):
        read("axbé")
    with pytest.raises(ValueError, match="no alphabet"):
        letters("")
