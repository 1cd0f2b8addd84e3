"""Digits of 8 x 8 pixels from a DiffuseVAE (2201.00308): crisp, most are legible; 80 s of CPU time, no GPU needed.

refined(vae, diffusion, told=True): the VAE drafts, the diffusion, which is told the draft, draws
"""

import optax

from genjax.conditions import GIVEN
from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.densities import gaussian
from genjax.families.diffusion import diffusion
from genjax.families.vae import vae
from genjax.hybrids.refined import refined
from genjax.nets import mlp, timed_mlp

data = "digits"
parents = ("vae", "diffusion")


def recipe(
    spec: Spec,
    latent: int = 16,
    width: int = 256,
    spread: Positive = 0.8,
    start: Positive = 1.0,
    sampling_steps: int = 25,
    steps: tuple[int, int] = (3000, 8000),
    batch: int = 128,
    lr: Positive = 1e-3,
) -> Recipe:
    """First the VAE, then the diffusion, which in training is told the VAE's reconstruction of what it draws.

    Args:
      spec: of the data.
      latent: dimensions of a code.
      width: of the two hidden layers of the VAE's networks; the denoiser's three are twice as wide.
      spread: standard deviation of a pixel in the VAE. Larger, a draft says less, and one of the VAE's own looks more like the
        reconstructions that the diffusion is told in training.
      start: time of the process, in (0, 1], to which a draft is noised; at 1 all that is left of it is what is told.
      sampling_steps: from there to the end.
      steps: of the VAE and of the diffusion.
      batch: examples in a step.
      lr: learning rate of Adam at its peak, which a cosine takes to zero in each stage.
    """
    tx = [optax.adam(optax.cosine_decay_schedule(lr, count)) for count in steps]
    encoder, decoder = mlp((width, width), (2 * latent,)), mlp((width, width), spec.shape)
    draft = vae(encoder, decoder, (latent,), tx[0], likelihood=gaussian(spread))
    drawing = diffusion(timed_mlp((2 * width,) * 3, spec.shape), spec.shape, tx[1], classes=GIVEN)
    model = refined(draft, drawing, start, steps=sampling_steps, told=True)
    return Recipe(model, steps, batch, prepare=symmetric(spec.levels), show=lambda x: 0.5 * x + 0.5)
