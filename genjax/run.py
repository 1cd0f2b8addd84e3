"""A run: a recipe on its data, from the command line's plan to the last checkpoint.

Training goes in pieces: `chunk` steps scanned in one dispatch, their rows gathered from data that lie on the device. Pieces
end at fixed steps (multiples of `chunk`, ends of stages), checkpoints at ends of pieces, and the order of the data and all noise
are functions of the step. So a run that was stopped anywhere goes on through the same programs to the same bits.

    runs/NAME/  config.json  recipe.py (a copy)  env.json  metrics.jsonl  timing.jsonl  reals.png  samples/step_*.png
                checkpoints/  curve.png  result.json  tensorboard/
"""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax import report
from genjax.checkpoint import Checkpoints, warn, write_atomically
from genjax.config import ROOT, Command, Options, Recipe, load_recipe, shown
from genjax.data import Dataset, Spec, feed, fetch, load, row_block, rows, spec_from
from genjax.model import Model, Phase, stream
from genjax.parallel import data_mesh, pmapped, shardings
from genjax.step import State, init, make_step, next_stage

ON_DEVICE = 2**30  # bytes of data that are kept on the device; more is read ahead from the host
GRACE = 8.0  # seconds from a signal to an exit, saved or not
PICTURED = 64  # samples in a grid


class Job(NamedTuple):
    """All that is decided before the first step."""

    name: str
    folder: Path
    source: Path  # the recipe's file
    recipe: Recipe
    data: Dataset
    options: Options  # resolved: no zeros that stand for a default
    identity: dict[str, Any]  # what the run is: config.json


class Piece(NamedTuple):
    """Steps start .. stop - 1 of one stage, in one dispatch."""

    stage: int
    start: int
    stop: int


# ---- planning --------------------------------------------------------------------------------------------------------


def plan(command: Command) -> Job:
    """Load data and recipe and check all that can be known before the first step."""
    options, source = command.options, load_recipe(command.path)
    data = load(options.data or source.data, options.data_dir or os.environ.get("GENJAX_DATA"))
    recipe = source.recipe(data.spec, **command.knobs)
    recipe = shrunk(recipe) if options.smoke else recipe
    options = resolved(options, recipe)
    check(recipe, data)
    name = source.path.stem
    folder = Path(options.run or Path("runs") / name)
    folder = folder.with_name(f"{folder.name}-smoke") if options.smoke else folder
    train = data.splits["train"]
    example = {"x": [list(train.x.shape[1:]), str(train.x.dtype)]} | ({} if train.y is None else {"y": [[], "int32"]})
    identity = {"recipe": name, "knobs": command.knobs, "data": data.name, "seed": options.seed, "smoke": options.smoke}
    identity |= {"steps": recipe.steps, "batch": recipe.batch, "chunk": options.chunk, "log_every": options.log_every}
    identity |= {"spec": data.spec._asdict(), "example": example}
    return Job(name, folder, source.path, recipe, data, options, json.loads(json.dumps(identity)))


def shrunk(recipe: Recipe) -> Recipe:
    """The recipe of --smoke."""
    devices = len(jax.devices())
    batch = min(recipe.batch, 8 * devices)
    return recipe._replace(steps=tuple(min(n, 20) for n in recipe.steps), batch=batch, chunk=10)


