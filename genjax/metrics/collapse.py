"""Mode collapse in plain words: regions of the data that samples miss, samples that repeat, a cloud that has shrunk.

    missing       cells of one half of the reals where the fakes' share is under half of the other half's (Fisher's exact test)
    duplicates    fakes whose nearest fake is far nearer than reals lie to each other, as many fakes as reals
    spread        mean distance between two fakes over that between two reals

The other half of the reals stands where a perfect model would: how uneven the cells are, and how badly they fit data that did
not make them, is in both shares alike. Real data in the place of fakes raise one of the first two flags in one of 500 sets.
"""

from typing import NamedTuple

import numpy as np

from genjax.metrics.distance import checked
from genjax.metrics.modes import kmeans, nearest
from genjax.metrics.neighbours import blocks, reach

LEVEL = 1e-3  # chance of a false alarm of each test, over all its cells
CELL = 20  # held-back reals in a cell, on average: enough for a missing one to be seen
SHRUNK = 0.75  # spread below this is flagged; noise of the ratio is a few per cent
ROWS = 50  # the fewest samples that say anything


class Collapse(NamedTuple):
    """Ratio of mean pairwise distances; share of fakes that repeat another; share of reals in missing cells; sentences."""

    spread_ratio: float
    duplicates: float
    missing: float
    flags: tuple[str, ...]


def collapse(real: np.ndarray, fake: np.ndarray, *, seed: int = 0) -> Collapse:
    """Signs of mode collapse, each with one sentence on what is seen and what it usually means.

    Args:
      real, fake: features (n, d) and (m, d), 50 rows or more each.
      seed: of the halves, of k-means and of the rows that are compared.

    Raises:
      ValueError: too few samples, reals that are all the same, or what `checked` refuses.
    """
    real, fake = checked(real, fake, rows=ROWS)
    rng = np.random.default_rng(seed)
    real, fake = rng.permutation(real), rng.permutation(fake)
    ratio, (share, twins), (missing, cells) = spread_ratio(real, fake), repeats(real, fake), missed(real, fake, seed)
    said = (_say_missing(missing, *cells), _say_repeats(share, twins), _say_spread(ratio))
    return Collapse(ratio, share, missing, tuple(sentence for sentence in said if sentence))


# ---- the three tests ---------------------------------------------------------------------------------------------------------


def spread_ratio(real: np.ndarray, fake: np.ndarray) -> float:
    """Mean distance between two of the fakes (m, d) over that between two of the reals (n, d); 1 for a perfect model."""
    whole = _mean_distance(real)
    if whole == 0:
        raise ValueError("all real samples are the same point in these features; take other data or features")
    return _mean_distance(fake) / whole


def repeats(real: np.ndarray, fake: np.ndarray) -> tuple[float, bool]:
    """Share of fakes that repeat another fake, and whether that is more than the reals do.

    Distances to the nearest neighbour shrink with the number of samples, so that both sets are cut to the smaller one's size.
    """
    n = min(len(real), len(fake))
    real_near, fake_near = reach(real[:n], 1), reach(fake[:n], 1)
    near = np.quantile(real_near, 0.01) / 16  # of squares: a quarter of the distance that 1 % of reals are within
    near = max(near, 1e-12 * real_near.mean())  # of exact copies not even rounding is left
    ours, theirs = int((fake_near <= near).sum()), int((real_near <= near).sum())
    return ours / n, bool(_fewer(theirs, n, ours, n) < LEVEL)


def missed(real: np.ndarray, fake: np.ndarray, seed: int) -> tuple[float, tuple[int, int]]:
    """Share of held-back reals in cells that fakes miss, and (missed cells, cells).

    A cell is missed if it holds under half the share it should, and that is no accident; with few samples small cells are never
    sure, and the share is a lower bound.
    """
    half = len(real) // 2
    fitted, held = real[:half], real[half:]
    cells = kmeans(fitted, min(100, max(2, len(held) // CELL)), seed=seed).centres
    count = lambda x: np.bincount(nearest(x, cells)[0], minlength=len(cells))
    ours, theirs = count(fake), count(held)
    sure = _fewer(ours, len(fake), theirs, len(held)) < LEVEL / len(cells)
    gone = sure & (ours / len(fake) < theirs / len(held) / 2)
    return float(theirs[gone].sum() / len(held)), (int(gone.sum()), len(cells))


def _fewer(count: np.ndarray | int, n: int, other: np.ndarray | int, m: int) -> np.ndarray:
    """Fisher's exact test: chance that `count` of n is this small beside `other` of m where both have the same share."""
    from scipy.stats import hypergeom

    return hypergeom.cdf(count, n + m, np.add(count, other), n)


def _mean_distance(x: np.ndarray) -> float:
    total = sum(np.sqrt(distance).sum() for _, distance in blocks(x, x))
    return float(total / (len(x) * (len(x) - 1)))


# ---- in words ----------------------------------------------------------------------------------------------------------------


def _say_missing(missing: float, gone: int, cells: int) -> str:
    if not gone:
        return ""
    seen = f"samples hardly reach {gone} of {cells} regions, which hold {missing:.0%} of the real data"
    return f"{seen}: usually dropped modes; train longer, or strengthen what keeps samples apart"


def _say_repeats(share: float, twins: bool) -> str:
    if not twins:
        return ""
    seen = f"{share:.0%} of samples repeat another one almost exactly, which real data do not"
    return f"{seen}: usually a generator that ignores its noise, or a sampler that reuses a key"


def _say_spread(ratio: float) -> str:
    if ratio >= SHRUNK:
        return ""
    seen = f"samples lie {1 - ratio:.0%} closer to each other than real data do"
    return f"{seen}: usually a few modes, or the average of many"
