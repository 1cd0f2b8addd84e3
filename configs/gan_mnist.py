"""MNIST from a GAN of residual networks without normalization: three quarters are legible; half an hour of one busy core.

adversarial(implicit(generator), critic), relativistic pairs with R1 + R2, R3GAN's recipe (2501.05441) in small. Needs a data
folder with `mnist` (--data-dir or GENJAX_DATA).
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.gan import implicit, relativistic
from genjax.hybrids.adversarial import adversarial
from genjax.nets import resgan_critic, resgan_generator

data = "mnist"


def recipe(
    spec: Spec,
    latent: int = 64,
    widths: tuple[int, ...] = (16, 32, 64),
    blocks: int = 1,
    steps: int = 8_000,
    batch: int = 32,
    lr: Positive = 1e-3,
    gamma: float = 1.0,
    lazy: int = 4,
) -> Recipe:
    """Relativistic pairs with zero-centred gradient penalties on both sides.

    Args:
      spec: of the data.
      latent: dimensions of the noise.
      widths: channels of the levels, the finest first; between two levels the sides halve.
      blocks: residual blocks of a level.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam at the start, the same on both sides; it falls to zero along a cosine.
      gamma: weight of R1 and R2; larger is calmer, smaller sharper.
      lazy: take the penalties once in so many steps on average; more is faster and noisier.
    """
    tx = optax.adam(optax.cosine_decay_schedule(lr, steps), b1=0.0, b2=0.99)
    generator, critic = resgan_generator(widths, spec.shape, blocks), resgan_critic(widths, blocks=blocks)
    model = adversarial(implicit(generator, (latent,)), critic, tx, tx, game=relativistic, r1=gamma, r2=gamma, lazy=lazy)
    return Recipe(model, (steps,), batch, symmetric(spec.levels), lambda x: 0.5 * x + 0.5, chunk=10)
