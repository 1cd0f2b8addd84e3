"""Chains, energy models and Boltzmann machines against closed forms, quadrature and enumeration.

Where chains are compared with a truth, only their ends are, one draw a chain: they are independent, so errors are known.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import genjax
from genjax.bijections import actnorm
from genjax.chains import (
    annealed,
    contrast,
    hmc,
    importance,
    langevin,
    leapfrog,
    log_mean,
    looking,
    mala,
    random_walk,
    run,
    score_of,
)
from genjax.conditions import GIVEN
from genjax.families.energy import direct, energy, geometric, minus_gradient, score_matching
from genjax.families.flow import flow
from genjax.families.rbm import annealed_log_partition, base_rates, free_energy, gibbs, log_partition, rbm
from genjax.hybrids.adversarial import adversarial
from genjax.hybrids.rewarded import rewarded
from genjax.hybrids.tilted import tilted
from genjax.model import as_batch, need
from genjax.nets import Net, mlp
from tests.table import SHAPE, batch, small, toy_energy
from tests.test_monitors import trained
from tests.test_toys import OPTIMIZED

KEY = jax.random.key(0)
MEAN, COVARIANCE = np.array([1.0, -0.5]), np.array([[1.0, 0.8], [0.8, 1.5]])
PRECISION = np.linalg.inv(COVARIANCE).astype(np.float32)


def keys(count, seed=1):
    return jax.random.split(jax.random.key(seed), count)


def normal_2d(x):
    """log p of N(MEAN, COVARIANCE) up to its constant."""
    d = x - jnp.asarray(MEAN, jnp.float32)
    return -0.5 * jnp.einsum("bi,ij,bj->b", d, PRECISION, d)


def standard(x):
    return -0.5 * jnp.sum(x**2, axis=-1)


def two_hills(x):
    """0.3 N(-1.5, 0.5^2) + 0.7 N(1.5, 0.7^2), not normalized."""
    a = jnp.log(0.3 / 0.5) - 0.5 * ((x[:, 0] + 1.5) / 0.5) ** 2
    return jnp.logaddexp(a, jnp.log(0.7 / 0.7) - 0.5 * ((x[:, 0] - 1.5) / 0.7) ** 2)


def ends(kernel, count, steps, dims=1):
    """Independent draws: the ends of chains that began at N(0, I)."""
    start = jax.random.normal(KEY, (count, dims))
    return jax.jit(lambda k: run(kernel, k, start, steps))(keys(count))


# ---- chains --------------------------------------------------------------------------------------------------------------

EXACT = {
    "mala": partial(mala, step=0.8),
    "random walk": partial(random_walk, scale=1.2),
    "hmc": partial(hmc, step=0.35, leaps=4),
}


@pytest.mark.parametrize("name", EXACT)
def test_chains_have_the_moments_of_a_correlated_gaussian(name):
    count = 4000
    out = ends(EXACT[name](normal_2d), count, 80, dims=2)
    x = np.asarray(out.x, np.float64)
    np.testing.assert_allclose((x.mean(0) - MEAN) / np.sqrt(np.diag(COVARIANCE) / count), 0, atol=4)
    d = np.diag(COVARIANCE)
    errors = np.sqrt((np.outer(d, d) + COVARIANCE**2) / count)  # standard errors of a sample covariance of normals
    np.testing.assert_allclose((np.cov(x.T) - COVARIANCE) / errors, 0, atol=4)
    assert 0.3 < out.accepted.mean() < 1.0


@pytest.mark.parametrize(("name", "make"), [
    ("mala", partial(mala, step=1.0)),
    ("random walk", partial(random_walk, scale=2.5)),
    ("hmc", partial(hmc, step=0.3, leaps=5)),
])  # fmt: skip
def test_chains_share_a_mixture_out_rightly(name, make):
    count = 4000
    x = np.asarray(ends(make(two_hills), count, 150).x[:, 0], np.float64)
    grid = np.linspace(-6, 6, 4001)
    p = np.exp(np.asarray(two_hills(jnp.asarray(grid[:, None])), np.float64))
    p /= np.trapezoid(p, grid)
    for g in (lambda v: (v < 0) * 1.0, lambda v: v, lambda v: v**2):
        mean, square = (np.trapezoid(p * g(grid) ** k, grid) for k in (1, 2))
        assert abs(g(x).mean() - mean) < 4 * np.sqrt((square - mean**2) / count)


@pytest.mark.parametrize("step", [0.5, 1.5])
def test_langevin_has_its_known_bias_and_mala_has_none(step):
    """x' = (1 - s/2) x + sqrt(s) e comes to rest at the variance s / (1 - (1 - s/2)^2) = 1 / (1 - s/4)."""
    count = 20_000
    biased = np.asarray(ends(langevin(standard, step), count, 60).x, np.float64).var()
    wanted = 1 / (1 - step / 4)
    assert abs(biased - wanted) < 4 * wanted * np.sqrt(2 / count) < wanted - 1
    exact = np.asarray(ends(mala(standard, step), count, 60).x, np.float64).var()
    assert abs(exact - 1) < 4 * np.sqrt(2 / count)


