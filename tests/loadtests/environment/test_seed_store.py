"""Seeded stores hold what the service would have stored."""

from __future__ import annotations

import asyncio
from pathlib import Path

from loadtests.environment.seed_store import seed_store
from loadtests.environment.servers import RedisSettings, redis_server
from service.core.events import AppendAndRead, LogView
from service.store.factory import open_store

ITEMS = [f"i{n}" for n in range(13)]


def read(url: str, users: list[str]) -> list[LogView]:
    async def run() -> list[LogView]:
        store = await open_store(url, 500)
        views = await store.append_and_read([AppendAndRead(user, None) for user in users])
        await store.close()
        assert all(isinstance(view, LogView) for view in views)
        return [view for view in views if isinstance(view, LogView)]

    return asyncio.run(run())


def assert_seeded(url: str) -> None:
    users = [f"u{n}" for n in range(7)]
    seed_store(url, users, ITEMS, 600, 500)
    seed_store(url, ["other"], ITEMS, 1, 500)
    views = read(url, [*users, "other"])
    assert [view.sequence for view in views] == [600] * 7 + [1]
    for n, view in enumerate(views[:-1]):
        assert [event.sequence for event in view.pending] == list(range(101, 601))
        assert [event.item_id for event in view.pending] == [ITEMS[(31 * n + e) % 13] for e in range(100, 600)]


def test_redis_log_has_all_events_and_keeps_the_newest() -> None:
    with redis_server(RedisSettings("no")) as redis:
        assert_seeded(redis.url)


def test_sqlite_log_has_all_events_and_keeps_the_newest(tmp_path: Path) -> None:
    assert_seeded(f"sqlite:///{tmp_path}/events.db")
