"""Combinators beside closed forms; every autoencoder with every prior is in test_grid."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import genjax
from genjax import tasks
from genjax.bijections import chain
from genjax.chains import langevin
from genjax.conditions import GIVEN, told
from genjax.densities import gaussian
from genjax.families.autoregressive import autoregressive
from genjax.families.energy import energy
from genjax.families.flow import flow
from genjax.families.gan import implicit, relativistic
from genjax.heads import categorical
from genjax.hybrids.adversarial import adversarial, augmented, samples
from genjax.hybrids.cascade import cascade, enlarged, shrunk
from genjax.hybrids.conditioned import conditioned
from genjax.hybrids.copying import copying
from genjax.hybrids.latent import latent
from genjax.hybrids.lora import lora, merged
from genjax.hybrids.penalties import Told, smooth
from genjax.hybrids.reaching import reaching
from genjax.hybrids.refined import polished, refined
from genjax.hybrids.rewarded import filtered, likelihood, pathwise, rewarded
from genjax.hybrids.sees import codes, corrupted, drawn, featured, pairs
from genjax.hybrids.similar import similar
from genjax.hybrids.stepwise import steps_of, stepwise
from genjax.hybrids.tilted import log_partition, tilted
from genjax.model import Loss, Phase, as_batch, frozen, put
from genjax.nets import Net, gpt
from genjax.samplers import ancestral
from genjax.schedules import Process, cosine
from tests.table import (
    LATENT,
    SHAPE,
    TABLE,
    adam,
    batch,
    brightness,
    compiled,
    reader,
    small,
    start,
    toy_codes,
    toy_diffusion,
    toy_energy,
    toy_gan,
    toy_guided,
    toy_implicit,
    toy_similar,
    toy_vae,
    toy_vq,
)

NOISING = lambda sees, reach: corrupted(sees, cosine(), reach)
KEYS = jax.random.split(jax.random.key(0), 4096)


# ---- a copy ----------------------------------------------------------------------------------------------------------------


def test_a_copy_is_exact_after_one_step_and_an_average_moves_by_its_rate():
    params = {"a": {"w": jnp.arange(3.0)}, "b": {"w": jnp.zeros(3)}}
    for rate, expected in ((1.0, [0, 1, 2]), (0.25, [0, 0.25, 0.5])):
        phase = copying(("a",), ("b",), "follow", rate)
        gradient = jax.grad(lambda b, p=phase: p.loss(params | {"b": b}, KEYS[0], {}).value)(params["b"])
        moved, _ = phase.tx.update(gradient, phase.tx.init(params["b"]))
        np.testing.assert_array_equal(moved["w"], expected)


# ---- low rank --------------------------------------------------------------------------------------------------------------


def test_lora_starts_as_the_model_and_its_matrices_stay_within_the_rank():
    state = start("lora(vae)")
    base = state.params["base"]
    after, _ = compiled("lora(vae)")(state, batch())
    jax.tree.map(np.testing.assert_array_equal, merged(state.params), base)
    change = jax.tree.map(lambda a, b: np.asarray(a - b), merged(after.params), base)
    ranks = [np.linalg.matrix_rank(leaf, 1e-6) for leaf in jax.tree.leaves(change) if leaf.ndim == 2]
    assert max(ranks) == 1
    assert all(leaf.any() for leaf in jax.tree.leaves(change) if leaf.ndim == 1)


def test_lora_goes_on_from_given_parameters_and_scales_by_alpha():
    model, weights = toy_vae(), start("vae").params
    tuned = lora(model, 2, alpha=6.0, base=weights)
    params = jax.jit(tuned.init)(jax.random.key(0), batch())
    np.testing.assert_array_equal(tuned.sample(params, KEYS[:4]), model.sample(weights, KEYS[:4]))
    params["change"] = jax.tree.map(jnp.ones_like, params["change"])
    np.testing.assert_allclose(tuned.sample(params, KEYS[:4]), model.sample(merged(params, 3.0), KEYS[:4]), rtol=1e-6)
    with pytest.raises(ValueError, match="rank >= 1, not 0"):
        lora(model, 0)


def test_changes_that_wait_are_trained_by_the_reward_alone():
    name = "rewarded(lora(adversarial(implicit)))"
    moved = lambda before, after: any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True))
    for stage, (base, change) in enumerate([(True, False), (False, True)]):
        before = start(name, stage)
        after, _ = compiled(name, stage)(before, batch())
        old, new = before.params["model"], after.params["model"]
        assert (moved(old["base"], new["base"]), moved(old["change"], new["change"])) == (base, change)


# ---- drafts denoised -------------------------------------------------------------------------------------------------------


def test_a_polished_draft_of_gaussians_has_the_moments_of_the_closed_form():
    """Data N(m, s^2), drafts N(n, r^2): the probability flow is linear, so mean and variance at the end are known."""
    (m, s), (n, r), at, process = (1.0, 0.5), (-2.0, 2.0), 0.4, cosine()

    def denoise(x, t):
        alpha, sigma = process.alpha(t), process.sigma(t)
        return m + alpha * s**2 / (alpha**2 * s**2 + sigma**2) * (x - alpha * m)

    draft = n + r * jax.random.normal(jax.random.key(1), (len(KEYS), 1))
    x = jax.jit(lambda: polished(denoise, process, draft, KEYS, at, 200))()
    alpha, sigma = process.alpha(at), process.sigma(at)
    kept = s / jnp.sqrt(alpha**2 * s**2 + sigma**2)
    mean, spread = m + kept * alpha * (n - m), kept * jnp.sqrt(alpha**2 * r**2 + sigma**2)
    error = 4 * spread / np.sqrt(len(KEYS))
    assert abs(x.mean() - mean) < error
    assert abs(x.std() - spread) < error


def test_a_draft_that_is_hardly_noised_is_kept():
    base, draft = toy_gan(), None
    model = refined(base, toy_diffusion(), start=1e-4, steps=2)
    params = jax.jit(model.init)(jax.random.key(0), batch())
    draft = base.sample(params["base"], KEYS[:8])
    np.testing.assert_allclose(model.sample(params, KEYS[:8]), draft, atol=2e-3)


def test_a_draft_is_denoised_with_a_learned_variance_too():
    model = refined(toy_gan(), toy_guided(), steps=3, sampler=ancestral(None))
    x = model.sample(jax.jit(model.init)(KEYS[0], batch()), KEYS[:8], batch()["y"])
    assert x.shape == batch()["x"].shape and np.isfinite(x).all()


def test_what_is_edited_in_the_codes_is_drawn_by_the_diffusion():
    base, keep = toy_vae(), refined(toy_vae(), toy_diffusion(), start=1e-4, steps=2)
    params = jax.jit(keep.init)(KEYS[0], batch())
    by = (base, params["base"]), (keep, params)
    moved = [tasks.move(model, mine, KEYS[0], batch(), jnp.ones(3), 0.5) for model, mine in by]
    np.testing.assert_allclose(*moved, atol=1e-2)  # so near the data the draft is kept
    anew = refined(toy_vae(), toy_diffusion(), start=0.8, steps=2)
    codes = anew.encode(params, KEYS[0], batch())
    x = anew.decode(params, codes)
    assert jnp.abs(x - base.decode(params["base"], codes)).mean() > 0.1
    np.testing.assert_allclose(anew.decode(params, codes[3:4]), x[3:4], atol=1e-5)  # a picture depends on its code alone
    assert refined(toy_gan(), toy_diffusion()).decode is None


def test_refined_names_what_is_missing():
    with pytest.raises(ValueError, match="as diffusion, needs a model with `denoise`"):
        refined(toy_gan(), toy_vae())
    with pytest.raises(ValueError, match=r"start=0\.0"):
        refined(toy_gan(), toy_diffusion(), 0.0)
    with pytest.raises(ValueError, match="at least one step, but steps=0; give steps=1"):
        refined(toy_gan(), toy_diffusion(), steps=0)


# ---- energies on a base ----------------------------------------------------------------------------------------------------

SLOPE = jnp.asarray([1.0, -0.5])
# E = c x tilts N(0, I) to N(-c, I), and Z = exp(c c / 2)
LINEAR = Net(lambda key, x: {"c": SLOPE}, lambda params, x: x @ params["c"])


def gaussian_base():
    return flow(chain(), (2,), adam())


def test_a_linear_tilt_of_a_gaussian_shifts_it():
    model = tilted(gaussian_base(), LINEAR, adam(), kernel=lambda log_p: langevin(log_p, 0.1), steps=80)
    params = jax.jit(model.init)(KEYS[0], as_batch(jnp.zeros((2, 2))))
    x = jax.jit(model.sample)(params, KEYS)
    np.testing.assert_allclose(x.mean(0), -SLOPE, atol=4 / np.sqrt(len(KEYS)))
    np.testing.assert_allclose(x.var(0), 1 / (1 - 0.1 / 4), rtol=4 * np.sqrt(2 / len(KEYS)))  # Langevin's own bias
    points = jnp.asarray([[0.0, 0.0], [1.0, 2.0]])
    shifted = 0.5 * ((points + SLOPE) ** 2).sum(1)
    np.testing.assert_allclose(jnp.diff(model.energy(params, points)), jnp.diff(shifted), rtol=1e-5)


def test_the_partition_of_a_tilt_is_known():
    params = {"base": {"flow": {}}, "energy": {"c": 0.3 * SLOPE}}
    lifted = Net(LINEAR.init, lambda params, x: LINEAR.apply(params, x) + 0.7)
    log_z, error = log_partition(gaussian_base(), lifted, params, KEYS)
    assert abs(log_z - (0.5 * 0.09 * SLOPE @ SLOPE - 0.7)) < 4 * error
    assert error < 0.02


def test_a_tilt_learns_the_slope_that_the_base_lacks():
    """The loss's gradient is zero on average where the tilted base is the data."""
    model = tilted(gaussian_base(), LINEAR, adam(), kernel=lambda log_p: langevin(log_p, 0.1), steps=80)
    x = jax.random.normal(jax.random.key(3), (len(KEYS), 2)) - SLOPE
    params = jax.jit(model.init)(KEYS[0], as_batch(x))
    loss = lambda c: model.stages[-1][0].loss(params | {"energy": {"c": c}}, KEYS[1], as_batch(x)).value
    there, elsewhere = jax.jit(jax.vmap(jax.grad(loss)))(jnp.stack([SLOPE, SLOPE + 1.0]))
    assert jnp.abs(there).max() < 6 / np.sqrt(len(KEYS))
    np.testing.assert_allclose(elsewhere, jnp.ones(2), atol=0.1)  # c too large by 1: the gradient says so


