"""MNIST's grey levels from a multi-scale Glow: exact likelihood in bits/dim; a GPU is advised.

Actnorm, invertible 1x1 convolutions and affine couplings (1807.03039) of uniformly dequantized pixels
"""

import math

import optax

from genjax.bijections import chain, logit
from genjax.config import Positive, Recipe
from genjax.data import Spec, dequantize
from genjax.families.flow import flow, glow
from genjax.nets import conv_same

data = "mnist"


def recipe(
    spec: Spec,
    scales: int = 2,
    depth: int = 8,
    width: int = 64,
    steps: int = 20000,
    batch: int = 64,
    lr: Positive = 1e-3,
    temperature: Positive = 0.7,
) -> Recipe:
    """The images' sides must be even at every scale.

    Args:
      spec: of the data.
      scales: squeezes; half of the channels leave after each but the last.
      depth: actnorm, 1x1 convolution and coupling so many times at each scale.
      width: hidden channels of the couplings' networks.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam at its peak; it warms up for a twentieth of the steps and a cosine takes it to zero.
      temperature: standard deviation of the noise that samples are made of; below 1 they are likelier and less varied.
    """
    bijection = chain(logit(0.05), glow(lambda out: conv_same(width, out), spec.shape, scales, depth))
    schedule = optax.warmup_cosine_decay_schedule(0.0, lr, steps // 20, steps)
    tx = optax.chain(optax.clip_by_global_norm(50.0), optax.adam(schedule))
    model = flow(bijection, spec.shape, tx, temperature=temperature)
    return Recipe(model, (steps,), batch, dequantize(spec.levels), lambda x: x, chunk=10, cell=-math.log(spec.levels))
