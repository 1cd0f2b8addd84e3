"""Diffusion models of normal data, whose denoiser, bound and density are known; predictions, weights, guidance, variance."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import predictions as p
from genjax import reverse, schedules
from genjax.densities import normal_log_prob
from genjax.families.diffusion import diffusion
from genjax.model import as_batch
from genjax.nets import Net
from genjax.samplers import ancestral, heun
from genjax.schedules import Process, at, back, cosine, ddpm, exploding, levels, linear, straight

KEY = jax.random.key(0)
MEAN, SCALE = np.array([0.7, -0.3]), 0.5
ENTROPY = np.log(2 * np.pi * np.e * SCALE**2)  # of the two dimensions together
PREDICTIONS = {"velocity": p.velocity, "noise": p.noise, "clean": p.clean, "drift": p.drift, "edm": p.edm(0.7)}
PROCESSES = {"cosine": cosine(), "straight": straight(), "exploding": exploding()}


def exact(process, mean=MEAN):
    """A network that gives E[x_0 | x_t] of N(mean, SCALE^2): for `clean`. With labels, the sign of the mean is theirs."""

    def apply(params, x, t, y=None):
        alpha, sigma = levels(process, t, x.ndim)
        center = mean if y is None else mean * (y[:, :1] - y[:, 1:])  # no label: 0
        return center + alpha * SCALE**2 / (alpha**2 * SCALE**2 + sigma**2) * (x - alpha * center)

    return Net(lambda key, *inputs: {}, apply)


def of_normal(process, **options):
    return diffusion(exact(process), (2,), optax.sgd(1.0), process=process, prediction=p.clean, **options)


def draws(count, seed=0):
    return as_batch(MEAN + SCALE * jax.random.normal(jax.random.key(seed), (count, 2)))


PARAMS = {"denoiser": {}}

# ---- predictions and weights ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_target_gives_back_the_data(name, process):
    x, eps = jax.random.normal(KEY, (2, 50))
    now, prediction = at(PROCESSES[process], jnp.linspace(0.3, 0.95, 50)), PREDICTIONS[name]
    output = prediction.target(now.alpha, now.sigma, x, eps)
    x_t = now.alpha * x + now.sigma * eps
    np.testing.assert_allclose(prediction.clean(now.alpha, now.sigma, x_t, output), x, atol=2e-4)


def test_edm_is_the_papers_table():
    sigma, s = np.array([0.01, 0.5, 10.0]), 0.7
    _, clean, scale = p.edm(s)
    np.testing.assert_allclose(scale(1.0, sigma), 1 / np.sqrt(sigma**2 + s**2), rtol=1e-6)
    np.testing.assert_allclose(clean(1.0, sigma, 1.0, 0.0), s**2 / (sigma**2 + s**2), rtol=1e-6)
    np.testing.assert_allclose(clean(1.0, sigma, 0.0, 1.0), sigma * s / np.sqrt(sigma**2 + s**2), rtol=1e-6)


def test_edm_sees_and_is_asked_for_unit_variance():
    x, eps = np.random.default_rng(0).standard_normal((2, 100_000)) * np.array([[0.7], [1.0]])
    for alpha, sigma in ((1.0, 0.3), (0.6, 0.8)):
        target, shown = p.edm(0.7).target(alpha, sigma, x, eps), p.edm(0.7).scale(alpha, sigma) * (alpha * x + sigma * eps)
        np.testing.assert_allclose((target.std(), shown.std()), 1.0, rtol=0.01)


def test_as_denoiser_takes_one_time_for_all_and_scales_what_the_network_sees():
    net = Net(None, lambda params, x, t: params * x + t[:, None])
    process, prediction = exploding(), p.edm()
    denoise, x = p.as_denoiser(net, process, prediction), jax.random.normal(KEY, (3, 2))
    now = at(process, 0.5)
    wanted = prediction.clean(now.alpha, now.sigma, x, 2.0 * prediction.scale(now.alpha, now.sigma) * x + 0.5)
    np.testing.assert_allclose(denoise(2.0, x, 0.5), wanted, rtol=1e-6)
    np.testing.assert_allclose(denoise(2.0, x, jnp.full(3, 0.5)), wanted, rtol=1e-6)


def test_weights_are_of_the_error_of_x_0():
    t = jnp.array([0.2, 0.5, 0.9])
    ratio = np.asarray(schedules.ratio(cosine(), t))
    own = lambda weight, prediction: p.own_units(weight, cosine(), prediction, t, 1)
    np.testing.assert_allclose(own(p.snr, p.noise), 1.0, rtol=1e-5)  # the error of x_0 times the SNR is that of the noise
    np.testing.assert_allclose(own(p.min_snr(5.0), p.noise), np.minimum(1 / ratio**2, 5.0) * ratio**2, rtol=1e-5)
    np.testing.assert_allclose(own(p.min_snr(5.0), p.velocity), np.minimum(1 / ratio**2, 5) / (1 / ratio**2 + 1), rtol=1e-5)
    np.testing.assert_allclose(own(p.edm_weight(0.7), p.edm(0.7)), 1.0, rtol=1e-5)


def test_likelihood_weight_integrates_to_the_information_lost():
    """I-MMSE: half the integral of Var(x_0 | x_t) over SNR is log(1 + SNR SCALE^2) / 2 between its ends."""
    process = Process(cosine().alpha, cosine().sigma, (0.05, 0.99))
    t = jnp.linspace(*process.span, 20_001)
    snr = p.snr(process, t)
    mmse = SCALE**2 / (1 + snr * SCALE**2)
    found = jnp.trapezoid(p.likelihood_weight()(process, t) * mmse, t) / (process.span[1] - process.span[0])
    information = 0.5 * np.log1p(np.asarray(snr) * SCALE**2)
    np.testing.assert_allclose(found, information[0] - information[-1], rtol=1e-3)


def test_weighted_loss_of_a_model_is_the_weighted_error():
    process, batch = exploding(), draws(5000)
    net = Net(lambda *_: {}, lambda params, x, t, y=None: jnp.zeros_like(x))  # its x_0 is 0
    model = diffusion(
        net, (2,), optax.sgd(1.0), process=process, prediction=p.clean, weight=p.min_snr(0.5), times=lambda key, process: 0.8
    )
    power = np.mean(np.asarray(batch["x"]) ** 2)
    snr = float(p.snr(process, 0.8))
    np.testing.assert_allclose(model.stages[0][0].loss(PARAMS, KEY, batch).value, min(snr, 0.5) * power, rtol=1e-4)


# ---- the bound -----------------------------------------------------------------------------------------------------------


def closed_bound(process, chain, share):
    """Mean over the data of the bound of the exact denoiser, in float64 by the formulas of 2006.11239."""
    t = np.array([float(reverse.chain_time(process, i, chain)) for i in range(chain + 1)])
    alpha, sigma = (np.asarray(f(t), np.float64) for f in (process.alpha, process.sigma))
    left = SCALE**2 * sigma**2 / (alpha**2 * SCALE**2 + sigma**2)  # Var(x_0 | x_t)
    kept = alpha[1:] / alpha[:-1]
    large = sigma[1:] ** 2 - (kept * sigma[:-1]) ** 2
    small = large * sigma[:-1] ** 2 / sigma[1:] ** 2
    of_clean = alpha[:-1] * large / sigma[1:] ** 2
    small[0] = small[1]
    variance = small ** (1 - share) * large**share
    kl = 0.5 * (np.log(variance / small) + small / variance - 1 + of_clean**2 * left[1:] / variance)
    last = 0.5 * (np.log(2 * np.pi * variance[0]) + left[1] / variance[0])
    prior = 0.5 * alpha[-1] ** 2 / sigma[-1] ** 2 * (SCALE**2 + MEAN**2).sum()
    return -(2 * (kl[1:].sum() + last) + prior)


@pytest.mark.parametrize(
    ("process", "chain", "share"),
    [(cosine(), 10, 0.0), (cosine(), 60, 0.5), (linear(), 40, 1.0), (exploding(), 40, 0.5)],
    ids=["cosine", "cosine, 60", "linear", "exploding"],
)
def test_bound_is_the_closed_form(process, chain, share):
    model = of_normal(process, chain=chain, variance=share, decoder=normal_log_prob)
    nats = jax.jit(lambda batch: model.bound(PARAMS, KEY, batch, chain))(draws(20_000))
    wanted = closed_bound(process, chain, share)
    np.testing.assert_allclose(nats.mean(), wanted, atol=4 * float(nats.std()) / 20_000**0.5)
    assert wanted < -ENTROPY


def test_bound_from_few_terms_is_unbiased_and_tightens_with_the_chain():
    model = of_normal(cosine(), chain=30, variance=0.5, decoder=normal_log_prob)
    for samples in (1, 7):
        nats = jax.jit(lambda batch, samples=samples: model.bound(PARAMS, KEY, batch, samples))(draws(40_000))
        np.testing.assert_allclose(nats.mean(), closed_bound(cosine(), 30, 0.5), atol=4 * float(nats.std()) / 200)
    gaps = [-ENTROPY - closed_bound(cosine(), chain, 1.0) for chain in (10, 100, 1000)]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[2] < 0.02


def test_discretized_normal_sums_to_one_and_keeps_its_digits():
    grid = jnp.linspace(-1.0, 1.0, 16)[:, None]
    log_p = reverse.discretized_normal(16)
    for mean, scale in ((0.3, 0.2), (0.99, 0.05), (-1.4, 1.0)):
        total = jnp.exp(log_p(grid, jnp.full((16, 1), mean), jnp.log(scale))).sum()
        np.testing.assert_allclose(total, 1.0, rtol=1e-5)
    far = log_p(jnp.array([[0.2]]), jnp.array([[-0.8]]), jnp.log(0.05))  # the bin's edges 18.7 and 21.3 deviations away
    np.testing.assert_allclose(far, -0.5 * (14 / 15 / 0.05) ** 2 - np.log(14 / 15 / 0.05 * np.sqrt(2 * np.pi)), rtol=1e-3)
    slope = jax.grad(lambda s: log_p(grid, jnp.zeros((16, 1)), s).sum())(jnp.log(0.01))
    assert np.isfinite(slope)


def test_learned_variance_is_best_where_the_paper_puts_it():
    """The share that minimizes a term of the bound gives the variance of q(x_s | x_t), small + of_clean^2 Var(x_0 | x_t)."""
    process, chain, count = cosine(), 10, 20_000
    x, eps = draws(count)["x"], jax.random.normal(jax.random.key(1), (count, 2))
    denoise = exact(process).apply

    def term(share):
        number = jnp.full(count, 4)
        predict = lambda x_t, t: (denoise({}, x_t, t), share)
        return reverse.chain_term(process, chain, number, x, eps, predict, normal_log_prob).mean()

    now, q = at(process, 0.4), back(at(process, 0.4), at(process, 0.3))
    left = SCALE**2 * now.sigma**2 / (now.alpha**2 * SCALE**2 + now.sigma**2)
    best = jnp.log((q.small + q.of_clean**2 * left) / q.small) / jnp.log(q.large / q.small)
    assert 0 < best < 1
    np.testing.assert_allclose(jax.grad(term)(best), 0.0, atol=0.02)
    assert term(best) < min(term(best - 0.1), term(best + 0.1))


def test_the_bound_trains_the_learned_variance_alone():
    net = Net(lambda *_: None, lambda params, x, t, y=None: jnp.concatenate([params["x"] * x, params["v"] + 0 * x], -1))
    alike = {"prediction": p.noise, "grid": schedules.karras_grid()}
    make = lambda variance, net=net: diffusion(net, (2,), optax.sgd(1.0), variance=variance, chain=20, **alike)
    params = {"denoiser": {"x": jnp.array(0.3), "v": jnp.array(0.2)}}
    loss = lambda model: lambda params: model.stages[0][0].loss(params, KEY, draws(64))
    learnt = loss(make(None))(params)
    slopes = jax.grad(lambda params: loss(make(None))(params).value)(params)["denoiser"]
    plain = Net(None, lambda params, x, t, y=None: params["x"] * x)
    on_grid = lambda key, process: jnp.ceil(20 * jax.random.uniform(key)) / 20
    simple = diffusion(plain, (2,), optax.sgd(1.0), times=on_grid, **alike)
    wanted = jax.grad(lambda params: loss(simple)(params).value)(params)["denoiser"]
    np.testing.assert_allclose(slopes["x"], wanted["x"], rtol=1e-5)
    assert slopes["v"] != 0
    np.testing.assert_allclose(learnt.value, learnt.metrics["error"] + 1e-3 * learnt.metrics["bound"], rtol=1e-5)


def test_a_learned_variance_is_trained_at_the_times_drawn():
    """Each is rounded up to a time of the chain, wherever the process's span begins."""
    seen = []
    net = Net(None, lambda params, x, t, y=None: (seen.append(t), jnp.concatenate([x, x], -1))[1])
    drawn = jnp.array([0.2201, 0.3, 0.5, 0.9999])
    times, (low, high) = lambda key, process: drawn[jax.random.randint(key, (), 0, 4)], exploding().span
    model = diffusion(net, (2,), optax.sgd(1.0), process=exploding(), variance=None, chain=100, times=times)
    model.stages[0][0].loss({"denoiser": {}}, KEY, draws(64))
    step = (high - low) / 100
    np.testing.assert_allclose(np.unique(seen[0]), low + step * np.ceil((drawn - low) / step), rtol=1e-5)


