"""The numbers of a comparison as tables: mean ± standard deviation over seeds, the best one where seeds can tell it.

A value that is missing (a seed that diverged) is left out of the mean, and the cell says how many seeds it has. A number is
called the best of its column only if it beats each other one by more than sqrt(sd² + other sd²), both over at least two seeds
and none of its own missing: with one seed nothing is the best.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

from genjax.compare.words import how, plain, rule, versions
from genjax.report import clock, nbytes

QUALITY = {  # name in a result -> heading, whether lower is better
    "frechet": ("Frechet distance", True),
    "fid": ("FID", True),  # the name that Inception's features alone may bear
    "kernel": ("Kernel distance", True),
    "precision": ("Precision", False),
    "recall": ("Recall", False),
    "density": ("Density", False),
    "coverage": ("Coverage", False),
}
DIVERSITY = {  # any other name that a result has stands after these, without a direction
    "modes": ("Modes", False),
    "quality": ("High quality", False),
    "reverse_kl": ("Reverse KL", True),
    "ndb": ("NDB", True),
    "js": ("JS of bins", True),
    "agreement": ("Agreement with the label", False),
}
REFERENCES = {"floor": "real data: one half against the other", "self": "held-out real data for samples"}


class Summary(NamedTuple):
    """Values of several seeds; `sd` (n - 1 in its denominator) is NaN below two."""

    mean: float
    sd: float
    n: int  # seeds with a finite value
    of: int  # seeds


class Value(NamedTuple):
    """What stands in a cell, and what a reader must know beside it; only equal notes compare."""

    summary: Summary
    note: str = ""


class Cell(NamedTuple):
    """Text as it is shown, what stands small beside it, and whether it is the best of its column."""

    text: str
    note: str = ""
    best: bool = False


class Column(NamedTuple):
    """A heading, whether lower is better (None: nothing is), and what a model has there; None is a miss."""

    title: str
    lower: bool | None
    get: Callable[[dict], Value | Cell | str | None]
    key: str = ""  # of the metric, where the floor and the self-score have it too


class Table(NamedTuple):
    """Headings (without that of the first column), rows of models, rows of references: (name, cells)."""

    title: str
    heads: list[str]
    rows: list[tuple[str, list[Cell]]]
    references: list[tuple[str, list[Cell]]]
    corner: str = "model"  # heading of the first column


# ---- numbers ---------------------------------------------------------------------------------------------------------


def finite(values: Iterable[float | None]) -> list[float]:
    """Those that are there: not None, not NaN, not infinite."""
    return [float(value) for value in values if value is not None and math.isfinite(value)]


def summary(values: float | Sequence[float | None] | None) -> Summary | None:
    """Mean and spread of what is finite; None where nothing is."""
    values = [] if values is None else [values] if isinstance(values, int | float) else values
    there = finite(values)
    if not there:
        return None
    return Summary(fmean(there), stdev(there) if len(there) > 1 else math.nan, len(there), len(values))


def number(mean: float, sd: float = math.nan) -> str:
    """`mean ± sd`: two digits of the spread and as many decimals of the mean; four digits where there is no spread."""
    if not sd > 0:
        return f"{mean:.4g}" if abs(mean) < 1000 else f"{mean:,.0f}"
    decimals = 1 - math.floor(math.log10(sd))
    if decimals > 6 or max(abs(mean), sd) >= 1e6:
        return f"{mean:.3e} ± {sd:.1e}"
    decimals = max(decimals, 0)
    return f"{mean:.{decimals}f} ± {sd:.{decimals}f}"


def shown(value: Value | Cell | str | None) -> tuple[str, str]:
    """Text and note of a cell."""
    if value is None or isinstance(value, str):
        return value or "none", ""
    if isinstance(value, Cell):
        return value.text, value.note
    s, note = value
    some = f"{s.n} of {s.of} seeds" if s.n < s.of else ""
    return number(s.mean, s.sd), "; ".join(part for part in (note, some) if part)


def distance(scores: dict) -> Any:
    """Of the metrics of a model, or of a floor: the Frechet distance, by whichever of its names."""
    return scores.get("frechet", scores.get("fid"))


def best(values: Sequence[Value | Cell | str | None], lower: bool | None) -> int | None:
    """Place of the value that beats each other one beyond the spread; None where the seeds cannot tell."""
    there = [(k, value) for k, value in enumerate(values) if isinstance(value, Value)]
    if lower is None or len(there) < 2 or len({value.note for _, value in there}) > 1:
        return None
    sign = 1 if lower else -1
    first, (s, _) = min(there, key=lambda pair: sign * pair[1].summary.mean)
    others = [value.summary for k, value in there if k != first]
    # a mean over the seeds that survived flatters; NaN spreads compare as False
    clear = s.n == s.of and all(sign * (other.mean - s.mean) > math.hypot(s.sd, other.sd) for other in others)
    return first if clear else None


# ---- columns ---------------------------------------------------------------------------------------------------------


def metric(key: str) -> Column:
    """A metric over the seeds; one that this file does not know has no direction."""
    title, lower = (QUALITY | DIVERSITY).get(key, (key.replace("_", " ").capitalize(), None))

    def get(model: dict) -> Value | None:
        s = summary((model.get("metrics") or {}).get(key))
        return s and Value(s)

    return Column(title + {True: "\u00a0↓", False: "\u00a0↑", None: ""}[lower], lower, get, key)


def likelihood(unit: str, title: str, lower: bool | None) -> Column:
    """Negative log-likelihood, its convention in the cell: an exact value and a bound never compete.

    Nor do nats at all: a density depends on the scale of the data that each recipe makes. Bits/dim are of the stored values.
    """

    def get(model: dict) -> Value | None:
        told = model.get("likelihood") or {}
        s = summary(told.get(unit))
        return s and Value(s, told.get("convention") or "convention not told")

    return Column(title + ("\u00a0↓" if lower else ""), lower, get)


def stability(of: int) -> Column:
    """How many seeds neither diverged nor collapsed, and what happened to the others."""

    def get(model: dict) -> Cell | None:
        counts = {what: model[what] for what in ("diverged", "collapsed") if model.get(what) is not None}
        lost = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
        return Cell(f"{max(of - sum(counts.values()), 0)} of {of}", lost) if counts else None

    return Column("Stable seeds", None, get)


def quality(result: dict) -> list[Column]:
    """Columns of the first table: distances, neighbours, likelihood, stability."""
    likelihoods = [likelihood("nats", "-log p(x), nats", None), likelihood("bits", "-log p(x), bits/dim", True)]
    return [*map(metric, QUALITY), *likelihoods, stability(len(result["seeds"]))]


def diversity(result: dict) -> list[Column]:
    """Columns of the second table: every other metric that a model has."""
    named = dict.fromkeys(key for model in result["models"] for key in (model.get("metrics") or {}))
    return [metric(key) for key in dict.fromkeys([*DIVERSITY, *named]) if key in named and key not in QUALITY]


def cost(result: dict) -> list[Column]:
    """Columns of the third table: size, time, speed, memory."""
    some = lambda key, text: lambda model: text(model[key]) if _is(model.get(key)) else None
    speed = lambda batch: lambda model: (r := rate(model, batch)) and (f"{r:,.0f}" if r >= 100 else f"{r:.3g}")
    return [
        Column("Parameters", None, some("parameters", lambda n: f"{n:,}")),
        Column("Steps", None, some("steps", lambda steps: " + ".join(f"{n:,}" for n in steps))),
        Column("Training of all seeds", None, some("train_seconds", duration)),
        Column("Compilation", None, some("compile_seconds", duration)),
        Column("Samples/s, batch\u00a01", None, speed("1")),
        Column("Samples/s, batch\u00a064", None, speed("64")),
        Column("Network evaluations a sample", None, some("evaluations", lambda n: n if isinstance(n, str) else f"{n:,}")),
        Column("Memory", None, some("memory_bytes", nbytes)),
    ]


def _is(value: Any) -> bool:
    return value is not None and value != "" and (not isinstance(value, float) or math.isfinite(value))


def rate(model: dict, batch: str) -> float | None:
    """Samples a second at a batch size, None where it was not measured."""
    value = (model.get("samples_per_second") or {}).get(batch)
    return value if _is(value) and value > 0 else None


def duration(seconds: float) -> str:
    """Seconds with a digit while there are few of them, then minutes."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{clock(seconds)} min" if seconds < 3600 else f"{clock(seconds)} h"


