"""Levels of a game: 7 x 7 tiles of floor and wall, one start, and one goal to which a way leads.

    maze     4 x 4 rooms a tile wide, joined by a random spanning tree (Prim's algorithm on random weights)                (1)
    loops    an eighth of the walls between two rooms is opened                                                            (2)
    noise    one tile in 25 is turned, wall to floor or floor to wall: what no rule of mazes explains                      (3)
    way      the start on any floor, the goal on any that is at least 6 moves away                                         (4)

The reward of a level is 1 where it can be solved and 0 elsewhere, and deliberately not graded by how much of it is reached. A
model p that maximizes E r - a KL(p || q) is q(x) exp(r(x) / a) / Z: of a reward of 0 and 1 this keeps solvable levels in the
proportions that q has them in, while a graded one would pay for open maps and short ways.
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data.base import Dataset, Spec, Split, cut

FLOOR, WALL, START, GOAL = range(4)
ROOMS, SIDE, COUNT, LEAST = 4, 7, 6000, 6
COLOURS = np.array([[0.96, 0.94, 0.88], [0.23, 0.25, 0.31], [0.16, 0.63, 0.38], [0.86, 0.24, 0.20]], np.float32)


@lru_cache
def levels() -> Dataset:
    """4800 / 600 / 600 levels (7, 7, 1) of tiles 0 floor, 1 wall, 2 start, 3 goal, always the same ones."""
    rng, found = np.random.default_rng(list(b"levels")), np.zeros((0, SIDE, SIDE), np.uint8)
    while len(found) < COUNT:
        found = np.concatenate([found, with_way(rng, noisy(rng, mazes(rng, COUNT)))])
    return Dataset("levels", Spec((SIDE, SIDE, 1), 4, 0), cut(Split(found[:COUNT, ..., None])))


# ---- the generator --------------------------------------------------------------------------------------------------------


def mazes(rng: np.random.Generator, count: int) -> np.ndarray:
    """(1), (2): where the walls are, (count, 7, 7) truth values. Rooms are at even places, doors between two of them."""
    rooms = np.arange(ROOMS**2).reshape(ROOMS, ROOMS)
    a = np.concatenate([rooms[:, :-1].ravel(), rooms[:-1].ravel()])
    b = np.concatenate([rooms[:, 1:].ravel(), rooms[1:].ravel()])
    doors, every = spanning_trees(rng.random((count, len(a))), a, b), np.arange(count)
    doors |= rng.random(doors.shape) < 1 / 8
    wall = np.ones((count, SIDE, SIDE), bool)
    wall[:, ::2, ::2] = False
    wall[every[:, None], a // ROOMS + b // ROOMS, a % ROOMS + b % ROOMS] = ~doors
    return wall


def spanning_trees(weight: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The lightest tree over all rooms, of each row of weights (n, edges); edge k joins rooms a[k] and b[k]."""
    every, nodes = np.arange(len(weight)), int(b.max()) + 1
    inside, chosen = np.zeros((len(weight), nodes), bool), np.zeros(weight.shape, bool)
    inside[:, 0] = True
    for _ in range(nodes - 1):
        edge = np.where(inside[:, a] ^ inside[:, b], weight, np.inf).argmin(1)  # one end inside
        chosen[every, edge] = inside[every, a[edge]] = inside[every, b[edge]] = True
    return chosen


def noisy(rng: np.random.Generator, wall: np.ndarray) -> np.ndarray:
    """(3)"""
    return wall ^ (rng.random(wall.shape) < 1 / 25)


def with_way(rng: np.random.Generator, wall: np.ndarray) -> np.ndarray:
    """(4): tiles (m, 7, 7) of those walls on which some floor is far enough from the start."""
    start = one_of(rng, ~wall)
    goals = distances(~wall, start) >= LEAST
    goal = one_of(rng, goals)
    return np.select([start, goal], [START, GOAL], wall).astype(np.uint8)[goals.any((1, 2))]


def one_of(rng: np.random.Generator, allowed: np.ndarray) -> np.ndarray:
    """One of the allowed places of each map, as likely as any other: (n, H, W) truth values."""
    lots = np.where(allowed, rng.random(allowed.shape), -1.0).reshape(len(allowed), -1)
    return (np.arange(lots.shape[1]) == lots.argmax(1)[:, None]).reshape(allowed.shape)


def distances(free: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Moves from the start to each free tile (n, H, W), -1 where no way leads."""
    found, edge, move = np.where(start, 0, -1), start, 0
    while edge.any():
        edge, move = beside(edge, np) & free & (found < 0), move + 1
        found[edge] = move
    return found


def beside(here, xp=jnp):
    """Truth values (n, H, W): is one of the four neighbours true? `xp` is numpy or jax.numpy."""
    wide = xp.pad(here, ((0, 0), (1, 1), (1, 1)))
    return wide[:, :-2, 1:-1] | wide[:, 2:, 1:-1] | wide[:, 1:-1, :-2] | wide[:, 1:-1, 2:]


# ---- the rule, and pictures -------------------------------------------------------------------------------------------------


def moves(x: jax.Array) -> jax.Array:
    """Least moves from the start to the goal, (B,); 0 where no way leads, and where there is not one start and one goal.

    Args:
      x: levels (B, H, W, 1) in [0, 1], as `data.unit(4)` makes them of tiles. Of any size: the flood takes H W turns.
    """
    tile = jnp.round(3 * x[..., 0])
    free, start, goal = tile != WALL, tile == START, tile == GOAL
    arrived = lambda reached: (reached & goal).any((1, 2))

    def turn(carried, _):
        reached, count = carried
        return (reached | beside(reached) & free, count + ~arrived(reached)), None

    (reached, count), _ = jax.lax.scan(turn, (start, jnp.zeros(len(x), jnp.int32)), length=tile[0].size)
    one_each = (start.sum((1, 2)) == 1) & (goal.sum((1, 2)) == 1)
    return jnp.where(one_each & arrived(reached), count, 0)


def solvable(x: jax.Array, y: jax.Array | None = None) -> jax.Array:
    """The reward (B,) of levels as `moves` takes them: 1.0 with one start, one goal and a way between them, else 0.0."""
    del y
    return (moves(x) > 0).astype(jnp.float32)


def coloured(x: jax.Array) -> jax.Array:
    """Pictures (B, H, W, 3) in [0, 1] of levels as `moves` takes them: floor light, wall dark, start green, goal red."""
    return jnp.asarray(COLOURS)[jnp.round(3 * x[..., 0]).astype(jnp.int32)]
