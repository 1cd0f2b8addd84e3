"""Emoji of 32 x 32 pixels written code by code as they are told in words; 90 min of a busy core.

latent(adversarial(vq, critic), autoregressive), VQ-GAN with a transformer of captions (2012.09841, 2102.12092), without the
perceptual loss. What it has seen it writes nearly as it was, of other words it makes scraps.
Needs a data folder with `emoji` (--data-dir or GENJAX_DATA).
"""

from math import prod

import optax

from genjax.conditions import GIVEN
from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.data.texts import EMOJI, reader
from genjax.densities import laplace
from genjax.families.autoregressive import autoregressive
from genjax.families.vq import vq
from genjax.heads import categorical
from genjax.hybrids.adversarial import adversarial, reconstructions
from genjax.hybrids.latent import latent
from genjax.nets import conv_critic, gpt, res_decoder, res_encoder
from genjax.precision import half
from genjax.quantizers import codebook

data = "emoji32/captions"


def recipe(
    spec: Spec,
    codes: int = 1024,
    channels: int = 16,
    levels: tuple[int, ...] = (32, 64),
    widths: tuple[int, int] = (32, 64),
    width: int = 128,
    depth: int = 4,
    steps: tuple[int, int] = (4000, 6000),
    batch: int = 32,
    lr: Positive = 1e-3,
    prior_lr: Positive = 1e-3,
    verdict: Positive = 1e-4,
    gamma: float = 0.1,
    drop: Fraction = 0.1,
    guidance: Positive = 1.0,
    temperature: Positive = 0.7,
    captions: tuple[str, ...] = EMOJI,
) -> Recipe:
    """First the autoencoder with its critic; then, on its frozen codes, a transformer that reads before it writes them.

    Args:
      spec: of the data, which have captions.
      codes: vectors in the codebook.
      channels: of one vector.
      levels: channels of the autoencoder's levels, the finest first; each halves the sides.
      widths: channels of the critic's levels, the finest first.
      width, depth: of the transformer.
      steps: of the autoencoder and of the transformer.
      batch: examples in a step.
      lr: peak learning rate of Adam for the autoencoder; a cosine takes all rates to zero in each stage.
      prior_lr: that of the transformer.
      verdict: that of the critic and of the decoder's adversarial move.
      gamma: weight of the gradient penalty on data.
      drop: share of examples whose caption is hidden from the transformer.
      guidance: scale of classifier-free guidance; 1 for none. Of a transformer that knows its data by heart, which this one is
        in the end, it raises what neither answer believes in.
      temperature: of sampling.
      captions: that the grids are drawn with, in turn.
    """
    read, places = reader(spec.letters, spec.length), tuple(side // 2 ** len(levels) for side in spec.shape[:-1])
    nets, falling = (res_encoder(levels, (*places, channels)), res_decoder(levels, spec.shape)), optax.cosine_decay_schedule
    vectors, tx = codebook(codes), optax.adam(falling(lr, steps[0]))
    autoencoder = vq(*nets, vectors, (*places, channels), tx, likelihood=laplace(0.1))
    play, sees = optax.adam(falling(verdict, steps[0]), b1=0.0, b2=0.99), reconstructions(autoencoder)
    autoencoder = adversarial(autoencoder, conv_critic(widths), play, play, sees=sees, r1=gamma, lazy=8)
    context, heads = spec.length + prod(places), max(width // 64, 1)
    net = gpt(codes, codes, context, width=width, depth=depth, heads=heads, prefix_levels=len(spec.letters) + 1)
    warm = optax.warmup_cosine_decay_schedule(0.0, prior_lr, min(500, steps[1] // 10), steps[1])
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(warm))
    asked = {"classes": GIVEN, "drop": drop, "guidance": guidance}
    head = categorical(codes, grid=False, temperature=temperature)
    prior = autoregressive(half(net), places, head, tx, **asked)
    model, show = latent(autoencoder, prior, scaled=False), lambda x: 0.5 * x + 0.5
    return Recipe(model, steps, batch, symmetric(spec.levels), show, chunk=20, read_caption=read, captions=captions)
