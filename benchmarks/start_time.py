"""Seconds to import, and to the first step: cold (empty compilation cache) and warm (second start).

    python -m benchmarks.start_time

The first step is there when the first line of timing.jsonl is. Imports are timed as the best of three, as other work on the
machine only ever adds.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import ROOT, record, row


def first_step(cache: Path, run: Path) -> float:
    """Seconds from the start of the process to its first finished piece (one step)."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "train.py", "--steps", "3", "--chunk", "1", "--run", str(run)], cwd=ROOT,
                               env=environment, stdout=subprocess.DEVNULL)
    while not (run / "timing.jsonl").exists():
        if process.poll():
            raise SystemExit("train.py failed")
        time.sleep(0.005)
    seconds = time.perf_counter() - began
    process.wait()
    return seconds


def import_time() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import genjax"], cwd=ROOT, check=True)
    return time.perf_counter() - began


def main() -> None:
    imports = min(import_time() for _ in range(3))
    cold, warm = [], []
    with tempfile.TemporaryDirectory() as place:
        for k in range(3):
            cache = Path(place) / f"cache{k}"
            cold.append(first_step(cache, Path(place) / f"cold{k}"))
            warm.append(first_step(cache, Path(place) / f"warm{k}"))
    share = min(warm) / min(cold)
    print(f"import genjax {imports:.2f} s; first step {min(cold):.1f} s cold, {min(warm):.1f} s warm ({share:.2f} times)")
    load = f"load average {os.getloadavg()[0]:.1f} at the end"
    record("start_time", "Start", "python -m benchmarks.start_time", [
        row("import genjax", "whole process, best of 3", [imports], seeds=[0], unit="s", bar="< 2", met=imports < 2, note=load),
        row("vae_digits", "start to first step, cold cache", cold, seeds=[0, 1, 2], unit="s", note=load),
        row("vae_digits", "start to first step, warm cache", warm, seeds=[0, 1, 2], unit="s", note=load),
        row("vae_digits", "warm / cold, best of each", [share], seeds=[0], unit="times", bar="<= 0.5", met=share <= 0.5),
    ])


if __name__ == "__main__":
    main()
