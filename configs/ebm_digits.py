"""Digits of 8 x 8 pixels, of the class asked for, from an energy-based model: legible, as sharp as the data; minutes of CPU.

Samples are Langevin chains that begin at noise.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from genjax.chains import langevin
from genjax.config import Fraction, Positive, Recipe
from genjax.data import Spec, unit
from genjax.families.energy import energy
from genjax.nets import mlp

data = "digits"


def recipe(
    spec: Spec,
    width: int = 256,
    steps: int = 3000,
    batch: int = 64,
    lr: Positive = 3e-4,
    moves: int = 40,
    noise: Positive = 0.01,
    pull: Positive = 1.0,
    slots: int = 20,
    fresh: Fraction = 0.05,
    alpha: float = 0.1,
    data_noise: float = 0.03,
    sampling_steps: int = 1000,
) -> Recipe:
    """A network of the energy of a picture and its label, learnt from chains in a replay buffer.

    Args:
      spec: of the data.
      width: of the three hidden layers.
      steps: training steps.
      batch: examples in a step, and chains that are moved.
      lr: learning rate of Adam at its peak.
      moves: Langevin moves of the chains in each training step.
      noise: standard deviation of the noise of one move; pixels are 0 .. 1.
      pull: how far one move goes down, in units of the network's gradient.
      slots: chains kept for each place in the batch.
      fresh: the share of chains that begin anew at noise in a step.
      alpha: weight of the squared energies.
      data_noise: standard deviation of noise on the data.
      sampling_steps: Langevin moves of a sample.
    """
    step = noise**2
    into = partial(jnp.clip, min=0.0, max=1.0)
    model = energy(
        mlp((width, width, width), (), jax.nn.silu),
        spec.shape,
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(lr, steps), b1=0.0)),
        kernel=partial(langevin, step=step, into=into),
        steps=moves,
        sampling_steps=sampling_steps,
        temperature=step / (2 * pull),
        start=jax.random.uniform,
        slots=slots,
        fresh=fresh,
        alpha=alpha,
        data_noise=data_noise,
        classes=spec.classes,
    )
    return Recipe(model, (steps,), batch, prepare=unit(spec.levels), show=lambda x: x, classes=spec.classes)
