"""Emoji of 32 x 32 pixels from words, crisp: what it has seen drawn nearly as it was, tones as told; made for a GPU.

latent(adversarial(vae, critic), conditioned(diffusion, encoder)), as text_emoji, with codes for every 2 x 2 pixels, which keep
a tone of a few pixels of skin, and a transformer of 20 times the parameters, which can learn them. Of words never seen together
some come out right. Needs a data folder with `emoji` (--data-dir or GENJAX_DATA).
"""

import optax

from genjax.conditions import GIVEN
from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.data.texts import EMOJI, reader
from genjax.densities import laplace
from genjax.families.diffusion import diffusion
from genjax.families.vae import vae
from genjax.hybrids.adversarial import adversarial, reconstructions
from genjax.hybrids.conditioned import conditioned
from genjax.hybrids.latent import latent
from genjax.nets import conv_critic, dit, pooled, reading, res_decoder, res_encoder
from genjax.precision import half

data = "emoji32/captions"


def recipe(
    spec: Spec,
    channels: int = 6,
    fine: int = 64,
    widths: tuple[int, int] = (32, 64),
    width: int = 384,
    depth: int = 8,
    steps: tuple[int, int] = (3000, 9000),
    batch: int = 128,
    lr: Positive = 1e-3,
    prior_lr: Positive = 5e-4,
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
      channels: of a code, whose sides are half of the picture's.
      fine: channels of the autoencoder, which has one level.
      widths: channels of the critic's levels, the finest first.
      width, depth: of the transformer; what the reader of captions makes of one is as wide.
      steps: of the autoencoder and of the prior.
      batch: examples in a step.
      lr: peak learning rate of Adam for the ELBO; a cosine takes all rates to zero in each stage.
      prior_lr: that of the prior.
      verdict: that of the critic and of the decoder's adversarial move.
      gamma: weight of the gradient penalty on data.
      drop: share of examples whose caption is hidden.
      guidance: scale of classifier-free guidance; 1 for none.
      sampling_steps: of one sample; each evaluates the network twice.
      captions: that the grids are drawn with, in turn.
    """
    read, sides = reader(spec.letters, spec.length), tuple(side // 2 for side in spec.shape[:-1])
    nets = res_encoder((fine,), (*sides, 2 * channels)), res_decoder((fine,), spec.shape)
    shape, falling = (*sides, channels), optax.cosine_decay_schedule
    autoencoder = vae(*nets, shape, optax.adam(falling(2 * lr, steps[0])), likelihood=laplace(0.1), beta=0.1)
    play, sees = optax.adam(falling(verdict, steps[0]), b1=0.0, b2=0.99), reconstructions(autoencoder)
    autoencoder = adversarial(autoencoder, conv_critic(widths), play, play, sees=sees, r1=gamma, lazy=8)
    denoiser = half(dit(shape, patch=2, width=width, depth=depth, heads=max(width // 64, 1)))
    asked = {"classes": GIVEN, "drop": drop, "guidance": guidance, "steps": sampling_steps}
    text = pooled(reading(len(spec.letters) + 1, width, width=max(width // 2, 64)))
    warm = optax.warmup_cosine_decay_schedule(0.0, prior_lr, min(500, steps[1] // 10), steps[1])
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(warm))
    prior = conditioned(diffusion(denoiser, shape, tx, **asked), text)
    model, show = latent(autoencoder, prior), lambda x: 0.5 * x + 0.5
    return Recipe(model, steps, batch, symmetric(spec.levels), show, chunk=20, read_caption=read, captions=captions)
