"""Plots as SVG text: lines over epochs, bars over groups. No script, no font and no file from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 560, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 16, 16, 46
# Legible to people with any colour vision, and on paper: one hue for data, orange for the one point that matters.
INK, GRID, DATA, MARK = "#4b5563", "#e5e7eb", "#0b5cad", "#c2410c"


def line_chart(
    points: Sequence[tuple[float, float]], x_name: str, y_name: str, *, best: bool = False, zero: bool = False
) -> str:
    """A line through `points`, values as tooltips; `best` marks the highest, `zero` begins the scale at 0."""
    sampled = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not sampled:
        return _empty()
    xs, ys = [x for x, _ in sampled], [y for _, y in sampled]
    low, high, ticks = _scale(min(*ys, 0.0) if zero else min(ys), max(ys))
    first, last = min(xs), max(xs)
    if first == last:  # one point stands in the middle
        first, last = first - 1, last + 1

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (x - first) / (last - first) * (WIDTH - _LEFT - _RIGHT),
            HEIGHT - _BOTTOM - (y - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM),
        )

    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in sampled))
    body = [f'<polyline points="{path}" fill="none" stroke="{DATA}" stroke-width="2" stroke-linejoin="round"/>']
    radius = 3.0 if len(sampled) <= 40 else 1.5
    body += [_dot(*place(x, y), radius, DATA, f"{x_name} {x:g}: {_number(y)}") for x, y in sampled]
    if best:
        x, y = max(sampled, key=lambda point: point[1])
        body.append(_dot(*place(x, y), 5.0, MARK, f"best, {x_name} {x:g}: {_number(y)}"))
        at, over = place(x, y)
        anchor = "end" if at > WIDTH * 0.8 else "start" if at < WIDTH * 0.2 else "middle"
        body.append(_text(at, max(over - 10, 12), f"best {_number(y)}", anchor, MARK))
    marks = [(place(x, low)[0], f"{x:g}") for x in _epochs(min(xs), max(xs))]
    return _frame(body, [(place(first, tick)[1], tick) for tick in ticks], marks, x_name, y_name)


def bar_chart(bars: Sequence[tuple[str, float, int]], x_name: str, y_name: str) -> str:
    """A bar for each (label, value, number of cases), its value on top and the cases as a tooltip."""
    if not bars:
        return _empty()
    _, high, ticks = _scale(0.0, max(1e-9, *(value for _, value, _ in bars)))
    step = (WIDTH - _LEFT - _RIGHT) / len(bars)
    body, marks = [], []
    for n, (label, value, cases) in enumerate(bars):
        height = value / high * (HEIGHT - _TOP - _BOTTOM)
        x, y = _LEFT + (n + 0.14) * step, HEIGHT - _BOTTOM - height
        tip = escape(f"{label}: {_number(value)} ({cases:,} cases)")
        body.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{step * 0.72:.1f}" height="{height:.1f}" rx="2" fill="{DATA}">'
            f"<title>{tip}</title></rect>"
        )
        body.append(_text(x + step * 0.36, y - 4, f"{value:.3f}", "middle", INK))
        marks.append((x + step * 0.36, label))
    ranks = [(HEIGHT - _BOTTOM - tick / high * (HEIGHT - _TOP - _BOTTOM), tick) for tick in ticks]
    return _frame(body, ranks, marks, x_name, y_name)


def _frame(
    body: list[str],
    ticks: list[tuple[float, float]],
    marks: list[tuple[float, str]],
    x_name: str,
    y_name: str,
) -> str:
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y_name)} by {escape(x_name)}">']
    for y, tick in ticks:
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>')
        parts.append(_text(_LEFT - 8, y + 4, _number(tick), "end", INK))
    parts += body
    parts += [_text(x, HEIGHT - _BOTTOM + 18, label, "middle", INK) for x, label in marks]
    parts.append(_text((WIDTH + _LEFT - _RIGHT) / 2, HEIGHT - 6, x_name, "middle", INK))
    middle = (HEIGHT + _TOP - _BOTTOM) / 2
    parts.append(
        f'<text transform="translate(13 {middle:.0f}) rotate(-90)" text-anchor="middle" fill="{INK}">'
        f"{escape(y_name)}</text>"
    )
    return "".join([*parts, "</svg>"])


def _scale(low: float, high: float) -> tuple[float, float, list[float]]:
    """Round limits around the values, and about five round ticks between them."""
    span = high - low or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (factor * step) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    if last == first:
        last += 1
    return first * step, last * step, [n * step for n in range(first, last + 1)]


def _epochs(first: float, last: float) -> list[float]:
    if first == last:
        return [first]
    _, _, ticks = _scale(first, last)
    return [tick for tick in ticks if first <= tick <= last and tick == int(tick)]


def _dot(x: float, y: float, radius: float, colour: str, tip: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"><title>{escape(tip)}</title></circle>'


def _text(x: float, y: float, text: str, anchor: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _number(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M" if value == round(value, -4) else f"{value / 1e6:.2f}M"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _empty() -> str:
    return '<p class="empty">This run has nothing to plot here.</p>'