def test_a_path_through_a_learned_variance_has_a_gradient():
    net = Net(None, lambda params, x, t, y=None: jnp.concatenate([params["a"] * x, params["a"] + 0 * x], -1))
    model = diffusion(net, (2,), optax.sgd(1.0), variance=None, sampler=ancestral(None), steps=3)
    slope = jax.grad(lambda a: model.sample({"denoiser": {"a": a}}, jax.random.split(KEY, 4)).sum())(0.1)
    assert np.isfinite(slope) and slope != 0


# ---- the flow ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", PROCESSES)
def test_flow_log_prob_is_the_normals(process):
    """The flow keeps (z - MEAN) / sd(z), so it takes N(0, ratio^2) at its end to another normal, nearly the data's."""
    model, batch = of_normal(PROCESSES[process], flow_steps=240), draws(5)
    low, high = schedules.edges(PROCESSES[process], 1e-3, 1e5)
    with jax.enable_x64(True):
        found = jax.jit(lambda x: model.log_prob(PARAMS, as_batch(x)))(np.asarray(batch["x"], np.float64))
    shrink = np.sqrt((SCALE**2 + low**2) / (SCALE**2 + high**2))
    wanted = normal_log_prob(batch["x"], MEAN * (1 - shrink), np.log(high * shrink))
    np.testing.assert_allclose(found, wanted, atol=5e-5)
    np.testing.assert_allclose(found, normal_log_prob(batch["x"], MEAN, np.log(SCALE)), atol=3 / high + 1e-4)


