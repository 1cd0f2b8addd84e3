"""Few steps: consistency, MeanFlow and distillation against Gaussian data, whose paths are known, and their own definitions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import genjax
from genjax import schedules
from genjax.families.consistency import Pairs, agreement, consistency, neighbours, renoised
from genjax.families.diffusion import diffusion
from genjax.families.meanflow import identity, meanflow
from genjax.hybrids.distilled import consistent, distilled, halved, straightened, two_steps
from genjax.model import as_batch, example_keys, normal, stream
from genjax.nets import Net, timed_mlp
from genjax.nets.time import time_features
from genjax.samplers import ddim
from genjax.schedules import at, cosine, exploding, karras_grid, lognormal_times, noised, straight, uniform_grid, uniform_times
from tests.table import SHAPE, adam, batch, small, told_diffusion, toy_diffusion, toy_vae
from tests.test_toys import OPTIMIZED

KEY = jax.random.key(0)
MEAN, SCALE = 0.7, 0.4
processes = pytest.mark.parametrize("process", [cosine(), exploding()], ids=["cosine", "exploding"])


def spread(process, t):
    """(mean, scale) of x_t when the data are N(MEAN, SCALE^2)."""
    level = at(process, t)
    return level.alpha * MEAN, jnp.sqrt((level.alpha * SCALE) ** 2 + level.sigma**2)


def exact_denoise(process):
    def denoise(x, t):
        t = jnp.broadcast_to(t, x.shape[:1]).reshape(-1, *[1] * (x.ndim - 1))
        mean, scale = spread(process, t)
        return MEAN + process.alpha(t) * SCALE**2 / scale**2 * (x - mean)

    return denoise


def exact_end(process):
    """Where the path through x_t ends: as many standard deviations from the mean as x_t is."""

    def end(x, t):
        mean, scale = spread(process, t.reshape(-1, *[1] * (x.ndim - 1)))
        return MEAN + SCALE * (x - mean) / scale

    return end


def data(size, seed=1):
    return MEAN + SCALE * jax.random.normal(jax.random.key(seed), (size, 2))


# ---- consistency -----------------------------------------------------------------------------------------------------


@processes
def test_the_exact_consistency_function_agrees_with_itself_along_the_path(process):
    """Along DDIM steps of the exact denoiser the gap falls with the square of the step; a wrong end shows at the end."""

    @partial(jax.jit, static_argnums=(0, 1))
    def gaps(f, intervals):
        times = karras_grid()(process, intervals)
        x_t = noised(process, data(intervals), jax.random.normal(KEY, (intervals, 2)), times[:-1])
        said = exact_denoise(process)(x_t, times[:-1])
        ratio = lambda t: process.sigma(t) / process.alpha(t)
        weighed = agreement(f, f, process, x_t, said, times[:-1], times[1:])
        return weighed * (ratio(times[:-1]) - ratio(times[1:]))

    means = np.array([gaps(exact_end(process), intervals).mean() for intervals in (25, 50, 100)])
    assert (means[:-1] / means[1:] > 3.0).all()
    assert means[-1] < 2e-3
    wrong = gaps(lambda x, t: 1.1 * exact_end(process)(x, t), 100)
    assert wrong[-1] > 20 * wrong[:-1].max()  # it agrees with itself, but at t = 0 is to be x


@processes
def test_what_is_aimed_at_from_the_first_time_is_the_data(process):
    x, eps = data(5), jax.random.normal(KEY, (5, 2))
    t, s = jnp.full(5, 0.3), jnp.zeros(5)
    never = lambda x, t: jnp.full_like(x, jnp.nan)
    loss = agreement(lambda x, t: jnp.zeros_like(x), never, process, noised(process, x, eps, t), x, t, s)
    ratio = process.sigma(0.3) / process.alpha(0.3)
    np.testing.assert_allclose(loss * ratio, jnp.linalg.norm(x, axis=1), rtol=2e-3)


def test_agreement_is_the_pseudo_huber_distance_over_the_difference_of_ratios():
    x, t, s = data(4), jnp.full(4, 0.5), jnp.full(4, 0.25)
    loss = agreement(lambda x, t: 3.0 + 0 * x, lambda x, t: 0 * x, cosine(), x, x, t, s)
    c = 0.00054 * 2**0.5
    wanted = (np.sqrt(18 + c**2) - c) / (np.tan(np.pi / 4) - np.tan(np.pi / 8))
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_training_and_distillation_differ_in_who_says_the_data():
    """One loss takes x_0 from the batch, the other from a teacher; with a teacher who knows the batch they are one."""
    f, rows = lambda x, t: jnp.tanh(x) * t[:, None], as_batch(data(6))
    net = toy_diffusion((2,))._replace(denoise=lambda params, x, t, y=None: f(x, t))
    loss = consistency(net, adam(), intervals=(8,)).stages[0][0].loss({"progress": jnp.zeros(())}, KEY, rows)
    lesson = consistent(cosine(), 8)(f, lambda x_t, t: rows["x"], cosine(), example_keys(KEY, rows), rows["x"])
    np.testing.assert_allclose(loss.value, lesson.mean(), rtol=1e-5)
    other = consistent(cosine(), 8)(f, lambda x_t, t: 0 * x_t, cosine(), example_keys(KEY, rows), rows["x"])
    assert jnp.abs(other - lesson).max() > 1e-3


def test_pairs_are_neighbours_around_the_drawn_time_and_grow_finer():
    process = cosine()
    pairs = neighbours(process, (3, 6), karras_grid(), uniform_times())
    keys = jax.random.split(KEY, 500)
    drawn = jax.vmap(lambda key: uniform_times()(key, process))(keys)
    for progress, count in ((0.0, 3), (0.49, 3), (0.5, 6), (1.0, 6), (1.3, 6)):
        grid = np.asarray(karras_grid()(process, count))
        t, s = pairs.draw(keys, process, jnp.asarray(progress))
        place = np.searchsorted(-grid, -np.asarray(t))
        np.testing.assert_allclose(grid[place + 1], s)
        inside = drawn < grid[0]
        assert (((s <= drawn) & (drawn <= t)) | ~inside).all()
        assert len(np.unique(t)) >= count - 1  # the last interval is narrow
    with pytest.raises(ValueError, match="take karras_grid"):
        neighbours(process, (4,), uniform_grid(), uniform_times())
    assert isinstance(pairs, Pairs)


def test_progress_goes_on_with_the_steps_and_the_target_follows():
    model = consistency(toy_diffusion(sampler=renoised()), optax.sgd(0.1), intervals=(2, 4), span=4, decay=0.75)
    state = jax.jit(genjax.init, static_argnums=0)(model, KEY, batch())
    step, target = jax.jit(genjax.make_step(model)), state.params["denoiser"]
    for number in range(3):
        state, _ = step(state, batch(number))
        target = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, target, state.params["denoiser"])
    np.testing.assert_allclose(state.params["progress"], 0.75)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.params["target"]["denoiser"], target)


def test_one_step_is_the_answer_and_two_noise_it_anew():
    process, x, keys = cosine(), data(4), jax.random.split(KEY, 4)
    denoise = lambda x, t: jnp.sin(x) + t
    sampler = renoised()
    np.testing.assert_allclose(sampler(denoise, process, jnp.array([0.9, 0.0]), x, keys), denoise(x, 0.9), rtol=1e-6)
    times = jnp.array([0.9, 0.4, 0.0])
    anew = normal(jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys), (2,))
    middle = process.alpha(0.4) * denoise(x, 0.9) + process.sigma(0.4) * anew
    np.testing.assert_allclose(sampler(denoise, process, times, x, keys), denoise(middle, 0.4), rtol=1e-5)


def learned(model, stage, steps):
    """The state after so many steps on Gaussian data."""
    state = genjax.next_stage(model, genjax.init(model, KEY, as_batch(data(256))), stage)
    step = genjax.make_step(model, stage, ema_decay=0.99)

    def one(state, number):
        x = MEAN + SCALE * jax.random.normal(jax.random.fold_in(KEY, number), (256, 2))
        return step(state, as_batch(x))

    return jax.jit(lambda s: jax.lax.scan(one, s, jnp.arange(steps))[0], compiler_options=OPTIMIZED)(state)


def one_step_model(steps):
    tx = optax.adam(optax.cosine_decay_schedule(3e-3, steps))
    net = timed_mlp((64, 64), (2,), features=partial(time_features, highest=30.0))
    return diffusion(net, (2,), tx, process=cosine(), sampler=renoised(), grid=karras_grid(), steps=1), tx


def rms(a, b):
    return float(jnp.sqrt(jnp.mean((a - b) ** 2)))


@pytest.mark.slow
def test_training_learns_where_the_paths_of_gaussian_data_end():
    plain, tx = one_step_model(3000)
    model = consistency(plain, tx, intervals=(8, 16, 32, 64), span=3000)
    state = learned(model, 0, 3000)
    x = jax.jit(model.sample)(state.ema, jax.random.split(jax.random.key(3), 2000))
    np.testing.assert_allclose((x.mean(), x.std()), (MEAN, SCALE), atol=0.05)
    t = jnp.full(500, 0.8)
    x_t = noised(cosine(), data(500), jax.random.normal(KEY, (500, 2)), t)
    ends = exact_end(cosine())(x_t, t)
    assert rms(model.denoise(state.ema, x_t, t), ends) < 0.08
    assert rms(exact_denoise(cosine())(x_t, t), ends) > 0.2  # what a denoiser would answer


@pytest.mark.slow
def test_distillation_learns_where_the_steps_of_the_teacher_end():
    """One step of the student draws what as many DDIM steps of the teacher draw as the grid has intervals, noise by noise."""
    plain, tx = one_step_model(2500)
    exact, intervals = exact_denoise(cosine()), 12
    ideal = plain._replace(init=lambda key, batch: {}, denoise=lambda params, x, t, y=None: exact(x, t), stages=((),))
    model = distilled(ideal, plain, consistent(cosine(), intervals, times=lognormal_times(1.0, 2.0)), tx, copied=False)
    state, times = learned(model, 1, 2500), karras_grid()(cosine(), intervals)
    keys = jax.random.split(jax.random.key(3), 500)
    wanted = ddim()(exact, cosine(), times, cosine().sigma(times[0]) * normal(keys, (2,)))
    assert rms(model.sample(state.ema, keys), wanted) < 0.04
    assert wanted.std() < 0.9 * SCALE  # so few steps of the teacher are not yet the exact path


# ---- MeanFlow --------------------------------------------------------------------------------------------------------


def exact_velocity(z, t):
    """E[eps - x | z_t] of Gaussian data."""
    x = exact_denoise(straight())(z, t)
    return (z - x) / t[:, None]


def exact_average(z, r, t):
    """(z_t - z_r) / (t - r) along the exact path; r < t."""
    (mean, scale), (mean_r, scale_r) = (spread(straight(), time[:, None]) for time in (t, r))
    return (z - (mean_r + scale_r * (z - mean) / scale)) / (t - r)[:, None]


def test_the_average_velocity_of_gaussian_data_obeys_the_identity():
    r, t = jnp.linspace(0.0, 0.6, 50), jnp.linspace(0.3, 1.0, 50)
    z = jax.random.normal(KEY, (50, 2))
    u, aim = identity(exact_average, z, r, t, exact_velocity(z, t))
    np.testing.assert_allclose(u, exact_average(z, r, t), rtol=1e-6)
    np.testing.assert_allclose(aim, u, atol=1e-4)
    assert jnp.abs(u - exact_velocity(z, t)).max() > 0.1


def exact_meanflow(**options):
    """A MeanFlow model whose network is the exact average, times one parameter."""

    def apply(params, z, t, y, gap):
        r = t - gap[:, 0]
        same = gap[:, 0] < 1e-6
        u = jnp.where(same[:, None], exact_velocity(z, t), exact_average(z, jnp.where(same, r - 0.1, r), t))
        return params * u

    net = Net(lambda key, *inputs: jnp.ones(()), apply)
    return meanflow(net, (2,), optax.sgd(1.0), features=lambda gap: gap[:, None], **options)


def test_one_step_of_the_exact_average_is_the_whole_path():
    keys, params = jax.random.split(KEY, 6), {"velocity": jnp.ones(())}
    wanted = MEAN + SCALE * normal(keys, (2,))
    for steps in (1, 2, 5):
        np.testing.assert_allclose(exact_meanflow(steps=steps).sample(params, keys), wanted, atol=1e-5)
    z, t = jax.random.normal(KEY, (6, 2)), jnp.linspace(0.2, 1.0, 6)
    np.testing.assert_allclose(exact_meanflow().denoise(params, z, t), exact_denoise(straight())(z, t), atol=1e-5)


@pytest.mark.parametrize("apart", [0.0, 1.0], ids=["flow matching", "averages"])
def test_the_loss_of_the_exact_average_has_no_slope(apart):
    """The velocity in the target is one example's, but the target is linear in it, so its noise averages out."""
    model = exact_meanflow(power=0.0, apart=apart, times=lambda key, process: 0.05 + 0.9 * jax.random.uniform(key))
    slope = jax.jit(jax.grad(lambda w: model.stages[0][0].loss({"velocity": w}, KEY, as_batch(data(40_000))).value))
    at_truth, beside = float(slope(jnp.ones(()))), float(slope(jnp.array(0.8)))
    assert abs(at_truth) < 0.15 * abs(beside)
    assert beside < 0


