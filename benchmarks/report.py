"""RESULTS.md, and the README's table, from results/: python -m benchmarks.report. Nothing in them is typed by hand.

    results/NAME.json              rows of `benchmarks.record`
    results/comparisons/NAME.json  what `python -m genjax.compare` wrote as comparison.json
"""

import json
import re
from collections.abc import Iterable, Sequence
from statistics import mean, stdev
from typing import Any

from benchmarks.record import MEASURED, ROOT
from genjax.compare.tables import markdown

HEAD = """# Results

Written by `python -m benchmarks.report` from `results/*.json`; each table names the command that regenerates its numbers. A
bar that was missed is shown as missed. Where there are several seeds or repeats, the value is mean ± standard deviation.
"""
COLUMNS = ("what", "measured", "value", "asked for", "", "reference", "seeds", "note")


def main() -> None:
    """Write RESULTS.md and the part of the README between its marks."""
    read = lambda pattern: {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "results").glob(pattern))}
    comparisons = {name: markdown(result) for name, result in read("comparisons/*.json").items()}
    tables = [LAYOUT.get(name, table)(result) for name, result in read("*.json").items()]
    parts = [HEAD, *tables, *(f"## Comparison: {n}\n\n{text}" for n, text in comparisons.items())]
    (ROOT / "RESULTS.md").write_text("\n".join(parts))
    readme = ROOT / "README.md"
    readme.write_text(marked(readme.read_text(), {name: summary(text) for name, text in comparisons.items()}))


def summary(text: str) -> str:
    """Of a comparison's Markdown: all up to its first table, and how it was measured."""
    parts = text.strip().split("\n\n")
    tables = [number for number, part in enumerate(parts) if part.startswith("|")]
    return "\n\n".join([*parts[: tables[0] + 1], parts[-1]])


def marked(text: str, parts: dict[str, str]) -> str:
    """The text with what stands between <!-- NAME --> and <!-- end --> replaced by the part of this name."""

    def renewed(found: re.Match) -> str:
        part = parts.get(found[1])
        return found[0] if part is None else f"<!-- {found[1]} -->\n{part.strip()}\n<!-- end -->"

    return re.sub(r"<!-- ([\w ]+) -->\n.*?<!-- end -->", renewed, text, flags=re.S)


def table(result: dict[str, Any]) -> str:
    """One file as a heading, where it was measured, and its rows."""
    rows = [told_where(row, result) for row in result["rows"]]
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(cells, rows, [None, *rows])]
    return "\n".join([*heading(result), *ruled(lines), ""])


def heading(result: dict[str, Any]) -> list[str]:
    """Title, and where the file was measured."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    about = f"`{result['command']}` at {result['commit']}, {result['date']}, on {result['hardware']} ({versions})"
    return [f"## {result['title']}", "", about, ""]


def ruled(lines: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in lines]


# ---- many models, measured alike ----------------------------------------------------------------------------------------


def by_data(result: dict[str, Any]) -> str:
    """A table for each data set: a line a model, a column a metric, and below what data themselves reach."""
    rows = [{"measured": {name: result[name] for name in MEASURED}} | row for row in result["rows"]]
    parts = {}
    for row in rows:
        parts.setdefault(row["recipe"].rpartition(" on ")[2], []).append(row)
    tables = ["\n".join([f"On {name}:", "", *ruled(wide(part, result["hardware"])), ""]) for name, part in parts.items()]
    return "\n".join([*heading(result), *tables])


def wide(rows: Sequence[dict[str, Any]], here: str) -> list[tuple[str, ...]]:
    """Lines of one data set; hardware is told where it is not the one `here`."""
    metrics, models = list(dict.fromkeys(row["metric"] for row in rows)), {}
    for row in rows:
        name = f"{row['recipe'].rpartition(' on ')[0]} {told_knobs(row)}".strip()
        models.setdefault((name, *row["seeds"]), {})[row["metric"]] = row
    head = [("recipe", *metrics, "how"), ("---", *("---:" for _ in metrics), "---")]
    line = lambda name, found: (name, *(in_short(found[m]) if m in found else "" for m in metrics), how(found.values(), here))
    every = {row["metric"]: row for row in rows}
    told = lambda field: (number("" if (x := every[m].get(field)) is None else x) for m in metrics)
    below = [("*one half of the data against the other*", *told("floor"), ""),
             ("*held-out data for samples*", *told("reference"), "")]  # fmt: skip
    return [*head, *(line(key[0], found) for key, found in models.items()), *(one for one in below if any(one[1:]))]


def in_short(row: dict[str, Any]) -> str:
    """The value, and of a likelihood or a speed what it is of."""
    about = "" if row.get("space") else row["note"].split(",")[0].replace("network evaluations a sample", "NFE")
    return f"{value(row | {'unit': ''})} ({about})" if about else value(row | {"unit": ""})


def how(rows: Iterable[dict[str, Any]], here: str) -> str:
    """Samples, seeds, features, commit and date of a model's rows."""
    rows = list(rows)
    sampled = next((row["space"] for row in rows if row.get("space")), "")
    places = dict.fromkeys(place(row["measured"], here) for row in rows)
    return "; ".join(filter(None, (f"seeds {', '.join(map(str, rows[0]['seeds']))}", sampled, *places)))


# ---- cells ---------------------------------------------------------------------------------------------------------------


def told_where(row: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """The row; where it is of another time or machine than its file, its note says so."""
    if not (own := row.get("measured")):
        return row
    return row | {"note": "; ".join(filter(None, (row["note"], f"measured at {place(own, result['hardware'])}")))}


def place(measured: dict[str, str], here: str) -> str:
    """Commit and date, and the hardware where it is another than here."""
    machine = f" on {measured['hardware']}" if measured["hardware"] != here else ""
    return f"{measured['commit']}, {measured['date']}{machine}"


def cells(row: dict[str, Any], above: dict[str, Any] | None) -> tuple[str, ...]:
    """The cells of one row; keywords are told once for the rows that share them."""
    told = above and (above["recipe"], above["keywords"]) == (row["recipe"], row["keywords"])
    knobs = "" if told else told_knobs(row)
    met = {True: "met", False: "**missed**", None: ""}[row["met"]]
    reference = ", ".join(part for part in (number(row["reference"]), row["source"]) if part)
    seeds = ", ".join(map(str, row["seeds"])) if len(row["seeds"]) <= 5 else f"{len(row['seeds'])} of them"
    texts = (f"{row['recipe']} {knobs}".strip(), row["metric"], value(row), row["bar"], met, reference, seeds, row["note"])
    return tuple(text.replace("|", "\\|").replace("\n", " ") for text in texts)


def told_knobs(row: dict[str, Any]) -> str:
    return " ".join(f"`{name}={value}`" for name, value in (row["keywords"] or {}).items())


def value(row: dict[str, Any]) -> str:
    """Mean ± standard deviation with the unit."""
    spread = f" ± {number(stdev(row['values']))}" if len(row["values"]) > 1 else ""
    return f"{number(mean(row['values']))}{spread} {row['unit']}".strip()


def number(x: float | str) -> str:
    """Four digits, or the text itself."""
    return x if isinstance(x, str) else f"{x:.4g}" if abs(x) < 1000 else f"{x:.0f}"


LAYOUT = {"evaluations": by_data}


if __name__ == "__main__":
    main()
