"""Samples against reals: every number beside its floor and its self-score, with the n of each.

    value   the metric of reals and samples
    floor   the same of two disjoint halves of the reals: what no model can be told from
    self    the same of the reals and held-out reals that stand as samples: what a perfect model would score at that n

Most metrics depend on n, so that a value means something only beside these two.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from genjax.data import TOYS, Dataset, toy_centres
from genjax.metrics.collapse import collapse
from genjax.metrics.distance import frechet, kernel
from genjax.metrics.features import Features, shown_reals
from genjax.metrics.modes import compare, kmeans, modes
from genjax.metrics.neighbours import prdc

REALS = 50_000  # reference rows at most, and fewer where their features are long
NUMBERS = 2**27  # features held at most: 1 GiB
NEIGHBOURS = 10_000  # rows at most where all pairs are compared
BINNED = 20_000  # and where bins are made
BETTER = {"precision": "higher", "recall": "higher", "coverage": "higher", "modes": "higher", "quality": "higher"}
BETTER |= {"agreement": "higher", "density": "near 1", "spread_ratio": "near 1"}  # all others: lower

Metric = Callable[[np.ndarray, np.ndarray], dict[str, float]]  # (reals (n, d), samples (m, d)) -> numbers by name
Rows = dict[str, dict[str, Any]]


class Clouds(NamedTuple):
    """Reals, samples and held-out reals in one space."""

    space: str
    real: np.ndarray  # (n, d)
    fake: np.ndarray  # (m, d)
    held: np.ndarray  # (l, d)


class Reals(NamedTuple):
    """Real examples as samples are shown, in an order drawn with a seed."""

    reference: np.ndarray
    held: np.ndarray  # of all other splits
    labels: np.ndarray | None  # of `held`


def most(data: Dataset) -> int:
    """How many reference rows of its size are compared."""
    return max(1, min(REALS, NUMBERS // int(np.prod(data.spec.shape))))


def reals(data: Dataset, split: str, size: int, seed: int) -> Reals:
    """The reference rows of a split and the held-out rows of the others, at most `size` and REALS."""
    if split not in data.splits:
        raise ValueError(f"{data.name} has no split {split!r}; there are {', '.join(data.splits)}")
    rng = np.random.default_rng(seed)
    take = lambda one, size: np.sort(rng.permutation(len(one.x))[:size])
    others = [(one, take(one, size)) for name, one in data.splits.items() if name != split]
    own = take(data.splits[split], most(data))
    x = np.concatenate([one.x[rows] for one, rows in others])
    order = rng.permutation(len(x))[:size]
    labelled = all(one.y is not None for one, _ in others)
    y = np.concatenate([one.y[rows] for one, rows in others])[order] if labelled else None
    show = partial(shown_reals, data.spec)
    return Reals(show(data.splits[split].x[own])[rng.permutation(len(own))], show(x[order]), y)


def clouds(features: Features, found: Reals, shown: np.ndarray) -> Clouds:
    """All three in a space of features."""
    return Clouds(features.name, features.apply(found.reference), features.apply(shown), features.apply(found.held))


# ---- the metrics -----------------------------------------------------------------------------------------------------


def distances(of: Clouds) -> Rows:
    """Frechet distance, which only in Inception's features is called FID."""
    rows = beside(lambda real, fake: {"frechet": frechet(real, fake)}, of)
    rows["frechet"]["label"] = "FID" if of.space.startswith("inception") else "Frechet distance"
    return rows


