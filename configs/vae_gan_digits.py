"""Digits of 8 x 8 pixels from a VAE with a critic: crisper than the VAE's, some no digits; 2 min of CPU time, 0.5 GiB.

adversarial(vae, critic), the critic judging reconstructions
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, unit
from genjax.densities import gaussian
from genjax.families.vae import vae
from genjax.hybrids.adversarial import adversarial, reconstructions
from genjax.nets import mlp

data = "digits"
parents = ("vae", "gan")


def recipe(
    spec: Spec,
    latent: int = 16,
    width: int = 256,
    steps: int = 10000,
    batch: int = 128,
    lr: Positive = 1e-3,
    verdict: Positive = 1e-4,
    gamma: float = 1.0,
) -> Recipe:
    """The ELBO for both networks; for the decoder also what the critic says of its reconstructions.

    Args:
      spec: of the data.
      latent: dimensions of a code.
      width: of the two hidden layers of each network.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam on the ELBO.
      verdict: learning rate of the critic and of the decoder's adversarial move.
      gamma: weight of the gradient penalty on data.
    """
    encoder, decoder = mlp((width, width), (2 * latent,)), mlp((width, width), spec.shape)
    autoencoder = vae(encoder, decoder, (latent,), optax.adam(lr), likelihood=gaussian(0.2))
    tx = optax.adam(verdict, b1=0.0, b2=0.99)
    model = adversarial(autoencoder, mlp((width, width), ()), tx, tx, sees=reconstructions(autoencoder), r1=gamma)
    return Recipe(model, (steps,), batch, prepare=unit(spec.levels), show=lambda x: x)
