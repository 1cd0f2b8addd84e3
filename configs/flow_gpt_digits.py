"""Digits of 8 x 8 pixels from a flow whose noise a transformer writes: 2.28 bits/dim, many are legible; 3 min of one core.

latent(flow, autoregressive): couplings, and on their frozen noise a prior of what they left undone
"""

import math

import optax

from genjax.bijections import chain, logit, reshape
from genjax.config import Positive, Recipe
from genjax.data import Spec, dequantize
from genjax.families.autoregressive import autoregressive
from genjax.families.flow import coupling_flow, flow
from genjax.heads import normals
from genjax.hybrids.latent import latent
from genjax.nets import gpt, mlp

data = "digits"
parents = ("flow", "pixelcnn")


def recipe(
    spec: Spec,
    layers: int = 2,
    width: int = 128,
    depth: int = 2,
    mixtures: int = 5,
    steps: tuple[int, int] = (3000, 2000),
    batch: int = 64,
    lr: Positive = 1e-3,
) -> Recipe:
    """First the flow; then, on its frozen noise, the transformer.

    Args:
      spec: of the data.
      layers: couplings.
      width: of the two hidden layers of the flow's networks; the transformer is half as wide.
      depth: of the transformer.
      mixtures: normals in the density of a number.
      steps: of the flow and of the transformer.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero in each stage.
    """
    dims = math.prod(spec.shape)
    clipped, falling = optax.clip_by_global_norm(10.0), [optax.adam(optax.cosine_decay_schedule(lr, count)) for count in steps]
    tx = [optax.chain(clipped, each) for each in falling]
    couplings = coupling_flow(lambda out: mlp((width, width), (out,)), dims, layers)
    whole = flow(chain(reshape(spec.shape, (dims,)), logit(0.05), couplings), spec.shape, tx[0])
    net = gpt(0, 3 * mixtures, dims, width=width // 2, depth=depth, heads=4, unroll=depth)
    prior = autoregressive(net, (dims,), normals(mixtures), tx[1])
    model = latent(whole, prior, scaled=False)
    return Recipe(model, steps, batch, dequantize(spec.levels), show=lambda x: x, cell=-math.log(spec.levels))
