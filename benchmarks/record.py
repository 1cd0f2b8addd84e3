"""What every measurement stores beside its number: where it came from, so that it can be had again."""

import json
import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from shutil import which
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ("commit", "date", "hardware")  # what rows of one file may differ in


def earlier(name: str) -> list[dict[str, Any]]:
    """The rows of results/NAME.json so far, each with where it was measured; none where there is no such file."""
    path = ROOT / "results" / f"{name}.json"
    file = json.loads(path.read_text()) if path.exists() else {"rows": []}
    return [{"measured": {part: file[part] for part in MEASURED}} | line for line in file["rows"]]


def kept(name: str, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of results/NAME.json with these in the place of those of the same recipes."""
    again = {line["recipe"] for line in lines}
    return [line for line in earlier(name) if line["recipe"] not in again] + lines


def row(
    recipe: str,
    metric: str,
    values: list[float],
    *,
    seeds: list[int],
    keywords: dict[str, Any] | None = None,
    unit: str = "",
    bar: str = "",
    met: bool | None = None,
    reference: float | str = "",
    source: str = "",
    note: str = "",
    floor: float | None = None,
    space: str = "",
) -> dict[str, Any]:
    """One line of RESULTS.md.

    Args:
      recipe: what was trained or timed, as a reader would name it.
      metric: what was measured.
      values: one for each seed or repeat; the report gives mean and spread.
      seeds: the seeds of these values, in order.
      keywords: of the recipe, where they differ from its defaults.
      unit: nats, bits/dim, s, ms, times ...
      bar: what was asked for, in words ("<= 87.46"); `met` says whether these values reach it.
      reference: the published or rival number, `source` where it stands.
      note: what a reader must know to judge the number.
      floor: of a distance and the like, the same between two halves of the data.
      space: how many samples it is of, and the features it is taken in.
    """
    return locals()


def record(name: str, title: str, command: str, rows: list[dict[str, Any]]) -> Path:
    """Write results/NAME.json: the rows, and the command, commit, hardware and versions they were measured with.

    Rows of an earlier time, see `earlier`, keep their own commit, date and hardware.
    """
    path = ROOT / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    now = {"commit": commit(), "date": time.strftime("%Y-%m-%d"), "hardware": hardware()}
    rows = [line if line.get("measured", now) != now else {k: v for k, v in line.items() if k != "measured"} for line in rows]
    about = {"title": title, "command": command} | now | {"versions": versions()}
    path.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")
    return path


def commit() -> str:
    """Short hash of HEAD, with + where tracked files were changed since; GENJAX_COMMIT where the code came without git."""
    if not (ROOT / ".git").exists() or not which("git"):
        return os.environ.get("GENJAX_COMMIT", "unknown")
    git = lambda *a: subprocess.run(["git", *a], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if git("status", "--porcelain", "-uno") else "")


def hardware() -> str:
    """The devices jax computes on, and the processor."""
    import jax

    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")), cpu)
    cores = len(os.sched_getaffinity(0)) if platform.system() == "Linux" else "?"
    devices = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    return f"{devices}; {cores} cores of {cpu}"


def versions() -> dict[str, str]:
    """Of Python and the packages that decide the numbers."""
    return {"python": platform.python_version()} | {name: version(name) for name in ("jax", "flax", "optax", "numpy")}
