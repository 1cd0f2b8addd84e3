"""Emoji of 32 x 32 pixels from words, by a VQ-GAN and a guided transformer of its codes; not yet trained to the end.

latent(adversarial(vq, critic), conditioned(autoregressive, encoder)), the recipe of 2012.09841 and of Parti (2206.10789) in
small; sample.py takes --caption "red apple". Needs a data folder with `emoji` (--data-dir or GENJAX_DATA).
"""

from math import prod

import optax

from genjax.conditions import GIVEN
from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, unit
from genjax.data.texts import reader
from genjax.families.autoregressive import autoregressive
from genjax.families.vq import vq
from genjax.heads import categorical
from genjax.hybrids.adversarial import adversarial, reconstructions
from genjax.hybrids.conditioned import conditioned
from genjax.hybrids.latent import latent
from genjax.nets import conv_critic, gpt, pooled, reading, res_decoder, res_encoder
from genjax.quantizers import codebook

data = "emoji32/captions"
CAPTIONS = ("grinning face", "red heart", "green apple", "blue circle", "cat face", "flag: japan", "woman: light skin tone",
            "man: dark skin tone")  # fmt: skip


def recipe(
    spec: Spec,
    codes: int = 512,
    channels: int = 8,
    widths: tuple[int, int] = (32, 64),
    width: int = 128,
    depth: int = 4,
    steps: tuple[int, int] = (5000, 7000),
    batch: int = 32,
    lr: Positive = 1e-3,
    verdict: Positive = 1e-4,
    gamma: float = 0.1,
    drop: Fraction = 0.1,
    guidance: Positive = 2.0,
    temperature: Positive = 0.8,
    captions: tuple[str, ...] = CAPTIONS,
) -> Recipe:
    """First the autoencoder with its critic; then, on its frozen codes, a transformer that is told what was read.

    Args:
      spec: of the data, which have captions.
      codes: vectors in the codebook.
      channels: of one vector; a picture has a vector for every 4 x 4 pixels.
      widths: channels of the autoencoder's levels, the finest first; also of the critic's.
      width, depth: of the transformer; the reader of captions is as wide.
      steps: of the autoencoder and of the transformer.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero in each stage.
      verdict: that of the critic and of the decoder's adversarial move.
      gamma: weight of the gradient penalty on data.
      drop: share of examples whose caption is hidden from the transformer.
      guidance: scale of classifier-free guidance; 1 for none.
      temperature: of sampling.
      captions: that the grids are drawn with, in turn.
    """
    read, places = reader(spec.letters, spec.length), tuple(side // 4 for side in spec.shape[:-1])
    shape, falling = (*places, channels), optax.cosine_decay_schedule
    autoencoder = vq(res_encoder(widths, shape), res_decoder(widths, spec.shape), codebook(codes), shape,
                     optax.adam(falling(lr, steps[0])))  # fmt: skip
    play, sees = optax.adam(falling(verdict, steps[0]), b1=0.0, b2=0.99), reconstructions(autoencoder)
    autoencoder = adversarial(autoencoder, conv_critic(widths), play, play, sees=sees, r1=gamma, lazy=8)
    net = gpt(codes, codes, prod(places), width=width, depth=depth, heads=4, unroll=depth)
    asked = {"classes": GIVEN, "drop": drop, "guidance": guidance}
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(falling(lr, steps[1])))
    prior = autoregressive(net, places, categorical(codes, grid=False, temperature=temperature), tx, **asked)
    prior = conditioned(prior, pooled(reading(len(spec.letters) + 1, width)))
    model = latent(autoencoder, prior, scaled=False)
    return Recipe(model, steps, batch, unit(spec.levels), lambda x: x, chunk=20, read_caption=read, captions=captions)