def kernels(of: Clouds, seed: int) -> Rows:
    """Kernel distance over subsets of 1000, or of half of the smaller set."""

    def metric(real, fake):
        size = min(1000, len(real) // 2, len(fake) // 2)
        return {"kernel": kernel(real, fake, size=size, seed=seed).mean}

    rows = beside(metric, of)
    rows["kernel"]["label"] = "KID" if of.space.startswith("inception") else "kernel distance"
    return rows


def neighbours(of: Clouds) -> Rows:
    """Precision, recall, density, coverage with k = 5."""
    return beside(lambda real, fake: prdc(real, fake)._asdict(), cut(of, NEIGHBOURS))


def binned(of: Clouds, seed: int) -> Rows:
    """Share of bins that differ, and the divergence of the bins' shares; 100 bins, fewer where there are few reals."""
    of = cut(of, BINNED)
    bins = min(100, max(2, len(of.real) // 100))

    def metric(real, fake):
        found = compare(kmeans(real, bins, seed=seed), fake)
        return {"ndb": found.different, "js": found.js}

    rows = beside(metric, of)
    rows["ndb"]["label"] = f"NDB of {bins} bins"
    return rows


def of_modes(of: Clouds, name: str) -> Rows:
    """Modes covered, share of samples of high quality and reverse KL, of a toy whose centres are known."""
    centres, sd = toy_centres(name)

    def metric(real, fake):
        found = modes(fake, centres, sd)
        return {"modes": found.covered, "quality": found.quality, "reverse_kl": found.reverse_kl}

    rows = beside(metric, of)
    rows["modes"]["label"] = f"modes of {len(centres)}"
    return rows


def collapsed(of: Clouds, seed: int) -> tuple[Rows, list[str]]:
    """Signs of collapse, and a sentence for each that is flagged."""
    of = cut(of, NEIGHBOURS)
    found = collapse(of.real, of.fake, seed=seed)
    as_numbers = lambda found: {"spread_ratio": found.spread_ratio, "duplicates": found.duplicates, "missing": found.missing}
    rows = beside(lambda real, fake: as_numbers(found if fake is of.fake else collapse(real, fake, seed=seed)), of)
    return rows, list(found.flags)


def agreement(features: Features, shown: np.ndarray, y: np.ndarray, found: Reals) -> Rows:
    """Share of samples that the classifier takes for the class asked for; its accuracy on held-out reals is the self-score."""
    share = float((features.classify(shown) == y).mean())
    own = None if found.labels is None else float((features.classify(found.held) == found.labels).mean())
    n = {"n": [0, len(shown)], "n_floor": [0, 0], "n_self": [0, len(found.held)]}
    return {"agreement": row("agreement", {"value": share, "floor": None, "self": own}, features.name, n)}


def has_modes(name: str) -> bool:
    """Whether the data are a toy of equal Gaussians around points."""
    try:
        return name in TOYS and toy_centres(name) is not None
    except ValueError:
        return False


# ---- value, floor, self ----------------------------------------------------------------------------------------------


def beside(metric: Metric, of: Clouds) -> Rows:
    """{name: {label, value, floor, self, better, space, n, n_floor, n_self}} of a metric's numbers."""
    half, size = len(of.real) // 2, len(of.fake)
    pairs = {
        "value": (of.real, of.fake),
        "floor": (of.real[:half], of.real[half : 2 * half][:size]),
        "self": (of.real, of.held[:size]),
    }
    found = {"value": metric(*pairs["value"]), "floor": tried(metric, *pairs["floor"]), "self": tried(metric, *pairs["self"])}
    n = {f"n_{kind}".removesuffix("_value"): [len(a) for a in pair] for kind, pair in pairs.items()}
    return {
        name: row(name, {kind: numbers.get(name) for kind, numbers in found.items()}, of.space, n) for name in found["value"]
    }


def row(name: str, numbers: dict[str, float | None], space: str, n: dict[str, list[int]]) -> dict[str, Any]:
    """One number with what belongs beside it, ready for JSON."""
    numbers = {kind: None if number is None else float(number) for kind, number in numbers.items()}
    return {"label": name.replace("_", " "), **numbers, "better": BETTER.get(name, "lower"), "space": space, **n}


def tried(metric: Metric, real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """The numbers, or none where there are too few reals."""
    try:
        return metric(real, fake)
    except ValueError:
        return {}


def cut(of: Clouds, most: int) -> Clouds:
    """At most so many rows of each."""
    return Clouds(of.space, of.real[:most], of.fake[:most], of.held[:most])
