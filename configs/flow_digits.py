"""Digits of 8 x 8 pixels from a normalizing flow: exact likelihood, legible, greyer than the data; minutes on a CPU.

Spline couplings (1906.04032) of dequantized pixels
"""

import math

import optax

from genjax.bijections import chain, logit, reshape
from genjax.config import Positive, Recipe
from genjax.data import Spec, dequantize
from genjax.families.flow import coupling_flow, flow
from genjax.nets import mlp

data = "digits"


def recipe(
    spec: Spec,
    layers: int = 6,
    width: int = 128,
    steps: int = 3000,
    batch: int = 128,
    lr: Positive = 1e-3,
    temperature: Positive = 0.8,
) -> Recipe:
    """A flow of flat pixels, each half given the other in turn.

    Args:
      spec: of the data.
      layers: couplings.
      width: of the two hidden layers of their networks.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam at its peak; a cosine takes it to zero.
      temperature: standard deviation of the noise that samples are made of; below 1 they are likelier and less varied.
    """
    dims = math.prod(spec.shape)
    layers_of = coupling_flow(lambda out: mlp((width, width), (out,)), dims, layers)
    bijection = chain(reshape(spec.shape, (dims,)), logit(0.05), layers_of)
    tx = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(optax.cosine_decay_schedule(lr, steps)))
    model = flow(bijection, spec.shape, tx, temperature=temperature)
    return Recipe(model, (steps,), batch, dequantize(spec.levels), show=lambda x: x, cell=-math.log(spec.levels))
