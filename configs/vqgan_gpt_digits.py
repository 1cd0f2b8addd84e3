"""Digits of 8 x 8 pixels from a VQ-GAN and a transformer of its codes (2012.09841): minutes on a CPU.

latent(adversarial(vq, critic), autoregressive)
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, unit
from genjax.families.autoregressive import autoregressive
from genjax.families.vq import vq
from genjax.heads import categorical
from genjax.hybrids.adversarial import adversarial, reconstructions
from genjax.hybrids.latent import latent
from genjax.nets import gpt, mlp
from genjax.quantizers import codebook

data = "digits"
parents = ("vq_gpt", "gan")


def recipe(
    spec: Spec,
    codes: int = 64,
    places: int = 8,
    channels: int = 8,
    width: int = 256,
    steps: tuple[int, int] = (4000, 1500),
    batch: int = 128,
    lr: Positive = 1e-3,
    verdict: Positive = 1e-4,
    gamma: float = 1.0,
) -> Recipe:
    """First the autoencoder with a critic of its reconstructions, then, on its frozen codes, a transformer that writes them.

    Args:
      spec: of the data.
      codes: vectors in the codebook.
      places: codes an image.
      channels: of one vector.
      width: of the hidden layers of the autoencoder.
      steps: of the autoencoder and of the transformer.
      batch: examples in a step.
      lr: learning rate of Adam at its peak; a cosine takes it to zero.
      verdict: learning rate of the critic and of the decoder's adversarial move.
      gamma: weight of the gradient penalty on data.
    """
    tx = [optax.adam(optax.cosine_decay_schedule(lr, count)) for count in steps]
    encoder, decoder = mlp((width, width), (places, channels)), mlp((width, width), spec.shape)
    autoencoder = vq(encoder, decoder, codebook(codes), (places, channels), tx[0])
    play = optax.adam(verdict, b1=0.0, b2=0.99)
    game = dict(sees=reconstructions(autoencoder), r1=gamma, trains=("decoder",))
    sharpened = adversarial(autoencoder, mlp((width, width), ()), play, play, **game)
    net = gpt(codes, codes, places, width=64, depth=3, heads=4)
    prior = autoregressive(net, (places,), categorical(codes, grid=False), tx[1])
    return Recipe(latent(sharpened, prior, scaled=False), steps, batch, unit(spec.levels), show=lambda x: x)
