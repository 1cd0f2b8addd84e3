"""Digits of 8 x 8 pixels from VAE-GAN as its paper has it, likeness told by the critic: crisp, most legible; 3 min on a CPU.

similar(adversarial(vae, critic), a layer of the critic), the critic judging reconstructions and samples
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, unit
from genjax.families.vae import vae
from genjax.hybrids.adversarial import adversarial
from genjax.hybrids.sees import drawn
from genjax.hybrids.similar import similar
from genjax.nets import mlp, on_features

data = "digits"
parents = ("vae", "gan")


def recipe(
    spec: Spec,
    latent: int = 16,
    width: int = 256,
    features: int = 64,
    scale: Positive = 0.1,
    steps: int = 6000,
    batch: int = 128,
    lr: Positive = 1e-3,
    verdict: Positive = 1e-4,
    gamma: float = 1.0,
) -> Recipe:
    """Likeness in the critic's features for both networks, the verdict for the decoder alone.

    Args:
      spec: of the data.
      latent: dimensions of a code.
      width: of the hidden layers of each network.
      features: of the critic's layer in which likeness is told.
      scale: standard deviation of a feature; smaller keeps more of each image in its code.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam for likeness and KL.
      verdict: learning rate of the critic and of the decoder's adversarial move.
      gamma: weight of the gradient penalty on data.
    """
    encoder, decoder = mlp((width, width), (2 * latent,)), mlp((width, width), spec.shape)
    autoencoder, trunk = vae(encoder, decoder, (latent,), optax.adam(lr)), mlp((width,), (features,))
    tx, sees = optax.adam(verdict, b1=0.0, b2=0.99), drawn(autoencoder, (latent,))
    game = adversarial(autoencoder, on_features(trunk, mlp((width,), ())), tx, tx, sees=sees, r1=gamma)
    model = similar(game, lambda params, x: trunk.apply(params["critic"]["trunk"], x), optax.adam(lr), scale=scale)
    return Recipe(model, (steps,), batch, prepare=unit(spec.levels), show=lambda x: x)
