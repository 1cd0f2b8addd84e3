"""Plots of a comparison as SVG, drawn by hand in the page's own colours.

Every line and point is named where it is, so that no reader has to match colours; from the ninth model on lines are dashed.
On a curve the line is the mean over seeds and the band reaches from the least to the greatest of them.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from genjax.compare import tables
from genjax.compare.plots import AXES, LIGHT, Curve, Point, curves, floor, points

DASHES = ("", "6 3", "2 3")
WIDE, HIGH = 400, 300  # of a plot, in units near a pixel of a phone
LEFT, RIGHT, TOP, BOTTOM = 46, 390, 26, 258  # of its axes
LETTER, LINE = 7.0, 14  # width and height of a letter of 11 units in a wide font


class Scale(NamedTuple):
    """From values to places on the page, linear or logarithmic."""

    low: float
    high: float
    log: bool
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        bend = math.log10 if self.log else float
        share = (bend(value) - bend(self.low)) / (bend(self.high) - bend(self.low))
        return self.start + min(max(share, 0.0), 1.0) * (self.stop - self.start)


# ---- axes ------------------------------------------------------------------------------------------------------------


def scale(values: Sequence[float], start: float, stop: float, log: bool | None = None) -> Scale:
    """A scale that holds the values; logarithmic where they are positive and span more than a factor of 8, unless told."""
    low, high = min(values), max(values)
    if log is None:
        log = low > 0 and high > 8 * low
    if log:
        return Scale(low / 1.25, high * 1.25, True, start, stop)
    margin = 0.05 * (high - low) or 0.5 * abs(high) or 1.0
    return Scale(0.0 if 0 <= low <= 0.5 * high else low - margin, high + margin, False, start, stop)


def ticks(axis: Scale) -> list[float]:
    """Round values inside a scale, four to eight where it can be."""
    if axis.log:
        tens = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
        some = tens[:: max(1, len(tens) // 6)]
        dense = [[digit * 10.0**power for power in some for digit in digits] for digits in ((1, 2, 5), (1, 3), (1,))]
        found = next((few for few in dense if sum(axis.low <= tick <= axis.high for tick in few) < 8), dense[-1])
    else:
        rough = (axis.high - axis.low) / 5
        ten = 10.0 ** math.floor(math.log10(rough))
        step = next(digit * ten for digit in (1, 2, 5, 10) if digit * ten >= rough)
        found = [step * k for k in range(math.ceil(axis.low / step), math.floor(axis.high / step) + 1)]
    return [tick for tick in found if axis.low <= tick <= axis.high]


def told(value: float) -> str:
    """A tick's number in few letters."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= (size if size > 1e3 else 1e4):
            return f"{value / size:g}{letter}"
    return f"{value:.6g}"


def _axes(x: Scale, y: Scale, below: str) -> str:
    parts = []
    for tick in ticks(y):
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{x.stop:.1f}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(_text(LEFT - 5, y(tick) + 4, told(tick), "end", "tick"))
    for tick in ticks(x):
        parts.append(f'<line class="rule" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{BOTTOM}" y2="{BOTTOM + 4}"/>')
        parts.append(_text(x(tick), BOTTOM + 17, told(tick), "middle", "tick"))
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{x.stop:.1f}" y1="{BOTTOM}" y2="{BOTTOM}"/>')
    names = _text((LEFT + x.stop) / 2, BOTTOM + 35, below, "middle", "tick") + _text(4, 12, "Frechet distance", kind="tick")
    return "".join([*parts, names])


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "name") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _floor(value: float | None, x: Scale, y: Scale) -> str:
    if value is None or not y.low <= value <= y.high:
        return ""
    at = y(value)
    line = f'<line class="floor" x1="{LEFT}" x2="{x.stop:.1f}" y1="{at:.1f}" y2="{at:.1f}"/>'
    return line + _text(LEFT + 4, at - 4, "floor: real data", kind="tick")


def _svg(alt: str, inside: str) -> str:
    return f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{escape(alt)}">{inside}</svg>'


