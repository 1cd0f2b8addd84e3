"""MNIST digits as they are told in words, at 14 x 14 pixels, then at 28 x 28: crisp, few with a speck; 18 min on one core.

cascade(conditioned(diffusion, encoder), diffusion), Imagen's recipe (2205.11487) in small: noise on the small picture, told of.
Needs a data folder with `mnist` (--data-dir or GENJAX_DATA).
"""

import optax

from genjax.conditions import GIVEN
from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.data.texts import NUMBERS, reader
from genjax.families.diffusion import diffusion
from genjax.hybrids.cascade import cascade
from genjax.hybrids.conditioned import conditioned
from genjax.nets import pooled, reading, unet

data = "mnist/captions"


def recipe(
    spec: Spec,
    widths: tuple[int, ...] = (32, 64),
    fine: tuple[int, ...] = (16, 32, 32),
    words: int = 32,
    steps: tuple[int, int] = (3000, 2000),
    batch: int = 32,
    lr: Positive = 1e-3,
    frozen: bool = False,
    drop: Fraction = 0.1,
    guidance: Positive = 2.0,
    sampling_steps: int = 25,
    captions: tuple[str, ...] = NUMBERS,
) -> Recipe:
    """The encoder of captions learns along with the first model; Imagen's own was trained on text alone, and frozen.

    Args:
      spec: of the data, which have captions.
      widths: channels of the first UNet's levels, the finest first.
      fine: those of the second one.
      words: numbers that the encoder makes of a caption.
      steps: of the first model and of the second.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero in each stage.
      frozen: leave the encoder as it began.
      drop: share of examples whose caption is hidden.
      guidance: scale of classifier-free guidance; 1 for none.
      sampling_steps: of each model.
      captions: that the grids are drawn with, in turn.
    """
    read, small = reader(spec.letters, spec.length), (*(side // 2 for side in spec.shape[:-1]), spec.shape[-1])
    tx = [optax.adam(optax.cosine_decay_schedule(lr, count)) for count in steps]
    asked = {"classes": GIVEN, "drop": drop, "guidance": guidance, "steps": sampling_steps}
    text = pooled(reading(len(spec.letters) + 1, words))
    first = conditioned(diffusion(unet(widths, small), small, tx[0], **asked), text, along=() if frozen else None)
    second = diffusion(unet(fine, spec.shape, blocks=1), spec.shape, tx[1], classes=GIVEN, steps=sampling_steps)
    model, show = cascade(first, second), lambda x: 0.5 * x + 0.5
    return Recipe(model, steps, batch, symmetric(spec.levels), show, chunk=20, read_caption=read, captions=captions)