# ---- tables ----------------------------------------------------------------------------------------------------------


def tables(result: dict) -> list[Table]:
    """Quality, diversity, cost; columns that no model has are left out, and tables without columns.

    Args:
      result: the comparison, as `genjax.compare` writes it.

    Raises:
      ValueError: there is no model in it.
    """
    check(result)
    columns = {"Quality": quality(result), "Diversity": diversity(result), "Cost": cost(result)}
    return [found for title, some in columns.items() if (found := table(title, some, result)).heads]


def check(result: dict) -> None:
    """One line about a result that has nothing to show."""
    if not result.get("models"):
        raise ValueError("a comparison without models has no page; `models` of the result is empty: finish one model first")


def table(title: str, columns: Sequence[Column], result: dict) -> Table:
    """One table of all models."""
    models = result["models"]
    values = [[column.get(model) for model in models] for column in columns]
    kept = [k for k, there in enumerate(values) if any(value is not None for value in there)]
    first = {k: best(values[k], columns[k].lower) for k in kept}
    rows = [(model["name"], [Cell(*shown(values[k][m]), first[k] == m) for k in kept]) for m, model in enumerate(models)]
    return Table(title, [columns[k].title for k in kept], rows, _references([columns[k] for k in kept], result))


def _references(columns: Sequence[Column], result: dict) -> list[tuple[str, list[Cell]]]:
    rows = []
    for key, name in REFERENCES.items():
        scores = {c: s for c, column in enumerate(columns) if (s := summary((result.get(key) or {}).get(column.key)))}
        if scores:
            cells = [Cell(number(*scores[c][:2])) if c in scores else Cell("") for c in range(len(columns))]
            rows.append((name + _sizes(result, key, [columns[c].key for c in scores]), cells))
    return rows


