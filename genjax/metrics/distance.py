"""Distances between two clouds of features: Frechet (1706.08500) and kernel (1801.01401).

    Frechet   |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)),      m, S: mean and covariance of the features
    kernel    MMD^2 with k(a, b) = (a.b / d + 1)^3, the unbiased estimate, averaged over random subsets

Only with Inception's features are these FID and KID; the name of the features and n belong beside every number.
"""

from typing import NamedTuple

import numpy as np


class Kernel(NamedTuple):
    """Kernel distance: mean and standard deviation over subsets."""

    mean: float
    spread: float


def frechet(real: np.ndarray, fake: np.ndarray) -> float:
    """Squared Frechet distance between the Gaussians fitted to two sets of features.

    With centred features X / sqrt(n - 1) = Q R, S = R^T R and tr (S S')^(1/2) is the sum of the singular values of R R'^T:
    no square root of a matrix is taken, so that singular covariances (a pixel that is always black) lose no digits.

    Args:
      real, fake: (n, d) and (m, d), each with more rows than d.

    Raises:
      ValueError: too few samples for a covariance, or what `checked` refuses.
    """
    real, fake = checked(real, fake)
    for name, x in (("real", real), ("fake", fake)):
        if len(x) <= x.shape[1]:
            need = f"draw at least {x.shape[1] + 1}, or take features of fewer dimensions"
            raise ValueError(f"{len(x)} {name} samples of {x.shape[1]} features leave the covariance singular: {need}")
    shift = real.mean(0) - fake.mean(0)
    root, other = _root(real), _root(fake)
    overlap = np.linalg.svd(root @ other.T, compute_uv=False).sum()
    return float(shift @ shift + np.sum(root**2) + np.sum(other**2) - 2 * overlap)


def kernel(real: np.ndarray, fake: np.ndarray, *, subsets: int = 100, size: int = 1000, seed: int = 0) -> Kernel:
    """Squared maximum mean discrepancy under the cubic kernel; unbiased, so that a perfect model scatters around 0.

    Args:
      real, fake: (n, d) and (m, d).
      subsets: how many pairs of subsets are drawn, without replacement inside each.
      size: rows of each subset; at most n and m, and better not above half of them or the spread is too small.
      seed: of the subsets.

    Raises:
      ValueError: a size that there are too few samples for, or what `checked` refuses.
    """
    real, fake = checked(real, fake)
    if not 2 <= size <= min(len(real), len(fake)):
        most = f"there are {len(real)} real and {len(fake)} fake samples; give size=2 .. {min(len(real), len(fake))}"
        raise ValueError(f"kernel distance over subsets of {size}, but {most}")
    rng = np.random.default_rng(seed)
    some = lambda x: x[rng.choice(len(x), size, replace=False)]
    values = [_mmd2(some(real), some(fake)) for _ in range(subsets)]
    return Kernel(float(np.mean(values)), float(np.std(values)))


def checked(real: np.ndarray, fake: np.ndarray, rows: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Both arrays in float64, or one line on why they cannot be compared: the door of every metric on two clouds.

    Args:
      real, fake: (n, d) and (m, d).
      rows: the fewest that each must have.
    """
    real, fake = points("real", real, rows), points("fake", fake, rows)
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"real samples have {real.shape[1]} features, fake ones {fake.shape[1]}; take the same for both")
    return real, fake


def points(name: str, x: np.ndarray, rows: int = 1) -> np.ndarray:
    """x (n, d) in float64, or a ValueError that names the first bad row."""
    x = np.asarray(x)
    if x.ndim != 2 or x.dtype.kind not in "buif":
        raise ValueError(f"{name} samples are {x.dtype} of shape {x.shape}; give numbers (samples, features)")
    if len(x) < rows:
        raise ValueError(f"{len(x)} {name} samples, but this metric needs {rows} or more; draw more")
    x = x.astype(np.float64)
    if not np.isfinite(x).all():
        bad = int(np.flatnonzero(~np.isfinite(x).all(1))[0])
        raise ValueError(f"{name} sample {bad} of {len(x)} is not finite; a diverged model cannot be measured: find the step")
    return x


def _root(x: np.ndarray) -> np.ndarray:
    """R (d, d) with R^T R the covariance of x (n, d)."""
    return np.linalg.qr((x - x.mean(0)) / np.sqrt(len(x) - 1), mode="r")


def _mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased MMD^2 of two sets of the same size (n, d): the diagonal, a sample with itself, is left out."""
    cubic = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3
    own = lambda a: (np.sum(k := cubic(a, a)) - np.trace(k)) / (len(a) * (len(a) - 1))
    return own(x) + own(y) - 2 * cubic(x, y).mean()
