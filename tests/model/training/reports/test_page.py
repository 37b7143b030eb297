"""Pages extend one layout, escape text and insert charts as markup."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from model.training.reports.page import render_page
from model.training.reports.svg_charts import Bar, bar_chart
from tests.model.training.html_pages import text_of_standalone_page

TEMPLATE = """{% extends "page.html.jinja" %}
{% import "macros.html.jinja" as macros %}
{% block content %}
{{ macros.panel(heading, chart) }}
{{ macros.wide_table(["name", "value"], rows) }}
{% endblock %}"""


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "own.html.jinja"
    path.write_text(TEMPLATE)
    return path


def test_template_of_another_folder_extends_the_shared_page(template: Path) -> None:
    chart = bar_chart([Bar("a & b", 0.5, 3)], "x", "y")
    page = render_page(template, title="A title", heading="A heading", chart=chart, rows=[["row", 1]])
    assert page.startswith("<!doctype html>")
    text = text_of_standalone_page(page)
    assert text.count("A title") == 2
    for expected in ("A heading", "a & b", "row", "value"):
        assert expected in text
    assert "<svg" in page


def test_text_is_escaped(template: Path) -> None:
    page = render_page(template, title="<b>", heading="<script>alert(1)</script>", chart="<i>", rows=[["<u>"]])
    for tag in ("<b>", "<script>", "<i>", "<u>"):
        assert tag not in page


def test_missing_variable_raises(template: Path) -> None:
    with pytest.raises(UndefinedError):
        render_page(template, title="A title", heading="A heading", chart="")


def test_charts_and_pages_import_no_torch() -> None:
    """The load tests use both, in environments without torch."""
    code = (
        "import sys, model.training.reports.page, model.training.reports.svg_charts; "
        "assert not {'torch', 'numpy', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[4])
