"""MNIST, dynamically binarized, from the importance-weighted bound with the networks of 1509.00519.

Needs a data folder with `mnist` (--data-dir or GENJAX_DATA). Table 1 of the paper: `python -m benchmarks.iwae`.
"""

import flax.linen as nn
import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, binarize
from genjax.families.vae import vae
from genjax.nets import mlp

data = "mnist"


def recipe(
    spec: Spec, samples: int = 5, latent: int = 50, width: int = 200, steps: int = 60_000, batch: int = 100, lr: Positive = 1e-3
) -> Recipe:
    """One stochastic layer, two hidden layers of tanh units either way.

    Args:
      spec: of the data.
      samples: draws of a code an example, K of the bound; 1 is the ELBO.
      latent: dimensions of a code.
      width: of the hidden layers of encoder and decoder.
      steps: training steps.
      batch: examples in a step.
      lr: highest learning rate of Adam; 1000 steps of warm-up, then a cosine to zero.
    """
    schedule = optax.warmup_cosine_decay_schedule(0.0, lr, min(1000, steps // 2), steps)
    model = vae(
        encoder=mlp((width, width), (2 * latent,), nn.tanh),
        decoder=mlp((width, width), spec.shape, nn.tanh),
        latent=(latent,),
        tx=optax.adam(schedule),
        samples=samples,
        importance=samples > 1,
    )
    return Recipe(model, (steps,), batch, prepare=binarize(spec.levels), show=lambda x: x, cell=0.0)