# ---- rewards ---------------------------------------------------------------------------------------------------------------


def shifting() -> genjax.Model:
    """x = w + z."""
    return implicit(Net(lambda key, z: {"w": jnp.zeros(2)}, lambda params, z: z + params["w"]), (2,))


def test_pathwise_rewards_pull_samples_there_and_an_anchor_holds_them():
    aim = jnp.asarray([3.0, -1.0])
    for anchor, share in ((0.0, 1.0), (2.0, 0.5)):  # reward -|x - a|^2 against anchor / 2 |x - x_ref|^2 a dimension
        model = rewarded(shifting(), lambda x, y=None: -((x - aim) ** 2).sum(1), optax.sgd(0.1), pathwise(anchor))
        data = as_batch(jnp.zeros((64, 2)))
        state = jax.jit(genjax.init, static_argnums=0)(model, jax.random.key(0), data)
        state = genjax.next_stage(model, state, 1)
        step = jax.jit(genjax.make_step(model, 1))
        for _ in range(200):
            state, metrics = step(state, data)
        np.testing.assert_allclose(state.params["model"]["generator"]["w"], share * aim, atol=0.05)
        assert metrics["reward/reward"] < 0


def tokens(**options) -> genjax.Model:
    return autoregressive(gpt(3, 3, 2, width=8, depth=1, heads=1), (2,), categorical(3, grid=False), adam(), **options)


