"""Levels of a game by a gated PixelCNN, of which more can be solved after a reward.

rewarded(autoregressive, solvable)
"""

import optax

from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, unit
from genjax.data.levels import coloured, solvable
from genjax.families.autoregressive import autoregressive
from genjax.heads import categorical
from genjax.hybrids.rewarded import filtered, likelihood, rewarded
from genjax.nets import pixelcnn

data = "levels"
parents = ("pixelcnn",)


def recipe(
    spec: Spec,
    width: int = 24,
    depth: int = 4,
    steps: tuple[int, int] = (1200, 300),
    batch: int = 64,
    lr: Positive = 2e-3,
    reward_lr: Positive = 5e-4,
    anchor: float = 0.1,
    retrain: bool = False,
    share: Fraction = 0.25,
) -> Recipe:
    """First a PixelCNN of the levels, then its own samples, rewarded where they can be solved.

    Args:
      spec: of the data.
      width: channels of both stacks.
      depth: layers.
      steps: of the PixelCNN and of the reward.
      batch: examples, and samples, in a step.
      lr: learning rate of Adam at its peak; a cosine takes it to zero.
      reward_lr: the same of the second stage.
      anchor: reward that a nat away from the PixelCNN of the first stage costs.
      retrain: on the levels that the PixelCNN of the first stage made and that can be solved, in place of a policy gradient.
      share: of the samples that are retrained on.
    """
    tx = [optax.adam(optax.cosine_decay_schedule(peak, count)) for peak, count in zip((lr, reward_lr), steps, strict=True)]
    head = categorical(spec.levels)
    net = pixelcnn(head.parts, width=width, depth=depth, window=3, first=5, levels=spec.levels)
    way = filtered(share) if retrain else likelihood(anchor)
    model = rewarded(autoregressive(net, spec.shape, head, tx[0]), solvable, tx[1], way)
    return Recipe(model, steps, batch, unit(spec.levels), show=coloured, chunk=20, cell=0.0)
