"""Digits of 8 x 8 pixels from a GAN told which digit to draw: legible, in two minutes; sample.py takes --label.

adversarial(implicit(generator, classes), projection critic)
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.gan import implicit, relativistic
from genjax.hybrids.adversarial import adversarial, samples
from genjax.nets import mlp, projection

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
    """The game of gan_digits with labels: one-hot beside the noise, and by projection in the critic (1802.05637).

    Args:
      spec: of the data.
      latent: dimensions of the noise.
      width: of the two hidden layers of generator and critic.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam, the same on both sides.
      gamma: weight of R1 and R2; larger is calmer, smaller sharper.
    """
    if not spec.classes:
        raise ValueError("this recipe needs data with labels: choose other --data, or gan_digits.py")
    tx = optax.adam(lr, b1=0.0, b2=0.99)
    generator = implicit(mlp((width, width), spec.shape), (latent,), classes=spec.classes)
    critic, sees = projection(mlp((width, width), (width,)), spec.classes), samples(generator, labelled=True)
    model = adversarial(generator, critic, tx, tx, sees=sees, game=relativistic, r1=gamma, r2=gamma)
    return Recipe(model, (steps,), batch, symmetric(spec.levels), lambda x: 0.5 * x + 0.5, classes=spec.classes)
