"""Samplers against diffusers' schedulers: 200 random configurations, a nonlinear denoiser, the same noise, to 1e-5.

The network of both is tanh(x) r / (r + 1) with r = sigma / alpha of the moment, and means what the prediction type says. Theirs
runs in float32 as it is; ours in double precision, so that the difference is theirs.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import predictions
from genjax.nets import Net
from genjax.predictions import Prediction, as_denoiser
from genjax.samplers import Sampler, ancestral, ddim, euler, fresh, heun
from genjax.schedules import (
    Process,
    cosine,
    exploding,
    from_betas,
    karras_grid,
    leading_grid,
    ratio,
    straight,
    trailing_grid,
    unscaled,
)
from genjax.solvers import dpm_solver, dpm_solver_multistep, dpm_solver_pp, dpm_solver_sde, unipc
from tests.parity import let_torchvision_in, need, tensor

let_torchvision_in()  # diffusers imports it wherever it is there
torch, diffusers = need("torch"), need("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")  # of deprecations in theirs
SHAPE, EACH, CHAIN = (2, 3, 4), 20, 1000
PREDICTIONS = {"epsilon": predictions.noise, "v_prediction": predictions.velocity, "sample": predictions.clean}
# Sigma / alpha ends at 157 in the first, 15 in the second and 20 000 in the third: there float32 has no five digits left of
# what is computed from x / alpha, from predictions of the noise, or from 1 - eta^2.
BETAS = ("linear", "scaled_linear")
WILD, GENTLE = (*BETAS, "squaredcos_cap_v2"), 0.012  # with which the first ends at 20


class Case(NamedTuple):
    """One configuration, in both libraries."""

    scheduler: object
    process: Process
    time_of: Callable  # ratio -> time, in numpy
    prediction: Prediction
    sampler: Sampler
    step: dict = {}  # further arguments of their step, but for the noise
    noise: bool = False  # their step takes `variance_noise`; else noise is given through `randn_tensor`
    every: int = 1  # each of our steps is so many of theirs


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def pick(rng, *values):
    return values[rng.integers(len(values))]


def steps(rng, least):
    """How many; few lengths, so that few programs are compiled."""
    return pick(rng, *(n for n in (1, 2, 3, 4, 5, 8, 12, 20, 30) if n >= least))


def discrete(
    rng, name, betas=BETAS, spacings=("leading", "trailing", "linspace"), kinds=("epsilon", "v_prediction"), **options
):
    """(their scheduler of a discrete process, ours, its inverse, the prediction)."""
    beta, kind, spacing = pick(rng, *betas), pick(rng, *kinds), pick(rng, *spacings)
    kind = "v_prediction" if beta == "squaredcos_cap_v2" and kind == "epsilon" else kind
    kwargs = dict(num_train_timesteps=CHAIN, beta_schedule=beta, prediction_type=kind, timestep_spacing=spacing)
    if beta == "scaled_linear":
        kwargs |= dict(beta_start=0.00085, beta_end=0.012)
    scheduler = getattr(diffusers, name)(**kwargs | options)
    return scheduler, *both_ways(scheduler), PREDICTIONS[kind]


def both_ways(scheduler):
    """Our process with the numbers of theirs, which are float32, and ratio -> time."""
    power = np.append(1.0, scheduler.alphas_cumprod.double().numpy())
    process, places = from_betas(1 - power[1:] / power[:-1]), np.arange(len(power)) / (len(power) - 1)
    return process, lambda r: np.interp(np.log1p(r**2), -np.log(power), places)


# ---- kinds of schedulers: rng -> (case, number of steps) -------------------------------------------------------------------


def of_ddpm(rng):
    kind = pick(rng, "fixed_small", "fixed_large")
    spacing = "leading" if kind == "fixed_large" else pick(rng, "leading", "trailing", "linspace")  # it adds noise to the end
    made = discrete(rng, "DDPMScheduler", WILD, [spacing], kinds=PREDICTIONS, variance_type=kind, clip_sample=False)
    return Case(*made, ancestral(float(kind == "fixed_large"))), steps(rng, 2)


def of_ddim(rng):
    eta = pick(rng, 0.0, 0.0, 0.4, 1.0)
    made = discrete(rng, "DDIMScheduler", BETAS if eta else WILD, ["leading", "trailing"], kinds=PREDICTIONS, clip_sample=False)
    return Case(*made, ddim(eta), step={"eta": eta}, noise=eta > 0), pick(rng, 2, 4, 5, 10, 20, 25, 50)


def of_euler(rng):
    made = discrete(rng, "EulerDiscreteScheduler", beta_end=GENTLE, use_karras_sigmas=bool(rng.integers(2)))
    return rescaled(*made, euler()), steps(rng, 1)


def of_euler_ancestral(rng):
    made = discrete(rng, "EulerAncestralDiscreteScheduler", beta_end=GENTLE)
    return rescaled(*made, pick(rng, ddim(1.0), ancestral(0.0))), steps(rng, 2)


def of_heun(rng):
    made = discrete(rng, "HeunDiscreteScheduler", beta_end=GENTLE, use_karras_sigmas=bool(rng.integers(2)))
    return rescaled(*made, heun()), steps(rng, 2)


def rescaled(scheduler, process, time, prediction, sampler):
    """Theirs samples x / alpha, and shows the network x."""
    of_x = lambda alpha, sigma: (1 / jnp.sqrt(1 + sigma**2), sigma / jnp.sqrt(1 + sigma**2))
    shown = lambda alpha, sigma: of_x(alpha, sigma)[0]
    clean = lambda alpha, sigma, z, output: prediction.clean(*of_x(alpha, sigma), shown(alpha, sigma) * z, output)
    return Case(scheduler, unscaled(process), time, Prediction(prediction.target, clean, shown), sampler)


def of_dpm(rng):
    kind = pick(rng, "dpmsolver", "dpmsolver++", "dpmsolver++", "sde-dpmsolver++")
    order = 2 if kind == "sde-dpmsolver++" else int(rng.integers(1, 4))
    final = {"dpmsolver": "sigma_min", "sde-dpmsolver++": "zero"}.get(kind, pick(rng, "zero", "sigma_min"))
    karras = final == "zero" and bool(rng.integers(2))  # else its last two sigmas are equal
    options = dict(algorithm_type=kind, solver_order=order, final_sigmas_type=final, use_karras_sigmas=karras)
    options["lower_order_final"] = final == "zero"
    kinds = ("epsilon", "v_prediction") if kind == "dpmsolver" else PREDICTIONS
    made = discrete(rng, "DPMSolverMultistepScheduler", BETAS if karras else WILD, kinds=kinds, **options)
    ours = {"dpmsolver": dpm_solver_multistep, "dpmsolver++": dpm_solver_pp}.get(kind, lambda order: dpm_solver_sde())
    count = steps(rng, 3)
    count = min(count, 12) if order == 3 and final == "zero" else count  # from 15 on, theirs lowers the last order alone
    return Case(*made, ours(order), noise=kind == "sde-dpmsolver++"), count


def of_dpm_single(rng):
    beta, kind = pick(rng, *BETAS), pick(rng, "epsilon", "v_prediction")
    options = dict(algorithm_type="dpmsolver", final_sigmas_type="sigma_min", lower_order_final=True, solver_order=2)
    scheduler = diffusers.DPMSolverSinglestepScheduler(
        beta_schedule=beta, prediction_type=kind, use_exponential_sigmas=True, **options
    )  # every other of its times is in the middle, in lambda
    case = Case(scheduler, *both_ways(scheduler), PREDICTIONS[kind], dpm_solver(), every=2)
    return case, 1 + 2 * steps(rng, 4)


def of_unipc(rng):
    order, final = int(rng.integers(1, 4)), pick(rng, "zero", "sigma_min")
    plain = final == "sigma_min" and bool(rng.integers(2))  # to sigma 0 theirs is not a number
    karras = final == "zero" and bool(rng.integers(2))
    options = dict(solver_order=order, solver_type="bh1" if plain else "bh2", final_sigmas_type=final, use_karras_sigmas=karras)
    options["lower_order_final"] = final == "zero"
    made = discrete(rng, "UniPCMultistepScheduler", BETAS if karras else WILD, kinds=PREDICTIONS, **options)
    return Case(*made, unipc(order, plain=plain)), steps(rng, 4)


def of_edm(rng):
    kind, data_scale, final = pick(rng, "dpmsolver++", "sde-dpmsolver++"), pick(rng, 0.5, 1.0), "zero"
    scheduler = diffusers.EDMDPMSolverMultistepScheduler(
        sigma_data=data_scale, algorithm_type=kind, final_sigmas_type=final, sigma_schedule=pick(rng, "karras", "exponential")
    )
    sampler = dpm_solver_pp(2) if kind == "dpmsolver++" else dpm_solver_sde()
    return Case(scheduler, exploding(), lambda r: (r / 80) ** (1 / 7), predictions.edm(data_scale), sampler), steps(rng, 2)


def of_flow_matching(rng):
    name, sampler = pick(rng, ("FlowMatchEulerDiscreteScheduler", euler()), ("FlowMatchHeunDiscreteScheduler", heun()))
    scheduler = getattr(diffusers, name)(shift=pick(rng, 1.0, 1.0, 3.0))
    return Case(scheduler, straight(), lambda r: 1 - 1 / (1 + r), predictions.drift, sampler), steps(rng, 4)


KINDS = (
    of_ddpm, of_ddim, of_euler, of_euler_ancestral, of_heun, of_dpm, of_dpm_single, of_unipc, of_edm, of_flow_matching
)  # fmt: skip


# ---- both sides ----------------------------------------------------------------------------------------------------------


def network(x, r, tanh):
    return tanh(x) * (r / (r + 1))


def levels_of(case):
    """Their ratios sigma / alpha, in order, each once; flow matching's sigma is 1 / (1 + 1 / ratio)."""
    s = case.scheduler
    if not hasattr(s, "sigmas"):  # DDPM and DDIM: by timestep; the last step is to the clean x
        powers = s.alphas_cumprod.double()[s.timesteps].numpy()
        return np.append(np.sqrt((1 - powers) / powers), 0.0)
    values = s.sigmas.double().numpy()
    with np.errstate(divide="ignore"):
        values = 1 / (1 / values - 1) if "FlowMatch" in type(s).__name__ else values
    keep = np.append(True, np.diff(values) != 0) if "Heun" in type(s).__name__ else np.ones(len(values), bool)
    return values[keep][:: case.every]


