"""Toys in the plane whose density is known: points or curves blurred by a Gaussian, and a checkerboard.

    p(x) = int w(t) N(x; c(t), sd^2 I) dt        a sum over centres c_k for `ring` and `grid`, Gauss-Legendre in t for curves

Both are mixtures of isotropic Gaussians, exact or to rounding, so that one log-density serves all, and the entropy of the true
density, the floor of any model's loss, is a closed form or a quadrature over the plane.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from genjax.data.base import Dataset, Spec, Split

SIZES = {"train": 100_000, "valid": 10_000, "test": 10_000}
Plane = Callable[[np.ndarray], np.ndarray]


class Toy(NamedTuple):
    """A density in the plane."""

    draw: Callable[[np.random.Generator, int], np.ndarray]  # (rng, n) -> (n, 2)
    log_prob: Plane  # (n, 2) -> (n,) nats
    entropy: float  # nats; of curves the value to which a quadrature over the plane converges


def toy(name: str) -> Dataset:
    """A toy by name: 100 000 / 10 000 / 10 000 draws, always the same ones."""
    made = TOYS[name]()
    rng = np.random.default_rng(list(name.encode()))
    splits = {split: Split(made.draw(rng, size).astype(np.float32)) for split, size in SIZES.items()}
    return Dataset(name, Spec((2,), 0, 0), splits, made.entropy)


def toy_log_prob(name: str) -> Plane:
    """The true log-density of a toy, x (n, 2) -> (n,) nats."""
    if name not in TOYS:
        raise ValueError(f"no toy {name!r}; there are {', '.join(TOYS)}")
    return TOYS[name]().log_prob


def toy_centres(name: str) -> tuple[np.ndarray, float]:
    """Centres (k, 2) and standard deviation of a toy made of equal Gaussians around points."""
    axis = np.arange(-4.0, 5.0, 2.0)
    toys = {
        "ring": (_polar(1.0, np.arange(8) * np.pi / 4), 0.01),
        "grid": (np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2), 0.05),
    }
    if name not in toys:
        raise ValueError(f"no centres of {name!r}; the toys made of Gaussians around points are {', '.join(toys)}")
    return toys[name]


# ---- Gaussians around points ----------------------------------------------------------------------------------------------


def ring() -> Toy:
    """8 Gaussians on the unit circle, sd 0.01."""
    return _points(*toy_centres("ring"))


def grid() -> Toy:
    """25 Gaussians on -4, -2 .. 4 squared, sd 0.05."""
    return _points(*toy_centres("grid"))


def _points(centres: np.ndarray, sd: float) -> Toy:
    """Equal Gaussians so far apart that they do not overlap: H = log k + log(2 pi e sd^2)."""
    count = len(centres)

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return centres[rng.integers(count, size=n)] + sd * rng.standard_normal((n, 2))

    log_prob = _mixture(centres, np.full(count, -np.log(count)), sd)
    return Toy(draw, log_prob, float(np.log(count) + np.log(2 * np.pi * np.e * sd**2)))


# ---- Gaussians along curves -------------------------------------------------------------------------------------------------


def moons() -> Toy:
    """Two interleaving half circles, sd 0.1; t, the angle, is uniform."""

    def centre(arm: np.ndarray, t: np.ndarray) -> np.ndarray:
        x, y = np.cos(t), np.sin(t)
        return np.stack([np.where(arm, 1.0 - x, x), np.where(arm, 0.5 - y, y)], -1)

    return _curves(centre, 2, (0.0, np.pi), np.ones_like, lambda rng, n: np.pi * rng.random(n), 0.1, 1.00758483)


def spirals() -> Toy:
    """Two spirals r = t / 3, sd 0.1; t in (0, 3 pi) with density proportional to t, so the arms are evenly dense."""
    end = 3 * np.pi
    centre = lambda arm, t: _polar(t / 3, t + np.pi * arm)
    return _curves(centre, 2, (0.0, end), lambda t: t, lambda rng, n: end * np.sqrt(rng.random(n)), 0.1, 2.5406179)


def pinwheel() -> Toy:
    """Five arms of radius 2 t at angle exp(t) / 4, t ~ N(1, 0.3^2), sd 0.15."""
    centre = lambda arm, t: _polar(2 * t, 2 * np.pi * arm / 5 + np.exp(t) / 4)
    weight = lambda t: np.exp(-0.5 * ((t - 1) / 0.3) ** 2)
    return _curves(centre, 5, (-1.7, 3.7), weight, lambda rng, n: 1 + 0.3 * rng.standard_normal(n), 0.15, 2.2988743)


def _curves(
    centre: Callable, arms: int, ends: tuple[float, float], weight: Plane, draw_t: Callable, sd: float, entropy: float
) -> Toy:
    """Equal arms centre(arm, t), with t of density proportional to `weight` between the ends."""
    nodes, widths = np.polynomial.legendre.leggauss(10)
    edges = np.linspace(*ends, 61)
    t = (edges[:-1, None] + np.diff(edges)[:, None] * (nodes + 1) / 2).ravel()  # 60 pieces of 10 nodes
    log_weight = np.log(np.tile(widths, 60) * weight(t))
    log_weight -= np.log(np.exp(log_weight).sum() * arms)
    centres = np.concatenate([centre(np.full(t.shape, arm), t) for arm in range(arms)])

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return centre(rng.integers(arms, size=n), draw_t(rng, n)) + sd * rng.standard_normal((n, 2))

    kept = np.tile(log_weight, arms) > -36.0  # the rest holds less than 1e-15 of the mass
    return Toy(draw, _mixture(centres[kept], np.tile(log_weight, arms)[kept], sd), entropy)


# ---- a uniform one ------------------------------------------------------------------------------------------------------


def checkerboard() -> Toy:
    """Uniform on the 8 dark squares of a 4 x 4 board of side 8: H = log 32."""

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        row = rng.integers(4, size=n)
        column = 2 * rng.integers(2, size=n) + row % 2
        return np.stack([column, row], -1) * 2.0 - 4.0 + 2.0 * rng.random((n, 2))

    def log_prob(x: np.ndarray) -> np.ndarray:
        inside = (np.abs(x) < 4).all(-1)
        dark = np.floor(x / 2).sum(-1) % 2 == 0
        return np.where(inside & dark, -np.log(32.0), -np.inf)

    return Toy(draw, log_prob, float(np.log(32.0)))


TOYS = {f.__name__: lru_cache(f) for f in (ring, grid, moons, checkerboard, spirals, pinwheel)}


# ---- what they share ------------------------------------------------------------------------------------------------------


def _polar(radius: np.ndarray | float, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)


def _mixture(centres: np.ndarray, log_weight: np.ndarray, sd: float) -> Plane:
    """log sum_k w_k N(x; c_k, sd^2 I), in double precision, a few rows at a time: they stay in the cache."""
    constant = log_weight - np.log(2 * np.pi * sd**2)

    def some(x: np.ndarray) -> np.ndarray:
        squares = sum((x[:, i, None] - centres[:, i]) ** 2 for i in range(2))  # not |x|^2 - 2 x c + |c|^2: that cancels
        logs = constant - 0.5 * squares / sd**2
        top = logs.max(1)
        return top + np.log(np.exp(logs - top[:, None]).sum(1))

    def log_prob(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, np.float64)
        return np.concatenate([some(x[i : i + 128]) for i in range(0, len(x), 128)])

    return log_prob