def test_leapfrog_returns_when_time_runs_back_and_errs_by_the_square_of_its_step():
    bumpy = lambda x: -jnp.sum(0.25 * x**4 + jnp.cos(2 * x), axis=-1)
    x, m = jax.random.normal(KEY, (50, 3)), jax.random.normal(keys(1)[0], (50, 3))
    look = looking(bumpy)
    there, m_there = leapfrog(look, look(x), m, 0.05, 40)
    back, m_back = leapfrog(look, there, -m_there, 0.05, 40)
    assert jnp.abs(there.x - x).max() > 0.5
    np.testing.assert_allclose(back.x, x, atol=2e-4)
    np.testing.assert_allclose(-m_back, m, atol=2e-4)

    def drifted(step, leaps):
        place, moved = leapfrog(look, look(x), m, step, leaps)
        return jnp.abs(place.log_p - bumpy(x) - 0.5 * jnp.sum(moved**2 - m**2, axis=-1)).mean()

    assert 3.6 < drifted(0.08, 15) / drifted(0.04, 30) < 4.4


@pytest.mark.parametrize("x", [-0.6, 2.0])
@pytest.mark.parametrize("which", ["mala", "random walk"])
def test_acceptance_is_the_ratio_of_detailed_balance(which, x):
    """E_q[ min(1, p(x') q(x | x') / p(x) q(x' | x)) ] by quadrature, beside the share of one move's copies that are taken."""
    step, count, grid = 0.9, 20_000, np.linspace(-12, 12, 8001)
    log_p = lambda v: np.asarray(two_hills(jnp.asarray(np.reshape(v, (-1, 1)), jnp.float32)), np.float64)
    slope = lambda v: np.asarray(score_of(two_hills)(jnp.asarray(np.reshape(v, (-1, 1)), jnp.float32)), np.float64)[:, 0]
    centre = (lambda v: v + 0.5 * step * slope(v)) if which == "mala" else (lambda v: v)
    log_q = lambda to, at: -((to - centre(at)) ** 2) / (2 * step)
    there, here = log_q(grid, np.full_like(grid, x)), log_q(np.full_like(grid, x), grid)
    chance = np.minimum(1, np.exp(log_p(grid) + here - log_p(x) - there))
    wanted = np.trapezoid(np.exp(there) * chance, grid) / np.trapezoid(np.exp(there), grid)
    kernel = mala(two_hills, step) if which == "mala" else random_walk(two_hills, step**0.5)
    out = jax.jit(lambda k: run(kernel, k, jnp.full((count, 1), x), 1))(keys(count))
    assert abs(out.accepted.mean() - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / count)
    assert 0.05 < wanted < 0.98
    assert ((out.x[:, 0] != x) == (out.accepted == 1)).all()


def test_a_chain_depends_on_its_own_key_and_keeps_what_it_is_asked_to():
    kernel, x = hmc(normal_2d, 0.3, 3), jax.random.normal(KEY, (5, 2))
    together = run(kernel, keys(5), x, 4, keep=lambda x: x)
    alone = run(kernel, keys(5)[3:4], x[3:4], 4)
    np.testing.assert_allclose(together.x[3:4], alone.x, rtol=1e-5)
    assert together.kept.shape == (4, 5, 2)
    np.testing.assert_array_equal(together.kept[-1], together.x)


def test_a_chance_that_is_no_number_is_refused():
    """A density that is NaN right of 1: no chain ever goes there."""
    cut = lambda x: jnp.where(x[:, 0] > 1, jnp.nan, standard(x))
    for make in (partial(mala, step=1.0), partial(random_walk, scale=1.0), partial(hmc, step=0.3, leaps=3)):
        out = run(make(cut), keys(200), jnp.zeros((200, 1)), 20, keep=lambda x: x)
        assert out.kept.max() <= 1 and np.isfinite(out.kept).all() and out.accepted.min() > 0


