"""What a run tells: tables before it, lines and files while it goes, pictures of samples and of its losses."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from genjax.checkpoint import reason, warn
from genjax.model import Params, Phase, frozen

# ---- tables ----------------------------------------------------------------------------------------------------------


def parameter_table(params: Params) -> str:
    """Branches two levels deep: arrays, numbers, bytes."""
    rows = [("branch", "arrays", "parameters", "size")]
    for name, branch in params.items():
        rows.append((name, *_size(branch)))
        if isinstance(branch, dict) and len(branch) > 1:
            rows += [(f"  {inner}", *_size(child)) for inner, child in branch.items()]
    rows.append(("in all", *_size(params)))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in (1, 2, 3))]) for row in rows)


def _size(tree: Any) -> tuple[str, str, str]:
    return str(len(jax.tree.leaves(tree))), f"{count(tree):,}", nbytes(size_of(tree))


def count(tree: Any) -> int:
    """Numbers in a tree of arrays or of their shapes."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def size_of(tree: Any) -> int:
    """Bytes of a tree of arrays or of their shapes; a key counts as 8."""
    extended = lambda leaf: jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended)
    return sum(int(np.prod(leaf.shape)) * (8 if extended(leaf) else leaf.dtype.itemsize) for leaf in jax.tree.leaves(tree))


def nbytes(number: float) -> str:
    """Bytes as a reader wants them."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def stage_table(params: Params, stages: Sequence[Sequence[Phase]], steps: Sequence[int]) -> str:
    """Each stage: its steps, what each phase trains, what nobody trains."""
    lines = []
    for number, (stage, length) in enumerate(zip(stages, steps, strict=True)):
        lines.append(f"stage {number}: {length} steps")
        for phase in stage:
            lines.append(f"  {phase.name} trains {', '.join(phase.trains)}{' at some steps only' if phase.when else ''}")
        lines.append(f"  frozen: {', '.join(frozen(params, stage)) or 'nothing'}")
    return "\n".join(lines)


# ---- lines while it goes ---------------------------------------------------------------------------------------------


class Lines:
    """A file of JSON lines. What cannot be written (full disk) is kept and tried again with the next line."""

    def __init__(self, path: Path):
        self.path, self.waiting, self.failed = path, [], False
        self.good = path.stat().st_size if path.exists() else 0

    def write(self, rows: Iterable[dict]) -> None:
        self.waiting += [json.dumps(row) + "\n" for row in rows]
        text = "".join(self.waiting).encode()
        try:
            with self.path.open("r+b" if self.path.exists() else "wb") as file:
                file.truncate(self.good)  # a line that was half written when the disk was full
                file.seek(self.good)
                file.write(text)
        except OSError as error:
            if not self.failed:
                warn(f"{self.path} cannot be written ({reason(error)}); its lines are kept and tried again")
            self.failed = True
        else:
            self.good, self.waiting, self.failed = self.good + len(text), [], False

    def sync(self) -> None:
        """Make what was written survive a power cut."""
        if self.path.exists():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    def cut(self, step: int) -> list[dict]:
        """Drop the lines past a step, and a torn one; returns those that stay."""
        kept, self.good = [], 0
        for line in self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []:
            row = _parsed(line)
            if row is None or row["step"] > step:
                break
            kept.append(row)
            self.good += len(line)
        if self.path.exists():
            os.truncate(self.path, self.good)
        return kept


def _parsed(line: bytes) -> dict | None:
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def windows(metrics: dict[str, np.ndarray], moved: dict[str, np.ndarray], start: int, stop: int, every: int) -> list[dict]:
    """One row for each `every` steps of start .. stop - 1: means over the steps at which the phase moved, sums of `skipped`.

    Args:
      metrics: name -> (stop - start,) values, NaN where the phase rested.
      moved: name -> (stop - start,) whether it did not; a value that is NaN where it moved stays in the mean.
    """
    rows = []
    for first in range(start, stop, every):
        last = min(first + every, stop)
        part, row = slice(first - start, last - start), {"step": last}
        for name, values in metrics.items():
            if len(there := values[part][moved[name][part]]):
                number = there.sum() if name.endswith("/skipped") else there.astype(np.float64).mean()
                row[name] = float(f"{number:.9g}")
        rows.append(row)
    return rows


class Progress:
    """One live line on a terminal, now and then a plain line elsewhere."""

    def __init__(self, start: int, total: int):
        self.start, self.total, self.live = start, total, sys.stdout.isatty()
        self.begun, self.said = time.perf_counter(), 0.0

    def rest(self, seconds: float) -> None:
        """Leave out of the rate what was no training: compilation, pictures."""
        self.begun += seconds

    def rate(self, step: int) -> float:
        """Steps a second since this process began."""
        return (step - self.start) / max(time.perf_counter() - self.begun, 1e-9)

    def note(self, line: str) -> None:
        """A line of its own."""
        print(f"\r\033[K{line}" if self.live else line, flush=True)

    def tell(self, row: dict) -> None:
        """How far it is, not too often."""
        now, step = time.perf_counter(), row["step"]
        if step < self.total and now - self.said < (0.1 if self.live else 10.0):
            return
        self.said = now
        losses = [f"{name} {value:.4g}" for name, value in row.items() if name.endswith("/loss")][:3]
        rate = self.rate(step)
        eta = clock((self.total - step) / max(rate, 1e-9))
        line = "  ".join([f"step {step}/{self.total}", *losses, f"{rate:.4g} steps/s", f"ETA {eta}"])
        print(f"\r\033[K{line}" if self.live else line, end="\n" if step >= self.total or not self.live else "", flush=True)


def clock(seconds: float) -> str:
    """h:mm:ss, or m:ss below an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def board(folder: Path, step: int) -> Callable[[Iterable[dict]], None]:
    """A writer of TensorBoard events where tensorboardX is installed, else of nothing."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return lambda rows: None
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def write(rows: Iterable[dict]) -> None:
        for row in rows:
            for name in row.keys() - {"step"}:
                if np.isfinite(row[name]):  # it warns of each other one; they stand in metrics.jsonl
                    writer.add_scalar(name, row[name], row["step"])

    return write


# ---- pictures --------------------------------------------------------------------------------------------------------


def picture(path: Path, shown: np.ndarray) -> None:
    """Save samples as one picture: images (B, H, W, C), points (B, 2), signals (B, T, C) as curves, or texts (B,) on a page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if np.asarray(shown).dtype.kind == "U":
        return _save(path, page(shown[:8]).save)
    shown = np.asarray(shown, np.float32)
    if shown.ndim == 4 and shown.shape[-1] in (1, 3):
        return _save(path, grid(shown).save)
    if shown.ndim == 2 and shown.shape[-1] == 2:
        return _plot(path, lambda axes: axes.scatter(*shown.T, s=2), equal=True)
    if shown.ndim == 3:
        return _plot(path, lambda axes: axes.plot(shown[:8, :, 0].T, linewidth=0.7))
    raise ValueError(f"samples of shape {shown.shape} have no picture; the recipe's `show` must give images, points or signals")


