"""Sequences of a known LSTM from SeqGAN (1609.05473): numbers, not a picture; some twenty minutes of one core.

judged(autoregressive(lstm), text_critic). How likely they are by the known one, and what that is worth: see benchmarks.seqgan;
the critic learns its 10 000 sequences by heart and hardly tells others from samples, so that its verdict helps little.
Needs a data folder with `seqgan_oracle` (--data-dir or GENJAX_DATA).
"""

import jax
import numpy as np
import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, identity
from genjax.families.autoregressive import autoregressive
from genjax.heads import categorical
from genjax.hybrids.judged import judged
from genjax.nets import lstm, text_critic

data = "seqgan_oracle"


def written(x: jax.Array) -> np.ndarray:
    """Tokens (B, T) as lines of numbers."""
    return np.array([" ".join(map(str, row)) for row in np.asarray(x)])


def recipe(
    spec: Spec,
    width: int = 32,
    steps: tuple[int, int, int] = (5000, 1500, 2400),
    batch: int = 64,
    lr: Positive = 1e-2,
    verdict: Positive = 1e-3,
    cuts: int = 4,
    rollouts: int = 2,
    every: int = 3,
) -> Recipe:
    """First an LSTM by maximum likelihood, then its critic alone, then both, the LSTM for the critic's verdict.

    Args:
      spec: of the data.
      width: of the LSTM and its embeddings.
      steps: of the likelihood, of the critic alone and of both.
      batch: sequences in a step.
      lr: learning rate of Adam on the likelihood at its peak; a cosine takes it to zero.
      verdict: that of the critic, and of the LSTM's move for its verdict.
      cuts: prefixes that each sequence is rolled out from, beside the empty one.
      rollouts: of each prefix.
      every: so many of the critic's moves to one of the LSTM.
    """
    clipped = optax.clip_by_global_norm(5.0)
    likely = optax.chain(clipped, optax.adam(optax.cosine_decay_schedule(lr, steps[0])))
    head, net = categorical(spec.levels, grid=False, inverse=True), lstm(spec.levels, spec.levels, width=width, embedding=width)
    tx, critic_tx = optax.chain(clipped, optax.adam(verdict)), optax.adamw(verdict, weight_decay=1e-2)
    told = dict(cuts=cuts, rollouts=rollouts, when=lambda step: step % every == every - 1)
    model = judged(autoregressive(net, spec.shape, head, likely), text_critic(spec.levels), tx, critic_tx, **told)
    return Recipe(model, steps, batch, identity, show=written, ema_decay=0.99, chunk=20, cell=0.0)