def test_into_keeps_langevin_in_its_box():
    kernel = langevin(lambda x: 5.0 * x.sum(-1), 0.5, into=partial(jnp.clip, min=0.0, max=1.0))
    kept = run(kernel, keys(20), jnp.full((20, 3), 0.5), 10, keep=lambda x: x).kept
    assert kept.min() >= 0 and kept.max() == 1


def test_annealing_ends_at_the_last_density():
    """From a wide normal to one of variance 0.04, far from where the chains begin."""
    at = lambda scale: mala(lambda x: -0.5 * jnp.sum(((x - 3.0) / scale) ** 2, -1), 0.8 * scale**2)
    count, start = 4000, jnp.full((4000, 1), -5.0)
    out = jax.jit(lambda k: annealed(at, k, start, jnp.geomspace(5.0, 0.2, 25), 4))(keys(count))
    x = np.asarray(out.x, np.float64)
    assert abs(x.mean() - 3) < 4 * 0.2 / count**0.5
    assert abs(x.var() - 0.04) < 4 * 0.04 * (2 / count) ** 0.5


def test_importance_knows_the_ratio_of_two_normals():
    """log Z_1 / Z_0 = D log(scale); the estimate, the error that it tells of itself, and the draws at its end."""
    scale, dims, count = 0.3, 2, 1000
    log_p_at = lambda t: lambda x: (1 - t) * standard(x) + t * standard((x - 1.0) / scale)
    kernel_at = lambda t: random_walk(log_p_at(t), 0.5)
    start = jax.random.normal(KEY, (count, dims))
    out = jax.jit(lambda k: importance(log_p_at, kernel_at, k, start, jnp.linspace(0, 1, 400)))(keys(count))
    estimate, error = log_mean(out.log_w)
    assert abs(estimate - dims * np.log(scale)) < 4 * error < 0.1
    with pytest.raises(ValueError, match="2 levels or more, not 1"):
        importance(log_p_at, kernel_at, keys(2), start[:2], jnp.zeros(1))


def test_log_mean_and_its_error():
    w = np.random.default_rng(0).exponential(size=400)
    log_z, error = log_mean(jnp.asarray(np.log(w) + 300, jnp.float32))
    np.testing.assert_allclose(log_z, np.log(w.mean()) + 300, rtol=1e-6)
    np.testing.assert_allclose(error, w.std() / w.mean() / 20, rtol=1e-3)
    assert log_mean(jnp.zeros(1))[1] == jnp.inf


