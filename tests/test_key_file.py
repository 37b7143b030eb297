"""The key file: its lines, and its use while the server runs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from service.api_keys import KeyScope, digest_of, parse_key
from service.key_file import MAX_FILE_BYTES, KeyFileError, KeyRing, parse_key_file
from tests.api.app_harness import AppHarness

FIXED = "the-plain-key-of-the-settings"


def line(name: str, scopes: str, key: str) -> str:
    return f"{name}={scopes}:sha256:{digest_of(key.encode()).hex()}\n"


SHOP = line("shop", "append+read", "shop's")
DAMAGED = [
    b"",
    b"# no keys\n",
    b"hunter2\n",
    SHOP.encode()[:-3],
    SHOP.encode() + b"\xff\n",
    b"a" * (MAX_FILE_BYTES + 1),
]


def test_file_has_an_entry_a_line_with_comments_and_names() -> None:
    entry = SHOP.partition("=")[2]
    keys = parse_key_file(f"# keys of the shop\n\n  {SHOP}{entry}a-plain-key-with-every-scope\r\n".encode())
    assert [key.name for key in keys] == ["shop", "file-2", "file-3"]
    assert keys[0].scopes == {KeyScope.APPEND, KeyScope.READ}
    assert keys[0].digest == digest_of(b"shop's")


@pytest.mark.parametrize("content", DAMAGED, ids=lambda content: repr(content[:20]))
def test_damaged_file_is_refused_at_load_without_repeating_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(KeyFileError) as refused:
        KeyRing((), file).load()
    assert "hunter2" not in str(refused.value)


def test_missing_file_is_refused_at_load(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        KeyRing((), tmp_path / "keys").load()


def test_scope_write_in_file_names_line_and_successors() -> None:
    with pytest.raises(KeyFileError, match=r"line 2: the scope write .*append\+erase"):
        parse_key_file(b"# old\n" + line("old", "write", "x").encode())


def test_changed_file_is_used_once_two_checks_agree(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(SHOP)
    ring = KeyRing((parse_key(FIXED, "key-1"),), file)
    ring.load()
    names = []
    for content in (SHOP, SHOP[:-20], SHOP + line("b", "read", "b's"), None, line("c", "read", "c's"), None, None):
        if content is not None:
            file.write_text(content)
        ring.check()
        names.append([key.name for key in ring.keys])
    before, both = ["key-1", "shop"], ["key-1", "shop", "b"]
    assert names == [before, before, before, both, both, ["key-1", "c"], ["key-1", "c"]]


@pytest.mark.parametrize("content", [*DAMAGED, None], ids=lambda content: repr(content and content[:20]))
def test_damaged_file_keeps_the_keys_and_logs_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    file = tmp_path / "keys"
    file.write_text(SHOP)
    ring = KeyRing((), file)
    ring.load()
    for damage in range(2):
        caplog.clear()
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content)
        for _ in range(4):
            ring.check()
        assert [key.name for key in ring.keys] == ["shop"]
        problems = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert len(problems) == 1, damage
        file.write_text(SHOP)
        for _ in range(2):
            ring.check()


def test_worker_that_starts_with_a_damaged_file_is_closed_until_it_is_mended(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("damaged\n")
    ring = KeyRing((), file)
    ring.load_or_log()
    harness = AppHarness(tmp_path, ring=ring).start()
    assert harness.get("/v1/model").status_code == 401
    file.write_text(SHOP)
    ring.check()
    ring.check()
    assert harness.get("/v1/model").status_code == 401
    assert harness.get("/v1/model", headers={"x-api-key": "shop's"}).status_code == 200
    harness.close()
