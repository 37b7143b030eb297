"""Check that HTML pages are well formed and load nothing from elsewhere."""

from __future__ import annotations

from html.parser import HTMLParser

VOID_ELEMENTS = {"meta", "br", "img", "link", "input", "hr"}


class _PageParser(HTMLParser):
    """Collect the text; fail on scripts, unclosed tags and external files."""

    def __init__(self) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe"), tag
        for name, value in attrs:
            assert name not in ("src", "href", "onload", "onclick"), (name, value)
        if tag not in VOID_ELEMENTS:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open_tags.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def text_of_standalone_page(page: str) -> str:
    """Return the text of a page that loads nothing from elsewhere."""
    parser = _PageParser()
    parser.feed(page)
    assert parser.open_tags == []
    assert "http" not in page.lower()
    assert "url(" not in page
    return parser.text
