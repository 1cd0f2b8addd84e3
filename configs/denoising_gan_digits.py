"""Digits of 8 x 8 pixels from a denoising diffusion GAN (2112.07804): most are legible, a little grainy; 2 min of CPU time.

adversarial(stepwise(generator), critic, sees=steps_of(generator)): four steps, each drawn by a generator
"""

import flax.linen as nn
import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.gan import relativistic
from genjax.hybrids.adversarial import adversarial
from genjax.hybrids.stepwise import steps_of, stepwise
from genjax.nets import timed_mlp
from genjax.nets.time import time_features
from genjax.schedules import cosine, warped

data = "digits"
parents = ("gan", "diffusion")


def recipe(
    spec: Spec,
    reverse_steps: int = 4,
    latent: int = 16,
    width: int = 256,
    steps: int = 8000,
    batch: int = 128,
    lr: Positive = 1e-3,
    gamma: float = 3.0,
) -> Recipe:
    """A cosine process in a few steps, the shorter the nearer to the data; the critic sees (x_s, t, x_t).

    Args:
      spec: of the data.
      reverse_steps: of the process.
      latent: dimensions of z, which decides between the many ways back of a large step.
      width: of the three hidden layers of generator and critic.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam on both sides at its peak; a cosine takes it to zero.
      gamma: weight of the gradient penalties on both sides.
    """
    tx = optax.adam(optax.cosine_decay_schedule(lr, steps), b1=0.0, b2=0.99)
    process, latents = warped(cosine(), 2.0), (latent,)
    net = lambda out: timed_mlp((width,) * 3, out, nn.silu, lambda t: time_features(t, 8, highest=10.0, lowest=0.5))
    generator, critic = net(spec.shape), net(())
    model = stepwise(generator, spec.shape, latents, process, reverse_steps)
    sees = steps_of(generator, latents, process, reverse_steps)
    game = adversarial(model, critic, tx, tx, sees=sees, game=relativistic, r1=gamma, r2=gamma)
    return Recipe(game, (steps,), batch, prepare=symmetric(spec.levels), show=lambda x: 0.5 * x + 0.5)
