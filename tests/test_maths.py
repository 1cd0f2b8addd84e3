"""Truth: each formula against a closed form or a second way to compute it."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import genjax
from genjax.bijections import actnorm, causal, chain, planar
from genjax.densities import (
    bernoulli,
    discretized_logistic,
    gaussian,
    laplace,
    log_sigmoid_difference,
    normal_kl,
    normal_log_prob,
)
from genjax.families.diffusion import clean, noise, velocity
from genjax.families.flow import flow
from genjax.families.gan import hinge, implicit, non_saturating, relativistic
from genjax.families.vae import vae
from genjax.hybrids.adversarial import adversarial
from genjax.hybrids.latent import latent
from genjax.hybrids.lora import lora
from genjax.model import Loss, Model, Phase, as_batch, get, pick, place, put, stream
from genjax.nets import dit, gpt, made, mlp, timed_mlp, unet
from genjax.precision import half
from genjax.samplers import ddim
from genjax.schedules import cosine, karras_grid, noised, straight, uniform_grid
from genjax.splines import affine
from tests.table import LATENT, batch, model, small, start, toy_autoencoder, toy_diffusion, toy_vae

KEY = jax.random.key(0)
processes = pytest.mark.parametrize("process", [cosine(), straight()], ids=["cosine", "straight"])


# ---- densities -------------------------------------------------------------------------------------------------------


def test_bernoulli_sums_to_one():
    logits = jax.random.normal(KEY, (1, 5))
    states = jnp.array(list(itertools.product([0.0, 1.0], repeat=5)))
    total = jnp.exp(bernoulli().log_prob(jnp.tile(logits, (32, 1)), states)).sum()
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_discretized_logistic_sums_to_one(levels):
    theta = jax.random.normal(KEY, (1, 2)) * jnp.array([0.5, 3.0])
    grid = jnp.arange(levels)[:, None] / (levels - 1)
    log_p = discretized_logistic(levels).log_prob(jnp.tile(theta, (levels, 1)), grid)
    np.testing.assert_allclose(jnp.exp(log_p).sum(), 1.0, rtol=1e-5)


def test_discretized_logistic_draws_follow_its_probabilities():
    likelihood, theta = discretized_logistic(5), jnp.array([[0.1, 1.0]])
    probabilities = jnp.exp(likelihood.log_prob(jnp.tile(theta, (5, 1)), jnp.arange(5)[:, None] / 4))
    draws = likelihood.draw(jax.random.split(KEY, 20_000), jnp.tile(theta, (20_000, 1)))
    counts = jnp.bincount(jnp.round(draws[:, 0] * 4).astype(int), length=5) / 20_000
    np.testing.assert_allclose(counts, probabilities, atol=4 * 0.5 / 20_000**0.5)  # four standard errors


def test_log_sigmoid_difference_in_the_tails():
    """Against float64, where the plain difference of sigmoids would be 0 or 1 in float32."""
    upper, lower = np.array([-40.0, 40.0, 0.1, 1e-4]), np.array([-41.0, 39.0, -0.1, -1e-4])
    left = np.array([0, 2, 3])
    sigmoid = lambda v: np.exp(-np.logaddexp(0, -v))
    wanted = np.zeros(4)
    wanted[left] = np.log(sigmoid(upper[left]) - sigmoid(lower[left]))
    wanted[1] = np.log(np.exp(-39.0) - np.exp(-40.0))  # the right tail mirrors the left
    np.testing.assert_allclose(log_sigmoid_difference(jnp.array(upper), jnp.array(lower)), wanted, rtol=2e-4)
    slope = jax.grad(lambda u: log_sigmoid_difference(u, jnp.array(-jnp.inf)))(jnp.array(jnp.inf))
    assert np.isfinite(slope)


def test_gaussian_integrates_to_one_and_has_its_moments():
    theta, grid = jnp.array([[0.3, -0.5]]), jnp.linspace(-8, 8, 4001)[:, None]
    density = jnp.exp(gaussian().log_prob(jnp.tile(theta, (4001, 1)), grid))
    np.testing.assert_allclose(jnp.trapezoid(density, grid[:, 0]), 1.0, rtol=1e-5)
    draws = gaussian().draw(jax.random.split(KEY, 20_000), jnp.tile(theta, (20_000, 1)))
    np.testing.assert_allclose((draws.mean(), draws.std()), (0.3, np.exp(-0.5)), atol=0.02)
    wanted = 2 * (-0.5 - np.log(2 * (2 * np.pi) ** 0.5))  # two dimensions, each one scale away
    np.testing.assert_allclose(gaussian(2.0).log_prob(theta, theta + 2.0), wanted, rtol=1e-6)


def test_laplace_integrates_to_one_and_has_its_moments():
    theta, grid = jnp.array([[0.3]]), jnp.linspace(-8, 8, 4001)[:, None]
    density = jnp.exp(laplace(0.5).log_prob(jnp.tile(theta, (4001, 1)), grid))
    np.testing.assert_allclose(jnp.trapezoid(density, grid[:, 0]), 1.0, rtol=1e-4)
    draws = laplace(0.5).draw(jax.random.split(KEY, 20_000), jnp.tile(theta, (20_000, 1)))
    np.testing.assert_allclose((draws.mean(), draws.std()), (0.3, 0.5 * 2**0.5), atol=0.02)
    two = jnp.array([[0.3, -0.5]])
    np.testing.assert_allclose(laplace(2.0).log_prob(two, two + 2.0), 2 * (-1 - np.log(4.0)), rtol=1e-6)


def test_normal_kl_equals_quadrature():
    mean, log_scale, grid = jnp.array(0.7), jnp.array(-0.4), jnp.linspace(-8, 8, 4001)[:, None]
    log_q, log_p = normal_log_prob(grid, mean, log_scale), normal_log_prob(grid)
    wanted = jnp.trapezoid(jnp.exp(log_q) * (log_q - log_p), grid[:, 0])
    np.testing.assert_allclose(normal_kl(mean, log_scale), wanted, rtol=1e-4)


# ---- VAE -------------------------------------------------------------------------------------------------------------


def linear_gaussian(sigma=0.5, **options):
    """A VAE that is exactly probabilistic PCA with orthogonal loadings, whose posterior is diagonal: (model, params, log p)."""
    loadings = np.diag([1.5, 0.7]) @ np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0][:2]  # (2, 4)
    offset = np.array([0.1, -0.2, 0.3, 0.0])
    inverse = np.linalg.inv(loadings @ loadings.T + sigma**2 * np.eye(2))  # posterior covariance / sigma^2, diagonal
    to_mean, log_scale = loadings.T @ inverse, 0.5 * np.log(sigma**2 * np.diag(inverse))
    encoder = {"kernel": np.hstack([to_mean, np.zeros((4, 2))]), "bias": np.hstack([-offset @ to_mean, log_scale])}
    linear = vae(mlp((), (4,)), mlp((), (4,)), (2,), optax.sgd(1.0), likelihood=gaussian(sigma), **options)
    params = {"encoder": {"Dense_0": encoder}, "decoder": {"Dense_0": {"kernel": loadings, "bias": offset}}}
    covariance = loadings.T @ loadings + sigma**2 * np.eye(4)

    def log_prob(x):
        d = x - offset
        mahalanobis = np.einsum("bi,ij,bj->b", d, np.linalg.inv(covariance), d)
        return -0.5 * (mahalanobis + np.linalg.slogdet(covariance)[1] + 4 * np.log(2 * np.pi))

    return linear, jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params), log_prob


@pytest.mark.parametrize("samples", [1, 7, 120])
def test_bound_is_exact_under_the_exact_posterior(samples):
    linear, params, log_prob = linear_gaussian()
    x = np.random.default_rng(1).normal(size=(6, 4))
    bound = linear.bound(params, KEY, as_batch(jnp.asarray(x, jnp.float32)), samples)
    np.testing.assert_allclose(bound, log_prob(x), rtol=1e-4)


def test_a_flow_that_mends_a_wrong_posterior_makes_the_bound_exact():
    linear, params, log_prob = linear_gaussian(flow=actnorm())
    params["encoder"]["Dense_0"]["bias"] += jnp.array([0.3, -0.2, 0.0, 0.0])
    params["flow"] = {"shift": jnp.array([0.3, -0.2]), "log_scale": jnp.zeros(2)}
    x = np.random.default_rng(1).normal(size=(6, 4))
    bound = linear.bound(params, KEY, as_batch(jnp.asarray(x, jnp.float32)), 3)
    np.testing.assert_allclose(bound, log_prob(x), rtol=1e-4)


@pytest.mark.parametrize("flow", [planar(2), causal(made((8,), 2), affine())], ids=["planar", "IAF"])
def test_any_flow_of_the_posterior_leaves_many_samples_at_the_truth(flow):
    linear, params, log_prob = linear_gaussian(flow=flow)
    noisy = lambda key, z: jax.tree.map(lambda p: p + 0.2 * jax.random.normal(stream(key, "more"), p.shape), flow.init(key, z))
    params["flow"] = jax.jit(noisy)(KEY, jnp.zeros((1, 2)))
    x = np.random.default_rng(1).normal(size=(20, 4))
    bound = jax.jit(lambda params, x: linear.bound(params, KEY, as_batch(x), 5000, at_once=1000))
    np.testing.assert_allclose(bound(params, jnp.asarray(x, jnp.float32)).mean(), log_prob(x).mean(), atol=0.03)


def test_bound_tightens_with_samples_and_stays_below_the_truth():
    linear, params, log_prob = linear_gaussian()
    params["encoder"]["Dense_0"]["bias"] += jnp.array([0.3, -0.3, 0.2, 0.2])  # a wrong posterior
    x = np.random.default_rng(1).normal(size=(200, 4))
    bounds = [float(linear.bound(params, KEY, as_batch(jnp.asarray(x, jnp.float32)), k).mean()) for k in (1, 5, 1000)]
    truth = log_prob(x).mean()
    assert bounds[0] < bounds[1] < bounds[2] < truth + 1e-3
    assert truth - bounds[0] > 0.1
    np.testing.assert_allclose(bounds[2], truth, atol=5e-3)


def test_loss_is_the_bound_it_names():
    """Trained with K importance samples, the loss is minus the mean bound with K samples from the same keys."""
    m, params = model("iwae conditional"), start("iwae conditional").params
    loss = m.stages[0][0].loss(params, jax.random.fold_in(KEY, 0), batch())
    np.testing.assert_allclose(-loss.value, m.bound(params, KEY, batch(), 3).mean(), rtol=1e-5)


def test_beta_and_free_bits_weigh_the_kl_alone():
    params = start("vae").params
    loss = lambda **options: toy_vae(**options).stages[0][0].loss(params, KEY, batch())
    plain, beta, free = loss(), loss(beta=4.0), loss(free_bits=100.0)
    np.testing.assert_allclose(plain.value, plain.metrics["reconstruction"] + plain.metrics["kl"], rtol=1e-6)
    np.testing.assert_allclose(beta.value - plain.value, 3 * plain.metrics["kl"], rtol=1e-4)
    np.testing.assert_allclose(free.value - free.metrics["reconstruction"], 100.0 * LATENT[0], rtol=1e-5)
    both = loss(beta=2.0, free_bits=100.0)  # beta weighs the free bits too, as it does the KL they stand for
    np.testing.assert_allclose(both.value - both.metrics["reconstruction"], 2 * 100.0 * LATENT[0], rtol=1e-5)
    np.testing.assert_allclose(plain.metrics["elbo"], -plain.value, rtol=1e-6)


def test_conditional_vae_listens_to_its_label():
    m, params = model("iwae conditional"), start("iwae conditional").params
    keys = jax.random.split(KEY, 2)
    assert (m.sample(params, keys, jnp.array([0, 0])) != m.sample(params, keys, jnp.array([1, 1]))).any()
    with pytest.raises(ValueError, match="give labels y"):
        m.sample(params, keys)


def test_vae_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="no separate KL"):
        toy_vae(importance=True, beta=2.0)
    wrong = vae(small((5,)), small((4, 4, 1)), LATENT, optax.sgd(1.0))
    with pytest.raises(ValueError, match=r"encoder gives \(5,\) for one example, but \(6,\) is needed"):
        genjax.init(wrong, KEY, batch())
    wrong = vae(small((6,)), small((4, 4, 2)), LATENT, optax.sgd(1.0))
    with pytest.raises(ValueError, match=r"decoder gives \(4, 4, 2\).* \(4, 4, 1\) is needed"):
        genjax.init(wrong, KEY, batch())


# ---- diffusion -------------------------------------------------------------------------------------------------------


@processes
def test_process_goes_from_data_to_noise(process):
    ends = [float(f(t)) for t in (0.0, 1.0) for f in (process.alpha, process.sigma)]
    np.testing.assert_allclose(ends, [1.0, 0.0, 0.0, 1.0], atol=1e-6)
    x, eps = jax.random.normal(KEY, (2, 3, 2))
    np.testing.assert_allclose(noised(process, x, eps, jnp.array([0.0, 1.0, 0.0])), jnp.stack([x[0], eps[1], x[2]]), atol=1e-6)


@processes
@pytest.mark.parametrize("prediction", [velocity, noise, clean], ids=["velocity", "noise", "clean"])
def test_every_prediction_gives_back_the_data(process, prediction):
    x, eps = jax.random.normal(KEY, (2, 50))
    t = jnp.linspace(0.0, 0.98, 50)
    alpha, sigma = process.alpha(t), process.sigma(t)
    output = prediction.target(alpha, sigma, x, eps)
    np.testing.assert_allclose(prediction.clean(alpha, sigma, alpha * x + sigma * eps, output), x, atol=1e-4)


def gaussian_ddim(process, steps, mean=0.7, scale=0.5):
    """Error of DDIM on N(mean, scale^2), whose denoiser is known and whose exact flow maps x_1 to mean + scale x_1."""

    def denoise(x, t):
        alpha, sigma = process.alpha(t), process.sigma(t)
        gain = alpha * scale**2 / (alpha**2 * scale**2 + sigma**2)
        return mean + gain * (x - alpha * mean)

    x = jnp.linspace(-2.0, 2.0, 9)
    return float(jnp.abs(ddim()(denoise, process, uniform_grid()(process, steps), x) - (mean + scale * x)).max())


@processes
def test_ddim_converges_to_the_exact_flow_with_order_one(process):
    errors = [gaussian_ddim(process, steps) for steps in (32, 64, 128)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert errors[-1] < 0.02
    np.testing.assert_allclose(orders, 1.0, atol=0.15)


def test_ddim_takes_the_steps_it_is_asked_for():
    times = []
    with jax.disable_jit():
        ddim()(lambda x, t: times.append(float(t)) or x, cosine(), uniform_grid()(cosine(), 7), jnp.zeros(1))
    np.testing.assert_allclose(times, np.linspace(1, 0, 8)[:-1], rtol=1e-6)


def test_denoising_loss_of_the_true_denoiser_is_its_variance():
    """With data at 0 the noise is known from x_t: a network that answers x_t / sigma would have loss 0; zero has loss 1."""
    from genjax.families.diffusion import diffusion
    from genjax.nets import Net

    silent = Net(lambda key, *inputs: {"w": jnp.zeros(())}, lambda params, x, t, y: x * params["w"])
    zeros = as_batch(jnp.zeros((4000, 3)))
    silent_model = diffusion(silent, (3,), optax.sgd(1.0), prediction=noise, grid=karras_grid())
    loss = silent_model.stages[0][0].loss({"denoiser": {"w": jnp.zeros(())}}, KEY, zeros)
    np.testing.assert_allclose(loss.value, 1.0, atol=0.05)


# ---- adversarial -----------------------------------------------------------------------------------------------------


def test_games_at_known_logits():
    real, fake = jnp.array([2.0, 0.0]), jnp.array([-1.0, 1.0])
    softplus = lambda v: np.log1p(np.exp(v))
    np.testing.assert_allclose(non_saturating.critic(real * 0, fake * 0), 2 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(non_saturating.generator(real, fake), (softplus(1) + softplus(-1)) / 2, rtol=1e-6)
    np.testing.assert_allclose((hinge.critic(real, fake), hinge.generator(real, fake)), (0.5 + 1.0, 0.0), rtol=1e-6)
    np.testing.assert_allclose(relativistic.critic(real, fake), (softplus(-3) + softplus(1)) / 2, rtol=1e-6)
    np.testing.assert_allclose(relativistic.generator(real, fake), (softplus(3) + softplus(-1)) / 2, rtol=1e-6)


@pytest.mark.parametrize("option", ["r1", "r2"])
def test_gradient_penalty_of_a_linear_critic_is_its_squared_norm(option):
    def loss(**options):
        game = adversarial(implicit(small((4, 4, 1)), LATENT), mlp((), ()), optax.sgd(1.0), optax.sgd(1.0), **options)
        params = jax.jit(game.init)(KEY, batch())
        return game.stages[0][0].loss(params, KEY, batch()).value, params["critic"]["Dense_0"]["kernel"]

    (plain, kernel), (penalized, _) = loss(), loss(**{option: 3.0})
    np.testing.assert_allclose(penalized - plain, 1.5 * jnp.sum(kernel**2), rtol=1e-5)


def test_the_encoder_gets_no_adversarial_gradient():
    moves = {phase.name: phase.trains for phase in model("adversarial(vae)").stages[0]}
    assert moves == {"elbo": ("encoder", "decoder"), "critic": ("critic",), "critic/generator": ("decoder",)}


def test_critic_shape_is_checked():
    wrong = adversarial(implicit(small((4, 4, 1)), LATENT), small((1,)), optax.sgd(1.0), optax.sgd(1.0))
    params = jax.jit(wrong.init)(KEY, batch())
    with pytest.raises(ValueError, match=r"one logit an example, \(B,\); this one gives \(8, 1\)"):
        wrong.stages[0][0].loss(params, KEY, batch())


# ---- latent ----------------------------------------------------------------------------------------------------------


def test_codes_have_unit_mean_square_once_the_scale_has_followed():
    m, state = model("latent(vae, diffusion)"), start("latent(vae, diffusion)", 1)
    state = state._replace(params=put(state.params, "scale", jnp.array(100.0)))
    follow = jax.jit(genjax.make_step(m._replace(stages=((m.stages[1][0],),))))
    state = genjax.next_stage(m._replace(stages=((m.stages[1][0],),)), state, 0)
    first, _ = follow(state, batch())
    second_moment = lambda p: float(jnp.mean(m.encode(p, KEY, batch(1, 4000)) ** 2))
    target = second_moment(put(state.params, "scale", jnp.array(1.0)))
    np.testing.assert_allclose(first.params["scale"], 100.0 + 0.01 * (target - 100.0), rtol=5e-3)  # one batch, one move
    np.testing.assert_allclose(second_moment(put(state.params, "scale", jnp.array(target))), 1.0, rtol=1e-4)


def test_latent_decodes_what_its_prior_draws():
    m, params = model("latent(vae, diffusion)"), start("latent(vae, diffusion)").params
    keys = jax.random.split(KEY, 3)
    prior = toy_diffusion(LATENT).sample(params["prior"], keys)
    np.testing.assert_allclose(m.decode(params, prior), m.sample(params, keys), rtol=1e-6)
    np.testing.assert_allclose(
        m.sample(params, keys), toy_vae().decode(params["autoencoder"], prior * params["scale"] ** 0.5), rtol=1e-6
    )


def of_normal_codes(scale=1.7, prior=None, **options):
    """latent(linear VAE, N(MEAN, SD^2)) as a flow or another prior: (model, params, log p of x, the ELBO of x)."""
    mean, sd = np.array([0.4, -0.6]), np.array([0.5, 0.8])
    linear, inner, _ = linear_gaussian(sigma=0.5, **options)
    loadings, offset = (np.asarray(inner["decoder"]["Dense_0"][name], np.float64) for name in ("kernel", "bias"))
    codes = {"shift": jnp.asarray(mean / scale, jnp.float32), "log_scale": jnp.asarray(np.log(scale / sd), jnp.float32)}
    params = {"autoencoder": inner, "prior": {"flow": codes}, "scale": jnp.asarray(scale**2)}
    covariance = loadings.T @ np.diag(sd**2) @ loadings + 0.25 * np.eye(4)

    def log_prob(x):
        d = x - offset - mean @ loadings
        mahalanobis = np.einsum("bi,ij,bj->b", d, np.linalg.inv(covariance), d)
        return -0.5 * (mahalanobis + np.linalg.slogdet(covariance)[1] + 4 * np.log(2 * np.pi))

    def elbo(x):
        q = linear.latent_code.posterior(inner, jnp.asarray(x, jnp.float32))
        q_mean, q_sd = (np.asarray(part, np.float64) for part in q)
        error = ((x - offset - q_mean @ loadings) ** 2).sum(1) + (q_sd**2 * (loadings**2).sum(1)).sum(1)
        kl = np.log(sd / q_sd) + 0.5 * ((q_sd**2 + (q_mean - mean) ** 2) / sd**2 - 1.0)
        return -0.5 * (error / 0.25 + 4 * np.log(2 * np.pi * 0.25)) - kl.sum(1)

    return latent(linear, prior or flow(actnorm(), (2,), optax.sgd(1.0))), params, log_prob, elbo


def test_a_prior_of_standard_normal_codes_has_the_bound_of_the_vae():
    m, params, *_ = of_normal_codes()
    params["prior"]["flow"] = {"shift": jnp.zeros(2), "log_scale": jnp.full(2, 0.5 * jnp.log(params["scale"]))}
    x, (linear, inner, _) = as_batch(jax.random.normal(KEY, (6, 4))), linear_gaussian()
    inner["encoder"]["Dense_0"]["bias"] += jnp.array([0.3, -0.3, 0.2, 0.2])  # so that weights differ
    params["autoencoder"] = inner
    np.testing.assert_allclose(m.bound(params, KEY, x), linear.bound(inner, KEY, x), rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"flow": actnorm()}], ids=["normal", "flow"])
def test_many_samples_under_a_learned_prior_reach_the_truth(options):
    m, params, log_prob, _ = of_normal_codes(**options)
    if options:  # a posterior wider and elsewhere: many samples make up for it
        params["autoencoder"]["flow"] = {"shift": jnp.array([0.1, -0.1]), "log_scale": jnp.full(2, 0.3)}
    x = np.random.default_rng(1).normal(size=(20, 4))
    bound = jax.jit(lambda samples, x: m.bound(params, KEY, as_batch(x), samples), static_argnums=0)
    one, many = (bound(samples, jnp.asarray(x, jnp.float32)) for samples in (1, 5000))
    np.testing.assert_allclose(many.mean(), log_prob(x).mean(), atol=0.02)
    assert one.mean() < log_prob(x).mean() - 0.1


def test_a_prior_that_has_a_bound_alone_gives_the_elbo_and_is_told_how_many_samples():
    exact, asked = flow(actnorm(), (2,), optax.sgd(1.0)), []

    def noisy(params, key, batch, samples):  # right on average, its exponential far above
        asked.append(samples)
        return exact.log_prob(params, batch) + 3.0 * jax.random.normal(key, batch["x"].shape[:1])

    m, params, _, elbo = of_normal_codes(prior=exact._replace(log_prob=None, bound=noisy))
    x = np.random.default_rng(1).normal(size=(20, 4))
    bound = jax.jit(jax.vmap(lambda key: m.bound(params, key, as_batch(jnp.asarray(x, jnp.float32)), 7)))
    np.testing.assert_allclose(bound(jax.random.split(KEY, 4000)).mean(), elbo(x).mean(), atol=0.05)
    assert asked == [7]


def test_a_flow_with_a_prior_over_its_codes_is_the_longer_flow():
    base, params = flow(actnorm(), (2,), optax.sgd(1.0)), lambda shift: {"shift": shift, "log_scale": shift - 1.0}
    both = {"0": params(jnp.array([0.3, 0.1])), "1": params(jnp.array([-0.2, 0.5]))}
    m = latent(base, base)
    whole = {"autoencoder": {"flow": both["0"]}, "prior": {"flow": both["1"]}, "scale": jnp.ones(())}
    x = as_batch(jax.random.normal(KEY, (6, 2)))
    longer = flow(chain(actnorm(), actnorm()), (2,), optax.sgd(1.0))
    np.testing.assert_allclose(m.bound(whole, KEY, x, 3), longer.log_prob({"flow": both}, x), rtol=1e-5)


def test_a_latent_model_without_a_likelihood_of_data_or_codes_has_no_bound():
    prior = flow(actnorm(), LATENT, optax.sgd(1.0))
    whole = latent(toy_vae(), prior)
    params = jax.jit(whole.init)(KEY, batch())
    changed = lora(toy_vae(), 1, base=params["autoencoder"])  # starts as what it changes
    same = params | {"autoencoder": changed.init(KEY, batch())}
    lifted = latent(changed, prior).bound(same, KEY, batch(), 2)
    np.testing.assert_allclose(lifted, whole.bound(params, KEY, batch(), 2), rtol=1e-6)
    for blind in (latent(toy_vae(), toy_diffusion(LATENT)), latent(toy_autoencoder(), prior)):
        assert blind.bound is None


def test_nesting_three_deep():
    inner = adversarial(latent(toy_vae(), toy_diffusion(LATENT)), small(()), optax.sgd(0.1), optax.sgd(0.1))
    of_codes = vae(small((4,)), small((3,)), (2,), optax.sgd(0.1), likelihood=gaussian(1.0))
    deep = latent(toy_vae(), latent(of_codes, toy_gan_of_codes()))
    assert [phase.name for phase in inner.stages[1]] == ["scale", "prior/denoise", "critic", "critic/generator"]
    assert inner.stages[1][-1].trains == ("prior/denoiser",)
    names = ["scale", "prior/scale", "prior/prior/critic", "prior/prior/critic/generator"]
    assert [phase.name for phase in deep.stages[2]] == names
    for m in (inner, deep):
        state = jax.jit(lambda key, batch, m=m: genjax.init(m, key, batch))(KEY, batch())
        for stage in range(len(m.stages)):
            state, metrics = jax.jit(genjax.make_step(m, stage))(genjax.next_stage(m, state, stage), batch())
            assert all(np.isfinite(v) for v in metrics.values())
        assert m.sample(state.ema, jax.random.split(KEY, 2)).shape == (2, 4, 4, 1)


def toy_gan_of_codes() -> Model:
    return adversarial(implicit(small((2,)), (2,)), small(()), optax.sgd(0.1), optax.sgd(0.1))


# ---- the step --------------------------------------------------------------------------------------------------------


def quadratic(tx) -> Model:
    """min (w - mean x)^2 / 2, whose every step is known."""

    def loss(params, key, batch):
        return Loss(0.5 * jnp.mean((params["w"] - batch["x"]) ** 2))

    sample = lambda params, keys, y=None: jnp.zeros((len(keys), 1)) + params["w"]
    return Model(lambda key, batch: {"w": jnp.zeros(())}, ((Phase("fit", loss, ("w",), tx),),), sample)


def test_running_average_in_closed_form():
    m, data = quadratic(optax.sgd(1.0)), as_batch(jnp.full((4, 1), 2.0))
    state, _ = genjax.make_step(m, ema_decay=0.15)(genjax.init(m, KEY, data), data)
    np.testing.assert_allclose((state.params["w"], state.ema["w"]), (2.0, 0.9 * 2.0), rtol=1e-6)  # warm-up: 1 / 10 at first
    state, _ = genjax.make_step(m, ema_decay=0.15)(state, data)
    np.testing.assert_allclose(state.ema["w"], 1.8 + 0.85 * 0.2, rtol=1e-6)


def test_accumulated_gradients_equal_one_large_batch():
    half_batches = [as_batch(jnp.array([[1.0], [2.0]])), as_batch(jnp.array([[3.0], [6.0]]))]
    together = as_batch(jnp.concatenate([b["x"] for b in half_batches]))
    accumulated = quadratic(optax.MultiSteps(optax.sgd(0.1), every_k_schedule=2).gradient_transformation())
    state = jax.jit(genjax.init, static_argnums=0)(accumulated, KEY, together)
    for b in half_batches:
        state, _ = genjax.make_step(accumulated)(state, b)
    plain, _ = genjax.make_step(quadratic(optax.sgd(0.1)))(genjax.init(quadratic(optax.sgd(0.1)), KEY, together), together)
    np.testing.assert_allclose(state.params["w"], plain.params["w"], rtol=1e-6)
    np.testing.assert_allclose(plain.params["w"], 0.3, rtol=1e-6)


def test_later_moves_see_what_earlier_moves_did():
    first = quadratic(optax.sgd(1.0)).stages[0][0]
    m = quadratic(optax.sgd(1.0))._replace(stages=((first, first._replace(name="again", tx=optax.sgd(0.5))),))
    data = as_batch(jnp.full((4, 1), 2.0))
    _, metrics = genjax.make_step(m)(genjax.init(m, KEY, data), data)
    seen = [metrics[name] for name in ("fit/loss", "again/loss", "fit/grad_norm")]
    np.testing.assert_allclose(seen, (2.0, 0.0, 2.0), atol=1e-6)


def test_paths():
    params = {"a": {"b": {"c": 1}, "d": 2}, "e": 3}
    assert get(params, "a/b/c") == 1
    assert put(params, "a/d", 5) == {"a": {"b": {"c": 1}, "d": 5}, "e": 3}
    assert place(params, pick(params, ("a/b", "e"))) == params
    assert params["a"]["d"] == 2


def test_streams_differ_by_name_and_agree_with_themselves():
    keys = jnp.stack([jax.random.key_data(stream(KEY, name)) for name in ("init", "prepare", "elbo", "init")])
    assert len({tuple(k.tolist()) for k in keys}) == 3


# ---- precision -------------------------------------------------------------------------------------------------------


def test_half_computes_in_bfloat16_on_float32_masters():
    net, x = mlp((16,), (3,)), jax.random.normal(KEY, (5, 4))
    params = jax.jit(net.init)(KEY, x)
    out, wanted = half(net).apply(params, x), net.apply(params, x)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, wanted, atol=3e-2)
    assert (out != wanted).any()
    chex.assert_trees_all_equal_dtypes(params, jax.grad(lambda p: half(net).apply(p, x).sum())(params))


NETS_OF_TIME = {
    "dit": lambda out: dit(out, patch=2, width=16, depth=2, heads=2),
    "unet": lambda out: unet((8, 16), out, attention=(1,)),
    "timed_mlp": lambda out: timed_mlp((16,), out),
}


@pytest.mark.parametrize("name", NETS_OF_TIME)
def test_half_leaves_only_the_time_in_float32(name):
    net = NETS_OF_TIME[name]((4, 4, 3))
    x, t, y = jnp.ones((5, 4, 4, 3)), jnp.linspace(0.4, 0.6, 5), jnp.ones((5, 2))
    params = jax.eval_shape(net.init, KEY, x, t, y)
    products = [each for each in equations(jax.make_jaxpr(half(net).apply)(params, x, t, y).jaxpr)
                if each.primitive.name in ("dot_general", "conv_general_dilated", "genjax_conv")]  # fmt: skip
    full = [each for each in products if any(v.aval.dtype == jnp.float32 for v in each.invars)]
    assert len(products) > len(full) and all(each.outvars[0].aval.ndim == 2 for each in full)
    params = jax.tree.map(lambda a: a + 0.3 * jax.random.normal(KEY, a.shape), jax.jit(net.init)(KEY, x, t, y))
    near = jnp.array([0.5, 0.5001, 0.5002, 0.5003, 0.5004])
    assert len(np.unique(np.asarray(half(net).apply(params, jnp.ones_like(x), near, y)).reshape(5, -1), axis=0)) > 1


def equations(program):
    """All of a program, those of programs inside it too."""
    for each in program.eqns:
        yield each
        for value in jax.tree.leaves(list(each.params.values()), is_leaf=lambda a: hasattr(a, "eqns")):
            if hasattr(value, "eqns"):
                yield from equations(getattr(value, "jaxpr", value))


def test_half_walks_place_by_place_as_it_answers_at_once():
    net = half(gpt(7, 7, 8, width=16, depth=2, heads=2))
    x, places = jax.random.randint(KEY, (3, 8), 0, 7), jnp.arange(8)
    params = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(KEY, a.shape), jax.jit(net.init)(KEY, x))
    state, step = net.walk(params, len(x), (8,))
    before = jnp.concatenate([x[:, :1], x[:, :-1]], 1).T
    _, out = jax.lax.scan(lambda state, now: step(state, *now), state, (places, before))
    assert out.dtype == jnp.float32
    few = 4 * 2.0**-8  # units in the last place: sums are rounded in another order
    np.testing.assert_allclose(out.swapaxes(0, 1), net.apply(params, x), rtol=few, atol=few)
