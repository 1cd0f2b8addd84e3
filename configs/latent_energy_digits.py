"""Digits of 8 x 8 pixels from a VAE whose prior is a flow tilted by an energy: legible, a little soft; 2 min of one core.

latent(vae, tilted(flow, energy)), 2006.08205 and 2010.00654. Chains of HMC are better by a quarter and take five times as long.
"""

from functools import partial
from typing import Literal

import optax

from genjax.chains import hmc, langevin, mala, random_walk
from genjax.config import Positive, Recipe
from genjax.data import Spec, unit
from genjax.densities import gaussian
from genjax.families.flow import coupling_flow, flow
from genjax.families.vae import vae
from genjax.hybrids.latent import latent
from genjax.hybrids.tilted import tilted
from genjax.nets import mlp

data = "digits"
parents = ("vae", "flow", "ebm")
CHAINS = {
    "langevin": lambda stride: partial(langevin, step=stride),
    "metropolis": lambda stride: partial(random_walk, scale=stride**0.5),
    "mala": lambda stride: partial(mala, step=stride),
    "hmc": lambda stride: partial(hmc, step=stride**0.5, leaps=5),  # a leap of it is a move of the others
}


def recipe(
    spec: Spec,
    size: int = 16,
    width: int = 256,
    steps: tuple[int, int, int] = (6000, 1500, 1000),
    batch: int = 128,
    lr: Positive = 1e-3,
    moves: int = 20,
    stride: Positive = 0.02,
    chain: Literal["langevin", "metropolis", "mala", "hmc"] = "langevin",
) -> Recipe:
    """First the VAE, then a flow of its codes, then an energy that corrects the flow by short chains.

    Args:
      spec: of the data.
      size: dimensions of a code.
      width: of the two hidden layers of the autoencoder's networks; the prior's are half as wide.
      steps: of the VAE, of the flow and of the energy.
      batch: examples in a step.
      lr: learning rate of Adam at its peak, a tenth of it for the energy; a cosine takes it to zero.
      moves: of a chain, in training and of a sample.
      stride: variance of the noise of a move.
      chain: whose moves; all but Langevin's may be refused (`tilt/accepted`), so that chains tend to the prior itself.
    """
    coder, prior, energy = (
        optax.adam(optax.cosine_decay_schedule(rate, count)) for rate, count in zip((lr, lr, 0.1 * lr), steps, strict=True)
    )
    encoder, decoder, half = mlp((width, width), (2 * size,)), mlp((width, width), spec.shape), width // 2
    autoencoder = vae(encoder, decoder, (size,), coder, likelihood=gaussian(0.2))
    base = flow(coupling_flow(lambda out: mlp((half, half), (out,)), size, 4), (size,), prior)
    corrected = tilted(base, mlp((half, half), ()), energy, kernel=CHAINS[chain](stride), steps=moves, alpha=0.1)
    return Recipe(latent(autoencoder, corrected), steps, batch, unit(spec.levels), show=lambda x: x)
