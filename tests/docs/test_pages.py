"""Names in the documentation are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.settings import PREFIX, Settings
from tests.docs.pages import PAGES, ROOT

DECISIONS = ROOT / "docs" / "decisions"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_settings_named_in_docs_exist(page: Path) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields} | {PREFIX + "NAME"}
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+", page.read_text())) <= known


def test_readme_is_an_overview() -> None:
    assert (ROOT / "README.md").read_text().count("\n") < 150


def test_decisions_are_numbered_without_gaps_and_indexed() -> None:
    files = sorted(path.name for path in DECISIONS.glob("0*.md"))
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))
    index = (DECISIONS / "README.md").read_text()
    assert sorted(re.findall(r"\((0\d{3}-[\w-]+\.md)\)", index)) == files


def test_decisions_cited_in_code_exist() -> None:
    numbers = {path.name[:4] for path in DECISIONS.glob("0*.md")}
    for folder in ("service", "model", "ingest", "loadtests", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            cited = set(re.findall(r"[Dd]ecisions? (\d{4})", path.read_text("utf-8")))
            assert cited <= numbers, path
