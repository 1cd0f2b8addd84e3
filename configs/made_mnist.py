"""Binarized MNIST from MADE (1502.03509): exact likelihood in nats; the published schedule takes hours on a CPU.

One hidden layer, one mask, one order; every batch is binarized anew
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, binarize
from genjax.families.autoregressive import autoregressive
from genjax.heads import bernoulli
from genjax.nets import made

data = "mnist"


def recipe(
    spec: Spec, width: int = 8000, steps: int = 80000, batch: int = 64, lr: Positive = 1e-3, decay: float = 0.999977
) -> Recipe:
    """Pixels in raster order.

    Args:
      spec: of the data.
      width: of the hidden layer.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam in the first step.
      decay: what it is multiplied with in every step.
    """
    tx = optax.adam(optax.exponential_decay(lr, 1, decay))
    model = autoregressive(made((width,)), spec.shape, bernoulli(), tx)
    return Recipe(model, (steps,), batch, binarize(spec.levels), show=lambda x: x, cell=0.0)
