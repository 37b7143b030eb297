"""A store that is filled for a measurement holds what the service would have put there."""

from __future__ import annotations

import asyncio

from loadtests.environment.seed_store import fill
from loadtests.environment.servers import RedisSettings, redis_server
from service.core.events import AppendAndRead, LogView
from service.store.factory import open_store


def test_every_user_has_so_many_events_and_the_log_keeps_the_newest() -> None:
    users = [f"u{n}" for n in range(7)]
    items = [f"i{n}" for n in range(13)]
    with redis_server(RedisSettings("no")) as redis:
        fill(redis, users, items, 600, {"RECBLR_EVENTS_KEPT": "500"})
        fill(redis, ["other"], items, 1, {})
        views = asyncio.run(visited(redis.port, [*users, "other"]))
    assert [view.sequence for view in views] == [600] * 7 + [1]
    for n, view in enumerate(views[:-1]):
        assert [event.sequence for event in view.pending] == list(range(101, 601))
        assert [event.item_id for event in view.pending] == [items[(31 * n + e) % 13] for e in range(100, 600)]


async def visited(port: int, users: list[str]) -> list[LogView]:
    store = await open_store(f"redis://127.0.0.1:{port}/0", 500)
    found = await store.append_and_read([AppendAndRead(user, None) for user in users])
    await store.close()
    assert all(isinstance(view, LogView) for view in found)
    return [view for view in found if isinstance(view, LogView)]
