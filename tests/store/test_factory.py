"""Opening the store that a URL names."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.store.errors import StoreRefusedError
from service.store.factory import open_store
from tests.environment import run_python

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "sqlite:///"),
        ("sqlite:///", "sqlite:///"),
        ("sqlite://host/path", "sqlite:///"),
        ("sqlite:////nonexistent/folder/events.db", "does not exist"),
        ("sqlite:////dev/null/events.db", "does not exist"),
        ("sqlite:////", "cannot be used"),
        ("postgres://me:secret@host/db", "must begin with"),
        ("redis+other://me:secret@host", "must begin with"),
        ("events.db", "must begin with"),
        ("", "must begin with"),
    ],
)
async def test_invalid_url_is_refused_without_its_password(url: str, message: str) -> None:
    with pytest.raises(StoreRefusedError, match=message) as refusal:
        await open_store(url, 10)
    assert "secret" not in str(refusal.value)


async def test_sqlite_with_min_replicas_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefusedError, match="no replicas"):
        await open_store(f"sqlite:///{tmp_path}/events.db", 10, min_replicas=1)


async def test_fewer_than_one_kept_event_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefusedError, match="at least 1"):
        await open_store(f"sqlite:///{tmp_path}/events.db", 0)


def test_start_on_sqlite_imports_no_redis_library() -> None:
    program = "import sys, service.__main__, service.main; print(*{name.partition('.')[0] for name in sys.modules})"
    ran = run_python("-c", program)
    assert ran.returncode == 0, ran.stderr
    assert "service" in ran.stdout.split() and "redis" not in ran.stdout.split()