def test_the_likelihood_gradient_is_that_of_the_expected_reward_by_enumeration():
    value, model = jnp.asarray([[0.0, 1.0, 4.0], [2.0, -1.0, 0.0], [3.0, 0.0, 1.0]]), tokens()
    reward = lambda x, y=None: value[x[:, 0], x[:, 1]]
    noisy = lambda p: p + 0.3 * jax.random.normal(jax.random.key(p.size), p.shape)
    begin = lambda key, batch: jax.tree.map(noisy, model.init(key, batch))
    params = jax.jit(begin)(jax.random.key(0), as_batch(jnp.zeros((2, 2), jnp.int32)))
    states = as_batch(jnp.asarray([[i, j] for i in range(3) for j in range(3)]))
    exact = jax.jit(jax.grad(lambda p: -(jnp.exp(model.log_prob(p, states)) * reward(states["x"])).sum()))(params)
    loss = likelihood()(model, reward)
    one = lambda key: jax.grad(lambda p: loss(p, params, key, as_batch(jnp.zeros((4, 2), jnp.int32))).value)(params)
    many = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), 6400))
    for got, true in zip(jax.tree.leaves(many), jax.tree.leaves(exact), strict=True):
        error = got.std(0) / 80  # of the mean of 6400
        assert (jnp.abs(got.mean(0) - true) <= 5 * error + 1e-5).all()  # a sample's baseline is the mean of the others
    with pytest.raises(ValueError, match="give it 2 rows or more"):
        loss(params, params, KEYS[0], as_batch(jnp.zeros((1, 2), jnp.int32)))