def test_flow_log_prob_converges_with_order_four():
    with jax.enable_x64(True):
        x = np.asarray(draws(5)["x"], np.float64)
        at_steps = lambda steps: jax.jit(lambda x: of_normal(cosine(), flow_steps=steps).log_prob(PARAMS, as_batch(x)))(x)
        exactly = at_steps(960)
        errors = [float(jnp.abs(at_steps(steps) - exactly).max()) for steps in (80, 160)]
    np.testing.assert_allclose(np.log2(errors[0] / errors[1]), 4.0, atol=0.4)


def test_hutchinsons_estimate_is_unbiased():
    """Averaged over all signs of two dimensions it is the exact trace; for one of them it is not."""
    process, x = cosine(), jnp.array([[0.3, -1.0]])
    mixed = jnp.array([[1.0, 0.5], [-0.3, 0.8]])
    denoise = lambda x, t: jnp.tanh(x @ mixed) * process.alpha(t)
    exactly = reverse.flow_log_prob(denoise, process, x, steps=20)
    signs = [jnp.array([s]) for s in itertools.product((-1.0, 1.0), repeat=2)]
    estimates = [reverse.flow_log_prob(denoise, process, x, steps=20, trace=reverse.hutchinson(s)) for s in signs]
    np.testing.assert_allclose(jnp.mean(jnp.stack(estimates)), exactly[0], rtol=1e-5)
    assert abs(estimates[0][0] - exactly[0]) > 1e-2


