"""Digits of 8 x 8 pixels from latent diffusion: crisp, nearly all legible; 2 min of CPU time, 0.5 GiB, no GPU needed.

latent(adversarial(vae, critic), diffusion), the Stable Diffusion recipe in small
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, unit
from genjax.densities import gaussian
from genjax.families.diffusion import diffusion
from genjax.families.vae import vae
from genjax.hybrids.adversarial import adversarial, reconstructions
from genjax.hybrids.latent import latent
from genjax.nets import mlp, timed_mlp

data = "digits"
parents = ("vae", "diffusion")


def recipe(
    spec: Spec,
    codes: int = 16,
    width: int = 256,
    steps: tuple[int, int] = (5000, 10000),
    batch: int = 128,
    lr: Positive = 1e-3,
    critic: bool = True,
    verdict: Positive = 1e-4,
    gamma: float = 1.0,
) -> Recipe:
    """First the autoencoder, then, on its frozen codes, a diffusion model of them.

    Args:
      spec: of the data.
      codes: dimensions of a code.
      width: of the hidden layers of every network.
      steps: of the autoencoder and of the prior.
      batch: examples in a step.
      lr: learning rate of Adam for the ELBO, and the peak of the prior's, which a cosine takes to zero.
      critic: whether a critic judges reconstructions; with --no-critic the model is latent(vae, diffusion).
      verdict: learning rate of the critic and of the decoder's adversarial move.
      gamma: weight of the gradient penalty on data.
    """
    encoder, decoder = mlp((width, width), (2 * codes,)), mlp((width, width), spec.shape)
    autoencoder = vae(encoder, decoder, (codes,), optax.adam(lr), likelihood=gaussian(0.1), beta=0.5)
    if critic:
        tx = optax.adam(verdict, b1=0.0, b2=0.99)
        sees = reconstructions(autoencoder)
        autoencoder = adversarial(autoencoder, mlp((width, width), ()), tx, tx, sees=sees, r1=gamma)
    denoiser = timed_mlp((width, width, width), (codes,))
    prior = diffusion(denoiser, (codes,), optax.adam(optax.cosine_decay_schedule(lr, steps[1])))
    return Recipe(latent(autoencoder, prior), steps, batch, prepare=unit(spec.levels), show=lambda x: x)
