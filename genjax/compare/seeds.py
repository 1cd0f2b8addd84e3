"""Seeds under vmap: k runs of one recipe in one program, each the run that `train.py --seed s` would be.

Every leaf of the state has a leading axis of seeds, except the step: batched, a phase that rests would become a select that
computes both sides. Each seed has its own order of the data and its own noise.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.config import Recipe
from genjax.data import Split, feed, fetch, row_block, rows
from genjax.job import ON_DEVICE, abstract_state, data_bytes, device_memory, stored_example
from genjax.model import Params, stream
from genjax.pieces import Piece, Seen, scanned_piece, stage_at
from genjax.step import State, init, next_stage

AXES = State(*[0] * len(State._fields))._replace(step=None)  # of the seeds
MEMORY = 0.8  # of the device's, that one program may take


class Stack:
    """What trains k seeds at once.

    Args:
      recipe: what each of them trains.
      split: the rows they train on.
      seeds: of the runs.
    """

    def __init__(self, recipe: Recipe, split: Split, seeds: Sequence[int]):
        self.recipe, self.split, self.seeds = recipe, split, tuple(seeds)
        self.example = stored_example(split)
        self.on_device = data_bytes(split) <= ON_DEVICE
        self.compiled: dict[tuple[int, int], Any] = {}
        self.compile_seconds: dict[str, float] = {}  # "stage/length" -> of its program

    def others(self, seeds: Sequence[int]) -> "Stack":
        """The same for other seeds; as many of them share the programs."""
        stack = Stack(self.recipe, self.split, seeds)
        if len(stack.seeds) == len(self.seeds):
            stack.compiled, stack.compile_seconds = self.compiled, self.compile_seconds
        return stack

    # ---- states

    def first(self) -> State:
        """The states before the first step."""
        chosen = np.stack([rows(seed, 0, self.recipe.batch, len(self.split.x)) for seed in self.seeds])

        def begin(key: jax.Array, data: dict) -> State:
            batch = feed(self.recipe.prepare)(data, stream(key, "first"), jnp.arange(chosen.shape[1]))
            return init(self.recipe.model, key, batch)

        data = {name: a.reshape(*chosen.shape, *a.shape[1:]) for name, a in fetch(self.split, chosen.ravel()).items()}
        keys = jax.vmap(jax.random.key)(jnp.asarray(self.seeds, jnp.uint32))
        return jax.jit(jax.vmap(begin, out_axes=AXES))(keys, data)

    def next(self, state: State, stage: int) -> State:
        """The states at the start of a later stage."""
        return jax.jit(jax.vmap(partial(next_stage, self.recipe.model, stage=stage), in_axes=(AXES,), out_axes=AXES))(state)

    def target(self, done: int) -> State:
        """What a checkpoint after `done` steps holds."""
        return self.abstract(stage_at(self.recipe.steps, done))

    def abstract(self, stage: int) -> State:
        """Shapes, dtypes and place of the states in a stage."""
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        many = lambda a: jax.ShapeDtypeStruct((len(self.seeds), *a.shape), a.dtype, sharding=device)
        one = abstract_state(self.recipe, self.example, stage)
        step = jax.ShapeDtypeStruct((), one.step.dtype, sharding=device)
        return jax.tree.map(many, one)._replace(step=step)

    # ---- steps

    def blocks(self, left: Sequence[Piece]) -> Iterator[tuple[Piece, dict, np.ndarray]]:
        """(piece, data, rows (k, steps, B) of them): all data on the device, or those of the piece."""
        data = jax.device_put(fetch(self.split)) if self.on_device and left else {}
        for piece in left:
            block = [row_block(seed, piece.start, piece.length, self.recipe.batch, len(self.split.x)) for seed in self.seeds]
            chosen = np.stack(block)
            if self.on_device:
                yield piece, data, chosen
            else:
                here = np.arange(chosen.size, dtype=np.int32).reshape(chosen.shape)
                yield piece, jax.device_put(fetch(self.split, chosen.ravel())), here

    def advance(self, state: State, piece: Piece, data: dict, chosen: np.ndarray) -> tuple[State, Seen]:
        """The states after a piece, and what it showed, (k, steps) each. The states before it are given away."""
        return self.program(piece)(state, data, chosen)

    def program(self, piece: Piece) -> Any:
        """The piece's program, compiled once for each stage and length."""
        kind = piece.stage, piece.length
        if kind not in self.compiled:
            began = time.perf_counter()
            self.compiled[kind] = self.lowered(*kind).compile()
            self.compile_seconds[f"{piece.stage}/{piece.length}"] = round(time.perf_counter() - began, 3)
        return self.compiled[kind]

    def lowered(self, stage: int, length: int) -> Any:
        many = len(self.split.x) if self.on_device else len(self.seeds) * length * self.recipe.batch
        data = {name: jax.ShapeDtypeStruct((many, *shape), jnp.dtype(dtype)) for name, (shape, dtype) in self.example.items()}
        chosen = jax.ShapeDtypeStruct((len(self.seeds), length, self.recipe.batch), jnp.int32)
        stacked = jax.vmap(scanned_piece(self.recipe, stage), in_axes=(AXES, None, 0), out_axes=(AXES, 0))
        return jax.jit(stacked, donate_argnums=0).lower(self.abstract(stage), data, chosen)

    def fits(self, length: int) -> bool:
        """Whether the program of every stage finds its memory, as far as the compiler tells."""
        for stage in range(len(self.recipe.steps)):
            told = self.program(Piece(stage, 0, length)).memory_analysis()
            if told and told.argument_size_in_bytes + told.temp_size_in_bytes > MEMORY * device_memory():
                return False
        return True


def fitting(recipe: Recipe, split: Split, seeds: Sequence[int], length: int) -> Stack:
    """The first of the seeds, all or half or a quarter of them: as many as the memory has room for in one program."""
    stack = Stack(recipe, split, seeds)
    while len(stack.seeds) > 1 and not stack.fits(length):
        stack = Stack(recipe, split, seeds[: -(-len(stack.seeds) // 2)])
    return stack


def seconds_a_step(stack: Stack, length: int, at_least: float = 1.0) -> list[float]:
    """Of each stage, all seeds of the stack together: the fastest warm piece, of three or as many as take `at_least` seconds.

    The mean would be of what else the machine did meanwhile.
    """
    state, rates = stack.first(), []
    for stage in range(len(stack.recipe.steps)):
        state = stack.next(state, stage) if stage else state
        piece = Piece(stage, 0, length)
        ((_, data, chosen),) = stack.blocks([piece])
        state, _ = jax.block_until_ready(stack.advance(state, piece, data, chosen))
        taken = []
        while len(taken) < 3 or sum(taken) < at_least:
            began = time.perf_counter()
            state, _ = jax.block_until_ready(stack.advance(state, piece, data, chosen))
            taken.append(time.perf_counter() - began)
        rates.append(min(taken) / length)
    return rates


def parameters_of(state: State, number: int) -> Params:
    """The average that one seed's samples are drawn with."""
    return jax.tree.map(lambda a: a[number], state.ema)
