"""MNIST, dynamically binarized, from a convolutional VAE: 98 nats (negative ELBO, training), 15 min of CPU time, no GPU needed.

Conditional on the digit where asked for. Two thirds of its samples are legible; the MLP's of `vae_mnist` are better by eye too.

Needs a data folder with `mnist` (--data-dir or GENJAX_DATA).
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, binarize
from genjax.families.vae import vae
from genjax.nets import conv_decoder, conv_encoder

data = "mnist"


def recipe(
    spec: Spec,
    latent: int = 32,
    widths: tuple[int, ...] = (32, 64),
    steps: int = 5_000,
    batch: int = 128,
    lr: Positive = 1e-3,
    beta: float = 1.0,
    conditional: bool = False,
) -> Recipe:
    """A convolutional VAE with Bernoulli pixels, drawn anew each time an example is seen.

    Args:
      spec: of the data.
      latent: dimensions of a code.
      widths: channels of the levels, the finest first; each level halves the sides.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam at the start; it falls to zero along a cosine.
      beta: weight of the KL; 1 is the ELBO, above 1 disentangles.
      conditional: give encoder and decoder the labels; then sample.py takes --label.
    """
    classes = spec.classes if conditional else 0
    model = vae(
        encoder=conv_encoder(widths, (2 * latent,)),
        decoder=conv_decoder(widths, spec.shape),
        latent=(latent,),
        tx=optax.adam(optax.cosine_decay_schedule(lr, steps)),
        beta=beta,
        classes=classes,
    )
    show = lambda x: x
    return Recipe(model, (steps,), batch, binarize(spec.levels), show, chunk=20, classes=classes, cell=0.0)