def _sizes(result: dict, key: str, metrics: Sequence[str]) -> str:
    """How many rows were held against how many, where all metrics of a reference used the same: distances depend on it."""
    found = {tuple(n) for metric in metrics if (n := (result.get("n") or {}).get(metric, {}).get(f"n_{key}"))}
    return " (" + " and ".join(f"{n:,}" for n in found.pop()) + ")" if len(found) == 1 else ""


def crossed(result: dict) -> Table | None:
    """Frechet distances of a grid, a row for each autoencoder, a column for each prior, a reason where a cell was refused.

    None where the comparison is of no grid.
    """
    told = result.get("grid")
    if not told:
        return None
    column = metric("fid" if any("fid" in (model.get("metrics") or {}) for model in result["models"]) else "frechet")
    values = {model["name"]: column.get(model) for model in result["models"]}
    first = best(list(values.values()), column.lower)
    cells = {name: Cell(*shown(value), place == first) for place, (name, value) in enumerate(values.items())}
    cells |= {name: Cell("refused", why) for name, why in told["refused"].items()}
    rows = [(codes, [cells[f"{codes}_{prior}"] for prior in told["priors"]]) for codes in told["codes"]]
    return Table("The grid", told["priors"], rows, [], column.title)


def markdown(result: dict) -> str:
    """The tables for a README, each cell safe in a Markdown table; ends with a newline."""
    from genjax.compare.worth import borrowed, worth

    parts, besides, grid = [f"{plain(how(result))} Values: {rule(result)}"], worth(result), crossed(result)
    if besides:
        parts.append(plain(f"{besides.title}: a difference is hybrid less parent. {borrowed(result)}"))
    for each in [*filter(None, (besides, grid)), *tables(result)]:
        lines = [(each.corner, *each.heads), ("---", *("---:" for _ in each.heads))]
        lines += [(plain(name), *map(_bold, cells)) for name, cells in each.rows]
        lines += [(f"*{plain(name)}*", *map(_bold, cells)) for name, cells in each.references]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    measured = f"`{result['command']}` at {result['commit']}, on {plain(result['hardware'])} ({versions(result)})"
    return "\n\n".join([*parts, f"Measured by {measured}."]) + "\n"


def _bold(cell: Cell) -> str:
    text = f"**{plain(cell.text)}**" if cell.best else plain(cell.text)
    return f"{text} ({plain(cell.note)})" if cell.note else text
