"""A table of five columns (a power plant's, standardized) from a masked flow of splines, in nats; 1 min on one core.

MAF (1705.07057) with rational-quadratic splines (1906.04032)
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, identity
from genjax.families.flow import flow, maf
from genjax.nets import made
from genjax.splines import spline

data = "uci/power_plant"


def recipe(
    spec: Spec, layers: int = 3, width: int = 128, bins: int = 8, steps: int = 6000, batch: int = 256, lr: Positive = 1e-3
) -> Recipe:
    """Columns one after the other, in turn from either end.

    Args:
      spec: of the data.
      layers: autoregressive layers.
      width: of the two hidden layers of their networks.
      bins: of the splines.
      steps: training steps.
      batch: rows in a step.
      lr: learning rate of Adam at its peak; a cosine takes it to zero.
    """
    bijection = maf(lambda parts: made((width, width), parts), layers, spline(bins))
    tx = optax.chain(optax.clip_by_global_norm(5.0), optax.adam(optax.cosine_decay_schedule(lr, steps)))
    return Recipe(flow(bijection, spec.shape, tx), (steps,), batch, identity, show=lambda x: x[:, :2])
