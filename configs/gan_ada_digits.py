"""Digits of 8 x 8 pixels from a GAN whose critic sees them moved, the more often the more it overfits: mostly legible; 1 min.

reaching(implicit(generator), critic, lambda sees, p: augmented(sees, translation, p)), ADA's control (2006.06676); p is
`reach/T` in metrics.jsonl, and goes from 0.05 to 0.7
"""

import optax

from genjax.augment import translation
from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.gan import implicit
from genjax.hybrids.adversarial import augmented
from genjax.hybrids.reaching import reaching
from genjax.nets import mlp

data = "digits"
parents = ("gan",)


def recipe(
    spec: Spec,
    latent: int = 32,
    width: int = 256,
    steps: int = 10000,
    batch: int = 128,
    lr: Positive = 2e-4,
    gamma: float = 0.1,
    target: float = 0.2,
) -> Recipe:
    """The non-saturating game with R1.

    Args:
      spec: of the data.
      latent: dimensions of the noise.
      width: of the two hidden layers of generator and critic.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam, the same on both sides.
      gamma: weight of the gradient penalty on data.
      target: how sure of its reals the critic may be, in [-1, 1], before more of them are moved; 0.6 in the paper.
    """
    tx, seen = optax.adam(lr, b1=0.0, b2=0.99), lambda sees, p: augmented(sees, translation, p)
    generator, critic = mlp((width, width), spec.shape), mlp((width, width), ())
    model = reaching(implicit(generator, (latent,)), critic, tx, tx, seen, target=target, r1=gamma)
    return Recipe(model, (steps,), batch, symmetric(spec.levels), lambda x: 0.5 * x + 0.5)
