"""distilled(teacher, student, lesson): a student that answers in few steps with what its teacher needs many for.

    stage 1 ..   the teacher's own, and the student follows its parameters     branches "teacher/...", "student/..."
    stage n      the lesson, for the student; the teacher is frozen, since nobody trains it

Progressive distillation (2202.00512): one step of the student, t -> s, is to end where two of the teacher's DDIM steps do,

    x_0 = (x_s - (sigma_s / sigma_t) x_t) / (alpha_s - (sigma_s / sigma_t) alpha_t)                                     (1)
    loss = E max(1, alpha_t^2 / sigma_t^2) || f(x_t, t) - x_0 ||^2 / D                                                   (2)

and the student is a teacher again: distilled(distilled(model, half), quarter). Consistency distillation (2303.01469): the loss
of `genjax.families.consistency` with the teacher's x_0 in place of the data.

Reflow (2209.03003): the student learns from pairs of noise and what the teacher's whole path makes of it,

    x_0 = the teacher's sample from eps,    x_t = alpha x_0 + sigma eps
    loss = E ((alpha + sigma) / sigma)^2 || f(x_t, t) - x_0 ||^2 / D                                                    (3)

so that x_0 and eps stay the same along its own path, which one step then follows.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax.families.consistency import agreement, neighbours
from genjax.hybrids.copying import copying
from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, get, named, need, normal, stream, under
from genjax.samplers import Denoise, Step, ddim, straight_on
from genjax.schedules import Grid, Process, Times, at, karras_grid, levels, lognormal_times, noised, uniform_grid, uniform_times

# (student, teacher, process, keys (B,), x) -> loss (B,); the two are (x_t, t (B,)) -> x_0
Lesson = Callable[[Denoise, Denoise, Process, jax.Array, jax.Array], jax.Array]


def distilled(
    teacher: Model, student: Model, lesson: Lesson, tx: optax.GradientTransformation, *, copied: bool = True
) -> Model:
    """A model with the branches `teacher` and `student`, of one stage more than the teacher.

    Args:
      teacher: any model with `denoise`, such as another `distilled`. Frozen is what its training ends with, not the running
        average: let its learning rate end at zero.
      student: any model with `denoise`, for the teacher's process; it samples, its own losses are left out, and with them its
        `drop`: it learns every label from a teacher that may be guided, and needs no guidance of its own.
      lesson: `halved(steps)`, `consistent(process)` or `straightened()`.
      tx: optimizer of the lesson.
      copied: the student starts as the teacher ends; False lets it start anew, as it must where the networks differ.
    """
    denoise, ask = need(student, "denoise", "distilled, as student,"), need(teacher, "denoise", "distilled, as teacher,")
    _check_process(teacher.process, student.process)
    pairs = list(zip(student.generates, teacher.generates, strict=copied))

    def init(key: jax.Array, batch: Batch) -> Params:
        params = {name: model.init(stream(key, name), batch) for name, model in (("teacher", teacher), ("student", student))}
        for mine, other in pairs if copied else ():
            _alike(get(params["student"], mine), get(params["teacher"], other))
        jax.eval_shape(learn, params, key, batch)  # what the lesson refuses, it refuses before the teacher's training
        return params

    def learn(params: Params, key: jax.Array, batch: Batch) -> Loss:
        x, y = batch["x"], batch.get("y")
        mine = lambda x_t, t: denoise(params["student"], x_t, t, y)
        other = lambda x_t, t: jax.lax.stop_gradient(ask(params["teacher"], x_t, t, y))
        return Loss(lesson(mine, other, teacher.process, example_keys(key, batch), x).mean())

    trains = tuple(f"student/{path}" for path in student.generates)
    before = [tuple(under("teacher", phase) for phase in stage) for stage in teacher.stages]
    if copied:
        before[-1] += (copying([f"teacher/{path}" for path in teacher.generates], trains, "student/follow"),)
    return Model(
        init,
        (*before, (Phase("student/lesson", learn, trains, tx),)),
        lambda params, keys, y=None: student.sample(params["student"], keys, y),
        trains,
        denoise=lambda params, x_t, t, y=None, **asked: denoise(params["student"], x_t, t, y, **asked),
        process=teacher.process,
    )


def halved(steps: int, grid: Grid = uniform_grid()) -> Lesson:
    """Progressive distillation of 2 `steps` steps of DDIM on `grid` into `steps`, with which the student then samples.

    Every second time of the grid must be one of the grid of half as many steps, as of `uniform_grid` and `trailing_grid`.
    """

    def lesson(student, teacher, process, keys, x):
        _check_even(process, grid, steps)
        times = grid(process, 2 * steps)
        number = jax.vmap(lambda key: jax.random.randint(stream(key, "time"), (), 0, steps))(keys)
        x_t = noised(process, x, _noise(keys, x), times[2 * number])
        aim = jax.lax.stop_gradient(two_steps(teacher, process, x_t, *(times[2 * number + k] for k in range(3))))
        alpha, sigma = levels(process, times[2 * number], x.ndim)
        weight = jnp.maximum(1.0, (alpha / sigma) ** 2)
        return jnp.mean(weight * (student(x_t, times[2 * number]) - aim) ** 2, axis=range(1, x.ndim))  # 2

    return lesson


def two_steps(denoise: Denoise, process: Process, x_t: jax.Array, t: jax.Array, between: jax.Array, s: jax.Array) -> jax.Array:
    """(1): the x_0 whose one DDIM step from t to s ends where the two of `denoise` do; times are (B,)."""
    now, middle, then = (at(process, time, x_t.ndim) for time in (t, between, s))
    x = straight_on(x_t, denoise(x_t, t), Step(jnp.zeros(()), now, middle))
    x_s = straight_on(x, denoise(x, between), Step(jnp.zeros(()), middle, then))
    kept = then.sigma / now.sigma
    return (x_s - kept * x_t) / (then.alpha - kept * now.alpha)


def consistent(
    process: Process, intervals: int = 40, grid: Grid = karras_grid(), times: Times = lognormal_times(-0.4, 2.0)
) -> Lesson:
    """Consistency distillation on one grid of the teacher's process, one DDIM step of the teacher a pair."""
    pairs = neighbours(process, (intervals,), grid, times)

    def lesson(student, teacher, process, keys, x):
        t, s = pairs.draw(named(keys, "time"), process, jnp.zeros(()))
        x_t = noised(process, x, _noise(keys, x), t)
        return agreement(student, student, process, x_t, teacher(x_t, t), t, s)

    return lesson


