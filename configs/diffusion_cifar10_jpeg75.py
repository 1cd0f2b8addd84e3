"""CIFAR-10-JPEG75 of the class asked for, EDM's way; made for a GPU, where it has not been trained yet.

The images have been through JPEG, so that no distance compares with published ones of CIFAR-10. Needs a data folder with
`cifar10_jpeg75` (--data-dir or GENJAX_DATA).
"""

import optax

from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.diffusion import diffusion
from genjax.nets import unet
from genjax.precision import half
from genjax.predictions import edm, edm_weight
from genjax.samplers import heun
from genjax.schedules import exploding, karras_grid, lognormal_times

data = "cifar10_jpeg75"


def recipe(
    spec: Spec,
    widths: tuple[int, ...] = (128, 256, 256),
    steps: int = 100_000,
    batch: int = 256,
    lr: Positive = 4e-4,
    drop: Fraction = 0.1,
    guidance: Positive = 1.0,
    sampling_steps: int = 18,
) -> Recipe:
    """2206.00364: variance exploding, preconditioned, lognormal times, Heun's method on the grid of rho 7.

    Args:
      spec: of the data.
      widths: channels of the UNet's levels, the finest first; all but the finest look at all places.
      steps: training steps.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero.
      drop: share of examples whose label is hidden.
      guidance: scale of classifier-free guidance; 1 for none.
      sampling_steps: of one sample; each but the last evaluates the network twice.
    """
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(lr, steps)))
    net = half(unet(widths, spec.shape, attention=range(1, len(widths) + 1), heads=[width // 64 or 1 for width in widths]))
    model = diffusion(
        net,
        spec.shape,
        tx,
        process=exploding(),
        prediction=edm(),
        weight=edm_weight(),
        times=lognormal_times(),
        sampler=heun(),
        grid=karras_grid(),
        steps=sampling_steps,
        classes=spec.classes,
        drop=drop,
        guidance=guidance,
    )
    show = lambda x: 0.5 * x + 0.5
    return Recipe(model, (steps,), batch, symmetric(spec.levels), show, chunk=20, classes=spec.classes)
