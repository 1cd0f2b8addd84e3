"""Faces of 64 x 64 pixels from 300 photographs, by a UNet over patches of 2 x 2: clear ones, in half an hour of one core.

It knows its 300 by heart: all samples lie among the photographs it saw, and twice as densely as those do themselves.
Needs a data folder with `olivetti` (--data-dir or GENJAX_DATA).
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.diffusion import diffusion
from genjax.nets import unet
from genjax.predictions import min_snr
from genjax.solvers import dpm_solver_pp

data = "olivetti"


def recipe(
    spec: Spec,
    widths: tuple[int, ...] = (16, 32, 64, 64),
    patch: int = 2,
    steps: int = 5_000,
    batch: int = 32,
    lr: Positive = 1e-3,
    sampling_steps: int = 30,
) -> Recipe:
    """Cosine schedule, velocity prediction, min-SNR weight.

    Args:
      spec: of the data.
      widths: channels of the UNet's levels, the finest first; the coarser two look at all places.
      patch: side of the blocks of pixels that the UNet sees as one place.
      steps: training steps.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero.
      sampling_steps: network evaluations of one sample.
    """
    tx = optax.adam(optax.cosine_decay_schedule(lr, steps))
    net = unet(widths, spec.shape, patch=patch, blocks=1, attention=(len(widths) - 2, len(widths) - 1))
    asked = {"weight": min_snr(), "sampler": dpm_solver_pp(), "steps": sampling_steps}
    model, show = diffusion(net, spec.shape, tx, **asked), lambda x: 0.5 * x + 0.5
    return Recipe(model, (steps,), batch, symmetric(spec.levels), show, chunk=10)
