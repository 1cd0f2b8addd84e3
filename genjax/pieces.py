"""Pieces: `chunk` steps scanned in one dispatch, their rows gathered from data that lie on the device.

Pieces end at fixed steps (multiples of `chunk`, ends of stages); the order of the data and all noise are functions of the
step. So a run that was stopped at the end of any piece goes on through the same programs to the same bits.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from genjax.config import Recipe
from genjax.data import feed, fetch, row_block, rows
from genjax.job import ON_DEVICE, Job, abstract_state, data_bytes
from genjax.model import Batch, Params, Phase, pick, stream
from genjax.monitors import of_inverse
from genjax.parallel import data_mesh, pmapped, shardings
from genjax.step import State, init, make_step, next_stage


class Piece(NamedTuple):
    """Steps start .. stop - 1 of one stage, in one dispatch."""

    stage: int
    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start


class Seen(NamedTuple):
    """What a piece showed; arrays have a leading axis of steps, but for `norms`."""

    metrics: dict[str, jax.Array]  # "phase/metric"
    moved: dict[str, jax.Array]  # phase that rests at times -> did it move
    norms: dict[str, jax.Array] = {}  # of the piece as a whole


def pieces(steps: tuple[int, ...], chunk: int, done: int = 0) -> Iterator[Piece]:
    """The pieces that are left after `done` steps."""
    begins = 0
    for stage, length in enumerate(steps):
        start, ends = max(begins, done), begins + length
        while start < ends:
            stop = min(ends, (start // chunk + 1) * chunk)
            yield Piece(stage, start, stop)
            start = stop
        begins = ends


def stage_at(steps: tuple[int, ...], done: int) -> int:
    """The stage whose optimizers a state has after `done` steps: at a border the later one."""
    return int(min(np.searchsorted(np.cumsum(steps), done, side="right"), len(steps) - 1))


def begins(recipe: Recipe, stage: int) -> int:
    """The step at which a stage begins."""
    return sum(recipe.steps[:stage])


# ---- the pure functions that are compiled ----------------------------------------------------------------------------


def batch_of(recipe: Recipe, data: dict, key: jax.Array, step: jax.Array, rows: jax.Array) -> Batch:
    """The batch of one step: its rows, prepared with the step's own key."""
    return feed(recipe.prepare)(data, stream(jax.random.fold_in(key, step), "prepare"), rows)


def moved(recipe: Recipe, stage: int, step: jax.Array) -> dict[str, jax.Array]:
    """{phase: does it move at this step} for those that rest at times."""
    local = step - begins(recipe, stage)
    return {phase.name: phase.when(local) for phase in recipe.model.stages[stage] if phase.when}


def norms(stage: Sequence[Phase], before: Params, after: Params, steps: int) -> dict[str, jax.Array]:
    """Norms over a piece, since at every step they would cost an MLP a seventh of it.

    Returns:
      "phase/params_norm": of the branches it trains, before the piece; "phase/update_norm": of their change over the piece,
      divided by the root of its steps: of steps that undo each other that is the norm of one.
    """
    found = {}
    for phase in stage:
        old, new = pick(before, phase.trains), pick(after, phase.trains)
        found[f"{phase.name}/params_norm"] = optax.tree.norm(old)
        found[f"{phase.name}/update_norm"] = optax.tree.norm(jax.tree.map(jnp.subtract, new, old)) / steps**0.5
    return found


def scanned_piece(recipe: Recipe, stage: int) -> Callable[[State, dict, jax.Array], tuple[State, Seen]]:
    """(state, data, rows (steps, B)) -> (state, seen): gather, prepare and step, scanned."""
    step = make_step(recipe.model, stage, begins=begins(recipe, stage), ema_decay=recipe.ema_decay)

    def one(data: dict, state: State, rows: jax.Array) -> tuple[State, Seen]:
        moves = moved(recipe, stage, state.step)
        state, metrics = step(state, batch_of(recipe, data, state.key, state.step, rows))
        return state, Seen(metrics, moves)

    def piece(state: State, data: dict, rows: jax.Array) -> tuple[State, Seen]:
        after, seen = jax.lax.scan(partial(one, data), state, rows)
        return after, seen._replace(norms=norms(recipe.model.stages[stage], state.params, after.params, len(rows)))

    return piece


# ---- the programs of a job -------------------------------------------------------------------------------------------


