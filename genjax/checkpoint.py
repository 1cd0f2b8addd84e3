"""Checkpoints that are whole or not used: Orbax writes them, a manifest of checksums says whether they are still what was
written.

    checkpoints/300/          Orbax: written aside by a background thread, renamed into place
    checkpoints/300.sha256    our manifest: sha256 of every file above, and of the manifest's own text on its first line

The manifest is written (and renamed) last and removed first, so a kill at any instant leaves either a checkpoint that can be
proved whole or one without a manifest, which is not used: the run goes on from the one before and comes to the same bits.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from genjax.step import State


def warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr, flush=True)


class Checkpoints:
    """The checkpoints of one run.

    Args:
      folder: of the run; they lie in its `checkpoints/`.
      keep: how many to keep, the newest.
      read_only: for readers beside a running training: nothing is cleaned up.
    """

    def __init__(self, folder: Path, keep: int = 3, read_only: bool = False):
        self.folder = (folder / "checkpoints").resolve()
        self.keep, self.read_only = keep, read_only
        self.pending: int | None = None  # step whose save has begun and has no manifest yet
        self.failed = ""  # why the newest save failed
        self._manager = None

    # ---- saving

    def save(self, step: int, state: State) -> None:
        """Begin to save; returns when the state is copied. A failure is warned about and kept in `failed`."""
        import orbax.checkpoint as ocp

        self.settle(wait=True)
        try:
            if (self.folder / str(step)).exists():  # damaged or unfinished, else the run would have gone on from it
                shutil.rmtree(self.folder / str(step))
                self.manager.reload()
            self.manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(state)), force=True)
            self.pending, self.failed = step, ""
        except Exception as error:
            self._give_up(step, error)

    def settle(self, wait: bool) -> None:
        """Seal the save under way, if it is done; with `wait`, when it is done."""
        step = self.pending
        if step is None or (not wait and self.manager.is_saving_in_progress()):
            return
        try:
            self.manager.wait_until_finished()
            self.manager.check_for_errors()
            seal(self.folder, step)
            self.pending = None
            self._prune()
        except Exception as error:
            self._give_up(step, error)

    def close(self) -> None:
        """Wait for the last save; OSError where it failed."""
        self.settle(wait=True)
        if self._manager is not None:
            self._manager.close()
        if self.failed:
            raise OSError(f"the last state is not saved: {self.failed}; newest whole checkpoint: {self._newest()}")

    # ---- restoring

    def restore(self, abstract: Callable[[int], State]) -> tuple[int, State] | None:
        """(step, state) of the newest whole checkpoint, or None where no save was ever finished.

        Args:
          abstract: step -> the state's shapes, dtypes and shardings, so that any number of devices can restore it.

        Raises:
          ValueError: there are checkpoints, all of them damaged.
        """
        damaged = []
        for step in steps(self.folder):
            if not (complaint := damage(self.folder, step)):
                return step, self._read(step, abstract(step))
            warn(f"checkpoint {step} in {self.folder.parent} is not used: {complaint}; trying the one before")
            damaged += [step] if manifest(self.folder, step).exists() else []
        if damaged:
            raise ValueError(f"all checkpoints of {self.folder.parent} are damaged; remove that folder to begin anew")
        return None

    def _read(self, step: int, target: State) -> State:
        import orbax.checkpoint as ocp

        try:
            return self.manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))["state"]
        except (ValueError, KeyError, TypeError) as error:
            line = " ".join(str(error).split())[:200]
            raise ValueError(f"checkpoint {step} is whole but of another model than this recipe builds: {line}") from error

    # ---- inside

    @property
    def manager(self) -> Any:
        if self._manager is None:
            self._manager = open_manager(self.folder, self.read_only)
        return self._manager

    def _prune(self) -> None:
        """Remove what is older than the newest `keep` sealed ones, and older ones that were never sealed."""
        sealed = [step for step in steps(self.folder) if manifest(self.folder, step).exists()]
        kept = sealed[: self.keep]
        for step in steps(self.folder):
            if kept and step < kept[0] and step not in kept:
                manifest(self.folder, step).unlink(missing_ok=True)
                shutil.rmtree(self.folder / str(step), ignore_errors=True)

    def _give_up(self, step: int, error: Exception) -> None:
        """Note and tell a failed save, and free the space of what it left."""
        self.failed = f"checkpoint {step} could not be written ({reason(error)})"
        self.pending, self._manager = None, None
        for left in [*self.folder.glob(f"{step}.*-tmp*"), self.folder / str(step)]:
            shutil.rmtree(left, ignore_errors=True)
        warn(f"{self.failed}; the next save tries again. Newest whole checkpoint: {self._newest()}")

    def _newest(self) -> str:
        return next((str(self.folder / str(s)) for s in steps(self.folder) if not damage(self.folder, s)), "none")


def open_manager(folder: Path, read_only: bool) -> Any:
    """Orbax's manager, quiet, keeping everything: what is removed, and when, is decided here."""
    import logging

    import orbax.checkpoint as ocp

    logging.getLogger("absl").setLevel(logging.ERROR)
    options = ocp.CheckpointManagerOptions(
        save_root_metadata=False, cleanup_tmp_directories=not read_only, read_only=read_only, create=not read_only
    )
    return ocp.CheckpointManager(folder, options=options)