def resolved(options: Options, recipe: Recipe) -> Options:
    """Options with a number in place of each zero that stands for a default."""
    total = sum(recipe.steps)
    chunk = options.chunk or recipe.chunk
    log_every = min(options.log_every or max(1, total // 300), chunk)
    save_every = -(-(options.save_every or -(-total // 10)) // chunk) * chunk
    return Options(**vars(options) | {"chunk": chunk, "log_every": log_every, "save_every": save_every})


def check(recipe: Recipe, data: Dataset) -> None:
    """Refuse a recipe that cannot train on these data and devices."""
    devices, needed = len(jax.devices()), memory_needed(recipe, data)
    if len(recipe.steps) != len(recipe.model.stages):
        raise ValueError(f"the recipe gives steps for {len(recipe.steps)} stages, its model has {len(recipe.model.stages)}")
    if recipe.batch % devices:
        near = max(devices, round(recipe.batch / devices) * devices)
        raise ValueError(f"a batch of {recipe.batch} does not divide over {devices} devices; make it {near}")
    if (bytes_needed := sum(needed.values())) > (there := device_memory()):
        raise ValueError(f"training needs about {report.nbytes(bytes_needed)}, the device has {report.nbytes(there)}; "
                         "make the batch or the nets smaller")


def abstract_state(recipe: Recipe, example: dict[str, Any], stage: int = 0) -> State:
    """The state's shapes and dtypes at some stage, without computing anything."""
    size = recipe.batch
    data = {name: jax.ShapeDtypeStruct((size, *shape), jnp.dtype(dtype)) for name, (shape, dtype) in example.items()}
    key = jax.eval_shape(lambda: jax.random.key(0))
    batch = jax.eval_shape(feed(recipe.prepare), data, key, jax.ShapeDtypeStruct((size,), jnp.int32))
    state = jax.eval_shape(partial(init, recipe.model), key, batch)
    return jax.eval_shape(partial(next_stage, recipe.model, stage=stage), state) if stage else state


def memory_needed(recipe: Recipe, data: Dataset) -> dict[str, int]:
    """Bytes by purpose, without the activations, which only the compiler knows."""
    train = data.splits["train"]
    example = {"x": (train.x.shape[1:], train.x.dtype)} | ({} if train.y is None else {"y": ((), "int32")})
    stages = [abstract_state(recipe, example, stage) for stage in range(len(recipe.model.stages))]
    row = int(np.prod(train.x.shape[1:])) * np.dtype(train.x.dtype).itemsize
    params = report.size_of(stages[0].params)
    return {
        "parameters": params,
        "their average": report.size_of(stages[0].ema),
        "gradients": params,
        "optimizer": max(report.size_of(state.opt) for state in stages),
        "memory of rows": report.size_of(stages[0].memory),
        "data": min(len(train.x) * row, ON_DEVICE),
        "batch": recipe.batch * int(np.prod(train.x.shape[1:])) * 4,
    }


def device_memory() -> int:
    """Bytes of one device; of the machine where the device does not tell."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def describe(job: Job) -> str:
    """What --dry-run prints."""
    state = abstract_state(job.recipe, job.identity["example"])
    needed = memory_needed(job.recipe, job.data)
    analysis = Trainer(job).compiled(Piece(0, 0, min(job.options.chunk, job.recipe.steps[0]))).memory_analysis()
    needed |= {"activations and the like": analysis.temp_size_in_bytes} if analysis else {}
    train = job.data.splits["train"]
    return "\n".join([
        f"{job.name} on {job.data.name}: {len(train.x)} examples of shape {job.data.spec.shape}, "
        f"batch {job.recipe.batch}, seed {job.options.seed}, run folder {job.folder} (nothing is written)", "",
        report.parameter_table(state.params), "",
        report.stage_table(state.params, job.recipe.model.stages, job.recipe.steps), "",
        f"memory on {len(jax.devices())} x {jax.devices()[0].device_kind}: about {report.nbytes(sum(needed.values()))} ("
        + ", ".join(f"{name} {report.nbytes(size)}" for name, size in needed.items() if size) + ")",
    ])


# ---- pieces ----------------------------------------------------------------------------------------------------------


def pieces(steps: tuple[int, ...], chunk: int, done: int = 0) -> Iterator[Piece]:
    """The pieces that are left after `done` steps. They end at multiples of `chunk` and at the ends of stages."""
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
    ends = np.cumsum(steps)
    return int(min(np.searchsorted(ends, done, side="right"), len(steps) - 1))


class Trainer:
    """The compiled programs of a job: the first state, a piece of steps, samples."""

    def __init__(self, job: Job):
        self.job, self.model = job, job.recipe.model
        self.mesh: Mesh = data_mesh()
        self.state_sharding, self.batch_sharding = shardings(self.mesh)
        self.whole = NamedSharding(self.mesh, PartitionSpec())
        self.programs: dict[tuple[int, int], Any] = {}
        self.compile_seconds = 0.0
        split = job.data.splits["train"]
        self.on_device = len(split.x) * int(np.prod(split.x.shape[1:])) * np.dtype(split.x.dtype).itemsize <= ON_DEVICE
        self.sample = jax.jit(self.model.sample)

    def first(self) -> State:
        """The state before the first step."""
        job = self.job
        prepare, split = feed(job.recipe.prepare), job.data.splits["train"]
        chosen = rows(job.options.seed, 0, job.recipe.batch, len(split.x))

        def begin(key: jax.Array, data: dict, rows: jax.Array) -> State:
            return init(self.model, key, prepare(data, stream(key, "first"), rows))

        begin = jax.jit(begin, out_shardings=self.state_sharding)
        return begin(jax.random.key(job.options.seed), fetch(split, chosen), np.arange(len(chosen), dtype=np.int32))

    def next(self, state: State, stage: int) -> State:
        """The state at the start of a later stage."""
        return jax.jit(partial(next_stage, self.model, stage=stage), out_shardings=self.state_sharding)(state)

    def target(self, done: int) -> State:
        """What a checkpoint after `done` steps holds, and where it goes on these devices."""
        state = abstract_state(self.job.recipe, self.job.identity["example"], stage_at(self.job.recipe.steps, done))
        place = lambda tree, sharding: jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree)
        return State(*map(place, state, self.state_sharding))

    # ---- data

    def blocks(self, left: list[Piece]) -> Iterator[tuple[Piece, dict, np.ndarray]]:
        """(piece, data, rows (steps, B) of them): all data on the device, or those of the piece, read one piece ahead."""
        split, size, seed = self.job.data.splits["train"], self.job.recipe.batch, self.job.options.seed
        block = lambda piece: row_block(seed, piece.start, piece.stop - piece.start, size, len(split.x))
        if self.on_device:
            data = jax.device_put(fetch(split), self.whole)
            yield from ((piece, data, block(piece)) for piece in left)
            return

        def read(piece: Piece) -> tuple[Piece, dict, np.ndarray]:
            chosen = block(piece)
            return piece, fetch(split, chosen.ravel()), np.arange(chosen.size, dtype=np.int32).reshape(chosen.shape)

        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(read, left[0])
            for following in [*left[1:], None]:
                ready = ahead.result()
                ahead = reader.submit(read, following) if following else None
                yield ready

    # ---- steps

    def advance(self, state: State, piece: Piece, data: dict, rows: np.ndarray) -> tuple[State, Any]:
        """(state after the piece, what it showed: metrics and which phases moved, each with a leading axis of steps)."""
        if self.job.options.parallel == "pmap":
            return self.advance_pmapped(state, piece, data, rows)
        return self.compiled(piece)(state, data, rows)

    def compiled(self, piece: Piece) -> Any:
        """The program of a piece, compiled once for each stage and length."""
        kind = piece.stage, piece.stop - piece.start
        if kind not in self.programs:
            began = time.perf_counter()
            split, (stage, length) = self.job.data.splits["train"], kind
            many = len(split.x) if self.on_device else length * self.job.recipe.batch
            shapes = {name: ((many, *shape), jnp.dtype(dtype)) for name, (shape, dtype) in self.job.identity["example"].items()}
            data = {name: jax.ShapeDtypeStruct(*shape) for name, shape in shapes.items()}
            rows = jax.ShapeDtypeStruct((length, self.job.recipe.batch), jnp.int32)
            state = abstract_state(self.job.recipe, self.job.identity["example"], stage)
            split_rows = NamedSharding(self.mesh, PartitionSpec(None, "data"))
            program = jax.jit(
                scanned_piece(self.job.recipe, stage),
                in_shardings=(self.state_sharding, self.whole, split_rows),
                out_shardings=(self.state_sharding, self.whole),
                donate_argnums=0,
            )
            self.programs[kind] = program.lower(state, data, rows).compile()
            self.compile_seconds += time.perf_counter() - began
        return self.programs[kind]

    def advance_pmapped(self, state: State, piece: Piece, data: dict, rows: np.ndarray) -> tuple[State, Any]:
        """The same steps through the device view, one dispatch each."""
        recipe, stage = self.job.recipe, piece.stage
        if (stage, 1) not in self.programs:
            one = make_step(self.model, stage, begins=begins(recipe, stage), ema_decay=recipe.ema_decay, axis_name="data")
            self.programs[stage, 1] = pmapped(one), jax.jit(partial(batch_of, recipe))
        step, batch = self.programs[stage, 1]
        seen = []
        for number, chosen in zip(range(piece.start, piece.stop), rows, strict=True):
            moves = {name: np.asarray(move) for name, move in moved(recipe, stage, number).items()}
            state, metrics = step(state, batch(data, state.key, state.step, chosen))
            seen.append((metrics, moves))
        return state, jax.tree.map(lambda *values: np.stack(values), *seen)


def begins(recipe: Recipe, stage: int) -> int:
    """The step at which a stage begins."""
    return sum(recipe.steps[:stage])


def batch_of(recipe: Recipe, data: dict, key: jax.Array, step: jax.Array, rows: jax.Array) -> dict:
    """The batch of one step: its rows, prepared with the step's own key."""
    return feed(recipe.prepare)(data, stream(jax.random.fold_in(key, step), "prepare"), rows)


def moved(recipe: Recipe, stage: int, step: Any) -> dict[str, Any]:
    """{phase: does it move at this step} for those that rest at times."""
    local = jnp.asarray(step) - begins(recipe, stage)
    return {phase.name: phase.when(local) for phase in recipe.model.stages[stage] if phase.when}


def scanned_piece(recipe: Recipe, stage: int) -> Callable:
    """(state, data, rows (steps, B)) -> (state, (metrics, moved)): gather, prepare and step, scanned."""
    step = make_step(recipe.model, stage, begins=begins(recipe, stage), ema_decay=recipe.ema_decay)

    def piece(state: State, data: dict, rows: jax.Array) -> tuple[State, Any]:
        def one(state: State, rows: jax.Array) -> tuple[State, Any]:
            moves = moved(recipe, stage, state.step)
            state, metrics = step(state, batch_of(recipe, data, state.key, state.step, rows))
            return state, (metrics, moves)

        return jax.lax.scan(one, state, rows)

    return piece


# ---- the loop --------------------------------------------------------------------------------------------------------


class Ended(Exception):
    """The run ends here, with an exit code and a line."""

    def __init__(self, code: int, line: str):
        super().__init__(line)
        self.code = code


def train(job: Job) -> int:
    """Train to the end, from the newest checkpoint where there is one; returns the exit code."""
    with locked(open_folder(job)), Stop() as stop:
        try:
            return Loop(job).run(stop)
        except Ended as end:
            print(f"stopped: {end}", file=sys.stderr)
            return end.code


class Loop:
    """One process's share of a run."""

    def __init__(self, job: Job):
        self.job, self.trainer = job, Trainer(job)
        self.checkpoints = Checkpoints(job.folder, job.options.keep)
        self.metrics, self.timing = report.Lines(job.folder / "metrics.jsonl"), report.Lines(job.folder / "timing.jsonl")

    def run(self, stop: "Stop") -> int:
        job, total = self.job, sum(self.job.recipe.steps)
        state, done = self.begin()
        left = list(pieces(job.recipe.steps, job.options.chunk, done))
        if not left and (job.folder / "result.json").exists():
            print(f"{job.folder} is complete ({total} steps); {onward(job)}")
            return 0
        self.tensorboard, self.progress = report.board(job.folder, done), report.Progress(done, total)
        waiting = None  # the piece whose metrics are fetched while the device computes the next one
        for piece, data, chosen in self.trainer.blocks(left) if left else ():
            stop.at = piece.start
            if self.trainer.compile_seconds == 0:
                self.announce(piece)
            state, seen = self.trainer.advance(state, piece, data, chosen)
            if waiting:
                self.look(*waiting, state)
            waiting = piece, seen
            if piece.stop == begins(job.recipe, piece.stage + 1) and piece.stop < total:
                state = self.trainer.next(state, piece.stage + 1)
            self.checkpoints.settle(wait=False)
            if stop.signal or piece.stop % job.options.save_every == 0 or piece.stop == total:
                self.look(*waiting, state)
                waiting = None
                self.save(piece.stop, state, pictured=not stop.signal)
            if stop.signal:
                self.checkpoints.close()
                raise Ended(128 + stop.signal, f"{stop.name}, saved at step {piece.stop}; the same command goes on from there")
        self.end(state)
        return 0

    # ---- parts of it

    def begin(self) -> tuple[State, int]:
        """(state, steps done): restored, or new."""
        job = self.job
        found = self.checkpoints.restore(self.trainer.target)
        done, state = found or (0, None)
        self.streak = Streak(job, int(state.skipped) if found else 0)
        self.kept = self.metrics.cut(done)
        self.streak.total = sum(round(v) for row in self.kept for name, v in row.items() if name.endswith("/skipped"))
        self.saved = done
        if not found:
            state = self.trainer.first()
        train = job.data.splits["train"]
        size = report.count(state.params)
        print(f"{job.name} on {job.data.name}: {size:,} parameters, {len(train.x)} examples, {len(jax.devices())} x "
              f"{jax.devices()[0].device_kind}, run folder {job.folder}" + (f", from step {done}" if done else ""), flush=True)
        for number, stage in enumerate(job.recipe.model.stages):
            if names := report.frozen(state.params, stage):
                print(f"frozen in stage {number}: {', '.join(names)}")
        if not (job.folder / "reals.png").exists():
            self.picture_reals()
        return state, done

    def announce(self, piece: Piece) -> None:
        """Compile before the first piece, and say how long it took."""
        began = time.perf_counter()
        if self.job.options.parallel == "jit":
            self.trainer.compiled(piece)
            print(f"compiled in {self.trainer.compile_seconds:.1f} s", flush=True)
        self.progress.rest(time.perf_counter() - began)

    def look(self, piece: Piece, seen: Any, state: State) -> None:
        """Fetch what a piece showed: log it, and end the run where too many steps in a row were bad."""
        metrics, moves = jax.tree.map(np.asarray, seen)
        stage, length = self.job.recipe.model.stages[piece.stage], piece.stop - piece.start
        moves = {phase.name: np.broadcast_to(moves.get(phase.name, True), (length,)) for phase in stage}
        moves = {name: moves[owner(name, stage)] for name in metrics}
        lines = report.windows(metrics, moves, piece.start, piece.stop, self.job.options.log_every)
        self.metrics.write(lines)
        self.tensorboard(lines)
        self.kept += lines
        self.timing.write([{"step": piece.stop, "time": round(time.time(), 3)}])
        self.progress.tell(lines[-1], last=piece.stop == sum(self.job.recipe.steps))
        if bad := self.streak.follow(piece, metrics, stage):
            self.give_up(bad, state)

    def save(self, step: int, state: State, pictured: bool = True) -> None:
        """Begin a checkpoint, and draw the samples of this step."""
        began = time.perf_counter()
        self.metrics.sync()
        self.checkpoints.save(step, state)
        self.saved = step
        if pictured:
            self.picture(step, state)
        self.progress.rest(time.perf_counter() - began)

    def picture(self, step: int, state: State) -> None:
        recipe = self.job.recipe
        x = draw(self.trainer.sample, state.ema, np.arange(PICTURED), labels(recipe, np.arange(PICTURED)))
        self.drawn(self.job.folder / "samples" / f"step_{step:08}.png", recipe.show(x))

    def picture_reals(self) -> None:
        recipe, split = self.job.recipe, self.job.data.splits["train"]
        data = fetch(split, np.arange(min(PICTURED, len(split.x))))
        x = jax.jit(feed(recipe.prepare))(data, jax.random.key(0), np.arange(len(data["x"])))["x"]
        self.drawn(self.job.folder / "reals.png", recipe.show(x))

    def drawn(self, path: Path, images: Any) -> None:
        """A picture that cannot be written (full disk) is told and left out."""
        try:
            report.picture(path, np.asarray(images))
        except OSError as error:
            warn(f"{path} could not be written: {error}")

    def give_up(self, bad: dict, state: State) -> None:
        """End a run whose losses stay not finite. Each bad update was undone, so the state now is the one before them."""
        now = int(state.step)
        if bad["first"] >= self.saved:
            self.save(now, state, pictured=False)
        self.checkpoints.close()
        write_atomically(self.job.folder / "result.json", json.dumps({"stopped": bad, "skipped": self.streak.total}, indent=1))
        some = ", ".join(map(str, bad["rows"][:8])) + (" ..." if len(bad["rows"]) > 8 else "")
        raise Ended(1, f"{bad['count']} steps in a row were not finite, the last at step {bad['step']} in {', '.join(bad['phases'])}, "
                       f"batch rows {some} (all in result.json). Their updates were undone; lower the learning rate, or look "
                       f"at these rows. Checkpoints are in {self.checkpoints.folder}")

    def end(self, state: State) -> None:
        """Wait for the last checkpoint and write the summary."""
        job, folder = self.job, self.job.folder
        self.checkpoints.close()
        if self.metrics.failed:
            raise OSError(f"the last lines of {self.metrics.path} could not be written; free the disk and run the command again")
        last = self.kept[-1] if self.kept else {}
        seconds = time.perf_counter() - self.progress.begun
        result = {"steps": int(state.step), "skipped": self.streak.total, "parameters": report.count(state.params)}
        result |= {"last": last, "steps_per_second": round((int(state.step) - self.progress.first) / max(seconds, 1e-9), 2)}
        result |= {"compile_seconds": round(self.trainer.compile_seconds, 2), "device": jax.devices()[0].device_kind}
        report.curve(folder / "curve.png", self.kept)
        write_atomically(folder / "result.json", json.dumps(result, indent=1) + "\n")
        print(f"done: {int(state.step)} steps" + (f", {self.streak.total} updates skipped" if self.streak.total else "")
              + f"; {onward(job)}")


class Streak:
    """Counts bad steps, in all and in a row."""

    def __init__(self, job: Job, row: int):
        self.job, self.row, self.total = job, row, 0

    def follow(self, piece: Piece, metrics: dict[str, np.ndarray], stage: tuple[Phase, ...]) -> dict | None:
        """Warn of skipped updates; what to tell when there were too many in a row, else None."""
        bad = {phase.name: metrics[f"{phase.name}/skipped"] > 0 for phase in stage}  # NaN of a resting phase is not above 0
        undone = np.any(list(bad.values()), axis=0)
        self.total += sum(int(steps.sum()) for steps in bad.values())
        for k in np.flatnonzero(undone):
            self.row = self.row + 1 if k == 0 or undone[k - 1] else 1
            if self.row >= self.job.options.bad_steps:
                return self.tell(piece.start + int(k), [name for name, steps in bad.items() if steps[k]])
        self.row = self.row if undone[-1] else 0
        if undone.any():
            names = ", ".join(name for name, steps in bad.items() if steps.any())
            warn(f"loss or gradient of {names} not finite at {int(undone.sum())} of the steps {piece.start} to {piece.stop - 1}, "
                 f"first at {piece.start + int(undone.argmax())}; these updates were skipped")
        return None

    def tell(self, step: int, phases: list[str]) -> dict:
        job = self.job
        chosen = rows(job.options.seed, step, job.recipe.batch, len(job.data.splits["train"].x))
        return {"step": step, "first": step - self.row + 1, "count": self.row, "phases": phases, "rows": chosen.tolist()}


def owner(metric: str, stage: tuple[Phase, ...]) -> str:
    """The phase to which a metric "phase/name" belongs; a phase's own name may have slashes."""
    return max((phase.name for phase in stage if metric.startswith(f"{phase.name}/")), key=len)


def onward(job: Job) -> str:
    return f"sample with: python sample.py {shown(job.folder)} --seeds 0-63 --out grid.png"


# ---- samples ---------------------------------------------------------------------------------------------------------


def labels(recipe: Recipe, seeds: np.ndarray, label: int | None = None) -> np.ndarray | None:
    """The labels that samples are drawn with: one for all, or each seed its own; None for a model without."""
    if not recipe.classes:
        if label is not None:
            raise ValueError("this model takes no labels; leave --label out")
        return None
    if label is not None and not 0 <= label < recipe.classes:
        raise ValueError(f"--label {label}: labels are 0 .. {recipe.classes - 1}")
    return (seeds % recipe.classes if label is None else np.full(len(seeds), label)).astype(np.int32)


def draw(sample: Callable, params: Any, seeds: np.ndarray, y: np.ndarray | None, at_once: int = PICTURED) -> np.ndarray:
    """(len(seeds), ...) samples, each from its own key. Always `at_once` in one call, so one program serves any number."""
    parts = []
    for first in range(0, len(seeds), at_once):
        chosen = np.resize(np.arange(first, min(first + at_once, len(seeds))), at_once)  # the last call repeats some
        keys = jax.vmap(jax.random.key)(jnp.asarray(seeds[chosen], jnp.uint32))
        parts.append(np.asarray(sample(params, keys) if y is None else sample(params, keys, y[chosen])))
    return np.concatenate(parts)[: len(seeds)]


class Trained(NamedTuple):
    """A run read back for sampling."""

    recipe: Recipe
    spec: Spec
    step: int
    state: State

    @property
    def model(self) -> Model:
        return self.recipe.model


def reopen(folder: Path) -> Trained:
    """Rebuild the model from a run's folder and restore its newest checkpoint; the data are not needed."""
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} is no run: it has no config.json; train one first with python train.py --run {folder}")
    identity = read_json(folder / "config.json")
    knobs = {name: tuple(value) if isinstance(value, list) else value for name, value in identity["knobs"].items()}
    spec = spec_from(identity["spec"])
    recipe = load_recipe(folder / "recipe.py").recipe(spec, **knobs)
    recipe = recipe._replace(steps=tuple(identity["steps"]), batch=identity["batch"])
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])

    def target(done: int) -> State:
        state = abstract_state(recipe, identity["example"], stage_at(recipe.steps, done))
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), state)

    found = Checkpoints(folder, read_only=True).restore(target)
    if found is None:
        raise ValueError(f"{folder} has no finished checkpoint yet; let it train on")
    return Trained(recipe, spec, *found)