def test_apart_is_the_share_of_averages():
    """Of w + [r < t] - eps, eps of mean zero, half the slope of the square at w = 0 is the share of rows with r < t."""
    net = Net(lambda key, *inputs: jnp.zeros(()), lambda params, z, t, y, gap: params + jnp.broadcast_to(gap, z.shape))
    rows = as_batch(jnp.zeros((4000, 1)))

    def slope(apart):
        told = lambda gap: (gap > 0)[:, None].astype(float)
        loss = meanflow(net, (1,), optax.sgd(1.0), features=told, apart=apart, power=0.0).stages[0][0].loss
        return jax.grad(lambda w: loss({"velocity": w}, KEY, rows).value)(jnp.zeros(()))

    np.testing.assert_allclose([slope(apart) / 2 for apart in (0.0, 0.25, 1.0)], [0.0, 0.25, 1.0], atol=0.06)


# ---- distillation ----------------------------------------------------------------------------------------------------


@processes
@pytest.mark.parametrize("steps", [1, 3])
def test_a_student_who_learned_its_lesson_needs_half_the_steps(process, steps):
    """DDIM with the lesson's target takes one step where the teacher takes two, and ends at the same place."""
    denoise = exact_denoise(process)
    fine = uniform_grid()(process, 2 * steps)
    after = {float(t): (fine[2 * k + 1], fine[2 * k + 2]) for k, t in enumerate(fine[:-1:2])}

    def student(x, t):
        between, s = after[float(t)]
        return two_steps(denoise, process, x, *(jnp.full(len(x), time) for time in (t, between, s)))

    start = process.sigma(1.0) * jax.random.normal(KEY, (5, 2))
    with jax.disable_jit():
        got = ddim()(student, process, fine[::2], start)
    np.testing.assert_allclose(got, ddim()(denoise, process, fine, start), rtol=1e-4, atol=1e-5)


