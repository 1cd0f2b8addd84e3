"""kill -9 at random instants, resume by the same command, and compare bit for bit with the uninterrupted run.

    python -m benchmarks.kill_resume            20 kills
    python -m benchmarks.kill_resume --kills 5

Each trial is one run: killed once at its instant, then resumed to its end. Instants alternate between a random time after the
first checkpoint began (somewhere in steps, logs, pictures), and right after a folder or file of a checkpoint appears (inside
a save, between Orbax's rename and our manifest).
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks.record import ROOT, record, row
from genjax.config import use_compilation_cache
from genjax.trained import reopen

KNOBS = ["--steps", "400", "--width", "64", "--latent", "8"]
COMMAND = [sys.executable, "train.py", *KNOBS, "--chunk", "20", "--save-every", "40"]
EVENTS = {
    "save begun": "*tmp*",
    "renamed": "[0-9]*0",
    "manifest begun": "*.aside",
    "manifest written": "*.sha256",
}


def bits(tree) -> list[bytes]:
    """Every leaf as bytes, keys by their data."""
    plain = lambda a: jax.random.key_data(a) if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key) else a
    return [np.asarray(plain(leaf)).tobytes() for leaf in jax.tree.leaves(tree)]


def start(folder: Path) -> subprocess.Popen:
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*COMMAND, "--run", str(folder)], cwd=ROOT, **pipes)


def fresh(folder: Path, pattern: str, known: set) -> bool:
    """Whether a name of the pattern appeared among the checkpoints."""
    return any(path.name not in known for path in folder.glob(f"checkpoints/{pattern}"))


def killed(folder: Path, event: str, rng: random.Random) -> str:
    """Kill a new run at an event; returns where it was, or "finished" where it was too late."""
    process, later = start(folder), rng.randrange(8)
    known: set[str] = set()
    pattern = EVENTS.get(event, "[0-9]*0")
    while process.poll() is None:
        if fresh(folder, pattern, known):
            if later == 0 or event not in EVENTS:
                break
            later -= 1
            known |= {path.name for path in folder.glob(f"checkpoints/{pattern}")}
    if event not in EVENTS:
        time.sleep(rng.uniform(0, 1.5))
    if process.poll() is not None:
        return "finished"
    process.kill()
    process.wait()
    return event


def trial(folder: Path, event: str, whole: Path, rng: random.Random) -> tuple[bool, str]:
    """(bitwise equal, what happened)."""
    where = killed(folder, event, rng)
    there = sorted(int(path.stem) for path in folder.glob("checkpoints/*.sha256"))
    process = start(folder)
    _, said = process.communicate()
    if process.returncode or "could not be" in said:
        return False, f"{where}: resume ended with {process.returncode}: {said[-300:]}"
    equal = bits(reopen(folder).state) == bits(reopen(whole).state)
    equal &= (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    shutil.rmtree(folder)
    return equal, f"{where} after checkpoint {there[-1] if there else 'none'}: {'equal' if equal else 'DIFFERS'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    use_compilation_cache()
    rng, events = random.Random(options.seed), [*EVENTS, "any", "any", "any", "any"]
    equal, happened = [], []
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place) / "whole"
        if start(whole).wait():
            raise SystemExit("the uninterrupted run failed")
        while len(equal) < options.kills:
            number = len(equal)
            good, line = trial(Path(place) / f"run{number}{os.urandom(2).hex()}", events[number % len(events)], whole, rng)
            print(f"{number}: {line}", flush=True)
            if not line.startswith("finished"):  # else the kill came too late and shows nothing
                equal.append(float(good))
                happened.append(line)
    record("kill_resume", "kill -9 and resume", "python -m benchmarks.kill_resume", [row(
        "vae_digits", "runs that end bitwise equal (params, EMA, optimizer, key, metrics.jsonl)", equal,
        seeds=list(range(len(equal))), keywords={"width": 64, "latent": 8, "steps": 400, "chunk": 20},
        unit="share", bar=f"{len(equal)} of {len(equal)}", met=all(equal), note="; ".join(happened),
    )])


if __name__ == "__main__":
    main()
