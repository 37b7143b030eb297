"""Line and bar charts as SVG for HTML reports.

The charts consist of plain SVG elements and load no script, font or image. Values are shown as tooltips.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

WIDTH, HEIGHT = 600, 290
_LEFT, _TOP, _BOTTOM = 76, 16, 46
_RIGHT, _RIGHT_WITH_NAMES = 16, 130
_NAME_HEIGHT = 13
# Distinct to readers with any colour vision, and on paper (after Okabe and Ito).
LINE_COLOURS = ("#0b5cad", "#c2410c", "#047857", "#7e22ce", "#92400e", "#334155")
_TEXT, _GRID, _BAR, _BEST = "#4b5563", "#e5e7eb", LINE_COLOURS[0], LINE_COLOURS[1]
_NOTHING_TO_PLOT = Markup('<p class="empty">There is nothing to plot.</p>')

Line = Sequence[Sequence[float]]  # points (x, y) in order of x


class Bar(NamedTuple):
    """One bar of a chart, with the number of cases behind it."""

    label: str
    value: float
    cases: int


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    ticks: Sequence[float]
    is_log: bool = False

    def fraction(self, value: float) -> float:
        """Return the position on the axis, from 0 to 1."""
        if self.is_log:
            value = math.log10(max(value, self.low))
            return (value - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class _PlotArea:
    right_margin: int

    def x(self, fraction: float) -> float:
        return _LEFT + fraction * (WIDTH - _LEFT - self.right_margin)

    def y(self, fraction: float) -> float:
        return HEIGHT - _BOTTOM - fraction * (HEIGHT - _TOP - _BOTTOM)


def line_chart(
    lines: Mapping[str, Line],
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    from_zero: bool = False,
    mark_best: bool = False,
    show_names: bool = True,
) -> Markup:
    """Draw one line per name.

    Args:
        lines: points (x, y) by name of the line. Points that are not finite are left out.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis.
        log_x: use a logarithmic horizontal axis.
        log_y: use a logarithmic vertical axis.
        from_zero: begin a linear vertical axis at 0.
        mark_best: mark the highest point.
        show_names: write each line's name at its end.
    """
    finite = {
        name: [(float(x), float(y)) for x, y in line if math.isfinite(x) and math.isfinite(y)]
        for name, line in lines.items()
    }
    points = [point for line in finite.values() for point in line]
    if not points:
        return _NOTHING_TO_PLOT
    x_axis = _log_axis([x for x, _ in points]) if log_x else _exact_axis([x for x, _ in points])
    y_axis = _log_axis([y for _, y in points]) if log_y else _round_axis([y for _, y in points], from_zero)
    area = _PlotArea(_RIGHT_WITH_NAMES if show_names else _RIGHT)
    x_ticks = [(x_axis.fraction(tick), _format_number(tick)) for tick in x_axis.ticks]
    svg = _frame(area, x_ticks, y_axis, x_label, y_label)
    positions = {
        name: [(area.x(x_axis.fraction(x)), area.y(y_axis.fraction(y))) for x, y in line]
        for name, line in finite.items()
    }
    name_heights = _separate({name: line[-1][1] for name, line in positions.items() if line})
    for number, (name, line) in enumerate(finite.items()):
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        tooltips = [f"{name} {_format_number(x)}: {_format_number(y)}" for x, y in line]
        _draw_line(svg, positions[name], tooltips, colour)
        if show_names and line:
            _text(svg, area.x(1.0) + 8, name_heights[name] + 4, name, "start", colour)
    if mark_best:
        x, y = max(points, key=lambda point: point[1])
        _draw_best(svg, area.x(x_axis.fraction(x)), area.y(y_axis.fraction(y)), f"{x_label} {x:g}", y)
    return _markup(svg)


def bar_chart(bars: Sequence[Bar], x_label: str, y_label: str) -> Markup:
    """Draw one bar per label, with its value on top.

    The tooltip has the number of cases.
    """
    if not bars:
        return _NOTHING_TO_PLOT
    area = _PlotArea(_RIGHT)
    y_axis = _round_axis([0.0, max(1e-9, *(bar.value for bar in bars))], from_zero=True)
    middles = [(number + 0.5) / len(bars) for number in range(len(bars))]
    x_ticks = [(middle, bar.label) for middle, bar in zip(middles, bars, strict=True)]
    svg = _frame(area, x_ticks, y_axis, x_label, y_label)
    width = 0.72 * (area.x(1.0) - area.x(0.0)) / len(bars)
    for middle, bar in zip(middles, bars, strict=True):
        x, y = area.x(middle), area.y(y_axis.fraction(bar.value))
        rect = _add(svg, "rect", x=x - width / 2, y=y, width=width, height=area.y(0.0) - y, rx=2, fill=_BAR)
        _add(rect, "title").text = f"{bar.label}: {_format_number(bar.value)} ({bar.cases:,} cases)"
        _text(svg, x, y - 4, f"{bar.value:.3f}", "middle", _TEXT)
    return _markup(svg)


def _frame(
    area: _PlotArea, x_ticks: Sequence[tuple[float, str]], y_axis: _Axis, x_label: str, y_label: str
) -> Element:
    """Create the SVG element with grid lines, ticks and axis labels."""
    svg = Element("svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img")
    svg.set("aria-label", f"{y_label} by {x_label}")
    for tick in y_axis.ticks:
        y = area.y(y_axis.fraction(tick))
        _add(svg, "line", x1=area.x(0.0), x2=area.x(1.0), y1=y, y2=y, stroke=_GRID)
        _text(svg, _LEFT - 8, y + 4, _format_number(tick), "end", _TEXT)
    for fraction, label in x_ticks:
        _text(svg, area.x(fraction), HEIGHT - _BOTTOM + 18, label, "middle", _TEXT)
    _text(svg, area.x(0.5), HEIGHT - 6, x_label, "middle", _TEXT)
    rotated = _add(svg, "text", transform=f"translate(13 {area.y(0.5):.0f}) rotate(-90)", fill=_TEXT)
    rotated.set("text-anchor", "middle")
    rotated.text = y_label
    return svg


def _draw_line(svg: Element, points: Sequence[tuple[float, float]], tooltips: Sequence[str], colour: str) -> None:
    if not points:
        return
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    line = _add(svg, "polyline", points=path, fill="none", stroke=colour)
    line.set("stroke-width", "2")
    line.set("stroke-linejoin", "round")
    radius = 2.5 if len(points) <= 40 else 1.5
    for (x, y), tooltip in zip(points, tooltips, strict=True):
        _add(_add(svg, "circle", cx=x, cy=y, r=radius, fill=colour), "title").text = tooltip


def _draw_best(svg: Element, x: float, y: float, position: str, value: float) -> None:
    dot = _add(svg, "circle", cx=x, cy=y, r=5, fill=_BEST)
    _add(dot, "title").text = f"best, {position}: {_format_number(value)}"
    anchor = "end" if x > WIDTH * 0.8 else "start" if x < WIDTH * 0.2 else "middle"
    _text(svg, x, max(y - 10, 12), f"best {_format_number(value)}", anchor, _BEST)


def _separate(heights: Mapping[str, float]) -> dict[str, float]:
    """Move names apart whose lines end close to each other."""
    separated: dict[str, float] = {}
    lowest_free = 0.0
    for name, height in sorted(heights.items(), key=lambda entry: entry[1]):
        separated[name] = lowest_free = max(height, lowest_free + _NAME_HEIGHT)
    return separated


def _round_axis(values: Sequence[float], from_zero: bool) -> _Axis:
    """Linear axis between round numbers, with about five ticks."""
    low, high = min(values), max(values)
    low = min(low, 0.0) if from_zero else low
    span = high - low or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (factor * step) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    last += last == first
    return _Axis(first * step, last * step, [number * step for number in range(first, last + 1)])


def _exact_axis(values: Sequence[float]) -> _Axis:
    """Linear axis between the extreme values, with ticks at round numbers."""
    low, high = min(values), max(values)
    if low == high:
        return _Axis(low - 1, high + 1, [low])
    ticks = [tick for tick in _round_axis(values, from_zero=False).ticks if low <= tick <= high]
    if all(value.is_integer() for value in values):  # no epoch 2.5
        ticks = [tick for tick in ticks if tick.is_integer()]
    return _Axis(low, high, ticks)


def _log_axis(values: Sequence[float]) -> _Axis:
    """Logarithmic axis between powers of ten.

    Values of 0 and below lie at its lower end.
    """
    positive = [value for value in values if value > 0]
    if not positive:
        return _round_axis(values, from_zero=True)
    first, last = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    last += last == first
    return _Axis(10.0**first, 10.0**last, [10.0**power for power in range(first, last + 1)], is_log=True)


def _add(parent: Element, tag: str, **attributes: float | str) -> Element:
    texts = {name: value if isinstance(value, str) else f"{value:.1f}" for name, value in attributes.items()}
    return SubElement(parent, tag, texts)


def _text(svg: Element, x: float, y: float, text: str, anchor: str, colour: str) -> None:
    element = _add(svg, "text", x=x, y=y, fill=colour)
    element.set("text-anchor", anchor)
    element.text = text


def _format_number(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M" if value == round(value, -4) else f"{value / 1e6:.2f}M"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _markup(svg: Element) -> Markup:
    return Markup(tostring(svg, encoding="unicode"))  # noqa: S704 - ElementTree has escaped all text