def test_halved_is_zero_at_its_target_and_weighs_by_the_signal():
    process, keys, x = cosine(), jax.random.split(KEY, 200), data(200)
    teacher, steps = exact_denoise(process), 4
    times = uniform_grid()(process, 2 * steps)

    def right(x_t, t):
        number = jnp.argmin(jnp.abs(times[None] - t[:, None]), axis=1)
        return two_steps(teacher, process, x_t, *(times[number + k] for k in range(3)))

    np.testing.assert_allclose(halved(steps)(right, teacher, process, keys, x), 0.0, atol=1e-9)
    off = halved(steps)(lambda x_t, t: right(x_t, t) + 1.0, teacher, process, keys, x)
    snr = [1.0 / np.tan(np.pi / 2 * t) ** 2 for t in (1.0, 0.75, 0.5, 0.25)]
    np.testing.assert_allclose(np.unique(np.round(off, 3)), np.unique(np.round(np.maximum(1.0, snr), 3)), rtol=1e-3)


def test_the_student_that_goes_straight_is_where_reflow_ends():
    """The teacher's path takes eps to MEAN + SCALE eps; of a point between the two, both are known."""
    process, keys, x = straight(), jax.random.split(KEY, 200), data(200)

    def right(x_t, t):
        alpha, sigma = schedules.levels(process, t, 2)
        return MEAN + SCALE * (x_t - alpha * MEAN) / (alpha * SCALE + sigma)

    learn = lambda student: jax.jit(lambda: straightened(400)(student, exact_denoise(process), process, keys, x))()
    loss, of_teacher = learn(right), learn(exact_denoise(process))
    assert loss.mean() < 1e-4 < 1e-2 < of_teacher.mean()
    t = jax.vmap(lambda key: jax.random.uniform(stream(key, "time")))(keys)
    off = learn(lambda x_t, t: right(x_t, t) + 1.0)
    np.testing.assert_allclose(off, 1 / jnp.maximum(t, 0.01) ** 2, rtol=0.1)  # alpha + sigma = 1
    start = jax.random.normal(KEY, (5, 2))
    once = ddim()(right_at_once := lambda x_t, t: right(x_t, jnp.broadcast_to(t, 5)), process, jnp.array([1.0, 0.0]), start)
    np.testing.assert_allclose(once, MEAN + SCALE * start, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ddim()(right_at_once, process, uniform_grid()(process, 9), start), once, rtol=1e-4, atol=1e-5)


