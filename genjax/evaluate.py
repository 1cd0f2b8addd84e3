"""Measure a trained run.

python -m genjax.evaluate runs/x                                  all that its model and data allow
python -m genjax.evaluate runs/x --metrics frechet,prdc           some of it
"""

from typing import Any

from genjax.config import Recipe
from genjax.data import Dataset
from genjax.metrics.features import Features
from genjax.model import Params

METRICS = ("likelihood", "frechet", "kernel", "prdc", "ndb", "modes", "collapse", "speed")


def measure(
    recipe: Recipe,
    params: Params,
    data: Dataset,
    *,
    samples: int,
    features: Features,
    seed: int = 0,
    wanted: tuple[str, ...] | None = None,
    split: str = "train",
    draws: int = 100,
) -> dict[str, Any]:
    """Everything wanted of one model, ready for JSON.

    Args:
      recipe: of the model.
      params: what it samples with.
      data: what it was trained on.
      samples: how many are drawn, from seeds 0 .. samples - 1.
      features: the space of distances and neighbours.
      seed: of the metrics' own draws: halves of the reals, subsets, noise of a bound.
      wanted: of METRICS; None for all that this model and these data allow, and what they do not is left out.
      split: the reals that samples are held against; all other splits stand as samples for the self-score.
      draws: K of a likelihood's bound.

    Returns:
      {"data", "split", "samples", "seed", "features": {"name", **about},
       "metrics": {NAME: {"value", "floor", "self", "better": "lower" | "higher", "space", "n": [reals, samples],
                          "n_floor": [half, half], "n_self": [reals, held out]}},      numbers, or None where not to be had
       "likelihood": {"nats", "bits", "error", "convention", "split", "n", "entropy"} or None,
       "flags": [sentences of the collapse score],
       "speed": {"parameters", "samples_per_second": {"1", "64"}, "compile_seconds", "evaluations", "at_least", "memory"}}
      NAME is frechet (fid in Inception's space), kernel, precision, recall, density, coverage, ndb, js, modes, quality,
      reverse_kl, spread_ratio, duplicates, missing, agreement.

    Raises:
      ValueError: an unknown metric, one asked for by name that cannot be had, samples that are not finite or too few.
    """
    raise NotImplementedError
