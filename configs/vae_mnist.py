"""MNIST, dynamically binarized, from an MLP VAE: 90 nats (negative ELBO, training), 7 min of CPU time, 1 GiB, no GPU needed.

Needs a data folder with `mnist` (--data-dir or GENJAX_DATA).
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, binarize
from genjax.families.vae import vae
from genjax.nets import mlp

data = "mnist"


def recipe(
    spec: Spec,
    latent: int = 32,
    width: int = 512,
    steps: int = 20_000,
    batch: int = 128,
    lr: Positive = 1e-3,
    beta: float = 1.0,
    free_bits: float = 0.0,
) -> Recipe:
    """An MLP VAE with Bernoulli pixels, drawn anew each time an example is seen.

    Args:
      spec: of the data.
      latent: dimensions of a code.
      width: of the two hidden layers of encoder and decoder.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam at the start; it falls to zero along a cosine.
      beta: weight of the KL; 1 is the ELBO, above 1 disentangles.
      free_bits: nats that each dimension of a code may carry for nothing.
    """
    model = vae(
        encoder=mlp((width, width), (2 * latent,)),
        decoder=mlp((width, width), spec.shape),
        latent=(latent,),
        tx=optax.adam(optax.cosine_decay_schedule(lr, steps)),
        beta=beta,
        free_bits=free_bits,
    )
    return Recipe(model, (steps,), batch, prepare=binarize(spec.levels), show=lambda x: x, cell=0.0)