def lessons(model, count, stage=0):
    state = genjax.next_stage(model, genjax.init(model, KEY, batch()), stage)
    step = jax.jit(genjax.make_step(model, stage))
    for number in range(count):
        state, _ = step(state, batch(number))
    return state


@pytest.mark.parametrize(
    ("make", "generates"), [(toy_diffusion, ["denoiser"]), (told_diffusion, ["model/denoiser", "encoder"])]
)
def test_the_student_starts_as_the_teacher_ends(make, generates):
    model = distilled(make(), make(), halved(2), adam())
    state = lessons(model, 3)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)
    jax.tree.map(close, state.params["student"], state.params["teacher"])
    assert len(model.stages) == 2
    assert model.generates == tuple(f"student/{path}" for path in generates)


def test_a_student_is_a_teacher_again():
    once = distilled(toy_diffusion(), toy_diffusion(), halved(2), adam())
    twice = distilled(once, toy_diffusion(), halved(1), adam())
    assert [len(stage) for stage in twice.stages] == [2, 2, 1]
    state = lessons(twice, 2, stage=1)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)
    jax.tree.map(close, state.params["student"], state.params["teacher"]["student"])
    x_t = jax.random.normal(KEY, (2, *SHAPE))
    t = jnp.full(2, 0.5)
    close(twice.denoise(state.params, x_t, t), toy_diffusion().denoise(state.params["student"], x_t, t))


