"""Digits of 8 x 8 pixels from a small StyleGAN2 (1912.04958): crisp, most are legible; 4 min on one core.

adversarial(styled(stylegan2), critic), non-saturating with R1: mapping, modulated convolutions, noise. For MNIST, hours and
not yet tried: --data mnist --widths 32 64 64 --steps 20000 --lazy 16 --mixing 0.9
"""

import optax

from genjax.augment import chain, cutout, translation
from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.styled import styled
from genjax.hybrids.adversarial import adversarial, augmented, samples
from genjax.nets import stylegan2, stylegan2_critic

data = "digits"


def recipe(
    spec: Spec,
    latent: int = 32,
    widths: tuple[int, ...] = (32, 48, 64),
    style: int = 48,
    steps: int = 4000,
    batch: int = 32,
    lr: Positive = 1e-2,
    gamma: float = 1.0,
    lazy: int = 1,
    mixing: Fraction = 0.0,
    paths: float = 0.0,
    psi: Fraction = 1.0,
    augment: bool = False,
) -> Recipe:
    """StyleGAN2 without its size, and on so few pixels without mixed styles.

    Args:
      spec: of the data; its sides must halve evenly between the levels.
      latent: dimensions of the noise.
      widths: channels of the levels, the finest first.
      style: numbers in a style.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam, the same on both sides; equalized layers want a larger one than others.
      gamma: weight of R1; larger is calmer.
      lazy: R1 is taken once in so many steps on average, so many times as strong.
      mixing: share of the training samples with two styles.
      paths: learning rate of the moves that even out path lengths, every fourth step; 0 leaves them out.
      psi: truncation of samples; less than 1 is more typical and less various.
      augment: show the critic pictures moved and cut out, for small sets (2006.10738).
    """
    tx, nets = optax.adam(lr, b1=0.0, b2=0.99), stylegan2(widths, spec.shape, style)
    path_tx = optax.adam(paths, b1=0.0, b2=0.99) if paths else None
    sees = samples(styled(nets, (latent,), mixing=mixing))
    sees = augmented(sees, chain(translation, cutout)) if augment else sees
    model = styled(nets, (latent,), psi=psi, path_tx=path_tx)
    model = adversarial(model, stylegan2_critic(widths), tx, tx, sees=sees, r1=gamma, lazy=lazy)
    return Recipe(model, (steps,), batch, symmetric(spec.levels), lambda x: 0.5 * x + 0.5, chunk=10)
