"""The console page and its Content-Security-Policy."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from service.api.routes.console import assembled
from service.main import PAGES
from tests.api.app_harness import AppHarness
from tests.api.conftest import KEY


class Page(HTMLParser):
    """Parsed page: its elements, and the text of its scripts and styles."""

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
        if tag in self.inline:
            self.inline[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._inside.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] in self.inline:
            self.inline[self._inside[-1]][-1] += data

    @property
    def script(self) -> str:
        """All scripts."""
        return "\n".join(self.inline["script"])


CONSOLE = PAGES / "index.html"


@pytest.fixture(scope="module")
def source() -> str:
    return assembled(CONSOLE).decode()


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[AppHarness]:
    harness = AppHarness(tmp_path, keys=(KEY,)).start()
    yield harness
    harness.close()


def test_page_needs_no_key_and_policy_allows_its_own_code(serving: AppHarness, source: str, page: Page) -> None:
    response = serving.get("/")
    assert response.status_code == 200
    assert response.text == source
    assert serving.call("HEAD", "/").status_code == 200
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        digests = [base64.b64encode(sha256(each.encode()).digest()).decode() for each in page.inline[element]]
        assert digests
        assert policy[directive] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert serving.call("HEAD", "/").status_code == 200


def test_page_is_one_small_file_without_external_resources(source: str, page: Page) -> None:
    assert len(source.encode()) < 60_000
    files = {path.name for path in PAGES.iterdir() if not path.name.startswith("api_docs")} - {CONSOLE.name}
    for name in files:  # each is in the page, and the page refers to none
        assert (PAGES / name).read_text("utf-8") in source
    assert not re.search(r'<script src|rel="stylesheet"', source)
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name != "style", tag
            if name in ("src", "href", "action"):
                assert not re.match(r"(?:https?:)?//|/|javascript:", value or ""), (tag, value)
    assert "@import" not in source
    assert "url(" not in source


def test_script_writes_no_html_and_keeps_nothing_after_the_tab(page: Page) -> None:
    script = page.script
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "cssText"):
        assert sink not in script
    assert "localStorage" not in script
    assert "cookie" not in script


def test_elements_are_labelled_and_ids_are_unique(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert page.labelled
    assert all(page.labelled)
    made = {"item-switch", "item-place"}  # by the scripts
    used = set(re.findall(r"(?:\$|onSubmit)\('([^']+)'", page.script))
    assert used - made <= set(ids)
    assert made <= set(re.findall(r"\bid: '([^']+)'", page.script))
    for _, attributes in page.elements:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
    live = [attributes for _, attributes in page.elements if attributes.get("role") in ("status", "alert")]
    assert len(live) == 5


def test_page_calls_only_paths_of_the_api(serving: AppHarness, page: Page) -> None:
    script = page.script
    templates = [path.lstrip("/") for path in serving.app.openapi()["paths"]]
    for called in re.findall(r"['`](v1/[a-z/]+)", script):
        assert any(template.startswith(called.rstrip("/")) for template in templates), called
    for rest in re.findall(r"userPath\('([^']+)'", script):
        assert f"v1/user{rest}" in templates, rest


def test_missing_page_has_no_route_and_existing_one_gets_policy(tmp_path: Path) -> None:
    bare = AppHarness(tmp_path, pages=tmp_path).start()
    bare.refused(404, bare.get("/"))
    bare.close()
    page = '<!doctype html><style>b{}</style><script type="module">go()</script>'
    (tmp_path / "index.html").write_text(page)
    harness = AppHarness(tmp_path, pages=tmp_path).start()
    response = harness.get("/")
    assert response.text == page
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; connect-src 'self';")
    # printf 'go()' | openssl dgst -sha256 -binary | base64
    assert "script-src 'sha256-" in policy
    assert "unsafe" not in policy
    harness.close()
