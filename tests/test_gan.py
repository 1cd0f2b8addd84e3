"""GANs: each game, penalty and trick against a closed form or a second way to compute it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import genjax
from genjax import augment
from genjax.conditions import GIVEN, told
from genjax.families.gan import covering, each_right, hinge, implicit, least_squares, non_saturating, seeking, wasserstein
from genjax.families.styled import path_lengths, styled
from genjax.hybrids.adversarial import adversarial, augmented, samples
from genjax.hybrids.penalties import Told, bare, box, moved, smooth, squared_slopes, unit_slope
from genjax.hybrids.progressive import progressive
from genjax.hybrids.rewarded import rewarded
from genjax.hybrids.stepwise import stepwise
from genjax.model import as_batch, example_keys, put, stream
from genjax.nets import Net, by_parts, mlp, packed, projection, resgan_critic, spectral, stylegan2
from genjax.nets.critics import effective, minibatch_spread
from genjax.nets.stylegan2 import Styles
from genjax.schedules import cosine
from tests.table import CLASSES, LATENT, SHAPE, batch, small, toy_styled_gan

KEY = jax.random.key(0)
LINEAR = np.array([0.5, -1.0, 2.0], np.float32)


def linear(seen):
    """A critic (B, 3) -> (B,) of known slope."""
    return seen[0] @ LINEAR


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def toy(critic=None, **options):
    """(model, params, critic's phase, generator's phase)."""
    model = adversarial(implicit(small(SHAPE), LATENT), critic or small(()), optax.sgd(0.1), optax.sgd(0.1), **options)
    return model, model.init(KEY, batch()), *model.stages[0][:2]


# ---- games -----------------------------------------------------------------------------------------------------------


def test_least_squares_and_wasserstein_at_known_logits():
    real, fake = jnp.array([2.0, 0.0]), jnp.array([-1.0, 1.0])
    np.testing.assert_allclose(least_squares.critic(real, fake), 0.5 * (1 + 1 + 1 + 1) / 2)
    np.testing.assert_allclose(least_squares.generator(real, fake), 0.5 * (4 + 0) / 2)
    np.testing.assert_allclose(least_squares.accuracy(jnp.array([0.6, 0.4]), jnp.array([0.4, 0.6])), 0.5)
    np.testing.assert_allclose((wasserstein.critic(real, fake), wasserstein.generator(real, fake)), (-1.0, 0.0))


@pytest.mark.parametrize(
    ("game", "best"),
    [
        (non_saturating, lambda p, q: np.log(p / q)),
        (least_squares, lambda p, q: p / (p + q)),
        (hinge, lambda p, q: np.sign(p - q)),
        (covering(0.2), lambda p, q: np.log(np.expm1(0.2 * p / q))),
        (seeking(1.0), lambda p, q: np.log(np.expm1(1.0 * q / p))),
    ],
)
def test_the_best_critic_of_two_coins(game, best):
    """Where a value is real with weight p and fake with weight q, its critic's loss is least at a known logit."""
    p, q = 0.8, 0.3
    grid = jnp.linspace(-2.0, 2.0, 4001)
    real = jax.vmap(lambda d: game.critic(d[None], jnp.zeros(1)))  # the two sides add up
    fake = jax.vmap(lambda d: game.critic(jnp.zeros(1), d[None]))
    np.testing.assert_allclose(grid[jnp.argmin(p * real(grid) + q * fake(grid))], best(p, q), atol=2e-3)


def test_a_logit_far_below_zero_keeps_its_slope():
    slope = jax.vmap(jax.grad(lambda x: seeking(1.0).generator(x[None], x[None])))(jnp.array([-80.0, -15.1, -14.9]))
    np.testing.assert_allclose(slope, 1.0, rtol=1e-4)


# ---- penalties -------------------------------------------------------------------------------------------------------


def test_slopes_of_a_linear_critic():
    real, fake, known = (draw(6, 3),), (draw(6, 3, seed=1),), LINEAR @ LINEAR
    np.testing.assert_allclose(squared_slopes(linear, real), np.full(6, known), rtol=1e-6)
    data = as_batch(real[0])
    np.testing.assert_allclose(unit_slope(linear, KEY, data, real, fake), (known**0.5 - 1) ** 2, rtol=1e-5)
    np.testing.assert_allclose(smooth(r1=2.0, r2=3.0, gp=4.0)(linear, KEY, data, real, fake),
                               2.5 * known + 4 * (known**0.5 - 1) ** 2, rtol=1e-5)  # fmt: skip