def test_students_that_cannot_begin_as_a_copy_are_refused():
    other = diffusion(small(SHAPE, width=5), SHAPE, adam())
    with pytest.raises(ValueError, match="copied=False"):
        genjax.init(distilled(toy_diffusion(), other, halved(2), adam()), KEY, batch())
    model = distilled(toy_diffusion(), other, halved(2), adam(), copied=False)
    genjax.init(model, KEY, batch())
    assert [len(stage) for stage in model.stages] == [1, 1]
    with pytest.raises(ValueError, match="as teacher, needs a model with `denoise`"):
        distilled(toy_vae(), other, halved(2), adam())


def test_lessons_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="not the teacher's: make both with the same process="):
        distilled(toy_diffusion(), toy_diffusion(process=straight()), halved(2), adam())
    with pytest.raises(ValueError, match="every second time is one of half as many steps"):
        genjax.init(distilled(toy_diffusion(), toy_diffusion(), halved(4, karras_grid()), adam()), KEY, batch())
    made = dict(process=exploding(), grid=karras_grid())
    genjax.init(distilled(toy_diffusion(**made), toy_diffusion(**made), halved(4), adam()), KEY, batch())  # its own grid fits
    for options, words in ({"span": 0}, "span >= 1"), ({"decay": 2.0}, "decay=2.0"), ({"intervals": ()}, "one number or more"):
        with pytest.raises(ValueError, match=words):
            consistency(toy_diffusion(sampler=renoised()), adam(), **options)
    with pytest.raises(ValueError, match="steps=0"):
        meanflow(small(SHAPE), SHAPE, adam(), steps=0)
