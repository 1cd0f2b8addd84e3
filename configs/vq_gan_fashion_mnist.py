"""Fashion-MNIST of the class asked for, by a VQ-GAN and a guided transformer of its codes; sandals often break; 17 min.

latent(adversarial(vq, critic), autoregressive), the recipe of 2012.09841 without its perceptual loss.
Needs a data folder with `fashion_mnist` (--data-dir or GENJAX_DATA).
"""

from math import prod

import optax

from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, unit
from genjax.families.autoregressive import autoregressive
from genjax.families.vq import vq
from genjax.heads import categorical
from genjax.hybrids.adversarial import adversarial, reconstructions
from genjax.hybrids.latent import latent
from genjax.nets import conv_critic, conv_decoder, conv_encoder, gpt
from genjax.quantizers import codebook

data = "fashion_mnist"
parents = ("vq_gpt", "gan")


def recipe(
    spec: Spec,
    codes: int = 256,
    channels: int = 8,
    widths: tuple[int, int] = (32, 64),
    width: int = 128,
    depth: int = 4,
    steps: tuple[int, int] = (1500, 2000),
    batch: int = 64,
    lr: Positive = 1e-3,
    verdict: Positive = 1e-4,
    gamma: float = 0.1,
    drop: Fraction = 0.1,
    guidance: Positive = 2.5,
    temperature: Positive = 0.8,
) -> Recipe:
    """First the autoencoder with its critic; then, on its frozen codes, a transformer told the class before it writes them.

    Args:
      spec: of the data.
      codes: vectors in the codebook.
      channels: of one vector; a picture has a vector for every 4 x 4 pixels.
      widths: channels of the autoencoder's levels, the finest first; also of the critic's.
      width, depth: of the transformer.
      steps: of the autoencoder and of the transformer.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero in each stage.
      verdict: that of the critic and of the decoder's adversarial move. It must fall with the other: the last word of a game is
        woven every 4 pixels.
      gamma: weight of the gradient penalty on data.
      drop: share of examples whose class is hidden from the transformer.
      guidance: scale of classifier-free guidance; 1 for none.
      temperature: of sampling.
    """
    places, falling = tuple(side // 4 for side in spec.shape[:-1]), optax.cosine_decay_schedule
    nets = conv_encoder(widths, (*places, channels)), conv_decoder(widths, spec.shape)
    autoencoder = vq(*nets, codebook(codes), (*places, channels), optax.adam(falling(lr, steps[0])))
    play, sees = optax.adam(falling(verdict, steps[0]), b1=0.0, b2=0.99), reconstructions(autoencoder)
    autoencoder = adversarial(autoencoder, conv_critic(widths), play, play, sees=sees, r1=gamma)
    net = gpt(codes, codes, prod(places), width=width, depth=depth, heads=4, unroll=depth)
    asked = {"classes": spec.classes, "drop": drop, "guidance": guidance}
    head = categorical(codes, grid=False, temperature=temperature)
    prior = autoregressive(net, places, head, optax.adam(falling(lr, steps[1])), **asked)
    model, show = latent(autoencoder, prior, scaled=False), lambda x: x
    return Recipe(model, steps, batch, unit(spec.levels), show, chunk=20, classes=spec.classes)
