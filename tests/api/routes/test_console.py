"""The console page: served as it is, under a policy that its own code, and nothing else, satisfies."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from service.main import CONSOLE
from tests.api.app_harness import AppHarness
from tests.api.conftest import KEY


class Page(HTMLParser):
    """What a browser would make of the page: its elements, and the text of its scripts and styles."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: dict[str, list[str]] = {"script": [], "style": []}
        self._inside: list[str] = []
        self.labelled: list[bool] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("input", "select", "textarea"):
            self.labelled.append("label" in self._inside)
        if tag not in ("meta", "link", "input", "br"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._inside.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] in self.inline:
            self.inline[self._inside[-1]].append(data)


@pytest.fixture(scope="module")
def source() -> str:
    return CONSOLE.read_text("utf-8")


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[AppHarness]:
    (tmp_path / "index.html").write_bytes(CONSOLE.read_bytes())
    harness = AppHarness(tmp_path, keys=(KEY,)).start()
    yield harness
    harness.close()


def test_it_is_served_without_a_key_and_its_own_code_may_run(serving: AppHarness, source: str, page: Page) -> None:
    response = serving.get("/")
    assert response.status_code == 200
    assert response.text == source
    assert serving.call("HEAD", "/").status_code == 200
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        [content] = page.inline[element]
        digest = base64.b64encode(sha256(content.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert serving.call("HEAD", "/").status_code == 200


def test_it_is_one_small_file_that_needs_no_other(source: str, page: Page) -> None:
    assert len(source.encode()) < 25_000
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name != "style", tag
            if name in ("src", "href", "action"):
                assert not re.match(r"(?:https?:)?//|/|javascript:", value or ""), (tag, value)
    assert "@import" not in source
    assert "url(" not in source


def test_data_becomes_text_and_nothing_outlives_the_tab(page: Page) -> None:
    [script] = page.inline["script"]
    for means in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "cssText"):
        assert means not in script
    assert "localStorage" not in script
    assert "cookie" not in script


def test_its_parts_are_named(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert page.labelled
    assert all(page.labelled)
    [script] = page.inline["script"]
    assert set(re.findall(r"\$\('([^']+)'\)", script)) | set(re.findall(r"onSubmit\('([^']+)'", script)) <= set(ids)
    for _, attributes in page.elements:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
    live = [attributes for _, attributes in page.elements if attributes.get("role") in ("status", "alert")]
    assert len(live) == 2


def test_what_it_calls_is_in_the_contract(serving: AppHarness, page: Page) -> None:
    [script] = page.inline["script"]
    templates = [path.lstrip("/") for path in serving.app.openapi()["paths"]]
    for called in re.findall(r"['`](v1/[a-z/]+)", script):
        assert any(template.startswith(called.rstrip("/")) for template in templates), called