def test_filtered_learns_from_the_best_of_the_reference():
    own = Phase("own", lambda params, key, batch: Loss(jnp.mean(batch["x"])), ("generator",), optax.sgd(1.0))
    model = shifting()._replace(stages=((own,),))
    loss = filtered(0.25)(model, lambda x, y=None: x[:, 0])
    now, then = ({"generator": {"w": jnp.full(2, far)}} for far in (100.0, 0.0))
    out = loss(now, then, KEYS[0], as_batch(jnp.zeros((4096, 2))))
    kept = 1.2711  # mean of a normal number above its upper quartile
    np.testing.assert_allclose(out.metrics["reward_kept"], kept, atol=0.05)
    np.testing.assert_allclose(out.value, 0.5 * kept, atol=0.05)
    assert abs(out.metrics["reward"]) < 0.07


@pytest.mark.parametrize("name", ["vae", "diffusion", "flow", "rbm"])
def test_a_rewarded_model_can_do_what_it_could(name):
    model, able = TABLE[name](), lambda model: [field for field, value in model._asdict().items() if value is not None]
    assert able(rewarded(model._replace(generates=("any",)), brightness, adam())) == able(model)


def test_a_rewarded_model_refines_as_the_model_inside_it():
    tuned, plain = rewarded(toy_diffusion(), brightness, adam()), toy_diffusion()
    params = jax.jit(refined(toy_gan(), tuned).init)(KEYS[0], batch())
    inside = params | {"diffusion": params["diffusion"]["model"]}
    x, wanted = (refined(toy_gan(), one).sample(p, KEYS[:4]) for one, p in ((tuned, params), (plain, inside)))
    np.testing.assert_array_equal(x, wanted)


def test_rewards_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"one number a sample, \(B,\); this one gives \(8, 4, 4, 1\)"):
        rewarded(toy_vae(), lambda x, y=None: x, adam()).init(KEYS[0], batch())
    with pytest.raises(ValueError, match="by likelihood needs a model with `log_prob`"):
        rewarded(toy_vae(), lambda x, y=None: x.sum((1, 2, 3)), adam(), likelihood())
    with pytest.raises(ValueError, match=r"they train base/.*; it samples through change/decoder\. Give way=pathwise"):
        rewarded(lora(toy_vae(), 1, waits=True), brightness, adam(), filtered())
    with pytest.raises(ValueError, match="memory belongs to each row: give way=pathwise"):
        rewarded(toy_energy(), brightness, adam(), filtered())
    model = rewarded(tokens(), lambda x, y=None: x.sum(1), adam())
    data = as_batch(jnp.zeros((2, 2), jnp.int32))
    with pytest.raises(ValueError, match="way=likelihood"):
        model.stages[1][0].loss(model.init(KEYS[0], data), KEYS[0], data)


