"""The grid of 25 Gaussians from a denoising diffusion GAN (2112.07804): four steps, each drawn by a generator.

adversarial(stepwise(generator), critic, sees=steps_of(generator))
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, identity
from genjax.families.gan import non_saturating
from genjax.hybrids.adversarial import adversarial
from genjax.hybrids.stepwise import steps_of, stepwise
from genjax.nets import timed_mlp
from genjax.schedules import cosine

data = "grid"
SCALE = 0.25  # data to about unit variance


def recipe(
    spec: Spec,
    reverse_steps: int = 4,
    latent: int = 2,
    width: int = 256,
    steps: int = 20000,
    batch: int = 256,
    lr: Positive = 2e-4,
    r1: float = 0.02,
) -> Recipe:
    """Cosine process in a few steps; the critic sees (x_s, t, x_t).

    Args:
      spec: of the data.
      reverse_steps: of the process.
      latent: dimensions of z, which decides between the modes of a large step.
      width: of the three hidden layers of generator and critic.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam on both sides at its peak; a cosine takes it to zero.
      r1: weight of the gradient penalty on the real side.
    """
    tx = optax.adam(optax.cosine_decay_schedule(lr, steps), b1=0.5, b2=0.9)
    generator, critic = timed_mlp((width,) * 3, spec.shape), timed_mlp((width,) * 3, ())
    model = stepwise(generator, spec.shape, (latent,), cosine(), reverse_steps)
    sees = steps_of(generator, (latent,), cosine(), reverse_steps)
    game = adversarial(model, critic, tx, tx, sees=sees, game=non_saturating, r1=r1)
    return Recipe(game, (steps,), batch, lambda key, x: SCALE * identity(key, x), show=lambda x: x / SCALE)
