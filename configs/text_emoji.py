"""Emoji of 32 x 32 pixels from words: faces, skin tones, hearts and fruit as told, rarer things blots; an hour on one core.

latent(adversarial(vae, critic), conditioned(diffusion, encoder)), Stable Diffusion's recipe in small; sample.py takes
--caption "red apple". Colours hold as the autoencoder lets them: of the tones asked for a sixth is still taken for others.
Needs a data folder with `emoji` (--data-dir or GENJAX_DATA).
"""

import optax

from genjax.conditions import GIVEN
from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.data.texts import EMOJI, reader
from genjax.densities import gaussian
from genjax.families.diffusion import diffusion
from genjax.families.vae import vae
from genjax.hybrids.adversarial import adversarial, reconstructions
from genjax.hybrids.conditioned import conditioned
from genjax.hybrids.latent import latent
from genjax.nets import conv_critic, dit, pooled, reading, res_decoder, res_encoder

data = "emoji32/captions"


def recipe(
    spec: Spec,
    channels: int = 8,
    widths: tuple[int, int] = (32, 64),
    width: int = 128,
    steps: tuple[int, int] = (6000, 12_000),
    batch: int = 32,
    lr: Positive = 1e-3,
    verdict: Positive = 1e-4,
    gamma: float = 0.1,
    drop: Fraction = 0.1,
    guidance: Positive = 2.0,
    sampling_steps: int = 30,
    captions: tuple[str, ...] = EMOJI,
) -> Recipe:
    """First the autoencoder with its critic; then, on its frozen codes, a transformer that is told what was read.

    Args:
      spec: of the data, which have captions.
      channels: of a code, whose sides are a quarter of the picture's.
      widths: channels of the autoencoder's levels, the finest first; also of the critic's.
      width: of the transformer, and what the reader of captions makes of one.
      steps: of the autoencoder and of the prior.
      batch: examples in a step.
      lr: peak learning rate of Adam for the prior, twice that for the ELBO; a cosine takes it to zero in each stage.
      verdict: that of the critic and of the decoder's adversarial move. It must fall with the ELBO's: the last word of a game
        is woven every 4 pixels.
      gamma: weight of the gradient penalty on data.
      drop: share of examples whose caption is hidden.
      guidance: scale of classifier-free guidance; 1 for none.
      sampling_steps: of one sample; each evaluates the network twice.
      captions: that the grids are drawn with, in turn.
    """
    read, sides = reader(spec.letters, spec.length), tuple(side // 4 for side in spec.shape[:-1])
    nets = res_encoder(widths, (*sides, 2 * channels)), res_decoder(widths, spec.shape)
    shape, falling = (*sides, channels), optax.cosine_decay_schedule
    autoencoder = vae(*nets, shape, optax.adam(falling(2 * lr, steps[0])), likelihood=gaussian(0.1), beta=0.1)
    play, sees = optax.adam(falling(verdict, steps[0]), b1=0.0, b2=0.99), reconstructions(autoencoder)
    autoencoder = adversarial(autoencoder, conv_critic(widths), play, play, sees=sees, r1=gamma, lazy=8)
    denoiser = dit(shape, patch=1, width=width, depth=4, heads=4, unroll=4)
    asked = {"classes": GIVEN, "drop": drop, "guidance": guidance, "steps": sampling_steps}
    text = pooled(reading(len(spec.letters) + 1, width))
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(falling(lr, steps[1])))
    prior = conditioned(diffusion(denoiser, shape, tx, **asked), text)
    model, show = latent(autoencoder, prior), lambda x: 0.5 * x + 0.5
    return Recipe(model, steps, batch, symmetric(spec.levels), show, chunk=20, read_caption=read, captions=captions)