# ---- conditions and cascades -----------------------------------------------------------------------------------------------


def test_a_conditioned_model_is_the_model_told_what_the_encoder_reads():
    model = toy_vae(classes=GIVEN)
    params, data = start("conditioned(vae), frozen").params, batch()
    read = reader().apply(params["encoder"], data["y"])
    whole = conditioned(model, reader(), along=())
    np.testing.assert_array_equal(whole.sample(params, KEYS[:8], data["y"]), model.sample(params["model"], KEYS[:8], read))
    np.testing.assert_array_equal(
        whole.bound(params, KEYS[0], data, 2), model.bound(params["model"], KEYS[0], data | {"y": read}, 2)
    )
    assert frozen(params, whole.stages[0]) == ["encoder"]
    with pytest.raises(ValueError, match="give y"):
        whole.sample(params, KEYS[:8])
    with pytest.raises(ValueError, match="no phase denoise to train the encoder along; there are elbo"):
        conditioned(model, reader(), along=("denoise",))
    with pytest.raises(ValueError, match=r"cannot be trained: give along=\(\)"):
        conditioned(toy_energy(classes=GIVEN), reader())


def test_an_encoder_learns_what_a_critic_makes_of_the_condition():
    """Whoever judges pictures beside words must feel for the words, or nobody ever learns to read them."""
    inner = implicit(small(SHAPE), LATENT, classes=GIVEN)
    game = adversarial(inner, small(()), optax.sgd(0.1), optax.sgd(0.1), sees=samples(inner, labelled=True))
    model, data = conditioned(game, reader(), along=("critic",)), batch()
    params = jax.jit(model.init)(KEYS[0], data)
    judge, please = model.stages[0]
    assert "encoder" in judge.trains and "encoder" not in please.trains
    of = lambda encoder: judge.loss(params | {"encoder": encoder}, KEYS[1], data).value
    assert optax.tree.norm(jax.jit(jax.grad(of))(params["encoder"])) > 1e-3
    of = lambda generator: judge.loss(put(params, "model/generator", generator), KEYS[1], data).value
    assert optax.tree.norm(jax.jit(jax.grad(of))(params["model"]["generator"])) == 0


def test_labels_for_a_model_of_arrays_and_arrays_for_a_model_of_labels():
    with pytest.raises(ValueError, match=r"wants labels 0 \.\. 2, but y is float32: for arrays give classes=GIVEN"):
        told(jnp.zeros((2, 3)), 3)
    np.testing.assert_array_equal(told(jnp.zeros((2, 3)), GIVEN), jnp.zeros((2, 3)))
    assert told(None, 0) is None


def test_a_picture_made_small_and_large_again():
    x = jax.random.normal(KEYS[0], (2, 4, 6, 3))
    np.testing.assert_allclose(shrunk(x, 2)[0, 1, 2], x[0, 2:4, 4:6].mean((0, 1)), rtol=1e-5)
    flat = jnp.full((1, 2, 3, 1), 0.7)
    np.testing.assert_allclose(enlarged(flat, 2), jnp.full((1, 4, 6, 1), 0.7), rtol=1e-6)
    with pytest.raises(ValueError, match=r"sides \(4, 6\) do not divide by factor=4"):
        shrunk(x, 4)


def test_the_large_picture_of_a_cascade_follows_the_small_one():
    """A `high` that draws its hint: what comes out is the small sample enlarged, with `level` of noise."""
    draws = lambda params, keys, y: y[..., :-1]
    high = toy_diffusion(classes=GIVEN)._replace(sample=draws)
    low = implicit(Net(lambda key, z: {}, lambda params, z: z), (2, 2, 1))
    params = {"low": {"generator": {}}, "high": {}}
    for level in (0.0, 0.3):
        model = cascade(low, high, level=level, augment=0.3)
        apart = model.sample(params, KEYS[:512]) - enlarged(low.sample(params["low"], KEYS[:512]), 2)
        kept = 0.75**2 + 0.25**2  # of the variance, along each of two axes, by bilinear weights
        np.testing.assert_allclose(apart[:, 1, 1].std(), level * kept, rtol=0.1, atol=1e-6)


