"""RESULTS.md, and the README's table, from results/: python -m benchmarks.report. Nothing in them is typed by hand.

    results/NAME.json              rows of `benchmarks.record`
    results/comparisons/NAME.json  what `python -m genjax.compare` wrote as comparison.json
"""

import json
import re
from statistics import mean, stdev
from typing import Any

from benchmarks.record import ROOT
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
    parts = [HEAD, *map(table, read("*.json").values()), *(f"## Comparison: {n}\n\n{text}" for n, text in comparisons.items())]
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
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    about = f"`{result['command']}` at {result['commit']}, {result['date']}, on {result['hardware']} ({versions})"
    rows = [told_where(row, result) for row in result["rows"]]
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(cells, rows, [None, *rows])]
    return "\n".join([f"## {result['title']}", "", about, "", *(f"| {' | '.join(line)} |" for line in lines), ""])


def told_where(row: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """The row; where it is of another time or machine than its file, its note says so."""
    if not (own := row.get("measured")):
        return row
    machine = f" on {own['hardware']}" if own["hardware"] != result["hardware"] else ""
    return row | {"note": "; ".join(filter(None, (row["note"], f"measured at {own['commit']}, {own['date']}{machine}")))}


def cells(row: dict[str, Any], above: dict[str, Any] | None) -> tuple[str, ...]:
    """The cells of one row; keywords are told once for the rows that share them."""
    told = above and (above["recipe"], above["keywords"]) == (row["recipe"], row["keywords"])
    knobs = " ".join(f"`{name}={value}`" for name, value in (row["keywords"] or {}).items() if not told)
    met = {True: "met", False: "**missed**", None: ""}[row["met"]]
    reference = ", ".join(part for part in (number(row["reference"]), row["source"]) if part)
    seeds = ", ".join(map(str, row["seeds"])) if len(row["seeds"]) <= 5 else f"{len(row['seeds'])} of them"
    texts = (f"{row['recipe']} {knobs}".strip(), row["metric"], value(row), row["bar"], met, reference, seeds, row["note"])
    return tuple(text.replace("|", "\\|").replace("\n", " ") for text in texts)


def value(row: dict[str, Any]) -> str:
    """Mean ± standard deviation with the unit."""
    spread = f" ± {number(stdev(row['values']))}" if len(row["values"]) > 1 else ""
    return f"{number(mean(row['values']))}{spread} {row['unit']}".strip()


def number(x: float | str) -> str:
    """Four digits, or the text itself."""
    return x if isinstance(x, str) else f"{x:.4g}" if abs(x) < 1000 else f"{x:.0f}"


if __name__ == "__main__":
    main()