def test_slopes_are_taken_between_data_and_fakes():
    """|x|^2 / 2 has slope |x|: of points on a segment it lies between the ends' values, and differs by example."""
    square = lambda seen: 0.5 * jnp.sum(seen[0] ** 2, axis=-1)
    real, fake = (jnp.full((8, 1), 5.0),), (jnp.full((8, 1), 1.0),)
    e = np.asarray(jax.vmap(jax.random.uniform)(example_keys(stream(KEY, "between"), as_batch(real[0]))))
    value = unit_slope(square, KEY, as_batch(real[0]), real, fake)
    np.testing.assert_allclose(value, np.mean((1 + 4 * e - 1) ** 2), rtol=1e-5)
    assert e.std() > 0.1


def test_conditions_are_not_penalized():
    seen = (draw(4, 3), jnp.arange(4.0))
    np.testing.assert_allclose(squared_slopes(lambda s: linear(s) + 100 * s[1], seen), np.full(4, LINEAR @ LINEAR), rtol=1e-6)
    both = lambda s: linear(s) + s[1][:, 0]
    np.testing.assert_allclose(squared_slopes(both, (seen[0], draw(4, 2))), np.full(4, LINEAR @ LINEAR + 1), rtol=1e-6)
    told = lambda s: both(bare(s))
    np.testing.assert_allclose(squared_slopes(told, (seen[0], Told(draw(4, 2)))), np.full(4, LINEAR @ LINEAR), rtol=1e-6)
    between = unit_slope(told, KEY, as_batch(seen[0]), (seen[0], Told(draw(4, 2))), (draw(4, 3, seed=1), Told(draw(4, 2))))
    np.testing.assert_allclose(between, ((LINEAR @ LINEAR) ** 0.5 - 1) ** 2, rtol=1e-5)


def test_lazy_penalties_have_the_same_gradient_on_average():
    real, fake, data = (draw(5, 3),), (draw(5, 3, seed=1),), as_batch(draw(5, 3))

    def gradients(lazy):
        def value(w, key):
            return smooth(r1=2.0, lazy=lazy)(lambda seen: jnp.sum((seen[0] * w) ** 2, -1), key, data, real, fake)

        keys = jax.random.split(KEY, 4000)
        return jax.jit(jax.vmap(jax.grad(value), (None, 0)))(jnp.asarray(LINEAR), keys)

    always, lazily = gradients(1)[0], gradients(4)
    resting = np.asarray((lazily == 0).all(1))
    np.testing.assert_allclose(lazily[~resting], np.tile(4 * always, ((~resting).sum(), 1)), rtol=1e-5)
    assert abs(resting.mean() - 0.75) < 4 * (0.75 * 0.25 / 4000) ** 0.5  # four standard errors


def test_the_box_keeps_weights_inside():
    tx, weights = optax.chain(optax.sgd(1.0), box(0.3)), {"w": jnp.array([0.2, -0.1, 5.0])}
    state = tx.init(weights)
    for _ in range(2):
        updates, state = tx.update({"w": jnp.array([-1.0, 0.05, 0.0])}, state, weights)
        weights = optax.apply_updates(weights, updates)
    np.testing.assert_allclose(weights["w"], [0.3, -0.2, 0.3], rtol=1e-6)


# ---- unrolling -------------------------------------------------------------------------------------------------------


