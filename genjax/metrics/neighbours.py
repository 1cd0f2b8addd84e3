"""Precision and recall (1904.06991), density and coverage (2002.09797) by nearest neighbours.

Around each sample stands a ball that reaches its k-th nearest neighbour in its own set.

    precision   share of fakes inside any ball of the reals            recall     share of reals inside any ball of the fakes
    density     balls of the reals around a fake, on average, over k   coverage   share of reals whose ball holds a fake

A perfect model scores density 1 and the coverage below; its precision and recall depend on n and d and stay under 1, so that
they mean something only beside the same numbers between two halves of the real data.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from genjax.metrics.distance import checked

BLOCK = 1 << 23  # distances held at once: 64 MiB


class PRDC(NamedTuple):
    """Precision, recall and coverage in 0 .. 1; density may be above 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: np.ndarray, fake: np.ndarray, k: int = 5) -> PRDC:
    """All four, equal to those of the package `prdc` on the same arrays.

    Args:
      real, fake: (n, d) and (m, d), more than k rows each.
      k: which neighbour the balls reach.

    Raises:
      ValueError: too few samples for k, or what `checked` refuses.
    """
    if k < 1:
        raise ValueError(f"k={k}: a ball reaches the first neighbour or a later one; give k >= 1")
    real, fake = checked(real, fake, rows=k + 1)
    real_reach, fake_reach = reach(real, k), reach(fake, k)
    precise, balls, recalled, covered = np.zeros(len(fake), bool), 0, 0, 0
    for rows, distance in blocks(real, fake):
        inside = distance < real_reach[rows, None]
        precise |= inside.any(0)
        balls += inside.sum()
        covered += inside.any(1).sum()
        recalled += (distance < fake_reach).any(1).sum()
    n, m = len(real), len(fake)
    return PRDC(float(precise.mean()), float(recalled / n), float(balls / (k * m)), float(covered / n))


def expected_coverage(real_n: int, fake_n: int, k: int) -> float:
    """Coverage of a perfect model: 1 - prod_j (n - 1 - j) / (m + n - 1 - j) over j < k (2002.09797)."""
    j = np.arange(k)
    return float(1 - np.prod((real_n - 1 - j) / (fake_n + real_n - 1 - j)))


def reach(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance (n,) of every row of x (n, d) to its k-th nearest other row."""
    found = np.empty(len(x))
    for rows, distance in blocks(x, x):
        numbers = np.arange(rows.start, rows.stop)
        distance[numbers - rows.start, numbers] = np.inf  # itself
        found[rows] = np.partition(distance, k - 1, axis=1)[:, k - 1]
    return found


def blocks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances between the rows of a (n, d) and b (m, d), as many rows of a at a time as fit into BLOCK."""
    centre = b.mean(0)  # |a|^2 - 2 a.b + |b|^2 cancels least near the origin
    b = b - centre
    squares, step = (b**2).sum(1), max(1, BLOCK // max(b.shape))
    for begin in range(0, len(a), step):
        some = a[begin : begin + step] - centre
        distance = some @ (-2 * b.T)
        distance += squares
        distance += (some**2).sum(1)[:, None]
        yield slice(begin, begin + len(some)), np.maximum(distance, 0, out=distance)
