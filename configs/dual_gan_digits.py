"""Digits of 8 x 8 pixels from a GAN with two critics (1709.03831): sharp, most are legible; 2 min of CPU time, no GPU needed.

adversarial(adversarial(implicit(generator), critic, game=covering()), critic, game=seeking(), name="seeking"),
one critic whose game covers all modes and one whose game stays within them
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.gan import covering, implicit, seeking
from genjax.hybrids.adversarial import adversarial
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
    spread: Positive = 2e-4,
    gamma: float = 1.0,
) -> Recipe:
    """The generator moves twice a step: to where one critic sees data, and away from where the other sees only samples.

    Args:
      spec: of the data.
      latent: dimensions of the noise.
      width: of the two hidden layers of generator and critics.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam of the covering game, the same on both sides.
      spread: that of the generator in the seeking game, which Adam makes as strong as it says.
      gamma: weight of R1 and R2 of both critics.
    """
    adam = lambda rate: optax.adam(rate, b1=0.0, b2=0.99)
    generator, critic = mlp((width, width), spec.shape), mlp((width, width), ())
    real = adversarial(implicit(generator, (latent,)), critic, adam(lr), adam(lr), game=covering(), r1=gamma, r2=gamma)
    model = adversarial(real, critic, adam(spread), adam(lr), game=seeking(), r1=gamma, r2=gamma, name="seeking")
    return Recipe(model, (steps,), batch, prepare=symmetric(spec.levels), show=lambda x: 0.5 * x + 0.5)
