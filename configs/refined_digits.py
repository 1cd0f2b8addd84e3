"""Digits of 8 x 8 pixels drafted by a GAN, drawn by a diffusion from the middle of its process: legible; 3 min of one core.

refined(adversarial(implicit(generator), critic), diffusion). Beside its parents at equal time: a worse distance than
both, but drawn five times as fast as the diffusion.
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.diffusion import diffusion
from genjax.families.gan import implicit, relativistic
from genjax.hybrids.adversarial import adversarial
from genjax.hybrids.refined import refined
from genjax.nets import mlp, timed_mlp

data = "digits"
parents = ("gan", "diffusion")


def recipe(
    spec: Spec,
    latent: int = 32,
    width: int = 256,
    start: Positive = 0.4,
    sampling_steps: int = 10,
    steps: tuple[int, int] = (5000, 5000),
    batch: int = 128,
    lr: Positive = 1e-3,
) -> Recipe:
    """First the GAN, then the diffusion; a sample takes one evaluation of the one and few of the other.

    Args:
      spec: of the data.
      latent: dimensions of the GAN's noise.
      width: of the hidden layers; the denoiser's are twice as wide.
      start: time of the process, in (0, 1], to which a draft is noised.
      sampling_steps: from there to the end.
      steps: of the GAN and of the diffusion.
      batch: examples in a step.
      lr: learning rate of the diffusion's Adam at its peak, which a cosine takes to zero.
    """
    tx = optax.adam(2e-4, b1=0.0, b2=0.99)
    generator, critic = mlp((width, width), spec.shape), mlp((width, width), ())
    draft = adversarial(implicit(generator, (latent,)), critic, tx, tx, game=relativistic, r1=1.0, r2=1.0)
    denoiser = timed_mlp((2 * width,) * 3, spec.shape)
    drawing = diffusion(denoiser, spec.shape, optax.adam(optax.cosine_decay_schedule(lr, steps[1])))
    model = refined(draft, drawing, start, steps=sampling_steps)
    return Recipe(model, steps, batch, prepare=symmetric(spec.levels), show=lambda x: 0.5 * x + 0.5)
