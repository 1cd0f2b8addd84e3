"""Digits of 8 x 8 pixels from a GAN that is then rewarded for ink: legible, in bold strokes; 1 min of one core.

rewarded(adversarial(implicit(generator), critic), ink, way=pathwise(anchor)). A reward of the mean of all pixels greyed the
paper rather than made strokes bolder. With --rank the reward trains low-rank changes alone (DRaFT-LoRA, 2309.17400).
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.gan import implicit, relativistic
from genjax.hybrids.adversarial import adversarial
from genjax.hybrids.lora import lora
from genjax.hybrids.rewarded import pathwise, rewarded
from genjax.nets import mlp

data = "digits"
parents = ("gan",)


def ink(x, y=None):
    """(B,) mean of the pixels, of which 1 is ink; what is nearer to paper, -1, earns nothing, so that paper stays paper."""
    return x.clip(0.0, 1.0).reshape(len(x), -1).mean(1)


def recipe(
    spec: Spec,
    latent: int = 32,
    width: int = 256,
    steps: tuple[int, int] = (8000, 500),
    batch: int = 128,
    lr: Positive = 2e-4,
    gamma: float = 1.0,
    anchor: float = 1.0,
    reward_lr: Positive = 1e-4,
    rank: int = 0,
) -> Recipe:
    """First the GAN of gan_digits, then its generator alone, which climbs the reward without a critic.

    Args:
      spec: of the data.
      latent: dimensions of the noise.
      width: of the two hidden layers of generator and critic.
      steps: of the GAN and of the reward.
      batch: examples, and samples, in a step.
      lr: learning rate of Adam in the game, the same on both sides.
      gamma: weight of R1 and R2.
      anchor: reward that a squared distance of 1 a pixel costs, from what the generator of the first stage made of the noise.
      reward_lr: learning rate of Adam of the second stage at its peak; a cosine takes it to zero.
      rank: of the changes that it trains; 0 for the weights themselves.
    """
    tx, climb = optax.adam(lr, b1=0.0, b2=0.99), optax.adam(optax.cosine_decay_schedule(reward_lr, steps[1]))
    generator, critic = mlp((width, width), spec.shape), mlp((width, width), ())
    gan = adversarial(implicit(generator, (latent,)), critic, tx, tx, game=relativistic, r1=gamma, r2=gamma)
    gan = lora(gan, rank, waits=True) if rank else gan
    model = rewarded(gan, ink, climb, pathwise(anchor))
    return Recipe(model, steps, batch, prepare=symmetric(spec.levels), show=lambda x: 0.5 * x + 0.5)
