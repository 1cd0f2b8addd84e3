"""Digits of 8 x 8 pixels from a gated PixelCNN (1606.05328): exact likelihood; minutes on a CPU."""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, unit
from genjax.families.autoregressive import autoregressive
from genjax.heads import categorical
from genjax.nets import pixelcnn

data = "digits"


def recipe(
    spec: Spec, width: int = 32, depth: int = 5, steps: int = 3000, batch: int = 64, lr: Positive = 2e-3, cached: bool = True
) -> Recipe:
    """Pixels one after the other, each a choice among the grey levels.

    Args:
      spec: of the data.
      width: channels of both stacks.
      depth: layers.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam at its peak; a cosine takes it to zero.
      cached: sample with the rows and columns kept that are still needed; with --no-cached everything is recomputed.
    """
    head = categorical(spec.levels)
    net = pixelcnn(head.parts, width=width, depth=depth, window=3, first=5, levels=spec.levels)
    model = autoregressive(net, spec.shape, head, optax.adam(optax.cosine_decay_schedule(lr, steps)), cached=cached)
    return Recipe(model, (steps,), batch, unit(spec.levels), show=lambda x: x, cell=0.0)
