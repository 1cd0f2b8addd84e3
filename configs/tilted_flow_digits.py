"""Digits of 8 x 8 pixels from a flow tilted by an energy: p(x) ~ flow(x) exp(-E(x)): most legible, grey; 2 min.

tilted(flow, energy), on the pixels themselves
"""

import math
from functools import partial

import jax.numpy as jnp
import optax

from genjax.bijections import chain, logit, reshape
from genjax.chains import langevin
from genjax.config import Positive, Recipe
from genjax.data import Spec, dequantize
from genjax.families.flow import coupling_flow, flow
from genjax.hybrids.tilted import tilted
from genjax.nets import mlp

data = "digits"
parents = ("flow", "ebm")


def recipe(
    spec: Spec,
    layers: int = 4,
    width: int = 128,
    steps: tuple[int, int] = (2000, 300),
    batch: int = 128,
    lr: Positive = 1e-3,
    tilt: Positive = 1e-4,
    moves: int = 10,
    stride: Positive = 2e-4,
    alpha: float = 0.1,
) -> Recipe:
    """First the flow, then an energy that corrects it: chains begin at samples of the flow and stay among the pixels' values.

    Args:
      spec: of the data.
      layers: couplings of the flow.
      width: of the two hidden layers of their networks; the energy's are twice as wide.
      steps: of the flow and of the energy.
      batch: examples in a step.
      lr: learning rate of Adam on the likelihood at its peak; a cosine takes it to zero.
      tilt: the same of the energy.
      moves: Langevin moves of a chain, in training and of a sample.
      stride: step of the Langevin moves; a pixel's value is 1/17 wide.
      alpha: weight that keeps the energy near zero.
    """
    dims, falling = math.prod(spec.shape), optax.cosine_decay_schedule
    clipped = lambda peak, count: optax.chain(optax.clip_by_global_norm(10.0), optax.adam(falling(peak, count)))
    couplings = coupling_flow(lambda out: mlp((width, width), (out,)), dims, layers)
    base = flow(chain(reshape(spec.shape, (dims,)), logit(0.05), couplings), spec.shape, clipped(lr, steps[0]))
    energy, kernel = mlp((2 * width, 2 * width), ()), partial(langevin, step=stride, into=partial(jnp.clip, min=0.0, max=1.0))
    model = tilted(base, energy, clipped(tilt, steps[1]), kernel=kernel, steps=moves, alpha=alpha)
    return Recipe(model, steps, batch, dequantize(spec.levels), show=lambda x: x, chunk=20)
