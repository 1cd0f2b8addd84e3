"""Tiny Shakespeare, character by character, from a GPT of 0.8M parameters: names, mostly words, no sense; 10 min on one core.

The size, block and batch of nanoGPT's recipe for a CPU, on pieces of 128 characters.
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, identity
from genjax.data.texts import letters
from genjax.families.autoregressive import autoregressive
from genjax.heads import categorical
from genjax.nets import gpt

data = "tinyshakespeare"


def recipe(
    spec: Spec,
    width: int = 128,
    depth: int = 4,
    heads: int = 4,
    steps: int = 2000,
    batch: int = 16,
    lr: Positive = 2e-3,
    temperature: Positive = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Recipe:
    """Rotary places, RMSNorm, AdamW; sample.py goes on from `--prefix "ROMEO:"` and writes texts with `--out page.txt`.

    Args:
      spec: of the data.
      width: of the transformer.
      depth: its blocks.
      heads: of its attention.
      steps: training steps.
      batch: pieces of text in a step.
      lr: learning rate at its peak; it warms up for a twentieth of the steps and a cosine takes it to zero.
      temperature: of sampling; 1 samples the model itself, less is tidier.
      top_k: sample from the k likeliest characters only; 0 for all.
      top_p: sample from the likeliest characters that hold this share of the mass.
    """
    (length,), (show, read) = spec.shape, letters(spec.alphabet)
    schedule = optax.warmup_cosine_decay_schedule(0.0, lr, steps // 20, steps)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.99, weight_decay=0.1))
    head = categorical(spec.levels, grid=False, temperature=temperature, top_k=top_k, top_p=top_p)
    net = gpt(spec.levels, spec.levels, length, width=width, depth=depth, heads=heads)
    model = autoregressive(net, spec.shape, head, tx)
    return Recipe(model, (steps,), batch, identity, show, read, chunk=20, cell=0.0)
