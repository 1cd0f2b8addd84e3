"""Digits of 8 x 8 pixels, of the class asked for, in one step, by halving 16 steps of a diffusion model: legible, soft; no GPU.

distilled(... distilled(diffusion, halved(8)) ..., halved(1)), or with --consistency distilled(diffusion, consistent)
"""

from functools import partial

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.consistency import renoised
from genjax.families.diffusion import diffusion
from genjax.hybrids.distilled import consistent, distilled, halved
from genjax.nets import timed_mlp
from genjax.nets.time import time_features
from genjax.schedules import cosine, karras_grid, lognormal_times

data = "digits"
parents = ("diffusion",)


def recipe(
    spec: Spec,
    width: int = 512,
    teach: int = 10000,
    learn: int = 3000,
    halvings: tuple[int, ...] = (8, 4, 2, 1),
    consistency: bool = False,
    batch: int = 128,
    lr: Positive = 1e-3,
) -> Recipe:
    """First the teacher, then one student after another with half the steps, or one that is consistent.

    Args:
      spec: of the data.
      width: of the three hidden layers of every denoiser.
      teach: training steps of the teacher.
      learn: training steps of every student.
      halvings: steps of the students; the last one samples.
      consistency: distil once, by consistency, to one step, for as many training steps as all the halvings.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero in each stage; a third of it for students.
    """
    net = timed_mlp((width, width, width), spec.shape, features=partial(time_features, highest=100.0))
    falling = lambda peak, steps: optax.adam(optax.cosine_decay_schedule(peak, steps))
    plain = partial(diffusion, net, spec.shape, falling(lr, teach), classes=spec.classes)
    model, count = plain(), len(halvings)
    if consistency:
        student = plain(sampler=renoised(), grid=karras_grid(), steps=1)
        model = distilled(
            model, student, consistent(cosine(), times=lognormal_times(-1.1, 2.0)), falling(lr / 3, count * learn)
        )
        stages = (teach, count * learn)
    else:
        for steps in halvings:
            model = distilled(model, plain(steps=steps), halved(steps), falling(lr / 3, learn))
        stages = (teach, *[learn] * count)
    show = lambda x: 0.5 * x + 0.5
    return Recipe(model, stages, batch, prepare=symmetric(spec.levels), show=show, classes=spec.classes)
