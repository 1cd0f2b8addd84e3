"""Digits of 8 x 8 pixels from words, as told, also in words never seen together; 7 min on one core, sample.py takes --caption.

latent(adversarial(vae, critic), conditioned(diffusion, encoder)), Stable Diffusion's recipe (2112.10752) with all its parts in
small: a convolutional autoencoder, a UNet of its codes with cross-attention to text, classifier-free guidance
"""

import optax

from genjax.conditions import GIVEN
from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.data.texts import NUMBERS, reader
from genjax.densities import gaussian
from genjax.families.diffusion import diffusion
from genjax.families.vae import vae
from genjax.hybrids.adversarial import adversarial, reconstructions
from genjax.hybrids.conditioned import conditioned
from genjax.hybrids.latent import latent
from genjax.nets import conv_critic, conv_decoder, conv_encoder, reading, unet

data = "digits/captions"


def recipe(
    spec: Spec,
    channels: int = 4,
    widths: tuple[int, ...] = (32, 64),
    words: int = 32,
    steps: tuple[int, int] = (3000, 6000),
    batch: int = 64,
    lr: Positive = 1e-3,
    verdict: Positive = 1e-4,
    gamma: float = 1.0,
    drop: Fraction = 0.1,
    guidance: Positive = 2.0,
    sampling_steps: int = 30,
    captions: tuple[str, ...] = NUMBERS,
) -> Recipe:
    """First the autoencoder with its critic; then, on its frozen codes, the diffusion, whose reader of captions learns along.

    Args:
      spec: of the data, which have captions.
      channels: of a code, whose sides are half of the picture's.
      widths: channels of the UNet's levels, the finest first.
      words: numbers that the encoder makes of each letter and its neighbours.
      steps: of the autoencoder and of the diffusion.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero in each stage.
      verdict: that of the critic and of the decoder's adversarial move.
      gamma: weight of the gradient penalty on data.
      drop: share of examples whose caption is hidden.
      guidance: scale of classifier-free guidance; 1 for none.
      sampling_steps: of one sample; each evaluates the UNet twice.
      captions: that the grids are drawn with, in turn.
    """
    read, sides = reader(spec.letters, spec.length), tuple((side + 1) // 2 for side in spec.shape[:-1])
    shape, falling = (*sides, channels), optax.cosine_decay_schedule
    nets = conv_encoder((32,), (*sides, 2 * channels)), conv_decoder((32,), spec.shape)
    autoencoder = vae(*nets, shape, optax.adam(falling(lr, steps[0])), likelihood=gaussian(0.2), beta=0.5)
    play, sees = optax.adam(falling(verdict, steps[0]), b1=0.0, b2=0.99), reconstructions(autoencoder)
    autoencoder = adversarial(autoencoder, conv_critic((16, 32)), play, play, sees=sees, r1=gamma, lazy=4)
    asked = {"classes": GIVEN, "drop": drop, "guidance": guidance, "steps": sampling_steps}
    net = unet(widths, shape, blocks=1, attention=tuple(range(len(widths) + 1)))
    prior = diffusion(net, shape, optax.adam(falling(lr, steps[1])), **asked)
    prior = conditioned(prior, reading(len(spec.letters) + 1, words))
    model, show = latent(autoencoder, prior), lambda x: 0.5 * x + 0.5
    return Recipe(model, steps, batch, symmetric(spec.levels), show, chunk=20, read_caption=read, captions=captions)
