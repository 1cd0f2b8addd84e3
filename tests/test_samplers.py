"""Processes, grids and samplers: a mixture and a normal whose denoisers are known, steps counted, ends clean."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import samplers as oracle
from genjax import schedules
from genjax.samplers import ancestral, ddim, euler, fresh, heun, stochastic_edm
from genjax.schedules import (
    At,
    at,
    back,
    cosine,
    ddpm,
    exploding,
    from_betas,
    karras_grid,
    leading_grid,
    linear,
    log_snr_grid,
    ratio,
    straight,
    time_of,
    trailing_grid,
    uniform_grid,
    unscaled,
    warped,
)
from genjax.solvers import dpm_solver, dpm_solver_multistep, dpm_solver_pp, dpm_solver_sde, unipc

KEY = jax.random.key(0)
PROCESSES = {
    "cosine": cosine(),
    "cosine, offset": cosine(0.008),
    "straight": straight(),
    "linear": linear(),
    "ddpm": ddpm(),
    "exploding": exploding(),
}
SAMPLERS = {  # name -> (sampler, evaluations in 7 steps)
    "ddim": (ddim(), 7),
    "ddim, eta": (ddim(0.5), 7),
    "euler": (euler(), 7),
    "ancestral": (ancestral(), 7),
    "heun": (heun(), 13),
    "stochastic_edm": (stochastic_edm(), 13),
    "dpm_solver": (dpm_solver(), 13),
    "dpm_solver_multistep": (dpm_solver_multistep(), 7),
    "dpm_solver_pp": (dpm_solver_pp(3), 7),
    "dpm_solver_sde": (dpm_solver_sde(), 7),
    "unipc": (unipc(3), 7),
}
processes = pytest.mark.parametrize("name", PROCESSES)
samplers = pytest.mark.parametrize("name", SAMPLERS)
ORDERS = {
    "DPM-Solver++(3M)": 1.9,
    "DPM-Solver-2": 1.9,
    "DPM-Solver, multistep": 1.85,
    "UniPC, order 2": 2.8,
    "UniPC, order 3": 3.8,
}
MEAN, SCALE = 0.7, 0.5


def gaussian_denoiser(process):
    """E[x_0 | x_t] of N(MEAN, SCALE^2)."""

    def denoise(x, t):
        alpha, sigma = process.alpha(t), process.sigma(t)
        return MEAN + alpha * SCALE**2 / (alpha**2 * SCALE**2 + sigma**2) * (x - alpha * MEAN)

    return denoise


# ---- processes, times, grids ---------------------------------------------------------------------------------------------


@processes
def test_process_is_finite_and_falls_from_data_to_noise(name):
    process, t = PROCESSES[name], jnp.linspace(0.0, 1.0, 201)
    alpha, sigma = process.alpha(t), process.sigma(t)
    assert np.isfinite(alpha).all()
    assert np.isfinite(sigma).all()
    np.testing.assert_allclose((alpha[0], sigma[0]), (1.0, 0.0), atol=1e-7)
    assert (jnp.diff(sigma) >= 0).all()
    assert (jnp.diff(ratio(process, t)[:-1]) > 0).all()
    assert ratio(process, 1.0) > 10
    if name not in ("straight", "exploding"):
        np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, atol=1e-5)


@processes
def test_time_of_inverts_the_ratio(name):
    process, t = PROCESSES[name], jnp.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(time_of(process, ratio(process, t)), t, rtol=1e-4)
    assert time_of(process, 0.0) == 0.0
    np.testing.assert_allclose(time_of(process, jnp.inf), 1.0)
    np.testing.assert_allclose(ratio(unscaled(process), t), ratio(process, t), rtol=1e-6)
    np.testing.assert_allclose(ratio(warped(process, 2.0), t), ratio(process, t**2), rtol=1e-6)
    assert warped(process, 2.0).span[0] ** 2 == pytest.approx(process.span[0])


def test_ddpm_is_the_papers_table():
    power = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    np.testing.assert_allclose(ddpm().alpha(jnp.arange(1, 1001) / 1000) ** 2, power, rtol=3e-5)
    np.testing.assert_allclose(ddpm().sigma(jnp.arange(1, 1001) / 1000) ** 2, 1 - power, rtol=3e-5)
    t = np.linspace(0.01, 1, 50)
    np.testing.assert_allclose(ddpm().alpha(t), linear().alpha(t), atol=2e-3)  # the same rates in continuous time


def test_cosine_with_offset_is_the_papers():
    f = lambda t: np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    t = np.linspace(0, 1, 11)
    np.testing.assert_allclose(cosine(0.008).alpha(t) ** 2, f(t) / f(0), atol=1e-6)
    np.testing.assert_allclose(cosine(0.008).sigma(t) ** 2, 1 - f(t) / f(0), atol=1e-6)


def test_a_step_back_is_the_papers_posterior():
    betas = np.array([0.1, 0.3, 0.2])
    power, process = np.cumprod(1 - betas), from_betas(betas)
    q = back(at(process, 1.0), at(process, 2 / 3))  # DDPM's equation 7 for the last step
    np.testing.assert_allclose(q.large, 0.2, rtol=1e-5)
    np.testing.assert_allclose(q.small, 0.2 * (1 - power[1]) / (1 - power[2]), rtol=1e-5)
    np.testing.assert_allclose(q.of_clean, np.sqrt(power[1]) * 0.2 / (1 - power[2]), rtol=1e-5)
    np.testing.assert_allclose(q.of_x, np.sqrt(0.8) * (1 - power[1]) / (1 - power[2]), rtol=1e-5)
    np.testing.assert_allclose(q.between(0.5), np.sqrt(q.small * q.large), rtol=1e-6)


@processes
@pytest.mark.parametrize(
    "grid",
    [uniform_grid(), karras_grid(), log_snr_grid(), trailing_grid(), leading_grid()],
    ids=["uniform", "karras", "log_snr", "trailing", "leading"],
)
def test_grids_fall_to_zero_in_as_many_steps_as_asked(name, grid):
    for steps in (1, 2, 9):
        times = grid(PROCESSES[name], steps)
        assert times.shape == (steps + 1,)
        assert times[-1] == 0.0
        assert (jnp.diff(times) < 0).all()


@processes
@pytest.mark.parametrize("grid", [karras_grid(), log_snr_grid()], ids=["karras", "log_snr"])
def test_a_denoiser_is_asked_within_the_span(name, grid):
    low, high = PROCESSES[name].span
    asked = grid(PROCESSES[name], 50)[:-1]
    assert asked.min() >= low - 1e-6 and asked.max() <= high


def test_grids_of_a_chain_begin_or_end_with_its_own_step():
    np.testing.assert_allclose(trailing_grid(10)(ddpm(10), 3), [1.0, 0.7, 0.3, 0.0], rtol=1e-6)
    np.testing.assert_allclose(leading_grid(10)(ddpm(10), 3), [0.7, 0.4, 0.1, 0.0], rtol=1e-6)
    np.testing.assert_allclose(leading_grid(10)(ddpm(10), 10), trailing_grid(10)(ddpm(10), 10), rtol=1e-6)


def test_karras_grid_is_the_papers_and_even_in_the_time_of_exploding():
    sigmas = (80 ** (1 / 7) + np.arange(18) / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    times = karras_grid()(exploding(), 18)
    np.testing.assert_allclose(ratio(exploding(), times[:-1]), sigmas, rtol=1e-4)
    np.testing.assert_allclose(times[:-1], np.linspace(1, times[-2], 18), rtol=1e-5)
    np.testing.assert_allclose(jnp.diff(jnp.log(ratio(linear(), log_snr_grid()(linear(), 9)[:-1])), n=2), 0.0, atol=1e-3)


def test_times_of_training_follow_their_distributions():
    keys = jax.random.split(KEY, 20_000)
    draw = lambda times, process: jax.vmap(lambda key: times(key, process))(keys)
    level = jnp.log(ratio(exploding(), draw(schedules.lognormal_times(), exploding())))
    np.testing.assert_allclose((level.mean(), level.std()), (-1.2, 1.2), atol=0.04)
    t = draw(schedules.logit_normal_times(0.3, 0.8), straight())
    np.testing.assert_allclose((jnp.log(t / (1 - t)).mean(), jnp.log(t / (1 - t)).std()), (0.3, 0.8), atol=0.03)
    t = draw(schedules.uniform_times(), exploding())
    assert t.min() >= exploding().span[0]
    np.testing.assert_allclose(t.mean(), (1 + exploding().span[0]) / 2, atol=0.01)


# ---- samplers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", oracle.REFERENCE)
def test_errors_on_the_mixture_are_those_of_the_table(name):
    found = oracle.errors(oracle.SAMPLERS[name])
    np.testing.assert_allclose(found, oracle.REFERENCE[name], rtol=0.01)  # the table has three digits
    order = np.log2(found[-2] / found[-1])
    np.testing.assert_allclose(order, 1.0 if name == "DDIM = Euler" else 2.0, atol=0.05)


@pytest.mark.parametrize(("name", "least"), ORDERS.items())
def test_orders_of_the_others(name, least):
    found = oracle.errors(oracle.SAMPLERS[name], (160, 320))
    assert np.log2(found[0] / found[1]) > least
    assert found[1] < 2e-4


@samplers
def test_steps_taken_are_steps_asked(name):
    sampler, evaluations = SAMPLERS[name]
    calls = []

    def denoise(x, t):
        jax.debug.callback(lambda t: calls.append(float(t)), t)
        return 0.5 * x

    times = uniform_grid()(linear(), 7)
    jax.block_until_ready(jax.jit(lambda x: sampler(denoise, linear(), times, x, jax.random.split(KEY, 2)))(jnp.ones((2, 1))))
    jax.effects_barrier()
    assert len(calls) == evaluations
    assert min(calls) > 0  # at t = 0 there is nothing left to denoise


@samplers
def test_the_last_step_reaches_sigma_zero_and_pure_noise_is_a_start(name):
    """What the network says last is the sample: to sigma 0 there is no other way. Cosine and straight begin at alpha = 0."""
    sampler, target = SAMPLERS[name][0], jnp.array([[1.5], [-0.5]])

    def ends(x):
        denoise = lambda x, t: jnp.where(t < 0.2, target, jnp.tanh(x))
        run = lambda process: sampler(denoise, process, uniform_grid()(process, 8), x, jax.random.split(KEY, 2))
        return [run(process) for process in (cosine(), straight(), ddpm())]

    for end in jax.jit(ends)(jax.random.normal(KEY, (2, 1))):
        np.testing.assert_allclose(end, target, atol=1e-6)


@pytest.mark.parametrize("name", ["heun", "dpm_solver", "dpm_solver_multistep", "dpm_solver_pp", "unipc"])
def test_second_order_also_on_a_variance_preserving_process(name):
    """The flow keeps (x - alpha mean) / sd(x_t) as it is, so where it ends is known."""
    sampler, process = SAMPLERS[name][0], linear()

    def error(steps):
        times = log_snr_grid(1e-3)(process, steps + 1)[:-1]
        begin, end = (at(process, t) for t in (times[0], times[-1]))
        deviation = lambda level: jnp.sqrt((level.alpha * SCALE) ** 2 + level.sigma**2)
        u = jnp.linspace(-2.0, 2.0, 9)
        x = begin.alpha * MEAN + deviation(begin) * u
        run = jax.jit(lambda x: sampler(gaussian_denoiser(process), process, times, x, None))
        return float(jnp.abs(run(x) - end.alpha * MEAN - deviation(end) * u).max())

    with jax.enable_x64(True):
        coarse, fine = error(40), error(80)
    assert fine < 2e-3
    assert np.log2(coarse / fine) > 1.8


@pytest.mark.parametrize(
    ("sampler", "process"),
    [(ddim(1.0), cosine()), (ancestral(1.0), ddpm()), (dpm_solver_sde(), linear()), (stochastic_edm(), exploding())],
    ids=["ddim, eta 1", "ancestral, large", "dpm_solver_sde", "stochastic_edm"],
)
def test_stochastic_samplers_draw_a_normal(sampler, process):
    count, steps = 20_000, 200
    keys = jax.random.split(KEY, count)
    grid = uniform_grid() if ratio(process, 1.0) > 100 else karras_grid()
    times = grid(process, steps)
    x = process.sigma(times[0]) * jax.random.normal(jax.random.key(1), (count, 1))
    x = jax.jit(lambda x: sampler(gaussian_denoiser(process), process, times, x, keys))(x)
    error = 4 * SCALE / count**0.5
    np.testing.assert_allclose(x.mean(), MEAN, atol=error)
    np.testing.assert_allclose(x.std(), SCALE, atol=error / 2**0.5 + 0.02 * SCALE)  # and 2 % for finite steps


def test_the_stochastic_edm_sampler_by_the_papers_loop():
    """Algorithm 2 of 2206.00364 step by step in sigma, with the library's noise."""
    churn, least, most, excess, count = 30.0, 0.1, 20.0, 1.01, 12
    process, keys = exploding(), jax.random.split(KEY, 5)
    with jax.enable_x64(True):
        times = karras_grid()(process, count)
        sigmas = [float(process.sigma(t)) for t in times]
        denoised = lambda x, sigma: MEAN + SCALE**2 / (SCALE**2 + sigma**2) * (x - MEAN)
        x = start = sigmas[0] * np.linspace(-1.5, 1.5, 5).reshape(5, 1)
        for i, (now, then) in enumerate(itertools.pairwise(sigmas)):
            gamma = min(churn / count, 2**0.5 - 1) if least <= now <= most else 0.0
            up = now * (1 + gamma)
            x = x + (up**2 - now**2) ** 0.5 * excess * np.asarray(fresh(keys, i, jnp.asarray(x)))
            slope = (x - denoised(x, up)) / up
            ahead = x + (then - up) * slope
            if then:
                ahead = x + (then - up) * 0.5 * (slope + (ahead - denoised(ahead, then)) / then)
            x = ahead
        got = stochastic_edm(churn, least, most, excess)(gaussian_denoiser(process), process, times, jnp.asarray(start), keys)
    np.testing.assert_allclose(got, x, rtol=1e-6)


