"""CIFAR-10-JPEG75 from a DCGAN told the class: ships and cars can be told, animals are smeared; 90 min on one core.

adversarial(implicit(dcgan_generator, classes), projection(dcgan_critic)), the non-saturating game with lazy R1; sample.py takes
--label. The images have been through JPEG, so that no distance compares with published ones of CIFAR-10. Needs a data folder
with `cifar10_jpeg75` (--data-dir or GENJAX_DATA).
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.gan import implicit
from genjax.hybrids.adversarial import adversarial, samples
from genjax.nets import dcgan_critic, dcgan_generator, projection

data = "cifar10_jpeg75"


def recipe(
    spec: Spec,
    latent: int = 128,
    widths: tuple[int, ...] = (64, 128, 256),
    steps: int = 15_000,
    batch: int = 32,
    lr: Positive = 1e-3,
    gamma: float = 0.5,
    lazy: int = 8,
) -> Recipe:
    """Labels one-hot beside the noise, and by projection in the critic (1802.05637).

    Args:
      spec: of the data.
      latent: dimensions of the noise.
      widths: channels of the levels of both nets, the finest first; each halves the sides.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam at the start, the same on both sides; it falls to zero along a cosine.
      gamma: weight of R1; larger is calmer, smaller sharper.
      lazy: take the penalty once in so many steps on average.
    """
    if not spec.classes:
        raise ValueError("this recipe needs data with labels: choose other --data, or dcgan_fashion_mnist.py")
    tx = optax.adam(optax.cosine_decay_schedule(lr, steps), b1=0.0, b2=0.99)
    generator = implicit(dcgan_generator(widths, spec.shape), (latent,), classes=spec.classes)
    critic = projection(dcgan_critic(widths, (widths[-1],), norm=False), spec.classes)
    sees = samples(generator, labelled=True)
    model = adversarial(generator, critic, tx, tx, sees=sees, r1=gamma, lazy=lazy)
    show = lambda x: 0.5 * x + 0.5
    return Recipe(model, (steps,), batch, symmetric(spec.levels), show, chunk=10, classes=spec.classes)
