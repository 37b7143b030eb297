"""Charts as well-formed SVG."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from model.training.reports.svg_charts import Bar, bar_chart, line_chart


@pytest.mark.parametrize(
    "points",
    [
        [(1, 5.0)],
        [(1, 0.0), (2, 0.0)],
        [(n, 1e9 * n) for n in range(1, 9)],
        [(n, 1e-9 * n) for n in range(500)],
        [(1, float("nan")), (2, 1.0), (3, float("inf"))],
        [(1, -5.0), (2, 3.0)],
    ],
)
@pytest.mark.parametrize(
    "options",
    [{}, {"mark_best": True}, {"from_zero": True}, {"log_y": True}, {"log_x": True}, {"show_names": False}],
    ids=str,
)
def test_points_stay_within_the_chart(points: list[tuple[float, float]], options: dict[str, Any]) -> None:
    svg = ElementTree.fromstring(line_chart({"line": points}, "epoch", "a & b", **options))
    _, _, width, height = (float(number) for number in svg.attrib["viewBox"].split())
    for circle in svg.iter("circle"):
        assert 0 <= float(circle.attrib["cx"]) <= width
        assert 0 <= float(circle.attrib["cy"]) <= height
    assert 2 <= len(list(svg.iter("line"))) <= 12


def test_every_line_is_shown_with_its_name() -> None:
    lines = {"a < b": [(1, 0.5), (1000, 20)], "c": [(1, 3.0), (1000, 20.1)], "empty": []}
    svg = ElementTree.fromstring(line_chart(lines, "x & y", "ms", log_y=True, log_x=True))
    assert [element.tag for element in svg].count("polyline") == 2
    names = {element.text: float(element.attrib["y"]) for element in svg.iter("text") if "y" in element.attrib}
    assert {"a < b", "c", "x & y"} <= set(names)
    assert "ms" in [element.text for element in svg.iter("text")]
    assert abs(names["a < b"] - names["c"]) >= 13  # lines that end close to each other keep their names apart
    assert "c 1,000: 20.1" in [title.text for title in svg.iter("title")]


def test_names_are_left_out_on_request() -> None:
    svg = ElementTree.fromstring(line_chart({"name": [(1, 2.0), (2, 3.0)]}, "x", "y", show_names=False))
    assert "name" not in [element.text for element in svg.iter("text")]


def test_best_point_is_marked() -> None:
    svg = ElementTree.fromstring(line_chart({"": [(1, 0.5), (2, 0.75), (3, 0.25)]}, "epoch", "y", mark_best=True))
    assert "best, epoch 2: 0.75" in [title.text for title in svg.iter("title")]


def test_integer_positions_get_integer_ticks() -> None:
    svg = ElementTree.fromstring(line_chart({"": [(1, 7.0), (3, 9.0)]}, "epoch", "y"))
    bottom = max(float(element.attrib.get("y", 0)) for element in svg.iter("text")) - 22
    ticks = [e.text for e in svg.iter("text") if abs(float(e.attrib.get("y", 0)) - bottom) < 1]
    assert ticks == ["1", "2", "3"]


def test_bar_height_is_proportional_to_its_value() -> None:
    svg = ElementTree.fromstring(bar_chart([Bar("a", 0.1, 5), Bar("b", 0.2, 6), Bar("c < d", 0.0, 7)], "x", "y"))
    heights = [float(bar.attrib["height"]) for bar in svg.iter("rect")]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.1)
    assert heights[2] == 0
    assert "c < d: 0 (7 cases)" in [title.text for title in svg.iter("title")]


def test_chart_without_data_shows_nothing_to_plot() -> None:
    assert "nothing to plot" in line_chart({}, "x", "y")
    assert "nothing to plot" in line_chart({"a": [(1, float("nan"))]}, "x", "y")
    assert "nothing to plot" in bar_chart([], "x", "y")
