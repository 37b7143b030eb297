"""Code blocks of the documentation, and a shell that runs them.

A block that begins with ```sh is run, unless the line before it says `<!-- not run: REASON -->`. After
`<!-- run in the background until URL answers -->` it is started, and the page goes on when the URL answers. A ```json
block shows the shape of what the block before it has printed last.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(p for p in (ROOT / "docs").rglob("*.md") if p.parent.name != "decisions"),
)
_FENCE = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_BACKGROUND = re.compile(r"run in the background until (\S+) answers")
_NOT_RUN = re.compile(r"not run: .+")
PAGE_STATE_URL = "sqlite:///shop.db"  # of your-own-data.md
_SPLIT = "-- end of a block --"
_START_SECONDS = 300
_PROLOGUE = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"


class Block(NamedTuple):
    """One fenced block: its language, its text, and the comment before it."""

    language: str
    text: str
    mark: str

    @property
    def skipped(self) -> bool:
        """Whether the page says that the block is not to be run."""
        return _NOT_RUN.fullmatch(self.mark) is not None

    @property
    def awaited_url(self) -> str | None:
        """URL that answers once this block, run in the background, is ready."""
        match = _BACKGROUND.fullmatch(self.mark)
        return match[1] if match else None


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    return [
        Block(match["language"], match["text"], match["mark"] or "") for match in _FENCE.finditer(page.read_text())
    ]


def text_under(page: Path, heading: str, number: int = 0) -> str:
    """Return the text of a section's block: the first is number 0."""
    parts = re.split(r"^## |\A# ", page.read_text(), flags=re.MULTILINE)[1:]  # a "# " later may be in a block
    sections = dict(part.split("\n", 1) for part in parts)
    section = sections[heading]
    return [match["text"] for match in _FENCE.finditer(section)][number]


def replaced(text: str, names: Mapping[str, object]) -> str:
    """Replace a page's ports, folders and files; each must be there."""
    for name, value in names.items():
        assert name in text, f"{name!r} is not in:\n{text}"
        text = text.replace(name, str(value))
    return text


def run_commands(text: str, folder: Path, **environment: str) -> str:
    """Run a block of commands; return what it prints."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RECBLR_")}
    command = ["bash", "-c", f"set -euo pipefail\n{text}"]
    ran = subprocess.run(
        command, cwd=folder, env=inherited | environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, f"{text}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def run_page(
    page: Path, folder: Path, port: int, environment: dict[str, str], state_url: str | None = None
) -> list[tuple[Block, str]]:
    """Run a page's commands in `folder`, all in one shell.

    The pages speak of port 8000; it may be taken, so `port` replaces it.
    """
    blocks = [block for block in blocks_of(page) if block.language == "sh" and not block.skipped]
    script = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n" + "\n".join(
        map(_script_of, blocks)
    )
    if state_url is not None:
        script = script.replace(PAGE_STATE_URL, state_url)
    ran = subprocess.run(
        ["bash", "-c", script.replace("localhost:8000", f"localhost:{port}")],
        cwd=folder,
        env=environment | {"RECBLR_PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    printed = ran.stdout.split(_SPLIT + "\n")
    failed = blocks[min(len(printed), len(blocks)) - 1].text
    assert ran.returncode == 0, f"{page.name}: this block failed:\n{failed}\n{ran.stdout}\n{ran.stderr[-4000:]}"
    return list(zip(blocks, printed, strict=False))


def _script_of(block: Block) -> str:
    if block.awaited_url is None:
        return f"{block.text}echo; echo {shlex.quote(_SPLIT)}"
    # A page that starts a second service means it in place of the first.
    return (
        f"kill %% 2>/dev/null && wait || true\n(\n{block.text}) >service.log 2>&1 &\n"
        f"for _ in $(seq {_START_SECONDS}); do curl -sf {block.awaited_url} >/dev/null && break; sleep 1; "
        f"kill -0 $! || {{ cat service.log >&2; exit 1; }}; done\necho {shlex.quote(_SPLIT)}"
    )


def shape(value: Any) -> Any:
    """Reduce a JSON value to names and types."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def last_json(printed: str) -> Any:
    """The last line of an output that is a JSON object."""
    found = re.findall(r"\{.*\}", printed)[-1]
    return json.loads(found[found.rindex('}{"') + 1 :] if '}{"' in found else found)
