"""Digits of 8 x 8 pixels drawn as they are told in words, by a GAN: legible, nearly always right; 10 min on one core.

conditioned(adversarial(implicit, critic), encoder), StyleGAN-T's idea (2301.09515) in small: one pass of a generator draws what
was read of the letters. Words in an order never seen are misread as often as not; sample.py takes --caption.
"""

import optax

from genjax.conditions import GIVEN
from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.data.texts import NUMBERS, reader
from genjax.families.gan import implicit, relativistic
from genjax.hybrids.adversarial import adversarial, samples
from genjax.hybrids.conditioned import conditioned
from genjax.nets import mlp, pooled, projection, reading

data = "digits/captions"


def recipe(
    spec: Spec,
    latent: int = 32,
    width: int = 256,
    words: int = 32,
    steps: int = 6000,
    batch: int = 128,
    lr: Positive = 2e-4,
    gamma: float = 1.0,
    captions: tuple[str, ...] = NUMBERS,
) -> Recipe:
    """The game of gan_labels_digits; both sides hear what the encoder makes of the letters, and it learns with the critic.

    Args:
      spec: of the data, which have captions.
      latent: dimensions of the noise.
      width: of the two hidden layers of generator and critic.
      words: numbers that the encoder makes of a caption.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam, the same on both sides.
      gamma: weight of R1 and R2; larger is calmer, smaller sharper.
      captions: that the grids are drawn with, in turn.
    """
    read, tx = reader(spec.letters, spec.length), optax.adam(lr, b1=0.0, b2=0.99)
    generator = implicit(mlp((width, width), spec.shape), (latent,), classes=GIVEN)
    critic, sees = projection(mlp((width, width), (width,)), GIVEN), samples(generator, labelled=True)
    model = adversarial(generator, critic, tx, tx, sees=sees, game=relativistic, r1=gamma, r2=gamma)
    text = pooled(reading(len(spec.letters) + 1, words))
    model, show = conditioned(model, text, along=("critic",)), lambda x: 0.5 * x + 0.5
    return Recipe(model, (steps,), batch, symmetric(spec.levels), show, read_caption=read, captions=captions)
