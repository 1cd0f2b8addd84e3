"""Digits of 8 x 8 pixels from an adversarial autoencoder (1511.05644): most are legible, some blurred; 2 min on a CPU.

adversarial(autoencoder, critic) on z ~ N(0, I) against E(x). Beside the VAE at equal time: a worse distance, a better recall.
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, unit
from genjax.families.autoencoder import autoencoder
from genjax.hybrids.adversarial import adversarial
from genjax.hybrids.sees import codes
from genjax.nets import mlp

data = "digits"
parents = ("vae",)


def recipe(
    spec: Spec,
    latent: int = 8,
    width: int = 256,
    steps: int = 10000,
    batch: int = 128,
    lr: Positive = 1e-3,
    verdict: Positive = 2e-4,
    gamma: float = 0.1,
) -> Recipe:
    """Reconstruction for both networks; for the encoder also what the critic says of its codes.

    Args:
      spec: of the data.
      latent: dimensions of a code.
      width: of the two hidden layers of each network.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam on the reconstruction at its peak; a cosine takes it to zero.
      verdict: learning rate of the critic and of the encoder's adversarial move.
      gamma: weight of the gradient penalty on noise.
    """
    tx = optax.adam(optax.cosine_decay_schedule(lr, steps))
    encoder, decoder = mlp((width, width), (latent,)), mlp((width, width), spec.shape)
    coder = autoencoder(encoder, decoder, (latent,), tx, decay=0.0)
    play = optax.adam(verdict, b1=0.5)
    game = dict(sees=codes(coder, (latent,)), r1=gamma, trains=("encoder",))
    model = adversarial(coder, mlp((width, width), ()), play, play, **game)
    return Recipe(model, (steps,), batch, unit(spec.levels), show=lambda x: x)