def test_unrolled_generator_differentiates_through_moves_made_by_hand():
    """Value, and derivative along a direction by finite differences with the critic moved anew at each point.

    The direction is where a derivative that took the moved critic for constant would be most wrong.
    """
    _, params, judge, please = toy(unroll=3, unroll_lr=2.0, r1=0.5)
    at = lambda generator, critic: put(put(params, "generator", generator), "critic", critic)

    def by_hand(generator, critic):
        for _ in range(3):
            slope = jax.grad(lambda w: judge.loss(at(generator, w), KEY, batch()).value)(critic)
            critic = jax.tree.map(lambda w, g: w - 2.0 * g, critic, slope)
        return critic

    plain = lambda generator, critic: toy()[3].loss(at(generator, critic), KEY, batch()).value
    whole = jax.jit(lambda generator: plain(generator, by_hand(generator, params["critic"])))
    unrolled = jax.jit(jax.value_and_grad(lambda generator: please.loss(at(generator, params["critic"]), KEY, batch()).value))
    start = params["generator"]
    value, slopes = unrolled(start)
    np.testing.assert_allclose(value, whole(start), rtol=1e-5)
    held = jax.jit(jax.grad(plain))(start, jax.jit(by_hand)(start, params["critic"]))
    away = jax.tree.map(jnp.subtract, slopes, held)
    way = jax.tree.map(lambda d: d / optax.tree.norm(away), away)
    moved_by = lambda h: whole(jax.tree.map(lambda w, d: w + h * d, start, way))
    np.testing.assert_allclose(optax.tree.vdot(slopes, way), (moved_by(1e-2) - moved_by(-1e-2)) / 2e-2, atol=2e-3)
    assert optax.tree.norm(away) > 0.02  # ten times what the line above lets pass


def test_no_moves_are_the_plain_critic():
    _, params, judge, _ = toy()
    loss = lambda w: judge.loss(put(params, "critic", w), KEY, batch()).value
    assert moved(loss, params["critic"], 0, 0.1) is not None
    for a, b in zip(*map(jax.tree.leaves, (moved(loss, params["critic"], 0, 0.1), params["critic"])), strict=True):
        np.testing.assert_array_equal(a, b)


# ---- what a critic sees ----------------------------------------------------------------------------------------------


def test_real_and_fake_are_augmented_by_one_law():
    """A generator that copies the data: over many rows, both sides have the same mean and spread, with draws of their own."""
    plain = lambda params, key, data: ((data["x"],), (data["x"],))
    data = as_batch(jnp.ones((4000, 4, 4, 1)))
    (real,), (fake,) = augmented(plain, augment.cutout)({}, KEY, data)
    assert (real != fake).any()
    assert np.abs((real - fake).mean(0)).max() < 4 * (2 * 0.25 / 4000) ** 0.5  # four standard errors
    np.testing.assert_array_equal(augmented(plain, augment.sometimes(augment.color, 0.0))({}, KEY, data)[1][0], data["x"])


def test_the_generator_learns_through_augmentation():
    law = augment.chain(augment.color, augment.translation, augment.cutout)
    slope = jax.grad(lambda x: jnp.sum(law(KEY, x) ** 2))(draw(8, 8, 3))
    assert np.isfinite(slope).all() and (slope != 0).any()


def test_augmentations_do_what_they_say():
    x, keys = draw(8, 6, 3), jax.random.split(KEY, 300)
    moved_ = np.asarray(jax.vmap(lambda k: augment.translation(k, x))(keys))
    for dy, dx in [(0, 0), (1, -1), (-1, 1)]:
        shifted = np.zeros(x.shape, np.float32)
        shifted[max(dy, 0) : 8 + min(dy, 0), max(dx, 0) : 6 + min(dx, 0)] = np.asarray(x)[
            max(-dy, 0) : 8 - max(dy, 0), max(-dx, 0) : 6 - max(dx, 0)
        ]
        share = (moved_ == shifted).all((1, 2, 3)).mean()
        assert abs(share - 1 / 9) < 4 * (1 / 9 * 8 / 9 / 300) ** 0.5
    gone = np.asarray(jax.vmap(lambda k: augment.cutout(k, jnp.ones((8, 6, 1))))(keys) == 0)
    assert gone.any((0, 3)).all()  # every place is reached
    assert gone.sum((1, 2, 3)).max() == 4 * 3  # half of each side
    grey = jnp.full((4, 4, 3), 0.25)
    coloured = jax.vmap(lambda k: augment.color(k, grey))(keys)
    assert np.asarray(coloured.std((1, 2, 3))).max() < 1e-6  # of a grey picture only the brightness changes
    np.testing.assert_allclose([coloured.min(), coloured.max()], [-0.25, 0.75], atol=0.02)


