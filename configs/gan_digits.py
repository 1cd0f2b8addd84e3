"""Digits of 8 x 8 pixels from a GAN: sharp, nearly all legible; 2 min of CPU time, 0.5 GiB, no GPU needed.

adversarial(implicit(generator), critic)
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.gan import implicit, relativistic
from genjax.hybrids.adversarial import adversarial
from genjax.nets import mlp

data = "digits"


def recipe(
    spec: Spec,
    latent: int = 32,
    width: int = 256,
    steps: int = 10000,
    batch: int = 128,
    lr: Positive = 2e-4,
    gamma: float = 1.0,
) -> Recipe:
    """The relativistic pairing game with zero-centred gradient penalties on both sides (2501.05441), on small MLPs.

    Args:
      spec: of the data.
      latent: dimensions of the noise.
      width: of the two hidden layers of generator and critic.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam, the same on both sides.
      gamma: weight of R1 and R2; larger is calmer, smaller sharper.
    """
    tx = optax.adam(lr, b1=0.0, b2=0.99)
    generator, critic = mlp((width, width), spec.shape), mlp((width, width), ())
    model = adversarial(implicit(generator, (latent,)), critic, tx, tx, game=relativistic, r1=gamma, r2=gamma)
    return Recipe(model, (steps,), batch, prepare=symmetric(spec.levels), show=lambda x: 0.5 * x + 0.5)
