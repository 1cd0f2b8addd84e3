"""The pages of a comparison: comparison.md, and comparison.html, one file that needs nothing else.

No script, no request, pictures inside as base64. What is wide scrolls in its own box, so that a phone shows the rest whole.

    python -m genjax.compare.page FOLDER      both pages anew, and overview.png, from FOLDER/comparison.json
"""

import base64
import sys
from html import escape
from pathlib import Path
from typing import Any

from genjax.checkpoint import write_atomically
from genjax.compare import svg, tables, words
from genjax.compare.plots import DARK, LIGHT, overview
from genjax.compare.tables import Cell, Table
from genjax.compare.worth import borrowed, worth
from genjax.config import one_line
from genjax.folder import read_json

READ = {
    "Quality": "Distances: lower is better. Precision and recall: the share of samples near real data, and of real data near "
    "samples; density and coverage: the same, less moved by outliers. A perfect model reaches the grey rows, not 0 and 1.",
    "Diversity": "What is missing, doubled or out of proportion. A perfect model reaches the grey rows.",
    "Cost": "Training time holds all seeds, compilation apart; samples a second are those of one model on the machine below.",
}
CSS = """
*{box-sizing:border-box}
body{margin:0 auto;max-width:80rem;padding:1rem 1rem 3rem;background:var(--page);color:var(--ink);
 font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.2rem;margin:2.2rem 0 .4rem}
h3{font-size:1rem;margin:1rem 0 0}
h3+p{margin:.1rem 0}
p,figcaption,caption{max-width:46rem}
.quiet,figcaption,caption,dt,small{color:var(--quiet)}
.quiet,figcaption,caption{font-size:.9rem}
.box{overflow-x:auto;border:1px solid var(--rule);border-radius:.3rem;margin:.6rem 0;
 background:linear-gradient(to left,var(--page) 40%,transparent) right/3rem 100% no-repeat local,
 linear-gradient(to left,var(--rule),transparent) right/1rem 100% no-repeat scroll}
.box:focus-visible{outline:2px solid var(--s0);outline-offset:1px}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums;overflow-wrap:normal;width:100%}
caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
th,td{padding:.35rem .5rem;text-align:right;vertical-align:top;border-top:1px solid var(--rule)}
thead th{border-top:0;font-weight:600;vertical-align:bottom;min-width:5rem}
td{white-space:nowrap}
td small{display:block;font-size:.8rem;white-space:normal;min-width:6rem}
tbody th,thead th:first-child{position:sticky;left:0;background:var(--page);text-align:left;font-weight:600}
tbody th{min-width:8rem;max-width:11rem;overflow-wrap:break-word;box-shadow:1px 0 0 var(--rule)}
.real th,.real td{color:var(--quiet);font-weight:400}
.plots,.samples,.models{display:grid;gap:1rem 2rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr))}
.samples{gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(46%,10rem),1fr))}
figure{margin:0;min-width:0}
img{display:block;width:100%;image-rendering:pixelated;border-radius:.2rem}
svg{display:block;width:100%;max-width:34rem;height:auto}
text{font-size:11px;fill:var(--ink);font-family:system-ui,sans-serif}
.tick{fill:var(--quiet)}
.rule,.axis{stroke:var(--rule)}
.axis,.floor{stroke:var(--quiet)}
.floor{stroke-dasharray:2 3}
.line{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}
.leader{fill:none;stroke:var(--c);stroke-width:.75}
.dot{fill:var(--c);stroke:var(--page);stroke-width:1}
.band{fill:var(--c);opacity:.16}
dl{display:grid;grid-template-columns:min(9rem,27%) minmax(0,1fr);gap:.25rem 1rem;margin:.6rem 0}
dd{margin:0}
code{font:.85rem/1.5 ui-monospace,monospace}
"""


# ---- the pages -------------------------------------------------------------------------------------------------------


