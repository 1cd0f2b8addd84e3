"""How many modes are reached, and how evenly: known centres, stacked digits (1712.04086), NDB over k-means bins (1805.12462),
classes that a classifier tells (1612.02136).

    reverse KL    sum_k p_k log(p_k K),  p: the model's shares over K equally likely modes
    NDB           bins whose share differs from that of the training data by more than `threshold` standard errors
    JS            divergence between the two sets of shares, in nats
    MODE          exp( E_x KL(p(y|x) || p(y)) - KL(p(y) || p_train(y)) ),  p(y) = E_x p(y|x): sure of each, as mixed as the data

n draws from the truth give reverse KL (K - 1) / 2n, not 0, and JS (K - 1)(1/n + 1/m) / 8.
"""

from typing import NamedTuple

import numpy as np

from genjax.metrics.distance import checked, points
from genjax.metrics.neighbours import blocks


class Modes(NamedTuple):
    """Modes with a sample, of how many; share of samples near any; nats. None where there is nothing to tell it from."""

    covered: int
    of: int
    quality: float | None
    reverse_kl: float | None


class NDB(NamedTuple):
    """Bins with a different share, of how many; Jensen-Shannon divergence of the shares in nats."""

    different: int
    bins: int
    js: float


class Bins(NamedTuple):
    """k-means cells of training data: centres (k, d), and how many training samples lie in each (k,)."""

    centres: np.ndarray
    counts: np.ndarray


# ---- known modes -------------------------------------------------------------------------------------------------------------


def modes(x: np.ndarray, centres: np.ndarray, sd: float, within: float = 3.0) -> Modes:
    """Modes of a mixture of equal Gaussians, as PacGAN counts them (1712.04086).

    Args:
      x: samples (n, d).
      centres: of the mixture (k, d); `genjax.data.toy_centres` has those of ring and grid.
      sd: of each Gaussian.
      within: a sample counts if its nearest centre is nearer than this many sd.

    Returns:
      Modes with at least one such sample, the share of samples that count, and the reverse KL over these (None without any).
    """
    centres, x = checked(centres, x, rows=1)
    label, distance = nearest(x, centres)
    good = label[distance < (within * sd) ** 2]
    counts = np.bincount(good, minlength=len(centres))
    kl = reverse_kl(counts) if len(good) else None
    return Modes(int((counts > 0).sum()), len(centres), len(good) / len(x), kl)


def stacked(digits: np.ndarray) -> Modes:
    """Modes of stacked digits, of 1000: one triple (n, 3) of classes 0 .. 9 for each sample's channels; no quality."""
    digits = np.asarray(digits)
    if digits.ndim != 2 or digits.shape[1] != 3 or digits.dtype.kind not in "ui" or len(digits) == 0:
        raise ValueError(f"digits are {digits.dtype} of shape {digits.shape}; give one class for each of 3 channels, (n, 3)")
    if digits.min() < 0 or digits.max() > 9:
        raise ValueError(f"digits hold {digits.min()} .. {digits.max()}; give classes 0 .. 9")
    counts = np.bincount(digits.astype(np.int64) @ [100, 10, 1], minlength=1000)
    return Modes(int((counts > 0).sum()), 1000, None, reverse_kl(counts))


def reverse_kl(counts: np.ndarray) -> float:
    """KL(shares || uniform) in nats, of counts (k,)."""
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 1 or not (counts >= 0).all() or not 0 < counts.sum() < np.inf:
        raise ValueError("reverse KL needs one count of 0 or more for each mode, not all of them 0")
    return _kl(counts / counts.sum(), np.full(len(counts), 1 / len(counts)))


def mode_score(probabilities: np.ndarray, shares: np.ndarray) -> float:
    """MODE, at most the number of classes, as Flow-GAN's table has it (1705.08868).

    Args:
      probabilities: (n, classes) of each sample, by a classifier of the data: `Features.probabilities`.
      shares: (classes,) of the training data, none of them 0; counts will do.
    """
    each, wanted = points("fake", probabilities), np.asarray(shares, np.float64)
    if wanted.shape != each.shape[1:] or not (wanted > 0).all():
        raise ValueError(f"shares are {wanted.shape}; give one above 0 for each of {each.shape[1]} classes")
    if each.min() < 0 or not np.allclose(each.sum(1), 1, atol=1e-3):
        raise ValueError("probabilities of a sample are 0 or more and sum to 1: give a softmax, not logits")
    mixed = each.mean(0)
    told = np.mean([_kl(one, mixed) for one in each])
    return float(np.exp(told - _kl(mixed, wanted / wanted.sum())))


