"""Levels of a game, of which a reward makes more solvable: 80 to 92 % (one trial, seed 0); 2 min of CPU time, no GPU needed.

rewarded(autoregressive, solvable)

Samples look like mazes before and after; what the eye does not tell at a glance is whether a way leads to the goal. In the
trial nearly all had one start and one goal already before the reward (98 %), none was a copy, no two were the same. The policy
gradient paid with slightly fewer walls (35.4 to 33.4 % of the tiles) and shorter ways (7.4 to 7.0 moves). One round of
--retrain came to 83 %, with walls and ways nearly unchanged. `benchmarks.levels` measures several seeds.
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
    steps: tuple[int, int] = (1000, 200),
    batch: int = 64,
    lr: Positive = 2e-3,
    reward_lr: Positive = 5e-4,
    anchor: float = 0.1,
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
