"""The folder of a run: that it is this very run's, that it can be written, and what its programs ran on.

    config.json  what the run is      recipe.py    a copy of its recipe, from which it is sampled
    env.json     every start of it    .lock        held by the process that trains
"""

import contextlib
import fcntl
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

from genjax.checkpoint import warn, write_atomically
from genjax.config import ROOT, shown
from genjax.job import Job


@contextlib.contextmanager
def opened(job: Job) -> Iterator[Path]:
    """Make the run's folder, or see that it holds this very run, and keep other processes out of it.

    Raises:
      ValueError: another run lives there, or another process is at work on it.
      OSError: it cannot be written.
    """
    folder = job.folder
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go when the process dies
        except OSError:
            raise ValueError(f"another process is training in {folder}; wait for it, or give another --run") from None
        with writable(folder):
            claim(job)
        yield folder


@contextlib.contextmanager
def writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(f"run folder {folder} cannot be written: {error.strerror or error}; give another with --run") from error


def claim(job: Job) -> None:
    """Write what the run is; where the folder has a run already, refuse any but this one."""
    path = job.folder / "config.json"
    if path.exists() and job.options.smoke:
        clear_smoke(job.folder)
    if path.exists():
        refuse_other(job, read_json(path))
    else:
        shutil.copyfile(job.source, job.folder / "recipe.py")
        write_atomically(path, json.dumps(job.identity, indent=1) + "\n")
    write_env(job.folder)


def clear_smoke(folder: Path) -> None:
    """A trial begins anew. Removes only what a trial made."""
    if not read_json(folder / "config.json").get("smoke"):
        raise ValueError(f"{folder} holds a real run; move it, or give another --run to --smoke")
    for path in folder.iterdir():
        if path.name != ".lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def refuse_other(job: Job, there: dict) -> None:
    """Refuse to mix two runs in one folder, and say what differs: knobs, or else what follows from the code."""
    flat = lambda identity: {"data": identity["data"], "seed": identity["seed"], **identity["knobs"]}
    different = differences(flat(there), flat(job.identity), "--") or differences(there, job.identity)
    if different:
        raise ValueError(f"{job.folder} holds another run: {different}. Give another --run, or that run's own command")
    if (job.folder / "recipe.py").read_bytes() != job.source.read_bytes():
        warn(f"{shown(job.source)} has changed since {job.folder} began; if more than words did, begin anew with --run")


def differences(old: dict, new: dict, prefix: str = "") -> str:
    names = dict.fromkeys([*old, *new])
    return "; ".join(f"{prefix}{n} {old.get(n)} there, {new.get(n)} here" for n in names if old.get(n) != new.get(n))


def read_json(path: Path):
    """The content of a JSON file; ValueError where it is damaged."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); restore it, or begin anew with another --run") from error


def write_env(folder: Path) -> None:
    """Add this start and what it runs on to env.json."""
    path = folder / "env.json"
    starts = read_json(path) if path.exists() else []
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    starts.append({
        "time": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "command": " ".join(sys.argv),
        "commit": commit(),
        "versions": {"python": platform.python_version()} | {name: installed(name) for name in packages},
        "devices": [device.device_kind for device in jax.devices()],
        "host": platform.platform(),
    })
    write_atomically(path, json.dumps(starts, indent=1) + "\n")


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def commit() -> str:
    """Hash of HEAD, with + where files were changed since; empty outside a clone."""
    git = lambda *a: subprocess.run(["git", *a], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except OSError:
        return ""
