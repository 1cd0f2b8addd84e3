"""Digits of 8 x 8 pixels, of the class asked for, from a diffusion model: legible; 3 min of CPU time, 0.6 GiB, no GPU."""

from math import log

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, dequantize, symmetric
from genjax.families.diffusion import diffusion
from genjax.nets import timed_mlp
from genjax.reverse import discretized_normal
from genjax.samplers import ancestral

data = "digits"


def recipe(
    spec: Spec,
    width: int = 512,
    steps: int = 10000,
    batch: int = 128,
    lr: Positive = 1e-3,
    sampling_steps: int = 50,
    learned: bool = False,
    flow_steps: int = 0,
) -> Recipe:
    """Cosine schedule, velocity prediction, DDIM, and labels, so that `sample.py --label 3` draws threes.

    The variational bound is for evaluation alone. Its chain is short, so that its first step is about a level of grey wide: a
    finer one pays for noise that this network does not tell from the 17 levels. Variances that are learnt pay a seventh less
    (`--learned --sampling-steps 10`).

    Args:
      spec: of the data.
      width: of the three hidden layers of the denoiser.
      steps: training steps.
      batch: examples in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero.
      sampling_steps: network evaluations of one sample.
      learned: the variances too (2102.09672), of a chain of as many steps, from which samples are then drawn at random.
      flow_steps: with so many, the exact likelihood of dequantized pixels by the probability flow (2011.13456) in the place of
        the bound; 60 are off by 0.002 bits/dim.
    """
    *sides, channels = spec.shape
    denoiser = timed_mlp((width, width, width), (*sides, (2 if learned else 1) * channels))
    tx, pixels = optax.adam(optax.cosine_decay_schedule(lr, steps)), discretized_normal(spec.levels)
    asked = {"steps": sampling_steps, "classes": spec.classes, "decoder": pixels, "chain": sampling_steps if learned else 10}
    asked |= {"variance": None, "sampler": ancestral(None)} if learned else {}
    asked |= {"decoder": None, "flow_steps": flow_steps} if flow_steps else {}
    model = diffusion(denoiser, spec.shape, tx, **asked)
    show = lambda x: 0.5 * x + 0.5
    prepare, cell, even = symmetric(spec.levels), 0.0, dequantize(spec.levels)
    if flow_steps:
        prepare, cell = lambda key, x: 2.0 * even(key, x) - 1.0, log(2 / spec.levels)
    return Recipe(model, (steps,), batch, prepare, show, classes=spec.classes, cell=cell)
