"""Digits of 8 x 8 pixels from a Flow-GAN (1705.08868): exact likelihood, legible, grain on black; 5 min of one core.

adversarial(flow, critic): likelihood and a critic on one invertible generator
"""

import math
from typing import Literal

import optax

from genjax.bijections import chain, logit, reshape
from genjax.config import Positive, Recipe
from genjax.data import Spec, dequantize
from genjax.families.flow import coupling_flow, flow, glow, realnvp
from genjax.hybrids.adversarial import adversarial
from genjax.nets import conv_same, mlp

data = "digits"
parents = ("flow", "gan")


def recipe(
    spec: Spec,
    generator: Literal["splines", "realnvp", "glow"] = "splines",
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
      generator: spline couplings of flat pixels, or one of two scales of convolutions, as in the paper.
      layers: couplings of splines; half as many at each scale of the others.
      width: of the two hidden layers of all networks; a quarter of it are the channels of the others' convolutions.
      steps: training steps.
      batch: examples in a step.
      lr: peak learning rate of Adam on the likelihood; a cosine takes it to zero.
      verdict: that of the critic and of the flow's adversarial move, light beside it. It must fall with the likelihood's: a
        game that has the last word undoes it.
      gamma: weight of the gradient penalty on data.
    """
    dims = math.prod(spec.shape)
    of_images = lambda out: conv_same(width // 4, out)
    splines = lambda: coupling_flow(lambda out: mlp((width, width), (out,)), dims, layers)
    layers_of = {
        "splines": lambda: chain(reshape(spec.shape, (dims,)), logit(0.05), splines()),
        "realnvp": lambda: chain(logit(0.05), realnvp(of_images, spec.shape, 2, layers // 2)),
        "glow": lambda: chain(logit(0.05), glow(of_images, spec.shape, 2, layers // 2)),
    }
    clipped, falling = optax.clip_by_global_norm(10.0), lambda peak: optax.cosine_decay_schedule(peak, steps)
    tx = optax.chain(clipped, optax.adam(falling(lr)))
    generator = flow(layers_of[generator](), spec.shape, tx)
    play = optax.chain(clipped, optax.adam(falling(verdict), b1=0.0, b2=0.99))
    model = adversarial(generator, mlp((width, width), ()), play, play, r1=gamma)
    return Recipe(model, (steps,), batch, dequantize(spec.levels), show=lambda x: x, cell=-math.log(spec.levels))
