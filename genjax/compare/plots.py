"""What the plots of a comparison show, and one PNG of it for a README; `svg.py` draws the same for the page."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from genjax.compare import tables

LIGHT = ("#0072b2", "#c85200", "#00805e", "#b0408a", "#8a6800", "#1f87b5", "#6a4fc0", "#555555")  # at least 3:1 on white
DARK = ("#5ab4f0", "#ff8c4a", "#2cc295", "#e68ac5", "#e0b83a", "#9ad8f5", "#a99bff", "#d0d0d0")  # the same on the dark page
AXES = {"seconds": "training seconds", "step": "steps"}


class Curve(NamedTuple):
    """One model's line: x, mean, least and greatest over the seeds that have a value."""

    name: str
    place: int  # of the model in the comparison, which decides its colour
    points: list[tuple[float, float, float, float]]


class Point(NamedTuple):
    """One model in the plane of speed and quality; spread is NaN below two seeds."""

    name: str
    place: int
    x: float
    y: float
    spread: float


# ---- what is drawn ---------------------------------------------------------------------------------------------------


def curves(result: dict, against: str) -> list[Curve]:
    """The learning curves; models without one are left out. `against`: seconds or step."""
    names, found = short([model["name"] for model in result["models"]]), []
    for place, model in enumerate(result["models"]):
        looks = [
            (row[against], tables.finite(row["frechet"])) for row in model.get("curve") or [] if row.get(against) is not None
        ]
        points = [(x, fmean(values), min(values), max(values)) for x, values in looks if values]
        if points:
            found.append(Curve(names[place], place, points))
    return found


def points(result: dict, batch: str) -> list[Point]:
    """Models whose Frechet distance and samples a second at this batch size are known."""
    names, found = short([model["name"] for model in result["models"]]), []
    for place, model in enumerate(result["models"]):
        s = tables.summary(tables.distance(model.get("metrics") or {}))
        rate = tables.rate(model, batch)
        if s and rate:
            found.append(Point(names[place], place, rate, s.mean, s.sd))
    return found


def short(names: Sequence[str]) -> list[str]:
    """Names without the last word that all of them share (`_digits`), cut to what a margin holds."""
    ends = {name.rpartition("_")[1:] for name in names}
    end = "".join(next(iter(ends))) if len(names) > 1 and len(ends) == 1 else ""
    cut = [name.removesuffix(end) or name for name in names]
    return [name if len(name) <= 16 else name[:15] + "…" for name in cut]


def floor(result: dict) -> float | None:
    """Frechet distance between two halves of the real data."""
    s = tables.summary(tables.distance(result.get("floor") or {}))
    return s and s.mean


# ---- PNG -------------------------------------------------------------------------------------------------------------


def overview(result: dict, folder: Path) -> Path:
    """Write folder/overview.png: samples beside real data, under them learning curves and quality against speed.

    Args:
      result: the comparison, as `genjax.compare` writes it.
      folder: holds the pictures that it names; one that is missing leaves its place empty.

    Raises:
      ValueError: there is no model in it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tables.check(result)
    shown = [("real data", result.get("real_picture")), *((m["name"], m.get("picture")) for m in result["models"])]
    across = min(len(shown), 6)
    rows = -(-len(shown) // across)
    figure = Figure(figsize=(11, 2.1 * rows + 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, 1, height_ratios=(2.1 * rows, 3.6))
    _pictures(above.subplots(rows, across, squeeze=False).flatten(), shown, folder)
    left, right = below.subplots(1, 2)
    _curves(left, result)
    _points(right, result)
    path = folder / "overview.png"
    figure.savefig(path)
    return path


def _pictures(places: Any, shown: Sequence[tuple[str, str | None]], folder: Path) -> None:
    from matplotlib.image import imread

    for axes, (name, path) in zip(places, [*shown, *[("", None)] * (len(places) - len(shown))], strict=True):
        axes.set_axis_off()
        axes.set_title(name, fontsize=9)
        if path and (folder / path).exists():
            axes.imshow(imread(folder / path), cmap="gray", interpolation="nearest")


def _curves(axes: Any, result: dict) -> None:
    for name, place, looks in curves(result, "seconds"):
        x, mean, low, high = zip(*looks, strict=True)
        colour = LIGHT[place % len(LIGHT)]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(x, mean, color=colour, linewidth=1.5, linestyle=("-", "--", ":")[place // len(LIGHT) % 3], label=name)
    _finish(axes, result, AXES["seconds"])
    if axes.lines:
        axes.legend(fontsize=8, frameon=False)


def _points(axes: Any, result: dict) -> None:
    for name, place, x, y, sd in points(result, "64"):
        axes.errorbar(x, y, sd if sd > 0 else None, fmt="o", color=LIGHT[place % len(LIGHT)])
        axes.annotate(name, (x, y), (7, 4), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.2)
    _finish(axes, result, "samples a second, batch 64")


def _finish(axes: Any, result: dict, below: str) -> None:
    if (base := floor(result)) is not None:
        axes.axhline(base, color="#555555", linewidth=1, linestyle=":")
        axes.annotate("floor: real data", (0.01, base), (0, 3), ("axes fraction", "data"), "offset points", fontsize=8)
    if base is None or base > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.set(xlabel=below, ylabel="Frechet distance")
    axes.spines[["top", "right"]].set_visible(False)
