"""What is known of the pending jobs: one small file, progress.json, in the folder that travels between machines.

    {"jobs": {NAME: {"done": 0.3, "line": "...", "minutes": {"gpu": 2.5}, "share": {"gpu": 0.3}, "rows": [...]}},
     "results": {FILE: what results/FILE.json holds}}

`rows` are finished rows of RESULTS.md; `results` carries them, with the hardware they were measured on, to the next machine.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

NAME = "progress.json"


class Progress(NamedTuple):
    """What a job has come to."""

    done: float  # share of the job, 1.0 when all its rows are there
    line: str  # in words


def read(folder: Path) -> dict[str, Any]:
    """The file, or an empty one; ValueError where it is damaged."""
    path = folder / NAME
    if not path.exists():
        return {"jobs": {}, "results": {}}
    try:
        known = json.loads(path.read_text())
        return {"jobs": known["jobs"], "results": known["results"]}
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged; remove it, then what it told is measured again") from None


def write(folder: Path, known: dict[str, Any]) -> None:
    """Written beside and renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".aside.{NAME}"
    aside.write_text(json.dumps(known, indent=1) + "\n")
    os.replace(aside, folder / NAME)


def entry(folder: Path, job: str) -> dict[str, Any]:
    """What is known of one job."""
    empty = {"done": 0.0, "line": "", "minutes": {}, "share": {}, "rows": []}
    return empty | read(folder)["jobs"].get(job, {})


def update(folder: Path, job: str, **fields: Any) -> None:
    """Change what is known of one job."""
    known = read(folder)
    known["jobs"][job] = entry(folder, job) | fields
    write(folder, known)


def keep(folder: Path, job: str, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Add finished rows to those of a job; returns all of them."""
    rows = entry(folder, job)["rows"] + list(rows)
    update(folder, job, rows=rows)
    return rows