@pytest.mark.parametrize(("make", "said"), [
    (lambda: langevin(standard, -0.1), "step > 0, not step=-0.1"),
    (lambda: mala(standard, 0.0), "step > 0, not step=0.0"),
    (lambda: random_walk(standard, -1), "scale > 0, not scale=-1"),
    (lambda: hmc(standard, float("nan")), "step > 0, not step=nan"),
    (lambda: hmc(standard, 0.1, 0), "leaps >= 1, not 0"),
    (lambda: run(langevin(standard, 0.1), keys(2), jnp.zeros((2, 1)), 0), "steps >= 1 to move at all, not steps=0"),
    (lambda: energy(small(()), (2,), optax.sgd(1.0), kernel=partial(langevin, step=-1.0)), "step > 0, not step=-1.0"),
    (lambda: toy_energy(slots=0), "slots >= 1, not slots=0"),
    (lambda: energy(small(()), (2,), optax.sgd(1.0), steps=0), "steps >= 1, not steps=0"),
    (lambda: energy(small(()), (2,), optax.sgd(1.0), alpha=-1.0), "alpha >= 0, not alpha=-1.0"),
    (lambda: toy_energy(temperature=0.0), "temperature > 0 and 0 <= fresh <= 1, not 0.0 and 0.05"),
    (lambda: energy(small((3,)), (2,), optax.sgd(1.0)).init(KEY, as_batch(jnp.zeros((4, 2)))), r"this network gives \(4, 3\)"),
    (lambda: score_matching(small(()), (2,), optax.sgd(1.0), sigmas=(0.1, 1.0)), "levels that fall"),
    (lambda: score_matching(small(()), (2,), optax.sgd(1.0), moves=0), "moves >= 1 at each level, not moves=0"),
    (lambda: score_matching(small(()), (2,), optax.sgd(1.0), step=-0.2), "step > 0, not step=-0.2"),
    (lambda: score_matching(small((1,)), (2,), optax.sgd(1.0)).init(KEY, flat(4)), r"this network gives \(4, 1\)"),
    (lambda: score_matching(small(()), (4,), optax.sgd(1.0), as_score=direct).init(KEY, as_batch(jnp.zeros((4, 4)))),
     r"the shape of its data, \(4, 4\); this network gives \(4,\)"),
    (lambda: tilted(plane(), small((1,)), optax.sgd(1.0)).init(KEY, flat(4)), r"this network gives \(4, 1\)"),
    (lambda: tilted(plane(), small(()), optax.sgd(1.0)).init(KEY, as_batch(jnp.zeros((4, 2), int))), "give real numbers"),
    (lambda: ais(jnp.linspace(0.5, 1.0, 5)), "lead from 0 to 1, not 5 from 0.5 to 1"),
    (lambda: ais(jnp.linspace(1.0, 0.0, 5)), "lead from 0 to 1, not 5 from 1 to 0"),
    (lambda: moved(adversarial(rbm(3, (4,), optax.sgd(1.0)), small(()), *[optax.sgd(1.0)] * 2)), "coins, which have no"),
    (lambda: moved(rewarded(rbm(3, (4,), optax.sgd(1.0)), lambda x, y=None: x.sum(1), optax.sgd(1.0)), 1), "way=likelihood"),
    (lambda: rbm(0, (4,), optax.sgd(1.0)), "hidden >= 1, not hidden=0"),
    (lambda: rbm(3, (4,), optax.sgd(1.0), steps=0), "steps >= 1, not steps=0"),
    (lambda: rbm(3, (4,), optax.sgd(1.0)).init(KEY, as_batch(jnp.full((2, 4), 0.5))), "holds values 0.5 .. 0.5: prepare with"),
    (lambda: log_partition(machine(30, 25)), "30 visible and 25 hidden units: enumeration needs at most 20 on one side"),
    (lambda: need(rbm(17, (17,), optax.sgd(1.0)), "log_prob", "this"), "needs a model with `log_prob`; this one has energy"),
])  # fmt: skip
def test_bad_input_is_told_in_one_line(make, said):
    with pytest.raises(ValueError, match=said) as told:
        make()
    assert "\n" not in str(told.value)


def plane():
    return flow(actnorm(), (2,), optax.sgd(1.0))


def flat(count):
    return as_batch(jnp.zeros((count, 2)))


def moved(model, stage=0):
    data = as_batch(jnp.ones((2, 4)))
    genjax.make_step(model, stage)(genjax.next_stage(model, genjax.init(model, KEY, data), stage), data)


def ais(times):
    return annealed_log_partition(machine(3, 2), keys(2), times)


# ---- Boltzmann machines --------------------------------------------------------------------------------------------------


def begun(model):
    return jax.jit(lambda batch: genjax.init(model, KEY, batch))(batch())


