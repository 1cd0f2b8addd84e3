"""Digits of 8 x 8 pixels from a VAE with flows for posterior and prior: most are legible, soft; 1 min of CPU time, no GPU.

latent(vae(flow=causal(made, affine()), context=32), flow): the posterior is IAF (1606.04934), the prior spline couplings
"""

import optax

from genjax.bijections import causal, chain, flip
from genjax.config import Positive, Recipe
from genjax.data import Spec, unit
from genjax.densities import gaussian
from genjax.families.flow import coupling_flow, flow
from genjax.families.vae import vae
from genjax.hybrids.latent import latent
from genjax.nets import made, mlp
from genjax.splines import affine

data = "digits"
parents = ("vae", "flow")


def recipe(
    spec: Spec,
    codes: int = 16,
    width: int = 256,
    bends: int = 2,
    layers: int = 4,
    context: int = 32,
    steps: tuple[int, int] = (6000, 2000),
    batch: int = 128,
    lr: Positive = 1e-3,
) -> Recipe:
    """First the VAE with the flow of its posterior, then, on its frozen codes, the flow that is their prior.

    Args:
      spec: of the data.
      codes: dimensions of a code.
      width: of the two hidden layers of the VAE's networks; those of the flows are half as wide.
      bends: masked autoregressive layers of the posterior, each in the other order.
      layers: spline couplings of the prior.
      context: numbers that the encoder tells the posterior's flow of a picture.
      steps: of the VAE and of the prior.
      batch: examples in a step.
      lr: learning rate of Adam at its peak, which a cosine takes to zero in each stage.
    """
    clipped = optax.clip_by_global_norm(100.0)
    tx = [optax.chain(clipped, optax.adam(optax.cosine_decay_schedule(lr, count))) for count in steps]
    half, encoder, decoder = width // 2, mlp((width, width), (2 * codes + context,)), mlp((width, width), spec.shape)
    bend = [part for _ in range(bends) for part in (causal(made((half,), 2), affine()), flip())]
    told = dict(likelihood=gaussian(0.2), flow=chain(*bend[:-1]), context=context)
    autoencoder = vae(encoder, decoder, (codes,), tx[0], **told)
    prior = flow(coupling_flow(lambda out: mlp((half, half), (out,)), codes, layers), (codes,), tx[1])
    return Recipe(latent(autoencoder, prior), steps, batch, prepare=unit(spec.levels), show=lambda x: x)