def test_flat_data_are_not_augmented():
    with pytest.raises(ValueError, match=r"translation wants examples \(\*space, channels\), but one is \(2,\)"):
        augment.translation(KEY, jnp.zeros(2))


def test_packs_lie_in_the_channels():
    seen = []
    spy = Net(lambda key, *x: {}, lambda params, *x: seen.extend(x) or x[0].mean((1, 2, 3)))
    x = draw(6, 2, 2, 5)
    logits = packed(spy, 3).apply({}, x, jnp.arange(6))
    assert logits.shape == (2,)
    np.testing.assert_array_equal(seen[0], np.concatenate([x[0::3], x[1::3], x[2::3]], axis=-1))
    np.testing.assert_array_equal(seen[1], [[0, 1, 2], [3, 4, 5]])
    with pytest.raises(ValueError, match="packs of m=4 do not divide a batch of 6"):
        packed(spy, 4).apply({}, x)


def test_a_packed_critic_plays_and_its_slope_is_that_of_a_pack():
    model, params, judge, _ = toy(packed(mlp((), ()), 2), r1=2.0)
    kernel = params["critic"]["Dense_0"]["kernel"]
    plain = toy(packed(mlp((), ()), 2))[2].loss(params, KEY, batch()).value
    np.testing.assert_allclose(judge.loss(params, KEY, batch()).value - plain, jnp.sum(kernel**2), rtol=1e-5)
    assert kernel.shape[0] == 2 * 16
    assert model.sample(params, jax.random.split(KEY, 3)).shape == (3, *SHAPE)


def test_spread_is_the_same_in_every_place_of_a_group():
    h = draw(6, 2, 2, 3)
    spread = minibatch_spread(h, 3)[..., -1]
    for group in (slice(0, 3), slice(3, 6)):
        np.testing.assert_allclose(spread[group], np.asarray(h[group]).std(0).mean(), rtol=1e-5)
    with pytest.raises(ValueError, match="groups of 4 do not divide a batch of 6"):
        minibatch_spread(h, 4)


def test_labels_are_checked():
    model = implicit(small(SHAPE), LATENT, classes=CLASSES)
    params, keys = jax.jit(model.init)(KEY, batch()), jax.random.split(KEY, 2)
    with pytest.raises(ValueError, match=r"label 3 is out of range: with classes=3 labels are 0 \.\. 2"):
        model.sample(params, keys, jnp.array([0, 3]))
    with pytest.raises(ValueError, match="give labels y"):
        model.sample(params, keys)
    with pytest.raises(ValueError, match=r"a critic that sees labels needs data with labels y"):
        samples(model, labelled=True)(params, KEY, as_batch(batch()["x"]))
    with pytest.raises(ValueError, match="projection critic needs integer labels"):
        adversarial(model, projection(small((5,)), CLASSES), optax.sgd(1.0), optax.sgd(1.0)).init(KEY, batch())
    with pytest.raises(ValueError, match=r"reads arrays \(B, C\); for labels give it their number"):
        projection(small((5,)), GIVEN).init(KEY, batch()["x"], batch()["y"])
    np.testing.assert_array_equal(told(jnp.array([2]), 3), [[0, 0, 1]])


def test_a_generator_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"the generator makes \(4, 4, 2\) an example, but data are \(4, 4, 1\)"):
        implicit(small((4, 4, 2)), LATENT).init(KEY, batch())
    with pytest.raises(ValueError, match=r"makes \(1,\) an example, but data are \(4, 4, 1\)"):
        stepwise(small((1,)), SHAPE, LATENT, cosine()).init(KEY, batch())
    with pytest.raises(ValueError, match=r"draws \(4, 4, 2\) an example, but data are \(4, 4, 1\)"):
        stepwise(small(SHAPE), (4, 4, 2), LATENT, cosine()).init(KEY, batch())
    with pytest.raises(ValueError, match=r"makes \(4, 4, 3\) an example"):
        styled(stylegan2((3, 4), (4, 4, 3), 5, 1), LATENT).init(KEY, batch())
    with pytest.raises(ValueError, match=r"makes \(2,\) an example"):
        progressive([small((2,))], [small(())], LATENT, *[optax.sgd(1.0)] * 2, fade_steps=1).init(KEY, batch())