def machine(dims, hidden, scale=0.7, seed=0):
    """Parameters of an RBM that is no trivial one."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(scale * rng.normal(size=shape), jnp.float32)
    return {"weights": draw(dims, hidden), "visible": draw(dims), "hidden": draw(hidden)}


def states(units):
    return np.array(list(itertools.product([0.0, 1.0], repeat=units)))


def joint(theta):
    """(2^D, 2^H) of -E(v, h), float64."""
    w, a, b = (np.asarray(theta[name], np.float64) for name in ("weights", "visible", "hidden"))
    v, h = states(len(a)), states(len(b))
    return (v @ a)[:, None] + (h @ b)[None] + v @ w @ h.T


def log_p_of(theta):
    """log p of all states of v, float64, and log Z."""
    rows = np.logaddexp.reduce(joint(theta), axis=1)
    return rows - np.logaddexp.reduce(rows), np.logaddexp.reduce(rows)


def test_the_free_energy_is_a_sum_over_hidden_units():
    theta = machine(5, 4)
    wanted = -np.logaddexp.reduce(joint(theta), axis=1)
    np.testing.assert_allclose(free_energy(theta, jnp.asarray(states(5), jnp.float32)), wanted, rtol=1e-5, atol=1e-5)
    assert np.isnan(free_energy(theta, jnp.full((1, 5), 0.5)))


@pytest.mark.parametrize(("dims", "hidden"), [(4, 7), (8, 5)])
@pytest.mark.parametrize("at_once", [2, 10])
def test_the_partition_function_by_the_smaller_side_is_that_of_all_states(dims, hidden, at_once):
    theta = machine(dims, hidden)
    np.testing.assert_allclose(log_partition(theta, at_once), log_p_of(theta)[1], rtol=1e-6)


def test_log_prob_sums_to_one():
    model, theta = rbm(3, (2, 3, 1), optax.sgd(1.0)), machine(6, 3)
    log_p = model.log_prob({"rbm": theta}, as_batch(jnp.asarray(states(6).reshape(-1, 2, 3, 1), jnp.float32)))
    np.testing.assert_allclose(jnp.exp(log_p).sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(log_p, log_p_of(theta)[0], atol=1e-5)


def test_contrastive_divergence_with_exact_chains_is_the_gradient_of_the_likelihood():
    """Chains that are draws of p stay so in a Gibbs move, and the loss has, in expectation, the gradient of -log p."""
    count, theta, rng = 20_000, machine(5, 3), np.random.default_rng(3)
    p = np.exp(log_p_of(theta)[0])
    chains = jnp.asarray(states(5)[rng.choice(32, count, p=p)], jnp.float32)
    x = jnp.asarray(states(5)[rng.choice(8, 64)], jnp.float32)  # its first two units are never lit
    model = rbm(3, (5,), optax.sgd(1.0), steps=3)
    loss = lambda params: model.stages[0][0].loss(params, KEY, as_batch(jnp.tile(x, (count // 64 + 1, 1))[:count]) | rows).value
    rows = {"chains": chains}
    found = jax.jit(jax.grad(loss))({"rbm": theta})["rbm"]
    data = as_batch(jnp.tile(x, (count // 64 + 1, 1))[:count])
    wanted = jax.grad(lambda params: -model.log_prob(params, data).mean())({"rbm": theta})["rbm"]
    assert min(float(jnp.abs(leaf).max()) for leaf in wanted.values()) > 0.03
    assert jnp.abs(wanted["weights"]).max() > 0.2
    for name in theta:
        np.testing.assert_allclose(found[name], wanted[name], atol=4.5 * 0.5 / count**0.5)  # a unit deviates by at most 1/2


def test_divergence_begins_at_the_data_and_persistence_where_it_was():
    x = batch()["x"]
    for persistent in (True, False):
        model = rbm(5, x.shape[1:], optax.sgd(0.1), persistent=persistent)
        state = begun(model)
        frozen = state.params["rbm"] | {"visible": 30.0 * (2 * x[0].ravel() - 1), "weights": jnp.zeros((16, 5))}
        start = 1 - x[0].ravel() if persistent else x.reshape(8, -1)
        state = state._replace(params={"rbm": frozen}, memory={"chains": jnp.tile(start, (8, 1))} if persistent else {})
        after, metrics = jax.jit(genjax.make_step(model))(state, batch())
        moved = x[0].ravel()  # with such odds one Gibbs move comes from anywhere to this picture
        np.testing.assert_allclose(metrics["contrast/flipped"], np.abs(moved - start).mean(), rtol=1e-5)
        assert list(after.memory) == (["chains"] if persistent else [])


def test_gibbs_samples_are_draws_of_the_machine():
    count, theta = 6000, machine(3, 4, 1.0)
    model = rbm(4, (3,), optax.sgd(1.0), sampling_steps=40)
    v = np.asarray(jax.jit(model.sample)({"rbm": theta}, keys(count)))
    seen = np.bincount((v @ [4, 2, 1]).astype(int), minlength=8) / count
    p = np.exp(log_p_of(theta)[0])
    np.testing.assert_allclose((seen - p) / np.sqrt(p * (1 - p) / count), 0, atol=4)


def test_annealed_importance_sampling_meets_enumeration():
    theta = machine(12, 8, 0.8)
    base = base_rates(jnp.full(12, 0.3), 100)
    ais = jax.jit(lambda k: annealed_log_partition(theta, k, jnp.linspace(0, 1, 300), base))
    found = np.array([ais(keys(300, seed)) for seed in range(3)])
    errors = found[:, 0] - log_p_of(theta)[1]
    assert np.abs(errors).max() < 0.05
    assert (np.abs(errors) < 4 * found[:, 1]).all()


def test_at_time_zero_the_machine_is_independent_units_and_at_one_itself():
    theta, base, v = machine(4, 3), jnp.array([0.5, -1.0, 0.0, 2.0]), jnp.asarray(states(4), jnp.float32)
    np.testing.assert_allclose(free_energy(theta, v, 0.0, base), -v @ base - 3 * np.log(2), rtol=1e-5)
    np.testing.assert_allclose(free_energy(theta, v, 1.0, base), free_energy(theta, v), rtol=1e-6)
    np.testing.assert_allclose(jax.nn.sigmoid(base_rates(jnp.array([0.0, 0.25, 1.0]), 99)), [0.005, 0.2525, 0.995], rtol=1e-5)


def test_gibbs_leaves_every_density_on_the_way_as_it_is():
    """The matrix of one move, from its two conditionals, against the density (3): p T = p."""
    theta, base, t = machine(3, 2, 1.0), jnp.array([0.5, -1.0, 1.0]), 0.6
    v = jnp.asarray(states(3), jnp.float32)
    count = 20_000
    kernel = gibbs(theta, t, base)
    move = jax.jit(lambda v, k: run(kernel, k, jnp.tile(v, (count, 1)), 1).x)
    matrix = np.stack([np.bincount((np.asarray(move(row, keys(count, 9))) @ [4, 2, 1]).astype(int), minlength=8) for row in v])
    p = np.exp(-np.asarray(free_energy(theta, v, t, base), np.float64))
    p /= p.sum()
    np.testing.assert_allclose(p @ matrix / count, p, atol=4 * 0.5 / count**0.5)


# ---- deep energies -------------------------------------------------------------------------------------------------------

PARABOLA = Net(lambda key, x, y: {"k": jnp.ones(())}, lambda params, x, y: 0.5 * params["k"] * jnp.sum(x**2, axis=-1))


def test_the_loss_is_what_it_says_and_its_gradient_does_not_pass_through_chains():
    model = energy(PARABOLA, (2,), optax.sgd(1.0), steps=3, fresh=0.0, alpha=0.1)
    x, rows = jax.random.normal(KEY, (6, 2)), {"chains": jnp.ones((6, 1, 2))}
    params = {"energy": {"k": jnp.array(0.7)}}
    loss = lambda params: model.stages[0][0].loss(params, KEY, as_batch(x) | rows)
    out = loss(params)
    end = out.memory["chains"][:, 0]
    data, chains = 0.5 * jnp.sum(x**2, -1), 0.5 * jnp.sum(end**2, -1)
    wanted = lambda k: k * (data.mean() - chains.mean()) + 0.1 * k**2 * jnp.mean(data**2 + chains**2)
    np.testing.assert_allclose(out.value, wanted(0.7), rtol=1e-5)
    slope = jax.grad(lambda params: loss(params).value)(params)["energy"]["k"]
    np.testing.assert_allclose(slope, jax.grad(wanted)(0.7), rtol=1e-4)
    np.testing.assert_allclose(out.metrics["square_chains"], jnp.mean(end**2), rtol=1e-5)
    np.testing.assert_allclose(out.metrics["square_data"], jnp.mean(x**2), rtol=1e-5)
    np.testing.assert_allclose(out.metrics["energy_chains"], 0.7 * chains.mean(), rtol=1e-5)


def test_contrast_tells_the_gap_and_the_spread_of_the_data():
    gap, seen = contrast(jnp.array([1.0, 3.0]), jnp.array([5.0, 7.0, 9.0]))
    assert (float(gap), float(seen["chain_gap"]), float(seen["spread_data"])) == (-5.0, -5.0, 1.0)


def test_temperature_divides_the_energy_of_chains_and_of_the_model():
    """f = |x|^2 / 2 at T = 1/4 is a normal of variance 1/4: by MALA exactly."""
    kernel = lambda log_p: mala(log_p, 0.3)
    model = energy(PARABOLA, (2,), optax.sgd(1.0), kernel=kernel, temperature=0.25, sampling_steps=60)
    params = {"energy": {"k": jnp.ones(())}}
    x = np.asarray(jax.jit(model.sample)(params, keys(4000)), np.float64)
    assert abs(x.var() - 0.25) < 4 * 0.25 * np.sqrt(2 / x.size)
    np.testing.assert_allclose(model.energy(params, jnp.ones((1, 2))), 4.0)


def test_a_step_moves_one_chain_of_each_example_and_leaves_the_others():
    model = toy_energy(slots=4, fresh=0.0, classes=3)
    state = begun(model)
    after, _ = jax.jit(genjax.make_step(model))(state, batch())
    moved = np.asarray((after.memory["chains"] != state.memory["chains"]).reshape(8, 4, -1).any(-1))
    assert (moved.sum(1) == 1).all() and len(set(moved.argmax(1))) > 1
    np.testing.assert_array_equal(after.memory["labels"], state.memory["labels"])
    np.testing.assert_array_equal(state.memory["labels"], np.tile(batch()["y"][:, None], (1, 4)))


def test_a_chain_that_begins_anew_takes_the_label_of_its_example():
    model = toy_energy(slots=1, fresh=1.0, classes=3)
    state = begun(model)
    after, _ = jax.jit(genjax.make_step(model))(state, batch(seed=5))
    assert (batch(seed=5)["y"] != batch()["y"]).any()
    np.testing.assert_array_equal(after.memory["labels"][:, 0], batch(seed=5)["y"])


def test_chains_keep_what_their_example_was_told_be_it_a_label_or_an_array():
    data = batch() | {"y": jax.nn.one_hot(batch()["y"], 3)}
    model = toy_energy(slots=2, classes=GIVEN)
    state = jax.jit(lambda key, data: genjax.init(model, key, data))(jax.random.key(0), data)
    np.testing.assert_array_equal(state.memory["labels"], np.stack([data["y"]] * 2, axis=1))
    assert jnp.isfinite(jax.jit(genjax.make_step(model))(state, data)[1]["contrast/loss"])


def test_rows_of_memory_belong_to_the_example():
    """The chain of example k is moved by example k's key, wherever its row lies in the batch."""
    model = toy_energy(slots=2, fresh=0.5)
    state, order = begun(model), jnp.array([3, 1, 7, 0, 2, 6, 5, 4])
    shuffle = lambda tree: jax.tree.map(lambda a: a[order], tree)
    step = jax.jit(genjax.make_step(model))
    straight, _ = step(state, batch())
    other, _ = step(state._replace(memory=shuffle(state.memory)), shuffle(batch()))
    np.testing.assert_allclose(other.memory["chains"], shuffle(straight.memory)["chains"], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_an_energy_learns_two_hills_to_a_density_near_the_true_one():
    """Normalized by quadrature: KL(true || learnt) in nats."""
    steps, size, rng = 800, 256, np.random.default_rng(0)
    left = rng.random((steps * size, 1)) < 0.3
    x = np.where(left, -1.5 + 0.5 * rng.normal(size=left.shape), 1.5 + 0.7 * rng.normal(size=left.shape))
    tx = optax.adam(optax.cosine_decay_schedule(1e-2, steps))
    model = energy(mlp((32, 32), (), jax.nn.silu), (1,), tx, kernel=lambda p: mala(p, 0.4), steps=10, slots=2)
    data = jnp.asarray(x, jnp.float32).reshape(steps, size, 1)
    state = jax.jit(genjax.init, static_argnums=0)(model, KEY, as_batch(data[0]))
    step = genjax.make_step(model, ema_decay=0.99)
    train = jax.jit(lambda s: jax.lax.scan(lambda s, x: step(s, as_batch(x)), s, data), compiler_options=OPTIMIZED)
    state, metrics = train(state)
    grid = jnp.linspace(-6, 6, 2001)[:, None]
    width = 12 / 2000
    log_p = lambda log: log - jax.nn.logsumexp(log) - jnp.log(width)
    true, learnt = log_p(two_hills(grid)), log_p(-model.energy(state.ema, grid))
    untrained = log_p(-model.energy(genjax.init(model, KEY, as_batch(data[0])).params, grid))
    kl = lambda log: float(jnp.sum(jnp.exp(true) * (true - log)) * width)
    assert kl(learnt) < 0.03 < 0.3 < kl(untrained)
    gap, spread = (metrics[f"contrast/{name}"][-200:] for name in ("chain_gap", "spread_data"))
    assert jnp.abs(gap / spread).mean() < 0.3 and int(state.skipped) == 0


# ---- denoising score matching --------------------------------------------------------------------------------------------

SIGMAS = geometric(3.0, 0.3, 4)
VARIANCE = 0.8


def sigma_of(t):
    return SIGMAS[-1] * (SIGMAS[0] / SIGMAS[-1]) ** t


def true_score(params, u, t, y):
    """sigma times the score of N(0, VARIANCE) with noise, times a factor that is 1 at the truth."""
    sigma = sigma_of(t)[:, None]
    return -params["k"] * sigma * u * jnp.sqrt(1 + sigma**2) / (VARIANCE + sigma**2)


def true_energy(params, u, t, y):
    """f of the energy of the same, E = f c / sigma."""
    sigma = sigma_of(t)
    c = jnp.sqrt(1 + sigma**2)
    return 0.5 * params["k"] * sigma / c * jnp.sum((c[:, None] * u) ** 2, -1) / (VARIANCE + sigma**2)


SCORES = {"direct": (direct, true_score), "minus_gradient": (minus_gradient, true_energy)}


@pytest.mark.parametrize("name", SCORES)
def test_score_matching_is_least_at_the_true_score(name):
    """For normal data of variance v: 1/2 E(sigma score + e)^2 = v / 2 (v + sigma^2) at the truth, and its slope is 0 there."""
    as_score, apply = SCORES[name]
    model = score_matching(Net(None, apply), (3,), optax.sgd(1.0), sigmas=SIGMAS, as_score=as_score)
    count = 20_000
    data = as_batch(VARIANCE**0.5 * jax.random.normal(KEY, (count, 3)))
    loss = jax.jit(lambda k: model.stages[0][0].loss({"energy": {"k": k}}, KEY, data).value)
    wanted = np.mean([VARIANCE / (VARIANCE + s**2) for s in SIGMAS]) / 2
    np.testing.assert_allclose(loss(1.0), wanted, atol=4 * 0.7 / count**0.5)
    curve = np.array([loss(k) for k in (0.8, 0.9, 1.0, 1.1, 1.2)])
    assert curve.argmin() == 2
    assert abs(jax.grad(loss)(1.0)) < 4 / count**0.5 < abs(jax.grad(loss)(0.8))


def test_annealed_sampling_of_a_normal_has_the_variance_of_its_recursion():
    step, moves, count = 0.3, 5, 4000
    model = score_matching(Net(None, true_score), (3,), optax.sgd(1.0), sigmas=SIGMAS, as_score=direct, step=step, moves=moves)
    x = np.asarray(jax.jit(model.sample)({"energy": {"k": jnp.ones(())}}, keys(count)), np.float64)
    variance = SIGMAS[0] ** 2
    for sigma in np.repeat(SIGMAS, moves):
        shrink = 1 - 0.5 * step * sigma**2 / (VARIANCE + sigma**2)
        variance = shrink**2 * variance + step * sigma**2
    variance *= (VARIANCE / (VARIANCE + SIGMAS[-1] ** 2)) ** 2  # the mean of x given the last level
    assert abs(x.var() - variance) < 4 * variance * np.sqrt(2 / x.size)


def test_the_energy_is_that_whose_gradient_was_matched():
    model = score_matching(Net(None, true_energy), (3,), optax.sgd(1.0), sigmas=SIGMAS)
    params, x = {"energy": {"k": jnp.ones(())}}, jax.random.normal(KEY, (4, 3))
    slope = jax.grad(lambda x: model.energy(params, x).sum())(x)
    np.testing.assert_allclose(slope, x / (VARIANCE + SIGMAS[-1] ** 2), rtol=1e-5)
    assert score_matching(Net(None, true_score), (3,), optax.sgd(1.0), sigmas=SIGMAS, as_score=direct).energy is None
    np.testing.assert_allclose(SIGMAS, [3.0, 3.0 * 10 ** (-1 / 3), 3.0 * 10 ** (-2 / 3), 0.3], rtol=1e-6)


# ---- monitors ------------------------------------------------------------------------------------------------------------


IN_BOX = partial(langevin, step=1e-4, into=partial(jnp.clip, min=0.0, max=1.0))


@pytest.mark.parametrize(("kernel", "problems"), [
    (IN_BOX, []),
    (partial(langevin, step=1e-4), ["diverging chains"]),  # a young network's energy keeps nobody from leaving
    pytest.param(partial(langevin, step=0.1), ["diverging chains"], marks=pytest.mark.slow),
], ids=["in a box", "without a box", "steps a thousand times longer"])  # fmt: skip
def test_chains_that_run_away_are_told_and_sound_ones_are_not(kernel, problems, tmp_path):
    how = dict(kernel=kernel, temperature=5e-5, steps=20, alpha=0.1, start=jax.random.uniform, data_noise=0.03)
    assert trained(energy(small((), 16), SHAPE, optax.adam(1e-3), **how), tmp_path) == problems