def test_the_sde_solver_has_second_order_in_its_drift(monkeypatch):
    """Without its noise, on the mixture, beside very many ancestral steps without theirs."""
    for module in ("samplers", "solvers"):
        monkeypatch.setattr(f"genjax.{module}.fresh", lambda keys, number, x: jnp.zeros_like(x))
    with jax.enable_x64(True):
        exact = oracle.ends(ancestral(), 20_000)
        coarse, fine = (float(jnp.abs(oracle.ends(dpm_solver_sde(), steps) - exact).mean()) for steps in (40, 80))
        first = float(jnp.abs(oracle.ends(ancestral(), 80) - exact).mean())
    assert np.log2(coarse / fine) > 1.8
    assert fine < first / 5


def test_the_true_variance_makes_ancestral_steps_exact():
    """Of normal data q(x_s | x_t) is normal, with variance small + of_clean^2 Var(x_0 | x_t): then four steps are enough."""
    process, count = cosine(), 20_000
    times = uniform_grid()(process, 4)

    def denoise(x, t, shares=False):
        now, then = at(process, t), at(process, t - 0.25)
        q, power = back(now, then), (now.alpha * SCALE) ** 2 + now.sigma**2
        true = q.small + q.of_clean**2 * SCALE**2 * now.sigma**2 / power
        return gaussian_denoiser(process)(x, t), jnp.log(true / q.small) / jnp.log(q.large / q.small)

    keys = jax.random.split(KEY, count)
    sampler = lambda x: ancestral(None)(denoise, process, times, x, keys)
    start = process.alpha(0.25) * MEAN + jnp.zeros((count, 1))  # the step to t = 0 draws no noise, so stop before it
    x = jax.random.normal(jax.random.key(1), (count, 1))
    x = ancestral(None)(denoise, process, times[:-1], x, keys)
    wanted = jnp.sqrt((process.alpha(0.25) * SCALE) ** 2 + process.sigma(0.25) ** 2)
    np.testing.assert_allclose(x.mean(), start.mean(), atol=4 * wanted / count**0.5)
    np.testing.assert_allclose(x.std(), wanted, rtol=4 / (2 * count) ** 0.5)
    assert sampler(x).shape == x.shape
    plain = ancestral(0.0)(gaussian_denoiser(process), process, times[:-1], jax.random.normal(KEY, (count, 1)), keys)
    assert plain.std() < 0.97 * wanted  # the variance for known x_0 is too small in few steps