# ---- sampling, guidance, labels ------------------------------------------------------------------------------------------


def two_classes(**options):
    """p(x | y) = N(+-MEAN, SCALE^2), and N(0, SCALE^2) without a label."""
    return diffusion(exact(cosine()), (2,), optax.sgd(1.0), prediction=p.clean, classes=2, drop=0.1, steps=100, **options)


def test_guidance_moves_the_samples_as_far_as_the_formula_says():
    """Both denoisers share a slope, so guidance is the denoiser of N(scale mean_y, SCALE^2)."""
    keys, y = jax.random.split(KEY, 4000), jnp.arange(4000) % 2
    x = jax.jit(two_classes(guidance=3.0).sample)(PARAMS, keys, y)
    for label, sign in ((0, 1), (1, -1)):
        np.testing.assert_allclose(x[y == label].mean(0), 3.0 * sign * MEAN, atol=5 * SCALE / 2000**0.5)
        np.testing.assert_allclose(x[y == label].std(0), SCALE, rtol=0.08)
    plain = jax.jit(two_classes().sample)(PARAMS, keys, -jnp.ones_like(y))
    np.testing.assert_allclose(plain.mean(0), 0.0, atol=5 * SCALE / 4000**0.5)


def test_denoise_is_guided_as_samples_are():
    x, y = jax.random.normal(KEY, (3, 2)), jnp.array([0, 1, 0])
    with_label, without = (two_classes().denoise(PARAMS, x, 0.4, label) for label in (y, jnp.full(3, -1)))
    guided = two_classes(guidance=2.5).denoise(PARAMS, x, 0.4, y)
    np.testing.assert_allclose(guided, without + 2.5 * (with_label - without), rtol=1e-5)


