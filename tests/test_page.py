"""The pages of a comparison: valid, self-contained, escaped, and their numbers those of the result."""

import copy
import itertools
import json
import re
from html.parser import HTMLParser
from statistics import fmean, stdev

import numpy as np
import pytest

from benchmarks import page_check
from genjax.compare import page, plots, svg, tables, words, worth

NAMES = ("first_toy", 'se"cond|_toy', "<b>third</b>_toy", "fourth & _toy_")
VOID = {"meta", "link", "img", "br", "hr", "wbr", "input"}


def made(names=NAMES, seeds=3) -> dict:
    """A comparison nobody ran: model k has a Frechet distance near 10 (k + 1)."""
    rng = np.random.default_rng(0)
    near = lambda mean, sd: [float(mean + sd * rng.normal()) for _ in range(seeds)]
    models = [
        {
            "name": name,
            "recipe": "configs/toy.py",
            "about": "What <i>to</i> expect.",
            "knobs": {"latent": 2},
            "parameters": 1234 + k,
            "steps": [100, 20],
            "train_seconds": 70.0 + k,
            "compile_seconds": 2.5,
            "diverged": 0,
            "collapsed": k % 2,
            "evaluations": 10**k,
            "samples_per_second": {"1": 7.0 * (k + 1), "64": 900.0 * (k + 1)},
            "memory_bytes": 2**20,
            "likelihood": {"convention": "exact", "nats": near(50 + 10 * k, 0.1), "bits": None} if k < 2 else None,
            "metrics": {"frechet": near(10 * (k + 1), 0.2), "precision": near(0.5, 0.3)},
            "curve": [{"step": s, "seconds": s / 10, "frechet": near(30 - s / 10 + 10 * k, 1)} for s in (10, 60, 120)],
            "picture": f"pictures/{k}.png",
        }
        for k, name in enumerate(names)
    ]
    return {
        "data": "toys & <more>",
        "match": "params",
        "seeds": list(range(seeds)),
        "samples": 1000,
        "features": {"name": "raw", "about": {"accuracy": 0.98, "d": 4}},
        "hardware": "a cpu",
        "versions": {"python": "3.11", "jax": "0.10"},
        "commit": "abc",
        "command": "python -m genjax.compare --data x",
        "floor": {"frechet": 0.7, "precision": 0.9},
        "self": {"frechet": 0.6},
        "n": {"frechet": {"n": [10, 20]}, "precision": {"n": [10, 20]}},
        "models": models,
        "real_picture": "pictures/real.png",
    }


