"""Digits of 8 x 8 pixels from a small StyleGAN3 (2106.12423): crisp, most are legible, some kinds seldom; 7 min on one core.

adversarial(styled(stylegan3), critic), non-saturating with R1: a picture that moves smoothly, without aliasing
"""

import optax

from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.styled import styled
from genjax.hybrids.adversarial import adversarial, samples
from genjax.nets import stylegan2_critic, stylegan3

data = "digits"


def recipe(
    spec: Spec,
    latent: int = 32,
    widths: tuple[int, ...] = (32, 32, 48, 48),
    critic: tuple[int, ...] = (32, 48),
    style: int = 48,
    steps: int = 3000,
    batch: int = 32,
    lr: Positive = 1e-2,
    gamma: float = 1.0,
    lazy: int = 1,
    mixing: Fraction = 0.0,
    psi: Fraction = 1.0,
) -> Recipe:
    """The critic is StyleGAN2's, as in the paper, which mixes no styles.

    Args:
      spec: of the data; its sides must be even.
      latent: dimensions of the noise.
      widths: channels of the layers, the last first.
      critic: channels of its levels, the finest first.
      style: numbers in a style.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam, the same on both sides; equalized layers want a larger one than others.
      gamma: weight of R1; larger is calmer.
      lazy: R1 is taken once in so many steps on average, so many times as strong.
      mixing: share of the training samples with two styles.
      psi: truncation of samples; less than 1 is more typical and less various.
    """
    tx, nets = optax.adam(lr, b1=0.0, b2=0.99), stylegan3(widths, spec.shape, style)
    sees, model = samples(styled(nets, (latent,), mixing=mixing)), styled(nets, (latent,), psi=psi)
    model = adversarial(model, stylegan2_critic(critic), tx, tx, sees=sees, r1=gamma, lazy=lazy)
    return Recipe(model, (steps,), batch, symmetric(spec.levels), lambda x: 0.5 * x + 0.5)
