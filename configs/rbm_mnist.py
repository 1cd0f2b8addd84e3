"""MNIST, dynamically binarized, from a restricted Boltzmann machine of 500 hidden units: legible, in eleven CPU minutes.

Needs a data folder with `mnist` (--data-dir or GENJAX_DATA).
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, binarize
from genjax.families.rbm import rbm

data = "mnist"


def recipe(
    spec: Spec,
    hidden: int = 500,
    gibbs: int = 5,
    steps: int = 20_000,
    batch: int = 100,
    lr: Positive = 0.05,
    sampling_steps: int = 2000,
    persistent: bool = True,
) -> Recipe:
    """A machine of binary pixels, drawn anew each time an example is seen; one persistent chain for each place in the batch.

    Args:
      spec: of the data.
      hidden: hidden units.
      gibbs: Gibbs moves of the chains in each training step.
      steps: training steps.
      batch: examples in a step, and chains.
      lr: learning rate of plain gradient descent at the start; it falls to zero along a straight line.
      sampling_steps: Gibbs moves of a sample from evenly random pixels.
      persistent: chains go on from step to step; with --no-persistent they begin at the data (contrastive divergence).
    """
    tx = optax.sgd(optax.linear_schedule(lr, 0.0, steps))
    model = rbm(hidden, spec.shape, tx, steps=gibbs, persistent=persistent, sampling_steps=sampling_steps)
    return Recipe(model, (steps,), batch, prepare=binarize(spec.levels), show=lambda x: x, cell=0.0)