def theirs(case, x, noise, monkeypatch):
    """Their loop, as their documentation writes it."""
    s, state = case.scheduler, {"step": 0}
    module = __import__(type(s).__module__, fromlist=["x"])
    if hasattr(module, "randn_tensor"):
        monkeypatch.setattr(module, "randn_tensor", lambda *a, **k: tensor(noise[state["step"]]).float())
    x, ratios = tensor(x).float(), None
    if not hasattr(s, "sigmas"):
        ratios = levels_of(case)
    for i, t in enumerate(s.timesteps):
        state["step"] = i
        shown = s.scale_model_input(x, t) if hasattr(s, "scale_model_input") else x
        r = float(ratios[i] if ratios is not None else s.sigmas[s.step_index or 0])
        if "FlowMatch" in type(s).__name__:
            r = r / (1 - r) if r < 1 else 1e30
        extra = case.step | ({"variance_noise": tensor(noise[i]).float()} if case.noise else {})
        x = s.step(network(shown, r, torch.tanh), t, x, **extra).prev_sample
    return x.numpy()


def compare(make, seed, monkeypatch):
    """Largest difference over the largest value."""
    rng = np.random.default_rng(seed)
    case, count = make(rng)
    case.scheduler.set_timesteps(int(count))
    ratios = levels_of(case)
    times = jnp.asarray(case.time_of(ratios))
    keys = jax.random.split(jax.random.key(seed), SHAPE[0])
    start = float(case.process.sigma(times[0])) * rng.standard_normal(SHAPE)
    noise = [np.asarray(fresh(keys, i, start)) for i in range(len(ratios))]
    as_r = lambda process, t: jnp.minimum(ratio(process, t), 1e30)[:, None, None]
    net = Net(None, lambda params, x, t: network(x, as_r(case.process, t), jnp.tanh))
    denoise = as_denoiser(net, case.process, case.prediction)
    run = lambda times, x, keys: case.sampler(lambda x, t: denoise({}, x, t), case.process, times, x, keys)
    ours = jax.jit(run)(times, start, keys)
    other = theirs(case, start, noise, monkeypatch)
    assert ours.dtype == jnp.float64
    return float(np.abs(ours - other).max() / np.abs(other).max())


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__[3:])
def test_sampler_is_their_scheduler(make, monkeypatch):
    wrong = [compare(make, seed, monkeypatch) for seed in range(EACH)]
    assert max(wrong) < 1e-5, wrong


def test_grids_are_theirs():
    from diffusers import DDIMScheduler, EDMEulerScheduler

    ddim_of_theirs, edm_of_theirs = DDIMScheduler(timestep_spacing="trailing"), EDMEulerScheduler()
    for count in (1, 7, 50, 333):
        ddim_of_theirs.set_timesteps(count)
        edm_of_theirs.set_timesteps(count)
        ours = trailing_grid(CHAIN)(cosine(), count)
        np.testing.assert_allclose(CHAIN * ours[:-1] - 1, ddim_of_theirs.timesteps, atol=1e-9)
        ours = ratio(exploding(), karras_grid()(exploding(), count))
        np.testing.assert_allclose(ours, edm_of_theirs.sigmas, rtol=1e-5)
    for count in (1, 50, 500):  # theirs rounds the stride of others
        (leading := DDIMScheduler(timestep_spacing="leading")).set_timesteps(count)
        np.testing.assert_allclose(CHAIN * leading_grid(CHAIN)(cosine(), count)[:-1] - 1, leading.timesteps, atol=1e-9)
