"""Chains beside those of blackjax: the same leapfrog to rounding, and as many proposals are taken as there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.chains import hmc, leapfrog, looking, mala, random_walk, run
from tests.parity import need

blackjax = need("blackjax")

COUNT = 4000


def one(x):
    """log p of one point of the plane: a ring with a dent, of no symmetry that could hide a wrong sign."""
    return -2.0 * (jnp.linalg.norm(x) - 1.5) ** 2 - 0.5 * jnp.cos(3 * x[0]) + 0.3 * x[1]


many = jax.vmap(one)
START = jax.random.normal(jax.random.key(3), (COUNT, 2)) + 0.5


def test_the_leapfrog_is_the_same():
    x, m = START[:20], jax.random.normal(jax.random.key(4), (20, 2))
    ours, our_m = leapfrog(looking(many), looking(many)(x), m, 0.07, 9)
    integrator = blackjax.mcmc.integrators.velocity_verlet(
        one, blackjax.mcmc.metrics.default_metric(jnp.ones(2)).kinetic_energy
    )

    def theirs(x, m):
        state = blackjax.mcmc.integrators.IntegratorState(x, m, one(x), jax.grad(one)(x))
        return jax.lax.fori_loop(0, 9, lambda _, state: integrator(state, 0.07), state)

    state = jax.vmap(theirs)(x, m)
    np.testing.assert_allclose(ours.x, state.position, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(our_m, state.momentum, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours.log_p, state.logdensity, rtol=1e-4, atol=1e-5)


SAME = {  # ours, and theirs with the same proposal: their MALA's step is half of ours
    "mala": (mala(many, 0.4), lambda: blackjax.mala(one, 0.2)),
    "hmc": (hmc(many, 0.35, 4), lambda: blackjax.hmc(one, 0.35, jnp.ones(2), 4)),
    "random walk": (random_walk(many, 0.8), lambda: blackjax.additive_step_random_walk(one, normal_step(0.8))),
}


def normal_step(scale):
    return blackjax.mcmc.random_walk.normal(scale * jnp.ones(2))


@pytest.mark.parametrize("name", SAME)
def test_as_many_first_moves_are_taken(name):
    ours, theirs = SAME[name][0], SAME[name][1]()
    keys = jax.random.split(jax.random.key(5), COUNT)
    out = jax.jit(lambda keys: run(ours, keys, START, 1))(keys)
    state, info = jax.jit(jax.vmap(lambda key, x: theirs.step(key, theirs.init(x))))(keys, START)
    a, b = out.accepted.mean(), info.is_accepted.mean()
    assert 0.3 < b < 0.97
    assert abs(a - b) < 4 * np.sqrt(2 * b * (1 - b) / COUNT)
    spread = np.sqrt(2 * np.var(state.position, axis=0) / COUNT)
    np.testing.assert_allclose((out.x.mean(0) - state.position.mean(0)) / spread, 0, atol=4)