def style(place: int) -> tuple[int, str]:
    """Colour and dashes of the model at a place."""
    return place % len(LIGHT), DASHES[place // len(LIGHT) % len(DASHES)]


# ---- SVG -------------------------------------------------------------------------------------------------------------


def learning(result: dict, against: str) -> str:
    """Frechet distance against training seconds or steps as SVG; "" where no model has a curve."""
    if not (lines := curves(result, against)):
        return ""
    base = floor(result)
    margin = 16 + LETTER * max(len(line.name) for line in lines)  # where the names of lines stand
    x = scale([point[0] for line in lines for point in line.points], LEFT, WIDE - margin, log=False)
    y = scale([v for line in lines for p in line.points for v in p[2:]] + ([base] if base is not None else []), BOTTOM, TOP)
    drawn = [_band(line, x, y) for line in lines] + [_line(line, x, y) for line in lines] + [_names(lines, x, y)]
    ends = ", ".join(f"{line.name} {line.points[-1][1]:.4g}" for line in lines)
    alt = f"Frechet distance against {AXES[against]}, mean and range over seeds. Last values: {ends}."
    return _svg(alt, "".join([_axes(x, y, AXES[against]), _floor(base, x, y), *drawn]))


def _band(line: Curve, x: Scale, y: Scale) -> str:
    up = [f"{x(p[0]):.1f},{y(p[3]):.1f}" for p in line.points]
    down = [f"{x(p[0]):.1f},{y(p[2]):.1f}" for p in reversed(line.points)]
    return f'<polygon class="band c{style(line.place)[0]}" points="{" ".join(up + down)}"/>'


def _line(line: Curve, x: Scale, y: Scale) -> str:
    colour, dashes = style(line.place)
    path = " ".join(f"{x(p[0]):.1f},{y(p[1]):.1f}" for p in line.points)
    return f'<polyline class="line c{colour}" stroke-dasharray="{dashes or "none"}" points="{path}"/>'


def _names(lines: Sequence[Curve], x: Scale, y: Scale) -> str:
    """Each line's name in the margin, a thin leader from where the line ends."""
    parts, at = [], spread([y(line.points[-1][1]) for line in lines], LINE, TOP, BOTTOM)
    for line, place in zip(lines, at, strict=True):
        colour, right = style(line.place)[0], x.stop + 10
        end = (x(line.points[-1][0]), y(line.points[-1][1]))
        parts.append(f'<polyline class="leader c{colour}" points="{end[0]:.1f},{end[1]:.1f} {right:.1f},{place:.1f}"/>')
        parts.append(f'<circle class="dot c{colour}" cx="{end[0]:.1f}" cy="{end[1]:.1f}" r="3"/>')
        parts.append(_text(right + 3, place + 4, line.name))
    return "".join(parts)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones, `gap` apart and in order; within low .. high where they fit."""
    order = sorted(range(len(wanted)), key=lambda k: wanted[k])
    at, last = [0.0] * len(wanted), low - gap
    for k in order:
        at[k] = last = max(wanted[k], last + gap)
    last = max(high, low + gap * (len(wanted) - 1)) + gap
    for k in reversed(order):
        at[k] = last = min(at[k], last - gap)
    return at


def speed(result: dict, batch: str) -> str:
    """Frechet distance against samples a second at a batch size as SVG; "" where nothing is known."""
    if not (dots := points(result, batch)):
        return ""
    base = floor(result)
    ends = [v for dot in dots for v in (dot.y, *_ends(dot))] + ([base] if base is not None else [])
    x, y = scale([dot.x for dot in dots], LEFT + 10, RIGHT, log=True), scale(ends, BOTTOM, TOP)
    rows = ", ".join(f"{dot.name} {tables.number(dot.y, dot.spread)} at {dot.x:.3g}/s" for dot in dots)
    alt = f"Frechet distance against samples a second at batch {batch}, logarithmic: {rows}."
    drawn = [_axes(x, y, f"samples a second, batch {batch}"), _floor(base, x, y), *(_dot(dot, x, y) for dot in dots)]
    places = labels([(x(dot.x), y(dot.y), len(dot.name) * LETTER) for dot in dots])
    return _svg(alt, "".join([*drawn, *(_text(*at, dot.name) for at, dot in zip(places, dots, strict=True))]))


def _ends(dot: Point) -> tuple[float, ...]:
    return (max(dot.y - dot.spread, 0.5 * dot.y), dot.y + dot.spread) if dot.spread > 0 else ()


def _dot(dot: Point, x: Scale, y: Scale) -> str:
    colour, at = style(dot.place)[0], f"{x(dot.x):.1f}"
    bar = "".join(f'<line class="line c{colour}" x1="{at}" x2="{at}" y1="{y(dot.y):.1f}" y2="{y(v):.1f}"/>' for v in _ends(dot))
    return f'{bar}<circle class="dot c{colour}" cx="{at}" cy="{y(dot.y):.1f}" r="5"/>'


def labels(dots: Sequence[tuple[float, float, float]]) -> list[tuple[float, float]]:
    """Where the text of each dot (x, y, width) begins: beside, over or under it, the first place that covers nothing."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y, _ in dots]
    found = []
    for x, y, wide in dots:
        middle = min(max(x - wide / 2, LEFT + 2), WIDE - wide - 2)
        tries = [(x + 9, y + 4), (x - 9 - wide, y + 4), (middle, y - 10), (middle, y + 19), (middle, y - 24), (middle, y + 33)]
        boxes = [(left, base - 10, left + wide, base + 3) for left, base in tries]
        free = [k for k, box in enumerate(boxes) if _inside(box) and not any(_meet(box, other) for other in taken)]
        k = free[0] if free else 2
        taken.append(boxes[k])
        found.append(tries[k])
    return found


def _inside(box: tuple[float, ...]) -> bool:
    return box[0] >= LEFT + 2 and box[2] <= WIDE and box[1] >= 0 and box[3] <= BOTTOM


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