# ---- autoencoders with priors --------------------------------------------------------------------------------------------


def test_a_prior_that_does_not_fit_is_refused():
    for model, words in (
        (latent(toy_vq(), toy_diffusion((4,))), "tokens, which have no scale"),
        (latent(toy_vae(), toy_codes(places=3), scaled=False), "real numbers, but the prior makes tokens"),
        (latent(toy_vae(), energy(Net(lambda key, x, y: {}, lambda params, x, y: x.sum(1)), (5,), adam())), "one code is"),
    ):
        with pytest.raises(ValueError, match=words):
            model.init(KEYS[0], batch())


# ---- what else a critic may see ----------------------------------------------------------------------------------------------


def test_a_pair_is_data_with_codes_against_noise_with_what_it_decodes_to():
    model, params, data = toy_vae(), start("vae").params, batch()
    (x, codes_of_x), (made, z) = pairs(model, LATENT)(params, KEYS[0], data)
    np.testing.assert_array_equal(x, data["x"])
    np.testing.assert_array_equal(codes_of_x, model.encode(params, KEYS[0], data))
    np.testing.assert_array_equal(made, model.decode(params, z))
    (prior,), (codes_seen,) = codes(model, LATENT)(params, KEYS[0], data)
    np.testing.assert_array_equal(codes_seen, codes_of_x)
    np.testing.assert_array_equal(prior, z)
    (twice,), (fakes,) = drawn(model, LATENT)(params, KEYS[0], data)
    np.testing.assert_array_equal(twice[8:], data["x"])
    np.testing.assert_array_equal(fakes[:8], model.decode(params, codes_of_x))
    np.testing.assert_array_equal(fakes[8:], made)
    halved = featured(pairs(model, LATENT), lambda x: 0.5 * x)(params, KEYS[0], data)
    np.testing.assert_array_equal(halved[0][0], 0.5 * data["x"])
    np.testing.assert_array_equal(halved[1][1], z)


def test_both_sides_are_corrupted_by_one_law_as_far_as_reach():
    data = as_batch(jnp.full((4096, 1), 2.0))
    same = lambda params, key, batch: ((batch["x"],), (batch["x"],))
    for reach in (0.0, 0.5):
        (real, t), (fake, t_fake) = corrupted(same, cosine(), lambda params, r=reach: jnp.asarray(r))({}, KEYS[0], data)
        np.testing.assert_array_equal(t, t_fake)
        assert t.max() <= reach
        alpha, sigma = cosine().alpha(t), cosine().sigma(t)
        for x in (real, fake):
            noise = x[:, 0] - 2.0 * alpha
            assert abs(noise.mean()) <= 4 * jnp.sqrt(jnp.mean(sigma**2) / 4096)
            np.testing.assert_allclose(jnp.mean(noise**2), jnp.mean(sigma**2), rtol=0.1)
    assert jnp.abs(real - fake).max() > 0.1


@pytest.mark.parametrize(("logit", "first", "after"), [(1.0, 0.1, 0.104), (-1.0, 0.1, 0.084), (1.0, 1.02, 1.004)])
def test_reach_follows_how_sure_the_critic_is_and_comes_back_to_a_share(logit, first, after):
    sure = Net(lambda key, x, t: {"w": jnp.asarray(logit)}, lambda params, x, t: jnp.full(len(x), params["w"]))
    model = reaching(toy_implicit(), sure, optax.sgd(0.0), optax.sgd(0.0), NOISING, target=0.6, speed=0.01, every=1)
    state = jax.jit(genjax.init, static_argnums=0)(model, jax.random.key(0), batch())
    state = state._replace(params=state.params | {"reach": jnp.asarray(first)})
    state, metrics = jax.jit(genjax.make_step(model))(state, batch())
    np.testing.assert_allclose(state.params["reach"], after, atol=1e-6)
    assert metrics["reach/sure"] == logit


