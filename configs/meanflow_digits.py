"""Digits of 8 x 8 pixels, of the class asked for, in one step, from MeanFlow: legible, some grain around them; no GPU."""

from functools import partial

import optax

from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.meanflow import meanflow
from genjax.nets import timed_mlp
from genjax.nets.time import time_features

data = "digits"


def recipe(
    spec: Spec,
    width: int = 512,
    steps: int = 10000,
    batch: int = 128,
    lr: Positive = 1e-3,
    apart: Fraction = 0.25,
    sampling_steps: int = 1,
) -> Recipe:
    """No teacher and no curriculum; times are told by slow features, since the loss differentiates in time.

    Args:
      spec: of the data.
      width: of the three hidden layers of the network.
      steps: training steps.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero.
      apart: share of the batch that learns averages; the rest learns velocities.
      sampling_steps: network evaluations of one sample.
    """
    net = timed_mlp((width, width, width), spec.shape, features=partial(time_features, highest=30.0))
    tx = optax.adam(optax.cosine_decay_schedule(lr, steps))
    model = meanflow(net, spec.shape, tx, steps=sampling_steps, classes=spec.classes, apart=apart)
    show = lambda x: 0.5 * x + 0.5
    return Recipe(model, (steps,), batch, prepare=symmetric(spec.levels), show=show, classes=spec.classes)