def straightened(steps: int = 20, grid: Grid = uniform_grid(), times: Times = uniform_times()) -> Lesson:
    """Reflow: (3), from `steps` steps of the teacher's DDIM on `grid` for every example of every training step."""

    def lesson(student, teacher, process, keys, x):
        eps, ends = _noise(keys, x), grid(process, steps)
        x_0 = jax.lax.stop_gradient(ddim()(teacher, process, ends, process.sigma(ends[0]) * eps))
        t = jax.vmap(lambda key: times(stream(key, "time"), process))(keys)
        alpha, sigma = levels(process, t, x.ndim)
        weight = jnp.minimum((alpha + sigma) / sigma, 100.0) ** 2  # that of the drift's own error, but for the last hundredth
        return jnp.mean(weight * (student(alpha * x_0 + sigma * eps, t) - x_0) ** 2, axis=range(1, x.ndim))  # 3

    return lesson


def _noise(keys: jax.Array, x: jax.Array) -> jax.Array:
    return normal(named(keys, "noise"), x.shape[1:])


def _check_process(one: Process, other: Process) -> None:
    """Refuse a student that would answer for other noise than its teacher."""
    with jax.ensure_compile_time_eval():  # a model may be made inside compiled code
        t = jnp.linspace(0.1, 0.9, 9)
        told = [np.stack([process.alpha(t), process.sigma(t)]) for process in (one, other)]
    if not np.allclose(*told, rtol=1e-4, atol=1e-6):
        raise ValueError("the student's process is not the teacher's: make both with the same process=")


def _check_even(process: Process, grid: Grid, steps: int) -> None:
    """Refuse a grid on which the student would be asked at times that it has not seen."""
    with jax.ensure_compile_time_eval():
        even = np.allclose(grid(process, 2 * steps)[::2], grid(process, steps), atol=1e-6)
    if not even:
        raise ValueError("halved needs a grid of which every second time is one of half as many steps: uniform_grid()")


def _alike(mine: Sequence, other: Sequence) -> None:
    """Refuse to copy between networks that differ."""
    shapes = [jax.tree.map(np.shape, tree) for tree in (mine, other)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "the student's network is not the teacher's, so it cannot begin as a copy: give distilled copied=False"
        )
