"""Digits of 8 x 8 pixels from a Diffusion-GAN (2206.02262): legible, some grain on black; 1 min of one core.

reaching(implicit(generator), critic): both sides are noised, further as the critic overfits (`reach/T` goes from 0.04 to 0.4).
In the same time it stays behind gan_digits: see RESULTS.md.
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.gan import implicit
from genjax.hybrids.reaching import reaching
from genjax.hybrids.sees import corrupted
from genjax.nets import mlp, timed_mlp
from genjax.schedules import cosine

data = "digits"
parents = ("diffusion", "gan")


def recipe(
    spec: Spec,
    latent: int = 32,
    width: int = 256,
    steps: int = 10000,
    batch: int = 128,
    lr: Positive = 2e-4,
    gamma: float = 0.1,
    target: float = 0.2,
) -> Recipe:
    """The non-saturating game between noised digits; `reach/T` in metrics.jsonl is how far noising goes.

    Args:
      spec: of the data.
      latent: dimensions of the noise.
      width: of the two hidden layers of generator and critic.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam, the same on both sides.
      gamma: weight of the gradient penalty on data.
      target: how sure of its reals the critic may be, in [-1, 1], before noising goes further; the paper's 0.6 is more than
        a critic with this penalty ever is, so that nothing would be noised.
    """
    tx = optax.adam(lr, b1=0.0, b2=0.99)
    generator, critic = mlp((width, width), spec.shape), timed_mlp((width, width), ())
    noising = lambda sees, reach: corrupted(sees, cosine(), reach)
    model = reaching(implicit(generator, (latent,)), critic, tx, tx, noising, target=target, r1=gamma)
    return Recipe(model, (steps,), batch, prepare=symmetric(spec.levels), show=lambda x: 0.5 * x + 0.5)
