"""Levels of a game by a small transformer, of which more can be solved after a reward.

rewarded(autoregressive, solvable)
"""

from math import prod

import optax

from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, unit
from genjax.data.levels import coloured, solvable
from genjax.families.autoregressive import autoregressive
from genjax.heads import categorical
from genjax.hybrids.rewarded import filtered, likelihood, rewarded
from genjax.nets import gpt

data = "levels"


def recipe(
    spec: Spec,
    width: int = 64,
    depth: int = 2,
    steps: tuple[int, int] = (1000, 300),
    batch: int = 64,
    lr: Positive = 2e-3,
    reward_lr: Positive = 3e-4,
    anchor: float = 0.2,
    retrain: bool = False,
    share: Fraction = 0.25,
) -> Recipe:
    """First a transformer that writes levels tile after tile, then its own samples, rewarded where they can be solved.

    Args:
      spec: of the data.
      width: of the transformer.
      depth: its blocks, of four heads.
      steps: of the likelihood and of the reward.
      batch: examples, and samples, in a step.
      lr: learning rate of Adam at its peak; a cosine takes it to zero.
      reward_lr: the same of the second stage.
      anchor: reward that a nat away from the transformer of the first stage costs.
      retrain: on the levels that the transformer of the first stage made and that can be solved, in place of a policy gradient.
      share: of the samples that are retrained on.
    """
    tx = [optax.adam(optax.cosine_decay_schedule(peak, count)) for peak, count in zip((lr, reward_lr), steps, strict=True)]
    head = categorical(spec.levels)
    net = gpt(spec.levels, head.parts, prod(spec.shape), width=width, depth=depth, heads=4, rotary=False, unroll=depth)
    way = filtered(share) if retrain else likelihood(anchor)
    model = rewarded(autoregressive(net, spec.shape, head, tx[0]), solvable, tx[1], way)
    return Recipe(model, steps, batch, unit(spec.levels), show=coloured, chunk=20, cell=0.0)