def test_projection_of_arrays_is_that_of_labels_where_they_are_one_hot():
    x, y = batch()["x"], batch()["y"]
    labels, arrays = projection(small((5,)), CLASSES), projection(small((5,)), GIVEN)
    params = labels.init(KEY, x, y)
    kernel = {"given": {"kernel": params["head"]["classes"]}, "Dense_0": params["head"]["Dense_0"]}
    told = arrays.apply(params | {"head": kernel}, x, jax.nn.one_hot(y, CLASSES))
    np.testing.assert_allclose(told, labels.apply(params, x, y), rtol=1e-5)


def test_projection_is_the_inner_product_with_the_label():
    net, x, y = projection(small((5,)), CLASSES), batch()["x"], batch()["y"]
    params = jax.jit(net.init)(KEY, x, y)
    h, head = small((5,)).apply(params["trunk"], x), params["head"]
    wanted = h @ head["Dense_0"]["kernel"][:, 0] + head["Dense_0"]["bias"][0] + (head["classes"][y] * h).sum(-1)
    np.testing.assert_allclose(net.apply(params, x, y), wanted, rtol=1e-5)


def test_power_iteration_follows_the_weights():
    model = adversarial(implicit(small(SHAPE), LATENT), spectral(small(())), optax.sgd(0.1), optax.sgd(0.5), game=hinge)
    state = jax.jit(genjax.init, static_argnums=0)(model, KEY, batch())
    step = jax.jit(genjax.make_step(model))
    for seed in range(40):
        before = state.params["critic"]
        state, _ = step(state, batch(seed))
    weights = state.params["critic"]
    np.testing.assert_allclose(weights["vectors"]["Dense_0.kernel"], spectral(small(())).follow(
        {"weights": weights["weights"], "vectors": before["vectors"]})["Dense_0.kernel"], atol=1e-6)  # fmt: skip
    for name in ("Dense_0", "Dense_1"):
        norm = np.linalg.svd(effective(weights)[name]["kernel"], compute_uv=False)[0]
        assert 0.9 < norm <= 1 + 1e-3
    first, last = jax.jit(model.init)(KEY, batch())["critic"]["weights"], weights["weights"]
    assert np.abs(first["Dense_0"]["kernel"] - last["Dense_0"]["kernel"]).max() > 1e-3


# ---- styles ----------------------------------------------------------------------------------------------------------


def test_a_spectral_net_is_followed_or_refused():
    with pytest.raises(ValueError, match=r"put spectral\(...\) around the whole"):
        projection(spectral(small((5,))), CLASSES)
    assert by_parts(spectral(small((2,))), 2).follow is not None


def test_a_kernel_that_starts_at_zero_is_normalized_too():
    """The last window of a residual block is one."""
    net, x = spectral(resgan_critic((4, 6), blocks=1)), draw(3, 8, 8, 1)
    params = jax.jit(net.init)(KEY, x)
    assert np.isfinite(net.apply(params, x)).all()
    for kernel in (leaf for leaf in jax.tree.leaves(effective(params)) if leaf.ndim == 4):
        norm = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        assert 0.9 < norm < 1.1, norm  # ten power iterations of random numbers


def styles_of(synthesize, count=2):
    """A linear mapping and the given (params, w, keys=None) -> x."""
    return Styles(mlp((), (5,)), Net(lambda key, w: {}, synthesize), count)


def test_truncation():
    picture = lambda w: jnp.tanh(w[:, :1] * 3).reshape(-1, 1, 1, 1) * jnp.ones(SHAPE) + w.sum(-1).reshape(-1, 1, 1, 1)
    nets = styles_of(lambda p, w, keys=None: picture(w))
    params = styled(nets, LATENT).init(KEY, batch()) | {"middle": draw(5)}
    keys = jax.random.split(KEY, 3)
    none = styled(nets, LATENT, psi=0.0).sample(params, keys)
    np.testing.assert_allclose(none, np.tile(picture(params["middle"][None]), (3, 1, 1, 1)), rtol=1e-6)
    whole = styled(nets, LATENT).sample(params, keys)
    np.testing.assert_array_equal(whole, styled(nets, LATENT, psi=1.0).sample(params | {"middle": draw(5, seed=9)}, keys))
    half = styled(styles_of(lambda p, w, keys=None: w), LATENT, psi=0.5).sample(params, keys)
    w = styled(styles_of(lambda p, w, keys=None: w), LATENT).sample(params, keys)
    np.testing.assert_allclose(half, 0.5 * (w + params["middle"]), rtol=1e-5)


