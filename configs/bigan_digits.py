"""Digits of 8 x 8 pixels from a BiGAN (1605.09782), a critic of pixels with codes: nearly all legible; 2 min on a CPU.

adversarial(autoencoder without a loss of its own, critic) on (x, E(x)) against (D(z), z). Beside its parents at
equal time: a better distance than the VAE's, a worse one than the GAN's, and it has codes.
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.autoencoder import autoencoder
from genjax.families.gan import two_sided
from genjax.hybrids.adversarial import adversarial
from genjax.hybrids.sees import pairs
from genjax.nets import mlp

data = "digits"
parents = ("gan", "vae")


def recipe(
    spec: Spec,
    latent: int = 16,
    width: int = 256,
    steps: int = 15000,
    batch: int = 128,
    lr: Positive = 2e-4,
    gamma: float = 1.0,
) -> Recipe:
    """Encoder and decoder both move so that the critic cannot tell which of them made a pair.

    Args:
      spec: of the data.
      latent: dimensions of a code.
      width: of the two hidden layers of each network.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam, the same on both sides.
      gamma: weight of the gradient penalties on both kinds of pairs.
    """
    tx = optax.adam(lr, b1=0.0, b2=0.99)
    coder = autoencoder(mlp((width, width), (latent,)), mlp((width, width), spec.shape), (latent,), tx)
    game = dict(sees=pairs(coder, (latent,)), game=two_sided, r1=gamma, r2=gamma, trains=("encoder", "decoder"))
    model = adversarial(coder._replace(stages=((),)), mlp((width, width), ()), tx, tx, **game)
    return Recipe(model, (steps,), batch, prepare=symmetric(spec.levels), show=lambda x: 0.5 * x + 0.5)