class Programs:
    """What a job runs on its devices."""

    def __init__(self, job: Job):
        self.job, self.recipe = job, job.recipe
        self.mesh = data_mesh()
        self.state_sharding, self.batch_sharding = shardings(self.mesh)
        self.whole = NamedSharding(self.mesh, PartitionSpec())
        self.on_device = data_bytes(job.split) <= ON_DEVICE
        self.sample = jax.jit(self.recipe.model.sample)
        self.inverse = jax.jit(partial(of_inverse, self.recipe.model))
        self.compile_seconds = 0.0
        self.compiled: dict[tuple[int, int], Any] = {}

    def first(self) -> State:
        """The state before the first step."""
        seed, split = self.job.options.seed, self.job.split
        chosen = rows(seed, 0, self.recipe.batch, len(split.x))

        def begin(key: jax.Array, data: dict) -> State:
            batch = feed(self.recipe.prepare)(data, stream(key, "first"), jnp.arange(len(chosen)))
            return init(self.recipe.model, key, batch)

        return jax.jit(begin, out_shardings=self.state_sharding)(jax.random.key(seed), fetch(split, chosen))

    def next(self, state: State, stage: int) -> State:
        """The state at the start of a later stage."""
        return jax.jit(partial(next_stage, self.recipe.model, stage=stage), out_shardings=self.state_sharding)(state)

    def target(self, done: int) -> State:
        """What a checkpoint after `done` steps holds, and where it goes on these devices."""
        state = abstract_state(self.recipe, self.job.example, stage_at(self.recipe.steps, done))
        place = lambda tree, sharding: jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree)
        return State(*map(place, state, self.state_sharding))

    def blocks(self, left: list[Piece]) -> Iterator[tuple[Piece, dict, np.ndarray]]:
        """(piece, data, rows (steps, B) of them): all data on the device, or those of the piece, read one piece ahead."""
        job, split = self.job, self.job.split
        block = lambda piece: row_block(job.options.seed, piece.start, piece.length, self.recipe.batch, len(split.x))
        if self.on_device:
            data = jax.device_put(fetch(split), self.whole)
            yield from ((piece, data, block(piece)) for piece in left)
            return

        def read(piece: Piece) -> tuple[Piece, dict, np.ndarray]:
            chosen = block(piece)
            return piece, fetch(split, chosen.ravel()), np.arange(chosen.size, dtype=np.int32).reshape(chosen.shape)

        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(read, left[0]) if left else None
            for following in [*left[1:], None][: len(left)]:
                ready = ahead.result()
                ahead = reader.submit(read, following) if following else None
                yield ready

    def advance(self, state: State, piece: Piece, data: dict, rows: np.ndarray) -> tuple[State, Seen]:
        """The state after a piece. The one before it is given away."""
        if self.job.options.parallel == "pmap":
            return self.advance_pmapped(state, piece, data, rows)
        return self.program(piece)(state, data, rows)

    def program(self, piece: Piece) -> Any:
        """The piece's program, compiled once for each stage and length."""
        kind = piece.stage, piece.length
        if kind not in self.compiled:
            began = time.perf_counter()
            self.compiled[kind] = self.lowered(*kind).compile()
            self.compile_seconds += time.perf_counter() - began
        return self.compiled[kind]

    def lowered(self, stage: int, length: int) -> Any:
        many = len(self.job.split.x) if self.on_device else length * self.recipe.batch
        example = self.job.example.items()
        data = {name: jax.ShapeDtypeStruct((many, *shape), jnp.dtype(dtype)) for name, (shape, dtype) in example}
        rows = jax.ShapeDtypeStruct((length, self.recipe.batch), jnp.int32)
        of_rows = NamedSharding(self.mesh, PartitionSpec(None, "data"))
        program = jax.jit(
            scanned_piece(self.recipe, stage),
            in_shardings=(self.state_sharding, self.whole, of_rows),
            out_shardings=(self.state_sharding, self.whole),
            donate_argnums=0,
        )
        return program.lower(abstract_state(self.recipe, self.job.example, stage), data, rows)

    def advance_pmapped(self, state: State, piece: Piece, data: dict, rows: np.ndarray) -> tuple[State, Seen]:
        """The same steps through the device view, one dispatch each."""
        recipe, kind = self.recipe, (piece.stage, 1)
        if kind not in self.compiled:
            start = begins(recipe, piece.stage)
            step = make_step(recipe.model, piece.stage, begins=start, ema_decay=recipe.ema_decay, axis_name="data")
            self.compiled[kind] = pmapped(step), jax.jit(partial(batch_of, recipe), out_shardings=self.batch_sharding)
        step, batch = self.compiled[kind]
        stage, before, seen = recipe.model.stages[piece.stage], jax.tree.map(jnp.copy, state.params), []
        for number, chosen in zip(range(piece.start, piece.stop), rows, strict=True):
            moves = moved(recipe, piece.stage, jnp.asarray(number))
            state, metrics = step(state, batch(data, state.key, state.step, chosen))
            seen.append(Seen(metrics, moves))
        seen = jax.tree.map(lambda *values: np.stack(values), *seen)
        return state, seen._replace(norms=norms(stage, before, state.params, piece.length))