def test_mixing_takes_later_layers_from_another_style():
    count, spy = 4, []
    nets = Styles(
        small((5,)), Net(lambda k, w: {}, lambda p, w, keys=None: spy.append(w) or jnp.zeros((len(w), *SHAPE))), count
    )
    params = styled(nets, LATENT).init(KEY, batch())
    keys = jax.random.split(KEY, 200)
    styled(nets, LATENT).sample(params, keys)
    styled(nets, LATENT, mixing=0.9).sample(params, keys)
    plain, mixed = spy[-2:]
    same = np.asarray((mixed == plain[:, None]).all(-1))  # (B, count)
    assert same[:, 0].all()
    assert (np.diff(same.astype(int), axis=1) <= 0).all()  # once another, always another
    assert abs(same[:, -1].mean() - 0.1) < 4 * (0.1 * 0.9 / 200) ** 0.5
    assert set(same.sum(1)) == {1, 2, 3, 4}


def test_path_length_of_a_linear_synthesis():
    """x = A w: |A^T y| with the very y, and its mean square |A|^2 / places over many."""
    a, keys = draw(5, 6), jax.random.split(KEY, 4000)
    synthesis = Net(lambda k, w: {}, lambda p, w, noise: (w[:, 0] @ a).reshape(-1, 3, 2))
    lengths = path_lengths(synthesis, {}, draw(4000, 5), 1, keys)
    np.testing.assert_allclose(jnp.mean(lengths**2), jnp.sum(a**2) / 3, rtol=0.1)
    three = Net(lambda k, w: {}, lambda p, w, noise: (w.sum(1) @ a).reshape(-1, 3, 2))
    np.testing.assert_allclose(path_lengths(three, {}, draw(4000, 5), 3, keys), lengths, rtol=1e-4)


def test_running_means_of_styles_follow():
    model = toy_styled_gan(optax.sgd(0.0))
    state = jax.jit(genjax.init, static_argnums=0)(model, KEY, batch())
    step = jax.jit(genjax.make_step(model))
    after, metrics = step(state, batch())
    np.testing.assert_allclose(after.params["path_length"], 0.01 * metrics["path_length/length"], rtol=1e-5)
    assert 0 < jnp.abs(after.params["middle"]).max() < 0.05
    resting, metrics = step(after, batch())
    assert np.isnan(metrics["path_length/length"])
    np.testing.assert_array_equal(resting.params["path_length"], after.params["path_length"])


def test_path_lengths_are_regularized_inside_larger_models_too():
    model = rewarded(toy_styled_gan(), lambda x, y=None: x.mean((1, 2, 3)), optax.sgd(1.0))
    state = jax.jit(genjax.init, static_argnums=0)(model, KEY, batch())
    after, _ = jax.jit(genjax.make_step(model))(state, batch())
    assert after.params["model"]["path_length"] > 0
    with pytest.raises(ValueError, match="path_every >= 1 steps, not path_every=0"):
        styled(stylegan2((3, 4), SHAPE, 5, 1), LATENT, path_tx=optax.sgd(1.0), path_every=0)


# ---- growth ----------------------------------------------------------------------------------------------------------


def faded(level):
    """A toy level: what it makes is its number, faded."""
    number = lambda z, alpha: jnp.zeros((len(z), *SHAPE)) + (level - 1 + alpha).reshape(-1, 1, 1, 1)
    return Net(lambda key, z, alpha: {"w": jnp.ones(())}, lambda params, z, alpha: params["w"] * number(z, alpha))


