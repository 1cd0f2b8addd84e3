"""Digits of 8 x 8 pixels from a Flow-GAN (1705.08868): exact likelihood, legible, grain on black; 5 min of one core.

adversarial(flow, critic): likelihood and a critic on one invertible generator
"""

import math

import optax

from genjax.bijections import chain, logit, reshape
from genjax.config import Positive, Recipe
from genjax.data import Spec, dequantize
from genjax.families.flow import coupling_flow, flow
from genjax.hybrids.adversarial import adversarial
from genjax.nets import mlp

data = "digits"
parents = ("flow", "gan")


def recipe(
    spec: Spec,
    layers: int = 6,
    width: int = 128,
    steps: int = 4000,
    batch: int = 128,
    lr: Positive = 1e-3,
    verdict: Positive = 1e-4,
    gamma: float = 1.0,
) -> Recipe:
    """The flow moves twice a step: for the likelihood of the data, and for what the critic says of its samples.

    Args:
      spec: of the data.
      layers: couplings.
      width: of the two hidden layers of all networks.
      steps: training steps.
      batch: examples in a step.
      lr: peak learning rate of Adam on the likelihood; a cosine takes it to zero.
      verdict: that of the critic and of the flow's adversarial move, light beside it. It must fall with the likelihood's: a
        game that has the last word undoes it.
      gamma: weight of the gradient penalty on data.
    """
    dims = math.prod(spec.shape)
    layers_of = coupling_flow(lambda out: mlp((width, width), (out,)), dims, layers)
    clipped, falling = optax.clip_by_global_norm(10.0), lambda peak: optax.cosine_decay_schedule(peak, steps)
    tx = optax.chain(clipped, optax.adam(falling(lr)))
    generator = flow(chain(reshape(spec.shape, (dims,)), logit(0.05), layers_of), spec.shape, tx)
    play = optax.chain(clipped, optax.adam(falling(verdict), b1=0.0, b2=0.99))
    model = adversarial(generator, mlp((width, width), ()), play, play, r1=gamma)
    return Recipe(model, (steps,), batch, dequantize(spec.levels), show=lambda x: x, cell=-math.log(spec.levels))
