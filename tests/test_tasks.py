"""The verbs against models whose answers are known in closed form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import tasks
from genjax.chains import mala
from genjax.densities import flat_sum, normal_log_prob
from genjax.families.vae import vae
from genjax.model import Model, as_batch, example_keys, normal
from genjax.nets import mlp
from genjax.schedules import cosine, exploding

KEY = jax.random.key(3)


def rotation():
    """Codes are the data turned by a fixed orthogonal matrix, plus noise; decoding turns them back. p(x) = N(0, I)."""
    turn = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (6, 6)))[0]
    return Model(
        init=lambda key, batch: {"noise": jnp.float32(0.1)},
        stages=(),
        sample=None,
        encode=lambda params, key, batch: batch["x"] @ turn + params["noise"] * normal(example_keys(key, batch), (6,)),
        decode=lambda params, codes, y=None: codes @ turn.T + (0 if y is None else 100 * y[:, None]),
        log_prob=lambda params, batch: normal_log_prob(batch["x"]),
    )


MODEL, PARAMS = rotation(), {"noise": jnp.float32(0.1)}


def data(seed, count=5, y=None):
    return as_batch(jax.random.normal(jax.random.key(seed), (count, 6)), y)


def close(a, b, atol=2e-5):
    np.testing.assert_allclose(a, b, atol=atol)


# ---- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [tasks.spherical, tasks.linear])
def test_ends_of_a_path_are_the_reconstructions(path):
    a, b = data(1), data(2)
    x = tasks.interpolate(MODEL, PARAMS, KEY, a, b, 4, path)
    assert x.shape == (5, 4, 6)
    close(x[:, 0], tasks.reconstruct(MODEL, PARAMS, KEY, a))
    close(x[:, -1], tasks.reconstruct(MODEL, PARAMS, KEY, b))


def test_the_spherical_path_keeps_the_norm_and_turns_evenly():
    a, b = (z / jnp.linalg.norm(z, axis=1, keepdims=True) for z in (data(1)["x"], data(2)["x"]))
    z = jnp.stack([tasks.spherical(a, b, t) for t in jnp.linspace(0, 1, 5)], 1)
    close(jnp.linalg.norm(z, axis=2), 1)
    angles = jnp.arccos((z[:, 1:] * z[:, :-1]).sum(2))
    close(angles, jnp.arccos((a * b).sum(1))[:, None] / 4 * jnp.ones(4), 1e-3)


def test_the_spherical_path_has_one_angle_for_codes_with_space_axes():
    a, b = jax.random.normal(KEY, (2, 3, 2, 2, 4))
    flat = tasks.spherical(a.reshape(3, -1), b.reshape(3, -1), 0.3)
    close(tasks.spherical(a, b, 0.3), flat.reshape(a.shape), 1e-6)


def test_the_spherical_path_between_parallel_codes_is_the_line():
    a, scale = data(1, 3)["x"], jnp.array([[1.0], [-1.0], [2.0]])
    close(tasks.spherical(a, scale * a, 0.25), tasks.linear(a, scale * a, 0.25))
    for b in (scale * a, 0 * a):
        assert jnp.isfinite(jax.grad(lambda a, b: tasks.spherical(a, b, 0.25).sum())(a, b)).all()


def test_the_linear_path_is_even_in_data_space_where_the_decoder_is_linear():
    x = tasks.interpolate(MODEL, PARAMS, KEY, data(1), data(2), 5, tasks.linear)
    close(jnp.diff(x, 2, axis=1), 0, 1e-5)


def test_labels_switch_half_way():
    a, b = data(1, y=jnp.zeros(5)), data(2, y=jnp.ones(5))
    plain = tasks.interpolate(MODEL, PARAMS, KEY, data(1), data(2), 4)
    shift = tasks.interpolate(MODEL, PARAMS, KEY, a, b, 4) - plain
    close(shift, jnp.array([0, 0, 100, 100])[None, :, None] * jnp.ones((5, 4, 6)), 1e-4)


# ---- arithmetic ------------------------------------------------------------------------------------------------------


def test_arithmetic_is_exact_where_codes_are_linear_and_its_noise_is_that_of_one_example():
    a, b, c = data(1), data(2), data(4)
    x = tasks.arithmetic(MODEL, PARAMS, KEY, a, b, c)
    close(x, tasks.reconstruct(MODEL, PARAMS, KEY, as_batch(a["x"] - b["x"] + c["x"])))
    close(tasks.arithmetic(MODEL, PARAMS, KEY, a, b, b), tasks.reconstruct(MODEL, PARAMS, KEY, a))


def test_a_direction_leads_from_one_mean_to_the_other():
    has = jnp.arange(400) % 3 == 0
    batch = as_batch(0.01 * data(1, 400)["x"] + jnp.where(has[:, None], 2.0, -1.0))
    direction = tasks.attribute_direction(MODEL, PARAMS, KEY, batch, has)
    assert direction.shape == (6,)
    without = as_batch(batch["x"][~has])
    moved = tasks.move(MODEL, PARAMS, KEY, without, direction)
    close(moved.mean(0), jnp.full(6, 2.0), 0.1)
    close(tasks.move(MODEL, PARAMS, KEY, without, direction, 0.0), tasks.reconstruct(MODEL, PARAMS, KEY, without))


def test_each_example_can_move_by_its_own_amount():
    batch, direction = data(1), jnp.arange(6.0)
    x = tasks.move(MODEL, PARAMS, KEY, batch, direction, jnp.array([0.0, 1.0, 2.0, -1.0, 0.5]))
    close(x[2], tasks.move(MODEL, PARAMS, KEY, batch, direction, 2.0)[2])
    close(x[0], tasks.reconstruct(MODEL, PARAMS, KEY, batch)[0])


# ---- density ---------------------------------------------------------------------------------------------------------


def test_the_score_is_exact_where_the_density_is():
    batch = data(1)
    close(tasks.anomaly_score(MODEL, PARAMS, KEY, batch), 0.5 * flat_sum(batch["x"] ** 2) + 3 * jnp.log(2 * jnp.pi))


def test_the_score_is_the_energy_where_that_is_all_that_is_known():
    model = MODEL._replace(log_prob=None, energy=lambda params, x, y=None: flat_sum(x) + y)
    batch = data(0) | {"y": jnp.arange(len(data(0)["x"]))}
    close(tasks.anomaly_score(model, PARAMS, KEY, batch), flat_sum(batch["x"]) + batch["y"])


def test_the_score_falls_back_on_the_bound_with_its_samples():
    model = MODEL._replace(log_prob=None, bound=lambda params, key, batch, samples=1: -samples * jnp.ones(5))
    close(tasks.anomaly_score(model, PARAMS, KEY, data(1), samples=7), 7)


# ---- filling in --------------------------------------------------------------------------------------------------------

CENTRE, COVARIANCE = jnp.array([0.3, -0.2]), jnp.array([[0.5, 0.36], [0.36, 0.4]])
GIVEN_FIRST = jnp.array([1.0, 9.0])  # of which the second is to be filled in


def of_the_second(x):
    """Are draws those of the second number given the first?"""
    np.testing.assert_array_equal(x[:, 0], 1.0)
    slope = COVARIANCE[0, 1] / COVARIANCE[0, 0]
    mean, scale = CENTRE[1] + slope * (1.0 - CENTRE[0]), jnp.sqrt(COVARIANCE[1, 1] - slope * COVARIANCE[0, 1])
    return float(abs(x[:, 1].mean() - mean) / scale), float(x[:, 1].std() / scale)


@pytest.mark.parametrize("process", [cosine(), exploding()], ids=["cosine", "exploding"])
def test_a_denoiser_fills_in_what_fits(process):
    def denoise(params, x_t, t, y=None):
        alpha, sigma = process.alpha(t), process.sigma(t)
        gain = alpha * COVARIANCE @ jnp.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * jnp.eye(2))
        return CENTRE + (x_t - alpha * CENTRE) @ gain.T

    model, keys = MODEL._replace(denoise=denoise, process=process), jax.random.split(KEY, 4000)
    x, known = jnp.tile(GIVEN_FIRST, (4000, 1)), jnp.array([True, False])
    fill = lambda steps, again: jax.jit(lambda: tasks.inpaint(model, {}, keys, x, known, steps=steps, again=again))()
    off, scale = of_the_second(fill(200, 20))
    assert off < 0.1 and abs(scale - 1) < 0.06
    assert of_the_second(fill(200, 1))[0] > 0.3  # once is not enough
    alone = tasks.inpaint(model, {}, keys[7:8], x[:1], known, steps=3, again=2)
    np.testing.assert_allclose(fill(3, 2)[7], alone[0], atol=1e-5)
    with pytest.raises(ValueError, match="again >= 1 times, not again=0"):
        fill(3, 0)


def test_what_is_known_is_seen_under_the_noise_of_its_time():
    asked, process = [], cosine()
    denoise = lambda params, x_t, t, y=None: (asked.append((float(t), np.asarray(x_t[:, 0]))), jnp.zeros_like(x_t))[1]
    model, x = MODEL._replace(denoise=denoise, process=process), jnp.tile(GIVEN_FIRST, (4000, 1))
    with jax.disable_jit():
        tasks.inpaint(model, {}, jax.random.split(KEY, 4000), x, jnp.array([True, False]), steps=4, again=2)
    assert len(asked) == 8
    for t, seen in asked[1:]:  # the first is noise alone
        alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
        assert abs(seen.mean() - alpha) < 4 * sigma / 4000**0.5 + 1e-6
        assert abs(seen.std() / sigma - 1) < 4 / 8000**0.5


@pytest.mark.parametrize("known_as", ["energy", "log_prob"])
def test_chains_fill_in_what_fits(known_as):
    log_p = lambda x: -0.5 * jnp.einsum("bi,ij,bj->b", x - CENTRE, jnp.linalg.inv(COVARIANCE), x - CENTRE)
    say = {"energy": lambda params, x, y=None: -log_p(x), "log_prob": lambda params, batch: log_p(batch["x"])}
    model = MODEL._replace(**{"log_prob": None, known_as: say[known_as]})
    x, known, keys = jnp.tile(GIVEN_FIRST, (4000, 1)), jnp.array([True, False]), jax.random.split(KEY, 4000)
    fill = partial(tasks.inpaint_by_chains, kernel=partial(mala, step=0.1), moves=100)
    off, scale = of_the_second(jax.jit(lambda: fill(model, {}, keys, x, known))())
    assert off < 4 / 4000**0.5 and abs(scale - 1) < 4 / 8000**0.5
    with pytest.raises(ValueError, match="needs a model with `log_prob`"):
        fill(MODEL._replace(log_prob=None), {}, keys, x, known)


def test_every_verb_runs_compiled_on_a_conditional_vae():
    model = vae(mlp([16], (2, 2, 2)), mlp([16], (4, 4, 1)), (2, 2, 1), optax.adam(1e-3), classes=3)
    a, b = (as_batch(jnp.full((2, 4, 4, 1), value), jnp.array([0, 2])) for value in (0.0, 1.0))
    params = jax.jit(model.init)(KEY, a)

    @jax.jit
    def everything(params, key, a, b):
        return (
            tasks.reconstruct(model, params, key, a),
            tasks.interpolate(model, params, key, a, b, 3),
            tasks.arithmetic(model, params, key, a, b, b),
            tasks.move(model, params, key, a, tasks.attribute_direction(model, params, key, a, [True, False])),
            tasks.anomaly_score(model, params, key, a, samples=2),
        )

    shapes = [out.shape for out in everything(params, KEY, a, b)]
    assert shapes == [(2, 4, 4, 1), (2, 3, 4, 4, 1), (2, 4, 4, 1), (2, 4, 4, 1), (2,)]


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing, call", {
    "encode": lambda model: tasks.reconstruct(model, {}, KEY, data(1)),
    "decode": lambda model: tasks.interpolate(model, PARAMS, KEY, data(1), data(2), 3),
    "bound": lambda model: tasks.anomaly_score(model._replace(log_prob=None), {}, KEY, data(1)),
}.items())  # fmt: skip
def test_a_missing_capability_is_named(missing, call):
    with pytest.raises(ValueError, match=f"needs a model with `{missing}`"):
        call(MODEL._replace(**{missing: None}))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="count >= 2"):
        tasks.interpolate(MODEL, PARAMS, KEY, data(1), data(2), 1)
    with pytest.raises(ValueError, match="with and without"):
        tasks.attribute_direction(MODEL, PARAMS, KEY, data(1), [True] * 5)
    indices = MODEL._replace(encode=lambda params, key, batch: jnp.zeros((5, 6), int))
    with pytest.raises(ValueError, match="real numbers"):
        tasks.interpolate(indices, PARAMS, KEY, data(1), data(2), 3)
