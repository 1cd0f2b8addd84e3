"""Binarized MNIST from MADE (1502.03509): exact likelihood in nats; some 80 min on one core.

One hidden layer, one mask, one order; every batch is binarized anew. Network and schedule are those of
`benchmarks.likelihoods`, which trains on most of valid, too; this recipe itself was not yet trained to its end.
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, binarize
from genjax.families.autoregressive import autoregressive
from genjax.heads import bernoulli
from genjax.nets import made

data = "mnist"


def recipe(spec: Spec, width: int = 4000, steps: int = 28_000, batch: int = 200, lr: Positive = 1.5e-3) -> Recipe:
    """Pixels in raster order.

    Args:
      spec: of the data.
      width: of the hidden layer.
      steps: training steps.
      batch: examples in a step.
      lr: peak learning rate of Adam; a cosine takes it to zero.
    """
    falling = optax.warmup_cosine_decay_schedule(0.0, lr, steps // 20, steps)
    tx = optax.chain(optax.clip_by_global_norm(50.0), optax.adam(falling))
    model = autoregressive(made((width,), direct=True), spec.shape, bernoulli(), tx)
    return Recipe(model, (steps,), batch, binarize(spec.levels), show=lambda x: x, cell=0.0)
