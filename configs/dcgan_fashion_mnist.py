"""Fashion-MNIST from a DCGAN: most pieces are clear, some in shreds; nine minutes on one core.

adversarial(implicit(dcgan_generator), dcgan_critic), the non-saturating game of 1406.2661 with DCGAN's nets (1511.06434), each
example normalized by itself in the generator, and a gradient penalty on data (1801.04406) in the place of the critic's
normalization. Needs a data folder with `fashion_mnist` (--data-dir or GENJAX_DATA).
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.gan import implicit
from genjax.hybrids.adversarial import adversarial
from genjax.nets import dcgan_critic, dcgan_generator

data = "fashion_mnist"


def recipe(
    spec: Spec,
    latent: int = 64,
    widths: tuple[int, ...] = (32, 64, 128),
    steps: int = 8_000,
    batch: int = 32,
    lr: Positive = 1e-3,
    gamma: float = 0.3,
    lazy: int = 8,
) -> Recipe:
    """Two deep convolutional nets and their game.

    Args:
      spec: of the data.
      latent: dimensions of the noise.
      widths: channels of the levels, the finest first; each halves the sides.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam at the start, the same on both sides; it falls to zero along a cosine.
      gamma: weight of R1; larger is calmer, smaller sharper.
      lazy: take the penalty once in so many steps on average.
    """
    tx = optax.adam(optax.cosine_decay_schedule(lr, steps), b1=0.0, b2=0.99)
    generator, critic = dcgan_generator(widths, spec.shape), dcgan_critic(widths, norm=False)
    model = adversarial(implicit(generator, (latent,)), critic, tx, tx, r1=gamma, lazy=lazy)
    return Recipe(model, (steps,), batch, symmetric(spec.levels), lambda x: 0.5 * x + 0.5, chunk=10)