class Reader(HTMLParser):
    """Asserts that tags nest, and keeps what they hold."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.rows, self.text = [], [], [], ""
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), f"an attribute twice in {tag}"
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if "style" not in self.open else ""
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def read(result, folder) -> Reader:
    return Reader(page.write(result, folder)[1].read_text())


@pytest.fixture
def pictures(tmp_path):
    """A folder with the smallest PNG under every name but one."""
    png = bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63600000000200"
        "0148afa4710000000049454e44ae426082"
    )
    (tmp_path / "pictures").mkdir()
    for name in ("real", "0", "1", "2"):
        (tmp_path / "pictures" / f"{name}.png").write_bytes(png)
    return tmp_path


def column(rows, title) -> dict:
    """name -> cell of one column of the tables read."""
    found, place = {}, None
    for row in rows:
        if row[0] == "model":
            place = next((k for k, head in enumerate(row) if head.split("\u00a0")[0] == title), None)
        elif place is not None:
            found[row[0]] = row[place]
    return found


def test_a_hybrid_stands_beside_its_parents(pictures):
    result = made(("both", "left", "right"))
    frechet = [model["metrics"]["frechet"] for model in result["models"]]
    result["hybrid"] = {"name": "both", "parents": ["left", "right"], "branches": {"coder": 1000, "prior": 234}}
    html, text = read(result, pictures), (pictures / "comparison.md").read_text()
    rows = {row[0]: row for row in html.rows}
    for number, parent in ((1, "left"), (2, "right")):
        cell = rows[f"both - {parent}"][1]
        assert cell.startswith(f"{fmean(frechet[0]) - fmean(frechet[number]):.2f}"[:3]) and cell.endswith("better")
    assert f"{np.hypot(stdev(frechet[0]), stdev(frechet[1])):.2f}" in rows["both - left"][1]
    assert "3 of 3 against 0 of 3" not in html.text and "coder 1,000, prior 234" in html.text
    assert worth.TITLE in text and "both - right" in text
    assert worth.TITLE not in tables.markdown(made())


def test_a_grid_stands_before_the_models_and_says_why_a_cell_is_not_there(pictures):
    result = made(("left_flow", "right_flow", "left_energy"))
    why = "codes are <tokens> | no numbers"
    result["grid"] = {"codes": ["left", "right"], "priors": ["flow", "energy"], "refused": {"right_energy": why}}
    html, text = read(result, pictures), (pictures / "comparison.md").read_text()
    first = next(k for k, row in enumerate(html.rows) if row[0].startswith("Frechet distance"))
    head, left, right = html.rows[first : first + 3]
    whole = column(html.rows, "Frechet distance")
    assert head[1:] == ["flow", "energy"]
    assert left == ["left", whole["left_flow"], whole["left_energy"]]
    assert right == ["right", whole["right_flow"], "refused" + why]
    assert text.count("**") == 2 * 2 and text.index("refused") < text.index("| model |")  # the best is so in both tables
    assert tables.crossed(made()) is None


@pytest.mark.parametrize(("gap", "lower", "word"), [(-2.0, True, "better"), (2.0, True, "worse"), (2.0, False, "better"),
                                                    (1.0, True, "seeds cannot tell")])  # fmt: skip
def test_a_difference_within_the_spread_says_nothing(gap, lower, word):
    a, b = (tables.Summary(mean, 1.0, 3, 3) for mean in (gap, 0.0))
    assert worth.difference(a, b, lower).note == word
    alone = worth.difference(a._replace(sd=float("nan")), b, lower)
    assert alone.note == "seeds cannot tell" and not alone.best


def test_the_page_is_valid_and_needs_nothing_else(pictures):
    html = read(made(), pictures)
    links = [value for _, about in html.tags for name, value in about.items() if name in ("src", "href", "xlink:href")]
    assert links and all(link.startswith("data:") for link in links)
    assert not {"script", "iframe", "object"} & {tag for tag, _ in html.tags}
    text = (pictures / "comparison.html").read_text()
    assert text.startswith("<!DOCTYPE html>") and "url(" not in text and "@import" not in text
    assert ("html", {"lang": "en"}) in html.tags
    assert all(about.get("alt") for tag, about in html.tags if tag == "img")
    assert all(about.get("aria-label") and about["role"] == "img" for tag, about in html.tags if tag == "svg")
    assert all(about.get("scope") in ("row", "col") for tag, about in html.tags if tag == "th")
    ids = [about["id"] for _, about in html.tags if "id" in about]
    assert len(ids) == len(set(ids))


def test_names_are_shown_as_they_are_and_never_as_tags(pictures):
    html = read(made(), pictures)
    for name in NAMES:
        assert name in [row[0] for row in html.rows]
        assert html.text.count(name) >= 4  # three tables or more, samples, the list of models
    assert "What <i>to</i> expect." in html.text and "toys & <more>" in html.text
    assert not {"i"} & {tag for tag, _ in html.tags}


def test_a_picture_that_is_missing_is_told(pictures):
    html = read(made(), pictures)
    assert sum(tag == "img" for tag, _ in html.tags) == 4 and html.text.count("No picture.") == 1


def test_numbers_are_the_means_and_spreads_of_the_result(pictures):
    result = made()
    html = read(result, pictures)
    shown = column(html.rows, "Frechet distance")
    for model in result["models"]:
        values = model["metrics"]["frechet"]
        mean, sd = (float(part) for part in shown[model["name"]].split(" ± "))
        assert mean == pytest.approx(fmean(values), abs=0.06 * stdev(values))
        assert sd == pytest.approx(stdev(values), rel=0.06)
    assert column(html.rows, "Parameters")[NAMES[1]] == "1,235"
    assert column(html.rows, "Training of all seeds")[NAMES[0]] == "1:10 min"
    assert column(html.rows, "Steps")[NAMES[0]] == "100 + 20"
    assert shown[tables.REFERENCES["floor"]] == "0.7" and shown[tables.REFERENCES["self"]] == "0.6"


def test_a_miss_is_called_none_and_a_column_of_misses_is_left_out(pictures):
    html = read(made(), pictures)
    nats = column(html.rows, "-log p(x), nats")
    assert nats[NAMES[2]] == "none" and nats[NAMES[0]].endswith("exact")
    assert not column(html.rows, "-log p(x), bits/dim") and not column(html.rows, "Recall")


@pytest.mark.parametrize("lost", [None, float("nan"), float("inf")])
def test_a_seed_without_a_value_is_left_out_and_counted(pictures, lost):
    result = made()
    model = result["models"][0]
    model["metrics"]["frechet"][1], model["diverged"] = lost, 1
    model["curve"][-1]["frechet"] = [lost] * 3
    html = read(result, pictures)
    cell = column(html.rows, "Frechet distance")[NAMES[0]]
    a, _, b = model["metrics"]["frechet"]
    assert cell == tables.number(fmean([a, b]), stdev([a, b])) + "2 of 3 seeds"
    assert column(html.rows, "Stable seeds")[NAMES[0]] == "2 of 31 diverged"
    assert not re.search(r"\b(nan|inf)\b", (pictures / "comparison.html").read_text(), re.IGNORECASE)
    assert [len(line.points) for line in plots.curves(result, "step")] == [2, 3, 3, 3]


def test_a_model_of_which_nothing_is_known_still_has_its_row(pictures):
    result = made()
    result["models"][1] = {"name": "all diverged", "metrics": {"frechet": [None] * 3}, "diverged": 3, "likelihood": None}
    html = read(result, pictures)
    row = next(row for row in html.rows if row[0] == "all diverged")
    assert set(row[1:-1]) == {"none"} and row[-1] == "0 of 33 diverged"


def test_the_best_is_bold_only_beyond_the_spread():
    of = lambda *means, sd=1.0, n=3: [tables.Value(tables.Summary(mean, sd, n, 3)) for mean in means]
    assert tables.best(of(1.0, 2.5), lower=True) == 0  # 1.5 > sqrt(2)
    assert tables.best(of(1.0, 2.4), lower=True) is None
    assert tables.best(of(1.0, 2.5), lower=False) == 1
    assert tables.best(of(1.0, 2.5, 9.0, 2.3), lower=True) is None  # not against each
    assert tables.best(of(1.0, 2.5), lower=None) is None
    assert tables.best(of(1.0, 9.0, sd=float("nan")), lower=True) is None  # one seed
    assert tables.best(of(1.0, n=2) + of(9.0), lower=True) is None  # a seed of its own is missing
    assert tables.best([*of(1.0), "x", None], lower=True) is None  # nobody to beat
    one, two = of(1.0, 9.0)
    assert tables.best([one._replace(note="exact"), two._replace(note="bound, K=5")], lower=True) is None


def test_bold_is_what_the_page_and_the_markdown_say(pictures):
    result = made()
    text = tables.markdown(result)
    assert text.count("**") == 2  # Frechet distance of the first model; precision's spread is too wide, nats never compete
    for model in result["models"][:2]:
        model["likelihood"]["bits"] = [nats / 40 for nats in model["likelihood"]["nats"]]
    assert tables.markdown(result).count("**") == 2 * 2  # bits/dim do
    read(result, pictures)
    assert (pictures / "comparison.html").read_text().count("<b>") == 2


def test_markdown_rows_have_the_columns_of_their_head():
    blocks = [block.splitlines() for block in tables.markdown(made()).split("\n\n") if block.startswith("| ")]
    assert len(blocks) == 2
    for block in blocks:
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block}
        assert len(counts) == 1 and len(block) >= 2 + len(NAMES)
    assert r"&lt;b>third&lt;/b>\_toy" in tables.markdown(made())


def test_other_metrics_have_a_table_of_their_own(pictures):
    result = made()
    for model in result["models"]:
        model["metrics"] |= {"modes": [8, 8, 7], "something_new": [1.0, 2.0, 3.0]}
    html = read(result, pictures)
    assert column(html.rows, "Modes")[NAMES[0]] == tables.number(fmean([8, 8, 7]), stdev([8, 8, 7]))
    assert column(html.rows, "Something new")[NAMES[0]] == "2.0 ± 1.0"


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [
        (12.3456, 0.234, "12.35 ± 0.23"),
        (1234.5, 123.0, "1234 ± 123"),
        (0.000123, 0.000034, "0.000123 ± 0.000034"),
        (1e-9, 2e-9, "1.000e-09 ± 2.0e-09"),
        (12.3456, float("nan"), "12.35"),
        (5.0, 0.0, "5"),
        (-0.5, 0.1, "-0.50 ± 0.10"),
        (123456.0, float("nan"), "123,456"),
    ],
)
def test_numbers_show_two_digits_of_their_spread(mean, sd, text):
    assert tables.number(mean, sd) == text


def test_labels_of_lines_keep_apart_and_in_order():
    rng = np.random.default_rng(1)
    crowded = [np.full(9, 13.0), np.full(9, 257.0)]
    for wanted in [*(rng.uniform(20, 250, count) for count in range(1, 12)), *crowded]:
        at = np.array(svg.spread(list(wanted), 14, 12, 258))
        order = np.argsort(wanted, kind="stable")
        assert (np.diff(at[order]) >= 14 - 1e-9).all() and at.min() >= 12 - 1e-9 and at.max() <= 258 + 1e-9


def test_labels_of_points_cover_nothing():
    dots = [(100.0, 100.0, 40.0), (104.0, 102.0, 40.0), (380.0, 100.0, 60.0)]
    boxes = [(x, y - 10, x + wide, y + 3) for (x, y), (_, _, wide) in zip(svg.labels(dots), dots, strict=True)]
    around = [(x - 5, y - 5, x + 5, y + 5) for x, y, _ in dots]
    pairs = [*itertools.combinations(boxes, 2), *itertools.product(boxes, around)]
    assert not any(svg._meet(*pair) for pair in pairs) and max(box[2] for box in boxes) <= svg.WIDE


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (3.0, 3.0), (-2.0, 5.0), (0.001, 40.0), (1.0, 1e7), (0.0, 0.0)])
def test_scales_hold_their_values_and_have_ticks(low, high):
    axis = svg.scale([low, high], 10, 90)
    assert 10 <= axis(low) <= axis(high) <= 90
    assert axis.log == (low > 0 and high > 8 * low)
    found = svg.ticks(axis)
    assert 2 <= len(found) <= 12 and found == sorted(set(found)) and len({svg.told(tick) for tick in found}) == len(found)


def luminance(colour: str) -> float:
    """WCAG 2.1, relative luminance."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_stand_out_from_both_pages():
    schemes = [dict(re.findall(r"--(\w+):(#\w+)", part)) for part in page.colours().split("@media")]
    for scheme in schemes:
        full = {
            name: value if len(value) == 7 else "#" + "".join(2 * letter for letter in value[1:])
            for name, value in scheme.items()
        }
        light = {name: luminance(value) for name, value in full.items()}
        ratio = lambda a, light=light: (max(light[a], light["page"]) + 0.05) / (min(light[a], light["page"]) + 0.05)
        assert ratio("ink") >= 7 and ratio("quiet") >= 4.5
        assert min(ratio(f"s{k}") for k in range(len(plots.LIGHT))) >= 3
    assert len(schemes) == 2


