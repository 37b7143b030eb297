"""Commands of README and docs/ do what the pages say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.deployments import ClusterServers, SentinelServers
from tests.docs.pages import PAGE_STATE_URL, PAGES, ROOT, Block, blocks_of, last_json, run_page, shape
from tests.servers import RedisServer, free_port


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what git tracks, with this environment as its `.venv`.

    Kernels that other tests have compiled need not be compiled again.
    """
    copy = tmp_path / "checkout"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    for folder in ("service", "model"):  # machine code of kernels, which would take half a minute for each page
        for code in (ROOT / folder).rglob("__pycache__/*.nb[ic]"):
            target = copy / code.relative_to(ROOT)
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(code, target)
    (copy / ".venv").symlink_to(Path(sys.prefix))
    return copy


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_says_whether_it_is_run(page: Path) -> None:
    for block in blocks_of(page):
        if block.language == "sh":
            assert block.skipped or block.awaited_url or not block.mark, block.mark
        elif block.language != "json":
            assert block.skipped or (block.language == "" and not block.mark), f"{block.language}: {block.text}"


def test_no_block_is_overlooked() -> None:
    for page in PAGES:
        fences = re.findall(r"^ *(?:```|~~~)", page.read_text(), re.MULTILINE)
        assert fences == ["```"] * (2 * len(blocks_of(page))), page
    tracked = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    without_commands = {ROOT / name for name in ("CHANGELOG.md", "docs/decisions", "loadtests/results")}
    for page in {ROOT / name for name in tracked.splitlines()} - set(PAGES):
        assert without_commands & {page, *page.parents}, f"no test reads {page}"
        assert "```" not in page.read_text(), page


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.language == "sh" and not block.skipped for block in blocks_of(page))],
    ids=lambda page: page.stem,
)
def test_commands_work_and_answers_have_the_shape_shown(page: Path, checkout: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RECBLR_")}
    ran = run_page(page, checkout, free_port(), environment)
    printed = {block.text: output for block, output in ran}
    blocks = [*blocks_of(page), Block("", "", "")]
    for command, shown in pairwise(blocks):
        if command.text not in printed:
            continue
        if shown.language == "json":
            assert shape(last_json(printed[command.text])) == shape(json.loads(shown.text)), command.text
        else:
            assert '{"error"' not in printed[command.text], printed[command.text]


@pytest.mark.parametrize("servers", [RedisServer, SentinelServers, ClusterServers])
def test_own_data_page_works_on_every_redis(
    servers: type[RedisServer | SentinelServers | ClusterServers], checkout: Path
) -> None:
    page = ROOT / "docs" / "your-own-data.md"
    assert PAGE_STATE_URL in page.read_text()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RECBLR_")}
    with servers() as deployment:
        ran = run_page(page, checkout, free_port(), environment, deployment.url)
    assert not (checkout / "shop.db").exists()
    for _, printed in ran:
        assert '{"error"' not in printed, printed
    trained, first_night, second_night = sorted(path.name for path in (checkout / "models").iterdir())
    assert trained != first_night
    assert last_json(ran[-1][1]) == {"model_version": first_night, "previous_version": second_night}