def test_labels_are_hidden_from_the_share_of_examples_asked_for():
    seen = Net(lambda *_: {}, lambda params, x, t, y: jnp.broadcast_to(y.sum(-1, keepdims=True), x.shape))
    zero = lambda alpha, sigma, x, noise: jnp.zeros_like(x)
    prediction = p.Prediction(zero, lambda alpha, sigma, x_t, output: output)
    model = diffusion(seen, (2,), optax.sgd(1.0), classes=2, drop=0.3, prediction=prediction)
    batch = draws(5000) | {"y": jnp.arange(5000) % 2}
    np.testing.assert_allclose(model.stages[0][0].loss(PARAMS, KEY, batch).value, 0.7, atol=0.03)


def test_a_model_samples_the_normal_it_was_given():
    keys = jax.random.split(KEY, 4000)
    for model in (
        of_normal(ddpm(), sampler=ancestral(), steps=200),
        of_normal(exploding(), sampler=heun(), grid=schedules.karras_grid()),
    ):
        x = jax.jit(model.sample)(PARAMS, keys)
        np.testing.assert_allclose(x.mean(0), MEAN, atol=4 * SCALE / 4000**0.5)
        np.testing.assert_allclose(x.std(0), SCALE, rtol=0.05)


# ---- bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "at least one step, but steps=0; give steps=1"),
        ({"guidance": 2.0}, "without a condition: give classes="),
        ({"drop": 0.1}, "without a condition: give classes="),
        ({"guidance": 2.0, "classes": 2}, r"knows no label: train with drop=0.1"),
        ({"process": Process(lambda t: 1 - 0.5 * t, lambda t: t)}, "alpha / sigma is 0.5 at the grid's first time, 0.5"),
        ({"process": linear(0.1, 3.0)}, "never reaches noise"),
        ({"process": exploding(), "grid": schedules.karras_grid(most=1.0)}, "sigma is 1 at the grid's first time, 0.013"),
        ({"process": Process(lambda t: 0 * t + jnp.nan, lambda t: t)}, "never reaches noise"),
        ({"chain": 1}, "at least two steps, but chain=1"),
        ({"flow_steps": -5}, "flow_steps >= 0 and 0 <= variance <= 1, not -5"),
        ({"variance": 7.0}, "not 0 and 7.0"),
        ({"classes": -2}, "classes=-2: give their number"),
        ({"classes": 2, "drop": -0.5, "guidance": 3.0}, "drop=-0.5 is a share"),
        ({"classes": 2, "drop": 0.1, "guidance": float("nan")}, "guidance=nan a finite scale"),
        ({"prediction": p.noise}, r"100000 times as far as what the network predicts.*velocity.*karras_grid"),
    ],
    ids=lambda part: part if isinstance(part, str) else ", ".join(part),
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        diffusion(exact(cosine()), (2,), optax.sgd(1.0), **options)


def test_the_bound_needs_samples():
    model = diffusion(exact(cosine()), (2,), optax.sgd(1.0), prediction=p.clean, decoder=normal_log_prob)
    with pytest.raises(ValueError, match="samples >= 1, not samples=0"):
        model.bound(PARAMS, KEY, draws(2), 0)


def test_labels_out_of_range_are_refused_and_in_compiled_code_not_a_number():
    model, x = diffusion(exact(cosine()), (2,), optax.sgd(1.0), prediction=p.clean, classes=2), jnp.ones((2, 2))
    for wrong in (2, -1):
        with pytest.raises(ValueError, match=rf"label {wrong} is out of range: with classes=2 labels are 0 .. 1"):
            model.denoise(PARAMS, x, 0.5, jnp.array([0, wrong]))
        found = jax.jit(model.denoise)(PARAMS, x, 0.5, jnp.array([0, wrong]))
        assert np.isfinite(found[0]).all()
        assert np.isnan(found[1]).all()
    with pytest.raises(ValueError, match="give labels y"):
        model.sample(PARAMS, jax.random.split(KEY, 2))


def test_asking_for_a_variance_that_was_not_learnt_is_refused():
    with pytest.raises(ValueError, match="variance is fixed: make it with variance=None, or sample with ancestral"):
        of_normal(cosine(), sampler=ancestral(None)).sample(PARAMS, jax.random.split(KEY, 2))
