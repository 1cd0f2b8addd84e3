"""Rows of RESULTS.md that need hours or a GPU: resumable jobs with a budget.

    python -m benchmarks.pending --list                              what is pending, where, how long, how far
    python -m benchmarks.pending --next --minutes 9 --device gpu     do what fits into nine minutes, in order, and save the rest
    python -m benchmarks.pending --job iwae_k5 --minutes 60          one of them

The folder (--folder) holds all that a job needs to go on: copy it to another machine and back. In it are progress.json and
checkpoints, at most 8 files of at most 15 MiB. Finished rows go into results/*.json; those that another machine finished
come with the folder and are written by the next command here. Data are found by GENJAX_DATA; --list says which files.

A job needs JAX, Flax, Optax, Orbax and NumPy, nothing else. Not here yet: the two-layer rows of the IWAE table, since the
model has one stochastic layer.
"""

import argparse
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import progress, record
from benchmarks.progress import Progress

START = time.monotonic()
EARLY = 20.0  # seconds before the deadline at which everything is saved
LEAST = 40.0  # seconds that a job must have to begin: it compiles first
MNIST = tuple(f"mnist/{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))


class Job(NamedTuple):
    """One pending piece of RESULTS.md."""

    name: str
    what: str
    device: str  # "any", or "gpu"
    minutes: dict[str, float]  # {"gpu": 50, "cpu": 900}: expected for the whole job, until it was measured
    advance: Callable[[Path, float], Progress]  # (folder, deadline of time.monotonic()) -> how far it is now
    result: str  # its rows are in results/RESULT.json
    data: tuple[str, ...] = ()  # files below GENJAX_DATA


TITLES = {
    "device_speed": "Steps and samples a second in one program",
    "device_undo": "Undoing a bad update: select against branch",
    "device_seeds": "Seeds under vmap, steps under scan, on a GPU",
    "device_recipes": "Recipes at their defaults: time to the end",
    "device_dit": "DiT-B/2: share of the card's matrix rate",
    "iwae_paper": "IWAE table 1, the paper's own schedule",
}


# ---- the jobs; each imports what it needs when it begins ----------------------------------------------------------------


def speed(folder: Path, deadline: float, tiny: bool = False) -> Progress:
    from benchmarks.device_speed import advance

    return advance(folder, deadline, tiny)


def undo(folder: Path, deadline: float, tiny: bool = False) -> Progress:
    from benchmarks.device_undo import advance

    return advance(folder, deadline, tiny)


def seeds(folder: Path, deadline: float, tiny: bool = False) -> Progress:
    from benchmarks.seeds import advance

    return advance(folder, deadline, tiny)


def recipes(folder: Path, deadline: float, tiny: bool = False) -> Progress:
    from benchmarks.device_recipes import advance

    return advance(folder, deadline, tiny)


def transformer(folder: Path, deadline: float, tiny: bool = False) -> Progress:
    from benchmarks.device_dit import advance

    return advance(folder, deadline, tiny)


def iwae(samples: int, folder: Path, deadline: float, tiny: bool = False) -> Progress:
    from benchmarks.iwae_paper import FULL, TINY, advance

    return advance(samples, folder, deadline, TINY if tiny else FULL)


JOBS = [
    Job("speed", "MLP and convolutional VAE, IWAE: steps/s in a scan, samples/s", "gpu", {"gpu": 4}, speed, "device_speed"),
    Job("undo", "select or branch where an update may be undone", "gpu", {"gpu": 3}, undo, "device_undo"),
    Job("seeds", "8 seeds under vmap over 8 runs", "gpu", {"gpu": 2}, seeds, "device_seeds"),
    Job("dit", "DiT-B/2: training's share of the card's matrix rate", "gpu", {"gpu": 4}, transformer, "device_dit"),
    Job("recipes", "every recipe at its defaults, time to the end", "gpu", {"gpu": 12}, recipes, "device_recipes", MNIST),
    *(
        Job(
            f"iwae_k{k}", f"IWAE table 1, one layer, k = {k}: 3280 epochs, 3 seeds, 5000-sample NLL", "any",
            {"gpu": gpu, "cpu": cpu}, partial(iwae, k), "iwae_paper", MNIST,
        )
        for k, gpu, cpu in ((1, 50, 1100), (5, 50, 2300), (50, 70, 12000))
    ),
]  # fmt: skip


def tiny_jobs() -> list[Job]:
    """The same jobs at toy size, for tests: no data files, any device, nothing written to results/."""
    return [job._replace(device="any", minutes={}, advance=partial(job.advance, tiny=True), data=()) for job in JOBS]


# ---- what is pending ----------------------------------------------------------------------------------------------------


def minutes_left(job: Job, known: dict[str, Any], kind: str) -> float | None:
    """Expected minutes on a kind of device: by what was measured there, else by the job's own guess."""
    share, left = known["share"].get(kind, 0.0), 1.0 - known["done"]
    if share > 0.002:
        return known["minutes"].get(kind, 0.0) / share * left
    return job.minutes[kind] * left if kind in job.minutes else None


def table(jobs: list[Job], folder: Path) -> str:
    """A line a job."""
    lines = [("job", "device", "state", "gpu min", "cpu min", "data", "what")]
    for job in jobs:
        known = progress.entry(folder, job.name)
        state = "done" if known["done"] >= 1 else f"{100 * known['done']:.1f} %" if known["done"] else "pending"
        left = [minutes_left(job, known, kind) for kind in ("gpu", "cpu")] if state != "done" else [0.0, 0.0]
        lines.append((job.name, job.device, state, *("-" if m is None else f"{m:.0f}" for m in left), data_size(job), job.what))
    widths = [max(len(line[i]) for line in lines) for i in range(6)]
    return "\n".join("  ".join([*map(str.ljust, line[:6], widths), line[6]]) for line in lines)


def data_size(job: Job) -> str:
    """MB of the files it reads, or what is missing."""
    if not job.data:
        return "none"
    root = Path(os.environ.get("GENJAX_DATA", ""))
    paths = [root / name for name in job.data]
    if not os.environ.get("GENJAX_DATA") or not all(path.is_file() for path in paths):
        return f"{job.data[0].split('/')[0]}: missing"
    return f"{job.data[0].split('/')[0]}: {sum(path.stat().st_size for path in paths) / 1e6:.1f} MB"


# ---- advancing -----------------------------------------------------------------------------------------------------------


def advance(job: Job, folder: Path, deadline: float, kind: str) -> str:
    """Take a job as far as the deadline lets it; one line on what was done."""
    before, began = progress.entry(folder, job.name), time.monotonic()
    now = job.advance(folder, deadline)
    spent = (time.monotonic() - began) / 60
    known = progress.entry(folder, job.name)  # with the rows that the job kept
    minutes = known["minutes"] | {kind: known["minutes"].get(kind, 0.0) + spent}
    share = known["share"] | {kind: known["share"].get(kind, 0.0) + max(now.done - before["done"], 0.0)}
    progress.update(folder, job.name, done=now.done, line=now.line, minutes=minutes, share=share)
    return f"{job.name}: {now.line} ({100 * before['done']:.1f} -> {100 * now.done:.1f} %, {spent:.1f} min)"


def advance_all(jobs: list[Job], folder: Path, deadline: float, kind: str, after: Callable[[Job], None]) -> int:
    """What fits, in order; a job that fails is told and the next one begun. Returns how many failed."""
    failed = 0
    for job in jobs:
        if progress.entry(folder, job.name)["done"] >= 1 or job.device not in ("any", kind):
            continue
        if deadline - time.monotonic() < LEAST:
            print(f"{job.name}: not begun, {max(deadline - time.monotonic(), 0):.0f} s are left", flush=True)
            break
        try:
            print(advance(job, folder, deadline, kind), flush=True)
            after(job)
        except Exception as error:
            failed += 1
            traceback.print_exc()
            print(f"{job.name}: failed: {' '.join(str(error).split())[:300]}", flush=True)
    return failed


def publish(jobs: list[Job], folder: Path, job: Job) -> None:
    """Write results/*.json anew where the finished rows of this job are not all in it, and into the folder."""
    known = progress.read(folder)
    rows = [row for other in jobs if other.result == job.result for row in progress.entry(folder, other.name)["rows"]]
    if not rows or rows == known["results"].get(job.result, {}).get("rows"):
        return
    path = record.record(job.result, TITLES[job.result], f"python -m benchmarks.pending --job {job.name}", rows)
    known["results"][job.result] = json.loads(path.read_text())
    progress.write(folder, known)
    print(f"{job.name}: wrote results/{path.name}, {len(rows)} rows", flush=True)


def collect(folder: Path) -> None:
    """Write the results that came with the folder from another machine."""
    for name, content in progress.read(folder)["results"].items():
        path = record.ROOT / "results" / f"{name}.json"
        text = json.dumps(content, indent=1) + "\n"
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote results/{path.name}, which came with {folder}", flush=True)


# ---- command line --------------------------------------------------------------------------------------------------------


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--list", action="store_true", help="what is pending")
    wanted.add_argument("--next", action="store_true", help="advance the pending jobs, in order")
    wanted.add_argument("--job", choices=[job.name for job in JOBS], help="advance this one")
    parser.add_argument("--minutes", type=float, default=math.inf, help="be saved and gone before so many")
    parser.add_argument("--device", choices=("cpu", "gpu"), help="the machine's; found out where not given")
    parser.add_argument("--folder", type=Path, default=Path("runs/pending"))
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def device(asked: str | None) -> str:
    """The kind of device that jax computes on; ValueError where another was asked for."""
    import jax

    kind = {"cuda": "gpu", "rocm": "gpu"}.get(jax.default_backend(), jax.default_backend())
    if asked and asked != kind:
        raise ValueError(f"--device {asked}: jax finds only {kind} here; install a jax for {asked}, or say --device {kind}")
    return kind


def main() -> int:
    """Returns the exit code."""
    args = options()
    jobs = tiny_jobs() if args.tiny else JOBS
    if not args.tiny:
        collect(args.folder)
    if args.list:
        print(table(jobs, args.folder))
        return 0
    from genjax.config import use_compilation_cache

    use_compilation_cache()
    kind = device(args.device)
    chosen = [job._replace(device="any") for job in jobs if job.name == args.job] if args.job else jobs
    after = (lambda job: None) if args.tiny else partial(publish, jobs, args.folder)
    return 1 if advance_all(chosen, args.folder, START + 60 * args.minutes - EARLY, kind, after) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        os._exit(0)  # the reader of --list has seen enough
    except ValueError as error:
        sys.exit(f"error: {error}")