# ---- manifests -------------------------------------------------------------------------------------------------------


def manifest(folder: Path, step: int) -> Path:
    return folder / f"{step}.sha256"


def steps(folder: Path) -> list[int]:
    """Steps of which there is a checkpoint or a manifest, newest first."""
    names = {path.name.removesuffix(".sha256") for path in folder.glob("*")}
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def digests(folder: Path) -> dict[str, str]:
    """{file below folder: sha256}."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): file_digest(path) for path in files}


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path, step: int) -> None:
    """Write the manifest of a finished checkpoint, atomically."""
    body = json.dumps(digests(folder / str(step)), indent=0)
    write_atomically(manifest(folder, step), f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}")


def damage(folder: Path, step: int) -> str:
    """What is wrong with a checkpoint, or an empty string."""
    if not manifest(folder, step).exists():
        return "it has no manifest, so it was not finished"
    head, _, body = manifest(folder, step).read_bytes().partition(b"\n")
    if head != hashlib.sha256(body).hexdigest().encode():
        return f"its manifest {step}.sha256 is damaged"
    written, found = json.loads(body), digests(folder / str(step))
    for verb, names in (
        ("is missing", written.keys() - found.keys()),
        ("was not there when it was saved", found.keys() - written.keys()),
        ("has changed since it was saved", {name for name in written.keys() & found.keys() if written[name] != found[name]}),
    ):
        if names:
            return f"file {step}/{min(names)} {verb}"
    return ""


def write_atomically(path: Path, text: str) -> None:
    """The whole text or the old file, whatever happens."""
    aside = path.with_name(path.name + ".aside")
    with aside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reason(error: Exception) -> str:
    """An error's few telling words."""
    text = " ".join(str(error).split())
    for known in ("No space left on device", "Read-only file system", "Permission denied", "Disk quota exceeded"):
        if known.lower() in text.lower():
            return known
    return text[:200] or type(error).__name__


# ---- safetensors -----------------------------------------------------------------------------------------------------


def export(params: Any, path: Path) -> int:
    """Write parameters as safetensors under their paths, "encoder/Dense_0/kernel"; returns how many arrays."""
    import numpy as np
    from safetensors.numpy import save_file

    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    arrays = {jax.tree_util.keystr(keys, simple=True, separator="/"): np.asarray(value, order="C") for keys, value in flat}
    save_file(arrays, str(path), metadata={"format": "genjax", "arrays": str(len(arrays))})
    return len(arrays)
