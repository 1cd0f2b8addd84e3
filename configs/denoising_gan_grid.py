"""The grid of 25 Gaussians from a denoising diffusion GAN (2112.07804): four steps, each drawn by a generator; 9 min on a core.

adversarial(stepwise(generator), critic, sees=steps_of(generator))
"""

import flax.linen as nn
import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, identity
from genjax.families.gan import relativistic
from genjax.hybrids.adversarial import adversarial
from genjax.hybrids.stepwise import steps_of, stepwise
from genjax.nets import timed_mlp, with_waves
from genjax.nets.time import time_features
from genjax.schedules import cosine, warped

data = "grid"
SCALE = 0.25  # data to about unit variance
WAVES = (2.0, 4.0, 8.0, 16.0, 32.0)  # a mode is 0.0125 wide, they are 0.5 apart


def recipe(
    spec: Spec,
    reverse_steps: int = 4,
    latent: int = 2,
    width: int = 256,
    steps: int = 20000,
    batch: int = 256,
    lr: Positive = 5e-4,
    gamma: float = 0.01,
) -> Recipe:
    """A cosine process in a few steps, the shorter the nearer to the data; the critic sees (x_s, t, x_t), and waves of x_s.

    Args:
      spec: of the data.
      reverse_steps: of the process.
      latent: dimensions of z, which decides between the modes of a large step.
      width: of the three hidden layers of generator and critic.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam on both sides at its peak; a cosine takes it to zero.
      gamma: weight of the gradient penalties on both sides.
    """
    tx = optax.adam(optax.cosine_decay_schedule(lr, steps), b1=0.0, b2=0.99)
    process, latents = warped(cosine(), 2.0), (latent,)
    net = lambda out: timed_mlp((width,) * 3, out, nn.relu, lambda t: time_features(t, 8, highest=10.0, lowest=0.5))
    generator, critic = net(spec.shape), with_waves(net(()), WAVES)
    model = stepwise(generator, spec.shape, latents, process, reverse_steps)
    sees = steps_of(generator, latents, process, reverse_steps)
    game = adversarial(model, critic, tx, tx, sees=sees, game=relativistic, r1=gamma, r2=gamma)
    return Recipe(game, (steps,), batch, lambda key, x: SCALE * identity(key, x), show=lambda x: x / SCALE)