def test_a_second_reach_and_one_that_never_moves_are_refused():
    once = reaching(toy_implicit(), small(()), adam(), adam(), NOISING)
    with pytest.raises(ValueError, match="branch 'reach' already; one critic can be `reaching`"):
        genjax.init(reaching(once, small(()), adam(), adam(), NOISING, name="other"), KEYS[0], batch())
    with pytest.raises(ValueError, match="which this game leaves open: give game=non_saturating"):
        reaching(toy_implicit(), small(()), adam(), adam(), NOISING, game=relativistic)
    with pytest.raises(ValueError, match=r"every >= 1, not 0\.05, 0\.001 and 0"):
        reaching(toy_implicit(), small(()), adam(), adam(), NOISING, every=0)


def test_reach_is_of_the_stage_of_its_critic_and_hears_what_the_critic_is_told():
    told = Net(lambda key, x, t, y: {}, lambda params, x, t, y: jnp.sum(x**2, (1, 2, 3)) + 0.0 * t + y)
    sees = lambda params, key, data: ((data["x"], Told(data["y"])),) * 2
    how = {"every": 1, "sees": sees, "stage": 0, "trains": ("autoencoder/decoder",)}
    model = reaching(latent(toy_vae(), toy_diffusion((3,))), told, adam(), adam(), NOISING, **how)
    assert [phase.name for phase in model.stages[0]][-1] == "reach" and "reach" not in {phase.name for phase in model.stages[1]}
    state = jax.jit(genjax.init, static_argnums=0)(model, KEYS[0], batch())
    _, metrics = jax.jit(genjax.make_step(model))(state, batch())
    assert metrics["reach/sure"] == 1.0


def test_what_is_seen_twice_is_corrupted_augmented_and_penalized_with_draws_of_its_own():
    twice = lambda params, key, data: ((jnp.concatenate([data["x"]] * 2),), (jnp.concatenate([data["x"]] * 2),))
    once = lambda params, key, data: ((data["x"],), (data["x"],))
    noisy = lambda sees: corrupted(sees, cosine())({}, KEYS[0], batch())[0][0]
    shaken = lambda sees: augmented(sees, lambda key, x: x + jax.random.normal(key))({}, KEYS[0], batch())[0][0]
    for change in (noisy, shaken):
        x, first = change(twice), change(once)
        np.testing.assert_array_equal(x[: len(first)], first)
        assert jnp.abs(x[len(first) :] - first).min(axis=(1, 2, 3)).max() > 1e-3
    slope = smooth(gp=1.0)(lambda seen: jnp.sum(seen[0], (1, 2, 3)), KEYS[0], batch(), *twice({}, KEYS[0], batch()))
    np.testing.assert_allclose(slope, (batch()["x"][0].size ** 0.5 - 1) ** 2, rtol=1e-5)


def test_of_a_share_of_examples_the_critic_sees_augmented_ones():
    data = as_batch(jnp.zeros((4096, 1)))
    same = lambda params, key, batch: ((batch["x"],), (batch["x"],))
    for share in (0.0, 0.3, 1.0):
        sees = augmented(same, lambda key, x: x + 1.0, lambda params: params["p"])
        for (x,) in sees({"p": jnp.asarray(share)}, KEYS[0], data):
            assert abs(x.mean() - share) <= 4 * np.sqrt(share * (1 - share) / 4096)


M, S = 1.5, 0.5  # data N(M, S^2)


def posterior(process) -> Net:
    """The exact law of x_0 given x_t, drawn by z: the best generator there is."""

    def apply(params, x, t, z):
        alpha, sigma = process.alpha(t)[:, None], process.sigma(t)[:, None]
        power = alpha**2 * S**2 + sigma**2
        return M + alpha * S**2 / power * (x - alpha * M) + S * sigma / jnp.sqrt(power) * z

    return Net(lambda key, x, t, z: {}, apply)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_stepwise_model_whose_generator_knows_the_posterior_draws_the_data(steps):
    """Any number of steps is exact, which no denoiser without z is."""
    model = stepwise(posterior(cosine()), (1,), (1,), cosine(), steps)
    x = jax.jit(model.sample)({"generator": {}}, KEYS)
    assert abs(x.mean() - M) < 4 * S / np.sqrt(len(KEYS))
    np.testing.assert_allclose(x.std(), S, rtol=4 / np.sqrt(2 * len(KEYS)))


