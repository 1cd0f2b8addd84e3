"""Digits of 8 x 8 pixels, of the class asked for, in one step, by halving 16 steps of a diffusion model: legible, soft; no GPU.

distilled(... distilled(diffusion, halved(8)) ..., halved(1)), or once, distilled(diffusion, consistent) with --consistency,
distilled(diffusion, straightened) with --reflow
"""

from functools import partial
from itertools import pairwise

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.consistency import renoised
from genjax.families.diffusion import diffusion
from genjax.hybrids.distilled import consistent, distilled, halved, straightened
from genjax.nets import timed_mlp
from genjax.nets.time import time_features
from genjax.schedules import cosine, karras_grid, lognormal_times

data = "digits"
parents = ("diffusion",)


def recipe(
    spec: Spec,
    width: int = 512,
    steps: tuple[int, ...] = (10000, 3000, 3000, 3000, 3000),
    halvings: tuple[int, ...] = (8, 4, 2, 1),
    consistency: bool = False,
    reflow: bool = False,
    batch: int = 128,
    lr: Positive = 1e-3,
) -> Recipe:
    """First the teacher, then one student after another with half the steps, or one that is consistent or goes straight.

    Args:
      spec: of the data.
      width: of the three hidden layers of every denoiser.
      steps: of the teacher and of each student in turn.
      halvings: steps of the students; the last one samples.
      consistency: distil once, by consistency, to one step, for as many training steps as all the halvings.
      reflow: distil once, from pairs of noise and the teacher's samples, for as many; its samples take the last of `halvings`.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero in each stage; a third of it for students.
    """
    if len(steps) != 1 + len(halvings):
        raise ValueError(f"steps={steps} are {len(steps)}: give one for the teacher and one for each of halvings={halvings}")
    if not (consistency or reflow) and any(more != 2 * few for more, few in pairwise(halvings)):
        raise ValueError(f"halvings={halvings}: each student takes half the steps of the one before")
    if consistency and reflow:
        raise ValueError("--consistency and --reflow are two ways to distil once: give one of them")
    net = timed_mlp((width, width, width), spec.shape, features=partial(time_features, highest=100.0))
    falling = lambda peak, count: optax.adam(optax.cosine_decay_schedule(peak, count))
    plain = partial(diffusion, net, spec.shape, falling(lr, steps[0]), classes=spec.classes)
    model, stages = plain(), steps
    if consistency or reflow:
        stages = (steps[0], sum(steps[1:]))
        lesson = straightened() if reflow else consistent(cosine(), times=lognormal_times(-1.1, 2.0))
        student = plain(steps=halvings[-1]) if reflow else plain(sampler=renoised(), grid=karras_grid(), steps=1)
        model = distilled(model, student, lesson, falling(lr / 3, stages[1]))
    else:
        for few, count in zip(halvings, steps[1:], strict=True):
            model = distilled(model, plain(steps=few), halved(few), falling(lr / 3, count))
    show = lambda x: 0.5 * x + 0.5
    return Recipe(model, stages, batch, prepare=symmetric(spec.levels), show=show, classes=spec.classes)
