"""Digits of 8 x 8 pixels drawn as they are told in words, by diffusion: legible, nearly always right; 5 min on one core.

conditioned(diffusion, encoder), the encoder some convolutions over the letters; words in an order never seen are read, too.
sample.py takes --caption "draw me a seven, please".
"""

import optax

from genjax.conditions import GIVEN
from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.data.texts import NUMBERS, reader
from genjax.families.diffusion import diffusion
from genjax.hybrids.conditioned import conditioned
from genjax.nets import encoder, pooled, reading, timed_mlp

data = "digits/captions"


def recipe(
    spec: Spec,
    width: int = 512,
    words: int = 32,
    steps: int = 6000,
    batch: int = 128,
    lr: Positive = 1e-3,
    drop: Fraction = 0.1,
    guidance: Positive = 2.0,
    sampling_steps: int = 50,
    captions: tuple[str, ...] = NUMBERS,
    transformer: bool = False,
) -> Recipe:
    """The diffusion model of diffusion_digits, told what an encoder makes of the letters; the encoder learns along.

    Args:
      spec: of the data, which have captions.
      width: of the three hidden layers of the denoiser.
      words: numbers that the encoder makes of a caption.
      steps: training steps.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero.
      drop: share of examples whose caption is hidden.
      guidance: scale of classifier-free guidance; 1 for none.
      sampling_steps: of one sample; each evaluates the network twice.
      captions: that the grids are drawn with, in turn.
      transformer: reads the captions in the place of convolutions, as well where they are worded as in training and hardly
        otherwise: it learns each place by itself.
    """
    read = reader(spec.letters, spec.length)
    tx = optax.adam(optax.cosine_decay_schedule(lr, steps))
    asked = {"classes": GIVEN, "drop": drop, "guidance": guidance}
    model = diffusion(timed_mlp((width, width, width), spec.shape), spec.shape, tx, steps=sampling_steps, **asked)
    letters, small = len(spec.letters) + 1, {"width": 64, "depth": 2}
    text = pooled(encoder(letters, words, spec.length, **small) if transformer else reading(letters, words))
    show = lambda x: 0.5 * x + 0.5
    return Recipe(conditioned(model, text), (steps,), batch, symmetric(spec.levels), show, read_caption=read, captions=captions)