# ---- bins of the training data -----------------------------------------------------------------------------------------------


def ndb(train: np.ndarray, query: np.ndarray, bins: int = 100, *, threshold: float = 3.0, seed: int = 0) -> NDB:
    """Number of statistically different bins between training data and samples.

    Args:
      train, query: (n, d) and (m, d); the authors bin 45 000 images of MNIST.
      bins: of k-means on train.
      threshold: standard errors of the two-proportion test, 3 with the authors; of more data from the same source 0.3 in 100
        bins pass it by accident.
      seed: of k-means.

    Raises:
      ValueError: fewer training samples than bins, or what `checked` refuses.
    """
    train, query = checked(train, query, rows=1)
    return compare(kmeans(train, bins, seed=seed), query, threshold)


def compare(bins: Bins, query: np.ndarray, threshold: float = 3.0) -> NDB:
    """NDB of samples (m, d) against bins that are there already: one k-means serves many queries."""
    query = points("fake", query)
    counts = np.bincount(nearest(query, bins.centres)[0], minlength=len(bins.centres))
    n, m = bins.counts.sum(), len(query)
    p, q, pooled = bins.counts / n, counts / m, (bins.counts + counts) / (n + m)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    middle = (p + q) / 2
    js = (_kl(p, middle) + _kl(q, middle)) / 2
    return NDB(int((np.abs(p - q) > threshold * error).sum()), len(p), js)


def kmeans(x: np.ndarray, bins: int, *, seed: int = 0, rounds: int = 100) -> Bins:
    """Lloyd's algorithm from a k-means++ start: the same bins for the same seed.

    Written out, as it is the one thing that would ask for scikit-learn on machines that otherwise need no more than JAX does.
    The search is in single precision, as any cells will do; samples are counted in double.

    Args:
      x: (n, d), n >= bins.
      rounds: the most there are; it ends before that once no more than one sample in 200 changes its bin.
    """
    x = points("train", x)
    if not 1 <= bins <= len(x):
        raise ValueError(f"{bins} bins of {len(x)} training samples; give 1 .. {len(x)} bins, better one for 100 samples")
    middle = x.mean(0)
    some = (x - middle).astype(np.float32)
    centres, before = _spread_out(some, bins, np.random.default_rng(seed)), np.full(len(x), -1)
    for _ in range(rounds):
        label, _distance = nearest(some, centres)
        if np.sum(label != before) <= len(x) / 200:
            break
        centres, before = _means(some, label, centres), label
    found = centres.astype(np.float64) + middle
    return Bins(found, np.bincount(nearest(x, found)[0], minlength=bins))


def nearest(x: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row of x (n, d): the nearest centre (n,), and the squared distance to it (n,)."""
    label, found = np.empty(len(x), np.int64), np.empty(len(x))
    for rows, distance in blocks(x, centres):
        label[rows] = distance.argmin(1)
        found[rows] = distance.min(1)
    return label, found


def _spread_out(x: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++: each centre a sample drawn in proportion to its squared distance from those there are."""
    squares, distance = (x**2).sum(1), np.full(len(x), np.inf)
    centres = [x[rng.integers(len(x))]]
    for _ in range(count - 1):
        new = squares - 2 * (x @ centres[-1]) + centres[-1] @ centres[-1]
        distance = np.minimum(distance, np.maximum(new, 0))
        total = np.cumsum(distance, dtype=np.float64)  # 0 once every point that there is is a centre: any will do
        centres.append(x[min(np.searchsorted(total, rng.random() * total[-1], "right"), len(x) - 1)])
    return np.stack(centres)


def _means(x: np.ndarray, label: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Mean of each bin; an empty one keeps its centre."""
    order = np.argsort(label, kind="stable")
    present, begin, count = np.unique(label[order], return_index=True, return_counts=True)
    centres = centres.copy()
    centres[present] = np.add.reduceat(x[order], begin) / count[:, None]
    return centres


def _kl(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p || q) in nats; q > 0 where p > 0."""
    there = p > 0
    return float(np.sum(p[there] * np.log(p[there] / q[there])))