def test_growth_is_continuous_over_stages():
    tx = optax.sgd(0.0)
    model = progressive([faded(level) for level in range(3)], [mlp((), ())] * 3, LATENT, tx, tx, fade_steps=4)
    state, keys, seen = jax.jit(genjax.init, static_argnums=0)(model, KEY, batch()), jax.random.split(KEY, 2), []
    for number in range(3):
        state = genjax.next_stage(model, state, number)
        step = jax.jit(genjax.make_step(model, number, ema_decay=0.0))
        for seed in range(6):
            state, _ = step(state, batch(seed))
            seen.append((float(state.params["fade"]), float(model.sample(state.params, keys).mean())))
    fade, image = np.transpose(seen)
    np.testing.assert_allclose(fade, [0.0] * 6 + [0.25, 0.5, 0.75, 1, 1, 1] + [1.25, 1.5, 1.75, 2, 2, 2])
    np.testing.assert_allclose(image[6:], fade[6:], atol=1e-6)  # 4 steps to fade in, then at rest
    with pytest.raises(ValueError, match="3 levels of the generator, 2 of the critic"):
        progressive([faded(0)] * 3, [mlp((), ())] * 2, LATENT, tx, tx, fade_steps=4)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"at least one step, but fade_steps={wrong}; give fade_steps=1"):
            progressive([faded(0)] * 2, [mlp((), ())] * 2, LATENT, tx, tx, fade_steps=wrong)


def test_what_is_sampled_is_the_level_reached_and_no_other():
    """500 steps of 1/500 do not sum to 1 in float32."""
    tx = optax.sgd(0.0)
    model = progressive([faded(level) for level in range(3)], [mlp((), ())] * 3, LATENT, tx, tx, fade_steps=500)
    params, keys = jax.jit(model.init)(KEY, batch()), jax.random.split(KEY, 2)
    phase = model.stages[1][0]
    move = lambda fade, _: (fade - jax.grad(lambda fade: phase.loss({"fade": fade}, KEY, {}).value)(fade) / 500, None)
    fade, _ = jax.jit(lambda: jax.lax.scan(move, jnp.zeros(()), length=600))()
    np.testing.assert_allclose(fade, 1.0, rtol=1e-6)
    wrong = Net(None, lambda params, z, alpha: jnp.full((len(z), *SHAPE), jnp.nan))
    generators = [faded(0), faded(1), wrong]
    model = progressive(generators, [mlp((), ())] * 3, LATENT, tx, tx, fade_steps=500)
    assert jnp.isfinite(model.sample(params | {"fade": fade}, keys)).all()


def test_reals_fade_in_as_fakes_do():
    """At alpha = 0 a critic of a level sees data without the detail that the level before had not either."""
    seen = []
    look = lambda params, x, alpha: (seen.append(x), params["w"] * x.sum((1, 2, 3)))[1]
    critic = Net(lambda key, x, alpha: {"w": jnp.ones(())}, look)
    tx = optax.sgd(0.0)
    model = progressive([faded(level) for level in range(2)], [critic] * 2, LATENT, tx, tx, fade_steps=4)
    x = draw(8, *SHAPE)
    blocks = x.reshape(8, 2, 2, 2, 2, 1).mean((2, 4)).repeat(2, 1).repeat(2, 2)
    for fade, wanted in ((0.0, blocks), (0.25, 0.25 * x + 0.75 * blocks), (1.0, x)):
        seen.clear()
        params = {"fade": jnp.asarray(fade), "generator": {"w": jnp.ones(())}, "critic": {"w": jnp.ones(())}}
        model.stages[1][1].loss(params, KEY, as_batch(x))
        np.testing.assert_allclose(seen[0], wanted, atol=1e-6)


def test_each_right_at_known_logits():
    np.testing.assert_allclose(each_right(jnp.array([1.0, -1.0]), jnp.array([-1.0, -2.0])), 0.75)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="lazy=0"):
        smooth(r1=1.0, lazy=0)
    with pytest.raises(ValueError, match=r"side > 0, not side=-0\.1"):
        box(-0.1)
    with pytest.raises(ValueError, match="needs widths, one a level"):
        resgan_critic(())
    with pytest.raises(ValueError, match="all that it sees here are conditions"):
        squared_slopes(lambda seen: seen[0], (jnp.ones(3),))
    with pytest.raises(ValueError, match="0 for none, not unroll=-1"):
        toy(unroll=-1)
    with pytest.raises(ValueError, match="adversarial needs `trains`"):
        toy(trains=())
