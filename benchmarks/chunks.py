"""Long work in chunks: a clock that has measured them, and checkpoints that travel.

A chunk is one dispatch of a compiled program; between two of them the clock is asked whether another one fits before the
deadline. A checkpoint is files of at most 15 MiB,

    NAME.STEP.0of2  NAME.STEP.1of2        one line of JSON (about, crc32), then the bytes of all leaves in the tree's order

so a machine that moves only small files can hand a run to another one. The newest step whose files are all there and whose
checksum holds is used; a kill at any instant leaves that one or the one before.
"""

import json
import math
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np

from genjax import State

PART = 15 * 2**20  # bytes of a file
SAVING = 2.0  # seconds kept back for the last checkpoint
SAVE_EVERY = 60.0  # seconds of work that a kill may cost


class Clock:
    """Says whether one more chunk fits, by the longest so far.

    Args:
      deadline: time.monotonic() at which everything must be saved; inf for none.
      guess: seconds of the first chunk.
    """

    def __init__(self, deadline: float = math.inf, guess: float = 0.0):
        self.deadline, self.longest = deadline, guess
        self.began = self.saved = time.monotonic()

    def another(self) -> bool:
        """Does a chunk fit, half as long again as the longest, and the checkpoint after it?"""
        self.began = time.monotonic()
        return self.began + 1.5 * self.longest + SAVING < self.deadline

    def tick(self) -> float:
        """A chunk is done: its seconds since `another` was asked."""
        seconds = time.monotonic() - self.began
        self.longest = max(self.longest, seconds)
        return seconds

    def save_now(self) -> bool:
        """Is it time for a checkpoint?"""
        if due := time.monotonic() - self.saved > SAVE_EVERY:
            self.saved = time.monotonic()
        return due


# ---- checkpoints -------------------------------------------------------------------------------------------------------


def save(folder: Path, name: str, state: State, about: dict[str, Any]) -> None:
    """Write a checkpoint and remove the ones before it. `about` (JSON) comes back with it; its `step` is the state's."""
    folder.mkdir(parents=True, exist_ok=True)
    content = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(plain(state)))
    step = int(state.step)
    head = json.dumps(about | {"step": step, "crc32": crc32(content)}) + "\n"
    content = head.encode() + content
    count = -(-len(content) // PART)
    for part in range(count):
        path = folder / f"{name}.{step}.{part}of{count}"
        aside = path.with_name(f".aside.{path.name}")
        aside.write_bytes(content[part * PART : (part + 1) * PART])
        os.replace(aside, path)
    forget(folder, name, but=step)


def restore(folder: Path, name: str, target: Callable[[int], State]) -> tuple[State, dict[str, Any]] | None:
    """(state, about) of the newest whole checkpoint, or None.

    Args:
      target: step -> the state's shapes and dtypes.

    Raises:
      ValueError: a whole checkpoint has another length than the target.
    """
    for step, paths in sorted(found(folder, name).items(), reverse=True):
        head, _, content = b"".join(path.read_bytes() for path in paths).partition(b"\n")
        about = parsed(head)
        if about and len(paths) == int(paths[0].name.rsplit("of", 1)[1]) and crc32(content) == about["crc32"]:
            return unpacked(content, target(step), f"{folder / name} at step {step}"), about
    return None


def forget(folder: Path, name: str, but: int | None = None) -> None:
    """Remove the checkpoints of a name, except of one step."""
    for step, paths in found(folder, name).items():
        for path in paths if step != but else ():
            path.unlink()


def found(folder: Path, name: str) -> dict[int, list[Path]]:
    """{step: its parts in order}."""
    steps: dict[int, list[Path]] = {}
    for path in sorted(folder.glob(f"{name}.*"), key=lambda path: (len(path.name), path.name)):
        if match := re.fullmatch(re.escape(name) + r"\.(\d+)\.\d+of\d+", path.name):
            steps.setdefault(int(match[1]), []).append(path)
    return steps


def parsed(head: bytes) -> dict[str, Any] | None:
    try:
        return json.loads(head)
    except ValueError:
        return None


def plain(state: State) -> State:
    """With the key as integers, which can be stored."""
    return state._replace(key=jax.random.key_data(state.key))


def unpacked(content: bytes, target: State, where: str) -> State:
    """The state whose leaves these bytes are."""
    leaves, at = [], 0
    shapes, tree = jax.tree.flatten(jax.eval_shape(plain, target))
    if len(content) != (wanted := sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in shapes)):
        raise ValueError(f"{where} has {len(content)} bytes, this model's state {wanted}: another version wrote it; remove it")
    for leaf in shapes:
        count = math.prod(leaf.shape)
        leaves.append(jnp.array(np.frombuffer(content, leaf.dtype, count, at).reshape(leaf.shape)))
        at += count * leaf.dtype.itemsize
    state = jax.tree.unflatten(tree, leaves)
    return state._replace(key=jax.random.wrap_key_data(state.key))