# ---- the run's folder ------------------------------------------------------------------------------------------------


def open_folder(job: Job) -> Path:
    """Make the run's folder, or see that it holds this very run. Refuses what cannot be written."""
    folder, path = job.folder, job.folder / "config.json"
    if job.options.smoke and path.exists() and read_json(path).get("smoke"):
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").write_text("")
        (folder / ".writable").unlink()
        if path.exists():
            refuse_other(job, read_json(path))
        else:
            (folder / "recipe.py").write_text(job.source.read_text())
            write_atomically(path, json.dumps(job.identity, indent=1) + "\n")
        write_env(folder)
    except OSError as error:
        raise OSError(f"the run folder {folder} cannot be written ({error.strerror or error}); give another with --run") from error
    return folder


def refuse_other(job: Job, there: dict) -> None:
    """Refuse to mix two runs in one folder."""
    flat = lambda identity: identity | {f"--{k.replace('_', '-')}": v for k, v in identity["knobs"].items()} | {"knobs": None}
    old, new = flat(there), flat(job.identity)
    names = sorted(old.keys() | new.keys(), key=lambda name: not name.startswith("--"))
    if different := [f"{n} {old.get(n)} there, {new.get(n)} here" for n in names if old.get(n) != new.get(n)]:
        raise ValueError(f"{job.folder} holds another run: {'; '.join(different)}. Give another folder with --run, or its own command")
    if (job.folder / "recipe.py").read_text() != job.source.read_text():
        warn(f"{shown(job.source)} has changed since {job.folder} began; if more than comments did, begin anew with --run")