def test_bad_input_is_refused():
    for grid in (uniform_grid(), karras_grid(), log_snr_grid(), trailing_grid(), leading_grid()):
        with pytest.raises(ValueError, match="at least one step, but steps=0; give steps=1"):
            grid(cosine(), 0)
    with pytest.raises(ValueError, match="more steps than its chain"):
        trailing_grid(10)(ddpm(10), 11)
    with pytest.raises(ValueError, match="more steps than its chain"):
        leading_grid(10)(ddpm(10), 11)
    with pytest.raises(ValueError, match="orders 1 to 3, but order=4"):
        dpm_solver_pp(4)
    for make, words in (
        (lambda: ancestral(5.0), "not at share=5.0"),
        (lambda: ddim(3.0), "0 to 1, not eta=3.0"),
        (lambda: stochastic_edm(churn=-40.0), "not churn=-40.0"),
        (lambda: cosine(-0.5), r"in \[0, 1\), not offset=-0.5"),
        (lambda: from_betas([0.1, 2.0]), "each between 0 and 1"),
        (lambda: from_betas([]), "needs noise rates"),
        (lambda: exploding(least=100.0), "not from 100.0 to 80.0"),
        (lambda: karras_grid(least=90.0)(cosine(), 3), "not from 80.0 to 90.0"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    assert At._fields == ("t", "alpha", "sigma")
