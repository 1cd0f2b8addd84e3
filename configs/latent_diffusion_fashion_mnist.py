"""Fashion-MNIST of the class asked for from latent diffusion: nearly all right, some sandals break; 50 min on a busy core.

latent(adversarial(vae, critic), diffusion), the Stable Diffusion recipe: a transformer denoises codes of 7 x 7 places.
A guidance of 1.5 is nearer to the data, of 2 nearer to what was asked for.
Needs a data folder with `fashion_mnist` (--data-dir or GENJAX_DATA).
"""

import optax

from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.densities import gaussian
from genjax.families.diffusion import diffusion
from genjax.families.vae import vae
from genjax.hybrids.adversarial import adversarial, reconstructions
from genjax.hybrids.latent import latent
from genjax.nets import conv_critic, dit, res_decoder, res_encoder

data = "fashion_mnist"
parents = ("vae_conv", "diffusion")


def recipe(
    spec: Spec,
    channels: int = 8,
    widths: tuple[int, int] = (32, 64),
    width: int = 128,
    depth: int = 4,
    steps: tuple[int, int] = (2500, 6000),
    batch: int = 64,
    lr: Positive = 1e-3,
    verdict: Positive = 1e-4,
    gamma: float = 0.1,
    drop: Fraction = 0.1,
    guidance: Positive = 2.0,
    sampling_steps: int = 30,
) -> Recipe:
    """First the autoencoder with its critic; then, on its frozen codes, a diffusion model that knows the class.

    Args:
      spec: of the data.
      channels: of a code, whose sides are a quarter of the picture's.
      widths: channels of the autoencoder's levels, the finest first; also of the critic's.
      width, depth: of the transformer, every place of a code a token.
      steps: of the autoencoder and of the prior.
      batch: examples in a step.
      lr: peak learning rate of Adam for the prior, twice that for the ELBO; a cosine takes it to zero in each stage.
      verdict: that of the critic and of the decoder's adversarial move. It must fall with the ELBO's: the last word of a game
        is woven every 4 pixels.
      gamma: weight of the gradient penalty on data.
      drop: share of examples whose class is hidden.
      guidance: scale of classifier-free guidance; 1 for none.
      sampling_steps: of one sample; each evaluates the network twice.
    """
    shape = (*(side // 4 for side in spec.shape[:-1]), channels)
    nets = res_encoder(widths, (*shape[:-1], 2 * channels)), res_decoder(widths, spec.shape)
    falling = optax.cosine_decay_schedule
    autoencoder = vae(*nets, shape, optax.adam(falling(2 * lr, steps[0])), likelihood=gaussian(0.1), beta=0.1)
    play, sees = optax.adam(falling(verdict, steps[0]), b1=0.0, b2=0.99), reconstructions(autoencoder)
    autoencoder = adversarial(autoencoder, conv_critic(widths), play, play, sees=sees, r1=gamma, lazy=8)
    net = dit(shape, patch=1, width=width, depth=depth, heads=4, unroll=depth)
    asked = {"classes": spec.classes, "drop": drop, "guidance": guidance, "steps": sampling_steps}
    prior = diffusion(net, shape, optax.adam(falling(lr, steps[1])), **asked)
    model, show = latent(autoencoder, prior), lambda x: 0.5 * x + 0.5
    return Recipe(model, steps, batch, symmetric(spec.levels), show, chunk=20, classes=spec.classes)
