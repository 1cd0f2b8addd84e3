"""Digits of 8 x 8 pixels, of the class asked for, by denoising score matching: most are clear, some grey; 2 min of one core.

A network of the energy of noisy pictures; samples are Langevin chains that begin at noise and are annealed.
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.energy import direct, geometric, minus_gradient, score_matching
from genjax.nets import timed_mlp

data = "digits"


def recipe(
    spec: Spec,
    width: int = 512,
    steps: int = 10_000,
    batch: int = 128,
    lr: Positive = 1e-3,
    largest: Positive = 10.0,
    smallest: Positive = 0.05,
    levels: int = 20,
    step: Positive = 0.2,
    moves: int = 10,
    scores: bool = False,
) -> Recipe:
    """One network for all noise levels and the label; samples by annealed Langevin moves.

    Args:
      spec: of the data.
      width: of the three hidden layers.
      steps: training steps.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero.
      largest: standard deviation of the noise where sampling begins; pixels are -1 .. 1.
      smallest: that of the last level.
      levels: from the largest to the smallest, falling by one factor.
      step: of a Langevin move in units of the level's variance.
      moves: at each level.
      scores: the network says the score itself, rather than an energy whose gradient it is.
    """
    model = score_matching(
        timed_mlp((width, width, width), spec.shape if scores else ()),
        spec.shape,
        optax.adam(optax.cosine_decay_schedule(lr, steps)),
        sigmas=geometric(largest, smallest, levels),
        as_score=direct if scores else minus_gradient,
        step=step,
        moves=moves,
        classes=spec.classes,
    )
    show = lambda x: 0.5 * x + 0.5
    return Recipe(model, (steps,), batch, prepare=symmetric(spec.levels), show=show, classes=spec.classes)
