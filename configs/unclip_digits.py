"""Digits of 8 x 8 pixels drawn as they are told in words, DALL-E 2's way: most legible, nearly all right; 5 min on one core.

unclip(diffusion, diffusion, image, text): contrastive embeddings, a prior of them told the words, a decoder (2204.06125)
"""

import optax

from genjax.conditions import GIVEN
from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.data.texts import NUMBERS, reader
from genjax.families.diffusion import diffusion
from genjax.hybrids.unclip import unclip
from genjax.nets import mlp, pooled, reading, timed_mlp

data = "digits/captions"


def recipe(
    spec: Spec,
    size: int = 16,
    width: int = 256,
    steps: tuple[int, int, int] = (2000, 6000, 8000),
    batch: int = 128,
    lr: Positive = 1e-3,
    drop: Fraction = 0.1,
    guidance: Positive = 1.5,
    sampling_steps: int = 25,
    captions: tuple[str, ...] = NUMBERS,
) -> Recipe:
    """sample.py takes --caption; the same words with other seeds are other embeddings.

    Args:
      spec: of the data, which have captions.
      size: numbers in an embedding.
      width: of the hidden layers of every network.
      steps: of the embeddings, of the prior and of the decoder.
      batch: examples in a step.
      lr: peak learning rate of Adam in each stage, which a cosine takes to zero.
      drop: share of examples whose condition is hidden from prior and decoder.
      guidance: scale of classifier-free guidance of the prior; 1 for none.
      sampling_steps: of prior and decoder.
      captions: that the grids are drawn with, in turn.
    """
    read = reader(spec.letters, spec.length)
    tx = [optax.adam(optax.cosine_decay_schedule(lr, count)) for count in steps]
    image, text = mlp((width,), (size,)), pooled(reading(len(spec.letters) + 1, size))
    denoiser = lambda shape: timed_mlp((width, width, width), shape)
    asked = {"classes": GIVEN, "drop": drop, "steps": sampling_steps}
    prior = diffusion(denoiser((size,)), (size,), tx[1], guidance=guidance, **asked)
    decoder = diffusion(denoiser(spec.shape), spec.shape, tx[2], **asked)
    model, show = unclip(prior, decoder, image, text, tx[0]), lambda x: 0.5 * x + 0.5
    return Recipe(model, steps, batch, symmetric(spec.levels), show, read_caption=read, captions=captions)
