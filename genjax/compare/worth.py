"""What a hybrid is worth: beside each of its parents, which had the same budget, what it gains and what it costs.

    difference    hybrid - parent, ± sqrt(sd² + other sd²); better or worse where it is larger than that, else nobody can tell
    ratio         hybrid / parent

A recipe that is a hybrid names its parents, as `parents = ("vae", "gan")`.
"""

import math
from collections.abc import Callable
from typing import Any

from genjax.compare.tables import DIVERSITY, QUALITY, Cell, Summary, Table, number, rate, stability, summary

TITLE = "The hybrid beside its parents"
SCORES = QUALITY | DIVERSITY


def worth(result: dict) -> Table | None:
    """One row a parent; None where the comparison is not of a hybrid."""
    told = result.get("hybrid")
    if not told:
        return None
    models = {model["name"]: model for model in result["models"]}
    ours, others = models[told["name"]], [models[name] for name in told["parents"]]
    shared = [key for key in SCORES if all(key in (model.get("metrics") or {}) for model in (ours, *others))]
    stable = lambda model: getattr(stability(len(result["seeds"])).get(model), "text", "none")
    columns = {title(key): _difference(key) for key in shared} | {
        "Stable seeds": lambda ours, theirs: Cell(f"{stable(ours)} against {stable(theirs)}"),
        "Spread over seeds, ratio": lambda ours, theirs: ratio(_spread(ours), _spread(theirs)),
        "Parameters, ratio": lambda ours, theirs: ratio(ours["parameters"], theirs["parameters"]),
        "Training, ratio": lambda ours, theirs: ratio(ours["train_seconds"], theirs["train_seconds"]),
        "Samples/s, batch\u00a064, ratio": lambda ours, theirs: ratio(rate(ours, "64"), rate(theirs, "64")),
    }
    rows = [(f"{ours['name']} - {theirs['name']}", [get(ours, theirs) for get in columns.values()]) for theirs in others]
    return Table(TITLE, list(columns), rows, [])


def borrowed(result: dict) -> str:
    """The branches of the hybrid's tree and their sizes, in one line."""
    branches = result["hybrid"]["branches"]
    return "Its parameters: " + ", ".join(f"{name} {size:,}" for name, size in branches.items()) + "."


def title(key: str) -> str:
    """Heading of a difference, with the direction that is better."""
    name, lower = SCORES[key]
    return f"{name}\u00a0{'↓' if lower else '↑'}"


def ratio(ours: float | None, theirs: float | None) -> Cell:
    return Cell(f"{ours / theirs:.2g} times" if ours and theirs else "none")


def _difference(key: str) -> Callable[[dict, dict], Cell]:
    lower = SCORES[key][1]

    def get(ours: dict, theirs: dict) -> Cell:
        a, b = (summary(model["metrics"][key]) for model in (ours, theirs))
        return Cell("none") if a is None or b is None else difference(a, b, lower)

    return get


def difference(a: Summary, b: Summary, lower: bool) -> Cell:
    """a - b, and what it says: with a single seed nothing."""
    gap, spread = a.mean - b.mean, math.hypot(a.sd, b.sd)
    word = ("better" if (gap < 0) == lower else "worse") if abs(gap) > spread else "seeds cannot tell"
    return Cell(number(gap, spread), word, best=word == "better")


def _spread(model: dict[str, Any]) -> float | None:
    """Standard deviation of the distance over seeds."""
    metrics = model.get("metrics") or {}
    s = summary(metrics.get("frechet", metrics.get("fid")))
    return None if s is None or math.isnan(s.sd) else s.sd
