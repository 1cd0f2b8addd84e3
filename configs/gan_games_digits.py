"""Digits of 8 x 8 pixels from a GAN of any game, with any trick of the trade: sharp, most are legible; half a minute on a CPU.

adversarial(implicit(generator), critic, game=...); what each game and trick is worth, over seeds: benchmarks.games
"""

from typing import Literal

import optax

from genjax.augment import translation
from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
from genjax.families.gan import hinge, implicit, least_squares, non_saturating, relativistic, wasserstein
from genjax.hybrids.adversarial import adversarial, augmented, samples
from genjax.hybrids.penalties import box
from genjax.nets import minibatch_discrimination, mlp, packed, spectral

data = "digits"
GAMES = {
    "non_saturating": non_saturating,
    "hinge": hinge,
    "least_squares": least_squares,
    "wasserstein": wasserstein,
    "relativistic": relativistic,
}


def recipe(
    spec: Spec,
    latent: int = 32,
    width: int = 256,
    steps: int = 6000,
    batch: int = 64,
    lr: Positive = 5e-4,
    game: Literal["non_saturating", "hinge", "least_squares", "wasserstein", "relativistic"] = "non_saturating",
    r1: float = 1.0,
    r2: float = 0.0,
    gp: float = 0.0,
    lazy: int = 1,
    clip: float = 0.0,
    sn: bool = False,
    n_critic: int = 1,
    pack: int = 1,
    unroll: int = 0,
    unroll_lr: Positive = 0.01,
    discriminate: bool = False,
    augment: bool = False,
) -> Recipe:
    """Small MLPs. By default the first game with R1, of which most of what is needed comes; see RESULTS.md.

    Args:
      spec: of the data.
      latent: dimensions of the noise.
      width: of the two hidden layers of generator and critic.
      steps: training steps.
      batch: examples in a step.
      lr: learning rate of Adam, the same on both sides.
      game: losses of the two sides.
      r1: weight of the gradient penalty on data.
      r2: weight of the same on samples.
      gp: weight of the penalty that wants slope 1 between data and samples (1704.00028; 10 there).
      lazy: take the penalties once in so many steps on average, so many times as strong.
      clip: keep every weight of the critic within this of zero (1701.07875; 0.01 there); 0 leaves them.
      sn: divide the critic's layers by their largest singular values (1802.05957).
      n_critic: moves of the critic for one of the generator.
      pack: samples that the critic judges together (1712.04086).
      unroll: moves of the critic that the generator foresees (1611.02163).
      unroll_lr: learning rate of these, plain gradient descent.
      discriminate: let the critic see how near samples are to each other (1606.03498).
      augment: show the critic digits that are moved (2006.10738).
    """
    tx, model = optax.adam(lr, b1=0.0, b2=0.99), implicit(mlp((width, width), spec.shape), (latent,))
    critic_tx = optax.chain(tx, box(clip)) if clip else tx
    critic = minibatch_discrimination(mlp((width,), (width,))) if discriminate else mlp((width, width), ())
    critic = packed(critic, pack) if pack > 1 else critic
    critic = spectral(critic) if sn else critic
    model = adversarial(
        model,
        critic,
        tx,
        critic_tx,
        sees=augmented(samples(model), translation) if augment else None,
        game=GAMES[game],
        r1=r1,
        r2=r2,
        gp=gp,
        lazy=lazy,
        unroll=unroll,
        unroll_lr=unroll_lr,
        when=(lambda step: step % n_critic == n_critic - 1) if n_critic > 1 else None,
    )
    return Recipe(model, (steps,), batch, symmetric(spec.levels), lambda x: 0.5 * x + 0.5)
