"""A run: train a job from its newest checkpoint to its end, tell how it goes, and stop well when it must.

    runs/NAME/  config.json  recipe.py  env.json     what it is, see `genjax.folder`
                checkpoints/                          see `genjax.checkpoint`
                metrics.jsonl                         the same bytes however often the run was stopped
                timing.jsonl  tensorboard/            when it came how far
                reals.png  samples/step_*.png         samples of the same seeds each time
                monitors.jsonl  warnings.jsonl        first steps, norms, what samples tell; what looked wrong
                curve.png  result.json                at the end
"""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from genjax import report
from genjax.checkpoint import Checkpoints, warn, write_atomically
from genjax.config import shown
from genjax.data import feed, fetch, rows
from genjax.folder import opened
from genjax.job import Job, abstract_state, labels, memory_needed
from genjax.model import Phase
from genjax.monitors import Monitors, of_samples
from genjax.pieces import Piece, Programs, Seen, begins, pieces
from genjax.step import State
from genjax.stop import Stop
from genjax.trained import draw

PICTURED = np.arange(64)  # seeds of the samples in a picture


class Ended(Exception):
    """The run ends here, with an exit code and a line."""

    def __init__(self, code: int, line: str):
        super().__init__(line)
        self.code = code


def train(job: Job) -> int:
    """Train to the end; returns the exit code."""
    with opened(job), Stop() as stop:
        try:
            Loop(job).run(stop)
        except Ended as end:
            print(f"\nstopped: {end}" if sys.stdout.isatty() else f"stopped: {end}", file=sys.stderr)
            return end.code
    return 0


def describe(job: Job) -> str:
    """What --dry-run prints: parameters, stages, what is frozen, memory."""
    params = abstract_state(job.recipe, job.example).params
    needed = memory_needed(job.recipe, job.split, job.example)
    first = next(pieces(job.recipe.steps, job.options.chunk))
    if analysis := Programs(job).program(first).memory_analysis():
        needed["activations"] = analysis.temp_size_in_bytes
    parts = ", ".join(f"{name} {report.nbytes(size)}" for name, size in needed.items() if size)
    return "\n\n".join([
        f"{job.name} on {job.data.name}: {len(job.split.x)} examples of shape {job.data.spec.shape}, batch {job.recipe.batch}",
        report.parameter_table(params),
        report.stage_table(params, job.recipe.model.stages, job.recipe.steps),
        f"memory on {hardware()}: about {report.nbytes(sum(needed.values()))} ({parts})",
        f"would run in {job.folder}; nothing was written",
    ])


def hardware() -> str:
    return f"{len(jax.devices())} x {jax.devices()[0].device_kind}"


