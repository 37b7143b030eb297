"""Line charts as SVG text, for the report: several lines, linear or logarithmic axes, values as tooltips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 620, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 120, 14, 46
INK, GRID = "#4b5563", "#e5e7eb"
# Distinct to people with any colour vision (Okabe and Ito), and each line has its name at its end.
COLOURS = ("#0b5cad", "#c2410c", "#047857", "#7e22ce", "#92400e", "#334155")

Line = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """0 at the lower end, 1 at the upper."""
        if self.log:
            value = math.log10(max(value, self.low))
            return (value - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (value - self.low) / (self.high - self.low)


def line_chart(lines: Mapping[str, Line], x_name: str, y_name: str, *, log: bool = False, log_x: bool = False) -> str:
    """A line for each name; `log` and `log_x` say which axes are logarithmic."""
    points = [(float(x), float(y)) for line in lines.values() for x, y in line]
    if not points:
        return '<p class="empty">There is nothing to plot here.</p>'
    xs = _axis([x for x, _ in points], log_x, from_zero=False)
    ys = _axis([y for _, y in points], log, from_zero=True)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y_name)} by {escape(x_name)}">']
    for tick in ys.ticks:
        y = _down(ys.place(tick))
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>')
        parts.append(_text(LEFT - 8, y + 4, _number(tick), "end"))
    parts += [_text(_right(xs.place(tick)), HEIGHT - BOTTOM + 18, _number(tick), "middle") for tick in xs.ticks]
    floor = 0.0
    ends = sorted(
        ((_down(ys.place(line[-1][1])), name) for name, line in lines.items() if line), key=lambda end: end[0]
    )
    heights = {}
    for y, name in ends:  # names of lines that end close to each other are moved apart
        heights[name] = floor = max(y, floor + 13)
    for (name, line), colour in zip(lines.items(), COLOURS * len(lines), strict=False):
        if line:
            parts += _line(name, line, xs, ys, colour, heights[name])
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_name, "middle"))
    middle = (HEIGHT + TOP - BOTTOM) / 2
    parts.append(
        f'<text transform="translate(13 {middle:.0f}) rotate(-90)" text-anchor="middle" fill="{INK}">'
        f"{escape(y_name)}</text>"
    )
    return "".join([*parts, "</svg>"])


def _line(name: str, line: Line, xs: _Axis, ys: _Axis, colour: str, label: float) -> list[str]:
    ranks = [(_right(xs.place(x)), _down(ys.place(y))) for x, y in line]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in ranks)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>']
    for (x, y), (left, top) in zip(line, ranks, strict=True):
        tip = escape(f"{name} {_number(x)}: {_number(y)}")
        parts.append(f'<circle cx="{left:.1f}" cy="{top:.1f}" r="2.5" fill="{colour}"><title>{tip}</title></circle>')
    return [*parts, _text(WIDTH - RIGHT + 8, label + 4, name, "start", colour)]


def _axis(values: Sequence[float], log: bool, *, from_zero: bool) -> _Axis:
    low, high = min(values), max(values)
    if log and high > 0:
        low = min((value for value in values if value > 0), default=high)
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        last += last == first
        return _Axis(10.0**first, 10.0**last, True, tuple(10.0**n for n in range(first, last + 1)))
    low = min(low, 0.0) if from_zero else low
    span = high - low or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (factor * step) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    last += last == first
    return _Axis(first * step, last * step, False, tuple(n * step for n in range(first, last + 1)))


def _right(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _down(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _text(x: float, y: float, text: str, anchor: str, colour: str = INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _number(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
