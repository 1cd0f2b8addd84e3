"""Digits of 8 x 8 pixels drawn as they are told in words, code by code: most legible and right; 5 min on one core.

latent(vq, autoregressive), DALL-E's recipe (2102.12092) in small: a transformer goes on from the words to the codes of a
picture, many of them near copies of each other. Words in an order never seen are mostly misread; sample.py takes --caption.
"""

import optax

from genjax.conditions import GIVEN
from genjax.config import Positive, Recipe
from genjax.data import Spec, unit
from genjax.data.texts import NUMBERS, reader
from genjax.families.autoregressive import autoregressive
from genjax.families.vq import vq
from genjax.heads import categorical
from genjax.hybrids.latent import latent
from genjax.nets import gpt, mlp
from genjax.quantizers import codebook

data = "digits/captions"


def recipe(
    spec: Spec,
    codes: int = 64,
    places: int = 8,
    channels: int = 8,
    width: int = 256,
    steps: tuple[int, int] = (4000, 2000),
    batch: int = 128,
    lr: Positive = 1e-3,
    captions: tuple[str, ...] = NUMBERS,
) -> Recipe:
    """The autoencoder of vq_gpt_digits; then, on its frozen codes, a transformer that reads the letters before it writes codes.

    Args:
      spec: of the data, which have captions.
      codes: vectors in the codebook.
      places: codes an image.
      channels: of one vector.
      width: of the hidden layers of the autoencoder.
      steps: of the autoencoder and of the transformer.
      batch: examples in a step.
      lr: learning rate of Adam at its peak; a cosine takes it to zero.
      captions: that the grids are drawn with, in turn.
    """
    read = reader(spec.letters, spec.length)
    tx = [optax.adam(optax.cosine_decay_schedule(lr, count)) for count in steps]
    nets = mlp((width, width), (places, channels)), mlp((width, width), spec.shape)
    autoencoder = vq(*nets, codebook(codes), (places, channels), tx[0])
    net = gpt(codes, codes, spec.length + places, width=64, depth=3, prefix_levels=len(spec.letters) + 1)
    prior = autoregressive(net, (places,), categorical(codes, grid=False), tx[1], classes=GIVEN)
    model = latent(autoencoder, prior, scaled=False)
    return Recipe(model, steps, batch, unit(spec.levels), lambda x: x, read_caption=read, captions=captions)
