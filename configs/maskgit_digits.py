"""Digits of 8 x 8 pixels from VQ codes that MaskGIT (2202.04200) writes a few at a time: half legible; 2 min on a CPU.

latent(vq, masked)
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, unit
from genjax.families.masked import masked
from genjax.families.vq import vq
from genjax.heads import categorical
from genjax.hybrids.latent import latent
from genjax.nets import encoder, mlp
from genjax.quantizers import codebook

data = "digits"
parents = ("vq_gpt",)


def recipe(
    spec: Spec,
    codes: int = 64,
    places: int = 8,
    channels: int = 8,
    width: int = 256,
    steps: tuple[int, int] = (4000, 1500),
    batch: int = 128,
    lr: Positive = 1e-3,
    rounds: int = 6,
) -> Recipe:
    """First the autoencoder, then, on its frozen codes, a transformer that guesses what is hidden of them.

    Args:
      spec: of the data.
      codes: vectors in the codebook.
      places: codes an image.
      channels: of one vector.
      width: of the hidden layers of the autoencoder.
      steps: of the autoencoder and of the transformer.
      batch: examples in a step.
      lr: learning rate of Adam at its peak; a cosine takes it to zero.
      rounds: in which a sample's codes are written, at most as many as places.
    """
    tx = [optax.adam(optax.cosine_decay_schedule(lr, count)) for count in steps]
    first, last = mlp((width, width), (places, channels)), mlp((width, width), spec.shape)
    autoencoder = vq(first, last, codebook(codes), (places, channels), tx[0])
    net = encoder(codes + 1, codes, places, width=64, depth=3, heads=4)
    prior = masked(net, (places,), categorical(codes, grid=False), tx[1], steps=rounds)
    return Recipe(latent(autoencoder, prior, scaled=False), steps, batch, unit(spec.levels), show=lambda x: x)