class Loop:
    """One process's share of a run."""

    def __init__(self, job: Job):
        self.job, self.programs = job, Programs(job)
        self.checkpoints = Checkpoints(job.folder, job.options.keep)
        self.metrics, self.timing = report.Lines(job.folder / "metrics.jsonl"), report.Lines(job.folder / "timing.jsonl")
        self.extra, self.shown = report.Lines(job.folder / "monitors.jsonl"), []

    def run(self, stop: Stop) -> None:
        job = self.job
        state, done = self.begin()
        left = list(pieces(job.recipe.steps, job.options.chunk, done))
        if not left and (job.folder / "result.json").exists():
            return print(f"it is complete; {onward(job)}")
        waiting = None  # the piece whose metrics are fetched while the device computes the one after
        for piece, data, chosen in self.programs.blocks(left):
            stop.at = piece.start
            self.compile(piece)
            state, seen = self.programs.advance(state, piece, data, chosen)
            if waiting:
                self.look(*waiting, state)
            waiting = piece, seen
            if piece.stop == begins(job.recipe, piece.stage + 1) < job.total:
                state = self.programs.next(state, piece.stage + 1)
            self.checkpoints.settle(wait=False)
            if stop.signal or piece.stop % job.options.save_every == 0 or piece.stop == job.total:
                self.look(*waiting, state)
                waiting = None
                self.save(piece.stop, state, pictured=not stop.signal)
            if stop.signal:
                self.checkpoints.close()
                raise Ended(128 + stop.signal, f"{stop.name}, saved at step {piece.stop}; the same command goes on from there")
        self.end(state)

    # ---- its beginning and its end

    def begin(self) -> tuple[State, int]:
        """(state, steps done): restored, or new."""
        job = self.job
        found = self.checkpoints.restore(self.programs.target)
        done, state = found or (0, self.programs.first())
        self.saved, self.lines = done, self.metrics.cut(done)
        seen = sorted([*self.lines, *self.extra.cut(done)], key=lambda row: row["step"])
        self.monitors = Monitors(job.folder, job.recipe.steps, seen)
        self.streak = Streak(job, int(state.skipped), sum(skips(row) for row in self.lines))
        self.tensorboard, self.progress = report.board(job.folder, done), report.Progress(done, job.total)
        print(f"{job.name} on {job.data.name}: {report.count(state.params):,} parameters, {len(job.split.x)} examples, "
              f"{hardware()}, run folder {shown(job.folder)}" + (f", from step {done}" if done else ""), flush=True)
        for number, stage in enumerate(job.recipe.model.stages):
            if names := report.frozen(state.params, stage):
                print(f"frozen in stage {number}: {', '.join(names)}", flush=True)
        return state, done

    def end(self, state: State) -> None:
        """Wait for the last checkpoint and write the summary."""
        job, done = self.job, int(state.step)
        self.checkpoints.close()
        if self.metrics.failed:
            raise OSError(f"the last lines of {self.metrics.path} could not be written; free the disk, then the same command")
        report.curve(job.folder / "curve.png", self.lines)
        result = {
            "steps": done,
            "last": self.lines[-1],
            "skipped": self.streak.total,
            "warnings": self.monitors.warnings,
            "parameters": report.count(state.params),
            "steps_per_second": round(self.progress.rate(done), 2),
            "compile_seconds": round(self.programs.compile_seconds, 2),
            "hardware": hardware(),
        }
        write_atomically(job.folder / "result.json", json.dumps(result, indent=1) + "\n")
        skipped = f", {self.streak.total} updates skipped" if self.streak.total else ""
        print(f"done: {done} steps{skipped}; {onward(job)}", flush=True)

    # ---- on the way

    def compile(self, piece: Piece) -> None:
        """Compile ahead of the first piece of a kind, and keep that time out of the rate."""
        before, began = self.programs.compile_seconds, time.perf_counter()
        if self.job.options.parallel == "jit":
            self.programs.program(piece)
        if (seconds := self.programs.compile_seconds - before) > 0:
            self.progress.rest(time.perf_counter() - began)
            self.progress.note(f"compiled {piece.length} steps of stage {piece.stage} in {seconds:.1f} s")

    def look(self, piece: Piece, seen: Seen, state: State) -> None:
        """Fetch what a piece showed: log it, and end the run where too many steps in a row were bad."""
        metrics, moves, norms = jax.tree.map(np.asarray, tuple(seen))
        stage = self.job.recipe.model.stages[piece.stage]
        always = np.ones(piece.length, bool)
        moved = {name: moves.get(owner(name, stage), always) for name in metrics}
        lines = report.windows(metrics, moved, piece.start, piece.stop, self.job.options.log_every)
        self.metrics.write(lines)
        self.timing.write([{"step": piece.stop, "time": round(time.time(), 3)}])
        self.tensorboard(lines)
        self.lines += lines
        if piece.start == begins(self.job.recipe, piece.stage):  # its first move by itself: later ones are compared with it
            firsts = {name: values[np.isfinite(values)][:1] for name, values in metrics.items()}
            self.watch({"step": piece.start + 1} | {name: float(first[0]) for name, first in firsts.items() if len(first)})
        self.monitors.follow(lines)
        self.monitors.follow_steps(piece.start, metrics)
        self.watch({"step": piece.stop} | {name: float(value) for name, value in norms.items() if np.isfinite(value)})
        self.progress.tell(lines[-1])
        if bad := self.streak.follow(piece, metrics, stage):
            self.give_up(bad, state)

    def save(self, step: int, state: State, pictured: bool = True) -> None:
        """Begin a checkpoint, and meanwhile draw the samples of this step."""
        began = time.perf_counter()
        self.metrics.sync()  # no checkpoint is newer than its lines
        self.checkpoints.save(step, state)
        self.saved = step
        if pictured:
            self.picture_reals()
            y = labels(self.job.recipe, PICTURED)
            x = draw(self.programs.sample, state.ema, PICTURED, y)
            self.picture(f"samples/step_{step:08}.png", x)
            self.watch({"step": step} | {name: float(value) for name, value in self.programs.inverse(state.ema, x, y).items()})
            self.watch_samples(step, x)
        self.progress.rest(time.perf_counter() - began)

    def picture_reals(self) -> None:
        """Once, and not before the first step, which it would delay."""
        if (self.job.folder / "reals.png").exists():
            return
        self.picture("reals.png", self.reals(np.arange(min(len(PICTURED), len(self.job.split.x)))))

    def reals(self, chosen: np.ndarray) -> jax.Array:
        """Some training examples as the model sees them."""
        data = fetch(self.job.split, chosen)
        return jax.jit(feed(self.job.recipe.prepare))(data, jax.random.key(0), np.arange(len(chosen)))["x"]

    def watch_samples(self, step: int, x: Any) -> None:
        """Compare the pictured samples with reals, in the last stage; before it not all that samples is trained."""
        job, many = self.job, 2 * len(PICTURED)
        if step <= job.total - job.recipe.steps[-1] or len(job.split.x) < many:
            return
        if not self.shown:
            chosen = np.random.default_rng(0).permutation(len(job.split.x))[:many]
            self.shown = np.split(np.asarray(job.recipe.show(self.reals(chosen))), 2)
        if self.shown[0].dtype.kind != "U":  # texts have no distances
            self.watch({"step": step} | of_samples(np.asarray(job.recipe.show(x)), *self.shown))

    def watch(self, row: dict) -> None:
        """Show the monitors what metrics.jsonl does not tell."""
        self.extra.write([row])
        self.monitors.follow([row])

    def picture(self, name: str, x: Any) -> None:
        """A picture that cannot be written (full disk) is told and left out."""
        try:
            report.picture(self.job.folder / name, np.asarray(self.job.recipe.show(x)))
        except OSError as error:
            warn(f"{name} could not be written: {error}")

    def give_up(self, bad: dict, state: State) -> None:
        """End a run whose losses stay not finite. Each bad update was undone, so the state now is the one before them."""
        if bad["first"] >= self.saved:  # else it was saved amid them already
            self.save(int(state.step), state, pictured=False)
        self.checkpoints.close()
        result = {"stopped": bad, "skipped": self.streak.total, "warnings": self.monitors.warnings}
        write_atomically(self.job.folder / "result.json", json.dumps(result, indent=1))
        some = ", ".join(map(str, bad["rows"][:8])) + (" ... (all in result.json)" if len(bad["rows"]) > 8 else "")
        cause = f"look at what gives {bad['metrics'][0]}, " if bad["metrics"] else "look "
        raise Ended(1, f"loss or gradient not finite {bad['count']} steps in a row, the last at step {bad['step']} in "
                       f"{', '.join(bad['phases'])}{nor(bad['metrics'])}, on rows {some}, whose {bad['spans']}. All were "
                       f"undone and the state saved; {cause}whether the model was built for such rows, or begin anew with a "
                       "lower learning rate")


