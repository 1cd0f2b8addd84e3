"""The course of one model: all its seeds trained, looked at on the way, and safe against a kill at any instant.

FOLDER/seeds_0-4/curve.json     what was seen at each moment, written before the checkpoint of that moment
FOLDER/seeds_0-4/checkpoints/   the stacked state at the newest moments, see `genjax.checkpoint`
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from genjax.checkpoint import Checkpoints, write_atomically
from genjax.compare.plan import MOMENTS, Entry
from genjax.compare.seeds import Stack, fitting
from genjax.config import Options
from genjax.data import Dataset
from genjax.folder import read_json
from genjax.pieces import Seen, begins, pieces
from genjax.step import State

BAD_STEPS = Options.bad_steps  # in a row whose updates were undone: here `train.py` ends a run
Look = Callable[[State], list[float | None]]  # a value for each seed
Say = Callable[[str], None]


class Course(NamedTuple):
    """What some seeds of a model came to."""

    seeds: tuple[int, ...]
    state: State
    curve: list[dict[str, Any]]  # step, seconds of training so far, frechet and longest streak of bad steps of each seed
    compile_seconds: float


def courses(entry: Entry, data: Dataset, seeds: tuple[int, ...], folder: Path, look: Look, say: Say) -> Iterator[Course]:
    """All seeds in one program, or group after group where the memory has no room for that."""
    split = data.splits["train"]
    stack = (
        Stack(entry.recipe, split, seeds[: entry.at_once])
        if entry.at_once
        else fitting(entry.recipe, split, seeds, entry.chunk)
    )
    size = len(stack.seeds)
    for start in range(0, len(seeds), size):
        stack = stack.others(seeds[start : start + size])
        name = f"seeds_{stack.seeds[0]}-{stack.seeds[-1]}"
        yield train(stack, entry.chunk, folder / name, look, lambda line, of=name: say(f"{entry.name} {of}: {line}"))


def train(stack: Stack, chunk: int, folder: Path, look: Look, say: Say) -> Course:
    """Train to the end, from the newest whole checkpoint on."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe, checkpoints, log = stack.recipe, Checkpoints(folder, keep=2), Log(folder / "curve.json", len(stack.seeds))
    done, state = checkpoints.restore(stack.target) or (0, stack.first())
    log.cut(done)
    stops = moments(recipe.steps, chunk)
    for piece, data, chosen in stack.blocks(list(pieces(recipe.steps, chunk, done))):
        program = stack.program(piece)
        before, began = np.array(state.skipped), time.perf_counter()  # a copy: the state is given away
        state, seen = jax.block_until_ready(program(state, data, chosen))
        log.seconds += time.perf_counter() - began
        log.follow(before, seen)
        if piece.stop == begins(recipe, piece.stage + 1) < sum(recipe.steps):
            state = stack.next(state, piece.stage + 1)
        if piece.stop in stops:
            row = log.add(piece.stop, look(state), stack.compile_seconds)
            checkpoints.save(piece.stop, state)
            say(told(row, sum(recipe.steps)))
    checkpoints.close()
    return Course(stack.seeds, state, log.curve, sum(log.compile_seconds.values()))


def moments(steps: tuple[int, ...], chunk: int) -> set[int]:
    """The ends of pieces that are nearest to evenly spaced moments; the last is the end."""
    ends = np.asarray([piece.stop for piece in pieces(steps, chunk)])
    return {int(ends[np.abs(ends - sum(steps) * k / MOMENTS).argmin()]) for k in range(1, MOMENTS + 1)}


def told(row: dict[str, Any], total: int) -> str:
    """A moment in one line."""
    values = ", ".join("none" if v is None else f"{v:.4g}" for v in row["frechet"])
    return f"step {row['step']}/{total}, {row['seconds']:.1f} s of training, Frechet distance {values}"


class Log:
    """The curve on disk. It is never older than a checkpoint, and cut to the one that training goes on from."""

    def __init__(self, path: Path, seeds: int):
        self.path, self.nothing = path, [0] * seeds
        self.curve: list[dict[str, Any]] = []
        self.compile_seconds: dict[str, float] = {}  # of the first process that compiled a program

    def cut(self, done: int) -> None:
        """Keep what was seen up to a step."""
        if self.path.exists():
            kept = read_json(self.path)
            self.curve = [row for row in kept["curve"] if row["step"] <= done]
            self.compile_seconds = kept["compile_seconds"]
        self.seconds = self.curve[-1]["seconds"] if self.curve else 0.0
        self.streak = np.asarray(self.curve[-1]["streak"] if self.curve else self.nothing)

    def follow(self, before: np.ndarray, seen: Seen) -> None:
        """Lengthen each seed's longest streak of steps with an undone update; `before` is the streak it came with."""
        bad = np.any([np.asarray(v) > 0 for name, v in seen.metrics.items() if name.endswith("/skipped")], axis=0)  # (k, steps)
        if bad.any():
            self.streak = np.maximum(self.streak, [longest(row, start) for row, start in zip(bad, before, strict=True)])

    def add(self, step: int, values: list[float | None], compiled: dict[str, float]) -> dict[str, Any]:
        """Write a moment."""
        row = {"step": step, "seconds": round(self.seconds, 3), "frechet": values, "streak": self.streak.tolist()}
        self.curve.append(row)
        self.compile_seconds = compiled | self.compile_seconds
        write_atomically(self.path, json.dumps({"curve": self.curve, "compile_seconds": self.compile_seconds}) + "\n")
        return row


def longest(bad: np.ndarray, start: int = 0) -> int:
    """The longest run of True in (steps,), the first one begun `start` steps before."""
    best = run = int(start)
    for one in bad:
        run = run + 1 if one else 0
        best = max(best, run)
    return best
