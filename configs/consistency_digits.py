"""Digits of 8 x 8 pixels, of the class asked for, in two steps and without a teacher: legible, soft edges; no GPU needed."""

from functools import partial

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.consistency import consistency, renoised
from genjax.families.diffusion import diffusion
from genjax.nets import timed_mlp
from genjax.nets.time import time_features
from genjax.schedules import karras_grid

data = "digits"


def recipe(
    spec: Spec,
    width: int = 512,
    steps: int = 10000,
    batch: int = 128,
    lr: Positive = 1e-3,
    intervals: tuple[int, ...] = (10, 20, 40, 80, 160),
    sampling_steps: int = 2,
) -> Recipe:
    """No teacher: the grid of times grows finer as training goes on.

    Args:
      spec: of the data.
      width: of the three hidden layers of the denoiser.
      steps: training steps.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero.
      intervals: of the grids of times, each for the same share of the training.
      sampling_steps: network evaluations of one sample.
    """
    net = timed_mlp((width, width, width), spec.shape, features=partial(time_features, highest=30.0))
    tx = optax.adam(optax.cosine_decay_schedule(lr, steps))
    denoiser = diffusion(
        net, spec.shape, tx, sampler=renoised(), grid=karras_grid(), steps=sampling_steps, classes=spec.classes
    )
    model = consistency(denoiser, tx, intervals=intervals, span=steps)
    show = lambda x: 0.5 * x + 0.5
    return Recipe(model, (steps,), batch, prepare=symmetric(spec.levels), show=show, classes=spec.classes)
