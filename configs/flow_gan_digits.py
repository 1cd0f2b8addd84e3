"""Digits of 8 x 8 pixels from a Flow-GAN (1705.08868): likelihood and a critic on one invertible generator.

adversarial(flow, critic), whose likelihood stays exact
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
      lr: learning rate of Adam on the likelihood at its peak; a cosine takes it to zero.
      verdict: learning rate of the critic and of the flow's adversarial move; 0.0001 weighs it lightly.
      gamma: weight of the gradient penalty on data.
    """
    dims = math.prod(spec.shape)
    layers_of = coupling_flow(lambda out: mlp((width, width), (out,)), dims, layers)
    tx = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(optax.cosine_decay_schedule(lr, steps)))
    generator = flow(chain(reshape(spec.shape, (dims,)), logit(0.05), layers_of), spec.shape, tx)
    play = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(verdict, b1=0.0, b2=0.99))
    model = adversarial(generator, mlp((width, width), ()), play, play, r1=gamma)
    return Recipe(model, (steps,), batch, dequantize(spec.levels), show=lambda x: x, cell=-math.log(spec.levels))