def test_short_names_lose_what_they_share():
    assert plots.short(["a_digits", "b_c_digits"]) == ["a", "b_c"]
    assert plots.short(["a_digits"]) == ["a_digits"] and plots.short(["a", "b_a"]) == ["a", "b_a"]
    assert [len(name) for name in plots.short(["x" * 40, "y"])] == [16, 1]


def test_one_seed_has_no_spread_and_no_best(pictures):
    result = made(seeds=1)
    html = read(result, pictures)
    assert (
        "±" not in "".join(cell for row in html.rows for cell in row)
        and "<b>" not in (pictures / "comparison.html").read_text()
    )
    assert "seed 0" in html.text and "nothing is called the best" in html.text


def test_a_comparison_without_curves_or_speeds_has_no_empty_plots(pictures):
    result = made()
    for model in result["models"]:
        model["curve"], model["samples_per_second"] = [], None
    html = read(result, pictures)
    assert not [tag for tag, _ in html.tags if tag == "svg"] and "Learning curves" not in html.text


def test_nothing_to_show_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="without models"):
        page.write(made(names=()), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_result_is_left_as_it_was(pictures):
    result = made()
    before = copy.deepcopy(result)
    page.write(result, pictures)
    assert result == before


def test_the_command_draws_a_finished_comparison_anew(pictures, capsys):
    (pictures / "comparison.json").write_text(json.dumps(made()))
    assert page.main([str(pictures)]) == 0
    assert all((pictures / name).stat().st_size for name in ("comparison.html", "comparison.md", "overview.png"))
    assert (pictures / "overview.png").read_bytes()[1:4] == b"PNG"
    with pytest.raises(SystemExit, match="2"):
        page.main([])
    assert capsys.readouterr().err.count("\n") == 1


def test_the_check_of_a_page_says_what_is_wrong(tmp_path, capsys):
    assert page_check.wrong({"page": 390, "wide": 390, "out": [], "undrawn": []}) == []
    assert len(page_check.wrong({"page": 390, "wide": 400, "out": ["TABLE x"], "undrawn": ["Samples"]})) == 3
    asked = lambda url: {"method": "Network.requestWillBeSent", "params": {"request": {"url": url}}}
    thrown = {"method": "Runtime.exceptionThrown", "params": {}}
    assert page_check.errors([asked("file:///a.html"), asked("data:,")], "file:///a.html") == []
    assert len(page_check.errors([asked("https://x.org/y"), thrown], "file:///a.html")) == 2
    assert page_check.main([str(tmp_path / "none.html")]) == 2 and "which page" in capsys.readouterr().err


def test_a_comparison_by_time_tells_what_had_more_or_less_of_it():
    took = lambda **seconds: {"target": {"seconds": 100.0}, "models": [
        {"name": name, "train_seconds": value} for name, value in seconds.items()]}  # fmt: skip
    assert words.apart(took(vae=62.0, gan=105.0)).endswith("took from 0.62 (vae) to 1.05 times (gan) what was planned.")
    assert words.apart(took(vae=120.0)).endswith("took 1.20 times what was planned.")
    assert words.apart(took(vae=91.0, gan=109.0)) == "" and words.apart(took(vae=50.0) | {"target": {}}) == ""


def test_seeds_and_facts_in_words():
    assert words.span([0, 1, 2, 3]) == "0-3" and words.span([0, 2, 3]) == "0, 2, 3" and words.span([5]) == "5"
    assert words.told({"a_b": [1, 2], "c": None, "d": 0.123456789}) == "a b 1 and 2; c none; d 0.123457"
    assert page.same({"x": {"n": 1}, "y": {"n": 1}}) == {"n": 1} and page.same({"x": {"n": 1}, "y": {"n": 2}})["y"] == {"n": 2}