def test_a_process_that_does_not_end_in_noise_is_not_cut_into_steps():
    short = Process(lambda t: 1 - 0.5 * t, lambda t: t)
    for make in (lambda: stepwise(posterior(short), (1,), (1,), short), lambda: steps_of(posterior(short), (1,), short)):
        with pytest.raises(ValueError, match=r"never reaches noise: alpha / sigma is 0\.5"):
            make()


def test_the_two_sides_of_such_a_critic_then_have_one_law():
    data = as_batch(M + S * jax.random.normal(jax.random.key(9), (len(KEYS), 1)))
    sees = jax.jit(steps_of(posterior(cosine()), (1,), cosine(), 3))
    (x_s, t, (x_t,)), (made, _, (same,)) = sees({"generator": {}}, KEYS[0], data)
    np.testing.assert_array_equal(x_t, same)
    for level in jnp.unique(t):
        chosen = np.asarray(t == level)
        real, fake = (np.cov(side[chosen, 0], x_t[chosen, 0]) for side in (x_s, made))
        np.testing.assert_allclose(real, fake, atol=0.12)
    assert abs(x_s.mean() - made.mean()) < 0.05


def test_a_critic_of_pairs_trains_both_networks_of_a_bigan():
    state = start("adversarial(autoencoder) on pairs")
    after, _ = compiled("adversarial(autoencoder) on pairs")(state, batch())
    for name in ("encoder", "decoder", "critic"):
        assert (jax.tree.leaves(after.params[name])[-1] != jax.tree.leaves(state.params[name])[-1]).any()


# ---- likeness ------------------------------------------------------------------------------------------------------------


def gradients(model, params, name):
    phase = next(phase for phase in model.stages[0] if phase.name == name)
    loss = lambda params: phase.loss(params, jax.random.key(3), batch()).value
    return jax.value_and_grad(loss)(params)


def test_likeness_of_the_data_themselves_is_the_elbo_of_a_normal_but_for_a_constant():
    scale, beta = 0.3, 2.0
    model = toy_vae(likelihood=gaussian(scale), beta=beta)
    alike = similar(model, lambda params, x: x, adam(), scale=scale, beta=beta)
    params = model.init(jax.random.key(0), batch())
    (far, slopes), (elbo, expected) = gradients(alike, params, "similarity"), gradients(model, params, "elbo")
    np.testing.assert_allclose(far + 16 * np.log(scale * np.sqrt(2 * np.pi)), elbo, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), slopes, expected)


def test_likeness_is_in_what_the_critic_sees_and_leaves_the_critic_alone():
    model = toy_similar()
    params = model.init(jax.random.key(0), batch())
    assert [(phase.name, phase.trains) for phase in model.stages[0]] == [
        ("similarity", ("encoder", "decoder")), ("critic", ("critic",)), ("critic/generator", ("decoder",))
    ]  # fmt: skip
    blind = put(params, "critic/trunk", jax.tree.map(jnp.zeros_like, params["critic"]["trunk"]))
    value, slopes = gradients(model, blind, "similarity")
    q = toy_vae().latent_code.posterior(params, batch()["x"])
    kl = 0.5 * (q[0] ** 2 + q[1] ** 2 - 1) - jnp.log(q[1])
    np.testing.assert_allclose(value, kl.sum(-1).mean(), rtol=1e-5)  # a critic that sees nothing finds all alike
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(slopes["decoder"]))


def test_likeness_needs_a_normal_posterior_and_the_phase_it_replaces():
    with pytest.raises(ValueError, match="needs a model with `latent_code`; this one has only `sample`"):
        similar(toy_gan(), lambda params, x: x, adam())
    with pytest.raises(ValueError, match="no 'likeness' among elbo: give instead="):
        similar(toy_vae(), lambda params, x: x, adam(), instead="likeness")
