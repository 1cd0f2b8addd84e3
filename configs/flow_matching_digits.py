"""Digits of 8 x 8 pixels, of the class asked for, from flow matching with guidance: legible, in two minutes; no GPU needed.

The velocity of straight lines from data to noise (2210.02747, 2209.03003), Heun's method.
"""

import optax

from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.diffusion import diffusion
from genjax.nets import timed_mlp
from genjax.predictions import drift
from genjax.samplers import heun
from genjax.schedules import logit_normal_times, straight

data = "digits"


def recipe(
    spec: Spec,
    width: int = 512,
    steps: int = 10000,
    batch: int = 128,
    lr: Positive = 1e-3,
    drop: Fraction = 0.1,
    guidance: float = 1.5,
    sampling_steps: int = 10,
) -> Recipe:
    """Straight process, logit-normal times, labels hidden from a tenth of the examples.

    Args:
      spec: of the data.
      width: of the three hidden layers of the network.
      steps: training steps.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero.
      drop: share of examples whose label is hidden in training.
      guidance: scale of classifier-free guidance; 1 is none.
      sampling_steps: of Heun's method, two evaluations each and one for the last.
    """
    model = diffusion(
        timed_mlp((width, width, width), spec.shape),
        spec.shape,
        optax.adam(optax.cosine_decay_schedule(lr, steps)),
        process=straight(),
        prediction=drift,
        times=logit_normal_times(),
        sampler=heun(),
        steps=sampling_steps,
        classes=spec.classes,
        drop=drop,
        guidance=guidance,
    )
    show = lambda x: 0.5 * x + 0.5
    return Recipe(model, (steps,), batch, prepare=symmetric(spec.levels), show=show, classes=spec.classes)