def onward(job: Job) -> str:
    return f"sample with: python sample.py {shown(job.folder)} --seeds 0-63 --out grid.png"


def owner(metric: str, stage: tuple[Phase, ...]) -> str:
    """The phase of a metric "phase/name"; a phase's own name may have slashes."""
    return max((phase.name for phase in stage if metric.startswith(f"{phase.name}/")), key=len)


def skips(row: dict) -> int:
    """Updates that a line of metrics.jsonl says were skipped."""
    return sum(round(value) for name, value in row.items() if name.endswith("/skipped"))


def not_finite(metrics: dict[str, np.ndarray], step: int, phases: Sequence[str], stage: tuple[Phase, ...]) -> list[str]:
    """What else of these phases is not finite at a step, a reward say: it leads to the cause."""
    always = ("loss", "grad_norm", "skipped")
    ill = [name for name, values in metrics.items() if not np.isfinite(values[step]) and owner(name, stage) in phases]
    return sorted(name for name in ill if name.rpartition("/")[2] not in always)


def nor(metrics: Sequence[str]) -> str:
    """ ", where reward/reward is not finite either" """
    some = " and ".join(metrics[:3])
    return f", where {some} {'is' if len(metrics) == 1 else 'are'} not finite either" if metrics else ""


def spans(batch: dict[str, np.ndarray]) -> str:
    """ "x is 0 .. 255, y is 0 .. 9" of rows as they are stored, before the recipe prepares them."""
    return ", ".join(f"{name} is {part.min():g} .. {part.max():g}" for name, part in batch.items() if name in ("x", "y"))


class Streak:
    """Counts bad steps: all, and those in a row."""

    def __init__(self, job: Job, row: int, total: int):
        self.job, self.row, self.total = job, row, total

    def follow(self, piece: Piece, metrics: dict[str, np.ndarray], stage: tuple[Phase, ...]) -> dict | None:
        """Warn of skipped updates; what to tell where too many came in a row, else None."""
        bad = {phase.name: metrics[f"{phase.name}/skipped"] > 0 for phase in stage}  # the NaN of a resting phase is not above 0
        undone = np.any(list(bad.values()), axis=0)
        self.total += sum(int(of_phase.sum()) for of_phase in bad.values())
        for k, step_undone in enumerate(undone):
            self.row = self.row + 1 if step_undone else 0
            if self.row >= self.job.options.bad_steps:
                phases = [name for name, of_phase in bad.items() if of_phase[k]]
                return self.tell(piece.start + k, phases, not_finite(metrics, k, phases, stage))
        if undone.any():
            names, k = ", ".join(name for name, of_phase in bad.items() if of_phase.any()), int(undone.argmax())
            ill = not_finite(metrics, k, [name for name, of_phase in bad.items() if of_phase[k]], stage)
            warn(f"loss or gradient of {names} not finite at {undone.sum()} of the steps {piece.start} .. {piece.stop - 1}, "
                 f"first at {piece.start + k}{nor(ill)}; these updates were skipped")
        return None

    def tell(self, step: int, phases: list[str], metrics: list[str]) -> dict:
        chosen = rows(self.job.options.seed, step, self.job.recipe.batch, len(self.job.split.x))
        seen = {"step": step, "first": step - self.row + 1, "count": self.row, "phases": phases, "metrics": metrics}
        return seen | {"rows": chosen.tolist(), "spans": spans(fetch(self.job.split, chosen))}