def read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); restore it, or begin anew with another --run") from error


def write_env(folder: Path) -> None:
    """Append what this start ran on to env.json."""
    path = folder / "env.json"
    starts = read_json(path) if path.exists() else []
    versions = {name: found for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy") if (found := installed(name))}
    starts.append({
        "time": time.strftime("%Y-%m-%dT%H:%M:%S"), "python": platform.python_version(), "versions": versions,
        "devices": [device.device_kind for device in jax.devices()], "host": platform.platform(), "commit": commit(),
        "command": " ".join(sys.argv),
    })
    write_atomically(path, json.dumps(starts, indent=1) + "\n")


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def commit() -> str:
    """Hash of HEAD, with + where files were changed since; empty outside a clone."""
    git = lambda *a: subprocess.run(["git", *a], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except OSError:
        return ""


class locked:
    """One training process a folder; the kernel lets go when it dies."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> None:
        import fcntl

        self.file = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"another process is training in {self.folder}; wait for it, or give another --run") from None

    def __exit__(self, *error: Any) -> None:
        self.file.close()


class Stop:
    """SIGTERM and SIGINT ask the loop to save and end; when it cannot within `GRACE` seconds, the process ends all the same.

    Python runs a handler only between its own instructions, not while a compiler or a long dispatch is at work. So a thread
    listens on the pipe into which the interpreter's C handler writes at once.
    """

    def __init__(self) -> None:
        self.signal, self.at = 0, 0

    @property
    def name(self) -> str:
        return signal.Signals(self.signal).name

    def __enter__(self) -> "Stop":
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        self.old_fd = signal.set_wakeup_fd(self.writer)
        self.old = {number: signal.signal(number, self.handle) for number in (signal.SIGTERM, signal.SIGINT)}
        threading.Thread(target=self.watch, daemon=True).start()
        return self

    def handle(self, number: int, frame: Any) -> None:
        self.signal = number

    def watch(self) -> None:
        if number := int.from_bytes(os.read(self.reader, 1), "big"):
            time.sleep(GRACE)
            line = f"stopped: signal {number}, but steps from {self.at} on did not end in time and are lost; "
            os.write(2, (line + "the same command goes on from the newest checkpoint (a smaller --chunk stops sooner)\n").encode())
            os._exit(128 + number)

    def __exit__(self, *error: Any) -> None:
        signal.set_wakeup_fd(self.old_fd)
        for number, handler in self.old.items():
            signal.signal(number, handler)
        os.write(self.writer, b"\0")  # lets the thread go


def use_compilation_cache() -> None:
    """Keep compiled programs for the next start, in JAX_COMPILATION_CACHE_DIR or the user's cache folder."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "genjax" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