def grid(images: np.ndarray, gap: int = 2) -> Any:
    """Images in [0, 1] as one nearly square PIL image, small ones enlarged by whole numbers."""
    from PIL import Image

    pixels = np.round(255 * np.clip(np.nan_to_num(images), 0, 1)).astype(np.uint8)
    zoom = max(1, 32 // max(pixels.shape[1:3]))
    pixels = pixels.repeat(zoom, 1).repeat(zoom, 2)
    n, high, wide, channels = pixels.shape
    across = int(np.ceil(np.sqrt(n)))
    down = -(-n // across)
    sheet = np.full((down * (high + gap) + gap, across * (wide + gap) + gap, channels), 128, np.uint8)
    for k, image in enumerate(pixels):
        top, left = gap + (k // across) * (high + gap), gap + (k % across) * (wide + gap)
        sheet[top : top + high, left : left + wide] = image
    return Image.fromarray(sheet[..., 0] if channels == 1 else sheet)


def page(texts: np.ndarray) -> Any:
    """Texts (B,) below each other as one PIL image, a line between them."""
    from PIL import Image, ImageDraw

    whole = "\n----\n".join(map(str, texts))
    box = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((8, 8), whole)
    sheet = Image.new("L", (int(box[2]) + 8, int(box[3]) + 8), 255)
    ImageDraw.Draw(sheet).multiline_text((8, 8), whole, fill=0)
    return sheet


def curve(path: Path, rows: list[dict]) -> None:
    """The loss of every phase over the steps."""
    names = sorted({name for row in rows for name in row if name.endswith("/loss")})

    def draw(axes: Any) -> None:
        for name in names:
            there = [(row["step"], row[name]) for row in rows if name in row]
            axes.plot(*zip(*there, strict=True), label=name, linewidth=1)
        axes.set_xlabel("step")
        axes.legend()

    if names:
        _plot(path, draw)


def _plot(path: Path, draw: Callable, equal: bool = False) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6) if equal else (7, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw(axes)
    if equal:
        axes.set_aspect("equal")
    _save(path, figure.savefig)


def _save(path: Path, save: Callable) -> None:
    """The whole picture or the old one, whatever happens."""
    aside = path.with_name(f".aside_{path.name}")
    save(aside)
    os.replace(aside, path)
