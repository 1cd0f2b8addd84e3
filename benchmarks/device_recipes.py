"""Every recipe of `configs/` at its defaults, the time to its end: a job of `benchmarks.pending`.

The programs are those of a run (`genjax.pieces`); what a run does beside them (lines, pictures, its own checkpoints) is left
out, and so is compilation, which is told beside it. A recipe is left at the deadline and taken up again.
"""

import time
from pathlib import Path
from typing import Any

import jax

from benchmarks import chunks, progress
from benchmarks.chunks import Clock
from benchmarks.progress import Progress
from benchmarks.record import row
from genjax.config import ROOT, Command, Options, knob_class, load_recipe
from genjax.data import DataError
from genjax.job import Job, plan
from genjax.pieces import Programs, begins, pieces
from genjax.step import State

JOB, COMPILING = "recipes", 40.0


def advance(folder: Path, deadline: float, tiny: bool = False, paths: list[Path] | None = None) -> Progress:
    """Train recipe after recipe; `tiny` takes 20 steps of each. A recipe without its data is told and waits."""
    paths = sorted((ROOT / "configs").glob("*.py")) if paths is None else paths
    lines, done = [], 0.0
    for path in paths:
        name = path.stem
        if not any(row["recipe"] == name for row in progress.entry(folder, JOB)["rows"]):
            try:
                share, line = train(path, folder, deadline, tiny)
            except DataError as error:
                share, line = 0.0, str(error)
            lines.append(f"{name}: {line}")
        else:
            share = 1.0
        done += share / len(paths)
        if 0 < share < 1 or time.monotonic() + COMPILING > deadline:
            break
    return Progress(sharing(folder, paths, done), "; ".join(lines))


def sharing(folder: Path, paths: list[Path], done: float) -> float:
    """1 only when each has its row."""
    rows = {row["recipe"] for row in progress.entry(folder, JOB)["rows"]}
    return 1.0 if all(path.stem in rows for path in paths) else min(done, 0.99)


def train(path: Path, folder: Path, deadline: float, tiny: bool) -> tuple[float, str]:
    """(share, line) after the pieces that fit. The row is kept at the end."""
    job = planned(path, tiny)
    programs, clock = Programs(job), Clock(deadline)
    found = chunks.restore(folder, f"recipe_{job.name}", programs.target)
    state, about = found or (programs.first(), {"seconds": {}, "compiled": 0.0})
    state = jax.device_put(state, jax.tree.map(lambda leaf: leaf.sharding, programs.target(int(state.step))))
    state, about = loop(job, programs, state, about, clock, folder)
    if (done := int(state.step)) < job.total:
        chunks.save(folder, f"recipe_{job.name}", state, about)
        return done / job.total, f"step {done} of {job.total}"
    seconds = sum(about["seconds"].values())
    progress.keep(folder, JOB, finished(job, seconds, about))
    chunks.forget(folder, f"recipe_{job.name}")
    return 1.0, f"{seconds:.1f} s"


def planned(path: Path, tiny: bool) -> Job:
    """The job of the command `python train.py PATH`."""
    knobs = vars(knob_class(load_recipe(path))())
    return plan(Command(path, knobs, Options(smoke=tiny)))


def loop(
    job: Job, programs: Programs, state: State, about: dict[str, Any], clock: Clock, folder: Path
) -> tuple[State, dict[str, Any]]:
    """Piece after piece, as a run does, until the clock says no."""
    here = jax.devices()[0].device_kind
    for piece, data, chosen in programs.blocks(list(pieces(job.recipe.steps, job.options.chunk, int(state.step)))):
        if not clock.another():
            break
        before = programs.compile_seconds
        programs.program(piece)
        if programs.compile_seconds > before and not clock.another():
            break
        state, _ = programs.advance(state, piece, data, chosen)
        if piece.stop == begins(job.recipe, piece.stage + 1) < job.total:
            state = programs.next(state, piece.stage + 1)
        jax.block_until_ready(state)
        about["seconds"][here] = about["seconds"].get(here, 0.0) + clock.tick()
        if clock.save_now():
            chunks.save(folder, f"recipe_{job.name}", state, about)
    return state, about | {"compiled": about["compiled"] + programs.compile_seconds}


def finished(job: Job, seconds: float, about: dict[str, Any]) -> dict[str, Any]:
    """The row of a recipe."""
    where = f" on {' and '.join(about['seconds'])}" if len(about["seconds"]) > 1 else ""
    note = f"{job.total / seconds:.0f} steps/s{where}; compiled in {about['compiled']:.0f} s, not counted"
    return row(job.name, "training at the defaults", [round(seconds, 2)], seeds=[job.options.seed], unit="s",
               keywords={"steps": sum(job.recipe.steps), "batch": job.recipe.batch}, note=note)  # fmt: skip
