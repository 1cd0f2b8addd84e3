"""A comparison as one picture for a page: samples of each model, learning curves, distance against speed.

    pip install matplotlib
    python -m benchmarks.comparison_picture runs/compare_digits         # results/pictures/comparison_digits.png
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import ROOT

WORDS = {"frechet": "Frechet distance"}


def samples(figure: Any, folder: Path, result: dict) -> None:
    """A row of grids."""
    shown = [("real data", result["real_picture"]), *((model["name"], model["picture"]) for model in result["models"])]
    for axes, (name, path) in zip(figure.subplots(1, len(shown)), shown, strict=True):
        axes.imshow(_read(folder / path), cmap="gray")
        axes.set_title(name, fontsize=8)
        axes.axis("off")


def _read(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path))


def curves(axes: Any, result: dict, metric: str) -> None:
    """Mean and spread over seeds against seconds of training."""
    for model in result["models"]:
        points = [point for point in model["curve"] if all(value is not None for value in point[metric])]
        seconds = [point["seconds"] for point in points]
        values = np.array([point[metric] for point in points])
        mean, spread = values.mean(1), values.std(1, ddof=1 if values.shape[1] > 1 else 0)
        (line,) = axes.plot(seconds, mean, label=model["name"])
        axes.fill_between(seconds, mean - spread, mean + spread, color=line.get_color(), alpha=0.15)
    axes.set(xlabel="training seconds", ylabel=WORDS[metric], yscale="log")
    axes.legend(fontsize=7, frameon=False)


def speeds(axes: Any, result: dict, metric: str) -> None:
    """The end of each model against samples a second."""
    for model in result["models"]:
        values = np.array([value for value in model["metrics"][metric] if value is not None])
        speed = model["samples_per_second"]["64"]
        axes.errorbar(speed, values.mean(), values.std(ddof=1) if len(values) > 1 else 0, fmt="o", markersize=5)
        axes.annotate(model["name"], (speed, values.mean()), (5, 4), textcoords="offset points", fontsize=7)
    axes.set(xlabel="samples a second, batch 64", ylabel=WORDS[metric], xscale="log", yscale="log")


def draw(folder: Path, out: Path, metric: str = "frechet") -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    result = json.loads((folder / "comparison.json").read_text())
    figure = pyplot.figure(figsize=(12, 6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 2.2))
    samples(above, folder, result)
    left, right = below.subplots(1, 2)
    curves(left, result, metric)
    speeds(right, result, metric)
    for axes in (left, right):
        axes.axhline(result["floor"][metric], color="0.4", linestyle=":", linewidth=1)
        axes.spines[["top", "right"]].set_visible(False)
    left.text(left.get_xlim()[0], result["floor"][metric], " floor: real data", fontsize=7, va="bottom")
    figure.savefig(out, dpi=100)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a comparison")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    name = json.loads((args.folder / "comparison.json").read_text())["data"].replace("/", "_")
    draw(args.folder, args.out or ROOT / "results" / "pictures" / f"comparison_{name}.png")


if __name__ == "__main__":
    main()
