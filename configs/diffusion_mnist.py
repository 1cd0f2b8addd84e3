"""MNIST from a UNet over patches of 2 x 2 pixels, v-prediction, DPM-Solver++: most are legible; 40 min on one core.

Needs a data folder with `mnist` (--data-dir or GENJAX_DATA).
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.diffusion import diffusion
from genjax.nets import unet
from genjax.predictions import min_snr
from genjax.reverse import discretized_normal
from genjax.solvers import dpm_solver_pp

data = "mnist"


def recipe(
    spec: Spec,
    widths: tuple[int, ...] = (32, 64),
    patch: int = 2,
    steps: int = 6_000,
    batch: int = 64,
    lr: Positive = 1e-3,
    sampling_steps: int = 20,
    conditional: bool = False,
) -> Recipe:
    """Cosine schedule, min-SNR weight, and the variational bound in bits a dimension for evaluation.

    The bound's chain is short: a finer one pays for noise that this network does not tell from the grey levels.

    Args:
      spec: of the data.
      widths: channels of the UNet's levels, the finest first.
      patch: side of the blocks of pixels that the UNet sees as one place; 1 costs four times as much.
      steps: training steps.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero.
      sampling_steps: network evaluations of one sample.
      conditional: give the network the labels; then sample.py takes --label.
    """
    classes = spec.classes if conditional else 0
    model = diffusion(
        unet(widths, spec.shape, patch=patch),
        spec.shape,
        optax.adam(optax.cosine_decay_schedule(lr, steps)),
        weight=min_snr(),
        sampler=dpm_solver_pp(),
        steps=sampling_steps,
        classes=classes,
        decoder=discretized_normal(spec.levels),
        chain=10,
    )
    show = lambda x: 0.5 * x + 0.5
    return Recipe(model, (steps,), batch, symmetric(spec.levels), show, chunk=10, classes=classes, cell=0.0)