def write(result: dict, folder: Path) -> list[Path]:
    """Write both pages into the folder of a comparison.

    Args:
      result: the comparison, as `genjax.compare` writes it.
      folder: holds the pictures that it names; of one that is missing the page says so.

    Raises:
      ValueError: there is no model in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"comparison.md": f"# {title(result)}\n\n{tables.markdown(result)}", "comparison.html": html(result, folder)}
    for name, text in pages.items():
        write_atomically(folder / name, text)
    return [folder / name for name in pages]


def title(result: dict) -> str:
    """What the pages are called."""
    return f"Models of {result['data']} compared"


def html(result: dict, folder: Path) -> str:
    """The page."""
    shown = {each.title: section(each.title, quiet(READ[each.title]) + grid(each)) for each in tables.tables(result)}
    parts = [
        f"<h1>{escape(title(result))}</h1><p>{escape(words.how(result))}</p>{quiet(f'Values: {words.rule(result)}')}",
        hybrid(result),
        crossed(result),
        shown.get("Quality", ""),
        shown.get("Diversity", ""),
        section("Samples", samples(result, folder)),
        section("Learning curves", curves(result)),
        section("Quality against speed", speeds(result)),
        shown.get("Cost", ""),
        section("How it was measured", facts(measured(result))),
        section("The models", f'<div class="models">{"".join(map(about, result["models"]))}</div>'),
    ]
    return f"{head(result)}<body><main>{''.join(parts)}</main></body></html>\n"


def hybrid(result: dict) -> str:
    """What a hybrid is worth; nothing where the comparison is of none."""
    table = worth(result)
    said = "Hybrid less parent, or hybrid over parent; better and worse where the seeds can tell."
    return section(table.title, quiet(f"{said} {borrowed(result)}") + grid(table)) if table else ""


def crossed(result: dict) -> str:
    """Every autoencoder with every prior; nothing where the comparison is of no grid."""
    table = tables.crossed(result)
    said = "Rows are autoencoders, columns are priors of their codes. A cell that makes no sense is refused."
    return section(table.title, quiet(said) + grid(table)) if table else ""


def head(result: dict) -> str:
    """Up to the body; the icon is there so that no browser asks for one."""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title(result))}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f'<link rel="icon" href="data:,"><style>{colours()}{CSS}</style></head>'
    )


def colours() -> str:
    """The two schemes; .c3 is the colour of the fourth model."""
    light = "--page:#fff;--ink:#1a1c20;--quiet:#5a6068;--rule:#d9dce0;" + _series(LIGHT)
    dark = "--page:#14161a;--ink:#e8eaed;--quiet:#a2a8b0;--rule:#363b42;" + _series(DARK)
    classes = "".join(f".c{k}{{--c:var(--s{k})}}" for k in range(len(LIGHT)))
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}{classes}"


def _series(palette: tuple[str, ...]) -> str:
    return "".join(f"--s{k}:{colour};" for k, colour in enumerate(palette))


def section(name: str, inside: str) -> str:
    """A part of the page under its heading; nothing where there is nothing."""
    return f"<section><h2>{escape(name)}</h2>{inside}</section>" if inside else ""


def quiet(text: str) -> str:
    """A remark."""
    return f'<p class="quiet">{escape(text[:1].upper() + text[1:])}</p>'


# ---- parts -----------------------------------------------------------------------------------------------------------


def grid(table: Table) -> str:
    """A table in a box that scrolls, and that a keyboard reaches."""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in (table.corner, *table.heads))
    rows = [_row(name, cells, "") for name, cells in table.rows]
    rows += [_row(name, cells, ' class="real"') for name, cells in table.references]
    inside = (
        f"<table><caption>{escape(table.title)}</caption><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    return f'<div class="box" role="region" aria-label="{escape(table.title)}" tabindex="0">{inside}</div>'


def _row(name: str, cells: list[Cell], kind: str) -> str:
    return f'<tr{kind}><th scope="row">{escape(name).replace("_", "_<wbr>")}</th>{"".join(map(_cell, cells))}</tr>'


def _cell(cell: Cell) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.best else escape(cell.text)
    return f"<td>{text}{f'<small>{escape(cell.note)}</small>' if cell.note else ''}</td>"


def samples(result: dict, folder: Path) -> str:
    """Real data first, then what each model makes."""
    figures = [_picture(folder, result.get("real_picture"), "Real data", f"Real examples of {result['data']}")]
    figures += [_picture(folder, m.get("picture"), m["name"], f"Samples of {m['name']}") for m in result["models"]]
    return quiet("Not chosen: the first samples of the first seed.") + f'<div class="samples">{"".join(figures)}</div>'


def _picture(folder: Path, path: str | None, name: str, alt: str) -> str:
    there = bool(path) and (folder / path).is_file()
    image = f'<img alt="{escape(alt)}" src="{_inlined(folder / path)}">' if there else "<p>No picture.</p>"
    return f"<figure>{image}<figcaption>{escape(name)}</figcaption></figure>"


def _inlined(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def curves(result: dict) -> str:
    """Frechet distance while training, against seconds and against steps."""
    drawn = [svg.learning(result, against) for against in ("seconds", "step")]
    by = f", each value from {result['curve_samples']:,} samples a seed" if result.get("curve_samples") else ""
    return _plots(drawn, f"Frechet distance of samples while training: line, the mean over seeds; band, least to greatest{by}.")


def speeds(result: dict) -> str:
    """Frechet distance against samples a second, one at a time and in batches."""
    drawn = [svg.speed(result, batch) for batch in ("1", "64")]
    return _plots(drawn, "Frechet distance, mean ± standard deviation over seeds. Best is low and right.")


def _plots(drawn: list[str], remark: str) -> str:
    figures = "".join(f"<figure>{plot}</figure>" for plot in drawn if plot)
    return f'{quiet(remark)}<div class="plots">{figures}</div>' if figures else ""


def measured(result: dict) -> dict[str, Any]:
    """What a reader needs to have the numbers again."""
    return {
        "Data": result["data"],
        "Matched by": result["match"],
        "Target": result.get("target"),
        "Minutes a model": result.get("minutes"),
        "Seeds": words.span(result["seeds"]),
        "Samples a seed": f"{result['samples']:,}",
        "Features": words.features(result),
        "n": same(result.get("n")),
        "Hardware": result["hardware"],
        "Versions": words.versions(result),
        "Commit": result["commit"],
        "Command": result["command"],
    }


def same(n: Any) -> Any:
    """The sizes themselves where all metrics have the same ones."""
    values = list(n.values()) if isinstance(n, dict) else []
    return values[0] if values and isinstance(values[0], dict) and all(v == values[0] for v in values) else n


def facts(named: dict[str, Any]) -> str:
    """A list of names and values; what is empty is left out."""
    there = {name: value for name, value in named.items() if value not in (None, "", {}, [])}
    rows = [f"<dt>{escape(name)}</dt><dd>{_fact(name, value)}</dd>" for name, value in there.items()]
    return f"<dl>{''.join(rows)}</dl>"


def _fact(name: str, value: Any) -> str:
    text = escape(words.told(value))
    return f"<code>{text}</code>" if name in ("Command", "Recipe", "Knobs", "Commit") else text


def about(model: dict) -> str:
    """What a model is, and what its seeds were warned of."""
    knobs = " ".join(f"{name}={value}" for name, value in (model.get("knobs") or {}).items())
    flags = model.get("flags") or []
    seen = "; ".join(f"seed {seed}: {' '.join(said)}" for seed, said in enumerate(flags) if said)
    rows = {"Recipe": model.get("recipe"), "Knobs": knobs, "Seen": seen}
    return f"<div><h3>{escape(model['name'])}</h3><p>{escape(model.get('about') or '')}</p>{facts(rows)}</div>"


def main(arguments: list[str]) -> int:
    """Draw the pages of a finished comparison anew."""
    with one_line(debug=False):
        if len(arguments) != 1:
            raise ValueError("which comparison? python -m genjax.compare.page FOLDER")
        folder = Path(arguments[0])
        result = read_json(folder / "comparison.json")
        print(*write(result, folder), overview(result, folder), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
